//! The corpus of the fuzzer, replayed.

use std::fs;
use std::path::Path;

use kitfox_tests::fuzz::TARGETS;

#[test]
fn every_input_of_the_corpus_is_taken_without_a_finding() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let folder = fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut inputs: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 5, "{name} has a corpus");
        for path in inputs {
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
        }
    }
}

/// Inputs that no fuzzer has chosen: the targets themselves must stand on any.
#[test]
fn inputs_at_random_are_taken_without_a_finding() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for (_, target) in TARGETS {
        for _ in 0..60 {
            let len = next() as usize % 300;
            let input: Vec<u8> = (0..len).map(|_| (next() >> 32) as u8).collect();
            target(&input);
        }
    }
}
