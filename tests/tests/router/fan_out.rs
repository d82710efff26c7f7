//! Who is told of what, and in which order.

use super::*;

on_both_tiers!(
    fan_out_goes_by_class_and_leaves_out_what_is_not_registered,
    local_agents_are_asked_of_registered_spaces_until_one_has_them,
    the_order_depends_on_the_operations_alone,
);

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
