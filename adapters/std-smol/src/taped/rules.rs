//! What is registered and blocked.

use std::ops::Deref;

use kitfox_core::router::{BlockList, Directory, ModuleKey, RegisterError, SendRefused, SpaceKey};
use kitfox_core::storage::Heap;
use kitfox_core::{CapacityError, Peer, PeerId, RouterLimits};

use super::Tape;
use super::entry::{Blob, Entry, RulesCall, Who};

type Core = Directory<Heap, BlockList<Heap>>;

/// The core's directory with its list of blocks. A clone is a snapshot; only one of them is ever changed.
#[derive(Clone)]
pub(crate) struct Rules {
    directory: Core,
    tape: Tape,
}

impl Deref for Rules {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.directory
    }
}

impl Rules {
    pub(crate) fn new(limits: &RouterLimits, seed: u64, tape: &Tape) -> Self {
        let directory = Core::new(limits, BlockList::new(limits).seeded(seed));
        Self { directory, tape: tape.clone() }
    }

    pub(crate) fn register_space(&mut self, id: &[u8]) -> Result<SpaceKey, RegisterError> {
        let result = self.directory.register_space(id);
        self.tape.note(|| Entry::Rules(RulesCall::RegisterSpace { id: Blob(id), result }));
        result
    }

    pub(crate) fn register_module(&mut self, space: &[u8], name: &str) -> Result<ModuleKey, RegisterError> {
        let result = self.directory.register_module(space, name);
        self.tape.note(|| Entry::Rules(RulesCall::RegisterModule { space: Blob(space), name, result }));
        result
    }

    pub(crate) fn unregister_space(&mut self, id: &[u8]) -> bool {
        let was = self.directory.unregister_space(id);
        self.tape.note(|| Entry::Rules(RulesCall::UnregisterSpace { id: Blob(id), was }));
        was
    }

    pub(crate) fn unregister_module(&mut self, space: &[u8], name: &str) -> bool {
        let was = self.directory.unregister_module(space, name);
        self.tape.note(|| Entry::Rules(RulesCall::UnregisterModule { space: Blob(space), name, was }));
        was
    }

    pub(crate) fn block(&mut self, id: PeerId, space: Option<&[u8]>) -> Result<(), CapacityError> {
        let result = self.directory.policy_mut().block(id, space);
        self.tape.note(|| Entry::Rules(RulesCall::Block { id, space: space.map(Blob), result }));
        result
    }

    pub(crate) fn unblock(&mut self, id: PeerId, space: Option<&[u8]>) -> bool {
        let was = self.directory.policy_mut().unblock(id, space);
        self.tape.note(|| Entry::Rules(RulesCall::Unblock { id, space: space.map(Blob), was }));
        was
    }

    /// Changes nothing, and is noted because much follows from it. Whoever asks sees to it that nobody changes the
    /// rules meanwhile.
    pub(crate) fn permit_send(&self, peer: &Peer<'_>, space: &[u8]) -> Result<(), SendRefused> {
        let result = self.directory.permit_send(peer, space);
        self.tape
            .note(|| Entry::Rules(RulesCall::Permit { peer: Who::new(peer), space: Blob(space), result }));
        result
    }
}
