//! Byte pipes between two parties, and what is heard when one listens to them.

use alloc::collections::VecDeque;

use kitfox_core::PeerId;
use kitfox_core::node::ConnectionId;
use kitfox_core::wire::{HEADER_BYTES, Kind, Message, PreflightPayload, UrlRules};

use super::speaker::Speaker;

/// Microseconds of virtual time.
pub(super) type Time = u64;

/// Who is at one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Party {
    Host(usize),
    Stranger,
}

/// Where one end of a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The carrier is not established here.
    Waiting,
    /// A node's socket.
    Live(ConnectionId),
    /// A stranger's socket.
    Raw,
    Gone,
}

#[derive(Debug, Clone)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

/// What is on its way in one direction.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe {
    pub(super) segments: VecDeque<(Time, Segment)>,
    /// Bytes that were written and not read.
    pub(super) used: usize,
    /// The writer waits for room.
    pub(super) blocked: bool,
    pub(super) stalled_until: Time,
    /// A bit of what arrives next is changed.
    pub(super) flips: bool,
    /// A bit was changed when so many frames had been written: nothing of later ones may be used.
    pub(super) flipped_at: Option<u64>,
    last_at: Time,
}

impl Pipe {
    /// Puts a segment on its way; returns when it arrives.
    pub(super) fn send(&mut self, at: Time, segment: Segment) -> Time {
        let at = at.max(self.last_at);
        self.last_at = at;
        self.segments.push_back((at, segment));
        at
    }

    pub(super) fn lose(&mut self) {
        self.segments.clear();
    }
}

/// A carrier: side 0 dialled, side 1 is to accept.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) parties: [Party; 2],
    /// Host and port that were dialled.
    pub(super) dialled: String,
    pub(super) ends: [End; 2],
    /// What is on its way to each side.
    pub(super) pipes: [Pipe; 2],
    /// What each side has written.
    pub(super) taps: [Tap; 2],
    pub(super) latency: Time,
    /// Nothing gets through any more, and nobody was told.
    pub(super) dead: bool,
    /// One who writes on a dead link learns of it soon, not only when its system gives up.
    pub(super) resets: bool,
    /// One end has been told already.
    pub(super) told: [bool; 2],
    /// What a stranger is going to do.
    pub(super) script: VecDeque<(Time, Segment)>,
    /// What it does once it has a preflight.
    pub(super) reply: VecDeque<(Time, Segment)>,
    /// Whose key the stranger has.
    pub(super) stranger: Option<PeerId>,
    /// How it speaks on a secured link, if it can.
    pub(super) speaker: Option<Box<Speaker>>,
    /// What each node wrote first, to be repeated by strangers.
    pub(super) openings: [Vec<u8>; 2],
}

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) host: usize,
    pub(super) incarnation: u32,
    pub(super) serial: u64,
}

/// A data frame with a payload that one side has written.
#[derive(Debug, Clone)]
pub(super) struct TappedFrame {
    pub(super) payload: Vec<u8>,
    /// Bytes of the frame as its header says.
    pub(super) frame_bytes: u64,
    pub(super) origin: Option<Origin>,
    /// How many were written before it in this direction.
    pub(super) number: u64,
}

/// What is found in what one side writes.
#[derive(Debug)]
pub(super) enum Heard {
    /// A frame with a message has begun.
    Begun,
    /// A frame is whole.
    Whole { payload: Vec<u8>, frame_bytes: u64 },
    /// An empty frame.
    Empty,
    /// A preflight, with its URL.
    Preflight(Option<String>),
    /// Something that is no frame.
    Broken,
}

/// Listens to what one side writes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tap {
    unread: Vec<u8>,
    begun: bool,
    broken: bool,
    /// The URL in the first preflight.
    pub(super) url: Option<String>,
    pub(super) preflights: u32,
    pub(super) empty_frames: u64,
    /// The frame that is being written was dropped already, for its length.
    pub(super) skipped: bool,
    /// Whole frames that were written.
    pub(super) total: u64,
    /// Whole frames that the other side has not accounted for.
    pub(super) frames: VecDeque<TappedFrame>,
    /// The message that is being written: its origin and its encoding.
    pub(super) current: Option<(Option<Origin>, Vec<u8>)>,
}

impl Tap {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.unread.extend_from_slice(bytes);
        }
    }

    /// Whether a frame has begun of which it cannot be told yet whether it is a message.
    pub(super) fn is_unclear(&self) -> bool {
        !self.begun && !self.unread.is_empty() && !self.broken
    }

    /// The oversize frame that is being written, if it is longer than that.
    pub(super) fn announced(&self) -> Option<u64> {
        let header = self.unread.get(..HEADER_BYTES)?;
        Some(u64::from(u32::from_be_bytes([header[1], header[2], header[3], header[4]])) + 5)
    }

    pub(super) fn next(&mut self) -> Option<Heard> {
        let header = self.unread.get(..HEADER_BYTES)?;
        let frame_bytes = self.announced()?;
        let ty = header[0];
        if ty > 1 {
            self.broken = true;
            self.unread.clear();
            return Some(Heard::Broken);
        }
        if (self.unread.len() as u64) < frame_bytes {
            let kind = Message::decode(self.unread.get(HEADER_BYTES..HEADER_BYTES + 2)?);
            let message = kind.is_ok_and(|message| matches!(message.kind(), Kind::Notify | Kind::Module));
            if ty == 1 && message && !self.begun {
                self.begun = true;
                return Some(Heard::Begun);
            }
            return None;
        }
        let is_message = |bytes: &[u8]| {
            Message::decode(bytes).is_ok_and(|message| matches!(message.kind(), Kind::Notify | Kind::Module))
        };
        if ty == 1 && !self.begun && is_message(&self.unread[HEADER_BYTES..frame_bytes as usize]) {
            self.begun = true;
            return Some(Heard::Begun);
        }
        self.begun = false;
        let rest = self.unread.split_off(frame_bytes as usize);
        let frame = core::mem::replace(&mut self.unread, rest);
        let payload = frame[HEADER_BYTES..].to_vec();
        Some(match ty {
            0 => {
                let read = PreflightPayload::decode(&payload, &UrlRules::default());
                Heard::Preflight(read.ok().map(|read| read.url.as_str().to_owned()))
            }
            _ if payload.is_empty() => Heard::Empty,
            _ => Heard::Whole { payload, frame_bytes },
        })
    }
}
