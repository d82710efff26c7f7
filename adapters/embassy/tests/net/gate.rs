//! Who is let in, and who is heard.

use kitfox_embassy::{BuildError, CloseReason, NoEntropy, Options, PeerId, new};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

on_both_wires! {
    a_blocked_peer_is_not_heard,
    a_handler_may_block_from_inside_a_delivery,
    a_handler_that_refuses_a_message_closes_the_connection,
    refusals_at_the_gate_let_nobody_in,
    preflights_are_exchanged,
    a_preflight_that_is_too_long_closes_the_connection_at_once,
    an_advertised_url_is_what_peers_know,
    a_node_that_makes_no_sense_is_not_made,
}

fn a_blocked_peer_is_not_heard<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        bob.node.block(&W::id("alice").to_string(), None).await.unwrap();
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
        assert!(bob.node.unblock(&W::id("alice").to_string(), None).await);
        alice.sends(&bob, b"heard").await;
        assert_eq!(bob.hears().await, b"heard");
        assert!(alice.nothing_more() && bob.nothing_more(), "the connection stays");
    });
}

fn a_handler_may_block_from_inside_a_delivery<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
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

fn a_handler_that_refuses_a_message_closes_the_connection<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        bob.told.on_message.set(|_, _| Err(kitfox_embassy::Refused));
        alice.sends(&bob, b"bad").await;
        assert_eq!(alice.down().await, (CloseReason::Disconnected, b"refused".to_vec()));
        assert_eq!(bob.down().await.0, CloseReason::Refused(kitfox_embassy::Refusal::Handler));
    });
}

fn refusals_at_the_gate_let_nobody_in<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        let refusals: [fn(&Reporter); 3] =
            [|told| told.admits.set(false), |told| told.validates.set(false), |told| told.at_home.set(false)];
        for (refuse, id) in refusals.into_iter().zip(["a", "b", "c"]) {
            refuse(&bob.told);
            let options = W::options(id).peers(HASTY);
            let host = 10 + id.as_bytes()[0] % 10;
            let alice = Party::<W>::with(&sim, &hub, host, options, Reporter::default()).await;
            alice.sends(&bob, b"let me in").await;
            alice.until(|event| matches!(event, Event::NotSent(..))).await;
            assert!(bob.nothing_more() && bob.told.heard.borrow().is_empty());
            for yes in [&bob.told.admits, &bob.told.validates, &bob.told.at_home] {
                yes.set(true);
            }
        }
    });
}

fn preflights_are_exchanged<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let told = |preflight| Reporter { preflight, ..Reporter::default() };
        let alice = Party::<W>::with(&sim, &hub, 1, W::options("alice"), told(b"from alice")).await;
        let bob = Party::<W>::with(&sim, &hub, 2, W::options("bob"), told(b"from bob")).await;
        alice.sends(&bob, b"hello").await;
        bob.hears().await;
        assert_eq!(*bob.told.preflights.borrow(), [b"from alice".to_vec()]);
        assert_eq!(*alice.told.preflights.borrow(), [b"from bob".to_vec()]);
    });
}

fn a_preflight_that_is_too_long_closes_the_connection_at_once<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let told = Reporter { preflight: &[7; 2000], ..Reporter::default() };
        let alice = Party::<W>::with(&sim, &hub, 1, W::options("alice").peers(HASTY), told).await;
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        alice.sends(&bob, b"hello").await;
        within(1000, alice.until(|event| matches!(event, Event::NotSent(..)))).await;
    });
}

fn an_advertised_url_is_what_peers_know<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        let url: &str = format!("{}://fox.example:9000/{}", W::scheme(), W::id("fox")).leak();
        let machine = Machine::new(&sim, &hub, 1);
        let options = Options { advertise: Some(url), ..W::options("fox") };
        let (node, mut runner) = new(machine.stack, resources(), options).unwrap();
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

fn a_node_that_makes_no_sense_is_not_made<W: Wire>() {
    test(async |sim| {
        let machine = Machine::new(&sim, &Hub::default(), 1);
        let refused =
            |options: Options<'static, W>| new(machine.stack, resources(), options).map(|_| ()).unwrap_err();
        let with = |advertise: String| Options { advertise: Some(advertise.leak()), ..W::options("fox") };
        assert!(matches!(refused(with("fox".into())), BuildError::AdvertisedUrl(_)));
        assert_eq!(refused(with(W::url(1, 1, "cat"))), BuildError::AdvertisedId);
        let other = if W::SECURED { "ws" } else { "wss" };
        let other = W::url(1, 1, "fox").replace(W::scheme(), other);
        assert_eq!(refused(with(other)), BuildError::AdvertisedScheme);
        assert_eq!(refused(Options { port: 0, ..W::options("fox") }), BuildError::NothingToListenOn);
        let entropy = Box::leak(Box::new(|_: &mut [u8; 32]| Err(NoEntropy)));
        assert_eq!(refused(Options { entropy, ..W::options("fox") }), BuildError::Entropy(NoEntropy));
    });
}

#[test]
fn an_id_that_no_url_can_carry_is_refused() {
    test(async |sim| {
        let machine = Machine::new(&sim, &Hub::default(), 1);
        for id in ["a/b", "a b", "é", "a?b", "."] {
            let options = Options::plain(PeerId::new(id).unwrap(), entropy());
            let refused = new(machine.stack, resources(), options).map(|_| ()).unwrap_err();
            assert_eq!(refused, BuildError::PeerId, "{id:?}");
        }
    });
}
