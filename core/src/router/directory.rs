//! Which spaces and modules are registered, and what that means for a message.

use core::fmt;

use super::{DropReason, Policy, PolicyFailed, ReceiveError, SendRefused};
use crate::config::RouterLimits;
use crate::error::{CapacityError, ProtocolError};
use crate::hash::{hash_own, hash_own_pair, same};
use crate::peer::Peer;
use crate::storage::{Owned, Storage, Table};
use crate::wire::{Kind, Message, ModuleName};

/// The registered spaces and modules, with the policy that is asked about each message.
///
/// A clone is a snapshot: where the tables of the storage can be cloned, readers on other threads may use one while
/// the original changes. The keys of both mean the same.
#[derive(Debug, Clone)]
pub struct Directory<S: Storage, P> {
    spaces: S::Spaces,
    modules: S::Modules,
    policy: P,
    /// Goes up with each registration, so that no key ever stands for two of them.
    generation: u32,
}

/// A place for a space: registered, or only named by modules that were registered before it.
#[derive(Debug, Clone)]
pub struct Space<S: Storage> {
    id: S::SpaceId,
    /// The generation of its registration.
    registered: Option<u32>,
    /// How many modules name it. Invariant: a place that is neither registered nor named is empty.
    modules: usize,
}

/// A registered module.
#[derive(Debug, Clone)]
pub struct Module<S: Storage> {
    /// The slot of its space.
    space: u32,
    name: S::ModuleName,
    generation: u32,
}

/// Names one registration of a space. It is never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SpaceKey {
    slot: u32,
    generation: u32,
}

/// Names one registration of a module. It is never used again for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModuleKey {
    slot: u32,
    generation: u32,
}

impl SpaceKey {
    /// A small number, unique among the spaces that are registered at one time: an index for tables of the caller.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

impl ModuleKey {
    /// A small number, unique among the modules that are registered at one time: an index for tables of the caller.
    pub const fn index(self) -> usize {
        self.slot as usize
    }
}

/// One receiver of a fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Target<'a> {
    /// The handler of a module.
    Module {
        /// Its registration.
        key: ModuleKey,
        /// The id of its space.
        space: &'a [u8],
        /// Its name.
        module: &'a str,
    },
    /// The handler of a space.
    Space {
        /// Its registration.
        key: SpaceKey,
        /// Its id.
        space: &'a [u8],
    },
    /// The handler of the whole node.
    Handler,
}

/// Whether a peer may be told that somebody is at home. Source: Kitsune2 refuses a preflight when spaces are
/// registered and none has a local agent, because the peer would block what comes from agents it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LocalAgents {
    /// No space is registered, so there is nothing to ask.
    NoSpaces,
    /// At least one space has a local agent.
    Some,
    /// Spaces are registered and none has one.
    None,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Space(SpaceKey),
    Module(ModuleKey),
    Validate,
    Drop(DropReason),
}

impl<S: Storage, P> Directory<S, P> {
    /// A directory in which nothing is registered.
    pub fn new(limits: &RouterLimits, policy: P) -> Self {
        Self {
            spaces: S::Spaces::with_limit(limits.max_spaces),
            modules: S::Modules::with_limit(limits.max_modules),
            policy,
            generation: 0,
        }
    }

    /// The policy.
    pub fn policy(&self) -> &P {
        &self.policy
    }

    /// The policy, to change it.
    pub fn policy_mut(&mut self) -> &mut P {
        &mut self.policy
    }

    /// Goes up with every registration and every removal.
    pub fn version(&self) -> u32 {
        self.generation
    }

    /// Registers a space: messages to `id` are delivered from now on.
    ///
    /// # Errors
    /// [`RegisterError::Duplicate`] if it is registered, [`RegisterError::Capacity`] if there is no place for it or
    /// the id is too long for the storage. Nothing has changed then. Kitsune2 panics on a duplicate.
    pub fn register_space(&mut self, id: &[u8]) -> Result<SpaceKey, RegisterError> {
        let slot = self.space_place(id)?;
        let generation = self.generation.wrapping_add(1);
        match self.spaces.get_mut(slot) {
            Some(space) if space.registered.is_none() => {
                space.registered = Some(generation);
                self.generation = generation;
                Ok(SpaceKey { slot, generation })
            }
            _ => Err(RegisterError::Duplicate),
        }
    }

    /// Registers a module of a space. The space may be registered later: the module receives nothing until then.
    ///
    /// # Errors
    /// As for [`register_space`](Self::register_space). Kitsune2 replaces the handler of a duplicate, then panics.
    pub fn register_module(&mut self, space_id: &[u8], name: &str) -> Result<ModuleKey, RegisterError> {
        let copy = S::ModuleName::copy_from(name).ok_or(RegisterError::Capacity(CapacityError::TooLong))?;
        let space = self.space_place(space_id)?;
        let result = if self.find_module(space_id, name.as_bytes()).is_some() {
            Err(RegisterError::Duplicate)
        } else {
            let generation = self.generation.wrapping_add(1);
            let module = Module { space, name: copy, generation };
            match self.modules.insert(|| hash_own_pair(space_id, name.as_bytes()), module) {
                Ok(slot) => Ok(ModuleKey { slot, generation }),
                Err(_) => Err(RegisterError::Capacity(CapacityError::Modules)),
            }
        };
        if let (Ok(key), Some(place)) = (&result, self.spaces.get_mut(space)) {
            self.generation = key.generation;
            place.modules += 1;
        }
        self.release_space_place(space);
        result
    }

    /// Removes a space and all its modules. Returns whether the space was registered.
    pub fn unregister_space(&mut self, id: &[u8]) -> bool {
        let Some((slot, _)) = self.find_space(id) else { return false };
        while let Some(module) = self.first_module_of(slot) {
            self.modules.remove(module);
        }
        self.generation = self.generation.wrapping_add(1);
        self.spaces.remove(slot).is_some_and(|space| space.registered.is_some())
    }

    /// Removes one module. Returns whether it was registered.
    pub fn unregister_module(&mut self, space: &[u8], name: &str) -> bool {
        let Some((slot, _)) = self.find_module(space, name.as_bytes()) else { return false };
        let Some(Module { space, .. }) = self.modules.remove(slot) else { return false };
        self.generation = self.generation.wrapping_add(1);
        if let Some(place) = self.spaces.get_mut(space) {
            place.modules -= 1;
        }
        self.release_space_place(space);
        true
    }

    /// Whether a space is registered, and as what.
    #[inline]
    pub fn space(&self, id: &[u8]) -> Option<SpaceKey> {
        let (slot, space) = self.find_space(id)?;
        Some(SpaceKey { slot, generation: space.registered? })
    }

    /// Whether a module is registered, and as what; `None` also if its space is not.
    #[inline]
    pub fn module(&self, space: SpaceKey, name: &str) -> Option<ModuleKey> {
        let space = self.spaces.get(space.slot)?;
        let (slot, module) = self.find_module(space.id.as_ref(), name.as_bytes())?;
        Some(ModuleKey { slot, generation: module.generation })
    }

    /// How many spaces are registered.
    pub fn space_count(&self) -> usize {
        self.spaces().count()
    }

    /// Who is asked, in this order, whether a peer may connect: modules, spaces, handler. The first refusal ends it.
    pub fn peer_connect_targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.modules().chain(self.spaces()).chain([Target::Handler])
    }

    /// Who is told, in this order, that a peer is gone: modules, spaces, handler.
    pub fn peer_disconnect_targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.peer_connect_targets()
    }

    /// Who is told, in this order, of a new listening address: the handler, then spaces. Modules are not.
    pub fn new_listening_address_targets(&self) -> impl Iterator<Item = Target<'_>> {
        [Target::Handler].into_iter().chain(self.spaces())
    }

    /// Who is told that a peer does not respond: spaces. What they answer does not matter.
    pub fn set_unresponsive_targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.spaces()
    }

    /// Who is asked, until one says yes, for local agents: spaces.
    pub fn local_agents_targets(&self) -> impl Iterator<Item = Target<'_>> {
        self.spaces()
    }

    fn spaces(&self) -> impl Iterator<Item = Target<'_>> {
        self.spaces.iter().filter_map(|(slot, space)| {
            let key = SpaceKey { slot, generation: space.registered? };
            Some(Target::Space { key, space: space.id.as_ref() })
        })
    }

    fn modules(&self) -> impl Iterator<Item = Target<'_>> {
        self.modules.iter().filter_map(|(slot, module)| {
            let key = ModuleKey { slot, generation: module.generation };
            let space = self.spaces.get(module.space)?;
            Some(Target::Module { key, space: space.id.as_ref(), module: module.name.as_ref() })
        })
    }

    #[inline]
    fn find_space(&self, id: &[u8]) -> Option<(u32, &Space<S>)> {
        self.spaces.find(|| hash_own(id), |space| same(space.id.as_ref(), id))
    }

    /// One look finds a module by its space and name: the space is not looked for before.
    #[inline]
    fn find_module(&self, space: &[u8], name: &[u8]) -> Option<(u32, &Module<S>)> {
        self.modules.find(
            || hash_own_pair(space, name),
            |module| {
                same(module.name.as_ref().as_bytes(), name)
                    && self.spaces.get(module.space).is_some_and(|place| same(place.id.as_ref(), space))
            },
        )
    }

    /// A module whose space is registered too.
    #[inline]
    fn registered_module(&self, space: &[u8], name: &[u8]) -> Option<ModuleKey> {
        let (slot, module) = self.find_module(space, name)?;
        self.spaces.get(module.space)?.registered?;
        Some(ModuleKey { slot, generation: module.generation })
    }

    fn first_module_of(&self, space: u32) -> Option<u32> {
        self.modules.iter().find_map(|(slot, module)| (module.space == space).then_some(slot))
    }

    /// The place of a space, a new one if it has none.
    fn space_place(&mut self, id: &[u8]) -> Result<u32, RegisterError> {
        if let Some((slot, _)) = self.find_space(id) {
            return Ok(slot);
        }
        let copy = S::SpaceId::copy_from(id).ok_or(RegisterError::Capacity(CapacityError::TooLong))?;
        let space = Space { id: copy, registered: None, modules: 0 };
        self.spaces.insert(|| hash_own(id), space).map_err(|_| RegisterError::Capacity(CapacityError::Spaces))
    }

    /// Empties the place of a space that is neither registered nor named by a module.
    fn release_space_place(&mut self, slot: u32) {
        if self.spaces.get(slot).is_some_and(|space| space.registered.is_none() && space.modules == 0) {
            self.spaces.remove(slot);
        }
    }
}

impl<S: Storage, P: Policy> Directory<S, P> {
    /// Whether any space has a local agent.
    ///
    /// # Errors
    /// The policy's first failure.
    pub fn local_agents(&self) -> Result<LocalAgents, PolicyFailed> {
        let mut found = LocalAgents::NoSpaces;
        for (_, space) in self.spaces.iter().filter(|(_, space)| space.registered.is_some()) {
            if self.policy.has_local_agents(space.id.as_ref())? {
                return Ok(LocalAgents::Some);
            }
            found = LocalAgents::None;
        }
        Ok(found)
    }

    /// The rules of receiving. Source: Kitsune2's `recv_data`; the block check comes before the look at the module.
    #[inline(always)]
    pub(crate) fn route<'m>(
        &self,
        peer: &Peer<'_>,
        message: &Message<'m>,
    ) -> Result<Route, ReceiveError<'m>> {
        let to_module = match message.kind() {
            Kind::Module => true,
            Kind::Notify => false,
            kind => return route_of_other(kind, message.data),
        };
        let Some(id) = message.space else { return Err(ReceiveError::Protocol(ProtocolError::MissingSpace)) };
        let route = self.find_route(to_module, id, message.module);
        if route == Route::Drop(DropReason::UnknownSpace) {
            return Ok(route);
        }
        match self.policy.is_blocked(peer, id) {
            Ok(false) => Ok(route),
            Ok(true) => Ok(Route::Drop(DropReason::Blocked)),
            Err(PolicyFailed) => Err(ReceiveError::BlockCheckFailed),
        }
    }

    /// Where a message goes if nobody blocks it.
    #[inline(always)]
    fn find_route(&self, to_module: bool, space: &[u8], module: Option<ModuleName<'_>>) -> Route {
        if let (true, Some(name)) = (to_module, module)
            && let Some(key) = self.registered_module(space, name.as_bytes())
        {
            return Route::Module(key);
        }
        match self.space(space) {
            None => Route::Drop(DropReason::UnknownSpace),
            Some(_) if to_module => Route::Drop(DropReason::UnknownModule),
            Some(key) => Route::Space(key),
        }
    }

    /// The rules of sending. Source: Kitsune2's `send_space_notify` and `send_module`.
    ///
    /// # Errors
    /// Nothing is to be sent; the caller counts what is [`SendRefused::Blocked`].
    #[inline]
    pub fn permit_send(&self, peer: &Peer<'_>, space: &[u8]) -> Result<(), SendRefused> {
        if self.space(space).is_none() {
            return Err(SendRefused::UnknownSpace);
        }
        match self.policy.has_local_agents(space) {
            Ok(true) => {}
            Ok(false) => return Err(SendRefused::NoLocalAgents),
            Err(PolicyFailed) => return Err(SendRefused::LocalAgentsFailed),
        }
        match self.policy.is_blocked(peer, space) {
            Ok(false) => Ok(()),
            Ok(true) => Err(SendRefused::Blocked),
            Err(PolicyFailed) => Err(SendRefused::BlockCheckFailed),
        }
    }
}

/// What becomes of a message that is for no space.
#[cold]
#[inline(never)]
fn route_of_other(kind: Kind, data: &[u8]) -> Result<Route, ReceiveError<'_>> {
    match kind {
        Kind::Preflight => Ok(Route::Validate),
        Kind::Disconnect => Err(ReceiveError::Disconnect { reason: data }),
        _ => Ok(Route::Drop(DropReason::Unspecified)),
    }
}

/// Why a space or module is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum RegisterError {
    /// It is registered already: the caller's fault.
    Duplicate,
    /// There is no place for it.
    Capacity(CapacityError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate => f.write_str("registered already"),
            Self::Capacity(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RegisterError {}
