//! Who may say no, when, and what the peer hears of it.

use kitfox_core::connection::{Answer, CloseReason, Connection, Input, Refusal, Wants};
use kitfox_core::storage::{BufferLimits, Storage};
use kitfox_core::{ApiMisuse, CapacityError, Config, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, BOB, Reply, Side, Stage, peer_url};
use kitfox_tests::script::{Act, at, config, wire};

use crate::{BYE, CONFIRM, FROM_ALICE, FROM_BOB, GROWS, RAIN, REFUSED, open_acceptor, open_dialler};

on_both_tiers!(
    a_refusal_at_each_question_closes_and_says_so_in_fixed_words,
    a_refused_dialler_hears_goodbye_and_never_opens,
    a_goodbye_before_the_gate_tells_its_reason,
    a_goodbye_on_an_open_connection_tells_its_reason,
    a_goodbye_without_a_reason_is_one,
    a_refused_revalidation_closes,
    an_accepted_revalidation_changes_nothing,
    a_handler_that_refuses_ends_all_deliveries,
    closing_from_inside_a_delivery_is_final,
    a_failed_block_check_closes_and_blames_nobody,
    our_own_goodbye_is_the_last_thing_written,
    an_application_may_leave_before_the_gate_is_open,
    the_first_reason_counts,
    answers_to_a_closed_connection_are_misuse,
    an_own_url_without_an_id_is_misuse,
    an_own_preflight_that_every_peer_would_refuse_is_misuse,
    a_preflight_that_finds_no_room_closes_for_our_capacity,
    a_farewell_that_finds_no_room_is_left_out,
);

const NO_AGENTS: &str = "01 00000013 080f 120f 'no local agents'";
const CAPACITY: &str = "01 0000000c 080f 1208 'capacity'";

fn a_refusal_at_each_question_closes_and_says_so_in_fixed_words<S: Storage>() {
    for stage in Stage::GATE {
        let farewell = wire(if stage == Stage::LocalAgents { NO_AGENTS } else { REFUSED });
        let refuse = Some((stage, Reply::Refuse));
        let mut alice = Side::<S> { reply: refuse, ..Side::dial(at(0), &config()) };
        alice.receive(at(0), &wire(FROM_BOB));
        let before = if stage == Stage::Validate { wire(FROM_ALICE) } else { vec![] };
        assert_eq!((alice.closed(), alice.opened()), (Some(stage.refusal()), false), "{stage:?}");
        assert_eq!(alice.written(at(0)), [before, farewell.clone()].concat(), "{stage:?}");

        let mut bob = Side::<S> { reply: refuse, ..Side::accept(at(0), &config()) };
        bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM), wire(RAIN)].concat());
        assert_eq!((bob.closed(), bob.opened()), (Some(stage.refusal()), false), "{stage:?}");
        assert_eq!(bob.written(at(0)), farewell, "{stage:?}");
    }
}

fn a_refused_dialler_hears_goodbye_and_never_opens<S: Storage>() {
    for farewell in [REFUSED, NO_AGENTS] {
        let mut alice = Side::<S>::dial(at(0), &config());
        let reason = if farewell == REFUSED { "refused" } else { "no local agents" };
        let closed = Act::Closed { reason: CloseReason::Disconnected, message: reason.into() };
        alice.run(at(0));
        assert_eq!(alice.receive(at(0), &wire(farewell)), [closed]);
        assert!(!alice.opened());
        assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
    }
}

fn a_goodbye_before_the_gate_tells_its_reason<S: Storage>() {
    let bye = Act::Closed { reason: CloseReason::Disconnected, message: "bye".into() };
    let mut bob = Side::<S>::accept(at(0), &config());
    assert_eq!(bob.receive(at(0), &wire(BYE)), core::slice::from_ref(&bye));
    assert_eq!((bob.wants, bob.written(at(0))), (Wants::Nothing, vec![]));

    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(0), &wire(FROM_ALICE));
    assert_eq!(bob.receive(at(0), &[wire(BYE), wire(RAIN)].concat()), [bye]);
    assert!(!bob.opened());
}

fn a_goodbye_on_an_open_connection_tells_its_reason<S: Storage>() {
    let bye = Act::Closed { reason: CloseReason::Disconnected, message: "bye".into() };
    for mut side in [open_acceptor::<S>(), open_dialler()] {
        assert_eq!(side.receive(at(0), &[wire(BYE), wire(RAIN)].concat()), core::slice::from_ref(&bye));
        assert_eq!((side.wants, side.written(at(0))), (Wants::Nothing, vec![]));
    }
    // Any bytes are a reason; nobody takes them for text.
    let bytes = Act::Closed { reason: CloseReason::Disconnected, message: "\\xff\\x00".into() };
    assert_eq!(open_dialler::<S>().receive(at(0), &wire("01 00000006 080f 1202 ff00")), [bytes]);
}

fn a_goodbye_without_a_reason_is_one<S: Storage>() {
    let closed = [Act::closed(CloseReason::Disconnected)];
    assert_eq!(open_dialler::<S>().receive(at(0), &wire("01 00000002 080f")), closed);
    assert_eq!(Side::<S>::accept(at(0), &config()).receive(at(0), &wire("01 00000002 080f")), closed);
}

fn a_refused_revalidation_closes<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.reply = Some((Stage::Revalidate, Reply::Refuse));
    let asked =
        Act::ValidatePreflight { peer: ALICE.into(), space: Some("garden".into()), data: "new".into() };
    let again = wire("01 0000000f 0801 1203 'new' 1a06 'garden'");
    let acts = bob.receive(at(0), &[again, wire(RAIN)].concat());
    assert_eq!(acts, [asked, Act::closed(CloseReason::Refused(Refusal::Preflight))]);
    assert_eq!(bob.written(at(0)), wire(REFUSED));
}

fn an_accepted_revalidation_changes_nothing<S: Storage>() {
    let mut alice = open_dialler::<S>();
    let asked = Act::ValidatePreflight { peer: BOB.into(), space: None, data: "new".into() };
    let rain = Act::Notify { space: "garden".into(), data: "it rains".into(), wire_bytes: 25 };
    let acts = alice.receive(at(0), &[wire("01 00000007 0801 1203 'new'"), wire(RAIN)].concat());
    assert_eq!(acts, [asked, rain]);
    assert_eq!((alice.written(at(0)), alice.connection.rx().poll_timeout()), (vec![], None));
}

fn a_handler_that_refuses_ends_all_deliveries<S: Storage>() {
    for refused in ["it rains", "grows"] {
        let mut bob = open_acceptor::<S>();
        bob.refuse_data = Some(refused.into());
        let frame = wire(if refused == "grows" { GROWS } else { RAIN });
        let acts = bob.receive(at(0), &[frame.clone(), frame, wire(GROWS), wire(RAIN)].concat());
        assert_eq!(acts.len(), 2, "{acts:?}");
        assert_eq!(bob.closed(), Some(CloseReason::Refused(Refusal::Handler)));
        assert_eq!((bob.wants, bob.written(at(0))), (Wants::Nothing, wire(REFUSED)));
    }
}

fn closing_from_inside_a_delivery_is_final<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    let mut bytes = [wire(RAIN), wire(RAIN)].concat();
    let mut actions = bob.connection.handle(at(0), Input::Bytes(&mut bytes));
    assert!(actions.next(&bob.directory).is_some());
    actions.close(CloseReason::Local);
    actions.close(CloseReason::Failed);
    // The driver stops here; the end is told at the next read, and the second message never.
    assert_eq!(actions.finish(), (25, Wants::Again));
    assert_eq!(bob.receive(at(0), &wire(RAIN)), [Act::closed(CloseReason::Local)]);
    assert_eq!(bob.written(at(0)), b"");
}

fn a_failed_block_check_closes_and_blames_nobody<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.directory.policy_mut().broken = true;
    let acts = bob.receive(at(0), &[wire(RAIN), wire(RAIN)].concat());
    assert_eq!(acts, [Act::closed(CloseReason::Refused(Refusal::BlockCheck))]);
    assert_eq!(bob.written(at(0)), wire(REFUSED));
}

fn our_own_goodbye_is_the_last_thing_written<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(0), b"it rains").unwrap();
    let acts = bob.tell(at(0), Input::Disconnect { reason: b"bye" });
    assert_eq!(acts, [Act::closed(CloseReason::Local)]);
    assert!(bob.notify(at(0), b"late").is_err());
    assert_eq!(bob.tell(at(0), Input::Disconnect { reason: b"again" }), []);
    assert_eq!(bob.written(at(0)), [wire(RAIN), wire(BYE)].concat());
    assert_eq!(bob.connection.tx().counts().messages, 1);
}

fn an_application_may_leave_before_the_gate_is_open<S: Storage>() {
    let mut alice = Side::<S>::dial(at(0), &config());
    alice.reply = Some((Stage::Gather, Reply::Never));
    alice.run(at(0));
    assert_eq!(alice.wants, Wants::Answer);
    let acts = alice.tell(at(0), Input::Disconnect { reason: b"bye" });
    assert_eq!((acts, alice.wants), (vec![Act::closed(CloseReason::Local)], Wants::Nothing));
    assert_eq!(alice.written(at(0)), wire(BYE));
}

fn the_first_reason_counts<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.connection.handle(at(0), Input::End).finish();
    bob.connection.handle(at(0), Input::Failed).finish();
    assert_eq!(bob.receive(at(0), &wire("ff")), [Act::closed(CloseReason::Ended)]);
}

fn answers_to_a_closed_connection_are_misuse<S: Storage>() {
    for stage in Stage::GATE {
        let mut bob = Side::<S>::accept(at(0), &config());
        bob.reply = Some((stage, Reply::Never));
        bob.receive(at(0), &wire(FROM_ALICE));
        let (id, ..) = bob.question.unwrap();
        bob.tell(at(0), Input::Failed);
        let preflight = Answer::Preflight { own_url: peer_url(BOB), data: b"world" };
        for answer in [Answer::Accept, Answer::Refuse, preflight] {
            assert_eq!(bob.connection.answer(at(0), id, answer), Err(ApiMisuse::NoSuchQuestion));
        }
        assert_eq!((bob.closed(), bob.written(at(0))), (Some(CloseReason::Failed), vec![]));
    }
}

fn an_own_url_without_an_id_is_misuse<S: Storage>() {
    let mut alice = Side::<S>::dial(at(0), &config());
    alice.reply = Some((Stage::Gather, Reply::Never));
    alice.run(at(0));
    let (id, ..) = alice.question.unwrap();
    for url in ["ws://127.0.0.1:9000", &format!("ws://a.b:80/{}", "x".repeat(65))] {
        let answer = Answer::Preflight { own_url: peer_url(url), data: b"hello" };
        assert_eq!(alice.connection.answer(at(0), id, answer), Err(ApiMisuse::OwnUrlWithoutId));
    }
    alice.reply = None;
    alice.run(at(0));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
}

fn an_own_preflight_that_every_peer_would_refuse_is_misuse<S: Storage>() {
    let config = Config { max_preflight_bytes: 43, ..config() };
    let mut alice = Side::<S>::dial(at(0), &config);
    alice.reply = Some((Stage::Gather, Reply::Never));
    alice.run(at(0));
    let (id, ..) = alice.question.unwrap();
    let answer = |data| Answer::Preflight { own_url: peer_url(ALICE), data };
    assert_eq!(alice.connection.answer(at(0), id, answer(b"hello!")), Err(ApiMisuse::PreflightTooLong));
    assert_eq!(alice.connection.answer(at(0), id, answer(b"hello")), Ok(()));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
}

fn a_preflight_that_finds_no_room_closes_for_our_capacity<S: Storage>() {
    let no_room = CloseReason::Capacity(CapacityError::TxQueue);
    for (max_bytes, farewell) in [(42, CAPACITY), (20, CAPACITY), (16, ""), (10, "")] {
        let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes }, ..config() };
        let mut alice = Side::<S>::dial(at(0), &config);
        alice.run(at(0));
        assert_eq!(alice.closed(), Some(no_room));
        assert_eq!(alice.written(at(0)), wire(farewell), "{max_bytes}");
    }
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 43 }, ..config() };
    let mut alice = Side::<S>::dial(at(0), &config);
    alice.run(at(0));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
    // The confirm finds no room when the preflight was never written.
    let mut alice = Side::<S>::dial(at(0), &config);
    alice.receive(at(0), &wire(FROM_BOB));
    assert_eq!((alice.closed(), alice.opened()), (Some(no_room), false));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
}

fn a_farewell_that_finds_no_room_is_left_out<S: Storage>() {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 50 }, ..config() };
    let mut alice = Side::<S>::new(Connection::dial(at(0), &config, peer_url(BOB)).unwrap(), ALICE, b"hello");
    alice.run(at(0));
    assert_eq!(alice.receive(at(0), &[9]).len(), 1);
    assert!(matches!(alice.closed(), Some(CloseReason::Protocol(ProtocolError::Frame(_)))));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
}
