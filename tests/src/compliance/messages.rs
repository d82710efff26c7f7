//! Messages between nodes, and what handlers may do.

use futures_lite::future;
use kitfox_core::connection::CloseReason;
use kitfox_core::node::DownCause;
use kitfox_core::router::SendRefused;
use kitfox_core::wire::{HEADER_BYTES, Message};

use super::{
    Adapter, Event, FRAME, Node, PATIENCE, Party, SPACE, SendError, Terms, connected, scheme, spelled, two,
    within,
};

/// The longest payload of a message to [`SPACE`] that a frame holds.
pub(super) fn longest() -> usize {
    let len = |data: usize| HEADER_BYTES + Message::notify(SPACE, &vec![0; data]).encoded_len();
    (0..FRAME).rev().find(|&data| len(data) <= FRAME).unwrap()
}

/// Nobody has to connect.
pub async fn a_message_dials_and_arrives<A: Adapter>(world: A) {
    let (alice, bob) = two(&world).await;
    let first = alice.sends(&bob, b"it rains").await;
    assert_eq!(first.number, 0);
    let heard = bob.message().await;
    assert_eq!(
        (heard.from, &heard.data[..], heard.proven),
        (alice.url.clone(), &b"it rains"[..], A::SECURED)
    );
    assert_eq!((&heard.space[..], &heard.module[..]), (SPACE, ""));
    alice.up(&bob).await;
    bob.up(&alice).await;
    bob.sends(&alice, b"let it").await;
    assert_eq!(alice.hears().await, b"let it");
    assert_eq!(alice.node.peers().await, [bob.url.as_str()]);
    assert_eq!(bob.node.peers().await, [alice.url.as_str()]);
    let (ours, theirs) = (alice.node.counters().await, bob.node.counters().await);
    assert_eq!((ours.dialled, theirs.accepted, ours.accepted, theirs.dialled), (1, 1, 0, 0));
    assert!(alice.nothing_more() && bob.nothing_more());
}

/// And none is lost.
pub async fn messages_arrive_in_order_in_both_directions<A: Adapter>(world: A) {
    const MESSAGES: u32 = 300;
    let (alice, bob) = two(&world).await;
    let say = async |from: &Party<A>, to: &Party<A>, times: usize| {
        for number in 0..MESSAGES {
            from.sends(to, &number.to_be_bytes().repeat(times)).await;
        }
    };
    let hear = async |party: &Party<A>, times: usize| {
        for number in 0..MESSAGES {
            assert_eq!(party.hears().await, number.to_be_bytes().repeat(times));
        }
    };
    future::zip(
        future::zip(say(&alice, &bob, 1), say(&bob, &alice, 50)),
        future::zip(hear(&alice, 50), hear(&bob, 1)),
    )
    .await;
    for party in [&alice, &bob] {
        let counters = party.node.counters().await;
        assert_eq!((counters.received_messages, counters.accepted_messages), (300, 300));
        assert_eq!((counters.unknown_messages, counters.not_sent_messages), (0, 0));
    }
}

/// Also the longest one, and the empty one.
pub async fn messages_of_every_length_cross_the_ends_of_frames_and_buffers<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let longest = longest();
    let lengths = (0..longest).step_by(7).chain([longest - 1, longest, 0, 127, 128, 255, 256]);
    for len in lengths {
        let message: Vec<u8> = (0..len).map(|place| (place * 31 + len) as u8).collect();
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            from.sends(to, &message).await;
            assert!(to.hears().await == message, "{len} bytes");
        }
    }
    assert!(alice.nothing_more() && bob.nothing_more(), "one connection did it all");
}

/// With its name and its space.
pub async fn a_module_gets_its_messages<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        to.node.register_module(SPACE, "gossip").await;
        from.node.try_send_module(&to.url, SPACE, "gossip", b"psst").await.unwrap();
        let heard = to.message().await;
        assert_eq!((&heard.space[..], &heard.module[..], &heard.data[..]), (SPACE, "gossip", &b"psst"[..]));
        assert_eq!(heard.from, from.url);
    }
}

/// The connection stays.
pub async fn a_message_for_nobody_is_dropped_and_counted<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    alice.node.register_space(b"nowhere").await;
    alice.node.try_send(&bob.url, b"nowhere", b"").await.unwrap();
    alice.node.try_send_module(&bob.url, SPACE, "nobody", b"psst").await.unwrap();
    alice.sends(&bob, b"after").await;
    assert_eq!(bob.hears().await, b"after");
    let counters = bob.node.counters().await;
    assert_eq!((counters.dropped_messages, counters.received_messages), (2, 2));
    assert!(alice.nothing_more() && bob.nothing_more());
}

/// A space takes its modules with it.
pub async fn what_is_unregistered_gets_nothing_and_sends_nothing<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    bob.node.register_space(b"open").await;
    alice.node.register_space(b"open").await;
    bob.node.register_module(SPACE, "gossip").await;
    assert!(bob.node.unregister_module(SPACE, "gossip").await);
    assert!(!bob.node.unregister_module(SPACE, "gossip").await);
    alice.node.try_send_module(&bob.url, SPACE, "gossip", b"psst").await.unwrap();
    assert!(bob.node.unregister_space(SPACE).await);
    assert!(!bob.node.unregister_space(SPACE).await);
    alice.sends(&bob, b"unheard").await;
    alice.node.try_send(&bob.url, b"open", b"heard").await.unwrap();
    assert_eq!(bob.hears().await, b"heard");
    assert_eq!(bob.node.counters().await.dropped_messages, 2);
    let refused = bob.node.try_send(&alice.url, SPACE, b"").await;
    assert_eq!(refused, Err(SendError::Refused(SendRefused::UnknownSpace)));
    bob.node.register_space(SPACE).await;
    alice.sends(&bob, b"again").await;
    assert_eq!(bob.hears().await, b"again");
}

/// Nobody is dialled who is connected.
pub async fn an_id_is_the_same_peer_in_every_spelling_and_at_every_address<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let elsewhere = format!("{}://elsewhere.example:1/{}", scheme::<A>(), spelled::<A>("bob"));
    alice.sends_to(&elsewhere, b"same").await;
    assert_eq!(bob.hears().await, b"same");
    assert_eq!(alice.node.counters().await.dialled, 1);
    assert_eq!(alice.node.peers().await, [bob.url.as_str()]);
}

/// To the space that the message was for.
pub async fn a_handler_replies_from_inside_a_delivery<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    bob.told.on_message(|inside, message| inside.reply(&message.data[1..]));
    for number in 0..100u8 {
        alice.sends(&bob, &[b'?', number]).await;
        assert_eq!(alice.hears().await, [number]);
    }
    let counted = bob.node.counters().await.accepted_messages;
    assert_eq!(counted, if A::COUNTS_REPLIES { 100 } else { 0 });
    assert_eq!(bob.node.counters().await.queued_bytes, 0);
}

/// The block holds for the very next message.
pub async fn a_handler_may_block_from_inside_a_delivery<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    bob.told.on_message(|inside, _| {
        inside.block();
        true
    });
    for message in [b"one", b"two"] {
        alice.sends(&bob, message).await;
    }
    assert_eq!(bob.hears().await, b"one");
    bob.until(|counters| counters.dropped_messages == 1).await;
    assert!(bob.nothing_more() && alice.nothing_more());
}

/// What came with it in the same read is not.
pub async fn after_a_disconnect_from_inside_nothing_more_is_delivered<A: Adapter>(world: A) {
    let (alice, bob) = two(&world).await;
    bob.told.on_message(|inside, _| {
        inside.disconnect(b"enough");
        true
    });
    // They wait for the gate, and come together.
    for _ in 0..5 {
        alice.node.try_send(&bob.url, SPACE, b"next").await.unwrap();
    }
    alice.up(&bob).await;
    let down = alice.event().await;
    let Event::Down { cause, words, unknown, .. } = down else { panic!("{down:?}") };
    assert_eq!(cause, DownCause::Ended(CloseReason::Disconnected));
    assert_eq!(words, b"enough");
    assert!(unknown.is_some_and(|unknown| unknown.first == 0));
    bob.up(&alice).await;
    assert_eq!(bob.down().await.0, CloseReason::Local);
    let heard = bob.told.log().iter().take_while(|note| !note.starts_with("down")).count();
    assert_eq!(heard, 2, "it was up, and one message came: {:?}", bob.told.log());
}

/// Who listens on the wire of a secured connection learns nothing of what is said.
pub async fn what_is_said_is_on_the_wire_only_where_it_is_plain<A: Adapter>(world: A) {
    let text = b"the key is under the third flower pot";
    let bob = Party::new(&world, "bob").await;
    bob.told.answer(|answers| answers.preflight_gather = Some(b"bob's preflight speaks".to_vec()));
    let (url, tap) = world.tap(&bob.url).await;
    let alice = Party::with(&world, Terms::of("alice")).await;
    alice.sends_to(&url, text).await;
    assert_eq!(bob.hears().await, text);
    bob.sends(&alice, text).await;
    within(&world, PATIENCE, alice.hears()).await;
    let tap = tap.lock().unwrap().clone();
    let times = |what: &[u8]| tap.windows(what.len()).filter(|bytes| *bytes == what).count();
    assert!(tap.len() > 2 * text.len(), "the wire is this one");
    let expected = if A::SECURED { 0 } else { 2 };
    assert_eq!((times(text), times(SPACE)), (expected, expected));
    assert_eq!(times(b"bob's preflight speaks"), expected / 2);
}
