//! A board on the bench, with the host that it knows.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Once, OnceLock};

use defmt_decoder::{DecodeError, Table};
use kitfox_tests::firmware::{BOARDS, Board, Host, Image, Machine, is_mandatory, missing, within};

/// The node that does what it is told.
const NODE: Image = Image { program: "node", features: "semihosting,defmt" };
/// Only embassy-net.
const ECHO: Image = Image { program: "echo", features: "semihosting" };

/// The body of a test.
pub(crate) type Body = fn(&'static Board) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs a test on a board, if there is what it needs.
pub(crate) fn on(board: usize, body: Body) {
    static NOTICE: Once = Once::new();
    if let Some(missing) = missing() {
        assert!(!is_mandatory(), "KITFOX_QEMU=1, and firmware cannot be run: {missing}");
        // Not through `eprintln!`, which is caught while a test passes.
        NOTICE.call_once(|| {
            let line = format!(
                "\nfirmware was not run; for `cargo test -p kitfox-tests --test firmware`: {missing}\n"
            );
            _ = std::io::stderr().write_all(line.as_bytes());
        });
        return;
    }
    async_io::block_on(within(body(&BOARDS[board])));
}

/// Builds an image once.
fn built(image: Image, board: &Board) -> &'static PathBuf {
    static BUILT: [[OnceLock<PathBuf>; 2]; 2] = [const { [const { OnceLock::new() }; 2] }; 2];
    let number = BOARDS.iter().position(|known| known == board).unwrap();
    BUILT[number][usize::from(image == ECHO)].get_or_init(|| image.build(board))
}

/// A board that runs the node, and the host that it says `ready` to.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    /// The URL of the firmware, as the host reaches it.
    pub(crate) url: String,
    pub(crate) host: Host,
}

impl Bench {
    /// Both are up, and have found each other.
    pub(crate) async fn new(board: &Board) -> Self {
        let host = Host::new("host").await;
        let machine = switch_on(board, &host);
        let bench = Self { url: url(&machine), machine, host };
        bench.ready().await;
        bench
    }

    /// The firmware has dialled the host and said so.
    pub(crate) async fn ready(&self) {
        assert_eq!(self.host.up().await.url(), self.url);
        assert_eq!(self.host.notified().await, b"ready");
    }

    pub(crate) async fn command(&self, command: &str) -> String {
        self.host.command(&self.url, command).await
    }

    /// The firmware still answers.
    pub(crate) async fn answers(&self, data: &[u8]) {
        self.host.node.module(&self.url, b"garden", "echo", data).unwrap();
        assert!(self.host.echoed().await == data);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the firmware has ended: {:?}; its log:\n{}", self.machine.status(), log(&self.machine));
        }
    }
}

pub(crate) fn switch_on(board: &Board, host: &Host) -> Machine {
    let elf = built(NODE, board);
    Machine::start(board, elf, |port| {
        vec![
            format!("peer={}", host.url),
            format!("url=ws://127.0.0.1:{port}/firmware"),
            format!("seed={port}"),
        ]
    })
}

pub(crate) fn switch_on_echo(board: &Board, peer: u16) -> Machine {
    Machine::start(board, built(ECHO, board), |_| vec![format!("peer={peer}")])
}

pub(crate) fn url(machine: &Machine) -> String {
    format!("ws://127.0.0.1:{}/firmware", machine.port())
}

/// What the firmware has logged, in words.
pub(crate) fn log(machine: &Machine) -> String {
    let elf = std::fs::read(machine.elf()).unwrap();
    let table = Table::parse(&elf).unwrap().expect("the image has a table of its log");
    let mut decoder = table.new_stream_decoder();
    decoder.received(&machine.output());
    let mut text = String::new();
    loop {
        match decoder.decode() {
            Ok(frame) => text += &format!("{}\n", frame.display(false)),
            Err(DecodeError::Malformed) => text += "(malformed)\n",
            Err(DecodeError::UnexpectedEof) => return text,
        }
    }
}
