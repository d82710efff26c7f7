//! What enemies try with records.

use kitfox_core::connection::{CloseReason, Input, Timeout};
use kitfox_core::secure::{Credentials, Start};
use kitfox_core::storage::Storage;
use kitfox_core::{ProtocolError, secure};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::Pair;
use kitfox_tests::script::{Act, at, config};

use crate::common::{BOB, Channel, accept, alice, credentials, open};

on_both_tiers!(
    a_flipped_bit_anywhere_in_a_record_closes,
    records_out_of_order_close,
    a_record_that_comes_twice_closes,
    a_record_that_is_left_out_closes,
    a_record_that_is_too_long_is_refused_at_its_header,
    a_record_that_is_too_short_is_refused_at_its_header,
    nothing_opens_after_a_record_that_did_not,
    what_came_before_a_bad_record_is_delivered,
    the_other_directions_record_does_not_open,
    a_record_of_another_connection_does_not_open,
    a_record_that_has_begun_ends_in_time,
);

/// A pair, and records of one message each from Alice to Bob.
fn with_records<S: Storage>(count: u8) -> (Pair<S, Channel<S>>, Vec<Vec<u8>>) {
    let mut pair = open::<S>();
    let mut records = Vec::new();
    for number in 0..count {
        pair.a.notify(at(0), &[b'0' + number]).unwrap();
        records.push(pair.a.written(at(0)));
    }
    (pair, records)
}

fn bad() -> CloseReason {
    ProtocolError::BadRecord.into()
}

fn a_flipped_bit_anywhere_in_a_record_closes<S: Storage>() {
    let len = with_records::<S>(1).1[0].len();
    for place in 0..len {
        for stride in [1, len] {
            let (mut pair, mut records) = with_records::<S>(2);
            let mut bytes = records.remove(0);
            bytes[place] ^= 1;
            bytes.extend(&records[0]);
            for piece in bytes.chunks(stride) {
                pair.b.receive(at(0), piece);
            }
            // A length that is longer than it was leaves Bob waiting for the rest.
            let waits = place < 2 && pair.b.closed().is_none();
            assert!(waits || pair.b.closed() == Some(bad()), "byte {place}");
            assert!(pair.b.notified().is_empty());
        }
    }
}

fn records_out_of_order_close<S: Storage>() {
    let (mut pair, records) = with_records::<S>(2);
    pair.b.receive(at(0), &records[1]);
    assert_eq!(pair.b.closed(), Some(bad()));
}

fn a_record_that_comes_twice_closes<S: Storage>() {
    let (mut pair, records) = with_records::<S>(1);
    pair.b.receive(at(0), &records[0]);
    assert_eq!(pair.b.notified(), ["0"]);
    pair.b.receive(at(0), &records[0]);
    assert_eq!((pair.b.closed(), pair.b.notified().len()), (Some(bad()), 1));
}

fn a_record_that_is_left_out_closes<S: Storage>() {
    let (mut pair, records) = with_records::<S>(3);
    pair.b.receive(at(0), &records[0]);
    pair.b.receive(at(0), &records[2]);
    assert_eq!((pair.b.closed(), pair.b.notified()), (Some(bad()), vec!["0"]));
}

fn a_record_that_is_too_long_is_refused_at_its_header<S: Storage>() {
    let short = Credentials { max_record_bytes: 300, ..credentials(BOB) };
    let mut pair = Pair::<S, Channel<S>>::of(alice(), accept(&config(), &short));
    pair.drive();
    let longest = 300 + secure::TAG_BYTES as u16;
    let mut bob = pair.b.connection.clone();
    let mut bytes = longest.to_be_bytes();
    assert_eq!(bob.handle(at(0), Input::Bytes(&mut bytes)).finish().0, 0);
    assert_eq!(pair.b.receive(at(0), &longest.to_be_bytes()), []);
    let mut other = Pair::<S, Channel<S>>::of(alice(), accept(&config(), &short));
    other.drive();
    assert_eq!(other.b.receive(at(0), &(longest + 1).to_be_bytes()), [Act::closed(bad())]);
}

fn a_record_that_is_too_short_is_refused_at_its_header<S: Storage>() {
    for len in 0..secure::TAG_BYTES as u16 {
        let mut pair = open::<S>();
        assert_eq!(pair.b.receive(at(0), &len.to_be_bytes()), [Act::closed(bad())], "{len}");
    }
}

fn nothing_opens_after_a_record_that_did_not<S: Storage>() {
    use kitfox_core::connection::{Channel as _, Opener};
    // Not even where the driver goes on.
    let ours = credentials(BOB);
    let mut opener = Channel::<S>::opener(Start::accept(&ours));
    opener.open(&mut [0]).unwrap_err();
    for byte in *b"kf" {
        opener.open(&mut [byte]).unwrap_err();
    }
    assert!(opener.proven_id().is_none());
    assert!(opener.end().is_err());
}

fn what_came_before_a_bad_record_is_delivered<S: Storage>() {
    let (mut pair, mut records) = with_records::<S>(3);
    *records[1].last_mut().unwrap() ^= 1;
    pair.b.receive(at(0), &records.concat());
    assert_eq!((pair.b.notified(), pair.b.closed()), (vec!["0"], Some(bad())));
    // The peer, which may be innocent, is told so in a record.
    let told = pair.b.written(at(0));
    pair.a.receive(at(0), &told);
    let said = Act::Closed { reason: CloseReason::Disconnected, message: "protocol error".into() };
    assert_eq!(pair.a.acts.last(), Some(&said));
}

fn the_other_directions_record_does_not_open<S: Storage>() {
    let (mut pair, records) = with_records::<S>(1);
    pair.a.receive(at(0), &records[0]);
    assert_eq!(pair.a.closed(), Some(bad()));
}

fn a_record_of_another_connection_does_not_open<S: Storage>() {
    let (_, records) = with_records::<S>(1);
    let mut pair = crate::common::pair::<S>();
    pair.a.randomness = [77; 32];
    pair.drive();
    pair.b.receive(at(0), &records[0]);
    assert_eq!(pair.b.closed(), Some(bad()));
}

/// As a frame must: it may hold the beginning of one.
fn a_record_that_has_begun_ends_in_time<S: Storage>() {
    let end = config().frame_timeout.as_millis() as u64;
    for late in [false, true] {
        let (mut pair, mut records) = with_records::<S>(1);
        let record = records.remove(0);
        let (last, begun) = record.split_last().unwrap();
        // A byte now and then does not move the deadline.
        for (time, byte) in (0..end).step_by(end as usize / begun.len()).zip(begun) {
            assert_eq!(pair.b.receive(at(time), &[*byte]), []);
        }
        assert_eq!(pair.b.tell(at(end - 1), Input::Timeout), []);
        if late {
            let closed = Act::closed(CloseReason::Timeout(Timeout::Frame));
            assert_eq!(pair.b.tell(at(end), Input::Timeout), [closed]);
        } else {
            pair.b.receive(at(end - 1), &[*last]);
            assert_eq!(pair.b.notified(), ["0"]);
            assert_eq!(pair.b.tell(at(end * 100), Input::Timeout), [], "an idle connection has no deadline");
        }
    }
}
