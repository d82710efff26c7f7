//! What the tests of nodes share: two storage tiers, and short words.
#![allow(dead_code)] // each test binary uses its part

use kitfox_core::connection::{Channel, Numbers};
use kitfox_core::fixed;
use kitfox_core::node::{ConnectionId, ConnectionState, DownCause, NodeConfig};
use kitfox_core::storage::Storage;
use kitfox_core::wire::{PeerUrl, UrlRules};
use kitfox_tests::world::{Event, Told, Trusting, World};

fixed!(pub(crate) Small { peers: 3, connections: 8, frame: 256, tx: 256, outbox: 128, url: 48, spaces: 2, block_rules: 2 });

/// Runs each claim over both tiers.
#[macro_export]
macro_rules! both_tiers {
    ($($claim:ident),* $(,)?) => {
        mod heap { $(#[test] fn $claim() { super::$claim::<kitfox_core::storage::Heap>(); })* }
        mod fixed { $(#[test] fn $claim() { super::$claim::<super::tiers::Small>(); })* }
    };
}

/// S, the node with the smaller id.
pub(crate) const S: usize = 0;
/// L, the node with the larger id.
pub(crate) const L: usize = 1;
/// S's URL.
pub(crate) const URL_S: &str = "ws://10.0.0.1:80/a";
/// L's URL.
pub(crate) const URL_L: &str = "ws://10.0.0.2:80/b";

/// A configuration for both tiers.
pub(crate) fn config() -> NodeConfig {
    NodeConfig { idle_probe: None, ..NodeConfig::DEVICE }
}

pub(crate) fn up(url: &str) -> Told {
    Told::Up(url.into())
}

pub(crate) fn message(url: &str, data: &[u8]) -> Told {
    Told::Message(url.into(), data.into())
}

pub(crate) fn down(url: &str, unknown: Option<(u64, u64)>, cause: DownCause) -> Told {
    Told::Down(url.into(), unknown.map(|(first, last)| Numbers { first, last }), cause)
}

pub(crate) fn unresponsive(url: &str) -> Told {
    Told::Unresponsive(url.into())
}

/// Makes these things happen, in this order.
pub(crate) fn go<T, C>(world: &mut World<T, C>, events: &[Event])
where
    T: Storage,
    C: Channel<Start: Default>,
{
    for &event in events {
        assert!(world.step(event), "{event:?} cannot happen");
    }
}

/// Lets everything happen but deadlines.
pub(crate) fn settle<T, C>(world: &mut World<T, C>)
where
    T: Storage,
    C: Channel<Start: Default>,
{
    assert!(world.settle(500), "it goes on and on: {:?}", world.events());
}

/// The states of all connections of a node.
pub(crate) fn states<T, C>(world: &World<T, C>, node: usize) -> Vec<ConnectionState>
where
    T: Storage,
    C: Channel<Start: Default>,
{
    world.hosts[node].node.peers().connections().map(|(_, state)| state).collect()
}

/// Both nodes have exactly one connection, and it is open.
pub(crate) fn assert_connected<T, C>(world: &World<T, C>)
where
    T: Storage,
    C: Channel<Start: Default>,
{
    assert_eq!(states(world, S), [ConnectionState::Open]);
    assert_eq!(states(world, L), [ConnectionState::Open]);
    assert_eq!(world.live_links(), 1);
}

/// S and L, who know nothing of each other yet.
pub(crate) fn world<T: Storage>() -> World<T, Trusting> {
    World::new(&config(), &["a", "b"])
}

/// Up, with one message delivered from S to L on link 0.
pub(crate) fn established<T: Storage>(config: &NodeConfig) -> World<T, Trusting> {
    let mut world = World::new(config, &["a", "b"]);
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    world.hosts[S].told.clear();
    world.hosts[L].told.clear();
    world
}

/// The only connection of a node.
pub(crate) fn only<T: Storage>(world: &World<T, Trusting>, node: usize) -> ConnectionId {
    let ids: Vec<_> = world.hosts[node].node.peers().connections().collect();
    let [(connection, _)] = ids[..] else { panic!("{ids:?}") };
    connection
}

/// A URL that is one.
pub(crate) fn url(text: &str) -> PeerUrl<'_> {
    PeerUrl::parse(text, &UrlRules::default()).unwrap()
}
