//! Who is let in, and who is heard.

use kitfox_embassy::{BuildError, CloseReason, Options, Resources, new};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

#[test]
fn a_blocked_peer_is_not_heard() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair(&sim, &hub).await;
        bob.node.block("alice", None).await.unwrap();
        alice.sends(&bob, b"blocked").await;
        let mut counted = Vec::new();
        while counted.is_empty() {
            pass(embassy_time::Duration::from_millis(1)).await;
            bob.node
                .blocked(|url, space, incoming, outgoing| {
                    counted.push((url.to_owned(), space.to_owned(), incoming, outgoing));
                })
                .await;
        }
        assert_eq!(counted, [(alice.url.clone(), SPACE.to_vec(), 1, 0)]);
        assert!(bob.node.send_notify(&alice.url, SPACE, b"neither").await.is_err());
        assert!(bob.node.unblock("alice", None).await);
        alice.sends(&bob, b"heard").await;
        assert_eq!(bob.hears().await, b"heard");
        assert!(alice.nothing_more() && bob.nothing_more(), "the connection stays");
    });
}

#[test]
fn a_handler_may_block_from_inside_a_delivery() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair(&sim, &hub).await;
        bob.told.on_message.set(|node, message| {
            let id = *node.peers().id(message.from).unwrap();
            node.directory_mut().policy_mut().block(id, Some(message.space)).unwrap();
            Ok(())
        });
        for message in [b"one", b"two"] {
            alice.sends(&bob, message).await;
        }
        assert_eq!(bob.hears().await, b"one");
        while bob.node.stats().await.totals.dropped_messages == 0 {
            pass(embassy_time::Duration::from_millis(1)).await;
        }
        assert_eq!(bob.told.heard.borrow().len(), 2, "hello and one");
    });
}

#[test]
fn a_handler_that_refuses_a_message_closes_the_connection() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair(&sim, &hub).await;
        bob.told.on_message.set(|_, _| Err(kitfox_embassy::Refused));
        alice.sends(&bob, b"bad").await;
        assert_eq!(alice.down().await, (CloseReason::Disconnected, b"refused".to_vec()));
        assert_eq!(bob.down().await.0, CloseReason::Refused(kitfox_embassy::Refusal::Handler));
    });
}

#[test]
fn refusals_at_the_gate_let_nobody_in() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::new(&sim, &hub, 2, "bob").await;
        let refusals: [fn(&Reporter); 3] =
            [|told| told.admits.set(false), |told| told.validates.set(false), |told| told.at_home.set(false)];
        for (refuse, id) in refusals.into_iter().zip(["a", "b", "c"]) {
            refuse(&bob.told);
            let options = Options::new(id, 9).peers(HASTY);
            let host = 10 + id.as_bytes()[0] % 10;
            let alice = Party::with(&sim, &hub, host, options, Reporter::default()).await;
            alice.sends(&bob, b"let me in").await;
            alice.until(|event| matches!(event, Event::NotSent(..))).await;
            assert!(bob.nothing_more() && bob.told.heard.borrow().is_empty());
            for yes in [&bob.told.admits, &bob.told.validates, &bob.told.at_home] {
                yes.set(true);
            }
        }
    });
}

#[test]
fn preflights_are_exchanged() {
    test(async |sim| {
        let hub = Hub::default();
        let told = |preflight| Reporter { preflight, ..Reporter::default() };
        let alice = Party::with(&sim, &hub, 1, Options::new("alice", 1), told(b"from alice")).await;
        let bob = Party::with(&sim, &hub, 2, Options::new("bob", 2), told(b"from bob")).await;
        alice.sends(&bob, b"hello").await;
        bob.hears().await;
        assert_eq!(*bob.told.preflights.borrow(), [b"from alice".to_vec()]);
        assert_eq!(*alice.told.preflights.borrow(), [b"from bob".to_vec()]);
    });
}

#[test]
fn a_preflight_that_is_too_long_closes_the_connection_at_once() {
    test(async |sim| {
        let hub = Hub::default();
        let told = Reporter { preflight: &[7; 2000], ..Reporter::default() };
        let alice = Party::with(&sim, &hub, 1, Options::new("alice", 1).peers(HASTY), told).await;
        let bob = Party::new(&sim, &hub, 2, "bob").await;
        alice.sends(&bob, b"hello").await;
        within(1000, alice.until(|event| matches!(event, Event::NotSent(..)))).await;
    });
}

#[test]
fn an_advertised_url_is_what_peers_know() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::new(&sim, &hub, 2, "bob").await;
        let url = "ws://fox.example:9000/fox";
        let machine = Machine::new(&sim, &hub, 1);
        let resources = Box::leak(Box::new(Resources::<Board, SOCKETS>::new()));
        let options = Options { advertise: Some(url), ..Options::new("fox", 1) };
        let (node, mut runner) = new(machine.stack, resources, &options).unwrap();
        node.register_space(SPACE).await.unwrap();
        let told = Reporter::default();
        let mut handler = told.clone();
        sim.spawn("fox", async move { runner.run(&mut handler).await });
        node.send_notify(&bob.url, SPACE, b"hello").await.unwrap();
        assert_eq!(bob.hears().await, b"hello");
        assert_eq!(bob.event().await, Event::Up(url.into()));
        assert_eq!(told.events.borrow()[0], Event::Listening(url.into()));
    });
}

#[test]
fn a_node_that_makes_no_sense_is_not_made() {
    test(async |sim| {
        let machine = Machine::new(&sim, &Hub::default(), 1);
        let mut resources = Resources::<Board, SOCKETS>::new();
        let mut refused = |options: Options<'static>| {
            // What is leaked here is small.
            let resources = Box::leak(Box::new(core::mem::take(&mut resources)));
            new(machine.stack, resources, &options).map(|_| ()).unwrap_err()
        };
        for id in ["", "a/b", "a b", "é", "a?b", "."] {
            assert_eq!(refused(Options::new(id, 1)), BuildError::PeerId, "{id:?}");
        }
        let with = |advertise| Options { advertise: Some(advertise), ..Options::new("fox", 1) };
        assert!(matches!(refused(with("fox")), BuildError::AdvertisedUrl(_)));
        assert_eq!(refused(with("ws://fox.example:1/cat")), BuildError::AdvertisedId);
        assert_eq!(refused(Options { port: 0, ..Options::new("fox", 1) }), BuildError::NothingToListenOn);
    });
}
