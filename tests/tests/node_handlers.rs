//! What an application may do to a node while it is told something.

mod tiers;

use kitfox_core::PeerId;
use kitfox_core::connection::{CloseReason, Refusal};
use kitfox_core::node::{
    Action, ConnectionId, ConnectionState, DownCause, Input, NodeConfig, Ops, SendError,
};
use kitfox_core::router::{BlockList, SendRefused};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::Message;
use kitfox_tests::frames::data;
use kitfox_tests::world::Event::Tick;
use kitfox_tests::world::{SPACE, Told, Trusting, World};
use tiers::*;

both_tiers![
    a_handler_may_answer_register_and_block,
    a_handler_that_disconnects_hears_no_more,
    a_handler_that_refuses_hears_no_more,
    a_resend_from_inside_not_sent_does_not_loop,
    many_things_done_from_inside_are_refused_before_steps_overflow,
    a_peer_that_leaves_and_is_sent_to_at_once_stays,
    a_message_behind_steps_that_nobody_hears_of_is_whole,
];

fn a_handler_may_answer_register_and_block<T: Storage>() {
    fn answer<S: Storage>(told: &Told, on: Option<ConnectionId>, ops: &mut Ops<'_, S, BlockList<S>>) {
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
    fn leave<S: Storage>(told: &Told, on: Option<ConnectionId>, ops: &mut Ops<'_, S, BlockList<S>>) {
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
    fn refuse<S: Storage>(told: &Told, on: Option<ConnectionId>, ops: &mut Ops<'_, S, BlockList<S>>) {
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
    fn resend<S: Storage>(told: &Told, _: Option<ConnectionId>, ops: &mut Ops<'_, S, BlockList<S>>) {
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
    fn reconnect<S: Storage>(told: &Told, _: Option<ConnectionId>, ops: &mut Ops<'_, S, BlockList<S>>) {
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
