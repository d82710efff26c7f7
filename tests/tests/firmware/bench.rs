//! A board on the bench, with the host that it knows.

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Once, OnceLock};

use defmt_decoder::{DecodeError, Table};
use kitfox_tests::firmware::{BOARDS, Board, Host, Image, Machine, Wire, is_mandatory, missing, within};

/// Where a claim is tested.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) board: &'static Board,
    pub(crate) wire: Wire,
}

/// The body of a test.
pub(crate) type Body = fn(Setup) -> Pin<Box<dyn Future<Output = ()>>>;

/// Runs a test on a board, if there is what it needs.
pub(crate) fn on(board: usize, wire: Wire, body: Body) {
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
    async_io::block_on(within(body(Setup { board: &BOARDS[board], wire })));
}

/// Builds the node that does what it is told, once.
fn node(Setup { board, wire }: Setup) -> &'static PathBuf {
    static BUILT: [[OnceLock<PathBuf>; 2]; 2] = [const { [const { OnceLock::new() }; 2] }; 2];
    let features = format!("{}semihosting,defmt", wire.features());
    BUILT[number(board)][usize::from(wire == Wire::Plain)]
        .get_or_init(|| Image { program: "node", features }.build(board))
}

/// Builds embassy-net alone, once.
fn echo(board: &Board) -> &'static PathBuf {
    static BUILT: [OnceLock<PathBuf>; 2] = [const { OnceLock::new() }; 2];
    let features = "semihosting".to_owned();
    BUILT[number(board)].get_or_init(|| Image { program: "echo", features }.build(board))
}

fn number(board: &Board) -> usize {
    BOARDS.iter().position(|known| known == board).unwrap()
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
    pub(crate) async fn new(setup: Setup) -> Self {
        let host = Host::new("host", setup.wire).await;
        let machine = switch_on(setup, &host);
        let bench = Self { url: url(setup, machine.port()), machine, host };
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

pub(crate) fn switch_on(setup: Setup, host: &Host) -> Machine {
    Machine::start(setup.board, node(setup), |port| {
        vec![format!("peer={}", host.url), format!("url={}", url(setup, port)), format!("seed={port}")]
    })
}

pub(crate) fn switch_on_echo(board: &Board, peer: u16) -> Machine {
    Machine::start(board, echo(board), |_| vec![format!("peer={peer}")])
}

pub(crate) fn url(Setup { wire, .. }: Setup, port: u16) -> String {
    format!("{}://127.0.0.1:{port}/{}", wire.scheme(), wire.firmware_id())
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
