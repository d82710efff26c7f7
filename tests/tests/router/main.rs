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

on_both_tiers!(
    a_duplicate_space_is_an_error_value_and_changes_nothing,
    a_duplicate_module_is_an_error_value_and_changes_nothing,
    a_module_receives_nothing_before_its_space_is_registered,
    a_key_is_never_used_for_another_registration,
    an_unregistered_space_takes_its_modules_with_it_and_no_others,
    what_is_not_registered_can_be_unregistered_without_effect,
    spaces_and_modules_with_the_same_joined_bytes_are_different,
    empty_ids_are_ids_like_any_other,
    a_full_table_of_spaces_refuses_and_recovers,
    a_full_table_of_modules_refuses_and_recovers,
    a_space_that_modules_name_takes_a_place_until_the_last_of_them_is_gone,
    a_refused_module_leaves_no_place_behind,
    messages_are_routed_by_the_receive_table,
    the_policy_is_asked_only_where_the_answer_counts,
    messages_are_sent_by_the_send_table,
    a_policy_that_fails_closes_and_refuses,
    only_blocked_messages_are_counted,
    incoming_and_outgoing_share_a_record_that_outlives_the_space,
    invented_urls_cost_one_number,
    fan_out_goes_by_class_and_leaves_out_what_is_not_registered,
    local_agents_are_asked_of_registered_spaces_until_one_has_them,
    the_order_depends_on_the_operations_alone,
    a_block_holds_for_every_spelling_and_address,
    a_block_holds_for_a_key_with_the_other_sign,
    a_seeded_list_blocks_the_same,
    a_block_holds_in_one_space_or_in_all,
    a_full_block_list_refuses_and_recovers,
    a_peer_without_id_matches_no_block,
    a_block_list_in_a_router_drops_and_counts,
    random_operations_agree_with_the_model,
);

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

fn a_duplicate_space_is_an_error_value_and_changes_nothing<S: Tier>() {
    let mut router = router::<S>();
    let garden = router.directory_mut().register_space(b"garden").unwrap();
    router.directory_mut().register_module(b"garden", "m").unwrap();
    let before = (listing(router.directory()), router.directory().version());
    for _ in 0..2 * SPACES {
        assert_eq!(router.directory_mut().register_space(b"garden"), Err(RegisterError::Duplicate));
    }
    assert_eq!((listing(router.directory()), router.directory().version()), before);
    assert_eq!(receive(&mut router, ALICE, Message::notify(b"garden", b"x")), Got::Space(garden));
    assert!(router.directory_mut().register_space(b"shed").is_ok(), "the router still works");
}

fn a_duplicate_module_is_an_error_value_and_changes_nothing<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"garden").unwrap();
    let module = router.directory_mut().register_module(b"garden", "m").unwrap();
    let early = router.directory_mut().register_module(b"later", "m").unwrap();
    let before = (listing(router.directory()), router.directory().version());
    for _ in 0..2 * MODULES {
        assert_eq!(router.directory_mut().register_module(b"garden", "m"), Err(RegisterError::Duplicate));
        assert_eq!(router.directory_mut().register_module(b"later", "m"), Err(RegisterError::Duplicate));
    }
    assert_eq!((listing(router.directory()), router.directory().version()), before);
    assert_eq!(receive(&mut router, ALICE, Message::module(b"garden", "m", b"x")), Got::Module(module));
    router.directory_mut().register_space(b"later").unwrap();
    assert_eq!(receive(&mut router, ALICE, Message::module(b"later", "m", b"x")), Got::Module(early));
    assert!(router.directory_mut().unregister_module(b"garden", "m"));
    let dropped = Got::Dropped(DropReason::UnknownModule);
    assert_eq!(receive(&mut router, ALICE, Message::module(b"garden", "m", b"x")), dropped);
}

fn a_module_receives_nothing_before_its_space_is_registered<S: Tier>() {
    let mut router = router::<S>();
    let key = router.directory_mut().register_module(b"garden", "m").unwrap();
    assert_eq!((router.directory().space(b"garden"), router.directory().space_count()), (None, 0));
    let message = Message::module(b"garden", "m", b"x");
    assert_eq!(receive(&mut router, ALICE, message), Got::Dropped(DropReason::UnknownSpace));
    let refused = router.module(peer(ALICE), b"garden", "m", b"x").unwrap_err();
    assert_eq!(refused, SendRefused::UnknownSpace);
    let space = router.directory_mut().register_space(b"garden").unwrap();
    assert_eq!(router.directory().module(space, "m"), Some(key));
    assert_eq!(receive(&mut router, ALICE, message), Got::Module(key));
}

fn a_key_is_never_used_for_another_registration<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    let (mut spaces, mut modules) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..20 {
        let id = [b'a' + round % 3];
        let space = directory.register_space(&id).unwrap();
        assert!(spaces.insert(space), "a space's key is new");
        for name in ["m", "n"] {
            let module = directory.register_module(&id, name).unwrap();
            assert!(modules.insert(module), "a module's key is new");
            assert_eq!(directory.module(space, name), Some(module));
        }
        directory.unregister_module(&id, "m");
        assert!(modules.insert(directory.register_module(&id, "m").unwrap()), "the same name, a new key");
        assert!(space.index() < SPACES, "indices stay small");
        assert!(modules.iter().all(|key| key.index() < MODULES));
        assert!(directory.unregister_space(&id));
    }
    let gone = directory.register_space(b"x").unwrap();
    directory.unregister_space(b"x");
    let new = directory.register_space(b"x").unwrap();
    assert_ne!(gone, new);
    assert_eq!(directory.space(b"x"), Some(new));
}

fn an_unregistered_space_takes_its_modules_with_it_and_no_others<S: Tier>() {
    let mut router = router::<S>();
    for space in [b"a", b"b"] {
        router.directory_mut().register_space(space).unwrap();
        for name in ["m", "n"] {
            router.directory_mut().register_module(space, name).unwrap();
        }
    }
    assert!(router.directory_mut().unregister_space(b"a"));
    assert_eq!(router.directory().peer_connect_targets().count(), 2 + 1 + 1);
    let space = router.directory_mut().register_space(b"a").unwrap();
    assert_eq!(router.directory().module(space, "m"), None);
    let unknown = Got::Dropped(DropReason::UnknownModule);
    assert_eq!(receive(&mut router, ALICE, Message::module(b"a", "m", b"")), unknown);
    assert!(matches!(receive(&mut router, ALICE, Message::module(b"b", "m", b"")), Got::Module(_)));
}

fn what_is_not_registered_can_be_unregistered_without_effect<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    directory.register_space(b"a").unwrap();
    directory.register_module(b"a", "m").unwrap();
    let before = (listing(directory), directory.version());
    let too_long = [b'x'; 100];
    for space in [&b"b"[..], b"", b"a\0", &too_long] {
        assert!(!directory.unregister_space(space));
        assert!(!directory.unregister_module(space, "m"));
    }
    assert!(!directory.unregister_module(b"a", "n"));
    assert_eq!((listing(directory), directory.version()), before);

    directory.register_module(b"early", "m").unwrap();
    assert!(!directory.unregister_space(b"early"), "it was only named");
    assert_eq!(listing(directory), before.0, "but its modules are gone");
}

fn spaces_and_modules_with_the_same_joined_bytes_are_different<S: Tier>() {
    let mut router = router::<S>();
    for space in [&b"ab"[..], b"a"] {
        router.directory_mut().register_space(space).unwrap();
    }
    let first = router.directory_mut().register_module(b"ab", "c").unwrap();
    let second = router.directory_mut().register_module(b"a", "bc").unwrap();
    assert_eq!(receive(&mut router, ALICE, Message::module(b"ab", "c", b"")), Got::Module(first));
    assert_eq!(receive(&mut router, ALICE, Message::module(b"a", "bc", b"")), Got::Module(second));
    let unknown = Got::Dropped(DropReason::UnknownModule);
    assert_eq!(receive(&mut router, ALICE, Message::module(b"ab", "bc", b"")), unknown);
    assert_eq!(receive(&mut router, ALICE, Message::module(b"a", "c", b"")), unknown);
}

fn empty_ids_are_ids_like_any_other<S: Tier>() {
    let mut router = router::<S>();
    let space = router.directory_mut().register_space(b"").unwrap();
    let module = router.directory_mut().register_module(b"", "").unwrap();
    assert_eq!(receive(&mut router, ALICE, Message::notify(b"", b"x")), Got::Space(space));
    assert_eq!(receive(&mut router, ALICE, Message::module(b"", "", b"x")), Got::Module(module));
    let absent = Message { module: None, ..Message::module(b"", "", b"x") };
    assert_eq!(receive(&mut router, ALICE, absent), Got::Dropped(DropReason::UnknownModule));
    let absent = Message { space: None, ..Message::notify(b"", b"x") };
    assert_eq!(receive(&mut router, ALICE, absent), Got::MissingSpace);
}

fn a_full_table_of_spaces_refuses_and_recovers<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    for id in 0..SPACES as u8 {
        directory.register_space(&[id]).unwrap();
    }
    let before = (listing(directory), directory.version());
    assert_eq!(directory.register_space(b"more"), capacity(CapacityError::Spaces));
    assert_eq!(directory.register_module(b"more", "m"), capacity(CapacityError::Spaces));
    assert_eq!(directory.register_space(&[0]), Err(RegisterError::Duplicate), "a duplicate all the same");
    assert_eq!((listing(directory), directory.version()), before);
    assert!(directory.unregister_space(&[1]));
    directory.register_space(b"more").unwrap();
    assert_eq!(directory.register_space(&[1]), capacity(CapacityError::Spaces));
}

fn a_full_table_of_modules_refuses_and_recovers<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    directory.register_space(b"a").unwrap();
    let names = ["m0", "m1", "m2", "m3"];
    for name in names.iter().take(MODULES) {
        directory.register_module(b"a", name).unwrap();
    }
    let before = (listing(directory), directory.version());
    assert_eq!(directory.register_module(b"a", "more"), capacity(CapacityError::Modules));
    assert_eq!(directory.register_module(b"a", "m0"), Err(RegisterError::Duplicate));
    assert_eq!((listing(directory), directory.version()), before);
    assert!(directory.unregister_module(b"a", "m2"));
    directory.register_module(b"a", "more").unwrap();
    assert_eq!(directory.register_module(b"a", "m2"), capacity(CapacityError::Modules));
    directory.unregister_space(b"a");
    for name in names {
        directory.register_module(b"b", name).unwrap();
    }
}

fn a_space_that_modules_name_takes_a_place_until_the_last_of_them_is_gone<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    for id in 0..SPACES as u8 {
        directory.register_module(&[id], "m").unwrap();
    }
    directory.register_module(&[0], "n").unwrap();
    assert_eq!(directory.register_space(b"more"), capacity(CapacityError::Spaces));
    directory.unregister_module(&[0], "m");
    assert_eq!(directory.register_space(b"more"), capacity(CapacityError::Spaces));
    directory.unregister_module(&[0], "n");
    directory.register_space(b"more").unwrap();
    directory.unregister_space(&[1]);
    directory.register_space(b"even").unwrap();
    directory.register_space(&[2]).expect("its place is there already");
    directory.unregister_module(&[2], "m");
    assert!(directory.space(&[2]).is_some(), "a registered space stays without modules");
}

fn a_refused_module_leaves_no_place_behind<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    directory.register_space(b"a").unwrap();
    for name in ["m0", "m1", "m2", "m3"] {
        directory.register_module(b"a", name).unwrap();
    }
    for id in 0..10 * SPACES as u8 {
        assert_eq!(directory.register_module(&[id], "m"), capacity(CapacityError::Modules));
    }
    for id in 0..SPACES as u8 - 1 {
        directory.register_space(&[id]).unwrap();
    }
}

#[test]
fn what_is_too_long_for_a_fixed_tier_is_a_capacity_error_and_fits_on_the_heap() {
    let too_long = |result: Option<RegisterError>| {
        assert_eq!(result, Some(RegisterError::Capacity(CapacityError::TooLong)));
    };
    let (space, name) = ([b's'; SPACE_ID + 1], "n".repeat(NAME + 1));
    let mut tiny = router::<Tiny>();
    let directory = tiny.directory_mut();
    let before = (listing(directory), directory.version());
    for _ in 0..2 * SPACES {
        too_long(directory.register_space(&space).err());
        too_long(directory.register_module(&space, "m").err());
        too_long(directory.register_module(b"a", &name).err());
    }
    assert_eq!((listing(directory), directory.version()), before);
    directory.register_space(&space[1..]).unwrap();
    directory.register_module(&space[1..], &name[1..]).unwrap();
    let mut blocks = BlockList::<Tiny>::new(&Tiny::LIMITS);
    let id = PeerId::new("alice").unwrap();
    assert_eq!(blocks.block(id, Some(&space)), Err(CapacityError::TooLong));
    assert_eq!(blocks.block(id, Some(&space[1..])), Ok(()));
    let dropped = receive(&mut tiny, ALICE, Message::notify(&space, b""));
    assert_eq!(dropped, Got::Dropped(DropReason::UnknownSpace));

    let mut heap = router::<Heap>();
    let (space, name) = ([b's'; 10_000], "n".repeat(10_000));
    let key = heap.directory_mut().register_space(&space).unwrap();
    let module = heap.directory_mut().register_module(&space, &name).unwrap();
    assert_eq!(receive(&mut heap, ALICE, Message::notify(&space, b"")), Got::Space(key));
    assert_eq!(receive(&mut heap, ALICE, Message::module(&space, &name, b"")), Got::Module(module));
}

#[test]
fn a_url_too_long_for_a_fixed_tier_is_counted_without_its_name() {
    let mut router = router::<Tiny>();
    router.directory_mut().register_space(b"a").unwrap();
    let long = format!("ws://a.b:80/{}", "x".repeat(URL));
    block(&mut router, &long, b"a");
    block(&mut router, ALICE, b"a");
    for url in [&long, ALICE, &long] {
        let dropped = receive(&mut router, url, Message::notify(b"a", b""));
        assert_eq!(dropped, Got::Dropped(DropReason::Blocked));
    }
    assert_eq!(counts(&router), [(ALICE.into(), b"a".to_vec(), 1, 0)]);
    assert_eq!(router.blocked_counts().unattributed(), 2);
}

#[test]
fn limits_below_the_size_of_a_fixed_tier_hold() {
    let limits = RouterLimits { max_spaces: 1, max_modules: 1, max_blocked_counts: 1, max_block_rules: 1 };
    let mut router = Router::<Tiny, _>::new(&limits, 7, Told::default());
    router.directory_mut().register_space(b"a").unwrap();
    assert_eq!(router.directory_mut().register_space(b"b"), capacity(CapacityError::Spaces));
    router.directory_mut().register_module(b"a", "m").unwrap();
    assert_eq!(router.directory_mut().register_module(b"a", "n"), capacity(CapacityError::Modules));
    for url in [ALICE, BOB] {
        block(&mut router, url, b"a");
        receive(&mut router, url, Message::notify(b"a", b""));
    }
    assert_eq!((counts(&router).len(), router.blocked_counts().unattributed()), (1, 1));
    let mut blocks = BlockList::<Tiny>::new(&limits);
    blocks.block(PeerId::new("alice").unwrap(), None).unwrap();
    assert_eq!(blocks.block(PeerId::new("bob").unwrap(), None), Err(CapacityError::BlockRules));
}

fn messages_are_routed_by_the_receive_table<S: Tier>() {
    let mut router = router::<S>();
    let space = router.directory_mut().register_space(b"a").unwrap();
    let module = router.directory_mut().register_module(b"a", "m").unwrap();
    let notify = Message::notify(b"a", b"x");
    let to_module = Message::module(b"a", "m", b"x");
    for (message, got) in [
        (Message { ty: 0, ..notify }, Got::Dropped(DropReason::Unspecified)),
        (Message { ty: 4, ..notify }, Got::Dropped(DropReason::Unspecified)),
        (Message { ty: -1, ..notify }, Got::Dropped(DropReason::Unspecified)),
        (Message::default(), Got::Dropped(DropReason::Unspecified)),
        (Message::preflight(b"x"), Got::Preflight),
        (Message { ty: Kind::Preflight.to_wire(), ..notify }, Got::Preflight),
        (Message::disconnect(b"\xff"), Got::Disconnect),
        (Message { ty: Kind::Disconnect.to_wire(), ..to_module }, Got::Disconnect),
        (Message { space: None, ..notify }, Got::MissingSpace),
        (Message { space: None, ..to_module }, Got::MissingSpace),
        (Message::notify(b"b", b"x"), Got::Dropped(DropReason::UnknownSpace)),
        (Message::module(b"b", "m", b"x"), Got::Dropped(DropReason::UnknownSpace)),
        (notify, Got::Space(space)),
        (Message { module: Some(ModuleName::new("unknown")), ..notify }, Got::Space(space)),
        (to_module, Got::Module(module)),
        (Message { module: None, ..to_module }, Got::Dropped(DropReason::UnknownModule)),
        (Message::module(b"a", "unknown", b"x"), Got::Dropped(DropReason::UnknownModule)),
    ] {
        assert_eq!(receive(&mut router, ALICE, message), got, "{message:?}");
    }
    let garbage = router.receive(peer(ALICE), b"\xff").unwrap_err();
    assert!(matches!(garbage, ReceiveError::Protocol(ProtocolError::Message(_))));
    assert_eq!(counts(&router), []);
}

fn the_policy_is_asked_only_where_the_answer_counts<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"a").unwrap();
    let notify = Message::notify(b"a", b"x");
    let once = &["blocked"][..];
    for (message, asked) in [
        (Message { ty: 0, ..notify }, &[][..]),
        (Message { ty: Kind::Preflight.to_wire(), ..notify }, &[]),
        (Message { ty: Kind::Disconnect.to_wire(), ..notify }, &[]),
        (Message { space: None, ..notify }, &[]),
        (Message::notify(b"b", b"x"), &[]),
        (notify, once),
        (Message::module(b"a", "unknown", b"x"), once),
    ] {
        receive(&mut router, ALICE, message);
        assert_eq!(router.directory().policy().asked(), asked, "{message:?}");
    }
    let _ = router.notify(peer(ALICE), b"b", b"x");
    assert_eq!(router.directory().policy().asked(), [""; 0], "nobody asks about an unknown space");
    let _ = router.notify(peer(ALICE), b"a", b"x");
    assert_eq!(router.directory().policy().asked(), ["agents", "blocked"]);
    router.directory_mut().policy_mut().local_agents.insert(b"a".into(), Some(false));
    let _ = router.module(peer(ALICE), b"a", "m", b"x");
    assert_eq!(router.directory().policy().asked(), ["agents"]);
}

fn messages_are_sent_by_the_send_table<S: Tier>() {
    use SendRefused::{BlockCheckFailed, Blocked, LocalAgentsFailed, NoLocalAgents, UnknownSpace};
    /// What the block check says.
    #[derive(Debug, Clone, Copy)]
    enum Check {
        Fails,
        Blocked,
        Clear,
    }
    let table = [
        (false, Some(true), Check::Clear, Err(UnknownSpace)),
        (false, None, Check::Blocked, Err(UnknownSpace)),
        (true, None, Check::Clear, Err(LocalAgentsFailed)),
        (true, None, Check::Blocked, Err(LocalAgentsFailed)),
        (true, Some(false), Check::Clear, Err(NoLocalAgents)),
        (true, Some(false), Check::Blocked, Err(NoLocalAgents)),
        (true, Some(false), Check::Fails, Err(NoLocalAgents)),
        (true, Some(true), Check::Fails, Err(BlockCheckFailed)),
        (true, Some(true), Check::Blocked, Err(Blocked)),
        (true, Some(true), Check::Clear, Ok(())),
    ];
    for (registered, agents, check, expected) in table {
        let mut router = router::<S>();
        if registered {
            router.directory_mut().register_space(b"a").unwrap();
        }
        let policy = router.directory_mut().policy_mut();
        policy.local_agents.insert(b"a".into(), agents);
        match check {
            Check::Fails => assert!(policy.block_check_fails.insert(b"a".into())),
            Check::Blocked => block(&mut router, ALICE, b"a"),
            Check::Clear => {}
        }
        let row = format!("{registered} {agents:?} {check:?}");
        assert_eq!(
            router.notify(peer(ALICE), b"a", b"x"),
            expected.map(|()| Message::notify(b"a", b"x")),
            "{row}"
        );
        let module = router.module(peer(ALICE), b"a", "m", b"x");
        assert_eq!(module, expected.map(|()| Message::module(b"a", "m", b"x")), "{row}");
        let counted =
            if expected == Err(Blocked) { vec![(ALICE.into(), b"a".to_vec(), 0, 2)] } else { vec![] };
        assert_eq!(counts(&router), counted, "{row}");
        assert_eq!(router.directory().permit_send(&peer(ALICE), b"a"), expected, "{row}");
        assert_eq!(counts(&router), counted, "asking for permission alone counts nothing");
    }
}

fn a_policy_that_fails_closes_and_refuses<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"a").unwrap();
    router.directory_mut().register_module(b"a", "m").unwrap();
    router.directory_mut().policy_mut().block_check_fails.insert(b"a".into());
    for message in [
        Message::notify(b"a", b"x"),
        Message::module(b"a", "m", b"x"),
        Message::module(b"a", "unknown", b"x"),
    ] {
        assert_eq!(receive(&mut router, ALICE, message), Got::BlockCheckFailed);
    }
    assert_eq!(router.notify(peer(ALICE), b"a", b"x"), Err(SendRefused::BlockCheckFailed));
    router.directory_mut().policy_mut().local_agents.insert(b"a".into(), None);
    assert_eq!(router.notify(peer(ALICE), b"a", b"x"), Err(SendRefused::LocalAgentsFailed));
    assert_eq!(router.directory().local_agents(), Err(PolicyFailed));
    assert_eq!(counts(&router), []);

    router.directory_mut().policy_mut().block_check_fails.clear();
    assert!(matches!(receive(&mut router, ALICE, Message::notify(b"a", b"x")), Got::Space(_)), "it recovers");
}

fn only_blocked_messages_are_counted<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"a").unwrap();
    router.directory_mut().register_module(b"a", "m").unwrap();
    let to_module = Message::module(b"a", "m", b"x");
    let unanswered = [
        Message::notify(b"b", b"x"),
        Message::module(b"b", "m", b"x"),
        Message::module(b"a", "unknown", b"x"),
        Message { module: None, ..to_module },
        Message { ty: 99, ..to_module },
    ];
    for message in unanswered {
        assert!(matches!(receive(&mut router, ALICE, message), Got::Dropped(_)));
    }
    let _ = router.notify(peer(ALICE), b"b", b"x");
    assert_eq!(counts(&router), []);

    block(&mut router, ALICE, b"a");
    block(&mut router, ALICE, b"b");
    for message in unanswered {
        receive(&mut router, ALICE, message);
    }
    let _ = router.notify(peer(ALICE), b"b", b"x");
    receive(&mut router, BOB, to_module);
    let modules = 2;
    assert_eq!(
        counts(&router),
        [(ALICE.into(), b"a".to_vec(), modules, 0)],
        "a registered space alone counts"
    );
    assert_eq!(router.blocked_counts().unattributed(), 0);
}

fn incoming_and_outgoing_share_a_record_that_outlives_the_space<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"a").unwrap();
    router.directory_mut().register_space(b"b").unwrap();
    for (url, space) in [(BOB, b"b"), (ALICE, b"a"), (ALICE, b"b")] {
        block(&mut router, url, space);
        assert!(router.notify(peer(url), space, b"").is_err());
    }
    receive(&mut router, ALICE, Message::notify(b"a", b""));
    router.directory_mut().unregister_space(b"a");
    receive(&mut router, ALICE, Message::notify(b"a", b""));
    let expected = |incoming| {
        [
            (BOB.to_owned(), b"b".to_vec(), 0, 1),
            (ALICE.into(), b"a".into(), incoming, 1),
            (ALICE.into(), b"b".into(), 0, 1),
        ]
    };
    assert_eq!(counts(&router), expected(1), "in the order in which they appeared");
    router.directory_mut().register_space(b"a").unwrap();
    receive(&mut router, ALICE, Message::notify(b"a", b""));
    assert_eq!(counts(&router), expected(2));
}

fn invented_urls_cost_one_number<S: Tier>() {
    let mut router = router::<S>();
    router.directory_mut().register_space(b"a").unwrap();
    let urls: Vec<_> = (0..1000).map(|number| format!("ws://a.b:80/{number}")).collect();
    for url in &urls {
        block(&mut router, url, b"a");
        receive(&mut router, url, Message::notify(b"a", b""));
    }
    let full = counts(&router);
    assert_eq!(full.len(), COUNTS);
    assert_eq!(router.blocked_counts().unattributed(), (urls.len() - COUNTS) as u64);
    assert!(router.notify(peer(&urls[COUNTS]), b"a", b"").is_err());
    assert_eq!(counts(&router), full);
    assert_eq!(router.blocked_counts().unattributed(), (urls.len() - COUNTS) as u64 + 1);
    receive(&mut router, &urls[0], Message::notify(b"a", b""));
    assert_eq!(
        counts(&router)[0],
        (urls[0].clone(), b"a".to_vec(), 2, 0),
        "those that have a place keep counting"
    );
}

/// A target in short: `m:<space>/<module>`, `s:<space>`, `h`.
fn short<'t>(targets: impl Iterator<Item = Target<'t>>) -> Vec<String> {
    let text = |bytes| String::from_utf8_lossy(bytes);
    targets
        .map(|target| match target {
            Target::Module { space, module, .. } => format!("m:{}/{module}", text(space)),
            Target::Space { space, .. } => format!("s:{}", text(space)),
            Target::Handler => "h".into(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn fan_out_goes_by_class_and_leaves_out_what_is_not_registered<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    assert_eq!(short(directory.peer_connect_targets()), ["h"]);
    assert_eq!(short(directory.peer_disconnect_targets()), ["h"]);
    assert_eq!(short(directory.new_listening_address_targets()), ["h"]);
    assert_eq!(short(directory.set_unresponsive_targets()), [""; 0]);

    directory.register_module(b"a", "m").unwrap();
    directory.register_space(b"b").unwrap();
    directory.register_module(b"c", "m").unwrap();
    directory.register_module(b"b", "n").unwrap();
    directory.register_module(b"b", "o").unwrap();
    directory.register_space(b"a").unwrap();
    directory.unregister_module(b"b", "n");
    let all = ["m:a/m", "m:c/m", "m:b/o", "s:a", "s:b", "h"];
    assert_eq!(short(directory.peer_connect_targets()), all, "c is only named, so its handler is nowhere");
    assert_eq!(short(directory.peer_disconnect_targets()), all);
    assert_eq!(short(directory.new_listening_address_targets()), ["h", "s:a", "s:b"]);
    assert_eq!(short(directory.set_unresponsive_targets()), ["s:a", "s:b"]);
    assert_eq!(short(directory.local_agents_targets()), ["s:a", "s:b"]);
    directory.unregister_space(b"a");
    assert_eq!(short(directory.peer_connect_targets()), ["m:c/m", "m:b/o", "s:b", "h"]);

    for target in directory.peer_connect_targets() {
        match target {
            Target::Module { key, space: b"b", module } => {
                assert_eq!(directory.module(directory.space(b"b").unwrap(), module), Some(key));
            }
            Target::Space { key, space } => assert_eq!(directory.space(space), Some(key)),
            _ => {}
        }
    }
}

fn local_agents_are_asked_of_registered_spaces_until_one_has_them<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    assert_eq!(directory.local_agents(), Ok(LocalAgents::NoSpaces));
    directory.register_module(b"a", "m").unwrap();
    assert_eq!(directory.local_agents(), Ok(LocalAgents::NoSpaces), "a space that is only named has no say");
    assert_eq!(directory.policy().asked(), [""; 0]);
    for space in [b"a", b"b", b"c"] {
        directory.register_space(space).unwrap();
        directory.policy_mut().local_agents.insert(space.into(), Some(false));
    }
    assert_eq!(directory.local_agents(), Ok(LocalAgents::None));
    assert_eq!(directory.policy().asked().len(), 3);
    directory.policy_mut().local_agents.insert(b"b".into(), Some(true));
    directory.policy_mut().local_agents.insert(b"c".into(), None);
    assert_eq!(directory.local_agents(), Ok(LocalAgents::Some));
    assert_eq!(directory.policy().asked().len(), 2, "the first yes ends it");
    directory.policy_mut().local_agents.insert(b"b".into(), Some(false));
    assert_eq!(directory.local_agents(), Err(PolicyFailed));
}

fn the_order_depends_on_the_operations_alone<S: Tier>() {
    let lists = |seed| {
        let mut router = Router::<S, _>::new(&S::LIMITS, seed, Told::default());
        for round in 0..50u8 {
            let _ = router.directory_mut().register_space(&[round % 5]);
            let _ =
                router.directory_mut().register_module(&[round % 4], ["m", "n", "o"][usize::from(round % 3)]);
            let url = format!("ws://a.b:80/{}", round % 7);
            block(&mut router, &url, &[round % 5]);
            receive(&mut router, &url, Message::notify(&[round % 5], b""));
            if round % 6 == 5 {
                router.directory_mut().unregister_space(&[round % 5]);
            }
            router.directory_mut().unregister_module(&[round % 4], "n");
        }
        (listing(router.directory()), counts(&router), router.directory().version())
    };
    let first = lists(0);
    assert!(first.0.len() > 3 && first.1.len() == COUNTS, "there is something to order: {first:?}");
    for seed in [0, 1, u64::MAX] {
        assert_eq!(lists(seed), first);
    }
}

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const BASE32: &str = "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq";

/// The id that a URL ends in.
fn id_of(url: &str) -> Option<PeerId> {
    PeerUrl::parse(url, &UrlRules::default()).unwrap().peer_id().and_then(PeerId::new)
}

fn is_blocked<S: Storage>(blocks: &BlockList<S>, url: &str, space: &[u8]) -> bool {
    blocks.is_blocked(&Peer::new(url, id_of(url).as_ref()), space).unwrap()
}

fn a_block_holds_for_every_spelling_and_address<S: Tier>() {
    let spellings = [HEX.into(), HEX.to_uppercase(), BASE32.into(), BASE32.to_uppercase(), {
        let (front, back) = HEX.split_at(32);
        front.to_uppercase() + back
    }];
    for blocked in &spellings {
        let mut blocks = BlockList::<S>::new(&S::LIMITS);
        blocks.block(PeerId::new(blocked).unwrap(), None).unwrap();
        for spelling in &spellings {
            for address in ["ws://a.b:80", "wss://1.2.3.4:443", "https://[::1]:1/relay", "ws://a.b:0"] {
                assert!(
                    is_blocked(&blocks, &format!("{address}/{spelling}"), b"any"),
                    "{blocked} {spelling}"
                );
            }
            assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{spelling}0"), b"any"));
        }
        assert!(blocks.unblock(PeerId::new(&spellings[2]).unwrap(), None), "unblocked in another spelling");
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{HEX}"), b"any"));
    }
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    blocks.block(PeerId::new("alice").unwrap(), None).unwrap();
    assert!(is_blocked(&blocks, "wss://other.address:9/alice", b""));
    assert!(!is_blocked(&blocks, "ws://a.b:80/Alice", b""), "an id that is no key has one spelling");
    assert!(!is_blocked(&blocks, "ws://a.b:80/alice/bob", b""), "only the last segment is the id");
}

fn a_block_holds_for_a_key_with_the_other_sign<S: Tier>() {
    let key = *PeerId::new(HEX).unwrap().key().unwrap();
    let mut negative = key;
    negative[31] ^= 0x80;
    let mut other = key;
    other[31] ^= 0x40;
    let [key, negative, other] = [key, negative, other].map(PeerId::from_key);
    assert!(key != negative && key.has_same_holder(&negative) && !key.has_same_holder(&other));
    for (blocked, same) in [(key, negative), (negative, key)] {
        let mut blocks = BlockList::<S>::new(&S::LIMITS);
        blocks.block(blocked, None).unwrap();
        assert!(is_blocked(&blocks, &format!("ws://a.b:80/{same}"), b"any"));
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{other}"), b"any"));
        assert!(blocks.unblock(same, None));
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{blocked}"), b"any"));
    }
}

fn a_seeded_list_blocks_the_same<S: Tier>() {
    for seed in [0, 1, u64::MAX] {
        let mut blocks = BlockList::<S>::new(&S::LIMITS).seeded(seed);
        blocks.block(PeerId::new(HEX).unwrap(), None).unwrap();
        blocks.block(PeerId::new("alice").unwrap(), Some(b"a")).unwrap();
        assert!(is_blocked(&blocks, &format!("ws://a.b:80/{HEX}"), b"any"));
        assert!(is_blocked(&blocks, ALICE, b"a") && !is_blocked(&blocks, ALICE, b"b"));
        assert!(!is_blocked(&blocks, BOB, b"a"));
    }
}

fn a_block_holds_in_one_space_or_in_all<S: Tier>() {
    let (alice, bob) = (PeerId::new("alice").unwrap(), PeerId::new("bob").unwrap());
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    assert!(!is_blocked(&blocks, ALICE, b"a"));
    blocks.block(alice, Some(b"a")).unwrap();
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [true, false]);
    assert!(!is_blocked(&blocks, ALICE, b""), "the empty id is a space, not all of them");
    assert!(!is_blocked(&blocks, BOB, b"a"));
    blocks.block(alice, None).unwrap();
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [true, true]);
    assert!(blocks.unblock(alice, None));
    assert_eq!(
        [b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)),
        [true, false],
        "rules are separate"
    );
    assert!(
        !blocks.unblock(alice, None)
            && !blocks.unblock(bob, Some(b"a"))
            && !blocks.unblock(alice, Some(b"b"))
    );
    assert!(blocks.unblock(alice, Some(b"a")));
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [false, false]);
}

fn a_full_block_list_refuses_and_recovers<S: Tier>() {
    let id = |number: usize| PeerId::new(&format!("peer{number}")).unwrap();
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    for number in 0..RULES {
        blocks.block(id(number), None).unwrap();
        blocks.block(id(number), None).expect("twice is the same as once");
    }
    assert_eq!(blocks.block(id(RULES), None), Err(CapacityError::BlockRules));
    assert_eq!(blocks.block(id(0), Some(b"a")), Err(CapacityError::BlockRules));
    assert_eq!(blocks.block(id(0), None), Ok(()), "it is there already");
    assert!(!is_blocked(&blocks, &format!("ws://a.b:80/peer{RULES}"), b"a"));
    assert!(blocks.unblock(id(1), None));
    blocks.block(id(RULES), None).unwrap();
    let blocked = |number| is_blocked(&blocks, &format!("ws://a.b:80/peer{number}"), b"a");
    assert_eq!((0..=RULES).map(blocked).collect::<Vec<_>>(), [true, false, true, true]);
}

fn a_peer_without_id_matches_no_block<S: Tier>() {
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    blocks.block(PeerId::new("alice").unwrap(), None).unwrap();
    let too_long = format!("ws://a.b:80/{}", "x".repeat(65));
    for url in ["ws://alice:80", &too_long] {
        assert_eq!(id_of(url), None);
        assert!(!is_blocked(&blocks, url, b"a"));
    }
    assert!(
        !blocks.is_blocked(&Peer::new(ALICE, None), b"a").unwrap(),
        "the id counts, not the text of the URL"
    );
    assert_eq!(blocks.has_local_agents(b"a"), Ok(true));
}

fn a_block_list_in_a_router_drops_and_counts<S: Tier>() {
    let blocks = BlockList::<S>::new(&S::LIMITS);
    let mut router = Router::<S, _>::new(&S::LIMITS, 7, blocks);
    let space = router.directory_mut().register_space(b"a").unwrap();
    let message = wire(Message::notify(b"a", b"x"));
    let id = id_of(ALICE).unwrap();
    let alice = Peer::new(ALICE, Some(&id));
    let delivered = Ok(Received::Notify { to: space, space: b"a", data: b"x" });
    assert_eq!(router.receive(alice, &message), delivered);
    router.directory_mut().policy_mut().block(id, Some(b"a")).unwrap();
    assert_eq!(router.receive(alice, &message), Ok(Received::Dropped(DropReason::Blocked)));
    assert_eq!(router.notify(alice, b"a", b"x"), Err(SendRefused::Blocked));
    assert_eq!(counts(&router), [(ALICE.into(), b"a".to_vec(), 1, 1)]);
    router.directory_mut().policy_mut().unblock(id, Some(b"a"));
    assert_eq!(router.receive(alice, &message), delivered);
}

mod model;

use model::random_operations_agree_with_the_model;
