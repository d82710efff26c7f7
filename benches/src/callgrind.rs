//! Starts a program under callgrind and reads what it counted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// Keeps glibc from `rep movsb`, which callgrind counts byte by byte.
const GLIBC_TUNABLES: &str =
    "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000";

/// Whether valgrind can be started.
pub fn is_installed() -> bool {
    let started =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    started.is_ok_and(|status| status.success())
}

/// Callgrind, to be told what to run.
pub fn command() -> Command {
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").env("GLIBC_TUNABLES", GLIBC_TUNABLES);
    command
}

/// Runs this program again under callgrind with `args`, and gives what it printed. Its dumps land in `directory`,
/// which is emptied before.
///
/// # Errors
/// If it cannot be run, or fails; the message says what valgrind said.
pub fn run_self(directory: &Path, args: &[&str]) -> io::Result<String> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let output = command()
        .arg("--collect-atstart=no")
        .arg("--toggle-collect=*kitfox_measured_region*")
        .arg("--dump-after=*kitfox_end_of_path*")
        .arg(format!("--callgrind-out-file={}", out_file(directory).display()))
        .arg(env::current_exe()?)
        .args(args)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The dump of the path with this number, counted from one.
pub fn dump_file(directory: &Path, number: usize) -> PathBuf {
    out_file(directory).with_extension(format!("out.{number}"))
}

/// The instructions in the dump of the path with this number, counted from one.
///
/// # Errors
/// If there is no such dump or it has no total.
pub fn instructions(directory: &Path, number: usize) -> io::Result<u64> {
    total_of(&dump_file(directory, number))
}

/// The instructions in a dump.
///
/// # Errors
/// If there is no such dump or it has no total.
pub fn total_of(file: &Path) -> io::Result<u64> {
    let dump = fs::read_to_string(file)?;
    total(&dump).ok_or_else(|| io::Error::other(format!("no total in {}", file.display())))
}

fn out_file(directory: &Path) -> PathBuf {
    directory.join("callgrind.out")
}

/// The total of a dump, whose only event must be instructions.
fn total(dump: &str) -> Option<u64> {
    let value = |name: &str| dump.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match value("events:")? {
        "Ir" => value("totals:").or_else(|| value("summary:"))?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "# callgrind format\nversion: 1\ndesc: Trigger: --dump-after=x\n\
        events: Ir\nsummary: 4096\n\nfn=(1) x\n12 4096\n\ntotals: 4096\n";

    #[test]
    fn the_total_of_a_dump_is_read() {
        assert_eq!(total(DUMP), Some(4096));
        assert_eq!(total(&DUMP.replace("totals: 4096\n", "")), Some(4096));
    }

    #[test]
    fn a_dump_without_total_or_with_other_events_is_refused() {
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total(&DUMP.replace("events: Ir", "events: Ir Dr")), None);
        assert_eq!(total("totals: 5\n"), None);
    }

    #[test]
    fn dumps_are_numbered_as_callgrind_does() {
        assert_eq!(dump_file(Path::new("/x"), 12), Path::new("/x/callgrind.out.12"));
    }
}
