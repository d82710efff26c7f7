//! What a driver of one connection sees of a read.

use super::channel::{Channel, Plain};
use super::cursor::Cursor;
use super::rx::Rx;
use super::{Action, CloseReason, Wants};
use crate::router::{Directory, Policy};
use crate::storage::Storage;
use crate::time::Instant;

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
    /// [`Action::Closed`]. For a handler that refuses a message: [`Refusal::Handler`](super::Refusal::Handler).
    pub fn close(&mut self, reason: CloseReason) {
        self.rx.close(reason);
    }

    /// Tells what the time is by now, if the driver has awaited something since the read began.
    pub fn resume(&mut self, now: Instant) {
        self.cursor.resume(now);
    }

    /// Ends the read: how many bytes were taken off the front of those that were shown, and what the connection
    /// wants next. The latter says what to wait for if [`next`](Self::next) had nothing more to give; a cursor that is
    /// left earlier, or after [`close`](Self::close), has more to tell at the next read, without any wait.
    pub fn finish(self) -> (usize, Wants) {
        self.cursor.finish(self.rx, self.bytes.len())
    }
}

#[cfg(feature = "alloc")]
impl<C: Channel> Frames<'_, '_, crate::storage::Heap, C> {
    /// The data of the message that the last action told of, to keep. It costs a copy, unless the frame arrived in
    /// pieces: then its buffer is handed over. `None` if the last action told of none, or if it was kept already.
    pub fn payload_to_bytes(&mut self) -> Option<bytes::Bytes> {
        self.cursor.keep(self.rx, self.bytes)
    }
}
