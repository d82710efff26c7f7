//! The command `kitfox`.
#![forbid(unsafe_code)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod args;
mod bench;
mod decode;
mod demo;
mod failure;
mod help;
mod keygen;
mod listen;
mod names;
mod node;
mod output;
mod record;
mod replay;
mod send;
mod stop;
mod text;

use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value};

use crate::failure::Failure;

fn main() -> ExitCode {
    let mut args = lexopt::Parser::from_env();
    let command = match command(&mut args) {
        Ok(Some(command)) => command,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => return report("", &error),
    };
    let outcome = match command.as_str() {
        "demo" => run(&mut args, help::DEMO, args::nothing, |()| {
            demo::run().map_err(|error| Failure::peer(error.to_string()))
        }),
        "listen" => run(&mut args, help::LISTEN, listen::parse, listen::run),
        "send" => run(&mut args, help::SEND, send::parse, send::run),
        "keygen" => run(&mut args, help::KEYGEN, keygen::parse, keygen::run),
        "provision" => run(&mut args, help::PROVISION, keygen::parse_provision, keygen::run_provision),
        "decode" => run(&mut args, help::DECODE, decode::parse, decode::run),
        "replay" => run(&mut args, help::REPLAY, replay::parse, replay::run),
        "bench" => run(&mut args, help::BENCH, bench::parse, bench::run),
        other => return report("", &Failure::usage(format!("there is no command \"{other}\""))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&command, &error),
    }
}

/// The name of the command. `None` if what was asked for is said already.
fn command(args: &mut lexopt::Parser) -> Result<Option<String>, Failure> {
    match args.next()? {
        Some(Short('h') | Long("help")) => print!("{}", help::COMMANDS),
        Some(Short('V') | Long("version")) => println!("kitfox {}", env!("CARGO_PKG_VERSION")),
        Some(Value(command)) => return Ok(Some(command.to_string_lossy().into_owned())),
        Some(other) => return Err(other.unexpected().into()),
        None => return Err(Failure::usage("a command is missing")),
    }
    Ok(None)
}

/// Runs a command with its options, or explains it.
fn run<T>(
    args: &mut lexopt::Parser,
    help: &str,
    parse: fn(&mut lexopt::Parser) -> Result<Option<T>, Failure>,
    run: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match parse(args)? {
        Some(options) => run(options),
        None => {
            print!("{help}");
            Ok(())
        }
    }
}

/// Says on standard error what went wrong, and what to do about it.
fn report(command: &str, failure: &Failure) -> ExitCode {
    let name = if command.is_empty() { "kitfox".to_owned() } else { format!("kitfox {command}") };
    eprintln!("{name}: {failure}");
    if failure.is_usage() {
        eprintln!("\"{name} --help\" shows how it is used.");
    }
    failure.exit_code()
}
