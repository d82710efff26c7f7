//! What one run is like: its nodes, its limits, and which kinds of fault happen how often.

use core::time::Duration;

use kitfox_core::node::{NodeConfig, PeerLimits, PendingPolicy};
use kitfox_core::storage::BufferLimits;
use kitfox_core::{Config, Oversize, PeerId, RouterLimits};

use super::Options;
use super::random::Random;

/// A kind of fault, or of life that is as hard to bear as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it
pub enum Fault {
    // Those that happen to the world, by its own clock.
    Stall,
    Cut,
    HalfClose,
    SilentDeath,
    RestartNoticed,
    RestartUnnoticed,
    NetworkDown,
    Disconnect,
    Block,
    Register,
    Policy,
    SilentStranger,
    Garbage,
    SlowBytes,
    Flood,
    Liar,
    SecondPreflight,
    NotifyFirst,
    OversizeHeader,
    HalfFrame,
    OddMessages,
    Legacy,
    // Those that happen to something that is done.
    RefusedDial,
    SlowDial,
    HangingDial,
    SlowHandler,
    LateAnswer,
    RefusedAnswer,
    NoAnswer,
    HandlerRefuses,
    HardClose,
    LateTimer,
    SpuriousTimer,
    StaleUrl,
    Unreachable,
    TooLarge,
    // Those of secured runs, drawn apart from the others.
    FlippedBit,
    FalseHandshake,
    MangledRecords,
    Impostor,
}

impl Fault {
    /// Faults that happen by the world's clock.
    pub(super) const TIMED: [Self; 26] = [
        Self::Stall,
        Self::Cut,
        Self::HalfClose,
        Self::SilentDeath,
        Self::RestartNoticed,
        Self::RestartUnnoticed,
        Self::NetworkDown,
        Self::Disconnect,
        Self::Block,
        Self::Register,
        Self::Policy,
        Self::SilentStranger,
        Self::Garbage,
        Self::SlowBytes,
        Self::Flood,
        Self::Liar,
        Self::SecondPreflight,
        Self::NotifyFirst,
        Self::OversizeHeader,
        Self::HalfFrame,
        Self::OddMessages,
        Self::Legacy,
        Self::FlippedBit,
        Self::FalseHandshake,
        Self::MangledRecords,
        Self::Impostor,
    ];

    /// Kinds that every run may have.
    const USUAL: usize = Self::TooLarge as usize + 1;
    const COUNT: usize = Self::Impostor as usize + 1;
}

/// How the connections of a run are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    /// Not at all, but ids count as proven.
    Trusting,
    /// As it is meant to be: handshakes and records.
    Secured,
}

/// Which channels the runs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // an option of the command
pub enum Channels {
    /// The seed decides: one run in four is secured.
    #[default]
    Mixed,
    /// None but those without records.
    Plain,
    /// The secured one only.
    Secured,
}

/// Which storage a node uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Heap,
    Small,
    Large,
}

kitfox_core::fixed!(pub(super) SmallBoard {
    spaces: 2, modules: 3, frame: 1024, tx: 256, outbox: 1024, peers: 5, connections: 8,
    blocked_counts: 3, block_rules: 3, url: 96
});
kitfox_core::fixed!(pub(super) LargeBoard {
    spaces: 3, modules: 6, frame: 2048, tx: 512, outbox: 2048, peers: 25, connections: 50,
    blocked_counts: 8, block_rules: 8, url: 128
});

/// One run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    pub(super) seconds: u64,
    /// Nothing goes wrong: then nothing may be lost.
    pub(super) calm: bool,
    pub(super) channel: Channel,
    rates: [u64; Fault::COUNT],
    /// Mean time between two faults of the world, in microseconds.
    pub(super) fault_every: u64,
    /// Mean time between two messages of a node, in microseconds.
    pub(super) send_every: u64,
    pub(super) latency: (u64, u64),
    pub(super) window: usize,
    /// Longest read and write.
    pub(super) chunk: usize,
}

impl Plan {
    /// What only secured runs need comes from `secret`: the seeds of the others give what they always gave.
    pub(super) fn draw(random: &mut Random, secret: &mut Random, options: &Options) -> Self {
        let (nodes, seconds) = (options.nodes, options.seconds);
        let secured = match options.channels {
            Channels::Mixed => secret.chance(250),
            Channels::Plain => false,
            Channels::Secured => true,
        };
        let nodes = nodes.unwrap_or_else(|| {
            let drawn = random.between(2, 24) as usize;
            // Every handshake costs millions of instructions.
            if secured { drawn.div_ceil(3).max(2) } else { drawn }
        });
        let calm = random.chance(130);
        let mut rates = [0; Fault::COUNT];
        for rate in &mut rates[..Fault::USUAL] {
            if random.chance(400) && !calm {
                *rate = random.pick(&[1, 3, 10, 30, 100]);
            }
        }
        if random.chance(400) {
            rates[Fault::SlowDial as usize] = 300;
        }
        if secured && !calm {
            for rate in &mut rates[Fault::USUAL..] {
                if secret.chance(600) {
                    *rate = secret.pick(&[1, 3, 10, 30, 100]);
                }
            }
        }
        let chunk = random.pick(&[1, 7, 100, 1_500, 20_000, 20_000]);
        let send_every = random.pick(&[50_000, 300_000, 1_000_000, 5_000_000]);
        Self {
            nodes,
            seconds: seconds.unwrap_or_else(|| random.between(20, 90)),
            calm,
            channel: match random.chance(600) {
                _ if secured => Channel::Secured,
                true => Channel::Trusting,
                false => Channel::Plain,
            },
            rates,
            fault_every: random.pick(&[20_000, 100_000, 500_000, 2_000_000]) * 12 / nodes.min(12) as u64,
            // Every byte an event: then there are fewer of them.
            send_every: if chunk < 10 { send_every.max(1_000_000) } else { send_every },
            latency: random.pick(&[(100, 500), (1_000, 50_000), (20_000, 400_000)]),
            window: random.pick(&[700, 4_096, 65_536]),
            chunk,
        }
    }

    /// How often something goes wrong in this way, of a thousand times.
    pub(super) fn rate(&self, fault: Fault) -> u64 {
        self.rates[fault as usize]
    }

    pub(super) fn is_secured(&self) -> bool {
        self.channel == Channel::Secured
    }

    /// The URL of somebody.
    pub(super) fn url(&self, address: &str, id: &PeerId) -> String {
        format!("{}://{address}/{id}", if self.is_secured() { "wss" } else { "ws" })
    }

    pub(super) fn stop_faults(&mut self) {
        self.rates = [0; Fault::COUNT];
    }

    pub(super) fn tier(&self, random: &mut Random) -> Tier {
        match random.below(if self.calm { 2 } else { 3 }) {
            1 if !self.calm || self.nodes <= 24 => Tier::Large,
            2 => Tier::Small,
            _ => Tier::Heap,
        }
    }

    /// The configuration of one node.
    pub(super) fn config(&self, random: &mut Random, tier: Tier) -> NodeConfig {
        let tight = !self.calm && random.chance(400);
        let frame = if self.calm { 2_048 } else { random.pick(&[600, 2_048, 20_000]) };
        let max = match tier {
            Tier::Heap => frame,
            Tier::Large => 2_048,
            Tier::Small => 1_024,
        };
        let outbox = if self.calm { 1 << 20 } else { random.pick(&[700, 5_000, 200_000]) };
        // A handshake is two more ways through the network before the gate can open.
        let handshake = if self.is_secured() { 2 } else { 0 };
        let limits = |max_bytes| BufferLimits { min_bytes: 0, max_bytes };
        let connection = Config {
            max_frame_bytes: max,
            max_preflight_bytes: max.min(600),
            oversize: random.pick(&[Oversize::Close, Oversize::Skip]),
            preflight_timeout: Duration::from_secs(if self.calm {
                60
            } else {
                random.between(2, 10) + handshake
            }),
            frame_timeout: Duration::from_secs(if self.calm { 60 } else { random.between(3, 30) }),
            frame_bytes_per_second: random.pick(&[0, 1 << 10, 16 << 10]),
            tx_timeout: Duration::from_secs(if self.calm { 60 } else { random.between(3, 30) }),
            rx_buffer: limits(max),
            tx_queue: limits(random.pick(&[256, 2_048])),
            outbox: limits(outbox),
            high_water_bytes: outbox / 3,
            relax_interval: Duration::from_secs(1),
            ..Config::HOST
        };
        let bound = |random: &mut Random, from, to, most| match tier {
            Tier::Heap if tight => random.between(from, to) as usize,
            _ => most,
        };
        let max_connections = bound(random, 3, 30, 10_000);
        NodeConfig {
            connection,
            router: RouterLimits {
                max_spaces: 3,
                max_modules: 6,
                max_blocked_counts: bound(random, 1, 10, 1_000),
                max_block_rules: bound(random, 1, 10, 1_000),
            },
            peers: PeerLimits {
                max_peers: bound(random, 2, 20, 10_000),
                max_connections,
                max_pending: bound(random, 1, 10, 200).min(max_connections),
                pending: random.pick(&[PendingPolicy::EvictOldest, PendingPolicy::Refuse]),
                dial_timeout: Duration::from_secs(if self.calm { 60 } else { random.between(2, 10) }),
                hold: Duration::from_millis(random.pick(&[0, 100, 1_000])),
                ..PeerLimits::HOST
            },
            max_receive_bytes: bound(random, 1_000, 40_000, 1 << 30),
            idle_probe: Some(Duration::from_secs(random.between(2, 30))),
        }
    }
}
