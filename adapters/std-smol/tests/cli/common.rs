//! Processes of the command, and what they tell.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Whatever is waited for comes by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a process may own in memory, in bytes, whatever strangers do to it.
pub(crate) const MEMORY: u64 = 64 << 20;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kitfox"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the command to its end.
pub(crate) fn kitfox(args: &[&str]) -> Output {
    finish(command(args).spawn().unwrap())
}

/// Runs the command to its end, with this on its standard input.
pub(crate) fn kitfox_with(args: &[&str], input: &[u8]) -> Output {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    finish(child)
}

/// Runs the command to its end; nobody reads what it writes.
pub(crate) fn kitfox_unread(args: &[&str]) -> ExitStatus {
    let mut child = command(args).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    end(&mut child)
}

/// Begins to run the command.
pub(crate) fn begin(args: &[&str]) -> Child {
    command(args).spawn().unwrap()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the end of a process, but not for ever.
pub(crate) fn finish(mut child: Child) -> Output {
    let (out, err) = (reading(child.stdout.take().unwrap()), reading(child.stderr.take().unwrap()));
    let status = end(&mut child);
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn reading(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

pub(crate) fn end(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            panic!("the process does not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The events in the output of a process.
pub(crate) fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events with this name.
pub(crate) fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `kitfox listen --json` in a process of its own, with `--plain` where nothing else is said.
pub(crate) struct Listener {
    child: Child,
    events: Receiver<Value>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// Where it listens.
    pub(crate) urls: Vec<String>,
    /// Its output, if nobody reads it.
    _unread: Option<BufReader<ChildStdout>>,
}

impl Listener {
    /// Listens in the space "garden".
    pub(crate) fn garden(more: &[&str]) -> Self {
        let mut args = vec!["--listen", "127.0.0.1:0", "--space", "garden"];
        args.extend(more);
        Self::start(&args)
    }

    pub(crate) fn start(args: &[&str]) -> Self {
        Self::run(&["listen", "--plain", "--json"], args)
    }

    /// Listens for secured connections, in the space "garden".
    pub(crate) fn secured(args: &[&str]) -> Self {
        let mut all = vec!["--space", "garden"];
        all.extend(args);
        if !args.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        Self::run(&["listen", "--json"], &all)
    }

    fn run(command_and_channel: &[&str], args: &[&str]) -> Self {
        let mut child = command(&[command_and_channel, args].concat()).spawn().unwrap();
        let (tells, events) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines() {
                let _ = tells.send(serde_json::from_str(&line.unwrap()).unwrap());
            }
        });
        let stderr = Some(reading(child.stderr.take().unwrap()));
        let mut listener = Self { child, events, stderr, urls: Vec::new(), _unread: None };
        for _ in args.iter().filter(|arg| **arg == "--listen") {
            let url = listener.expect("listening")["url"].as_str().unwrap().to_owned();
            listener.urls.push(url);
        }
        listener
    }

    /// Of what it tells nothing is read but where it listens.
    pub(crate) fn unread() -> Self {
        let args = ["listen", "--plain", "--json", "--listen", "127.0.0.1:0", "--space", "garden"];
        let mut child = command(&args).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::with_capacity(256, child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let urls = vec![listening["url"].as_str().unwrap().to_owned()];
        Self { child, events: mpsc::channel().1, stderr: None, urls, _unread: Some(out) }
    }

    /// Waits for its end.
    pub(crate) fn code(&mut self) -> Option<i32> {
        end(&mut self.child).code()
    }

    pub(crate) fn url(&self) -> &str {
        &self.urls[0]
    }

    /// The next event.
    pub(crate) fn next(&self) -> Value {
        self.events.recv_timeout(PATIENCE).expect("an event")
    }

    /// The next event, which has this name.
    pub(crate) fn expect(&self, name: &str) -> Value {
        let event = self.next();
        assert_eq!(event["event"], name, "{event}");
        event
    }

    /// The next event for which `wanted` holds; others are passed over.
    pub(crate) fn find(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// A connection was turned away for a reason that has these words in it.
    pub(crate) fn rejects(&self, words: &str) {
        let reason = self.expect("rejected")["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(words), "{reason}, not {words}");
    }

    /// A message of this peer to the garden.
    pub(crate) fn hears(&self, peer: &str, data: &[u8]) {
        let event = self.expect("notify");
        assert_eq!(event["peer"], peer);
        assert_eq!((&event["space"], &event["data"]), (&"garden".into(), &hex(data).into()));
    }

    /// The memory that the process owns now is within its bound.
    pub(crate) fn is_small(&self) {
        if cfg!(target_os = "linux") {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
            let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            assert!(kib << 10 < MEMORY, "{line}");
        }
    }

    /// Still serves those who know how to behave, and its memory is within its bound.
    pub(crate) fn serves(&self) {
        let sent = kitfox(&["send", self.url(), "--plain", "--space", "garden", "--data", "still there?"]);
        assert!(sent.status.success(), "{}", text(&sent.stderr));
        let heard = self.find(|event| event["data"] == hex(b"still there?"));
        self.find(|event| event["event"] == "peer_down" && event["peer"] == heard["peer"]);
        self.is_small();
    }

    pub(crate) fn signal(&self, wanted: Signal) {
        signal(&self.child, wanted);
    }

    /// Ends with success after a SIGTERM. What it told until then, and what it said on standard error.
    pub(crate) fn stop(self) -> (Vec<Value>, String) {
        self.signal(Signal::TERM);
        self.ends()
    }

    /// Ends with success.
    pub(crate) fn ends(mut self) -> (Vec<Value>, String) {
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            events.push(event);
        }
        let status = end(&mut self.child);
        let stderr = text(&self.stderr.take().unwrap().join().unwrap());
        assert!(status.success(), "{status}: {stderr}");
        assert_eq!(events.last().unwrap()["event"], "stats");
        (events, stderr)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
