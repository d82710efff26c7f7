//! The simulation on a fixed set of seeds, its determinism, and what its checks find.

use kitfox_tests::sim::{Channels, Fault, Options, Report, Sabotage, Summary, run};

fn short() -> Options {
    Options { nodes: Some(6), seconds: Some(10), ..Options::default() }
}

fn holds(report: &Report) {
    if let Some(violation) = &report.violation {
        panic!("{violation}\n{}", report.trace.join("\n"));
    }
}

#[test]
fn fixed_seeds_hold() {
    let mut total = Summary::default();
    for seed in 0..150 {
        let report = run(seed, short());
        holds(&report);
        total.add(&report.summary);
    }
    assert!(total.delivered > 1_000 && total.calm > 0 && total.pairs > 100, "too little happens: {total}");
    assert!(total.unknown > 0 && total.not_sent > 0, "too little goes wrong: {total}");
}

#[test]
fn fixed_seeds_hold_over_the_secured_channel() {
    let mut total = Summary::default();
    for seed in 0..25 {
        let report = run(seed, Options { channels: Channels::Secured, ..short() });
        holds(&report);
        total.add(&report.summary);
    }
    assert!(total.secured == total.seeds && total.calm > 0, "{total}");
    assert!(total.delivered > 300 && total.pairs > 20, "too little happens: {total}");
    for fault in [Fault::FlippedBit, Fault::FalseHandshake, Fault::MangledRecords, Fault::Impostor] {
        assert!(total.faults.get(&fault) > Some(&0), "no {fault:?}: {total}");
    }
}

/// A run in four is secured unless it is told otherwise, and the others are what they are without that.
#[test]
fn a_seed_decides_which_channel_its_run_has() {
    let secured = |channels| {
        let options = Options { channels, nodes: Some(2), seconds: Some(1), ..Options::default() };
        (0..40).map(|seed| run(seed, options).summary.secured).sum::<u64>()
    };
    assert_eq!((secured(Channels::Plain), secured(Channels::Secured)), (0, 40));
    assert!((4..=16).contains(&secured(Channels::Mixed)));
}

/// Seeds that found something once, with the sizes with which they did.
#[test]
fn seeds_that_found_something_hold() {
    for seed in [0, 15, 17, 28, 93, 177] {
        let options = Options { channels: Channels::Plain, ..Options::default() };
        holds(&run(seed, Options { seconds: Some(10), nodes: Some(8), ..options }));
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for (seed, channels) in [(1, Channels::Plain), (5, Channels::Plain), (1, Channels::Secured)] {
        let options = Options { trace: true, channels, ..short() };
        let (one, two) = (run(seed, options), run(seed, options));
        assert!(one.trace.len() > 100);
        assert!(one.trace == two.trace, "seed {seed}");
    }
    let options = Options { trace: true, ..short() };
    assert_ne!(run(1, options).trace, run(2, options).trace);
}

/// Seeds until one finds what is wrong, and what it says.
fn finds(sabotage: Sabotage) -> String {
    finds_over(Channels::Plain, sabotage)
}

fn finds_over(channels: Channels, sabotage: Sabotage) -> String {
    let found = (0..20).find_map(|seed| {
        let options = Options { sabotage: Some(sabotage), channels, ..short() };
        run(seed, options).violation.map(|violation| violation.what)
    });
    found.unwrap_or_else(|| panic!("nobody notices that a node {sabotage:?}"))
}

#[test]
fn a_dropped_message_is_found() {
    let what = finds(Sabotage::Drops);
    assert!(what.contains("expected") || what.contains("not delivered"), "{what}");
}

#[test]
fn a_message_that_is_delivered_twice_is_found() {
    let what = finds(Sabotage::DeliversTwice);
    assert!(what.contains("expected") || what.contains("not written"), "{what}");
}

#[test]
fn messages_in_the_wrong_order_are_found() {
    let what = finds(Sabotage::Reorders);
    assert!(what.contains("expected") || what.contains("not delivered"), "{what}");
}

#[test]
fn a_message_that_is_lost_in_silence_is_found() {
    let what = finds(Sabotage::LosesNotSent);
    assert!(what.contains("not sent") || what.contains("left the table") || what.contains("wait"), "{what}");
}

#[test]
fn a_forgotten_deadline_is_found() {
    let what = finds(Sabotage::ForgetsTimers);
    assert!(what.contains("deadline"), "{what}");
}

#[test]
fn a_channel_that_looks_at_no_tag_is_found() {
    let what = finds_over(Channels::Secured, Sabotage::IgnoresTags);
    let known = ["changed bit", "expected", "not written", "broke the protocol"];
    assert!(known.iter().any(|known| what.contains(known)), "{what}");
}

#[test]
fn a_node_that_believes_ids_which_were_not_proven_is_found() {
    let what = finds_over(Channels::Secured, Sabotage::BelievesIds);
    assert!(what.contains("is up as"), "{what}");
}

#[test]
fn a_message_that_is_delivered_twice_over_the_secured_channel_is_found() {
    let what = finds_over(Channels::Secured, Sabotage::DeliversTwice);
    assert!(what.contains("expected") || what.contains("not written"), "{what}");
}

mod regressions {
    use kitfox_core::connection::Plain;
    use kitfox_core::node::{Action, Input, Node, NodeConfig, NotSentCause, PeerLimits};
    use kitfox_core::router::BlockList;
    use kitfox_core::storage::Heap;
    use kitfox_core::wire::{PeerUrl, UrlRules};
    use kitfox_core::{Instant, PeerId};
    use kitfox_tests::world::{SPACE, Trusting, World};

    type HeapNode = Node<Heap, BlockList<Heap>, Plain>;

    const ALICE: &str = "ws://10.0.0.1:80/alice";
    const BOB: &str = "ws://10.0.0.2:80/bob";

    fn node(max_connections: usize) -> HeapNode {
        let peers = PeerLimits { max_connections, ..PeerLimits::HOST };
        let config = NodeConfig { peers, ..NodeConfig::HOST };
        let own = PeerId::new("carol").unwrap();
        let mut node = HeapNode::new(&config, own, 7, BlockList::new(&config.router));
        node.directory_mut().register_space(SPACE).unwrap();
        node
    }

    fn send(node: &mut HeapNode, url: &str) {
        let url = PeerUrl::parse(url, &UrlRules::default()).unwrap();
        node.ops(Instant::ZERO).notify(url, SPACE, b"it rains").unwrap();
    }

    /// Seed 28.
    #[test]
    fn a_message_does_not_wait_for_ever_for_a_place_for_its_connection() {
        let mut node = node(1);
        send(&mut node, ALICE);
        send(&mut node, BOB);
        let mut now = Instant::ZERO;
        let mut causes = Vec::new();
        for _ in 0..20 {
            let mut actions = node.handle(now, Input::Timeout);
            while let Some(action) = actions.next() {
                match action {
                    Action::NotSent { cause, .. } => causes.push(cause),
                    Action::Unresponsive { .. } => panic!("it is not the peer's fault"),
                    _ => {}
                }
            }
            let _ = actions.finish();
            if !causes.is_empty() {
                break;
            }
            now = now.max(node.poll_timeout().expect("a message waits"));
        }
        assert_eq!(causes, [NotSentCause::NoPlace]);
        assert!(now <= Instant::from_micros(10_000_000), "before its neighbour's dial ends");
    }

    /// Seeds 93 and 177.
    #[test]
    fn a_peer_is_in_the_table_until_everything_is_told_of_it() {
        let mut node = node(10);
        for _ in 0..2 {
            send(&mut node, ALICE);
            let alice = node.peers().peer(&PeerId::new("alice").unwrap()).unwrap();
            assert!(node.ops(Instant::ZERO).disconnect(alice, b""));
        }
        let mut not_sent = 0;
        let mut actions = node.handle(Instant::ZERO, Input::Wake);
        while let Some((action, ops)) = actions.next_with() {
            match action {
                Action::Dial { peer, .. } => assert!(ops.peer(peer).is_some()),
                Action::NotSent { message, .. } => {
                    assert!(ops.peer(message.peer).is_some());
                    not_sent += 1;
                }
                _ => {}
            }
        }
        let _ = actions.finish();
        assert_eq!(not_sent, 2);
        assert_eq!(node.peers().peers().count(), 0);
    }

    /// Found by the simulation's driver, which does not ask for bytes while its pipe is full.
    #[test]
    fn a_message_that_nobody_asks_for_has_a_deadline() {
        let config = NodeConfig { idle_probe: None, ..NodeConfig::HOST };
        let mut world = World::<Heap, Trusting>::new(&config, &["a", "b"]);
        world.send(0, 1, b"hello").unwrap();
        assert!(world.settle(100));
        let bob = world.hosts[1].url.clone();
        let node = &mut world.hosts[0].node;
        let timeout = |node: &mut Node<_, _, Trusting>, now| {
            let mut ended = false;
            let mut actions = node.handle(now, Input::Timeout);
            while let Some(action) = actions.next() {
                ended |= matches!(action, Action::PeerDown { .. });
            }
            let _ = actions.finish();
            ended
        };
        let mut now = Instant::ZERO;
        while let Some(at) = node.poll_timeout() {
            now = at;
            assert!(!timeout(node, now), "nothing waits");
        }
        node.ops(now).notify(PeerUrl::parse(&bob, &UrlRules::default()).unwrap(), SPACE, b"").unwrap();
        let from = now;
        let ended = (0..9).any(|_| {
            now = node.poll_timeout().expect("a message waits");
            timeout(node, now)
        });
        assert!(ended && now.since(from) <= 2 * NodeConfig::HOST.connection.tx_timeout);
    }
}
