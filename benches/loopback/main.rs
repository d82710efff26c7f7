//! kitfox-smol over loopback, beside raw smol sockets in the same run.
//!
//! ```text
//! cargo bench -p kitfox-benches --bench loopback            all of it, about a minute
//! cargo bench -p kitfox-benches --bench loopback -- --quick a tenth of the messages
//! ```
//!
//! Times are medians of several rounds in which the two take turns, so that the ratios hold while the speed of the
//! machine drifts. Nothing is compared with committed figures: times of different machines say nothing to each other.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // sockets and threads: std throughout

mod kitfox;
mod raw;

use std::env;
use std::time::Duration;

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

fn main() {
    let quick = env::args().any(|argument| argument == "--quick");
    let scale = |count: usize| if quick { (count / 10).max(10) } else { count };
    throughput(scale);
    round_trips(scale(10_000));
    two_threads(scale(200_000));
}

/// The value in the middle, and the smallest and the largest.
fn spread<T: PartialOrd + Copy>(values: &mut [T]) -> (T, T, T) {
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn throughput(scale: impl Fn(usize) -> usize) {
    println!(
        "Throughput, one connection, plain: messages a second; raw smol in shared writes of up to 64 KiB.\n"
    );
    println!(
        "{:>8} {:>12} {:>12} {:>10}   ratio (smallest to largest)",
        "size", "raw smol", "kitfox", "MB/s"
    );
    for size in &SIZES {
        let messages = scale(size.messages);
        let (mut raw, mut fox, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let a = messages as f64 / raw::send(size.bytes, messages).as_secs_f64();
            let b = messages as f64 / kitfox::send(size.bytes, messages).as_secs_f64();
            raw.push(a);
            fox.push(b);
            ratios.push(b / a);
        }
        let (ratio, low, high) = spread(&mut ratios);
        let (raw, fox) = (spread(&mut raw).0, spread(&mut fox).0);
        let rate = fox * size.bytes as f64 / 1e6;
        println!(
            "{:>8} {raw:>12.0} {fox:>12.0} {rate:>10.0}   {ratio:.2} ({low:.2} to {high:.2})",
            size.name
        );
    }
}

fn round_trips(count: usize) {
    println!("\nRound trip of 16 B, microseconds.\n");
    println!("{:>10} {:>8} {:>8}", "", "p50", "p99");
    let (mut raw, mut fox) = (raw::round_trips(count), kitfox::round_trips(count));
    let percentile = |times: &mut Vec<Duration>, percent: usize| {
        times.sort();
        times[times.len() * percent / 100].as_secs_f64() * 1e6
    };
    let (p50, p99) = (percentile(&mut raw, 50), percentile(&mut raw, 99));
    println!("{:>10} {p50:>8.1} {p99:>8.1}", "raw smol");
    let (fox50, fox99) = (percentile(&mut fox, 50), percentile(&mut fox, 99));
    println!("{:>10} {fox50:>8.1} {fox99:>8.1}   p50: {:.2} of raw", "kitfox", fox50 / p50);
}

/// Readers of one node on two threads: if one lock stood around every message, two connections would bring no more than
/// one.
fn two_threads(messages: usize) {
    println!(
        "\nMessages of 128 B a second into one node whose handler works, written by plain threads in whole buffers.\n"
    );
    let (mut one, mut two, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let single = messages as f64 / kitfox::receive(1, messages).as_secs_f64();
        let double = 2.0 * messages as f64 / kitfox::receive(2, messages).as_secs_f64();
        one.push(single);
        two.push(double);
        ratios.push(double / single);
    }
    let (ratio, low, high) = spread(&mut ratios);
    println!("{:>16} {:>12.0}", "one connection", spread(&mut one).0);
    println!(
        "{:>16} {:>12.0}   {ratio:.2} times ({low:.2} to {high:.2})",
        "two connections",
        spread(&mut two).0
    );
}
