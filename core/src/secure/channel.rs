//! The two halves of a secured channel: a handshake, then records.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use super::aead::{Aead, ChaChaPoly, Cipher, TAG_BYTES};
use super::hello::{self, LEN_BYTES, Limits, MAX_RECORD_BYTES, MIN_RECORD_BYTES, RECORD_OVERHEAD};
use super::key::{self, KeyError};
use super::noise::{Noise, Progress};
use super::{Credentials, HandshakeError};
use crate::connection::{self, Channel, Handshake, Opened};
use crate::error::ProtocolError;
use crate::peer::PeerId;
use crate::storage::{Buffer, BufferLimits, Pull};

/// The secured channel. `B` is where a record is put together that arrives in pieces, and where one waits to be
/// written: at least [`MIN_RECORD_BYTES`] and [`RECORD_OVERHEAD`] long. `A` is the cipher.
pub struct Secured<B, A = ChaChaPoly>(PhantomData<fn() -> (B, A)>);

impl<B: Buffer, A: Aead> Channel for Secured<B, A> {
    type Start = Start;
    type Opener = Opener<B, A>;
    type Sealer = Sealer<B, A>;
    const SECURED: bool = true;

    fn opener(start: Start) -> Opener<B, A> {
        let stage = start.buffer::<B>();
        let max_text = stage.limit().saturating_sub(RECORD_OVERHEAD);
        debug_assert!(max_text >= MIN_RECORD_BYTES.into(), "the buffer is too small for any record");
        Opener {
            state: State::Shaking(start.shaking.into()),
            stage,
            text: None,
            max_text,
            max_frame_bytes: u32::MAX,
        }
    }

    fn sealer(start: &Start) -> Sealer<B, A> {
        Sealer {
            cipher: None,
            record: start.buffer(),
            written: 0,
            unsealed: false,
            peer: None,
            parting: Parting::No,
        }
    }

    fn can_prove(id: &PeerId) -> bool {
        key::check_id(id).is_ok()
    }

    fn work(opener: &mut Opener<B, A>, sealer: &mut Sealer<B, A>) -> Result<(), ProtocolError> {
        let worked = opener.work(sealer);
        if worked.is_err() {
            opener.state = State::Failed;
        }
        worked
    }
}

/// A handshake that has not begun.
pub struct Start {
    shaking: Shaking,
    max_record_bytes: u16,
}

impl Start {
    /// A channel that this end opened to `peer`.
    ///
    /// # Errors
    /// [`KeyError`] if nobody can prove that id.
    pub fn dial(ours: &Credentials, peer: &PeerId) -> Result<Self, KeyError> {
        let remote = key::public_key_of(peer)?;
        let noise = Noise::dial(&hello::prologue(&ours.network), ours.key.clone(), remote);
        let shaking =
            Shaking { noise, phase: Phase::Ephemeral, dialler: true, peer: Some(*peer), limits: None };
        Ok(Self { shaking, max_record_bytes: ours.max_record_bytes })
    }

    /// A channel that a peer opened.
    pub fn accept(ours: &Credentials) -> Self {
        let noise = Noise::accept(&hello::prologue(&ours.network), ours.key.clone());
        let shaking = Shaking { noise, phase: Phase::Reading, dialler: false, peer: None, limits: None };
        Self { shaking, max_record_bytes: ours.max_record_bytes }
    }

    /// Room for one record.
    #[inline(always)]
    fn buffer<B: Buffer>(&self) -> B {
        let max_text = self.max_record_bytes.clamp(MIN_RECORD_BYTES, MAX_RECORD_BYTES);
        let max_bytes = usize::from(max_text) + RECORD_OVERHEAD;
        B::with_limits(BufferLimits { min_bytes: 0, max_bytes })
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.shaking.dialler { "Start(dialler)" } else { "Start(acceptor)" })
    }
}

/// The receive half. It also leads the handshake.
#[derive(Clone)]
pub struct Opener<B: Buffer, A = ChaChaPoly> {
    state: State<B, A>,
    /// A handshake message, or a record that arrives in pieces.
    stage: B,
    /// Where the text of the record in the stage lies, once that is whole.
    text: Option<Range<usize>>,
    /// Longest text of a record that we take, in bytes.
    max_text: usize,
    /// Longest frame that we take, in bytes, as the peer is told.
    max_frame_bytes: u32,
}

#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // it must fit where there is no allocator
enum State<B: Buffer, A> {
    Shaking(B::Aside<Shaking>),
    Records {
        cipher: Cipher<A>,
        peer: PeerId,
    },
    /// The peer has said that nothing more comes.
    Ended {
        peer: PeerId,
    },
    Failed,
}

/// A handshake under way.
#[derive(Clone)]
struct Shaking {
    noise: Noise,
    phase: Phase,
    dialler: bool,
    /// Whom we dialled, or who the first message claims to come from.
    peer: Option<PeerId>,
    /// What the peer told about itself.
    limits: Option<Limits>,
}

/// A dialler goes Ephemeral, Sealing, Reading, Opening; an acceptor Reading, Opening, Admission, Ephemeral, Sealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer's message is to come.
    Reading,
    /// It is whole, and there are steps to take.
    Opening,
    /// Somebody else says whether to go on with this peer.
    Admission,
    /// Randomness is needed.
    Ephemeral,
    /// Our message is being made.
    Sealing,
}

impl Shaking {
    /// Bytes in front of the peer's message.
    fn their_header(&self) -> usize {
        if self.dialler { hello::SECOND_HEADER } else { hello::FIRST_HEADER }
    }

    /// Bytes in front of our message.
    fn our_header(&self) -> usize {
        if self.dialler { hello::FIRST_HEADER } else { hello::SECOND_HEADER }
    }

    /// How long the peer's message is with its header, as far as `bytes` tell.
    fn message_len(&self, bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
        if self.dialler { hello::second_len(bytes) } else { hello::first_len(bytes) }
    }

    /// The peer's message was opened.
    fn read(&mut self, message: &[u8]) -> Result<(), HandshakeError> {
        let limits = if self.dialler {
            hello::read_second(message)?
        } else {
            let (id, limits) = hello::read_first(message)?;
            // The map from ids to keys drops a sign, so that the key alone would not tell who this is.
            if key::x25519_of(&id).ok().as_ref() != Some(self.noise.remote()) {
                return Err(HandshakeError::Id);
            }
            self.peer = Some(PeerId::from_key(id));
            limits
        };
        self.limits = Some(limits);
        Ok(())
    }
}

impl<B: Buffer, A: Aead> Opener<B, A> {
    /// One step: at most one scalar multiplication.
    fn work(&mut self, sealer: &mut Sealer<B, A>) -> Result<(), ProtocolError> {
        let State::Shaking(shaking) = &mut self.state else { return Ok(()) };
        let shaking = &mut **shaking;
        match shaking.phase {
            Phase::Opening => {
                let header = shaking.their_header();
                let message = self.stage.as_mut_slice().get_mut(header..).unwrap_or_default();
                if shaking.noise.step::<A>(message)? == Progress::Whole {
                    shaking.read(message)?;
                    self.stage.clear();
                    shaking.phase = Phase::Admission;
                    if shaking.dialler {
                        self.begin_records(sealer);
                    }
                }
            }
            Phase::Sealing => {
                if sealer.record.as_slice().is_empty() {
                    let ours = Limits {
                        record_bytes: u16::try_from(self.max_text).unwrap_or(u16::MAX),
                        frame_bytes: self.max_frame_bytes,
                    };
                    let (first, second);
                    let message: &[u8] = if shaking.dialler {
                        first = hello::first(shaking.noise.local_id(), ours);
                        &first
                    } else {
                        second = hello::second(ours);
                        &second
                    };
                    let room = sealer.record.append(message, message.len());
                    debug_assert!(room.is_ok(), "every buffer has room for a handshake message");
                    sealer.written = message.len();
                }
                let header = shaking.our_header();
                let message = sealer.record.as_mut_slice().get_mut(header..).unwrap_or_default();
                if shaking.noise.step::<A>(message)? == Progress::Whole {
                    sealer.written = 0;
                    shaking.phase = Phase::Reading;
                    if !shaking.dialler {
                        self.begin_records(sealer);
                    }
                }
            }
            Phase::Reading | Phase::Admission | Phase::Ephemeral => {}
        }
        Ok(())
    }

    /// The handshake is done.
    fn begin_records(&mut self, sealer: &mut Sealer<B, A>) {
        let State::Shaking(shaking) = &self.state else { return };
        let Shaking { noise, dialler, peer: Some(peer), limits: Some(limits), .. } = &**shaking else {
            debug_assert!(false, "a handshake ends with a peer");
            return;
        };
        let (from_dialler, from_acceptor) = noise.split::<A>();
        let (writing, reading) =
            if *dialler { (from_dialler, from_acceptor) } else { (from_acceptor, from_dialler) };
        // Most records arrive whole and never lie here: the first call forgets how much was used, the second gives it
        // back.
        if self.stage.relax() {
            self.stage.relax();
        }
        sealer.cipher = Some(writing);
        sealer.peer = Some(*limits);
        self.state = State::Records { cipher: reading, peer: *peer };
    }

    /// Takes bytes of the peer's handshake message.
    fn open_message(&mut self, wire: &[u8]) -> Result<Opened, ProtocolError> {
        let State::Shaking(shaking) = &mut self.state else { return Err(ProtocolError::BadRecord) };
        if shaking.phase != Phase::Reading {
            return Err(ProtocolError::BadRecord);
        }
        let header = shaking.their_header();
        let mut consumed = 0;
        loop {
            let len = shaking.message_len(self.stage.as_slice())?;
            let want = len.unwrap_or(header);
            let missing = want - self.stage.as_slice().len();
            if missing == 0 {
                shaking.phase = Phase::Opening;
                break;
            }
            let more = wire.get(consumed..).unwrap_or_default();
            let more = &more[..more.len().min(missing)];
            if more.is_empty() {
                break;
            }
            self.stage.append(more, want).map_err(|_| ProtocolError::BadRecord)?;
            consumed += more.len();
        }
        Ok(Opened::Staged { consumed, len: 0 })
    }

    /// Opens the record that `wire` begins with, or keeps what there is of it.
    fn open_record(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        if self.text.take().is_some() {
            self.stage.clear();
        }
        let State::Records { cipher, .. } = &mut self.state else { return Err(ProtocolError::BadRecord) };
        let whole = if self.stage.as_slice().is_empty() { record_len(wire, self.max_text)? } else { None };
        if let Some(record) = whole.and_then(|len| wire.get_mut(..len)) {
            let len = open_in_place(cipher, record)?.len();
            if len == 0 {
                return Ok(self.ended(RECORD_OVERHEAD));
            }
            return Ok(Opened::InPlace { skip: LEN_BYTES, len, trailer: TAG_BYTES });
        }
        let mut consumed = 0;
        loop {
            let len = record_len(self.stage.as_slice(), self.max_text)?;
            let want = len.unwrap_or(LEN_BYTES);
            let missing = want - self.stage.as_slice().len();
            if missing == 0 {
                break;
            }
            let more = wire.get(consumed..).unwrap_or_default();
            let more = &more[..more.len().min(missing)];
            if more.is_empty() {
                return Ok(Opened::Staged { consumed, len: 0 });
            }
            self.stage.append(more, want).map_err(|_| ProtocolError::BadRecord)?;
            consumed += more.len();
        }
        let len = open_in_place(cipher, self.stage.as_mut_slice())?.len();
        if len == 0 {
            return Ok(self.ended(consumed));
        }
        self.text = Some(LEN_BYTES..LEN_BYTES + len);
        Ok(Opened::Staged { consumed, len })
    }

    fn ended(&mut self, consumed: usize) -> Opened {
        if let State::Records { peer, .. } = self.state {
            self.state = State::Ended { peer };
        }
        Opened::End { consumed }
    }
}

impl<B: Buffer, A: Aead> connection::Opener for Opener<B, A> {
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        let opened = match self.state {
            State::Shaking(_) => self.open_message(wire),
            _ => self.open_record(wire),
        };
        if opened.is_err() {
            self.state = State::Failed;
        }
        opened
    }

    fn staged(&self) -> &[u8] {
        self.text.clone().and_then(|text| self.stage.as_slice().get(text)).unwrap_or_default()
    }

    fn end(&self) -> Result<(), ProtocolError> {
        match self.state {
            State::Ended { .. } => Ok(()),
            State::Shaking(_) => Err(HandshakeError::Ended.into()),
            State::Records { .. } | State::Failed => Err(ProtocolError::EndWithoutClose),
        }
    }

    fn handshake(&self) -> Handshake {
        let State::Shaking(shaking) = &self.state else { return Handshake::Done };
        match (shaking.phase, shaking.peer) {
            (Phase::Admission, Some(peer)) => Handshake::Admission(peer),
            (Phase::Reading | Phase::Admission, _) => Handshake::Bytes,
            (Phase::Ephemeral, _) => Handshake::Randomness,
            (Phase::Opening | Phase::Sealing, _) => Handshake::Work,
        }
    }

    fn admitted(&mut self) {
        if let State::Shaking(shaking) = &mut self.state {
            shaking.phase = Phase::Ephemeral;
        }
    }

    fn give_randomness(&mut self, bytes: &[u8; 32]) {
        if let State::Shaking(shaking) = &mut self.state {
            shaking.noise.set_ephemeral(bytes);
            shaking.phase = Phase::Sealing;
        }
    }

    fn proven_id(&self) -> Option<&PeerId> {
        match &self.state {
            State::Records { peer, .. } | State::Ended { peer } => Some(peer),
            State::Shaking(_) | State::Failed => None,
        }
    }

    fn announce(&mut self, max_frame_bytes: usize) {
        self.max_frame_bytes = u32::try_from(max_frame_bytes).unwrap_or(u32::MAX);
    }

    fn memory(&self) -> usize {
        self.stage.capacity()
    }

    fn relax(&mut self, staged_was_read: bool) -> bool {
        if staged_was_read && self.text.take().is_some() {
            self.stage.clear();
        }
        self.stage.relax()
    }
}

/// Bytes of the record that begins here, as far as that is known.
fn record_len(bytes: &[u8], max_text: usize) -> Result<Option<usize>, ProtocolError> {
    let Some((len, _)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(*len));
    if (TAG_BYTES..=TAG_BYTES + max_text).contains(&len) {
        Ok(Some(LEN_BYTES + len))
    } else {
        Err(ProtocolError::BadRecord)
    }
}

/// Opens a whole record; its text.
fn open_in_place<'r, A: Aead>(
    cipher: &mut Cipher<A>,
    record: &'r mut [u8],
) -> Result<&'r [u8], ProtocolError> {
    let sealed = record.get_mut(LEN_BYTES..).unwrap_or_default();
    let (text, tag) = sealed.split_last_chunk_mut().ok_or(ProtocolError::BadRecord)?;
    if cipher.open(&[], text, tag) { Ok(text) } else { Err(ProtocolError::BadRecord) }
}

/// The transmit half.
#[derive(Clone)]
pub struct Sealer<B, A = ChaChaPoly> {
    /// `None` until the handshake is done.
    cipher: Option<Cipher<A>>,
    /// The handshake message or the record that is being written.
    record: B,
    /// Bytes of it that were written. Invariant: at most as many as it has.
    written: usize,
    /// Whether the record has yet to be sealed. Invariant: nothing of it was written then.
    unsealed: bool,
    /// What the peer told about itself.
    peer: Option<Limits>,
    parting: Parting,
}

/// Whether the peer is told that nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    No,
    /// After everything that is queued.
    Due,
    /// The last record has begun; nothing may follow it.
    Sealed,
}

/// Pieces of the queue that are looked at for one record.
const PIECES: usize = 16;

impl<B: Buffer, A: Aead> Sealer<B, A> {
    /// Begins the next record if the last one is written and there is anything to say.
    fn fill<Q: Pull>(&mut self, queue: &mut Q) {
        if self.written < self.record.as_slice().len() || self.cipher.is_none() {
            return;
        }
        let Some(limits) = &self.peer else { return };
        if self.parting == Parting::Sealed {
            return;
        }
        let max_text =
            usize::from(limits.record_bytes).min(self.record.limit().saturating_sub(RECORD_OVERHEAD));
        let mut pieces = [&[][..]; PIECES];
        let shown = queue.peek(&mut pieces);
        let shown = pieces.get(..shown).unwrap_or_default();
        let len = shown.iter().map(|piece| piece.len()).sum::<usize>().min(max_text);
        if len == 0 {
            if self.parting == Parting::No {
                return;
            }
            self.parting = Parting::Sealed;
        }
        let total = len + RECORD_OVERHEAD;
        self.record.clear();
        self.written = 0;
        let mut room = self.record.append(&((len + TAG_BYTES) as u16).to_be_bytes(), total);
        let mut left = len;
        for piece in shown {
            let piece = piece.get(..piece.len().min(left)).unwrap_or_default();
            room = room.and_then(|()| self.record.append(piece, total));
            left -= piece.len();
        }
        room = room.and_then(|()| self.record.append(&[0; TAG_BYTES], total));
        debug_assert!(room.is_ok() && left == 0, "a record is never longer than its buffer");
        self.unsealed = true;
        queue.consume(len);
    }

    /// Seals the record that was begun.
    fn seal(&mut self) {
        let text = self.record.as_mut_slice().get_mut(LEN_BYTES..).unwrap_or_default();
        if let (Some(cipher), Some((text, tag))) = (&mut self.cipher, text.split_last_chunk_mut()) {
            *tag = cipher.seal(&[], text);
        }
        self.unsealed = false;
    }
}

impl<B: Buffer, A: Aead> connection::Sealer for Sealer<B, A> {
    fn peek<'a, Q: Pull>(&'a mut self, queue: &'a mut Q, pieces: &mut [&'a [u8]]) -> usize {
        self.fill(queue);
        if self.unsealed {
            self.seal();
        }
        let record = self.record.as_slice().get(self.written..).unwrap_or_default();
        match pieces.first_mut().filter(|_| !record.is_empty()) {
            Some(piece) => {
                *piece = record;
                1
            }
            None => 0,
        }
    }

    fn stage<Q: Pull>(&mut self, queue: &mut Q) -> bool {
        self.fill(queue);
        self.written < self.record.as_slice().len()
    }

    fn written<Q: Pull>(&mut self, _: &mut Q, len: usize) {
        self.written += len;
        debug_assert!(self.written <= self.record.as_slice().len());
    }

    fn sealed_len(&self) -> usize {
        let close = if self.parting == Parting::Due { RECORD_OVERHEAD } else { 0 };
        self.record.as_slice().len() - self.written + close
    }

    fn is_ready(&self) -> bool {
        self.cipher.is_some()
    }

    fn finish(&mut self) {
        if self.parting == Parting::No && self.cipher.is_some() {
            self.parting = Parting::Due;
        }
    }

    fn max_frame_bytes(&self) -> usize {
        self.peer.map_or(usize::MAX, |limits| limits.frame_bytes.try_into().unwrap_or(usize::MAX))
    }

    fn memory(&self) -> usize {
        self.record.capacity()
    }

    fn relax(&mut self) -> bool {
        if self.written == self.record.as_slice().len() {
            self.record.clear();
            self.written = 0;
        }
        self.record.relax()
    }
}

impl<B, A> Clone for Secured<B, A> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<B, A> fmt::Debug for Secured<B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secured")
    }
}

impl<B: Buffer, A> Opener<B, A> {
    pub(crate) fn state_name(&self) -> &'static str {
        match &self.state {
            State::Shaking(_) => "Opener(handshake)",
            State::Records { .. } => "Opener(records)",
            State::Ended { .. } => "Opener(ended)",
            State::Failed => "Opener(failed)",
        }
    }
}

impl<B, A> Sealer<B, A> {
    pub(crate) fn state_name(&self) -> &'static str {
        if self.cipher.is_some() { "Sealer(records)" } else { "Sealer(handshake)" }
    }
}

impl<B: Buffer, A> fmt::Debug for Opener<B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state_name())
    }
}

impl<B, A> fmt::Debug for Sealer<B, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.state_name())
    }
}
