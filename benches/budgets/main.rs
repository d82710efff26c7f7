//! Prints what one message costs on each path of kitfox, in instructions and allocations, beside the committed figures
//! in `figures.txt` and the budgets.
//!
//! ```text
//! cargo bench -p kitfox-benches --bench budgets               all paths
//! cargo bench -p kitfox-benches --bench budgets -- mixed      paths whose name contains "mixed"
//! cargo bench -p kitfox-benches --bench budgets -- --check    fails if a path is worse than its committed figure
//! cargo bench -p kitfox-benches --bench budgets -- --bless    writes the figures into the file
//! ```
//!
//! Instructions are exact for one binary and one compiler. The program runs itself again under valgrind to count them;
//! the dumps stay in `target/callgrind`, for `callgrind_annotate`.

mod nodes;
mod paths;
mod report;
mod secure;

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use kitfox_benches::bench::{Bench, target_directory};
use kitfox_benches::callgrind;
use kitfox_benches::figures::Figures;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Given to this program when it runs itself under callgrind.
const COUNTED: &str = "--counted-by-callgrind";

#[derive(Debug, Default)]
struct Options {
    filter: String,
    check: bool,
    bless: bool,
    counted: bool,
}

fn main() -> ExitCode {
    let mut options = Options::default();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--check" => options.check = true,
            "--bless" => options.bless = true,
            COUNTED => options.counted = true,
            // What cargo itself says to a bench.
            "--bench" => {}
            unknown if unknown.starts_with('-') => {
                eprintln!("unknown option {unknown}");
                return ExitCode::FAILURE;
            }
            _ => options.filter = argument,
        }
    }
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, String> {
    let mut bench = Bench::new(&options.filter);
    paths::all(&mut bench);
    nodes::all(&mut bench);
    secure::all(&mut bench);
    if bench.is_empty() {
        return Err(format!("no path has \"{}\" in its name", options.filter));
    }
    if options.counted {
        print!("{}", bench.tallies());
        return Ok(ExitCode::SUCCESS);
    }
    if !callgrind::is_installed() {
        println!("instructions were not measured: no valgrind here (apt-get install valgrind)");
        let required =
            options.check || options.bless || env::var_os("CI").is_some_and(|value| value == "true");
        return Ok(if required { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    let counted = bench
        .count(&target_directory("callgrind"), &[COUNTED, &options.filter])
        .map_err(|error| error.to_string())?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("figures.txt");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let figures: Figures = text.parse()?;
    let rustc = env!("RUSTC_VERSION");
    let failures = report::print(&figures, &counted, rustc, options.filter.is_empty());
    if options.bless {
        let blessed = report::bless(figures, &counted, rustc, options.filter.is_empty());
        let comments: String =
            text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        fs::write(&file, format!("{comments}{blessed}")).map_err(|error| error.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if options.check && failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
