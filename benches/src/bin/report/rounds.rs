//! Throughput, processor time and round trips, in rounds in which the peers take turns.

use std::thread;
use std::time::Duration;

use kitfox_benches::peers::{Fault, Link};
use kitfox_benches::spread::Spread;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::Options;
use crate::child;
use crate::companion::Companions;
use crate::peers::Peer;

/// Sizes of messages, and their names.
pub(crate) const SIZES: [(usize, &str); 5] =
    [(16, "16 B"), (128, "128 B"), (1 << 10, "1 KiB"), (16 << 10, "16 KiB"), (1 << 20, "1 MiB")];

/// A child that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// What one size came to in one round.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Microseconds of processor time a message, both ends together.
    pub(crate) cpu: f64,
}

/// What a peer did in one round.
#[derive(Clone, Default)]
pub(crate) struct Round {
    pub(crate) samples: [Option<Sample>; SIZES.len()],
    /// Microseconds, p50 and p99.
    pub(crate) trips: Option<[f64; 2]>,
}

/// What a peer did in all rounds; those of two peers with the same number ran one after the other.
#[derive(Default)]
pub(crate) struct Rounds {
    pub(crate) rounds: Vec<Round>,
    pub(crate) fault: Option<String>,
}

impl Rounds {
    /// A number of all rounds that have it.
    pub(crate) fn spread(&self, number: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        let values: Vec<_> = self.rounds.iter().filter_map(number).collect();
        (!values.is_empty()).then(|| Spread::of(&values))
    }

    /// The ratio of a number to that of another peer in the same round.
    pub(crate) fn ratio(&self, other: &Self, number: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let ratios: Vec<_> = pairs.filter_map(|(a, b)| Some(number(a)? / number(b)?)).collect();
        (!ratios.is_empty()).then(|| Spread::of(&ratios))
    }
}

/// By peer, in the order of the options: free, and with both ends on one core.
pub(crate) struct Measured {
    pub(crate) free: Vec<Rounds>,
    pub(crate) pinned: Vec<Rounds>,
}

/// How long one size is measured.
pub(crate) fn time(options: &Options) -> Duration {
    Duration::from_millis(if options.quick { 40 } else { 200 })
}

/// Runs all rounds.
pub(crate) fn measure(options: &Options, companions: &Companions) -> Measured {
    let time = time(options).as_millis().to_string();
    let all = || options.peers.iter().map(|_| Rounds::default()).collect::<Vec<_>>();
    let mut measured = Measured { free: all(), pinned: all() };
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for (place, peer) in options.peers.iter().enumerate() {
            for (rounds, pinned) in [(&mut measured.free, "free"), (&mut measured.pinned, "pinned")] {
                let rounds = &mut rounds[place];
                // One that has failed is not tried again.
                let round = match (&rounds.fault, companions.of(peer)) {
                    (Some(_), _) => Round::default(),
                    (None, Err(fault)) => {
                        rounds.fault = Some(fault);
                        Round::default()
                    }
                    (None, Ok(program)) => {
                        let printed = child::start(program, &["rates", peer.name, pinned, &time], LIMIT);
                        if let Some(fault) = &printed.fault {
                            eprintln!("{} ({pinned}): {fault}", peer.name);
                        }
                        rounds.fault = printed.fault;
                        read(&printed.lines)
                    }
                };
                rounds.rounds.push(round);
            }
        }
    }
    measured
}

/// What a child has printed.
fn read(lines: &[String]) -> Round {
    let mut round = Round::default();
    for line in lines {
        let mut words = line.split(' ');
        let what = words.next();
        let numbers: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        match (what, numbers[..].as_ref()) {
            (Some("size"), &[bytes, rate, cpu]) => {
                if let Some(place) = SIZES.iter().position(|(size, _)| *size as f64 == bytes) {
                    round.samples[place] = Some(Sample { rate, cpu });
                }
            }
            (Some("trips"), &[p50, p99]) => round.trips = Some([p50, p99]),
            // Libraries print too.
            _ => {}
        }
    }
    round
}

/// Measures one peer in this process.
pub(crate) fn child(peer: &Peer, pinned: bool, time: Duration) -> Result<(), Fault> {
    if pinned {
        pin()?;
    }
    let mut link = (peer.open)()?;
    for (bytes, _) in SIZES {
        let Sample { rate, cpu } = sample(link.as_mut(), bytes, time)?;
        println!("size {bytes} {rate} {cpu}");
    }
    // As many as fit into the time, by those that come first.
    let first = percentiles(link.round_trips(50)?)?;
    let count = (time.as_secs_f64() * 2e6 / first[0]).clamp(50.0, 5000.0) as usize;
    let [p50, p99] = percentiles(link.round_trips(count)?)?;
    println!("trips {p50} {p99}");
    // Nothing is to be closed in good order: the process ends.
    std::process::exit(0);
}

/// Sends more and more messages until they take the time; the last of these measurements counts.
fn sample(link: &mut dyn Link, bytes: usize, time: Duration) -> Result<Sample, Fault> {
    let mut messages = 16;
    loop {
        let before = processor_time();
        let taken = link.send(bytes, messages)?.as_secs_f64();
        let used = processor_time() - before;
        if taken >= 0.8 * time.as_secs_f64() {
            let rate = messages as f64 / taken;
            return Ok(Sample { rate, cpu: used / messages as f64 * 1e6 });
        }
        let factor = (time.as_secs_f64() / taken).clamp(1.5, 16.0);
        messages = (messages as f64 * factor).ceil() as usize;
    }
}

/// The median and the one that only one of a hundred is longer than, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> Result<[f64; 2], Fault> {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).map(|time| time.as_secs_f64() * 1e6);
    Ok([at(50).ok_or("no round trips")?, at(99).ok_or("no round trips")?])
}

/// Seconds of processor time that this process has used, all threads and the kernel on their behalf.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Keeps this process, and the threads it will start, on the last core that it may use.
fn pin() -> Result<(), Fault> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).ok_or("no core")?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one)?;
    // Threads that were started before this would stay where they were.
    debug_assert_eq!(thread::available_parallelism().map_or(1, usize::from), 1);
    Ok(())
}
