//! The handle that applications hold, and what all tasks of a node share.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::time::Duration;

use async_io::Timer;
use bytes::Bytes;
use event_listener::Event;
use futures_lite::future;
use kitfox_core::node::MessageId;
use kitfox_core::router::{BlockedCounts, RegisterError};
use kitfox_core::storage::Heap;
use kitfox_core::wire::{Message, PeerUrl};
use kitfox_core::{Config, PeerId};

use crate::book::Book;
use crate::builder::{Builder, Limits, Spawner};
use crate::error::{BlockError, ConnectError, NotConnected, SendError, Unsent};
use crate::events::NewsQueue;
use crate::handler::{Handler, ModuleHandler, Peer, SpaceHandler};
use crate::listener::Listening;
use crate::mailbox::{Budget, Mailbox};
use crate::registry::{ModuleTarget, Registry, SpaceTarget};
use crate::security::Security;
use crate::send::{self, PeerHandle};
use crate::space::{MessageStream, Module, Space};
use crate::stats::{BlockedStats, Stats};
use crate::taped::{Making, PeerTable, Tape};
use crate::time::Clock;

/// How long a shutdown waits for tasks that should have ended.
const GRACE: Duration = Duration::from_secs(1);

/// How long a node that nobody holds any more may write what is queued.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// What the peers are told when the node goes.
const SHUTDOWN: &[u8] = b"shutdown";

/// A handle to a node. Clones are handles to the same one; when the last is dropped, everything closes: what is queued
/// for connected peers is written for a second, they are told "shutdown", and the tasks end.
///
/// A handler that keeps a handle would keep its own node alive: give it a [`WeakNode`].
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    alive: Arc<Alive>,
}

/// A handle that does not keep its node alive.
#[derive(Clone)]
pub struct WeakNode {
    shared: Weak<Shared>,
    alive: Weak<Alive>,
}

/// What the handles of a node share and its tasks do not.
struct Alive(Weak<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        // A shutdown that nobody waited for to the end has left something to be done too.
        if let Some(shared) = self.0.upgrade()
            && (shared.stop() || shared.tasks.load(Ordering::Acquire) > 0)
        {
            let guard = shared.task();
            shared.spawn(async move {
                guard.shared.flush(LAST_FLUSH).await;
                guard.shared.part();
            });
        }
    }
}

/// What handles and tasks of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) setup: Setup,
    /// Where calls into the core are noted, if they are recorded.
    pub(crate) tape: Tape,
    pub(crate) budget: Budget,
    pub(crate) receive_bytes: AtomicUsize,
    pub(crate) news: NewsQueue,
    /// The peer table has an earlier deadline than its clock knows, or the node is closing.
    pub(crate) rearmed: Event,
    spawner: Spawner,
    counts: Mutex<BlockedCounts<Heap>>,
    book: Mutex<Book>,
    /// Mailboxes by the text of a URL. Written when a peer comes or goes, read with every message: a lock for many
    /// readers is enough, since they only look and leave.
    routes: RwLock<HashMap<Arc<str>, Arc<Mailbox>>>,
    listening: Mutex<Vec<Listening>>,
    closing: AtomicBool,
    tasks: AtomicUsize,
    connections: AtomicUsize,
    unflushed: AtomicUsize,
    /// A task has ended, or the node is closing.
    changed: Event,
}

/// Who we are.
pub(crate) struct Setup {
    pub(crate) peer_id: String,
    pub(crate) id: PeerId,
    pub(crate) advertise: Option<String>,
    pub(crate) seed: u64,
    pub(crate) security: Security,
}

/// Counts a task, and perhaps a connection, while it exists.
pub(crate) struct TaskGuard {
    pub(crate) shared: Arc<Shared>,
    connection: bool,
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        if self.connection {
            self.shared.connections.fetch_sub(1, Ordering::AcqRel);
        }
        self.shared.tasks.fetch_sub(1, Ordering::AcqRel);
        self.shared.changed.notify(usize::MAX);
    }
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        limits: Limits,
        setup: Setup,
        handler: Arc<dyn Handler>,
        spawner: Spawner,
        tape: Tape,
    ) -> Arc<Self> {
        let table = PeerTable::new(&limits.peers, setup.id, setup.seed, &tape);
        Arc::new(Self {
            config,
            clock: Clock::start(),
            registry: Arc::new(Registry::new(&limits.router, setup.seed, &tape)),
            handler,
            budget: Budget::new(limits.max_send_bytes, &config),
            receive_bytes: AtomicUsize::new(0),
            news: NewsQueue::default(),
            rearmed: Event::new(),
            counts: Mutex::new(BlockedCounts::new(&limits.router, setup.seed)),
            book: Mutex::new(Book::new(table)),
            routes: RwLock::default(),
            listening: Mutex::default(),
            limits,
            setup,
            tape,
            spawner,
            closing: AtomicBool::new(false),
            tasks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            unflushed: AtomicUsize::new(0),
            changed: Event::new(),
        })
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, BlockedCounts<Heap>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn listening(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn routed(&self, url: &str) -> Option<Arc<Mailbox>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    pub(crate) fn routes_mut(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Arc<Mailbox>>> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every connection is made with.
    pub(crate) fn making(&self) -> Making<'_> {
        Making { config: &self.config, security: &self.setup.security, tape: &self.tape }
    }

    /// A URL that was accepted before.
    pub(crate) fn parse<'a>(&self, url: &'a str) -> Option<PeerUrl<'a>> {
        PeerUrl::parse(url, &self.config.url).ok()
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.spawner)(Box::pin(task));
    }

    pub(crate) fn task(self: &Arc<Self>) -> TaskGuard {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        TaskGuard { shared: self.clone(), connection: false }
    }

    pub(crate) fn connection_task(self: &Arc<Self>) -> TaskGuard {
        self.connections.fetch_add(1, Ordering::AcqRel);
        let mut guard = self.task();
        guard.connection = true;
        guard
    }

    pub(crate) fn count_unflushed(&self) {
        self.unflushed.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Resolves once the node is closing.
    pub(crate) async fn closing(&self) {
        loop {
            let changed = self.changed.listen();
            if self.is_closing() {
                return;
            }
            changed.await;
        }
    }

    /// Nothing new is taken in; what is not connected is closed. Returns whether this was the first call.
    fn stop(self: &Arc<Self>) -> bool {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        if first {
            self.with_book(|book, now, after| {
                book.shut_down = true;
                book.close(self, now, false, SHUTDOWN, after);
            });
            self.changed.notify(usize::MAX);
        }
        first
    }

    /// Waits until everything for connected peers is written, but not for ever.
    async fn flush(&self, limit: Duration) {
        let mailboxes: Vec<_> = self.book().mailboxes().cloned().collect();
        let written = async {
            for mailbox in mailboxes {
                mailbox.when(|inner| (inner.outbox.is_empty() || inner.gone).then_some(())).await;
            }
        };
        let late = async {
            Timer::after(limit).await;
        };
        future::or(written, late).await;
    }

    /// Says goodbye to everybody.
    fn part(self: &Arc<Self>) {
        self.with_book(|book, now, after| book.close(self, now, true, SHUTDOWN, after));
        self.rearmed.notify(usize::MAX);
    }
}

impl Node {
    /// Starts the making of a node.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let alive = Arc::new(Alive(Arc::downgrade(&shared)));
        Self { shared, alive }
    }

    /// A handle that does not keep the node alive.
    pub fn downgrade(&self) -> WeakNode {
        WeakNode { shared: Arc::downgrade(&self.shared), alive: Arc::downgrade(&self.alive) }
    }

    /// The text of our peer id.
    pub fn peer_id(&self) -> &str {
        &self.shared.setup.peer_id
    }

    /// Registers a space: messages to it are delivered to `handler` from now on, and messages may be sent from it.
    ///
    /// # Errors
    /// [`RegisterError::Duplicate`] if it is registered, [`RegisterError::Capacity`] if the limit is reached.
    pub fn register_space(&self, id: &[u8], handler: impl SpaceHandler) -> Result<Space, RegisterError> {
        self.shared.registry.register_space(id, SpaceTarget::Handler(Arc::new(handler)))?;
        Ok(Space::new(self, id))
    }

    /// Registers a space whose messages come out of a stream, which holds `capacity` of them, at least one. A
    /// connection that brings a message for which there is no room is not read until there is, which stops the peer.
    ///
    /// # Errors
    /// As for [`register_space`](Self::register_space).
    pub fn register_space_stream(&self, id: &[u8], capacity: usize) -> Result<MessageStream, RegisterError> {
        let (sender, receiver) = async_channel::bounded(capacity.max(1));
        self.shared.registry.register_space(id, SpaceTarget::Stream(sender))?;
        Ok(MessageStream::new(&self.shared, id, None, receiver))
    }

    /// Registers a module of a space. It receives nothing before the space is registered too.
    ///
    /// # Errors
    /// As for [`register_space`](Self::register_space).
    pub fn register_module(
        &self,
        space: &[u8],
        name: &str,
        handler: impl ModuleHandler,
    ) -> Result<Module, RegisterError> {
        self.shared.registry.register_module(space, name, ModuleTarget::Handler(Arc::new(handler)))?;
        Ok(Space::new(self, space).module(name))
    }

    /// Registers a module whose messages come out of a stream, as
    /// [`register_space_stream`](Self::register_space_stream) does.
    ///
    /// # Errors
    /// As for [`register_space`](Self::register_space).
    pub fn register_module_stream(
        &self,
        space: &[u8],
        name: &str,
        capacity: usize,
    ) -> Result<MessageStream, RegisterError> {
        let (sender, receiver) = async_channel::bounded(capacity.max(1));
        self.shared.registry.register_module(space, name, ModuleTarget::Stream(sender))?;
        Ok(MessageStream::new(&self.shared, space, Some(name), receiver))
    }

    /// A handle to a space, registered or not.
    pub fn space(&self, id: &[u8]) -> Space {
        Space::new(self, id)
    }

    /// Removes a space and all its modules, at once, not only when the future is polled. The future ends when no
    /// delivery to them runs or will begin, and tells whether the space was registered.
    ///
    /// A handler may call this from inside a delivery, but must not wait for the end of the future there: it would
    /// wait for itself.
    pub fn unregister_space(&self, id: &[u8]) -> impl Future<Output = bool> + Send + use<> {
        self.shared.registry.unregister_space(id)
    }

    /// Removes a module, as [`unregister_space`](Self::unregister_space) does.
    pub fn unregister_module(&self, space: &[u8], name: &str) -> impl Future<Output = bool> + Send + use<> {
        self.shared.registry.unregister_module(space, name)
    }

    /// Sees that a peer is connected, and waits until its gate is open: both preflights are accepted. There is no need
    /// for it before a message is sent. A peer that is connected already is the result at once; one that is not is
    /// dialled, several times if need be.
    ///
    /// Dropping the future stops nothing.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, url: &str) -> Result<Peer, ConnectError> {
        send::connect(&self.shared, url).await
    }

    /// Sends a message to a peer's space. If the peer is not connected it is dialled; the message waits in the peer's
    /// outbox until both preflights are accepted, and goes out after those that were accepted before it. `data` is
    /// copied.
    ///
    /// Every message that is accepted has one fate: it is written on a connection that stays open, or
    /// [`Handler::peer_down`] counts it among the unknown ones, or [`Handler::not_sent`] hands it back.
    ///
    /// # Errors
    /// See [`SendError`]. The message is still the caller's then. What is blocked is counted.
    pub fn notify(&self, peer: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        send::send(&self.shared, peer, space, &Message::notify(space, data))
    }

    /// Sends a message to a module of a peer's space, as [`notify`](Self::notify) does. The module need not be
    /// registered here.
    ///
    /// # Errors
    /// As for [`notify`](Self::notify).
    pub fn module(
        &self,
        peer: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        send::send(&self.shared, peer, space, &Message::module(space, module, data))
    }

    /// Sends a message as [`notify`](Self::notify) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn notify_shared(&self, peer: &str, space: &[u8], data: Bytes) -> Result<MessageId, Unsent> {
        send::send_shared(&self.shared, peer, space, &Message::notify(space, &[]), data)
    }

    /// Sends a message as [`module`](Self::module) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn module_shared(
        &self,
        peer: &str,
        space: &[u8],
        module: &str,
        data: Bytes,
    ) -> Result<MessageId, Unsent> {
        send::send_shared(&self.shared, peer, space, &Message::module(space, module, &[]), data)
    }

    /// A handle for many messages to one peer: it spares the look for the peer's mailbox.
    ///
    /// # Errors
    /// [`SendError::InvalidUrl`] and [`SendError::NotDialable`] if no peer can have this URL.
    pub fn peer(&self, url: &str) -> Result<PeerHandle, SendError> {
        PeerHandle::new(self, url)
    }

    /// Waits until the outbox of a peer has room for a message of `len` bytes and holds at most half of
    /// [`high_water_bytes`](kitfox_core::Config::high_water_bytes), and all outboxes together have room too: what to do
    /// after [`SendError::Backpressure`].
    ///
    /// # Errors
    /// [`NotConnected`] if the peer is not connected and nothing waits for it, or not any more.
    pub async fn ready(&self, peer: &str, len: usize) -> Result<(), NotConnected> {
        let mailbox = send::find(&self.shared, peer).ok_or(NotConnected)?;
        if mailbox.ready(len, &self.shared.budget).await { Ok(()) } else { Err(NotConnected) }
    }

    /// Ends every connection with a peer, and tells it `reason`. What waits for it is given up and handed back, and
    /// nobody is called unresponsive. Returns whether the peer was connected, or something waited for it.
    pub fn disconnect(&self, peer: &str, reason: &[u8]) -> bool {
        let shared = &self.shared;
        let Some(mailbox) = send::find(shared, peer) else { return false };
        shared.with_book(|book, now, after| {
            let known = book.table.id(mailbox.key).is_some();
            if known {
                book.disconnect(shared, now, mailbox.key, reason, after);
            }
            known
        })
    }

    /// Tells whether this machine's own network works. While it does not, no peer is called unresponsive.
    pub fn set_network_up(&self, up: bool) {
        self.shared.book().table.set_network_up(up);
    }

    /// Blocks a peer id, in every spelling of it, in one space or in all of them: its messages are dropped and none
    /// are sent to it, both counted. Connections stay. Blocking twice is the same as once.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn block(&self, peer_id: &str, space: Option<&[u8]>) -> Result<(), BlockError> {
        let id = PeerId::new(peer_id).ok_or(BlockError::NoPeerId)?;
        self.shared.registry.change_rules(|rules| rules.block(id, space)).map_err(BlockError::Capacity)
    }

    /// Takes back what [`block`](Self::block) did with the same arguments. Returns whether there was such a rule.
    pub fn unblock(&self, peer_id: &str, space: Option<&[u8]>) -> bool {
        PeerId::new(peer_id)
            .is_some_and(|id| self.shared.registry.change_rules(|rules| rules.unblock(id, space)))
    }

    /// The peers that are up, those that were longest first.
    pub fn peers(&self) -> Vec<Peer> {
        let book = self.shared.book();
        let mut peers: Vec<_> = book.mailboxes().filter_map(|mailbox| mailbox.lock().peer.clone()).collect();
        drop(book);
        peers.sort_by_key(Peer::connection);
        peers
    }

    /// What the node did so far. The figures belong to one moment.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let own_urls = self.own_urls();
        let (mut connections, mut totals, pending, known_peers);
        {
            let book = shared.book();
            totals = book.totals;
            (pending, known_peers) = (book.table.pending(), book.mailboxes().count());
            connections = book.links().filter_map(|link| link.stats()).collect::<Vec<_>>();
            for link in book.links() {
                link.add_to(&mut totals);
            }
        }
        connections.sort_by_key(|connection| connection.id);
        totals.outbox_full = shared.budget.outbox_full.load(Ordering::Relaxed);
        totals.send_memory_full = shared.budget.memory_full.load(Ordering::Relaxed);
        totals.accepted_messages = shared.budget.accepted.load(Ordering::Relaxed);
        let counts = shared.counts();
        let blocked = counts.iter().map(|count| BlockedStats {
            peer: count.peer().to_owned(),
            space: count.space().to_vec(),
            incoming: count.incoming(),
            outgoing: count.outgoing(),
        });
        Stats {
            own_urls,
            connected_peers: connections.len(),
            known_peers,
            pending,
            connections,
            blocked: blocked.collect(),
            blocked_unattributed: counts.unattributed(),
            queued_bytes: shared.budget.used(),
            receive_bytes: shared.receive_bytes.load(Ordering::Relaxed),
            totals,
        }
    }

    /// How far the node's recording has come, if it [records](Builder::record).
    #[cfg(feature = "record")]
    pub fn recording(&self) -> Option<crate::record::Recording> {
        self.shared.tape.so_far()
    }

    /// The URLs under which the node listens; or only the advertised one, if there is one.
    pub fn own_urls(&self) -> Vec<String> {
        let setup = &self.shared.setup;
        match &setup.advertise {
            Some(url) => vec![url.clone()],
            None => self.shared.listening().iter().map(|listening| self.shared.url_at(listening)).collect(),
        }
    }

    /// Stops listening and dialling, hands back what waits for peers that are not connected, writes what waits for the
    /// others, tells every peer "shutdown", and waits until every task of the node has ended: for
    /// [`Limits::shutdown_timeout`], and a second more if a handler holds one up. Returns how many connections of the
    /// node's life ended before all that was begun on them was written, or have not ended now; 0 if nothing was lost
    /// on this side.
    pub async fn shutdown(&self) -> usize {
        let shared = &self.shared;
        let limit = shared.limits.shutdown_timeout;
        shared.stop();
        let ended = async {
            shared.flush(limit).await;
            shared.part();
            loop {
                let changed = shared.changed.listen();
                if shared.tasks.load(Ordering::Acquire) == 0 {
                    return;
                }
                changed.await;
            }
        };
        let late = async {
            Timer::after(limit + GRACE / 2).await;
            let links: Vec<_> = shared.book().links().cloned().collect();
            for link in links {
                link.cut();
            }
            // A task that a handler holds up is not waited for any longer.
            Timer::after(GRACE).await;
        };
        future::or(ended, late).await;
        shared.tape.finish();
        shared.unflushed.load(Ordering::Acquire) + shared.connections.load(Ordering::Acquire)
    }
}

impl WeakNode {
    /// A handle that keeps the node alive, if another one still does.
    pub fn upgrade(&self) -> Option<Node> {
        let alive = self.alive.upgrade()?;
        Some(Node { shared: self.shared.upgrade()?, alive })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.peer_id())
    }
}

impl fmt::Debug for WeakNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakNode")
    }
}
