//! Runs all tests with counters in every line, and holds the lines that they reach against the committed figures in
//! `tests/coverage.txt`: what was once tested stays tested.
//!
//! ```text
//! cargo run -q -p kitfox-tests --bin coverage               the figures of every folder
//! cargo run -q -p kitfox-tests --bin coverage -- --check    fails if one is lower than its committed figure
//! cargo run -q -p kitfox-tests --bin coverage -- --bless    writes them into the file
//! cargo run -q -p kitfox-tests --bin coverage -- --missed   every file, those with most lines missed first
//! ```
//!
//! It needs `cargo-llvm-cov`. Which lines of a race or of a random case are reached differs from run to run, and what a
//! line is from compiler to compiler: a figure may be lower by [`TOLERANCE_POINTS`]. Lines that
//! one test binary runs have counted as missed in the report of all of them, and which ones did changed with a new binary:
//! a folder may miss [`TOLERANCE_LINES`] more.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use serde_json::Value;

/// Percentage points by which a figure may be lower than the committed one.
const TOLERANCE_POINTS: f64 = 0.5;

/// Lines that may be missed more than the committed ones, if that is more.
const TOLERANCE_LINES: u64 = 20;

/// What is measured, by folder; a file counts for the longest that it lies in.
const FOLDERS: [&str; 10] = [
    "core/src",
    "core/src/connection",
    "core/src/node",
    "core/src/router",
    "core/src/secure",
    "core/src/storage",
    "core/src/wire",
    "adapters/embassy/src",
    "adapters/std-smol/src",
    "adapters/std-smol/src/bin",
];

/// Lines that can be run, and those of them that were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    missed: u64,
}

impl Lines {
    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 - 100.0 * self.missed as f64 / self.all as f64 }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => measure().map(|files| print!("{}", print(&by_folder(&files)))),
        ["--missed"] => measure().map(|files| print!("{}", most_missed(files))),
        ["--check"] => measure().and_then(|files| check(&by_folder(&files))),
        ["--bless"] => measure().and_then(|files| bless(&by_folder(&files))),
        _ => {
            eprintln!("usage: coverage [--check | --bless | --missed]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(folders: &BTreeMap<String, Lines>) -> Result<(), String> {
    print!("{}", print(folders));
    let path = figures_file();
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let complaints = complaints(folders, &parse(&text)?);
    if complaints.is_empty() {
        return Ok(());
    }
    Err(complaints.join("\n") + "\nif that is meant: cargo run -q -p kitfox-tests --bin coverage -- --bless")
}

fn bless(folders: &BTreeMap<String, Lines>) -> Result<(), String> {
    let (path, text) = (figures_file(), print(folders));
    print!("{text}");
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Folders that are lower than what was committed, and those that only one side knows.
fn complaints(folders: &BTreeMap<String, Lines>, committed: &BTreeMap<String, Lines>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, lines) in folders {
        let Some(before) = committed.get(folder) else {
            complaints.push(format!("{folder} has no committed figure"));
            continue;
        };
        let (now, then) = (lines.percent(), before.percent());
        if now < then - TOLERANCE_POINTS && lines.missed > before.missed + TOLERANCE_LINES {
            complaints.push(format!("{folder}: {now:.1} % of its lines, {then:.1} % before"));
        }
    }
    let gone = committed.keys().filter(|folder| !folders.contains_key(*folder));
    complaints.extend(gone.map(|folder| format!("{folder} has a committed figure and no file")));
    complaints
}

/// Runs the tests: lines by file, from the project's root.
fn measure() -> Result<BTreeMap<String, Lines>, String> {
    let found = root().join("target/coverage.json");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["llvm-cov", "--quiet", "--workspace", "--exclude", "kitfox-benches"]);
    command.args(["--json", "--summary-only", "--output-path"]).arg(&found);
    // Firmware is built without counters.
    command.env("KITFOX_QEMU", "0");
    let status = command.status().map_err(|error| format!("cargo llvm-cov: {error}"))?;
    if !status.success() {
        return Err(format!("cargo llvm-cov (crate cargo-llvm-cov): {status}"));
    }
    let text = fs::read_to_string(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let files = lines_of(&report, &root()).ok_or("what cargo llvm-cov wrote has another form")?;
    if files.is_empty() {
        return Err("cargo llvm-cov saw none of our files".into());
    }
    Ok(files)
}

/// Our files in a report of `llvm-cov export`.
fn lines_of(report: &Value, root: &Path) -> Option<BTreeMap<String, Lines>> {
    let mut files = BTreeMap::new();
    for file in report["data"][0]["files"].as_array()? {
        let Ok(path) = Path::new(file["filename"].as_str()?).strip_prefix(root) else { continue };
        let path = path.to_string_lossy().replace('\\', "/");
        let lines = &file["summary"]["lines"];
        let (all, covered) = (lines["count"].as_u64()?, lines["covered"].as_u64()?);
        if folder_of(&path).is_some() {
            files.insert(path, Lines { all, missed: all.saturating_sub(covered) });
        }
    }
    Some(files)
}

fn folder_of(path: &str) -> Option<&'static str> {
    let inside = |folder: &&&str| path.strip_prefix(**folder).is_some_and(|rest| rest.starts_with('/'));
    FOLDERS.iter().filter(inside).max_by_key(|folder| folder.len()).copied()
}

fn by_folder(files: &BTreeMap<String, Lines>) -> BTreeMap<String, Lines> {
    let mut folders = BTreeMap::<String, Lines>::new();
    for (path, lines) in files {
        if let Some(folder) = folder_of(path) {
            let sum = folders.entry(folder.into()).or_default();
            sum.all += lines.all;
            sum.missed += lines.missed;
        }
    }
    folders
}

fn most_missed(files: BTreeMap<String, Lines>) -> String {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_by_key(|(_, lines)| core::cmp::Reverse(lines.missed));
    let row = |(path, lines): &(String, Lines)| {
        format!("{path:<44} {:>6} {:>6} {:>5.1} %\n", lines.all, lines.missed, lines.percent())
    };
    files.iter().map(row).collect()
}

fn print(folders: &BTreeMap<String, Lines>) -> String {
    let mut text =
        "# Lines that tests run. `cargo run -p kitfox-tests --bin coverage -- --bless` writes this file.\n\
                    # folder                    lines missed\n"
            .to_owned();
    for (folder, lines) in folders {
        text += &format!("{folder:<26} {:>6} {:>6}  # {:.1} %\n", lines.all, lines.missed, lines.percent());
    }
    text
}

fn parse(text: &str) -> Result<BTreeMap<String, Lines>, String> {
    let mut folders = BTreeMap::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [folder, all, missed] => {
                let number = |word: &str| word.parse().map_err(|_| format!("not a number of lines: {word}"));
                folders.insert(folder.into(), Lines { all: number(all)?, missed: number(missed)? });
            }
            _ => return Err(format!("not a folder and two numbers: {line}")),
        }
    }
    Ok(folders)
}

fn figures_file() -> PathBuf {
    root().join("tests/coverage.txt")
}

fn root() -> PathBuf {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    above.canonicalize().unwrap_or(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(rows: &[(&str, u64, u64)]) -> BTreeMap<String, Lines> {
        rows.iter().map(|&(folder, all, missed)| (folder.into(), Lines { all, missed })).collect()
    }

    #[test]
    fn a_figure_that_falls_is_complained_about_and_noise_is_not() {
        let committed = folders(&[("core/src/wire", 1000, 10), ("core/src/node", 10_000, 100)]);
        for (wire, node) in [(30, 150), (0, 0), (10, 100)] {
            let now = folders(&[("core/src/wire", 1000, wire), ("core/src/node", 10_000, node)]);
            assert_eq!(complaints(&now, &committed), [""; 0], "as many lines, or as much of all");
        }
        let lower =
            complaints(&folders(&[("core/src/wire", 1000, 31), ("core/src/node", 10_000, 151)]), &committed);
        assert_eq!(
            lower,
            [
                "core/src/node: 98.5 % of its lines, 99.0 % before",
                "core/src/wire: 96.9 % of its lines, 99.0 % before",
            ]
        );
    }

    #[test]
    fn a_folder_that_only_one_side_knows_is_complained_about() {
        let (ours, theirs) = (folders(&[("core/src", 10, 0)]), folders(&[("core/src/node", 10, 0)]));
        assert_eq!(complaints(&ours, &theirs).len(), 2);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let rows = folders(&[("core/src/wire", 1000, 10), ("core/src", 7, 7)]);
        assert_eq!(parse(&print(&rows)), Ok(rows));
        assert!(parse("core/src 12").is_err() && parse("core/src 12 x").is_err());
    }

    #[test]
    fn a_file_counts_for_the_longest_folder_that_it_lies_in() {
        assert_eq!(folder_of("core/src/wire/url.rs"), Some("core/src/wire"));
        assert_eq!(folder_of("core/src/config.rs"), Some("core/src"));
        assert_eq!(folder_of("core/srcery/x.rs"), None);
        let report = serde_json::json!({ "data": [{ "files": [
            { "filename": "/r/core/src/wire/url.rs", "summary": { "lines": { "count": 10, "covered": 9 } } },
            { "filename": "/r/core/src/wire/frame.rs", "summary": { "lines": { "count": 5, "covered": 5 } } },
            { "filename": "/elsewhere/core/src/x.rs", "summary": { "lines": { "count": 5, "covered": 0 } } },
        ] }] });
        let files = lines_of(&report, Path::new("/r")).expect("the form of a report");
        assert_eq!(by_folder(&files), folders(&[("core/src/wire", 15, 1)]));
    }
}
