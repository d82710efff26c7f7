//! One connection a peer: the scenarios of `docs/connections.md`, on channels that prove their peer's id.

mod tiers;

use kitfox_core::connection::{CloseReason, Timeout};
use kitfox_core::node::{ConnectionState, DownCause, NotSentCause};
use kitfox_core::storage::Storage;
use kitfox_tests::world::Event::{Accept, Connect, Cut, Deliver, Tick};
use kitfox_tests::world::{Told, Trusting, World};
use tiers::*;

both_tiers![
    a_send_dials_once_and_arrives,
    when_both_dial_the_larger_ids_connection_stays,
    a_superseded_dial_is_no_failure_while_the_other_one_is_under_way,
    the_larger_id_holds_a_preflight_while_it_dials,
    when_the_larger_id_cannot_dial_the_hold_ends_the_wait,
    two_holds_that_end_at_once_are_both_answered,
    when_the_smaller_id_cannot_dial_nobody_waits,
    an_answer_that_comes_too_late_is_taken_back,
    an_older_preflight_after_the_choice_changes_nothing,
    a_restart_that_nobody_noticed_takes_over_at_the_confirm,
    a_larger_id_that_restarted_takes_over_at_its_confirm,
    a_cut_makes_what_was_written_unknown_and_nothing_else,
    an_answer_from_before_a_restart_is_never_opened,
    a_rejected_preflight_is_tried_again,
    what_an_answer_was_to_carry_waits_for_the_next_connection,
    when_nothing_can_be_dialled_messages_are_handed_back,
    a_disconnect_right_after_opening_is_one_up_and_one_down,
    a_candidate_that_is_cut_leaves_the_open_one,
    a_confirm_that_never_arrives_is_nobodys_up,
    an_older_dial_of_the_same_peer_is_superseded,
    only_the_latest_dial_of_a_peer_is_kept,
    messages_of_a_peer_are_numbered_and_arrive_in_order,
];

/// Both have sent a message, and both dials are established; link 0 is S's, link 1 is L's.
fn both_dialled<T: Storage>() -> World<T, Trusting> {
    let mut world = world();
    world.send(S, L, b"from S").unwrap();
    world.send(L, S, b"from L").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Accept(1), Connect(1)]);
    world
}

/// Scenario 1.
fn a_send_dials_once_and_arrives<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [up(URL_L)]);
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, b"hello")]);
    assert_eq!(world.links.len(), 1);
    assert_connected(&world);
}

/// Scenario 2.
fn when_both_dial_the_larger_ids_connection_stays<T: Storage>() {
    let mut world = both_dialled::<T>();
    go(&mut world, &[Deliver(0, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Sent, ConnectionState::Held]);
    go(&mut world, &[Deliver(1, 1), Deliver(1, 0)]);
    settle(&mut world);
    let superseded = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[S].told, [superseded, up(URL_L), message(URL_L, b"from L")]);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[L].told, [closed, up(URL_S), message(URL_S, b"from S")]);
    assert_eq!(world.links.len(), 2);
    assert_connected(&world);
}

/// Scenario 2, and then the connection that was to stay is cut before it is confirmed.
fn a_superseded_dial_is_no_failure_while_the_other_one_is_under_way<T: Storage>() {
    let mut world = both_dialled::<T>();
    go(&mut world, &[Deliver(0, 1), Deliver(1, 1), Deliver(1, 0), Deliver(0, 0)]);
    assert_eq!(world.hosts[S].told, [Told::Rejected(CloseReason::Disconnected)]);
    assert_eq!(states(&world, S), [ConnectionState::Offered]);
    go(&mut world, &[Cut(1)]);
    assert_eq!(world.links[2].nodes, [S, L], "S dials at once: nothing has failed");
    settle(&mut world);
    assert!(world.hosts[L].told.contains(&message(URL_S, b"from S")));
}

/// Scenario 3.
fn the_larger_id_holds_a_preflight_while_it_dials<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"from S").unwrap();
    world.send(L, S, b"from L").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Deliver(0, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Dialing, ConnectionState::Held]);
    go(&mut world, &[Accept(1), Connect(1)]);
    settle(&mut world);
    let superseded = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[S].told, [superseded, up(URL_L), message(URL_L, b"from L")]);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[L].told, [closed, up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 4.
fn when_the_larger_id_cannot_dial_the_hold_ends_the_wait<T: Storage>() {
    let mut world = world::<T>();
    world.hanging.push((L, S));
    world.send(S, L, b"from S").unwrap();
    world.send(L, S, b"from L").unwrap();
    settle(&mut world);
    assert_eq!(states(&world, L), [ConnectionState::Dialing, ConnectionState::Held]);
    go(&mut world, &[Tick(L)]);
    settle(&mut world);
    assert_eq!(world.hosts[L].now.as_micros(), config().peers.hold.as_micros() as u64);
    assert_eq!(world.hosts[S].told, [up(URL_L), message(URL_L, b"from L")]);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[L].told, [closed, up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 4, with two peers at the same moment.
fn two_holds_that_end_at_once_are_both_answered<T: Storage>() {
    let mut world = World::<T, Trusting>::new(&config(), &["a", "b", "c"]);
    for smaller in [0, 1] {
        world.hanging.push((2, smaller));
        world.send(2, smaller, b"from L").unwrap();
        world.send(smaller, 2, b"from S").unwrap();
    }
    settle(&mut world);
    let held = states(&world, 2).iter().filter(|&&state| state == ConnectionState::Held).count();
    assert_eq!(held, 2);
    // One deadline after the other, before anything arrives.
    let hold = config().peers.hold;
    while world.hosts[2].node.poll_timeout().is_some_and(|at| at.as_micros() <= hold.as_micros() as u64) {
        assert!(world.step(Tick(2)));
    }
    settle(&mut world);
    assert_eq!(world.hosts[2].now.as_micros(), hold.as_micros() as u64);
    for smaller in [0, 1] {
        assert!(world.hosts[smaller].told.contains(&message("ws://10.0.0.3:80/c", b"from L")));
    }
    assert_eq!(world.live_links(), 2);
}

/// Scenario 5.
fn when_the_smaller_id_cannot_dial_nobody_waits<T: Storage>() {
    let mut world = world::<T>();
    world.hanging.push((S, L));
    world.send(S, L, b"from S").unwrap();
    world.send(L, S, b"from L").unwrap();
    settle(&mut world);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[S].told, [closed, up(URL_L), message(URL_L, b"from L")]);
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 6.
fn an_answer_that_comes_too_late_is_taken_back<T: Storage>() {
    let mut world = both_dialled::<T>();
    go(&mut world, &[Deliver(0, 1), Deliver(1, 1), Tick(L), Deliver(0, 0)]);
    assert_eq!(states(&world, S), [ConnectionState::Answered, ConnectionState::Offered]);
    assert_eq!(states(&world, L), [ConnectionState::Offered]);
    go(&mut world, &[Deliver(1, 1)]);
    assert_eq!(states(&world, S), [ConnectionState::Open]);
    settle(&mut world);
    let superseded = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[S].told, [superseded, up(URL_L), message(URL_L, b"from L")]);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[L].told, [closed, up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 7.
fn an_older_preflight_after_the_choice_changes_nothing<T: Storage>() {
    let mut world = both_dialled::<T>();
    go(&mut world, &[Deliver(1, 1), Deliver(1, 0), Deliver(0, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Offered]);
    world.send(L, S, b"while paused").unwrap();
    go(&mut world, &[Deliver(0, 0)]);
    assert_eq!(states(&world, S), [ConnectionState::Answered, ConnectionState::Offered]);
    go(&mut world, &[Deliver(1, 1)]);
    assert_eq!(states(&world, S), [ConnectionState::Open]);
    settle(&mut world);
    let closed = Told::Rejected(CloseReason::Superseded);
    let (first, second) = (message(URL_L, b"from L"), message(URL_L, b"while paused"));
    assert_eq!(world.hosts[S].told, [closed, up(URL_L), first, second]);
    let superseded = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[L].told, [up(URL_S), superseded, message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 8.
fn a_restart_that_nobody_noticed_takes_over_at_the_confirm<T: Storage>() {
    let mut world = world::<T>();
    world.send(L, S, b"one").unwrap();
    settle(&mut world);
    world.restart(&config(), S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Offered]);
    world.send(L, S, b"two").unwrap();
    settle(&mut world);
    let alive = [up(URL_L), message(URL_L, b"one")];
    let again = [up(URL_L), message(URL_L, b"two")];
    assert_eq!(world.hosts[S].told, [alive, again].concat());
    assert_eq!(
        world.hosts[L].told,
        [
            up(URL_S),
            Told::Rejected(CloseReason::Superseded),
            down(URL_S, Some((0, 0)), DownCause::Replaced),
            up(URL_S),
            message(URL_S, b"again"),
        ]
    );
    assert_eq!(states(&world, L), [ConnectionState::Open]);
}

/// Scenario 9, with the pause.
fn a_larger_id_that_restarted_takes_over_at_its_confirm<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"one").unwrap();
    settle(&mut world);
    world.restart(&config(), L, false);
    world.send(S, L, b"into the void").unwrap();
    world.send(L, S, b"back").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    world.send(S, L, b"between").unwrap();
    settle(&mut world);
    assert_eq!(
        world.hosts[S].told,
        [
            up(URL_L),
            Told::Rejected(CloseReason::Superseded),
            down(URL_L, Some((0, 1)), DownCause::Replaced),
            up(URL_L),
            message(URL_L, b"back"),
        ]
    );
    let alive = [up(URL_S), message(URL_S, b"one")];
    let again = [up(URL_S), message(URL_S, b"between")];
    assert_eq!(world.hosts[L].told, [alive, again].concat());
}

/// Scenario 10.
fn a_cut_makes_what_was_written_unknown_and_nothing_else<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"zero").unwrap();
    settle(&mut world);
    world.send(S, L, b"one").unwrap();
    go(&mut world, &[Cut(0)]);
    world.send(S, L, b"two").unwrap();
    settle(&mut world);
    let failed = CloseReason::Failed;
    assert_eq!(
        world.hosts[S].told,
        [
            up(URL_L),
            Told::Rejected(failed),
            down(URL_L, Some((0, 1)), DownCause::Ended(failed)),
            unresponsive(URL_L),
            up(URL_L),
        ]
    );
    assert_eq!(
        world.hosts[L].told,
        [
            up(URL_S),
            message(URL_S, b"zero"),
            Told::Rejected(failed),
            down(URL_S, None, DownCause::Ended(failed)),
            unresponsive(URL_S),
            up(URL_S),
            message(URL_S, b"two"),
        ]
    );
    assert_connected(&world);
}

/// Scenario 11.
fn an_answer_from_before_a_restart_is_never_opened<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"from S").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Deliver(0, 1)]);
    world.restart(&config(), L, true);
    world.send(L, S, b"from L").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1), Deliver(0, 0)]);
    assert_eq!(states(&world, S), [ConnectionState::Answered, ConnectionState::Offered]);
    go(&mut world, &[Deliver(1, 0), Deliver(1, 1)]);
    settle(&mut world);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[S].told, [closed, up(URL_L), message(URL_L, b"from L")]);
    assert_eq!(world.hosts[L].told, [up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 12.
fn a_rejected_preflight_is_tried_again<T: Storage>() {
    let mut world = world::<T>();
    world.hosts[L].answers.refuse_preflights = 1;
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    let refused = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[S].told, core::slice::from_ref(&refused));
    go(&mut world, &[Tick(S)]);
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [refused, up(URL_L)]);
    let rejected = Told::Rejected(CloseReason::Refused(kitfox_core::connection::Refusal::Preflight));
    assert_eq!(world.hosts[L].told, [rejected, up(URL_S), message(URL_S, b"hello")]);
    assert_connected(&world);
}

/// Scenario 13.
fn what_an_answer_was_to_carry_waits_for_the_next_connection<T: Storage>() {
    let mut world = world::<T>();
    world.hosts[S].answers.refuse_preflights = 1;
    world.send(S, L, b"from S").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Deliver(0, 1)]);
    world.send(L, S, b"from L").unwrap();
    settle(&mut world);
    let rejected = Told::Rejected(CloseReason::Refused(kitfox_core::connection::Refusal::Preflight));
    assert_eq!(world.hosts[S].told, [rejected, up(URL_L), message(URL_L, b"from L")]);
    let refused = Told::Rejected(CloseReason::Disconnected);
    assert_eq!(world.hosts[L].told, [refused, up(URL_S), message(URL_S, b"from S")]);
    assert_connected(&world);
}

/// Scenario 14.
fn when_nothing_can_be_dialled_messages_are_handed_back<T: Storage>() {
    let mut world = world::<T>();
    world.hanging.extend([(S, L), (L, S)]);
    let one = world.send(S, L, b"one").unwrap();
    let two = world.send(S, L, b"two").unwrap();
    for _ in 0..8 {
        world.step(Tick(S));
        settle(&mut world);
    }
    let timeout = Told::Rejected(CloseReason::Timeout(Timeout::Dial));
    let not_sent = |id, data: &[u8]| Told::NotSent(id, NotSentCause::DialFailed, data.into());
    assert_eq!(
        world.hosts[S].told,
        [
            timeout.clone(),
            timeout.clone(),
            timeout,
            not_sent(one, b"one"),
            not_sent(two, b"two"),
            unresponsive(URL_L),
        ]
    );
    assert_eq!(world.hosts[L].told, []);
    assert_eq!(world.hosts[S].node.peers().peers().count(), 0);
    assert_eq!(states(&world, S), []);
    assert_eq!(world.hosts[S].node.poll_timeout(), None);
}

/// Scenario 15.
fn a_disconnect_right_after_opening_is_one_up_and_one_down<T: Storage>() {
    let mut world = both_dialled::<T>();
    go(&mut world, &[Deliver(1, 1), Deliver(1, 0)]);
    world.disconnect(L, S, b"bye");
    go(&mut world, &[Deliver(0, 1), Deliver(0, 0)]);
    assert_eq!(states(&world, S), [ConnectionState::Answered, ConnectionState::Offered]);
    go(&mut world, &[Deliver(1, 1), Deliver(1, 1), Deliver(1, 1)]);
    let ups = |world: &World<T, Trusting>, node: usize| {
        let told = &world.hosts[node].told;
        let count = |is: fn(&Told) -> bool| told.iter().filter(|told| is(told)).count();
        (
            count(|told| matches!(told, Told::Up(_))),
            count(|told| matches!(told, Told::Down(..))),
            count(|told| matches!(told, Told::Unresponsive(_) | Told::NotSent(..))),
        )
    };
    assert_eq!(
        world.hosts[S].told,
        [
            Told::Rejected(CloseReason::Superseded),
            up(URL_L),
            message(URL_L, b"from L"),
            Told::Rejected(CloseReason::Disconnected),
            down(URL_L, Some((0, 0)), DownCause::Ended(CloseReason::Disconnected)),
        ]
    );
    settle(&mut world);
    assert_eq!((ups(&world, S), ups(&world, L)), ((1, 1, 0), (1, 1, 0)));
    assert!(states(&world, S).is_empty() && states(&world, L).is_empty());
}

/// Scenario 19.
fn a_candidate_that_is_cut_leaves_the_open_one<T: Storage>() {
    let mut world = world::<T>();
    world.send(L, S, b"one").unwrap();
    settle(&mut world);
    world.restart(&config(), S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1), Cut(1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open]);
    go(&mut world, &[Tick(S)]);
    settle(&mut world);
    let failed = Told::Rejected(CloseReason::Failed);
    assert_eq!(world.hosts[S].told, [up(URL_L), message(URL_L, b"one"), failed.clone(), up(URL_L)]);
    assert_eq!(
        world.hosts[L].told,
        [
            up(URL_S),
            failed,
            Told::Rejected(CloseReason::Superseded),
            down(URL_S, Some((0, 0)), DownCause::Replaced),
            up(URL_S),
            message(URL_S, b"again"),
        ]
    );
}

/// Scenario 20.
fn a_confirm_that_never_arrives_is_nobodys_up<T: Storage>() {
    let mut world = world::<T>();
    world.send(L, S, b"from L").unwrap();
    go(&mut world, &[Accept(0), Connect(0), Deliver(0, 1)]);
    world.send(S, L, b"from S").unwrap();
    assert_eq!(world.links.len(), 1, "S waits for the fate of what it offered");
    go(&mut world, &[Deliver(0, 0), Cut(0)]);
    settle(&mut world);
    let failed = CloseReason::Failed;
    assert_eq!(world.hosts[S].told, [Told::Rejected(failed), up(URL_L)]);
    assert_eq!(
        world.hosts[L].told,
        [
            up(URL_S),
            Told::Rejected(failed),
            down(URL_S, Some((0, 0)), DownCause::Ended(failed)),
            unresponsive(URL_S),
            up(URL_S),
            message(URL_S, b"from S"),
        ]
    );
    assert_connected(&world);
}

/// Scenario 23.
fn an_older_dial_of_the_same_peer_is_superseded<T: Storage>() {
    let mut world = world::<T>();
    world.send(S, L, b"before").unwrap();
    go(&mut world, &[Accept(0), Connect(0)]);
    world.restart(&config(), S, false);
    world.send(S, L, b"after").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Inbound, ConnectionState::Offered]);
    go(&mut world, &[Deliver(0, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Offered]);
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [up(URL_L)]);
    let closed = Told::Rejected(CloseReason::Superseded);
    assert_eq!(world.hosts[L].told, [closed, up(URL_S), message(URL_S, b"after")]);
    assert_connected(&world);
}

/// Rule 3a: a peer that restarts again and again, unnoticed, never has more than one place.
fn only_the_latest_dial_of_a_peer_is_kept<T: Storage>() {
    let mut world = world::<T>();
    for link in 0..10 {
        world.send(S, L, b"again").unwrap();
        go(&mut world, &[Accept(link), Connect(link), Deliver(link, 1)]);
        assert_eq!(states(&world, L), [ConnectionState::Offered]);
        if link < 9 {
            world.restart(&config(), S, false);
        }
    }
    settle(&mut world);
    let closed = Told::Rejected(CloseReason::Superseded);
    let last = [up(URL_S), message(URL_S, b"again")];
    assert_eq!(world.hosts[L].told, [vec![closed; 9], last.to_vec()].concat());
    assert_connected(&world);
}

fn messages_of_a_peer_are_numbered_and_arrive_in_order<T: Storage>() {
    let mut world = world::<T>();
    let mut ids = Vec::new();
    for data in [b"0", b"1", b"2", b"3"] {
        ids.push(world.send(S, L, data).unwrap());
    }
    settle(&mut world);
    ids.push(world.send(S, L, b"4").unwrap());
    settle(&mut world);
    assert!(ids.iter().map(|id| id.number).eq(0..5));
    assert!(ids.iter().all(|id| id.peer == ids[0].peer));
    let arrived = [b"0", b"1", b"2", b"3", b"4"].map(|data| message(URL_S, data));
    assert_eq!(world.hosts[L].told[1..], arrived);
    assert!(world.events().is_empty());
}
