//! Random operations on a router and on the simplest thing that obeys the same rules.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

on_both_tiers!(random_operations_agree_with_the_model,);

#[derive(Debug, Clone)]
enum Op {
    RegisterSpace(u8),
    RegisterModule(u8, u8),
    UnregisterSpace(u8),
    UnregisterModule(u8, u8),
    Receive { peer: u8, ty: i32, space: Option<u8>, module: Option<u8> },
    Send { peer: u8, space: u8, module: Option<u8> },
    Block(u8, u8),
    Unblock(u8, u8),
    BlockCheck { space: u8, fails: bool },
    LocalAgents(u8, Option<bool>),
}

fn op() -> impl Strategy<Value = Op> {
    let (space, module, peer) = (0..5u8, 0..3u8, 0..3u8);
    let (s, m, p) = (move || space.clone(), move || module.clone(), move || peer.clone());
    let ty = prop_oneof![4 => Just(2), 4 => Just(3), 1 => Just(1), 1 => Just(15), 1 => -1..20i32];
    let receive = (p(), ty, prop::option::weighted(0.9, s()), prop::option::weighted(0.9, m()));
    prop_oneof![
        3 => s().prop_map(Op::RegisterSpace),
        3 => (s(), m()).prop_map(|(space, module)| Op::RegisterModule(space, module)),
        1 => s().prop_map(Op::UnregisterSpace),
        1 => (s(), m()).prop_map(|(space, module)| Op::UnregisterModule(space, module)),
        6 => receive.prop_map(|(peer, ty, space, module)| Op::Receive { peer, ty, space, module }),
        3 => (p(), s(), prop::option::of(m())).prop_map(|(peer, space, module)| Op::Send { peer, space, module }),
        3 => (p(), s()).prop_map(|(peer, space)| Op::Block(peer, space)),
        1 => (p(), s()).prop_map(|(peer, space)| Op::Unblock(peer, space)),
        1 => (s(), any::<bool>()).prop_map(|(space, fails)| Op::BlockCheck { space, fails }),
        1 => (s(), any::<Option<bool>>()).prop_map(|(space, agents)| Op::LocalAgents(space, agents)),
    ]
}

/// The ids: space 0 is the empty one.
fn space_id(number: u8) -> Vec<u8> {
    vec![b'a'; number.into()]
}

fn name(number: u8) -> &'static str {
    ["", "m", "n"][usize::from(number)]
}

fn url(number: u8) -> String {
    format!("ws://a.b:80/{number}")
}

/// The rules again, over plain maps.
#[derive(Default)]
struct Model {
    spaces: BTreeMap<u8, SpaceKey>,
    modules: BTreeMap<(u8, u8), ModuleKey>,
    counts: Vec<(u8, u8, u32, u32)>,
    unattributed: u64,
    blocked: BTreeSet<(u8, u8)>,
    block_check_fails: BTreeSet<u8>,
    local_agents: BTreeMap<u8, Option<bool>>,
}

impl Model {
    /// Why there is no place for a space, if there is none.
    fn no_place(&self, space: u8) -> Option<RegisterError> {
        let named = self.modules.keys().map(|&(space, _)| space);
        let places: BTreeSet<u8> = self.spaces.keys().copied().chain(named).collect();
        let full = places.len() == SPACES && !places.contains(&space);
        full.then_some(RegisterError::Capacity(CapacityError::Spaces))
    }

    fn count(&mut self, peer: u8, space: u8, incoming: bool) {
        let at = self.counts.iter().position(|count| (count.0, count.1) == (peer, space));
        let at = at.or_else(|| {
            (self.counts.len() < COUNTS).then(|| self.counts.push((peer, space, 0, 0)))?;
            Some(self.counts.len() - 1)
        });
        match at {
            Some(at) if incoming => self.counts[at].2 += 1,
            Some(at) => self.counts[at].3 += 1,
            None => self.unattributed += 1,
        }
    }

    fn receive(&mut self, peer: u8, ty: i32, space: Option<u8>, module: Option<u8>) -> Got {
        match ty {
            1 => return Got::Preflight,
            15 => return Got::Disconnect,
            2 | 3 => {}
            _ => return Got::Dropped(DropReason::Unspecified),
        }
        let Some(space) = space else { return Got::MissingSpace };
        let Some(&key) = self.spaces.get(&space) else { return Got::Dropped(DropReason::UnknownSpace) };
        if self.block_check_fails.contains(&space) {
            return Got::BlockCheckFailed;
        }
        if self.blocked.contains(&(peer, space)) {
            self.count(peer, space, true);
            return Got::Dropped(DropReason::Blocked);
        }
        if ty == 2 {
            return Got::Space(key);
        }
        let module = module.and_then(|module| self.modules.get(&(space, module)));
        module.map_or(Got::Dropped(DropReason::UnknownModule), |&key| Got::Module(key))
    }

    fn send(&mut self, peer: u8, space: u8) -> Result<(), SendRefused> {
        if !self.spaces.contains_key(&space) {
            return Err(SendRefused::UnknownSpace);
        }
        match self.local_agents.get(&space).copied().unwrap_or(Some(true)) {
            Some(true) => {}
            Some(false) => return Err(SendRefused::NoLocalAgents),
            None => return Err(SendRefused::LocalAgentsFailed),
        }
        if self.block_check_fails.contains(&space) {
            return Err(SendRefused::BlockCheckFailed);
        }
        if self.blocked.contains(&(peer, space)) {
            self.count(peer, space, false);
            return Err(SendRefused::Blocked);
        }
        Ok(())
    }
}

/// A router beside its model.
struct Pair<S: Storage> {
    router: ToldRouter<S>,
    model: Model,
    /// All keys that there ever were.
    spaces: BTreeSet<SpaceKey>,
    modules: BTreeSet<ModuleKey>,
}

impl<S: Tier> Pair<S> {
    fn new(seed: u64) -> Self {
        Self {
            router: Router::new(&S::LIMITS, seed, Told::default()),
            model: Model::default(),
            spaces: BTreeSet::new(),
            modules: BTreeSet::new(),
        }
    }

    /// Does one thing to both.
    fn apply(&mut self, op: &Op) {
        let Self { router, model, .. } = self;
        let version = router.directory().version();
        let mut changes = false;
        match *op {
            Op::RegisterSpace(space) => {
                let expected = match model.spaces.contains_key(&space) {
                    true => Some(RegisterError::Duplicate),
                    false => model.no_place(space),
                };
                let key = router.directory_mut().register_space(&space_id(space));
                assert_eq!(key.err(), expected);
                if let Ok(key) = key {
                    changes = true;
                    assert!(self.spaces.insert(key), "a new key");
                    model.spaces.insert(space, key);
                }
            }
            Op::RegisterModule(space, module) => {
                let full = RegisterError::Capacity(CapacityError::Modules);
                let expected = match model.modules.contains_key(&(space, module)) {
                    true => Some(RegisterError::Duplicate),
                    false => {
                        model.no_place(space).or_else(|| (model.modules.len() == MODULES).then_some(full))
                    }
                };
                let key = router.directory_mut().register_module(&space_id(space), name(module));
                assert_eq!(key.err(), expected);
                if let Ok(key) = key {
                    changes = true;
                    assert!(self.modules.insert(key), "a new key");
                    model.modules.insert((space, module), key);
                }
            }
            Op::UnregisterSpace(space) => {
                let was_there = model.spaces.remove(&space).is_some();
                let modules = model.modules.len();
                model.modules.retain(|&(of, _), _| of != space);
                changes = was_there || model.modules.len() < modules;
                assert_eq!(router.directory_mut().unregister_space(&space_id(space)), was_there);
            }
            Op::UnregisterModule(space, module) => {
                changes = model.modules.remove(&(space, module)).is_some();
                let done = router.directory_mut().unregister_module(&space_id(space), name(module));
                assert_eq!(done, changes);
            }
            Op::Receive { peer, ty, space, module } => {
                let id = space.map(space_id);
                let message = Message {
                    ty,
                    data: b"data",
                    space: id.as_deref(),
                    module: module.map(|module| ModuleName::new(name(module))),
                };
                let got = receive(router, &url(peer), message);
                assert_eq!(got, model.receive(peer, ty, space, module));
            }
            Op::Send { peer, space, module } => {
                let (url, id) = (url(peer), space_id(space));
                let expected = model.send(peer, space);
                match module {
                    None => {
                        let message = router.notify(super::peer(&url), &id, b"x");
                        assert_eq!(message, expected.map(|()| Message::notify(&id, b"x")));
                    }
                    Some(module) => {
                        let message = router.module(super::peer(&url), &id, name(module), b"x");
                        assert_eq!(message, expected.map(|()| Message::module(&id, name(module), b"x")));
                    }
                }
            }
            Op::Block(peer, space) => {
                model.blocked.insert((peer, space));
                block(router, &url(peer), &space_id(space));
            }
            Op::Unblock(peer, space) => {
                model.blocked.remove(&(peer, space));
                router.directory_mut().policy_mut().blocked.remove(&(url(peer), space_id(space)));
            }
            Op::BlockCheck { space, fails } => {
                let policy = router.directory_mut().policy_mut();
                if fails {
                    model.block_check_fails.insert(space);
                    policy.block_check_fails.insert(space_id(space));
                } else {
                    model.block_check_fails.remove(&space);
                    policy.block_check_fails.remove(&space_id(space));
                }
            }
            Op::LocalAgents(space, agents) => {
                model.local_agents.insert(space, agents);
                router.directory_mut().policy_mut().local_agents.insert(space_id(space), agents);
            }
        }
        assert_eq!(router.directory().version() != version, changes, "the version tells of a change: {op:?}");
    }

    /// Compares all that can be seen.
    fn check(&self) {
        let Self { router, model, .. } = self;
        let directory = router.directory();
        assert_eq!(directory.space_count(), model.spaces.len());
        for space in 0..5 {
            assert_eq!(directory.space(&space_id(space)), model.spaces.get(&space).copied());
        }
        let (mut spaces, mut modules) = (BTreeMap::new(), BTreeMap::new());
        for target in directory.peer_connect_targets() {
            match target {
                Target::Space { key, space } => assert_eq!(spaces.insert(space.to_vec(), key), None),
                Target::Module { key, space, module } => {
                    assert_eq!(modules.insert((space.to_vec(), module), key), None);
                }
                _ => {}
            }
        }
        let expected = model.spaces.iter().map(|(&space, &key)| (space_id(space), key));
        assert_eq!(spaces, expected.collect());
        let expected = model.modules.iter().map(|(&(s, m), &key)| ((space_id(s), name(m)), key));
        assert_eq!(modules, expected.collect());
        let expected =
            model.counts.iter().map(|&(p, s, incoming, outgoing)| (url(p), space_id(s), incoming, outgoing));
        assert_eq!(counts(router), expected.collect::<Vec<_>>());
        assert_eq!(router.blocked_counts().unattributed(), model.unattributed);
    }
}

fn random_operations_agree_with_the_model<S: Tier>() {
    let config = Config { cases: 256, failure_persistence: None, ..Config::default() };
    let ops = prop::collection::vec(op(), 0..80);
    let outcome = TestRunner::new_with_rng(config, rng()).run(&ops, |ops| {
        let (mut pair, mut twin) = (Pair::<S>::new(1), Pair::<S>::new(2));
        for op in &ops {
            pair.apply(op);
            pair.check();
            twin.apply(op);
        }
        assert_eq!(listing(pair.router.directory()), listing(twin.router.directory()), "one order");
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// The same operations in every run.
fn rng() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}
