//! Where and when figures are taken.

use std::fs;
use std::process::Command;
use std::thread;

/// What figures depend on.
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) rustc: &'static str,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Processes that wanted to run, on average over the last minute.
    pub(crate) load: String,
}

pub(crate) fn describe() -> Machine {
    let date = Command::new("date").args(["-u", "+%-d %B %Y"]).output();
    let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
    Machine {
        date: date.unwrap_or_else(|_| "a day without a date".into()),
        rustc: env!("RUSTC_VERSION"),
        processor: processor.unwrap_or_else(|| "unknown processor".into()),
        cores: thread::available_parallelism().map_or(1, usize::from),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
    }
}
