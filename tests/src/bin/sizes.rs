//! Builds firmware, runs it in QEMU, and prints what kitfox costs in flash, memory and stack, beside the committed figures
//! in `adapters/embassy/firmware/sizes.txt` and the budgets.
//!
//! ```text
//! cargo run -q -p kitfox-tests --bin sizes               all figures
//! cargo run -q -p kitfox-tests --bin sizes -- --check    fails if one has grown over its committed figure
//! cargo run -q -p kitfox-tests --bin sizes -- --bless    writes them into the file
//! ```
//!
//! They are exact for one compiler: figures of another one are not held against those in the file.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use kitfox_tests::firmware::sizes::{Figure, complaints, measure, report};
use kitfox_tests::firmware::{is_mandatory, missing};

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (check, bless) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (false, false),
        ["--check"] => (true, false),
        ["--bless"] => (false, true),
        _ => {
            eprintln!("usage: sizes [--check | --bless]");
            return ExitCode::from(2);
        }
    };
    if let Some(missing) = missing() {
        eprintln!("firmware cannot be measured: {missing}");
        return if is_mandatory() || bless { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/embassy/firmware/sizes.txt");
    let text = fs::read_to_string(&path).unwrap_or_default();
    let (compiler, committed) = parse(&text);
    let figures = measure();
    print!("{}", report(&figures, &committed));
    if bless {
        return match fs::write(&path, print(&figures)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                ExitCode::FAILURE
            }
        };
    }
    if compiler != rustc() {
        println!("\nthe committed figures are those of {compiler}, this is {}: not compared", rustc());
        return ExitCode::SUCCESS;
    }
    let complaints = complaints(&figures, &committed);
    for complaint in &complaints {
        println!("{complaint}");
    }
    if check && !complaints.is_empty() {
        println!("if that is meant: cargo run -q -p kitfox-tests --bin sizes -- --bless");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn parse(text: &str) -> (String, Vec<Figure>) {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let compiler = lines.next().unwrap_or_default().to_owned();
    let figures = lines.filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        Some((name.to_owned(), bytes.trim().parse().ok()?))
    });
    (compiler, figures.collect())
}

fn print(figures: &[Figure]) -> String {
    let mut text = "# What images of firmware cost, in bytes. `cargo run -p kitfox-tests --bin sizes -- --bless` writes \
                    this file.\n"
        .to_owned();
    text += &rustc();
    text.push('\n');
    for (name, bytes) in figures {
        text += &format!("{name:<18} {bytes:>6}\n");
    }
    text
}

fn rustc() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned()).unwrap_or_default()
}
