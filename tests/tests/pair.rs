//! Two connections against each other on a virtual clock.

use core::time::Duration;

use kitfox_core::connection::{CloseReason, Input, PushError, SendError, Timeout};
use kitfox_core::storage::{BufferLimits, Heap, Storage};
use kitfox_core::{Config, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, BOB, Chunks, Pace, Pair, Reply, Stage, exchange};
use kitfox_tests::script::{Act, Fixed, config, text};
use proptest::prelude::*;

on_both_tiers!(
    both_sides_open_and_know_each_other,
    every_chunk_size_opens_and_delivers,
    messages_cross_in_both_directions,
    a_refusal_at_each_stage_by_each_side_reaches_the_other,
    slow_answers_that_come_in_time_open,
    answers_that_come_too_late_close_both_sides,
    a_question_that_is_never_answered_closes_both_sides,
    a_peer_that_never_speaks_is_given_up_after_ten_seconds,
    a_link_that_stalls_before_the_confirm_closes_both_sides,
    a_goodbye_reaches_the_other_side_with_its_reason_after_all_messages,
    crossing_goodbyes_end_both_sides,
    a_link_that_stalls_makes_the_writer_stale,
    a_link_that_stalls_inside_a_frame_makes_the_reader_give_up,
    an_open_pair_that_is_idle_stays_open_without_timers,
    a_full_queue_stops_the_sender_and_loses_nothing,
    a_revalidation_holds_messages_back_until_it_is_answered,
);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn both_sides_open_and_know_each_other<S: Storage>() {
    let pair = Pair::<S>::open(&config());
    let [a, b] = [&pair.a, &pair.b].map(|side| side.connection.rx().peer().unwrap().url);
    assert_eq!((a, b), (BOB, ALICE));
    assert_eq!(pair.a.acts.last(), Some(&Act::Opened { peer: BOB.into() }));
    assert_eq!(pair.b.acts.last(), Some(&Act::Opened { peer: ALICE.into() }));
    // Three legs, and nothing else.
    assert_eq!((pair.a_to_b.log.len(), pair.b_to_a.log.len()), (43 + 5, 41));
}

fn every_chunk_size_opens_and_delivers<S: Storage>() {
    let expected = exchange(Pair::<S>::new(&config()));
    assert_eq!(expected.each_ref().map(Vec::len), [5 + 5 + 1; 2]);
    let chunks = [1, 2, 3, 4, 5, 6, 7, 16, 64, 1000, 4096].map(Chunks::Each).into_iter();
    for chunks in chunks.chain((0..20).map(|seed| Chunks::Seeded(seed, 90))) {
        for (pace, vectored) in [(Pace::All, false), (Pace::One, true)] {
            let mut pair = Pair::<S>::new(&config());
            pair.chunks(&chunks);
            (pair.a.pace, pair.b.vectored) = (pace, vectored);
            assert_eq!(exchange(pair), expected, "{chunks:?}");
        }
    }
}

fn messages_cross_in_both_directions<S: Storage>() {
    let mut pair = Pair::<S>::open(&config());
    for round in 0..50_u8 {
        pair.a.notify(pair.now, &[round]).unwrap();
        pair.b.notify(pair.now, &[round, round]).unwrap();
        if round % 7 == 0 {
            pair.drive();
        }
    }
    pair.drive();
    let expected: Vec<_> = (0..50).map(|round| (text(&[round]), text(&[round, round]))).collect();
    assert!(expected.iter().map(|(sent, _)| sent).eq(pair.b.notified()));
    assert!(expected.iter().map(|(_, sent)| sent).eq(pair.a.notified()));
}

fn a_refusal_at_each_stage_by_each_side_reaches_the_other<S: Storage>() {
    for stage in Stage::GATE {
        for dialler in [true, false] {
            for chunks in [Chunks::Whole, Chunks::Each(1)] {
                let mut pair = Pair::<S>::new(&config());
                pair.chunks(&chunks);
                let refuse = Some((stage, Reply::Refuse));
                pair.side(dialler).reply = refuse;
                pair.drive();
                let (no, heard) = if dialler { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
                assert_eq!(no.closed(), Some(stage.refusal()), "{stage:?}");
                let word = if stage == Stage::LocalAgents { "no local agents" } else { "refused" };
                let told = Act::Closed { reason: CloseReason::Disconnected, message: word.into() };
                assert_eq!(heard.acts.last(), Some(&told), "{stage:?}");
                assert!(!pair.a.opened() && !pair.b.opened(), "{stage:?}");
            }
        }
    }
}

fn slow_answers_that_come_in_time_open<S: Storage>() {
    for stage in Stage::GATE {
        let mut pair = Pair::<S>::new(&config());
        let slow = Some((stage, Reply::After(seconds(4))));
        (pair.a.reply, pair.b.reply) = (slow, slow);
        pair.advance(seconds(3));
        assert!(!pair.a.opened() && !pair.b.opened(), "{stage:?}");
        pair.advance(seconds(6));
        assert!(pair.a.opened() && pair.b.opened(), "{stage:?}");
        assert_eq!((pair.a.closed(), pair.b.closed()), (None, None));
    }
}

fn answers_that_come_too_late_close_both_sides<S: Storage>() {
    for stage in Stage::GATE {
        let mut pair = Pair::<S>::new(&config());
        let slow = Some((stage, Reply::After(seconds(6))));
        (pair.a.reply, pair.b.reply) = (slow, slow);
        pair.advance(seconds(30));
        assert!(pair.a.closed().is_some() && pair.b.closed().is_some(), "{stage:?}");
        assert!(!pair.b.opened(), "{stage:?}");
    }
}

fn a_question_that_is_never_answered_closes_both_sides<S: Storage>() {
    for stage in Stage::GATE {
        for dialler in [true, false] {
            let mut pair = Pair::<S>::new(&config());
            let never = Some((stage, Reply::Never));
            pair.side(dialler).reply = never;
            pair.advance(Duration::from_micros(9_999_999));
            assert_eq!((pair.a.closed(), pair.b.closed()), (None, None), "{stage:?}");
            pair.advance(Duration::from_micros(1));
            let silent = if dialler { &pair.a } else { &pair.b };
            assert_eq!(silent.closed(), Some(CloseReason::Timeout(Timeout::Preflight)), "{stage:?}");
            assert!(pair.a.closed().is_some() && pair.b.closed().is_some());
            assert!(!pair.a.opened() && !pair.b.opened(), "{stage:?}");
        }
    }
}

fn a_peer_that_never_speaks_is_given_up_after_ten_seconds<S: Storage>() {
    let mut pair = Pair::<S>::new(&config());
    (pair.a_to_b.stalled, pair.b_to_a.stalled) = (true, true);
    pair.advance(seconds(10));
    let timeout = Some(CloseReason::Timeout(Timeout::Preflight));
    assert_eq!((pair.a.closed(), pair.b.closed()), (timeout, timeout));
}

fn a_link_that_stalls_before_the_confirm_closes_both_sides<S: Storage>() {
    let mut pair = Pair::<S>::new(&config());
    // The dialler's preflight gets through, its confirm does not.
    pair.a_to_b.writes = Chunks::These([43].into());
    pair.b_to_a.stalled = true;
    pair.drive();
    pair.a_to_b.stalled = true;
    pair.b_to_a.stalled = false;
    pair.drive();
    assert!(pair.a.opened() && !pair.b.opened());
    assert_eq!(pair.a.notify(pair.now, b"lost"), Ok(()));
    pair.advance(seconds(10));
    assert_eq!(pair.b.closed(), Some(CloseReason::Timeout(Timeout::Preflight)));
    let told = Act::Closed { reason: CloseReason::Disconnected, message: "timeout".into() };
    assert_eq!(pair.a.acts.last(), Some(&told));
    assert!(pair.b.notified().is_empty());
}

fn a_goodbye_reaches_the_other_side_with_its_reason_after_all_messages<S: Storage>() {
    for dialler in [true, false] {
        let mut pair = Pair::<S>::open(&config());
        pair.chunks(&Chunks::Each(3));
        let now = pair.now;
        let leaver = pair.side(dialler);
        leaver.notify(now, b"last words").unwrap();
        assert_eq!(leaver.tell(now, Input::Disconnect { reason: b"bye" }), [Act::closed(CloseReason::Local)]);
        pair.drive();
        let heard = if dialler { &pair.b } else { &pair.a };
        assert_eq!(heard.notified(), ["last words"]);
        let told = Act::Closed { reason: CloseReason::Disconnected, message: "bye".into() };
        assert_eq!(heard.acts.last(), Some(&told));
    }
}

fn crossing_goodbyes_end_both_sides<S: Storage>() {
    let mut pair = Pair::<S>::open(&config());
    pair.a.tell(pair.now, Input::Disconnect { reason: b"a" });
    pair.b.tell(pair.now, Input::Disconnect { reason: b"b" });
    pair.drive();
    assert_eq!(pair.a.closed(), Some(CloseReason::Local));
    assert_eq!(pair.b.closed(), Some(CloseReason::Local));
}

fn a_link_that_stalls_makes_the_writer_stale<S: Storage>() {
    let mut pair = Pair::<S>::open(&config());
    pair.a_to_b.stalled = true;
    pair.advance(seconds(100));
    pair.a.notify(pair.now, b"lost").unwrap();
    pair.advance(Duration::from_micros(29_999_999));
    assert_eq!(pair.a.closed(), None);
    pair.advance(Duration::from_micros(1));
    assert_eq!(pair.a.closed(), Some(CloseReason::Timeout(Timeout::Write)));
    assert_eq!(pair.b.closed(), None);
}

fn a_link_that_stalls_inside_a_frame_makes_the_reader_give_up<S: Storage>() {
    let mut pair = Pair::<S>::open(&config());
    pair.a_to_b.writes = Chunks::These([10].into());
    pair.a.notify(pair.now, &[7; 1000]).unwrap();
    let now = pair.now;
    let mut front = Vec::new();
    pair.a.pull(now, 10, &mut front);
    pair.a_to_b.stalled = true;
    pair.b.receive(now, &front);
    pair.advance(seconds(30));
    assert_eq!(pair.b.closed(), Some(CloseReason::Timeout(Timeout::Frame)));
    assert!(pair.b.notified().is_empty());
}

fn an_open_pair_that_is_idle_stays_open_without_timers<S: Storage>() {
    let mut pair = Pair::<S>::open(&config());
    pair.chunks(&Chunks::Each(7));
    pair.a.notify(pair.now, &[7; 2000]).unwrap();
    pair.drive();
    pair.advance(seconds(60));
    assert_eq!((pair.a.deadline(), pair.b.deadline()), (None, None));
    pair.advance(seconds(1_000_000));
    assert_eq!((pair.a.closed(), pair.b.closed()), (None, None));
    pair.b.notify(pair.now, b"still here").unwrap();
    pair.drive();
    assert_eq!(pair.a.notified(), ["still here"]);
}

fn a_full_queue_stops_the_sender_and_loses_nothing<S: Storage>() {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 500 }, ..config() };
    let mut pair = Pair::<S>::open(&config);
    pair.chunks(&Chunks::Seeded(7, 100));
    let mut refused = 0;
    for number in 0..500_u16 {
        let data = number.to_be_bytes();
        while let Err(error) = pair.a.notify(pair.now, &data) {
            assert_eq!(error, SendError::NotQueued(PushError::Backpressure));
            refused += 1;
            pair.drive();
        }
    }
    pair.drive();
    assert!(refused > 10);
    let expected: Vec<_> = (0..500_u16).map(|number| text(&number.to_be_bytes())).collect();
    assert_eq!(pair.b.notified(), expected);
}

fn a_revalidation_holds_messages_back_until_it_is_answered<S: Storage>() {
    use kitfox_core::wire::Message;

    let mut pair = Pair::<S>::open(&config());
    pair.b.reply = Some((Stage::Revalidate, Reply::After(seconds(5))));
    pair.a.connection.tx_mut().push(pair.now, &Message::preflight(b"new")).unwrap();
    pair.a.notify(pair.now, b"after it").unwrap();
    pair.advance(seconds(4));
    assert!(pair.b.notified().is_empty());
    pair.advance(seconds(1));
    assert_eq!(pair.b.notified(), ["after it"]);
    assert_eq!(pair.b.closed(), None);
}

/// Sends `messages` both ways under random cuts of everything, and compares byte for byte.
fn random_exchange<S: Storage>(
    messages: &[(bool, Vec<u8>)],
    (seed, max, stop): (u64, usize, bool),
) -> Result<(), TestCaseError> {
    let mut pair = Pair::<S>::new(&config());
    pair.a_to_b.chunks(&Chunks::Seeded(seed, max));
    pair.b_to_a.chunks(&Chunks::Seeded(!seed, max));
    if stop {
        (pair.a.pace, pair.b.pace) = (Pace::One, Pace::One);
        pair.a.shown = Chunks::Seeded(seed ^ 1, max);
        pair.b.shown = Chunks::Seeded(seed ^ 2, max);
    }
    pair.b.vectored = seed % 2 == 0;
    pair.drive();
    let mut sent = [Vec::new(), Vec::new()];
    for (from_a, data) in messages {
        loop {
            let now = pair.now;
            match pair.side(*from_a).notify(now, data) {
                Ok(()) => break,
                Err(error) => prop_assert_eq!(error, SendError::NotQueued(PushError::Backpressure)),
            }
            pair.drive();
        }
        sent[usize::from(*from_a)].push(text(data));
    }
    pair.drive();
    prop_assert_eq!(&pair.a.notified(), &sent[0]);
    prop_assert_eq!(&pair.b.notified(), &sent[1]);
    // The end of the stream, wherever it comes, is clean now and inside a frame it is not.
    pair.a.notify(pair.now, b"cut").unwrap();
    let mut cut = Vec::new();
    pair.a.pull(pair.now, 1 + seed as usize % 19, &mut cut);
    pair.b.receive(pair.now, &cut);
    pair.b.tell(pair.now, Input::End);
    prop_assert_eq!(pair.b.closed(), Some(CloseReason::Protocol(ProtocolError::EndInsideFrame)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_arrive_byte_for_byte_however_streams_are_cut(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..600)), 0..40),
        cuts in (any::<u64>(), prop_oneof![1..10_usize, 10..2000_usize], any::<bool>()),
    ) {
        random_exchange::<Heap>(&messages, cuts)?;
        random_exchange::<Fixed>(&messages, cuts)?;
    }
}
