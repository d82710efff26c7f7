//! What an idle connection of kitfox-smol holds on the heap, at the end that accepted it.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // sockets and threads: std throughout

use std::alloc::System;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kitfox_benches::figures::TOLERANCE_PERCENT;
use kitfox_benches::peers::gate;
use kitfox_benches::peers::kitfox::Kind;
use kitfox_smol::{Handler, Node, Peer};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of a connection that has been idle for a while, with its part of every table, as they were last measured.
/// `docs/memory.md` says what they are. Whoever makes them fewer writes the new figure here.
const PLAIN: usize = 3178;
const SECURED: usize = 3403;

/// Connections: as many as fill tables that grow by doubling, so that no part of one is empty.
const CONNECTIONS: usize = 256;

/// All connections are to be open, and all that was needed for it is to be given back, after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts the peers that are up.
struct Counter(Arc<AtomicUsize>);

impl Handler for Counter {
    fn peer_up(&self, _: &Peer) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Bytes that were asked for and not given back, by the whole process.
fn live() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Looks again and again until `is_so`; `false` if that takes too long.
fn comes_true(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Opens idle connections to a node and holds what each of them comes to against a figure.
fn hold_against(kind: Kind, figure: usize) {
    let open = Arc::new(AtomicUsize::new(0));
    let builder = Node::builder().handler(Counter(open.clone()));
    let node = if kind == Kind::Plain { builder.plain() } else { builder }.build().unwrap();
    let address = smol::block_on(node.listen("127.0.0.1:0")).unwrap();
    // What the dialling end keeps is a socket: it owns nothing on the heap.
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(CONNECTIONS);
    sockets.push(gate::open(kind, &address, 0).unwrap());
    assert!(comes_true(|| open.load(Ordering::Acquire) == 1), "the first connection is open");
    let before = live();
    for number in 1..CONNECTIONS {
        sockets.push(gate::open(kind, &address, number).unwrap());
    }
    assert!(comes_true(|| open.load(Ordering::Acquire) == CONNECTIONS), "all connections are open");
    let each = || live().saturating_sub(before) / (CONNECTIONS - 1);
    let settled = comes_true(|| 100 * each() <= (100 + TOLERANCE_PERCENT as usize) * figure);
    assert!(settled, "an idle connection ({kind:?}) holds {} bytes, and held {figure}", each());
    drop(sockets);
    smol::block_on(node.shutdown());
}

/// One test, since the whole process is what is counted.
#[test]
fn an_idle_connection_holds_no_more_than_it_did() {
    hold_against(Kind::Plain, PLAIN);
    hold_against(Kind::Secured, SECURED);
}
