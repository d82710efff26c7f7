//! What the tests share: nodes that report what they are told, and somebody with a socket.

use std::future::{Future, pending};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use async_channel::{Receiver, Sender, unbounded};
use async_io::Timer;
use bytes::Bytes;
use futures_lite::future;
use kitfox_core::Config;
use kitfox_core::wire::{FrameHeader, FrameType, HEADER_BYTES, Message};
use kitfox_smol::{
    BoxFuture, Builder, CloseReason, Closing, Down, DropReason, Handler, Limits, MessageId, Node,
    NotSentCause, Peer, PeerLimits, Refused, Returned,
};

pub(crate) use kitfox_tests::frames::{data, frame, preflight};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SPACE: &[u8] = b"garden";

/// Runs a test to its end, but not for ever.
pub(crate) fn test<T>(body: impl Future<Output = T>) -> T {
    async_io::block_on(within(body))
}

pub(crate) async fn within<T>(body: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("not over after {PATIENCE:?}");
    };
    future::or(body, late).await
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Up(Peer),
    Down(Peer, Down),
    NotSent(MessageId, NotSentCause, Bytes),
    Unresponsive(String),
}

/// What became of connections that were never up, and of frames that went to nobody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Aside {
    Rejected(SocketAddr, Closing),
    Dropped(Peer, Vec<u8>, DropReason),
}

/// Reports events and answers questions as it was told to.
pub(crate) struct Events {
    pub(crate) sender: Sender<Event>,
    pub(crate) admit: Result<(), Refused>,
    pub(crate) valid: Result<(), Refused>,
    pub(crate) at_home: bool,
    /// Questions of whether a peer may connect are never answered.
    pub(crate) silent: bool,
    /// Who wants to know of asides.
    pub(crate) asides: Option<Sender<Aside>>,
}

impl Events {
    fn new(sender: Sender<Event>) -> Self {
        let (admit, valid, at_home) = (Ok(()), Ok(()), true);
        Self { sender, admit, valid, at_home, silent: false, asides: None }
    }

    fn aside(&self, aside: Aside) {
        if let Some(asides) = &self.asides {
            let _ = asides.try_send(aside);
        }
    }
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

    fn rejected(&self, addr: SocketAddr, closing: &Closing) {
        self.aside(Aside::Rejected(addr, closing.clone()));
    }

    fn dropped(&self, from: &Peer, space: &[u8], reason: DropReason) {
        self.aside(Aside::Dropped(from.clone(), space.to_vec(), reason));
    }

    fn not_sent(&self, id: MessageId, cause: NotSentCause, message: Returned) {
        let _ = self.sender.try_send(Event::NotSent(id, cause, message.data));
    }

    fn unresponsive(&self, url: &str, _: SystemTime) {
        let _ = self.sender.try_send(Event::Unresponsive(url.to_owned()));
    }
}

/// A node that listens, with its events, and the messages that come to [`SPACE`].
pub(crate) struct Party {
    pub(crate) node: Node,
    pub(crate) url: String,
    pub(crate) events: Receiver<Event>,
    pub(crate) heard: Receiver<Vec<u8>>,
}

impl Party {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder, |_| {}).await
    }

    pub(crate) async fn with(
        build: impl FnOnce(Builder) -> Builder,
        behave: impl FnOnce(&mut Events),
    ) -> Self {
        let (sender, events) = unbounded();
        let mut handler = Events::new(sender);
        behave(&mut handler);
        let node = build(Node::builder().plain().handler(handler)).build().unwrap();
        Self::listening(node, "127.0.0.1:0", events).await
    }

    /// A secured node, which is the default.
    pub(crate) async fn secured(
        build: impl FnOnce(Builder) -> Builder,
        behave: impl FnOnce(&mut Events),
    ) -> Self {
        let (sender, events) = unbounded();
        let mut handler = Events::new(sender);
        behave(&mut handler);
        let node = build(Node::builder().handler(handler)).build().unwrap();
        Self::listening(node, "127.0.0.1:0", events).await
    }

    async fn listening(node: Node, addr: &str, events: Receiver<Event>) -> Self {
        let url = node.listen(addr).await.unwrap();
        let (hears, heard) = unbounded();
        let hear = move |_: &Peer, data: &[u8]| {
            let _ = hears.try_send(data.to_vec());
            Ok(())
        };
        node.register_space(SPACE, hear).unwrap();
        Self { node, url, events, heard }
    }

    pub(crate) async fn configured(config: Config) -> Self {
        Self::with(|builder| builder.config(config), |_| {}).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::with(|builder| builder.limits(limits), |_| {}).await
    }

    /// Registers a space in which nothing is to be heard, to send from it.
    pub(crate) fn mute(&self, space: &[u8]) {
        self.node.register_space(space, |_: &Peer, _: &[u8]| Ok(())).unwrap();
    }

    pub(crate) async fn hears(&self) -> Vec<u8> {
        within(self.heard.recv()).await.unwrap()
    }

    pub(crate) async fn up(&self) -> Peer {
        match within(self.events.recv()).await.unwrap() {
            Event::Up(peer) => peer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn down(&self) -> Down {
        match within(self.events.recv()).await.unwrap() {
            Event::Down(_, down) => down,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn event(&self) -> Event {
        within(self.events.recv()).await.unwrap()
    }

    pub(crate) async fn unresponsive(&self) {
        match self.event().await {
            Event::Unresponsive(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The peer has said goodbye, with this reason.
    pub(crate) async fn told(&self, reason: &[u8]) {
        let down = self.down().await;
        assert_eq!(down.reason(), CloseReason::Disconnected);
        assert_eq!(down.message.escape_ascii().to_string(), reason.escape_ascii().to_string());
    }
}

/// Two nodes that are connected, the first dialled.
pub(crate) async fn pair() -> (Party, Party) {
    let (alice, bob) = (Party::new().await, Party::new().await);
    connect(&alice, &bob).await;
    (alice, bob)
}

pub(crate) async fn connect(alice: &Party, bob: &Party) {
    let peer = within(alice.node.connect(&bob.url)).await.unwrap();
    assert_eq!(peer.url(), bob.url);
    assert_eq!(alice.up().await, peer);
    assert_eq!(bob.up().await.url(), alice.url);
}

/// Sets a space handler that has its own node.
pub(crate) fn with_node(
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
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn connect(url: &str) -> Self {
        let addr = url.split('/').nth(2).unwrap().to_owned();
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Connects and goes through the gate.
    pub(crate) fn opened(url: &str, id: &str) -> Self {
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

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The node may have closed by now, which the test sees when it reads.
        let _ = self.stream.write_all(bytes);
    }

    /// Everything that the node says before it closes. Panics if it does not.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
            _ => rest,
        }
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn peers(peers: PeerLimits) -> Limits {
    Limits { peers, ..Limits::default() }
}

/// Gives a peer up after one attempt.
pub(crate) fn hasty() -> Limits {
    peers(PeerLimits { attempts: 1, ..PeerLimits::HOST })
}
