//! The cursor over what one read of the socket brought.

use core::ops::Range;

use super::channel::{Channel, Opened, Opener, Plain};
use super::deframer::Step;
use super::gate::{Question, Stage};
use super::rx::{Remembered, Rx, identity};
use super::{Action, CloseReason, Refusal, Wants};
use crate::error::ProtocolError;
use crate::router::{Directory, DropReason, Policy, ReceiveError, Route};
use crate::storage::{Buffer, Storage};
use crate::time::Instant;
use crate::wire::{FrameType, HEADER_BYTES, Kind, Message};

/// Gives the [`Action`]s of one read, one at a time. See [`Rx`] for how to drive it.
///
/// An action borrows the bytes of its frame and nothing else, so handlers may do as they like with everything else
/// while they look at it. What was not asked for with [`next`](Self::next) is not taken from the caller's bytes.
#[must_use = "nothing happens unless `next` is called"]
#[derive(Debug)]
pub struct Frames<'r, 'i, S: Storage, C: Channel = Plain> {
    rx: &'r mut Rx<S, C>,
    bytes: &'i mut [u8],
    cursor: Cursor,
}

impl<'r, 'i, S: Storage, C: Channel> Frames<'r, 'i, S, C> {
    #[inline]
    pub(super) fn new(rx: &'r mut Rx<S, C>, now: Instant, bytes: &'i mut [u8]) -> Self {
        let cursor = Cursor::new(rx, now);
        Self { rx, bytes, cursor }
    }

    /// The next action; `None` when there is nothing more to do without more bytes or an answer.
    #[inline]
    pub fn next<P: Policy>(&mut self, directory: &Directory<S, P>) -> Option<Action<'_>> {
        self.cursor.next(self.rx, self.bytes, directory)
    }

    /// Closes the connection from inside: nothing more of it is delivered, and the next action is
    /// [`Action::Closed`]. For a handler that refuses a message: [`Refusal::Handler`].
    pub fn close(&mut self, reason: CloseReason) {
        self.rx.close(reason);
    }

    /// Ends the read: how many bytes were taken off the front of those that were shown, and what the connection
    /// wants next.
    pub fn finish(self) -> (usize, Wants) {
        self.cursor.finish(self.rx, self.bytes.len())
    }
}

/// Where a read has come to. It borrows nothing, so that a driver of many connections can keep it beside them.
#[derive(Debug)]
pub(crate) struct Cursor {
    now: Instant,
    /// Bytes that were taken. Invariant: at most as many as were shown.
    taken: usize,
    /// What lies at `taken` and in the opener's stage.
    ahead: Remembered,
    /// The frame that the last action was lent from.
    lent: Option<Frame>,
}

/// A whole frame: its type, and where its payload lies.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    ty: FrameType,
    place: Place,
    payload: Range<usize>,
    /// Bytes of plaintext up to its end. Zero in the buffer, where they have been taken already.
    advance: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Bytes,
    Stage,
    Buffer,
}

/// What the next action is.
#[derive(Debug)]
pub(crate) enum Next {
    /// A message on an open connection.
    Message(Frame),
    /// A frame that is discarded.
    Oversize { frame_bytes: u64 },
    /// The end.
    Close(CloseReason),
    /// The gate is open.
    Opened,
    /// The question of this stage.
    Ask(Stage),
    /// The peer's preflight, whose message begins there in the payload.
    Preflight(Frame, usize),
    /// The peer's DISCONNECT before the gate is open.
    Goodbye(Frame),
}

enum Found {
    Frame(Frame),
    Oversize { frame_bytes: u64 },
    Nothing,
}

impl Cursor {
    #[inline]
    pub(crate) fn new<S: Storage, C: Channel>(rx: &Rx<S, C>, now: Instant) -> Self {
        Self { now, taken: 0, ahead: rx.remembered.clone(), lent: None }
    }

    /// The next action of `rx`, whose unread bytes are `bytes`: the same ones at every call.
    #[inline]
    pub(crate) fn next<'a, S: Storage, C: Channel, P: Policy>(
        &mut self,
        rx: &'a mut Rx<S, C>,
        bytes: &'a mut [u8],
        directory: &Directory<S, P>,
    ) -> Option<Action<'a>> {
        let next = self.find(rx, bytes, directory)?;
        Some(self.lend(next, rx, bytes, directory))
    }

    /// Finds out what the next action is, without lending anything.
    #[inline]
    pub(crate) fn find<S: Storage, C: Channel, P: Policy>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
        directory: &Directory<S, P>,
    ) -> Option<Next> {
        self.release(rx);
        if !rx.gate.is_clear() {
            return self.find_at_gate(rx, bytes, directory);
        }
        match self.find_frame(rx, bytes) {
            Ok(Found::Frame(frame)) => Some(Next::Message(frame)),
            Ok(Found::Nothing) => None,
            Ok(Found::Oversize { frame_bytes }) => Some(Next::Oversize { frame_bytes }),
            Err(reason) => Some(Next::Close(reason)),
        }
    }

    /// Makes what was found into an action.
    #[inline]
    pub(crate) fn lend<'a, S: Storage, C: Channel, P: Policy>(
        &mut self,
        next: Next,
        rx: &'a mut Rx<S, C>,
        bytes: &'a [u8],
        directory: &Directory<S, P>,
    ) -> Action<'a> {
        let Next::Message(frame) = next else { return self.lend_at_gate(next, rx, bytes) };
        self.take(&frame);
        let wire_bytes = HEADER_BYTES + frame.payload.len();
        let frame = self.lent.insert(frame);
        let payload = match frame.place {
            Place::Bytes => bytes.get(frame.payload.clone()),
            Place::Stage => rx.opener.staged().get(frame.payload.clone()),
            Place::Buffer => rx.deframer.buffer().as_slice().get(frame.payload.clone()),
        };
        let peer = identity(&rx.peer);
        let message = Message::decode(payload.unwrap_or_default()).map_err(ProtocolError::Message);
        let routed = match &message {
            Ok(message) => directory.route(&peer, message),
            Err(error) => Err(ReceiveError::Protocol(*error)),
        };
        let message = message.unwrap_or_default();
        let (space, data) = (message.space.unwrap_or_default(), message.data);
        match routed {
            Ok(Route::Module(to)) => {
                rx.counts.count_message(wire_bytes);
                Action::Module { to, space, module: message.module.unwrap_or_default(), data, wire_bytes }
            }
            Ok(Route::Space(to)) => {
                rx.counts.count_message(wire_bytes);
                Action::Notify { to, space, data, wire_bytes }
            }
            Ok(Route::Drop(reason)) => {
                rx.counts.count_drop(reason);
                Action::Dropped { reason, space, wire_bytes: wire_bytes as u64 }
            }
            Ok(Route::Validate) => {
                let id = rx.gate.ask(self.now, Stage::Revalidate);
                Action::Ask { id, question: Question::ValidatePreflight { peer, space: message.space, data } }
            }
            Err(error) => {
                let (reason, message): (CloseReason, &[u8]) = match error {
                    ReceiveError::Protocol(error) => (error.into(), &[]),
                    ReceiveError::Disconnect { reason } => (CloseReason::Disconnected, reason),
                    ReceiveError::BlockCheckFailed => (CloseReason::Refused(Refusal::BlockCheck), &[]),
                };
                rx.gate.close_told(reason);
                Action::Closed { reason, message }
            }
        }
    }

    /// Ends the read of `shown` bytes.
    pub(crate) fn finish<S: Storage, C: Channel>(
        mut self,
        rx: &mut Rx<S, C>,
        shown: usize,
    ) -> (usize, Wants) {
        self.release(rx);
        if self.ahead.plain == 0 {
            self.skip_trailer(shown);
        }
        let wants = match rx.gate.stage() {
            Stage::Closed(_) => Wants::Nothing,
            _ if rx.gate.question().is_some() => Wants::Answer,
            _ => Wants::Bytes,
        };
        rx.remembered = self.ahead;
        (self.taken, wants)
    }

    /// Lets go of the frame that the last action was lent from.
    #[inline]
    fn release<S: Storage, C: Channel>(&mut self, rx: &mut Rx<S, C>) {
        if let Some(Frame { place: Place::Buffer, .. }) = self.lent.take() {
            rx.deframer.release();
        }
    }

    /// The peer's own words, if the action that was lent last was its goodbye.
    pub(crate) fn last_words<'a, S: Storage, C: Channel>(
        &self,
        rx: &'a Rx<S, C>,
        bytes: &'a [u8],
    ) -> &'a [u8] {
        match &self.lent {
            Some(frame) if rx.close_reason() == Some(CloseReason::Disconnected) => goodbye(rx, bytes, frame),
            _ => &[],
        }
    }

    /// What comes next in every stage but an open connection's.
    #[cold]
    #[inline(never)]
    fn find_at_gate<S: Storage, C: Channel, P: Policy>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
        directory: &Directory<S, P>,
    ) -> Option<Next> {
        if rx.gate.take_announcement() {
            return Some(Next::Opened);
        }
        if rx.gate.question().is_some() {
            return None;
        }
        match rx.gate.stage() {
            Stage::Closing(reason) => return Some(Next::Close(reason)),
            Stage::Closed(_) => return None,
            Stage::LocalAgents if directory.space_count() == 0 => return Some(Next::Ask(Stage::Gather)),
            stage @ (Stage::Settle | Stage::Admit | Stage::LocalAgents | Stage::Gather) => {
                return Some(Next::Ask(stage));
            }
            _ => {}
        }
        let frame = match self.find_frame(rx, bytes) {
            Ok(Found::Frame(frame)) => frame,
            Ok(Found::Nothing) => return None,
            Ok(Found::Oversize { frame_bytes }) => return Some(Next::Oversize { frame_bytes }),
            Err(reason) => return Some(Next::Close(reason)),
        };
        let payload = payload(rx, bytes, &frame);
        Some(match frame.ty {
            FrameType::Preflight => match rx.read_preflight(payload) {
                Ok((identity, start)) => {
                    rx.peer = Some(identity);
                    Next::Preflight(frame, start)
                }
                Err(reason) => Next::Close(reason),
            },
            // A data frame before the gate is open is the dialler's confirm, or the peer's goodbye, or an error.
            FrameType::Data => match Message::decode(payload).map(|message| message.kind()) {
                Ok(Kind::Disconnect) => Next::Goodbye(frame),
                Ok(_) if rx.gate.stage() == Stage::AwaitConfirm => {
                    // The frame is not taken: it may be a message already, and is found again afterwards.
                    rx.gate.proceed(Stage::Open);
                    rx.gate.take_announcement();
                    Next::Opened
                }
                Ok(_) => Next::Close(ProtocolError::DataBeforePreflight.into()),
                Err(error) => Next::Close(ProtocolError::Message(error).into()),
            },
        })
    }

    #[cold]
    #[inline(never)]
    fn lend_at_gate<'a, S: Storage, C: Channel>(
        &mut self,
        next: Next,
        rx: &'a mut Rx<S, C>,
        bytes: &'a [u8],
    ) -> Action<'a> {
        match next {
            Next::Opened => Action::Opened { peer: identity(&rx.peer) },
            Next::Ask(stage) => {
                let id = rx.gate.ask(self.now, stage);
                let peer = identity(&rx.peer);
                let question = match stage {
                    Stage::Settle => Question::Settle { peer },
                    Stage::Admit => Question::AdmitPeer { peer },
                    Stage::LocalAgents => Question::HasLocalAgents,
                    _ => Question::GatherPreflight { peer },
                };
                Action::Ask { id, question }
            }
            Next::Preflight(frame, start) => {
                self.take(&frame);
                let id = rx.gate.ask(self.now, Stage::Validate);
                let frame = self.lent.insert(frame);
                let message = payload(rx, bytes, frame).get(start..).unwrap_or_default();
                let Message { space, data, .. } = Message::decode(message).unwrap_or_default();
                Action::Ask {
                    id,
                    question: Question::ValidatePreflight { peer: identity(&rx.peer), space, data },
                }
            }
            Next::Goodbye(frame) => {
                self.take(&frame);
                rx.gate.close_told(CloseReason::Disconnected);
                let message = goodbye(rx, bytes, self.lent.insert(frame));
                Action::Closed { reason: CloseReason::Disconnected, message }
            }
            Next::Oversize { frame_bytes } => {
                rx.counts.count_drop(DropReason::Oversize);
                Action::Dropped { reason: DropReason::Oversize, space: &[], wire_bytes: frame_bytes }
            }
            Next::Close(reason) => {
                rx.gate.close_told(reason);
                Action::Closed { reason, message: &[] }
            }
            Next::Message(_) => {
                debug_assert!(false, "lent elsewhere");
                Action::Closed { reason: CloseReason::Local, message: &[] }
            }
        }
    }

    /// Finds the next whole frame, without taking it.
    #[inline]
    fn find_frame<S: Storage, C: Channel>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
    ) -> Result<Found, CloseReason> {
        loop {
            let bounds = rx.bounds();
            let staged = !self.ahead.staged.is_empty();
            let (plain, start) = if staged {
                (rx.opener.staged().get(self.ahead.staged.clone()), self.ahead.staged.start)
            } else {
                let end = bytes.len().min(self.taken + self.ahead.plain);
                (bytes.get(self.taken..end), self.taken)
            };
            let plain = plain.unwrap_or_default();
            if plain.is_empty() {
                if let Some((ty, payload)) = rx.deframer.whole(bounds) {
                    return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                }
                if !self.open_record(rx, bytes)? {
                    return Ok(Found::Nothing);
                }
                continue;
            }
            match rx.deframer.step(self.now, &rx.config, bounds, plain)? {
                Step::Whole { ty, payload } => {
                    let advance = payload.end;
                    let place = if staged { Place::Stage } else { Place::Bytes };
                    let payload = start + payload.start..start + payload.end;
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place, payload, advance }));
                    }
                    rx.counts.empty_frames += 1;
                    self.advance(advance);
                }
                Step::Buffered { ty, payload, taken } => {
                    note_buffer_use(rx, self.now);
                    self.advance(taken);
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                    }
                    rx.counts.empty_frames += 1;
                    rx.deframer.release();
                }
                Step::Partial => {
                    let len = plain.len();
                    note_buffer_use(rx, self.now);
                    self.advance(len);
                }
                Step::Skipped { taken } => self.advance(taken),
                Step::Oversize { frame_bytes, taken } => {
                    self.advance(taken);
                    return Ok(Found::Oversize { frame_bytes });
                }
            }
        }
    }

    /// Moves on to the next record; `false` if there are no more bytes.
    fn open_record<S: Storage, C: Channel>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
    ) -> Result<bool, CloseReason> {
        if self.ahead.plain > 0 {
            return Ok(false);
        }
        self.skip_trailer(bytes.len());
        let wire = bytes.get_mut(self.taken..).unwrap_or_default();
        if wire.is_empty() {
            return Ok(false);
        }
        match rx.opener.open(wire)? {
            Opened::InPlace { skip, len, trailer } => {
                self.taken += skip;
                self.ahead = Remembered { plain: len, trailer, staged: 0..0 };
            }
            Opened::Staged { consumed, len } => {
                self.taken += consumed;
                self.ahead = Remembered { plain: 0, trailer: 0, staged: 0..len };
            }
        }
        Ok(true)
    }

    fn skip_trailer(&mut self, shown: usize) {
        let shown = self.ahead.trailer.min(shown - self.taken);
        self.taken += shown;
        self.ahead.trailer -= shown;
    }

    #[inline]
    fn take(&mut self, frame: &Frame) {
        self.advance(frame.advance);
    }

    /// Takes plaintext.
    #[inline]
    fn advance(&mut self, len: usize) {
        if self.ahead.staged.is_empty() {
            self.taken += len;
            self.ahead.plain -= len;
        } else {
            self.ahead.staged.start += len;
        }
    }
}

fn note_buffer_use<S: Storage, C: Channel>(rx: &mut Rx<S, C>, now: Instant) {
    if S::RxBuffer::GIVES_BACK && rx.relax_at.is_none() {
        rx.relax_at = Some(now + rx.config.relax_interval);
    }
}

fn payload<'a, S: Storage, C: Channel>(rx: &'a Rx<S, C>, bytes: &'a [u8], frame: &Frame) -> &'a [u8] {
    let whole = match frame.place {
        Place::Bytes => bytes,
        Place::Stage => rx.opener.staged(),
        Place::Buffer => rx.deframer.buffer().as_slice(),
    };
    whole.get(frame.payload.clone()).unwrap_or_default()
}

/// The reason in a DISCONNECT.
fn goodbye<'a, S: Storage, C: Channel>(rx: &'a Rx<S, C>, bytes: &'a [u8], frame: &Frame) -> &'a [u8] {
    Message::decode(payload(rx, bytes, frame)).unwrap_or_default().data
}

#[cfg(feature = "alloc")]
impl<C: Channel> Frames<'_, '_, crate::storage::Heap, C> {
    /// The payload of the message that was delivered last, to keep. It costs a copy, unless the frame arrived in
    /// pieces: then its buffer is handed over. `None` if the last action was no delivery.
    pub fn payload_to_bytes(&mut self) -> Option<bytes::Bytes> {
        let frame = self.cursor.lent.take()?;
        if frame.place == Place::Buffer {
            let whole = self.rx.deframer.take_buffer();
            let data = Message::decode(whole.get(frame.payload)?).ok()?.data;
            return Some(whole.slice_ref(data));
        }
        let data = Message::decode(payload(self.rx, self.bytes, &frame)).ok()?.data;
        Some(bytes::Bytes::copy_from_slice(data))
    }
}
