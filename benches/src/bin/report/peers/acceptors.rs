//! What idle connections are kept with: a listener of smol, and nodes of kitfox.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kitfox_benches::peers::Fault;
use kitfox_benches::peers::gate;
use kitfox_benches::peers::kitfox::Kind;
use kitfox_smol::{Handler, Node, Peer};
use smol::io::{AsyncReadExt, AsyncWriteExt};

use super::{Acceptor, Open};

/// Threads that dial.
const DIALLERS: usize = 4;

/// Connections that were made, and are counted somewhere else.
struct Counted<T> {
    _kept: T,
    address: String,
    open: Arc<AtomicUsize>,
}

impl<T> Acceptor for Counted<T> {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}

/// A task for each connection, which says that it is there and waits for bytes.
pub(crate) fn raw() -> Result<Box<dyn Acceptor>, Fault> {
    let open = Arc::new(AtomicUsize::new(0));
    let listener = smol::block_on(smol::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?.to_string();
    let counted = Arc::clone(&open);
    let task = smol::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::AcqRel);
            // How it ends is of no interest.
            smol::spawn(async move {
                if socket.write_all(&[1]).await.is_ok() {
                    drop(socket.read(&mut [0]).await);
                }
            })
            .detach();
        }
    });
    Ok(Box::new(Counted { _kept: task, address, open }))
}

pub(crate) fn dial_raw(address: &str, count: usize) -> Result<Open, Fault> {
    let addr: SocketAddr = address.parse()?;
    // Without a word from there, more would be dialled than the listener has places for, and wait a second each.
    side_by_side(count, move |_| {
        let mut socket = TcpStream::connect(addr)?;
        socket.read_exact(&mut [0])?;
        Ok(socket)
    })
}

/// Counts the peers that are up.
struct Counter(Arc<AtomicUsize>);

impl Handler for Counter {
    fn peer_up(&self, _: &Peer) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn node(kind: Kind) -> Result<Box<dyn Acceptor>, Fault> {
    let open = Arc::new(AtomicUsize::new(0));
    let builder = Node::builder().handler(Counter(Arc::clone(&open)));
    let node = if kind == Kind::Plain { builder.plain() } else { builder }.build()?;
    let address = smol::block_on(node.listen("127.0.0.1:0"))?;
    Ok(Box::new(Counted { _kept: node, address, open }))
}

pub(crate) fn plain() -> Result<Box<dyn Acceptor>, Fault> {
    node(Kind::Plain)
}

pub(crate) fn secured() -> Result<Box<dyn Acceptor>, Fault> {
    node(Kind::Secured)
}

pub(crate) fn dial_plain(address: &str, count: usize) -> Result<Open, Fault> {
    let address = address.to_owned();
    side_by_side(count, move |number| gate::open(Kind::Plain, &address, number))
}

pub(crate) fn dial_secured(address: &str, count: usize) -> Result<Open, Fault> {
    let address = address.to_owned();
    side_by_side(count, move |number| gate::open(Kind::Secured, &address, number))
}

/// Several threads that dial one connection after the other.
fn side_by_side(
    count: usize,
    dial: impl Fn(usize) -> Result<TcpStream, Fault> + Send + Sync,
) -> Result<Open, Fault> {
    let dial = &dial;
    let sockets = thread::scope(|scope| {
        let threads: Vec<_> = (0..DIALLERS)
            .map(|first| {
                scope.spawn(move || (first..count).step_by(DIALLERS).map(dial).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        let mut sockets = Vec::with_capacity(count);
        for thread in threads {
            sockets.extend(thread.join().map_err(|_| "a dialler panicked")??);
        }
        Ok::<_, Fault>(sockets)
    })?;
    Ok(Box::new(sockets))
}
