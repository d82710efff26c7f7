//! `kitfox bench`: what this machine does over loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_channel::Receiver;
use async_io::{Timer, block_on};
use indicatif::{ProgressBar, ProgressStyle};
use kitfox_smol::{Bytes, NoHandler, Node, Peer, SendError};
use lexopt::prelude::{Long, Short};

use crate::args;
use crate::failure::Failure;
use crate::node::{self, Identity};
use crate::text::{self, Style};

const SIZES: [usize; 5] = [16, 128, 1 << 10, 16 << 10, 1 << 20];
const ROUND_TRIP_BYTES: usize = 16;

/// The longest frame; the queues hold two of them, so that little is under way when the time is over.
const MAX_FRAME_BYTES: usize = 2 << 20;
const COUNTED: &[u8] = b"counted";
const ECHOED: &[u8] = b"echoed";

/// Nothing takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured beside each other: a column of each table.
struct Channel {
    name: &'static str,
    identity: fn() -> Identity,
}

const CHANNELS: [Channel; 2] = [
    Channel { name: "plain", identity: || Identity { plain: true, ..Identity::default() } },
    Channel { name: "secured", identity: Identity::default },
];

/// What secured connections are sealed with in this build.
const CIPHER: &str = if cfg!(feature = "ring") {
    "ChaCha20-Poly1305 of crate ring"
} else {
    "ChaCha20-Poly1305 in portable Rust; built with --features ring it is faster"
};

/// What the command line says.
pub(crate) struct Options {
    /// How long each measurement takes.
    time: Duration,
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut time = Duration::from_secs(1);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("milliseconds") => {
                time = Duration::from_millis(args::number(args, "--milliseconds", 1..=60_000)?);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(Options { time }))
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let steps = CHANNELS.len() * (SIZES.len() + 1);
    // Draws on standard error, and only on a terminal.
    let bar = ProgressBar::new(steps as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let (mut throughput, mut round_trips) = (Vec::new(), Vec::new());
    for channel in &CHANNELS {
        let pair = block_on(Pair::new(channel))?;
        let mut rates = Vec::new();
        for size in SIZES {
            bar.set_message(format!("{}, messages of {}", channel.name, text::bytes(size as u64)));
            rates.push(block_on(pair.throughput(size, options.time))?);
            bar.inc(1);
        }
        throughput.push(rates);
        bar.set_message(format!("{}, round trips", channel.name));
        round_trips.push(block_on(pair.round_trips(options.time))?);
        bar.inc(1);
        block_on(pair.shutdown());
    }
    bar.finish_and_clear();
    print(&throughput, &round_trips);
    Ok(())
}

/// Messages a second by size, and times of round trips, each for every channel.
fn print(throughput: &[Vec<f64>], round_trips: &[Vec<Duration>]) {
    let style = Style::detect();
    let headed = |first: &str, columns: [&str; 2]| {
        let mut head = vec![first.to_owned()];
        for channel in &CHANNELS {
            head.extend(columns.map(|column| format!("{} {column}", channel.name)));
        }
        head
    };
    let table = |head: Vec<String>, rows: &[Vec<String>]| {
        let head: Vec<_> = head.iter().map(String::as_str).collect();
        println!("{}", text::table(style, 0, &head, rows));
    };
    println!("{}\n", style.bold("Throughput of one connection over loopback"));
    let rows: Vec<_> = SIZES
        .iter()
        .enumerate()
        .map(|(place, size)| {
            let mut row = vec![text::bytes(*size as u64)];
            for rates in throughput {
                row.push(format!("{}/s", text::rate(rates[place])));
                row.push(format!("{}/s", text::bytes((rates[place] * *size as f64) as u64)));
            }
            row
        })
        .collect();
    table(headed("message", ["messages", "bytes"]), &rows);

    let size = text::bytes(ROUND_TRIP_BYTES as u64);
    println!("\n{}\n", style.bold(&format!("Round trip of {size}")));
    let percentile = |times: &[Duration], percent: usize| {
        times.get(times.len() * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    };
    let mut row = vec![text::count(round_trips.iter().map(|times| times.len() as u64).sum())];
    for times in round_trips {
        row.extend([50, 99].map(|percent| format!("{:.1} us", percentile(times, percent))));
    }
    table(headed("trips", ["median", "99th percentile"]), &[row]);
    println!("\n  {}", style.dim(&format!("secured: {CIPHER}")));
}

/// Two nodes that are connected.
struct Pair {
    alice: Node,
    bob: Node,
    url: String,
    /// Messages that bob has heard.
    counted: Arc<AtomicU64>,
    /// Tells alice of each message that comes back.
    echoes: Receiver<()>,
}

impl Pair {
    async fn new(channel: &Channel) -> Result<Self, Failure> {
        let identity = (channel.identity)();
        let make = || {
            identity.node(|builder| builder.handler(NoHandler).config(node::config(Some(MAX_FRAME_BYTES))))
        };
        let (alice, bob) = (make()?, make()?);
        let failed = |error: &dyn std::fmt::Display| Failure::peer(error.to_string());
        let url = bob.listen("127.0.0.1:0").await.map_err(|error| failed(&error))?;

        let counted = Arc::new(AtomicU64::new(0));
        let count = counted.clone();
        let hear = move |_: &Peer, _: &[u8]| {
            count.fetch_add(1, Ordering::AcqRel);
            Ok(())
        };
        bob.register_space(COUNTED, hear).map_err(|error| failed(&error))?;
        let weak = bob.downgrade();
        let echo = move |from: &Peer, data: &[u8]| {
            if let Some(bob) = weak.upgrade() {
                // One is under way at a time: there is room.
                let _ = bob.notify(from.url(), ECHOED, data);
            }
            Ok(())
        };
        bob.register_space(ECHOED, echo).map_err(|error| failed(&error))?;

        let (tells, echoes) = async_channel::bounded(1);
        let tell = move |_: &Peer, _: &[u8]| {
            let _ = tells.try_send(());
            Ok(())
        };
        alice.register_space(COUNTED, |_: &Peer, _: &[u8]| Ok(())).map_err(|error| failed(&error))?;
        alice.register_space(ECHOED, tell).map_err(|error| failed(&error))?;
        alice.connect(&url).await.map_err(|error| failed(&error))?;
        Ok(Self { alice, bob, url, counted, echoes })
    }

    /// Messages a second, from the first that is sent to the last that is heard.
    async fn throughput(&self, size: usize, time: Duration) -> Result<f64, Failure> {
        let bob = self.alice.peer(&self.url).map_err(|error| Failure::peer(error.to_string()))?;
        let data = Bytes::from(vec![7; size]);
        // The clock is looked at once in a while.
        let batch = (MAX_FRAME_BYTES / size).clamp(1, 64);
        let (before, begun, mut sent) = (self.counted.load(Ordering::Acquire), Instant::now(), 0);
        while begun.elapsed() < time {
            for _ in 0..batch {
                while let Err(unsent) = bob.notify_shared(COUNTED, data.clone()) {
                    if unsent.error != SendError::Backpressure {
                        return Err(Failure::peer(unsent.to_string()));
                    }
                    let room = self.alice.ready(&self.url, size).await;
                    room.map_err(|error| Failure::peer(error.to_string()))?;
                }
                sent += 1;
            }
        }
        while self.counted.load(Ordering::Acquire) - before < sent {
            if begun.elapsed() > time + PATIENCE {
                return Err(Failure::peer("messages were sent that are not heard"));
            }
            Timer::after(Duration::from_micros(100)).await;
        }
        Ok(sent as f64 / begun.elapsed().as_secs_f64())
    }

    /// The times in which messages come back, in ascending order.
    async fn round_trips(&self, time: Duration) -> Result<Vec<Duration>, Failure> {
        let data = [7; ROUND_TRIP_BYTES];
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let sent = Instant::now();
            self.alice.notify(&self.url, ECHOED, &data).map_err(|error| Failure::peer(error.to_string()))?;
            let late = async {
                Timer::after(PATIENCE).await;
                Err(async_channel::RecvError)
            };
            let back = futures_lite::future::or(self.echoes.recv(), late).await;
            back.map_err(|_| Failure::peer("a message does not come back"))?;
            times.push(sent.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    }

    async fn shutdown(&self) {
        self.alice.shutdown().await;
        self.bob.shutdown().await;
    }
}
