//! Runs the simulation: `simulate --seeds FROM..TO [--nodes N] [--minutes M] [--channel plain|secured|mixed] [--trace]`.

use std::process::ExitCode;

use kitfox_tests::sim::{Channels, Options, Summary, run};

const USAGE: &str =
    "usage: simulate --seeds FROM..TO [--nodes N] [--minutes M] [--channel plain|secured|mixed] [--trace]";

fn parse() -> Option<(core::ops::Range<u64>, Options)> {
    let mut seeds = 0..200;
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let text = arguments.next()?;
                let (from, to) = text.split_once("..").unwrap_or((&text, ""));
                let from = from.parse().ok()?;
                seeds = from..if to.is_empty() { from + 1 } else { to.parse().ok()? };
            }
            "--nodes" => options.nodes = Some(arguments.next()?.parse().ok().filter(|&nodes| nodes > 0)?),
            "--minutes" => options.seconds = Some(arguments.next()?.parse::<u64>().ok()? * 60),
            "--channel" => {
                options.channels = match arguments.next()?.as_str() {
                    "plain" => Channels::Plain,
                    "secured" => Channels::Secured,
                    "mixed" => Channels::Mixed,
                    _ => return None,
                }
            }
            "--trace" => options.trace = true,
            _ => return None,
        }
    }
    Some((seeds, options))
}

fn main() -> ExitCode {
    let Some((seeds, options)) = parse() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut total = Summary::default();
    for seed in seeds {
        let report = run(seed, options);
        for line in &report.trace {
            println!("{line}");
        }
        total.add(&report.summary);
        if let Some(violation) = report.violation {
            println!("VIOLATION: {violation}");
            return ExitCode::FAILURE;
        }
    }
    println!("{total}");
    ExitCode::SUCCESS
}
