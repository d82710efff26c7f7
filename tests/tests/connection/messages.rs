//! What reaches the spaces of an open connection, and what leaves them.

use kitfox_core::connection::{PushError, SendError};
use kitfox_core::router::{DropReason, SendRefused};
use kitfox_core::storage::Storage;
use kitfox_core::wire::Message;
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{SPACE, Side};
use kitfox_tests::script::{Act, at, wire};

use crate::{CONFIRM, GROWS, RAIN, open_acceptor, open_dialler};

on_both_tiers!(
    messages_reach_the_space_and_the_module_that_they_name,
    what_reaches_nobody_is_told_with_its_reason_and_counted,
    an_unregistered_space_receives_nothing_more,
    messages_are_written_as_kitsune2_writes_them,
    what_the_rules_refuse_is_not_sent,
    a_message_can_be_answered_while_it_is_looked_at,
);

fn messages_reach_the_space_and_the_module_that_they_name<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    let rain = Act::Notify { space: "garden".into(), data: "it rains".into(), wire_bytes: 25 };
    let module = String::from("moss");
    let grows = Act::Module { space: "garden".into(), module, data: "grows".into(), wire_bytes: 28 };
    let frames = [wire(RAIN), wire(GROWS), wire(RAIN)].concat();
    assert_eq!(bob.receive(at(0), &frames), [rain.clone(), grows, rain]);
    let counts = bob.connection.rx().counts();
    assert_eq!((counts.messages, counts.bytes), (3, 25 + 28 + 25));
    assert_eq!(DropReason::ALL.map(|reason| counts.dropped(reason)), [0; 5]);
}

fn what_reaches_nobody_is_told_with_its_reason_and_counted<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.directory.register_space(b"swamp").unwrap();
    bob.directory.policy_mut().blocked.push(b"swamp".to_vec());
    let frames = [
        ("01 00000009 0802 1a05 'swamp'", DropReason::Blocked, "swamp"),
        // Blocked comes before unknown.
        ("01 0000000f 0803 1a05 'swamp' 2204 'nope'", DropReason::Blocked, "swamp"),
        ("01 00000008 0802 1a04 'nope'", DropReason::UnknownSpace, "nope"),
        ("01 00000010 0803 1a06 'garden' 2204 'nope'", DropReason::UnknownModule, "garden"),
        ("01 0000000a 0803 1a06 'garden'", DropReason::UnknownModule, "garden"),
        ("01 00000008 1a06 'garden'", DropReason::Unspecified, "garden"),
        ("01 00000002 0807", DropReason::Unspecified, ""),
    ];
    for (frame, reason, space) in frames {
        let wire_bytes = wire(frame).len() as u64;
        let dropped = Act::Dropped { reason, space: space.into(), wire_bytes };
        assert_eq!(bob.receive(at(0), &wire(frame)), [dropped]);
    }
    let counts = bob.connection.rx().counts();
    assert_eq!(DropReason::ALL.map(|reason| counts.dropped(reason)), [2, 1, 2, 2, 0]);
    assert_eq!((counts.messages, bob.written(at(0))), (0, vec![]));
}

fn an_unregistered_space_receives_nothing_more<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.receive(at(0), &wire(RAIN));
    bob.directory.unregister_space(SPACE);
    let dropped =
        |wire_bytes| Act::Dropped { reason: DropReason::UnknownSpace, space: "garden".into(), wire_bytes };
    assert_eq!(bob.receive(at(0), &[wire(RAIN), wire(GROWS)].concat()), [dropped(25), dropped(28)]);
    bob.directory.register_space(SPACE).unwrap();
    assert_eq!(bob.receive(at(0), &wire(RAIN)).len(), 1);
    assert_eq!(bob.notified(), ["it rains", "it rains"]);
}

fn messages_are_written_as_kitsune2_writes_them<S: Storage>() {
    let mut alice = open_dialler::<S>();
    alice.notify(at(0), b"it rains").unwrap();
    let Side { connection, directory, .. } = &mut alice;
    connection.module(at(0), directory, SPACE, "moss", b"grows").unwrap();
    connection.module(at(0), directory, SPACE, "", b"").unwrap();
    connection.tx_mut().push_empty(at(0)).unwrap();
    let counts = alice.connection.tx().counts();
    assert_eq!((counts.messages, counts.bytes), (3, 25 + 28 + 17));
    let empty = wire("01 0000000c 0803 1a06 'garden' 2200");
    assert_eq!(alice.written(at(0)), [wire(RAIN), wire(GROWS), empty, wire(CONFIRM)].concat());
}

fn what_the_rules_refuse_is_not_sent<S: Storage>() {
    let mut alice = open_dialler::<S>();
    alice.directory.register_space(b"swamp").unwrap();
    alice.directory.policy_mut().blocked.push(b"swamp".to_vec());
    let Side { connection, directory, .. } = &mut alice;
    let refused = |error| Err(SendError::Refused(error));
    assert_eq!(connection.notify(at(0), directory, b"swamp", b"x"), refused(SendRefused::Blocked));
    assert_eq!(connection.module(at(0), directory, b"nope", "m", b"x"), refused(SendRefused::UnknownSpace));
    let large = connection.notify(at(0), directory, SPACE, &[0; 4096]);
    assert_eq!(large, Err(SendError::NotQueued(PushError::TooLarge)));
    directory.policy_mut().broken = true;
    assert_eq!(connection.notify(at(0), directory, SPACE, b"x"), refused(SendRefused::BlockCheckFailed));
    assert_eq!((connection.tx().pending(), connection.tx().counts().messages), (0, 0));
}

fn a_message_can_be_answered_while_it_is_looked_at<S: Storage>() {
    use kitfox_core::connection::{Action, Input};

    let Side { mut connection, directory, .. } = open_acceptor::<S>();
    let mut bytes = [wire(RAIN), wire(GROWS)].concat();
    let mut actions = connection.handle(at(0), Input::Bytes(&mut bytes));
    while let Some((action, tx)) = actions.next_with(&directory) {
        let (Action::Notify { space, data, .. } | Action::Module { space, data, .. }) = action else {
            panic!("{action:?}")
        };
        tx.push(at(0), &Message::notify(space, data)).unwrap();
    }
    let _ = actions.finish();
    let mut out = [0; 100];
    let len = connection.transmit(at(0), &mut out);
    assert_eq!(out[..len], [wire(RAIN), wire("01 00000011 0802 1205 'grows' 1a06 'garden'")].concat());
}
