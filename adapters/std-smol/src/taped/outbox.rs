//! The messages for one peer.

use std::ops::Deref;

use bytes::Bytes;
use kitfox_core::Config;
use kitfox_core::connection::{Numbers, PushError};
use kitfox_core::node::PeerKey;
use kitfox_core::storage::Heap;
use kitfox_core::wire::Message;

use super::Tape;
use super::entry::{Digest, Entry, Letter, OutboxCall};

type Core = kitfox_core::connection::Outbox<Heap>;

/// The core's outbox.
pub(crate) struct Outbox {
    peer: PeerKey,
    pub(super) outbox: Core,
    tape: Tape,
}

impl Deref for Outbox {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.outbox
    }
}

impl Outbox {
    pub(crate) fn new(peer: PeerKey, config: &Config, tape: &Tape) -> Self {
        let outbox = Self { peer, outbox: Core::new(config), tape: tape.clone() };
        outbox.note(|| OutboxCall::New);
        outbox
    }

    #[inline]
    fn note<'a>(&self, call: impl FnOnce() -> OutboxCall<'a>) {
        self.tape.note(|| Entry::Outbox { peer: self.peer, call: call(), waiting: self.outbox.len() });
    }

    /// Whose messages these are.
    pub(super) fn peer(&self) -> PeerKey {
        self.peer
    }

    pub(crate) fn push(&mut self, message: &Message<'_>) -> Result<u64, PushError> {
        let result = self.outbox.push(message);
        self.note(|| OutboxCall::Push { letter: Letter::new(message, message.data), result });
        result
    }

    pub(crate) fn push_shared(
        &mut self,
        routing: &Message<'_>,
        data: Bytes,
    ) -> Result<u64, (PushError, Bytes)> {
        let noted = self.tape.is_on().then(|| data.clone());
        let result = self.outbox.push_shared(routing, data);
        self.note(|| OutboxCall::PushShared {
            letter: Letter::new(routing, noted.as_deref().unwrap_or_default()),
            result: result.as_ref().copied().map_err(|(error, _)| *error),
        });
        result
    }

    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.outbox.set_paused(paused);
        self.note(|| OutboxCall::SetPaused(paused));
    }

    pub(crate) fn begin(&mut self, peer_max_frame_bytes: usize) {
        self.outbox.begin(peer_max_frame_bytes);
        self.note(|| OutboxCall::Begin { peer_max_frame_bytes });
    }

    pub(crate) fn end(&mut self) -> Option<Numbers> {
        let unknown = self.outbox.end();
        self.note(|| OutboxCall::End(unknown));
        unknown
    }

    pub(crate) fn take_first(&mut self) -> Option<(u64, Vec<u8>)> {
        let first = self.outbox.take_first();
        self.note(|| {
            OutboxCall::TakeFirst(first.as_ref().map(|(number, bytes)| (*number, Digest::of(bytes))))
        });
        first
    }

    pub(crate) fn relax(&mut self) -> bool {
        let more = self.outbox.relax();
        self.note(|| OutboxCall::Relax { more });
        more
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.note(|| OutboxCall::Gone);
    }
}
