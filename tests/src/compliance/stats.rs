//! The same script has the same counts on every adapter.

use kitfox_core::wire::Message;

use super::flow::place_of;
use super::{
    Adapter, Answers, Counters, Node, PATIENCE, Party, Raw, SPACE, Terms, connected, id, two, within,
};
use crate::frames::data;

/// A frame with such a message.
fn wire(text: &[u8]) -> u64 {
    data(&Message::notify(SPACE, text)).len() as u64
}

/// Connections, messages, and those that came to nothing.
pub async fn a_script_has_these_counts<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    for _ in 0..5 {
        alice.sends(&bob, b"12345").await;
        bob.hears().await;
    }
    bob.sends(&alice, b"back").await;
    alice.hears().await;
    // One for nobody, one that is blocked, one that cannot be sent.
    alice.node.try_send_module(&bob.url, SPACE, "nobody", b"").await.unwrap();
    bob.until(|counters| counters.dropped_messages == 1).await;
    bob.node.block(&id::<A>("alice").to_string(), None).await;
    alice.sends(&bob, b"unheard").await;
    bob.until(|counters| counters.dropped_messages == 2).await;
    bob.node.try_send(&alice.url, SPACE, b"").await.unwrap_err();
    bob.node.unblock(&id::<A>("alice").to_string(), None).await;
    let open = Counters { connected_peers: 1, known_peers: 1, opened: 1, ..Counters::default() };
    let ours = Counters {
        dialled: 1,
        accepted_messages: 8,
        received_messages: 1,
        received_bytes: wire(b"back"),
        ..open
    };
    let theirs = Counters {
        accepted: 1,
        accepted_messages: 1,
        received_messages: 6,
        received_bytes: wire(b"hello") + 5 * wire(b"12345"),
        dropped_messages: 2,
        ..open
    };
    assert_eq!((alice.node.counters().await, bob.node.counters().await), (ours, theirs));
    assert!(alice.node.disconnect(&bob.url, b"bye").await);
    let gone = |counters: &Counters| counters.closed == 1 && counters.known_peers == 0;
    let (alice_now, bob_now) = (alice.until(gone).await, bob.until(gone).await);
    let closed = |before: Counters, unknown_messages| Counters {
        connected_peers: 0,
        known_peers: 0,
        closed: 1,
        unknown_messages,
        ..before
    };
    assert_eq!((alice_now, bob_now), (closed(ours, 8), closed(theirs, 1)));
}

/// Nothing was opened, so nothing was closed.
pub async fn a_dial_that_fails_has_these_counts<A: Adapter>(world: A) {
    let url = place_of(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(3)).await;
    alice.sends_to(&url, b"anybody?").await;
    alice.handed_back().await;
    alice.unresponsive(&url).await;
    let expected = Counters { accepted_messages: 1, not_sent_messages: 1, ..Counters::default() };
    assert_eq!(alice.node.counters().await, expected);
}

/// At both ends.
pub async fn a_gate_that_stays_shut_has_these_counts<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(2)).await;
    bob.told.answer(|answers| *answers = Answers { peer_connect: false, ..Answers::default() });
    alice.sends(&bob, b"let me in").await;
    alice.handed_back().await;
    let expected =
        Counters { dialled: 2, closed: 2, accepted_messages: 1, not_sent_messages: 1, ..Counters::default() };
    assert_eq!(alice.until(|counters| counters.closed == 2 && counters.known_peers == 0).await, expected);
    let expected = Counters { accepted: 2, closed: 2, ..Counters::default() };
    assert_eq!(bob.until(|counters| counters.closed == 2).await, expected);
}

/// While it is there, and when it is gone.
pub async fn a_stranger_has_these_counts<A: Adapter>(world: A) {
    let (_, bob) = two(&world).await;
    let mut raw = world.raw(&bob.url).await;
    let expected = Counters { accepted: 1, pending: 1, ..Counters::default() };
    assert_eq!(bob.until(|counters| counters.accepted == 1).await, expected);
    raw.send(&[9; 300]).await;
    raw.finish().await;
    within(&world, PATIENCE, raw.rest()).await;
    let expected = Counters { accepted: 1, closed: 1, ..Counters::default() };
    assert_eq!(bob.until(|counters| counters.closed == 1).await, expected);
}
