//! How a node may be driven: slowly, with full sockets, and from inside of what it tells.

mod tiers;

use core::time::Duration;

use kitfox_core::connection::{CloseReason, PushError, Refusal, Timeout, Wants};
use kitfox_core::node::{
    Action, ConnectionId, ConnectionState, DownCause, Input, Node, NodeConfig, NotSentCause, Ops, PeerTable,
    SendError, Step,
};
use kitfox_core::router::{BlockList, SendRefused};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{FrameType, HEADER_BYTES, Kind, Message, PeerUrl, UrlRules};
use kitfox_core::{Instant, PeerId, ProtocolError};
use kitfox_tests::frames::{data, frame};
use kitfox_tests::world::Event::{self, Accept, Break, Connect, Deliver, Notice, Tick};
use kitfox_tests::world::{SPACE, Told, Trusting, World};
use tiers::*;

both_tiers![
    a_driver_that_takes_one_action_at_a_time_loses_none,
    the_end_of_a_connection_is_told_later_if_it_is_not_taken_at_once,
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
    a_disconnect_tells_why_and_marks_nobody,
    a_handler_may_answer_register_and_block,
    a_handler_that_disconnects_hears_no_more,
    a_handler_that_refuses_hears_no_more,
    a_resend_from_inside_not_sent_does_not_loop,
    many_things_done_from_inside_are_refused_before_steps_overflow,
    a_peer_that_leaves_and_is_sent_to_at_once_stays,
    what_comes_in_one_read_with_a_confirm_is_told_after_the_peer_is_up,
    a_message_behind_steps_that_nobody_hears_of_is_whole,
    a_peers_last_words_are_told_with_its_end,
    a_goodbye_can_be_written_before_the_peer_is_told_to_be_down,
    pieces_are_the_bytes_that_transmit_copies,
    a_node_says_whether_there_is_something_to_write,
    the_earliest_deadline_of_a_connection_counts,
    a_socket_that_stays_full_after_a_pause_ends_the_connection,
    one_disconnect_with_words_at_a_time,
    a_connection_that_was_told_to_be_closed_delivers_nothing_more,
    a_node_can_be_looked_at,
    what_no_gate_lets_through_closes,
    a_peer_is_forgotten_after_everything_was_told_of_it,
];

fn world<T: Storage>() -> World<T, Trusting> {
    World::new(&config(), &["a", "b"])
}

/// Up, with one message delivered from S to L on link 0.
fn established<T: Storage>(config: &NodeConfig) -> World<T, Trusting> {
    let mut world = World::new(config, &["a", "b"]);
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    world.hosts[S].told.clear();
    world.hosts[L].told.clear();
    world
}

/// The only connection of a node.
fn only<T: Storage>(world: &World<T, Trusting>, node: usize) -> ConnectionId {
    let ids: Vec<_> = world.hosts[node].node.peers().connections().collect();
    let [(connection, _)] = ids[..] else { panic!("{ids:?}") };
    connection
}

fn url(text: &str) -> PeerUrl<'_> {
    PeerUrl::parse(text, &UrlRules::default()).unwrap()
}

fn a_driver_that_takes_one_action_at_a_time_loses_none<T: Storage>() {
    let scene = |patience: usize| {
        let mut world = world::<T>();
        for host in &mut world.hosts {
            host.patience = patience;
        }
        world.send(L, S, b"one").unwrap();
        settle(&mut world);
        world.restart(&config(), S, false);
        world.send(S, L, b"again").unwrap();
        settle(&mut world);
        world.send(L, S, b"two").unwrap();
        settle(&mut world);
        world.step(Event::Cut(1));
        world.hanging.extend([(S, L), (L, S)]);
        world.send(S, L, b"three").unwrap();
        world.send(S, L, b"four").unwrap();
        for _ in 0..10 {
            world.step(Tick(S));
            settle(&mut world);
        }
        (world.hosts[S].told.clone(), world.hosts[L].told.clone())
    };
    let all = scene(usize::MAX);
    assert!(all.0.iter().filter(|told| matches!(told, Told::NotSent(..))).count() == 2, "{all:?}");
    assert_eq!(scene(1), all);
    assert_eq!(scene(2), all);
}

fn the_end_of_a_connection_is_told_later_if_it_is_not_taken_at_once<T: Storage>() {
    let mut world = established::<T>(&config());
    let now = world.hosts[S].now;
    let node = &mut world.hosts[S].node;
    let (connection, _) = node.peers().connections().next().unwrap();
    let (taken, _) = node.handle(now, Input::End(connection)).finish();
    assert_eq!(taken, 0);
    assert!(node.poll_timeout().is_some_and(|at| at <= now), "somebody must look again");
    world.step(Tick(S));
    let ended = CloseReason::Ended;
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(ended), down(URL_L, Some((0, 0)), DownCause::Ended(ended)), unresponsive(URL_L)]
    );

    // The same with a dial that failed.
    let mut world = self::world::<T>();
    world.send(S, L, b"hello").unwrap();
    let node = &mut world.hosts[S].node;
    let (connection, state) = node.peers().connections().next().unwrap();
    assert_eq!(state, ConnectionState::Dialing);
    let _ = node.handle(now, Input::Failed(connection)).finish();
    world.wake(S);
    assert_eq!(world.hosts[S].told, [Told::Rejected(CloseReason::Failed)]);
}

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

fn a_disconnect_tells_why_and_marks_nobody<T: Storage>() {
    let mut world = established::<T>(&config());
    world.hosts[S].room = 9;
    let begun = world.send(S, L, b"begun").unwrap();
    let queued = world.send(S, L, b"queued").unwrap();
    world.hosts[S].room = usize::MAX;
    world.disconnect(S, L, b"enough");
    settle(&mut world);
    let local = CloseReason::Local;
    assert_eq!((begun.number, queued.number), (1, 2));
    assert_eq!(
        world.hosts[S].told,
        [
            Told::Rejected(local),
            down(URL_L, Some((0, 1)), DownCause::Ended(local)),
            Told::NotSent(queued, NotSentCause::Disconnected, b"queued".to_vec()),
        ]
    );
    let gone = CloseReason::Disconnected;
    assert_eq!(
        world.hosts[L].told,
        [message(URL_S, b"begun"), Told::Rejected(gone), down(URL_S, None, DownCause::Ended(gone))]
    );
    assert_eq!(world.hosts[S].node.peers().peers().count(), 0);
    assert_eq!(world.live_links(), 0);
}

fn a_handler_may_answer_register_and_block<T: Storage>() {
    fn answer<S: Storage>(
        told: &Told,
        on: Option<kitfox_core::node::ConnectionId>,
        ops: &mut Ops<'_, S, BlockList<S>>,
    ) {
        if let (Told::Message(_, data), Some(connection)) = (told, on) {
            let peer = ops.peer_of(connection).unwrap();
            ops.notify_peer(peer, SPACE, data).unwrap();
            ops.directory_mut().register_space(b"another").unwrap();
            let id = *ops.peers().id(peer).unwrap();
            ops.directory_mut().policy_mut().block(id, None).unwrap();
            let again = ops.notify_peer(peer, SPACE, data);
            assert_eq!(again, Err(SendError::Refused(SendRefused::Blocked)));
            let elsewhere = ops.notify_peer(peer, b"no such space", data);
            assert_eq!(elsewhere, Err(SendError::Refused(SendRefused::UnknownSpace)));
        }
    }
    let mut world = established::<T>(&config());
    world.hosts[L].on_told = Some(answer::<T>);
    world.send(S, L, b"ping").unwrap();
    world.send(S, L, b"blocked").unwrap();
    settle(&mut world);
    assert_eq!(world.hosts[L].told, [message(URL_S, b"ping")]);
    assert_eq!(world.hosts[S].told, [message(URL_L, b"ping")]);
    assert_connected(&world);
    let counts: Vec<_> = world.hosts[L].node.blocked_counts().iter().collect();
    let [count] = counts[..] else { panic!("{counts:?}") };
    assert_eq!((count.peer(), count.space()), (URL_S, SPACE));
    assert_eq!((count.incoming(), count.outgoing()), (1, 1), "of each way one");
}

fn a_handler_that_disconnects_hears_no_more<T: Storage>() {
    fn leave<S: Storage>(
        told: &Told,
        on: Option<kitfox_core::node::ConnectionId>,
        ops: &mut Ops<'_, S, BlockList<S>>,
    ) {
        if let (Told::Message(..), Some(connection)) = (told, on) {
            let peer = ops.peer_of(connection).unwrap();
            assert!(ops.disconnect(peer, b"enough"));
        }
    }
    let mut world = established::<T>(&config());
    world.hosts[L].on_told = Some(leave::<T>);
    world.send(S, L, b"one").unwrap();
    world.send(S, L, b"two").unwrap();
    settle(&mut world);
    let local = CloseReason::Local;
    assert_eq!(
        world.hosts[L].told,
        [message(URL_S, b"one"), Told::Rejected(local), down(URL_S, None, DownCause::Ended(local))]
    );
    let gone = CloseReason::Disconnected;
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(gone), down(URL_L, Some((0, 2)), DownCause::Ended(gone))]
    );
}

fn a_handler_that_refuses_hears_no_more<T: Storage>() {
    fn refuse<S: Storage>(
        told: &Told,
        on: Option<kitfox_core::node::ConnectionId>,
        ops: &mut Ops<'_, S, BlockList<S>>,
    ) {
        if let (Told::Message(..), Some(connection)) = (told, on) {
            assert!(ops.refuse(connection));
        }
    }
    let mut world = established::<T>(&config());
    world.hosts[L].on_told = Some(refuse::<T>);
    world.send(S, L, b"one").unwrap();
    world.send(S, L, b"two").unwrap();
    settle(&mut world);
    let refused = CloseReason::Refused(Refusal::Handler);
    assert_eq!(
        world.hosts[L].told,
        [message(URL_S, b"one"), Told::Rejected(refused), down(URL_S, None, DownCause::Ended(refused))]
    );
    let gone = CloseReason::Disconnected;
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(gone), down(URL_L, Some((0, 2)), DownCause::Ended(gone))]
    );
}

fn a_resend_from_inside_not_sent_does_not_loop<T: Storage>() {
    fn resend<S: Storage>(
        told: &Told,
        _: Option<kitfox_core::node::ConnectionId>,
        ops: &mut Ops<'_, S, BlockList<S>>,
    ) {
        if let Told::NotSent(_, _, data) = told {
            ops.notify(url(URL_L), SPACE, data).unwrap();
        }
    }
    let mut world = world::<T>();
    world.hanging.push((S, L));
    world.hosts[S].on_told = Some(resend::<T>);
    world.send(S, L, b"one").unwrap();
    world.send(S, L, b"two").unwrap();
    let given_up = |world: &World<T, Trusting>| {
        world.hosts[S].told.iter().filter(|told| matches!(told, Told::NotSent(..))).count()
    };
    while given_up(&world) == 0 {
        assert!(world.step(Tick(S)));
    }
    assert_eq!(given_up(&world), 2);
    assert_eq!(world.hosts[S].node.peers().peers().count(), 1, "it waits for them again");
    world.hanging.clear();
    while world.hosts[L].told.is_empty() {
        assert!(world.step(Tick(S)));
        settle(&mut world);
    }
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, b"one"), message(URL_S, b"two")]);
    assert_eq!(given_up(&world), 2);
}

fn many_things_done_from_inside_are_refused_before_steps_overflow<T: Storage>() {
    let mut world = established::<T>(&config());
    let now = world.hosts[L].now;
    let mut ops = world.hosts[L].node.ops(now);
    let mut refused = [0; 2];
    for round in 0..200 {
        let id = format!("ws://10.1.1.1:80/p{round}");
        refused[0] += usize::from(ops.notify(url(&id), SPACE, b"hi").is_err());
        let peers: Vec<_> = ops.peers().peers().collect();
        for &peer in &peers {
            refused[1] += usize::from(ops.notify_peer(peer, SPACE, b"hi").is_err());
        }
        let connections: Vec<_> = ops.peers().connections().collect();
        for (connection, _) in connections {
            ops.refuse(connection);
        }
        if let Some(&peer) = peers.last() {
            ops.disconnect(peer, b"");
        }
    }
    assert!(refused.iter().all(|&refused| refused > 0), "{refused:?}");
    world.wake(L);
    // What was accepted has its fate, and what is left is what waits for a backoff.
    let peers = world.hosts[L].node.peers();
    assert!(peers.connections().all(|(_, state)| state == ConnectionState::Dialing));
}

fn a_peer_that_leaves_and_is_sent_to_at_once_stays<T: Storage>() {
    fn reconnect<S: Storage>(
        told: &Told,
        _: Option<kitfox_core::node::ConnectionId>,
        ops: &mut Ops<'_, S, BlockList<S>>,
    ) {
        if let Told::Down(..) = told {
            ops.notify(url(URL_L), SPACE, b"again").unwrap();
        }
    }
    let mut world = established::<T>(&config());
    world.hosts[S].on_told = Some(reconnect::<T>);
    world.disconnect(L, S, b"bye");
    settle(&mut world);
    let gone = CloseReason::Disconnected;
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(gone), down(URL_L, Some((0, 0)), DownCause::Ended(gone)), up(URL_L)]
    );
    assert!(world.hosts[L].told.ends_with(&[up(URL_S), message(URL_S, b"again")]));
    assert_connected(&world);
}

/// The Heap tier's: the other one has not as many connections.
#[test]
fn many_refusals_from_inside_are_put_off_before_steps_overflow() {
    const PEERS: usize = 30;
    fn refuse_all(told: &Told, _: Option<ConnectionId>, ops: &mut Ops<'_, Heap, BlockList<Heap>>) {
        if matches!(told, Told::Message(..)) {
            let ids: Vec<_> = ops.peers().connections().map(|(id, _)| id).collect();
            let refused = ids.iter().take_while(|&&id| ops.refuse(id)).count();
            assert!((5..PEERS - 5).contains(&refused), "{refused}");
        }
    }
    let ids: Vec<_> = (0..=PEERS).map(|number| format!("peer{number}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut world = World::<Heap, Trusting>::new(&NodeConfig { idle_probe: None, ..NodeConfig::HOST }, &ids);
    for peer in 1..=PEERS {
        world.send(peer, 0, b"hello").unwrap();
    }
    assert!(world.settle(100 * PEERS));
    assert_eq!(world.live_links(), PEERS);
    world.hosts[0].told.clear();
    world.hosts[0].on_told = Some(refuse_all);
    world.send(1, 0, b"go").unwrap();
    assert!(world.settle(100 * PEERS));
    let refused = Told::Rejected(CloseReason::Refused(Refusal::Handler));
    let count = world.hosts[0].told.iter().filter(|&told| *told == refused).count();
    assert!(count >= 5);
    assert_eq!(world.live_links(), PEERS - count, "the others are as they were");
}

/// The Heap tier's: the other one has not as many peers.
#[test]
fn dials_that_fail_while_no_step_is_taken_overflow_nothing() {
    const PEERS: usize = 200;
    let config = NodeConfig::HOST;
    let policy = BlockList::<Heap>::new(&config.router);
    let mut node: Node<Heap, _, Trusting> = Node::new(&config, PeerId::new("a").unwrap(), 1, policy);
    node.directory_mut().register_space(SPACE).unwrap();
    let mut now = Instant::ZERO;
    let mut dialled = Vec::new();
    for peer in 0..PEERS {
        let text = format!("ws://10.0.0.1:80/peer{peer}");
        node.ops(now).notify(url(&text), SPACE, b"hello").unwrap();
        let mut actions = node.handle(now, Input::Wake);
        while let Some(action) = actions.next() {
            dialled.extend(if let Action::Dial { connection, .. } = action {
                Some(connection)
            } else {
                None
            });
        }
        let _ = actions.finish();
    }
    assert_eq!(dialled.len(), PEERS);
    for connection in dialled {
        let _ = node.handle(now, Input::Failed(connection)).finish();
    }
    // What was not heard then is found out by its deadline.
    let mut given_up = 0;
    for _ in 0..20 * PEERS {
        now = now.max(node.poll_timeout().unwrap_or(now));
        let mut failed = Vec::new();
        let mut actions = node.handle(now, Input::Timeout);
        while let Some(action) = actions.next() {
            match action {
                Action::Dial { connection, .. } => failed.push(connection),
                Action::NotSent { .. } => given_up += 1,
                _ => {}
            }
        }
        let _ = actions.finish();
        for connection in failed {
            let mut actions = node.handle(now, Input::Failed(connection));
            while let Some(action) = actions.next() {
                given_up += usize::from(matches!(action, Action::NotSent { .. }));
            }
            let _ = actions.finish();
        }
    }
    assert_eq!((given_up, node.poll_timeout()), (PEERS, None));
}

fn what_comes_in_one_read_with_a_confirm_is_told_after_the_peer_is_up<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"hello").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Deliver(0, 1)]);
    let (connection, now) = (only(&world, L), world.hosts[L].now);
    let mut bytes = frame(FrameType::Data, &[]);
    for data in [b"one", b"two"] {
        bytes.extend(self::data(&Message::notify(SPACE, data)));
    }
    let mut told = Vec::new();
    let mut actions = world.hosts[L].node.handle(now, Input::Bytes { connection, bytes: &mut bytes });
    while let Some(action) = actions.next() {
        told.push(match action {
            Action::PeerUp { .. } => b"up".to_vec(),
            Action::Notify { data, .. } => data.to_vec(),
            other => panic!("{other:?}"),
        });
    }
    let _ = actions.finish();
    assert_eq!(told, [&b"up"[..], b"one", b"two"]);
}

fn a_message_behind_steps_that_nobody_hears_of_is_whole<T: Storage>() {
    let mut world = World::<T, Trusting>::new(&config(), &["a", "b", "c"]);
    world.send(0, 1, b"hello").unwrap();
    world.send(2, 1, b"hello").unwrap();
    settle(&mut world);
    let now = world.hosts[1].now;
    let node = &mut world.hosts[1].node;
    let [leaves, stays] = [0, 2].map(|peer| {
        let id = PeerId::new(["a", "b", "c"][peer]).unwrap();
        node.peers().peer(&id).unwrap()
    });
    let connection = node.peers().open_connection(stays).unwrap();
    let mut bytes = [b"one", b"two"].map(|of| data(&Message::notify(SPACE, of))).concat();
    let mut actions = node.handle(now, Input::Bytes { connection, bytes: &mut bytes });
    let Some((Action::Notify { data: b"one", .. }, mut ops)) = actions.next_with() else {
        panic!("the first")
    };
    assert!(ops.disconnect(leaves, b"bye"));
    assert!(matches!(actions.next(), Some(Action::Closed { .. })));
    assert!(matches!(actions.next(), Some(Action::PeerDown { .. })));
    // What waited for that peer is still to be given up, and it is to be forgotten: nothing to hear of.
    let action = actions.next();
    assert!(matches!(action, Some(Action::Notify { data: b"two", .. })), "{action:?}");
    assert!(actions.next().is_none());
    let _ = actions.finish();
    assert_eq!((node.peers().has_steps(), node.peers().peer(&PeerId::new("a").unwrap())), (false, None));
}

fn a_peers_last_words_are_told_with_its_end<T: Storage>() {
    let mut world = established::<T>(&config());
    let (connection, now) = (only(&world, L), world.hosts[L].now);
    let mut bytes = data(&Message::disconnect(b"enough"));
    let mut actions = world.hosts[L].node.handle(now, Input::Bytes { connection, bytes: &mut bytes });
    let mut said = Vec::new();
    while let Some(action) = actions.next() {
        if let Action::Closed { message, .. } | Action::PeerDown { message, .. } = action {
            said.push(message.to_vec());
        }
    }
    let _ = actions.finish();
    assert_eq!(said, [b"enough", b"enough"], "of the connection, and of the peer");

    // What ends without them has none, whatever came last.
    let hello = data(&Message::notify(SPACE, b"hello"));
    for mut bytes in [[hello, vec![9; 16]].concat(), vec![9; 16], Vec::new()] {
        let mut world = established::<T>(&config());
        let (connection, now) = (only(&world, L), world.hosts[L].now);
        let input = if bytes.is_empty() {
            Input::End(connection)
        } else {
            Input::Bytes { connection, bytes: &mut bytes }
        };
        let mut actions = world.hosts[L].node.handle(now, input);
        let mut ends = 0;
        while let Some(action) = actions.next() {
            if let Action::Closed { message, .. } | Action::PeerDown { message, .. } = action {
                assert_eq!(message, b"");
                ends += 1;
            }
        }
        let _ = actions.finish();
        assert_eq!(ends, 2);
    }
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

fn the_earliest_deadline_of_a_connection_counts<T: Storage>() {
    let begin = |probe: u64| {
        let config = NodeConfig { idle_probe: Some(Duration::from_secs(probe)), ..config() };
        let mut world = established::<T>(&config);
        // Deadlines that were set before, of the gate and of memory, are none any more.
        while world.hosts[L].node.poll_timeout().is_some_and(|at| at.as_micros() < 30_000_000) {
            assert!(world.step(Tick(L)) && world.events().is_empty());
        }
        let (connection, now) = (only(&world, L), world.hosts[L].now);
        (world, connection, now)
    };
    let half_a_frame = || frame(FrameType::Data, &[7; 20])[..12].to_vec();
    let (frame_timeout, tx_timeout) = (config().connection.frame_timeout, config().connection.tx_timeout);

    // A frame that began has less time than silence, and than bytes that wait.
    let (mut world, connection, now) = begin(100);
    let node = &mut world.hosts[L].node;
    let mut bytes = half_a_frame();
    let mut actions = node.handle(now, Input::Bytes { connection, bytes: &mut bytes });
    assert!(actions.next().is_none());
    let _ = actions.finish();
    let frame_deadline = node.poll_timeout().unwrap();
    assert!(frame_deadline.since(now) < frame_timeout + Duration::from_secs(5));
    node.ops(now).notify(url(URL_S), SPACE, b"hello").unwrap();
    assert_eq!(node.poll_timeout(), Some(frame_deadline));

    // Bytes that wait have less time than such a silence, and more than a short one.
    let (mut world, _, now) = begin(100);
    let node = &mut world.hosts[L].node;
    assert!(node.poll_timeout().unwrap().since(now) > tx_timeout);
    node.ops(now).notify(url(URL_S), SPACE, b"hello").unwrap();
    assert_eq!(node.poll_timeout().unwrap().since(now), tx_timeout);
    let (mut world, _, now) = begin(30);
    let node = &mut world.hosts[L].node;
    node.ops(now).notify(url(URL_S), SPACE, b"hello").unwrap();
    assert_eq!(node.poll_timeout().unwrap().as_micros(), 30_000_000);
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

fn one_disconnect_with_words_at_a_time<T: Storage>() {
    let mut world = World::<T, Trusting>::new(&config(), &["a", "b", "c"]);
    world.send(0, 1, b"hello").unwrap();
    world.send(2, 1, b"hello").unwrap();
    settle(&mut world);
    let now = world.hosts[1].now;
    let node = &mut world.hosts[1].node;
    let peers: Vec<_> = node.peers().peers().collect();
    assert_eq!(peers.len(), 2);
    assert!(node.ops(now).disconnect(peers[0], b"you"));
    assert!(!node.ops(now).disconnect(peers[1], b"and you"), "the first words were not taken yet");
    world.wake(1);
    let node = &mut world.hosts[1].node;
    assert!(!node.ops(now).disconnect(peers[0], b"again"), "it is not in the table any more");
    assert!(node.ops(now).disconnect(peers[1], b"and you"));
    world.wake(1);
    settle(&mut world);
    let gone = CloseReason::Disconnected;
    for host in [&world.hosts[0], &world.hosts[2]] {
        assert_eq!(host.told.last(), Some(&down("ws://10.0.0.2:80/b", Some((0, 0)), DownCause::Ended(gone))));
    }
}

fn a_connection_that_was_told_to_be_closed_delivers_nothing_more<T: Storage>() {
    let mut world = established::<T>(&config());
    let (connection, now) = (only(&world, L), world.hosts[L].now);
    let node = &mut world.hosts[L].node;
    let peer = node.peers().peer_of(connection).unwrap();
    assert!(node.ops(now).disconnect(peer, b"bye"));
    let mut actions = node.handle(now, Input::Wake);
    assert!(matches!(actions.next(), Some(Action::Closed { .. })));
    while actions.next().is_some() {}
    let _ = actions.finish();
    // What was under way arrives before its socket is closed.
    let mut late = data(&Message::notify(SPACE, b"late"));
    let mut actions = node.handle(now, Input::Bytes { connection, bytes: &mut late });
    assert!(actions.next().is_none());
    assert_eq!(actions.finish(), (0, Wants::Nothing));
    assert!(node.has_output(connection), "the goodbye");
    node.release(connection);
}

fn a_node_can_be_looked_at<T: Storage>() {
    let mut world = established::<T>(&config());
    let (connection, now) = (only(&world, S), world.hosts[S].now);
    let node = &mut world.hosts[S].node;
    let key = node.peers().peer_of(connection).unwrap();
    let peer = node.peer(key).unwrap();
    assert_eq!((peer.url, peer.proven), (URL_L, true));
    let rx = node.rx(connection).unwrap();
    assert!(rx.is_open());
    assert!(node.outbox(key).unwrap().is_empty());
    node.ops(now).notify(url(URL_L), SPACE, b"hello").unwrap();
    let outbox = node.outbox(key).unwrap();
    assert_eq!((outbox.is_empty(), outbox.next_written(), outbox.next_number()), (false, 1, 2));
    assert_eq!(outbox.len(), data(&Message::notify(SPACE, b"hello")).len());
    assert!(outbox.memory() >= outbox.len());
    // Ids of what is gone are nobody's.
    world.step(Event::Cut(0));
    settle(&mut world);
    let node = &mut world.hosts[S].node;
    assert!(node.rx(connection).is_none());
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    let node = &world.hosts[S].node;
    assert!(node.rx(connection).is_none() && node.rx(only(&world, S)).is_some());
}

/// The table of peers by itself: a host with threads drives it so.
fn what_no_gate_lets_through_closes<T: Storage>() {
    let now = Instant::ZERO;
    let misplaced = CloseReason::from(ProtocolError::SecondPreflight);
    let steps = |table: &mut PeerTable<T>| core::iter::from_fn(|| table.next_step()).collect::<Vec<_>>();
    for proven in [true, false] {
        let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
        let peer = PeerId::new("a").unwrap();
        let connection = table.accept().unwrap();
        assert_eq!((table.pending(), table.is_proven(connection)), (1, false));
        table.introduced(now, connection, &peer, URL_S, proven);
        assert_eq!(
            steps(&mut table),
            [Step::Pause(table.peer(&peer).unwrap(), true), Step::Proceed(connection)]
        );
        assert_eq!((table.pending(), table.is_proven(connection)), (0, proven));
        // Once more.
        table.introduced(now, connection, &peer, URL_S, proven);
        assert_eq!(steps(&mut table)[0], Step::Close(connection, misplaced));
        assert_eq!((table.state(connection), table.is_proven(connection)), (None, false));
    }
    // A confirm before anything else, and one that comes twice.
    let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
    let connection = table.accept().unwrap();
    assert!(!table.confirmed(now, connection));
    assert_eq!(steps(&mut table), [Step::Close(connection, misplaced)]);
    assert!(!table.confirmed(now, connection), "it has ended");
    assert_eq!(steps(&mut table), []);
}

fn a_peer_is_forgotten_after_everything_was_told_of_it<T: Storage>() {
    let now = Instant::ZERO;
    let mut table = PeerTable::<T>::new(&config().peers, PeerId::new("b").unwrap(), 1);
    let peer = PeerId::new("a").unwrap();
    // It is to leave, and before that is taken out a message is sent to it and given up.
    let key = table.enter(&peer, URL_S).unwrap();
    table.waiting(now, key, false);
    assert_eq!(table.enter(&peer, URL_S), Ok(key));
    table.waiting(now, key, true);
    let (connection, _) = table.connections().next().unwrap();
    table.disconnect(now, key);
    let mut steps = Vec::new();
    while let Some(step) = table.next_step() {
        steps.push(step);
    }
    assert_eq!(
        steps,
        [
            Step::Dial(key, connection),
            Step::Close(connection, CloseReason::Local),
            Step::GiveUp(key, NotSentCause::Disconnected),
            Step::Forget(key),
        ]
    );
    assert_eq!(table.peer(&peer), None);
}
