//! What waits to be sent to one peer, and the fate of each message.

use super::{PushError, queue};
use crate::config::Config;
use crate::storage::{Pull, Storage, TxQueue};
use crate::wire::{FrameHeader, HEADER_BYTES, Message};

/// The messages for one peer, whichever connection they will go out on.
///
/// Messages are numbered in the order in which they were accepted, from 0. They belong to the peer, not to a
/// connection, until the first of their bytes is written; what has been written on one connection is never written on
/// another one. So every message ends as written on a connection that is still open, as *unknown* (written on a
/// connection that has ended: it may have arrived, or not) or as *not sent* (certainly never to arrive).
#[derive(Debug, Clone)]
pub struct Outbox<S: Storage> {
    queue: S::Outbox,
    max_frame_bytes: usize,
    /// While so many bytes are queued nothing more is.
    high_water: usize,
    /// Bytes of the frame that is being written which are still queued. Invariant: zero or less than a frame.
    frame_left: usize,
    /// The number of the next message to be accepted.
    accepted: u64,
    /// The number of the next message to be written. Invariant: `session <= written <= accepted`.
    written: u64,
    /// The number of the first message that the connection that is open could write.
    session: u64,
    /// Whether a connection is open that may write.
    open: bool,
    /// Whether writing waits for the fate of another connection.
    paused: bool,
    /// The longest frame that the peer of the connection that is open takes.
    peer_max_frame_bytes: usize,
    /// No frame in the queue is longer. Invariant: zero while it is empty.
    longest_frame_bytes: usize,
}

/// Numbers of messages. One in between that was told of as not sent is not meant: its fate is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[allow(clippy::exhaustive_structs)] // two ends
pub struct Numbers {
    /// The first one.
    pub first: u64,
    /// The last one, which is not before the first.
    pub last: u64,
}

impl<S: Storage> Outbox<S> {
    /// An empty outbox.
    pub fn new(config: &Config) -> Self {
        Self {
            queue: S::Outbox::with_limits(config.outbox),
            max_frame_bytes: config.max_frame_bytes,
            high_water: config.high_water_bytes.max(1),
            frame_left: 0,
            accepted: 0,
            written: 0,
            session: 0,
            open: false,
            paused: false,
            peer_max_frame_bytes: usize::MAX,
            longest_frame_bytes: 0,
        }
    }

    /// Accepts a message and returns its number.
    ///
    /// # Errors
    /// See [`PushError`]. Nothing has changed then, and the message is still the caller's.
    #[inline]
    pub fn push(&mut self, message: &Message<'_>) -> Result<u64, PushError> {
        queue::check_peer(self.peer_max_frame_bytes, message)?;
        let payload = queue::push(&mut self.queue, self.max_frame_bytes, self.high_water, message)?;
        Ok(self.accept(payload))
    }

    /// Numbers the message that was just queued.
    #[inline]
    fn accept(&mut self, payload: usize) -> u64 {
        self.longest_frame_bytes = self.longest_frame_bytes.max(HEADER_BYTES + payload);
        let number = self.accepted;
        self.accepted += 1;
        number
    }

    /// Whether no message waits to be written.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a message waits of which nothing was written.
    pub fn has_unwritten(&self) -> bool {
        self.queue.len() > self.frame_left
    }

    /// Bytes that wait to be written.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of memory that it owns.
    pub fn memory(&self) -> usize {
        self.queue.capacity()
    }

    /// Whether the connection that is open may write now. A frame that has begun is always finished.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.open
            && !self.queue.is_empty()
            && (!self.paused || self.frame_left > 0)
            && !self.is_too_large_for_peer()
    }

    /// Whether the message that is to be written next is longer than the peer takes: it was accepted before that was
    /// known. Nothing more is written until it is given up.
    #[inline]
    pub fn is_too_large_for_peer(&self) -> bool {
        self.looks_twice() && self.frame_left == 0 && self.front_frame_bytes() > self.peer_max_frame_bytes
    }

    /// Whether a message may be queued that the peer does not take.
    #[inline]
    fn looks_twice(&self) -> bool {
        self.longest_frame_bytes > self.peer_max_frame_bytes
    }

    /// A connection opens: from now on it writes what waits. Its peer takes frames up to so many bytes.
    pub fn begin(&mut self, peer_max_frame_bytes: usize) {
        debug_assert!(!self.open && self.frame_left == 0, "the session before has ended");
        self.peer_max_frame_bytes = peer_max_frame_bytes;
        self.session = self.written;
        self.open = true;
    }

    /// The connection that was open has ended. Returns the messages whose fate is unknown. What it did not begin to
    /// write stays for the next one.
    pub fn end(&mut self) -> Option<Numbers> {
        self.queue.consume(core::mem::take(&mut self.frame_left));
        self.note_empty();
        self.open = false;
        self.peer_max_frame_bytes = usize::MAX;
        let first = core::mem::replace(&mut self.session, self.written);
        (first < self.written).then(|| Numbers { first, last: self.written - 1 })
    }

    /// While paused no message begins to be written.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The number that the next message to be accepted will get.
    pub fn next_number(&self) -> u64 {
        self.accepted
    }

    /// The number of the next message to be written: all before it were written, wholly or in part, or given up.
    pub fn next_written(&self) -> u64 {
        self.written
    }

    /// The first message of which nothing was written: its number, and its encoding if it is queued in one piece, as
    /// all are that were not shared. Only between two connections, or where it is too large for the peer.
    pub fn first(&self) -> Option<(u64, &[u8])> {
        debug_assert!(!self.open || self.is_too_large_for_peer(), "it may be on its way");
        if self.written == self.accepted {
            return None;
        }
        let mut pieces = [&[][..]; 1];
        self.queue.peek(&mut pieces);
        let bytes = pieces[0].get(HEADER_BYTES..self.front_frame_bytes()).unwrap_or_default();
        Some((self.written, bytes))
    }

    /// Gives up the first message of which nothing was written. Only between two connections, or where it is too large
    /// for the peer.
    pub fn drop_first(&mut self) {
        if self.written < self.accepted {
            let frame = self.front_frame_bytes();
            self.queue.consume(frame);
            self.note_empty();
            // In between others that were written it counts as one of them.
            if !self.open || self.session == self.written {
                self.session = self.written + 1;
            }
            self.written += 1;
        }
    }

    #[inline]
    fn note_empty(&mut self) {
        if self.queue.is_empty() {
            self.longest_frame_bytes = 0;
        }
    }

    /// Gives memory back that was not needed since the last call. Returns whether there is more.
    pub fn relax(&mut self) -> bool {
        self.queue.relax()
    }

    /// Bytes of the frame that has begun to be written which are still here.
    #[inline]
    pub(crate) fn frame_left(&self) -> usize {
        self.frame_left
    }

    /// The first bytes that may be written, as pieces; returns how many.
    #[inline]
    pub(crate) fn peek<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        match (self.is_writable(), self.paused) {
            (true, false) if !self.looks_twice() => self.queue.peek(pieces),
            (true, _) if self.frame_left == 0 => self.peek_up_to(self.front_frame_bytes(), pieces),
            (true, _) => self.peek_frame(pieces),
            (false, _) => 0,
        }
    }

    /// The rest of the frame that has begun, as pieces; returns how many.
    pub(crate) fn peek_frame<'a>(&'a self, pieces: &mut [&'a [u8]]) -> usize {
        self.peek_up_to(self.frame_left, pieces)
    }

    fn peek_up_to<'a>(&'a self, mut left: usize, pieces: &mut [&'a [u8]]) -> usize {
        let shown = self.queue.peek(pieces);
        let mut count = 0;
        for piece in &mut pieces[..shown] {
            *piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            count += usize::from(!piece.is_empty());
        }
        count
    }

    /// The first `len` of these bytes were written.
    pub(crate) fn consume(&mut self, mut len: usize) {
        while len > 0 {
            if self.frame_left == 0 {
                self.frame_left = self.front_frame_bytes();
                self.written += 1;
            }
            let taken = len.min(self.frame_left);
            self.queue.consume(taken);
            self.frame_left -= taken;
            len -= taken;
        }
        self.note_empty();
    }

    /// Bytes of the first frame. Invariant: frames are queued whole.
    fn front_frame_bytes(&self) -> usize {
        let mut pieces = [&[][..]; 1];
        self.queue.peek(&mut pieces);
        let header = FrameHeader::decode(pieces[0], usize::MAX);
        debug_assert!(header.is_ok(), "a header is queued in one piece");
        header.map_or_else(|_| self.queue.len(), FrameHeader::frame_bytes)
    }
}

#[cfg(feature = "alloc")]
impl Outbox<crate::storage::Heap> {
    /// Gives up the first message of which nothing was written, and hands back its number and its encoding, also where
    /// its payload was shared. Only between two connections.
    pub fn take_first(&mut self) -> Option<(u64, alloc::vec::Vec<u8>)> {
        let (number, _) = self.first()?;
        // Head, shared payload, tail.
        let mut pieces = [&[][..]; 3];
        let shown = self.queue.peek(&mut pieces);
        let frame = self.front_frame_bytes();
        let mut encoded = alloc::vec::Vec::with_capacity(frame);
        for piece in &pieces[..shown] {
            encoded.extend_from_slice(&piece[..piece.len().min(frame - encoded.len())]);
        }
        encoded.drain(..HEADER_BYTES);
        self.drop_first();
        Some((number, encoded))
    }

    /// Accepts a message without copying its payload: `routing` is the message but for its payload, which is `data`
    /// whatever `routing` holds there. Short payloads are copied all the same. Returns the message's number.
    ///
    /// # Errors
    /// Hands the payload back; see [`PushError`].
    pub fn push_shared(
        &mut self,
        routing: &Message<'_>,
        data: bytes::Bytes,
    ) -> Result<u64, (PushError, bytes::Bytes)> {
        if let Err(error) = queue::check_peer(self.peer_max_frame_bytes, &Message { data: &data, ..*routing })
        {
            return Err((error, data));
        }
        let payload =
            queue::push_shared(&mut self.queue, self.max_frame_bytes, self.high_water, routing, data)?;
        Ok(self.accept(payload))
    }
}
