//! Nothing is lost, doubled or out of order, whatever happens in whatever order.

use std::time::Duration;

use kitfox_core::fixed;

use kitfox_tests::search::{Fault, L, Run, S, Seen, Timing};
use kitfox_tests::world::{Closing, Mischief, Trusting};

fixed!(Tiny {
    peers: 2,
    connections: 6,
    frame: 96,
    tx: 128,
    outbox: 96,
    url: 32,
    block_rules: 1,
    blocked_counts: 1
});

fn good(run: Run) -> Option<Seen> {
    let began = std::time::Instant::now();
    match run.search::<Tiny, Trusting>() {
        Ok(seen) => {
            println!("{:24} {seen:?} {:?}", run.name, began.elapsed());
            Some(seen)
        }
        Err(violation) => {
            println!("XX {violation}");
            None
        }
    }
}

#[test]
fn without_a_fault_everything_arrives() {
    let d = Run::default;
    good(Run { name: "both send 2", messages: [2, 2, 0], ..d() });
    good(Run { name: "both send, hold 0", hold: Duration::ZERO, ..d() });
    good(Run { name: "both send, hold any", timing: Timing::Hold(4), ..d() });
    good(Run { name: "S to L hangs", hanging: vec![(S, L)], timing: Timing::Timely, ..d() });
    good(Run { name: "L to S hangs", hanging: vec![(L, S)], timing: Timing::Timely, ..d() });
    good(Run { name: "none works", hanging: vec![(L, S), (S, L)], timing: Timing::Timely, ..d() });
    good(Run { name: "silent", closing: Closing::Silent, ..d() });
    good(Run { name: "reset", closing: Closing::Reset, ..d() });
}
#[test]
fn faults() {
    let d = Run::default;
    for (name, kind) in [
        ("break", Fault::Break),
        ("vanish", Fault::Vanish),
        ("crash", Fault::Crash),
        ("silent crash", Fault::SilentCrash),
        ("disconnect", Fault::Disconnect),
        ("refuse", Fault::Refuse),
        ("reject", Fault::Reject),
    ] {
        good(Run { name, faults: 1, kinds: vec![kind], ..d() });
    }
}
#[test]
fn mischief() {
    let d = Run::default;
    for mischief in
        [Mischief::Drop, Mischief::Duplicate, Mischief::Swap, Mischief::NoHangup, Mischief::EarlyConfirm]
    {
        good(Run { name: "mischief", messages: [2, 2, 0], mischief, ..d() });
    }
}
