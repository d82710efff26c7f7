//! Connections and nodes that come and go.

use alloc::collections::BTreeSet;
use core::time::Duration;

use kitfox_core::connection::CloseReason;
use kitfox_core::node::{DownCause, NotSentCause};

use super::flow::place_of;
use super::{Adapter, Event, Node, Party, Terms, connected, id, scheme, two};

/// Whoever of the two says so, and however often.
pub async fn a_disconnect_tells_its_reason_and_either_may_come_back<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    for round in 0..10 {
        let (from, to) = if round % 2 == 0 { (&alice, &bob) } else { (&bob, &alice) };
        assert!(from.node.disconnect(&to.url, b"enough").await);
        assert_eq!(from.down().await.0, CloseReason::Local);
        assert_eq!(to.down().await, (CloseReason::Disconnected, b"enough".to_vec()));
        assert!(!from.node.disconnect(&to.url, b"enough").await);
        assert!(from.node.peers().await.is_empty());
        to.sends(from, b"again").await;
        assert_eq!(from.hears().await, b"again");
        alice.up(&bob).await;
        bob.up(&alice).await;
    }
    assert!(alice.nothing_more() && bob.nothing_more());
}

/// And both are up once.
pub async fn when_both_dial_at_once_one_connection_stays_and_nothing_is_lost<A: Adapter>(world: A) {
    for (one, other) in [("a", "z"), ("b", "y"), ("c", "x"), ("w", "d"), ("v", "e")] {
        let (alice, bob) = (Party::new(&world, one).await, Party::new(&world, other).await);
        for number in 0..3u8 {
            alice.sends(&bob, &[number]).await;
            bob.sends(&alice, &[number]).await;
        }
        for number in 0..3u8 {
            assert_eq!(alice.hears().await, [number]);
            assert_eq!(bob.hears().await, [number]);
        }
        alice.up(&bob).await;
        bob.up(&alice).await;
        for party in [&alice, &bob] {
            // A connection that gave way has ended.
            let settled = |counters: &super::Counters| {
                counters.dialled + counters.accepted == counters.closed + 1 && counters.pending == 0
            };
            let counters = party.until(settled).await;
            assert_eq!((counters.opened, counters.connected_peers, counters.received_messages), (1, 1, 3));
            assert_eq!((counters.unknown_messages, counters.not_sent_messages), (0, 0));
        }
        assert!(alice.nothing_more() && bob.nothing_more(), "nobody was down");
        for party in [alice, bob] {
            party.node.stop().await;
        }
    }
}

/// Each once and in order; then the peer is called unresponsive, once.
pub async fn a_peer_that_cannot_be_reached_is_unresponsive_and_its_messages_are_handed_back<A: Adapter>(
    world: A,
) {
    let url = place_of(&world, "bob").await;
    // Time enough to send all of them before the last attempt.
    let mut terms = Terms::of("alice").attempts(3);
    (terms.peers.backoff, terms.peers.max_backoff) = (Duration::from_millis(400), Duration::from_millis(400));
    let alice = Party::with(&world, terms).await;
    let mut sent = Vec::new();
    for number in 0..5u8 {
        sent.push(alice.sends_to(&url, &[number]).await);
    }
    for (number, id) in sent.into_iter().enumerate() {
        assert_eq!(alice.handed_back().await, (id, NotSentCause::DialFailed, vec![number as u8]));
    }
    alice.unresponsive(&url).await;
    let counters = alice.until(|counters| counters.known_peers == 0).await;
    assert_eq!((counters.queued_bytes, counters.not_sent_messages, counters.dialled), (0, 5, 0));
    assert!(alice.nothing_more());
    // Another message is another beginning.
    let bob = Party::with(&world, Terms { at: Some(url), ..Terms::of("bob") }).await;
    alice.sends(&bob, b"there you are").await;
    assert_eq!(bob.hears().await, b"there you are");
}

/// In order, and before what is sent after it came.
pub async fn what_waits_for_a_peer_that_is_away_arrives_when_it_comes<A: Adapter>(world: A) {
    let url = place_of(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    for number in 0..10u8 {
        assert_eq!(alice.sends_to(&url, &[number]).await.number, u64::from(number));
    }
    assert_eq!(alice.node.counters().await.connected_peers, 0);
    let bob = Party::with(&world, Terms { at: Some(url), ..Terms::of("bob") }).await;
    alice.sends(&bob, &[10]).await;
    for number in 0..=10u8 {
        assert_eq!(bob.hears().await, [number]);
    }
    alice.up(&bob).await;
    assert!(alice.nothing_more(), "nobody was unresponsive");
}

/// Delivered once, or handed back, or unknown; and the peer is up and down in turns.
pub async fn every_message_across_a_restart_has_one_fate<A: Adapter>(world: A) {
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    let mut bob = Party::new(&world, "bob").await;
    let (mut heard, mut sent, mut lives) = (Vec::new(), 0u8, 0);
    while lives < 3 {
        for _ in 0..5 {
            alice.sends(&bob, &[sent]).await;
            sent += 1;
        }
        while heard.last() != Some(&(sent - 1)) {
            heard.push(bob.hears().await[0]);
        }
        let url = bob.url.clone();
        bob.node.stop().await;
        // It is gone, and alice may not know.
        for _ in 0..5 {
            alice.sends_to(&url, &[sent]).await;
            sent += 1;
        }
        bob = Party::with(&world, Terms { at: Some(url), ..Terms::of("bob") }).await;
        lives += 1;
        // Until one arrives, and with it all that waited.
        loop {
            alice.sends(&bob, &[sent]).await;
            sent += 1;
            let mut arrived = None;
            for _ in 0..50 {
                world.pause().await;
                arrived = bob.heard_already();
                if arrived.is_some() {
                    break;
                }
            }
            if let Some(message) = arrived {
                heard.push(message[0]);
                break;
            }
        }
    }
    while heard.last() != Some(&(sent - 1)) {
        heard.push(bob.hears().await[0]);
    }
    assert!(heard.is_sorted_by(|one, next| one < next), "once, and in order: {heard:?}");
    let (mut unknown, mut handed_back, mut up) = (0, BTreeSet::new(), false);
    while let Some(event) = alice.told_already() {
        match event {
            Event::Up(url) => assert!(url == bob.url && !core::mem::replace(&mut up, true)),
            Event::Down { cause, words, unknown: numbers, .. } => {
                assert!(core::mem::replace(&mut up, false));
                let goodbye = cause == DownCause::Ended(CloseReason::Disconnected);
                assert_eq!(goodbye.then_some(&words[..]), A::FAREWELL);
                unknown += numbers.map_or(0, |numbers| numbers.last - numbers.first + 1);
            }
            Event::NotSent { data, .. } => assert!(handed_back.insert(data[0]), "handed back once"),
            // Who goes without a word is not there any more, for all that anybody knows.
            Event::Unresponsive(_) => assert_eq!(A::FAREWELL, None),
            other => panic!("{other:?}"),
        }
    }
    let counters = alice.node.counters().await;
    assert_eq!(counters.accepted_messages, u64::from(sent));
    assert_eq!(counters.not_sent_messages, handed_back.len() as u64);
    assert_eq!(counters.queued_bytes, 0);
    assert_eq!(counters.unknown_messages, unknown);
    let lost = (0..sent).filter(|number| !heard.contains(number) && !handed_back.contains(number));
    let lost = lost.count() as u64;
    assert!(lost <= unknown, "{lost} were lost, {unknown} are unknown");
    assert!(handed_back.iter().all(|number| !heard.contains(number)), "handed back, and heard");
}

/// And listening again is told again.
pub async fn a_listening_address_is_told_and_its_loss_too<A: Adapter>(world: A) {
    let (alice, bob) = two(&world).await;
    for _ in 0..3 {
        bob.node.listen(false).await;
        assert_eq!(bob.event().await, Event::Lost(bob.url.clone()));
        bob.node.listen(true).await;
        assert_eq!(bob.event().await, Event::Listening(bob.url.clone()));
    }
    alice.sends(&bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
}

/// Wherever the connection came from.
pub async fn an_advertised_url_is_what_peers_know<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let url = format!("{}://fox.example:9000/{}", scheme::<A>(), id::<A>("fox"));
    let fox = Party::with(&world, Terms { advertise: Some(url.clone()), ..Terms::of("fox") }).await;
    assert_eq!(fox.url, url);
    fox.sends(&bob, b"hello").await;
    assert_eq!(bob.message().await.from, url);
    assert_eq!(bob.event().await, Event::Up(url.clone()));
    bob.sends_to(&url, b"back").await;
    assert_eq!(fox.hears().await, b"back");
}

/// Each with a connection of its own, which nobody else's end touches.
pub async fn more_peers_than_one_are_served_at_once<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let names = ["ann", "ben", "cat"];
    let mut guests = Vec::new();
    for name in names {
        guests.push(Party::new(&world, name).await);
    }
    for (guest, name) in guests.iter().zip(names) {
        guest.sends(&bob, name.as_bytes()).await;
    }
    let mut heard = Vec::new();
    for _ in names {
        let message = bob.message().await;
        bob.sends_to(&message.from, &message.data).await;
        heard.push(message.data);
    }
    heard.sort();
    assert_eq!(heard, [b"ann", b"ben", b"cat"]);
    for (guest, name) in guests.iter().zip(names) {
        assert_eq!(guest.hears().await, name.as_bytes());
    }
    bob.until(|counters| counters.connected_peers == 3).await;
    assert!(bob.node.disconnect(&guests[0].url, b"bye").await);
    for guest in &guests[1..] {
        guest.sends(&bob, b"still here").await;
        assert_eq!(bob.message().await.from, guest.url);
    }
    assert_eq!(bob.node.counters().await.connected_peers, 2);
}
