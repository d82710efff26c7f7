//! Somebody with a socket, who writes frames by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::common::PATIENCE;

pub(crate) const PREFLIGHT: u8 = 0;
pub(crate) const DATA: u8 = 1;

/// The first data frame of a dialler, if it has nothing else to say.
pub(crate) const CONFIRM: [u8; 5] = [1, 0, 0, 0, 0];

/// A frame: type, length, payload.
pub(crate) fn frame(ty: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![ty];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field of bytes: key, length, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        field.push(len as u8 | 0x80);
        len >>= 7;
    }
    field.push(len as u8);
    field.extend(bytes);
    field
}

/// A message: its kind, and fields.
pub(crate) fn message(kind: u8, fields: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![8, kind];
    for (number, bytes) in fields {
        message.extend(field(*number, bytes));
    }
    message
}

pub(crate) fn notify(data: &[u8]) -> Vec<u8> {
    frame(DATA, &message(2, &[(2, data), (3, b"garden")]))
}

pub(crate) fn goodbye(reason: &[u8]) -> Vec<u8> {
    frame(DATA, &message(15, &[(2, reason)]))
}

/// A preflight frame with this URL and these bytes after it.
pub(crate) fn preflight_with(url: &str, message: &[u8]) -> Vec<u8> {
    let mut payload = (url.len() as u32).to_be_bytes().to_vec();
    payload.extend(url.as_bytes());
    payload.extend(message);
    frame(PREFLIGHT, &payload)
}

pub(crate) fn preflight(url: &str) -> Vec<u8> {
    preflight_with(url, &message(1, &[]))
}

/// The URL of a stranger, under which nobody listens.
pub(crate) fn stranger(id: &str) -> String {
    format!("ws://127.0.0.1:1/{id}")
}

/// `host:port` of a URL.
pub(crate) fn addr_of(url: &str) -> &str {
    url.split('/').nth(2).unwrap()
}

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
}

impl Raw {
    pub(crate) fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(addr_of(url)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    /// Connects and goes through the gate as this stranger.
    pub(crate) fn open(url: &str, id: &str) -> Self {
        let mut raw = Self::connect(url);
        raw.send(&preflight(&stranger(id)));
        raw.send(&CONFIRM);
        let (ty, _) = raw.read_frame();
        assert_eq!(ty, PREFLIGHT);
        raw
    }

    /// The node may have closed by now, which the test sees when it reads.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        self.stream.read_exact(&mut header).unwrap();
        let [ty, len @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut payload).unwrap();
        (ty, payload)
    }

    /// Everything that the node says before it closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
            _ => rest,
        }
    }

    /// The node closes, and says this and nothing else.
    pub(crate) fn is_told(&mut self, reason: &[u8]) {
        assert_eq!(self.rest(), goodbye(reason));
    }

    /// Says nothing more.
    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}
