//! The handle that applications hold.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant as StdInstant};

use async_io::{Async, Timer};
use bytes::Bytes;
use event_listener::Event;
use futures_lite::future;
use kitfox_core::connection::{NotDialable, Plain, PushError, Role, Rx};
use kitfox_core::router::{BlockedCounts, RegisterError, SendRefused};
use kitfox_core::storage::Heap;
use kitfox_core::wire::{Message, PeerUrl};
use kitfox_core::{Config, PeerId};

use crate::addr;
use crate::builder::{Builder, Limits, Spawner};
use crate::connection::{self, Reader};
use crate::error::{BlockError, ConnectError, ListenError, NotConnected, SendError, Unsent};
use crate::handler::{Handler, ModuleHandler, Peer, SpaceHandler};
use crate::link::Link;
use crate::listener;
use crate::registry::{Listener, Registry};
use crate::stats::{BlockedStats, Stats};
use crate::table::Table;
use crate::time::Clock;

/// How long a shutdown waits for tasks that should have ended.
const GRACE: Duration = Duration::from_secs(1);

/// What the peers are told when the node goes.
const SHUTDOWN: &[u8] = b"shutdown";

/// A handle to a node. Clones are handles to the same one; when the last is dropped, everything closes: peers are told
/// "shutdown", and the tasks end within a second.
///
/// A handler that keeps a handle would keep its own node alive: give it a [`WeakNode`].
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
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
        if let Some(shared) = self.0.upgrade() {
            shared.close(None);
        }
    }
}

/// What handles and tasks of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) registry: Arc<Registry>,
    pub(crate) handler: Arc<dyn Handler>,
    limits: Limits,
    setup: Setup,
    spawner: Spawner,
    counts: Mutex<BlockedCounts<Heap>>,
    table: Mutex<Table>,
    /// The addresses that are listened on.
    addrs: Mutex<Vec<SocketAddr>>,
    tasks: AtomicUsize,
    connections: AtomicUsize,
    unflushed: AtomicUsize,
    /// A task has ended, or the node is closing.
    changed: Event,
}

/// Who we are.
pub(crate) struct Setup {
    pub(crate) peer_id: String,
    pub(crate) advertise: Option<String>,
    pub(crate) hash_seed: u64,
}

/// Counts a task, and perhaps a connection, while it exists.
pub(crate) struct TaskGuard {
    shared: Arc<Shared>,
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
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            clock: Clock::start(),
            registry: Arc::new(Registry::new(&limits.router)),
            handler,
            counts: Mutex::new(BlockedCounts::new(&limits.router, setup.hash_seed)),
            limits,
            setup,
            spawner,
            table: Mutex::default(),
            addrs: Mutex::default(),
            tasks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            unflushed: AtomicUsize::new(0),
            changed: Event::new(),
        })
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, BlockedCounts<Heap>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn addrs(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.addrs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task(self: &Arc<Self>, connection: bool) -> TaskGuard {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        TaskGuard { shared: self.clone(), connection }
    }

    pub(crate) fn count_unflushed(&self) {
        self.unflushed.fetch_add(1, Ordering::AcqRel);
    }

    /// Our URL, as a peer on a connection with this local address is told.
    pub(crate) fn own_url(&self, local: SocketAddr) -> String {
        match &self.setup.advertise {
            Some(url) => url.clone(),
            None => addr::plain_url(addr::own_addr(&self.addrs(), local), &self.setup.peer_id),
        }
    }

    /// Takes a socket in and starts its tasks.
    pub(crate) fn attach(
        self: &Arc<Self>,
        stream: Async<TcpStream>,
        role: Role,
        rx: Rx<Heap>,
    ) -> Result<Arc<Link>, ConnectError> {
        let mut guard = self.task(false);
        let reserved = self.connections.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < self.limits.max_connections).then_some(count + 1)
        });
        if reserved.is_err() {
            self.table().totals.turned_away += 1;
            return Err(ConnectError::TooManyConnections);
        }
        guard.connection = true;
        let id = self.table().next_id();
        let link = Link::new(id, role, stream, self.clock, &self.config).map_err(ConnectError::Dial)?;
        let link = Arc::new(link);
        let evicted = {
            let mut table = self.table();
            if table.shut_down {
                return Err(ConnectError::ShutDown);
            }
            table.insert(&link, role == Role::Acceptor, self.limits.max_pending)
        };
        if let Some(evicted) = evicted {
            evicted.cut();
        }
        let writer = connection::write(self.task(false), self.clone(), link.clone());
        let reader = Reader::new(self.clone(), link.clone(), rx, guard);
        (self.spawner)(Box::pin(reader.run()));
        (self.spawner)(Box::pin(writer));
        Ok(link)
    }

    /// The gate of a connection is open.
    pub(crate) fn opened(&self, link: &Arc<Link>, peer: &Peer) {
        {
            // Under the lock, so that whoever hears of it can send.
            let mut table = self.table();
            link.open(peer.clone());
            table.open(link, peer);
        }
        self.handler.peer_up(peer);
    }

    /// A connection has ended.
    pub(crate) fn detach(&self, link: &Link) {
        self.table().remove(link);
    }

    /// Resolves once the node is closing.
    pub(crate) async fn closing(&self) {
        loop {
            let changed = self.changed.listen();
            if self.table().shut_down {
                return;
            }
            changed.await;
        }
    }

    /// Closes everything. What is queued may still be written within a limit of time: a short one, if none is given.
    fn close(&self, flush: Option<Duration>) {
        let links: Vec<_> = {
            let mut table = self.table();
            table.shut_down = true;
            table.links().cloned().collect()
        };
        for link in links {
            link.disconnect(SHUTDOWN, flush);
        }
        self.changed.notify(usize::MAX);
    }
}

/// A peer's URL and the id in it.
fn parse<'a>(url: &'a str, config: &Config) -> Result<(PeerUrl<'a>, PeerId), SendError> {
    let url = PeerUrl::parse(url, &config.url).map_err(SendError::InvalidUrl)?;
    let id = url.peer_id().and_then(PeerId::new).ok_or(SendError::NoPeerId)?;
    Ok((url, id))
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

    /// Listens on an address, `host:port`; port 0 takes one that is free. Returns the URL under which peers reach the
    /// node there, and tells it to handlers. A node may listen on several addresses.
    ///
    /// With a wildcard address (`0.0.0.0`, `[::]`) the URL has that address in it; a peer is told the address by
    /// which it came.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(&self, addr: &str) -> Result<String, ListenError> {
        let shared = &self.shared;
        let addrs = addr::resolve_text(addr.to_owned()).await.map_err(ListenError::Address)?;
        let mut bound = Err(ListenError::Address(io::ErrorKind::NotFound.into()));
        for addr in addrs {
            bound = Async::<TcpListener>::bind(addr).map_err(ListenError::Bind);
            if bound.is_ok() {
                break;
            }
        }
        let listener = bound?;
        let addr = listener.get_ref().local_addr().map_err(ListenError::Bind)?;
        let guard = {
            // Under the lock, so that a shutdown either is seen here or sees the task.
            let table = shared.table();
            if table.shut_down {
                return Err(ListenError::ShutDown);
            }
            shared.task(false)
        };
        shared.addrs().push(addr);
        (shared.spawner)(Box::pin(listener::listen(guard, shared.clone(), listener, addr)));
        let url = match &shared.setup.advertise {
            Some(url) => url.clone(),
            None => addr::plain_url(addr, &shared.setup.peer_id),
        };
        let snapshot = shared.registry.snapshot();
        let listeners = snapshot.listeners(snapshot.rules.new_listening_address_targets());
        drop(snapshot);
        for listener in listeners {
            match listener {
                Listener::Handler => shared.handler.new_listening_address(&url),
                Listener::Space(space) => space.new_listening_address(&url),
                Listener::Module(_) => {}
            }
        }
        Ok(url)
    }

    /// Registers a space: messages to it are delivered to `handler` from now on, and messages may be sent from it.
    ///
    /// # Errors
    /// [`RegisterError::Duplicate`] if it is registered, [`RegisterError::Capacity`] if the limit is reached.
    pub fn register_space(&self, id: &[u8], handler: impl SpaceHandler) -> Result<(), RegisterError> {
        self.shared.registry.register_space(id, Arc::new(handler))
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
    ) -> Result<(), RegisterError> {
        self.shared.registry.register_module(space, name, Arc::new(handler))
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

    /// Makes a connection with a peer, and waits until its gate is open: both preflights are accepted. If there is an
    /// open connection with it already, that is the result.
    ///
    /// Dropping the future stops a dial. A connection that is made but not open yet goes on.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self, url: &str) -> Result<Peer, ConnectError> {
        let shared = &self.shared;
        let url = PeerUrl::parse(url, &shared.config.url).map_err(ConnectError::InvalidUrl)?;
        let id = url.peer_id().and_then(PeerId::new);
        let id = id.ok_or(ConnectError::NotDialable(NotDialable::NoPeerId))?;
        if url.port() == 0 {
            return Err(ConnectError::NotDialable(NotDialable::PortZero));
        }
        if url.uses_tls() {
            return Err(ConnectError::SecuredUrl);
        }
        let open = {
            let table = shared.table();
            if table.shut_down {
                return Err(ConnectError::ShutDown);
            }
            table.find(&id).and_then(|link| link.peer().cloned())
        };
        if let Some(peer) = open {
            return Ok(peer);
        }
        let dial = dial(url, shared.limits.connect_timeout);
        let closing = async {
            shared.closing().await;
            Err(ConnectError::ShutDown)
        };
        let stream = future::or(dial, closing).await?;
        // From here the time of the gate runs.
        let rx = Rx::dial(shared.clock.now(), &shared.config, Plain::default(), url)
            .map_err(ConnectError::NotDialable)?;
        let link = shared.attach(stream, Role::Dialler, rx)?;
        link.opened().await.map_err(ConnectError::Closed)
    }

    /// Sends a message to a peer's space, on the open connection with it. The message is queued when this returns;
    /// `data` is copied.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent then. What is blocked is counted.
    pub fn notify(&self, peer: &str, space: &[u8], data: &[u8]) -> Result<(), SendError> {
        self.send(peer, space, &Message::notify(space, data))
    }

    /// Sends a message to a module of a peer's space, as [`notify`](Self::notify) does. The module need not be
    /// registered here.
    ///
    /// # Errors
    /// As for [`notify`](Self::notify).
    pub fn module(&self, peer: &str, space: &[u8], module: &str, data: &[u8]) -> Result<(), SendError> {
        self.send(peer, space, &Message::module(space, module, data))
    }

    /// Sends a message as [`notify`](Self::notify) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn notify_shared(&self, peer: &str, space: &[u8], data: Bytes) -> Result<(), Unsent> {
        self.send_shared(peer, space, &Message::notify(space, &[]), data)
    }

    /// Sends a message as [`module`](Self::module) does, without copying a payload that is long.
    ///
    /// # Errors
    /// Hands the payload back.
    pub fn module_shared(&self, peer: &str, space: &[u8], module: &str, data: Bytes) -> Result<(), Unsent> {
        self.send_shared(peer, space, &Message::module(space, module, &[]), data)
    }

    fn send(&self, peer: &str, space: &[u8], message: &Message<'_>) -> Result<(), SendError> {
        let link = self.permitted(peer, space)?;
        link.push(message).ok_or(SendError::NotConnected)?.map_err(not_queued)
    }

    fn send_shared(
        &self,
        peer: &str,
        space: &[u8],
        routing: &Message<'_>,
        data: Bytes,
    ) -> Result<(), Unsent> {
        let link = match self.permitted(peer, space) {
            Ok(link) => link,
            Err(error) => return Err(Unsent { error, data }),
        };
        link.push_shared(routing, data).map_err(|(error, data)| {
            let error = error.map_or(SendError::NotConnected, not_queued);
            Unsent { error, data }
        })
    }

    /// The connection on which a message may go.
    fn permitted(&self, peer: &str, space: &[u8]) -> Result<Arc<Link>, SendError> {
        let found = self.shared.table().find_url(peer);
        let (id, link) = match found {
            Some((id, link)) => (id, Some(link)),
            None => {
                let (_, id) = parse(peer, &self.shared.config)?;
                let link = self.shared.table().find(&id).cloned();
                (id, link)
            }
        };
        if let Err(refused) =
            self.shared.registry.permit_send(&kitfox_core::Peer::new(peer, Some(&id)), space)
        {
            if refused == SendRefused::Blocked {
                self.shared.counts().outgoing(peer, space);
            }
            return Err(SendError::Refused(refused));
        }
        link.ok_or(SendError::NotConnected)
    }

    /// Waits until the queue of the connection with a peer has room for a message of `len` bytes and is at most half
    /// full: what to do after [`SendError::Backpressure`].
    ///
    /// # Errors
    /// [`NotConnected`] if there is no open connection, or not any more.
    pub async fn ready(&self, peer: &str, len: usize) -> Result<(), NotConnected> {
        let (_, id) = parse(peer, &self.shared.config).map_err(|_| NotConnected)?;
        let link = self.shared.table().find(&id).cloned().ok_or(NotConnected)?;
        if link.ready(len, self.shared.config.tx_queue.max_bytes).await { Ok(()) } else { Err(NotConnected) }
    }

    /// Ends every connection with a peer. It is told `reason` after all that is queued, if that can be written within
    /// a second. Returns whether there was an open connection.
    pub fn disconnect(&self, peer: &str, reason: &[u8]) -> bool {
        let Ok((_, id)) = parse(peer, &self.shared.config) else { return false };
        let links = self.shared.table().find_all(&id);
        for link in &links {
            link.disconnect(reason, None);
        }
        !links.is_empty()
    }

    /// Blocks a peer id, in every spelling of it, in one space or in all of them: its messages are dropped and none
    /// are sent to it, both counted. Connections stay. Blocking twice is the same as once.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn block(&self, peer_id: &str, space: Option<&[u8]>) -> Result<(), BlockError> {
        let id = PeerId::new(peer_id).ok_or(BlockError::NoPeerId)?;
        self.shared.registry.change_blocks(|blocks| blocks.block(id, space)).map_err(BlockError::Capacity)
    }

    /// Takes back what [`block`](Self::block) did with the same arguments. Returns whether there was such a rule.
    pub fn unblock(&self, peer_id: &str, space: Option<&[u8]>) -> bool {
        PeerId::new(peer_id)
            .is_some_and(|id| self.shared.registry.change_blocks(|blocks| blocks.unblock(id, space)))
    }

    /// The peers at the other ends of open connections, oldest first.
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.table().links().filter_map(|link| link.peer().cloned()).collect()
    }

    /// What the node did so far.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let own_urls = match &shared.setup.advertise {
            Some(url) => vec![url.clone()],
            None => shared.addrs().iter().map(|addr| addr::plain_url(*addr, &shared.setup.peer_id)).collect(),
        };
        let (links, mut totals) = {
            let table = shared.table();
            (table.links().cloned().collect::<Vec<_>>(), table.totals)
        };
        let connections: Vec<_> = links.iter().filter_map(|link| link.stats()).collect();
        for connection in &connections {
            totals.add(connection);
        }
        let counts = shared.counts();
        let blocked = counts.iter().map(|count| BlockedStats {
            peer: count.peer().to_owned(),
            space: count.space().to_vec(),
            incoming: count.incoming(),
            outgoing: count.outgoing(),
        });
        Stats {
            own_urls,
            pending: links.len() - connections.len(),
            connections,
            blocked: blocked.collect(),
            blocked_unattributed: counts.unattributed(),
            totals,
        }
    }

    /// Stops listening, tells every peer "shutdown" after all that is queued, and waits until every task of the node
    /// has ended: for [`Limits::shutdown_timeout`], and a second more if a handler holds one up. Returns how many
    /// connections of the node's life ended before all that was queued on them was written, or have not ended now; 0 if
    /// nothing was lost on this side.
    pub async fn shutdown(&self) -> usize {
        let shared = &self.shared;
        let limit = shared.limits.shutdown_timeout;
        shared.close(Some(limit));
        let ended = async {
            loop {
                let changed = shared.changed.listen();
                if shared.tasks.load(Ordering::Acquire) == 0 {
                    return;
                }
                changed.await;
            }
        };
        let late = async {
            Timer::after(limit).await;
            let links: Vec<_> = shared.table().links().cloned().collect();
            for link in links {
                link.cut();
            }
            // A task that a handler holds up is not waited for any longer.
            Timer::after(GRACE).await;
        };
        future::or(ended, late).await;
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

fn not_queued(error: PushError) -> SendError {
    match error {
        PushError::TooLarge => SendError::TooLarge,
        _ => SendError::Backpressure,
    }
}

/// Connects to the first address of a host that takes it. Each gets its share of the time.
async fn dial(url: PeerUrl<'_>, timeout: Duration) -> Result<Async<TcpStream>, ConnectError> {
    let until = StdInstant::now() + timeout;
    let late = async {
        Timer::at(until).await;
        Err(ConnectError::DialTimeout)
    };
    let resolving = async { addr::resolve(url).await.map_err(ConnectError::Resolve) };
    let addrs = future::or(resolving, late).await?;
    let mut result = Err(ConnectError::DialTimeout);
    for (addr, left) in addrs.iter().zip((1..=addrs.len() as u32).rev()) {
        let share = until.saturating_duration_since(StdInstant::now()) / left;
        let late = async {
            Timer::after(share).await;
            Err(ConnectError::DialTimeout)
        };
        let connecting = async { Async::<TcpStream>::connect(*addr).await.map_err(ConnectError::Dial) };
        result = future::or(connecting, late).await;
        if result.is_ok() {
            break;
        }
    }
    result
}
