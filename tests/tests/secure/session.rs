//! What users rely on.

use bytes::Bytes;
use kitfox_core::connection::{
    Action, Answer, Channel, CloseReason, Connection, Input, OrPlain, Outbox, PushError, Question,
    QuestionId, Rx, SendError, Tx, Wants,
};
use kitfox_core::secure::{Credentials, KeyError, Network, RECORD_OVERHEAD, SecretKey, Start, check_id};
use kitfox_core::storage::{BufferLimits, Heap, Storage};
use kitfox_core::wire::Message;
use kitfox_core::{Config, PeerId, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{self, Chunks, Pace, Pair, SPACE, Side};
use kitfox_tests::script::{Act, at, config};

use crate::common::{
    ALICE, BOB, Secure, accept, alice, bob, credentials, dial, handshake, id, key, open, pair, url,
    without_handshake,
};

on_both_tiers!(
    a_session_gives_the_same_actions_as_a_plain_one,
    a_channel_that_may_be_none_does_what_the_one_does_that_it_is,
    the_peer_is_proven,
    both_ends_say_goodbye_in_a_record,
    a_stream_that_is_cut_is_the_peers_fault,
    a_peer_that_ends_the_stream_properly_has_ended_it,
    frames_that_are_queued_together_share_a_record,
    a_receiver_that_takes_short_records_gets_short_records,
    a_message_that_is_too_large_for_the_peer_is_refused_before_it_is_queued,
    an_id_that_was_not_proven_closes,
    a_driver_is_never_held_up_by_more_than_one_diffie_hellman,
    what_a_channel_says_of_itself_has_to_be_taken_in_time,
    nothing_readable_is_on_the_wire,
    keys_are_replaced_and_nobody_notices,
);

/// What both ends tell of an exchange, but for the handshake.
fn exchange<S: Storage, C: Channel>(pair: Pair<S, C>) -> [Vec<Act>; 2] {
    pair::exchange(pair).map(|acts| without_handshake(&acts))
}

/// What an exchange gives without a channel.
fn plain_exchange<S: Storage>() -> [Vec<Act>; 2] {
    let mut plain = Pair::<S>::of(Side::dial(at(0), &config()), Side::accept(at(0), &config()));
    let dialled = pair::peer_url(&url(id(BOB))).as_str().to_owned();
    plain.a.connection = Connection::dial(at(0), &config(), pair::peer_url(&dialled)).unwrap();
    (plain.a.own.0, plain.b.own.0) = (url(id(ALICE)), url(id(BOB)));
    exchange(plain)
}

fn a_session_gives_the_same_actions_as_a_plain_one<S: Storage>() {
    let expected = plain_exchange::<S>();
    for (chunks, pace) in [
        (Chunks::Whole, Pace::All),
        (Chunks::Each(1), Pace::One),
        (Chunks::Seeded(1, 70), Pace::One),
        (Chunks::Seeded(2, 700), Pace::All),
    ] {
        let mut pair = pair::<S>();
        pair.chunks(&chunks);
        (pair.a.pace, pair.b.pace) = (pace, pace);
        pair.b.vectored = pace == Pace::One;
        assert_eq!(exchange(pair), expected, "{chunks:?}");
    }
}

/// Alice and Bob over a channel of which is known only now whether it is one.
fn optional<S: Storage>(secured: bool) -> Pair<S, OrPlain<crate::common::Channel<S>>> {
    type Optional<S> = OrPlain<crate::common::Channel<S>>;
    let (ours, theirs) = (credentials(ALICE), credentials(BOB));
    let (opener, sealer) = Optional::<S>::halves(secured.then(|| Start::dial(&ours, &id(BOB)).unwrap()));
    let rx = Rx::dial(at(0), &config(), opener, pair::peer_url(&url(id(BOB)))).unwrap();
    let alice = Connection::from_halves(rx, Tx::new(&config(), sealer));
    let (opener, sealer) = Optional::<S>::halves(secured.then(|| Start::accept(&theirs)));
    let bob = Connection::from_halves(Rx::accept(at(0), &config(), opener), Tx::new(&config(), sealer));
    Pair::of(Side::new(alice, &url(id(ALICE)), b"hello"), Side::new(bob, &url(id(BOB)), b"world"))
}

fn a_channel_that_may_be_none_does_what_the_one_does_that_it_is<S: Storage>() {
    for secured in [true, false] {
        for chunks in [Chunks::Whole, Chunks::Each(1)] {
            let mut pair = optional::<S>(secured);
            pair.chunks(&chunks);
            assert_eq!(exchange(pair), plain_exchange::<S>(), "secured: {secured}, {chunks:?}");
        }
        let mut pair = optional::<S>(secured);
        pair.drive();
        assert_eq!(pair.a.connection.rx().peer().unwrap().proven, secured);
        let readable = pair.a_to_b.log.windows(5).any(|window| window == b"hello");
        assert_eq!(readable, !secured);
        let takes = pair.a.connection.tx().peer_max_frame_bytes();
        assert_eq!(takes, if secured { config().max_frame_bytes } else { usize::MAX });
        let ended = if secured { ProtocolError::EndWithoutClose.into() } else { CloseReason::Ended };
        assert_eq!(pair.b.tell(at(0), Input::End), [Act::closed(ended)]);
        // Before the handshake is done there is nobody to say anything to, and nothing more is said after a farewell.
        let mut alice = optional::<S>(secured).a;
        let tx = alice.connection.tx_mut();
        tx.push_disconnect(at(0), b"too early").unwrap();
        assert_eq!(tx.pending() > 0, !secured);
        let mut pair = optional::<S>(secured);
        pair.drive();
        pair.a.connection.tx_mut().push_farewell(at(0), CloseReason::Local);
        assert_eq!(pair.a.written(at(0)).len(), if secured { RECORD_OVERHEAD } else { 0 });
        // A record is taken out of the outbox before it is written.
        let mut pair = optional::<S>(secured);
        pair.drive();
        let mut outbox = Outbox::<S>::new(&config());
        outbox.begin(usize::MAX);
        outbox.push(&Message::notify(SPACE, b"hello")).unwrap();
        assert_eq!(pair.a.connection.tx_mut().stage(at(0), &mut outbox), secured);
        assert_eq!(outbox.is_empty(), secured);
        // Who says to be another one than the channel has proven.
        let mut pair = optional::<S>(secured);
        pair.a.own.0 = url(id(3));
        pair.drive();
        assert_eq!(pair.b.closed(), secured.then_some(ProtocolError::IdNotProven.into()));
    }
}

fn the_peer_is_proven<S: Storage>() {
    let pair = open::<S>();
    for (side, peer) in [(&pair.a, BOB), (&pair.b, ALICE)] {
        let peer_of = side.connection.rx().peer().unwrap();
        assert!(peer_of.proven);
        assert_eq!(peer_of.id, Some(&id(peer)));
    }
    let plain = Pair::<S>::open(&config());
    assert!(!plain.a.connection.rx().peer().unwrap().proven);
}

fn both_ends_say_goodbye_in_a_record<S: Storage>() {
    let mut pair = open::<S>();
    pair.a.tell(at(0), Input::Disconnect { reason: b"enough" });
    pair.drive();
    assert_eq!(
        pair.b.acts.last(),
        Some(&Act::Closed { reason: CloseReason::Disconnected, message: "enough".into() })
    );
}

fn a_stream_that_is_cut_is_the_peers_fault<S: Storage>() {
    let mut pair = open::<S>();
    assert_eq!(pair.b.tell(at(0), Input::End), [Act::closed(ProtocolError::EndWithoutClose)]);
    // Also where what was cut off is whole records.
    let mut pair = open::<S>();
    pair.a.notify(at(0), b"one").unwrap();
    let record = pair.a.written(at(0));
    for len in 1..record.len() {
        let mut bob = pair.b.connection.clone();
        let mut bytes = record[..len].to_vec();
        let (taken, _) = bob.handle(at(0), Input::Bytes(&mut bytes)).finish();
        assert_eq!(taken, 0);
        let mut actions = bob.handle(at(0), Input::Bytes(&mut bytes));
        assert!(actions.next(&pair.b.directory).is_none());
        let _ = actions.finish();
        let mut actions = bob.handle(at(0), Input::End);
        let Some(kitfox_core::connection::Action::Closed { reason, .. }) = actions.next(&pair.b.directory)
        else {
            panic!("still open after {len} bytes")
        };
        assert_eq!(reason, ProtocolError::EndWithoutClose.into(), "{len} bytes");
    }
}

fn a_peer_that_ends_the_stream_properly_has_ended_it<S: Storage>() {
    // A close without words: what a driver does whose socket is to go.
    let mut pair = open::<S>();
    pair.a.connection.tx_mut().push_farewell(at(0), CloseReason::Local);
    let close = pair.a.written(at(0));
    assert_eq!(close.len(), RECORD_OVERHEAD);
    for piece in [1, close.len()] {
        let mut bob = Side { acts: pair.b.acts.clone(), ..open::<S>().b };
        bob.connection = pair.b.connection.clone();
        for bytes in close.chunks(piece) {
            bob.receive(at(0), bytes);
        }
        assert_eq!(bob.closed(), Some(CloseReason::Ended), "{piece} bytes at a time");
    }
    // Nothing may follow it.
    assert!(pair.a.written(at(0)).is_empty());
    pair.a.notify(at(0), b"late").unwrap();
    assert!(pair.a.written(at(0)).is_empty());
}

fn frames_that_are_queued_together_share_a_record<S: Storage>() {
    let mut pair = open::<S>();
    for _ in 0..10 {
        pair.a.notify(at(0), b"it rains").unwrap();
    }
    let written = pair.a.written(at(0));
    assert_eq!(written.len(), 10 * 25 + RECORD_OVERHEAD);
    pair.b.receive(at(0), &written);
    assert_eq!(pair.b.notified().len(), 10);
}

fn a_receiver_that_takes_short_records_gets_short_records<S: Storage>() {
    let short = Credentials { max_record_bytes: 256, ..credentials(BOB) };
    let mut pair = Pair::<S, _>::of(alice(), accept(&config(), &short));
    pair.drive();
    pair.a.notify(at(0), &[7; 1000]).unwrap();
    let written = pair.a.written(at(0));
    let mut rest = &written[..];
    while let Some((len, body)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len));
        assert!(len <= 256 + 16);
        rest = &body[len..];
    }
    pair.b.receive(at(0), &written);
    assert_eq!(pair.b.notified().len(), 1);
}

fn a_message_that_is_too_large_for_the_peer_is_refused_before_it_is_queued<S: Storage>() {
    let small = Config {
        max_frame_bytes: 1000,
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 1000 },
        ..config()
    };
    let mut pair = Pair::<S, _>::of(alice(), accept(&small, &credentials(BOB)));
    pair.drive();
    let most = 1000 - 5 - 4 - 2 - SPACE.len() - 1;
    assert_eq!(
        pair.a.notify(at(0), &vec![1; most + 1]),
        Err(SendError::NotQueued(PushError::TooLargeForPeer))
    );
    assert_eq!(pair.a.connection.tx().peer_max_frame_bytes(), 1000);
    pair.a.notify(at(0), &vec![1; most]).unwrap();
    pair.drive();
    assert_eq!(pair.b.notified().len(), 1);
    // Bob may send as much as Alice takes.
    pair.b.notify(at(0), &vec![1; 2000]).unwrap_err();
    assert_eq!(pair.b.connection.tx().peer_max_frame_bytes(), 4096);
}

fn an_id_that_was_not_proven_closes<S: Storage>() {
    let mallory = 3;
    // Mallory proves who she is, and then says that she is Alice.
    let mut pair = Pair::<S, _>::of(dial(&config(), &credentials(mallory), id(BOB)), bob());
    pair.a.own.0 = url(id(ALICE));
    pair.drive();
    assert_eq!(pair.b.closed(), Some(ProtocolError::IdNotProven.into()));
    assert!(!pair.b.opened() && !pair.a.opened());
    // An id with the other sign has the same secret; the preflight must still name the one that was claimed.
    let mut negative = *id(ALICE).key().unwrap();
    negative[31] ^= 0x80;
    let mut pair = crate::common::pair::<S>();
    pair.a.own.0 = url(PeerId::from_key(negative));
    pair.drive();
    assert_eq!(pair.b.closed(), Some(ProtocolError::IdNotProven.into()));
    // An acceptor is not another one than was dialled either.
    let mut pair = crate::common::pair::<S>();
    pair.b.own.0 = url(id(mallory));
    pair.drive();
    assert_eq!(pair.a.closed(), Some(ProtocolError::WrongPeer.into()));
}

fn a_driver_is_never_held_up_by_more_than_one_diffie_hellman<S: Storage>() {
    let (mut alice, mut bob) = (alice::<S>(), bob::<S>());
    alice.run(at(0));
    assert_eq!(alice.works, 3);
    let first = alice.written(at(0));
    bob.receive(at(0), &first);
    assert_eq!(bob.works, 2 + 3);
    let second = bob.written(at(0));
    alice.receive(at(0), &second);
    assert_eq!(alice.works, 3 + 2);
    assert_eq!((alice.wants, bob.wants), (Wants::Bytes, Wants::Bytes));
}

fn what_a_channel_says_of_itself_has_to_be_taken_in_time<S: Storage>() {
    fn is_stale<S: Storage, C: Channel>(side: &Side<S, C>, millis: u64) -> bool {
        !side.connection.clone().tx_mut().handle_timeout(at(millis))
    }
    let timeout = config().tx_timeout.as_millis() as u64;
    // A handshake's message.
    let mut alice = alice::<S>();
    assert!(!is_stale(&alice, 10 * timeout));
    alice.run(at(0));
    assert_eq!([timeout - 1, timeout].map(|millis| is_stale(&alice, millis)), [false, true]);
    assert!(!alice.written(at(1)).is_empty());
    assert!(!is_stale(&alice, 10 * timeout));
    // The end of what it says.
    let mut alice = open::<S>().a;
    assert!(!is_stale(&alice, 10 * timeout));
    alice.connection.tx_mut().push_farewell(at(7000), CloseReason::Local);
    assert_eq!([timeout + 6999, timeout + 7000].map(|millis| is_stale(&alice, millis)), [false, true]);
    // Without a channel nothing is said.
    let mut alice = Pair::<S>::open(&config()).a;
    alice.connection.tx_mut().push_farewell(at(7000), CloseReason::Local);
    assert!(!is_stale(&alice, 10 * timeout));
}

fn nothing_readable_is_on_the_wire<S: Storage>() {
    let mut pair = open::<S>();
    pair.a.notify(at(0), b"a secret for Bob").unwrap();
    pair.drive();
    for log in [&pair.a_to_b.log, &pair.b_to_a.log] {
        for words in [&b"secret"[..], SPACE, b"hello", b"world", b"127.0.0.1"] {
            assert!(!log.windows(words.len()).any(|window| window == words), "{}", words.escape_ascii());
        }
    }
    for seed in [ALICE, BOB] {
        let key = *id(seed).key().unwrap();
        assert!(!pair.a_to_b.log.windows(32).any(|window| window == key));
    }
}

fn keys_are_replaced_and_nobody_notices<S: Storage>() {
    let mut pair = open::<S>();
    for number in 0..kitfox_core::secure::REKEY_RECORDS + 10 {
        pair.a.notify(at(0), &number.to_be_bytes()).unwrap();
        let record = pair.a.written(at(0));
        pair.b.acts.truncate(8);
        let acts = pair.b.receive(at(0), &record);
        assert!(matches!(&acts[..], [Act::Notify { .. }]), "{acts:?}");
    }
}

/// Lets time pass until no timer is left.
fn rest<C: Channel>(side: &mut Side<Heap, C>) {
    for _ in 0..100 {
        let Some(due) = side.connection.poll_timeout() else { return };
        side.tell(due, Input::Timeout);
    }
    panic!("a timer without end");
}

#[test]
fn memory_of_records_is_counted_and_given_back() {
    memory_comes_back(pair());
    memory_comes_back(optional(true));
    // In short records: frames are put together, too, and both rest at the same time.
    let short = Credentials { max_record_bytes: 256, ..credentials(BOB) };
    memory_comes_back(Pair::of(alice(), accept(&config(), &short)));
}

fn memory_comes_back<C: Channel>(mut pair: Pair<Heap, C>) {
    pair.drive();
    pair.a.notify(at(0), &[7; 2000]).unwrap();
    let record = pair.a.written(at(0));
    assert!(pair.a.connection.tx().memory() >= record.len(), "it was sealed there");
    // In two reads it is put together.
    pair.b.receive(at(0), &record[..1500]);
    assert!(pair.b.connection.rx().memory() >= 1500);
    pair.b.receive(at(0), &record[1500..]);
    assert_eq!(pair.b.notified().len(), 1);
    rest(&mut pair.a);
    rest(&mut pair.b);
    for side in [&pair.a, &pair.b] {
        assert_eq!((side.connection.rx().memory(), side.connection.tx().memory()), (0, 0));
    }
}

#[test]
fn a_shared_payload_that_is_too_large_for_the_peer_is_handed_back() {
    let small = Config {
        max_frame_bytes: 3000,
        rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 3000 },
        ..config()
    };
    let mut pair = Pair::<Heap, _>::of(alice(), accept(&small, &credentials(BOB)));
    pair.drive();
    let routing = Message::notify(SPACE, &[]);
    let most = 3000 - 5 - 4 - 2 - SPACE.len() - 1;
    let tx = pair.a.connection.tx_mut();
    let payload = Bytes::from(vec![7; most + 1]);
    let refused = tx.push_shared(at(0), &routing, payload.clone());
    assert_eq!(refused, Err((PushError::TooLargeForPeer, payload.clone())));
    tx.push_shared(at(0), &routing, payload.slice(1..)).unwrap();
    pair.drive();
    assert_eq!(pair.b.notified().len(), 1);
}

/// Alice, who has asked for the random bytes of her handshake.
fn asking_for_randomness() -> (Secure<Heap>, QuestionId) {
    let mut alice = alice::<Heap>();
    loop {
        let mut actions = alice.connection.handle(at(0), Input::Bytes(&mut []));
        let Some(Action::Ask { id, question }) = actions.next(&alice.directory) else {
            panic!("no question")
        };
        let is_last = matches!(question, Question::Randomness);
        assert_eq!(actions.finish().1, Wants::Answer);
        if is_last {
            return (alice, id);
        }
        alice.connection.answer(at(0), id, Answer::Accept).unwrap();
    }
}

#[test]
fn work_that_nobody_asked_for_is_none() {
    let (mut alice, _) = asking_for_randomness();
    alice.connection.work(at(0));
    assert_eq!((alice.connection.tx().pending(), alice.connection.rx().close_reason()), (0, None));

    let mut pair = open::<Heap>();
    pair.a.connection.work(at(0));
    pair.a.notify(at(0), b"still").unwrap();
    pair.drive();
    assert_eq!(pair.b.notified().len(), 1);
}

/// Of several steps only the last one has something to say, and only that has to be taken in time.
#[test]
fn the_deadline_of_a_handshakes_message_begins_with_its_last_step() {
    let (mut alice, id) = asking_for_randomness();
    alice.connection.answer(at(0), id, Answer::Randomness(&[9; 32])).unwrap();
    assert_eq!(alice.connection.handle(at(0), Input::Bytes(&mut [])).finish().1, Wants::Work);
    alice.connection.work(at(0));
    assert_eq!(alice.connection.tx().pending(), 0);
    assert!(alice.connection.clone().tx_mut().handle_timeout(at(1_000_000)));
    for second in 1..3 {
        alice.connection.work(at(1000 * second));
    }
    assert!(alice.connection.tx().pending() > 0);
    let timeout = config().tx_timeout.as_millis() as u64;
    assert!(alice.connection.clone().tx_mut().handle_timeout(at(timeout + 1999)));
    assert!(!alice.connection.tx_mut().handle_timeout(at(timeout + 2000)));
}

#[test]
fn what_was_put_together_and_not_read_stays_however_long_it_takes() {
    let mut pair = open::<Heap>();
    for data in ["one", "two"] {
        pair.a.notify(at(0), data.as_bytes()).unwrap();
    }
    let mut record = pair.a.written(at(0));
    let (begun, rest) = record.split_at_mut(10);
    let bob = &mut pair.b;
    bob.receive(at(0), begun);
    let mut actions = bob.connection.handle(at(0), Input::Bytes(rest));
    assert!(matches!(actions.next(&bob.directory), Some(Action::Notify { data: b"one", .. })));
    let _ = actions.finish();
    for second in 1..10 {
        let _ = bob.connection.handle(at(1000 * second), Input::Timeout).finish();
    }
    let mut actions = bob.connection.handle(at(10_000), Input::Bytes(&mut []));
    assert!(matches!(actions.next(&bob.directory), Some(Action::Notify { data: b"two", .. })));
}

#[test]
fn a_record_that_is_partly_written_is_pending() {
    for vectored in [false, true] {
        a_part_is_pending(pair(), vectored);
        a_part_is_pending(optional(true), vectored);
    }
}

fn a_part_is_pending<C: Channel>(mut pair: Pair<Heap, C>, vectored: bool) {
    pair.drive();
    pair.a.vectored = vectored;
    pair.a.notify(at(0), &[7; 2000]).unwrap();
    let whole = pair.a.connection.tx().pending();
    let mut written = Vec::new();
    assert_eq!(pair.a.pull(at(0), 100, &mut written), 100);
    let left = pair.a.connection.tx().pending();
    let timeout = at(config().tx_timeout.as_millis() as u64);
    assert!(!pair.a.connection.clone().tx_mut().handle_timeout(timeout), "the rest has to be taken in time");
    pair.a.tell(at(1000), Input::Timeout);
    pair.a.tell(at(2000), Input::Timeout);
    let rest = pair.a.written(at(2000));
    assert!(whole > 2000 && left == rest.len(), "{whole} {left} {}", rest.len());
    pair.b.receive(at(2000), &[written, rest].concat());
    assert_eq!(pair.b.notified().len(), 1);
    assert_eq!(pair.a.connection.tx().pending(), 0);
    assert!(pair.a.connection.clone().tx_mut().handle_timeout(timeout + config().tx_timeout));
}

#[test]
fn ids_that_are_no_keys_are_not_dialled() {
    let ours = credentials(ALICE);
    for (text, error) in [
        ("bob", KeyError::NotAKey),
        ("0200000000000000000000000000000000000000000000000000000000000000", KeyError::NotAPoint),
        ("0100000000000000000000000000000000000000000000000000000000000000", KeyError::SmallOrder),
    ] {
        let id = PeerId::new(text).unwrap();
        assert_eq!(Start::dial(&ours, &id).unwrap_err(), error);
        assert_eq!(check_id(&id), Err(error));
    }
    assert_eq!(check_id(&id(BOB)), Ok(()));
}

#[test]
fn random_bytes_are_never_printed() {
    use kitfox_core::connection::Answer;
    let printed = format!("{:?}", Answer::Randomness(&[0xab; 32]));
    assert!(!printed.contains("171") && !printed.contains("ab"), "{printed}");
}

#[test]
fn networks_have_names_of_every_length() {
    assert_eq!(Network::new(b""), Network::default());
    assert_ne!(Network::new(b"one"), Network::new(b"two"));
    assert_ne!(Network::new(&[7; 1000]), Network::new(&[7; 1001]));
}

#[test]
fn a_device_gets_its_key_in_two_parts() {
    let (secret, public) = key(ALICE).to_provisioned();
    assert_eq!(SecretKey::provisioned(*secret, public).unwrap().peer_id(), id(ALICE));
}

#[test]
fn handshakes_have_the_length_that_the_specification_says() {
    let (first, second) = handshake::<kitfox_core::storage::Heap>();
    assert_eq!((first.len(), second.len()), (6 + 96 + 42, 2 + 48 + 10));
}
