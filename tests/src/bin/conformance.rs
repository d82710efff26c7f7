//! `conformance FILE...`: runs files of recorded behaviour against kitfox.
//!
//! Prints a line for each case that fails and a last line with the totals. Exits with 0 if all passed, 1 if any
//! failed, 2 if the arguments or a file are no good; nothing is run then.

use std::env;
use std::io::{self, Write as _};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use kitfox_tests::conformance::Vectors;

fn main() -> ExitCode {
    // A panic in a case is reported as that case's failure.
    panic::set_hook(Box::new(|_| {}));
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        eprintln!("usage: conformance FILE...");
        return ExitCode::from(2);
    }
    let mut files = Vec::new();
    for path in paths {
        match Vectors::read(&path) {
            Ok(vectors) => files.push((path, vectors)),
            Err(error) => {
                eprintln!("conformance: {} {error}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    match run(&files) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: cannot write: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs and prints all; returns how many failed.
fn run(files: &[(PathBuf, Vectors)]) -> io::Result<usize> {
    let mut out = io::stdout().lock();
    let (mut passed, mut failed) = (0, 0);
    for (path, vectors) in files {
        let report = vectors.run();
        for failure in &report.failures {
            writeln!(out, "{} {failure}", path.display())?;
        }
        passed += report.passed;
        failed += report.failures.len();
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    out.flush()?;
    Ok(failed)
}
