//! What enemies try before there are records.

use core::time::Duration;

use kitfox_core::connection::{CloseReason, Input, Refusal, Timeout, Wants};
use kitfox_core::secure::{Credentials, HandshakeError, Network};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::{Instant, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{Pair, Reply, Side, Stage};
use kitfox_tests::script::{Act, Fixed, at, config, wire};

use crate::common::{ALICE, BOB, Secure, accept, alice, bob, credentials, dial, handshake, id, pair};

on_both_tiers!(
    a_handshake_may_arrive_in_pieces_of_every_length,
    another_network_is_refused,
    another_key_is_refused,
    another_version_or_suite_is_refused_at_its_byte,
    a_plain_peer_is_told_apart_at_its_first_byte,
    a_plain_node_takes_a_handshake_for_an_unknown_frame,
    a_first_message_of_another_length_is_refused_at_its_header,
    a_second_message_of_another_length_is_refused_at_its_header,
    a_handshake_that_is_cut_anywhere_comes_to_nothing,
    a_replayed_first_message_has_no_effect,
    a_message_that_is_sent_back_to_its_sender_is_refused,
    a_peer_is_turned_away_before_it_costs_more,
    a_slow_handshake_ends_in_time,
    what_fails_before_the_keys_are_there_is_closed_without_a_word,
);

fn protocol(error: HandshakeError) -> CloseReason {
    ProtocolError::from(error).into()
}

fn a_handshake_may_arrive_in_pieces_of_every_length<S: Storage>() {
    for stride in 1..150 {
        let mut pair = pair::<S>();
        pair.chunks(&kitfox_tests::pair::Chunks::Each(stride));
        pair.drive();
        assert!(pair.a.opened() && pair.b.opened(), "{stride}");
    }
}

fn another_network_is_refused<S: Storage>() {
    let elsewhere = Credentials { network: Network::new(b"elsewhere"), ..credentials(ALICE) };
    let mut pair = Pair::<S, _>::of(dial(&config(), &elsewhere, id(BOB)), bob());
    pair.drive();
    assert_eq!(pair.b.closed(), Some(protocol(HandshakeError::Forged)));
    assert_eq!(pair.a.closed(), Some(protocol(HandshakeError::Ended)));
}

fn another_key_is_refused<S: Storage>() {
    let mut pair = Pair::<S, _>::of(dial(&config(), &credentials(ALICE), id(3)), bob());
    pair.drive();
    assert_eq!(pair.b.closed(), Some(protocol(HandshakeError::Forged)));
    assert_eq!(pair.a.closed(), Some(protocol(HandshakeError::Ended)));
}

fn another_version_or_suite_is_refused_at_its_byte<S: Storage>() {
    for (bytes, error) in [
        (&b"kf\x02"[..], HandshakeError::Version(2)),
        (b"kf\x00", HandshakeError::Version(0)),
        (b"kf\x01\x02", HandshakeError::Suite(2)),
        (b"kf\x01\x00", HandshakeError::Suite(0)),
        (b"kg", HandshakeError::NotSecured),
        (b"GET", HandshakeError::NotSecured),
    ] {
        assert_eq!(
            bob::<S>().receive(at(0), bytes),
            [Act::closed(protocol(error))],
            "{}",
            bytes.escape_ascii()
        );
    }
}

fn a_plain_peer_is_told_apart_at_its_first_byte<S: Storage>() {
    for first in [0, 1, 2] {
        assert_eq!(bob::<S>().receive(at(0), &[first]), [Act::closed(protocol(HandshakeError::NotSecured))]);
    }
}

fn a_plain_node_takes_a_handshake_for_an_unknown_frame<S: Storage>() {
    let (first, _) = handshake::<S>();
    let acts = Side::<S>::accept(at(0), &config()).receive(at(0), &first);
    let [Act::Closed { reason: CloseReason::Protocol(ProtocolError::Frame(_)), .. }] = &acts[..] else {
        panic!("{acts:?}")
    };
}

fn a_first_message_of_another_length_is_refused_at_its_header<S: Storage>() {
    let (first, _) = handshake::<S>();
    for len in (0..138).chain([257, 1000, 65_535]) {
        let mut bytes = first.clone();
        bytes[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        let mut bob = bob::<S>();
        assert_eq!(bob.receive(at(0), &bytes[..6]), [Act::closed(protocol(HandshakeError::Length))], "{len}");
        assert_eq!(bob.works, 0);
    }
}

fn a_second_message_of_another_length_is_refused_at_its_header<S: Storage>() {
    for len in (0..58).chain([257, 65_535]) {
        let mut alice = alice::<S>();
        alice.run(at(0));
        alice.receive(at(0), &(len as u16).to_be_bytes());
        assert_eq!(alice.closed(), Some(protocol(HandshakeError::Length)), "{len}");
    }
}

/// Neither end takes a message of which one bit is not what the other wrote, wherever that bit is. What is in clear
/// is bound by the handshake, too.
#[test]
fn a_flipped_bit_anywhere_in_a_handshake_closes() {
    let (first, second) = handshake::<Heap>();
    for place in 0..first.len() {
        for bit in [0, 7] {
            let mut bytes = first.clone();
            bytes[place] ^= 1 << bit;
            let mut bob = bob::<Heap>();
            let acts = bob.receive(at(0), &bytes);
            // A length that is one or more bytes too long leaves Bob waiting, until his deadline.
            let waits = acts.is_empty() && place == 5 && bob.wants == Wants::Bytes;
            let closed = matches!(
                acts.last(),
                Some(Act::Closed { reason: CloseReason::Protocol(ProtocolError::Handshake(_)), .. })
            );
            assert!(waits || closed, "byte {place}, bit {bit}: {acts:?}");
            assert!(!bob.acts.contains(&Act::Randomness), "byte {place}, bit {bit}");
        }
    }
    for place in 0..second.len() {
        let mut bytes = second.clone();
        bytes[place] ^= 1;
        let mut alice = alice::<Heap>();
        alice.run(at(0));
        let _ = alice.written(at(0));
        let acts = alice.receive(at(0), &bytes);
        let waits = acts.is_empty() && place == 1;
        assert!(waits || alice.closed().is_some(), "byte {place}: {acts:?}");
        assert!(!acts.iter().any(|act| matches!(act, Act::GatherPreflight { .. })), "byte {place}");
    }
}

fn a_handshake_that_is_cut_anywhere_comes_to_nothing<S: Storage>() {
    let (first, second) = handshake::<S>();
    for len in 0..first.len() {
        let mut bob = bob::<S>();
        assert_eq!(bob.receive(at(0), &first[..len]), []);
        assert_eq!(bob.tell(at(0), Input::End), [Act::closed(protocol(HandshakeError::Ended))]);
        assert_eq!(bob.works, 0, "a cut message costs nothing");
    }
    for len in 0..second.len() {
        let mut alice = alice::<S>();
        alice.run(at(0));
        alice.receive(at(0), &second[..len]);
        assert_eq!(alice.tell(at(0), Input::End), [Act::closed(protocol(HandshakeError::Ended))]);
        assert_eq!(alice.works, 3);
    }
}

fn a_replayed_first_message_has_no_effect<S: Storage>() {
    let mut honest = pair::<S>();
    honest.drive();
    let said = honest.a_to_b.log.clone();
    // Everything that Alice has said, once more, to a Bob who draws other randomness: as Bob does each time.
    let mut bob = bob::<S>();
    bob.randomness = [99; 32];
    let acts = bob.receive(at(0), &said);
    // He answers who seems to be Alice; her first record does not open, and nobody hears of her.
    assert_eq!(acts[0], Act::AdmitHandshake { claimed: id(ALICE) });
    assert_eq!(acts[1], Act::Randomness);
    assert_eq!(acts[2..], [Act::closed(ProtocolError::BadRecord)]);
    assert!(bob.connection.rx().peer().is_none());
    // The handshake alone is a pending connection that ends at its deadline.
    let mut bob = self::bob::<S>();
    bob.receive(at(0), &said[..144]);
    let deadline = Instant::ZERO + config().preflight_timeout;
    assert_eq!(bob.tell(deadline, Input::Timeout), [Act::closed(CloseReason::Timeout(Timeout::Preflight))]);
}

fn a_message_that_is_sent_back_to_its_sender_is_refused<S: Storage>() {
    let (first, second) = handshake::<S>();
    let mut alice = alice::<S>();
    alice.run(at(0));
    alice.receive(at(0), &first);
    assert_eq!(alice.closed(), Some(protocol(HandshakeError::Length)));
    let mut bob = bob::<S>();
    assert_eq!(bob.receive(at(0), &second), [Act::closed(protocol(HandshakeError::NotSecured))]);
    // Records, too: each direction has its own key.
    let mut pair = crate::common::open::<S>();
    pair.a.notify(at(0), b"to Bob").unwrap();
    let record = pair.a.written(at(0));
    pair.a.receive(at(0), &record);
    assert_eq!(pair.a.closed(), Some(ProtocolError::BadRecord.into()));
}

fn a_peer_is_turned_away_before_it_costs_more<S: Storage>() {
    let (first, _) = handshake::<S>();
    let mut bob = bob::<S>();
    bob.reply = Some((Stage::Handshake, Reply::Refuse));
    bob.receive(at(0), &first);
    assert_eq!(bob.closed(), Some(CloseReason::Refused(Refusal::Handshake)));
    assert_eq!(bob.works, 2, "only what it takes to know who is there");
    assert!(bob.written(at(0)).is_empty());
    assert!(!bob.acts.contains(&Act::Randomness));
}

fn a_slow_handshake_ends_in_time<S: Storage>() {
    let (first, _) = handshake::<S>();
    let timeout = config().preflight_timeout;
    let mut bob = bob::<S>();
    let mut now = Instant::ZERO;
    for byte in &first {
        now = now + Duration::from_millis(100);
        if now >= Instant::ZERO + timeout {
            break;
        }
        bob.receive(now, &[*byte]);
    }
    assert!(bob.connection.poll_timeout() <= Some(Instant::ZERO + timeout));
    assert_eq!(
        bob.tell(Instant::ZERO + timeout, Input::Timeout),
        [Act::closed(CloseReason::Timeout(Timeout::Preflight))]
    );
}

fn what_fails_before_the_keys_are_there_is_closed_without_a_word<S: Storage>() {
    let mut bob = bob::<S>();
    bob.receive(at(0), &wire("00 00000026"));
    assert_eq!((bob.connection.tx().pending(), bob.written(at(0))), (0, vec![]));
    assert_eq!(bob.wants, Wants::Nothing);
    let mut alice = alice::<S>();
    alice.run(at(0));
    let first = alice.written(at(0));
    assert_eq!(first.len(), 144);
    alice.tell(at(0), Input::Disconnect { reason: b"changed my mind" });
    assert_eq!((alice.connection.tx().pending(), alice.written(at(0))), (0, vec![]));
}

/// A thousand strangers with bytes at random: each costs at most one Diffie-Hellman, or none.
#[test]
fn garbage_never_costs_more_than_one_step() {
    fn stranger<S: Storage>(seed: u64) -> Secure<S> {
        let mut bytes = b"kf\x01\x01\x00\x8a".to_vec();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        bytes.extend((0..138).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        }));
        let mut bob = accept::<S>(&config(), &credentials(BOB));
        bob.receive(at(0), &bytes);
        assert_eq!(bob.closed(), Some(protocol(HandshakeError::Forged)));
        bob
    }
    for seed in 0..20 {
        assert_eq!(stranger::<Heap>(seed).works, 1);
        assert_eq!(stranger::<Fixed>(seed).works, 1);
    }
}
