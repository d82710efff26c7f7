//! Memory of idle connections at the end that accepted them, and how fast it accepts.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, io};

use kitfox_benches::peers::{Fault, PATIENCE};
use rustix::param::page_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Options;
use crate::child::{self, CHILD};
use crate::companion::Companions;
use crate::peers::Peer;

/// Numbers of connections.
pub(crate) const COUNTS: [usize; 2] = [1000, 10_000];
/// All connections are to be open after this.
const LIMIT: Duration = Duration::from_secs(60);
/// What was needed to open connections is given back in this time.
const SETTLE: Duration = Duration::from_secs(3);

/// So many idle connections.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Bytes of memory a connection, in this process.
    pub(crate) bytes: f64,
    /// Connections a second, until they were open.
    pub(crate) rate: f64,
}

/// One peer, and what it came to at each number of connections.
pub(crate) struct Row {
    pub(crate) peer: &'static Peer,
    pub(crate) samples: [Result<Sample, String>; COUNTS.len()],
}

/// Runs all peers that can idle.
pub(crate) fn measure(options: &Options, companions: &Companions) -> Vec<Row> {
    let peers = options.peers.iter().filter(|peer| peer.idle.is_some());
    let sample = |peer: &Peer, count: usize| {
        eprintln!("{count} idle connections of {}", peer.name);
        let printed = child::start(companions.of(peer)?, &["idle", peer.name, &count.to_string()], 2 * LIMIT);
        match printed.fault {
            Some(fault) => Err(fault),
            None => read(&printed.lines).ok_or_else(|| "the child said nothing".into()),
        }
    };
    peers.map(|&peer| Row { peer, samples: COUNTS.map(|count| sample(peer, count)) }).collect()
}

fn read(lines: &[String]) -> Option<Sample> {
    let (bytes, rate) = lines.iter().find_map(|line| line.strip_prefix("idle ")?.split_once(' '))?;
    Some(Sample { bytes: bytes.parse().ok()?, rate: rate.parse().ok()? })
}

/// Accepts connections from a child of this child, and says what they cost here.
pub(crate) fn child(peer: &Peer, count: usize) -> Result<(), Fault> {
    raise_limit()?;
    let acceptor = (peer.idle.ok_or("it does not idle")?.accept)()?;
    let before = resident()?;
    let start = Instant::now();
    let mut dialler = Command::new(env::current_exe()?)
        .args([CHILD, "dial", peer.name, &acceptor.address(), &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    while acceptor.open() < count {
        if let Some(status) = dialler.try_wait()? {
            return Err(format!("only {} were open when the dialler ended: {status}", acceptor.open()).into());
        }
        if start.elapsed() > LIMIT {
            return Err(format!("only {} were open after {} s", acceptor.open(), LIMIT.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let time = start.elapsed();
    let mut said = String::new();
    let out = dialler.stdout.take().ok_or("the dialler says nothing")?;
    BufReader::new(out).read_line(&mut said)?;
    thread::sleep(SETTLE);
    let bytes = resident()?.saturating_sub(before) as f64 / count as f64;
    if acceptor.open() != count {
        return Err("more connections were opened than asked for".into());
    }
    println!("idle {bytes} {}", count as f64 / time.as_secs_f64());
    // Its input ends, and with it the dialler.
    drop(dialler.stdin.take());
    let since = Instant::now();
    while dialler.try_wait()?.is_none() && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    std::process::exit(0);
}

/// Bytes of this process that are in memory.
fn resident() -> io::Result<usize> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.map(|pages| pages * page_size()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// As many files as this process may have open.
fn raise_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
