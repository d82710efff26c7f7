//! The command `kitfox`.
#![forbid(unsafe_code)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod demo;
mod text;

use std::process::ExitCode;

use lexopt::prelude::{Long, Short, Value};

const USAGE: &str = "\
Usage: kitfox COMMAND

Commands:
  demo    three nodes on this machine talk to each other, and check what they hear

Options:
  -h, --help       this text
  -V, --version    the version
";

/// What the command line asks for.
enum Request {
    Demo,
    Help,
    Version,
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()) {
        Ok(Request::Demo) => match demo::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("kitfox demo: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Request::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Request::Version) => {
            println!("kitfox {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint!("kitfox: {error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: lexopt::Parser) -> Result<Request, lexopt::Error> {
    let request = match args.next()? {
        Some(Short('h') | Long("help")) => Request::Help,
        Some(Short('V') | Long("version")) => Request::Version,
        Some(Value(command)) if command == "demo" => Request::Demo,
        Some(Value(command)) => {
            return Err(format!("there is no command \"{}\"", command.to_string_lossy()).into());
        }
        Some(other) => return Err(other.unexpected()),
        None => return Err("a command is missing".into()),
    };
    match args.next()? {
        None => Ok(request),
        Some(Short('h') | Long("help")) => Ok(Request::Help),
        Some(other) => Err(other.unexpected()),
    }
}
