//! Nothing is lost, doubled or out of order, whatever happens in whatever order: the searches that fit `cargo test`.
//! `cargo run --release -p kitfox-tests --bin search -- --deep` goes further.

use kitfox_tests::search::{Fault, Run, quick};
use kitfox_tests::world::Mischief;

/// Runs the searches whose names begin with this.
fn search(family: &str) {
    let runs: Vec<Run> = quick().into_iter().filter(|run| run.name.starts_with(family)).collect();
    assert!(!runs.is_empty());
    for run in runs {
        match run.go() {
            Ok(seen) => {
                println!("{}: {seen:?}", run.name);
                assert!(seen.settled > 0 && seen.cut_off == 0);
            }
            Err(violation) => panic!("{violation}"),
        }
    }
}

/// A search of a world that is broken on purpose, which must find out.
fn finds(run: Run, what: &str) {
    match run.go() {
        Ok(seen) => panic!("{:?} was not found: {seen:?}", run.mischief),
        Err(violation) => assert!(violation.what.contains(what), "{violation}"),
    }
}

fn broken(mischief: Mischief) -> Run {
    Run { messages: [2, 2, 0], mischief, ..Run::default() }
}

#[test]
fn without_a_fault_everything_arrives() {
    search("A");
}

#[test]
fn with_one_fault_every_message_has_its_fate() {
    search("B");
}

#[test]
fn with_one_fault_in_a_session_every_message_has_its_fate() {
    search("H");
}

#[test]
fn on_a_plain_channel_every_message_has_its_fate_and_a_stranger_changes_nothing() {
    search("F");
}

#[test]
fn a_lost_message_is_found() {
    finds(broken(Mischief::Drop), "lost");
}

#[test]
fn a_doubled_message_is_found() {
    finds(broken(Mischief::Duplicate), "came twice");
}

#[test]
fn messages_that_change_places_are_found() {
    finds(broken(Mischief::Swap), "came before");
}

#[test]
fn an_end_that_is_not_told_is_found() {
    let run = Run { faults: 1, kinds: vec![Fault::Crash], ..broken(Mischief::NoHangup) };
    finds(run, "a link is left");
}

#[test]
fn a_gate_that_opens_without_a_confirm_is_found() {
    finds(broken(Mischief::EarlyConfirm), "down without a fault");
}
