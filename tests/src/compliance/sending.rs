//! What cannot be sent is refused at once, with the reason, and leaves nothing behind.

use kitfox_core::CapacityError;
use kitfox_core::connection::NotDialable;
use kitfox_core::router::SendRefused;
use kitfox_core::wire::{PeerUrl, UrlRules};

use super::messages::longest;
use super::{Adapter, Event, Node, Party, SPACE, SendError, Terms, connected, id, scheme};

/// Nothing was dialled, and nothing waits.
async fn left_nothing<A: Adapter>(party: &Party<A>, peers: u64) {
    let counters = party.until(|counters| counters.known_peers == peers).await;
    assert_eq!((counters.queued_bytes, counters.dialled), (0, peers));
    assert!(party.nothing_more());
}

/// Each with its own reason.
pub async fn what_cannot_be_dialled_is_refused_at_once<A: Adapter>(world: A) {
    let alice = Party::new(&world, "alice").await;
    let eve = id::<A>("eve");
    let (ours, other, other_kind) = if A::SECURED {
        ("wss", "ws", NotDialable::PlainUrl)
    } else {
        ("ws", "wss", NotDialable::SecuredUrl)
    };
    assert_eq!(ours, scheme::<A>());
    for (url, reason) in [
        (format!("{ours}://127.0.0.1:1"), NotDialable::NoPeerId),
        (format!("{ours}://127.0.0.1:1/{}", "x".repeat(65)), NotDialable::NoPeerId),
        (format!("{ours}://127.0.0.1:0/{eve}"), NotDialable::PortZero),
        (format!("{other}://127.0.0.1:1/{eve}"), other_kind),
        (alice.url.clone(), NotDialable::OurOwnId),
        (format!("{ours}://elsewhere.example:1/{}", id::<A>("alice")), NotDialable::OurOwnId),
    ] {
        let refused = Err(SendError::NotDialable(reason));
        assert_eq!(alice.node.try_send(&url, SPACE, b"").await, refused, "{url}");
        assert_eq!(alice.node.send(&url, SPACE, b"").await, refused, "{url}");
        assert_eq!(alice.node.try_send_module(&url, SPACE, "m", b"").await, refused, "{url}");
        assert!(!alice.node.disconnect(&url, b"").await);
    }
    left_nothing(&alice, 0).await;
}

/// With what is wrong with it.
pub async fn a_url_that_is_none_is_refused_at_once<A: Adapter>(world: A) {
    let alice = Party::new(&world, "alice").await;
    for url in ["", "nonsense", "127.0.0.1:1/id", "ftp://a:1/b", "ws://a/b", "ws://:1/b"] {
        let error = PeerUrl::parse(url, &UrlRules::default()).unwrap_err();
        assert_eq!(alice.node.try_send(url, SPACE, b"").await, Err(SendError::InvalidUrl(error)), "{url}");
    }
    let long = format!("{}://{}.example:1/{}", scheme::<A>(), "a".repeat(300), id::<A>("eve"));
    let refused = alice.node.try_send(&long, SPACE, b"").await;
    assert!(matches!(refused, Err(SendError::InvalidUrl(_))), "{refused:?}");
    left_nothing(&alice, 0).await;
}

/// Whether the peer is connected or not.
pub async fn an_unknown_space_is_refused_at_once<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let stranger = format!("{}://127.0.0.1:1/{}", scheme::<A>(), id::<A>("eve"));
    for url in [&bob.url, &stranger] {
        let refused = Err(SendError::Refused(SendRefused::UnknownSpace));
        assert_eq!(alice.node.try_send(url, b"nowhere", b"").await, refused);
        assert_eq!(alice.node.send(url, b"nowhere", b"").await, refused);
        assert_eq!(alice.node.try_send_module(url, b"nowhere", "m", b"").await, refused);
    }
    left_nothing(&alice, 1).await;
}

/// One byte less is accepted.
pub async fn a_message_that_no_frame_can_hold_is_refused_at_once<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let alice = Party::new(&world, "alice").await;
    let (fits, too_long) = (vec![1; longest()], vec![2; longest() + 1]);
    assert_eq!(alice.node.try_send(&bob.url, SPACE, &too_long).await, Err(SendError::TooLarge));
    assert_eq!(alice.node.send(&bob.url, SPACE, &[0; 5000]).await, Err(SendError::TooLarge));
    left_nothing(&alice, 0).await;
    alice.sends(&bob, &fits).await;
    assert_eq!(bob.hears().await, fits);
    let counters = alice.node.counters().await;
    assert_eq!((counters.accepted_messages, counters.outbox_full), (1, 0));
}

/// Those that have one go on.
pub async fn a_peer_that_has_no_place_is_refused_at_once<A: Adapter>(world: A) {
    let mut terms = Terms::of("alice");
    terms.peers.max_peers = 1;
    let (alice, bob, carol) = (
        Party::with(&world, terms).await,
        Party::new(&world, "bob").await,
        Party::new(&world, "carol").await,
    );
    alice.sends(&bob, b"one").await;
    let refused = alice.node.try_send(&carol.url, SPACE, b"").await;
    assert_eq!(refused, Err(SendError::Capacity(CapacityError::Peers)));
    alice.sends(&bob, b"two").await;
    assert_eq!(bob.hears().await, b"one");
    assert_eq!(bob.hears().await, b"two");
    alice.up(&bob).await;
    // Who goes makes room.
    assert!(alice.node.disconnect(&bob.url, b"bye").await);
    let down = alice.event().await;
    assert!(matches!(down, Event::Down { .. }), "{down:?}");
    alice.sends(&carol, b"three").await;
    assert_eq!(carol.hears().await, b"three");
}
