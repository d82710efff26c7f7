//! A board that QEMU plays.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::image::Board;

/// The port that firmware listens on, in its own network.
const GUEST: &str = "10.0.2.15:7777";

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// QEMU's own protocol.
    control: BufReader<TcpStream>,
    port: u16,
    elf: PathBuf,
    output: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Machine {
    /// Starts a board with an image. `args` are made from the port at which the machine can be reached on the loopback
    /// interface.
    ///
    /// # Panics
    /// If QEMU does not start.
    pub fn start(board: &Board, elf: &Path, args: impl Fn(u16) -> Vec<String>) -> Self {
        let mut said = String::new();
        for _ in 0..8 {
            // Somebody else may take the port before QEMU does: then with another one.
            let port = free_port();
            match Self::try_start(board, elf, port, &args(port)) {
                Ok(machine) => return machine,
                Err(error) => _ = writeln!(said, "{error}"),
            }
        }
        panic!("QEMU does not start:\n{said}");
    }

    fn try_start(board: &Board, elf: &Path, port: u16, args: &[String]) -> Result<Self, String> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for the control connection");
        let control = listener.local_addr().expect("it is bound").port();
        let mut semihosting = "enable=on,target=native,arg=firmware".to_owned();
        for arg in args {
            _ = write!(semihosting, ",arg={arg}");
        }
        let mut child = Command::new("qemu-system-arm")
            .args(["-M", board.name, "-display", "none", "-monitor", "none", "-serial", "none"])
            .args(["-qmp", &format!("tcp:127.0.0.1:{control}")])
            .args(["-nic", &format!("user,hostfwd=tcp:127.0.0.1:{port}-{GUEST}")])
            .args(["-semihosting-config", &semihosting, "-kernel"])
            .arg(elf)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        match greeted(&listener, &mut child) {
            Ok(control) => {
                let output = Arc::<Mutex<Vec<u8>>>::default();
                let stdout = child.stdout.take().map(|stdout| collect(stdout, output.clone()));
                Ok(Self { child, control, port, elf: elf.to_owned(), output, reader: stdout })
            }
            Err(error) => {
                _ = child.kill();
                let said = child.wait_with_output().map(|output| output.stderr).unwrap_or_default();
                Err(format!("{error}: {}", String::from_utf8_lossy(&said)))
            }
        }
    }

    /// The port of the loopback interface at which the firmware can be reached.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The image that it runs.
    pub fn elf(&self) -> &Path {
        &self.elf
    }

    /// What the firmware has written so far: its log.
    pub fn output(&self) -> Vec<u8> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the firmware has ended, if it has: 101 after a panic, 102 after a fault.
    pub fn status(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// The bytes of the machine's memory from `from` to `to`.
    ///
    /// # Panics
    /// If QEMU does not give them.
    pub fn memory(&mut self, from: u64, to: u64) -> Vec<u8> {
        let path = self.elf.with_extension(format!("{}.ram", self.port));
        self.execute(&json!({ "execute": "qmp_capabilities" }));
        let arguments = json!({ "val": from, "size": to - from, "filename": path });
        self.execute(&json!({ "execute": "pmemsave", "arguments": arguments }));
        let mut bytes = Vec::new();
        File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("QEMU has written it");
        _ = std::fs::remove_file(&path);
        bytes
    }

    fn execute(&mut self, command: &Value) {
        writeln!(self.control.get_mut(), "{command}").expect("QEMU listens");
        let mut line = String::new();
        // Events come in between.
        while !line.contains("\"return\"") {
            line.clear();
            self.control.read_line(&mut line).expect("QEMU answers");
            assert!(!line.is_empty() && !line.contains("\"error\""), "{command}: {line}");
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
    }
}

/// Waits for QEMU's greeting, which comes when all its devices are there: the port is taken by then.
fn greeted(listener: &TcpListener, child: &mut Child) -> Result<BufReader<TcpStream>, String> {
    let text = |error: std::io::Error| error.to_string();
    let deadline = Instant::now() + PATIENCE;
    listener.set_nonblocking(true).map_err(text)?;
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.to_string()),
            Err(_) if child.try_wait().map_err(text)?.is_some() => return Err("QEMU has ended".to_owned()),
            Err(_) if Instant::now() > deadline => return Err("QEMU does not come up".to_owned()),
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    };
    stream.set_nonblocking(false).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    let mut control = BufReader::new(stream);
    let mut greeting = String::new();
    control.read_line(&mut greeting).map_err(text)?;
    if greeting.contains("QMP") { Ok(control) } else { Err(format!("greeting: {greeting:?}")) }
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..len]);
        }
    })
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
