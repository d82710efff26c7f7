//! Who is let in, limits, and addresses.

use std::time::Duration;

use bytes::Bytes;
use futures_lite::future;
use kitfox_core::wire::Message;
use kitfox_core::{Config, ProtocolError};
use kitfox_smol::{
    CapacityError, CloseReason, ConnectError, DropReason, Limits, ListenError, Node, NotDialable, Peer,
    PeerLimits, Refused, SendError, SpaceHandler,
};

use crate::common::*;

#[test]
fn whoever_answers_with_another_id_is_not_the_peer() {
    test(async {
        let (alice, bob) = (Party::limited(hasty()).await, Party::new().await);
        let (addr, _) = bob.url.rsplit_once('/').unwrap();
        let result = alice.node.connect(&format!("{addr}/somebody-else")).await;
        let Err(ConnectError::Closed(down)) = result else { panic!("{result:?}") };
        assert_eq!(down.reason, CloseReason::Protocol(ProtocolError::WrongPeer));
        let own = alice.node.connect(&alice.url).await;
        assert!(matches!(own, Err(ConnectError::NotDialable(NotDialable::OurOwnId))), "{own:?}");
        assert!(alice.node.peers().is_empty());
    });
}

#[test]
fn what_cannot_be_dialled_is_refused() {
    test(async {
        let alice = Party::limited(hasty()).await;
        for url in ["ws://127.0.0.1:1", "ws://127.0.0.1:0/id"] {
            let result = alice.node.connect(url).await;
            assert!(matches!(result, Err(ConnectError::NotDialable(_))), "{result:?}");
        }
        let result = alice.node.connect("127.0.0.1:1/id").await;
        assert!(matches!(result, Err(ConnectError::InvalidUrl(_))), "{result:?}");
        let result = alice.node.connect("wss://127.0.0.1:1/id").await;
        assert!(matches!(result, Err(ConnectError::NotDialable(NotDialable::SecuredUrl))), "{result:?}");
        // A port that nobody listens on: it is bound, and no more.
        let gone = Party::new().await;
        gone.node.shutdown().await;
        let result = alice.node.connect(&gone.url).await;
        assert!(matches!(result, Err(ConnectError::Dial(_))), "{result:?}");
        let result = alice.node.listen("nonsense").await;
        assert!(matches!(result, Err(ListenError::Address(_))), "{result:?}");
    });
}

/// A space that nobody may connect to.
struct ClosedSpace;

impl SpaceHandler for ClosedSpace {
    fn notify(&self, _: &Peer, _: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn peer_connect(&self, _: &Peer) -> Result<(), Refused> {
        Err(Refused)
    }
}

#[test]
fn refusals_at_the_gate_reach_the_dialler() {
    test(async {
        type Behaviour = fn(&mut Events);
        let refusals: [(Behaviour, &[u8]); 3] = [
            (|events| events.admit = Err(Refused), b"refused"),
            (|events| events.valid = Err(Refused), b"refused"),
            (|events| events.at_home = false, b"no local agents"),
        ];
        for (behave, farewell) in refusals {
            let (alice, bob) = (Party::limited(hasty()).await, Party::with(|builder| builder, behave).await);
            let result = alice.node.connect(&bob.url).await;
            let Err(ConnectError::Closed(down)) = result else { panic!("{result:?}") };
            assert_eq!((down.reason, &down.message[..]), (CloseReason::Disconnected, farewell));
            assert!(bob.events.is_empty(), "nothing was up or down");
            alice.unresponsive().await;
        }
        let (alice, bob) = (Party::limited(hasty()).await, Party::new().await);
        bob.node.register_space(b"closed", ClosedSpace).unwrap();
        assert!(alice.node.connect(&bob.url).await.is_err());
    });
}

#[test]
fn a_question_without_an_answer_stops_nobody_else_and_means_no() {
    test(async {
        let config = Config { preflight_timeout: Duration::from_millis(300), ..Config::HOST };
        let (alice, bob) = (Party::limited(hasty()).await, Party::new().await);
        let silent = Party::with(|builder| builder.config(config), |events| events.silent = true).await;
        let asked = alice.node.connect(&silent.url);
        let others = async {
            connect(&alice, &bob).await;
            alice.node.notify(&bob.url, SPACE, b"meanwhile").unwrap();
            assert_eq!(bob.hears().await, b"meanwhile");
        };
        let (asked, ()) = future::zip(asked, others).await;
        let Err(ConnectError::Closed(down)) = asked else { panic!("{asked:?}") };
        assert_eq!((down.reason, &down.message[..]), (CloseReason::Disconnected, &b"timeout"[..]));
    });
}

#[test]
fn oversize_frames_are_refused_on_both_sides() {
    test(async {
        let alice = Party::configured(Config { max_frame_bytes: 10_000, ..Config::HOST }).await;
        let bob = Party::new().await;
        connect(&alice, &bob).await;
        assert_eq!(alice.node.notify(&bob.url, SPACE, &[0; 10_000]), Err(SendError::TooLarge));
        assert_eq!(alice.node.stats().queued_bytes, 0);
        let unsent = alice.node.notify_shared(&bob.url, SPACE, Bytes::from(vec![7; 10_000])).unwrap_err();
        assert_eq!((unsent.error, unsent.data.len()), (SendError::TooLarge, 10_000));
        alice.node.notify(&bob.url, SPACE, &[0; 9_900]).unwrap();
        assert_eq!(bob.hears().await.len(), 9_900);

        bob.node.notify(&alice.url, SPACE, &[0; 10_000]).unwrap();
        bob.told(b"protocol error").await;
        assert!(matches!(alice.down().await.reason(), CloseReason::Protocol(ProtocolError::Frame(_))));
    });
}

#[test]
fn ipv6_names_and_several_addresses() {
    test(async {
        let (alice, bob, carol) = (Party::new().await, Party::new().await, Party::new().await);
        let port = bob.url.rsplit_once(':').unwrap().1;
        let peer = within(carol.node.connect(&format!("ws://localhost:{port}"))).await.unwrap();
        assert_eq!(peer.url(), bob.url);

        let v6 = match bob.node.listen("[::1]:0").await {
            Ok(url) => url,
            Err(error) => return eprintln!("no IPv6 on this machine: {error}"),
        };
        assert_eq!(bob.node.stats().own_urls, [bob.url.as_str(), v6.as_str()]);
        let peer = within(alice.node.connect(&v6)).await.unwrap();
        assert_eq!(peer.url(), v6, "each connection is told the address of its own network");
        alice.node.notify(&v6, SPACE, b"six").unwrap();
        assert_eq!(bob.hears().await, b"six");

        let wild = Node::builder().plain().build().unwrap();
        let url = wild.listen("[::]:0").await.unwrap();
        let url = format!("ws://127.0.0.1:{}", url.rsplit_once(':').unwrap().1);
        let peer = within(carol.node.connect(&url)).await.unwrap();
        assert_eq!(peer.url(), url, "a wildcard is told as the address in use");
    });
}

#[test]
fn pending_connections_are_limited_and_the_oldest_goes() {
    test(async {
        let bob = Party::limited(peers(PeerLimits { max_pending: 2, ..PeerLimits::HOST })).await;
        let accepted = async |count: u64| {
            while bob.node.stats().totals.accepted < count {
                future::yield_now().await;
            }
        };
        let mut oldest = Raw::connect(&bob.url);
        within(accepted(1)).await;
        let _second = Raw::connect(&bob.url);
        within(accepted(2)).await;
        let _third = Raw::connect(&bob.url);
        assert_eq!(oldest.rest(), data(&Message::disconnect(b"capacity")));
        assert_eq!(bob.node.stats().totals.evicted, 1);
        // The gate makes room.
        let _open = Raw::opened(&bob.url, "open");
        bob.up().await;
        assert_eq!(bob.node.peers().len(), 1);
    });
}

#[test]
fn connections_are_limited() {
    test(async {
        let bob = Party::limited(peers(PeerLimits {
            max_connections: 2,
            dial_timeout: Duration::from_secs(1),
            ..PeerLimits::HOST
        }))
        .await;
        let first = Raw::opened(&bob.url, "first");
        let _second = Raw::opened(&bob.url, "second");
        assert_eq!(Raw::connect(&bob.url).rest(), b"", "one too many is turned away");
        assert_eq!(bob.node.stats().totals.turned_away, 1);
        // What is sent meanwhile waits for a place.
        let alice = Party::new().await;
        bob.node.notify(&alice.url, SPACE, b"patience").unwrap();
        drop(first);
        assert_eq!(alice.hears().await, b"patience");
    });
}

#[test]
fn an_advertised_url_is_what_peers_know() {
    test(async {
        let url = "ws://fox.example:9000/fox";
        let fox = Party::with(|builder| builder.advertise(url), |_| {}).await;
        let bob = Party::new().await;
        assert_eq!((fox.url.as_str(), fox.node.peer_id()), (url, "fox"));
        fox.node.connect(&bob.url).await.unwrap();
        assert_eq!(bob.up().await.url(), url);
        bob.node.notify(url, SPACE, b"hello").unwrap();
        assert_eq!(fox.hears().await, b"hello");
        for id in ["", "a/b", "a b", &"x".repeat(65), ".", "é", "a?b"] {
            assert!(Node::builder().plain().peer_id(id).build().is_err(), "{id:?}");
        }
        assert!(Node::builder().plain().peer_id("cat").advertise(url).build().is_err());
    });
}

#[test]
fn each_address_may_have_a_url_of_its_own() {
    test(async {
        let fox = Node::builder().plain().peer_id("fox").build().unwrap();
        let bob = Party::new().await;
        for url in ["ws://fox.example:1/cat", "ws://fox.example:1", "fox"] {
            assert!(fox.listen_as("127.0.0.1:0", url).await.is_err(), "{url}");
        }
        let url = "ws://fox.example:1/fox";
        assert_eq!(fox.listen_as("127.0.0.1:0", url).await.unwrap(), url);
        fox.connect(&bob.url).await.unwrap();
        assert_eq!(bob.up().await.url(), url);
        assert_eq!(fox.own_urls(), [url]);
        assert!(fox.unlisten(url).await);
        assert!(fox.own_urls().is_empty());
    });
}

#[test]
fn a_handler_that_panics_costs_its_own_connection_only() {
    test(async {
        let (alice, bob) = pair().await;
        let carol = Party::new().await;
        connect(&carol, &bob).await;
        let bad = |_: &Peer, _: &[u8]| panic!("this panic is part of the test");
        bob.node.register_module(SPACE, "bad", bad).unwrap();
        alice.node.module(&bob.url, SPACE, "bad", b"").unwrap();
        alice.down().await;
        carol.node.notify(&bob.url, SPACE, b"still here").unwrap();
        assert_eq!(bob.hears().await, b"still here");
        assert_eq!(bob.node.peers().len(), 1);
        assert!(within(bob.node.unregister_module(SPACE, "bad")).await);
    });
}

#[test]
fn who_never_was_up_is_told_with_its_address_and_reason() {
    test(async {
        let (tell, asides) = async_channel::unbounded();
        let listening = |limits, asides| {
            Party::with(move |builder| builder.limits(limits), move |events| events.asides = Some(asides))
        };
        let bob = listening(Limits::default(), tell.clone()).await;
        let mut raw = Raw::connect(&bob.url);
        raw.send(&[7]);
        raw.rest();
        let Aside::Rejected(addr, closing) = within(asides.recv()).await.unwrap() else { panic!() };
        assert_eq!(addr, raw.stream.local_addr().unwrap());
        assert!(matches!(closing.reason, CloseReason::Protocol(ProtocolError::Frame(_))), "{closing}");

        let carol = listening(peers(PeerLimits { max_connections: 1, ..PeerLimits::HOST }), tell).await;
        let open = Raw::opened(&carol.url, "open");
        carol.up().await;
        let mut turned_away = Raw::connect(&carol.url);
        turned_away.rest();
        let Aside::Rejected(addr, closing) = within(asides.recv()).await.unwrap() else { panic!() };
        assert_eq!(addr, turned_away.stream.local_addr().unwrap());
        assert_eq!(closing.reason, CloseReason::Capacity(CapacityError::Connections));
        // Who was up is down, and nothing else.
        drop(open);
        carol.down().await;
        assert!(asides.is_empty());
    });
}

#[test]
fn what_goes_to_nobody_is_told_with_its_space_and_reason() {
    test(async {
        let (tell, asides) = async_channel::unbounded();
        let bob = Party::with(|builder| builder, |events| events.asides = Some(tell)).await;
        let mut raw = Raw::opened(&bob.url, "raw");
        let peer = bob.up().await;
        bob.node.block("raw", Some(SPACE)).unwrap();
        raw.send(&data(&Message::notify(b"nowhere", b"")));
        raw.send(&data(&Message::notify(SPACE, b"")));
        bob.mute(b"other");
        raw.send(&data(&Message::module(b"other", "none", b"")));
        for (space, reason) in [
            (&b"nowhere"[..], DropReason::UnknownSpace),
            (SPACE, DropReason::Blocked),
            (b"other", DropReason::UnknownModule),
        ] {
            let aside = within(asides.recv()).await.unwrap();
            assert_eq!(aside, Aside::Dropped(peer.clone(), space.to_vec(), reason));
        }
    });
}
