//! Hostile handshakes of the secured channel: none of them opens anything, is told anything, or stops anybody.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use kitfox_core::secure::HandshakeError;
use kitfox_core::wire::Message;
use kitfox_core::{Config, ProtocolError};
use kitfox_smol::{CloseReason, ConnectError, NotSentCause};
use kitfox_tests::script::wire;

use crate::attacker::*;
use crate::common::*;
use crate::noise::{self, FIRST_HEADER, id, id_bytes};

const SECURED: Carrier = Carrier::Secured;

/// A first message to Bob.
fn first(seed: u8) -> Vec<u8> {
    noise::first(&mut noise::dialling(&noise::prologue(), seed, BOB), &id_bytes(seed))
}

/// Bob says nothing and closes, without waiting for more than he has.
fn comes_to_nothing(what: &str, url: &str, bytes: &[u8]) {
    let mut raw = Raw::connect(url);
    raw.send(bytes);
    assert_eq!(raw.rest(), b"", "{what}");
}

/// As [`comes_to_nothing`], where the end of the stream follows.
fn comes_to_nothing_at_its_end(what: &str, url: &str, bytes: &[u8]) {
    let mut raw = Raw::connect(url);
    raw.send(bytes);
    let _ = raw.stream.shutdown(Shutdown::Write);
    assert_eq!(raw.rest(), b"", "{what}");
}

/// Bob has opened nothing and told nobody; and Alice is served.
async fn unharmed(bob: &Party) {
    assert_eq!(bob.node.stats().totals.opened, 0);
    assert!(bob.events.is_empty() && bob.heard.is_empty());
    until("nothing is left", || bob.node.stats().pending == 0).await;
    let alice = SECURED.alice(bob).await;
    exchange(&alice, bob, b"unharmed").await;
}

#[test]
fn a_handshake_for_another_network_key_version_or_suite_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let payload = |seed| [&id_bytes(seed)[..], &noise::limits()].concat();
        let mut other_network = noise::prologue();
        other_network[4] ^= 1;
        let mut other_version = noise::prologue();
        other_version[2] = 2;
        for (what, prologue, remote) in [
            ("another network", &other_network, BOB),
            ("a prologue of another version", &other_version, BOB),
            ("another key", &noise::prologue(), ALICE),
        ] {
            let mut noise = noise::dialling(prologue, MALLORY, remote);
            comes_to_nothing(what, &bob.url, &noise::first_with(&mut noise, &payload(MALLORY)));
        }
        for (place, what) in ["magic", "magic", "version", "suite"].into_iter().enumerate() {
            for value in (0..=u8::MAX).step_by(51) {
                let mut bytes = first(MALLORY);
                bytes[place] = bytes[place].wrapping_add(1).wrapping_add(value / 2);
                comes_to_nothing(what, &bob.url, &bytes[..=place]);
            }
        }
        unharmed(&bob).await;
    });
}

#[test]
fn an_id_that_the_first_message_does_not_prove_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let mut small = [0; 32];
        small[0] = 1;
        for claimed in [id_bytes(ALICE), id_bytes(BOB), [0; 32], [0xff; 32], small] {
            let mut noise = noise::dialling(&noise::prologue(), MALLORY, BOB);
            comes_to_nothing("another id", &bob.url, &noise::first(&mut noise, &claimed));
        }
        // An ephemeral key that everybody knows a secret of.
        for ephemeral in [[0; 32], small] {
            let mut bytes = first(MALLORY);
            bytes[FIRST_HEADER..FIRST_HEADER + 32].copy_from_slice(&ephemeral);
            comes_to_nothing("a key of small order", &bob.url, &bytes);
        }
        let mut noise = noise::dialling(&noise::prologue(), MALLORY, BOB);
        let tiny = [&id_bytes(MALLORY)[..], &wire("00ff 00001000 00000000")].concat();
        comes_to_nothing("tiny records", &bob.url, &noise::first_with(&mut noise, &tiny));
        unharmed(&bob).await;
    });
}

#[test]
fn a_first_message_that_is_cut_at_any_byte_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        let bytes = first(MALLORY);
        for len in 0..bytes.len() {
            comes_to_nothing_at_its_end(&format!("{len} bytes"), &bob.url, &bytes[..len]);
        }
        unharmed(&bob).await;
    });
}

#[test]
fn a_first_message_with_a_bit_flipped_at_any_byte_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        for place in 0..first(MALLORY).len() {
            let mut bytes = first(MALLORY);
            bytes[place] ^= 1 << (place % 8);
            comes_to_nothing_at_its_end(&format!("byte {place}"), &bob.url, &bytes);
        }
        unharmed(&bob).await;
    });
}

#[test]
fn a_second_message_that_is_cut_or_flipped_at_any_byte_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder.limits(hasty())).await;
        let (listener, url) = listener(SECURED, MALLORY);
        let len = 60;
        for (place, cut) in (0..len).flat_map(|place| [(place, true), (place, false)]) {
            bob.node.notify(&url, SPACE, b"precious").unwrap();
            let listener = listener.try_clone().unwrap();
            let heard = within(smol::unblock(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut noise = noise::accepting(MALLORY);
                noise::take(&mut noise, &read_first(&mut stream)[FIRST_HEADER..]);
                let mut second = noise::second(&mut noise, noise::LIMITS);
                assert_eq!(second.len(), len);
                if cut {
                    second.truncate(place);
                } else {
                    second[place] ^= 1 << (place % 8);
                }
                stream.write_all(&second).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut raw = Raw { stream };
                raw.rest()
            }))
            .await;
            assert_eq!(heard, b"", "byte {place}: Bob says nothing to somebody who proved nothing");
            match bob.event().await {
                Event::NotSent(_, NotSentCause::GateFailed(CloseReason::Protocol(error)), data) => {
                    assert!(matches!(error, ProtocolError::Handshake(_)), "byte {place}: {error:?}");
                    assert_eq!(data, b"precious"[..]);
                }
                other => panic!("byte {place}: {other:?}"),
            }
            bob.unresponsive().await;
        }
        assert_eq!(bob.node.stats().totals.opened, 0);
    });
}

#[test]
fn a_replayed_handshake_opens_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        // What somebody on the way has recorded of Mallory's connection.
        let mut noise = noise::dialling(&noise::prologue(), MALLORY, BOB);
        let mut recorded = noise::first(&mut noise, &id_bytes(MALLORY));
        let mut raw = Raw::connect(&bob.url);
        raw.send(&recorded);
        noise::take(&mut noise, &read_part(&mut raw.stream).unwrap());
        let mut noise = noise.into_transport_mode().unwrap();
        for text in [
            preflight(&SECURED.url(MALLORY), &Message::preflight(b"hi")),
            CONFIRM.to_vec(),
            data(&Message::notify(SPACE, b"once")),
        ] {
            let record = noise::record(&mut noise, &text);
            raw.send(&record);
            recorded.extend(record);
        }
        assert_eq!(bob.hears().await, b"once");
        bob.up().await;
        for _ in 0..5 {
            let mut replay = Raw::connect(&bob.url);
            replay.send(&recorded);
            let rest = replay.rest();
            // The second message, and a farewell that nobody without the key can read.
            let second = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            assert!(rest.len() - second < 100, "{}", rest.escape_ascii());
        }
        assert!(bob.heard.is_empty() && bob.events.is_empty(), "heard once, and Mallory is still up");
        assert_eq!((bob.node.stats().totals.opened, bob.node.stats().connections.len()), (1, 1));
    });
}

#[test]
fn a_handshake_that_is_sent_back_comes_to_nothing() {
    test(async {
        let bob = SECURED.bob(|builder| builder.limits(hasty())).await;
        let (listener, url) = listener(SECURED, MALLORY);
        let asked = bob.node.connect(&url);
        let reflecting = smol::unblock(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let first = read_first(&mut stream);
            // As an answer, with and without what a first message has in front.
            stream.write_all(&first[4..]).unwrap();
            (first, Raw { stream }.rest())
        });
        let (asked, (first, rest)) = smol::future::zip(asked, reflecting).await;
        let Err(ConnectError::Closed(closing)) = asked else { panic!("{asked:?}") };
        let forged = ProtocolError::Handshake(HandshakeError::Forged);
        assert_eq!((closing.reason, rest), (CloseReason::Protocol(forged), Vec::new()));
        bob.unresponsive().await;
        // As a handshake of its own, to the one who made it.
        comes_to_nothing("Bob's own message", &bob.url, &first);
        unharmed(&bob).await;
    });
}

#[test]
fn a_slow_handshake_ends_in_time_however_it_trickles() {
    test(async {
        let patience = Duration::from_millis(400);
        let config = Config { preflight_timeout: patience, ..Config::HOST };
        let bob = SECURED.bob(|builder| builder.config(config)).await;
        let begun = Instant::now();
        let mut raw = Raw::connect(&bob.url);
        let bytes = first(MALLORY);
        let mut writing = raw.stream.try_clone().unwrap();
        let trickling = std::thread::spawn(move || {
            // A byte at a time, and never the last one.
            for byte in bytes[..bytes.len() - 1].chunks(1) {
                if writing.write_all(byte).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        assert_eq!(raw.rest(), b"");
        assert!(begun.elapsed() >= patience, "not before its time");
        trickling.join().unwrap();
        unharmed(&bob).await;
    });
}

#[test]
fn whoever_holds_a_key_holds_its_negative_and_is_blocked_under_both() {
    test(async {
        let bob = SECURED.bob(|builder| builder).await;
        bob.node.block(&id(MALLORY).to_string(), None).unwrap();
        let mut negative = id_bytes(MALLORY);
        negative[31] ^= 0x80;
        let mut noise = noise::dialling(&noise::prologue(), MALLORY, BOB);
        let mut raw = Raw::connect(&bob.url);
        raw.send(&noise::first(&mut noise, &negative));
        noise::take(&mut noise, &read_part(&mut raw.stream).unwrap());
        let mut noise = noise.into_transport_mode().unwrap();
        let alias = kitfox_smol::PeerId::from_key(negative);
        let url = format!("wss://127.0.0.1:1/{alias}");
        for text in [
            preflight(&url, &Message::preflight(b"hi")),
            CONFIRM.to_vec(),
            data(&Message::notify(SPACE, b"under the other id")),
        ] {
            raw.send(&noise::record(&mut noise, &text));
        }
        assert_eq!(bob.up().await.id(), &alias);
        until("it was dropped", || bob.node.stats().blocked.iter().any(|count| count.incoming == 1)).await;
        assert!(bob.heard.is_empty());
    });
}
