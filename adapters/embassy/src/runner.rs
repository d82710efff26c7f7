//! The one future that drives a node over embassy-net.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embassy_sync::waitqueue::WakerRegistration;
use embassy_time::Timer;
use kitfox_core::PeerId;
use kitfox_core::connection::Channel;
use kitfox_core::node::{ConnectionState, Input, Node as Core, NodeConfig};
use kitfox_core::router::BlockList;
use kitfox_core::storage::Storage;
use kitfox_core::wire::PeerUrl;

use crate::addr::{self, OwnAddresses};
use crate::channel::{Protection, Secured};
use crate::drive::{Driver, Ours, Place};
use crate::entropy::Entropy;
use crate::error::BuildError;
use crate::handler::Handler;
use crate::names::Names;
use crate::node::{Node, Shared};
use crate::options::Options;
use crate::resources::Resources;
use crate::stats::Totals;
use crate::tcp::Net;
use crate::time::{now, timer_at};
use crate::wakers::Wakers;

/// Things that the runner does for the core in one turn before other tasks have theirs.
const STEPS_A_TURN: usize = 16;

/// Makes a node over an embassy-net stack: a handle for the tasks of the application, and the runner, which does
/// nothing before [`Runner::run`] is awaited.
///
/// The stack must have room for `SOCKETS` more sockets, besides those of DHCP (1) and DNS (1) and of the application:
/// embassy-net panics where there is none. Its own runner must be spawned as a task of its own: a task that also waits
/// for sockets would never sleep.
///
/// # Errors
/// See [`BuildError`]: the caller's fault.
#[allow(clippy::type_complexity)] // a pair; its types have names of their own
pub fn new<'d, S, C, const SOCKETS: usize, const RX: usize, const TX: usize>(
    stack: Stack<'d>,
    resources: &'d mut Resources<S, SOCKETS, RX, TX, C>,
    mut options: Options<'d, C>,
) -> Result<(Node<'d, S, C>, Runner<'d, S, SOCKETS, C>), BuildError>
where
    S: Storage,
    C: Protection,
{
    if SOCKETS == 0 || options.port == 0 {
        return Err(BuildError::NothingToListenOn);
    }
    let (own_id, seed) = begin(&mut options)?;
    let Resources { shared, buffers } = resources;
    let shared = make(shared, &options.config, own_id, seed);
    let sockets = buffers.each_mut().map(|buffers| {
        let mut socket = TcpSocket::new(stack, &mut buffers.rx, &mut buffers.tx);
        // Messages are written as they come; waiting for more only delays them.
        socket.set_nagle_enabled(false);
        socket
    });
    let net = Net {
        stack,
        port: options.port,
        close_timeout: options.close_timeout,
        accept_timeout: options.config.connection.preflight_timeout,
        tx_timeout: options.config.connection.tx_timeout,
    };
    let Options { identity, entropy, advertise, .. } = options;
    Ok((Node { shared }, Runner { shared, identity, entropy, own_id, advertise, net, sockets }))
}

/// Our id and a seed, if the options are sound.
pub(crate) fn begin<C: Protection>(options: &mut Options<'_, C>) -> Result<(PeerId, u64), BuildError> {
    let id = C::peer_id(&options.identity);
    if !addr::is_usable(&id) {
        return Err(BuildError::PeerId);
    }
    if let Some(url) = options.advertise {
        let url = PeerUrl::parse(url, &options.config.connection.url).map_err(BuildError::AdvertisedUrl)?;
        if url.peer_id().and_then(PeerId::new) != Some(id) {
            return Err(BuildError::AdvertisedId);
        }
        if url.uses_tls() != C::SECURED {
            return Err(BuildError::AdvertisedScheme);
        }
    }
    let mut seed = [0; 32];
    options.entropy.fill(&mut seed).map_err(BuildError::Entropy)?;
    let [a, b, c, d, e, f, g, h, ..] = seed;
    Ok((id, u64::from_le_bytes([a, b, c, d, e, f, g, h])))
}

/// Puts a new node into its memory. What it is put together from on the stack is gone afterwards.
#[inline(never)]
pub(crate) fn make<'d, S: Storage, C: Channel>(
    memory: &'d mut Option<RefCell<Shared<S, C>>>,
    config: &NodeConfig,
    own_id: PeerId,
    seed: u64,
) -> &'d RefCell<Shared<S, C>> {
    memory.insert(RefCell::new(Shared {
        core: Core::new(config, own_id, seed, BlockList::new(&config.router)),
        runner: WakerRegistration::new(),
        waiting: Wakers::new(),
        totals: Totals::default(),
        url_rules: config.connection.url,
        network_up: false,
    }))
}

/// Drives a node: sockets, deadlines, questions. See [`run`](Self::run).
pub struct Runner<'d, S: Storage, const SOCKETS: usize, C: Protection = Secured> {
    shared: &'d RefCell<Shared<S, C>>,
    identity: C::Identity,
    entropy: &'d mut dyn Entropy,
    own_id: PeerId,
    advertise: Option<&'d str>,
    net: Net<'d>,
    sockets: [TcpSocket<'d>; SOCKETS],
}

impl<S: Storage, C: Protection, const SOCKETS: usize> fmt::Debug for Runner<'_, S, SOCKETS, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runner({SOCKETS} sockets on port {})", self.net.port)
    }
}

#[cfg(feature = "defmt")]
impl<S: Storage, C: Protection, const SOCKETS: usize> defmt::Format for Runner<'_, S, SOCKETS, C> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Runner({=usize} sockets on port {=u16})", SOCKETS, self.net.port);
    }
}

impl<S, C, const SOCKETS: usize> Runner<'_, S, SOCKETS, C>
where
    S: Storage,
    C: Protection,
{
    /// Runs the node, for ever: listens on all sockets that are not used otherwise, dials, reads, writes, keeps
    /// deadlines and calls the handler. It belongs into a task of its own.
    ///
    /// It wakes for sockets, deadlines, handles and changes of the network, and for nothing else. Dropping the future
    /// stops everything; running again begins with all connections failed.
    pub async fn run(&mut self, handler: &mut impl Handler<S>) -> ! {
        let Self { shared, identity, entropy, own_id, advertise, net, sockets } = self;
        let ours = Ours {
            identity,
            entropy: RefCell::new(&mut **entropy),
            id: *own_id,
            advertise: *advertise,
            port: net.port,
        };
        let driver = Driver::<_, _, _, SOCKETS>::new(waker().await, shared, handler, ours);
        driver.begin_without_network();
        driver.forget_connections();
        let mut stages = sockets.each_mut().map(|socket| {
            socket.abort();
            net.prepare(socket)
        });
        let names = Names::new();
        let mut own = OwnAddresses::default();
        let serving = poll_fn(|cx| {
            for (place, (socket, stage)) in sockets.iter_mut().zip(&mut stages).enumerate() {
                driver.serve(cx, place, stage, net, &names, socket);
            }
            // The mind comes last: what the sockets did may move deadlines.
            driver.watch_network(cx, net, &mut own);
            driver.mind(cx);
            Poll::<()>::Pending
        });
        #[cfg(feature = "dns")]
        let serving = embassy_futures::join::join(driver.look_up(&names, net.stack), serving);
        driver.drive(serving).await;
        pending().await
    }
}

/// The waker of the task that asks.
pub(crate) async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

impl<'a, S, C, H, const PLACES: usize> Driver<'a, S, C, H, PLACES>
where
    S: Storage,
    C: Protection,
    H: Handler<S>,
{
    /// In a function of its own it is put where it stays, and leaves no copy on the stack of every poll.
    #[inline(never)]
    pub(crate) fn new(
        waker: Waker,
        shared: &'a RefCell<Shared<S, C>>,
        handler: &'a mut H,
        ours: Ours<'a, C>,
    ) -> Self {
        Self {
            shared,
            handler: RefCell::new(handler),
            places: RefCell::new([const { Place::new() }; PLACES]),
            ours,
            again: Cell::new(false),
            dials: Cell::new(false),
            worked: Cell::new(0),
            waker: RefCell::new(waker),
        }
    }

    /// Polls everything, and remembers for whom.
    pub(crate) async fn drive<T>(&self, all: impl Future<Output = T>) -> T {
        let mut all = pin!(all);
        poll_fn(|cx| {
            if !self.waker.borrow().will_wake(cx.waker()) {
                self.waker.replace(cx.waker().clone());
            }
            all.as_mut().poll(cx)
        })
        .await
    }

    /// Until the stack has been looked at there is no network: nobody is called unresponsive for that.
    fn begin_without_network(&self) {
        let shared = &mut *self.shared.borrow_mut();
        shared.network_up = false;
        shared.core.set_network_up(false);
    }

    /// Connections of a run that was dropped have no sockets any more. Those that are still to be dialled will be.
    #[inline(never)]
    pub(crate) fn forget_connections(&self) {
        self.tell(Input::Wake);
        self.dials.set(true);
        loop {
            let found = {
                let core = &self.shared.borrow().core;
                let mut connections = core.peers().connections();
                connections.find(|&(id, state)| state == ConnectionState::Closed || core.rx(id).is_some())
            };
            match found {
                Some((id, ConnectionState::Closed)) => self.shared.borrow_mut().core.release(id),
                Some((id, _)) => {
                    Totals::count(&mut self.shared.borrow_mut().totals.closed);
                    self.tell(Input::Failed(id));
                }
                None => return,
            }
        }
    }

    /// Does what nobody else does: deadlines, and what was asked for through a handle.
    #[inline(never)]
    pub(crate) fn mind(&self, cx: &mut Context<'_>) {
        for step in 0..=STEPS_A_TURN {
            self.look_again();
            if self.shared.borrow().core.peers().has_steps() {
                self.tell(Input::Wake);
                continue;
            }
            let at = self.shared.borrow().core.poll_timeout();
            match at {
                Some(at) if at <= now() => {
                    self.tell(Input::Timeout);
                    self.again.set(true);
                }
                Some(at) if pin!(Timer::at(timer_at(at))).poll(cx).is_ready() => {}
                _ => break,
            }
            if step == STEPS_A_TURN {
                self.again.set(true);
            }
        }
        self.work();
        self.shared.borrow_mut().runner.register(cx.waker());
        if self.again.take() {
            cx.waker().wake_by_ref();
        }
    }

    /// Looks whether link or addresses have changed, and waits for when they do.
    #[inline(never)]
    fn watch_network(&self, cx: &mut Context<'_>, net: &Net<'_>, own: &mut OwnAddresses) {
        let stack = net.stack;
        // One waker serves link and addresses.
        if stack.is_link_up() {
            let _ = pin!(stack.wait_link_down()).poll(cx);
        } else {
            let _ = pin!(stack.wait_link_up()).poll(cx);
        }
        let before = core::mem::replace(own, OwnAddresses::of(stack));
        let after = *own;
        if before == after {
            return;
        }
        let up = after.iter().next().is_some();
        {
            let shared = &mut *self.shared.borrow_mut();
            shared.network_up = up;
            shared.core.set_network_up(up);
            shared.waiting.wake_all();
        }
        if up {
            self.fail_connections_of_lost_addresses(after);
        }
        self.announce(net, before, after);
    }

    fn fail_connections_of_lost_addresses(&self, own: OwnAddresses) {
        for place in 0..PLACES {
            let lost = {
                let place = &self.places.borrow()[place];
                place.connection.filter(|_| place.local.is_some_and(|local| !own.contains(local)))
            };
            if let Some(connection) = lost {
                self.tell(Input::Failed(connection));
            }
        }
    }

    #[inline(never)]
    fn announce(&self, net: &Net<'_>, before: OwnAddresses, after: OwnAddresses) {
        let mut handler = self.handler.borrow_mut();
        if let Some(url) = self.ours.advertise {
            match (before.iter().next(), after.iter().next()) {
                (None, Some(_)) => handler.new_listening_address(url),
                (Some(_), None) => handler.lost_listening_address(url),
                _ => {}
            }
            return;
        }
        let url_of = |ip| addr::url_of(C::SECURED, ip, net.port, &self.ours.id);
        for ip in before.iter().filter(|&ip| !after.contains(ip)) {
            let url = url_of(ip);
            info!("no longer listening as {}", url.as_str());
            handler.lost_listening_address(&url);
        }
        for ip in after.iter().filter(|&ip| !before.contains(ip)) {
            let url = url_of(ip);
            info!("listening as {}", url.as_str());
            handler.new_listening_address(&url);
        }
    }
}
