//! A thousand handshakes that never end, while honest peers are served.
//!
//! The node runs on a thread of its own, so that its time is known: it is printed, and so is the memory. A bound on
//! time would say more about the machine than about the node.

use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::{block_on, or, pending};
use kitfox_core::Config;
use kitfox_smol::PeerLimits;
use smol::Executor;

use crate::attacker::*;
use crate::common::*;
use crate::noise::{self, id_bytes};

const FLOOD: usize = 1000;

/// Memory of the process for each connection of the flood, at most.
const BYTES_EACH: u64 = 16 << 10;

/// Where the node that is flooded runs.
struct OwnThread {
    executor: Arc<Executor<'static>>,
    stop: async_channel::Sender<()>,
    /// Its number in the system.
    thread: String,
}

impl OwnThread {
    fn start() -> Self {
        let executor = Arc::new(Executor::new());
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let (tell, told) = mpsc::channel();
        let runs = executor.clone();
        thread::spawn(move || {
            let own = std::fs::read_link("/proc/thread-self").ok();
            let name = own.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
            tell.send(name.unwrap_or_default()).unwrap();
            block_on(runs.run(or(pending::<()>(), async {
                let _ = stopped.recv().await;
            })));
        });
        Self { executor, stop, thread: told.recv().unwrap() }
    }

    /// How long the thread has run so far. `None` where the system does not tell.
    fn time(&self) -> Option<Duration> {
        let told = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread)).ok()?;
        Some(Duration::from_nanos(told.split_whitespace().next()?.parse().ok()?))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
    }
}

/// Memory of this process. `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// What each connection of the flood says before it falls silent: by turns all of what is needed to have the node do
/// the most, and a half of it.
fn openings(carrier: Carrier) -> Vec<Vec<u8>> {
    let whole = |number: usize| match carrier {
        // Valid, and each with keys of its own.
        Carrier::Secured => {
            let seed = MALLORY + (number % 100) as u8;
            noise::first(&mut noise::dialling(&noise::prologue(), seed, BOB), &id_bytes(seed))
        }
        Carrier::Plain => frame(kitfox_core::wire::FrameType::Preflight, &[7; 100]),
    };
    let cut = |number: usize| {
        let mut bytes = whole(number);
        if number % 2 == 1 || carrier == Carrier::Plain {
            bytes.truncate(bytes.len() / 2);
        }
        bytes
    };
    (0..FLOOD).map(cut).collect()
}

/// Floods a node that lets so many be pending; meanwhile Alice, who is connected, and Carol, who comes in the middle,
/// talk with it.
async fn flood(carrier: Carrier, max_pending: usize) {
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(hard.min(soft.max(8192)), hard).unwrap();
    // So long that nothing but the limit makes room.
    let config = Config { preflight_timeout: Duration::from_secs(60), ..Config::HOST };
    let limits = PeerLimits { max_pending, ..PeerLimits::HOST };
    let own = OwnThread::start();
    let executor = own.executor.clone();
    let spawner = move |task| executor.spawn(task).detach();
    let bob = carrier.bob(|builder| builder.config(config).limits(peers(limits)).spawner(spawner)).await;
    let alice = carrier.alice(&bob).await;
    let openings = openings(carrier);

    let (memory, time) = (resident_bytes(), own.time());
    let mut attackers = Vec::with_capacity(FLOOD);
    let (mut worst, mut carol) = (Duration::ZERO, None);
    for (number, opening) in openings.iter().enumerate() {
        let mut raw = Raw::connect(&bob.url);
        raw.send(opening);
        attackers.push(raw);
        if number % 50 == 0 {
            assert!(bob.node.stats().pending <= max_pending);
            let begun = Instant::now();
            exchange(&alice, &bob, &[number as u8]).await;
            worst = worst.max(begun.elapsed());
        }
        if number == FLOOD / 2 {
            let honest = carrier.party(ALICE + 1, |builder| builder, |_| {}).await;
            within(honest.node.connect(&bob.url)).await.unwrap();
            exchange(&honest, &bob, b"I am new here").await;
            carol = Some(honest);
        }
    }
    let carol = carol.expect("Carol came in the middle");
    // Alice, Carol, and everybody else.
    until("all were accepted", || bob.node.stats().totals.accepted == FLOOD as u64 + 2).await;
    if carrier == Carrier::Secured {
        // Every handshake that is whole and has a place is answered.
        for raw in attackers.iter_mut().rev().take(max_pending / 2).skip(1).step_by(2) {
            assert!(read_part(&mut raw.stream).is_some(), "an answer");
        }
    }
    let evicted = (FLOOD - FLOOD.min(max_pending)) as u64;
    let stats = bob.node.stats();
    assert_eq!((stats.pending, stats.totals.evicted), (FLOOD.min(max_pending), evicted));
    for number in 0..50 {
        exchange(&alice, &bob, &[number]).await;
        exchange(&carol, &bob, &[number]).await;
    }
    let stats = bob.node.stats();
    assert_eq!((stats.connected_peers, stats.connections.len()), (2, 2));
    // Twice the longest message of a handshake, and the buffers of the two.
    assert!(stats.receive_bytes <= FLOOD * 512 + (64 << 10), "{}", stats.receive_bytes);

    let told = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?) / FLOOD as u64);
    let memory = told(memory, resident_bytes());
    assert!(memory.is_none_or(|each| each < BYTES_EACH), "{memory:?} bytes each");
    let nanos = |time: Option<Duration>| time.map(|time| time.as_nanos() as u64);
    let time = told(nanos(time), nanos(own.time())).map(Duration::from_nanos);
    println!(
        "{carrier:?}, {max_pending} pending at most: {memory:?} bytes and {time:?} of the node's thread a handshake; \
         {} bytes of buffers in all; an exchange took {worst:?} at worst",
        stats.receive_bytes
    );
    drop(attackers);
    until("nothing is left of it", || bob.node.stats().pending == 0).await;
    exchange(&alice, &bob, b"over").await;
}

/// Runs a test of this module in a process of its own, whose memory is nobody else's.
fn alone(name: &str, body: impl FnOnce()) {
    const ALONE: &str = "KITFOX_TESTS_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = format!("flood::{name}");
    let ran = child.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(told.contains("1 passed"), "{told}");
    told.lines().filter(|line| line.contains("pending at most")).for_each(|line| println!("{line}"));
}

#[test]
fn a_thousand_half_open_plain_connections_stop_no_honest_peer() {
    alone("a_thousand_half_open_plain_connections_stop_no_honest_peer", || {
        test(flood(Carrier::Plain, PeerLimits::HOST.max_pending));
    });
}

#[test]
fn a_thousand_half_open_handshakes_stop_no_honest_peer() {
    alone("a_thousand_half_open_handshakes_stop_no_honest_peer", || {
        test(flood(Carrier::Secured, PeerLimits::HOST.max_pending));
    });
}

#[test]
fn a_flood_beyond_the_limit_evicts_the_oldest_and_stops_no_honest_peer() {
    alone("a_flood_beyond_the_limit_evicts_the_oldest_and_stops_no_honest_peer", || {
        for carrier in Carrier::ALL {
            test(flood(carrier, 64));
        }
    });
}
