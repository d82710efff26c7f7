//! Lists of what can happen to three nodes, in both tiers: they tell the same.

use core::time::Duration;

use kitfox_core::connection::Plain;
use kitfox_core::fixed;
use kitfox_core::node::NodeConfig;
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::{Config, RouterLimits};

use super::Choices;
use crate::world::{Answers, Closing, Event, Mischief, Told, Trusting, World};

fixed!(
    /// Room for what the lists do.
    pub Board { spaces: 2, peers: 4, connections: 8, frame: 256, tx: 256, outbox: 256, url: 48, block_rules: 2 }
);

/// Longer than any list lasts.
const NEVER: Duration = Duration::from_secs(1 << 30);

const IDS: [&str; 3] = ["a", "b", "c"];

/// Limits that the Fixed tier has by its sizes.
fn node_config() -> NodeConfig {
    use kitfox_core::storage::BufferLimits;
    let buffer = BufferLimits { min_bytes: 0, max_bytes: 256 };
    let connection = Config {
        max_frame_bytes: 256,
        rx_buffer: buffer,
        tx_queue: buffer,
        outbox: buffer,
        // Only the Heap tier gives memory back; its deadlines for that would come between the others.
        relax_interval: NEVER,
        url: kitfox_core::wire::UrlRules { max_bytes: 48, ..Config::DEVICE.url },
        ..Config::DEVICE
    };
    let mut config = NodeConfig { connection, idle_probe: None, ..NodeConfig::DEVICE };
    config.peers.max_peers = 4;
    config.peers.max_connections = 8;
    config.router = RouterLimits { max_spaces: 2, max_modules: 1, max_blocked_counts: 4, max_block_rules: 2 };
    config
}

fn run<S: Storage, C>(input: &[u8]) -> Vec<Vec<String>>
where
    C: kitfox_core::connection::Channel<Start: Default>,
{
    let (mut choices, config) = (Choices(input), node_config());
    let mut world = World::<S, C>::new(&config, &IDS);
    for number in 0..2000 {
        if choices.is_over() {
            break;
        }
        let (from, to) = (choices.below(3), choices.below(3));
        match choices.below(16) {
            0..=2 if from != to => {
                let _ = world.send(from, to, &[number as u8; 3]);
            }
            3 => world.disconnect(from, to, b"enough"),
            4 => world.restart(&config, from, choices.byte() & 1 == 0),
            5 => {
                let refuse = choices.byte();
                world.hosts[from].answers = Answers {
                    refuse_preflights: u32::from(refuse & 1),
                    refuse_admissions: u32::from(refuse >> 1 & 1),
                };
            }
            6 => {
                world.closing = [Closing::Kept, Closing::Silent, Closing::Reset][choices.below(3)];
            }
            7 => {
                let host = &world.hosts[from];
                let soon = host.now + NEVER / 2;
                if host.node.poll_timeout().is_some_and(|at| at < soon) {
                    world.step(Event::Tick(from));
                }
            }
            8 if !world.links.is_empty() => {
                let link = choices.number() % world.links.len();
                let fault = [Event::Cut(link), Event::Break(link), Event::Vanish(link), Event::Refuse(link)];
                world.step(fault[choices.below(4)]);
            }
            9 => {
                world.mischief =
                    [Mischief::None, Mischief::Duplicate, Mischief::Drop, Mischief::EarlyConfirm]
                        [choices.below(4)];
            }
            10 => world.hosts[from].room = choices.number() % 512,
            11 => world.hosts[from].patience = 1 + choices.below(4),
            12 => world.wake(from),
            _ => {
                let events = world.events();
                if !events.is_empty() {
                    world.step(events[choices.below(256) % events.len()]);
                }
            }
        }
    }
    // Which place of its table a peer has is the tier's own business.
    let without_place = |told: Told| match told {
        Told::NotSent(message, cause, data) => format!("not sent: {} {cause:?} {data:?}", message.number),
        told => format!("{told:?}"),
    };
    world.hosts.into_iter().map(|host| host.told.into_iter().map(without_place).collect()).collect()
}

/// One list of events, on claimed and on proven ids.
pub fn node(input: &[u8]) {
    match input.split_first() {
        Some((0..128, list)) => assert_eq!(run::<Heap, Plain>(list), run::<Board, Plain>(list)),
        Some((_, list)) => assert_eq!(run::<Heap, Trusting>(list), run::<Board, Trusting>(list)),
        None => {}
    }
}
