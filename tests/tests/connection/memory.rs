//! What a connection owns, and what it queues.

use bytes::Bytes;
use kitfox_core::connection::{Input, Plain, PushError, SendError, Tx};
use kitfox_core::storage::{BufferLimits, Heap, Storage};
use kitfox_core::wire::{FrameError, Message};
use kitfox_core::{Config, Instant, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{SPACE, Side};
use kitfox_tests::script::{Act, at, config, wire};

use proptest::prelude::*;

use crate::{CONFIRM, FROM_ALICE, RAIN, open_acceptor, open_dialler};

on_both_tiers!(
    the_queue_never_exceeds_its_limit_and_hands_back,
    what_never_fits_is_told_apart_from_what_does_not_fit_now,
    a_queue_takes_nothing_at_its_high_water_mark_and_any_length_below_it,
    a_queue_can_be_used_again_once_it_is_drained,
    writes_of_every_length_give_the_same_stream,
    a_buffer_of_one_byte_is_enough_to_transmit,
    a_frame_longer_than_the_frame_buffer_is_refused_at_its_header,
);

/// Bob on a host, whose gate is open.
fn host(config: &Config) -> Side<Heap> {
    let mut bob = Side::accept(at(0), config);
    bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
    bob.written(at(0));
    bob
}

#[test]
fn a_header_that_announces_the_most_allocates_next_to_nothing() {
    let mut bob = host(&Config::HOST);
    bob.receive(at(0), &wire("01 063ffffb"));
    assert!(bob.connection.rx().memory() <= 10, "{}", bob.connection.rx().memory());
    bob.receive(at(0), &[0; 1000]);
    assert!(bob.connection.rx().memory() <= 2010, "{}", bob.connection.rx().memory());
}

#[test]
fn a_connection_that_was_never_used_owns_nothing() {
    let bob = Side::<Heap>::accept(at(0), &Config::HOST);
    assert_eq!((bob.connection.rx().memory(), bob.connection.tx().memory()), (0, 0));
}

#[test]
fn memory_grows_with_what_arrived_to_at_most_twice_of_it() {
    for stride in [1, 3, 100, 1460, 5000] {
        let mut bob = host(&Config::HOST);
        let mut frame = wire("01 0000c356 0802 12 c8 8603");
        frame.resize(frame.len() + 49_992, 7);
        frame.extend(wire("1a06 'garden'"));
        assert_eq!(frame.len(), 5 + 0xc356);
        let mut arrived = 0;
        for piece in frame.chunks(stride) {
            bob.receive(at(0), piece);
            arrived += piece.len();
            let memory = bob.connection.rx().memory();
            assert!(memory <= 2 * arrived && memory <= frame.len(), "{memory} bytes for {arrived}");
        }
        assert_eq!(bob.notified().len(), 1);
    }
}

#[test]
fn a_frame_in_one_piece_needs_no_memory() {
    let mut bob = host(&Config::HOST);
    bob.receive(at(0), &[wire(RAIN), wire(RAIN)].concat());
    assert_eq!((bob.notified().len(), bob.connection.rx().memory()), (2, 0));
}

/// Lets time pass and lists the memory after each second, until nothing is due any more.
fn relaxing(side: &mut Side<Heap>, memory: impl Fn(&Side<Heap>) -> usize) -> Vec<usize> {
    let mut seen = vec![memory(side)];
    let mut now = Instant::ZERO;
    while let Some(due) = side.connection.poll_timeout() {
        assert!(due > now && seen.len() < 100, "a timer without end");
        now = due;
        side.tell(now, Input::Timeout);
        seen.push(memory(side));
    }
    seen
}

#[test]
fn an_idle_connection_gives_its_frame_buffer_back() {
    for min_bytes in [0, 100] {
        let config = Config { rx_buffer: BufferLimits { min_bytes, max_bytes: 4096 }, ..config() };
        let mut bob = host(&config);
        let mut frame = wire("01 00000802 0802 12 f50f");
        frame.resize(2047, 7);
        frame.extend(wire("1a06 'garden'"));
        bob.receive(at(0), &frame[..1000]);
        assert!(bob.connection.rx().memory() >= 1000);
        bob.receive(at(0), &frame[1000..]);
        assert_eq!(bob.notified().len(), 1);
        let seen = relaxing(&mut bob, |bob| bob.connection.rx().memory());
        assert_eq!(seen.last(), Some(&min_bytes), "{seen:?}");
        assert!(seen[0] >= 2055 && seen[1] >= seen[0] - seen[0] / 4 - 1, "{seen:?}");
    }
}

#[test]
fn a_buffer_that_is_used_a_little_shrinks_by_quarters() {
    let mut bob = host(&config());
    let mut frame = wire("01 00000ffb 0802 12 ee1f");
    frame.resize(4088, 7);
    frame.extend(wire("1a06 'garden'"));
    let rain = wire(RAIN);
    bob.receive(at(0), &frame[..4000]);
    bob.receive(at(0), &frame[4000..]);
    let mut before = bob.connection.rx().memory();
    assert_eq!(before, 4096);
    let mut seconds = 0;
    while before > 25 {
        seconds += 1;
        assert!(seconds < 40, "{before} bytes for frames of 25");
        bob.receive(at(1000 * seconds - 500), &rain[..20]);
        bob.receive(at(1000 * seconds - 500), &rain[20..]);
        bob.tell(at(1000 * seconds), Input::Timeout);
        let memory = bob.connection.rx().memory();
        assert!(memory >= 25 && memory >= before - before.div_ceil(4), "{before} to {memory}");
        assert!(memory < before || seconds < 2, "{before} to {memory}");
        before = memory;
    }
    assert_eq!(bob.notified().len(), seconds as usize + 1);
}

#[test]
fn an_idle_connection_gives_its_queue_back() {
    for min_bytes in [0, 300] {
        let config = Config { tx_queue: BufferLimits { min_bytes, max_bytes: 1 << 20 }, ..Config::HOST };
        let mut bob = host(&config);
        bob.notify(at(0), &[7; 5000]).unwrap();
        let shared = Bytes::from(vec![7; 5000]);
        bob.connection.tx_mut().push_shared(at(0), &Message::notify(SPACE, &[]), shared).unwrap();
        bob.written(at(0));
        let seen = relaxing(&mut bob, |bob| bob.connection.tx().memory());
        assert_eq!(seen.last(), Some(&min_bytes), "{seen:?}");
        assert!(seen[0] >= 5000 && seen[1] >= seen[0] / 2, "{seen:?}");
    }
}

#[test]
fn a_queue_that_was_full_when_it_was_looked_at_is_given_back_all_the_same() {
    // The first message fills the queue's memory to the last byte, so that at the first look there is nothing to
    // give back; the second one comes while the first still waits.
    let mut bob = host(&Config::HOST);
    bob.tell(at(10_000), Input::Timeout);
    bob.tell(at(11_000), Input::Timeout);
    assert_eq!(bob.connection.tx().memory(), 0);
    bob.notify(at(20_000), &[7; 5000]).unwrap();
    bob.tell(at(21_000), Input::Timeout);
    bob.tell(at(22_000), Input::Timeout);
    bob.notify(at(22_500), &[7; 100_000]).unwrap();
    bob.written(at(22_600));
    for second in 23..40 {
        bob.tell(at(1000 * second), Input::Timeout);
    }
    assert_eq!((bob.connection.tx().memory(), bob.connection.poll_timeout()), (0, None));
}

fn the_queue_never_exceeds_its_limit_and_hands_back<S: Storage>() {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 1000 }, ..config() };
    let mut tx = Tx::<S>::new(&config, Plain::default());
    let mut refused = 0;
    let mut out = [0; 100];
    for round in 0..2000_usize {
        let data = vec![round as u8; round * 37 % 400];
        let message = Message::notify(SPACE, &data);
        let (pending, counts) = (tx.pending(), tx.counts());
        match tx.push(at(0), &message) {
            Ok(()) => assert_eq!(tx.pending(), pending + 5 + message.encoded_len()),
            Err(error) => {
                assert_eq!((error, tx.pending(), tx.counts()), (PushError::Backpressure, pending, counts));
                assert!(pending + 5 + message.encoded_len() > 1000, "refused without need");
                refused += 1;
            }
        }
        assert!(tx.pending() <= 1000);
        assert!(tx.memory() <= 8192, "{} bytes", tx.memory());
        tx.transmit(at(0), &mut out[..round % 101]);
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn the_memory_of_a_queue_is_at_most_twice_its_limit() {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 1000 }, ..config() };
    let mut tx = Tx::<Heap>::new(&config, Plain::default());
    for round in 0..20_000_usize {
        let data = vec![7; round * 31 % 300];
        let _ = tx.push(at(0), &Message::notify(SPACE, &data));
        tx.transmit(at(0), &mut vec![0; round * 17 % 290]);
        assert!(tx.memory() <= 2000, "{} bytes", tx.memory());
    }
}

fn what_never_fits_is_told_apart_from_what_does_not_fit_now<S: Storage>() {
    let limit = |frame, queue| Config {
        max_frame_bytes: frame,
        tx_queue: BufferLimits { min_bytes: 0, max_bytes: queue },
        ..config()
    };
    // A NOTIFY of 100 bytes takes 5 + 4 + 100 + 8.
    for (config, largest) in [(limit(117, 8192), 100), (limit(4096, 117), 100), (limit(118, 8192), 101)] {
        let mut tx = Tx::<S>::new(&config, Plain::default());
        let data = [7; 200];
        let push = |tx: &mut Tx<S>, len| tx.push(at(0), &Message::notify(SPACE, &data[..len]));
        assert_eq!(push(&mut tx, largest + 1), Err(PushError::TooLarge));
        assert_eq!((push(&mut tx, largest), tx.pending()), (Ok(()), 17 + largest));
        assert_eq!(push(&mut tx, largest + 1), Err(PushError::TooLarge));
        while push(&mut tx, largest).is_ok() {}
        assert_eq!(push(&mut tx, largest), Err(PushError::Backpressure));
        assert_eq!(push(&mut tx, largest + 1), Err(PushError::TooLarge));
    }
}

fn a_queue_takes_nothing_at_its_high_water_mark_and_any_length_below_it<S: Storage>() {
    let config = Config { high_water_bytes: 300, ..config() };
    let mut tx = Tx::<S>::new(&config, Plain::default());
    // 5 + 4 + 100 + 8, twice; then one that is longer than the mark.
    for len in [100, 100, 2000] {
        tx.push(at(0), &Message::notify(SPACE, &vec![7; len])).unwrap();
    }
    let (full, counts) = (tx.pending(), tx.counts());
    assert_eq!(tx.push(at(0), &Message::notify(SPACE, b"")), Err(PushError::Backpressure));
    assert_eq!((tx.pending(), tx.counts()), (full, counts));
    let mut out = vec![0; full];
    tx.transmit(at(0), &mut out[..full - 300]);
    assert_eq!(tx.push(at(0), &Message::notify(SPACE, b"")), Err(PushError::Backpressure));
    tx.transmit(at(0), &mut out[..1]);
    tx.push(at(0), &Message::notify(SPACE, b"")).unwrap();
}

#[test]
fn a_shared_payload_is_handed_back_at_the_high_water_mark() {
    let config = Config { high_water_bytes: 10_000, ..Config::HOST };
    let mut tx = Tx::<Heap>::new(&config, Plain::default());
    let routing = Message::notify(SPACE, &[]);
    let (large, small) = (Bytes::from(vec![1; 1 << 20]), Bytes::from_static(b"small"));
    tx.push_shared(at(0), &routing, large.clone()).unwrap();
    for data in [large, small] {
        assert_eq!(tx.push_shared(at(0), &routing, data.clone()), Err((PushError::Backpressure, data)));
    }
}

fn a_queue_can_be_used_again_once_it_is_drained<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    for round in 0..5 {
        let mut queued = 0;
        while bob.notify(at(round), &[round as u8; 300]).is_ok() {
            queued += 1;
        }
        assert_eq!(queued, 8192 / 317);
        let full = SendError::NotQueued(PushError::Backpressure);
        assert_eq!(bob.notify(at(round), &[0; 300]), Err(full));
        let mut alice = open_dialler::<S>();
        let written = bob.written(at(round));
        alice.receive(at(round), &written);
        let data = kitfox_tests::script::text(&[round as u8; 300]);
        assert_eq!(alice.notified(), vec![data; queued]);
    }
}

fn writes_of_every_length_give_the_same_stream<S: Storage>() {
    let fill = |side: &mut Side<S>| {
        for len in [0, 1, 100, 300, 2, 50] {
            side.notify(at(0), &vec![len as u8; len]).unwrap();
        }
    };
    let mut whole = open_acceptor::<S>();
    fill(&mut whole);
    let expected = whole.written(at(0));
    for vectored in [false, true] {
        for len in 1..=expected.len() {
            let mut side = open_acceptor::<S>();
            side.vectored = vectored;
            fill(&mut side);
            let mut stream = Vec::new();
            while side.pull(at(0), len, &mut stream) > 0 {}
            assert_eq!(stream, expected, "{len} at a time");
            assert_eq!(side.connection.tx().pending(), 0);
        }
    }
}

fn a_buffer_of_one_byte_is_enough_to_transmit<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.notify(at(0), b"it rains").unwrap();
    let (mut stream, mut byte) = (Vec::new(), [0]);
    assert_eq!(bob.connection.transmit(at(0), &mut []), 0);
    while bob.connection.transmit(at(0), &mut byte) > 0 {
        stream.push(byte[0]);
    }
    assert_eq!(stream, wire(RAIN));
}

fn a_frame_longer_than_the_frame_buffer_is_refused_at_its_header<S: Storage>() {
    let config = Config { rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 100 }, ..config() };
    let bob = || {
        let mut bob = Side::<S>::accept(at(0), &config);
        bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
        bob
    };
    let too_large = FrameError::TooLarge { payload_bytes: 96, max_frame_bytes: 100 };
    let closed = Act::closed(ProtocolError::Frame(too_large));
    assert_eq!(bob().receive(at(0), &wire("01 00000060")), core::slice::from_ref(&closed));
    assert_eq!(bob().receive(at(0), &wire("01 0000005f")), []);
    // Also if it lies whole in the caller's buffer: every cut of the stream gives the same actions.
    let mut frame = wire("01 00000060 0802 1254");
    frame.resize(93, 7);
    frame.extend(wire("1a06 'garden'"));
    assert_eq!(frame.len(), 101);
    assert_eq!(bob().receive(at(0), &frame), [closed]);
}

/// Messages of these sizes, every second one shared.
fn mixed(sizes: &[usize]) -> (Tx<Heap>, Vec<u8>) {
    let (mut tx, mut expected) = (Tx::new(&Config::HOST, Plain::default()), Vec::new());
    for (place, &len) in sizes.iter().enumerate() {
        let data = Bytes::from(vec![place as u8; len]);
        let message = Message::module(SPACE, "moss", &data);
        let mut frame = vec![0; 5 + message.encoded_len()];
        frame[0] = 1;
        frame[1..5].copy_from_slice(&(message.encoded_len() as u32).to_be_bytes());
        message.encode(&mut frame[5..]).unwrap();
        expected.extend(frame);
        match place % 2 {
            0 => tx.push(at(0), &message).unwrap(),
            _ => tx.push_shared(at(0), &Message { data: b"other", ..message }, data.clone()).unwrap(),
        }
    }
    (tx, expected)
}

#[test]
fn a_shared_payload_is_not_copied() {
    let config = Config { high_water_bytes: usize::MAX, ..Config::HOST };
    let mut tx = Tx::<Heap>::new(&config, Plain::default());
    let data = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..10 {
        tx.push_shared(at(0), &Message::notify(SPACE, &[]), data.clone()).unwrap();
    }
    assert!(tx.pending() > 10 << 20 && tx.memory() < 2000, "{}", tx.memory());
    let shown = tx.transmit_slices(at(0), |pieces| {
        let places: Vec<_> = pieces.iter().map(|piece| piece.as_ptr()).collect();
        assert!(places.contains(&data.as_ptr()), "copied");
        Err::<usize, _>("not now")
    });
    assert_eq!((shown, tx.pending() > 10 << 20), (Err("not now"), true));
}

#[test]
fn shared_and_copied_payloads_keep_their_order_in_writes_of_every_length() {
    let sizes = [10, 3000, 2047, 2048, 0, 0, 5, 2049, 2100, 2100, 1, 4000];
    let (_, expected) = mixed(&sizes);
    for len in (1..300).chain((300..expected.len()).step_by(97)).chain([usize::MAX]) {
        let (mut tx, _) = mixed(&sizes);
        let mut stream = Vec::new();
        let mut buffer = vec![0; len.min(expected.len())];
        while stream.len() < expected.len() {
            let written = tx.transmit(at(0), &mut buffer);
            assert!(written == buffer.len() || tx.pending() == 0, "a short write");
            stream.extend_from_slice(&buffer[..written]);
        }
        assert_eq!((stream == expected, tx.pending()), (true, 0), "{len} at a time");

        let (mut tx, _) = mixed(&sizes);
        let mut stream = Vec::new();
        while stream.len() < expected.len() {
            let taken = tx.transmit_slices(at(0), |pieces| {
                let shown = pieces.concat();
                stream.extend_from_slice(&shown[..len.min(shown.len())]);
                Ok::<_, ()>(len.min(shown.len()))
            });
            assert!(taken.unwrap() > 0);
        }
        assert_eq!((stream == expected, tx.pending()), (true, 0), "{len} at a time");
    }
}

/// Copied and shared payloads in any order, between writes and looks that relax, against a list of bytes.
fn a_mixed_queue_is_its_model(ops: &[(usize, usize, bool)]) -> Result<(), TestCaseError> {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 20_000 }, ..Config::HOST };
    let mut tx = Tx::<Heap>::new(&config, Plain::default());
    let mut model = Vec::new();
    for (number, &(len, take, relax)) in ops.iter().enumerate() {
        // One in three is long enough to be shared.
        let data = Bytes::from(vec![number as u8; if len % 3 == 0 { 2048 + len } else { len }]);
        let message = Message::notify(SPACE, &data);
        let before = tx.pending();
        let pushed = tx.push_shared(at(0), &Message::notify(SPACE, &[]), data.clone());
        prop_assert_eq!(pushed.is_ok(), before + 5 + message.encoded_len() <= 20_000);
        if pushed.is_ok() {
            let mut frame = vec![1, 0, 0, (message.encoded_len() >> 8) as u8, message.encoded_len() as u8];
            frame.resize(5 + message.encoded_len(), 0);
            message.encode(&mut frame[5..]).unwrap();
            model.extend(frame);
        }
        if relax {
            prop_assert!(tx.handle_timeout(at(1000 * number as u64)));
        }
        let mut out = vec![0; take];
        let taken = tx.transmit(at(1000 * number as u64), &mut out);
        prop_assert_eq!(taken, take.min(model.len()));
        prop_assert_eq!(&out[..taken], &model[..taken]);
        model.drain(..taken);
        prop_assert_eq!(tx.pending(), model.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_of_copied_and_shared_payloads_is_a_queue(
        ops in prop::collection::vec((0..300_usize, 0..1200_usize, any::<bool>()), 0..60),
    ) {
        a_mixed_queue_is_its_model(&ops)?;
    }
}

#[test]
fn a_shared_payload_that_finds_no_room_is_handed_back() {
    let config = Config { tx_queue: BufferLimits { min_bytes: 0, max_bytes: 10_000 }, ..Config::HOST };
    let mut tx = Tx::<Heap>::new(&config, Plain::default());
    let routing = Message::notify(SPACE, &[]);
    let (large, fits) = (Bytes::from(vec![1; 9990]), Bytes::from(vec![2; 6000]));
    assert_eq!(tx.push_shared(at(0), &routing, large.clone()), Err((PushError::TooLarge, large)));
    tx.push_shared(at(0), &routing, fits.clone()).unwrap();
    let pending = tx.pending();
    assert_eq!(tx.push_shared(at(0), &routing, fits.clone()), Err((PushError::Backpressure, fits.clone())));
    assert_eq!((tx.pending(), tx.counts().messages), (pending, 1));
    tx.transmit(at(0), &mut vec![0; pending]);
    tx.push_shared(at(0), &routing, fits).unwrap();
}
