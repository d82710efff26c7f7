//! Dials that come to nothing, and what happens at limits.

mod tiers;

use kitfox_core::connection::{CloseReason, NotDialable, Refusal};
use kitfox_core::node::{
    Action, ConnectionId, ConnectionState, Input, Node, NodeConfig, NotSentCause, PeerLimits, PendingPolicy,
    SendError,
};
use kitfox_core::router::BlockList;
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::Message;
use kitfox_core::{CapacityError, Config, Instant, PeerId, RouterLimits};
use kitfox_tests::frames::data;
use kitfox_tests::world::Event::{Accept, Connect, Deliver, Refuse, Tick};
use kitfox_tests::world::{SPACE, Told, Trusting, World};
use tiers::*;

both_tiers![
    one_node_dials_several,
    what_cannot_be_dialled_is_said_at_once,
    dials_that_are_refused_are_repeated_with_growing_pauses_and_then_given_up,
    a_gate_that_never_opens_is_given_up,
    a_veto_of_our_own_gives_up_at_once_and_blames_nobody,
    while_our_network_is_down_nobody_is_unresponsive,
    peers_have_a_limit,
    connections_have_a_limit,
    the_oldest_pending_connection_makes_room,
    a_pending_connection_beyond_the_limit_is_refused,
    a_peer_that_moved_is_known_by_its_new_address,
    what_the_application_dials_may_be_longer_than_what_strangers_may_say,
    another_address_of_a_connected_peer_changes_nothing,
    a_peer_that_is_not_connected_is_dialled_at_its_newest_address,
    pauses_differ_by_up_to_a_quarter,
    a_peer_for_which_there_is_no_place_is_not_to_blame,
];

fn world<T: Storage>(config: &NodeConfig) -> World<T, Trusting> {
    World::new(config, &["a", "b", "c"])
}

fn limited(peers: PeerLimits) -> NodeConfig {
    NodeConfig { peers, ..config() }
}

fn one_node_dials_several<T: Storage>() {
    let mut world = world::<T>(&config());
    world.send(S, 1, b"to b").unwrap();
    world.send(S, 2, b"to c").unwrap();
    assert_eq!(states(&world, S), [ConnectionState::Dialing; 2]);
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [up(URL_L), up(&world.hosts[2].url)]);
    assert_eq!(world.hosts[1].told, [up(URL_S), message(URL_S, b"to b")]);
    assert_eq!(world.hosts[2].told, [up(URL_S), message(URL_S, b"to c")]);
}

fn what_cannot_be_dialled_is_said_at_once<T: Storage>() {
    let mut world = world::<T>(&config());
    let now = world.hosts[S].now;
    let mut to = |url: &str| {
        let url = self::url(url);
        world.hosts[S].node.ops(now).notify(url, SPACE, b"hi").map(|_| ())
    };
    let not = |why| Err(SendError::NotDialable(why));
    assert_eq!(to("ws://10.0.0.2:80"), not(NotDialable::NoPeerId));
    assert_eq!(to("ws://10.0.0.2:0/b"), not(NotDialable::PortZero));
    assert_eq!(to("ws://10.9.9.9:80/a"), not(NotDialable::OurOwnId));
    world.wake(S);
    assert_eq!(world.hosts[S].told, []);
    assert_eq!(world.hosts[S].node.peers().peers().count(), 0);
    // A connection of a peer that cannot be dialled is used.
    world.send(L, S, b"hello").unwrap();
    settle(&mut world);
    let url = url("ws://10.0.0.2:0/b");
    let now = world.hosts[S].now;
    world.hosts[S].node.ops(now).notify(url, SPACE, b"hi").unwrap();
    world.wake(S);
    settle(&mut world);
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, b"hi")]);
}

fn dials_that_are_refused_are_repeated_with_growing_pauses_and_then_given_up<T: Storage>() {
    let mut world = world::<T>(&config());
    let ids = [world.send(S, L, b"one").unwrap(), world.send(S, L, b"two").unwrap()];
    let mut pauses = Vec::new();
    for link in 0..3 {
        go(&mut world, &[Refuse(link)]);
        let before = world.hosts[S].now;
        if link < 2 {
            go(&mut world, &[Tick(S)]);
            pauses.push(world.hosts[S].now.since(before));
        }
    }
    let first = config().peers.backoff;
    assert!(pauses[0] >= first && pauses[0] <= first + first / 4, "{pauses:?}");
    assert!(pauses[1] >= 2 * first && pauses[1] <= 2 * first + first / 2, "{pauses:?}");
    let failed = Told::Rejected(CloseReason::Failed);
    let not_sent = |at: usize, data: &[u8]| Told::NotSent(ids[at], NotSentCause::DialFailed, data.into());
    assert_eq!(
        world.hosts[S].told,
        [
            failed.clone(),
            failed.clone(),
            failed,
            not_sent(0, b"one"),
            not_sent(1, b"two"),
            unresponsive(URL_L),
        ]
    );
    assert_eq!(world.links.len(), 3);
    assert_eq!(world.hosts[S].node.poll_timeout(), None);
    assert_eq!(world.hosts[S].node.peers().peers().count(), 0);
}

/// So that many nodes that lost the same peer do not all come back at the same moment.
fn pauses_differ_by_up_to_a_quarter<T: Storage>() {
    let backoff = config().peers.backoff.as_micros() as u64;
    let pauses: Vec<_> = (1..=64)
        .map(|seed| {
            let policy = BlockList::<T>::new(&config().router);
            let mut node: Node<T, _, Trusting> = Node::new(
                &config(),
                PeerId::new("a").unwrap(),
                u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15),
                policy,
            );
            node.directory_mut().register_space(SPACE).unwrap();
            node.ops(Instant::ZERO).notify(url(URL_L), SPACE, b"hello").unwrap();
            let mut actions = node.handle(Instant::ZERO, Input::Wake);
            let Some(Action::Dial { connection, .. }) = actions.next() else { panic!("a dial") };
            let _ = actions.finish();
            let mut actions = node.handle(Instant::ZERO, Input::Failed(connection));
            while actions.next().is_some() {}
            let _ = actions.finish();
            node.poll_timeout().unwrap().as_micros()
        })
        .collect();
    let (least, most) = (*pauses.iter().min().unwrap(), *pauses.iter().max().unwrap());
    assert!((backoff..backoff + backoff / 16).contains(&least), "{least}");
    assert!((backoff + backoff / 8..=backoff + backoff / 4).contains(&most), "{most}");
}

/// The Heap tier's: the other one has not as many peers.
#[test]
fn pauses_of_one_node_differ_and_end_in_order() {
    const PEERS: usize = 50;
    // Whom a node dials now.
    fn dials(
        node: &mut Node<Heap, BlockList<Heap>, Trusting>,
        now: Instant,
        input: Input<'_>,
    ) -> Vec<ConnectionId> {
        let mut dialled = Vec::new();
        let mut actions = node.handle(now, input);
        while let Some(action) = actions.next() {
            if let Action::Dial { connection, .. } = action {
                dialled.push(connection);
            }
        }
        let _ = actions.finish();
        dialled
    }
    for seed in 1..=20 {
        let policy = BlockList::<Heap>::new(&NodeConfig::HOST.router);
        let mut node = Node::new(&NodeConfig::HOST, PeerId::new("a").unwrap(), seed, policy);
        node.directory_mut().register_space(SPACE).unwrap();
        let mut now = Instant::ZERO;
        for peer in 0..PEERS {
            let text = format!("ws://10.0.0.1:80/peer{peer}");
            node.ops(now).notify(url(&text), SPACE, b"hello").unwrap();
            let dialled = dials(&mut node, now, Input::Wake);
            assert_eq!(dialled.len(), 1);
            dials(&mut node, now, Input::Failed(dialled[0]));
        }
        let (mut moments, mut retries) = (Vec::new(), 0);
        while let Some(next) = node.poll_timeout() {
            assert!(next >= now && moments.len() < 3 * PEERS, "the earliest first, seed {seed}");
            now = next;
            moments.push(now.as_micros());
            for connection in dials(&mut node, now, Input::Timeout) {
                retries += 1;
                dials(&mut node, now, Input::Failed(connection));
            }
            // Some are wanted no more.
            if moments.len() % 9 == 0 {
                let peer = node.peers().peers().nth(moments.len() % 5);
                assert!(peer.is_none_or(|peer| node.ops(now).disconnect(peer, b"")));
                dials(&mut node, now, Input::Wake);
            }
        }
        assert!((PEERS..=2 * PEERS).contains(&retries), "{retries}");
        moments.dedup();
        assert!(moments.len() > PEERS / 2, "{moments:?}");
    }
}

fn a_peer_for_which_there_is_no_place_is_not_to_blame<T: Storage>() {
    let mut world = world::<T>(&limited(PeerLimits { max_connections: 1, ..config().peers }));
    world.send(1, S, b"from b").unwrap();
    settle(&mut world);
    world.hosts[S].told.clear();
    let waits = world.send(S, 2, b"to c").unwrap();
    for _ in 0..10 {
        world.step(Tick(S));
        settle(&mut world);
    }
    assert_eq!(world.hosts[S].told, [Told::NotSent(waits, NotSentCause::NoPlace, b"to c".to_vec())]);
}

fn a_gate_that_never_opens_is_given_up<T: Storage>() {
    let mut world = world::<T>(&config());
    world.hosts[L].answers.refuse_preflights = 9;
    let id = world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    for _ in 0..2 {
        go(&mut world, &[Tick(S)]);
        settle(&mut world);
    }
    let gone = CloseReason::Disconnected;
    let refused = Told::Rejected(gone);
    let cause = NotSentCause::GateFailed(gone);
    assert_eq!(
        world.hosts[S].told,
        [
            refused.clone(),
            refused.clone(),
            refused,
            Told::NotSent(id, cause, b"hello".to_vec()),
            unresponsive(URL_L),
        ]
    );
    assert_eq!(world.hosts[L].told, vec![Told::Rejected(CloseReason::Refused(Refusal::Preflight)); 3]);
}

fn a_veto_of_our_own_gives_up_at_once_and_blames_nobody<T: Storage>() {
    let mut world = world::<T>(&config());
    world.hosts[S].answers.refuse_admissions = 1;
    let id = world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    let veto = CloseReason::Refused(Refusal::Admission);
    assert_eq!(
        world.hosts[S].told,
        [Told::Rejected(veto), Told::NotSent(id, NotSentCause::GateFailed(veto), b"hello".to_vec())]
    );
    assert_eq!(world.links.len(), 1);
    assert_eq!(world.hosts[S].node.poll_timeout(), None);
}

fn while_our_network_is_down_nobody_is_unresponsive<T: Storage>() {
    let mut world = world::<T>(&config());
    world.hosts[S].node.set_network_up(false);
    let id = world.send(S, L, b"hello").unwrap();
    for link in 0..3 {
        go(&mut world, &[Refuse(link)]);
        world.step(Tick(S));
    }
    let failed = Told::Rejected(CloseReason::Failed);
    let not_sent = Told::NotSent(id, NotSentCause::DialFailed, b"hello".to_vec());
    assert_eq!(world.hosts[S].told, [failed.clone(), failed.clone(), failed, not_sent]);
}

fn peers_have_a_limit<T: Storage>() {
    let mut world = world::<T>(&limited(PeerLimits { max_peers: 1, ..config().peers }));
    world.send(S, 1, b"to b").unwrap();
    assert_eq!(world.send(S, 2, b"to c"), Err(SendError::Capacity(CapacityError::Peers)));
    settle(&mut world);
    // A stranger finds no place either.
    world.send(2, S, b"from c").unwrap();
    settle(&mut world);
    let full = Told::Rejected(CloseReason::Capacity(CapacityError::Peers));
    assert_eq!(world.hosts[S].told, [up(URL_L), full]);
    assert_eq!(states(&world, S), [ConnectionState::Open]);
}

fn connections_have_a_limit<T: Storage>() {
    let mut world = world::<T>(&limited(PeerLimits { max_connections: 1, ..config().peers }));
    world.send(1, S, b"from b").unwrap();
    settle(&mut world);
    let now = world.hosts[S].now;
    let full = Err(CapacityError::Connections);
    assert_eq!(world.hosts[S].node.accept(now, ()).map(|_| ()), full);
    // Without a place a dial waits for one.
    world.send(S, 2, b"to c").unwrap();
    settle(&mut world);
    assert_eq!(world.hosts[2].told, []);
    world.disconnect(1, S, b"bye");
    settle(&mut world);
    go(&mut world, &[Tick(S)]);
    settle(&mut world);
    assert_eq!(world.hosts[2].told, [up(URL_S), message(URL_S, b"to c")]);
}

fn the_oldest_pending_connection_makes_room<T: Storage>() {
    let pending = PendingPolicy::EvictOldest;
    let mut world = world::<T>(&limited(PeerLimits { max_pending: 1, pending, ..config().peers }));
    world.send(1, S, b"from b").unwrap();
    world.send(2, S, b"from c").unwrap();
    go(&mut world, &[Accept(0), Accept(1)]);
    assert_eq!(world.hosts[S].node.peers().pending(), 1);
    let evicted = Told::Rejected(CloseReason::Capacity(CapacityError::Pending));
    assert_eq!(world.hosts[S].told, core::slice::from_ref(&evicted));
    settle(&mut world);
    assert_eq!(world.hosts[S].told[..2], [evicted, up(&world.hosts[2].url)]);
}

fn a_pending_connection_beyond_the_limit_is_refused<T: Storage>() {
    let pending = PendingPolicy::Refuse;
    let mut world = world::<T>(&limited(PeerLimits { max_pending: 1, pending, ..config().peers }));
    world.send(1, S, b"from b").unwrap();
    world.send(2, S, b"from c").unwrap();
    go(&mut world, &[Accept(0), Accept(1)]);
    let now = world.hosts[S].now;
    let full = Err(CapacityError::Pending);
    assert_eq!(world.hosts[S].node.accept(now, ()).map(|_| ()), full);
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [up(URL_L), message(URL_L, b"from b")]);
}

fn a_peer_that_moved_is_known_by_its_new_address<T: Storage>() {
    let mut world = world::<T>(&config());
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    world.hosts[S].url = "ws://10.7.7.7:70/a".into();
    world.restart(&config(), S, false);
    world.send(S, L, b"moved").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    settle(&mut world);
    assert!(
        world.hosts[L].told.ends_with(&[up("ws://10.7.7.7:70/a"), message("ws://10.7.7.7:70/a", b"moved")])
    );
}

fn another_address_of_a_connected_peer_changes_nothing<T: Storage>() {
    let mut world = world::<T>(&config());
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    let elsewhere = url("ws://10.9.9.9:90/b");
    let now = world.hosts[S].now;
    let sent = world.hosts[S].node.ops(now).notify(elsewhere, SPACE, b"again").unwrap();
    world.wake(S);
    settle(&mut world);
    let peers = world.hosts[S].node.peers();
    assert_eq!(peers.url(sent.peer), Some(URL_L), "it was heard from there");
    assert_eq!(world.hosts[L].told.last(), Some(&message(URL_S, b"again")));
}

fn a_peer_that_is_not_connected_is_dialled_at_its_newest_address<T: Storage>() {
    let mut world = world::<T>(&config());
    let first = world.send(S, L, b"hello").unwrap();
    go(&mut world, &[Refuse(0)]);
    let elsewhere = url("ws://10.9.9.9:90/b");
    let now = world.hosts[S].now;
    let node = &mut world.hosts[S].node;
    let second = node.ops(now).notify(elsewhere, SPACE, b"again").unwrap();
    assert_eq!((second.peer, second.number), (first.peer, 1), "the same one");
    assert_eq!(node.peers().url(second.peer), Some("ws://10.9.9.9:90/b"));
}

fn what_the_application_dials_may_be_longer_than_what_strangers_may_say<T: Storage>() {
    let mut config = config();
    config.connection.url.max_bytes = URL_L.len() - 1;
    let mut world = world::<T>(&config);
    let now = world.hosts[S].now;
    world.send(S, L, b"hello").unwrap();
    let node = &mut world.hosts[S].node;
    let (connection, state) = node.peers().connections().next().unwrap();
    assert_eq!(state, ConnectionState::Dialing);
    assert_eq!(node.connected(now, connection, ()), Ok(()));
}

/// The figures of the documents.
#[test]
fn a_device_has_the_limits_of_devices() {
    let (host, device) = (NodeConfig::HOST, NodeConfig::DEVICE);
    assert_eq!((device.connection, device.router), (Config::DEVICE, RouterLimits::DEVICE));
    assert_eq!((device.peers, device.max_receive_bytes), (PeerLimits::DEVICE, usize::MAX));
    assert_eq!(
        (host.connection, host.router, host.peers),
        (Config::HOST, RouterLimits::HOST, PeerLimits::HOST)
    );
    assert_eq!(host.max_receive_bytes, 1_073_741_824);
    assert_ne!((host.connection, host.router), (device.connection, device.router));
    let most = usize::MAX;
    let PeerLimits { max_peers, max_connections, max_pending, pending, .. } = host.peers;
    assert_eq!((max_peers, max_connections, max_pending), (65_536, 65_536, 1024));
    assert_eq!(pending, PendingPolicy::EvictOldest);
    let PeerLimits { max_peers, max_connections, max_pending, pending, .. } = device.peers;
    assert_eq!((max_peers, max_connections, max_pending, pending), (most, most, most, PendingPolicy::Refuse));
    let RouterLimits { max_spaces, max_modules, max_blocked_counts, max_block_rules } = host.router;
    assert_eq!(
        (max_spaces, max_modules, max_blocked_counts, max_block_rules),
        (4096, 65_536, 16_384, 65_536)
    );
    let RouterLimits { max_spaces, max_modules, max_blocked_counts, max_block_rules } = device.router;
    assert_eq!((max_spaces, max_modules, max_blocked_counts, max_block_rules), (most, most, most, most));
    let sizes = |config: &Config| {
        let buffers = [config.rx_buffer, config.tx_queue, config.outbox].map(|limits| limits.max_bytes);
        let frames = (config.max_frame_bytes, config.max_preflight_bytes, config.url.max_bytes);
        (frames, buffers, config.high_water_bytes)
    };
    assert_eq!(
        sizes(&host.connection),
        ((104_857_600, 65_536, 2048), [104_857_600, 209_715_200, 209_715_200], 1_048_576)
    );
    assert_eq!(sizes(&device.connection), ((4096, 1024, 256), [4096, 8192, 8192], 8192));
    assert_eq!((host.connection.frame_bytes_per_second, Config::default()), (16_384, Config::HOST));
}

/// Memory counts while a frame is put together, and no more when it was not needed for a while.
#[test]
fn receive_memory_is_counted_up_to_its_limit_and_given_back() {
    let halves = || {
        let mut begun = data(&Message::notify(SPACE, &[7; 200]));
        let rest = begun.split_off(100);
        (begun, rest)
    };
    let begin = |max_receive_bytes: usize| {
        let config = NodeConfig { max_receive_bytes, ..config() };
        let mut world = World::<Heap, Trusting>::new(&config, &["a", "b"]);
        world.send(S, L, b"hello").unwrap();
        settle(&mut world);
        let (connection, _) = world.hosts[L].node.peers().connections().next().unwrap();
        let now = world.hosts[L].now;
        let (mut begun, _) = halves();
        let mut actions = world.hosts[L].node.handle(now, Input::Bytes { connection, bytes: &mut begun });
        let closed = actions.next().is_some();
        while actions.next().is_some() {}
        let _ = actions.finish();
        (world, connection, closed)
    };
    let (mut world, connection, closed) = begin(usize::MAX);
    let mut now = world.hosts[L].now;
    let node = &mut world.hosts[L].node;
    let needed = node.receive_bytes();
    assert!(!closed && needed >= 200, "{needed}");
    let (_, mut rest) = halves();
    let mut actions = node.handle(now, Input::Bytes { connection, bytes: &mut rest });
    assert!(matches!(actions.next(), Some(Action::Notify { data, .. }) if data == [7; 200]));
    assert!(actions.next().is_none());
    let _ = actions.finish();
    for _ in 0..3 {
        if let Some(at) = node.poll_timeout() {
            now = now.max(at);
            let mut actions = node.handle(now, Input::Timeout);
            while actions.next().is_some() {}
            let _ = actions.finish();
        }
    }
    assert_eq!(node.receive_bytes(), 0);
    assert!(!begin(needed).2, "as much as there may be");
    assert!(begin(needed - 1).2, "a byte too many");
}

/// A limit of ours that a dial meets is not the peer's fault, and another attempt would meet it again.
#[test]
fn a_dial_that_meets_a_limit_of_our_own_is_given_up_at_once() {
    let config = NodeConfig { max_receive_bytes: 64, ..config() };
    let mut world = World::<Heap, Trusting>::new(&config, &["a", "b"]);
    world.send(S, L, b"hello").unwrap();
    go(&mut world, &[Accept(0), Connect(0)]);
    let (connection, state) = world.hosts[S].node.peers().connections().next().unwrap();
    assert_eq!(state, ConnectionState::Sent);
    let now = world.hosts[S].now;
    let mut begun = [7; 100];
    begun[..5].copy_from_slice(&[0, 0, 0, 2, 0]);
    let mut actions = world.hosts[S].node.handle(now, Input::Bytes { connection, bytes: &mut begun });
    let memory = CloseReason::Capacity(CapacityError::ReceiveMemory);
    assert!(matches!(actions.next(), Some(Action::Closed { reason, .. }) if reason == memory));
    let cause = NotSentCause::GateFailed(memory);
    assert!(matches!(actions.next(), Some(Action::NotSent { cause: told, .. }) if told == cause));
    assert!(actions.next().is_none(), "nobody is unresponsive");
    let _ = actions.finish();
}

/// The Heap tier's: on the Fixed tier buffers own their memory from the beginning.
#[test]
fn the_connection_whose_read_passes_the_receive_memory_is_closed() {
    let config = NodeConfig { max_receive_bytes: 64, ..config() };
    let mut world = World::<Heap, Trusting>::new(&config, &["a", "b"]);
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    let (connection, _) = world.hosts[L].node.peers().connections().next().unwrap();
    let now = world.hosts[L].now;
    let mut begun = [7; 100];
    begun[..5].copy_from_slice(&[1, 0, 0, 2, 0]);
    let mut actions = world.hosts[L].node.handle(now, Input::Bytes { connection, bytes: &mut begun });
    let closed = actions.next().map(|action| format!("{action:?}"));
    assert!(closed.is_some_and(|closed| closed.contains("ReceiveMemory")));
    while actions.next().is_some() {}
    let _ = actions.finish();
    world.hosts[L].node.release(connection);
    assert_eq!(world.hosts[L].node.receive_bytes(), 0);
}
