//! How a node may be driven: slowly, in parts, and with what it tells of itself.

mod tiers;

use core::time::Duration;

use kitfox_core::connection::{CloseReason, Wants};
use kitfox_core::node::{Action, ConnectionState, DownCause, Input, Node, NodeConfig, NotSentCause};
use kitfox_core::router::BlockList;
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{FrameType, Message};
use kitfox_core::{Instant, PeerId};
use kitfox_tests::frames::{data, frame};
use kitfox_tests::world::Event::{self, Accept, Connect, Deliver, Tick};
use kitfox_tests::world::{SPACE, Told, Trusting, World};
use tiers::*;

both_tiers![
    a_driver_that_takes_one_action_at_a_time_loses_none,
    the_end_of_a_connection_is_told_later_if_it_is_not_taken_at_once,
    a_disconnect_tells_why_and_marks_nobody,
    what_comes_in_one_read_with_a_confirm_is_told_after_the_peer_is_up,
    a_peers_last_words_are_told_with_its_end,
    the_earliest_deadline_of_a_connection_counts,
    one_disconnect_with_words_at_a_time,
    a_connection_that_was_told_to_be_closed_delivers_nothing_more,
    a_node_can_be_looked_at,
];

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
            if let Action::Dial { connection, .. } = action {
                dialled.push(connection);
            }
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
