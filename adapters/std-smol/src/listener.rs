//! Accepts connections.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::future;
use kitfox_core::connection::{Plain, Role, Rx};

use crate::node::{Shared, TaskGuard};

/// After a failure the listener pauses for so long, and twice as long after each further one.
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts connections until the node is shut down. The guard is dropped last: then the address is free again.
pub(crate) async fn listen(
    _guard: TaskGuard,
    shared: Arc<Shared>,
    listener: Async<TcpListener>,
    addr: SocketAddr,
) {
    let accepting = async {
        let mut backoff = BACKOFF_MIN;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    backoff = BACKOFF_MIN;
                    let rx = Rx::accept(shared.clock.now(), &shared.config, Plain::default());
                    // Who is turned away sees the end of the stream; the table has counted it.
                    let _ = shared.attach(stream, Role::Acceptor, rx);
                    future::yield_now().await;
                }
                // No file descriptors, no memory, a peer that was gone before it was accepted: the next call may well
                // fail again at once.
                Err(_) => {
                    shared.table().totals.accept_errors += 1;
                    Timer::after(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    };
    future::or(shared.closing(), accepting).await;
    shared.addrs().retain(|other| *other != addr);
}
