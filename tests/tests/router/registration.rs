//! Spaces and modules in their tables, and the limits of those.

use super::*;

on_both_tiers!(
    a_duplicate_space_is_an_error_value_and_changes_nothing,
    a_duplicate_module_is_an_error_value_and_changes_nothing,
    a_module_receives_nothing_before_its_space_is_registered,
    a_key_is_never_used_for_another_registration,
    what_is_registered_at_one_time_has_indices_of_its_own,
    an_unregistered_space_takes_its_modules_with_it_and_no_others,
    what_is_not_registered_can_be_unregistered_without_effect,
    spaces_and_modules_with_the_same_joined_bytes_are_different,
    empty_ids_are_ids_like_any_other,
    a_full_table_of_spaces_refuses_and_recovers,
    a_full_table_of_modules_refuses_and_recovers,
    a_space_that_modules_name_takes_a_place_until_the_last_of_them_is_gone,
    a_refused_module_leaves_no_place_behind,
);

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

fn what_is_registered_at_one_time_has_indices_of_its_own<S: Tier>() {
    let mut router = router::<S>();
    let directory = router.directory_mut();
    for _ in 0..2 {
        let spaces: BTreeSet<_> =
            [b"a", b"b", b"c"].map(|id| directory.register_space(id).unwrap().index()).into();
        assert_eq!(spaces, (0..SPACES).collect());
        let modules: BTreeSet<_> = [(b"a", "m"), (b"a", "n"), (b"b", "m"), (b"c", "m")]
            .map(|(space, name)| directory.register_module(space, name).unwrap().index())
            .into();
        assert_eq!(modules, (0..MODULES).collect());
        for id in [b"b", b"a", b"c"] {
            assert!(directory.unregister_space(id));
        }
    }
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
