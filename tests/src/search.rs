//! Every order in which things can happen to two nodes, within the bounds of a [`Run`].
//!
//! The search goes breadth first, so that a violation is told with the shortest list of events that leads to it. Worlds
//! that differ only in what can never be seen again (numbers of connections, the past of a clock) count as one.

mod fingerprint;
mod ledger;
mod runs;

pub use runs::{Tiny, deep, quick};

use core::fmt::{self, Write as _};
use core::time::Duration;
use std::collections::HashMap;

use kitfox_core::Config;
use kitfox_core::connection::Channel;
use kitfox_core::node::{ConnectionState, NodeConfig, PeerLimits};
use kitfox_core::storage::Storage;

use crate::world::{Closing, End, Event, Mischief, World};
use fingerprint::Fingerprint;
use ledger::Ledger;

/// S, the node with the smaller id.
pub const S: usize = 0;
/// L, the node with the larger id.
pub const L: usize = 1;
/// A node that claims to be S.
pub const STRANGER: usize = 2;

/// When deadlines come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Only when nothing else can happen, the shortest first. Time passes for all.
    Timely,
    /// Any node's next one at any time, so many times in all.
    Async(u8),
    /// Any time, any number of times, but only those that are nearer than ten seconds: T_hold and backoff.
    Hold,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A link breaks; each side notices at some time, and gets any part of what was on its way.
    Break,
    /// A link dies and nobody notices.
    Vanish,
    /// A node crashes, and the other notices.
    Crash,
    /// A node crashes, and the other never notices.
    SilentCrash,
    /// A node disconnects.
    Disconnect,
    /// A dial is refused.
    Refuse,
    /// A node rejects the next preflight.
    Reject,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The world goes on.
    World(Event),
    /// A node sends its next message.
    Send(usize),
    /// A node crashes; whether the other notices.
    Restart(usize, bool),
    /// A node disconnects from the other.
    Disconnect(usize),
    /// A node rejects the next preflight.
    Reject(usize),
}

/// Where a search starts and what may happen.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// Messages that each node sends, at any time.
    pub messages: [u8; 3],
    /// Messages that are sent and delivered before the search begins.
    pub established: Vec<usize>,
    /// T_hold.
    pub hold: Duration,
    /// When deadlines come.
    pub timing: Timing,
    /// How many faults there are in all.
    pub faults: u8,
    /// Of which kinds.
    pub kinds: Vec<Fault>,
    /// Directions in which no dial completes.
    pub hanging: Vec<(usize, usize)>,
    /// What is seen of a connection that a node closes.
    pub closing: Closing,
    /// What the network does that none does.
    pub mischief: Mischief,
    /// Nothing may wait for a deadline to be sent.
    pub prompt: bool,
    /// A plain channel, on which ids are only claimed.
    pub plain: bool,
    /// Dials in all; beyond that the search does not go.
    pub dials: usize,
    /// Events after which everything must have come to rest.
    pub max_depth: usize,
    /// States to look at before it gives up.
    pub max_states: usize,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            name: String::new(),
            messages: [1, 1, 0],
            established: Vec::new(),
            hold: Duration::from_secs(1),
            timing: Timing::Timely,
            faults: 0,
            kinds: Vec::new(),
            hanging: Vec::new(),
            closing: Closing::Kept,
            mischief: Mischief::None,
            prompt: false,
            plain: false,
            dials: 12,
            max_depth: 80,
            max_states: 20_000_000,
        }
    }
}

/// What a search has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Different states.
    pub states: usize,
    /// Events looked at.
    pub transitions: usize,
    /// States in which nothing more can happen.
    pub settled: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// States that were not followed because of [`Run::dials`].
    pub cut_off: usize,
}

/// Something that must not be, and how it comes to it.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What is wrong.
    pub what: String,
    /// Everything that happened, from the start.
    pub acts: Vec<Act>,
    /// What each node told its application.
    pub told: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for act in &self.acts {
            writeln!(f, "  {act:?}")?;
        }
        f.write_str(&self.told)
    }
}

/// A world, what is known of its messages, and what may still happen to it.
#[derive(Debug, Clone)]
struct State<T: Storage, C: Channel> {
    world: World<T, C>,
    ledger: Ledger,
    unsent: [u8; 3],
    faults: u8,
    ticks: u8,
    /// The fingerprint of each node.
    prints: [u128; 3],
}

impl Run {
    /// Whether nothing may be lost and nobody may be called away (G4). A stranger that comes while dials are under way
    /// may take a place on a plain channel.
    fn is_peaceful(&self) -> bool {
        let somebody_connects = self.hanging.len() < 2;
        let no_stranger = self.messages[STRANGER] == 0 || !self.established.is_empty();
        let in_time = !matches!(self.timing, Timing::Async(_));
        self.faults == 0 && somebody_connects && no_stranger && in_time
    }

    /// The configuration of its nodes.
    pub fn config(&self) -> NodeConfig {
        let connection = match self.timing {
            Timing::Hold => Config { preflight_timeout: Duration::from_secs(1000), ..Config::DEVICE },
            _ => Config::DEVICE,
        };
        let dial_timeout = match self.timing {
            Timing::Hold => Duration::from_secs(1000),
            _ => Duration::from_secs(10),
        };
        let peers = PeerLimits { hold: self.hold, dial_timeout, ..PeerLimits::DEVICE };
        NodeConfig { connection, peers, idle_probe: None, ..NodeConfig::DEVICE }
    }

    /// Looks at every order.
    ///
    /// # Errors
    /// The first violation, which is one of the shortest.
    pub fn search<T, C>(&self) -> Result<Seen, Violation>
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let mut start = self.start::<T, C>();
        let mut seen = Seen::default();
        let mut print = Fingerprint::default();
        let mut visited = HashMap::from([(print.of(&mut start), 0u32)]);
        let mut came: Vec<(u32, Act)> = Vec::from([(0, Act::Send(0))]);
        let mut edges: Vec<(u32, u32)> = Vec::new();
        let mut layer = Vec::from([(0u32, start)]);
        while !layer.is_empty() {
            let mut next = Vec::new();
            for (number, state) in layer {
                let acts = self.acts(&state);
                if acts.is_empty() {
                    seen.settled += 1;
                    if let Err(what) = state.ledger.settled(&state.world, self) {
                        return Err(self.violation::<T, C>(what, &came, number, None));
                    }
                    continue;
                }
                let only_time = acts.iter().all(|act| matches!(act, Act::World(Event::Tick(_))));
                if self.prompt && only_time && ledger::waits(&state.world) {
                    let what = "a message waits for a deadline".into();
                    return Err(self.violation::<T, C>(what, &came, number, None));
                }
                if state.world.links.len() > self.dials {
                    seen.cut_off += 1;
                    continue;
                }
                for act in acts {
                    let mut after = state.clone();
                    self.act(&mut after, act);
                    seen.transitions += 1;
                    if let Err(what) = after.ledger.absorb(&mut after.world, self) {
                        return Err(self.violation::<T, C>(what, &came, number, Some(act)));
                    }
                    let new = came.len() as u32;
                    let is = *visited.entry(print.of(&mut after)).or_insert(new);
                    edges.push((number, is));
                    if is == new {
                        came.push((number, act));
                        next.push((new, after));
                    }
                }
                if came.len() > self.max_states {
                    let what = format!("more than {} states", self.max_states);
                    return Err(self.violation::<T, C>(what, &came, number, None));
                }
            }
            seen.depth += 1;
            layer = next;
            if let (Some((number, _)), true) = (layer.first(), seen.depth > self.max_depth) {
                let what = format!("more than {} events", self.max_depth);
                return Err(self.violation::<T, C>(what, &came, *number, None));
            }
        }
        seen.states = came.len();
        if let Some(number) = cycle(&edges, came.len()) {
            return Err(self.violation::<T, C>("it can go on for ever".into(), &came, number, None));
        }
        Ok(seen)
    }

    fn start<T, C>(&self) -> State<T, C>
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let ids: &[&str] = if self.messages[STRANGER] > 0 { &["a", "b", "a"] } else { &["a", "b"] };
        let mut world = World::new(&self.config(), ids);
        let mut ledger = Ledger::default();
        for &from in &self.established {
            ledger.send(&mut world, from);
            assert!(world.settle(200), "established");
            ledger.absorb(&mut world, self).expect("established without faults");
        }
        world.hanging.clone_from(&self.hanging);
        world.closing = self.closing;
        world.mischief = self.mischief;
        let ticks = match self.timing {
            Timing::Timely => 0,
            Timing::Async(ticks) => ticks,
            Timing::Hold => u8::MAX,
        };
        State { world, ledger, unsent: self.messages, faults: self.faults, ticks, prints: [0; 3] }
    }

    /// Everything that may happen next.
    fn acts<T, C>(&self, state: &State<T, C>) -> Vec<Act>
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let world = &state.world;
        let mut acts: Vec<Act> = world.events().into_iter().map(Act::World).collect();
        acts.extend((0..world.hosts.len()).filter(|&host| state.unsent[host] > 0).map(Act::Send));
        let busy = !acts.is_empty();
        let near = |host: usize| {
            let host = &world.hosts[host];
            let at = host.node.poll_timeout()?;
            let wait = at.since(host.now);
            (self.limit() > wait).then_some(wait)
        };
        let hosts = 0..world.hosts.len();
        match self.timing {
            Timing::Timely if !busy => {
                let first = hosts.filter_map(|host| Some((near(host)?, host))).min();
                acts.extend(first.map(|(_, host)| Act::World(Event::Tick(host))));
            }
            Timing::Async(_) | Timing::Hold if state.ticks > 0 || !busy => {
                acts.extend(
                    hosts.filter(|&host| near(host).is_some()).map(|host| Act::World(Event::Tick(host))),
                );
            }
            _ => {}
        }
        // Faults come while something is under way, or before it ends: a settled state is one without them, too.
        if state.faults > 0 {
            for &kind in &self.kinds {
                self.faults_of(kind, world, &mut acts);
            }
        }
        acts
    }

    /// Deadlines that are farther away than this never come.
    fn limit(&self) -> Duration {
        match self.timing {
            Timing::Hold => Duration::from_secs(10),
            _ => Duration::from_secs(100_000),
        }
    }

    fn faults_of<T: Storage, C: Channel>(&self, kind: Fault, world: &World<T, C>, acts: &mut Vec<Act>) {
        let live = |number: &usize| {
            let link = &world.links[*number];
            link.ends.iter().any(|end| matches!(end, End::Live(_))) && !link.broken
        };
        let waits = |number: &usize| {
            let link = &world.links[*number];
            matches!(link.ends[0], End::Waiting(_)) && !link.refused
        };
        let links = 0..world.links.len();
        let both = [S, L].into_iter();
        match kind {
            Fault::Break => acts.extend(links.filter(live).map(|link| Act::World(Event::Break(link)))),
            Fault::Vanish => acts.extend(links.filter(live).map(|link| Act::World(Event::Vanish(link)))),
            Fault::Crash => acts.extend(both.map(|node| Act::Restart(node, true))),
            Fault::SilentCrash => acts.extend(both.map(|node| Act::Restart(node, false))),
            Fault::Disconnect => acts.extend(
                both.filter(|&node| world.hosts[node].node.peers().peers().next().is_some())
                    .map(Act::Disconnect),
            ),
            Fault::Refuse => acts.extend(links.filter(waits).map(|link| Act::World(Event::Refuse(link)))),
            Fault::Reject => acts.extend(
                both.filter(|&node| world.hosts[node].answers.refuse_preflights == 0).map(Act::Reject),
            ),
        }
    }

    fn act<T, C>(&self, state: &mut State<T, C>, act: Act)
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let State { world, ledger, unsent, faults, ticks, .. } = state;
        match act {
            Act::World(event) => {
                match event {
                    Event::Tick(node) if self.timing == Timing::Timely => {
                        let host = &world.hosts[node];
                        let wait = host.node.poll_timeout().map_or(Duration::ZERO, |at| at.since(host.now));
                        for host in &mut world.hosts {
                            host.now = host.now + wait;
                            host.touched = true;
                        }
                    }
                    Event::Tick(_) if self.timing != Timing::Hold => *ticks = ticks.saturating_sub(1),
                    Event::Break(_) | Event::Vanish(_) | Event::Refuse(_) => *faults -= 1,
                    _ => {}
                }
                let happened = world.step(event);
                assert!(happened, "{event:?} was possible");
            }
            Act::Send(from) => {
                unsent[from] -= 1;
                ledger.send(world, from);
            }
            Act::Restart(node, noticed) => {
                *faults -= 1;
                ledger.restart(node);
                world.restart(&self.config(), node, noticed);
            }
            Act::Disconnect(node) => {
                *faults -= 1;
                world.disconnect(node, 1 - node, b"bye");
            }
            Act::Reject(node) => {
                *faults -= 1;
                world.hosts[node].answers.refuse_preflights += 1;
                world.hosts[node].touched = true;
            }
        }
    }

    /// Tells how it came to state `number`, and then to what is wrong.
    fn violation<T, C>(&self, what: String, came: &[(u32, Act)], number: u32, last: Option<Act>) -> Violation
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let mut acts: Vec<Act> = last.into_iter().collect();
        let mut at = number;
        while at != 0 {
            let (before, act) = came[at as usize];
            acts.push(act);
            at = before;
        }
        acts.reverse();
        let mut state = self.start::<T, C>();
        let mut told = String::new();
        for &act in &acts {
            self.act(&mut state, act);
        }
        for host in &state.world.hosts {
            let _ = writeln!(told, "{}", host.url);
            for told_one in &host.told {
                let _ = writeln!(told, "    {told_one:?}");
            }
            let states: Vec<(_, ConnectionState)> = host.node.peers().connections().collect();
            let _ = writeln!(told, "    {states:?}");
        }
        Violation { what: format!("{}: {what}", self.name), acts, told }
    }
}

/// A state on a cycle, if there is one.
fn cycle(edges: &[(u32, u32)], states: usize) -> Option<u32> {
    let mut incoming = vec![0u32; states];
    let mut first = vec![0u32; states + 1];
    for &(from, to) in edges {
        incoming[to as usize] += 1;
        first[from as usize + 1] += 1;
    }
    for state in 0..states {
        first[state + 1] += first[state];
    }
    // Edges are in the order of the states that they come from: layers are numbered in the order in which they are seen.
    debug_assert!(edges.is_sorted_by_key(|&(from, _)| from));
    let mut free: Vec<u32> = (0..states as u32).filter(|&state| incoming[state as usize] == 0).collect();
    let mut removed = 0;
    while let Some(state) = free.pop() {
        removed += 1;
        for &(_, to) in &edges[first[state as usize] as usize..first[state as usize + 1] as usize] {
            incoming[to as usize] -= 1;
            if incoming[to as usize] == 0 {
                free.push(to);
            }
        }
    }
    (removed < states).then(|| incoming.iter().position(|&left| left > 0).unwrap_or(0) as u32)
}
