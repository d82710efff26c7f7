//! What is asked of the outside, and where a connection stands.

use core::fmt;

use super::CloseReason;
use crate::peer::{Peer, PeerId};
use crate::time::{Instant, Span};
use crate::wire::PeerUrl;

/// Names one question of one connection. Each is answered at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct QuestionId(pub(super) u32);

/// What the core cannot decide. While a question is open its connection reads nothing; if it is not answered in
/// time, the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Question<'a> {
    /// 32 bytes that nobody can guess, for one handshake of a secured channel. Answered with
    /// [`Answer::Randomness`].
    Randomness,
    /// May the handshake of a secured channel go on with a peer that claims this id? It has proven nothing yet: the
    /// message may be a replay. What follows costs three Diffie-Hellman, so here is where to turn away who is known
    /// to be unwanted, or too much.
    AdmitHandshake {
        /// The id that the peer claims.
        claimed: PeerId,
    },
    /// Shall this connection go on, beside others of the same peer? Asked only of the driver of a
    /// [`PeerTable`](crate::node::PeerTable), which answers with [`Answer::Accept`] when the table says
    /// [`Proceed`](crate::node::Step::Proceed): an acceptor answers the dialler then, a dialler confirms and opens.
    Settle {
        /// The peer that sent a valid preflight.
        peer: Peer<'a>,
    },
    /// May this peer connect? Kitsune2's `peer_connect`: ask [`peer_connect_targets`] in their order until one
    /// refuses.
    ///
    /// [`peer_connect_targets`]: crate::router::Directory::peer_connect_targets
    AdmitPeer {
        /// The peer that was dialled, or that sent a valid preflight.
        peer: Peer<'a>,
    },
    /// Has any space a local agent? Asked only while a space is registered: ask [`local_agents_targets`] until one
    /// says yes.
    ///
    /// [`local_agents_targets`]: crate::router::Directory::local_agents_targets
    HasLocalAgents,
    /// What shall our preflight say? Kitsune2's `preflight_gather_outgoing`. Answered with [`Answer::Preflight`].
    GatherPreflight {
        /// The peer that it goes to.
        peer: Peer<'a>,
    },
    /// Is this preflight valid? Kitsune2's `preflight_validate_incoming`. Also asked about a PREFLIGHT message on an
    /// open connection.
    ValidatePreflight {
        /// The peer that it came from.
        peer: Peer<'a>,
        /// The space that it names, which Kitsune2 ignores; reserved for a preflight of one space.
        space: Option<&'a [u8]>,
        /// The preflight data.
        data: &'a [u8],
    },
}

/// The answer to a [`Question`]. Random bytes are never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer<'a> {
    /// Yes; to every question but [`Question::GatherPreflight`] and [`Question::Randomness`].
    Accept,
    /// No; to every question. The connection is closed.
    Refuse,
    /// Our preflight; only to [`Question::GatherPreflight`].
    Preflight {
        /// The URL under which this peer is to know us. It ends in our peer id.
        own_url: PeerUrl<'a>,
        /// The preflight data.
        data: &'a [u8],
    },
    /// Fresh bytes from a good source; only to [`Question::Randomness`]. Bytes that were used before, or that somebody
    /// can guess, give the connection away.
    Randomness(&'a [u8; 32]),
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("Accept"),
            Self::Refuse => f.write_str("Refuse"),
            Self::Preflight { own_url, data } => {
                f.debug_struct("Preflight").field("own_url", own_url).field("data", data).finish()
            }
            Self::Randomness(_) => f.write_str("Randomness"),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Answer<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Accept => defmt::write!(f, "Accept"),
            Self::Refuse => defmt::write!(f, "Refuse"),
            Self::Preflight { own_url, data } => {
                defmt::write!(f, "Preflight({}, {=[u8]:a})", own_url, data);
            }
            Self::Randomness(_) => defmt::write!(f, "Randomness"),
        }
    }
}

/// Where a connection stands. A dialler goes Admit, LocalAgents, Secure, Gather, AwaitPreflight, Validate, Open; an
/// acceptor Secure, AwaitPreflight, Validate, Admit, LocalAgents, Gather, AwaitConfirm, Open. With a peer table both go
/// through Settle after Validate; on a plain channel nobody goes through Secure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Asks whether the peer may connect.
    Admit,
    /// Asks for local agents, if a space is registered.
    LocalAgents,
    /// The handshake of the channel.
    Secure,
    /// Asks for our preflight.
    Gather,
    /// Asks the peer table whether to go on.
    Settle,
    /// Waits for the peer's preflight.
    AwaitPreflight,
    /// Asks whether the peer's preflight is valid.
    Validate,
    /// Waits for the dialler's confirm: its first data frame.
    AwaitConfirm,
    /// Messages flow.
    Open,
    /// Asks whether a preflight on the open connection is valid.
    Revalidate,
    /// Closed, and the driver was not told yet.
    Closing(CloseReason),
    /// Closed.
    Closed(CloseReason),
}

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Role {
    /// This end opened it.
    Dialler,
    /// The peer opened it.
    Acceptor,
}

/// Where a connection stands, which question is open, and until when.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) role: Role,
    /// Whether a peer table decides about this connection.
    pub(super) settles: bool,
    stage: Stage,
    /// The question that waits for an answer. Invariant: `None` in the stages that ask none.
    question: Option<QuestionId>,
    next_question: u32,
    /// The gate has opened and the driver was not told yet.
    announce: bool,
    /// Until when the gate must be open; afterwards, until when the open question must be answered.
    deadline: Option<Instant>,
    timeout: Span,
}

impl Gate {
    pub(super) fn new(now: Instant, role: Role, timeout: Span) -> Self {
        let stage = match role {
            Role::Dialler => Stage::Admit,
            Role::Acceptor => Stage::Secure,
        };
        Self {
            role,
            settles: false,
            stage,
            question: None,
            next_question: 0,
            announce: false,
            deadline: Some(now + timeout),
            timeout,
        }
    }

    #[inline]
    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn question(&self) -> Option<QuestionId> {
        self.question
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What comes when it is known that somebody is at home.
    pub(super) fn after_local_agents(&self) -> Stage {
        match self.role {
            Role::Dialler => Stage::Secure,
            Role::Acceptor => Stage::Gather,
        }
    }

    /// What comes when the handshake of the channel is done.
    pub(super) fn after_handshake(&self) -> Stage {
        match self.role {
            Role::Dialler => Stage::Gather,
            Role::Acceptor => Stage::AwaitPreflight,
        }
    }

    /// Whether messages flow and there is nothing to say before them.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.stage == Stage::Open && !self.announce
    }

    /// Whether the driver is to be told now that the gate is open.
    pub(super) fn take_announcement(&mut self) -> bool {
        core::mem::take(&mut self.announce)
    }

    /// Opens a question. On an open connection its deadline starts now; before, the gate's own covers it.
    pub(super) fn ask(&mut self, now: Instant, stage: Stage) -> QuestionId {
        let id = QuestionId(self.next_question);
        self.next_question = self.next_question.wrapping_add(1);
        self.stage = stage;
        self.question = Some(id);
        self.deadline.get_or_insert(now + self.timeout);
        id
    }

    /// The open question is answered, or none was needed: on to the next stage.
    pub(super) fn proceed(&mut self, stage: Stage) {
        let was_open = self.stage == Stage::Revalidate;
        self.question = None;
        self.stage = stage;
        if stage == Stage::Open {
            self.announce = !was_open;
            self.deadline = None;
        }
    }

    /// The first reason counts.
    pub(super) fn close(&mut self, reason: CloseReason) {
        if self.close_reason().is_none() {
            self.stage = Stage::Closing(reason);
            self.question = None;
            self.announce = false;
            self.deadline = None;
        }
    }

    /// Closes where the driver is told at once.
    pub(super) fn close_told(&mut self, reason: CloseReason) {
        self.close(reason);
        self.stage = Stage::Closed(reason);
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        match self.stage {
            Stage::Closing(reason) | Stage::Closed(reason) => Some(reason),
            _ => None,
        }
    }
}
