//! However a stream is cut, and however slowly its driver takes actions: the actions are the same.

use kitfox_core::connection::{Action, CloseReason, Connection, Input, RxCounts, Wants};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::{Config, Oversize};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, Chunks, Pace, Side};
use kitfox_tests::script::{Act, at, config, wire};

use crate::{BYE, CONFIRM, FROM_ALICE, FROM_BOB, GROWS, RAIN, open_acceptor};

on_both_tiers!(
    every_stride_gives_the_same_actions,
    every_pair_of_cuts_gives_the_same_actions,
    a_driver_that_stops_after_each_action_sees_the_same_actions,
    reads_that_show_less_than_before_give_the_same_actions,
    every_prefix_of_a_frame_says_need_more,
    a_whole_frame_is_delivered_from_the_callers_buffer,
);

/// A whole session, as one end reads it.
struct Script {
    name: &'static str,
    dialler: bool,
    oversize: Oversize,
    bytes: Vec<u8>,
}

/// A NOTIFY in a frame of 4,096 bytes, which is as long as a frame may be.
fn longest() -> Vec<u8> {
    let mut frame = wire("01 00000ffb 0802 12 ee1f");
    frame.extend((0..4078).map(|place| place as u8));
    frame.extend(wire("1a06 'garden'"));
    assert_eq!(frame.len(), 4096);
    frame
}

/// A frame of one byte more than may be.
fn too_long() -> Vec<u8> {
    let mut frame = wire("01 00000ffc");
    frame.resize(4097, 0x01);
    frame
}

fn scripts() -> Vec<Script> {
    let unspecified = wire("01 00000003 1201 'x'");
    let unknown_space = wire("01 0000000a 0802 1200 1a04 'nope'");
    let unknown_module = wire("01 00000010 0803 1a06 'garden' 2204 'nope'");
    let blocked = wire("01 00000009 0802 1a05 'swamp'");
    let again = wire("01 00000007 0801 1203 'new'");
    let long = longest();
    let empty = wire(CONFIRM);
    let (alice, bob, rain) = (wire(FROM_ALICE), wire(FROM_BOB), wire(RAIN));
    let script = |name, parts: &[&[u8]]| Script {
        name,
        dialler: parts[0] == bob,
        oversize: Oversize::Close,
        bytes: parts.concat(),
    };
    let skipping = |name, parts: &[&[u8]]| Script { oversize: Oversize::Skip, ..script(name, parts) };
    vec![
        script(
            "messages, empty frames",
            &[&alice, &empty, &rain, &empty, &empty, &wire(GROWS), &rain, &empty],
        ),
        script("large frames", &[&alice, &empty, &long, &rain, &long]),
        script("drops", &[&alice, &empty, &unspecified, &unknown_space, &unknown_module, &blocked, &rain]),
        script("a message as confirm", &[&alice, &rain, &empty]),
        script("a dropped message as confirm", &[&alice, &unspecified, &rain]),
        script("goodbye", &[&bob, &rain, &wire(BYE), &rain]),
        script("goodbye instead of a preflight", &[&wire(BYE), &rain]),
        script("goodbye instead of a confirm", &[&alice, &wire(BYE), &rain]),
        script("revalidation", &[&bob, &again, &rain, &again, &again]),
        script(
            "a handler refuses",
            &[&bob, &rain, &wire("01 0000000f 0802 1203 'bad' 1a06 'garden'"), &rain],
        ),
        script("unknown type", &[&bob, &rain, &wire("02 ffffffff"), &rain]),
        script("unknown type at once", &[&wire("07"), &rain]),
        script("second preflight", &[&alice, &empty, &alice]),
        script("data before the preflight", &[&rain, &alice]),
        script("oversize", &[&bob, &too_long(), &rain]),
        script("undecodable", &[&bob, &wire("01 00000002 0a00"), &rain]),
        script("missing space", &[&bob, &wire("01 00000002 0802"), &rain]),
        script("cut in a header", &[&bob, &rain[..3]]),
        script("cut in a frame", &[&bob, &rain, &rain[..24]]),
        skipping("skipped", &[&alice, &empty, &too_long(), &rain, &too_long(), &too_long(), &empty, &rain]),
        skipping("a frame to be skipped as confirm", &[&alice, &too_long(), &rain]),
        skipping("cut while skipping", &[&bob, &too_long()[..300]]),
    ]
}

/// Everything that can be seen of a session from outside.
type Seen = (Vec<Act>, Vec<u8>, RxCounts, Option<CloseReason>);

fn side<S: Storage>(script: &Script) -> Side<S> {
    let config = Config { oversize: script.oversize, ..config() };
    let mut side = match script.dialler {
        true => Side::dial(at(0), &config),
        false => Side::accept(at(0), &config),
    };
    side.directory.register_space(b"swamp").unwrap();
    side.directory.policy_mut().blocked.push(b"swamp".to_vec());
    side.refuse_data = Some(b"bad".to_vec());
    side
}

fn finish<S: Storage>(mut side: Side<S>) -> Seen {
    side.tell(at(0), Input::End);
    assert_eq!(side.wants, Wants::Nothing);
    let written = side.written(at(0));
    let rx = side.connection.rx();
    (side.acts, written, rx.counts(), rx.close_reason())
}

fn whole<S: Storage>(script: &Script) -> Seen {
    let mut side = side::<S>(script);
    side.receive(at(0), &script.bytes);
    let seen = finish(side);
    assert!(!seen.0.is_empty(), "{}", script.name);
    seen
}

fn in_pieces<'b, S: Storage>(script: &Script, pieces: impl IntoIterator<Item = &'b [u8]>) -> Seen {
    let mut side = side::<S>(script);
    for piece in pieces {
        side.receive(at(0), piece);
    }
    finish(side)
}

fn every_stride_gives_the_same_actions<S: Storage>() {
    for script in scripts() {
        let expected = whole::<S>(&script);
        let len = script.bytes.len();
        let strides = (1..=len).filter(|stride| len < 500 || *stride < 12 || stride % 61 == 1);
        for stride in strides {
            let seen = in_pieces::<S>(&script, script.bytes.chunks(stride));
            assert_eq!(seen, expected, "{} by {stride}", script.name);
        }
    }
}

fn every_pair_of_cuts_gives_the_same_actions<S: Storage>() {
    for script in scripts() {
        let expected = whole::<S>(&script);
        let bytes = &script.bytes[..];
        // Of a long session the cuts around its frames' ends, of a short one all that are not far from each other:
        // no piece of a state lasts for longer than a frame.
        let near = |cut: &usize| bytes.len() < 200 || cut % 1365 < 12 || bytes.len() - cut < 30 || *cut < 50;
        for first in (0..=bytes.len()).filter(near) {
            for second in (first..=bytes.len().min(first + 50)).filter(near) {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(
                    in_pieces::<S>(&script, pieces),
                    expected,
                    "{} cut at {first} and {second}",
                    script.name
                );
            }
        }
    }
}

fn a_driver_that_stops_after_each_action_sees_the_same_actions<S: Storage>() {
    for script in scripts() {
        let expected = whole::<S>(&script);
        for stride in [1, 2, 3, 4, 5, 6, 7, 11, 25, 31, 64, 1000, 4096, 10_000] {
            let mut side = side::<S>(&script);
            side.pace = Pace::One;
            for piece in script.bytes.chunks(stride) {
                side.receive(at(0), piece);
            }
            assert_eq!(finish(side), expected, "{} by {stride}", script.name);
        }
    }
}

fn reads_that_show_less_than_before_give_the_same_actions<S: Storage>() {
    for script in scripts() {
        let expected = whole::<S>(&script);
        for seed in 0..60 {
            let mut side = side::<S>(&script);
            side.pace = Pace::One;
            side.shown = Chunks::Seeded(seed, [3, 20, 120, 5000][seed as usize % 4]);
            // First as much as there is, so that the next read shows less than is remembered.
            if seed % 2 == 0 {
                side.shown = Chunks::These(
                    (0..seed as usize).map(|place| [usize::MAX, 1, 2, 30][place % 4]).collect(),
                );
            }
            side.receive(at(0), &script.bytes);
            assert_eq!(finish(side), expected, "{} with seed {seed}", script.name);
        }
    }
}

fn every_prefix_of_a_frame_says_need_more<S: Storage>() {
    for frame in [wire(RAIN), wire(GROWS), wire(BYE), wire("01 00000003 1201 'x'"), longest()] {
        let lens = (0..frame.len()).filter(|len| *len < 60 || len % 97 == 0 || frame.len() - len < 10);
        for len in lens {
            let mut bob = open_acceptor::<S>();
            assert_eq!(bob.receive(at(0), &frame[..len]), [], "{len}");
            assert_eq!((bob.wants, bob.inbox.len()), (Wants::Bytes, 0), "{len}");
            assert_eq!(bob.receive(at(0), &frame[len..]).len(), 1, "{len}");
        }
    }
}

fn a_whole_frame_is_delivered_from_the_callers_buffer<S: Storage>() {
    let Side { mut connection, directory, .. } = open_acceptor::<S>();
    let mut bytes = [wire(RAIN), longest(), wire(GROWS)].concat();
    let (start, end) = (bytes.as_ptr() as usize, bytes.as_ptr() as usize + bytes.len());
    let mut actions = connection.handle(at(0), Input::Bytes(&mut bytes));
    let mut delivered = 0;
    while let Some(Action::Notify { data, .. } | Action::Module { data, .. }) = actions.next(&directory) {
        let place = data.as_ptr() as usize;
        assert!(start < place && place + data.len() <= end, "copied");
        delivered += 1;
    }
    assert_eq!(delivered, 3);
    assert_eq!(actions.finish(), (end - start, Wants::Bytes));
}

/// Reads `pieces` one after the other; keeps the data of the message that the last one ends, and where it lay.
fn keep(connection: &mut Connection<Heap>, side: &Side<Heap>, pieces: &[&[u8]]) -> (bytes::Bytes, usize) {
    let (mut rx, tx) = core::mem::replace(connection, Connection::accept(at(0), &config())).into_halves();
    let mut kept = None;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut frames = rx.read(at(0), &mut piece);
        while let Some(action) = frames.next(&side.directory) {
            let Action::Notify { data, .. } = action else { panic!("{action:?}") };
            let lent = data.as_ptr() as usize;
            kept = Some((frames.payload_to_bytes().unwrap(), lent));
            assert_eq!(frames.payload_to_bytes(), None);
        }
        assert_eq!(frames.finish().0, piece.len());
    }
    *connection = Connection::from_halves(rx, tx);
    kept.unwrap()
}

#[test]
fn a_frame_that_arrived_in_pieces_is_handed_over_without_a_copy() {
    let mut bob = open_acceptor::<Heap>();
    let mut connection = core::mem::replace(&mut bob.connection, Connection::accept(at(0), &config()));
    let frame = longest();
    let (first, second) = frame.split_at(2000);
    let (kept, lent) = keep(&mut connection, &bob, &[first, second]);
    assert_eq!(&kept[..], &frame[10..4088]);
    assert_eq!(kept.as_ptr() as usize, lent, "copied");
    assert_eq!(connection.rx().memory(), 0, "the buffer has gone with it");

    // The next one finds a buffer of its own, and what was handed over stays as it is.
    let (next, _) = keep(&mut connection, &bob, &[&wire(RAIN)[..7], &wire(RAIN)[7..]]);
    assert_eq!((&next[..], &kept[..]), (&b"it rains"[..], &frame[10..4088]));
    // A whole frame lies in the caller's buffer: it has to be copied.
    let (copy, lent) = keep(&mut connection, &bob, &[&frame]);
    assert_ne!(copy.as_ptr() as usize, lent);
    assert_eq!(copy, kept);
}

#[test]
fn only_what_an_action_told_of_is_handed_over() {
    let Side { mut connection, directory, .. } = open_acceptor::<Heap>();
    let mut bytes = [wire("01 00000003 1201 'x'"), wire(RAIN)].concat();
    let mut frames = connection.handle(at(0), Input::Bytes(&mut bytes));
    assert_eq!(frames.payload_to_bytes(), None);
    assert!(matches!(frames.next(&directory), Some(Action::Dropped { .. })));
    assert!(matches!(frames.next(&directory), Some(Action::Notify { .. })));
    assert_eq!(frames.payload_to_bytes().as_deref(), Some(&b"it rains"[..]));
    assert_eq!(frames.payload_to_bytes(), None);
    assert!(frames.next(&directory).is_none());
    assert_eq!(frames.payload_to_bytes(), None);
    assert_eq!(frames.finish(), (bytes.len(), Wants::Bytes));

    // A preflight in pieces is no message, and is not lost by asking for it.
    let (mut rx, _) = Connection::<Heap>::accept(at(0), &config()).into_halves();
    for piece in wire(FROM_ALICE).chunks_mut(20) {
        let mut frames = rx.read(at(0), piece);
        let asked = frames.next(&directory).is_some();
        assert_eq!(frames.payload_to_bytes(), None);
        assert_eq!(frames.finish().1 == Wants::Answer, asked);
    }
    assert_eq!(rx.peer().map(|peer| peer.url), Some(ALICE));
}
