//! Nodes over the secured channel, which is the default.

use futures_lite::future;
use kitfox_core::ProtocolError;
use kitfox_core::secure::HandshakeError;
use kitfox_core::wire::Message;
use kitfox_smol::{
    BuildError, Builder, CloseReason, ConnectError, Network, Node, NotDialable, PeerId, SecretKey, SendError,
};

use crate::common::{Event, Events, Party, Raw, SPACE, preflight, test};

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
fn a_secured_node_never_takes_a_plain_connection() {
    test(async {
        let bob = party(|builder| builder).await;
        let mut raw = Raw::connect(&bob.url);
        raw.send(&preflight("ws://127.0.0.1:9/alice", &Message::preflight(b"hi")));
        assert_eq!(raw.rest(), b"", "not a word");
        assert!(bob.node.stats().connections.is_empty());
        assert_eq!(bob.node.stats().totals.opened, 0);
    });
}

#[test]
fn ids_that_are_no_keys_are_not_dialled() {
    test(async {
        let alice = party(|builder| builder).await;
        for id in ["bob", &"00".repeat(32), &format!("02{}", "00".repeat(31))] {
            let refused = alice.node.notify(&format!("wss://127.0.0.1:1/{id}"), SPACE, b"");
            assert_eq!(refused, Err(SendError::NotDialable(NotDialable::NoKey)), "{id}");
        }
    });
}

#[test]
fn nodes_of_different_networks_do_not_meet() {
    test(async {
        let alice = party(|builder| builder.network(Network::new(b"here"))).await;
        let bob = party(|builder| builder.network(Network::new(b"there"))).await;
        let Err(ConnectError::Closed(closing)) = alice.node.connect(&bob.url).await else { panic!("met") };
        assert_eq!(closing.reason, CloseReason::Protocol(ProtocolError::Handshake(HandshakeError::Ended)));
        let carol = party(|builder| builder.network(Network::new(b"here"))).await;
        carol.node.connect(&alice.url).await.unwrap();
    });
}

#[test]
fn whoever_answers_without_the_key_is_not_the_peer() {
    test(async {
        let (alice, bob) = (party(|builder| builder).await, party(|builder| builder).await);
        // Bob's address, with the id of somebody else.
        let addr = bob.url.rsplit_once('/').unwrap().0;
        let url = format!("{addr}/{}", key(9).peer_id());
        assert!(matches!(alice.node.connect(&url).await, Err(ConnectError::Closed(_))));
        assert_eq!(bob.node.stats().totals.opened, 0);
    });
}

#[test]
fn an_unwanted_id_is_turned_away_before_it_is_answered() {
    test(async {
        let unwanted = key(3).peer_id();
        let bob =
            Party::secured(|builder| builder, |events: &mut Events| events.unwanted = Some(unwanted)).await;
        let mallory = party(|builder| builder.key(key(3))).await;
        assert!(matches!(mallory.node.connect(&bob.url).await, Err(ConnectError::Closed(_))));
        let alice = party(|builder| builder.key(key(4))).await;
        alice.node.connect(&bob.url).await.unwrap();
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
fn two_that_dial_each_other_end_with_one_connection() {
    test(async {
        for round in 0..5 {
            let alice = party(|builder| builder.key(key(20 + round))).await;
            let bob = party(|builder| builder.key(key(40 + round))).await;
            alice.node.notify(&bob.url, SPACE, b"one").unwrap();
            bob.node.notify(&alice.url, SPACE, b"two").unwrap();
            let (one, two) = future::zip(bob.heard.recv(), alice.heard.recv()).await;
            assert_eq!((one.unwrap(), two.unwrap()), (b"one".to_vec(), b"two".to_vec()));
        }
    });
}

#[test]
fn a_peer_that_comes_back_with_its_key_is_found_again() {
    test(async {
        let alice = party(|builder| builder).await;
        let bob = party(|builder| builder.key(key(5))).await;
        alice.node.notify(&bob.url, SPACE, b"one").unwrap();
        assert_eq!(bob.heard.recv().await.unwrap(), b"one");
        let addr = bob.url.split('/').nth(2).unwrap().to_owned();
        let url = bob.url.clone();
        bob.node.shutdown().await;
        let bob = Party::secured_at(&addr, key(5)).await;
        assert_eq!(bob.url, url);
        loop {
            match alice.events.recv().await.unwrap() {
                Event::Down(..) => break,
                _ => continue,
            }
        }
        alice.node.notify(&url, SPACE, b"two").unwrap();
        assert_eq!(bob.heard.recv().await.unwrap(), b"two");
    });
}

#[test]
fn a_message_that_the_connected_peer_does_not_take_is_refused_at_once() {
    test(async {
        let alice = party(|builder| builder).await;
        let mut config = kitfox_smol::Config::HOST;
        config.max_frame_bytes = 10_000;
        let bob = party(|builder| builder.config(config)).await;
        alice.node.connect(&bob.url).await.unwrap();
        assert_eq!(alice.node.notify(&bob.url, SPACE, &[0; 10_000]), Err(SendError::TooLargeForPeer));
        alice.node.notify(&bob.url, SPACE, &[0; 9_000]).unwrap();
        assert_eq!(bob.heard.recv().await.unwrap().len(), 9_000);
    });
}

#[test]
fn what_waited_and_is_too_large_for_the_peer_is_handed_back_alone() {
    test(async {
        let alice = party(|builder| builder).await;
        let mut config = kitfox_smol::Config::HOST;
        config.max_frame_bytes = 10_000;
        let bob = party(|builder| builder.config(config)).await;
        // Before anybody knows what Bob takes.
        let sizes = [20_000, 10, 30_000, 20, 10_000, 30];
        for size in sizes {
            alice.node.notify(&bob.url, SPACE, &vec![1; size]).unwrap();
        }
        for size in [10, 20, 30] {
            assert_eq!(bob.heard.recv().await.unwrap().len(), size);
        }
        let mut returned = Vec::new();
        while returned.len() < 3 {
            if let Event::NotSent(id, cause, data) = alice.events.recv().await.unwrap() {
                assert_eq!(cause, kitfox_smol::NotSentCause::TooLargeForPeer);
                returned.push((id.number, data.len()));
            }
        }
        assert_eq!(returned, [(0, 20_000), (2, 30_000), (4, 10_000)]);
        assert_eq!(bob.node.stats().connections.len(), 1, "the connection stays");
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
