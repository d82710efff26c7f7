//! Runs the searches and prints a table: `search [--deep] [part of a name]`.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use kitfox_tests::search::{deep, quick};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let mut runs = quick();
    if arguments.iter().any(|argument| argument == "--deep") {
        runs = deep();
    }
    let mut failed = false;
    println!("| run | states | transitions | settled | depth | s |\n|---|---|---|---|---|---|");
    for run in runs {
        if !wanted.iter().all(|part| run.name.contains(part.as_str())) {
            continue;
        }
        let began = Instant::now();
        match run.go() {
            Ok(seen) => {
                let seconds = began.elapsed().as_secs_f32();
                let cut =
                    if seen.cut_off > 0 { format!(" ({} cut off)", seen.cut_off) } else { String::new() };
                println!(
                    "| {}{cut} | {} | {} | {} | {} | {seconds:.1} |",
                    run.name, seen.states, seen.transitions, seen.settled, seen.depth
                );
            }
            Err(violation) => {
                failed = true;
                println!("{violation}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
