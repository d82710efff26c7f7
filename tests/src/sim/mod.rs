//! A simulation of tens to hundreds of nodes on a virtual clock, with byte-level links and one seed.
//!
//! A run draws its nodes, limits and fault rates from its seed. First things go wrong (safety), then they do not any
//! more, and everything must come to rest and work again (liveness). A reference model watches every step.

mod act;
mod book;
mod check;
mod faults;
mod host;
mod life;
mod link;
mod node;
mod plan;
mod random;
mod sabotage;
mod speaker;
mod stranger;
mod tapped;
mod wires;

pub use plan::{Channels, Fault};
pub use sabotage::Sabotage;

use alloc::collections::{BTreeMap, BinaryHeap};
use core::cmp::Reverse;
use core::fmt;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;

use kitfox_core::connection::QuestionId;
use kitfox_core::node::ConnectionId;
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey};
use kitfox_core::{Instant, PeerId};

use act::Drive;
use host::Host;
use link::{Link, Party, Time};
use plan::Plan;
use random::Random;

/// The spaces that there are.
const SPACES: [&[u8]; 3] = [b"garden", b"kitchen", b"hall"];
/// The modules that there are in each.
const MODULES: [&str; 2] = ["chat", "files"];
/// Lines that are told of a violation.
const LAST_LINES: usize = 40;

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs)] // written with `..Options::default()`
pub struct Options {
    /// Nodes; drawn from the seed if `None`.
    pub nodes: Option<usize>,
    /// Seconds with faults; drawn from the seed if `None`.
    pub seconds: Option<u64>,
    /// Keep all lines of the trace.
    pub trace: bool,
    /// Which channels the runs have.
    pub channels: Channels,
    /// Break every node in this way.
    pub sabotage: Option<Sabotage>,
}

/// What happened in one run or several.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Runs without any fault.
    pub calm: u64,
    /// Runs with secured connections.
    pub secured: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// Events.
    pub steps: u64,
    /// Messages that were accepted for sending.
    pub accepted: u64,
    /// Messages that were not accepted.
    pub refused: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that were dropped by rule.
    pub dropped: u64,
    /// Messages whose fate is unknown.
    pub unknown: u64,
    /// Messages that were given up.
    pub not_sent: u64,
    /// Connections that were dialled.
    pub connections: u64,
    /// Peers that came up.
    pub ups: u64,
    /// Pairs that had to get a message through after the faults.
    pub pairs: u64,
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.calm += other.calm;
        self.secured += other.secured;
        self.simulated += other.simulated;
        self.steps += other.steps;
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.unknown += other.unknown;
        self.not_sent += other.not_sent;
        self.connections += other.connections;
        self.ups += other.ups;
        self.pairs += other.pairs;
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        write!(
            f,
            "{} seeds ({} calm, {} secured), {hours:.2} h simulated, {} steps; ",
            self.seeds, self.calm, self.secured, self.steps
        )?;
        write!(f, "messages: {} accepted, {} refused, ", self.accepted, self.refused)?;
        write!(f, "{} delivered, {} dropped by rule, ", self.delivered, self.dropped)?;
        write!(f, "{} unknown, {} not sent; ", self.unknown, self.not_sent)?;
        write!(
            f,
            "{} connections, {} times up, {} pairs afterwards; ",
            self.connections, self.ups, self.pairs
        )?;
        write!(f, "faults: {:?}", self.faults)
    }
}

/// Something that must not happen has happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Violation {
    /// The seed of the run.
    pub seed: u64,
    /// When.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} at {:?}: {}", self.seed, self.at, self.what)
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// What happened.
    pub summary: Summary,
    /// The first violation.
    pub violation: Option<Violation>,
    /// The trace, or its end.
    pub trace: Vec<String>,
}

/// Runs one seed. A run with a violation is run again, to have its trace.
pub fn run(seed: u64, options: Options) -> Report {
    let report = run_once(seed, options, options.trace);
    match report.violation {
        Some(_) if !options.trace => {
            let mut again = run_once(seed, options, true);
            let from = again.trace.len().saturating_sub(LAST_LINES);
            again.trace.drain(..from);
            again
        }
        _ => report,
    }
}

fn run_once(seed: u64, options: Options, trace: bool) -> Report {
    let mut simulation = Simulation::new(seed, options, trace);
    let ran = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if let Err(panic) = ran {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        simulation.violation(format!("panic: {text}"));
    }
    let at = Duration::from_micros(simulation.now);
    simulation.summary.simulated = at;
    Report {
        summary: simulation.summary,
        violation: simulation.violation.map(|what| Violation { seed, at, what }),
        trace: simulation.trace.unwrap_or_default(),
    }
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A dial arrives where it is accepted.
    Accept(usize),
    /// A dialler learns that its dial succeeded.
    Established(usize),
    /// A dialler learns that its dial failed.
    Refused(usize),
    /// Something arrives at this side of a link.
    Arrive(usize, usize),
    /// There is room to write again for this side of a link.
    Writable(usize, usize),
    /// This side of a dead link learns of it.
    Notice(usize, usize),
    /// A stranger goes on.
    Script(usize),
    /// A deadline of a node may have come.
    Tick(usize),
    /// The driver of a node takes actions again.
    Resume(usize),
    /// A question is answered.
    Answer(usize, u32, Question),
    /// What a node did not take is shown to it again.
    Show(usize, u32, ConnectionId),
    /// A socket was given long enough to write what is left.
    Linger(usize, u32, ConnectionId),
    /// A node's application sends something.
    Send(usize),
    /// Something goes wrong.
    Fault,
    /// A node's network works again.
    NetworkUp(usize),
    /// The next phase.
    Phase(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    connection: ConnectionId,
    id: QuestionId,
    kind: Asked,
    refuse: bool,
}

/// What kind of answer a question wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Gather,
    Randomness,
    Other,
}

// Events of one time are ordered by their number; this is never asked.
impl PartialOrd for Question {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Question {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.connection.cmp(&other.connection)
    }
}

/// A message that must get through.
#[derive(Debug, Clone, Copy)]
struct Probe {
    from: usize,
    to: usize,
    serial: u64,
    delivered: bool,
}

struct Simulation {
    plan: Plan,
    options: Options,
    random: Random,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    next_event: u64,
    hosts: Vec<Host>,
    links: Vec<Link>,
    /// Who listens where: host and port.
    addresses: BTreeMap<String, Party>,
    /// URLs of strangers that listen.
    legacy: Vec<String>,
    /// What they prove an id with, by their addresses; not always the one in their URLs.
    stranger_keys: BTreeMap<String, Credentials>,
    next_address: u32,
    next_serial: u64,
    faulty: bool,
    /// Applications send.
    sending: bool,
    /// Nothing may be lost.
    strict: bool,
    probes: Vec<Probe>,
    summary: Summary,
    violation: Option<String>,
    trace: Option<Vec<String>>,
}

/// Adds a line to the trace, if there is one.
macro_rules! say {
    ($simulation:expr, $($text:tt)*) => {
        if $simulation.trace.is_some() {
            $simulation.line(format!($($text)*));
        }
    };
}
use say;

impl Simulation {
    fn new(seed: u64, options: Options, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut secret = Random::new(!seed);
        let plan = Plan::draw(&mut random, &mut secret, &options);
        let (calm, secured) = (plan.calm.into(), plan.is_secured().into());
        Self {
            summary: Summary { seeds: 1, calm, secured, ..Summary::default() },
            faulty: !plan.calm,
            sending: true,
            strict: plan.calm,
            plan,
            options,
            random,
            now: 0,
            queue: BinaryHeap::new(),
            next_event: 0,
            hosts: Vec::new(),
            links: Vec::new(),
            addresses: BTreeMap::new(),
            legacy: Vec::new(),
            stranger_keys: BTreeMap::new(),
            next_address: 0,
            next_serial: 1,
            probes: Vec::new(),
            violation: None,
            trace: trace.then(Vec::new),
        }
    }

    fn run(&mut self) {
        say!(self, "{:?}", self.plan);
        for _ in 0..self.plan.nodes {
            self.add_host();
        }
        for host in 0..self.hosts.len() {
            let at = self.random.below(self.plan.send_every);
            self.after(at, Event::Send(host));
        }
        if !self.plan.calm {
            self.after(self.plan.fault_every, Event::Fault);
        }
        self.after(self.plan.seconds * 1_000_000, Event::Phase(0));
        let most_steps = 3_000_000 + 100_000 * self.plan.nodes as u64;
        while self.violation.is_none() {
            let Some(Reverse((at, _, event))) = self.queue.pop() else { break };
            self.now = at;
            self.summary.steps += 1;
            if self.summary.steps > most_steps {
                self.violation(format!("not at rest after {most_steps} steps"));
            }
            self.step(event);
            if matches!(event, Event::Phase(check::LAST_PHASE)) {
                break;
            }
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Accept(link) => self.accept(link),
            Event::Established(link) => self.established(link),
            Event::Refused(link) => self.dial_refused(link),
            Event::Arrive(link, side) => self.arrive(link, side),
            Event::Writable(link, side) => self.writable(link, side),
            Event::Notice(link, side) => self.notice(link, side),
            Event::Script(link) => self.script(link),
            Event::Tick(host) => self.tick(host),
            Event::Resume(host) => self.resume(host),
            Event::Answer(host, incarnation, question) => self.answer(host, incarnation, question),
            Event::Show(host, incarnation, connection) => {
                if self.hosts[host].incarnation == incarnation {
                    self.read(host, connection, true);
                }
            }
            Event::Linger(host, incarnation, connection) => {
                if self.hosts[host].incarnation == incarnation {
                    self.close_socket(host, connection, false);
                }
            }
            Event::Send(host) => self.send_again(host),
            Event::Fault => self.fault(),
            Event::NetworkUp(host) => self.network_up(host),
            Event::Phase(phase) => self.phase(phase),
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    fn after(&mut self, micros: Time, event: Event) {
        self.at(self.now + micros, event);
    }

    fn at(&mut self, at: Time, event: Event) {
        self.queue.push(Reverse((at.max(self.now), self.next_event, event)));
        self.next_event += 1;
    }

    /// The first violation counts.
    fn violation(&mut self, what: String) {
        say!(self, "VIOLATION: {what}");
        self.violation.get_or_insert(what);
    }

    fn demand(&mut self, host: usize, result: Result<(), String>) {
        if let Err(what) = result {
            self.violation(format!("node {host}: {what}"));
        }
    }

    fn line(&mut self, text: String) {
        let line = format!("{:>12.6} {text}", self.now as f64 / 1e6);
        if let Some(trace) = &mut self.trace {
            trace.push(line);
        }
    }

    /// Whether something goes wrong in this way now.
    fn chance(&mut self, fault: Fault) -> bool {
        let rate = self.plan.rate(fault);
        let happens = rate > 0 && self.random.chance(rate);
        if happens {
            *self.summary.faults.entry(fault).or_default() += 1;
        }
        happens
    }

    fn new_address(&mut self, party: Party) -> String {
        self.next_address += 1;
        let number = self.next_address;
        let address = format!("10.{}.{}.{}:80", number >> 16, number >> 8 & 255, number & 255);
        self.addresses.insert(address.clone(), party);
        address
    }

    /// A new id, and what proves it in a secured run.
    fn new_id(&mut self) -> (PeerId, Option<Credentials>) {
        let seed = self.random.bytes(32);
        let seed = core::array::from_fn(|place| seed[place]);
        if !self.plan.is_secured() {
            return (PeerId::from_key(seed), None);
        }
        let key = SecretKey::from_seed(&seed);
        let max_record_bytes = self.random.pick(&[256, 1_024, HOST_RECORD_BYTES]);
        (key.peer_id(), Some(Credentials { key, network: Network::default(), max_record_bytes }))
    }

    fn add_host(&mut self) {
        let number = self.hosts.len();
        let (id, credentials) = self.new_id();
        let address = self.new_address(Party::Host(number));
        let tier = self.plan.tier(&mut self.random);
        let config = self.plan.config(&mut self.random, tier);
        say!(self, "node {number} is {id} at {address}, {tier:?}");
        let mut host = Host::new(id, self.plan.url(&address, &id), config, tier);
        host.credentials = credentials;
        host.hidden = self.chance(Fault::Unreachable);
        self.hosts.push(host);
        self.start_host(number);
    }

    fn start_host(&mut self, host: usize) {
        let seed = self.random.next();
        self.hosts[host].start(self.plan.channel, seed, self.options.sabotage);
        let up = self.hosts[host].network_up;
        if let Some(node) = &mut self.hosts[host].node {
            node.set_network_up(up);
        }
        self.register_first_spaces(host);
        self.drive(host, Drive::Wake);
    }
}
