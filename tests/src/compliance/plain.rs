//! What plain connections promise: strangers can speak on them.

use kitfox_core::ProtocolError;
use kitfox_core::connection::CloseReason;
use kitfox_core::node::NotSentCause;
use kitfox_core::wire::{FrameType, Message};

use super::strangers::farewell;
use super::{Adapter, Event, Node, PATIENCE, Party, Raw, SPACE, Terms, connected, two, within};
use crate::frames::{data, frame, preflight};

/// Where a stranger says that it is.
fn stranger(name: &str) -> String {
    format!("ws://127.0.0.1:1/{name}")
}

/// Connects and goes through the gate.
async fn opened<A: Adapter>(world: &A, to: &Party<A>, name: &str) -> A::Raw {
    let mut raw = world.raw(&to.url).await;
    raw.send(&preflight(&stranger(name), &Message::preflight(b"hi"))).await;
    raw.send(&[1, 0, 0, 0, 0]).await;
    assert_eq!(to.event().await, Event::Up(stranger(name)));
    raw
}

/// What is sent is handed back with the reason.
pub async fn whoever_answers_with_another_id_is_not_the_peer<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(1)).await;
    let url = bob.url_with_id("somebody-else");
    let id = alice.sends_to(&url, b"hello?").await;
    let wrong = CloseReason::Protocol(ProtocolError::WrongPeer);
    assert_eq!(alice.handed_back().await, (id, NotSentCause::GateFailed(wrong), b"hello?".to_vec()));
    assert!(alice.node.peers().await.is_empty() && bob.nothing_more());
}

/// Whatever is wrong with it.
pub async fn a_wrong_preflight_is_refused_and_disturbs_nobody_else<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let cases = [
        ("not a PREFLIGHT", preflight(&stranger("m"), &Message::notify(SPACE, b"let me in"))),
        ("no peer id", preflight("ws://a:1", &Message::preflight(b""))),
        ("our own id", preflight(&stranger("bob"), &Message::preflight(b""))),
        ("a URL that is not canonical", frame(FrameType::Preflight, b"\0\0\0\x08ws://a/m\x08\x01")),
        ("a preflight that is too long", vec![0, 0, 0, 4, 0]),
        ("a URL that is too long", frame(FrameType::Preflight, b"\xff\xff\xff\xffws://a:1/m")),
    ];
    for (closed, (name, bytes)) in (1..).zip(cases) {
        let mut raw = world.raw(&bob.url).await;
        raw.send(&bytes).await;
        let rest = within(&world, PATIENCE, raw.rest()).await;
        assert!(rest.ends_with(&farewell::<A>(b"protocol error")), "{name}: {}", rest.escape_ascii());
        alice.sends(&bob, b"meanwhile").await;
        assert_eq!(bob.hears().await, b"meanwhile", "{name}");
        let counters = bob.until(|counters| counters.closed == closed).await;
        assert_eq!((counters.opened, counters.connected_peers), (1, 1), "{name}");
    }
    assert!(alice.nothing_more() && bob.nothing_more(), "nobody was told of strangers");
}

/// Nothing of it is waited for.
pub async fn a_frame_that_is_too_long_is_refused_by_its_header<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let mut raw = opened(&world, &bob, "raw").await;
    raw.send(&[1, 0, 0, 4, 0]).await;
    let (reason, _) = bob.down().await;
    assert!(matches!(reason, CloseReason::Protocol(ProtocolError::Frame(_))), "{reason:?}");
    let rest = within(&world, PATIENCE, raw.rest()).await;
    assert!(rest.ends_with(&farewell::<A>(b"protocol error")));
    bob.unresponsive(&stranger("raw")).await;
    assert!(bob.nothing_more());
}

/// What came whole before it is.
pub async fn a_connection_that_is_cut_inside_a_frame_delivers_nothing_of_it<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let message = data(&Message::notify(SPACE, b"whole"));
    for cut in 1..message.len() {
        let mut raw = opened(&world, &bob, &format!("raw-{cut}")).await;
        raw.send(&message).await;
        raw.send(&message[..cut]).await;
        raw.finish().await;
        assert_eq!(bob.hears().await, b"whole");
        let (reason, _) = bob.down().await;
        assert_eq!(reason, CloseReason::Protocol(ProtocolError::EndInsideFrame), "{cut}");
        bob.unresponsive(&stranger(&format!("raw-{cut}"))).await;
        within(&world, PATIENCE, raw.rest()).await;
    }
    assert!(bob.nothing_more());
}

/// It could not be known before.
pub async fn a_message_that_is_too_large_for_the_peer_ends_the_connection<A: Adapter>(world: A) {
    let mut terms = Terms::of("bob");
    terms.config.max_frame_bytes = 300;
    let (alice, bob) = (Party::new(&world, "alice").await, Party::with(&world, terms).await);
    super::party::meet(&alice, &bob).await;
    alice.sends(&bob, &[0; 300]).await;
    assert_eq!(alice.down().await, (CloseReason::Disconnected, b"protocol error".to_vec()));
    let (reason, _) = bob.down().await;
    assert!(matches!(reason, CloseReason::Protocol(ProtocolError::Frame(_))), "{reason:?}");
    alice.sends(&bob, &[0; 200]).await;
    assert_eq!(bob.hears().await, [0; 200]);
}

/// On a plain connection anybody can claim an id; who has it keeps it.
pub async fn a_liar_does_not_displace_a_live_connection<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let mut liar = world.raw(&bob.url).await;
    liar.send(&preflight(&alice.url, &Message::preflight(b"it is me"))).await;
    liar.send(&[1, 0, 0, 0, 0]).await;
    liar.send(&data(&Message::notify(SPACE, b"a lie"))).await;
    for number in 0..20u8 {
        alice.sends(&bob, &[number]).await;
        assert_eq!(bob.hears().await, [number]);
        bob.sends(&alice, &[number]).await;
        assert_eq!(alice.hears().await, [number]);
    }
    assert!(alice.nothing_more() && bob.nothing_more());
    assert_eq!(bob.node.counters().await.opened, 1);
}

/// And nothing that comes after them is heard.
pub async fn a_peer_that_said_goodbye_is_down_with_its_words<A: Adapter>(world: A) {
    let (_, bob) = two(&world).await;
    let mut raw = opened(&world, &bob, "raw").await;
    let mut bytes = data(&Message::notify(SPACE, b"before"));
    bytes.extend(data(&Message::disconnect(b"so long \xff")));
    bytes.extend(data(&Message::notify(SPACE, b"after")));
    raw.send(&bytes).await;
    assert_eq!(bob.hears().await, b"before");
    assert_eq!(bob.down().await, (CloseReason::Disconnected, b"so long \xff".to_vec()));
    within(&world, PATIENCE, raw.rest()).await;
    assert!(bob.nothing_more());
}
