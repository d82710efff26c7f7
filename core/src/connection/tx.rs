//! The transmit half of a connection.

use core::fmt;

#[cfg(feature = "alloc")]
use bytes::Bytes;

use super::channel::{Channel, Plain, Sealer};
use super::{CloseReason, Outbox, queue};
use crate::config::Config;
use crate::error::ProtocolError;
#[cfg(feature = "alloc")]
use crate::storage::Heap;
use crate::storage::{Pull, Storage, TxQueue};
use crate::time::{Instant, Span, earliest};
use crate::wire::{
    EMPTY_DATA_FRAME, FrameType, HEADER_BYTES, Message, PeerUrl, PreflightPayload, URL_LEN_BYTES,
};

/// How many pieces [`Tx::transmit_slices`] shows at most.
const MAX_PIECES: usize = 16;

/// The transmit half of a connection: a bounded queue of frames, written as the socket has room for them.
///
/// Frames that are queued together are written together. There are two ways to pull: [`transmit`](Self::transmit)
/// copies into the caller's buffer, and what it returned is gone; [`transmit_slices`](Self::transmit_slices) shows
/// pieces for a vectored write, and what the socket took is gone.
#[derive(Debug, Clone)]
pub struct Tx<S: Storage, C: Channel = Plain> {
    queue: S::TxQueue,
    sealer: C::Sealer,
    max_frame_bytes: usize,
    /// While so many bytes are queued no message is.
    high_water: usize,
    tx_timeout: Span,
    relax_interval: Span,
    /// The latest time that was given when it mattered: an earlier one would make the connection stale too soon.
    latest: Instant,
    /// Since when bytes have been waiting without one being written. `None` if and only if nothing waits.
    waiting_since: Option<Instant>,
    /// When the queue may give memory back.
    relax_at: Option<Instant>,
    /// As in [`TxCounts`]; where words have 32 bits, so do they.
    messages: usize,
    bytes: usize,
}

/// What has been queued on a connection. On machines of 32 bits these numbers begin again after 2^32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TxCounts {
    /// NOTIFY and MODULE messages.
    pub messages: u64,
    /// Bytes of their frames, headers included.
    pub bytes: u64,
}

/// Why a message was not queued. It is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum PushError {
    /// The queue has no room for it now, or holds [`Config::high_water_bytes`] already. There will be room when the peer
    /// has taken what is queued.
    Backpressure,
    /// Its frame is longer than a frame may be, or than the whole queue: there will never be room.
    TooLarge,
    /// Its frame is longer than the peer takes, as it said in the handshake of a secured channel.
    TooLargeForPeer,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backpressure => "the transmit queue is full",
            Self::TooLarge => "the message is too large",
            Self::TooLargeForPeer => "the message is too large for the peer",
        })
    }
}

impl core::error::Error for PushError {}

impl<S: Storage, C: Channel> Tx<S, C> {
    /// An empty queue in front of the transmit half of a channel.
    pub fn new(config: &Config, sealer: C::Sealer) -> Self {
        Self {
            queue: S::TxQueue::with_limits(config.tx_queue),
            sealer,
            max_frame_bytes: config.max_frame_bytes,
            high_water: config.high_water_bytes.max(1),
            tx_timeout: config.tx_timeout.into(),
            relax_interval: config.relax_interval.into(),
            latest: Instant::ZERO,
            waiting_since: None,
            relax_at: None,
            messages: 0,
            bytes: 0,
        }
    }

    /// Queues a message, encoded into the queue.
    ///
    /// # Errors
    /// See [`PushError`]. Nothing has changed then, and the message is still the caller's.
    #[inline]
    pub fn push(&mut self, now: Instant, message: &Message<'_>) -> Result<(), PushError> {
        queue::check_peer(self.sealer.max_frame_bytes(), message)?;
        let payload = queue::push(&mut self.queue, self.max_frame_bytes, self.high_water, message)?;
        self.queued(now, payload);
        Ok(())
    }

    /// Queues our preflight.
    pub(super) fn push_preflight(
        &mut self,
        now: Instant,
        own_url: PeerUrl<'_>,
        data: &[u8],
    ) -> Result<(), PushError> {
        let message = Message::preflight(data);
        let url = own_url.as_str().as_bytes();
        let payload = URL_LEN_BYTES + url.len() + message.encoded_len();
        let header = queue::header(&self.queue, self.max_frame_bytes, FrameType::Preflight, payload)?;
        let room = self.reserve(HEADER_BYTES + payload)?;
        if let Some((header_out, rest)) = room.split_first_chunk_mut() {
            *header_out = header.encode();
            let front = PreflightPayload { url: own_url, message: &[] }.encode(rest);
            debug_assert_eq!(front, Some(URL_LEN_BYTES + url.len()));
            let written = message.encode(&mut rest[URL_LEN_BYTES + url.len()..]);
            debug_assert!(written.is_ok());
        }
        self.waiting(now);
        Ok(())
    }

    /// Queues the empty data frame: the dialler's confirm, or a probe on an idle connection.
    ///
    /// # Errors
    /// [`PushError::Backpressure`] if there is no room for five bytes.
    pub fn push_empty(&mut self, now: Instant) -> Result<(), PushError> {
        self.reserve(HEADER_BYTES)?.copy_from_slice(&EMPTY_DATA_FRAME);
        self.waiting(now);
        Ok(())
    }

    /// Queues a DISCONNECT with a reason of the caller's choice, as the last thing that the peer hears. While the
    /// handshake of the channel is not done, there is nobody to say it to: nothing is queued then.
    ///
    /// # Errors
    /// See [`PushError`]: then the peer sees the end of the stream without a reason.
    pub fn push_disconnect(&mut self, now: Instant, reason: &[u8]) -> Result<(), PushError> {
        if !self.sealer.is_ready() {
            return Ok(());
        }
        let counts = (self.messages, self.bytes);
        let pushed = self.push(now, &Message::disconnect(reason));
        (self.messages, self.bytes) = counts;
        self.finish(now);
        pushed
    }

    /// Queues what the peer is told about `reason`, if it is told anything and there is room for it. For the driver of
    /// a [`Rx`](super::Rx), before it writes what is left and closes the socket.
    pub fn push_farewell(&mut self, now: Instant, reason: CloseReason) {
        if let Some(farewell) = reason.farewell() {
            // Without room the peer sees the end of the stream instead, which says enough.
            let _ = self.push_disconnect(now, farewell);
        }
        self.finish(now);
    }

    /// After everything that is queued the peer is told that nothing more comes.
    fn finish(&mut self, now: Instant) {
        self.sealer.finish();
        if self.sealer.sealed_len() > 0 {
            self.waiting(now);
        }
    }

    /// One step of the channel's handshake.
    pub(super) fn work(&mut self, now: Instant, opener: &mut C::Opener) -> Result<(), ProtocolError> {
        C::work(opener, &mut self.sealer)?;
        if self.sealer.sealed_len() > 0 {
            self.waiting(now);
        }
        Ok(())
    }

    /// Bytes that wait to be written, as far as they are queued or sealed.
    #[inline]
    pub fn pending(&self) -> usize {
        self.queue.len() + self.sealer.sealed_len()
    }

    /// Bytes of memory that the queue and the channel own.
    pub fn memory(&self) -> usize {
        self.queue.capacity() + self.sealer.memory()
    }

    /// The longest frame that the peer takes, in bytes, as far as it said so: it does in the handshake of a secured
    /// channel.
    pub fn peer_max_frame_bytes(&self) -> usize {
        self.sealer.max_frame_bytes()
    }

    /// What has been queued so far.
    pub fn counts(&self) -> TxCounts {
        TxCounts { messages: self.messages as u64, bytes: self.bytes as u64 }
    }

    /// Copies bytes for the socket into `out` and returns how many. They are gone from the queue.
    pub fn transmit(&mut self, now: Instant, out: &mut [u8]) -> usize {
        self.transmit_with(now, None, out)
    }

    /// [`transmit`](Self::transmit) for a connection that carries the messages of an outbox besides its own frames.
    pub fn transmit_with(&mut self, now: Instant, outbox: Option<&mut Outbox<S>>, out: &mut [u8]) -> usize {
        let mut source = Source { own: &mut self.queue, outbox };
        let mut filled = 0;
        while filled < out.len() {
            let mut pieces = [&[][..]; 1];
            let piece = match self.sealer.peek(&mut source, &mut pieces) {
                0 => break,
                _ => pieces[0],
            };
            let len = piece.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&piece[..len]);
            self.sealer.written(&mut source, len);
            filled += len;
        }
        let left = self.sealer.sealed_len() > 0 || source.peek(&mut [&[][..]; 1]) > 0;
        self.wrote(now, filled, left);
        filled
    }

    /// Shows the bytes for the socket as pieces, for a vectored write; `write` returns how many of them the socket
    /// took, and those are gone from the queue. It is not called when there is nothing to write.
    ///
    /// # Errors
    /// Whatever `write` returns; nothing has changed then.
    pub fn transmit_slices<E>(
        &mut self,
        now: Instant,
        write: impl FnOnce(&[&[u8]]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.transmit_slices_with(now, None, write)
    }

    /// [`transmit_slices`](Self::transmit_slices) for a connection that carries the messages of an outbox besides its
    /// own frames.
    ///
    /// # Errors
    /// Whatever `write` returns; nothing has changed then.
    pub fn transmit_slices_with<E>(
        &mut self,
        now: Instant,
        outbox: Option<&mut Outbox<S>>,
        write: impl FnOnce(&[&[u8]]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut source = Source { own: &mut self.queue, outbox };
        let mut pieces = [&[][..]; MAX_PIECES];
        let count = self.sealer.peek(&mut source, &mut pieces);
        if count == 0 {
            return Ok(0);
        }
        let len = match write(&pieces[..count]) {
            Ok(len) => len,
            Err(error) => {
                self.waiting(now);
                return Err(error);
            }
        };
        self.sealer.written(&mut source, len);
        let left = self.sealer.sealed_len() > 0 || source.peek(&mut [&[][..]; 1]) > 0;
        self.wrote(now, len, left);
        Ok(len)
    }

    /// Takes over what is written next, frames of its own and messages of the outbox, if the channel has memory of its
    /// own for that: a secured one has, for a record. Returns whether something lies there;
    /// [`transmit_slices`](Self::transmit_slices) seals and writes it then, and others can use the outbox meanwhile.
    pub fn stage(&mut self, now: Instant, outbox: &mut Outbox<S>) -> bool {
        let staged = self.sealer.stage(&mut Source { own: &mut self.queue, outbox: Some(outbox) });
        if staged {
            self.waiting(now);
        }
        staged
    }

    /// Takes over the rest of the message that this connection has begun to write, so that something can be said
    /// after it. Returns whether the stream stands between two frames then.
    pub fn finish_frame(&mut self, outbox: &mut Outbox<S>) -> bool {
        if outbox.frame_left() > 0 {
            // The rest comes first. What was queued behind it are probes, and a goodbye is as good as one.
            self.queue.consume(self.queue.len());
        }
        while outbox.frame_left() > 0 {
            let mut pieces = [&[][..]; 1];
            outbox.peek(&mut pieces);
            let len = pieces[0].len().min(outbox.frame_left());
            let Some(room) = self.queue.reserve(len) else { return false };
            room.copy_from_slice(&pieces[0][..len]);
            outbox.consume(len);
        }
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.stale_at(), self.relax_at)
    }

    /// Looks at the time. Returns `false` if the connection is stale: bytes have been waiting for the configured time
    /// and the peer took none. Calling it too early does nothing.
    #[must_use]
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let now = self.not_before(now);
        if self.relax_at.is_some_and(|at| at <= now) {
            self.relax_at = (self.queue.relax() | self.sealer.relax()).then(|| now + self.relax_interval);
        }
        self.stale_at().is_none_or(|at| now < at)
    }

    /// `now`, unless a later time was given before.
    fn not_before(&mut self, now: Instant) -> Instant {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn stale_at(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + self.tx_timeout)
    }

    #[inline]
    fn reserve(&mut self, len: usize) -> Result<&mut [u8], PushError> {
        self.queue.reserve(len).ok_or(PushError::Backpressure)
    }

    #[inline]
    fn queued(&mut self, now: Instant, payload: usize) {
        self.messages = self.messages.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(HEADER_BYTES + payload);
        self.waiting(now);
    }

    /// Bytes wait to be written, from now on if none did.
    #[inline]
    pub(crate) fn waiting(&mut self, now: Instant) {
        if self.waiting_since.is_none() {
            let now = self.not_before(now);
            self.waiting_since = Some(now);
            if S::TxQueue::GIVES_BACK && self.relax_at.is_none() {
                self.relax_at = Some(now + self.relax_interval);
            }
        }
    }

    fn wrote(&mut self, now: Instant, len: usize, left: bool) {
        let now = self.not_before(now);
        if !left {
            self.waiting_since = None;
        } else if len > 0 {
            self.waiting_since = Some(now);
        } else {
            self.waiting(now);
        }
    }
}

/// The frames of the connection itself and the messages of its peer, as one stream: a frame that has begun is
/// finished before anything else, then come the connection's own frames.
struct Source<'t, S: Storage> {
    own: &'t mut S::TxQueue,
    outbox: Option<&'t mut Outbox<S>>,
}

impl<S: Storage> Pull for Source<'_, S> {
    #[inline]
    fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        let Some(outbox) = self.outbox.as_deref() else { return self.own.peek(pieces) };
        if outbox.frame_left() > 0 {
            return if self.own.is_empty() { outbox.peek(pieces) } else { outbox.peek_frame(pieces) };
        }
        let own = self.own.peek(pieces);
        own + outbox.peek(pieces.get_mut(own..).unwrap_or_default())
    }

    #[inline]
    fn consume(&mut self, len: usize) {
        let Some(outbox) = self.outbox.as_deref_mut() else { return self.own.consume(len) };
        let begun = len.min(outbox.frame_left());
        outbox.consume(begun);
        let own = (len - begun).min(self.own.len());
        self.own.consume(own);
        outbox.consume(len - begun - own);
    }
}

#[cfg(feature = "alloc")]
impl<C: Channel> Tx<Heap, C> {
    /// Queues a message without copying its payload: `routing` is the message but for its payload, which is `data`
    /// whatever `routing` holds there. Short payloads are copied all the same.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use kitfox_core::connection::{Plain, Tx};
    /// use kitfox_core::storage::Heap;
    /// use kitfox_core::wire::Message;
    /// use kitfox_core::{Config, Instant};
    ///
    /// let mut tx = Tx::<Heap>::new(&Config::HOST, Plain::default());
    /// let photo = Bytes::from(vec![7; 100_000]);
    /// tx.push_shared(Instant::ZERO, &Message::module(b"garden", "photos", &[]), photo).unwrap();
    /// assert!(tx.pending() > 100_000 && tx.memory() < 1_000);
    /// ```
    ///
    /// # Errors
    /// Hands the payload back; see [`PushError`].
    pub fn push_shared(
        &mut self,
        now: Instant,
        routing: &Message<'_>,
        data: Bytes,
    ) -> Result<(), (PushError, Bytes)> {
        if let Err(error) =
            queue::check_peer(self.sealer.max_frame_bytes(), &Message { data: &data, ..*routing })
        {
            return Err((error, data));
        }
        let payload =
            queue::push_shared(&mut self.queue, self.max_frame_bytes, self.high_water, routing, data)?;
        self.queued(now, payload);
        Ok(())
    }
}
