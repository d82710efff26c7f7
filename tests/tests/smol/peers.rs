//! One connection a peer, and nothing lost.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use async_channel::{Sender, unbounded};
use async_io::Timer;
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::Config;
use kitfox_core::wire::{FrameHeader, HEADER_BYTES, Message};
use kitfox_smol::{
    CloseReason, ConnectError, Direction, Down, DownCause, Handler, Limits, MessageId, Node, NotSentCause,
    Numbers, Peer, PeerLimits, Refused, SendError,
};

use crate::common::*;

#[test]
fn a_message_to_a_peer_that_is_not_connected_dials() {
    test(async {
        let (alice, bob) = (Party::new().await, Party::new().await);
        for number in 0..100u64 {
            let id = alice.node.notify(&bob.url, SPACE, &number.to_be_bytes()).unwrap();
            assert_eq!(id.number, number);
        }
        for number in 0..100u64 {
            assert_eq!(bob.hears().await, number.to_be_bytes());
        }
        assert_eq!(alice.up().await.direction(), Direction::Outgoing);
        assert_eq!(bob.up().await.url(), alice.url);
        assert_eq!(alice.node.stats().connected_peers, 1);
        // A handle spares the look, before and after.
        let handle = alice.node.peer(&bob.url).unwrap();
        assert_eq!(handle.notify(SPACE, b"by handle").unwrap().number, 100);
        assert_eq!(bob.hears().await, b"by handle");
        assert_eq!(handle.peer().unwrap().url(), bob.url);
    });
}

#[test]
fn both_dial_at_once_and_one_connection_stays() {
    test(async {
        for _ in 0..40 {
            let (alice, bob) = (Party::new().await, Party::new().await);
            let send = |from: &Node, to: &str| {
                let (from, to) = (from.clone(), to.to_owned());
                thread::spawn(move || {
                    for number in 0..50u32 {
                        from.notify(&to, SPACE, &number.to_be_bytes()).unwrap();
                    }
                })
            };
            let (a, b) = (send(&alice.node, &bob.url), send(&bob.node, &alice.url));
            for number in 0..50u32 {
                assert_eq!(alice.hears().await, number.to_be_bytes());
                assert_eq!(bob.hears().await, number.to_be_bytes());
            }
            a.join().unwrap();
            b.join().unwrap();
            alice.up().await;
            bob.up().await;
            for party in [&alice, &bob] {
                let stats = party.node.stats();
                assert_eq!(stats.connections.len(), 1, "{stats:?}");
                assert_eq!(stats.totals.sent_messages, 50);
                assert!(party.events.is_empty(), "nobody was down: {:?}", party.events.try_recv());
            }
        }
    });
}

/// Passes bytes on between two nodes, until it is cut.
struct Wire {
    url: String,
    ends: async_channel::Receiver<(TcpStream, TcpStream)>,
}

impl Wire {
    fn to(url: &str) -> Self {
        let (addr, id) = url.trim_start_matches("ws://").split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = format!("ws://{}/{id}", listener.local_addr().unwrap());
        let (sender, ends) = unbounded();
        let addr = addr.to_owned();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let Ok(far) = TcpStream::connect(&addr) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
                if sender.try_send((near, far)).is_err() {
                    return;
                }
            }
        });
        Self { url: own, ends }
    }

    async fn cut(&self) {
        let (near, far) = within(self.ends.recv()).await.unwrap();
        for end in [near, far] {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

#[test]
fn what_was_written_on_a_cut_connection_is_unknown_and_later_messages_arrive() {
    test(async {
        let (alice, bob) = (Party::new().await, Party::new().await);
        let wire = Wire::to(&bob.url);
        for number in 0..10u8 {
            alice.node.notify(&wire.url, SPACE, &[number]).unwrap();
            assert_eq!(bob.hears().await, [number]);
        }
        let key = alice.up().await.key().unwrap();
        wire.cut().await;
        let down = alice.down().await;
        assert!(matches!(down.cause, DownCause::Ended(CloseReason::Ended | CloseReason::Failed)));
        assert_eq!(down.unknown, Some(Numbers { first: 0, last: 9 }));
        alice.unresponsive().await;
        let after = alice.node.notify(&bob.url, SPACE, b"after").unwrap();
        assert!(after.peer != key || after.number == 10);
        assert_eq!(bob.hears().await, b"after");
        let totals = alice.node.stats().totals;
        assert_eq!((totals.unknown_messages, totals.sent_messages, totals.not_sent_messages), (10, 11, 0));
    });
}

#[test]
fn what_waits_for_a_peer_that_cannot_be_reached_is_handed_back_once_each() {
    test(async {
        let backoff = Duration::from_millis(5);
        let alice = Party::limited(peers(PeerLimits { backoff, ..PeerLimits::HOST })).await;
        let gone = Party::new().await;
        gone.node.shutdown().await;
        let big = Bytes::from(vec![9; 100_000]);
        let first = alice.node.notify_shared(&gone.url, SPACE, big.clone()).unwrap();
        for number in 1..10u8 {
            alice.node.module(&gone.url, SPACE, "m", &[number]).unwrap();
        }
        for number in 0..10u8 {
            let Event::NotSent(id, cause, data) = alice.event().await else { panic!() };
            assert_eq!((id.peer, id.number), (first.peer, number.into()));
            assert_eq!(cause, NotSentCause::DialFailed);
            assert!(if number == 0 { data == big } else { data[..] == [number] });
        }
        alice.unresponsive().await;
        assert_eq!(alice.node.stats().queued_bytes, 0);
        assert_eq!(alice.node.stats().known_peers, 0);
        // While our own network is down it is nobody's fault.
        alice.node.set_network_up(false);
        alice.node.notify(&gone.url, SPACE, b"x").unwrap();
        assert!(matches!(alice.event().await, Event::NotSent(..)));
        assert!(matches!(alice.node.connect(&gone.url).await, Err(ConnectError::Dial(_))));
        assert!(alice.events.is_empty());
    });
}

#[test]
fn a_peer_that_sends_a_byte_a_second_is_closed_and_others_are_served() {
    test(async {
        let config = Config { preflight_timeout: Duration::from_millis(400), ..Config::HOST };
        let (alice, bob) = (Party::new().await, Party::configured(config).await);
        let mut slow = Raw::connect(&bob.url);
        let dripping = thread::spawn(move || {
            let bytes = preflight("ws://127.0.0.1:1/slow", &Message::preflight(b"hi"));
            for byte in bytes.chunks(1) {
                if slow.stream.write_all(byte).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(100));
            }
            slow.rest()
        });
        for _ in 0..20 {
            alice.node.notify(&bob.url, SPACE, b"meanwhile").unwrap();
            assert_eq!(bob.hears().await, b"meanwhile");
        }
        let rest = within(smol::unblock(move || dripping.join().unwrap())).await;
        assert!(rest.is_empty() || rest == data(&Message::disconnect(b"timeout")));
        assert_eq!(bob.node.peers().len(), 1);
    });
}

/// The limit of open files is raised to its hard limit: two for each connection are needed here.
#[test]
fn two_thousand_peers_are_connected_at_once_and_each_is_heard() {
    const PEERS: usize = 2000;
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(hard.min(soft.max(8192)), hard).unwrap();
    test(async {
        let bob = Party::new().await;
        let url = bob.url.clone();
        let dialling = thread::spawn(move || -> Vec<Raw> {
            (0..PEERS)
                .map(|number| {
                    let mut raw = Raw::opened(&url, &format!("peer-{number}"));
                    raw.send(&data(&Message::notify(SPACE, &(number as u32).to_be_bytes())));
                    raw
                })
                .collect()
        });
        let mut heard = HashSet::new();
        for _ in 0..PEERS {
            heard.insert(bob.hears().await);
        }
        assert_eq!(heard.len(), PEERS);
        assert_eq!(bob.node.stats().connected_peers, PEERS);
        assert_eq!(bob.node.stats().totals.received_messages, PEERS as u64);
        drop(smol::unblock(move || dialling.join().unwrap()).await);
    });
}

#[test]
fn two_peers_are_read_on_two_threads_at_once() {
    test(async {
        let (alice, bob, carol) = (Party::new().await, Party::new().await, Party::new().await);
        let barrier = Arc::new(Barrier::new(2));
        let (met, meet) = unbounded();
        let both = move |_: &Peer, _: &[u8]| {
            barrier.wait();
            met.try_send(()).map_err(|_| Refused)
        };
        bob.node.register_space(b"both", both).unwrap();
        for party in [&alice, &carol] {
            party.mute(b"both");
            party.node.notify(&bob.url, b"both", b"").unwrap();
        }
        within(meet.recv()).await.unwrap();
        within(meet.recv()).await.unwrap();
    });
}

#[test]
fn the_memory_of_all_outboxes_together_is_limited() {
    test(async {
        let limits = Limits { max_send_bytes: 100_000, ..Limits::default() };
        let (alice, bob) = (Party::limited(limits).await, Party::new().await);
        let mut lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;
        // What the system's buffers take is not ours any more.
        let payload = vec![7; 60_000];
        let mut sent = 0;
        loop {
            match alice.node.notify(peer.url(), SPACE, &payload) {
                Ok(_) => sent += 1,
                Err(error) => {
                    assert_eq!(error, SendError::Backpressure);
                    if alice.node.stats().queued_bytes > 50_000
                        && future::poll_once(alice.node.ready(peer.url(), 60_000)).await.is_none()
                    {
                        break;
                    }
                    future::yield_now().await;
                }
            }
        }
        let totals = alice.node.stats().totals;
        assert!(totals.send_memory_full > 0 && totals.outbox_full == 0);
        let reading = thread::spawn(move || {
            let mut frame = vec![0; data(&Message::notify(SPACE, &[7; 60_000])).len()];
            for _ in 0..sent {
                lazy.stream.read_exact(&mut frame).unwrap();
            }
            lazy
        });
        within(alice.node.ready(peer.url(), 60_000)).await.unwrap();
        smol::unblock(move || reading.join().unwrap()).await;
        alice.node.notify(&bob.url, SPACE, b"room").unwrap();
        assert_eq!(bob.hears().await, b"room");
    });
}

#[test]
fn the_receive_memory_of_all_connections_together_is_limited() {
    test(async {
        let limits = Limits { max_receive_bytes: 300_000, ..Limits::default() };
        let bob = Party::limited(limits).await;
        let mut raws: Vec<_> = (0..2).map(|number| Raw::opened(&bob.url, &format!("big-{number}"))).collect();
        let message = data(&Message::notify(SPACE, &vec![7; 1 << 20]));
        bob.up().await;
        bob.up().await;
        raws[0].send(&message[..200_000]);
        while bob.node.stats().receive_bytes < 200_000 {
            future::yield_now().await;
        }
        raws[1].send(&message[..200_000]);
        let down = bob.down().await;
        assert_eq!(down.reason(), CloseReason::Capacity(kitfox_smol::CapacityError::ReceiveMemory));
        assert_eq!(bob.node.stats().totals.receive_memory_full, 1);
        assert_eq!(bob.node.peers().len(), 1);
    });
}

#[test]
fn a_peer_that_has_no_place_is_refused_and_counted() {
    test(async {
        let alice = Party::limited(peers(PeerLimits { max_peers: 1, ..PeerLimits::HOST })).await;
        let (bob, carol) = (Party::new().await, Party::new().await);
        connect(&alice, &bob).await;
        let refused = alice.node.notify(&carol.url, SPACE, b"");
        assert_eq!(refused, Err(SendError::Capacity(kitfox_smol::CapacityError::Peers)));
        assert_eq!(alice.node.stats().totals.no_place_for_peer, 1);
    });
}

#[test]
fn a_full_stream_stops_the_peer_and_lets_it_go_on() {
    test(async {
        let patient = Config { high_water_bytes: 100 << 20, ..Config::HOST };
        let (alice, bob, carol) = (Party::configured(patient).await, Party::new().await, Party::new().await);
        let stream = bob.node.register_space_stream(b"stream", 2).unwrap();
        for party in [&alice, &carol] {
            party.mute(b"stream");
        }
        let payload = vec![5; 100_000];
        for number in 0..300u32 {
            let mut message = number.to_be_bytes().to_vec();
            message.extend(&payload);
            alice.node.notify(&bob.url, b"stream", &message).unwrap();
        }
        while stream.len() < 2 {
            future::yield_now().await;
        }
        // The peer is stopped: what the system's buffers do not hold waits there.
        assert!(alice.node.stats().queued_bytes > 0);
        // Nobody else is.
        carol.node.notify(&bob.url, SPACE, b"meanwhile").unwrap();
        assert_eq!(bob.hears().await, b"meanwhile");
        for number in 0..300u32 {
            let message = within(stream.recv()).await.unwrap();
            assert_eq!((message.from.url(), &message.data[..4]), (&alice.url[..], &number.to_be_bytes()[..]));
            assert!(message.data[4..] == payload);
        }
        // A stream that is full ends with its connection, and one that is dropped unregisters.
        for _ in 0..10 {
            alice.node.notify(&bob.url, b"stream", &payload).unwrap();
        }
        bob.node.disconnect(&alice.url, b"enough");
        bob.up().await;
        drop(stream);
        bob.mute(b"stream");
    });
}

#[test]
fn listening_addresses_come_and_go() {
    test(async {
        let (alice, bob) = (Party::limited(hasty()).await, Party::new().await);
        let second = bob.node.listen("127.0.0.1:0").await.unwrap();
        assert_eq!(bob.node.own_urls(), [bob.url.as_str(), second.as_str()]);
        assert!(bob.node.unlisten(&bob.url).await);
        assert!(!bob.node.unlisten(&bob.url).await);
        assert!(matches!(alice.node.connect(&bob.url).await, Err(ConnectError::Dial(_))));
        assert_eq!(alice.node.connect(&second).await.unwrap().url(), second);
        // The address is free, and the connection stays when the last one goes.
        let addr = bob.url.trim_start_matches("ws://").split_once('/').unwrap().0;
        TcpListener::bind(addr).unwrap();
        assert!(bob.node.unlisten(&second).await);
        alice.node.notify(&second, SPACE, b"still here").unwrap();
        assert_eq!(bob.hears().await, b"still here");
    });
}

#[test]
fn spaces_have_handles() {
    test(async {
        let (alice, bob) = (Party::new().await, Party::new().await);
        let space = alice.node.register_space(b"den", |_: &Peer, _: &[u8]| Ok(())).unwrap();
        let stream = bob.node.register_space_stream(b"den", 4).unwrap();
        let cubs = bob.node.register_module_stream(b"den", "cubs", 4).unwrap();
        space.notify(&bob.url, b"hello").unwrap();
        space.module("cubs").send(&bob.url, b"cub").unwrap();
        assert_eq!(&within(stream.recv()).await.unwrap().data[..], b"hello");
        assert_eq!(&within(cubs.recv()).await.unwrap().data[..], b"cub");
        let weak = space.downgrade();
        assert!(space.unregister().await);
        assert!(weak.upgrade().is_some());
        assert!(matches!(space.notify(&bob.url, b""), Err(SendError::Refused(_))));
        drop((space, alice.node));
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn what_waits_at_the_end_of_a_node_is_handed_back() {
    test(async {
        let limits = PeerLimits { backoff: Duration::from_secs(60), ..PeerLimits::HOST };
        let (alice, gone) = (Party::limited(peers(limits)).await, Party::new().await);
        gone.node.shutdown().await;
        alice.node.notify(&gone.url, SPACE, b"in vain").unwrap();
        assert_eq!(within(alice.node.shutdown()).await, 0);
        let Event::NotSent(_, cause, data) = alice.event().await else { panic!() };
        assert_eq!((cause, &data[..]), (NotSentCause::Disconnected, &b"in vain"[..]));
    });
}

#[test]
fn a_half_open_peer_that_comes_back_takes_its_place() {
    test(async {
        let bob = Party::new().await;
        let first = Raw::opened(&bob.url, "fox");
        let up = bob.up().await;
        bob.node.notify(up.url(), SPACE, b"lost?").unwrap();
        while bob.node.stats().totals.sent_messages == 0 {
            future::yield_now().await;
        }
        // The peer forgets the connection: the probe of its next one finds that out.
        let mut second = Raw::connect(&bob.url);
        second.send(&preflight("ws://127.0.0.1:1/fox", &Message::preflight(b"hi")));
        let held = |stats: kitfox_smol::Stats| stats.totals.accepted == 2 && stats.pending == 0;
        while !held(bob.node.stats()) {
            future::yield_now().await;
        }
        drop(first);
        let down = bob.down().await;
        assert_eq!(down.unknown, Some(Numbers { first: 0, last: 0 }));
        second.send(&[1, 0, 0, 0, 0]);
        assert_eq!(bob.up().await.url(), up.url());
        bob.node.notify(up.url(), SPACE, b"again").unwrap();
        let expected = data(&Message::notify(SPACE, b"again"));
        let mut header = [0; HEADER_BYTES];
        second.stream.read_exact(&mut header).unwrap();
        let len = FrameHeader::decode(&header, 1 << 20).unwrap().payload_bytes as usize;
        let mut rest = vec![0; len + expected.len()];
        second.stream.read_exact(&mut rest).unwrap();
        assert_eq!(rest[len..], expected);
    });
}

/// As one of two nodes does that have dialled each other at once: its goodbye comes with its preflight or after it.
#[test]
fn a_connection_that_is_held_ends_when_its_peer_leaves() {
    test(async {
        for apart in [false, true] {
            let patient = Config { preflight_timeout: Duration::from_secs(600), ..Config::HOST };
            let bob = Party::configured(patient).await;
            let first = Raw::opened(&bob.url, "fox");
            bob.up().await;
            let mut second = Raw::connect(&bob.url);
            let mut said = preflight("ws://127.0.0.1:1/fox", &Message::preflight(b"hi"));
            if apart {
                second.send(&std::mem::take(&mut said));
                let held = |stats: kitfox_smol::Stats| stats.totals.accepted == 2 && stats.pending == 0;
                while !held(bob.node.stats()) {
                    future::yield_now().await;
                }
            }
            said.extend(data(&Message::disconnect(b"superseded")));
            second.send(&said);
            second.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(second.rest(), b"", "it is closed, and not only at its deadline");
            let stats = bob.node.stats();
            assert_eq!((stats.connections.len(), stats.totals.closed), (1, 1));
            assert!(bob.events.is_empty(), "the one that is up is not concerned");
            drop(first);
        }
    });
}

/// Delivered once and in order, or unknown, or handed back: each message has its fate, however often the wire is cut.
#[test]
fn every_message_has_one_fate_however_often_the_wire_is_cut() {
    const MESSAGES: u32 = 20_000;
    test(async {
        let quick = PeerLimits { backoff: Duration::from_millis(1), ..PeerLimits::HOST };
        let (alice, bob) = (Party::limited(peers(quick)).await, Party::new().await);
        let wire = Wire::to(&bob.url);
        let (node, url) = (alice.node.clone(), wire.url.clone());
        let sending = thread::spawn(move || {
            let numbers = 0..MESSAGES;
            numbers
                .map(|number| {
                    if number % 100 == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    (node.notify(&url, SPACE, &number.to_be_bytes()).unwrap(), number)
                })
                .collect::<HashMap<_, _>>()
        });
        let mut cuts = 0;
        let cutting = async {
            loop {
                wire.cut().await;
                cuts += 1;
                Timer::after(Duration::from_millis(3)).await;
            }
        };
        let sent = future::or(cutting, smol::unblock(move || sending.join().unwrap())).await;
        assert!(cuts > 0);
        let mut unknown = HashSet::<u32>::new();
        let (mut handed_back, mut up) = (HashSet::new(), None::<Peer>);
        let mut take = |event| match event {
            Event::Up(peer) => {
                assert!(up.is_none(), "one session at a time");
                up = Some(peer);
            }
            Event::Down(peer, down) => {
                assert_eq!(up.take(), Some(peer.clone()));
                let peer = peer.key().unwrap();
                let numbers = down.unknown.map_or(0..0, |Numbers { first, last }| first..last + 1);
                unknown.extend(numbers.filter_map(|number| sent.get(&MessageId { peer, number })));
            }
            Event::NotSent(id, _, data) => {
                assert_eq!(sent[&id].to_be_bytes(), data[..]);
                assert!(handed_back.insert(sent[&id]), "handed back once");
            }
            Event::Unresponsive(_) => {}
        };
        while alice.node.stats().queued_bytes > 0 {
            future::yield_now().await;
        }
        // The last cut may not have been noticed yet: some of these may be lost.
        let (mut heard, mut accepted) = (Vec::new(), u64::from(MESSAGES));
        while heard.last().is_none_or(|last| *last < MESSAGES) {
            let marker = MESSAGES + accepted as u32;
            alice.node.notify(&wire.url, SPACE, &marker.to_be_bytes()).unwrap();
            accepted += 1;
            let late = async {
                Timer::after(Duration::from_millis(20)).await;
                None
            };
            let mut late = Box::pin(late);
            while let Some(data) = future::or(async { bob.heard.recv().await.ok() }, &mut late).await {
                heard.push(u32::from_be_bytes(data.try_into().unwrap()));
                if heard.last() >= Some(&MESSAGES) {
                    break;
                }
            }
        }
        while let Ok(event) = alice.events.try_recv() {
            take(event);
        }
        assert!(heard.is_sorted_by(|one, next| one < next), "in order, and once");
        let heard: HashSet<_> = heard.into_iter().collect();
        for number in 0..MESSAGES {
            let back = handed_back.contains(&number);
            assert!(
                heard.contains(&number) || unknown.contains(&number) || back,
                "{number} is lost in silence"
            );
            assert!(!back || !heard.contains(&number) && !unknown.contains(&number));
        }
        let totals = alice.node.stats().totals;
        assert_eq!(totals.accepted_messages, accepted);
        assert!(totals.unknown_messages >= unknown.len() as u64);
        assert_eq!(totals.sent_messages + totals.not_sent_messages, totals.accepted_messages);
    });
}

#[test]
fn totals_stay_exact_when_connections_come_and_go() {
    test(async {
        let (alice, bob) = (Party::new().await, Party::new().await);
        for round in 1..=10u64 {
            for _ in 0..5 {
                alice.node.notify(&bob.url, SPACE, b"12345").unwrap();
                bob.hears().await;
            }
            alice.up().await;
            bob.up().await;
            assert!(alice.node.disconnect(&bob.url, b"bye"));
            alice.down().await;
            bob.told(b"bye").await;
            let wire = data(&Message::notify(SPACE, b"12345")).len() as u64;
            let (a, b) = (alice.node.stats(), bob.node.stats());
            assert_eq!((a.totals.sent_messages, a.totals.sent_bytes), (5 * round, 5 * round * wire));
            assert_eq!((b.totals.received_messages, b.totals.received_bytes), (5 * round, 5 * round * wire));
            assert_eq!((a.totals.dialled, a.totals.opened, a.totals.closed), (round, round, round));
            assert_eq!((b.totals.accepted, b.totals.opened, b.totals.closed), (round, round, round));
            assert_eq!((a.queued_bytes, a.known_peers, a.connected_peers), (0, 0, 0));
        }
        let json = serde_json::to_value(alice.node.stats()).unwrap();
        assert_eq!(json["totals"]["sent_messages"], 50);
    });
}

/// Is slow to take note of the end of a session.
struct Mourner {
    log: Sender<&'static str>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Handler for Mourner {
    fn peer_up(&self, _: &Peer) {
        let _ = self.log.try_send("up");
    }

    fn peer_down(&self, _: &Peer, _: &Down) {
        let _ = self.log.try_send("down");
        let _ = self.go.lock().unwrap().recv_timeout(PATIENCE);
        let _ = self.log.try_send("told");
    }
}

#[test]
fn a_session_begins_for_the_application_only_when_the_one_before_was_told() {
    test(async {
        let (log, logged) = unbounded();
        let (go, goes) = mpsc::channel();
        let alice = Node::builder()
            .plain()
            .handler(Mourner { log: log.clone(), go: Mutex::new(goes) })
            .build()
            .unwrap();
        let hear = move |_: &Peer, _: &[u8]| log.try_send("message").map_err(|_| Refused);
        alice.register_space(SPACE, hear).unwrap();
        let bob = Party::new().await;
        alice.notify(&bob.url, SPACE, b"1").unwrap();
        assert_eq!(bob.hears().await, b"1");
        let url = bob.up().await.url().to_owned();
        assert!(bob.node.disconnect(&url, b"for now"));
        for expected in ["up", "down"] {
            assert_eq!(within(logged.recv()).await.unwrap(), expected);
        }
        // The next session carries messages already, and the application hears of none before it is done with the last.
        alice.notify(&bob.url, SPACE, b"2").unwrap();
        assert_eq!(bob.hears().await, b"2");
        bob.node.notify(&url, SPACE, b"reply").unwrap();
        Timer::after(Duration::from_millis(50)).await;
        assert!(logged.is_empty());
        go.send(()).unwrap();
        for expected in ["told", "up", "message"] {
            assert_eq!(within(logged.recv()).await.unwrap(), expected);
        }
        drop(go);
    });
}
