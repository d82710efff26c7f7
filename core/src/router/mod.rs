//! Spaces, modules and the rules by which messages reach them: what Kitsune2's `TxImpHnd` and `DefaultTransport` do,
//! as a pure value without locks.
//!
//! A [`Router`] lies below no gate: it takes a peer and the bytes of a message and says what is to be done. A
//! connection uses the same [`Directory`], so the rules stand once.

mod counts;
mod directory;
mod policy;

pub use counts::{BlockedCount, BlockedCounts};
pub use directory::{Directory, LocalAgents, Module, ModuleKey, RegisterError, Space, SpaceKey, Target};
pub use policy::{BlockList, BlockRule, Policy, PolicyFailed};

pub(crate) use directory::Route;

use core::fmt;

use crate::config::RouterLimits;
use crate::error::ProtocolError;
use crate::peer::Peer;
use crate::storage::Storage;
use crate::wire::{Message, ModuleName};

/// Routes messages between peers and the spaces and modules that are registered.
///
/// ```
/// use kitfox_core::router::{BlockList, Received, Router};
/// use kitfox_core::storage::Heap;
/// use kitfox_core::wire::Message;
/// use kitfox_core::{Peer, RouterLimits};
///
/// let blocks = BlockList::<Heap>::new(&RouterLimits::HOST);
/// let mut router = Router::<Heap, _>::new(&RouterLimits::HOST, 7, blocks);
/// let garden = router.directory_mut().register_space(b"garden")?;
/// let peer = Peer::new("ws://127.0.0.1:9000/alice", None);
///
/// let mut bytes = [0; 64];
/// let len = Message::notify(b"garden", b"it rains").encode(&mut bytes).unwrap();
/// let received = router.receive(peer, &bytes[..len]).unwrap();
/// assert_eq!(received, Received::Notify { to: garden, space: b"garden", data: b"it rains" });
/// # Ok::<(), kitfox_core::router::RegisterError>(())
/// ```
#[derive(Debug)]
pub struct Router<S: Storage, P> {
    directory: Directory<S, P>,
    counts: BlockedCounts<S>,
}

impl<S: Storage, P: Policy> Router<S, P> {
    /// A router with nothing registered. `hash_seed` keeps strangers from aiming at one place of the counters'
    /// table; any number that they cannot guess will do.
    pub fn new(limits: &RouterLimits, hash_seed: u64, policy: P) -> Self {
        Self { directory: Directory::new(limits, policy), counts: BlockedCounts::new(limits, hash_seed) }
    }

    /// The spaces, the modules and the policy.
    pub fn directory(&self) -> &Directory<S, P> {
        &self.directory
    }

    /// The spaces, the modules and the policy, to change them. They may change at any time.
    pub fn directory_mut(&mut self) -> &mut Directory<S, P> {
        &mut self.directory
    }

    /// How many messages were blocked, by peer and space.
    pub fn blocked_counts(&self) -> &BlockedCounts<S> {
        &self.counts
    }

    /// Decides what is to be done with the bytes of one message from `peer`.
    ///
    /// # Errors
    /// Each one means that the connection on which the message came is to be closed; see [`ReceiveError`].
    pub fn receive<'m>(&mut self, peer: Peer<'_>, bytes: &'m [u8]) -> Result<Received<'m>, ReceiveError<'m>> {
        let message =
            Message::decode(bytes).map_err(|error| ReceiveError::Protocol(ProtocolError::Message(error)))?;
        let (space, data) = (message.space.unwrap_or_default(), message.data);
        Ok(match self.directory.route(&peer, &message)? {
            Route::Space(to) => Received::Notify { to, space, data },
            Route::Module(to) => {
                Received::Module { to, space, module: message.module.unwrap_or_default(), data }
            }
            Route::Validate => Received::Preflight { space: message.space, data },
            Route::Drop(reason) => {
                if reason == DropReason::Blocked {
                    self.counts.incoming(peer.url, space);
                }
                Received::Dropped(reason)
            }
        })
    }

    /// Decides whether a NOTIFY may go to `peer`, and gives the message to encode.
    ///
    /// # Errors
    /// Nothing is to be sent; see [`SendRefused`].
    pub fn notify<'m>(
        &mut self,
        peer: Peer<'_>,
        space: &'m [u8],
        data: &'m [u8],
    ) -> Result<Message<'m>, SendRefused> {
        self.permit(peer, space)?;
        Ok(Message::notify(space, data))
    }

    /// Decides whether a MODULE message may go to `peer`, and gives the message to encode. The module need not be
    /// registered here.
    ///
    /// # Errors
    /// Nothing is to be sent; see [`SendRefused`].
    pub fn module<'m>(
        &mut self,
        peer: Peer<'_>,
        space: &'m [u8],
        module: &'m str,
        data: &'m [u8],
    ) -> Result<Message<'m>, SendRefused> {
        self.permit(peer, space)?;
        Ok(Message::module(space, module, data))
    }

    fn permit(&mut self, peer: Peer<'_>, space: &[u8]) -> Result<(), SendRefused> {
        let verdict = self.directory.permit_send(&peer, space);
        if verdict == Err(SendRefused::Blocked) {
            self.counts.outgoing(peer.url, space);
        }
        verdict
    }
}

/// What is to be done with a message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Received<'m> {
    /// Give `data` to the space's handler. If the handler refuses it, close the connection.
    Notify {
        /// The registered space.
        to: SpaceKey,
        /// Its id.
        space: &'m [u8],
        /// The payload.
        data: &'m [u8],
    },
    /// Give `data` to the module's handler. If the handler refuses it, close the connection.
    Module {
        /// The registered module.
        to: ModuleKey,
        /// The id of its space.
        space: &'m [u8],
        /// Its name.
        module: ModuleName<'m>,
        /// The payload.
        data: &'m [u8],
    },
    /// Have `data` validated as a preflight. If it is refused, close the connection.
    Preflight {
        /// A space id, which Kitsune2 ignores here.
        space: Option<&'m [u8]>,
        /// The preflight data.
        data: &'m [u8],
    },
    /// Nothing: the message goes nowhere. The connection stays.
    Dropped(DropReason),
}

/// Why a message that decodes goes nowhere. None of these closes the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum DropReason {
    /// The policy blocks the peer in that space. Counted for the peer and the space.
    Blocked,
    /// The space is not registered.
    UnknownSpace,
    /// The module is not registered in that space, or the message names none.
    UnknownModule,
    /// The message is of kind UNSPECIFIED, or of one that we do not know.
    Unspecified,
    /// The frame is longer than the bound and [`Oversize::Skip`](crate::Oversize::Skip) is configured.
    Oversize,
}

impl DropReason {
    /// How many reasons there are.
    pub(crate) const COUNT: usize = 5;

    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Blocked, Self::UnknownSpace, Self::UnknownModule, Self::Unspecified, Self::Oversize];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "blocked",
            Self::UnknownSpace => "unknown space",
            Self::UnknownModule => "unknown module",
            Self::Unspecified => "unspecified kind",
            Self::Oversize => "oversize",
        })
    }
}

/// Why a message closes the connection on which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ReceiveError<'m> {
    /// The message breaks the protocol: the peer's fault.
    Protocol(ProtocolError),
    /// The peer says goodbye, with a reason that it chose. Not to be trusted as text.
    Disconnect {
        /// The reason, any bytes.
        reason: &'m [u8],
    },
    /// The policy could not tell whether the peer is blocked: our own fault, and no decision means no.
    BlockCheckFailed,
}

impl fmt::Display for ReceiveError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::Disconnect { .. } => f.write_str("the peer disconnected"),
            Self::BlockCheckFailed => f.write_str("the block check failed"),
        }
    }
}

impl core::error::Error for ReceiveError<'_> {}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SendRefused {
    /// The space is not registered here. Kitsune2 drops such a message in silence.
    UnknownSpace,
    /// The space has no local agents, so that the peer would refuse the connection.
    NoLocalAgents,
    /// The policy could not tell whether the space has local agents.
    LocalAgentsFailed,
    /// The policy blocks the peer in that space. Counted for the peer and the space.
    Blocked,
    /// The policy could not tell whether the peer is blocked.
    BlockCheckFailed,
}

impl fmt::Display for SendRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownSpace => "the space is not registered",
            Self::NoLocalAgents => "the space has no local agents",
            Self::LocalAgentsFailed => "the check for local agents failed",
            Self::Blocked => "the peer is blocked in that space",
            Self::BlockCheckFailed => "the block check failed",
        })
    }
}

impl core::error::Error for SendRefused {}
