//! Nodes that report what they are told.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use embassy_net::{ConfigV4, Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::{Duration, Timer, with_timeout};
use kitfox_embassy::{
    CloseReason, Credentials, DEVICE_RECORD_BYTES, DownCause, Entropy, Handler, Incoming, MessageId, Network,
    Node, NotSentCause, Numbers, Ops, Options, Peer, PeerId, PeerKey, PeerLimits, Plain, Protection, Refused,
    Resources, SecretKey, Secured, fixed, new,
};

use crate::hub::{Cable, Hub};
use crate::sim::Sim;

pub(crate) const SPACE: &[u8] = b"garden";
pub(crate) const PORT: u16 = 7777;
/// Sockets of each node.
pub(crate) const SOCKETS: usize = 4;

fixed!(pub(crate) Board {
    connections: 5, peers: 4, frame: 1024, tx: 512, outbox: 1024, spaces: 2, modules: 2, block_rules: 2
});

/// Each of these claims, for plain and for secured connections.
macro_rules! on_both_wires {
    ($($claim:ident),* $(,)?) => {
        mod plain {
            $(#[test] fn $claim() { super::$claim::<kitfox_embassy::Plain>(); })*
        }
        mod secured {
            $(#[test] fn $claim() { super::$claim::<kitfox_embassy::Secured>(); })*
        }
    };
}
pub(crate) use on_both_wires;

/// What connections of a test are made of.
pub(crate) trait Wire: Protection {
    /// The id of the node of this name.
    fn id(name: &str) -> PeerId;

    /// The defaults for the node of this name.
    fn options<'a>(name: &str) -> Options<'a, Self>;

    /// A URL of the node of this name.
    fn url(host: u8, port: u16, name: &str) -> String {
        format!("{}://10.0.0.{host}:{port}/{}", Self::scheme(), Self::id(name))
    }

    fn scheme() -> &'static str {
        if Self::SECURED { "wss" } else { "ws" }
    }
}

impl Wire for Plain {
    fn id(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn options<'a>(name: &str) -> Options<'a, Self> {
        Options::plain(Self::id(name), entropy())
    }
}

impl Wire for Secured {
    fn id(name: &str) -> PeerId {
        key(name).peer_id()
    }

    fn options<'a>(name: &str) -> Options<'a, Self> {
        Options::secured(credentials(name), entropy())
    }
}

/// The key of the node of this name.
pub(crate) fn key(name: &str) -> SecretKey {
    let mut seed = [2; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    SecretKey::from_seed(&seed)
}

pub(crate) fn credentials(name: &str) -> Credentials {
    Credentials { key: key(name), network: Network::new(b"tests"), max_record_bytes: DEVICE_RECORD_BYTES }
}

/// Bytes that are other ones each time, which is all that a test needs.
pub(crate) fn entropy<'a>() -> &'a mut dyn Entropy {
    static DRAWN: AtomicU64 = AtomicU64::new(1);
    Box::leak(Box::new(|bytes: &mut [u8; 32]| {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        bytes.fill(drawn as u8);
        bytes[..8].copy_from_slice(&drawn.to_le_bytes());
        Ok(())
    }))
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    Up(String),
    Down { url: String, cause: DownCause, words: Vec<u8>, unknown: Option<Numbers> },
    NotSent(MessageId, NotSentCause, Vec<u8>),
    Unresponsive(String),
    Listening(String),
    Lost(String),
}

/// What a handler does with a message.
pub(crate) type OnMessage = fn(&mut Ops<'_, Board>, &Incoming<'_>) -> Result<(), Refused>;

/// The name of a module, and what came for it.
pub(crate) type ToModule = (String, Vec<u8>);

/// Reports what it is told and answers as it was told to.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) events: Rc<RefCell<Vec<Event>>>,
    pub(crate) heard: Rc<RefCell<Vec<Vec<u8>>>>,
    pub(crate) to_module: Rc<RefCell<Vec<ToModule>>>,
    pub(crate) admits: Rc<Cell<bool>>,
    pub(crate) validates: Rc<Cell<bool>>,
    pub(crate) shakes_hands: Rc<Cell<bool>>,
    pub(crate) at_home: Rc<Cell<bool>>,
    pub(crate) preflight: &'static [u8],
    pub(crate) preflights: Rc<RefCell<Vec<Vec<u8>>>>,
    pub(crate) on_message: Rc<Cell<OnMessage>>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self {
            events: Rc::default(),
            heard: Rc::default(),
            to_module: Rc::default(),
            admits: Rc::new(Cell::new(true)),
            validates: Rc::new(Cell::new(true)),
            shakes_hands: Rc::new(Cell::new(true)),
            at_home: Rc::new(Cell::new(true)),
            preflight: b"",
            preflights: Rc::default(),
            on_message: Rc::new(Cell::new(|_, _| Ok(()))),
        }
    }
}

fn yes(yes: bool) -> Result<(), Refused> {
    if yes { Ok(()) } else { Err(Refused) }
}

impl Handler<Board> for Reporter {
    fn notify(&mut self, node: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        assert!(message.space == SPACE && message.module.is_empty());
        assert!(node.peer(message.from).is_some());
        self.heard.borrow_mut().push(message.data.to_vec());
        self.on_message.get()(node, message)
    }

    fn module(&mut self, _: &mut Ops<'_, Board>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.to_module.borrow_mut().push((message.module.into(), message.data.to_vec()));
        Ok(())
    }

    fn admit_handshake(&mut self, _: &PeerId) -> bool {
        self.shakes_hands.get()
    }

    fn peer_connect(&mut self, _: &Peer<'_>) -> Result<(), Refused> {
        yes(self.admits.get())
    }

    fn has_local_agents(&mut self, _: &[u8]) -> bool {
        self.at_home.get()
    }

    fn preflight_gather(&mut self, _: &Peer<'_>) -> Result<&[u8], Refused> {
        Ok(self.preflight)
    }

    fn preflight_validate(&mut self, _: &Peer<'_>, data: &[u8]) -> Result<(), Refused> {
        self.preflights.borrow_mut().push(data.to_vec());
        yes(self.validates.get())
    }

    fn peer_up(&mut self, node: &mut Ops<'_, Board>, peer: PeerKey) {
        self.events.borrow_mut().push(Event::Up(url_of(node, peer)));
    }

    fn peer_down(&mut self, node: &mut Ops<'_, Board>, peer: PeerKey, down: &kitfox_embassy::Down<'_>) {
        self.events.borrow_mut().push(Event::Down {
            url: url_of(node, peer),
            cause: down.cause,
            words: down.message.to_vec(),
            unknown: down.unknown,
        });
    }

    fn not_sent(&mut self, node: &mut Ops<'_, Board>, message: MessageId, cause: NotSentCause) {
        let data = node.given_up().map(|message| message.data.to_vec()).unwrap_or_default();
        self.events.borrow_mut().push(Event::NotSent(message, cause, data));
    }

    fn unresponsive(&mut self, peer: &Peer<'_>) {
        self.events.borrow_mut().push(Event::Unresponsive(peer.url.into()));
    }

    fn new_listening_address(&mut self, url: &str) {
        self.events.borrow_mut().push(Event::Listening(url.into()));
    }

    fn lost_listening_address(&mut self, url: &str) {
        self.events.borrow_mut().push(Event::Lost(url.into()));
    }
}

fn url_of(node: &Ops<'_, Board>, peer: PeerKey) -> String {
    node.peer(peer).map(|peer| peer.url.to_owned()).unwrap_or_default()
}

/// A machine: a stack on a hub.
pub(crate) struct Machine {
    pub(crate) stack: Stack<'static>,
    /// Where it is plugged in.
    pub(crate) port: usize,
}

pub(crate) fn address(host: u8) -> ConfigV4 {
    let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, host), 24);
    ConfigV4::Static(StaticConfigV4 { address, gateway: None, dns_servers: Default::default() })
}

impl Machine {
    pub(crate) fn new(sim: &Sim, hub: &Hub, host: u8) -> Self {
        let cable = hub.plug();
        let port = cable.port;
        let resources = Box::leak(Box::new(StackResources::<8>::new()));
        let ConfigV4::Static(config) = address(host) else { unreachable!() };
        let config = embassy_net::Config::ipv4_static(config);
        let (stack, mut runner) = embassy_net::new::<Cable, 8>(cable, config, resources, u64::from(host));
        sim.spawn("net", async move { runner.run().await });
        Self { stack, port }
    }
}

/// Memory of a node.
pub(crate) fn resources<W: Wire>() -> &'static mut Resources<Board, SOCKETS, 1024, 1024, W> {
    Box::leak(Box::new(Resources::new()))
}

/// A node with its application, on a machine of its own.
pub(crate) struct Party<W: Wire> {
    pub(crate) node: Node<'static, Board, W>,
    pub(crate) machine: Machine,
    pub(crate) url: String,
    pub(crate) told: Reporter,
    /// How often its runner was polled.
    pub(crate) polls: Rc<Cell<u64>>,
    seen: Cell<usize>,
    heard: Cell<usize>,
}

impl<W: Wire> Party<W> {
    pub(crate) async fn new(sim: &Sim, hub: &Hub, host: u8, name: &str) -> Self {
        Self::with(sim, hub, host, W::options(name), Reporter::default()).await
    }

    pub(crate) async fn with(
        sim: &Sim,
        hub: &Hub,
        host: u8,
        options: Options<'static, W>,
        told: Reporter,
    ) -> Self {
        let machine = Machine::new(sim, hub, host);
        let id = W::peer_id(&options.identity);
        let (node, mut runner) = new(machine.stack, resources(), options).unwrap();
        node.register_space(SPACE).await.unwrap();
        let mut handler = told.clone();
        let polls = sim.spawn("node", async move { runner.run(&mut handler).await });
        let url = format!("{}://10.0.0.{host}:{PORT}/{id}", W::scheme());
        let party = Self { node, machine, url, told, polls, seen: Cell::new(0), heard: Cell::new(0) };
        assert_eq!(party.event().await, Event::Listening(party.url.clone()));
        party
    }

    /// The next thing that it is told.
    pub(crate) async fn event(&self) -> Event {
        let at = self.seen.replace(self.seen.get() + 1);
        eventually(|| self.told.events.borrow().get(at).cloned()).await
    }

    /// Nothing that it was told is left to be looked at.
    pub(crate) fn nothing_more(&self) -> bool {
        self.told.events.borrow().len() == self.seen.get()
    }

    /// The next message that it hears.
    pub(crate) async fn hears(&self) -> Vec<u8> {
        let at = self.heard.replace(self.heard.get() + 1);
        eventually(|| self.told.heard.borrow().get(at).cloned()).await
    }

    pub(crate) async fn sends(&self, to: &Self, data: &[u8]) -> MessageId {
        self.node.send_notify(&to.url, SPACE, data).await.unwrap()
    }

    pub(crate) async fn up(&self, peer: &Self) {
        assert_eq!(self.event().await, Event::Up(peer.url.clone()));
    }

    /// The next event, which is that a peer is down: why, and with what words.
    pub(crate) async fn down(&self) -> (CloseReason, Vec<u8>) {
        match self.event().await {
            Event::Down { cause: DownCause::Ended(reason), words, .. } => (reason, words),
            other => panic!("{other:?}"),
        }
    }

    /// Events up to the first for which this holds.
    pub(crate) async fn until(&self, mut is_it: impl FnMut(&Event) -> bool) -> Event {
        loop {
            let event = self.event().await;
            if is_it(&event) {
                return event;
            }
        }
    }
}

/// Two nodes on a hub, the first with the smaller id.
pub(crate) async fn two<W: Wire>(sim: &Sim, hub: &Hub) -> (Party<W>, Party<W>) {
    assert!(W::id("alice") < W::id("bob"));
    (Party::new(sim, hub, 1, "alice").await, Party::new(sim, hub, 2, "bob").await)
}

/// Two nodes that are connected: the first dialled, and was heard.
pub(crate) async fn pair<W: Wire>(sim: &Sim, hub: &Hub) -> (Party<W>, Party<W>) {
    let (alice, bob) = two(sim, hub).await;
    alice.sends(&bob, b"hello").await;
    assert_eq!(bob.hears().await, b"hello");
    alice.up(&bob).await;
    bob.up(&alice).await;
    (alice, bob)
}

/// Waits for something that is looked at whenever a task has run or the clock has moved.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(found) = look() {
            return found;
        }
        Timer::after(Duration::from_millis(1)).await;
    }
}

/// Lets so much time pass.
pub(crate) async fn pass(time: Duration) {
    Timer::after(time).await;
}

/// Whether this is over within so many milliseconds.
pub(crate) async fn within<T>(millis: u64, body: impl Future<Output = T>) -> T {
    let limit = Duration::from_millis(millis);
    with_timeout(limit, body).await.unwrap_or_else(|_| panic!("not over after {millis} ms"))
}

/// Polls a future once.
pub(crate) async fn is_pending(mut future: std::pin::Pin<&mut impl Future>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Gives a peer up after one attempt.
pub(crate) const HASTY: PeerLimits = PeerLimits { attempts: 1, ..PeerLimits::DEVICE };
