//! The receive half of a connection.

use std::ops::Deref;

use bytes::Bytes;
use kitfox_core::connection::{Action, Answer, Channel, CloseReason, QuestionId, Wants};
use kitfox_core::storage::Heap;
use kitfox_core::{ApiMisuse, Config, Instant};

use super::entry::{Blob, Digest, Entry, RxCall, Said, Seen};
use super::{Rules, Tape, Tx};
use crate::security::Wire;

type Core = kitfox_core::connection::Rx<Heap, Wire>;
type CoreFrames<'r, 'i> = kitfox_core::connection::Frames<'r, 'i, Heap, Wire>;

/// The core's receive half of a connection.
pub(crate) struct Rx {
    connection: u64,
    rx: Core,
    /// Bytes of the last read that were not taken: they come first in the next one, and were noted already.
    left: usize,
    tape: Tape,
}

impl Deref for Rx {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.rx
    }
}

impl Rx {
    pub(super) fn new(connection: u64, rx: Core, tape: &Tape) -> Self {
        Self { connection, rx, left: 0, tape: tape.clone() }
    }

    /// Stands in the place of one that is over, and owns nothing.
    pub(crate) fn over(config: &Config) -> Self {
        Self::new(0, Core::accept(Instant::ZERO, config, Wire::opener(None)), &Tape::default())
    }

    #[inline]
    fn note<'a>(&self, call: impl FnOnce() -> RxCall<'a>) {
        self.tape.note(|| Entry::Rx { connection: self.connection, call: call() });
    }

    /// The rules of this epoch, the current one, hold for the read that follows. Nobody may change the rules meanwhile.
    pub(crate) fn sees(&self, epoch: u64) {
        self.note(|| RxCall::Rules { epoch });
    }

    #[inline]
    pub(crate) fn read<'r, 'i>(&'r mut self, now: Instant, bytes: &'i mut [u8]) -> Frames<'r, 'i> {
        let new = bytes.get(self.left..).unwrap_or_default();
        self.note(|| {
            let (deadline, memory) = (self.rx.poll_timeout(), self.rx.memory());
            RxCall::Read { now, bytes: Blob(new), deadline, memory }
        });
        let (connection, shown) = (self.connection, bytes.len());
        let Self { rx, left, tape, .. } = self;
        Frames { connection, frames: rx.read(now, bytes), shown, left, drained: false, tape }
    }

    pub(crate) fn answer(
        &mut self,
        now: Instant,
        tx: &mut Tx,
        id: QuestionId,
        answer: Answer<'_>,
    ) -> Result<(), ApiMisuse> {
        let result = self.rx.answer(now, &mut tx.tx, id, answer);
        self.note(|| RxCall::Answer { now, id, answer: Said::new(&answer), result });
        result
    }

    pub(crate) fn work(&mut self, now: Instant, tx: &mut Tx) {
        self.rx.work(now, &mut tx.tx);
        self.note(|| RxCall::Work { now });
    }

    pub(crate) fn end(&mut self) {
        self.rx.end();
        self.note(|| RxCall::End);
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.rx.close(reason);
        self.note(|| RxCall::Close(reason));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.rx.handle_timeout(now);
        self.note(|| RxCall::Timeout { now });
    }
}

impl Drop for Rx {
    fn drop(&mut self) {
        self.note(|| RxCall::Gone);
    }
}

/// The core's look at one read.
#[must_use = "nothing happens unless `next` is called"]
pub(crate) struct Frames<'r, 'i> {
    connection: u64,
    frames: CoreFrames<'r, 'i>,
    shown: usize,
    left: &'r mut usize,
    /// There was nothing more.
    drained: bool,
    tape: &'r Tape,
}

impl Frames<'_, '_> {
    /// As [`Rx::sees`].
    pub(crate) fn sees(&self, epoch: u64) {
        self.tape.note(|| Entry::Rx { connection: self.connection, call: RxCall::Rules { epoch } });
    }

    #[inline]
    pub(crate) fn next(&mut self, rules: &Rules) -> Option<Action<'_>> {
        // An action that is looked at is copied: not where nobody wants to know.
        if self.tape.is_on() { self.next_noted(rules) } else { self.frames.next(rules) }
    }

    #[cold]
    #[inline(never)]
    fn next_noted(&mut self, rules: &Rules) -> Option<Action<'_>> {
        let Self { connection, frames, drained, tape, .. } = self;
        let action = frames.next(rules);
        match &action {
            Some(action) => {
                tape.note(|| Entry::Rx { connection: *connection, call: RxCall::Next(Seen::new(action)) });
            }
            None => *drained = true,
        }
        action
    }

    pub(crate) fn payload_to_bytes(&mut self) -> Option<Bytes> {
        let bytes = self.frames.payload_to_bytes();
        self.tape.note(|| {
            let call = RxCall::Keep(bytes.as_deref().map(Digest::of));
            Entry::Rx { connection: self.connection, call }
        });
        bytes
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.frames.close(reason);
        self.tape.note(|| Entry::Rx { connection: self.connection, call: RxCall::CloseInside(reason) });
    }

    #[inline]
    pub(crate) fn finish(self) -> (usize, Wants) {
        let Self { connection, frames, shown, left, drained, tape } = self;
        let (taken, wants) = frames.finish();
        *left = shown - taken;
        tape.note(|| Entry::Rx { connection, call: RxCall::Finish { drained, taken, wants } });
        (taken, wants)
    }
}
