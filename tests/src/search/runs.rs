//! The runs: those of the specification's table, as far as they fit the time.

use std::time::Duration;
use std::vec::Vec;

use super::{Fault, L, Run, S, Seen, Timing, Violation};
use crate::world::{Closing, Trusting};
use kitfox_core::connection::Plain;
use kitfox_core::fixed;

fixed! {
    /// As small as a search can do with.
    pub Tiny { peers: 2, connections: 7, frame: 96, tx: 128, outbox: 96, url: 32, block_rules: 1, blocked_counts: 1 }
}

/// All kinds of faults.
const ANY: [Fault; 7] = [
    Fault::Break,
    Fault::Vanish,
    Fault::Crash,
    Fault::SilentCrash,
    Fault::Disconnect,
    Fault::Refuse,
    Fault::Reject,
];

impl Run {
    /// Looks at every order: on a secured channel, or on a plain one if a stranger takes part or `plain` is set.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn go(&self) -> Result<Seen, Violation> {
        match self.plain {
            true => self.search::<Tiny, Plain>(),
            false => self.search::<Tiny, Trusting>(),
        }
    }
}

fn run(name: &str) -> Run {
    Run { name: name.into(), ..Run::default() }
}

/// The runs of `cargo test`.
pub fn quick() -> Vec<Run> {
    let zero = Duration::ZERO;
    let long = Duration::from_secs(9);
    let mut runs = Vec::from([
        Run { messages: [2, 2, 0], ..run("A1 no fault, timely") },
        Run { messages: [2, 2, 0], hold: zero, ..run("A2 no fault, no hold") },
        Run { timing: Timing::Hold, ..run("A3 no fault, hold any time") },
        Run { messages: [2, 2, 0], hanging: Vec::from([(S, L)]), ..run("A4 S cannot dial L") },
        Run { messages: [2, 2, 0], hanging: Vec::from([(L, S)]), ..run("A5 L cannot dial S") },
        Run { messages: [2, 2, 0], hanging: Vec::from([(S, L), (L, S)]), ..run("A6 nobody can dial") },
        Run {
            messages: [2, 2, 0],
            hold: long,
            timing: Timing::Hold,
            ..run("A7 no fault, long hold any time")
        },
        Run { messages: [2, 2, 0], closing: Closing::Silent, ..run("A8 no fault, no reasons") },
        Run { messages: [2, 2, 0], closing: Closing::Reset, ..run("A9 no fault, resets") },
        Run { timing: Timing::Async(1), ..run("A10 no fault, any deadline any time") },
        Run { plain: true, messages: [2, 2, 0], ..run("F0 plain, no fault") },
        Run {
            plain: true,
            messages: [1, 1, 1],
            established: Vec::from([S]),
            ..run("F1 plain, up, a stranger comes")
        },
    ]);
    for fault in ANY {
        runs.push(Run { faults: 1, kinds: Vec::from([fault]), ..run(&format!("B one {fault:?}")) });
        runs.push(Run {
            faults: 1,
            kinds: Vec::from([fault]),
            established: Vec::from([S, L]),
            prompt: fault != Fault::Vanish,
            ..run(&format!("H up, then one {fault:?}"))
        });
    }
    runs.push(Run { faults: 1, kinds: Vec::from([Fault::Break]), plain: true, ..run("F2 plain, one Break") });
    runs.push(Run { faults: 1, kinds: Vec::from([Fault::Crash]), plain: true, ..run("F3 plain, one Crash") });
    runs
}

/// More messages, more faults, and deadlines at any time: minutes.
pub fn deep() -> Vec<Run> {
    let zero = Duration::ZERO;
    let mut runs = Vec::from([
        Run { messages: [2, 2, 0], hold: zero, timing: Timing::Hold, ..run("A3 no fault, hold any time") },
        Run { timing: Timing::Async(3), ..run("A10 no fault, any deadline any time") },
        Run { messages: [1, 1, 1], plain: true, ..run("F4 plain, a stranger at any time") },
    ]);
    for fault in ANY {
        runs.push(Run {
            messages: [2, 2, 0],
            faults: 1,
            kinds: Vec::from([fault]),
            ..run(&format!("B one {fault:?}"))
        });
    }
    for closing in [Closing::Silent, Closing::Reset] {
        runs.push(Run {
            faults: 1,
            kinds: ANY.into(),
            closing,
            ..run(&format!("B one of any, closing {closing:?}"))
        });
    }
    runs.extend([
        Run { faults: 1, kinds: ANY.into(), timing: Timing::Async(2), ..run("D1 one of any, async") },
        Run {
            faults: 1,
            kinds: ANY.into(),
            hold: zero,
            timing: Timing::Async(2),
            ..run("D2 one of any, no hold, async")
        },
        Run { messages: [1, 1, 0], faults: 2, kinds: ANY.into(), ..run("C1 two of any") },
        Run {
            messages: [1, 1, 0],
            faults: 2,
            kinds: ANY.into(),
            hold: zero,
            ..run("C2 two of any, no hold")
        },
        Run {
            messages: [1, 1, 0],
            faults: 2,
            kinds: ANY.into(),
            established: Vec::from([S]),
            ..run("H3 up, then two of any")
        },
        Run { faults: 2, kinds: ANY.into(), plain: true, ..run("F5 plain, two of any") },
        Run { messages: [2, 1, 0], faults: 2, kinds: ANY.into(), ..run("C3 two of any, 2+1") },
    ]);

    runs
}
