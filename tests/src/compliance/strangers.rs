//! Somebody with a socket and ideas of its own, at nodes of both kinds.

use core::time::Duration;

use kitfox_core::wire::Message;

use super::{Adapter, Node, PATIENCE, Party, Raw, SPACE, Terms, connected, within};
use crate::frames::data;

/// What a stranger is told who never was let in: over a secured connection nothing, not a word goes unsealed.
pub(super) fn farewell<A: Adapter>(reason: &[u8]) -> Vec<u8> {
    if A::SECURED { Vec::new() } else { data(&Message::disconnect(reason)) }
}

/// Others do not notice.
pub async fn garbage_ends_its_own_connection_and_nothing_else<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let garbage: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0xff; 600], &[0, 0, 0, 0, 1, 9], &[1; 200]];
    for (number, garbage) in garbage.into_iter().enumerate() {
        let mut raw = world.raw(&bob.url).await;
        raw.send(garbage).await;
        raw.finish().await;
        let rest = within(&world, PATIENCE, raw.rest()).await;
        assert_eq!(rest, farewell::<A>(b"protocol error"), "{number}");
        alice.sends(&bob, b"still here").await;
        assert_eq!(bob.hears().await, b"still here");
    }
    let counters = bob.until(|counters| counters.closed == 4).await;
    assert_eq!((counters.accepted, counters.opened, counters.connected_peers), (5, 1, 1));
    assert!(alice.nothing_more() && bob.nothing_more(), "nobody was told of strangers");
}

/// However well it is formed.
pub async fn data_before_the_gate_is_delivered_to_nobody<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let mut raw = world.raw(&bob.url).await;
    raw.send(&data(&Message::notify(SPACE, b"let me in"))).await;
    raw.finish().await;
    let rest = within(&world, PATIENCE, raw.rest()).await;
    assert_eq!(rest, farewell::<A>(b"protocol error"));
    bob.until(|counters| counters.closed == 1).await;
    alice.sends(&bob, b"mine").await;
    assert_eq!(bob.hears().await, b"mine");
    assert!(bob.nothing_more());
    assert_eq!(bob.node.counters().await.received_messages, 2);
}

/// Not before, and everybody is served meanwhile.
pub async fn silence_before_the_preflight_ends_after_its_time<A: Adapter>(world: A) {
    let mut terms = Terms::of("bob");
    terms.config.preflight_timeout = Duration::from_millis(700);
    let bob = Party::with(&world, terms).await;
    let alice = Party::new(&world, "alice").await;
    let before = world.now();
    let mut silent = world.raw(&bob.url).await;
    bob.until(|counters| counters.pending == 1).await;
    alice.sends(&bob, b"meanwhile").await;
    assert_eq!(bob.hears().await, b"meanwhile");
    let rest = within(&world, PATIENCE, silent.rest()).await;
    let took = world.now() - before;
    assert_eq!(rest, farewell::<A>(b"timeout"));
    assert!(took >= Duration::from_millis(690), "{took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    bob.until(|counters| counters.pending == 0 && counters.closed == 1).await;
    alice.sends(&bob, b"afterwards").await;
    assert_eq!(bob.hears().await, b"afterwards");
}

/// Before it said anything, or in the middle of it.
pub async fn a_stranger_that_goes_is_forgotten<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    for (number, bytes) in [&b""[..], &[0], &[0, 0, 0], &[0, 0, 0, 1, 0, 7]].into_iter().enumerate() {
        let mut raw = world.raw(&bob.url).await;
        raw.send(bytes).await;
        raw.finish().await;
        within(&world, PATIENCE, raw.rest()).await;
        drop(raw);
        let counters = bob.until(|counters| counters.closed == number as u64 + 1).await;
        assert_eq!((counters.pending, counters.opened), (0, 0));
    }
    assert!(bob.nothing_more());
}
