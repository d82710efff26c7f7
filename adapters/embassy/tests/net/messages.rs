//! Messages and their fates.

use std::pin::pin;

use embassy_time::Duration;
use kitfox_embassy::{Inbox, MAX_WAITING_TASKS, NotSentCause, SendError, new};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

on_both_wires! {
    a_lossy_link_loses_no_message_and_changes_no_order,
    a_full_outbox_makes_the_sender_wait_and_nothing_is_lost,
    more_tasks_than_can_wait_are_told_so,
    a_full_inbox_stops_the_peer_and_nothing_is_lost,
    a_message_to_nobody_is_handed_back,
}

fn a_lossy_link_loses_no_message_and_changes_no_order<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = two::<W>(&sim, &hub).await;
        hub.lose_one_of(8);
        let (from, to) = (alice.node, bob.url.clone());
        sim.spawn("alice sends", async move {
            for number in 0..100u32 {
                from.send_notify(&to, SPACE, &number.to_be_bytes()).await.unwrap();
            }
        });
        let (from, to) = (bob.node, alice.url.clone());
        sim.spawn("bob sends", async move {
            for number in 0..100u32 {
                let long = [number.to_be_bytes(); 50].concat();
                from.send_notify(&to, SPACE, &long).await.unwrap();
            }
        });
        for number in 0..100u32 {
            assert_eq!(bob.hears().await, number.to_be_bytes());
            assert_eq!(alice.hears().await, [number.to_be_bytes(); 50].concat());
        }
        let (ours, theirs) = (alice.node.stats().await.totals, bob.node.stats().await.totals);
        assert_eq!(ours.received_messages + theirs.received_messages, 200);
        assert_eq!(ours.unknown_messages + theirs.unknown_messages, 0);
    });
}

fn a_full_outbox_makes_the_sender_wait_and_nothing_is_lost<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        hub.set_link(bob.machine.port, false);
        let mut sent = 0u32;
        while alice.node.try_send_notify(&bob.url, SPACE, &[sent as u8; 300]).await.is_ok() {
            sent += 1;
            pass(Duration::from_millis(5)).await;
        }
        assert_eq!(
            alice.node.try_send_notify(&bob.url, SPACE, &[0; 300]).await,
            Err(SendError::Backpressure)
        );
        let last = [sent as u8; 300];
        let mut waiting = pin!(alice.node.send_notify(&bob.url, SPACE, &last));
        assert!(is_pending(waiting.as_mut()).await);
        pass(Duration::from_secs(1)).await;
        assert!(is_pending(waiting.as_mut()).await);
        hub.set_link(bob.machine.port, true);
        within(10_000, waiting).await.unwrap();
        for number in 0..=sent {
            assert_eq!(bob.hears().await, [number as u8; 300]);
        }
        assert!(alice.node.stats().await.totals.outbox_full > 0);
    });
}

fn more_tasks_than_can_wait_are_told_so<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        hub.set_link(bob.machine.port, false);
        while alice.node.try_send_notify(&bob.url, SPACE, &[1; 300]).await.is_ok() {
            pass(Duration::from_millis(5)).await;
        }
        for _ in 0..MAX_WAITING_TASKS {
            let (node, url) = (alice.node, bob.url.clone());
            sim.spawn("waits", async move {
                node.send_notify(&url, SPACE, &[2; 300]).await.unwrap();
            });
        }
        pass(Duration::from_millis(5)).await;
        let one_more = alice.node.send_notify(&bob.url, SPACE, &[3; 300]).await;
        assert_eq!(one_more, Err(SendError::Backpressure));
        hub.set_link(bob.machine.port, true);
        while bob.hears().await != [2; 300] {}
        for _ in 1..MAX_WAITING_TASKS {
            assert_eq!(bob.hears().await, [2; 300]);
        }
    });
}

fn a_full_inbox_stops_the_peer_and_nothing_is_lost<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let alice = Party::<W>::new(&sim, &hub, 1, "alice").await;
        let machine = Machine::new(&sim, &hub, 2);
        let (node, mut runner) = new(machine.stack, resources(), W::options("bob")).unwrap();
        node.register_space(SPACE).await.unwrap();
        let inbox: &Inbox<2, 64> = Box::leak(Box::new(Inbox::new()));
        let polls = sim.spawn("bob", async move { runner.run(&mut &*inbox).await });
        let from = alice.node;
        sim.spawn("alice sends", async move {
            for number in 0..200u32 {
                from.send_notify(&W::url(2, PORT, "bob"), SPACE, &[number as u8; 40]).await.unwrap();
            }
        });
        for number in 0..200u32 {
            if number % 50 == 0 {
                pass(Duration::from_secs(5)).await;
                assert_eq!(inbox.len(), 2);
                let before = polls.get();
                pass(Duration::from_secs(5)).await;
                assert!(polls.get() - before < 20, "a node that is stopped sleeps");
            }
            let letter = within(1000, inbox.recv()).await;
            assert_eq!(
                (letter.space(), letter.module(), letter.data()),
                (SPACE, "", &[number as u8; 40][..])
            );
            assert_eq!(letter.from_id, Some(W::id("alice")));
        }
        assert_eq!(node.stats().await.totals.received_messages, 200);
    });
}

fn a_message_to_nobody_is_handed_back<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let options = W::options("alice").peers(HASTY);
        let alice = Party::<W>::with(&sim, &hub, 1, options, Reporter::default()).await;
        let bob = Machine::new(&sim, &hub, 2);
        // Nobody listens there; and there is nobody at all.
        for (url, host) in [(W::url(2, PORT, "bob"), 2), (W::url(77, PORT, "carol"), 77)] {
            let id = alice.node.send_notify(&url, SPACE, b"anybody?").await.unwrap();
            let handed_back = alice.until(|event| matches!(event, Event::NotSent(..))).await;
            let cause = NotSentCause::DialFailed;
            assert_eq!(handed_back, Event::NotSent(id, cause, b"anybody?".to_vec()), "{host}");
        }
        assert_eq!(alice.node.stats().await.known_peers, 0);
        assert!(bob.stack.is_link_up());
    });
}
