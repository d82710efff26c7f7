//! What is full makes somebody wait, and nothing is lost.

use core::pin::pin;

use futures_lite::future;
use kitfox_core::node::NotSentCause;

use super::{Adapter, LETTERS, Node, PATIENCE, Party, SPACE, SendError, Terms, within};

/// The place of a node that was there and is gone: its URL.
pub(super) async fn place_of<A: Adapter>(world: &A, name: &'static str) -> String {
    let gone = Party::new(world, name).await;
    let url = gone.url.clone();
    gone.node.stop().await;
    url
}

/// While the peer is away; when it comes all arrives, in order.
pub async fn a_full_outbox_is_backpressure_and_who_waits_loses_nothing<A: Adapter>(world: A) {
    let url = place_of(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    let mut sent = 0u8;
    while alice.node.try_send(&url, SPACE, &[sent; 300]).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 6, "the same on every adapter");
    let full = alice.node.try_send(&url, SPACE, &[0; 300]).await;
    assert_eq!(full, Err(SendError::Backpressure));
    assert!(alice.node.counters().await.outbox_full >= 2);
    // A shorter one finds room; it keeps its place.
    alice.node.try_send(&url, SPACE, &[sent; 10]).await.unwrap();
    {
        let last = [sent + 1; 300];
        let mut waits = pin!(alice.node.send(&url, SPACE, &last));
        assert!(future::poll_once(waits.as_mut()).await.is_none());
        let bob = Party::with(&world, Terms { at: Some(url.clone()), ..Terms::of("bob") }).await;
        assert_eq!(bob.url, url);
        within(&world, PATIENCE, waits).await.unwrap();
        for number in 0..sent {
            assert_eq!(bob.hears().await, [number; 300]);
        }
        assert_eq!(bob.hears().await, [sent; 10]);
        assert_eq!(bob.hears().await, last);
        alice.up(&bob).await;
        let counters = alice.node.counters().await;
        assert_eq!((counters.accepted_messages, counters.not_sent_messages), (8, 0));
        assert_eq!(counters.queued_bytes, 0);
        // Bob is still there: that he goes would be told.
        assert!(alice.nothing_more());
    }
}

/// However slowly they are taken out.
pub async fn a_full_inbox_stops_the_peer_and_nothing_is_lost<A: Adapter>(world: A) {
    const MESSAGES: u8 = 200;
    let bob = Party::with(&world, Terms { letters: true, ..Terms::of("bob") }).await;
    let alice = Party::new(&world, "alice").await;
    let says = async {
        for number in 0..MESSAGES {
            alice.sends(&bob, &[number; 40]).await;
        }
    };
    let reads = async {
        for number in 0..MESSAGES {
            if number.is_multiple_of(50) {
                // Full, and nobody takes anything out: no more is taken in.
                while bob.node.letters() < LETTERS {
                    world.pause().await;
                }
                for _ in 0..20 {
                    world.pause().await;
                }
                assert_eq!(bob.node.letters(), LETTERS);
                let most = u64::from(number) + LETTERS as u64 + 1;
                assert!(bob.node.counters().await.received_messages <= most);
            }
            assert_eq!(within(&world, PATIENCE, bob.node.letter()).await, [number; 40]);
        }
    };
    within(&world, PATIENCE, future::zip(says, reads)).await;
    assert_eq!(bob.node.counters().await.received_messages, u64::from(MESSAGES));
    assert_eq!(alice.node.counters().await.not_sent_messages, 0);
}

/// Each once, in order, and nobody is called unresponsive.
pub async fn what_waits_at_a_disconnect_is_handed_back<A: Adapter>(world: A) {
    let url = place_of(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    let mut sent = Vec::new();
    for number in 0..5u8 {
        sent.push(alice.sends_to(&url, &[number]).await);
    }
    assert!(alice.node.disconnect(&url, b"never mind").await);
    for (number, id) in sent.into_iter().enumerate() {
        let expected = (id, NotSentCause::Disconnected, vec![number as u8]);
        assert_eq!(alice.handed_back().await, expected);
    }
    let counters = alice.until(|counters| counters.known_peers == 0).await;
    assert!(!alice.node.disconnect(&url, b"never mind").await);
    assert_eq!((counters.queued_bytes, counters.not_sent_messages, counters.unknown_messages), (0, 5, 0));
    let bob = Party::with(&world, Terms { at: Some(url.clone()), ..Terms::of("bob") }).await;
    alice.sends(&bob, b"now").await;
    assert_eq!(bob.hears().await, b"now");
    alice.up(&bob).await;
    assert!(alice.nothing_more(), "{:?}", alice.told_already());
}
