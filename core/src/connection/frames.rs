//! The cursor over what one read of the socket brought.

use core::ops::Range;

use super::channel::{Channel, Opened, Opener, Plain};
use super::deframer::Step;
use super::gate::{Gate, Question, Stage};
use super::rx::{Identity, Remembered, Rx, RxCounts};
use super::{Action, CloseReason, Refusal, Wants};
use crate::error::ProtocolError;
use crate::peer::Peer;
use crate::router::{Directory, DropReason, ModuleKey, Policy, ReceiveError, Route};
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
    now: Instant,
    bytes: &'i mut [u8],
    /// Bytes that were taken. Invariant: at most `bytes.len()`.
    taken: usize,
    /// What lies at `taken` and in the opener's stage.
    ahead: Remembered,
    /// The payload that the last action was lent from.
    lent: Option<(Place, Range<usize>)>,
}

/// A whole frame: its type, and where its payload lies.
#[derive(Debug, Clone)]
struct Frame {
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

enum Found {
    Frame(Frame),
    Oversize { frame_bytes: u64 },
    Nothing,
}

impl<'r, 'i, S: Storage, C: Channel> Frames<'r, 'i, S, C> {
    #[inline]
    pub(super) fn new(rx: &'r mut Rx<S, C>, now: Instant, bytes: &'i mut [u8]) -> Self {
        let ahead = core::mem::take(&mut rx.remembered);
        Self { rx, now, bytes, taken: 0, ahead, lent: None }
    }

    /// The next action; `None` when there is nothing more to do without more bytes or an answer.
    #[inline]
    pub fn next<P: Policy>(&mut self, directory: &Directory<S, P>) -> Option<Action<'_>> {
        self.release();
        if !self.rx.gate.is_clear() {
            return self.next_at_gate(directory);
        }
        let (payload, wire_bytes) = if let Some(wire_bytes) = self.usual_frame() {
            let payload = self.taken + HEADER_BYTES..self.taken + wire_bytes;
            self.taken = payload.end;
            self.ahead.plain -= wire_bytes;
            self.lent = Some((Place::Bytes, payload.clone()));
            (self.bytes.get(payload), wire_bytes)
        } else if self.is_used_up() {
            return None;
        } else {
            let Frame { place, payload, advance, .. } = match self.find_frame() {
                Ok(Found::Frame(frame)) => frame,
                Ok(Found::Nothing) => return None,
                Ok(Found::Oversize { frame_bytes }) => return Some(self.oversize(frame_bytes)),
                Err(reason) => return Some(self.closed(reason)),
            };
            self.advance(advance);
            self.lent = Some((place, payload.clone()));
            let wire_bytes = HEADER_BYTES + payload.len();
            let whole = match place {
                Place::Bytes => &*self.bytes,
                Place::Stage => self.rx.opener.staged(),
                Place::Buffer => self.rx.deframer.buffer().as_slice(),
            };
            (whole.get(payload), wire_bytes)
        };
        let peer = self.rx.peer.as_ref().map_or(Peer::new("", None), Identity::as_peer);
        let message = match Message::decode_in_line(payload.unwrap_or_default()) {
            Ok(message) => message,
            Err(error) => {
                let error = ReceiveError::Protocol(ProtocolError::Message(error));
                return Some(closed_by_message(&mut self.rx.gate, error));
            }
        };
        let routed = directory.route(&peer, &message);
        // What most messages are is made of the route as it stands, before it is made into one of many.
        if let Ok(Route::Module(to)) = routed {
            return Some(module(&mut self.rx.counts, to, &message, wire_bytes));
        }
        let (space, data) = (message.space.unwrap_or_default(), message.data);
        Some(match routed {
            Ok(Route::Module(to)) => module(&mut self.rx.counts, to, &message, wire_bytes),
            Ok(Route::Space(to)) => {
                self.rx.counts.count_message(wire_bytes);
                Action::Notify { to, space, data, wire_bytes }
            }
            Ok(Route::Drop(reason)) => {
                self.rx.counts.count_drop(reason);
                Action::Dropped { reason, space, wire_bytes: wire_bytes as u64 }
            }
            Ok(Route::Validate) => {
                let id = self.rx.gate.ask(self.now, Stage::Revalidate);
                Action::Ask { id, question: Question::ValidatePreflight { peer, space: message.space, data } }
            }
            Err(error) => closed_by_message(&mut self.rx.gate, error),
        })
    }

    /// Closes the connection from inside: nothing more of it is delivered, and the next action is
    /// [`Action::Closed`]. For a handler that refuses a message: [`Refusal::Handler`].
    pub fn close(&mut self, reason: CloseReason) {
        self.rx.close(reason);
    }

    /// Ends the read: how many bytes were taken off the front of those that were shown, and what the connection
    /// wants next. The latter says what to wait for if [`next`](Self::next) had nothing more to give; a cursor that is
    /// left earlier, or after [`close`](Self::close), has more to tell at the next read, without any wait.
    pub fn finish(mut self) -> (usize, Wants) {
        self.release();
        if self.ahead.plain == 0 {
            self.skip_trailer();
        }
        let gate = &self.rx.gate;
        let wants = match gate.stage() {
            Stage::Closed(_) => Wants::Nothing,
            _ if gate.question().is_some() => Wants::Answer,
            _ => Wants::Bytes,
        };
        self.rx.remembered = self.ahead;
        (self.taken, wants)
    }

    /// Lets go of the frame that the last action was lent from.
    #[inline]
    fn release(&mut self) {
        if let Some((Place::Buffer, _)) = self.lent.take() {
            self.rx.deframer.release();
        }
    }

    /// The actions of every stage but an open connection's.
    #[cold]
    #[inline(never)]
    fn next_at_gate<P: Policy>(&mut self, directory: &Directory<S, P>) -> Option<Action<'_>> {
        if self.rx.gate.take_announcement() {
            return Some(Action::Opened { peer: self.peer() });
        }
        let mut stage = self.rx.gate.stage();
        if let Stage::Closing(reason) = stage {
            return Some(self.closed(reason));
        }
        if self.rx.gate.question().is_some() || matches!(stage, Stage::Closed(_)) {
            return None;
        }
        if stage == Stage::LocalAgents && directory.space_count() == 0 {
            stage = Stage::Gather;
        }
        if let Stage::Admit | Stage::LocalAgents | Stage::Gather = stage {
            let id = self.rx.gate.ask(self.now, stage);
            let question = match stage {
                Stage::Admit => Question::AdmitPeer { peer: self.peer() },
                Stage::LocalAgents => Question::HasLocalAgents,
                _ => Question::GatherPreflight { peer: self.peer() },
            };
            return Some(Action::Ask { id, question });
        }
        let frame = match self.find_frame() {
            Ok(Found::Frame(frame)) => frame,
            Ok(Found::Nothing) => return None,
            Ok(Found::Oversize { frame_bytes }) => return Some(self.oversize(frame_bytes)),
            Err(reason) => return Some(self.closed(reason)),
        };
        match frame.ty {
            FrameType::Preflight => Some(self.preflight(frame)),
            FrameType::Data => Some(self.data_at_gate(frame)),
        }
    }

    /// The peer's preflight has arrived.
    fn preflight(&mut self, frame: Frame) -> Action<'_> {
        let start = match self.rx.read_preflight(self.payload(&frame)) {
            Ok((identity, start)) => {
                self.rx.peer = Some(identity);
                start
            }
            Err(reason) => return self.closed(reason),
        };
        self.take(&frame);
        let id = self.rx.gate.ask(self.now, Stage::Validate);
        self.lent = Some((frame.place, frame.payload.clone()));
        let message = self.payload(&frame).get(start..).unwrap_or_default();
        let Message { space, data, .. } = Message::decode(message).unwrap_or_default();
        Action::Ask { id, question: Question::ValidatePreflight { peer: self.peer(), space, data } }
    }

    /// A data frame before the gate is open is the dialler's confirm, or the peer's goodbye, or an error.
    fn data_at_gate(&mut self, frame: Frame) -> Action<'_> {
        let kind = Message::decode(self.payload(&frame)).map(|message| message.kind());
        match kind {
            Ok(Kind::Disconnect) => {
                self.take(&frame);
                self.rx.gate.close_told(CloseReason::Disconnected);
                self.lent = Some((frame.place, frame.payload.clone()));
                let message = Message::decode(self.payload(&frame)).unwrap_or_default().data;
                Action::Closed { reason: CloseReason::Disconnected, message }
            }
            Ok(_) if self.rx.gate.stage() == Stage::AwaitConfirm => {
                // The frame is not taken: it may be a message already, and is found again once the driver knows.
                self.rx.gate.proceed(Stage::Open);
                self.rx.gate.take_announcement();
                Action::Opened { peer: self.peer() }
            }
            Ok(_) => self.closed(ProtocolError::DataBeforePreflight.into()),
            Err(error) => self.closed(ProtocolError::Message(error).into()),
        }
    }

    /// The length of the next frame if it is like most: a message that lies whole in the caller's bytes, in a record
    /// that is open. What is not, [`find_frame`](Self::find_frame) finds.
    #[inline(always)]
    fn usual_frame(&self) -> Option<usize> {
        let plain = self.bytes.get(self.taken..)?.get(..self.ahead.plain)?;
        self.rx.deframer.usual_frame(self.rx.config.max_frame_bytes, plain)
    }

    /// Whether all bytes were taken and nothing of them is held back: how most reads end.
    #[inline(always)]
    fn is_used_up(&self) -> bool {
        self.taken == self.bytes.len() && self.ahead.is_nothing() && self.rx.deframer.deadline().is_none()
    }

    /// Finds the next whole frame, without taking it.
    #[inline(never)]
    fn find_frame(&mut self) -> Result<Found, CloseReason> {
        loop {
            let rx = &mut *self.rx;
            let bounds = rx.bounds();
            let staged = !self.ahead.staged.is_empty();
            let (plain, start) = if staged {
                (rx.opener.staged().get(self.ahead.staged.clone()), self.ahead.staged.start)
            } else {
                let end = self.bytes.len().min(self.taken + self.ahead.plain);
                (self.bytes.get(self.taken..end), self.taken)
            };
            let plain = plain.unwrap_or_default();
            if plain.is_empty() {
                if let Some((ty, payload)) = rx.deframer.whole(bounds) {
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                    }
                    rx.counts.empty_frames += 1;
                    rx.deframer.release();
                    continue;
                }
                if !self.open_record()? {
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
                    self.note_buffer_use();
                    self.advance(taken);
                    if !payload.is_empty() || self.rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                    }
                    self.rx.counts.empty_frames += 1;
                    self.rx.deframer.release();
                }
                Step::Partial => {
                    let len = plain.len();
                    self.note_buffer_use();
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
    fn open_record(&mut self) -> Result<bool, CloseReason> {
        if self.ahead.plain > 0 {
            return Ok(false);
        }
        self.skip_trailer();
        let wire = self.bytes.get_mut(self.taken..).unwrap_or_default();
        if wire.is_empty() {
            return Ok(false);
        }
        match self.rx.opener.open(wire)? {
            Opened::InPlace { skip, len, trailer } => {
                self.taken += skip;
                self.ahead = Remembered { plain: len, trailer, staged: 0..0 };
            }
            Opened::Staged { consumed, len } => {
                debug_assert!(consumed > 0, "an opener takes what it is shown");
                self.taken += consumed;
                self.ahead = Remembered { plain: 0, trailer: 0, staged: 0..len };
            }
        }
        Ok(true)
    }

    fn skip_trailer(&mut self) {
        let shown = self.ahead.trailer.min(self.bytes.len() - self.taken);
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

    fn note_buffer_use(&mut self) {
        if S::RxBuffer::GIVES_BACK && self.rx.relax_at.is_none() {
            self.rx.relax_at = Some(self.now + self.rx.config.relax_interval);
        }
    }

    fn payload(&self, frame: &Frame) -> &[u8] {
        self.slice(frame.place, frame.payload.clone())
    }

    fn slice(&self, place: Place, range: Range<usize>) -> &[u8] {
        let whole = match place {
            Place::Bytes => &*self.bytes,
            Place::Stage => self.rx.opener.staged(),
            Place::Buffer => self.rx.deframer.buffer().as_slice(),
        };
        whole.get(range).unwrap_or_default()
    }

    fn peer(&self) -> Peer<'_> {
        self.rx.peer().unwrap_or(Peer::new("", None))
    }

    #[cold]
    fn oversize(&mut self, wire_bytes: u64) -> Action<'_> {
        self.rx.counts.count_drop(DropReason::Oversize);
        Action::Dropped { reason: DropReason::Oversize, space: &[], wire_bytes }
    }

    #[cold]
    fn closed(&mut self, reason: CloseReason) -> Action<'_> {
        self.rx.gate.close_told(reason);
        Action::Closed { reason, message: &[] }
    }
}

/// A message reaches a module.
#[inline(always)]
fn module<'a>(counts: &mut RxCounts, to: ModuleKey, message: &Message<'a>, wire_bytes: usize) -> Action<'a> {
    counts.count_message(wire_bytes);
    let (space, module) = (message.space.unwrap_or_default(), message.module.unwrap_or_default());
    Action::Module { to, space, module, data: message.data, wire_bytes }
}

/// A message closes the connection on which it came.
#[cold]
#[inline(never)]
fn closed_by_message<'a>(gate: &mut Gate, error: ReceiveError<'a>) -> Action<'a> {
    let (reason, message): (CloseReason, &[u8]) = match error {
        ReceiveError::Protocol(error) => (error.into(), &[]),
        ReceiveError::Disconnect { reason } => (CloseReason::Disconnected, reason),
        ReceiveError::BlockCheckFailed => (CloseReason::Refused(Refusal::BlockCheck), &[]),
    };
    gate.close_told(reason);
    Action::Closed { reason, message }
}

#[cfg(feature = "alloc")]
impl<C: Channel> Frames<'_, '_, crate::storage::Heap, C> {
    /// The data of the message that the last action told of, to keep. It costs a copy, unless the frame arrived in
    /// pieces: then its buffer is handed over. `None` if the last action told of none, or if it was kept already.
    pub fn payload_to_bytes(&mut self) -> Option<bytes::Bytes> {
        let (place, payload) = self.lent.take()?;
        if place == Place::Buffer {
            let whole = self.rx.deframer.take_buffer();
            let data = Message::decode(whole.get(payload)?).ok()?.data;
            return Some(whole.slice_ref(data));
        }
        let data = Message::decode(self.slice(place, payload)).ok()?.data;
        Some(bytes::Bytes::copy_from_slice(data))
    }
}
