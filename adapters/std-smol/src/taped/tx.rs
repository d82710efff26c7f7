//! The transmit half of a connection.

use std::io;
use std::ops::Deref;

use kitfox_core::connection::{Channel, CloseReason, PushError};
use kitfox_core::storage::Heap;
use kitfox_core::{Config, Instant};

use super::entry::{Blob, Entry, TxCall, Wrote};
use super::{Outbox, Tape};
use crate::security::Wire;

type Core = kitfox_core::connection::Tx<Heap, Wire>;

/// The core's transmit half of a connection.
pub(crate) struct Tx {
    connection: u64,
    pub(super) tx: Core,
    tape: Tape,
}

impl Deref for Tx {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.tx
    }
}

impl Tx {
    pub(super) fn new(
        connection: u64,
        config: &Config,
        sealer: <Wire as Channel>::Sealer,
        tape: &Tape,
    ) -> Self {
        Self { connection, tx: Core::new(config, sealer), tape: tape.clone() }
    }

    #[inline]
    fn note<'a>(&self, call: impl FnOnce() -> TxCall<'a>) {
        self.tape.note(|| {
            let (waiting, deadline) = (self.tx.pending(), self.tx.poll_timeout());
            Entry::Tx { connection: self.connection, call: call(), waiting, deadline }
        });
    }

    #[inline]
    pub(crate) fn transmit_slices_with(
        &mut self,
        now: Instant,
        outbox: Option<&mut Outbox>,
        write: impl FnOnce(&[&[u8]]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (noted, peer, mut wrote) = (self.tape.is_on(), outbox.as_ref().map(|o| o.peer()), Wrote::Nothing);
        let outbox = outbox.map(|outbox| &mut outbox.outbox);
        let result = self.tx.transmit_slices_with(now, outbox, |pieces| {
            let result = write(pieces);
            if noted {
                wrote = Wrote::new(pieces, result.as_ref().ok().copied());
            }
            result
        });
        self.note(|| TxCall::Transmit { now, outbox: peer, wrote });
        result
    }

    #[inline]
    pub(crate) fn stage(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        let staged = self.tx.stage(now, &mut outbox.outbox);
        self.note(|| TxCall::Stage { now, outbox: outbox.peer(), staged });
        staged
    }

    pub(crate) fn push_empty(&mut self, now: Instant) -> Result<(), PushError> {
        let result = self.tx.push_empty(now);
        self.note(|| TxCall::PushEmpty { now, result });
        result
    }

    pub(crate) fn push_disconnect(&mut self, now: Instant, reason: &[u8]) -> Result<(), PushError> {
        let result = self.tx.push_disconnect(now, reason);
        self.note(|| TxCall::PushDisconnect { now, reason: Blob(reason), result });
        result
    }

    pub(crate) fn push_farewell(&mut self, now: Instant, reason: CloseReason) {
        self.tx.push_farewell(now, reason);
        self.note(|| TxCall::PushFarewell { now, reason });
    }

    pub(crate) fn finish_frame(&mut self, outbox: &mut Outbox) -> bool {
        let whole = self.tx.finish_frame(&mut outbox.outbox);
        self.note(|| TxCall::FinishFrame { outbox: outbox.peer(), whole });
        whole
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let fine = self.tx.handle_timeout(now);
        self.note(|| TxCall::Timeout { now, fine });
        fine
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        self.note(|| TxCall::Gone);
    }
}
