//! kitfox-smol end to end, over loopback.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

use std::future::{Future, pending};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use async_channel::{Receiver, Sender, unbounded};
use async_io::Timer;
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::storage::BufferLimits;
use kitfox_core::wire::{FrameHeader, FrameType, HEADER_BYTES, Message, PeerUrl, PreflightPayload, UrlRules};
use kitfox_core::{Config, ProtocolError};
use kitfox_smol::{
    BoxFuture, Builder, CloseReason, ConnectError, Direction, Down, Handler, Limits, ListenError, Node, Peer,
    Refusal, Refused, RegisterError, SendError, SendRefused, SpaceHandler, Timeout,
};

const PATIENCE: Duration = Duration::from_secs(15);
const SPACE: &[u8] = b"garden";

/// Runs a test to its end, but not for ever.
fn test<T>(body: impl Future<Output = T>) -> T {
    async_io::block_on(within(body))
}

async fn within<T>(body: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("not over after {PATIENCE:?}");
    };
    future::or(body, late).await
}

#[derive(Debug, Clone, PartialEq)]
enum Event {
    Up(Peer),
    Down(Peer, Down),
}

/// Reports events and answers questions as it was told to.
struct Events {
    sender: Sender<Event>,
    admit: Result<(), Refused>,
    valid: Result<(), Refused>,
    at_home: bool,
    /// Questions of whether a peer may connect are never answered.
    silent: bool,
}

impl Handler for Events {
    fn peer_connect<'a>(&'a self, _: &'a Peer) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async {
            if self.silent {
                pending::<()>().await;
            }
            self.admit
        })
    }

    fn has_local_agents<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, bool> {
        Box::pin(async { self.at_home })
    }

    fn preflight_validate<'a>(&'a self, _: &'a Peer, _: &'a [u8]) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async { self.valid })
    }

    fn peer_up(&self, peer: &Peer) {
        let _ = self.sender.try_send(Event::Up(peer.clone()));
    }

    fn peer_down(&self, peer: &Peer, down: &Down) {
        let _ = self.sender.try_send(Event::Down(peer.clone(), down.clone()));
    }
}

/// A node that listens, with its events, and the messages that come to [`SPACE`].
struct Party {
    node: Node,
    url: String,
    events: Receiver<Event>,
    heard: Receiver<Vec<u8>>,
}

impl Party {
    async fn new() -> Self {
        Self::with(|builder| builder, |_| {}).await
    }

    async fn with(build: impl FnOnce(Builder) -> Builder, behave: impl FnOnce(&mut Events)) -> Self {
        let (sender, events) = unbounded();
        let mut handler = Events { sender, admit: Ok(()), valid: Ok(()), at_home: true, silent: false };
        behave(&mut handler);
        let node = build(Node::builder().handler(handler)).build().unwrap();
        let url = node.listen("127.0.0.1:0").await.unwrap();
        let (hears, heard) = unbounded();
        let hear = move |_: &Peer, data: &[u8]| {
            let _ = hears.try_send(data.to_vec());
            Ok(())
        };
        node.register_space(SPACE, hear).unwrap();
        Self { node, url, events, heard }
    }

    async fn configured(config: Config) -> Self {
        Self::with(|builder| builder.config(config), |_| {}).await
    }

    async fn limited(limits: Limits) -> Self {
        Self::with(|builder| builder.limits(limits), |_| {}).await
    }

    /// Registers a space in which nothing is to be heard, to send from it.
    fn mute(&self, space: &[u8]) {
        self.node.register_space(space, |_: &Peer, _: &[u8]| Ok(())).unwrap();
    }

    async fn hears(&self) -> Vec<u8> {
        within(self.heard.recv()).await.unwrap()
    }

    async fn up(&self) -> Peer {
        match within(self.events.recv()).await.unwrap() {
            Event::Up(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    async fn down(&self) -> Down {
        match within(self.events.recv()).await.unwrap() {
            Event::Down(_, down) => down,
            other => panic!("{other:?}"),
        }
    }

    /// The peer has said goodbye, with this reason.
    async fn told(&self, reason: &[u8]) {
        let down = self.down().await;
        assert_eq!(down.reason, CloseReason::Disconnected);
        assert_eq!(down.message.escape_ascii().to_string(), reason.escape_ascii().to_string());
    }
}

/// Two nodes that are connected, the first dialled.
async fn pair() -> (Party, Party) {
    let (alice, bob) = (Party::new().await, Party::new().await);
    connect(&alice, &bob).await;
    (alice, bob)
}

async fn connect(alice: &Party, bob: &Party) {
    let peer = within(alice.node.connect(&bob.url)).await.unwrap();
    assert_eq!(peer.url(), bob.url);
    assert_eq!(alice.up().await, peer);
    assert_eq!(bob.up().await.url(), alice.url);
}

/// Sets a space handler that has its own node.
fn with_node(
    node: &Node,
    space: &[u8],
    handle: impl Fn(&Node, &Peer, &[u8]) -> Result<(), Refused> + Send + Sync + 'static,
) {
    let weak = node.downgrade();
    let handler =
        move |from: &Peer, data: &[u8]| weak.upgrade().map_or(Ok(()), |node| handle(&node, from, data));
    node.register_space(space, handler).unwrap();
}

/// Somebody with a socket and ideas of its own.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    fn connect(url: &str) -> Self {
        let addr = url.trim_start_matches("ws://").split_once('/').unwrap().0.to_owned();
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Connects and goes through the gate.
    fn opened(url: &str, id: &str) -> Self {
        let mut raw = Self::connect(url);
        raw.send(&preflight(&format!("ws://127.0.0.1:1/{id}"), &Message::preflight(b"hi")));
        raw.send(&[1, 0, 0, 0, 0]);
        let mut header = [0; HEADER_BYTES];
        raw.stream.read_exact(&mut header).unwrap();
        let header = FrameHeader::decode(&header, 1 << 20).unwrap();
        assert_eq!(header.ty, FrameType::Preflight);
        let mut payload = vec![0; header.payload_bytes as usize];
        raw.stream.read_exact(&mut payload).unwrap();
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        // The node may have closed by now, which the test sees when it reads.
        let _ = self.stream.write_all(bytes);
    }

    /// Everything that the node says before it closes. Panics if it does not.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
            _ => rest,
        }
    }
}

fn frame(ty: FrameType, payload: &[u8]) -> Vec<u8> {
    let mut frame = FrameHeader::new(ty, payload.len(), usize::MAX).unwrap().encode().to_vec();
    frame.extend(payload);
    frame
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    bytes
}

fn data(message: &Message<'_>) -> Vec<u8> {
    frame(FrameType::Data, &encoded(message))
}

fn preflight(url: &str, message: &Message<'_>) -> Vec<u8> {
    let url = PeerUrl::parse(url, &UrlRules::default()).unwrap();
    let message = encoded(message);
    let payload = PreflightPayload { url, message: &message };
    let mut bytes = vec![0; payload.encoded_len()];
    payload.encode(&mut bytes).unwrap();
    frame(FrameType::Preflight, &bytes)
}

#[test]
fn messages_flow_in_both_directions() {
    test(async {
        let (alice, bob) = pair().await;
        for (from, to) in [(&alice, &bob), (&bob, &alice)] {
            from.node.notify(&to.url, SPACE, b"hello").unwrap();
            assert_eq!(to.hears().await, b"hello");

            let (hears, heard) = unbounded();
            let photos = move |from: &Peer, data: &[u8]| {
                let _ = hears.try_send((from.url().to_owned(), data.to_vec()));
                Ok(())
            };
            to.node.register_module(SPACE, "photos", photos).unwrap();
            from.node.module(&to.url, SPACE, "photos", b"cat").unwrap();
            assert_eq!(within(heard.recv()).await.unwrap(), (from.url.clone(), b"cat".to_vec()));
        }
        // An id means the same peer in every spelling and at every address.
        let spelled = format!("ws://elsewhere.example:1/{}", bob.node.peer_id().to_uppercase());
        alice.node.notify(&spelled, SPACE, b"same").unwrap();
        assert_eq!(bob.hears().await, b"same");
    });
}

#[test]
fn stats_tell_of_each_connection() {
    test(async {
        let before = SystemTime::now();
        let (alice, bob) = pair().await;
        alice.node.notify(&bob.url, SPACE, b"hello").unwrap();
        bob.hears().await;
        bob.node.notify(&alice.url, SPACE, b"hi").unwrap();
        alice.hears().await;
        let stats = alice.node.stats();
        assert_eq!(stats.own_urls, [alice.url.as_str()]);
        let [connection] = &stats.connections[..] else { panic!("{stats:?}") };
        assert_eq!((connection.peer.as_str(), connection.direction), (bob.url.as_str(), Direction::Outgoing));
        assert!(connection.opened_at >= before && connection.opened_at <= SystemTime::now());
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
        let echo =
            |node: &Node, from: &Peer, data: &[u8]| node.notify(from.url(), SPACE, data).map_err(|_| Refused);
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
                node.notify(from.url(), SPACE, b"registered").map_err(|_| Refused)
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
        assert_eq!(second, Err(RegisterError::Duplicate));
    });
}

#[test]
fn after_a_disconnect_from_inside_nothing_more_is_delivered() {
    test(async {
        let (alice, bob) = pair().await;
        let (hears, heard) = unbounded();
        with_node(&bob.node, b"once", move |node, from, data| {
            let _ = hears.try_send(data.to_vec());
            node.disconnect(from.url(), b"enough");
            Ok(())
        });
        alice.mute(b"once");
        for number in 0..100u8 {
            // The connection may end meanwhile.
            let _ = alice.node.notify(&bob.url, b"once", &[number]);
        }
        alice.told(b"enough").await;
        assert_eq!(bob.down().await.reason, CloseReason::Local);
        assert_eq!(heard.recv().await.unwrap(), [0]);
        assert!(heard.is_empty());
    });
}

#[test]
fn a_handler_that_refuses_closes_the_connection_with_a_reason() {
    test(async {
        let (alice, bob) = pair().await;
        bob.node.register_module(SPACE, "strict", |_: &Peer, _: &[u8]| Err(Refused)).unwrap();
        alice.node.module(&bob.url, SPACE, "strict", b"please").unwrap();
        alice.told(b"refused").await;
        assert_eq!(bob.down().await.reason, CloseReason::Refused(Refusal::Handler));
        assert_eq!(alice.node.notify(&bob.url, SPACE, b"?"), Err(SendError::NotConnected));
    });
}

#[test]
fn blocked_messages_are_dropped_and_counted_in_both_directions() {
    test(async {
        let (alice, bob) = pair().await;
        bob.node.block(&alice.node.peer_id().to_uppercase(), Some(SPACE)).unwrap();
        for _ in 0..3 {
            alice.node.notify(&bob.url, SPACE, b"unheard").unwrap();
        }
        let blocked = bob.node.notify(&alice.url, SPACE, b"unsent");
        assert_eq!(blocked, Err(SendError::Refused(SendRefused::Blocked)));
        // Another space is not blocked, and what arrives there comes after what is dropped.
        let (hears, heard) = unbounded();
        let open = move |_: &Peer, _: &[u8]| hears.try_send(()).map_err(|_| Refused);
        bob.node.register_space(b"open", open).unwrap();
        alice.mute(b"open");
        alice.node.notify(&bob.url, b"open", b"").unwrap();
        within(heard.recv()).await.unwrap();
        let stats = bob.node.stats();
        let [count] = &stats.blocked[..] else { panic!("{stats:?}") };
        assert_eq!((count.peer.as_str(), &count.space[..]), (alice.url.as_str(), SPACE));
        assert_eq!((count.incoming, count.outgoing), (3, 1));

        assert!(bob.node.unblock(alice.node.peer_id(), Some(SPACE)));
        assert!(!bob.node.unblock(alice.node.peer_id(), Some(SPACE)));
        alice.node.notify(&bob.url, SPACE, b"heard").unwrap();
        assert_eq!(bob.hears().await, b"heard");
    });
}

#[test]
fn messages_for_nobody_are_refused_at_home_and_dropped_away() {
    test(async {
        let (alice, bob) = pair().await;
        let unknown = alice.node.notify(&bob.url, b"nowhere", b"");
        assert_eq!(unknown, Err(SendError::Refused(SendRefused::UnknownSpace)));
        alice.mute(b"nowhere");
        alice.node.notify(&bob.url, b"nowhere", b"").unwrap();
        alice.node.module(&bob.url, SPACE, "nothing", b"").unwrap();
        alice.node.notify(&bob.url, SPACE, b"after").unwrap();
        assert_eq!(bob.hears().await, b"after");
        assert_eq!(bob.node.notify("ws://a:1", SPACE, b""), Err(SendError::NoPeerId));
        assert_eq!(bob.node.notify("ws://a:1/stranger", SPACE, b""), Err(SendError::NotConnected));
        assert!(matches!(bob.node.notify("nonsense", SPACE, b""), Err(SendError::InvalidUrl(_))));
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
fn whoever_answers_with_another_id_is_not_the_peer() {
    test(async {
        let (alice, bob) = (Party::new().await, Party::new().await);
        let (addr, _) = bob.url.rsplit_once('/').unwrap();
        let result = alice.node.connect(&format!("{addr}/somebody-else")).await;
        let Err(ConnectError::Closed(down)) = result else { panic!("{result:?}") };
        assert_eq!(down.reason, CloseReason::Protocol(ProtocolError::WrongPeer));
        let own = alice.node.connect(&alice.url).await;
        assert!(matches!(own, Err(ConnectError::Closed(_))), "{own:?}");
        assert!(alice.node.peers().is_empty());
    });
}

#[test]
fn what_cannot_be_dialled_is_refused() {
    test(async {
        let alice = Party::new().await;
        for url in ["ws://127.0.0.1:1", "ws://127.0.0.1:0/id"] {
            let result = alice.node.connect(url).await;
            assert!(matches!(result, Err(ConnectError::NotDialable(_))), "{result:?}");
        }
        let result = alice.node.connect("127.0.0.1:1/id").await;
        assert!(matches!(result, Err(ConnectError::InvalidUrl(_))), "{result:?}");
        let result = alice.node.connect("wss://127.0.0.1:1/id").await;
        assert!(matches!(result, Err(ConnectError::SecuredUrl)), "{result:?}");
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
            let (alice, bob) = (Party::new().await, Party::with(|builder| builder, behave).await);
            let result = alice.node.connect(&bob.url).await;
            let Err(ConnectError::Closed(down)) = result else { panic!("{result:?}") };
            assert_eq!((down.reason, &down.message[..]), (CloseReason::Disconnected, farewell));
            assert!(alice.events.is_empty() && bob.events.is_empty(), "nothing was up or down");
        }
        let (alice, bob) = (Party::new().await, Party::new().await);
        bob.node.register_space(b"closed", ClosedSpace).unwrap();
        assert!(alice.node.connect(&bob.url).await.is_err());
    });
}

#[test]
fn a_question_without_an_answer_stops_nobody_else_and_means_no() {
    test(async {
        let config = Config { preflight_timeout: Duration::from_millis(300), ..Config::HOST };
        let (alice, bob) = (Party::new().await, Party::new().await);
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
        let unsent = alice.node.notify_shared(&bob.url, SPACE, Bytes::from(vec![7; 10_000])).unwrap_err();
        assert_eq!((unsent.error, unsent.data.len()), (SendError::TooLarge, 10_000));
        alice.node.notify(&bob.url, SPACE, &[0; 9_900]).unwrap();
        assert_eq!(bob.hears().await.len(), 9_900);

        bob.node.notify(&alice.url, SPACE, &[0; 10_000]).unwrap();
        bob.told(b"protocol error").await;
        assert!(matches!(alice.down().await.reason, CloseReason::Protocol(ProtocolError::Frame(_))));
    });
}

#[test]
fn large_messages_arrive_whole() {
    test(async {
        let (alice, bob) = pair().await;
        let photo: Vec<u8> = (0..5u32 << 20).map(|place| (place % 251) as u8).collect();
        alice.node.notify_shared(&bob.url, SPACE, Bytes::from(photo.clone())).unwrap();
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
            }
        }
        for number in 0..10_000 {
            assert!(bob.hears().await == message(number), "message {number}");
        }
    });
}

#[test]
fn a_peer_that_does_not_read_is_backpressure_for_it_alone() {
    test(async {
        let tx_queue = BufferLimits { max_bytes: 1 << 20, ..Config::HOST.tx_queue };
        let alice = Party::configured(Config { tx_queue, ..Config::HOST }).await;
        let bob = Party::new().await;
        connect(&alice, &bob).await;
        let mut lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;

        let payload = Bytes::from(vec![7; 60_000]);
        let mut sent = 0;
        let unsent = loop {
            match alice.node.notify_shared(peer.url(), SPACE, payload.clone()) {
                Ok(()) => sent += 1,
                Err(unsent) => break unsent,
            }
        };
        assert_eq!((unsent.error, unsent.data), (SendError::Backpressure, payload.clone()));
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
        assert_eq!(alice.down().await.reason, CloseReason::Ended);
        assert!(alice.node.ready(peer.url(), 1).await.is_err());
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
        assert_eq!(alice.down().await.reason, CloseReason::Timeout(Timeout::Write));
        drop(lazy);
    });
}

#[test]
fn the_reason_of_a_disconnect_arrives_after_everything_that_was_sent() {
    test(async {
        let (alice, bob) = pair().await;
        alice.node.notify_shared(&bob.url, SPACE, Bytes::from(vec![7; 5 << 20])).unwrap();
        // Bob's own messages are on the way when alice closes; they must not cost him her reason.
        for _ in 0..100 {
            bob.node.notify(&alice.url, SPACE, &[0; 1000]).unwrap();
        }
        assert!(alice.node.disconnect(&bob.url, b"the sun has set"));
        assert!(!alice.node.disconnect("ws://a:1/stranger", b"nobody"));
        assert_eq!(alice.node.notify(&bob.url, SPACE, b"late"), Err(SendError::NotConnected));
        assert_eq!(bob.hears().await.len(), 5 << 20);
        bob.told(b"the sun has set").await;
        assert_eq!(alice.down().await.reason, CloseReason::Local);
        connect(&alice, &bob).await;
    });
}

#[test]
fn connecting_twice_uses_one_connection() {
    test(async {
        let (alice, bob) = pair().await;
        let again = alice.node.connect(&bob.url).await.unwrap();
        let back = bob.node.connect(&alice.url).await.unwrap();
        assert_eq!((again.direction(), back.direction()), (Direction::Outgoing, Direction::Incoming));
        assert_eq!(alice.node.stats().connections.len(), 1);
    });
}

#[test]
fn shutdown_writes_what_is_queued_and_closes_everything() {
    test(async {
        let (alice, bob) = pair().await;
        let weak = alice.node.downgrade();
        for number in 0..1000u32 {
            alice.node.notify(&bob.url, SPACE, &number.to_be_bytes()).unwrap();
        }
        alice.node.notify_shared(&bob.url, SPACE, Bytes::from(vec![7; 5 << 20])).unwrap();
        assert_eq!(within(alice.node.shutdown()).await, 0);
        for number in 0..1000u32 {
            assert_eq!(bob.hears().await, number.to_be_bytes());
        }
        assert_eq!(bob.hears().await.len(), 5 << 20);
        bob.told(b"shutdown").await;
        assert!(matches!(alice.node.connect(&bob.url).await, Err(ConnectError::ShutDown)));
        assert!(matches!(alice.node.listen("127.0.0.1:0").await, Err(ListenError::ShutDown)));
        assert!(matches!(bob.node.connect(&alice.url).await, Err(ConnectError::Dial(_))));
        drop(alice);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn shutdown_does_not_wait_for_ever() {
    test(async {
        let limits = Limits { shutdown_timeout: Duration::from_millis(200), ..Limits::default() };
        let alice = Party::limited(limits).await;
        let lazy = Raw::opened(&alice.url, "lazy");
        let peer = alice.up().await;
        alice.node.notify_shared(peer.url(), SPACE, Bytes::from(vec![7; 50 << 20])).unwrap();
        assert_eq!(within(alice.node.shutdown()).await, 1, "one connection was cut");
        drop(lazy);
    });
}

/// Counts the tasks that have not ended, and tells when there is none.
struct Alive(Arc<AtomicUsize>, Sender<()>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            let _ = self.1.try_send(());
        }
    }
}

#[test]
fn dropping_the_last_handle_closes_everything_and_leaks_no_task() {
    test(async {
        let (alive, (done, all_done)) = (Arc::new(AtomicUsize::new(0)), unbounded());
        let counter = alive.clone();
        let spawner = move |task: BoxFuture<'static, ()>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let guard = Alive(counter.clone(), done.clone());
            let counted = async move {
                let _guard = guard;
                task.await;
            };
            smol::spawn(counted).detach();
        };
        let alice = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
        let bob = Party::new().await;
        connect(&alice, &bob).await;
        let mut pending = Raw::connect(&alice.url);
        while alice.node.stats().pending == 0 {
            future::yield_now().await;
        }
        let Party { node, url, .. } = alice;
        drop(node);
        bob.told(b"shutdown").await;
        assert_eq!(pending.rest(), data(&Message::disconnect(b"shutdown")));
        drop(pending);
        within(all_done.recv()).await.unwrap();
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert!(matches!(bob.node.connect(&url).await, Err(ConnectError::Dial(_))));
    });
}

#[test]
fn any_executor_will_do() {
    let spawners: [fn(BoxFuture<'static, ()>); 2] = [
        |task| smol::spawn(task).detach(),
        |task| drop(thread::spawn(|| futures_lite::future::block_on(task))),
    ];
    for spawner in spawners {
        // The test's own executor is yet another one, which drives no reactor.
        futures_lite::future::block_on(within(async {
            let alice = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
            let bob = Party::with(|builder| builder.spawner(spawner), |_| {}).await;
            connect(&alice, &bob).await;
            alice.node.notify(&bob.url, SPACE, b"hello").unwrap();
            assert_eq!(bob.hears().await, b"hello");
            assert_eq!(alice.node.shutdown().await, 0);
            bob.told(b"shutdown").await;
        }));
    }
}

#[test]
fn unregistering_waits_for_the_delivery_that_is_under_way() {
    test(async {
        let (alice, bob) = pair().await;
        alice.mute(b"slow");
        let (began, begins) = unbounded();
        let (finish, finished) = std::sync::mpsc::channel::<()>();
        let (finished, ended) = (Mutex::new(finished), Arc::new(AtomicUsize::new(0)));
        let ends = ended.clone();
        let slow = move |_: &Peer, _: &[u8]| {
            let _ = began.try_send(());
            let _ = finished.lock().unwrap().recv_timeout(PATIENCE);
            ends.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        bob.node.register_space(b"slow", slow).unwrap();
        alice.node.notify(&bob.url, b"slow", b"1").unwrap();
        alice.node.notify(&bob.url, b"slow", b"2").unwrap();
        within(begins.recv()).await.unwrap();
        let mut unregistered = Box::pin(bob.node.unregister_space(b"slow"));
        assert!(future::poll_once(&mut unregistered).await.is_none(), "a delivery is under way");
        finish.send(()).unwrap();
        assert!(within(unregistered).await);
        assert_eq!(ended.load(Ordering::SeqCst), 1);
        assert!(!bob.node.unregister_space(b"slow").await);
        alice.node.notify(&bob.url, SPACE, b"after").unwrap();
        assert_eq!(bob.hears().await, b"after");
        assert_eq!(ended.load(Ordering::SeqCst), 1, "the second message found no space");
        bob.mute(b"slow");
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

        let wild = Node::builder().build().unwrap();
        let url = wild.listen("[::]:0").await.unwrap();
        let url = format!("ws://127.0.0.1:{}", url.rsplit_once(':').unwrap().1);
        let peer = within(carol.node.connect(&url)).await.unwrap();
        assert_eq!(peer.url(), url, "a wildcard is told as the address in use");
    });
}

#[test]
fn pending_connections_are_limited_and_the_oldest_goes() {
    test(async {
        let bob = Party::limited(Limits { max_pending: 2, ..Limits::default() }).await;
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
        assert_eq!(oldest.rest(), b"");
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
        let bob = Party::limited(Limits { max_connections: 2, ..Limits::default() }).await;
        let _first = Raw::opened(&bob.url, "first");
        let _second = Raw::opened(&bob.url, "second");
        assert_eq!(Raw::connect(&bob.url).rest(), b"", "one too many is turned away");
        assert_eq!(bob.node.stats().totals.turned_away, 1);
        let alice = Party::new().await;
        let result = bob.node.connect(&alice.url).await;
        assert!(matches!(result, Err(ConnectError::TooManyConnections)), "{result:?}");
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
            assert!(Node::builder().peer_id(id).build().is_err(), "{id:?}");
        }
        assert!(Node::builder().peer_id("cat").advertise(url).build().is_err());
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
