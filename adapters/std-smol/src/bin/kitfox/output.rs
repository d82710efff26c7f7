//! What a command tells of its node: a line for each event, for people or as JSON.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_channel::{Receiver, Sender};
use kitfox_smol::{Closing, Down, DropReason, Handler, MessageId, NotSentCause, Peer, Returned, Stats};
use serde::Serialize;
use serde_json::Value;

use crate::names::{Hex, Name};
use crate::text::{self, Style};

/// Bytes of a message that people are shown.
const SHOWN_BYTES: usize = 200;

/// What can be told. The JSON of it is a contract: docs/command.md.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    Listening { url: &'a str },
    PeerUp { peer: &'a str, proven: bool },
    PeerDown { peer: &'a str, reason: String },
    Rejected { addr: SocketAddr, reason: String },
    Notify { peer: &'a str, space: Name<'a>, data: Hex<'a> },
    Module { peer: &'a str, space: Name<'a>, module: &'a str, data: Hex<'a> },
    Dropped { peer: &'a str, space: Name<'a>, reason: String },
    Stats(Value),
}

impl Event<'_> {
    /// What a node did in its life.
    pub(crate) fn stats(stats: &Stats) -> Self {
        let mut value = serde_json::to_value(stats).unwrap_or_default();
        // Spaces are named here as everywhere.
        if let Some(rows) = value.get_mut("blocked").and_then(Value::as_array_mut) {
            for (row, blocked) in rows.iter_mut().zip(&stats.blocked) {
                row["space"] = Name(&blocked.space).to_string().into();
            }
        }
        Self::Stats(value)
    }
}

/// Where the events go.
pub(crate) struct Output {
    json: bool,
    style: Style,
    out: Mutex<BufWriter<Stdout>>,
    /// Nobody reads any more.
    closed: (Sender<()>, Receiver<()>),
}

/// The right to tell, which nobody else has meanwhile.
pub(crate) struct Turn<'a> {
    output: &'a Output,
    out: MutexGuard<'a, BufWriter<Stdout>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Arc<Self> {
        let out = Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()));
        Arc::new(Self { json, style: Style::detect(), out, closed: async_channel::bounded(1) })
    }

    /// Waits for its turn.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { output: self, out: self.out.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        self.turn().tell(event);
    }

    /// Resolves when nobody reads the output any more.
    pub(crate) async fn closed(&self) {
        let _ = self.closed.1.recv().await;
    }
}

impl Turn<'_> {
    /// Writes a line, at once. A reader that is slow slows the node down.
    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        let written = if self.output.json {
            serde_json::to_writer(&mut *self.out, event)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(self.out))
        } else {
            event.write(&mut *self.out, self.output.style)
        };
        if written.and_then(|()| self.out.flush()).is_err() {
            let _ = self.output.closed.0.try_send(());
        }
    }
}

impl Event<'_> {
    /// A line for people.
    fn write(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let mut line = |what: &str, rest: fmt::Arguments<'_>| {
            writeln!(out, "{} {rest}", style.bold(&format!("{what:<10}")))
        };
        match self {
            Self::Listening { url } => line("listening", format_args!("{url}")),
            Self::PeerUp { peer, proven } => {
                let claimed = if *proven { "" } else { ", as it claims" };
                line("up", format_args!("{peer}{claimed}"))
            }
            Self::PeerDown { peer, reason } => line("down", format_args!("{peer}: {reason}")),
            Self::Rejected { addr, reason } => line("rejected", format_args!("{addr}: {reason}")),
            Self::Notify { peer, space, data } => {
                line("notify", format_args!("{} in {}: {}", text::peer(peer), shown(space), Quoted(data.0)))
            }
            Self::Module { peer, space, module, data } => {
                let (peer, space, module) = (text::peer(peer), shown(space), module.escape_debug());
                line("module", format_args!("{peer} in {space}, {module}: {}", Quoted(data.0)))
            }
            Self::Dropped { peer, space, reason } => {
                line("dropped", format_args!("{} in {}: {reason}", text::peer(peer), shown(space)))
            }
            Self::Stats(stats) => {
                let total = |name| text::count(stats["totals"][name].as_u64().unwrap_or_default());
                line(
                    "stats",
                    format_args!(
                        "{} peers up in all; received {} messages and dropped {}; sent {}",
                        total("opened"),
                        total("received_messages"),
                        total("dropped_messages"),
                        total("sent_messages")
                    ),
                )
            }
        }
    }
}

/// A name without characters that a terminal would obey.
fn shown(name: &Name<'_>) -> String {
    name.to_string().escape_debug().to_string()
}

/// The front of a message, as text where it is text.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let front = &self.0[..self.0.len().min(SHOWN_BYTES)];
        write!(f, "\"{}\"", front.escape_ascii())?;
        if front.len() < self.0.len() {
            write!(f, "... ({})", text::bytes(self.0.len() as u64))?;
        }
        Ok(())
    }
}

/// Tells what happens to a node.
pub(crate) struct Teller {
    pub(crate) output: Arc<Output>,
    /// Who waits for the peer's end.
    pub(crate) lost: Option<Sender<String>>,
}

impl Handler for Teller {
    fn peer_up(&self, peer: &Peer) {
        self.output.tell(&Event::PeerUp { peer: peer.url(), proven: peer.is_proven() });
    }

    fn peer_down(&self, peer: &Peer, down: &Down) {
        let reason = down.to_string();
        if let Some(lost) = &self.lost {
            let _ = lost.try_send(reason.clone());
        }
        self.output.tell(&Event::PeerDown { peer: peer.url(), reason });
    }

    fn rejected(&self, addr: SocketAddr, closing: &Closing) {
        self.output.tell(&Event::Rejected { addr, reason: closing.to_string() });
    }

    fn dropped(&self, from: &Peer, space: &[u8], reason: DropReason) {
        self.output.tell(&Event::Dropped {
            peer: from.url(),
            space: Name(space),
            reason: reason.to_string(),
        });
    }

    fn not_sent(&self, _: MessageId, cause: NotSentCause, message: Returned) {
        let (space, reason) = (Name(&message.space), format!("not sent: {cause}"));
        self.output.tell(&Event::Dropped { peer: &message.url, space, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_objects_with_their_name_in_front() {
        let json = |event: &Event<'_>| serde_json::to_string(event).unwrap();
        assert_eq!(
            json(&Event::Listening { url: "ws://a:1/b" }),
            r#"{"event":"listening","url":"ws://a:1/b"}"#
        );
        assert_eq!(
            json(&Event::PeerUp { peer: "p", proven: true }),
            r#"{"event":"peer_up","peer":"p","proven":true}"#
        );
        let module = Event::Module { peer: "p", space: Name(b"\xff"), module: "m", data: Hex(b"\x00\xab") };
        assert_eq!(
            json(&module),
            r#"{"event":"module","peer":"p","space":"hex:ff","module":"m","data":"00ab"}"#
        );
        let stats = serde_json::json!({ "pending": 0 });
        assert_eq!(json(&Event::Stats(stats)), r#"{"event":"stats","pending":0}"#);
    }

    #[test]
    fn nothing_that_a_stranger_sends_reaches_the_terminal_as_it_is() {
        let mut line = Vec::new();
        let event =
            Event::Module { peer: "p/q", space: Name(b"\x1b[2J"), module: "\x07", data: Hex(b"\x1b]0;x") };
        event.write(&mut line, Style::plain()).unwrap();
        assert!(line.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\n' || !line.contains(&7)));
        assert!(!String::from_utf8(line).unwrap().contains("\x1b[2J"));
    }
}
