//! Listens on addresses that come and go, and accepts connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_io::{Async, Timer};
use bytes::Bytes;
use event_listener::Event;
use futures_lite::future;
use kitfox_core::PeerId;
use kitfox_core::connection::{CloseReason, Role};
use kitfox_core::node::Ending;
use kitfox_core::wire::PeerUrl;
use socket2::{Domain, Protocol, Socket, Type};

use crate::addr;
use crate::connection;
use crate::error::ListenError;
use crate::events::News;
use crate::handler::Closing;
use crate::link::Link;
use crate::node::{Node, Shared, TaskGuard};
use crate::registry::Listener;

/// After a failure the listener pauses for so long, and twice as long after each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Connections that the system keeps until they are accepted; it may keep fewer. Where there is no place for one its
/// dialler waits for a second before it tries again, so the 128 of std make a flood costly for everybody else.
const BACKLOG: i32 = 1024;

/// An address that is listened on.
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
    /// The URL that peers are told for it.
    advertise: Option<String>,
    stop: Arc<Stop>,
}

/// Tells a listener to end, and when it has.
#[derive(Default)]
struct Stop {
    stopped: AtomicBool,
    stops: Event,
    ended: AtomicBool,
    ends: Event,
}

async fn until(flag: &AtomicBool, event: &Event) {
    loop {
        let changed = event.listen();
        if flag.load(Ordering::Acquire) {
            return;
        }
        changed.await;
    }
}

fn set(flag: &AtomicBool, event: &Event) {
    flag.store(true, Ordering::Release);
    event.notify(usize::MAX);
}

impl Shared {
    /// Our URL at an address that is listened on.
    pub(crate) fn url_at(&self, listening: &Listening) -> String {
        match self.setup.advertise.as_ref().or(listening.advertise.as_ref()) {
            Some(url) => url.clone(),
            None => addr::url(self.setup.security.scheme(), listening.addr, &self.setup.peer_id),
        }
    }

    /// Our URL, as a peer on a connection with this local address is told.
    pub(crate) fn own_url(&self, local: SocketAddr) -> String {
        if let Some(url) = &self.setup.advertise {
            return url.clone();
        }
        let listening = self.listening();
        let addrs: Vec<_> = listening.iter().map(|listening| listening.addr).collect();
        let place = addr::own_place(&addrs, local);
        match place.and_then(|place| listening[place].advertise.as_ref()) {
            Some(url) => url.clone(),
            None => {
                let addr = addr::own_addr(place.map(|place| &addrs[place]), local);
                addr::url(self.setup.security.scheme(), addr, &self.setup.peer_id)
            }
        }
    }

    fn tell_address(&self, url: &str, gone: bool) {
        let snapshot = self.registry.snapshot();
        let listeners = snapshot.listeners(snapshot.rules.new_listening_address_targets());
        drop(snapshot);
        for listener in listeners {
            match (listener, gone) {
                (Listener::Handler, false) => self.handler.new_listening_address(url),
                (Listener::Handler, true) => self.handler.lost_listening_address(url),
                (Listener::Space(space), false) => space.new_listening_address(url),
                (Listener::Space(space), true) => space.lost_listening_address(url),
                (Listener::Module(_), _) => {}
            }
        }
    }
}

impl Node {
    /// Listens on an address, `host:port`; port 0 takes one that is free. Returns the URL under which peers reach the
    /// node there, and tells it to handlers. A node may listen on several addresses; they may come and go.
    ///
    /// With a wildcard address (`0.0.0.0`, `[::]`) the URL has that address in it; a peer is told the address by
    /// which it came.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen(&self, addr: &str) -> Result<String, ListenError> {
        self.listen_at(addr, None).await
    }

    /// Listens on an address as [`listen`](Self::listen) does. Peers on connections that belong to it are told `url`,
    /// which must end in our peer id, unless the node as a whole [advertises](crate::Builder::advertise) one.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn listen_as(&self, addr: &str, url: &str) -> Result<String, ListenError> {
        let parsed = PeerUrl::parse(url, &self.shared.config.url).map_err(ListenError::AdvertisedUrl)?;
        if parsed.peer_id().and_then(PeerId::new) != Some(self.shared.setup.id) {
            return Err(ListenError::AdvertisedId);
        }
        if !self.shared.setup.security.speaks(parsed) {
            return Err(ListenError::AdvertisedScheme);
        }
        self.listen_at(addr, Some(url.to_owned())).await
    }

    async fn listen_at(&self, addr: &str, advertise: Option<String>) -> Result<String, ListenError> {
        let shared = &self.shared;
        let addrs = addr::resolve_text(addr.to_owned()).await.map_err(ListenError::Address)?;
        let mut bound = Err(ListenError::Address(io::ErrorKind::NotFound.into()));
        for addr in addrs {
            bound = bind(addr).map_err(ListenError::Bind);
            if bound.is_ok() {
                break;
            }
        }
        let listener = bound?;
        let addr = listener.get_ref().local_addr().map_err(ListenError::Bind)?;
        let stop = Arc::new(Stop::default());
        let guard = {
            // Under the lock, so that a shutdown either is seen here or sees the task.
            let book = shared.book();
            if book.shut_down {
                return Err(ListenError::ShutDown);
            }
            shared.task()
        };
        let listening = Listening { addr, advertise, stop: stop.clone() };
        let url = shared.url_at(&listening);
        shared.listening().push(listening);
        shared.spawn(listen(guard, listener, stop));
        shared.tell_address(&url, false);
        Ok(url)
    }

    /// Stops listening where [`listen`](Self::listen) has returned this URL, and tells it to handlers; with an
    /// advertised URL, everywhere. Connections stay. When the future ends the address is free. Returns whether the
    /// node listened there.
    pub async fn unlisten(&self, url: &str) -> bool {
        let shared = &self.shared;
        let stops: Vec<_> = shared
            .listening()
            .iter()
            .filter(|listening| shared.url_at(listening) == url)
            .map(|listening| listening.stop.clone())
            .collect();
        for stop in &stops {
            set(&stop.stopped, &stop.stops);
        }
        for stop in &stops {
            until(&stop.ended, &stop.ends).await;
        }
        if !stops.is_empty() {
            shared.tell_address(url, true);
        }
        !stops.is_empty()
    }
}

/// Listens as std does, with a backlog of our own.
fn bind(addr: SocketAddr) -> io::Result<Async<TcpListener>> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Async::new(TcpListener::from(socket))
}

/// Accepts connections until it is stopped. The guard is dropped last: then the address is free again.
async fn listen(guard: TaskGuard, listener: Async<TcpListener>, stop: Arc<Stop>) {
    let shared = &guard.shared;
    let accepting = async {
        let mut backoff = BACKOFF_MIN;
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    backoff = BACKOFF_MIN;
                    if let Err(reason) = accept(shared, stream, remote) {
                        let closing = Closing { reason, message: Bytes::new() };
                        // Here and now: who is slow to hear of it slows those down who come. A handler that panics
                        // must not end the listener.
                        let tell = || shared.tell(News::Rejected(remote, closing));
                        let _ = catch_unwind(AssertUnwindSafe(tell));
                    }
                    future::yield_now().await;
                }
                // No file descriptors, no memory, a peer that was gone before it was accepted: the next call may well
                // fail again at once.
                Err(_) => {
                    shared.book().totals.accept_errors += 1;
                    Timer::after(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    };
    future::or(future::or(shared.closing(), until(&stop.stopped, &stop.stops)), accepting).await;
    shared.listening().retain(|other| !Arc::ptr_eq(&other.stop, &stop));
    drop(listener);
    set(&stop.ended, &stop.ends);
}

/// Takes a socket in and starts its tasks. Who is turned away sees the end of the stream.
fn accept(
    shared: &Arc<Shared>,
    stream: Async<std::net::TcpStream>,
    remote: SocketAddr,
) -> Result<(), CloseReason> {
    let (link, rx) = shared.with_book(|book, now, _| {
        if book.shut_down {
            return Err(CloseReason::Local);
        }
        let id = book.table.accept().map_err(|error| {
            book.totals.turned_away += 1;
            CloseReason::Capacity(error)
        })?;
        let number = book.next_number();
        let (rx, tx) = shared.making().accept(now, number);
        match Link::new(id, number, Role::Acceptor, stream, tx, remote, shared) {
            Ok(link) => {
                let link = Arc::new(link);
                book.totals.accepted += 1;
                book.link_up(&link);
                Ok((link, rx))
            }
            Err(_) => {
                let reason = CloseReason::Failed;
                book.table.ended(now, id, Ending { reason, superseded: false, waiting: false });
                book.table.release(id);
                Err(reason)
            }
        }
    })?;
    connection::start(shared, link, rx);
    Ok(())
}
