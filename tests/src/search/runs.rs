//! The runs: those of the specification's table, as far as they fit the time.

use core::time::Duration;

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
        Run {
            hanging: Vec::from([(L, S)]),
            timing: Timing::Hold,
            ..run("A5b L cannot dial S, T_hold must do")
        },
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
        // A node that crashes in silence has something to say afterwards.
        let messages = if fault == Fault::SilentCrash { [2, 1, 0] } else { [1, 1, 0] };
        runs.push(Run { messages, faults: 1, kinds: Vec::from([fault]), ..run(&format!("B one {fault:?}")) });
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
    let any = |faults: u8, name: &str| Run { faults, kinds: ANY.into(), ..run(name) };
    runs.extend([
        Run { established: Vec::from([S]), ..any(2, "H3 up, then two of any") },
        Run { timing: Timing::Async(1), ..any(1, "D1 one of any, async") },
        Run { timing: Timing::Async(1), hold: zero, ..any(1, "D2 one of any, no hold, async") },
        Run { messages: [1, 0, 0], ..any(2, "C1 two of any, 1+0") },
        Run { messages: [0, 1, 0], ..any(2, "C2 two of any, 0+1") },
        Run { plain: true, messages: [1, 0, 0], ..any(2, "F5 plain, two of any, 1+0") },
        any(2, "C3 two of any, 1+1"),
        Run { hold: zero, ..any(2, "C4 two of any, 1+1, no hold") },
        Run { messages: [1, 0, 0], ..any(3, "G1 three of any, 1+0") },
        Run { timing: Timing::Async(2), ..any(1, "D3 one of any, async, two deadlines early") },
    ]);
    runs
}
