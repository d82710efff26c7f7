//! What is shown on a terminal, and what is not.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::*;

/// A terminal of 100 columns: our end of it, and that of the process.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(ours), theirs)
}

/// What a process shows on a terminal, with this in its environment.
fn shown(args: &[&str], environment: &[(&str, &str)]) -> String {
    let (mut ours, theirs) = terminal();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kitfox"));
    command.args(args).env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    let mut child = command.spawn().unwrap();
    // The command holds the other end too.
    drop(command);
    let reading = thread::spawn(move || {
        let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
        // The end of a terminal is an error on some systems.
        while let Ok(len @ 1..) = ours.read(&mut buffer) {
            shown.extend(&buffer[..len]);
        }
        shown
    });
    end(&mut child);
    text(&reading.join().unwrap())
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let args = ["decode", "01 00000000 07"];
    assert!(shown(&args, &[]).contains("\x1b[31m"), "what is wrong is red");
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let shown = shown(&args, &[environment]);
        assert!(shown.contains("unknown frame type 7") && !shown.contains('\x1b'), "{shown:?}");
    }
}

#[test]
fn a_large_send_shows_its_progress_and_a_small_one_none() {
    let listener = Listener::garden(&[]);
    let path = std::env::temp_dir().join(format!("cli-kitfox-large-{}", std::process::id()));
    fs::write(&path, vec![7; 8 << 20]).unwrap();
    let to = ["send", listener.url(), "--plain", "--space", "garden"];
    let large = shown(&[&to[..], &["--file", path.to_str().unwrap()]].concat(), &[]);
    fs::remove_file(&path).unwrap();
    assert!(large.contains("/8.00 MiB"), "{large:?}");
    let small = shown(&[&to[..], &["--data", "x"]].concat(), &[]);
    assert!(!small.contains("iB") && !small.contains("█"), "{small:?}");
}

#[test]
fn a_bench_shows_its_progress_and_ends_with_a_table() {
    let shown = shown(&["bench", "--milliseconds", "50"], &[]);
    assert!(shown.contains("/12 plain, messages of 1.0 KiB"), "{shown:?}");
    assert!(shown.contains("/12 secured, round trips"), "{shown:?}");
    let piped = kitfox(&["bench", "--milliseconds", "1"]);
    assert!(piped.status.success());
    assert_eq!(text(&piped.stderr), "");
    let table = text(&piped.stdout);
    for words in
        ["plain messages", "secured messages", "secured median", "16.0 KiB", " us", "ChaCha20-Poly1305"]
    {
        assert!(table.contains(words), "{words}: {table}");
    }
}
