//! The simulation on a fixed set of seeds, its determinism, and what its checks find.

use kitfox_tests::sim::{Options, Report, Sabotage, Summary, run};

fn short() -> Options {
    Options { nodes: Some(6), seconds: Some(10), ..Options::default() }
}

fn holds(report: &Report) {
    if let Some(violation) = &report.violation {
        panic!("{violation}\n{}", report.trace.join("\n"));
    }
}

#[test]
fn fixed_seeds_hold() {
    let mut total = Summary::default();
    for seed in 0..150 {
        let report = run(seed, short());
        holds(&report);
        total.add(&report.summary);
    }
    assert!(total.delivered > 1_000 && total.calm > 0 && total.pairs > 100, "too little happens: {total}");
    assert!(total.unknown > 0 && total.not_sent > 0, "too little goes wrong: {total}");
}

/// Seeds that found something once, with the sizes with which they did.
#[test]
fn seeds_that_found_something_hold() {
    for seed in [0, 15, 17, 28, 93, 177] {
        holds(&run(seed, Options { seconds: Some(10), nodes: Some(8), ..Options::default() }));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 5] {
        let options = Options { trace: true, ..short() };
        let (one, two) = (run(seed, options), run(seed, options));
        assert!(one.trace.len() > 100);
        assert!(one.trace == two.trace, "seed {seed}");
    }
    let options = Options { trace: true, ..short() };
    assert_ne!(run(1, options).trace, run(2, options).trace);
}

/// Seeds until one finds what is wrong, and what it says.
fn finds(sabotage: Sabotage) -> String {
    let found = (0..12).find_map(|seed| {
        run(seed, Options { sabotage: Some(sabotage), ..short() }).violation.map(|violation| violation.what)
    });
    found.unwrap_or_else(|| panic!("nobody notices that a node {sabotage:?}"))
}

#[test]
fn a_dropped_message_is_found() {
    let what = finds(Sabotage::Drops);
    assert!(what.contains("expected") || what.contains("not delivered"), "{what}");
}

#[test]
fn a_message_that_is_delivered_twice_is_found() {
    let what = finds(Sabotage::DeliversTwice);
    assert!(what.contains("expected") || what.contains("not written"), "{what}");
}

#[test]
fn messages_in_the_wrong_order_are_found() {
    let what = finds(Sabotage::Reorders);
    assert!(what.contains("expected") || what.contains("not delivered"), "{what}");
}

#[test]
fn a_message_that_is_lost_in_silence_is_found() {
    let what = finds(Sabotage::LosesNotSent);
    assert!(what.contains("not sent") || what.contains("left the table") || what.contains("wait"), "{what}");
}

#[test]
fn a_forgotten_deadline_is_found() {
    let what = finds(Sabotage::ForgetsTimers);
    assert!(what.contains("deadline"), "{what}");
}
