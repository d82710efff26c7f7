//! Where a read has come to: it finds frames, and makes each into an action.

use core::ops::Range;

use super::channel::{Channel, Handshake, Opened, Opener};
use super::deframer::Step;
use super::gate::{Gate, Question, Stage};
use super::rx::{Counters, Identity, Remembered, Rx, identity};
use super::{Action, CloseReason, Refusal, Wants};
use crate::error::ProtocolError;
use crate::router::{Directory, DropReason, ModuleKey, Policy, ReceiveError, Route};
use crate::storage::{Buffer, Storage};
use crate::time::Instant;
use crate::wire::{FrameType, HEADER_BYTES, Kind, Message};

/// Where a read has come to. It borrows nothing, so that a driver of many connections can keep it beside them.
#[derive(Debug)]
pub(crate) struct Cursor {
    now: Instant,
    /// Bytes that were taken. Invariant: at most as many as were shown.
    taken: usize,
    /// What lies at `taken` and in the opener's stage.
    ahead: Remembered,
    /// The payload that the last action was lent from.
    lent: Option<(Place, Range<usize>)>,
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

/// What the gate of a connection has to say without any frame.
pub(crate) enum Own {
    /// This.
    Next(Next),
    /// Nothing, and no frame is looked at either.
    Wait,
    /// Nothing: frames come next.
    Frames,
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
    #[inline(always)]
    pub(crate) fn next<'a, S: Storage, C: Channel, P: Policy>(
        &mut self,
        rx: &'a mut Rx<S, C>,
        bytes: &'a mut [u8],
        directory: &Directory<S, P>,
    ) -> Option<Action<'a>> {
        self.release(rx);
        if !rx.gate.is_clear() {
            let next = self.find_at_gate(rx, bytes, directory)?;
            return Some(self.lend_at_gate(next, rx, bytes));
        }
        if let Some(wire_bytes) = self.usual_frame(rx, bytes) {
            return Some(self.lend_usual(wire_bytes, rx, bytes, directory));
        }
        if self.is_used_up(rx, bytes) {
            return None;
        }
        match self.find_frame(rx, bytes) {
            Ok(Found::Frame(frame)) => Some(self.lend_message(frame, rx, bytes, directory)),
            Ok(Found::Nothing) => None,
            Ok(Found::Oversize { frame_bytes }) => {
                Some(self.lend_at_gate(Next::Oversize { frame_bytes }, rx, bytes))
            }
            Err(reason) => Some(self.lend_at_gate(Next::Close(reason), rx, bytes)),
        }
    }

    /// The length of the next frame, if it is like most and nothing comes before it. What is not,
    /// [`find`](Self::find) finds.
    #[inline(always)]
    pub(crate) fn find_usual<S: Storage, C: Channel>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &[u8],
    ) -> Option<usize> {
        self.release(rx);
        if rx.gate.is_clear() { self.usual_frame(rx, bytes) } else { None }
    }

    /// Makes what [`find_usual`](Self::find_usual) found into an action.
    #[inline(always)]
    pub(crate) fn lend_usual<'a, S: Storage, C: Channel, P: Policy>(
        &mut self,
        wire_bytes: usize,
        rx: &'a mut Rx<S, C>,
        bytes: &'a [u8],
        directory: &Directory<S, P>,
    ) -> Action<'a> {
        let payload = self.taken + HEADER_BYTES..self.taken + wire_bytes;
        self.taken = payload.end;
        self.ahead.plain -= wire_bytes;
        self.lent = Some((Place::Bytes, payload.clone()));
        let payload = bytes.get(payload).unwrap_or_default();
        let rx = Parts { peer: &rx.peer, gate: &mut rx.gate, counts: &mut rx.counts };
        message(self.now, rx, payload, wire_bytes, directory)
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
        if let Some(wire_bytes) = self.usual_frame(rx, bytes) {
            return Some(Next::Message(self.usual(wire_bytes)));
        }
        if self.is_used_up(rx, bytes) {
            return None;
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
        match next {
            Next::Message(frame) => self.lend_message(frame, rx, bytes, directory),
            next => self.lend_at_gate(next, rx, bytes),
        }
    }

    #[inline(never)]
    fn lend_message<'a, S: Storage, C: Channel, P: Policy>(
        &mut self,
        frame: Frame,
        rx: &'a mut Rx<S, C>,
        bytes: &'a [u8],
        directory: &Directory<S, P>,
    ) -> Action<'a> {
        let wire_bytes = HEADER_BYTES + frame.payload.len();
        self.take(&frame);
        let payload = match frame.place {
            Place::Bytes => bytes.get(frame.payload),
            Place::Stage => rx.opener.staged().get(frame.payload),
            Place::Buffer => rx.deframer.buffer().as_slice().get(frame.payload),
        };
        let rx = Parts { peer: &rx.peer, gate: &mut rx.gate, counts: &mut rx.counts };
        message(self.now, rx, payload.unwrap_or_default(), wire_bytes, directory)
    }

    /// The length of the next frame if it is like most: a message that lies whole in the caller's bytes, in a record
    /// that is open. What is not, [`find_frame`](Self::find_frame) finds.
    #[inline(always)]
    fn usual_frame<S: Storage, C: Channel>(&self, rx: &Rx<S, C>, bytes: &[u8]) -> Option<usize> {
        let plain = bytes.get(self.taken..)?.get(..self.ahead.plain)?;
        rx.deframer.usual_frame(rx.limits.max_frame_bytes, plain)
    }

    #[inline(always)]
    fn usual(&self, wire_bytes: usize) -> Frame {
        let payload = self.taken + HEADER_BYTES..self.taken + wire_bytes;
        Frame { ty: FrameType::Data, place: Place::Bytes, payload, advance: wire_bytes }
    }

    /// Whether all bytes were taken and nothing of them is held back: how most reads end.
    #[inline(always)]
    fn is_used_up<S: Storage, C: Channel>(&self, rx: &Rx<S, C>, bytes: &[u8]) -> bool {
        self.taken == bytes.len() && self.ahead.is_nothing() && rx.deframer.deadline().is_none()
    }

    pub(super) fn resume(&mut self, now: Instant) {
        self.now = self.now.max(now);
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
            Stage::Closing(_) => Wants::Again,
            _ if rx.gate.question().is_some() => Wants::Answer,
            Stage::Secure if rx.opener.handshake() == Handshake::Work => Wants::Work,
            _ => Wants::Bytes,
        };
        rx.remembered = self.ahead;
        (self.taken, wants)
    }

    /// Lets go of the frame that the last action was lent from.
    #[inline]
    fn release<S: Storage, C: Channel>(&mut self, rx: &mut Rx<S, C>) {
        if let Some((Place::Buffer, _)) = self.lent.take() {
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
            Some((place, payload)) if rx.close_reason() == Some(CloseReason::Disconnected) => {
                goodbye(rx, bytes, *place, payload)
            }
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
        match self.find_own(rx, bytes, directory) {
            Own::Next(next) => return Some(next),
            Own::Wait => return None,
            Own::Frames => {}
        }
        let frame = match self.find_frame(rx, bytes) {
            Ok(Found::Frame(frame)) => frame,
            Ok(Found::Nothing) => return None,
            Ok(Found::Oversize { frame_bytes }) => return Some(Next::Oversize { frame_bytes }),
            Err(reason) => return Some(Next::Close(reason)),
        };
        let payload = slice(rx, bytes, frame.place, &frame.payload);
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

    /// What the gate has to say without any frame. Nothing is taken that the next cursor would have to know of, as long
    /// as `bytes` is empty.
    pub(crate) fn find_own<S: Storage, C: Channel, P: Policy>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
        directory: &Directory<S, P>,
    ) -> Own {
        if rx.gate.take_announcement() {
            return Own::Next(Next::Opened);
        }
        if rx.gate.question().is_some() {
            return Own::Wait;
        }
        loop {
            match rx.gate.stage() {
                Stage::Closing(reason) => return Own::Next(Next::Close(reason)),
                Stage::Closed(_) => return Own::Wait,
                Stage::LocalAgents if directory.space_count() == 0 => {
                    rx.gate.proceed(rx.gate.after_local_agents());
                }
                Stage::Secure => match self.shake_hands(rx, bytes) {
                    Ok(Handshake::Done) => rx.gate.proceed(rx.gate.after_handshake()),
                    Ok(Handshake::Randomness | Handshake::Admission(_)) => {
                        return Own::Next(Next::Ask(Stage::Secure));
                    }
                    Ok(Handshake::Bytes | Handshake::Work) => return Own::Wait,
                    Err(reason) => return Own::Next(Next::Close(reason)),
                },
                stage @ (Stage::Settle | Stage::Admit | Stage::LocalAgents | Stage::Gather) => {
                    return Own::Next(Next::Ask(stage));
                }
                _ => return Own::Frames,
            }
        }
    }

    /// Gives the channel the bytes that its handshake asks for.
    fn shake_hands<S: Storage, C: Channel>(
        &mut self,
        rx: &mut Rx<S, C>,
        bytes: &mut [u8],
    ) -> Result<Handshake, CloseReason> {
        loop {
            match rx.opener.handshake() {
                Handshake::Bytes if self.open_record(rx, bytes)? => {}
                handshake => return Ok(handshake),
            }
        }
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
                    Stage::Secure => match rx.opener.handshake() {
                        Handshake::Admission(claimed) => Question::AdmitHandshake { claimed },
                        _ => Question::Randomness,
                    },
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
                let message = slice(rx, bytes, frame.place, &frame.payload).get(start..).unwrap_or_default();
                let Message { space, data, .. } = Message::decode(message).unwrap_or_default();
                Action::Ask {
                    id,
                    question: Question::ValidatePreflight { peer: identity(&rx.peer), space, data },
                }
            }
            Next::Goodbye(frame) => {
                self.take(&frame);
                rx.gate.close_told(CloseReason::Disconnected);
                let message = goodbye(rx, bytes, frame.place, &frame.payload);
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
    #[inline(never)]
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
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                    }
                    rx.counts.count_empty();
                    rx.deframer.release();
                    continue;
                }
                if !self.open_record(rx, bytes)? {
                    return Ok(Found::Nothing);
                }
                continue;
            }
            match rx.deframer.step(self.now, &rx.limits, bounds, plain)? {
                Step::Whole { ty, payload } => {
                    let advance = payload.end;
                    let place = if staged { Place::Stage } else { Place::Bytes };
                    let payload = start + payload.start..start + payload.end;
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place, payload, advance }));
                    }
                    rx.counts.count_empty();
                    self.advance(advance);
                }
                Step::Buffered { ty, payload, taken } => {
                    note_buffer_use(rx, self.now);
                    self.advance(taken);
                    if !payload.is_empty() || rx.gate.stage() != Stage::Open {
                        return Ok(Found::Frame(Frame { ty, place: Place::Buffer, payload, advance: 0 }));
                    }
                    rx.counts.count_empty();
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
                debug_assert!(consumed > 0, "an opener takes what it is shown");
                self.taken += consumed;
                self.ahead = Remembered { plain: 0, trailer: 0, staged: 0..len };
                // A handshake has the gate's deadline.
                let begun = len == 0 && rx.gate.stage() != Stage::Secure;
                let until = self.now + rx.limits.frame_timeout;
                rx.record_until = if begun { rx.record_until.or(Some(until)) } else { None };
                note_buffer_use(rx, self.now);
            }
            Opened::End { consumed } => {
                self.taken += consumed;
                self.ahead = Remembered::default();
                return Err(rx.end_reason());
            }
        }
        Ok(true)
    }

    fn skip_trailer(&mut self, shown: usize) {
        let shown = self.ahead.trailer.min(shown - self.taken);
        self.taken += shown;
        self.ahead.trailer -= shown;
    }

    #[inline(always)]
    fn take(&mut self, frame: &Frame) {
        self.advance(frame.advance);
        self.lent = Some((frame.place, frame.payload.clone()));
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
        rx.relax_at = Some(now + rx.limits.relax_interval);
    }
}

fn slice<'a, S: Storage, C: Channel>(
    rx: &'a Rx<S, C>,
    bytes: &'a [u8],
    place: Place,
    range: &Range<usize>,
) -> &'a [u8] {
    let whole = match place {
        Place::Bytes => bytes,
        Place::Stage => rx.opener.staged(),
        Place::Buffer => rx.deframer.buffer().as_slice(),
    };
    whole.get(range.clone()).unwrap_or_default()
}

/// The reason in a DISCONNECT.
fn goodbye<'a, S: Storage, C: Channel>(
    rx: &'a Rx<S, C>,
    bytes: &'a [u8],
    place: Place,
    payload: &Range<usize>,
) -> &'a [u8] {
    Message::decode(slice(rx, bytes, place, payload)).unwrap_or_default().data
}

/// What a message needs of its receiver while its payload is lent from another part of it.
struct Parts<'a, S: Storage> {
    peer: &'a Option<Identity<S>>,
    gate: &'a mut Gate,
    counts: &'a mut Counters,
}

/// A message on an open connection.
#[inline(always)]
fn message<'a, S: Storage, P: Policy>(
    now: Instant,
    rx: Parts<'a, S>,
    payload: &'a [u8],
    wire_bytes: usize,
    directory: &Directory<S, P>,
) -> Action<'a> {
    let peer = identity(rx.peer);
    let message = match Message::decode_in_line(payload) {
        Ok(message) => message,
        Err(error) => {
            let error = ReceiveError::Protocol(ProtocolError::Message(error));
            return closed_by_message(rx.gate, error);
        }
    };
    let routed = directory.route(&peer, &message);
    // What most messages are is made of the route as it stands, before it is made into one of many.
    if let Ok(Route::Module(to)) = routed {
        return module(rx.counts, to, &message, wire_bytes);
    }
    let (space, data) = (message.space.unwrap_or_default(), message.data);
    match routed {
        Ok(Route::Module(to)) => module(rx.counts, to, &message, wire_bytes),
        Ok(Route::Space(to)) => {
            rx.counts.count_message(wire_bytes);
            Action::Notify { to, space, data, wire_bytes }
        }
        Ok(Route::Drop(reason)) => {
            rx.counts.count_drop(reason);
            Action::Dropped { reason, space, wire_bytes: wire_bytes as u64 }
        }
        Ok(Route::Validate) => {
            let id = rx.gate.ask(now, Stage::Revalidate);
            Action::Ask { id, question: Question::ValidatePreflight { peer, space: message.space, data } }
        }
        Err(error) => closed_by_message(rx.gate, error),
    }
}

/// A message reaches a module.
#[inline(always)]
fn module<'a>(counts: &mut Counters, to: ModuleKey, message: &Message<'a>, wire_bytes: usize) -> Action<'a> {
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
impl Cursor {
    /// The data of the message that the last action told of, to keep.
    pub(super) fn keep<C: Channel>(
        &mut self,
        rx: &mut Rx<crate::storage::Heap, C>,
        bytes: &[u8],
    ) -> Option<bytes::Bytes> {
        let (place, payload) = self.lent.take()?;
        if place == Place::Buffer {
            let whole = rx.deframer.take_buffer();
            let data = Message::decode(whole.get(payload)?).ok()?.data;
            return Some(whole.slice_ref(data));
        }
        let data = Message::decode(slice(rx, bytes, place, &payload)).ok()?.data;
        Some(bytes::Bytes::copy_from_slice(data))
    }
}
