//! The messages that wait for a peer: what is written of them, what is given up, and what is told of both.

mod tiers;

use bytes::Bytes;
use kitfox_core::connection::{Numbers, Outbox, Plain, PushError, Tx};
use kitfox_core::storage::{BufferLimits, Heap, Storage};
use kitfox_core::wire::{EMPTY_DATA_FRAME, HEADER_BYTES, Message};
use kitfox_core::{Config, Instant};
use kitfox_tests::frames::{data, encoded};
use kitfox_tests::world::SPACE;

both_tiers![
    messages_are_written_in_order_and_unknown_when_their_connection_ends,
    what_is_too_long_for_the_peer_stops_the_queue_until_it_is_given_up,
    what_is_given_up_first_is_not_unknown,
    what_is_given_up_between_two_connections_is_gone,
    a_frame_of_just_the_length_that_the_peer_takes_is_written,
    the_next_connection_may_take_what_the_last_one_did_not,
    half_a_message_is_not_written_again,
    frames_of_the_connection_come_between_messages_and_never_inside,
    what_is_left_of_a_write_has_a_deadline,
    a_plain_connection_stages_nothing,
];

const NOW: Instant = Instant::ZERO;
const LONG: &[u8] = &[7; 60];

fn message(data: &[u8]) -> Message<'_> {
    Message::notify(SPACE, data)
}

fn frame_bytes(data: &[u8]) -> usize {
    self::data(&message(data)).len()
}

/// An outbox with these messages, and the transmit half of a connection.
fn filled<S: Storage>(messages: &[&[u8]]) -> (Outbox<S>, Tx<S, Plain>) {
    let config = Config { outbox: BufferLimits { min_bytes: 0, max_bytes: 512 }, ..Config::DEVICE };
    let mut outbox = Outbox::new(&config);
    for (number, data) in (0..).zip(messages) {
        assert_eq!(outbox.push(&message(data)), Ok(number));
    }
    (outbox, Tx::new(&config, Plain::default()))
}

/// Writes at most so many bytes.
fn write<S: Storage>(tx: &mut Tx<S, Plain>, outbox: &mut Outbox<S>, most: usize) -> Vec<u8> {
    let mut out = vec![0; most];
    let len = tx.transmit_with(NOW, Some(outbox), &mut out);
    out.truncate(len);
    out
}

/// The same with one vectored write.
fn write_slices<S: Storage>(tx: &mut Tx<S, Plain>, outbox: &mut Outbox<S>, most: usize) -> Vec<u8> {
    let mut written = Vec::new();
    let result = tx.transmit_slices_with(NOW, Some(outbox), |pieces| {
        written = pieces.concat();
        written.truncate(most);
        Ok::<_, ()>(written.len())
    });
    assert_eq!(result, Ok(written.len()));
    written
}

fn numbers(first: u64, last: u64) -> Option<Numbers> {
    Some(Numbers { first, last })
}

fn messages_are_written_in_order_and_unknown_when_their_connection_ends<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[b"one", b"two", b"three"]);
    assert!(!outbox.is_writable() && write(&mut tx, &mut outbox, 512).is_empty(), "no connection is open");
    outbox.begin(usize::MAX);
    assert!(outbox.is_writable() && outbox.has_unwritten());
    let written = write(&mut tx, &mut outbox, 512);
    assert_eq!(written, [&b"one"[..], b"two", b"three"].map(|of| data(&message(of))).concat());
    assert!(outbox.is_empty() && !outbox.has_unwritten() && !outbox.is_writable());
    assert_eq!(outbox.end(), numbers(0, 2));
    assert_eq!(outbox.end(), None, "they were told of");
}

fn what_is_too_long_for_the_peer_stops_the_queue_until_it_is_given_up<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[b"one", LONG, b"two"]);
    outbox.begin(frame_bytes(LONG) - 1);
    assert!(!outbox.is_too_large_for_peer() && outbox.is_writable());
    assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"one")));
    assert!(outbox.is_too_large_for_peer() && !outbox.is_writable());
    assert_eq!(write(&mut tx, &mut outbox, 512), b"");
    assert_eq!(outbox.first(), Some((1, &encoded(&message(LONG))[..])));
    outbox.drop_first();
    assert!(!outbox.is_too_large_for_peer() && outbox.is_writable());
    assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"two")));
    assert!(outbox.is_empty());
    assert_eq!(outbox.end(), numbers(0, 2), "in between others it counts as one of them");
}

fn what_is_given_up_first_is_not_unknown<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[LONG, b"one"]);
    outbox.begin(frame_bytes(LONG) - 1);
    assert!(outbox.is_too_large_for_peer());
    outbox.drop_first();
    assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"one")));
    assert_eq!(outbox.end(), numbers(1, 1));
    assert_eq!((outbox.next_written(), outbox.next_number()), (2, 2));
}

fn what_is_given_up_between_two_connections_is_gone<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[b"one", b"two", b"three"]);
    outbox.begin(usize::MAX);
    assert_eq!(write(&mut tx, &mut outbox, frame_bytes(b"one")), data(&message(b"one")));
    assert_eq!(outbox.end(), numbers(0, 0));
    assert_eq!(outbox.first(), Some((1, &encoded(&message(b"two"))[..])));
    outbox.drop_first();
    assert_eq!((outbox.next_written(), outbox.len()), (2, frame_bytes(b"three")));
    outbox.begin(usize::MAX);
    assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"three")));
    assert_eq!(outbox.end(), numbers(2, 2));
    assert_eq!(outbox.first(), None);
    outbox.drop_first();
    assert_eq!((outbox.next_written(), outbox.next_number()), (3, 3), "there was nothing to give up");
}

fn a_frame_of_just_the_length_that_the_peer_takes_is_written<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[b"one", LONG]);
    outbox.begin(frame_bytes(LONG));
    let written = write(&mut tx, &mut outbox, 512);
    assert_eq!(written.len(), frame_bytes(b"one") + frame_bytes(LONG));
    assert!(outbox.is_empty());
    // And refused from the next byte on before it is queued.
    let longer = [7; LONG.len() + 1];
    assert_eq!(outbox.push(&message(&longer)), Err(PushError::TooLargeForPeer));
    assert_eq!(outbox.push(&message(LONG)), Ok(2));
    // Also where a longer one waits behind it.
    let (mut outbox, mut tx) = filled::<S>(&[b"one", b"four"]);
    outbox.begin(frame_bytes(b"one"));
    assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"one")));
    assert!(outbox.is_too_large_for_peer());
}

fn the_next_connection_may_take_what_the_last_one_did_not<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[LONG, b"one"]);
    outbox.begin(HEADER_BYTES);
    assert!(outbox.is_too_large_for_peer() && write(&mut tx, &mut outbox, 512).is_empty());
    assert_eq!(outbox.end(), None);
    assert!(!outbox.is_too_large_for_peer(), "nobody is there whose word counts");
    outbox.begin(usize::MAX);
    assert_eq!(write(&mut tx, &mut outbox, 512).len(), frame_bytes(LONG) + frame_bytes(b"one"));
    assert_eq!(outbox.end(), numbers(0, 1));
}

fn half_a_message_is_not_written_again<S: Storage>() {
    for most in 1..frame_bytes(b"one") {
        let (mut outbox, mut tx) = filled::<S>(&[b"one", b"two"]);
        outbox.begin(usize::MAX);
        assert_eq!(write(&mut tx, &mut outbox, most), data(&message(b"one"))[..most]);
        // Paused, it writes the rest of what it has begun and no more.
        let mut paused = outbox.clone();
        paused.set_paused(true);
        assert!(paused.is_writable());
        assert_eq!(write(&mut tx.clone(), &mut paused, 512), data(&message(b"one"))[most..]);
        assert!(!paused.is_writable() && paused.has_unwritten());
        assert_eq!(write(&mut tx.clone(), &mut paused, 512), b"");
        // Ended, the rest is gone.
        assert_eq!(outbox.end(), numbers(0, 0));
        outbox.begin(usize::MAX);
        assert_eq!(write(&mut tx, &mut outbox, 512), data(&message(b"two")));
    }
}

fn frames_of_the_connection_come_between_messages_and_never_inside<S: Storage>() {
    let [one, two] = [b"one", b"two"].map(|of| data(&message(of)));
    for write in [write::<S>, write_slices] {
        for begun in 0..one.len() {
            for most in [1, 7, 512] {
                let (mut outbox, mut tx) = filled::<S>(&[b"one", b"two"]);
                outbox.begin(usize::MAX);
                let mut written = write(&mut tx, &mut outbox, begun);
                tx.push_empty(NOW).unwrap();
                loop {
                    match write(&mut tx, &mut outbox, most) {
                        more if more.is_empty() => break,
                        more => written.extend(more),
                    }
                }
                let probe = &EMPTY_DATA_FRAME[..];
                let expected = if begun == 0 { [probe, &one, &two] } else { [&one, probe, &two] };
                assert_eq!(written, expected.concat(), "{begun} bytes, then {most}");
                assert!(outbox.is_empty() && tx.pending() == 0);
                assert_eq!(outbox.end(), numbers(0, 1));
            }
        }
    }
}

fn what_is_left_of_a_write_has_a_deadline<S: Storage>() {
    let timeout = Config::DEVICE.tx_timeout;
    for write in [write::<S>, write_slices] {
        let (mut outbox, mut tx) = filled::<S>(&[b"one"]);
        outbox.begin(usize::MAX);
        write(&mut tx, &mut outbox, 3);
        assert!(!tx.clone().handle_timeout(NOW + timeout), "nobody took the rest");
        write(&mut tx, &mut outbox, 512);
        assert!(tx.clone().handle_timeout(NOW + 2 * timeout), "nothing is left");
    }
}

/// Where a queue owns its memory from the beginning, nobody wakes up to give it back.
/// It has no memory of its own but its queue, and a message that nobody has begun to write is still the peer's.
fn a_plain_connection_stages_nothing<S: Storage>() {
    let (mut outbox, mut tx) = filled::<S>(&[b"one"]);
    outbox.begin(usize::MAX);
    tx.push_empty(NOW).unwrap();
    assert!(!tx.stage(NOW, &mut outbox));
    assert_eq!((outbox.next_written(), tx.pending()), (0, EMPTY_DATA_FRAME.len()));
    assert_eq!(write(&mut tx, &mut outbox, 512), [&EMPTY_DATA_FRAME[..], &data(&message(b"one"))].concat());
}

#[test]
fn a_queue_of_fixed_size_has_no_deadline_but_its_bytes() {
    fn deadline<S: Storage>() -> core::time::Duration {
        let (_, mut tx) = filled::<S>(&[]);
        tx.push_empty(NOW).unwrap();
        tx.poll_timeout().unwrap().since(NOW)
    }
    let Config { tx_timeout, relax_interval, .. } = Config::DEVICE;
    assert_eq!((deadline::<tiers::Small>(), deadline::<Heap>()), (tx_timeout, relax_interval));
}

/// The Heap tier's: the other one owns its memory from the beginning.
#[test]
fn memory_that_was_not_needed_for_a_while_is_given_back() {
    let (mut outbox, mut tx) = filled::<Heap>(&[b"one", LONG]);
    assert!(outbox.memory() >= outbox.len());
    outbox.begin(usize::MAX);
    assert!(!write(&mut tx, &mut outbox, 512).is_empty());
    assert!(outbox.memory() > 0);
    let mut rounds = 0;
    while outbox.relax() {
        rounds += 1;
        assert!(outbox.memory() > 0 && rounds < 10, "it says that there is more");
    }
    assert_eq!(outbox.memory(), 0);
}

/// Whatever the routing says of it, the payload is what is shared; a short one is copied.
#[test]
fn a_shared_payload_makes_the_bytes_that_a_copied_one_makes() {
    let routing = Message { data: b"not this", ..Message::module(SPACE, "photos", &[]) };
    for len in [0, 1, 2047, 2048, 2049, 5000] {
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let message = Message { data: &payload, ..routing };
        let expected = data(&message);
        // Just as much as there is room for.
        let limits = BufferLimits { min_bytes: 0, max_bytes: expected.len() };
        let config = Config { outbox: limits, tx_queue: limits, ..Config::HOST };
        let mut outbox = Outbox::<Heap>::new(&config);
        assert_eq!(outbox.push_shared(&routing, Bytes::from(payload.clone())), Ok(0));
        assert_eq!(outbox.len(), expected.len());
        assert_eq!(outbox.memory() >= len, len < 2048, "{len}: {}", outbox.memory());
        let handed_back = outbox.push_shared(&routing, Bytes::from(payload.clone()));
        assert_eq!(handed_back, Err((PushError::Backpressure, Bytes::from(payload.clone()))));
        assert_eq!(outbox.clone().take_first(), Some((0, encoded(&message))));
        let mut tx = Tx::<Heap, Plain>::new(&config, Plain::default());
        outbox.begin(expected.len());
        assert_eq!(write(&mut tx, &mut outbox, 8192), expected);

        tx.push_shared(NOW, &routing, Bytes::from(payload.clone())).unwrap();
        assert_eq!((tx.pending(), tx.counts().messages), (expected.len(), 1));
        let mut out = vec![0; 8192];
        let written = tx.transmit(NOW, &mut out);
        assert_eq!(out[..written], expected);
        // More than the peer takes, and than the queue.
        let longer = Bytes::from(vec![7; len + 8]);
        let refused = outbox.push_shared(&routing, longer.clone());
        assert_eq!(refused, Err((PushError::TooLargeForPeer, longer.clone())));
        let refused = tx.push_shared(NOW, &routing, longer.clone());
        assert_eq!(refused, Err((PushError::TooLarge, longer)));
    }
}

/// A shared payload is a piece of its own: of several pieces, too, only those of the message that was begun come first.
#[test]
fn frames_of_the_connection_come_behind_a_shared_payload_too() {
    let payload = Bytes::from(vec![7; 3000]);
    let [shared, two] = [&payload[..], b"two"].map(|of| data(&message(of)));
    for write in [write::<Heap>, write_slices] {
        for begun in [1, 9, 20, 1000, shared.len() - 1] {
            let mut outbox = Outbox::<Heap>::new(&Config::HOST);
            let mut tx = Tx::new(&Config::HOST, Plain::default());
            assert_eq!(outbox.push_shared(&message(&[]), payload.clone()), Ok(0));
            assert_eq!(outbox.push(&message(b"two")), Ok(1));
            outbox.begin(usize::MAX);
            let mut written = Vec::new();
            while written.len() < begun {
                let left = begun - written.len();
                written.extend(write(&mut tx, &mut outbox, left));
            }
            tx.push_empty(NOW).unwrap();
            loop {
                match write(&mut tx, &mut outbox, 8192) {
                    more if more.is_empty() => break,
                    more => written.extend(more),
                }
            }
            assert!(written == [&shared[..], &EMPTY_DATA_FRAME, &two].concat(), "{begun} bytes");
        }
    }
}

/// What is shared counts for the high water mark as what is copied does.
#[test]
fn what_is_remembered_of_shared_payloads_counts_as_memory() {
    const PAYLOADS: usize = 100;
    let mut outbox = Outbox::<Heap>::new(&Config { high_water_bytes: usize::MAX, ..Config::HOST });
    let payload = Bytes::from(vec![7; 4096]);
    for _ in 0..PAYLOADS {
        outbox.push_shared(&message(&[]), payload.clone()).unwrap();
    }
    let place_and_payload = size_of::<(usize, Bytes)>();
    assert!(outbox.memory() >= PAYLOADS * place_and_payload, "{}", outbox.memory());
    assert!(outbox.memory() < PAYLOADS * (4096 / 8), "the payloads are somebody else's");
}

#[test]
fn shared_payloads_stop_at_the_high_water_mark() {
    let payload = Bytes::from(vec![7; 3000]);
    let frame = frame_bytes(&payload);
    for (high_water_bytes, accepted) in [(frame, 1), (frame + 1, 2)] {
        let mut outbox = Outbox::<Heap>::new(&Config { high_water_bytes, ..Config::HOST });
        for number in 0..accepted {
            assert_eq!(outbox.push_shared(&message(&[]), payload.clone()), Ok(number));
        }
        let refused = outbox.push_shared(&message(&[]), payload.clone());
        assert_eq!(refused, Err((PushError::Backpressure, payload.clone())), "{high_water_bytes}");
    }
}
