//! What the documents name exists.

extern crate alloc;

use alloc::collections::BTreeSet;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use kitfox_core::Config;
use kitfox_core::node::PeerLimits;
use kitfox_tests::conformance::Vectors;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below a folder whose name ends so.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

/// The names of all functions in test files.
fn functions() -> BTreeSet<String> {
    let mut sources = Vec::new();
    for folder in [
        "core/tests",
        "core/src",
        "tests/tests",
        "tests/src",
        "adapters/std-smol/tests",
        "adapters/std-smol/src",
    ] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let texts: Vec<_> = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
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
    let names = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "fuzz/README.md", "tests/vectors/README.md"];
    let mut documents: Vec<_> = names.iter().map(|name| root().join(name)).collect();
    files(&root().join("docs"), "md", &mut documents);
    documents.push(root().join("adapters/embassy/README.md"));
    documents.push(root().join("adapters/embassy/firmware/README.md"));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let path = document.parent().unwrap().join(link.split('#').next().unwrap());
                assert!(path.exists(), "{} links to {link}", document.display());
                links += 1;
            }
        }
    }
    assert!(links > 20);
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

/// The README in one line.
fn readme() -> String {
    document("README.md").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// 1485 as "1,485".
fn thousands(number: usize) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{},{:03}", thousands(number / 1000), number % 1000)
    }
}

#[test]
fn every_limit_in_the_readme_is_the_default() {
    let (host, device) = (Config::HOST, Config::DEVICE);
    let seconds = |time: Duration| time.as_secs();
    let limits = [
        format!(
            "frames of {} MiB (devices {} KiB)",
            host.max_frame_bytes >> 20,
            device.max_frame_bytes >> 10
        ),
        format!(
            "preflights of {} KiB ({} KiB)",
            host.max_preflight_bytes >> 10,
            device.max_preflight_bytes >> 10
        ),
        format!("URLs of {} KiB ({} B)", host.url.max_bytes >> 10, device.url.max_bytes),
        format!("the gate opens within {} s", seconds(host.preflight_timeout)),
        format!(
            "ends within {} s + 1 s for each {} KiB",
            seconds(host.frame_timeout),
            host.frame_bytes_per_second >> 10
        ),
        format!("takes no bytes for {} s", seconds(host.tx_timeout)),
        format!("{} pending connections", thousands(PeerLimits::HOST.max_pending)),
    ];
    for limit in limits {
        assert!(readme().contains(&limit), "README.md does not say: {limit}");
    }
}

#[test]
fn every_version_and_count_in_the_readme_is_where_it_comes_from() {
    let manifest = document("Cargo.toml");
    let rust = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let figures = document("benches/figures.txt");
    let rustc: Vec<_> = figures.split("\nrustc ").nth(1).unwrap().split('.').take(2).collect();
    let mut vectors = Vec::new();
    files(&root().join("tests/vectors"), "json", &mut vectors);
    let cases = vectors.iter().map(|path| Vectors::read(path).unwrap().len()).sum();
    let oracle = document("tests/vectors/frames.dev.json");
    let oracle = oracle.split("\"kitsune2_api\":\"").nth(1).unwrap().split('"').next().unwrap();
    for words in [
        format!("Rust {rust} or newer"),
        format!("(rustc {})", rustc.join(".")),
        format!("agrees with Kitsune2 {oracle} on {} recorded cases", thousands(cases)),
    ] {
        assert!(readme().contains(&words), "README.md does not say: {words}");
    }
}
