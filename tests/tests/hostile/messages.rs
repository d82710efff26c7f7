//! Weaknesses once messages flow: violations, memory, handlers, words.

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::thread;

use kitfox_core::wire::{FrameType, Message};
use kitfox_core::{Config, ProtocolError};
use kitfox_smol::{CapacityError, CloseReason, Limits, Peer, Refused, RegisterError};

use crate::attacker::*;
use crate::common::*;

#[test]
fn w04_a_dead_connection_is_evicted_and_the_next_message_dials() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let (listener, url) = listener(carrier, MALLORY);
            for round in 0..3u8 {
                bob.node.notify(&url, SPACE, &[round]).unwrap();
                let mut mallory = Attacker::answering(carrier, &listener, MALLORY).await;
                assert_eq!(mallory.message(), [round]);
                bob.up().await;
                // Gone with bytes unread, which resets the connection.
                bob.node.notify(&url, SPACE, b"lost").unwrap();
                until("it was written", || bob.node.stats().queued_bytes == 0).await;
                drop(mallory);
                assert!(bob.down().await.unknown.is_some(), "its fate is told");
                bob.unresponsive().await;
            }
        });
    }
}

#[test]
fn w05_whoever_breaks_the_protocol_behind_the_gate_is_closed() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            bob.up().await;
            bob.node.register_space(b"picky", |_: &Peer, _: &[u8]| Err(Refused)).unwrap();
            let lie = data(&Message::notify(SPACE, b"behind it"));
            let nowhere = data(&Message { space: None, ..Message::notify(SPACE, b"to nobody") });
            let cases = [
                (&b"protocol error"[..], frame(FrameType::Data, b"\xff\xff\xff")),
                (b"protocol error", nowhere),
                (b"protocol error", preflight(&carrier.url(MALLORY), &Message::preflight(b"again"))),
                (b"protocol error", vec![2, 0, 0, 0, 0]),
                (b"protocol error", vec![1, 0xff, 0xff, 0xff, 0xff]),
                (b"refused", data(&Message::notify(b"picky", b"no"))),
            ];
            for (word, bytes) in cases {
                let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
                assert_eq!(bob.up().await.url(), mallory.url());
                mallory.send(&[bytes, lie.clone()].concat());
                mallory.told(word);
                assert!(matches!(bob.event().await, Event::Down(..)));
                if word == b"protocol error" {
                    bob.unresponsive().await;
                }
            }
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            mallory.send(&[data(&Message::disconnect(b"bye")), lie].concat());
            bob.told(b"bye").await;
            exchange(&alice, &bob, b"still here").await;
            assert!(bob.heard.is_empty(), "nothing behind a violation is delivered");
            assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
        });
    }
}

#[test]
fn w08_a_header_that_announces_the_most_costs_next_to_nothing() {
    const PEERS: u8 = 20;
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let mut attackers: Vec<_> =
                (0..PEERS).map(|number| Attacker::opened(carrier, &bob.url, MALLORY + number)).collect();
            let mut begun = vec![1];
            begun.extend((Config::HOST.max_frame_bytes as u32 - 5).to_be_bytes());
            begun.extend([7; 1000]);
            for attacker in &mut attackers {
                attacker.send(&begun);
            }
            let all = usize::from(PEERS) * 1000;
            until("all has arrived", || bob.node.stats().receive_bytes >= all).await;
            // To twice of what has arrived, and a record of it.
            let bound = usize::from(PEERS) * 2 * (2 * 1005 + 18);
            assert!(bob.node.stats().receive_bytes <= bound, "{}", bob.node.stats().receive_bytes);
        });
    }
}

#[test]
fn w12_a_stalled_frame_stops_no_other_peer() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            let message = data(&Message::notify(SPACE, b"never whole"));
            let mut stalled: Vec<_> =
                (0..10).map(|number| Attacker::opened(carrier, &bob.url, MALLORY + number)).collect();
            for attacker in &mut stalled {
                attacker.send(&message[..message.len() - 1]);
            }
            until("all have begun", || bob.node.stats().receive_bytes > 0).await;
            for number in 0..20 {
                exchange(&alice, &bob, &[number]).await;
            }
            assert_eq!(bob.node.stats().connections.len(), 11);
        });
    }
}

#[test]
fn w13_no_lock_is_held_while_a_hostile_message_is_handled() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            // From inside, and from another thread that is waited for inside.
            with_node(&bob.node, b"door", |node, _, data| {
                let (elsewhere, name) = (node.clone(), [b"there ", data].concat());
                let other = thread::spawn(move || {
                    elsewhere.register_space(&name, |_: &Peer, _: &[u8]| Ok(())).map(drop).is_ok()
                });
                let here = node.register_space(&[b"here ", data].concat(), |_: &Peer, _: &[u8]| Ok(()));
                if here.is_ok() && other.join().unwrap() { Ok(()) } else { Err(Refused) }
            });
            let bad = |_: &Peer, _: &[u8]| panic!("this panic is part of the test");
            bob.node.register_space(b"bad", bad).unwrap();
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            for number in 0..5 {
                mallory.send(&data(&Message::notify(b"door", &[number])));
            }
            until("all were handled", || bob.node.stats().totals.received_messages == 5).await;
            mallory.send(&data(&Message::notify(b"bad", b"")));
            mallory.rest();
            exchange(&alice, &bob, b"still here").await;
            bob.node.register_space(b"afterwards", |_: &Peer, _: &[u8]| Ok(())).unwrap();
        });
    }
}

#[test]
fn w14_a_second_registration_is_an_error_and_everything_goes_on() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let alice = carrier.alice(&bob).await;
            let seen = Arc::new(OnceLock::new());
            let result = seen.clone();
            with_node(&bob.node, b"door", move |node, _, _| {
                let space = node.register_space(SPACE, |_: &Peer, _: &[u8]| Err(Refused)).err();
                let _ = node.register_module(SPACE, "photos", |_: &Peer, _: &[u8]| Ok(()));
                let module = node.register_module(SPACE, "photos", |_: &Peer, _: &[u8]| Err(Refused)).err();
                let _ = result.set((space, module));
                Ok(())
            });
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            mallory.send(&data(&Message::notify(b"door", b"")));
            mallory.send(&data(&Message::module(SPACE, "photos", b"")));
            mallory.send(&data(&Message::notify(SPACE, b"as before")));
            assert_eq!(bob.hears().await, b"as before");
            let duplicate = Some(RegisterError::Duplicate);
            assert_eq!(seen.get(), Some(&(duplicate, duplicate)));
            exchange(&alice, &bob, b"still here").await;
            assert_eq!(bob.node.stats().connections.len(), 2);
        });
    }
}

#[test]
fn w21_peers_are_told_one_of_a_few_words_and_theirs_are_bytes() {
    const WORDS: [&[u8]; 6] =
        [b"superseded", b"refused", b"no local agents", b"protocol error", b"timeout", b"capacity"];
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let violations = [
                frame(FrameType::Preflight, b"\0\0\0\x09not a url\x08\x01"),
                frame(FrameType::Preflight, b"\0\0\xff\xffws://a:1/b"),
                frame(FrameType::Preflight, b"\0"),
                data(&Message::notify(SPACE, b"too early")),
                vec![0, 0xff, 0xff, 0xff, 0xff],
                vec![9; 100],
            ];
            for violation in violations {
                let mut mallory = Attacker::dial(carrier, &bob.url, MALLORY);
                mallory.send(&violation);
                let rest = mallory.rest();
                assert!(WORDS.iter().any(|word| data(&Message::disconnect(word)) == rest), "{rest:?}");
            }
            // What they say is handed on as bytes, and printed without control characters.
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            mallory.send(&data(&Message::disconnect(b"\x1b[2Jfine\xff\n")));
            let down = bob.down().await;
            assert_eq!(&down.message[..], b"\x1b[2Jfine\xff\n");
            assert!(down.to_string().chars().all(|letter| !letter.is_control()), "{down}");
        });
    }
}

#[test]
fn w22_all_receive_buffers_together_have_a_budget() {
    for carrier in Carrier::ALL {
        test(async {
            let limits = Limits { max_receive_bytes: 300_000, ..Limits::default() };
            let bob = carrier.bob(|builder| builder.limits(limits)).await;
            let alice = carrier.alice(&bob).await;
            bob.up().await;
            let message = data(&Message::notify(SPACE, &vec![7; 1 << 20]));
            let mut first = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            let mut second = Attacker::opened(carrier, &bob.url, MALLORY + 1);
            bob.up().await;
            first.send(&message[..120_000]);
            until("the first has its part", || bob.node.stats().receive_bytes >= 120_000).await;
            second.send(&message[..600_000]);
            let down = bob.down().await;
            assert_eq!(down.reason(), CloseReason::Capacity(CapacityError::ReceiveMemory));
            second.told(b"capacity");
            until("its memory is free", || bob.node.stats().receive_bytes < 300_000).await;
            exchange(&alice, &bob, b"still here").await;
            assert_eq!(bob.node.stats().connections.len(), 2);

            // The bound on a frame before the gate is another one, and lower.
            let mut third = Attacker::dial(carrier, &bob.url, MALLORY + 2);
            third.send(&[&[0][..], &(Config::HOST.max_preflight_bytes as u32 - 4).to_be_bytes()].concat());
            third.told(b"protocol error");
        });
    }
}

#[test]
fn a_stream_that_is_cut_is_told_apart_from_one_that_ends() {
    test(async {
        let bob = Carrier::Secured.bob(|builder| builder).await;
        for goodbye in [true, false] {
            let mut mallory = Attacker::opened(Carrier::Secured, &bob.url, MALLORY);
            bob.up().await;
            if goodbye {
                let end = mallory.sealed_record(b"");
                mallory.send_raw(&end);
            }
            mallory.stop();
            let cut = CloseReason::Protocol(ProtocolError::EndWithoutClose);
            assert_eq!(bob.down().await.reason(), if goodbye { CloseReason::Ended } else { cut });
            bob.unresponsive().await;
        }
    });
}

#[test]
fn whoever_is_closed_is_let_go_however_much_it_still_says() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            mallory.send(&[2, 0, 0, 0, 0]);
            bob.down().await;
            // It neither reads nor ends, and sends until that fails.
            let talking = smol::unblock(move || while mallory.stream.write_all(&[7; 4096]).is_ok() {});
            within(talking).await;
            until("its place is free", || {
                let totals = bob.node.stats().totals;
                totals.accepted == totals.closed
            })
            .await;
            assert_eq!(bob.node.stats().receive_bytes, 0);
        });
    }
}
