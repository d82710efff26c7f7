//! Weaknesses of the peer table: who is connected, who is told what, what is counted.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use kitfox_core::wire::Message;
use kitfox_core::{Config, RouterLimits};
use kitfox_smol::{CloseReason, DownCause, Limits};

use crate::attacker::*;
use crate::common::*;
use crate::noise::{id, id_bytes};

#[test]
fn w10_a_disconnect_is_told_once_with_its_reason_and_marks_nobody() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let mut mallory = Attacker::opened(carrier, &bob.url, MALLORY);
            bob.up().await;
            assert!(bob.node.disconnect(&mallory.url(), b"enough"));
            mallory.told(b"enough");
            assert_eq!(bob.down().await.reason(), CloseReason::Local);
            // Whatever Mallory says on the dead connection.
            mallory.send(&data(&Message::notify(SPACE, b"no")));
            drop(mallory);
            let alice = carrier.alice(&bob).await;
            assert_eq!(bob.up().await.url(), alice.url, "nothing else was told");
            exchange(&alice, &bob, b"hello").await;
            assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
        });
    }
}

#[test]
fn w11_the_end_of_a_second_connection_of_one_id_leaves_one_that_works() {
    // Proven: the newcomer takes the place, and the end of the old one changes nothing.
    test(async {
        let bob = Carrier::Secured.bob(|builder| builder).await;
        let mut old = Attacker::opened(Carrier::Secured, &bob.url, MALLORY);
        bob.up().await;
        let mut new = Attacker::opened(Carrier::Secured, &bob.url, MALLORY);
        match bob.event().await {
            Event::Down(_, down) => assert_eq!(down.cause, DownCause::Replaced),
            other => panic!("{other:?}"),
        }
        bob.up().await;
        old.told(b"superseded");
        drop(old);
        bob.node.notify(&new.url(), SPACE, b"to the living").unwrap();
        assert_eq!(new.message(), b"to the living");
        assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
    });
    // Claimed: the newcomer waits for the gate's deadline, and its end changes nothing.
    test(async {
        let config = Config { preflight_timeout: Duration::from_millis(300), ..Config::HOST };
        let bob = Carrier::Plain.bob(|builder| builder.config(config)).await;
        let mut old = Attacker::opened(Carrier::Plain, &bob.url, MALLORY);
        bob.up().await;
        let mut new = Attacker::dial(Carrier::Plain, &bob.url, MALLORY);
        new.send(&preflight(&new.url(), &Message::preflight(b"hi")));
        until("it is held", || bob.node.stats().totals.accepted == 2 && bob.node.stats().pending == 0).await;
        let farewell = data(&Message::disconnect(b"timeout"));
        assert_eq!(new.rest(), farewell, "it was never answered");
        bob.node.notify(&old.url(), SPACE, b"to the living").unwrap();
        assert_eq!(old.message(), b"to the living");
        assert!(bob.events.is_empty(), "{:?}", bob.events.try_recv());
    });
}

#[test]
fn w15_tables_do_not_grow_with_what_strangers_invent() {
    const COUNTS: usize = 8;
    for carrier in Carrier::ALL {
        test(async {
            let router = RouterLimits { max_blocked_counts: COUNTS, ..RouterLimits::HOST };
            let limits = Limits { router, ..Limits::default() };
            let bob = carrier.bob(|builder| builder.limits(limits)).await;
            bob.node.block(&id(MALLORY).to_string(), None).unwrap();
            // One key, and a URL of its own each time.
            for port in 1..=30 {
                let url = format!("{}://127.0.0.1:{port}/{}", carrier.scheme(), id(MALLORY));
                let mut mallory = Attacker::opened_as(carrier, &bob.url, MALLORY, &url);
                mallory.send(&data(&Message::notify(SPACE, b"blocked")));
                drop(mallory);
                bob.up().await;
                assert!(matches!(bob.event().await, Event::Down(..)));
                assert!(matches!(bob.event().await, Event::Unresponsive(_)));
            }
            let stats = bob.node.stats();
            assert_eq!((stats.blocked.len(), stats.blocked_unattributed), (COUNTS, 30 - COUNTS as u64));
            // Ids that come once and go.
            for number in 0..30 {
                drop(Attacker::opened(carrier, &bob.url, MALLORY + 1 + number));
            }
            until("nothing is left of them", || {
                let stats = bob.node.stats();
                stats.known_peers == 0 && stats.totals.opened == stats.totals.closed
            })
            .await;
            assert_eq!(bob.node.stats().receive_bytes, 0);
            assert!(bob.heard.is_empty());
        });
    }
}

#[test]
fn w18_every_spelling_of_an_id_is_one_peer_and_one_block() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder).await;
            let spelled = id(MALLORY).to_string().to_uppercase();
            bob.node.block(&spelled, None).unwrap();
            let spellings = [id(MALLORY).to_string(), spelled, base32(&id_bytes(MALLORY))];
            for (dropped, text) in (1..).zip(spellings) {
                let url = format!("{}://127.0.0.1:1/{text}", carrier.scheme());
                let mut mallory = Attacker::opened_as(carrier, &bob.url, MALLORY, &url);
                mallory.send(&data(&Message::notify(SPACE, b"under another name")));
                assert_eq!(bob.up().await.id(), &id(MALLORY));
                until("it was dropped", || bob.node.stats().totals.dropped_messages == dropped).await;
                assert_eq!(bob.node.stats().known_peers, 1);
                mallory.stop();
                drop(mallory);
                assert!(matches!(bob.event().await, Event::Down(..)));
                assert!(matches!(bob.event().await, Event::Unresponsive(_)));
            }
            assert_eq!(bob.node.stats().totals.received_messages, 0);
            assert!(bob.heard.is_empty());
        });
    }
}

/// RFC 4648 without padding, in lower case.
fn base32(bytes: &[u8]) -> String {
    let bit = |place: usize| bytes.get(place / 8).map_or(0, |byte| byte >> (7 - place % 8) & 1);
    let letter = |place: usize| b"abcdefghijklmnopqrstuvwxyz234567"[place];
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|at| letter((at..at + 5).fold(0, |value, place| value << 1 | usize::from(bit(place)))) as char)
        .collect()
}

#[test]
fn w20_nobody_is_unresponsive_while_our_own_network_is_down() {
    for carrier in Carrier::ALL {
        test(async {
            let bob = carrier.bob(|builder| builder.limits(hasty())).await;
            let (listener, url) = listener(carrier, MALLORY);
            bob.node.set_network_up(false);
            let mallory = Attacker::opened(carrier, &bob.url, MALLORY + 1);
            bob.up().await;
            drop(mallory);
            assert!(matches!(bob.event().await, Event::Down(..)));
            bob.node.notify(&url, SPACE, b"one").unwrap();
            cut(&listener).await;
            assert!(matches!(bob.event().await, Event::NotSent(..)));
            // Up again, the next event is about the next failure.
            bob.node.set_network_up(true);
            bob.node.notify(&url, SPACE, b"two").unwrap();
            cut(&listener).await;
            assert!(matches!(bob.event().await, Event::NotSent(..)));
            assert_eq!(bob.event().await, Event::Unresponsive(url));
        });
    }
}

/// Takes a connection and ends it at once.
async fn cut(listener: &TcpListener) {
    let listener = listener.try_clone().unwrap();
    let stream: TcpStream = within(smol::unblock(move || listener.accept().unwrap().0)).await;
    drop(stream);
}

#[test]
fn a_peer_whose_own_url_cannot_be_dialled_costs_nothing() {
    test(async {
        let bob = Carrier::Secured.bob(|builder| builder.limits(hasty())).await;
        let (listener, reachable) = listener(Carrier::Secured, MALLORY);
        // Proven, and its URL is one that a secured node never dials; or nobody could.
        for url in [Carrier::Plain.url(MALLORY), format!("wss://127.0.0.1:0/{}", id(MALLORY))] {
            let mallory = Attacker::opened_as(Carrier::Secured, &bob.url, MALLORY, &url);
            assert_eq!(bob.up().await.url(), url);
            drop(mallory);
            bob.down().await;
            bob.unresponsive().await;
            assert!(bob.node.notify(&url, SPACE, b"to nowhere").is_err());
            until("it is forgotten", || bob.node.stats().known_peers == 0).await;
            // Who knows a better URL reaches it.
            bob.node.notify(&reachable, SPACE, b"found").unwrap();
            let mut mallory = Attacker::answering(Carrier::Secured, &listener, MALLORY).await;
            assert_eq!(mallory.message(), b"found");
            bob.up().await;
            drop(mallory);
            bob.down().await;
            bob.unresponsive().await;
        }
    });
}
