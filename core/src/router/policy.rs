//! Whom to hear and whom to speak to: asked about every message.

use core::fmt;

use crate::config::RouterLimits;
use crate::error::CapacityError;
use crate::peer::{Peer, PeerId};
use crate::storage::{Owned, Storage, Table};

/// What the rules of routing ask about each message. Both answers must be quick: they are given from a table or a
/// snapshot that the application keeps current, on the path of every message.
pub trait Policy {
    /// Whether `peer` is blocked in `space`.
    ///
    /// # Errors
    /// [`PolicyFailed`] if that cannot be told: a received message then closes its connection, a message to send is
    /// refused.
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed>;

    /// Whether `space` has local agents. Without one nothing is sent from it.
    ///
    /// # Errors
    /// [`PolicyFailed`] if that cannot be told: nothing is sent.
    fn has_local_agents(&self, space: &[u8]) -> Result<bool, PolicyFailed> {
        let _ = space;
        Ok(true)
    }
}

impl<P: Policy + ?Sized> Policy for &P {
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        (**self).is_blocked(peer, space)
    }

    fn has_local_agents(&self, space: &[u8]) -> Result<bool, PolicyFailed> {
        (**self).has_local_agents(space)
    }
}

#[cfg(feature = "alloc")]
impl<P: Policy + ?Sized> Policy for alloc::boxed::Box<P> {
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        (**self).is_blocked(peer, space)
    }

    fn has_local_agents(&self, space: &[u8]) -> Result<bool, PolicyFailed> {
        (**self).has_local_agents(space)
    }
}

/// A policy could not give an answer. Which is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct PolicyFailed;

impl fmt::Display for PolicyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policy gave no answer")
    }
}

impl core::error::Error for PolicyFailed {}

/// The policy for those who need no other: a bounded list of blocked peer ids, each in one space or in all of them.
///
/// A block holds for the id in every spelling and under every address, and for the id whose key differs in its sign
/// alone: the same secret proves both. A peer whose URL has no id matches nothing.
#[derive(Debug, Clone)]
pub struct BlockList<S: Storage> {
    rules: S::BlockRules,
    /// A bit for the hash of each id in the rules. Most peers have no rule, and most of them are told so from here.
    /// Invariant: no bit that belongs to a rule is missing; those of former rules may stay.
    marks: u64,
    /// Of the hash of the rules.
    seed: u64,
}

/// One rule of a [`BlockList`].
#[derive(Debug, Clone)]
pub struct BlockRule<S: Storage> {
    id: PeerId,
    /// `None` stands for all spaces.
    space: Option<S::SpaceId>,
}

impl<S: Storage> BlockList<S> {
    /// A list that blocks nobody.
    pub fn new(limits: &RouterLimits) -> Self {
        Self { rules: S::BlockRules::with_limit(limits.max_block_rules), marks: 0, seed: 0 }
    }

    /// Seeds the hash of the list, which is empty, with a number that strangers cannot guess: ids are chosen by
    /// strangers, and a long list of ids that hash alike is slow to search. Where tables have a fixed size it is not
    /// needed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        debug_assert!(self.rules.is_empty(), "a rule would be looked for in another place");
        self.seed = seed;
        self
    }

    /// Blocks a peer in one space, or in all of them. Blocking twice is the same as once.
    ///
    /// # Errors
    /// [`CapacityError::BlockRules`] if the list is full, [`CapacityError::TooLong`] if the space id is too long for
    /// the storage.
    pub fn block(&mut self, id: PeerId, space: Option<&[u8]>) -> Result<(), CapacityError> {
        if self.find(&id, space).is_some() {
            return Ok(());
        }
        let copy = match space {
            Some(space) => Some(S::SpaceId::copy_from(space).ok_or(CapacityError::TooLong)?),
            None => None,
        };
        let rule = BlockRule { id, space: copy };
        let seed = self.seed;
        self.rules.insert(|| id.holder_hash(seed), rule).map_err(|_| CapacityError::BlockRules)?;
        self.marks |= mark(&id);
        Ok(())
    }

    /// Takes back what [`block`](Self::block) did. Returns whether there was such a rule.
    pub fn unblock(&mut self, id: PeerId, space: Option<&[u8]>) -> bool {
        self.find(&id, space).and_then(|slot| self.rules.remove(slot)).is_some()
    }

    fn find(&self, id: &PeerId, space: Option<&[u8]>) -> Option<u32> {
        let is_it = |rule: &BlockRule<S>| {
            rule.id.has_same_holder(id) && rule.space.as_ref().map(AsRef::as_ref) == space
        };
        self.rules.find(|| id.holder_hash(self.seed), is_it).map(|(slot, _)| slot)
    }
}

impl<S: Storage> BlockList<S> {
    #[inline(never)]
    fn has_rule(&self, id: &PeerId, space: &[u8]) -> bool {
        let applies = |rule: &BlockRule<S>| {
            rule.id.has_same_holder(id) && rule.space.as_ref().is_none_or(|blocked| blocked.as_ref() == space)
        };
        self.rules.find(|| id.holder_hash(self.seed), applies).is_some()
    }
}

/// One of 64 bits.
#[inline]
fn mark(id: &PeerId) -> u64 {
    1 << (id.table_hash() % 64)
}

impl<S: Storage> Policy for BlockList<S> {
    #[inline]
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        Ok(peer.id.is_some_and(|id| self.marks & mark(id) != 0 && self.has_rule(id, space)))
    }
}
