//! A toy channel that proves the hooks: records with a length, a masked body and a checksum behind it.

use kitfox_core::connection::{
    Action, Channel, CloseReason, Connection, Input, Opened, Opener, Rx, Sealer, Tx, Wants,
};
use kitfox_core::storage::{Pull, Storage};
use kitfox_core::wire::Message;
use kitfox_core::{Config, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, BOB, Chunks, Pace, Pair, SPACE, Side, exchange, peer_url};
use kitfox_tests::script::{Act, at, config, wire};

on_both_tiers!(
    a_session_over_records_gives_the_same_actions_as_a_plain_one,
    records_may_cut_frames_anywhere,
    one_record_may_hold_a_whole_session,
    a_partial_record_is_staged_at_every_stride,
    a_driver_that_stops_in_the_middle_of_a_record_goes_on_where_it_was,
    a_read_that_shows_less_than_the_rest_of_a_record_goes_on_where_it_was,
    a_whole_record_is_opened_in_the_callers_buffer,
    empty_records_carry_nothing,
    a_bad_checksum_closes,
    a_bad_checksum_delivers_what_came_before_and_nothing_after,
    the_end_of_the_stream_inside_a_record_is_the_peers_fault,
    nothing_is_sealed_while_the_queue_is_empty,
    what_is_not_pulled_is_not_sealed,
    records_are_written_in_pieces_of_every_length,
);

const MASK: u8 = 0x5a;
const OVERHEAD: usize = 3;

/// Records of at most `Sealing::max` bytes of plaintext.
#[derive(Debug, Clone)]
struct Toy;

impl Channel for Toy {
    type Start = (Opening, Sealing);
    type Opener = Opening;
    type Sealer = Sealing;

    fn opener((opening, _): Self::Start) -> Opening {
        opening
    }

    fn sealer((_, sealing): &Self::Start) -> Sealing {
        sealing.clone()
    }
}

fn checksum(plain: &[u8]) -> u8 {
    plain.iter().fold(plain.len() as u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut record = (plain.len() as u16).to_be_bytes().to_vec();
    record.extend(plain.iter().map(|byte| byte ^ MASK));
    record.push(checksum(plain));
    record
}

/// Seals a stream into records of these sizes, over and over.
fn seal_all(mut plain: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut sealed = Vec::new();
    for size in sizes.iter().cycle() {
        let (record, rest) = plain.split_at((*size).min(plain.len()));
        sealed.extend(seal(record));
        plain = rest;
        if plain.is_empty() {
            return sealed;
        }
    }
    unreachable!("sizes has no end")
}

/// Opens whole records in place, and keeps partial ones itself.
#[derive(Debug, Clone, Default)]
struct Opening {
    /// The front of a record, as on the wire.
    partial: Vec<u8>,
    stage: Vec<u8>,
}

/// Unmasks a whole record in place; its plaintext.
fn unmask(record: &mut [u8]) -> Result<&mut [u8], ProtocolError> {
    let end = record.len() - 1;
    let (body, trailer) = record[2..].split_at_mut(end - 2);
    body.iter_mut().for_each(|byte| *byte ^= MASK);
    if checksum(body) == trailer[0] { Ok(body) } else { Err(ProtocolError::BadRecord) }
}

/// Bytes of the record that begins here, as far as that is known.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let (len, _) = bytes.split_first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*len)) + OVERHEAD)
}

impl Opener for Opening {
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        assert!(!wire.is_empty());
        self.stage.clear();
        let whole = record_len(wire).filter(|len| self.partial.is_empty() && *len <= wire.len());
        if let Some(len) = whole {
            let len = unmask(&mut wire[..len])?.len();
            return Ok(Opened::InPlace { skip: 2, len, trailer: 1 });
        }
        for (consumed, byte) in wire.iter().enumerate() {
            self.partial.push(*byte);
            if record_len(&self.partial) == Some(self.partial.len()) {
                self.stage.extend_from_slice(unmask(&mut self.partial)?);
                self.partial.clear();
                return Ok(Opened::Staged { consumed: consumed + 1, len: self.stage.len() });
            }
        }
        Ok(Opened::Staged { consumed: wire.len(), len: 0 })
    }

    fn staged(&self) -> &[u8] {
        &self.stage
    }

    fn end(&self) -> Result<(), ProtocolError> {
        if self.partial.is_empty() { Ok(()) } else { Err(ProtocolError::EndInsideFrame) }
    }
}

#[derive(Debug, Clone)]
struct Sealing {
    max: usize,
    record: Vec<u8>,
    written: usize,
}

impl Sealing {
    fn new(max: usize) -> Self {
        Self { max, record: Vec::new(), written: 0 }
    }
}

impl Sealer for Sealing {
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        if self.sealed_len() == 0 {
            let mut plain = Vec::new();
            while plain.len() < self.max {
                let mut first = [&[][..]];
                if queue.peek(&mut first) == 0 {
                    break;
                }
                let len = first[0].len().min(self.max - plain.len());
                plain.extend_from_slice(&first[0][..len]);
                queue.consume(len);
            }
            if plain.is_empty() {
                return 0;
            }
            (self.record, self.written) = (seal(&plain), 0);
        }
        pieces[0] = &self.record[self.written..];
        1
    }

    fn written<Q: Pull>(&mut self, _: &mut Q, len: usize) {
        assert!(len <= self.sealed_len());
        self.written += len;
    }

    fn sealed_len(&self) -> usize {
        self.record.len() - self.written
    }
}

type Sealed<S> = Side<S, Toy>;

fn dialler<S: Storage>(max: usize) -> Sealed<S> {
    let rx = Rx::dial(at(0), &config(), Opening::default(), peer_url(BOB)).unwrap();
    Side::new(Connection::from_halves(rx, Tx::new(&config(), Sealing::new(max))), ALICE, b"hello")
}

fn acceptor<S: Storage>(max: usize) -> Sealed<S> {
    let rx = Rx::accept(at(0), &config(), Opening::default());
    Side::new(Connection::from_halves(rx, Tx::new(&config(), Sealing::new(max))), BOB, b"world")
}

const FROM_ALICE: &str = "00 00000026 00000019 'ws://127.0.0.1:9000/alice' 0801 1205 'hello'";
const CONFIRM: &str = "01 00000000";
const RAIN: &str = "01 00000014 0802 1208 'it rains' 1a06 'garden'";

/// What Alice writes in a session: the gate, messages, something to drop, a long message, an empty frame, a goodbye.
fn session() -> Vec<u8> {
    let mut long = wire("01 00000259 0802 12 cc04");
    long.extend((0..588).map(|place| place as u8));
    long.extend(wire("1a06 'garden'"));
    let parts = [
        wire(FROM_ALICE),
        wire(CONFIRM),
        wire(RAIN),
        wire(RAIN),
        wire("01 00000008 0802 1a04 'nope'"),
        long,
        wire(CONFIRM),
        wire("01 00000017 0803 1205 'grows' 1a06 'garden' 2204 'moss'"),
        wire("01 00000007 0801 1203 'new'"),
        wire(RAIN),
        wire("01 00000007 080f 1203 'bye'"),
        wire(RAIN),
    ];
    parts.concat()
}

/// What a plain connection makes of the session.
fn plain<S: Storage>() -> Vec<Act> {
    let mut bob = Side::<S>::accept(at(0), &config());
    bob.receive(at(0), &session());
    assert_eq!((bob.acts.len(), bob.wants), (4 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 1, Wants::Nothing));
    bob.acts
}

fn a_session_over_records_gives_the_same_actions_as_a_plain_one<S: Storage>() {
    let expected = exchange(Pair::<S>::new(&config()));
    for max in [1, 2, 3, 5, 17, 100, 1400, 65_535] {
        for (chunks, pace) in [
            (Chunks::Whole, Pace::All),
            (Chunks::Each(1), Pace::One),
            (Chunks::Seeded(max as u64, 70), Pace::One),
        ] {
            let mut pair = Pair::<S, Toy>::of(dialler(max), acceptor(max));
            pair.chunks(&chunks);
            (pair.a.pace, pair.b.pace) = (pace, pace);
            pair.b.vectored = max % 2 == 0;
            assert_eq!(exchange(pair), expected, "{max} bytes a record, {chunks:?}");
        }
    }
}

fn records_may_cut_frames_anywhere<S: Storage>() {
    let expected = plain::<S>();
    let session = session();
    for size in (1..80).chain([300, 600, 700]) {
        for sizes in [[size, size, size], [size, 1, 2 * size]] {
            let mut bob = acceptor::<S>(100);
            bob.receive(at(0), &seal_all(&session, &sizes));
            assert_eq!(bob.acts, expected, "records of {sizes:?}");
        }
    }
}

fn one_record_may_hold_a_whole_session<S: Storage>() {
    let mut bob = acceptor::<S>(100);
    assert_eq!(bob.receive(at(0), &seal(&session())), plain::<S>());
}

fn a_partial_record_is_staged_at_every_stride<S: Storage>() {
    let expected = plain::<S>();
    for sizes in [&[4, 90, 1][..], &[60], &[1000]] {
        let sealed = seal_all(&session(), sizes);
        for stride in (1..100).chain((100..sealed.len()).step_by(37)) {
            for pace in [Pace::All, Pace::One] {
                let mut bob = acceptor::<S>(100);
                bob.pace = pace;
                for piece in sealed.chunks(stride) {
                    bob.receive(at(0), piece);
                }
                assert_eq!(bob.acts, expected, "records of {sizes:?} by {stride}");
            }
        }
    }
}

fn a_driver_that_stops_in_the_middle_of_a_record_goes_on_where_it_was<S: Storage>() {
    let mut bob = acceptor::<S>(100);
    bob.receive(at(0), &seal(&[wire(FROM_ALICE), wire(CONFIRM)].concat()));
    let records = [seal(&[wire(RAIN), wire(RAIN)].concat()), seal(&wire(RAIN))].concat();
    let mut bytes = records.clone();
    let mut read = |bytes: &mut Vec<u8>, count: usize| {
        let mut actions = bob.connection.handle(at(0), Input::Bytes(bytes));
        for _ in 0..count {
            assert!(matches!(actions.next(&bob.directory), Some(Action::Notify { data: b"it rains", .. })));
        }
        let (taken, wants) = actions.finish();
        assert_eq!(wants, Wants::Bytes);
        bytes.drain(..taken);
        taken
    };
    assert_eq!(read(&mut bytes, 0), 0);
    assert_eq!(bytes, records, "opened though nobody asked for it");
    // The record's header goes with its first frame, its checksum with the last one.
    assert_eq!(read(&mut bytes, 1), 2 + 25);
    assert!(bytes.starts_with(&wire(RAIN)), "the front is plaintext by now");
    assert_eq!(read(&mut bytes, 0), 0);
    assert_eq!(read(&mut bytes, 1), 25 + 1);
    assert_eq!(bytes, seal(&wire(RAIN)));
    assert_eq!(read(&mut bytes, 1), 2 + 25 + 1);
    assert!(bytes.is_empty());
}

fn a_read_that_shows_less_than_the_rest_of_a_record_goes_on_where_it_was<S: Storage>() {
    let expected = plain::<S>();
    for sizes in [&[30, 90, 1][..], &[60], &[1000]] {
        let sealed = seal_all(&session(), sizes);
        for seed in 0..100 {
            let mut bob = acceptor::<S>(100);
            bob.pace = Pace::One;
            bob.shown = match seed % 3 {
                0 => Chunks::Seeded(seed, 100),
                1 => Chunks::Seeded(seed, 1000),
                _ => {
                    Chunks::These((0..seed as usize).map(|place| [usize::MAX, 1, 2, 3][place % 4]).collect())
                }
            };
            bob.receive(at(0), &sealed);
            assert_eq!(bob.acts, expected, "records of {sizes:?}, seed {seed}");
        }
    }
}

fn a_whole_record_is_opened_in_the_callers_buffer<S: Storage>() {
    let mut bob = acceptor::<S>(100);
    bob.receive(at(0), &seal(&[wire(FROM_ALICE), wire(CONFIRM)].concat()));
    let mut bytes = [seal(&[wire(RAIN), wire(RAIN)].concat()), seal(&wire(RAIN))].concat();
    let range = bytes.as_ptr_range();
    let mut actions = bob.connection.handle(at(0), Input::Bytes(&mut bytes));
    for _ in 0..3 {
        let Some(Action::Notify { data, .. }) = actions.next(&bob.directory) else { panic!("no message") };
        assert!(range.contains(&data.as_ptr()), "copied");
    }
    assert!(actions.next(&bob.directory).is_none());
    let _ = actions.finish();
}

fn empty_records_carry_nothing<S: Storage>() {
    let mut bob = acceptor::<S>(100);
    let empty = seal(&[]);
    let bytes: Vec<u8> = session().iter().flat_map(|byte| [seal(&[*byte]), empty.clone()].concat()).collect();
    for piece in bytes.chunks(5) {
        bob.receive(at(0), piece);
    }
    assert_eq!(bob.acts, plain::<S>());
    let mut bob = acceptor::<S>(100);
    bob.receive(at(0), &[empty.clone(), empty.clone()].concat());
    assert_eq!((bob.acts.len(), bob.inbox.len(), bob.wants), (0, 0, Wants::Bytes));
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(CloseReason::Ended)]);
}

fn a_bad_checksum_closes<S: Storage>() {
    let good = seal(&wire(FROM_ALICE));
    for stride in [1, 10, good.len()] {
        for place in 2..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            let mut bob = acceptor::<S>(100);
            let acts: Vec<_> = bad.chunks(stride).flat_map(|piece| bob.receive(at(0), piece)).collect();
            assert_eq!(acts, [Act::closed(ProtocolError::BadRecord)], "byte {place}");
            assert_eq!(bob.wants, Wants::Nothing);
            assert_eq!(bob.written(at(0)), seal(&wire("01 00000012 080f 120e 'protocol error'")));
        }
    }
}

fn a_bad_checksum_delivers_what_came_before_and_nothing_after<S: Storage>() {
    let mut bob = acceptor::<S>(100);
    bob.receive(at(0), &seal(&[wire(FROM_ALICE), wire(CONFIRM)].concat()));
    let mut bad = seal(&wire(RAIN));
    bad[27] ^= 0xff;
    bob.receive(at(0), &[seal(&wire(RAIN)), bad, seal(&wire(RAIN))].concat());
    assert_eq!(bob.notified().len(), 1);
    assert_eq!(bob.closed(), Some(ProtocolError::BadRecord.into()));
}

fn the_end_of_the_stream_inside_a_record_is_the_peers_fault<S: Storage>() {
    let record = seal(&wire(RAIN));
    for len in 0..=record.len() {
        let mut bob = acceptor::<S>(100);
        bob.receive(at(0), &seal(&[wire(FROM_ALICE), wire(CONFIRM)].concat()));
        bob.receive(at(0), &record[..len]);
        let clean = len == 0 || len == record.len();
        let reason = if clean { CloseReason::Ended } else { ProtocolError::EndInsideFrame.into() };
        assert_eq!(bob.tell(at(0), Input::End), [Act::closed(reason)], "{len}");
    }
    // Whole records that end inside a frame.
    let mut bob = acceptor::<S>(100);
    bob.receive(at(0), &seal(&wire(FROM_ALICE)[..20]));
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(ProtocolError::EndInsideFrame)]);
}

fn tx<S: Storage>(max: usize) -> Tx<S, Toy> {
    Tx::new(&Config { max_frame_bytes: 4096, ..config() }, Sealing::new(max))
}

fn nothing_is_sealed_while_the_queue_is_empty<S: Storage>() {
    let mut tx = tx::<S>(100);
    assert_eq!(tx.transmit(at(0), &mut [0; 100]), 0);
    let shown = tx.transmit_slices(at(0), |_| -> Result<usize, ()> { panic!("nothing to write") });
    assert_eq!((shown, tx.pending(), tx.poll_timeout()), (Ok(0), 0, None));
}

fn what_is_not_pulled_is_not_sealed<S: Storage>() {
    let mut tx = tx::<S>(10);
    tx.push(at(0), &Message::notify(SPACE, b"it rains")).unwrap();
    assert_eq!(tx.pending(), 25);
    // No room, no record.
    assert_eq!((tx.transmit(at(0), &mut []), tx.pending()), (0, 25));
    // One byte of the first record: only that one is sealed.
    assert_eq!((tx.transmit(at(0), &mut [0]), tx.pending()), (1, 25 + OVERHEAD - 1));
    assert_eq!((tx.transmit(at(0), &mut [0; 12]), tx.pending()), (12, 15));
    // A second message goes into the records behind it.
    tx.push(at(0), &Message::notify(SPACE, b"it rains")).unwrap();
    let mut rest = [0; 100];
    let len = tx.transmit(at(0), &mut rest);
    let stream = [wire(RAIN), wire(RAIN)].concat();
    assert_eq!(rest[..len], seal_all(&stream[10..], &[10]));
    assert_eq!(tx.pending(), 0);
}

fn records_are_written_in_pieces_of_every_length<S: Storage>() {
    let stream = [wire(RAIN), wire(RAIN), wire(RAIN)].concat();
    for max in [1, 7, 25, 30, 1000] {
        let expected = seal_all(&stream, &[max]);
        for len in 1..=expected.len() {
            for vectored in [false, true] {
                let mut side = acceptor::<S>(max);
                side.vectored = vectored;
                for _ in 0..3 {
                    side.connection.tx_mut().push(at(0), &Message::notify(SPACE, b"it rains")).unwrap();
                }
                let mut written = Vec::new();
                while side.pull(at(0), len, &mut written) > 0 {}
                assert_eq!(written, expected, "{max} bytes a record, {len} at a time");
            }
        }
    }
}
