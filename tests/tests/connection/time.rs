//! Deadlines, on a virtual clock. Early, spurious and backward looks at it do no harm.

use kitfox_core::connection::{Action, Answer, CloseReason, Input, Timeout, Wants};
use kitfox_core::storage::{BufferLimits, Storage};
use kitfox_core::{ApiMisuse, Config, Instant, Oversize};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{Reply, Side, Stage};
use kitfox_tests::script::{Act, at, config, wire};

use crate::{CONFIRM, FROM_ALICE, FROM_BOB, RAIN, TIMEOUT, open_acceptor, open_dialler};

on_both_tiers!(
    silence_before_the_preflight_closes_ten_seconds_after_creation,
    slow_bytes_before_the_gate_do_not_move_its_deadline,
    the_gates_deadline_covers_the_confirm,
    a_question_of_the_gate_that_is_not_answered_closes,
    a_question_on_an_open_connection_that_is_not_answered_closes,
    a_frame_that_trickles_closes,
    a_frame_may_take_longer_the_more_its_header_announces,
    a_frame_that_is_fast_enough_passes,
    a_header_that_does_not_end_closes,
    the_time_of_a_header_is_part_of_its_frames,
    an_answer_after_its_deadline_comes_too_late,
    a_driver_that_awaited_something_says_what_the_time_is,
    a_frame_that_is_skipped_has_a_deadline_too,
    the_next_frame_has_a_deadline_of_its_own,
    a_whole_frame_is_not_late_because_its_reader_is,
    an_idle_connection_has_no_deadline,
    a_peer_that_takes_nothing_is_stale,
    progress_of_writing_puts_the_deadline_off,
    the_time_of_an_empty_queue_does_not_count,
    a_stale_connection_says_nothing_more,
    early_and_spurious_timeouts_do_nothing,
    a_clock_that_goes_backwards_closes_nothing,
    deadlines_are_configurable,
);

/// Lets the clock stand at `millis` and tells of the time.
fn tick<S: Storage>(side: &mut Side<S>, millis: u64) -> Vec<Act> {
    side.tell(at(millis), Input::Timeout)
}

fn timeout(timeout: Timeout) -> Vec<Act> {
    vec![Act::closed(CloseReason::Timeout(timeout))]
}

/// Nothing comes of it until the deadline, which `poll_timeout` tells; then the connection closes.
#[track_caller]
fn closes_at<S: Storage>(side: &mut Side<S>, millis: u64, why: Timeout) {
    let due = side.connection.poll_timeout().expect("a deadline");
    assert!(due <= at(millis), "{due:?}");
    assert_eq!(tick(side, millis - 1), []);
    assert_eq!(side.connection.poll_timeout(), Some(at(millis)));
    side.written(at(millis - 1));
    assert_eq!(tick(side, millis), timeout(why));
    assert_eq!(side.wants, Wants::Nothing);
    assert_eq!(side.written(at(millis)), wire(TIMEOUT));
}

fn silence_before_the_preflight_closes_ten_seconds_after_creation<S: Storage>() {
    let mut bob = Side::<S>::accept(at(5000), &config());
    assert_eq!(bob.receive(at(7000), &[]), []);
    closes_at(&mut bob, 15_000, Timeout::Preflight);

    let mut alice = Side::<S>::dial(at(5000), &config());
    alice.run(at(6000));
    alice.written(at(6000));
    assert_eq!(tick(&mut alice, 14_999), []);
    assert_eq!(tick(&mut alice, 15_000), timeout(Timeout::Preflight));
}

fn slow_bytes_before_the_gate_do_not_move_its_deadline<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    for (second, byte) in wire(FROM_ALICE)[..9].iter().enumerate() {
        assert_eq!(bob.receive(at(1000 * (second as u64 + 1)), &[*byte]), []);
    }
    assert_eq!(tick(&mut bob, 9999), []);
    assert_eq!(tick(&mut bob, 10_000), timeout(Timeout::Preflight));
}

fn the_gates_deadline_covers_the_confirm<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(9000), &wire(FROM_ALICE));
    bob.written(at(9000));
    assert_eq!(tick(&mut bob, 9999), []);
    assert_eq!(tick(&mut bob, 10_000), timeout(Timeout::Preflight));
    assert!(!bob.opened());

    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(9000), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
    bob.written(at(9000));
    assert_eq!(tick(&mut bob, 10_000), []);
    assert!(bob.opened());
}

fn a_question_of_the_gate_that_is_not_answered_closes<S: Storage>() {
    let preflight = |side: &Side<S>| {
        let data: &[u8] = b"late";
        let own_url = kitfox_tests::pair::peer_url(if side.own.0.ends_with("bob") {
            kitfox_tests::pair::BOB
        } else {
            kitfox_tests::pair::ALICE
        });
        Answer::Preflight { own_url, data }
    };
    for stage in Stage::GATE {
        let alice = Side::<S>::dial(at(0), &config());
        let bob = Side::<S>::accept(at(0), &config());
        for (mut side, bytes) in [(alice, wire(FROM_BOB)), (bob, wire(FROM_ALICE))] {
            side.reply = Some((stage, Reply::Never));
            side.receive(at(3000), &bytes);
            side.written(at(3000));
            let (id, ..) = side.question.unwrap();
            assert_eq!(tick(&mut side, 9999), []);
            assert_eq!(tick(&mut side, 10_000), timeout(Timeout::Preflight));
            assert_eq!(side.written(at(10_000)), wire(TIMEOUT));
            for answer in [Answer::Accept, Answer::Refuse, preflight(&side)] {
                assert_eq!(side.connection.answer(at(10_000), id, answer), Err(ApiMisuse::NoSuchQuestion));
            }
            assert_eq!((side.receive(at(10_001), &bytes), side.opened()), (vec![], false));
        }
    }
}

fn a_question_on_an_open_connection_that_is_not_answered_closes<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.reply = Some((Stage::Revalidate, Reply::Never));
    let again = wire("01 00000007 0801 1203 'new'");
    assert_eq!(bob.receive(at(50_000), &[again.clone(), wire(RAIN)].concat()).len(), 1);
    closes_at(&mut bob, 60_000, Timeout::Answer);

    // Each question has the whole time.
    let mut bob = open_acceptor::<S>();
    bob.reply = Some((Stage::Revalidate, Reply::After(core::time::Duration::from_secs(9))));
    for start in [50_000, 60_000, 70_000] {
        bob.receive(at(start), &again);
        assert_eq!(tick(&mut bob, start + 9000), []);
        assert_eq!(bob.wants, Wants::Bytes);
        assert_eq!(bob.connection.rx().poll_timeout(), None);
    }
}

/// The front of a NOTIFY of 4,096 bytes.
fn front(len: usize) -> Vec<u8> {
    let mut frame = wire("01 00000ffb 0802 12 ee1f");
    frame.resize(len, 7);
    frame
}

fn a_frame_that_trickles_closes<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.receive(at(1000), &front(10));
    for second in 2..31 {
        assert_eq!(bob.receive(at(1000 * second), &[7]), []);
        assert_eq!(tick(&mut bob, 1000 * second), []);
    }
    closes_at(&mut bob, 31_000, Timeout::Frame);
}

fn a_frame_may_take_longer_the_more_its_header_announces<S: Storage>() {
    for (rate, more) in [(1000, 4000), (4091, 1000), (4092, 0), (0, 0), (1, 4_091_000)] {
        let mut bob = Side::<S>::accept(at(0), &Config { frame_bytes_per_second: rate, ..config() });
        bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
        bob.written(at(0));
        bob.receive(at(100), &front(50));
        // It is the header that counts: pieces gain no time.
        bob.receive(at(200), &[7]);
        bob.receive(at(300), &[7]);
        closes_at(&mut bob, 30_100 + more, Timeout::Frame);
    }
}

fn a_frame_that_is_fast_enough_passes<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    let mut frame = front(4088);
    frame.extend(wire("1a06 'garden'"));
    for (second, piece) in frame.chunks(150).enumerate() {
        bob.receive(at(1000 * second as u64), piece);
        assert_eq!(bob.closed(), None);
        tick(&mut bob, 1000 * second as u64);
    }
    assert_eq!(bob.notified().len(), 1);
    assert_eq!(tick(&mut bob, 40_000), []);
}

fn a_header_that_does_not_end_closes<S: Storage>() {
    for len in 1..5 {
        let mut bob = open_acceptor::<S>();
        bob.receive(at(1000), &wire(RAIN)[..len]);
        closes_at(&mut bob, 31_000, Timeout::Frame);
    }
}

fn a_frame_that_is_skipped_has_a_deadline_too<S: Storage>() {
    let config = Config { oversize: Oversize::Skip, frame_bytes_per_second: 100_000, ..config() };
    let mut bob = Side::<S>::accept(at(0), &config);
    bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
    bob.written(at(0));
    bob.receive(at(1000), &wire("01 00030d40 ffff"));
    bob.receive(at(20_000), &[7; 10]);
    closes_at(&mut bob, 33_000, Timeout::Frame);
}

fn the_next_frame_has_a_deadline_of_its_own<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    let rain = wire(RAIN);
    for second in (0..100).step_by(20) {
        // The end of one frame and the beginning of the next.
        bob.receive(at(1000 * second), &rain[10 * usize::from(second > 0)..]);
        bob.receive(at(1000 * second), &rain[..10]);
        assert_eq!(tick(&mut bob, 1000 * second + 1), []);
    }
    assert_eq!(bob.notified().len(), 5);
    closes_at(&mut bob, 110_000, Timeout::Frame);
}

fn a_whole_frame_is_not_late_because_its_reader_is<S: Storage>() {
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(0), &wire(FROM_ALICE));
    bob.written(at(0));
    // A message as confirm, in pieces; the driver is told that the gate is open, and does not ask for more.
    bob.receive(at(0), &wire(RAIN)[..10]);
    let mut rest = wire(RAIN).split_off(10);
    let mut actions = bob.connection.handle(at(0), Input::Bytes(&mut rest));
    assert!(matches!(actions.next(&bob.directory), Some(Action::Opened { .. })));
    assert_eq!(actions.finish().0, rest.len());
    bob.connection.handle(at(31_000), Input::Timeout).finish();
    assert_eq!(bob.connection.rx().close_reason(), None);
    let mut actions = bob.connection.handle(at(31_000), Input::Bytes(&mut []));
    assert!(matches!(actions.next(&bob.directory), Some(Action::Notify { data: b"it rains", .. })));
    assert_eq!(actions.finish(), (0, Wants::Bytes));
}

fn an_idle_connection_has_no_deadline<S: Storage>() {
    for mut side in [open_acceptor::<S>(), open_dialler()] {
        let frame = wire(RAIN);
        side.receive(at(0), &frame[..7]);
        side.receive(at(0), &frame[7..]);
        side.notify(at(0), b"it rains").unwrap();
        side.written(at(0));
        // Buffers are given back in a few steps, and then nothing is due for ever.
        for second in 1..20 {
            assert_eq!(tick(&mut side, 1000 * second), []);
        }
        assert_eq!(side.connection.poll_timeout(), None);
        assert_eq!(tick(&mut side, 1_000_000_000), []);
    }
}

fn a_peer_that_takes_nothing_is_stale<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(5000), b"one").unwrap();
    // More messages do not put it off.
    bob.notify(at(20_000), b"two").unwrap();
    assert_eq!(tick(&mut bob, 34_999), []);
    assert_eq!(bob.connection.poll_timeout(), Some(at(35_000)));
    assert_eq!(tick(&mut bob, 35_000), timeout(Timeout::Write));
}

fn progress_of_writing_puts_the_deadline_off<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(0), b"it rains").unwrap();
    for step in 1..=20 {
        assert_eq!(bob.pull(at(29_000 * step), 1, &mut Vec::new()), 1);
        assert_eq!(tick(&mut bob, 29_000 * step + 1), []);
    }
    // No byte is no progress.
    bob.connection.transmit(at(600_000), &mut []);
    let none: Result<_, ()> = bob.connection.tx_mut().transmit_slices(at(600_000), |_| Ok(0));
    assert_eq!(none, Ok(0));
    let failed = bob.connection.tx_mut().transmit_slices(at(600_000), |_| Err(()));
    assert_eq!((failed, bob.connection.tx().pending()), (Err(()), 5));
    assert_eq!(tick(&mut bob, 609_999), []);
    assert_eq!(tick(&mut bob, 610_000), timeout(Timeout::Write));
}

fn the_time_of_an_empty_queue_does_not_count<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(0), b"one").unwrap();
    bob.written(at(1000));
    bob.notify(at(100_000), b"two").unwrap();
    assert_eq!(tick(&mut bob, 129_999), []);
    assert_eq!(tick(&mut bob, 130_000), timeout(Timeout::Write));
}

fn a_stale_connection_says_nothing_more<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(0), b"it rains").unwrap();
    assert_eq!(tick(&mut bob, 30_000), timeout(Timeout::Write));
    assert_eq!(bob.written(at(30_000)), wire(RAIN));
    assert_eq!(bob.connection.poll_timeout(), None);
}

fn early_and_spurious_timeouts_do_nothing<S: Storage>() {
    for mut side in [Side::<S>::accept(at(0), &config()), Side::dial(at(0), &config())] {
        side.reply = Some((Stage::Gather, Reply::Never));
        side.run(at(0));
        let due = side.connection.poll_timeout();
        for millis in [0, 1, 5, 9999] {
            assert_eq!((tick(&mut side, millis), side.connection.poll_timeout()), (vec![], due));
        }
    }
    let mut bob = open_acceptor::<S>();
    bob.receive(at(0), &wire(RAIN)[..10]);
    for millis in 0..200 {
        assert_eq!(tick(&mut bob, millis), []);
    }
    assert_eq!(bob.receive(at(200), &wire(RAIN)[10..]).len(), 1);
    assert_eq!((bob.written(at(200)), bob.wants), (vec![], Wants::Bytes));
}

fn a_clock_that_goes_backwards_closes_nothing<S: Storage>() {
    let late: Instant = at(1_000_000);
    // A frame begins, bytes wait and a question is asked, each at a time long past. Then the clock is right again.
    let mut bob = open_acceptor::<S>();
    bob.receive(late, &wire(RAIN));
    bob.receive(at(1), &wire(RAIN)[..10]);
    assert_eq!(bob.tell(late, Input::Timeout), []);
    assert_eq!(bob.receive(at(2), &wire(RAIN)[10..]).len(), 1);

    bob.notify(late, b"one").unwrap();
    bob.written(late);
    bob.notify(at(3), b"two").unwrap();
    assert_eq!(bob.tell(late, Input::Timeout), []);
    bob.pull(at(4), 1, &mut Vec::new());
    assert_eq!(bob.tell(late, Input::Timeout), []);

    bob.reply = Some((Stage::Revalidate, Reply::Never));
    bob.receive(at(5), &wire("01 00000007 0801 1203 'new'"));
    assert_eq!(bob.tell(late, Input::Timeout), []);
    assert_eq!(bob.wants, Wants::Answer);
    // And every deadline is still there.
    assert_eq!(bob.tell(at(1_010_000), Input::Timeout), timeout(Timeout::Answer));
}

fn the_time_of_a_header_is_part_of_its_frames<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.receive(at(0), &[1]);
    bob.receive(at(29_000), &wire("00000014 0802"));
    assert_eq!(tick(&mut bob, 29_999), []);
    assert_eq!(tick(&mut bob, 30_000), timeout(Timeout::Frame));
}

fn an_answer_after_its_deadline_comes_too_late<S: Storage>() {
    for answer in [Answer::Accept, Answer::Refuse] {
        let mut bob = Side::<S>::accept(at(0), &config());
        bob.reply = Some((Stage::Validate, Reply::Never));
        bob.receive(at(3000), &wire(FROM_ALICE));
        let (id, ..) = bob.question.unwrap();
        // Nobody has looked at the time since.
        assert_eq!(bob.connection.answer(at(10_000), id, answer), Err(ApiMisuse::NoSuchQuestion));
        assert_eq!(bob.receive(at(10_000), &[]), timeout(Timeout::Preflight));
    }
}

fn a_driver_that_awaited_something_says_what_the_time_is<S: Storage>() {
    for awaited in [false, true] {
        let Side { connection, directory, .. } = open_acceptor::<S>();
        let (mut rx, _) = connection.into_halves();
        let mut bytes = [wire(RAIN), vec![1]].concat();
        let mut frames = rx.read(at(0), &mut bytes);
        assert!(matches!(frames.next(&directory), Some(Action::Notify { .. })));
        if awaited {
            // The handler took half a minute; the frame behind the message begins now.
            frames.resume(at(31_000));
        }
        assert!(frames.next(&directory).is_none());
        assert_eq!(frames.finish().1, Wants::Bytes);
        rx.handle_timeout(at(31_000));
        assert_eq!(rx.close_reason().is_none(), awaited);
    }
}

fn deadlines_are_configurable<S: Storage>() {
    let seconds = core::time::Duration::from_secs;
    let config = Config {
        preflight_timeout: seconds(1),
        frame_timeout: seconds(2),
        tx_timeout: seconds(3),
        tx_queue: BufferLimits { min_bytes: 100, max_bytes: 8192 },
        ..config()
    };
    assert_eq!(tick(&mut Side::<S>::accept(at(0), &config), 1000), timeout(Timeout::Preflight));
    let bob = || {
        let mut bob = Side::<S>::accept(at(0), &config);
        bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
        bob.written(at(0));
        bob
    };
    let mut slow = bob();
    slow.receive(at(0), &[1]);
    assert_eq!(tick(&mut slow, 1999), []);
    assert_eq!(tick(&mut slow, 2000), timeout(Timeout::Frame));
    let mut stale = bob();
    stale.notify(at(0), b"x").unwrap();
    assert_eq!(tick(&mut stale, 2999), []);
    assert_eq!(tick(&mut stale, 3000), timeout(Timeout::Write));
}
