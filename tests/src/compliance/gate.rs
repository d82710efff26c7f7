//! Who is let in, and who is heard.

use kitfox_core::connection::{CloseReason, Refusal};
use kitfox_core::node::NotSentCause;
use kitfox_core::router::SendRefused;

use super::{Adapter, Answers, Event, Node, Party, SPACE, SendError, Terms, connected, id, spelled, two};

/// Before anybody is up.
pub async fn preflights_are_exchanged<A: Adapter>(world: A) {
    let (alice, bob) = two(&world).await;
    alice.told.answer(|answers| answers.preflight_gather = Some(b"from alice".to_vec()));
    bob.told.answer(|answers| answers.preflight_gather = Some(vec![7; 300]));
    alice.sends(&bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
    assert_eq!(bob.told.preflights(), [b"from alice".to_vec()]);
    assert_eq!(alice.told.preflights(), [vec![7; 300]]);
}

type Refuse = (fn(&mut Answers), Refusal);

/// How an answer refuses, and what its own end calls that.
const REFUSALS: [Refuse; 4] = [
    (|answers| answers.peer_connect = false, Refusal::Admission),
    (|answers| answers.preflight_validate = false, Refusal::Preflight),
    (|answers| answers.preflight_gather = None, Refusal::Gather),
    (|answers| answers.has_local_agents = false, Refusal::NoLocalAgents),
];

/// All that waits, with the cause.
pub async fn whoever_is_refused_at_the_gate_is_told_and_gets_its_messages_back<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    for ((refuse, ..), name) in REFUSALS.into_iter().zip(["a", "b", "c", "d"]) {
        bob.told.answer(refuse);
        let alice = Party::with(&world, Terms::of(name).attempts(1)).await;
        for number in 0..3u8 {
            alice.sends(&bob, &[number]).await;
        }
        // The first may be back before the last is sent, which dials again.
        let (mut back, mut over) = (0u8, false);
        while !over {
            match alice.event().await {
                Event::NotSent { cause, data, .. } => {
                    assert_eq!(cause, NotSentCause::GateFailed(CloseReason::Disconnected), "{name}");
                    assert_eq!(data, [back]);
                    back += 1;
                }
                Event::Unresponsive(url) => {
                    assert_eq!(url, bob.url);
                    over = back == 3;
                }
                other => panic!("{other:?}"),
            }
        }
        let counters = alice.node.counters().await;
        assert_eq!((counters.opened, counters.queued_bytes, counters.known_peers), (0, 0, 0));
        bob.told.answer(|answers| *answers = Answers::default());
        alice.node.stop().await;
    }
    assert!(bob.nothing_more(), "nobody was up or down, nothing was heard");
    assert_eq!(bob.node.counters().await.opened, 0);
}

/// The other end heard of nobody.
pub async fn whoever_refuses_at_the_gate_gets_its_messages_back<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    for ((refuse, refusal), name) in REFUSALS.into_iter().zip(["a", "b", "c", "d"]) {
        let alice = Party::with(&world, Terms::of(name).attempts(1)).await;
        alice.told.answer(refuse);
        alice.sends(&bob, b"never mind").await;
        let (_, cause, data) = alice.handed_back().await;
        assert_eq!(cause, NotSentCause::GateFailed(CloseReason::Refused(refusal)), "{name}");
        assert_eq!(data, b"never mind");
        alice.node.stop().await;
    }
    assert!(bob.nothing_more(), "nobody was up or down, nothing was heard");
    assert_eq!(bob.node.counters().await.opened, 0);
}

/// At one of the attempts that are made anyway.
pub async fn a_peer_that_was_refused_and_is_welcome_now_gets_in<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    bob.told.answer(|answers| answers.peer_connect = false);
    alice.sends(&bob, b"let me in").await;
    alice.until(|counters| counters.closed >= 2).await;
    bob.told.answer(|answers| answers.peer_connect = true);
    assert_eq!(bob.hears().await, b"let me in");
    alice.up(&bob).await;
    bob.up(&alice).await;
    assert!(alice.nothing_more() && bob.nothing_more());
}

/// The other end is told "refused", and no more.
pub async fn a_handler_that_refuses_a_message_closes_the_connection_with_a_reason<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    bob.told.on_message(|_, message| message.data != b"bad");
    alice.sends(&bob, b"bad").await;
    assert_eq!(alice.down().await, (CloseReason::Disconnected, b"refused".to_vec()));
    assert_eq!(bob.down().await, (CloseReason::Refused(Refusal::Handler), vec![]));
    assert_eq!(bob.hears().await, b"bad");
    alice.sends(&bob, b"good").await;
    assert_eq!(bob.hears().await, b"good");
}

/// As that of a space does.
pub async fn a_module_that_refuses_a_message_closes_the_connection_with_a_reason<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    bob.node.register_module(SPACE, "strict").await;
    bob.told.on_message(|_, message| message.module.is_empty());
    alice.node.try_send_module(&bob.url, SPACE, "strict", b"please").await.unwrap();
    assert_eq!(alice.down().await, (CloseReason::Disconnected, b"refused".to_vec()));
    assert_eq!(bob.down().await, (CloseReason::Refused(Refusal::Handler), vec![]));
}

/// The connection stays, and when the block is lifted all is as before.
pub async fn a_blocked_peer_is_neither_heard_nor_spoken_to_and_both_are_counted<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    let id = id::<A>("alice").to_string();
    bob.node.block(&spelled::<A>("alice"), None).await;
    for _ in 0..3 {
        alice.sends(&bob, b"unheard").await;
    }
    let refused = bob.node.try_send(&alice.url, SPACE, b"unsent").await;
    assert_eq!(refused, Err(SendError::Refused(SendRefused::Blocked)));
    let counters = bob.until(|counters| counters.dropped_messages == 3).await;
    assert_eq!((counters.received_messages, counters.accepted_messages), (1, 0));
    assert_eq!(bob.node.blocked().await, [(alice.url.clone(), SPACE.to_vec(), 3, 1)]);
    assert!(bob.node.unblock(&id, None).await);
    assert!(!bob.node.unblock(&id, None).await);
    alice.sends(&bob, b"heard").await;
    assert_eq!(bob.hears().await, b"heard");
    bob.sends(&alice, b"sent").await;
    assert_eq!(alice.hears().await, b"sent");
    assert!(alice.nothing_more() && bob.nothing_more(), "the connection stays");
}

/// What comes there is heard.
pub async fn a_block_in_one_space_is_none_in_another<A: Adapter>(world: A) {
    let (alice, bob) = connected(&world).await;
    for party in [&alice, &bob] {
        party.node.register_space(b"open").await;
    }
    bob.node.block(&spelled::<A>("alice"), Some(SPACE)).await;
    alice.sends(&bob, b"unheard").await;
    alice.node.try_send(&bob.url, b"open", b"heard").await.unwrap();
    let heard = bob.message().await;
    assert_eq!((&heard.space[..], &heard.data[..]), (&b"open"[..], &b"heard"[..]));
    bob.node.try_send(&alice.url, b"open", b"back").await.unwrap();
    assert_eq!(alice.hears().await, b"back");
    assert_eq!(bob.node.blocked().await, [(alice.url.clone(), SPACE.to_vec(), 1, 0)]);
}

/// However often it comes and goes. A device that has no socket left for a moment is dialled again.
pub async fn a_peer_is_up_before_its_messages_and_down_after_them<A: Adapter>(world: A) {
    let bob = Party::new(&world, "bob").await;
    let alice = Party::with(&world, Terms::of("alice").attempts(250)).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        for number in 0..3u8 {
            alice.sends(&bob, &[number]).await;
        }
        for number in 0..3u8 {
            assert_eq!(bob.hears().await, [number]);
        }
        alice.up(&bob).await;
        assert!(alice.node.disconnect(&bob.url, b"bye").await);
        assert_eq!(alice.down().await.0, CloseReason::Local);
        bob.up(&alice).await;
        assert_eq!(bob.down().await, (CloseReason::Disconnected, b"bye".to_vec()));
        expected.push(format!("up {}", alice.url));
        expected.extend(core::iter::repeat_n(format!("heard {}", alice.url), 3));
        expected.push(format!("down {}", alice.url));
    }
    assert_eq!(bob.told.log(), expected);
}
