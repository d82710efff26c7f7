//! All of a node: peers, their connections and outboxes, spaces and modules.

mod action;
mod drive;
mod ops;
mod peers;
mod slots;
mod step;
mod timers;

pub use action::{Action, Input, MessageId, SendError};
pub use drive::Actions;
use ops::Dialling;
pub use ops::Ops;
pub use peers::PeerTable;
pub use slots::{ConnectionSlot, PeerSlot};
pub use step::{
    ConnectionId, ConnectionState, DownCause, Ending, MAX_CONNECTIONS_PER_PEER, NotSentCause, PeerKey,
    PeerLimits, PendingPolicy, Step,
};
pub use timers::Timer;

use core::time::Duration;

use timers::Timers;

use crate::config::{Config, RouterLimits};
use crate::connection::{Answer, Channel, Identity, Outbox, Plain, QuestionId, Role, Rx, Tx};
use crate::error::{ApiMisuse, CapacityError};
use crate::peer::{Peer, PeerId};
use crate::router::{BlockedCounts, Directory, Policy};
use crate::storage::{Seq, Storage};
use crate::time::{Instant, Span, earliest};
use crate::wire::{PeerUrl, UrlRules};

/// Limits and deadlines of a node. Start from [`HOST`](Self::HOST) or [`DEVICE`](Self::DEVICE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // written with `..NodeConfig::HOST`
pub struct NodeConfig {
    /// Each connection.
    pub connection: Config,
    /// Spaces, modules, counters.
    pub router: RouterLimits,
    /// Peers and the number of connections.
    pub peers: PeerLimits,
    /// Bytes that the frame buffers of all connections may own together. The connection whose read passes it is
    /// closed.
    pub max_receive_bytes: usize,
    /// An empty frame is written on an open connection on which nothing was heard for this long, so that a peer that
    /// forgot it can say so. `None` where the carrier has a keep-alive of its own.
    pub idle_probe: Option<Duration>,
}

impl NodeConfig {
    /// For a machine with plenty of memory: 1 GiB of frame buffers, a probe after 30 s.
    pub const HOST: Self = Self {
        connection: Config::HOST,
        router: RouterLimits::HOST,
        peers: PeerLimits::HOST,
        max_receive_bytes: 1 << 30,
        idle_probe: Some(Duration::from_secs(30)),
    };

    /// For a microcontroller: the storage's own sizes are the limits.
    pub const DEVICE: Self = Self {
        connection: Config::DEVICE,
        router: RouterLimits::DEVICE,
        peers: PeerLimits::DEVICE,
        max_receive_bytes: usize::MAX,
        ..Self::HOST
    };
}

/// Both halves of one connection.
#[derive(Debug, Clone)]
pub struct Carrier<S: Storage, C: Channel> {
    id: ConnectionId,
    rx: Rx<S, C>,
    tx: Tx<S, C>,
    /// The open question that the peer table answers.
    settle: Option<QuestionId>,
    /// The peer that is up on this connection, also when it has just ended.
    up: Option<PeerKey>,
    /// When bytes came last, or a probe was written.
    heard_at: Instant,
    /// What the frame buffer owned when it was last looked at.
    memory: usize,
}

/// A whole node without sockets: everything that happens goes in through [`handle`](Self::handle), everything that is
/// to be done comes out of its cursor.
///
/// It is for tests, simulations and firmware that drives its sockets in one loop. A host with threads uses the same
/// parts apart: [`PeerTable`], [`Outbox`], [`Rx`], [`Tx`], [`Directory`].
///
/// # Driving it
///
/// 1. [`handle`](Self::handle) what happened, take [`Action`]s until there are none, [`finish`](Actions::finish).
/// 2. Write what [`transmit`](Self::transmit) gives for each connection to its socket. Call it for a socket without
///    room too, with an empty buffer: from then on its bytes are known to wait, and its peer to take none.
/// 3. Wait for a socket or for [`poll_timeout`](Self::poll_timeout), which is [`Input::Timeout`].
///
/// After [`answer`](Self::answer) show the bytes of that connection again (or none); after a send or a disconnect from
/// outside of a delivery, [`Input::Wake`].
#[derive(Debug, Clone)]
pub struct Node<S: Storage, P, C: Channel = Plain> {
    directory: Directory<S, P>,
    counts: BlockedCounts<S>,
    peers: PeerTable<S>,
    outboxes: S::Outboxes,
    carriers: S::Carriers<C>,
    /// Deadlines of connections. Each is set to the earliest of its connection's, or to an earlier moment.
    timers: Timers<S::ConnectionTimers, S::ConnectionPlaces>,
    /// Of each connection that begins.
    config: Config,
    max_receive_bytes: usize,
    idle_probe: Option<Span>,
    /// What the frame buffers of all connections own together.
    receive_bytes: usize,
    /// What is to be said on a connection that the application closes.
    parting: Option<(ConnectionId, PartingWords)>,
    /// The peer whose messages are being given up.
    giving_up: Option<GivingUp>,
    /// A connection that may have something to ask without having received anything.
    pump: Option<ConnectionId>,
}

/// The messages that are being given up, one action at a time.
#[derive(Debug, Clone, Copy)]
struct GivingUp {
    peer: PeerKey,
    cause: NotSentCause,
    /// Messages from this number on were accepted since: they are not given up.
    end: u64,
    /// The first message was told of, and is to be dropped.
    told: bool,
}

/// Bytes of the reason that a peer is told by [`Ops::disconnect`]; a longer one is cut.
pub const MAX_PARTING_BYTES: usize = 128;

type PartingWords = heapless::Vec<u8, MAX_PARTING_BYTES>;

impl<S: Storage, P: Policy, C: Channel> Node<S, P, C> {
    /// A node with nothing registered and no peers. `seed` is a number that strangers cannot guess: it seeds hashes
    /// and the jitter of retries.
    pub fn new(config: &NodeConfig, own_id: PeerId, seed: u64, policy: P) -> Self {
        Self {
            directory: Directory::new(&config.router, policy),
            counts: BlockedCounts::new(&config.router, seed),
            peers: PeerTable::new(&config.peers, own_id, seed),
            outboxes: S::Outboxes::default(),
            carriers: S::Carriers::default(),
            timers: Timers::new(),
            config: config.connection,
            max_receive_bytes: config.max_receive_bytes,
            idle_probe: config.idle_probe.map(Span::from),
            receive_bytes: 0,
            parting: None,
            giving_up: None,
            pump: None,
        }
    }

    /// A connection was accepted, whose channel begins with this.
    ///
    /// # Errors
    /// [`CapacityError`] if there is no place for it: close it at once.
    pub fn accept(&mut self, now: Instant, channel: C::Start) -> Result<ConnectionId, CapacityError> {
        if self.peers.is_crowded() {
            return Err(CapacityError::Pending);
        }
        let id = self.peers.accept()?;
        self.insert_carrier(now, id, None, channel);
        Ok(id)
    }

    /// A connection that was to be dialled is established; its channel begins with this.
    ///
    /// # Errors
    /// [`ApiMisuse::NoSuchConnection`] if the node does not want it any more: close it at once.
    pub fn connected(&mut self, now: Instant, id: ConnectionId, channel: C::Start) -> Result<(), ApiMisuse> {
        let dialing = self.peers.state(id) == Some(ConnectionState::Dialing);
        let url = self.peers.peer_of(id).and_then(|peer| self.peers.url(peer)).filter(|_| dialing);
        let rules = UrlRules { max_bytes: usize::MAX, ..self.config.url };
        let url = url.and_then(|url| PeerUrl::parse(url, &rules).ok()).ok_or(ApiMisuse::NoSuchConnection)?;
        let peer = Identity::to_dial(url).map_err(|_| ApiMisuse::NoSuchConnection)?;
        self.peers.dialled(id);
        self.insert_carrier(now, id, Some(peer), channel);
        Ok(())
    }

    /// Puts both halves of a connection into their place, by a function of its own: they are large, and what they are
    /// made of on the stack is gone afterwards. `dialled` is the peer of one that we opened.
    #[inline(never)]
    fn insert_carrier(
        &mut self,
        now: Instant,
        id: ConnectionId,
        dialled: Option<Identity<S>>,
        channel: C::Start,
    ) {
        let role = if dialled.is_some() { Role::Dialler } else { Role::Acceptor };
        let index = id.index();
        while self.carriers.as_slice().len() <= index {
            if !self.carriers.push(None) {
                debug_assert!(false, "as many places as connections");
                return;
            }
        }
        let carrier = self.carriers.as_mut_slice()[index].insert(Carrier {
            id,
            tx: Tx::new(&self.config, C::sealer(&channel)),
            rx: Rx::new(now, &self.config, || C::opener(channel), role, dialled),
            settle: None,
            up: None,
            heard_at: now,
            memory: 0,
        });
        carrier.rx.settle();
        self.arm(id);
    }

    /// Tells the node what happened; the cursor gives what is to be done about it.
    pub fn handle<'n, 'i>(&'n mut self, now: Instant, input: Input<'i>) -> Actions<'n, 'i, S, P, C> {
        Actions::new(self, now, input)
    }

    /// Answers the question that is open on a connection. Show its bytes again, or none, to go on.
    ///
    /// # Errors
    /// [`ApiMisuse`] if the connection has ended, if `id` is not open, or if it asks for another kind of answer.
    /// Nothing has changed then.
    pub fn answer(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse> {
        let carrier =
            carrier_of::<S, C>(&mut self.carriers, connection).ok_or(ApiMisuse::NoSuchConnection)?;
        if carrier.settle == Some(id) {
            return Err(ApiMisuse::NoSuchQuestion);
        }
        carrier.rx.answer(now, &mut carrier.tx, id, answer)?;
        if matches!(answer, Answer::Preflight { .. }) && carrier.rx.close_reason().is_none() {
            self.peers.sent(connection);
        }
        self.arm(connection);
        Ok(())
    }

    /// Takes one step of the handshake of a connection's channel, for [`Wants::Work`](crate::connection::Wants::Work);
    /// see [`Rx::work`]. Show its bytes again, or none, to go on.
    pub fn work(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(carrier) = carrier_of::<S, C>(&mut self.carriers, connection) {
            carrier.rx.work(now, &mut carrier.tx);
            self.arm(connection);
        }
    }

    /// What can be done from inside a delivery, to be done from outside. Handle [`Input::Wake`] afterwards.
    pub fn ops(&mut self, now: Instant) -> Ops<'_, S, P> {
        Ops {
            directory: &mut self.directory,
            counts: &mut self.counts,
            peers: &mut self.peers,
            outboxes: &mut self.outboxes,
            timers: &mut self.timers,
            parting: &mut self.parting,
            given_up: None,
            config: &self.config,
            dialling: Dialling::of::<C>(),
            now,
        }
    }

    /// Copies bytes for a connection's socket into `out` and returns how many.
    pub fn transmit(&mut self, now: Instant, connection: ConnectionId, out: &mut [u8]) -> usize {
        let Some((tx, mut outbox)) = self.writer(connection) else { return 0 };
        let len = tx.transmit_with(now, outbox.as_deref_mut(), out);
        let too_large = outbox.is_some_and(|outbox| outbox.is_too_large_for_peer());
        self.transmitted(now, connection, too_large);
        len
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, too_large: bool) {
        if too_large {
            // It is given up at the next timeout, which is due at once.
            self.timers.set(connection.index() as u32, now);
        } else {
            self.arm(connection);
        }
    }

    /// Shows the bytes for a connection's socket as pieces; `write` returns how many of them the socket took.
    ///
    /// # Errors
    /// Whatever `write` returns; nothing has changed then.
    pub fn transmit_slices<E>(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        write: impl FnOnce(&[&[u8]]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let Some((tx, mut outbox)) = self.writer(connection) else { return Ok(0) };
        let result = tx.transmit_slices_with(now, outbox.as_deref_mut(), write);
        let too_large = outbox.is_some_and(|outbox| outbox.is_too_large_for_peer());
        self.transmitted(now, connection, too_large);
        result
    }

    /// Whether there is something to transmit on a connection.
    pub fn has_output(&mut self, connection: ConnectionId) -> bool {
        self.writer(connection)
            .is_some_and(|(tx, outbox)| tx.pending() > 0 || outbox.is_some_and(|outbox| outbox.is_writable()))
    }

    fn writer(&mut self, connection: ConnectionId) -> Option<Writer<'_, S, C>> {
        let carrier = carrier_of::<S, C>(&mut self.carriers, connection)?;
        let open = self.peers.state(connection) == Some(ConnectionState::Open)
            && carrier.rx.close_reason().is_none();
        match carrier.up.and_then(|up| outbox_of::<S>(&mut self.outboxes, up)) {
            Some(outbox) if open => Some((&mut carrier.tx, Some(outbox))),
            // It has ended in the middle of a message, and its driver was not told yet: nothing may come in between.
            Some(outbox) if outbox.frame_left() > 0 => None,
            _ => Some((&mut carrier.tx, None)),
        }
    }

    /// The socket of a connection that was [`Action::Closed`] is closed: its place is free.
    pub fn release(&mut self, connection: ConnectionId) {
        if self.peers.state(connection).is_some() {
            debug_assert!(false, "the connection has not ended");
            return;
        }
        if let Some(carrier) = carrier_of::<S, C>(&mut self.carriers, connection) {
            self.receive_bytes -= carrier.memory;
            self.carriers.as_mut_slice()[connection.index()] = None;
            self.timers.clear(connection.index() as u32);
        }
        self.peers.release(connection);
    }

    /// When [`Input::Timeout`] is due. A peek.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.timers.next_at(), self.peers.poll_timeout())
    }

    /// Whether this machine's own network works. While it does not, no peer is called unresponsive.
    pub fn set_network_up(&mut self, up: bool) {
        self.peers.set_network_up(up);
    }

    /// The spaces, the modules and the policy.
    pub fn directory(&self) -> &Directory<S, P> {
        &self.directory
    }

    /// The spaces, the modules and the policy, to change them.
    pub fn directory_mut(&mut self) -> &mut Directory<S, P> {
        &mut self.directory
    }

    /// How many messages were blocked, by peer and space.
    pub fn blocked_counts(&self) -> &BlockedCounts<S> {
        &self.counts
    }

    /// The peers and their connections.
    pub fn peers(&self) -> &PeerTable<S> {
        &self.peers
    }

    /// A peer, as policies see it.
    pub fn peer(&self, key: PeerKey) -> Option<Peer<'_>> {
        self.peers.as_peer(key)
    }

    /// The receive half of a connection, to look at.
    pub fn rx(&self, connection: ConnectionId) -> Option<&Rx<S, C>> {
        let carrier = self.carriers.as_slice().get(connection.index())?.as_ref()?;
        (carrier.id == connection).then_some(&carrier.rx)
    }

    /// The outbox of a peer, to look at.
    pub fn outbox(&self, key: PeerKey) -> Option<&Outbox<S>> {
        self.peers.id(key)?;
        self.outboxes.as_slice().get(key.index())?.as_ref()
    }

    /// Bytes that the frame buffers of all connections own together, as of their last reads.
    pub fn receive_bytes(&self) -> usize {
        self.receive_bytes
    }

    /// A connection is to be looked at without any bytes of it. One that was to be looked at before waits for the next
    /// timeout, which is due at once.
    fn look_at(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(other) = self.pump.replace(connection).filter(|&other| other != connection) {
            self.timers.set(other.index() as u32, now);
        }
    }

    /// Sets a connection's deadline if it is earlier than the one that is set; one that is later is left to be found
    /// when the earlier one comes.
    fn arm(&mut self, connection: ConnectionId) {
        let open = self.peers.state(connection) == Some(ConnectionState::Open);
        let Some(carrier) = carrier_of::<S, C>(&mut self.carriers, connection) else { return };
        if carrier.rx.close_reason().is_some() {
            return;
        }
        let probe = self.idle_probe.filter(|_| open).map(|probe| carrier.heard_at + probe);
        let deadline = earliest(earliest(carrier.rx.poll_timeout(), carrier.tx.poll_timeout()), probe);
        let key = connection.index() as u32;
        let earlier = |deadline: &Instant| self.timers.get(key).is_none_or(|armed| *deadline < armed);
        if let Some(deadline) = deadline.filter(earlier) {
            self.timers.set(key, deadline);
        }
    }
}

/// The transmit half of a connection, and the outbox that it writes from if it is open.
type Writer<'n, S, C> = (&'n mut Tx<S, C>, Option<&'n mut Outbox<S>>);

/// The carrier of a connection.
fn carrier_of<S: Storage, C: Channel>(
    carriers: &mut S::Carriers<C>,
    id: ConnectionId,
) -> Option<&mut Carrier<S, C>> {
    carriers.as_mut_slice().get_mut(id.index())?.as_mut().filter(|carrier| carrier.id == id)
}

/// The outbox of a peer.
fn outbox_of<S: Storage>(outboxes: &mut S::Outboxes, key: PeerKey) -> Option<&mut Outbox<S>> {
    outboxes.as_mut_slice().get_mut(key.index())?.as_mut()
}

/// The outbox of a peer, a new one if it has none.
#[inline]
fn outbox_for<'o, S: Storage>(
    outboxes: &'o mut S::Outboxes,
    key: PeerKey,
    config: &Config,
) -> Option<&'o mut Outbox<S>> {
    if outboxes.as_slice().len() <= key.index() {
        grow(outboxes, key);
    }
    Some(outboxes.as_mut_slice().get_mut(key.index())?.get_or_insert_with(|| Outbox::new(config)))
}

/// Makes a place for the outbox of a peer.
#[cold]
fn grow<S: Storage>(outboxes: &mut impl Seq<Option<Outbox<S>>>, key: PeerKey) {
    while outboxes.as_slice().len() <= key.index() {
        if !outboxes.push(None) {
            debug_assert!(false, "as many places as peers");
            return;
        }
    }
}
