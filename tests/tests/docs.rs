//! What the documents name exists.

extern crate alloc;

use alloc::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions in test files.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in [
        "core/tests",
        "core/src",
        "tests/tests",
        "tests/src",
        "adapters/std-smol/tests",
        "adapters/std-smol/src",
    ] {
        sources(&root().join(folder), &mut files);
    }
    let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let name = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
    texts.iter().flat_map(|text| text.split("fn ").skip(1).map(name)).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The names in backticks in those lines of a document for which `counts` holds.
fn named(document: &str, counts: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = document.lines().filter(|line| counts(line));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = functions();
    for name in ["docs/protocol.md", "docs/connections.md", "docs/command.md"] {
        let tests = named(&document(name), |line| line.starts_with("> `"));
        assert!(!tests.is_empty(), "{name} names tests");
        for test in tests {
            assert!(functions.contains(&test), "{name} names {test}, which does not exist");
        }
    }
    for name in ["docs/differences.md", "docs/security.md"] {
        let text = document(name);
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
        assert!(rows.len() > 10);
        for row in rows {
            let last = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
            let tests = named(last, |_| true);
            assert!(!tests.is_empty(), "{name} has a row without a test: {row}");
            for test in tests {
                assert!(functions.contains(&test), "{name} names {test}, which does not exist");
            }
        }
    }
}

#[test]
fn every_file_that_a_document_links_to_exists() {
    for name in [
        "README.md",
        "docs/protocol.md",
        "docs/states.md",
        "docs/connections.md",
        "docs/memory.md",
        "docs/security.md",
        "docs/command.md",
        "docs/differences.md",
    ] {
        let text = document(name);
        let folder = root().join(name);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let path = folder.parent().unwrap().join(link.split('#').next().unwrap());
                assert!(path.exists(), "{name} links to {link}");
            }
        }
    }
}

#[test]
fn every_file_that_the_threat_model_names_exists() {
    let files = named(&document("docs/security.md"), |_| true);
    let files: Vec<_> = files.iter().filter(|name| name.contains('/')).collect();
    assert!(files.len() > 20);
    for file in files {
        assert!(root().join(file).exists(), "docs/security.md names {file}");
    }
}

#[test]
fn every_figure_in_the_readme_is_the_committed_one() {
    let figures = document("benches/figures.txt");
    let committed = |path: &str| {
        let row = figures.lines().find(|line| line.split_whitespace().next() == Some(path));
        row.unwrap_or_else(|| panic!("no figure for {path}")).split_whitespace().nth(1).unwrap().to_owned()
    };
    let readme = document("README.md");
    let rows: Vec<_> =
        readme.lines().skip_while(|line| !line.ends_with("| instructions |")).skip(2).collect();
    let rows: Vec<_> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 5);
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(committed(cells[1].trim_matches('`')), cells[2].replace(',', ""), "{row}");
    }
}
