//! What becomes of a message on its way in and out, and what is counted.

use super::*;

on_both_tiers!(
    messages_are_routed_by_the_receive_table,
    the_policy_is_asked_only_where_the_answer_counts,
    messages_are_sent_by_the_send_table,
    a_policy_that_fails_closes_and_refuses,
    only_blocked_messages_are_counted,
    incoming_and_outgoing_share_a_record_that_outlives_the_space,
    invented_urls_cost_one_number,
    a_policy_behind_a_pointer_decides_as_it_would_itself,
);

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

fn a_policy_behind_a_pointer_decides_as_it_would_itself<S: Tier>() {
    fn decisions<S: Tier, P: Policy>(policy: P) -> Vec<Result<(), SendRefused>> {
        let mut router = Router::<S, P>::new(&S::LIMITS, 7, policy);
        [b"a", b"b", b"c"]
            .map(|space| {
                router.directory_mut().register_space(space).unwrap();
                router.directory().permit_send(&peer(ALICE), space)
            })
            .into()
    }
    let told = || {
        let mut told = Told::default();
        told.blocked.insert((ALICE.into(), b"a".into()));
        told.local_agents.insert(b"b".into(), Some(false));
        told
    };
    let expected = [Err(SendRefused::Blocked), Err(SendRefused::NoLocalAgents), Ok(())];
    assert_eq!(decisions::<S, _>(told()), expected);
    assert_eq!(decisions::<S, _>(&told()), expected);
    assert_eq!(decisions::<S, Box<dyn Policy>>(Box::new(told())), expected);
}
