//! From creation to open: questions in order, and the bytes of the three legs.

use kitfox_core::connection::{
    Action, Answer, Connection, Input, NotDialable, Plain, Question, Role, Rx, SendError, Tx, Wants,
};
use kitfox_core::storage::Storage;
use kitfox_core::{ApiMisuse, Config};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, BOB, Reply, SPACE, Side, Stage, peer_url};
use kitfox_tests::script::{Act, at, config, wire};

use crate::{CONFIRM, FROM_ALICE, FROM_BOB, GROWS, RAIN};

on_both_tiers!(
    dialler_asks_writes_its_preflight_validates_and_confirms,
    acceptor_validates_asks_writes_its_preflight_and_opens_at_the_confirm,
    nobody_is_asked_for_local_agents_while_no_space_is_registered,
    a_module_of_an_unregistered_space_counts_as_no_space,
    a_first_data_frame_that_is_a_message_opens_and_is_delivered,
    messages_behind_the_preflights_wait_unread_for_the_gate,
    nothing_is_written_but_the_legs_before_the_gate_is_open,
    nothing_is_read_while_a_question_is_open,
    an_answer_fits_its_question_once,
    only_a_url_with_an_id_and_a_port_can_be_dialled,
    a_preflight_may_name_a_space,
    an_empty_preflight_is_valid,
    the_id_of_a_key_is_the_same_in_every_spelling,
    a_driver_with_a_table_of_peers_is_asked_which_connection_stays,
);

fn admit(peer: &str) -> Act {
    Act::AdmitPeer { peer: peer.into() }
}

fn gather(peer: &str) -> Act {
    Act::GatherPreflight { peer: peer.into() }
}

fn validate(peer: &str, data: &str) -> Act {
    Act::ValidatePreflight { peer: peer.into(), space: None, data: data.into() }
}

fn opened(peer: &str) -> Act {
    Act::Opened { peer: peer.into() }
}

fn rain() -> Act {
    Act::Notify { space: "garden".into(), data: "it rains".into(), wire_bytes: 25 }
}

/// Lets the open question wait, so that each step can be seen.
fn held<S: Storage>(mut side: Side<S>, stage: Stage) -> Side<S> {
    side.reply = Some((stage, Reply::Never));
    side
}

fn answer<S: Storage>(side: &mut Side<S>) -> Vec<Act> {
    let seen = side.acts.len();
    side.reply = None;
    side.run(at(1));
    side.acts[seen..].to_vec()
}

fn dialler_asks_writes_its_preflight_validates_and_confirms<S: Storage>() {
    let mut alice = held(Side::<S>::dial(at(0), &config()), Stage::Gather);
    assert_eq!(alice.connection.rx().role(), Role::Dialler);
    assert_eq!(alice.receive(at(0), &[]), [admit(BOB), Act::HasLocalAgents, gather(BOB)]);
    assert_eq!(alice.written(at(0)), b"");
    assert_eq!(answer(&mut alice), []);
    assert_eq!((alice.wants, alice.written(at(1))), (Wants::Bytes, wire(FROM_ALICE)));

    alice.reply = Some((Stage::Validate, Reply::Never));
    assert_eq!(alice.receive(at(1), &wire(FROM_BOB)), [validate(BOB, "world")]);
    assert_eq!(alice.written(at(1)), b"");
    assert!(!alice.connection.is_open());
    assert_eq!(answer(&mut alice), [opened(BOB)]);
    assert_eq!(alice.written(at(1)), wire(CONFIRM));
    assert!(alice.connection.is_open());
}

fn acceptor_validates_asks_writes_its_preflight_and_opens_at_the_confirm<S: Storage>() {
    let mut bob = held(Side::<S>::accept(at(0), &config()), Stage::Gather);
    assert_eq!((bob.connection.rx().role(), bob.connection.rx().peer()), (Role::Acceptor, None));
    assert_eq!(bob.receive(at(0), &[]), []);
    let acts = bob.receive(at(0), &wire(FROM_ALICE));
    assert_eq!(acts, [validate(ALICE, "hello"), admit(ALICE), Act::HasLocalAgents, gather(ALICE)]);
    assert_eq!(bob.written(at(0)), b"");
    assert_eq!(answer(&mut bob), []);
    assert_eq!((bob.wants, bob.written(at(1))), (Wants::Bytes, wire(FROM_BOB)));
    assert!(!bob.connection.is_open());

    assert_eq!(bob.receive(at(1), &wire(CONFIRM)), [opened(ALICE)]);
    assert_eq!((bob.written(at(1)), bob.connection.rx().counts().empty_frames), (vec![], 1));
    assert!(bob.connection.is_open());
}

fn nobody_is_asked_for_local_agents_while_no_space_is_registered<S: Storage>() {
    let mut alice = Side::<S>::dial(at(0), &config());
    alice.directory.unregister_space(SPACE);
    assert_eq!(alice.receive(at(0), &[]), [admit(BOB), gather(BOB)]);
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.directory.unregister_space(SPACE);
    assert_eq!(
        bob.receive(at(0), &wire(FROM_ALICE)),
        [validate(ALICE, "hello"), admit(ALICE), gather(ALICE)]
    );
}

fn a_module_of_an_unregistered_space_counts_as_no_space<S: Storage>() {
    let mut alice = Side::<S>::dial(at(0), &config());
    alice.directory.unregister_space(SPACE);
    alice.directory.register_module(SPACE, "moss").unwrap();
    assert_eq!(alice.receive(at(0), &[]), [admit(BOB), gather(BOB)]);
}

fn a_first_data_frame_that_is_a_message_opens_and_is_delivered<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(0), &wire(FROM_ALICE));
    assert_eq!(bob.receive(at(0), &wire(RAIN)), [opened(ALICE), rain()]);
    assert_eq!(bob.connection.rx().counts().messages, 1);
}

fn messages_behind_the_preflights_wait_unread_for_the_gate<S: Storage>() {
    let mut bob = held(Side::<S>::accept(at(0), &config()), Stage::Admit);
    let all = [wire(FROM_ALICE), wire(CONFIRM), wire(RAIN)].concat();
    assert_eq!(bob.receive(at(0), &all), [validate(ALICE, "hello"), admit(ALICE)]);
    assert_eq!(bob.inbox.len(), wire(CONFIRM).len() + wire(RAIN).len());
    assert_eq!(answer(&mut bob), [Act::HasLocalAgents, gather(ALICE), opened(ALICE), rain()]);

    let mut alice = held(Side::<S>::dial(at(0), &config()), Stage::Validate);
    let grows =
        Act::Module { space: "garden".into(), module: "moss".into(), data: "grows".into(), wire_bytes: 28 };
    alice.receive(at(0), &[wire(FROM_BOB), wire(GROWS), wire(RAIN)].concat());
    assert_eq!(answer(&mut alice), [opened(BOB), grows, rain()]);
}

fn nothing_is_written_but_the_legs_before_the_gate_is_open<S: Storage>() {
    let mut alice = held(Side::<S>::dial(at(0), &config()), Stage::Validate);
    assert_eq!(alice.notify(at(0), b"early"), Err(SendError::NotOpen));
    alice.receive(at(0), &wire(FROM_BOB));
    assert_eq!(alice.notify(at(0), b"early"), Err(SendError::NotOpen));
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
    answer(&mut alice);
    assert_eq!(alice.notify(at(0), b"it rains"), Ok(()));
    assert_eq!(alice.written(at(0)), [wire(CONFIRM), wire(RAIN)].concat());

    let mut bob = Side::<S>::accept(at(0), &config());
    assert_eq!(bob.notify(at(0), b"early"), Err(SendError::NotOpen));
    bob.receive(at(0), &wire(FROM_ALICE));
    assert_eq!(bob.notify(at(0), b"early"), Err(SendError::NotOpen));
    assert_eq!(bob.written(at(0)), wire(FROM_BOB));
    bob.receive(at(0), &wire(CONFIRM));
    assert_eq!(bob.notify(at(0), b"it rains"), Ok(()));
    assert_eq!(bob.written(at(0)), wire(RAIN));
}

fn nothing_is_read_while_a_question_is_open<S: Storage>() {
    for stage in Stage::GATE {
        let mut bob = held(Side::<S>::accept(at(0), &config()), stage);
        bob.receive(at(0), &wire(FROM_ALICE));
        assert_eq!(bob.wants, Wants::Answer, "{stage:?}");
        assert_eq!(bob.receive(at(0), &wire("ff")), [], "{stage:?}");
        assert_eq!(bob.inbox, wire("ff"), "{stage:?}");
    }
}

fn an_answer_fits_its_question_once<S: Storage>() {
    let mut alice = held(Side::<S>::dial(at(0), &config()), Stage::Admit);
    alice.receive(at(0), &[]);
    let (first, ..) = alice.question.unwrap();
    let own = Answer::Preflight { own_url: peer_url(ALICE), data: b"hello" };
    assert_eq!(alice.connection.answer(at(0), first, own), Err(ApiMisuse::WrongAnswer));
    answer(&mut alice);
    for late in [Answer::Accept, Answer::Refuse, own] {
        assert_eq!(alice.connection.answer(at(0), first, late), Err(ApiMisuse::NoSuchQuestion));
    }

    let mut alice = held(Side::<S>::dial(at(0), &config()), Stage::Gather);
    alice.receive(at(0), &[]);
    let (third, ..) = alice.question.unwrap();
    assert_eq!(alice.connection.answer(at(0), third, Answer::Accept), Err(ApiMisuse::WrongAnswer));
    // That of another connection, which has come further.
    let mut foreign = held(Side::<S>::dial(at(0), &config()), Stage::Validate);
    foreign.receive(at(0), &wire(FROM_BOB));
    let (fourth, ..) = foreign.question.unwrap();
    assert_eq!(alice.connection.answer(at(0), fourth, own), Err(ApiMisuse::NoSuchQuestion));
    // None of it has changed anything.
    assert_eq!((alice.wants, alice.receive(at(0), &[])), (Wants::Answer, vec![]));
    answer(&mut alice);
    assert_eq!(alice.written(at(0)), wire(FROM_ALICE));
}

fn only_a_url_with_an_id_and_a_port_can_be_dialled<S: Storage>() {
    let dial = |url: &str| Connection::<S>::dial(at(0), &Config::HOST, peer_url(url)).map(|_| ());
    assert_eq!(dial("ws://a.b:80"), Err(NotDialable::NoPeerId));
    assert_eq!(dial(&format!("ws://a.b:80/{}", "x".repeat(65))), Err(NotDialable::NoPeerId));
    assert_eq!(dial("ws://a.b:0/x"), Err(NotDialable::PortZero));
    assert_eq!(dial(&format!("ws://a.b:80/{}", "x".repeat(64))), Ok(()));
}

fn a_preflight_may_name_a_space<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    let acts = bob.receive(
        at(0),
        &wire("00 0000002e 00000019 'ws://127.0.0.1:9000/alice' 0801 1205 'hello' 1a06 'garden'"),
    );
    assert_eq!(
        acts[0],
        Act::ValidatePreflight { peer: ALICE.into(), space: Some("garden".into()), data: "hello".into() }
    );
}

fn an_empty_preflight_is_valid<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.own.1.clear();
    let acts = bob.receive(at(0), &wire("00 0000001f 00000019 'ws://127.0.0.1:9000/alice' 0801"));
    assert_eq!(acts[0], validate(ALICE, ""));
    assert_eq!(bob.written(at(0)), wire("00 0000001d 00000017 'ws://127.0.0.1:9001/bob' 0801"));
}

fn the_id_of_a_key_is_the_same_in_every_spelling<S: Storage>() {
    let hex = "ws://127.0.0.1:9001/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let base32 = "ws://127.0.0.1:9002/xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq";
    let connection = Connection::<S>::dial(at(0), &config(), peer_url(hex)).unwrap();
    let mut alice = Side::new(connection, ALICE, b"hello");
    alice.receive(at(0), &[]);
    let mut reply = wire("00 0000004e 00000048");
    reply.extend_from_slice(base32.as_bytes());
    reply.extend(wire("0801"));
    assert_eq!(alice.receive(at(0), &reply), [validate(base32, ""), opened(base32)]);
    assert_eq!(alice.connection.rx().peer().unwrap().url, base32);
}

fn a_driver_with_a_table_of_peers_is_asked_which_connection_stays<S: Storage>() {
    for (role, from_peer, peers_url, ours) in
        [(Role::Acceptor, FROM_ALICE, ALICE, BOB), (Role::Dialler, FROM_BOB, BOB, ALICE)]
    {
        let side = match role {
            Role::Dialler => Side::<S>::dial(at(0), &config()),
            _ => Side::accept(at(0), &config()),
        };
        let rx = match role {
            Role::Dialler => Rx::<S, Plain>::dial(at(0), &config(), Plain::default(), peer_url(BOB)).unwrap(),
            _ => Rx::accept(at(0), &config(), Plain::default()),
        };
        let mut connection = Connection::from_halves(rx.settling(), Tx::new(&config(), Plain::default()));
        let (mut bytes, mut asked) = (wire(from_peer), Vec::new());
        loop {
            let mut actions = connection.handle(at(0), Input::Bytes(&mut bytes));
            let question = match actions.next(&side.directory) {
                Some(Action::Ask { id, question: Question::Settle { peer } }) => {
                    assert_eq!(peer.url, peers_url);
                    Some((id, "settle"))
                }
                Some(Action::Ask { id, question: Question::ValidatePreflight { .. } }) => {
                    Some((id, "validate"))
                }
                Some(Action::Ask { id, question: Question::GatherPreflight { .. } }) => Some((id, "gather")),
                Some(Action::Ask { id, .. }) => Some((id, "admit")),
                Some(Action::Opened { .. }) | None => None,
                other => panic!("{other:?}"),
            };
            let (taken, _) = actions.finish();
            bytes.drain(..taken);
            let Some((id, name)) = question else { break };
            asked.push(name);
            let preflight = Answer::Preflight { own_url: peer_url(ours), data: b"hello" };
            connection.answer(at(0), id, if name == "gather" { preflight } else { Answer::Accept }).unwrap();
        }
        // Before anything is said to who dialled, and before a dialler confirms.
        match role {
            Role::Acceptor => assert_eq!(asked, ["validate", "settle", "admit", "admit", "gather"]),
            _ => assert_eq!(asked, ["admit", "admit", "gather", "validate", "settle"]),
        }
    }
}
