//! Nodes over the secured channel, which is the default.

use kitfox_smol::{BuildError, Builder, ConnectError, Node, NotDialable, PeerId, SecretKey, SendError};

use crate::common::{Event, Party, SPACE, test};

/// A secured party.
async fn party(build: impl FnOnce(Builder) -> Builder) -> Party {
    Party::secured(build, |_| {}).await
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

#[test]
fn secured_is_the_default_and_urls_say_so() {
    test(async {
        let (alice, bob) = (party(|builder| builder).await, party(|builder| builder).await);
        assert!(bob.url.starts_with("wss://127.0.0.1:"), "{}", bob.url);
        alice.node.notify(&bob.url, SPACE, b"it rains").unwrap();
        assert_eq!(bob.heard.recv().await.unwrap(), b"it rains");
        let Event::Up(peer) = bob.events.recv().await.unwrap() else { panic!("not up") };
        assert!(peer.is_proven());
        assert_eq!(peer.url(), alice.url);
        let Event::Up(peer) = alice.events.recv().await.unwrap() else { panic!("not up") };
        assert!(peer.is_proven());
        // And back, on the same connection.
        bob.node.notify(&alice.url, SPACE, b"let it").unwrap();
        assert_eq!(alice.heard.recv().await.unwrap(), b"let it");
        assert_eq!(bob.node.stats().connections.len(), 1);
        assert!(!bob.node.stats().connections[0].claimed);
    });
}

#[test]
fn an_id_is_the_one_of_its_key() {
    test(async {
        let node = Node::builder().key(key(7)).build().unwrap();
        assert_eq!(node.peer_id(), key(7).peer_id().to_string());
        assert!(node.listen("127.0.0.1:0").await.unwrap().ends_with(&key(7).peer_id().to_string()));
        // Without one each run has its own.
        let nodes = [Node::builder().build().unwrap(), Node::builder().build().unwrap()];
        assert_ne!(nodes[0].peer_id(), nodes[1].peer_id());
    });
}

#[test]
fn a_plain_node_has_an_id_and_every_other_a_key() {
    assert!(matches!(Node::builder().peer_id("bob").build(), Err(BuildError::IdAndKey)));
    assert!(matches!(Node::builder().plain().key(key(7)).build(), Err(BuildError::IdAndKey)));
    let id = key(7).peer_id();
    let secured = |url: String| Node::builder().key(key(7)).advertise(url).build();
    assert!(secured(format!("wss://a:1/{id}")).is_ok());
    assert!(matches!(secured(format!("ws://a:1/{id}")), Err(BuildError::AdvertisedScheme)));
    assert!(matches!(secured(format!("wss://a:1/{}", key(8).peer_id())), Err(BuildError::AdvertisedId)));
    let plain = Node::builder().plain().advertise(format!("wss://a:1/{id}")).build();
    assert!(matches!(plain, Err(BuildError::AdvertisedScheme)));
}

#[test]
fn a_secured_node_never_dials_a_plain_url() {
    test(async {
        let alice = party(|builder| builder).await;
        let id = key(8).peer_id();
        let url = format!("ws://127.0.0.1:1/{id}");
        assert_eq!(alice.node.notify(&url, SPACE, b""), Err(SendError::NotDialable(NotDialable::PlainUrl)));
        assert!(matches!(
            alice.node.connect(&url).await,
            Err(ConnectError::NotDialable(NotDialable::PlainUrl))
        ));
        assert_eq!(alice.node.stats().totals.dialled, 0);
    });
}

#[test]
fn messages_of_every_size_arrive_as_they_were_sent() {
    test(async {
        let (alice, bob) = (party(|builder| builder).await, party(|builder| builder).await);
        for size in [0, 1, 255, 256, 16_383, 16_384, 16_385, 70_000, 3_000_000] {
            let data: Vec<u8> = (0..size).map(|place| (place * 31 % 251) as u8).collect();
            alice.node.notify_shared(&bob.url, SPACE, data.clone().into()).unwrap();
            assert!(bob.heard.recv().await.unwrap() == data, "{size}");
        }
    });
}

#[test]
fn ids_are_proven_in_what_is_printed() {
    test(async {
        let (alice, bob) = (party(|builder| builder).await, party(|builder| builder).await);
        let peer = alice.node.connect(&bob.url).await.unwrap();
        assert!(!format!("{peer:?}").contains("claimed"));
        let (carol, dave) = (Party::new().await, Party::new().await);
        let peer = carol.node.connect(&dave.url).await.unwrap();
        assert!(format!("{peer:?}").ends_with("claimed)"), "{peer:?}");
        assert!(PeerId::new(peer.url().rsplit('/').next().unwrap()).is_some());
    });
}
