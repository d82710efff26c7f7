//! The receive half of a connection: channel, deframer, gate, routing.

use core::ops::Range;

use super::channel::{Channel, Handshake, Opener, Plain};
use super::deframer::{Bounds, Deframer};
use super::gate::{Answer, Gate, QuestionId, Role, Stage};
use super::tx::{PushError, Tx};
use super::{CloseReason, Frames, NotDialable, Refusal, Timeout};
use crate::config::{Config, Oversize, RxLimits};
use crate::error::{ApiMisuse, CapacityError, ProtocolError};
use crate::peer::{Peer, PeerId};
use crate::router::DropReason;
use crate::storage::{Buffer, Owned, Storage};
use crate::time::{Instant, earliest};
use crate::wire::{HEADER_BYTES, Kind, Message, PeerUrl, PreflightPayload};

/// The receive half of a connection: it takes the socket's bytes and gives [`Action`](super::Action)s.
///
/// # Driving it
///
/// An [`Rx`] belongs to the one task that reads the socket; it needs no lock. The task does this, for ever:
///
/// 1. [`read`](Self::read) with the bytes it has (none at first: a dialler has something to ask before any arrive),
///    then [`Frames::next`] until it gives `None`.
/// 2. It carries out each action. Between two of them it may await. An [`Action::Ask`](super::Action::Ask) is answered with
///    [`answer`](Self::answer), now or later, from this task.
/// 3. [`Frames::finish`] tells how many bytes were taken, and what the connection wants. The bytes that were not taken
///    come first in the next `read`, unchanged. Not calling `next` any more is how to be slow: what is not read stays
///    in the socket, and the peer is stopped.
/// 4. [`Wants::Answer`](super::Wants::Answer): nothing is read before the answer is given.
///    [`Wants::Bytes`](super::Wants::Bytes): wait for the socket or for [`poll_timeout`](Self::poll_timeout), then call
///    [`handle_timeout`](Self::handle_timeout) or start over. [`Wants::Nothing`](super::Wants::Nothing): the
///    connection is closed; write what [`Tx`] holds, within a limit of time, and close the socket.
///
/// At the end of the stream the task calls [`end`](Self::end), and `read` without bytes once more.
///
/// [`Connection`](super::Connection) does this for those who want one value.
#[derive(Debug, Clone)]
pub struct Rx<S: Storage, C: Channel = Plain> {
    pub(super) opener: C::Opener,
    pub(super) deframer: Deframer<S::RxBuffer>,
    pub(super) remembered: Remembered,
    pub(super) gate: Gate,
    /// Whom we dialled, and from the preflight on who the peer says it is.
    pub(super) peer: Option<Identity<S>>,
    /// The latest time that was given: an earlier one would make deadlines that have passed before they begin.
    latest: Instant,
    /// Until when the record must be whole that has begun, once the handshake is over.
    pub(super) record_until: Option<Instant>,
    /// When the frame buffer may give memory back.
    pub(super) relax_at: Option<Instant>,
    pub(super) counts: Counters,
    pub(super) limits: RxLimits,
}

/// What was received on a connection. On machines of 32 bits these numbers begin again after 2^32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct RxCounts {
    /// NOTIFY and MODULE messages that reached a handler.
    pub messages: u64,
    /// Bytes of their frames, headers included.
    pub bytes: u64,
    /// Empty data frames: confirms and probes.
    pub empty_frames: u64,
    dropped: [u64; DropReason::COUNT],
}

impl RxCounts {
    /// Frames that went nowhere, for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// The [`RxCounts`] of a connection, in the machine's own words.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    messages: usize,
    bytes: usize,
    empty_frames: usize,
    dropped: [usize; DropReason::COUNT],
}

impl Counters {
    #[inline]
    pub(super) fn count_message(&mut self, wire_bytes: usize) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(wire_bytes);
    }

    #[inline]
    pub(super) fn count_drop(&mut self, reason: DropReason) {
        let count = &mut self.dropped[reason as usize];
        *count = count.wrapping_add(1);
    }

    pub(super) fn count_empty(&mut self) {
        self.empty_frames = self.empty_frames.wrapping_add(1);
    }
}

/// A peer's URL and the id it ends in.
#[derive(Debug, Clone)]
pub(crate) struct Identity<S: Storage> {
    pub(super) url: S::Url,
    pub(super) id: PeerId,
    /// Whether the peer has proven the id. Whom we dial has not, until its preflight.
    pub(super) proven: bool,
}

impl<S: Storage> Identity<S> {
    /// Whom this URL leads to.
    pub(crate) fn to_dial(peer: PeerUrl<'_>) -> Result<Self, NotDialable> {
        let id = Self::id_of(peer).ok_or(NotDialable::NoPeerId)?;
        if peer.port() == 0 {
            return Err(NotDialable::PortZero);
        }
        let url = S::Url::copy_from(peer.as_str()).ok_or(NotDialable::TooLong)?;
        Ok(Self { url, id, proven: false })
    }

    /// `None` if the URL has no id that can be one.
    fn id_of(url: PeerUrl<'_>) -> Option<PeerId> {
        url.peer_id().and_then(PeerId::new)
    }

    pub(super) fn as_peer(&self) -> Peer<'_> {
        Peer { proven: self.proven, ..Peer::new(self.url.as_ref(), Some(&self.id)) }
    }
}

/// The peer as far as it is known.
#[inline]
pub(super) fn identity<S: Storage>(identity: &Option<Identity<S>>) -> Peer<'_> {
    identity.as_ref().map_or(Peer::new("", None), Identity::as_peer)
}

/// What an earlier read left behind of an opened record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The next bytes begin with so many of plaintext...
    pub(super) plain: usize,
    /// ...and then so many that belong to their record.
    pub(super) trailer: usize,
    /// Plaintext in the opener's stage that was not read. Invariant: empty unless `plain` and `trailer` are zero.
    pub(super) staged: Range<usize>,
}

impl Remembered {
    pub(super) fn is_nothing(&self) -> bool {
        self.plain == 0 && self.trailer == 0 && self.staged.is_empty()
    }
}

impl<S: Storage, C: Channel> Rx<S, C> {
    /// The receive half of a connection that this end opened to `peer`.
    ///
    /// # Errors
    /// [`NotDialable`] if the URL has no peer id or its port is 0, or if the storage cannot hold it.
    pub fn dial(
        now: Instant,
        config: &Config,
        opener: C::Opener,
        peer: PeerUrl<'_>,
    ) -> Result<Self, NotDialable> {
        let peer = Identity::to_dial(peer)?;
        Ok(Self::new(now, config, || opener, Role::Dialler, Some(peer)))
    }

    /// The receive half of a connection that the peer opened.
    pub fn accept(now: Instant, config: &Config, opener: C::Opener) -> Self {
        Self::new(now, config, || opener, Role::Acceptor, None)
    }

    pub(crate) fn new(
        now: Instant,
        config: &Config,
        opener: impl FnOnce() -> C::Opener,
        role: Role,
        peer: Option<Identity<S>>,
    ) -> Self {
        let deframer = Deframer::<S::RxBuffer>::new(config);
        // What cannot be put together is not taken whole either: every cut of the stream gives the same actions.
        let limits = RxLimits::new(config, config.max_frame_bytes.min(deframer.buffer().limit()));
        let mut rx = Self {
            opener: opener(),
            deframer,
            remembered: Remembered::default(),
            gate: Gate::new(now, role, config.preflight_timeout.into()),
            peer,
            latest: now,
            record_until: None,
            relax_at: None,
            counts: Counters::default(),
            limits,
        };
        rx.opener.announce(limits.max_frame_bytes);
        rx
    }

    /// Has the gate ask [`Question::Settle`](super::Question::Settle): for the driver of a
    /// [`PeerTable`](crate::node::PeerTable), which decides between several connections of one peer.
    #[must_use]
    pub fn settling(mut self) -> Self {
        self.settle();
        self
    }

    /// As [`settling`](Self::settling), where it is.
    pub(crate) fn settle(&mut self) {
        self.gate.settles = true;
    }

    /// Shows the core what has arrived: first the bytes that the last read did not take, then new ones. The cursor
    /// gives what is to be done about them.
    #[inline]
    pub fn read<'r, 'i>(&'r mut self, now: Instant, bytes: &'i mut [u8]) -> Frames<'r, 'i, S, C> {
        self.latest = self.latest.max(now);
        Frames::new(self, self.latest, bytes)
    }

    /// Answers the question that is open. What follows from it comes out of the next [`read`](Self::read).
    ///
    /// # Errors
    /// [`ApiMisuse`] if `id` is not open (any more: an answer that comes too late closes the connection, as its deadline
    /// would have), if it asks for another kind of answer, if our own URL has no peer id or if our preflight is longer
    /// than [`Config::max_preflight_bytes`] allows. Nothing has changed then.
    pub fn answer(
        &mut self,
        now: Instant,
        tx: &mut Tx<S, C>,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse> {
        self.latest = self.latest.max(now);
        let now = self.latest;
        if self.gate.question() != Some(id) {
            return Err(ApiMisuse::NoSuchQuestion);
        }
        if self.gate.deadline().is_some_and(|at| at <= now) {
            self.handle_timeout(now);
            return Err(ApiMisuse::NoSuchQuestion);
        }
        let verdict = match (self.gate.stage(), answer) {
            (Stage::Gather, Answer::Preflight { own_url, data }) => {
                let own_id = Identity::<S>::id_of(own_url).ok_or(ApiMisuse::OwnUrlWithoutId)?;
                let payload = PreflightPayload { url: own_url, message: &[] }.encoded_len()
                    + Message::preflight(data).encoded_len();
                if HEADER_BYTES + payload > self.limits.preflight_bound {
                    return Err(ApiMisuse::PreflightTooLong);
                }
                self.offer(now, tx, own_id, own_url, data)
            }
            (Stage::Secure, answer) => match (self.opener.handshake(), answer) {
                (Handshake::Randomness, Answer::Randomness(bytes)) => {
                    self.opener.give_randomness(bytes);
                    Ok(Stage::Secure)
                }
                (Handshake::Admission(_), Answer::Accept) => {
                    self.opener.admitted();
                    Ok(Stage::Secure)
                }
                (_, Answer::Refuse) => Err(CloseReason::Refused(Refusal::Handshake)),
                _ => return Err(ApiMisuse::WrongAnswer),
            },
            (Stage::Gather, Answer::Accept) | (_, Answer::Preflight { .. } | Answer::Randomness(_)) => {
                return Err(ApiMisuse::WrongAnswer);
            }
            (Stage::Settle, Answer::Accept) => match self.gate.role {
                Role::Acceptor => Ok(Stage::Admit),
                Role::Dialler => confirm(now, tx),
            },
            (Stage::Admit, Answer::Accept) => Ok(Stage::LocalAgents),
            (Stage::LocalAgents, Answer::Accept) => Ok(self.gate.after_local_agents()),
            (Stage::Validate, Answer::Accept) => match self.gate.role {
                _ if self.gate.settles => Ok(Stage::Settle),
                Role::Acceptor => Ok(Stage::Admit),
                Role::Dialler => confirm(now, tx),
            },
            (_, Answer::Accept) => Ok(Stage::Open),
            (stage, Answer::Refuse) => Err(CloseReason::Refused(match stage {
                Stage::Admit => Refusal::Admission,
                Stage::LocalAgents => Refusal::NoLocalAgents,
                Stage::Gather => Refusal::Gather,
                _ => Refusal::Preflight,
            })),
        };
        match verdict {
            Ok(stage) => self.gate.proceed(stage),
            Err(reason) => self.gate.close(reason),
        }
        Ok(())
    }

    /// Takes one step of the channel's handshake, for [`Wants::Work`](super::Wants::Work): at most one Diffie-Hellman.
    /// What is to be written for it is in `tx` then; what follows from it comes out of the next [`read`](Self::read).
    pub fn work(&mut self, now: Instant, tx: &mut Tx<S, C>) {
        self.latest = self.latest.max(now);
        if self.gate.stage() != Stage::Secure || self.gate.question().is_some() {
            return;
        }
        if let Err(error) = tx.work(self.latest, &mut self.opener) {
            self.close(error.into());
        }
    }

    /// Writes our preflight. A dialler then waits for the peer's, an acceptor for the dialler's confirm.
    fn offer(
        &self,
        now: Instant,
        tx: &mut Tx<S, C>,
        own_id: PeerId,
        own_url: PeerUrl<'_>,
        data: &[u8],
    ) -> Result<Stage, CloseReason> {
        if self.peer.as_ref().is_some_and(|peer| peer.id == own_id) {
            return Err(CloseReason::Protocol(ProtocolError::OurOwnId));
        }
        tx.push_preflight(now, own_url, data).map_err(no_room)?;
        Ok(match self.gate.role {
            Role::Dialler => Stage::AwaitPreflight,
            Role::Acceptor => Stage::AwaitConfirm,
        })
    }

    /// The stream has ended: nothing more will arrive. To be called when everything that did arrive has been taken:
    /// what was not is a frame that was cut.
    pub fn end(&mut self) {
        let reason = if self.remembered.is_nothing() {
            self.end_reason()
        } else {
            CloseReason::Protocol(ProtocolError::EndInsideFrame)
        };
        self.close(reason);
    }

    /// What it means that nothing more comes.
    pub(super) fn end_reason(&self) -> CloseReason {
        if self.deframer.deadline().is_some() {
            return ProtocolError::EndInsideFrame.into();
        }
        self.opener.end().map_or_else(CloseReason::Protocol, |()| CloseReason::Ended)
    }

    /// Closes the connection: nothing that has arrived is delivered any more. The next [`read`](Self::read) gives
    /// [`Action::Closed`](super::Action::Closed). The first reason counts.
    pub fn close(&mut self, reason: CloseReason) {
        self.gate.close(reason);
    }

    /// Closes the connection where the driver knows of it: there will be no [`Action::Closed`].
    ///
    /// [`Action::Closed`]: super::Action::Closed
    pub(crate) fn close_told(&mut self, reason: CloseReason) {
        self.gate.close_told(reason);
    }

    /// Opens the question that the peer table answers.
    pub(crate) fn ask_settle(&mut self, now: Instant) -> QuestionId {
        self.gate.ask(now, Stage::Settle)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called. A peek.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.close_reason().is_some() {
            return None;
        }
        earliest(earliest(self.gate.deadline(), self.frame_deadline()), self.relax_at)
    }

    /// Looks at the time; what follows from it comes out of the next [`read`](Self::read). Calling it too early does
    /// nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        let now = self.latest;
        if self.relax_at.is_some_and(|at| at <= now) {
            let staged_was_read = self.remembered.staged.is_empty();
            let more = self.deframer.buffer_mut().relax() | self.opener.relax(staged_was_read);
            self.relax_at = more.then(|| now + self.limits.relax_interval);
        }
        if self.gate.deadline().is_some_and(|at| at <= now) {
            let open = self.gate.stage() == Stage::Revalidate;
            self.close(CloseReason::Timeout(if open { Timeout::Answer } else { Timeout::Preflight }));
        } else if self.frame_deadline().is_some_and(|at| at <= now) {
            self.close(CloseReason::Timeout(Timeout::Frame));
        }
    }

    /// While a question is open nothing is read, so that a frame cannot go on; and one that is whole has arrived,
    /// however long its reader takes. A record that has begun may hold the beginning of a frame: it has as much time.
    fn frame_deadline(&self) -> Option<Instant> {
        if self.gate.question().is_some() {
            return None;
        }
        let late = |_: &Instant| self.deframer.whole(self.bounds()).is_none();
        earliest(self.deframer.deadline().filter(late), self.record_until)
    }

    /// Who is at the other end: whom we dialled, and from its preflight on who it says it is.
    pub fn peer(&self) -> Option<Peer<'_>> {
        self.peer.as_ref().map(Identity::as_peer)
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.gate.role
    }

    /// Whether the gate is open: both preflights are accepted, and messages flow.
    pub fn is_open(&self) -> bool {
        matches!(self.gate.stage(), Stage::Open | Stage::Revalidate)
    }

    /// Why the connection is closed, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.gate.close_reason()
    }

    /// What was received so far.
    pub fn counts(&self) -> RxCounts {
        let Counters { messages, bytes, empty_frames, dropped } = self.counts;
        RxCounts {
            messages: messages as u64,
            bytes: bytes as u64,
            empty_frames: empty_frames as u64,
            dropped: dropped.map(|count| count as u64),
        }
    }

    /// Bytes of memory that the frame buffer and the channel own.
    pub fn memory(&self) -> usize {
        self.deframer.buffer().capacity() + self.opener.memory()
    }

    /// Which frames are taken in this stage.
    #[inline]
    pub(super) fn bounds(&self) -> Bounds {
        let RxLimits { max_frame_bytes, oversize, .. } = self.limits;
        match self.gate.stage() {
            Stage::Open => Bounds { preflight: false, max_frame_bytes, oversize },
            // A frame that is discarded cannot open the gate, and nothing else may be told before that.
            Stage::AwaitConfirm => Bounds { preflight: false, max_frame_bytes, oversize: Oversize::Close },
            _ => Bounds {
                preflight: true,
                max_frame_bytes: self.limits.preflight_bound,
                oversize: Oversize::Close,
            },
        }
    }

    /// Reads the payload of the peer's preflight frame: who it says it is, and where its PREFLIGHT message begins.
    pub(super) fn read_preflight(&self, payload: &[u8]) -> Result<(Identity<S>, usize), CloseReason> {
        let PreflightPayload { url, message } =
            PreflightPayload::decode(payload, &self.limits.url).map_err(ProtocolError::Preflight)?;
        let id = Identity::<S>::id_of(url).ok_or(ProtocolError::UrlWithoutId)?;
        if self.peer.as_ref().is_some_and(|dialled| dialled.id != id) {
            return Err(ProtocolError::WrongPeer.into());
        }
        if self.opener.proven_id().is_some_and(|proven| *proven != id) {
            return Err(ProtocolError::IdNotProven.into());
        }
        let url = S::Url::copy_from(url.as_str()).ok_or(CloseReason::Capacity(CapacityError::TooLong))?;
        let start = payload.len() - message.len();
        match Message::decode(message).map_err(ProtocolError::Message)?.kind() {
            Kind::Preflight => Ok((Identity { url, id, proven: self.opener.proves_id() }, start)),
            _ => Err(ProtocolError::NotPreflight.into()),
        }
    }
}

/// The dialler's third leg: now the acceptor knows that its preflight was accepted.
fn confirm<S: Storage, C: Channel>(now: Instant, tx: &mut Tx<S, C>) -> Result<Stage, CloseReason> {
    tx.push_empty(now).map(|()| Stage::Open).map_err(no_room)
}

/// A frame of the gate's own found no place in the transmit queue.
fn no_room(_: PushError) -> CloseReason {
    CloseReason::Capacity(CapacityError::TxQueue)
}
