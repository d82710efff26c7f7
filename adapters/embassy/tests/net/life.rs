//! Connections that come and go, and a network that does.

use embassy_time::Duration;
use kitfox_embassy::{CloseReason, DownCause};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::test;

on_both_wires! {
    a_cable_that_is_pulled_and_plugged_in_again_costs_nothing,
    a_cable_that_stays_out_ends_connections_and_is_nobodys_fault,
    a_new_address_is_announced_and_old_connections_end,
    a_node_without_an_address_waits_for_one,
    what_is_sent_before_the_runner_runs_goes_out_when_it_does,
    a_runner_that_was_dropped_begins_anew,
    a_node_with_nothing_to_do_sleeps,
    more_peers_than_sockets_are_served_one_after_another,
}

fn a_cable_that_is_pulled_and_plugged_in_again_costs_nothing<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        hub.set_link(alice.machine.port, false);
        assert_eq!(alice.event().await, Event::Lost(alice.url.clone()));
        alice.sends(&bob, b"while it is out").await;
        pass(Duration::from_secs(3)).await;
        hub.set_link(alice.machine.port, true);
        assert_eq!(alice.event().await, Event::Listening(alice.url.clone()));
        assert_eq!(within(10_000, bob.hears()).await, b"while it is out");
        assert!(alice.nothing_more() && bob.nothing_more(), "it is the same connection");
    });
}

fn a_cable_that_stays_out_ends_connections_and_is_nobodys_fault<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        hub.set_link(alice.machine.port, false);
        assert_eq!(alice.event().await, Event::Lost(alice.url.clone()));
        alice.sends(&bob, b"into the dark").await;
        let down = alice.event().await;
        let Event::Down { cause, unknown: Some(unknown), .. } = down else { panic!("{down:?}") };
        assert_eq!(cause, DownCause::Ended(CloseReason::Failed));
        assert_eq!(unknown.last, 1);
        pass(Duration::from_secs(30)).await;
        hub.set_link(alice.machine.port, true);
        alice.sends(&bob, b"back").await;
        assert_eq!(within(5000, bob.hears()).await, b"back");
        let unresponsive = |event: &Event| matches!(event, Event::Unresponsive(_));
        assert!(!alice.told.events.borrow().iter().any(unresponsive));
    });
}

fn a_new_address_is_announced_and_old_connections_end<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        let old = alice.url.clone();
        alice.machine.stack.set_config_v4(address(9));
        assert_eq!(
            alice.event().await,
            Event::Down {
                url: bob.url.clone(),
                cause: DownCause::Ended(CloseReason::Failed),
                words: vec![],
                unknown: Some(kitfox_embassy::Numbers { first: 0, last: 0 }),
            }
        );
        let new = W::url(9, PORT, "alice");
        alice.until(|event| *event == Event::Lost(old.clone())).await;
        assert_eq!(alice.event().await, Event::Listening(new.clone()));
        alice.sends(&bob, b"moved").await;
        assert_eq!(within(60_000, bob.hears()).await, b"moved");
        bob.until(|event| *event == Event::Up(new.clone())).await;
        bob.node.send_notify(&new, SPACE, b"welcome").await.unwrap();
        assert_eq!(alice.hears().await, b"welcome");
    });
}

fn a_node_without_an_address_waits_for_one<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = two::<W>(&sim, &hub).await;
        alice.machine.stack.set_config_v4(embassy_net::ConfigV4::None);
        alice.event().await;
        let node = alice.node;
        let up = std::rc::Rc::new(std::cell::Cell::new(false));
        let is_up = up.clone();
        sim.spawn("waits", async move {
            node.wait_network_up().await;
            is_up.set(true);
        });
        alice.sends(&bob, b"too early").await;
        pass(Duration::from_secs(5)).await;
        assert!(!up.get());
        assert!(
            matches!(alice.event().await, Event::NotSent(..)) && alice.nothing_more(),
            "it is nobody's fault"
        );
        alice.machine.stack.set_config_v4(address(1));
        eventually(|| up.get().then_some(())).await;
        alice.sends(&bob, b"here").await;
        assert_eq!(bob.hears().await, b"here");
    });
}

fn what_is_sent_before_the_runner_runs_goes_out_when_it_does<W: Wire>() {
    test(async |sim| {
        use kitfox_embassy::{NoHandler, new};
        let hub = Hub::default();
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        let machine = Machine::new(&sim, &hub, 1);
        machine.stack.wait_config_up().await;
        let (node, mut runner) = new(machine.stack, resources(), W::options("alice")).unwrap();
        node.register_space(SPACE).await.unwrap();
        node.send_notify(&bob.url, SPACE, b"early").await.unwrap();
        sim.spawn("alice", async move { runner.run(&mut NoHandler).await });
        assert_eq!(within(100, bob.hears()).await, b"early");
    });
}

fn a_runner_that_was_dropped_begins_anew<W: Wire>() {
    test(async |sim| {
        use embassy_futures::select::select;
        use kitfox_embassy::new;
        let hub = Hub::default();
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        let machine = Machine::new(&sim, &hub, 1);
        let (node, mut runner) = new(machine.stack, resources(), W::options("alice")).unwrap();
        node.register_space(SPACE).await.unwrap();
        for round in 0..3u8 {
            let talk = async {
                node.send_notify(&bob.url, SPACE, &[round]).await.unwrap();
                assert_eq!(within(60_000, bob.hears()).await, [round]);
            };
            select(runner.run(&mut kitfox_embassy::NoHandler), talk).await;
        }
    });
}

fn a_node_with_nothing_to_do_sleeps<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let (alice, bob) = pair::<W>(&sim, &hub).await;
        pass(Duration::from_secs(5)).await;
        let before = (alice.polls.get(), bob.polls.get());
        pass(Duration::from_secs(300)).await;
        let polls = (alice.polls.get() - before.0, bob.polls.get() - before.1);
        // Ten probes in each direction, and what TCP says to them.
        assert!(polls.0 <= 80 && polls.1 <= 80, "{polls:?}");
        let before = alice.polls.get();
        for _ in 0..100 {
            alice.sends(&bob, b"one at a time").await;
            bob.hears().await;
        }
        let polls = alice.polls.get() - before;
        assert!(polls <= 500, "{polls} polls for 100 messages");
    });
}

fn more_peers_than_sockets_are_served_one_after_another<W: Wire>() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<W>::new(&sim, &hub, 2, "bob").await;
        let mut guests = Vec::new();
        for host in 0..6u8 {
            let id: &'static str = ["g0", "g1", "g2", "g3", "g4", "g5"][usize::from(host)];
            guests.push(Party::<W>::new(&sim, &hub, 10 + host, id).await);
        }
        for (number, guest) in guests.iter().enumerate() {
            guest.sends(&bob, &[number as u8]).await;
        }
        let mut heard = Vec::new();
        for _ in 0..SOCKETS {
            heard.push(bob.hears().await[0]);
        }
        let bob_id = W::id("bob");
        for guest in &guests[..] {
            let _ = guest.node.disconnect(&bob_id, b"bye").await;
            pass(Duration::from_secs(1)).await;
        }
        assert_eq!(heard.len(), SOCKETS);
        let late = Party::<W>::new(&sim, &hub, 30, "late").await;
        late.sends(&bob, b"late").await;
        while within(60_000, bob.hears()).await != b"late" {}
    });
}
