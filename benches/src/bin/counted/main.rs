//! Prints what one message costs on paths of kitfox and of others, in instructions and allocations:
//! "KIND/WHO/SIZE INSTRUCTIONS ALLOCATIONS". The program `report` runs it; its allocator counts, which would slow down
//! what is timed there.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod growth;
mod kitfox;
#[cfg(feature = "kitsune2")]
mod kitsune2;
mod prost;

use std::alloc::System;
use std::env;
use std::process::ExitCode;

use kitfox_benches::bench::{Bench, target_directory};
use kitfox_benches::callgrind;
use kitfox_benches::peers::Fault;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Given to this program when it runs itself under callgrind.
const COUNTED: &str = "--counted-by-callgrind";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fault> {
    let mut bench = Bench::new("");
    kitfox::all(&mut bench);
    #[cfg(feature = "kitsune2")]
    kitsune2::all(&mut bench)?;
    prost::all(&mut bench);
    growth::all(&mut bench);
    if env::args().any(|argument| argument == COUNTED) {
        print!("{}", bench.tallies());
        return Ok(());
    }
    if !callgrind::is_installed() {
        return Err("no valgrind here".into());
    }
    for (path, cost) in bench.count(&target_directory("callgrind-counted"), &[COUNTED])? {
        println!("{path} {} {}", cost.instructions, cost.allocations());
    }
    Ok(())
}
