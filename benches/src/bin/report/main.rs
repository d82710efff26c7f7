//! Sets kitfox beside the field in one run, and writes what it found to `benches/report/`; of fewer peers or shorter
//! measurements to `target/report/`.
//!
//! ```text
//! cargo run --release -q -p kitfox-benches --bin report --features field
//!     --quick            shorter measurements and fewer rounds
//!     --only raw,kitfox  these peers only
//!     --rounds 7         so many rounds
//! ```
//!
//! Every peer is measured in a process of its own, which is this program again, so that no peer's threads or memory
//! touch another's; in each round all peers take their turn, so that the drift of a shared machine hits all of them. What
//! needs other features than this program has is built first: the cipher of crate `ring` instead of RustCrypto's, and the
//! program `counted`, whose allocator counts.
//!
//! Only loopback is used. Every measurement is bounded in time, and a peer that fails stands in the report as failed.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // sockets and threads: std throughout

mod child;
mod companion;
mod counts;
mod idle;
mod machine;
mod peers;
mod plot;
mod rounds;
mod tables;
mod whole;
mod write;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kitfox_benches::bench::target_directory;
use kitfox_benches::peers::Fault;

use crate::companion::Companions;
use crate::peers::{PEERS, Peer};

/// What was asked for.
struct Options {
    quick: bool,
    rounds: usize,
    peers: Vec<&'static Peer>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Fault> {
        let mut options = Self { quick: false, rounds: 0, peers: PEERS.iter().collect() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--full" => options.quick = false,
                "--rounds" => options.rounds = value()?.parse()?,
                "--only" => {
                    options.peers = value()?
                        .split(',')
                        .map(|name| peers::find(name).ok_or_else(|| format!("no peer has the name {name}")))
                        .collect::<Result<_, _>>()?;
                }
                unknown => return Err(format!("unknown option {unknown}").into()),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 3 } else { 5 };
        }
        Ok(options)
    }

    /// Where the report goes: the one that is kept has everything in it.
    fn directory(&self) -> PathBuf {
        let everything = cfg!(feature = "field") && !self.quick && self.peers.len() == PEERS.len();
        if everything {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("report")
        } else {
            target_directory("report")
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).peekable();
    let done = if arguments.next_if(|argument| argument == child::CHILD).is_some() {
        child::run(&arguments.collect::<Vec<_>>())
    } else {
        Options::parse(arguments).and_then(|options| report(&options))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(options: &Options) -> Result<(), Fault> {
    eprintln!("building what has other features...");
    let companions = Companions::build(options);
    let machine = machine::describe();
    let rounds = rounds::measure(options, &companions);
    let idle = idle::measure(options, &companions);
    eprintln!("counting instructions...");
    let counts = counts::measure(&companions);
    let whole = whole::measure(options, &companions);
    let directory = options.directory();
    let found = write::Found { machine, rounds, idle, counts, whole };
    let markdown = found.write(options, &directory)?;
    println!("{markdown}");
    eprintln!("written to {}", directory.display());
    Ok(())
}
