//! The report.

use std::fs;
use std::path::Path;

use kitfox_benches::peers::Fault;

use crate::Options;
use crate::counts::Counts;
use crate::idle;
use crate::machine::Machine;
use crate::plot::{Line, Plot, short};
use crate::rounds::{self, Measured, Round, Rounds, SIZES};
use crate::tables::{NOTHING, Table, middle, ratio};
use crate::whole;

/// Peers of which the ratio is of interest: one of ours, and whom it is measured by.
const PAIRS: [(&str, &str); 10] = [
    ("kitfox", "raw"),
    ("kitfox", "peerlink"),
    ("kitfox", "zenoh"),
    ("kitfox-secured", "noise"),
    ("kitfox-ring", "noise-ring"),
    ("kitfox-secured", "libp2p"),
    ("kitfox-ring", "libp2p"),
    ("kitfox-secured", "iroh"),
    ("kitfox-ring", "iroh"),
    ("kitfox-secured", "kitfox"),
];

/// All that was measured.
pub(crate) struct Found {
    pub(crate) machine: Machine,
    pub(crate) rounds: Measured,
    pub(crate) idle: Vec<idle::Row>,
    pub(crate) counts: Result<Counts, String>,
    pub(crate) whole: Vec<whole::Row>,
}

type Number = fn(&Round, usize) -> Option<f64>;

const RATE: Number = |round, size| Some(round.samples[size]?.rate);
const CPU: Number = |round, size| Some(round.samples[size]?.cpu);

fn size_names() -> [&'static str; SIZES.len()] {
    SIZES.map(|(_, name)| name)
}

fn all_sizes<T>(cell: impl FnMut(usize) -> T) -> Vec<T> {
    (0..SIZES.len()).map(cell).collect()
}

/// A peer with this name among those that were asked for.
fn place(options: &Options, name: &str) -> Option<usize> {
    options.peers.iter().position(|peer| peer.name == name)
}

impl Found {
    /// Writes the report and its plots into a directory, and returns the report.
    pub(crate) fn write(&self, options: &Options, directory: &Path) -> Result<String, Fault> {
        fs::create_dir_all(directory)?;
        let mut plots = Vec::new();
        for plot in self.plots(options) {
            if plot.write(directory)? {
                plots.push(plot);
            }
        }
        let image = |name: &str| {
            let plot = plots.iter().find(|plot| plot.name == name);
            plot.map(|plot| format!("![{}]({name}.svg)\n\n", plot.title)).unwrap_or_default()
        };
        let text = [
            self.head(options),
            "## Throughput\n\nMessages a second, and megabytes of payload a second. The median of the rounds.\n\n"
                .into(),
            image("throughput"),
            "Both ends free to run on all cores:\n\n".into(),
            rates(options, &self.rounds.free),
            "Both ends on one core:\n\n".into(),
            rates(options, &self.rounds.pinned),
            "## Beside each other\n\nRatios of messages a second within one round: the median of the rounds, and the \
             smallest and the largest.\n\nFree:\n\n"
                .into(),
            pairs(options, &self.rounds.free, RATE),
            "On one core:\n\n".into(),
            pairs(options, &self.rounds.pinned, RATE),
            "## Processor time\n\nMicroseconds a message at both ends together, the kernel's work for them included. \
             Medians.\n\n"
                .into(),
            image("processor-time"),
            "Free:\n\n".into(),
            times(options, &self.rounds.free),
            "On one core:\n\n".into(),
            times(options, &self.rounds.pinned),
            "Ratios on one core (less is better):\n\n".into(),
            pairs(options, &self.rounds.pinned, CPU),
            self.trips(options),
            self.idling(),
            self.counted(&image),
            self.whole(),
            self.failed(options),
        ]
        .concat();
        fs::write(directory.join("report.md"), &text)?;
        Ok(text)
    }

    fn head(&self, options: &Options) -> String {
        let Machine { date, rustc, processor, cores, kernel, load } = &self.machine;
        let mut table = Table::new("peer", ["how its messages are sent"]);
        for peer in &options.peers {
            table.row(peer.title, [Some(peer.how.to_owned())]);
        }
        format!(
            "# Beside the field\n\n\
             Written by `cargo run --release -q -p kitfox-benches --bin report --features field{}` on {date}: {rustc}, \
             release profile; {processor}, {cores} cores, Linux {kernel}, load {load} when it began. {} rounds, {} ms a \
             size.\n\n\
             Every peer is measured in a process of its own that holds both ends of one connection over loopback; the \
             peers take turns within a round. Each size is sent until it takes the time. A rate is from the first \
             message that is sent to the last that has come; processor time is the process's own clock over the same \
             calls. On one core means that process and all its threads on one core. Times drift on a shared machine: \
             compare ratios within this report, and nothing with another machine.\n\n{}",
            if options.quick { " -- --quick" } else { "" },
            options.rounds,
            rounds::time(options).as_millis(),
            table.finish(),
        )
    }

    fn trips(&self, options: &Options) -> String {
        let columns =
            ["p50 free", "p99 free", "p50 on one core", "p99 on one core", "p50 on one core, of raw"];
        let mut table = Table::new("peer", columns);
        let raw = place(options, "raw");
        for (place, peer) in options.peers.iter().enumerate() {
            let (free, pinned) = (&self.rounds.free[place], &self.rounds.pinned[place]);
            let at = |rounds: &Rounds, n: usize| rounds.spread(|round| Some(round.trips?[n])).map(middle);
            let of_raw =
                raw.and_then(|raw| pinned.ratio(&self.rounds.pinned[raw], |round| Some(round.trips?[0])));
            let cells = [at(free, 0), at(free, 1), at(pinned, 0), at(pinned, 1), of_raw.map(ratio)];
            table.row(peer.title, cells);
        }
        format!(
            "## Round trips\n\nA message of 16 B and its answer, microseconds; medians of the rounds' percentiles.\n\n{}",
            table.finish()
        )
    }

    fn idling(&self) -> String {
        let columns = idle::COUNTS.iter().flat_map(|count| {
            [format!("{count}: bytes a connection"), format!("{count}: accepted a second")]
        });
        let mut table = Table::new("peer", columns);
        for row in &self.idle {
            let cells = row.samples.iter().flat_map(|sample| match sample {
                Ok(sample) => [Some(short(sample.bytes)), Some(short(sample.rate))],
                Err(_) => [None, None],
            });
            table.row(row.peer.title, cells);
        }
        format!(
            "## Idle connections\n\nWhat the accepting process has more in memory with so many open connections than \
             with none, allocator and task included, the kernel's buffers not; and connections a second until all were \
             open, dialled by another process on the same cores (four threads one after the other; libp2p 32 at a time). \
             Measured once.\n\n{}",
            table.finish()
        )
    }

    fn counted(&self, image: &dyn Fn(&str) -> String) -> String {
        let Ok(counts) = &self.counts else { return String::new() };
        let table = |kind: &str, corner: &str, names: &dyn Fn(u64) -> String| {
            let sizes = counts.sizes(kind);
            let mut table = Table::new(corner, sizes.iter().map(|size| names(*size)));
            for who in counts.who(kind) {
                let cell = |&size: &u64| {
                    let count = counts.of(kind, who, size)?;
                    let allocations =
                        (count.allocations != "0").then(|| format!(" + {} a", count.allocations));
                    Some(format!("{}{}", count.instructions, allocations.unwrap_or_default()))
                };
                table.row(who, sizes.iter().map(cell));
            }
            table.finish()
        };
        let bytes = |size: u64| {
            let name = SIZES.iter().find(|(bytes, _)| *bytes as u64 == size);
            name.map_or_else(|| size.to_string(), |(_, name)| (*name).to_owned())
        };
        let plain = |size: u64| size.to_string();
        [
            "## Instructions and allocations a message\n\nOf the protocol's code, without sockets: counted by callgrind \
             after a warm-up, allocations (\"a\") by the allocator; exact for one binary. kitfox receives from the bytes \
             of a read of several messages, as an adapter does: frame, decoding, block check, routing. kitsune2_api does \
             the same in `TxImpHnd::recv_data` without the frame; prost only decodes.\n\nReceiving:\n\n"
                .into(),
            image("receiving"),
            table("receive", "instructions", &bytes),
            "Sending: kitfox to the bytes of a write, the secured one sealed; kitsune2_api from `send_module` to its \
             transport's `send`, without the frame.\n\n"
                .into(),
            image("sending"),
            table("send", "instructions", &bytes),
            "## Growth\n\nInstructions a message of 128 B, each to another space, another module of the same space, or \
             on another connection. With the size of messages they grow as above.\n\n"
                .into(),
            image("growth"),
            table("spaces", "spaces", &plain),
            table("modules", "modules", &plain),
            table("connections", "connections", &plain),
        ]
        .concat()
    }

    fn whole(&self) -> String {
        let mut table = Table::new("peer", whole::SIZES.map(|(_, name)| name));
        for row in &self.whole {
            table.row(
                row.peer.title,
                row.instructions.iter().map(|count| count.as_ref().ok().map(u64::to_string)),
            );
        }
        format!(
            "## All instructions of both ends\n\nOf the whole process, over sockets: library, executor, channels and \
             threads of both ends, without the kernel. What many messages take less what few take, under callgrind, \
             where threads run one at a time: not exact. peerlink's stream cannot be called without its reactor.\n\n{}",
            table.finish()
        )
    }

    fn failed(&self, options: &Options) -> String {
        let mut lines = Vec::new();
        for (place, peer) in options.peers.iter().enumerate() {
            for (rounds, where_) in [(&self.rounds.free, "free"), (&self.rounds.pinned, "on one core")] {
                if let Some(fault) = &rounds[place].fault {
                    lines.push(format!("* {}, {where_}: {fault}\n", peer.title));
                }
            }
        }
        for row in &self.idle {
            for (count, sample) in idle::COUNTS.iter().zip(&row.samples) {
                if let Err(fault) = sample {
                    lines.push(format!("* {}, {count} idle connections: {fault}\n", row.peer.title));
                }
            }
        }
        for row in &self.whole {
            for ((_, size), count) in whole::SIZES.iter().zip(&row.instructions) {
                if let Err(fault) = count {
                    lines.push(format!("* {}, all instructions at {size}: {fault}\n", row.peer.title));
                }
            }
        }
        if let Err(fault) = &self.counts {
            lines.push(format!("* instructions: {fault}\n"));
        }
        let all = if lines.is_empty() { "Nothing.\n".into() } else { lines.concat() };
        format!("## What failed\n\nIt is shown as {NOTHING} above.\n\n{all}")
    }

    fn plots(&self, options: &Options) -> Vec<Plot> {
        let peers = |rounds: &[Rounds], value: &dyn Fn(&Round, usize) -> Option<f64>| {
            let line = |(place, peer): (usize, &&crate::peers::Peer)| Line {
                name: peer.title.into(),
                points: all_sizes(|size| {
                    let spread = rounds[place].spread(|round| value(round, size))?;
                    Some((SIZES[size].0 as f64, spread.median))
                })
                .into_iter()
                .flatten()
                .collect(),
            };
            options.peers.iter().enumerate().map(line).collect::<Vec<_>>()
        };
        let megabytes = |round: &Round, size: usize| Some(RATE(round, size)? * SIZES[size].0 as f64 / 1e6);
        let mut plots = vec![
            Plot {
                name: "throughput",
                title: "Throughput, both ends free",
                x: "bytes a message",
                y: "MB/s",
                lines: peers(&self.rounds.free, &megabytes),
            },
            Plot {
                name: "processor-time",
                title: "Processor time of both ends on one core",
                x: "bytes a message",
                y: "microseconds a message",
                lines: peers(&self.rounds.pinned, &CPU),
            },
        ];
        let Ok(counts) = &self.counts else { return plots };
        let lines = |kind: &str| {
            let line = |who: &str| Line {
                name: format!("{kind}, {who}"),
                points: counts
                    .0
                    .iter()
                    .filter(|count| count.kind == kind && count.who == who)
                    .map(|count| (count.size as f64, count.instructions as f64))
                    .collect(),
            };
            counts.who(kind).into_iter().map(line).collect::<Vec<_>>()
        };
        let (x, y) = ("bytes a message", "instructions a message");
        plots.extend([
            Plot { name: "receiving", title: "Receiving", x, y, lines: lines("receive") },
            Plot { name: "sending", title: "Sending", x, y, lines: lines("send") },
            Plot {
                name: "growth",
                title: "Growth of kitfox, messages of 128 B",
                x: "spaces, modules or connections",
                y,
                lines: ["spaces", "modules", "connections"].into_iter().flat_map(lines).collect(),
            },
        ]);
        plots
    }
}

fn rates(options: &Options, rounds: &[Rounds]) -> String {
    let mut table = Table::new("peer", size_names());
    for (peer, rounds) in options.peers.iter().zip(rounds) {
        let cell = |size| {
            let rate = rounds.spread(|round| RATE(round, size))?.median;
            Some(format!("{} ({} MB/s)", short(rate), short(rate * SIZES[size].0 as f64 / 1e6)))
        };
        table.row(peer.title, all_sizes(cell));
    }
    table.finish()
}

fn times(options: &Options, rounds: &[Rounds]) -> String {
    let mut table = Table::new("peer", size_names());
    for (peer, rounds) in options.peers.iter().zip(rounds) {
        table.row(peer.title, all_sizes(|size| rounds.spread(|round| CPU(round, size)).map(middle)));
    }
    table.finish()
}

fn pairs(options: &Options, rounds: &[Rounds], number: Number) -> String {
    let mut table = Table::new("ratio", size_names());
    for (ours, theirs) in PAIRS {
        let (Some(a), Some(b)) = (place(options, ours), place(options, theirs)) else { continue };
        let title = format!("{} / {}", options.peers[a].title, options.peers[b].title);
        let cell = |size| rounds[a].ratio(&rounds[b], |round| number(round, size)).map(ratio);
        table.row(&title, all_sizes(cell));
    }
    table.finish()
}
