//! Weaknesses before messages flow: identities, the gate, deadlines and numbers.

use std::time::Duration;

use kitfox_core::Config;
use kitfox_core::connection::Timeout;
use kitfox_core::wire::{FrameType, Message};
use kitfox_smol::{CloseReason, NotSentCause, PeerLimits};
use kitfox_tests::frames::encoded;

use crate::attacker::*;
use crate::common::*;
use crate::noise::id;

/// As a preflight frame, whatever is behind the URL.
fn preflight_with(url: &str, rest: &[u8]) -> Vec<u8> {
    let mut payload = (url.len() as u32).to_be_bytes().to_vec();
    payload.extend(url.as_bytes());
    payload.extend(rest);
    frame(FrameType::Preflight, &payload)
}

/// Everything is over quickly.
fn short() -> Config {
    let quick = Duration::from_millis(300);
    Config { preflight_timeout: quick, frame_timeout: quick, frame_bytes_per_second: 0, ..Config::HOST }
}

#[test]
fn w01_a_claimed_url_neither_impersonates_nor_hijacks() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            bob.up().await;
            let mut mallory = Attacker::dial(carrier, &bob.url, MALLORY);
            mallory.send(&preflight(&alice.url, &Message::preflight(b"it is me")));
            mallory.send(&CONFIRM);
            mallory.send(&data(&Message::notify(SPACE, b"a lie")));
            if carrier == Carrier::Secured {
                mallory.told(b"protocol error");
            }
            for number in 0..20 {
                exchange(&alice, &bob, &[number]).await;
            }
            assert!(bob.heard.is_empty(), "the lie was heard");
            assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
            let stats = bob.node.stats();
            assert_eq!((stats.connections.len(), stats.known_peers), (1, 1));
            assert_eq!(stats.connections[0].claimed, carrier == Carrier::Plain);
        });
    }
}

#[test]
fn w01_an_id_that_was_not_proven_is_refused_though_nobody_else_has_it() {
    test(async {
        let bob = Carrier::Secured.bob(|builder| builder).await;
        bob.node.block(&id(MALLORY).to_string(), None).unwrap();
        let mut mallory = Attacker::dial(Carrier::Secured, &bob.url, MALLORY);
        mallory.send(&preflight(&Carrier::Secured.url(MALLORY + 1), &Message::preflight(b"hi")));
        mallory.send(&CONFIRM);
        mallory.send(&data(&Message::notify(SPACE, b"around the block")));
        mallory.told(b"protocol error");
        assert!(bob.heard.is_empty() && bob.events.is_empty());
        assert_eq!(bob.node.stats().known_peers, 0);
    });
}

#[test]
fn w01b_a_foreign_claim_with_a_garbage_body_evicts_nobody() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            bob.up().await;
            for body in [&b"\xff\xff\xff"[..], b"", b"\x08\x02", b"\x08\x0f"] {
                let mut mallory = Attacker::dial(carrier, &bob.url, MALLORY);
                mallory.send(&preflight_with(&alice.url, body));
                mallory.told(b"protocol error");
            }
            exchange(&alice, &bob, b"still here").await;
            assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
            assert!(alice.events.is_empty(), "{:?}", alice.events.try_recv());
            assert_eq!(bob.node.stats().totals.opened, 1);
        });
    }
}

#[test]
fn w02_a_url_without_an_id_is_refused_and_stats_can_be_read() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            for url in ["ws://127.0.0.1:1", "wss://127.0.0.1:1"] {
                let mut mallory = Attacker::dial(carrier, &bob.url, MALLORY);
                mallory.send(&preflight(url, &Message::preflight(b"hi")));
                mallory.send(&CONFIRM);
                mallory.told(b"protocol error");
            }
            let stats = bob.node.stats();
            assert_eq!((stats.connected_peers, stats.connections.len()), (1, 1));
            exchange(&alice, &bob, b"still here").await;
        });
    }
}

#[test]
fn w03_a_dialled_peer_that_answers_as_another_leaves_nothing_behind() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder.limits(hasty())).await;
            let (listener, url) = listener(carrier, MALLORY);
            for round in 0..3 {
                bob.node.notify(&url, SPACE, b"for Mallory").unwrap();
                let mut mallory = Attacker::accept(carrier, &listener, MALLORY).await;
                assert_eq!(mallory.frame().0, FrameType::Preflight, "round {round}");
                mallory.send(&preflight(&carrier.url(ALICE), &Message::preflight(b"hi")));
                mallory.told(b"protocol error");
                assert!(matches!(bob.event().await, Event::NotSent(..)));
                assert!(matches!(bob.event().await, Event::Unresponsive(_)));
                until("nothing is left", || bob.node.stats().known_peers == 0).await;
            }
            // And whoever it really is gets what is sent next.
            bob.node.notify(&url, SPACE, b"at last").unwrap();
            let mut mallory = Attacker::answering(carrier, &listener, MALLORY).await;
            assert_eq!(mallory.message(), b"at last");
        });
    }
}

#[test]
fn w06_connections_have_limits_before_the_gate_and_after_it() {
    for carrier in Carrier::ALL {
        test(async {
            let limits = PeerLimits { max_pending: 4, max_connections: 8, ..PeerLimits::HOST };
            let bob = carrier.bob(|builder| builder.limits(peers(limits))).await;
            // Before: the oldest makes room.
            let mut pending: Vec<_> = (0..4).map(|_| Attacker::dial(carrier, &bob.url, MALLORY)).collect();
            until("four are pending", || bob.node.stats().pending == 4).await;
            let fifth = Attacker::dial(carrier, &bob.url, MALLORY);
            pending[0].told(b"capacity");
            assert_eq!((bob.node.stats().pending, bob.node.stats().totals.evicted), (4, 1));
            drop((pending, fifth));
            until("all are gone", || bob.node.stats().pending == 0).await;

            // After: keys are free, so that each connection may have its own.
            let opened: Vec<_> =
                (0..8).map(|number| Attacker::opened(carrier, &bob.url, MALLORY + number)).collect();
            until("eight are open", || bob.node.stats().connections.len() == 8).await;
            assert_eq!(Raw::connect(&bob.url).rest(), b"", "one too many is turned away");
            assert_eq!(bob.node.stats().totals.turned_away, 1);
            drop(opened);
            until("all are gone", || bob.node.stats().known_peers == 0).await;
            carrier.alice(&bob).await;
        });
    }
}

#[test]
fn w06_one_id_has_one_connection_however_often_it_dials() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let first = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            let others: Vec<_> = (0..20)
                .map(|_| {
                    let mut other = Attacker::dial(carrier, &bob.url, MALLORY);
                    other.send(&preflight(&other.url(), &Message::preflight(b"hi")));
                    other.send(&CONFIRM);
                    other
                })
                .collect();
            until("all were decided about", || bob.node.stats().pending == 0).await;
            until("one is left", || {
                let totals = bob.node.stats().totals;
                // On a plain channel one claim may wait for the end of the live one.
                totals.accepted - totals.closed <= 2
            })
            .await;
            assert_eq!(bob.node.stats().connections.len(), 1);
            assert_eq!(bob.node.stats().known_peers, 1);
            drop((first, others));
        });
    }
}

#[test]
fn w07_silence_and_trickles_are_closed_in_time() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder.config(short())).await;
            // Not a byte; a channel and not a frame; half a preflight; a preflight and no confirm.
            let mut silent = Raw::connect(&bob.url);
            let mut mute = Attacker::dial(carrier, &bob.url, MALLORY);
            let mut half = Attacker::dial(carrier, &bob.url, MALLORY);
            half.send(&preflight(&half.url(), &Message::preflight(b"hi"))[..20]);
            let mut unconfirmed = Attacker::dial(carrier, &bob.url, MALLORY + 1);
            unconfirmed.send(&preflight(&unconfirmed.url(), &Message::preflight(b"hi")));
            mute.told(b"timeout");
            half.told(b"timeout");
            unconfirmed.told(b"timeout");
            let farewell = data(&Message::disconnect(b"timeout"));
            assert_eq!(silent.rest(), if carrier == Carrier::Plain { &farewell[..] } else { b"" });
            assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());

            // A frame of 100 MiB that has begun, byte by byte.
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            mallory.send(&[1, 6, 0, 0, 0]);
            for _ in 0..10 {
                mallory.send(&[7]);
            }
            mallory.told(b"timeout");
            assert_eq!(bob.down().await.reason(), CloseReason::Timeout(Timeout::Frame));
        });
    }
}

#[test]
fn w09_only_a_preflight_passes_as_a_preflight() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let url = carrier.url(MALLORY);
            let messages = [
                Vec::new(),
                encoded(&Message::notify(SPACE, b"past the gate")),
                encoded(&Message::module(SPACE, "photos", b"past the gate")),
                encoded(&Message::disconnect(b"bye")),
                b"\x08\x04".to_vec(),
            ];
            for message in messages {
                let mut mallory = Attacker::dial(carrier, &bob.url, MALLORY);
                mallory.send(&preflight_with(&url, &message));
                mallory.send(&CONFIRM);
                mallory.told(b"protocol error");
            }
            assert!(bob.heard.is_empty() && bob.events.is_empty());
            assert_eq!(bob.node.stats().totals.opened, 0);
        });
    }
}

#[test]
fn w16_slow_handshakes_delay_nobody() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let slow: Vec<_> = (0..50)
                .map(|number| {
                    let mut raw = Raw::connect(&bob.url);
                    let first: &[u8] = if carrier == Carrier::Plain { &[0, 0, 0] } else { b"kf\x01" };
                    raw.send(&first[..number % 4]);
                    raw
                })
                .collect();
            until("all are accepted", || bob.node.stats().pending == 50).await;
            let alice = carrier.alice(&bob).await;
            exchange(&alice, &bob, b"no delay").await;
            assert_eq!(bob.node.stats().pending, 50, "while all others were waiting");
            drop(slow);
        });
    }
}

#[test]
fn w17_what_a_refusing_peer_was_to_get_is_handed_back() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder.limits(hasty())).await;
            let (listener, url) = listener(carrier, MALLORY);
            let sent = bob.node.notify(&url, SPACE, b"precious").unwrap();
            let mut mallory = Attacker::accept(carrier, &listener, MALLORY).await;
            assert_eq!(mallory.frame().0, FrameType::Preflight);
            mallory.send(&data(&Message::disconnect(b"no")));
            mallory.stop();
            match bob.event().await {
                Event::NotSent(id, NotSentCause::GateFailed(_), data) => {
                    assert_eq!((id, &data[..]), (sent, &b"precious"[..]));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(mallory.rest(), b"", "not a byte of it was said");
        });
    }
}
