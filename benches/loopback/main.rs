//! kitfox-smol over loopback, beside raw smol sockets in the same run.
//!
//! ```text
//! cargo bench -p kitfox-benches --bench loopback                   all of it, about two minutes
//! cargo bench -p kitfox-benches --bench loopback -- --quick        a tenth of the messages
//! cargo bench -p kitfox-benches --bench loopback --features ring   secured with the cipher of crate `ring`
//! ```
//!
//! Times are medians of several rounds in which the two take turns, so that the ratios hold while the speed of the
//! machine drifts. Nothing is compared with committed figures: times of different machines say nothing to each other.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // sockets and threads: std throughout

mod receive;

use std::env;
use std::time::Duration;

use kitfox_benches::peers::kitfox::{Kind, Kitfox};
use kitfox_benches::peers::noise::Noise;
use kitfox_benches::peers::raw::Raw;
use kitfox_benches::peers::{Fault, Link};
use kitfox_benches::spread::Spread;
use receive::receive;

/// How often each measurement is repeated.
const ROUNDS: usize = 5;

/// A size of message, and how many of them are sent in one round.
struct Size {
    name: &'static str,
    bytes: usize,
    messages: usize,
}

const SIZES: [Size; 5] = [
    Size { name: "16 B", bytes: 16, messages: 400_000 },
    Size { name: "128 B", bytes: 128, messages: 400_000 },
    Size { name: "1 KiB", bytes: 1 << 10, messages: 100_000 },
    Size { name: "16 KiB", bytes: 16 << 10, messages: 10_000 },
    Size { name: "1 MiB", bytes: 1 << 20, messages: 200 },
];

fn main() -> Result<(), Fault> {
    let quick = env::args().any(|argument| argument == "--quick");
    let scale = |count: usize| if quick { (count / 10).max(10) } else { count };
    throughput(scale)?;
    round_trips(scale(10_000))?;
    two_threads(scale(200_000))
}

/// What opens a connection.
type Opens = fn() -> Result<Box<dyn Link>, Fault>;

/// The columns of the table.
const COLUMNS: [(&str, Opens); 4] = [
    ("raw smol", || Ok(Box::new(Raw::open()?))),
    ("kitfox", || Ok(Box::new(Kitfox::open(Kind::Plain)?))),
    ("raw + Noise", || Ok(Box::new(Noise::open()?))),
    ("secured", || Ok(Box::new(Kitfox::open(Kind::Secured)?))),
];

/// Processor time of this process so far, in seconds; zero where the system does not tell.
fn cpu_seconds() -> f64 {
    // Fields 14 and 15 behind the name, in hundredths of a second on every Linux.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn throughput(scale: impl Fn(usize) -> usize) -> Result<(), Fault> {
    let cipher = if cfg!(feature = "ring") { "ring" } else { "RustCrypto" };
    println!(
        "Throughput, one connection: messages a second and, behind them, CPU microseconds a message at both ends
together. Raw smol writes up to 64 KiB at once; raw + Noise is snow with its own cipher in records of 64 KiB; kitfox
is secured with the cipher of {cipher}.\n"
    );
    print!("{:>8}", "size");
    COLUMNS.iter().for_each(|(name, ..)| print!(" {name:>14} {:>8}", "us"));
    println!("   plain of raw, secured of raw + Noise (smallest to largest)");
    for size in &SIZES {
        let messages = scale(size.messages);
        let mut rates = [const { Vec::new() }; COLUMNS.len()];
        let mut costs = [const { Vec::new() }; COLUMNS.len()];
        for _ in 0..ROUNDS {
            for (column, (_, open)) in COLUMNS.iter().enumerate() {
                let mut link = open()?;
                let before = cpu_seconds();
                rates[column].push(messages as f64 / link.send(size.bytes, messages)?.as_secs_f64());
                costs[column].push((cpu_seconds() - before) / messages as f64 * 1e6);
            }
        }
        print!("{:>8}", size.name);
        for column in 0..COLUMNS.len() {
            let (rate, cost) = (Spread::of(&rates[column]).median, Spread::of(&costs[column]).median);
            print!(" {rate:>14.0} {cost:>8.2}");
        }
        for (column, base) in [(1, 0), (3, 2)] {
            let ratios: Vec<_> = rates[column].iter().zip(&rates[base]).map(|(a, b)| a / b).collect();
            let Spread { median, low, high } = Spread::of(&ratios);
            print!("   {median:.2} ({low:.2} to {high:.2})");
        }
        println!();
    }
    Ok(())
}

fn round_trips(count: usize) -> Result<(), Fault> {
    println!("\nRound trip of 16 B, microseconds.\n");
    println!("{:>10} {:>8} {:>8}", "", "p50", "p99");
    let percentile = |times: &mut Vec<Duration>, percent: usize| {
        times.sort();
        times[times.len() * percent / 100].as_secs_f64() * 1e6
    };
    let mut base = None;
    for (name, mut times) in [
        ("raw smol", Raw::open()?.round_trips(count)?),
        ("kitfox", Kitfox::open(Kind::Plain)?.round_trips(count)?),
        ("secured", Kitfox::open(Kind::Secured)?.round_trips(count)?),
    ] {
        let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
        let ratio = p50 / *base.get_or_insert(p50);
        println!("{name:>10} {p50:>8.1} {p99:>8.1}   p50: {ratio:.2} of raw");
    }
    Ok(())
}

/// Readers of one node on two threads: if one lock stood around every message, two connections would bring no more than
/// one.
fn two_threads(messages: usize) -> Result<(), Fault> {
    println!(
        "\nMessages of 128 B a second into one node whose handler works, written by plain threads in whole buffers.\n"
    );
    let (mut one, mut two, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let single = messages as f64 / receive(1, messages)?.as_secs_f64();
        let double = 2.0 * messages as f64 / receive(2, messages)?.as_secs_f64();
        one.push(single);
        two.push(double);
        ratios.push(double / single);
    }
    let Spread { median: ratio, low, high } = Spread::of(&ratios);
    println!("{:>16} {:>12.0}", "one connection", Spread::of(&one).median);
    println!(
        "{:>16} {:>12.0}   {ratio:.2} times ({low:.2} to {high:.2})",
        "two connections",
        Spread::of(&two).median
    );
    Ok(())
}
