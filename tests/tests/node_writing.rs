//! What a node writes, and when: full sockets, goodbyes, probes, outboxes.

mod tiers;

use core::time::Duration;

use kitfox_core::connection::{CloseReason, PushError, Timeout};
use kitfox_core::node::{Action, ConnectionState, DownCause, Input, NodeConfig, SendError};
use kitfox_core::storage::Storage;
use kitfox_core::wire::{HEADER_BYTES, Kind, Message};
use kitfox_tests::frames::data;
use kitfox_tests::world::Event::{Accept, Break, Connect, Deliver, Notice, Tick};
use kitfox_tests::world::{SPACE, Told, Trusting, World};
use tiers::*;

both_tiers![
    a_goodbye_never_lands_in_the_middle_of_a_message,
    a_goodbye_never_lands_in_the_middle_of_a_probe,
    nothing_is_written_between_the_decision_to_close_and_its_step,
    nothing_is_written_while_a_replaced_connection_was_not_told_of,
    a_full_outbox_hands_the_message_back,
    an_outbox_at_its_high_water_mark_hands_the_message_back,
    what_was_not_begun_goes_to_the_next_connection,
    a_message_that_was_begun_is_finished_while_paused,
    bytes_that_nobody_takes_end_the_connection,
    a_silent_connection_is_probed,
    a_goodbye_can_be_written_before_the_peer_is_told_to_be_down,
    pieces_are_the_bytes_that_transmit_copies,
    a_node_says_whether_there_is_something_to_write,
    a_socket_that_stays_full_after_a_pause_ends_the_connection,
];

fn a_goodbye_never_lands_in_the_middle_of_a_message<T: Storage>() {
    let config = NodeConfig { idle_probe: Some(Duration::from_secs(1)), ..config() };
    let mut world = established::<T>(&config);
    let now = world.hosts[S].now;
    world.hosts[S].room = 9;
    world.send(S, L, b"a message of some length").unwrap();
    assert_eq!(world.hosts[S].room, 0, "a part of it was written");
    while world.hosts[S].now.since(now) < Duration::from_secs(3) {
        assert!(world.step(Tick(S)));
    }
    world.hosts[S].room = usize::MAX;
    world.disconnect(S, L, b"bye");
    settle(&mut world);
    let gone = CloseReason::Disconnected;
    assert_eq!(
        world.hosts[L].told,
        [
            message(URL_S, b"a message of some length"),
            Told::Rejected(gone),
            down(URL_S, None, DownCause::Ended(gone)),
        ]
    );
}

fn a_goodbye_never_lands_in_the_middle_of_a_probe<T: Storage>() {
    let config = NodeConfig { idle_probe: Some(Duration::from_secs(1)), ..config() };
    let mut world = established::<T>(&config);
    world.hosts[S].room = 2;
    while world.hosts[S].room > 0 {
        assert!(world.step(Tick(S)));
    }
    world.hosts[S].room = usize::MAX;
    world.disconnect(S, L, b"bye");
    settle(&mut world);
    let gone = CloseReason::Disconnected;
    assert_eq!(world.hosts[L].told[0], Told::Rejected(gone));
}

fn nothing_is_written_between_the_decision_to_close_and_its_step<T: Storage>() {
    let config = NodeConfig { idle_probe: Some(Duration::from_secs(1)), ..config() };
    let mut world = established::<T>(&config);
    let start = world.hosts[S].now;
    world.hosts[S].room = 9;
    world.send(S, L, b"a message of some length").unwrap();
    while world.hosts[S].now.since(start) < Duration::from_secs(3) {
        assert!(world.step(Tick(S)));
    }
    // A probe is queued behind the message. The driver writes before it takes the steps of the disconnect.
    let now = world.hosts[S].now;
    let node = &mut world.hosts[S].node;
    let (connection, _) = node.peers().connections().next().unwrap();
    let peer = node.peers().peer_of(connection).unwrap();
    assert!(node.ops(now).disconnect(peer, b"bye"));
    assert_eq!(node.transmit(now, connection, &mut [0; 64]), 0);
    world.hosts[S].room = usize::MAX;
    world.wake(S);
    settle(&mut world);
    assert_eq!(world.hosts[L].told[0], message(URL_S, b"a message of some length"));
}

fn nothing_is_written_while_a_replaced_connection_was_not_told_of<T: Storage>() {
    let mut world = established::<T>(&config());
    world.restart(&config(), S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    world.send(L, S, b"queued while paused").unwrap();
    go(&mut world, &[Deliver(1, 0)]);
    // The confirm arrives, and the driver takes nothing of what follows but writes.
    let now = world.hosts[L].now;
    let node = &mut world.hosts[L].node;
    let ids: Vec<_> = node.peers().connections().collect();
    let [(old, ConnectionState::Open), (new, ConnectionState::Offered)] = ids[..] else { panic!("{ids:?}") };
    let mut confirm = [1, 0, 0, 0, 0];
    let mut actions = node.handle(now, Input::Bytes { connection: new, bytes: &mut confirm });
    assert!(matches!(actions.next(), Some(Action::Closed { connection, .. }) if connection == old));
    let _ = actions.finish();
    let mut out = [0; 256];
    assert_eq!(node.transmit(now, new, &mut out), 0, "it is not up yet");
    world.wake(L);
    let told = &world.hosts[L].told;
    assert!(
        told.ends_with(&[down(URL_S, None, DownCause::Replaced), up(URL_S)]),
        "nothing of it was written on the old one: {told:?}"
    );
}

fn a_full_outbox_hands_the_message_back<T: Storage>() {
    let mut config = config();
    config.connection.outbox.max_bytes = 64;
    let mut world = World::<T, Trusting>::new(&config, &["a", "b"]);
    world.send(S, L, &[1; 30]).unwrap();
    let full = SendError::NotQueued(PushError::Backpressure);
    assert_eq!(world.send(S, L, &[2; 30]), Err(full));
    assert_eq!(world.send(S, L, &[3; 100]), Err(SendError::NotQueued(PushError::TooLarge)));
    settle(&mut world);
    world.send(S, L, &[2; 30]).unwrap();
    settle(&mut world);
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, &[1; 30]), message(URL_S, &[2; 30])]);
}

fn an_outbox_at_its_high_water_mark_hands_the_message_back<T: Storage>() {
    let mut config = config();
    config.connection.high_water_bytes = 60;
    let mut world = World::<T, Trusting>::new(&config, &["a", "b"]);
    world.send(S, L, &[1; 30]).unwrap();
    world.send(S, L, &[2; 60]).unwrap();
    let full = SendError::NotQueued(PushError::Backpressure);
    assert_eq!(world.send(S, L, b""), Err(full));
    settle(&mut world);
    world.send(S, L, b"").unwrap();
    settle(&mut world);
    assert_eq!(
        world.hosts[L].told,
        [up(URL_S), message(URL_S, &[1; 30]), message(URL_S, &[2; 60]), message(URL_S, b"")]
    );
}

fn what_was_not_begun_goes_to_the_next_connection<T: Storage>() {
    let mut world = established::<T>(&config());
    world.hosts[S].room = 9;
    world.send(S, L, b"begun").unwrap();
    world.send(S, L, b"not begun").unwrap();
    world.hosts[S].room = usize::MAX;
    go(&mut world, &[Break(0), Notice(0, S), Notice(0, L)]);
    settle(&mut world);
    let failed = CloseReason::Failed;
    assert_eq!(
        world.hosts[S].told,
        [
            Told::Rejected(failed),
            down(URL_L, Some((0, 1)), DownCause::Ended(failed)),
            unresponsive(URL_L),
            up(URL_L),
        ]
    );
    assert_eq!(world.hosts[L].told.last(), Some(&message(URL_S, b"not begun")));
    assert!(!world.hosts[L].told.contains(&message(URL_S, b"begun")));
}

fn a_message_that_was_begun_is_finished_while_paused<T: Storage>() {
    let mut world = established::<T>(&config());
    let (old, room) = (only(&world, L), 9);
    world.hosts[L].room = room;
    world.send(L, S, b"begun").unwrap();
    world.send(L, S, b"not begun").unwrap();
    world.restart(&config(), S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Offered]);
    let now = world.hosts[L].now;
    let node = &mut world.hosts[L].node;
    assert!(node.has_output(old));
    let mut out = [0; 256];
    let len = node.transmit(now, old, &mut out);
    let begun = data(&Message::notify(SPACE, b"begun"));
    assert_eq!(out[..len], begun[room..]);
    assert!(!node.has_output(old));
    assert_eq!(node.transmit(now, old, &mut out), 0);
}

fn bytes_that_nobody_takes_end_the_connection<T: Storage>() {
    let mut world = established::<T>(&config());
    world.hosts[S].room = 9;
    world.send(S, L, b"a message of some length").unwrap();
    let now = world.hosts[S].now;
    while world.hosts[S].told.is_empty() {
        assert!(world.step(Tick(S)));
    }
    assert_eq!(world.hosts[S].now.since(now), config().connection.tx_timeout);
    let stale = CloseReason::Timeout(Timeout::Write);
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(stale), down(URL_L, Some((0, 1)), DownCause::Ended(stale)), unresponsive(URL_L),]
    );
}

fn a_silent_connection_is_probed<T: Storage>() {
    let config = NodeConfig { idle_probe: Some(Duration::from_secs(30)), ..config() };
    let mut world = established::<T>(&config);
    let now = world.hosts[S].now;
    while world.events().is_empty() {
        assert!(world.step(Tick(S)));
    }
    assert_eq!(world.hosts[S].now.since(now), Duration::from_secs(30));
    go(&mut world, &[Deliver(0, 1)]);
    settle(&mut world);
    assert_connected(&world);
    assert!(world.hosts[S].told.is_empty() && world.hosts[L].told.is_empty());
}

fn a_goodbye_can_be_written_before_the_peer_is_told_to_be_down<T: Storage>() {
    let mut world = established::<T>(&config());
    let (connection, now) = (only(&world, L), world.hosts[L].now);
    let node = &mut world.hosts[L].node;
    let mut nonsense = [9; 16];
    let mut actions = node.handle(now, Input::Bytes { connection, bytes: &mut nonsense });
    assert!(matches!(actions.next(), Some(Action::Closed { .. })));
    let _ = actions.finish();
    assert!(node.has_output(connection));
    let mut out = [0; 128];
    let len = node.transmit(now, connection, &mut out);
    let said = Message::decode(&out[HEADER_BYTES..len]).unwrap();
    assert_eq!(said.kind(), Kind::Disconnect);
    assert!(!node.has_output(connection));
    let mut actions = node.handle(now, Input::Wake);
    assert!(matches!(actions.next(), Some(Action::PeerDown { .. })));
    while actions.next().is_some() {}
    let _ = actions.finish();
    node.release(connection);
}

fn pieces_are_the_bytes_that_transmit_copies<T: Storage>() {
    let mut world = established::<T>(&config());
    let (connection, now) = (only(&world, S), world.hosts[S].now);
    let node = &mut world.hosts[S].node;
    for data in [&b"one"[..], b"two"] {
        node.ops(now).notify(url(URL_L), SPACE, data).unwrap();
    }
    let mut copied = [0; 128];
    let len = node.clone().transmit(now, connection, &mut copied);
    assert_eq!(node.transmit_slices(now, connection, |_| Err("broken")), Err("broken"));
    let mut written = Vec::new();
    while node.has_output(connection) {
        let wrote = node.transmit_slices(now, connection, |pieces| {
            let bytes = pieces.concat();
            let room = bytes.len().min(7);
            written.extend_from_slice(&bytes[..room]);
            Ok::<_, ()>(room)
        });
        assert!(wrote.is_ok_and(|wrote| wrote > 0));
    }
    assert_eq!(written, &copied[..len]);
    assert_eq!(node.transmit_slices::<()>(now, connection, |_| panic!("nothing waits")), Ok(0));
}

fn a_node_says_whether_there_is_something_to_write<T: Storage>() {
    let config = NodeConfig { idle_probe: Some(Duration::from_secs(30)), ..config() };
    let mut world = established::<T>(&config);
    let (connection, mut now) = (only(&world, S), world.hosts[S].now);
    let node = &mut world.hosts[S].node;
    assert!(!node.has_output(connection));
    // A message.
    node.ops(now).notify(url(URL_L), SPACE, b"hello").unwrap();
    assert!(node.has_output(connection));
    assert!(node.transmit(now, connection, &mut [0; 64]) > 0);
    assert!(!node.has_output(connection));
    // The node's own bytes.
    now = now + Duration::from_secs(30);
    let _ = node.handle(now, Input::Timeout).next();
    assert!(node.has_output(connection));
    assert_eq!(node.transmit(now, connection, &mut [0; 64]), 5);
    assert!(!node.has_output(connection));
}

fn a_socket_that_stays_full_after_a_pause_ends_the_connection<T: Storage>() {
    let mut config = config();
    config.connection.tx_timeout = config.connection.preflight_timeout / 2;
    let mut world = established::<T>(&config);
    world.restart(&config, S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Offered]);
    // While one is offered nothing is written on the other, and no socket is to blame. The confirm never comes.
    world.hosts[L].room = 0;
    world.send(L, S, b"queued while paused").unwrap();
    let now = world.hosts[L].now;
    let rejected = |world: &World<T, Trusting>| {
        world.hosts[L]
            .told
            .iter()
            .filter(|told| matches!(told, Told::Rejected(_)))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (gate, stale) = (CloseReason::Timeout(Timeout::Preflight), CloseReason::Timeout(Timeout::Write));
    for (reason, after) in
        [(gate, config.connection.preflight_timeout), (stale, config.connection.tx_timeout * 3)]
    {
        let before = rejected(&world).len();
        while rejected(&world).len() == before {
            assert!(world.step(Tick(L)), "{reason:?} never comes");
        }
        assert_eq!(rejected(&world).last(), Some(&Told::Rejected(reason)));
        assert_eq!(world.hosts[L].now.since(now), after);
    }
}
