//! Hostile records on a secured channel that is open: each closes it, and nothing of them is delivered.

use std::time::Duration;

use kitfox_core::connection::Timeout;
use kitfox_core::wire::Message;
use kitfox_core::{Config, ProtocolError};
use kitfox_smol::{CloseReason, NotSentCause, SendError};

use crate::attacker::*;
use crate::common::*;

const SECURED: Carrier = Carrier::Secured;

/// What Mallory does with three records that would be delivered in their order.
type Mischief = fn(&mut Vec<Vec<u8>>);

/// Bob hears `heard` of "0", "1" and "2", and closes.
async fn closes(what: &str, bob: &Party, mischief: Mischief, heard: u8) {
    let mut mallory = Attacker::opened(SECURED, &bob.url, MALLORY);
    bob.up().await;
    let mut records: Vec<_> =
        (0..3).map(|number| mallory.sealed(&data(&Message::notify(SPACE, &[number])))).collect();
    mischief(&mut records);
    mallory.send_raw(&records.concat());
    // Nothing else may be what ends it.
    assert_eq!(bob.down().await.reason(), CloseReason::Protocol(ProtocolError::BadRecord), "{what}");
    bob.unresponsive().await;
    mallory.told(b"protocol error");
    for number in 0..heard {
        assert_eq!(bob.hears().await, [number], "{what}");
    }
    assert!(bob.heard.is_empty(), "{what}");
}

#[test]
fn records_out_of_order_twice_left_out_or_of_no_length_close() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let alice = SECURED.alice(&bob).await;
        bob.up().await;
        let cases: [(&str, Mischief, u8); 7] = [
            ("the last two changed places", |records| records.swap(1, 2), 1),
            ("the first two changed places", |records| records.swap(0, 1), 0),
            ("one came twice", |records| records.insert(1, records[0].clone()), 1),
            ("one was left out", |records| drop(records.remove(1)), 1),
            ("longer than Bob takes", |records| records[1][..2].copy_from_slice(&16_401u16.to_be_bytes()), 1),
            ("the longest there is", |records| records[1][..2].copy_from_slice(&[0xff; 2]), 1),
            ("shorter than its tag", |records| records[1][..2].copy_from_slice(&[0, 15]), 1),
        ];
        for (what, mischief, heard) in cases {
            closes(what, &bob, mischief, heard).await;
        }
        exchange(&alice, &bob, b"still here").await;
    });
}

#[test]
fn a_record_with_a_bit_flipped_at_any_byte_closes() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let message = data(&Message::notify(SPACE, b"precious"));
        // A flip in the length that makes the record longer has Bob wait for what is behind it.
        let behind = vec![0; 40_000];
        for place in 0..message.len() + 18 {
            let mut mallory = Attacker::opened(SECURED, &bob.url, MALLORY);
            bob.up().await;
            let mut record = mallory.sealed(&message);
            record[place] ^= 1 << (place % 8);
            mallory.send_raw(&[record, behind.clone()].concat());
            assert_eq!(bob.down().await.reason(), CloseReason::Protocol(ProtocolError::BadRecord), "{place}");
            bob.unresponsive().await;
        }
        assert!(bob.heard.is_empty());
    });
}

#[test]
fn a_record_that_is_cut_anywhere_is_not_delivered() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let message = data(&Message::notify(SPACE, b"precious"));
        for len in 0..message.len() + 18 {
            let mut mallory = Attacker::opened(SECURED, &bob.url, MALLORY);
            bob.up().await;
            let record = mallory.sealed(&message);
            mallory.send_raw(&record[..len]);
            mallory.stop();
            let reason = bob.down().await.reason();
            assert!(matches!(reason, CloseReason::Protocol(_)), "{len}: {reason:?}");
            bob.unresponsive().await;
        }
        assert!(bob.heard.is_empty());
    });
}

#[test]
fn what_a_node_said_does_not_open_when_it_comes_back() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        // Bob's records of this connection, and of another one.
        for seed in [MALLORY, MALLORY + 1] {
            let mut mallory = Attacker::opened(SECURED, &bob.url, MALLORY);
            bob.up().await;
            let mut other = Attacker::opened(SECURED, &bob.url, MALLORY + 1);
            bob.up().await;
            let from = if seed == MALLORY { &mut mallory } else { &mut other };
            bob.node.notify(&from.url(), SPACE, b"an echo").unwrap();
            let echo = from.hear_raw().unwrap();
            mallory.send_raw(&echo);
            assert_eq!(bob.down().await.reason(), CloseReason::Protocol(ProtocolError::BadRecord));
            bob.unresponsive().await;
            drop(other);
            bob.down().await;
            bob.unresponsive().await;
        }
        assert!(bob.heard.is_empty());
    });
}

#[test]
fn a_peer_that_takes_next_to_nothing_gets_nothing_and_harms_nobody() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let alice = SECURED.alice(&bob).await;
        bob.up().await;
        for limits in ["0100 00000000 00000000", "0100 00000004 00000000", "ffff 00000006 ffffffff"] {
            let mallory = Attacker::opened_with(&bob.url, MALLORY, limits);
            bob.up().await;
            assert_eq!(bob.node.notify(&mallory.url(), SPACE, b""), Err(SendError::TooLargeForPeer));
            exchange(&alice, &bob, b"still here").await;
            drop(mallory);
            bob.down().await;
            bob.unresponsive().await;
        }
        // And where the message was there before its peer.
        let (listener, url) = listener(SECURED, MALLORY);
        bob.node.notify(&url, SPACE, b"too much for it").unwrap();
        let _mallory = Attacker::answering_with(&listener, MALLORY, "0100 00000000 00000000").await;
        loop {
            match bob.event().await {
                Event::NotSent(_, NotSentCause::TooLargeForPeer, data) => {
                    break assert_eq!(data, b"too much for it"[..]);
                }
                Event::Up(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn records_are_never_longer_than_their_length_can_say() {
    test(async {
        let bob = SECURED.bob(|builder| builder.max_record_bytes(u16::MAX)).await;
        let alice = SECURED.party(ALICE, |builder| builder.max_record_bytes(u16::MAX), |_| {}).await;
        alice.node.connect(&bob.url).await.unwrap();
        exchange(&alice, &bob, &vec![7; 300_000]).await;
        // Whatever a peer says that it takes.
        let mut mallory = Attacker::opened_with(&bob.url, MALLORY, "ffff 06400000 00000000");
        bob.node.notify(&mallory.url(), SPACE, &vec![7; 300_000]).unwrap();
        assert_eq!(mallory.message().len(), 300_000);
    });
}

#[test]
fn w07_a_record_that_has_begun_ends_in_time() {
    test(async {
        let quick = Duration::from_millis(300);
        let config = Config { frame_timeout: quick, frame_bytes_per_second: 0, ..Config::HOST };
        let bob = SECURED.bob(|builder| builder.config(config)).await;
        for len in [1, 2, 100] {
            let mut mallory = Attacker::opened(SECURED, &bob.url, MALLORY);
            bob.up().await;
            // Not a byte of a frame can be seen in it.
            let record = mallory.sealed(&data(&Message::notify(SPACE, &[7; 1000])));
            mallory.send_raw(&record[..len]);
            mallory.told(b"timeout");
            assert_eq!(bob.down().await.reason(), CloseReason::Timeout(Timeout::Frame), "{len} bytes");
            bob.unresponsive().await;
        }
    });
}
