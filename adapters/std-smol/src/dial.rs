//! Opens connections that the peer table orders.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as StdInstant};

use async_io::{Async, Timer};
use event_listener::Event;
use futures_lite::future;
use kitfox_core::connection::Role;
use kitfox_core::node::{ConnectionId, ConnectionState};
use kitfox_core::wire::PeerUrl;

use crate::addr;
use crate::connection;
use crate::link::Link;
use crate::node::TaskGuard;

/// An order to dial.
pub(crate) struct Dial {
    pub(crate) id: ConnectionId,
    pub(crate) url: String,
    pub(crate) cancel: Arc<Cancel>,
}

/// Tells a dial that it is not wanted any more.
#[derive(Default)]
pub(crate) struct Cancel {
    cancelled: AtomicBool,
    event: Event,
}

impl Cancel {
    pub(crate) fn set(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.event.notify(usize::MAX);
    }

    async fn wait(&self) {
        loop {
            let event = self.event.listen();
            if self.cancelled.load(Ordering::Acquire) {
                return;
            }
            event.await;
        }
    }
}

/// Dials, and starts the tasks of the connection.
pub(crate) async fn dial(guard: TaskGuard, order: Dial) {
    let shared = &guard.shared;
    let Dial { id, url, cancel } = &order;
    let fail = |error: io::Error| {
        shared.with_book(|book, now, after| book.dial_failed(shared, now, *id, error, after));
    };
    let cancelled = async {
        cancel.wait().await;
        None
    };
    let connecting = async { Some(connect(shared.parse(url), shared.limits.peers.dial_timeout).await) };
    let stream = match future::or(cancelled, connecting).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return fail(error),
        None => return shared.with_book(|book, _, _| book.release(*id)),
    };
    // From here the time of the gate runs.
    let now = shared.clock.now();
    let number = shared.book().next_number();
    let halves = shared.parse(url).and_then(|url| shared.making().dial(now, number, url));
    let Some((rx, tx)) = halves else { return fail(io::ErrorKind::InvalidInput.into()) };
    let link = stream
        .get_ref()
        .peer_addr()
        .and_then(|remote| Link::new(*id, number, Role::Dialler, stream, tx, remote, shared));
    let link = match link {
        Ok(link) => Arc::new(link),
        Err(error) => return fail(error),
    };
    let wanted = shared.with_book(|book, _, _| {
        let wanted = book.table.state(*id) == Some(ConnectionState::Dialing);
        if wanted {
            book.table.dialled(*id);
            book.totals.dialled += 1;
            book.link_up(&link);
        } else {
            book.release(*id);
        }
        wanted
    });
    if wanted {
        connection::start(shared, link, rx);
    }
}

/// Connects to the first address of a host that takes it. Each gets its share of the time.
async fn connect(url: Option<PeerUrl<'_>>, timeout: Duration) -> io::Result<Async<TcpStream>> {
    let url = url.ok_or(io::ErrorKind::InvalidInput)?;
    if url.port() == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let until = StdInstant::now() + timeout;
    let addrs = addr::resolve(url).await?;
    let mut result = Err(io::ErrorKind::TimedOut.into());
    for (addr, left) in addrs.iter().zip((1..=addrs.len() as u32).rev()) {
        let share = until.saturating_duration_since(StdInstant::now()) / left;
        let late = async {
            Timer::after(share).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        result = future::or(Async::<TcpStream>::connect(*addr), late).await;
        if result.is_ok() {
            break;
        }
    }
    result
}
