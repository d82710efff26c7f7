//! Messages between two nodes, and what handlers may do.

use std::io::Read;
use std::thread;
use std::time::Duration;

use async_channel::unbounded;
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::Config;
use kitfox_core::storage::BufferLimits;
use kitfox_core::wire::{FrameType, Message};
use kitfox_smol::{
    CloseReason, Direction, DownCause, MessageId, Node, NotSentCause, Peer, Refused, RegisterError,
    SendError, Timeout,
};

use crate::common::*;

#[test]
fn stats_tell_of_each_connection() {
    test(async {
        let before = unix_now();
        let (alice, bob) = pair().await;
        alice.node.notify(&bob.url, SPACE, b"hello").unwrap();
        bob.hears().await;
        bob.node.notify(&alice.url, SPACE, b"hi").unwrap();
        alice.hears().await;
        let stats = alice.node.stats();
        assert_eq!(stats.own_urls, [alice.url.as_str()]);
        let [connection] = &stats.connections[..] else { panic!("{stats:?}") };
        assert_eq!((connection.peer.as_str(), connection.direction), (bob.url.as_str(), Direction::Outgoing));
        assert!((before..=unix_now()).contains(&connection.opened_at_s));
        assert!(connection.claimed && connection.peer_id == bob.node.peer_id());
        let wire = |text: &[u8]| data(&Message::notify(SPACE, text)).len() as u64;
        assert_eq!((connection.sent_messages, connection.sent_bytes), (1, wire(b"hello")));
        assert_eq!(bob.node.stats().connections[0].direction, Direction::Incoming);
        assert_eq!(bob.node.peers()[0].url(), alice.url);

        alice.node.disconnect(&bob.url, b"");
        bob.down().await;
        let totals = bob.node.stats().totals;
        assert_eq!((totals.received_messages, totals.received_bytes), (1, wire(b"hello")));
        assert_eq!((totals.sent_messages, totals.closed), (1, 1));
        assert!(bob.node.peers().is_empty());
    });
}

#[test]
fn a_handler_may_send_from_inside_a_delivery() {
    test(async {
        let (alice, bob) = pair().await;
        let echo = |node: &Node, from: &Peer, data: &[u8]| {
            node.notify(from.url(), SPACE, data).map(drop).map_err(|_| Refused)
        };
        with_node(&bob.node, b"echo", echo);
        alice.mute(b"echo");
        for number in 0..1000u32 {
            alice.node.notify(&bob.url, b"echo", &number.to_be_bytes()).unwrap();
        }
        for number in 0..1000u32 {
            assert_eq!(alice.hears().await, number.to_be_bytes());
        }
    });
}

/// Kitsune2 deadlocks here.
#[test]
fn a_handler_may_register_unregister_block_and_unblock_from_inside_a_delivery() {
    test(async {
        let (alice, bob) = pair().await;
        for space in [&b"door"[..], b"new", b"gone"] {
            alice.mute(space);
        }
        bob.node.register_space(b"gone", |_: &Peer, _: &[u8]| Err(Refused)).unwrap();
        with_node(&bob.node, b"door", |node, from, _| {
            let weak = node.downgrade();
            let new = move |from: &Peer, _: &[u8]| {
                let node = weak.upgrade().ok_or(Refused)?;
                node.notify(from.url(), SPACE, b"registered").map(drop).map_err(|_| Refused)
            };
            node.register_space(b"new", new).map_err(|_| Refused)?;
            drop(node.unregister_space(b"gone"));
            let id = from.id().to_string();
            node.block(&id, None).map_err(|_| Refused)?;
            if node.unblock(&id, None) { Ok(()) } else { Err(Refused) }
        });
        // What was registered from inside holds for the very next message, also in the same read.
        alice.node.notify(&bob.url, b"door", b"").unwrap();
        alice.node.notify(&bob.url, b"new", b"").unwrap();
        alice.node.notify(&bob.url, b"gone", b"").unwrap();
        alice.node.notify(&bob.url, SPACE, b"still here").unwrap();
        assert_eq!(alice.hears().await, b"registered");
        assert_eq!(bob.hears().await, b"still here");
        let second = bob.node.register_space(b"new", |_: &Peer, _: &[u8]| Ok(()));
        assert_eq!(second.err(), Some(RegisterError::Duplicate));
    });
}

#[test]
fn after_a_disconnect_from_inside_nothing_more_is_delivered() {
    test(async {
        let (alice, bob) = pair().await;
        let (hears, heard) = unbounded();
        with_node(&bob.node, b"once", move |node, from, data| {
            let _ = hears.try_send((from.connection(), data.to_vec()));
            node.disconnect(from.url(), b"enough");
            Ok(())
        });
        alice.mute(b"once");
        for number in 0..100u8 {
            // The connection may end meanwhile.
            let _ = alice.node.notify(&bob.url, b"once", &[number]);
        }
        alice.told(b"enough").await;
        assert_eq!(bob.down().await.reason(), CloseReason::Local);
        let (first, data) = heard.recv().await.unwrap();
        assert_eq!(data, [0]);
        // What alice sends after that dials again.
        let mut connections = vec![first];
        while let Ok((connection, _)) = heard.try_recv() {
            assert!(!connections.contains(&connection));
            connections.push(connection);
        }
    });
}

#[test]
fn hostile_peers_are_closed_and_others_are_served() {
    test(async {
        let (alice, bob) = pair().await;
        let own_id = format!("ws://127.0.0.1:1/{}", bob.node.peer_id());
        let mut late = preflight("ws://a:1/m", &Message::preflight(b""));
        late.extend(frame(FrameType::Data, b""));
        late.extend(frame(FrameType::Data, b"\xff\xff\xff"));
        let cases = [
            ("garbage", vec![0xff; 300]),
            ("data before the preflight", data(&Message::notify(SPACE, b"let me in"))),
            ("not a PREFLIGHT", preflight("ws://a:1/m", &Message::notify(SPACE, b"let me in"))),
            ("no peer id", preflight("ws://a:1", &Message::preflight(b""))),
            ("our own id", preflight(&own_id, &Message::preflight(b""))),
            ("a URL that is not canonical", frame(FrameType::Preflight, b"\0\0\0\x08ws://a/m\x08\x01")),
            ("a preflight that is too long", vec![0, 0, 16, 0, 0]),
            ("a message that does not decode, after the gate", late),
        ];
        let raws: Vec<_> = cases
            .into_iter()
            .map(|(name, bytes)| {
                let mut raw = Raw::connect(&bob.url);
                raw.send(&bytes);
                (name, raw)
            })
            .collect();
        alice.node.notify(&bob.url, SPACE, b"meanwhile").unwrap();
        assert_eq!(bob.hears().await, b"meanwhile");
        let farewell = data(&Message::disconnect(b"protocol error"));
        for (name, mut raw) in raws {
            let rest = raw.rest();
            assert!(rest.ends_with(&farewell), "{name}: {}", rest.escape_ascii());
        }
        assert!(bob.heard.is_empty(), "nothing gets past the gate");
        assert_eq!(bob.node.peers().len(), 1);
        alice.node.notify(&bob.url, SPACE, b"afterwards").unwrap();
        assert_eq!(bob.hears().await, b"afterwards");
    });
}

#[test]
fn large_messages_arrive_whole() {
    test(async {
        let (alice, bob) = pair().await;
        let photo: Vec<u8> = (0..5u32 << 20).map(|place| (place % 251) as u8).collect();
        alice.node.notify_shared(&bob.url, SPACE, Bytes::from(photo.clone())).unwrap();
        within(alice.node.ready(&bob.url, photo.len())).await.unwrap();
        alice.node.notify(&bob.url, SPACE, &photo).unwrap();
        bob.node.notify_shared(&alice.url, SPACE, Bytes::from(photo.clone())).unwrap();
        assert!(bob.hears().await == photo);
        assert!(bob.hears().await == photo);
        assert!(alice.hears().await == photo);
    });
}

#[test]
fn ten_thousand_messages_arrive_in_order_byte_for_byte() {
    test(async {
        let (alice, bob) = pair().await;
        let message = |number: u32| {
            let len = if number.is_multiple_of(100) { 5000 } else { number % 200 };
            let mut message = number.to_be_bytes().to_vec();
            message.extend((0..len).map(|place| (place ^ number) as u8));
            message
        };
        for number in 0..10_000 {
            match number % 3 {
                0 => alice.node.notify_shared(&bob.url, SPACE, message(number).into()).unwrap(),
                _ => alice.node.notify(&bob.url, SPACE, &message(number)).unwrap(),
            };
        }
        for number in 0..10_000 {
            assert!(bob.hears().await == message(number), "message {number}");
        }
    });
}

#[test]
fn a_peer_that_does_not_read_is_backpressure_for_it_alone() {
    test(async {
        let outbox = BufferLimits { max_bytes: 1 << 20, ..Config::HOST.outbox };
        let alice = Party::configured(Config { outbox, ..Config::HOST }).await;
        let bob = Party::new().await;
        connect(&alice, &bob).await;
        let mut lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;

        let payload = Bytes::from(vec![7; 60_000]);
        let mut sent = 0;
        let unsent = loop {
            match alice.node.notify_shared(peer.url(), SPACE, payload.clone()) {
                Ok(_) => sent += 1,
                Err(unsent) => break unsent,
            }
        };
        assert_eq!((unsent.error, unsent.data), (SendError::Backpressure, payload.clone()));
        assert_eq!(alice.node.stats().totals.outbox_full, 1);
        alice.node.notify(&bob.url, SPACE, b"meanwhile").unwrap();
        assert_eq!(bob.hears().await, b"meanwhile");

        let reading = thread::spawn(move || {
            let expected = data(&Message::notify(SPACE, &[7; 60_000]));
            let mut frame = vec![0; expected.len()];
            for _ in 0..sent + 1 {
                lazy.stream.read_exact(&mut frame).unwrap();
                assert!(frame == expected);
            }
        });
        within(alice.node.ready(peer.url(), payload.len())).await.unwrap();
        alice.node.notify_shared(peer.url(), SPACE, payload).unwrap();
        reading.join().unwrap();
        assert_eq!(alice.down().await.reason(), CloseReason::Ended);
        assert!(alice.node.ready(peer.url(), 1).await.is_err());
    });
}

#[test]
fn what_waits_for_a_slow_peer_stays_at_the_high_water_mark() {
    test(async {
        let alice = Party::new().await;
        let _lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;
        let frame = data(&Message::notify(SPACE, &[7; 60_000])).len();
        let mark = Config::HOST.high_water_bytes;
        // What the system's buffers take is not ours any more: so it is refused several times.
        let mut refused = 0;
        while refused < 10 {
            let sent = alice.node.notify(peer.url(), SPACE, &[7; 60_000]);
            let queued = alice.node.stats().queued_bytes;
            assert!(queued < mark + frame, "{queued} bytes");
            match sent {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, SendError::Backpressure);
                    refused += 1;
                    future::yield_now().await;
                }
            }
        }
        assert_eq!(alice.node.stats().totals.outbox_full, 10);
    });
}

#[test]
fn a_peer_that_takes_nothing_for_too_long_is_closed() {
    test(async {
        let alice =
            Party::configured(Config { tx_timeout: Duration::from_millis(200), ..Config::HOST }).await;
        let lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;
        alice.node.notify_shared(peer.url(), SPACE, Bytes::from(vec![7; 50 << 20])).unwrap();
        assert_eq!(alice.down().await.reason(), CloseReason::Timeout(Timeout::Write));
        drop(lazy);
    });
}

#[test]
fn a_disconnect_tells_its_reason_after_what_was_written_and_hands_the_rest_back() {
    test(async {
        let patient = Config { high_water_bytes: 100 << 20, ..Config::HOST };
        let (alice, bob) = (Party::configured(patient).await, Party::new().await);
        connect(&alice, &bob).await;
        let big = Bytes::from(vec![7; 5 << 20]);
        let first = alice.node.notify_shared(&bob.url, SPACE, big.clone()).unwrap();
        let peer = first.peer;
        while alice.node.stats().connections[0].sent_messages == 0 {
            future::yield_now().await;
        }
        for _ in 0..10 {
            alice.node.notify_shared(&bob.url, SPACE, big.clone()).unwrap();
        }
        // Bob's own messages are on the way when alice closes; they must not cost him her reason.
        for _ in 0..100 {
            bob.node.notify(&alice.url, SPACE, &[0; 1000]).unwrap();
        }
        // What he has not written yet would have him dial again.
        while bob.node.stats().connections[0].queued_bytes > 0 {
            future::yield_now().await;
        }
        assert!(alice.node.disconnect(&bob.url, b"the sun has set"));
        assert!(!alice.node.disconnect("ws://a:1/stranger", b"nobody"));
        let down = alice.down().await;
        assert_eq!(down.cause, DownCause::Ended(CloseReason::Local));
        let unknown = down.unknown.unwrap();
        assert_eq!(unknown.first, 0);
        // Every message that is not unknown is handed back once, in order, and after the peer is down.
        for number in unknown.last + 1..11 {
            let expected =
                Event::NotSent(MessageId { peer, number }, NotSentCause::Disconnected, big.clone());
            assert!(alice.event().await == expected);
        }
        for _ in 0..=unknown.last {
            assert!(bob.hears().await == big);
        }
        bob.told(b"the sun has set").await;
        assert!(alice.events.is_empty(), "nobody is called unresponsive");
        let totals = alice.node.stats().totals;
        assert_eq!(totals.accepted_messages, 11);
        assert_eq!(totals.unknown_messages + totals.not_sent_messages, 11);
        connect(&alice, &bob).await;
    });
}
