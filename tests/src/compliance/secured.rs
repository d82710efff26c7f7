//! What only secured connections promise.

use kitfox_core::ProtocolError;
use kitfox_core::connection::{CloseReason, NotDialable};
use kitfox_core::node::NotSentCause;
use kitfox_core::secure::HandshakeError;
use kitfox_core::wire::Message;

use super::{Adapter, Event, Node, PATIENCE, Party, Raw, SPACE, SendError, Terms, id, two, within};
use crate::frames::preflight;

/// What is sent is handed back, and the other node was told nothing.
async fn is_not_let_in<A: Adapter>(guest: &Party<A>, url: &str, host: &Party<A>) {
    let sent = guest.sends_to(url, b"let me in").await;
    let (id, cause, data) = guest.handed_back().await;
    let ended = CloseReason::Protocol(ProtocolError::Handshake(HandshakeError::Ended));
    assert_eq!((id, cause, &data[..]), (sent, NotSentCause::GateFailed(ended), &b"let me in"[..]));
    guest.unresponsive(url).await;
    assert!(host.nothing_more() && guest.nothing_more());
    assert_eq!(host.node.counters().await.opened, 0);
}

async fn hasty<A: Adapter>(world: &A, name: &'static str) -> Party<A> {
    Party::with(world, Terms::of(name).attempts(1)).await
}

/// It is never up, and hears nothing.
pub async fn whoever_listens_there_without_the_key_of_the_url_is_not_spoken_to<A: Adapter>(world: A) {
    let mallory = Party::new(&world, "mallory").await;
    let alice = hasty(&world, "alice").await;
    is_not_let_in(&alice, &mallory.url_with_id(&id::<A>("bob").to_string()), &mallory).await;
}

/// Those of the same do.
pub async fn nodes_of_different_networks_do_not_meet<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let eve = Party::with(&world, Terms { network: b"another", ..Terms::of("eve").attempts(1) }).await;
    is_not_let_in(&eve, &bob.url, &bob).await;
    let alice = Party::new(&world, "alice").await;
    alice.sends(&bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
}

/// In both directions, by the id of the URL.
pub async fn peers_are_proven_to_each_other<A: Adapter>(world: A) {
    let (alice, bob) = two(&world).await;
    alice.sends(&bob, b"hello").await;
    bob.sends(&alice, b"hello").await;
    for (party, peer) in [(&alice, &bob), (&bob, &alice)] {
        let heard = party.message().await;
        assert!(heard.proven);
        assert_eq!(heard.from, peer.url);
    }
    assert!(alice.url.ends_with(&id::<A>("alice").to_string()));
}

/// Nobody could prove it.
pub async fn a_url_whose_id_is_no_key_is_refused_at_once<A: Adapter>(world: A) {
    let alice = Party::new(&world, "alice").await;
    for id in ["bob", &"00".repeat(32), &"02".repeat(32)] {
        let refused = alice.node.try_send(&format!("wss://127.0.0.1:1/{id}"), SPACE, b"").await;
        assert_eq!(refused, Err(SendError::NotDialable(NotDialable::NoKey)), "{id}");
    }
    let counters = alice.node.counters().await;
    assert_eq!((counters.known_peers, counters.accepted_messages), (0, 0));
}

fn takes_300() -> Terms {
    let mut terms = Terms::of("bob");
    terms.config.max_frame_bytes = 300;
    terms
}

/// The connection stays.
pub async fn a_message_that_the_connected_peer_does_not_take_is_refused_at_once<A: Adapter>(world: A) {
    let (alice, bob) = (Party::new(&world, "alice").await, Party::with(&world, takes_300()).await);
    super::party::meet(&alice, &bob).await;
    assert_eq!(alice.node.send(&bob.url, SPACE, &[0; 300]).await, Err(SendError::TooLargeForPeer));
    assert_eq!(alice.node.try_send(&bob.url, SPACE, &[0; 300]).await, Err(SendError::TooLargeForPeer));
    alice.sends(&bob, &[0; 200]).await;
    assert_eq!(bob.hears().await, [0; 200]);
    assert!(alice.nothing_more() && bob.nothing_more());
}

/// What is not arrives, in its order.
pub async fn what_waited_and_is_too_large_for_the_peer_is_handed_back_alone<A: Adapter>(world: A) {
    let (alice, bob) = (Party::new(&world, "alice").await, Party::with(&world, takes_300()).await);
    // Before anybody knows what bob takes.
    for size in [600, 10, 400, 20, 300, 30] {
        alice.sends(&bob, &vec![1; size]).await;
    }
    for size in [10, 20, 30] {
        assert_eq!(bob.hears().await.len(), size);
    }
    let mut back = Vec::new();
    while back.len() < 3 {
        match alice.event().await {
            Event::NotSent { id, cause, data } => {
                assert_eq!(cause, NotSentCause::TooLargeForPeer);
                back.push((id.number, data.len()));
            }
            Event::Up(url) => assert_eq!(url, bob.url),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(back, [(0, 600), (2, 400), (4, 300)]);
    assert_eq!(bob.node.counters().await.connected_peers, 1, "the connection stays");
}

/// Others are let in.
pub async fn an_unwanted_id_is_turned_away_before_it_is_proven<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    bob.told.answer(|answers| answers.unwanted = Some(id::<A>("mallory")));
    let mallory = hasty(&world, "mallory").await;
    is_not_let_in(&mallory, &bob.url, &bob).await;
    let alice = Party::new(&world, "alice").await;
    alice.sends(&bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
    bob.up(&alice).await;
    bob.told.answer(|answers| answers.unwanted = None);
    mallory.sends(&bob, b"now").await;
    assert_eq!(bob.hears().await, b"now");
}

/// However well its preflight is formed, it is told nothing.
pub async fn a_secured_node_never_takes_a_plain_connection<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let mut raw = world.raw(&bob.url).await;
    raw.send(&preflight("ws://127.0.0.1:9/alice", &Message::preflight(b"hi"))).await;
    raw.send(&[1, 0, 0, 0, 0]).await;
    raw.finish().await;
    assert_eq!(within(&world, PATIENCE, raw.rest()).await, b"", "not a word");
    let counters = bob.until(|counters| counters.closed == 1).await;
    assert_eq!((counters.opened, counters.accepted), (0, 1));
    assert!(bob.nothing_more());
}
