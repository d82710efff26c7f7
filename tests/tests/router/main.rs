//! The router beyond what the recorded vectors cover: limits, keys, counters and block lists, over both tiers.

extern crate alloc;

use alloc::collections::{BTreeMap, BTreeSet};
use core::cell::RefCell;

use kitfox_core::router::{
    BlockList, Directory, DropReason, LocalAgents, ModuleKey, Policy, PolicyFailed, ReceiveError, Received,
    RegisterError, Router, SendRefused, SpaceKey, Target,
};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{K2Proto, Kind, Message, ModuleName, PeerUrl, UrlRules};
use kitfox_core::{CapacityError, Peer, PeerId, ProtocolError, RouterLimits, fixed};
use prost::Message as _;

const SPACES: usize = 3;
const MODULES: usize = 4;
const COUNTS: usize = 3;
const RULES: usize = 3;
const SPACE_ID: usize = 8;
const NAME: usize = 6;
const URL: usize = 32;

fixed!(Tiny {
    spaces: SPACES,
    modules: MODULES,
    space_id: SPACE_ID,
    module_name: NAME,
    url: URL,
    blocked_counts: COUNTS,
    block_rules: RULES,
});

/// A storage tier with room for [`SPACES`], [`MODULES`], [`COUNTS`] and [`RULES`].
trait Tier: Storage {
    const LIMITS: RouterLimits;
}

impl Tier for Heap {
    const LIMITS: RouterLimits = RouterLimits {
        max_spaces: SPACES,
        max_modules: MODULES,
        max_blocked_counts: COUNTS,
        max_block_rules: RULES,
    };
}

impl Tier for Tiny {
    const LIMITS: RouterLimits = RouterLimits::DEVICE;
}

/// Makes a test for each tier of each generic function.
macro_rules! on_both_tiers {
    ($($claim:ident,)*) => {
        mod heap {
            $(#[test] fn $claim() { super::$claim::<super::Heap>(); })*
        }
        mod fixed {
            $(#[test] fn $claim() { super::$claim::<super::Tiny>(); })*
        }
    };
}

const ALICE: &str = "ws://a.b:80/alice";
const BOB: &str = "ws://a.b:80/bob";

/// A policy that fails, blocks and has agents as told, and notes what it was asked.
#[derive(Debug, Default)]
struct Told {
    blocked: BTreeSet<(String, Vec<u8>)>,
    block_check_fails: BTreeSet<Vec<u8>>,
    /// A space that is not in here has local agents; `None` stands for a failure.
    local_agents: BTreeMap<Vec<u8>, Option<bool>>,
    asked: RefCell<Vec<(&'static str, Vec<u8>)>>,
}

impl Told {
    fn asked(&self) -> Vec<&'static str> {
        self.asked.take().into_iter().map(|(what, _)| what).collect()
    }
}

impl Policy for Told {
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        self.asked.borrow_mut().push(("blocked", space.into()));
        if self.block_check_fails.contains(space) {
            return Err(PolicyFailed);
        }
        Ok(self.blocked.contains(&(peer.url.into(), space.into())))
    }

    fn has_local_agents(&self, space: &[u8]) -> Result<bool, PolicyFailed> {
        self.asked.borrow_mut().push(("agents", space.into()));
        self.local_agents.get(space).copied().unwrap_or(Some(true)).ok_or(PolicyFailed)
    }
}

type ToldRouter<S> = Router<S, Told>;

fn router<S: Tier>() -> ToldRouter<S> {
    Router::new(&S::LIMITS, 7, Told::default())
}

fn peer(url: &str) -> Peer<'_> {
    Peer::new(url, None)
}

fn wire(message: Message<'_>) -> Vec<u8> {
    K2Proto::from(message).encode_to_vec()
}

fn block<S: Storage>(router: &mut ToldRouter<S>, url: &str, space: &[u8]) {
    router.directory_mut().policy_mut().blocked.insert((url.into(), space.into()));
}

/// What the caller learns about a message, without what is lent from it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Space(SpaceKey),
    Module(ModuleKey),
    Preflight,
    Dropped(DropReason),
    BlockCheckFailed,
    MissingSpace,
    Disconnect,
}

fn receive<S: Storage, P: Policy>(router: &mut Router<S, P>, url: &str, message: Message<'_>) -> Got {
    let bytes = wire(message);
    match router.receive(peer(url), &bytes) {
        Ok(Received::Notify { to, space, data }) => {
            assert_eq!((Some(space), data), (message.space, message.data));
            Got::Space(to)
        }
        Ok(Received::Module { to, space, module, data }) => {
            assert_eq!((Some(space), Some(module), data), (message.space, message.module, message.data));
            Got::Module(to)
        }
        Ok(Received::Preflight { space, data }) => {
            assert_eq!((space, data), (message.space, message.data));
            Got::Preflight
        }
        Ok(Received::Dropped(reason)) => Got::Dropped(reason),
        Err(ReceiveError::BlockCheckFailed) => Got::BlockCheckFailed,
        Err(ReceiveError::Protocol(ProtocolError::MissingSpace)) => Got::MissingSpace,
        Err(ReceiveError::Disconnect { reason }) => {
            assert_eq!(reason, message.data);
            Got::Disconnect
        }
        other => panic!("{other:?}"),
    }
}

/// All that can be seen of a directory.
fn listing<S: Storage, P>(directory: &Directory<S, P>) -> Vec<String> {
    directory.peer_connect_targets().map(|target| format!("{target:?}")).collect()
}

fn counts<S: Storage, P: Policy>(router: &Router<S, P>) -> Vec<(String, Vec<u8>, u32, u32)> {
    let counts = router.blocked_counts().iter();
    counts
        .map(|count| (count.peer().into(), count.space().into(), count.incoming(), count.outgoing()))
        .collect()
}

fn capacity<T>(error: CapacityError) -> Result<T, RegisterError> {
    Err(RegisterError::Capacity(error))
}

mod blocks;
mod fan_out;
mod model;
mod registration;
mod routing;
