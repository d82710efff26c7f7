//! What is noted of a call into the core: all that went in, and what came out of it, as far as that does not follow from
//! bytes which are noted elsewhere. Bytes that were received stand here once, as they were read; of the messages that
//! the core made of them, and of the bytes that it had for a socket, there is a [`Digest`].
//!
//! None of it prints what a message says, nor what a handshake draws its secrets from.

// Without the feature nothing is ever noted.
#![cfg_attr(not(feature = "record"), allow(dead_code))]

use std::fmt;

use kitfox_core::connection::{Action, Answer, CloseReason, Numbers, PushError, Question, QuestionId, Wants};
use kitfox_core::node::{ConnectionId, Ending, PeerKey, Step};
use kitfox_core::router::{DropReason, ModuleKey, RegisterError, SendRefused, SpaceKey};
use kitfox_core::wire::{Message, ModuleName};
use kitfox_core::{ApiMisuse, CapacityError, Instant, Peer, PeerId};
#[cfg(feature = "record")]
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One call.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum Entry<'a> {
    /// Of the peer table. Afterwards it has this deadline.
    Table {
        #[cfg_attr(feature = "record", serde(borrow))]
        call: TableCall<'a>,
        deadline: Option<Instant>,
    },
    /// Of what is registered and blocked.
    Rules(#[cfg_attr(feature = "record", serde(borrow))] RulesCall<'a>),
    /// Of the messages for one peer. Afterwards so many bytes of them wait.
    Outbox {
        peer: PeerKey,
        #[cfg_attr(feature = "record", serde(borrow))]
        call: OutboxCall<'a>,
        waiting: usize,
    },
    /// Of the receive half of a connection.
    Rx {
        connection: u64,
        #[cfg_attr(feature = "record", serde(borrow))]
        call: RxCall<'a>,
    },
    /// Of the transmit half of a connection. Afterwards so many bytes of its own wait, and it has this deadline.
    Tx {
        connection: u64,
        #[cfg_attr(feature = "record", serde(borrow))]
        call: TxCall<'a>,
        waiting: usize,
        deadline: Option<Instant>,
    },
    /// The last one.
    End(End),
}

impl Entry<'_> {
    /// Whose call it is.
    pub(crate) fn part(&self) -> String {
        match self {
            Self::Table { .. } => "peer table".to_owned(),
            Self::Rules(_) => "rules".to_owned(),
            Self::Outbox { peer, .. } => format!("outbox of {peer:?}"),
            Self::Rx { connection, .. } => format!("connection {connection}, receive half"),
            Self::Tx { connection, .. } => format!("connection {connection}, transmit half"),
            Self::End(_) => "end".to_owned(),
        }
    }

    /// The call and what it left behind.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Table { call, deadline } => format!("{call:?}, deadline {deadline:?}"),
            Self::Rules(call) => format!("{call:?}"),
            Self::Outbox { call, waiting, .. } => format!("{call:?}, {waiting} B wait"),
            Self::Rx { call, .. } => format!("{call:?}"),
            Self::Tx { call, waiting, deadline, .. } => {
                format!("{call:?}, {waiting} B wait, deadline {deadline:?}")
            }
            Self::End(end) => format!("{end:?}"),
        }
    }
}

/// As one line: whose call, and what it did.
impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part(), self.words())
    }
}

/// Why there are no more entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum End {
    /// The node was stopped, or nobody held it any more.
    Stopped,
    /// The recording has reached its limit, and the node went on.
    Limit,
}

#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum TableCall<'a> {
    NextStep(Option<Step>),
    Timeout { now: Instant, handled: bool },
    NetworkUp(bool),
    Enter { id: PeerId, url: &'a str, result: Result<PeerKey, CapacityError> },
    Waiting { now: Instant, peer: PeerKey, waiting: bool },
    Refuse { now: Instant, connection: ConnectionId, reason: CloseReason, waiting: bool },
    Accept(Result<ConnectionId, CapacityError>),
    Dialled(ConnectionId),
    Sent(ConnectionId),
    Introduced { now: Instant, connection: ConnectionId, id: PeerId, url: &'a str, proven: bool },
    Confirmed { now: Instant, connection: ConnectionId, opened: bool },
    Ended { now: Instant, connection: ConnectionId, ending: Ending },
    Disconnect { now: Instant, peer: PeerKey },
    Release(ConnectionId),
}

#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum RulesCall<'a> {
    RegisterSpace {
        #[cfg_attr(feature = "record", serde(borrow))]
        id: Blob<'a>,
        result: Result<SpaceKey, RegisterError>,
    },
    RegisterModule {
        space: Blob<'a>,
        name: &'a str,
        result: Result<ModuleKey, RegisterError>,
    },
    UnregisterSpace {
        id: Blob<'a>,
        was: bool,
    },
    UnregisterModule {
        space: Blob<'a>,
        name: &'a str,
        was: bool,
    },
    Block {
        id: PeerId,
        space: Option<Blob<'a>>,
        result: Result<(), CapacityError>,
    },
    Unblock {
        id: PeerId,
        space: Option<Blob<'a>>,
        was: bool,
    },
    Permit {
        peer: Who<'a>,
        space: Blob<'a>,
        result: Result<(), SendRefused>,
    },
}

#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum OutboxCall<'a> {
    New,
    Push {
        #[cfg_attr(feature = "record", serde(borrow))]
        letter: Letter<'a>,
        result: Result<u64, PushError>,
    },
    PushShared {
        letter: Letter<'a>,
        result: Result<u64, PushError>,
    },
    SetPaused(bool),
    Begin {
        peer_max_frame_bytes: usize,
    },
    End(Option<Numbers>),
    TakeFirst(Option<(u64, Digest)>),
    Relax {
        more: bool,
    },
    Gone,
}

#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum RxCall<'a> {
    /// Both halves of a connection are made.
    Dial {
        now: Instant,
        url: &'a str,
    },
    /// Both halves of a connection are made.
    Accept {
        now: Instant,
    },
    /// The rules as they are now hold for what follows of this turn.
    Rules {
        epoch: u64,
    },
    /// New bytes behind those that were not taken before. Until now it had this deadline, and owned so much memory.
    Read {
        now: Instant,
        #[cfg_attr(feature = "record", serde(borrow))]
        bytes: Blob<'a>,
        deadline: Option<Instant>,
        memory: usize,
    },
    Next(Seen<'a>),
    Keep(Option<Digest>),
    CloseInside(CloseReason),
    Finish {
        drained: bool,
        taken: usize,
        wants: Wants,
    },
    Answer {
        now: Instant,
        id: QuestionId,
        answer: Said<'a>,
        result: Result<(), ApiMisuse>,
    },
    Work {
        now: Instant,
    },
    End,
    Close(CloseReason),
    Timeout {
        now: Instant,
    },
    Gone,
}

impl RxCall<'_> {
    /// Whether it belongs to a turn: from a look at the rules to the end of a read.
    pub(crate) fn is_of_turn(&self) -> bool {
        matches!(
            self,
            Self::Rules { .. }
                | Self::Read { .. }
                | Self::Next(_)
                | Self::Keep(_)
                | Self::CloseInside(_)
                | Self::Finish { .. }
        )
    }
}

#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum TxCall<'a> {
    Transmit {
        now: Instant,
        outbox: Option<PeerKey>,
        wrote: Wrote,
    },
    PushEmpty {
        now: Instant,
        result: Result<(), PushError>,
    },
    PushDisconnect {
        now: Instant,
        #[cfg_attr(feature = "record", serde(borrow))]
        reason: Blob<'a>,
        result: Result<(), PushError>,
    },
    PushFarewell {
        now: Instant,
        reason: CloseReason,
    },
    FinishFrame {
        outbox: PeerKey,
        whole: bool,
    },
    Timeout {
        now: Instant,
        fine: bool,
    },
    Gone,
    /// The last one, so that what was recorded before there was this call is still read.
    Stage {
        now: Instant,
        outbox: PeerKey,
        staged: bool,
    },
}

/// What a socket did with the bytes that there were for it.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum Wrote {
    /// It was shown none.
    Nothing,
    /// It took these of `shown`.
    Took { shown: usize, bytes: Digest },
    /// It took none of `shown`, now or ever.
    Failed { shown: usize },
}

impl Wrote {
    pub(crate) fn new(pieces: &[&[u8]], taken: Option<usize>) -> Self {
        let shown = pieces.iter().map(|piece| piece.len()).sum();
        match taken {
            Some(len) => Self::Took { shown, bytes: Digest::of_front(pieces, len) },
            None => Self::Failed { shown },
        }
    }
}

/// A message that is to be sent.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) struct Letter<'a> {
    ty: i32,
    #[cfg_attr(feature = "record", serde(borrow))]
    data: Blob<'a>,
    space: Option<Blob<'a>>,
    module: Option<&'a str>,
}

impl<'a> Letter<'a> {
    /// This message with that payload.
    pub(crate) fn new(message: &Message<'a>, data: &'a [u8]) -> Self {
        let (space, module) = (message.space.map(Blob), message.module.map(|name| module_text(&name)));
        Self { ty: message.ty, data: Blob(data), space, module }
    }

    pub(crate) fn message(&self) -> Message<'a> {
        let (space, module) = (self.space.map(|space| space.0), self.module.map(ModuleName::new));
        Message { ty: self.ty, data: self.data.0, space, module }
    }
}

/// A module's name for as long as its bytes live.
fn module_text<'a>(name: &ModuleName<'a>) -> &'a str {
    std::str::from_utf8(name.as_bytes()).unwrap_or_default()
}

/// A peer, as rules and questions see it.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) struct Who<'a> {
    pub(crate) url: &'a str,
    pub(crate) id: Option<PeerId>,
    pub(crate) proven: bool,
}

impl<'a> Who<'a> {
    pub(crate) fn new(peer: &Peer<'a>) -> Self {
        Self { url: peer.url, id: peer.id.copied(), proven: peer.proven }
    }
}

/// An action of a connection.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum Seen<'a> {
    Ask {
        id: QuestionId,
        #[cfg_attr(feature = "record", serde(borrow))]
        question: Asked<'a>,
    },
    Opened(Who<'a>),
    Notify {
        to: SpaceKey,
        data: Digest,
        wire_bytes: usize,
    },
    Module {
        to: ModuleKey,
        data: Digest,
        wire_bytes: usize,
    },
    Dropped {
        reason: DropReason,
        space: Digest,
        wire_bytes: u64,
    },
    Closed {
        reason: CloseReason,
        message: Digest,
    },
    Other,
}

impl<'a> Seen<'a> {
    pub(crate) fn new(action: &Action<'a>) -> Self {
        match *action {
            Action::Ask { id, question } => Self::Ask { id, question: Asked::new(&question) },
            Action::Opened { peer } => Self::Opened(Who::new(&peer)),
            Action::Notify { to, data, wire_bytes, .. } => {
                Self::Notify { to, data: Digest::of(data), wire_bytes }
            }
            Action::Module { to, data, wire_bytes, .. } => {
                Self::Module { to, data: Digest::of(data), wire_bytes }
            }
            Action::Dropped { reason, space, wire_bytes } => {
                Self::Dropped { reason, space: Digest::of(space), wire_bytes }
            }
            Action::Closed { reason, message } => Self::Closed { reason, message: Digest::of(message) },
            _ => Self::Other,
        }
    }
}

/// A question of a connection.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum Asked<'a> {
    Randomness,
    AdmitHandshake(PeerId),
    Settle(#[cfg_attr(feature = "record", serde(borrow))] Who<'a>),
    AdmitPeer(Who<'a>),
    HasLocalAgents,
    GatherPreflight(Who<'a>),
    ValidatePreflight { peer: Who<'a>, space: Option<Digest>, data: Digest },
    Other,
}

impl<'a> Asked<'a> {
    fn new(question: &Question<'a>) -> Self {
        match *question {
            Question::Randomness => Self::Randomness,
            Question::AdmitHandshake { claimed } => Self::AdmitHandshake(claimed),
            Question::Settle { peer } => Self::Settle(Who::new(&peer)),
            Question::AdmitPeer { peer } => Self::AdmitPeer(Who::new(&peer)),
            Question::HasLocalAgents => Self::HasLocalAgents,
            Question::GatherPreflight { peer } => Self::GatherPreflight(Who::new(&peer)),
            Question::ValidatePreflight { peer, space, data } => Self::ValidatePreflight {
                peer: Who::new(&peer),
                space: space.map(Digest::of),
                data: Digest::of(data),
            },
            _ => Self::Other,
        }
    }
}

/// An answer to a question.
#[derive(Debug)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) enum Said<'a> {
    Accept,
    Refuse,
    Preflight {
        own_url: &'a str,
        #[cfg_attr(feature = "record", serde(borrow))]
        data: Blob<'a>,
    },
    Randomness(Secret<'a>),
    Other,
}

impl<'a> Said<'a> {
    pub(crate) fn new(answer: &Answer<'a>) -> Self {
        match *answer {
            Answer::Accept => Self::Accept,
            Answer::Refuse => Self::Refuse,
            Answer::Preflight { own_url, data } => {
                Self::Preflight { own_url: own_url.as_str(), data: Blob(data) }
            }
            Answer::Randomness(bytes) => Self::Randomness(Secret(Blob(bytes))),
            _ => Self::Other,
        }
    }
}

/// Bytes, of which only the length is printed.
#[derive(Clone, Copy)]
pub(crate) struct Blob<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B", self.0.len())
    }
}

#[cfg(feature = "record")]
impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[cfg(feature = "record")]
impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

/// What a handshake draws its secrets from. Never printed.
#[derive(Clone, Copy)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) struct Secret<'a>(#[cfg_attr(feature = "record", serde(borrow))] pub(crate) Blob<'a>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not shown")
    }
}

/// Stands for bytes that follow from others: their length and their CRC-32. It finds what went wrong by mistake, which
/// is all that there is to find: a change within 32 bits in a row always, any other but for one in four billion. Who
/// wants to deceive the replay can as well change what it is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(Serialize, Deserialize))]
pub(crate) struct Digest {
    pub(crate) len: usize,
    crc: u32,
}

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::of_front(&[bytes], bytes.len())
    }

    /// Of the first `len` bytes of these pieces.
    #[cfg(feature = "record")]
    fn of_front(pieces: &[&[u8]], len: usize) -> Self {
        let (mut crc, mut left) = (crc32fast::Hasher::new(), len);
        for piece in pieces {
            let front = &piece[..left.min(piece.len())];
            crc.update(front);
            left -= front.len();
        }
        Self { len: len - left, crc: crc.finalize() }
    }

    #[cfg(not(feature = "record"))]
    fn of_front(_: &[&[u8]], len: usize) -> Self {
        Self { len, crc: 0 }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B ({:08x})", self.len, self.crc)
    }
}
