//! Runs paths one after the other, and joins their allocations with their instructions.

use std::path::{Path, PathBuf};
use std::{env, io};

use crate::callgrind;
use crate::figures::Cost;
use crate::meter::{Meter, Tally};

/// Runs the paths that were asked for, one after the other.
#[derive(Debug, Default)]
pub struct Bench {
    filter: String,
    done: Vec<(String, Tally)>,
}

impl Bench {
    /// For paths whose name contains `filter`.
    pub fn new(filter: &str) -> Self {
        Self { filter: filter.into(), done: Vec::new() }
    }

    /// Runs a path, if it was asked for.
    pub fn path(&mut self, name: String, run: impl FnOnce(&mut Meter)) {
        if name.contains(&self.filter) {
            let mut meter = Meter::default();
            run(&mut meter);
            self.done.push((name, meter.finish()));
        }
    }

    /// Whether no path was asked for.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// What the run under callgrind prints, and this one expects of it.
    pub fn tallies(&self) -> String {
        self.done.iter().map(|(name, tally)| format!("{name} {}\n", tally.messages)).collect()
    }

    /// Runs this program again under callgrind with `args`, upon which it must run the same paths and print
    /// [`tallies`](Self::tallies), and joins its counts with the allocations of this run.
    ///
    /// # Errors
    /// If it cannot be run, or went through other paths.
    pub fn count(&self, directory: &Path, args: &[&str]) -> io::Result<Vec<(String, Cost)>> {
        let printed = callgrind::run_self(directory, args)?;
        if printed != self.tallies() {
            return Err(io::Error::other(format!(
                "the run under callgrind went through other paths:\n{printed}"
            )));
        }
        let mut counted = Vec::new();
        for (number, (name, tally)) in (1..).zip(&self.done) {
            let instructions = callgrind::instructions(directory, number)?;
            counted.push((name.clone(), Cost::of_each(tally.messages, instructions, tally.allocations)));
        }
        Ok(counted)
    }
}

/// A directory beside the one in which cargo puts release builds, this program among them.
pub fn target_directory(name: &str) -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let release = program.ancestors().find(|ancestor| ancestor.ends_with("release"));
    release.and_then(Path::parent).unwrap_or_else(|| Path::new("target")).join(name)
}
