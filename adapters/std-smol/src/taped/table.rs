//! The table of peers.

use std::ops::Deref;

use kitfox_core::connection::CloseReason;
use kitfox_core::node::{ConnectionId, Ending, PeerKey, PeerLimits, Step};
use kitfox_core::storage::Heap;
use kitfox_core::{CapacityError, Instant, PeerId};

use super::Tape;
use super::entry::{Entry, TableCall};

type Core = kitfox_core::node::PeerTable<Heap>;

/// The core's table of peers.
pub(crate) struct PeerTable {
    table: Core,
    tape: Tape,
}

impl Deref for PeerTable {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.table
    }
}

impl PeerTable {
    pub(crate) fn new(limits: &PeerLimits, own: PeerId, seed: u64, tape: &Tape) -> Self {
        Self { table: Core::new(limits, own, seed), tape: tape.clone() }
    }

    #[inline]
    fn note<'a>(&self, call: impl FnOnce() -> TableCall<'a>) {
        self.tape.note(|| Entry::Table { call: call(), deadline: self.table.poll_timeout() });
    }

    pub(crate) fn next_step(&mut self) -> Option<Step> {
        if !self.table.has_steps() {
            return None;
        }
        let step = self.table.next_step();
        self.note(|| TableCall::NextStep(step));
        step
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        let handled = self.table.handle_timeout(now);
        self.note(|| TableCall::Timeout { now, handled });
        handled
    }

    pub(crate) fn set_network_up(&mut self, up: bool) {
        self.table.set_network_up(up);
        self.note(|| TableCall::NetworkUp(up));
    }

    pub(crate) fn enter(&mut self, id: &PeerId, url: &str) -> Result<PeerKey, CapacityError> {
        let result = self.table.enter(id, url);
        self.note(|| TableCall::Enter { id: *id, url, result });
        result
    }

    pub(crate) fn waiting(&mut self, now: Instant, peer: PeerKey, waiting: bool) {
        self.table.waiting(now, peer, waiting);
        self.note(|| TableCall::Waiting { now, peer, waiting });
    }

    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        reason: CloseReason,
        waiting: bool,
    ) {
        self.table.refuse(now, connection, reason, waiting);
        self.note(|| TableCall::Refuse { now, connection, reason, waiting });
    }

    pub(crate) fn accept(&mut self) -> Result<ConnectionId, CapacityError> {
        let result = self.table.accept();
        self.note(|| TableCall::Accept(result));
        result
    }

    pub(crate) fn dialled(&mut self, connection: ConnectionId) {
        self.table.dialled(connection);
        self.note(|| TableCall::Dialled(connection));
    }

    pub(crate) fn sent(&mut self, connection: ConnectionId) {
        self.table.sent(connection);
        self.note(|| TableCall::Sent(connection));
    }

    pub(crate) fn introduced(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        id: &PeerId,
        url: &str,
        proven: bool,
    ) {
        self.table.introduced(now, connection, id, url, proven);
        self.note(|| TableCall::Introduced { now, connection, id: *id, url, proven });
    }

    pub(crate) fn confirmed(&mut self, now: Instant, connection: ConnectionId) -> bool {
        let opened = self.table.confirmed(now, connection);
        self.note(|| TableCall::Confirmed { now, connection, opened });
        opened
    }

    pub(crate) fn ended(&mut self, now: Instant, connection: ConnectionId, ending: Ending) {
        self.table.ended(now, connection, ending);
        self.note(|| TableCall::Ended { now, connection, ending });
    }

    pub(crate) fn disconnect(&mut self, now: Instant, peer: PeerKey) {
        self.table.disconnect(now, peer);
        self.note(|| TableCall::Disconnect { now, peer });
    }

    pub(crate) fn release(&mut self, connection: ConnectionId) {
        self.table.release(connection);
        self.note(|| TableCall::Release(connection));
    }
}
