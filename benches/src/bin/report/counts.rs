//! Instructions and allocations a message, by the program `counted`.

use std::process::Command;
use std::time::Duration;

use crate::child::bounded;
use crate::companion::Companions;

/// It takes a minute on a slow machine.
const LIMIT: Duration = Duration::from_secs(300);

/// One path: its kind, who goes it, with how much, and what a message costs.
pub(crate) struct Count {
    pub(crate) kind: String,
    pub(crate) who: String,
    /// Bytes, connections, spaces or modules.
    pub(crate) size: u64,
    pub(crate) instructions: u64,
    pub(crate) allocations: String,
}

/// All of them.
pub(crate) struct Counts(pub(crate) Vec<Count>);

impl Counts {
    pub(crate) fn of(&self, kind: &str, who: &str, size: u64) -> Option<&Count> {
        self.0.iter().find(|count| count.kind == kind && count.who == who && count.size == size)
    }

    /// Who goes a kind of path, in order.
    pub(crate) fn who(&self, kind: &str) -> Vec<&str> {
        let mut all = Vec::new();
        for count in self.0.iter().filter(|count| count.kind == kind) {
            if !all.contains(&count.who.as_str()) {
                all.push(&count.who);
            }
        }
        all
    }

    /// The sizes of a kind of path, in order.
    pub(crate) fn sizes(&self, kind: &str) -> Vec<u64> {
        let mut all: Vec<u64> =
            self.0.iter().filter(|count| count.kind == kind).map(|count| count.size).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Runs the program.
pub(crate) fn measure(companions: &Companions) -> Result<Counts, String> {
    let printed = bounded(Command::new(companions.counted()?), LIMIT);
    match printed.fault {
        Some(fault) => Err(fault),
        None => Ok(Counts(printed.lines.iter().filter_map(|line| read(line)).collect())),
    }
}

fn read(line: &str) -> Option<Count> {
    // Names have spaces in them.
    let [allocations, instructions, path] = line.rsplitn(3, ' ').collect::<Vec<_>>().try_into().ok()?;
    let [kind, who, size] = path.split('/').collect::<Vec<_>>().try_into().ok()?;
    Some(Count {
        kind: kind.into(),
        who: who.into(),
        size: size.parse().ok()?,
        instructions: instructions.parse().ok()?,
        allocations: allocations.into(),
    })
}
