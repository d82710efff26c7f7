//! What must hold after every step, and what must follow when nothing goes wrong any more.

use alloc::collections::BTreeMap;

use kitfox_core::node::ConnectionState;

use super::act::{Drive, id_of};
use super::link::{End, Party};
use super::node::Outgoing;
use super::{Event, Probe, SPACES, Simulation, say};

/// The phase that ends a run.
pub(super) const LAST_PHASE: u32 = 4;

/// Everything that was begun before must have ended within this time: timers, attempts, keep-alives.
const SETTLE: u64 = 150_000_000;
/// A message must get through within this time.
const GET_THROUGH: u64 = 60_000_000;
/// Pairs that are tried.
const PAIRS: usize = 40;

impl Simulation {
    /// What must hold of a node between two inputs.
    pub(super) fn check_host(&mut self, number: usize) {
        let full = {
            let host = &mut self.hosts[number];
            host.unchecked += 1;
            let due = host.unchecked as usize * 16 > host.book.peers.len() + host.sockets.len();
            if due {
                host.unchecked = 0;
            }
            due
        };
        let now = self.instant();
        let host = &self.hosts[number];
        let Some(node) = &host.node else { return };
        let limits = host.limits;
        let timer = node.poll_timeout().is_some();
        let mut result = Ok(());
        let mut demand = |holds: bool, what: &dyn Fn() -> String| {
            if !holds && result.is_ok() {
                result = Err(what());
            }
        };
        demand(host.sockets.len() <= limits.connections, &|| "too many connections".to_owned());
        demand(node.pending() <= limits.pending, &|| format!("{} connections pending", node.pending()));
        let (told, memory) = node.receive_memory();
        // The connection that passes the limit is closed, and owns its buffer until its socket is. Fixed ones are there.
        let closing = host.sockets.values().filter(|socket| socket.closing || socket.over).count();
        let fixed = if host.tier == super::plan::Tier::Heap { 0 } else { host.sockets.len() };
        let record = host.credentials.as_ref().map_or(0, |ours| usize::from(ours.max_record_bytes) + 18);
        let slack = 2 * (host.config.connection.rx_buffer.max_bytes + record) * (1 + closing + fixed);
        demand(memory <= host.config.max_receive_bytes.saturating_add(slack), &|| {
            format!("receive buffers own {memory} bytes, and {told} were told of")
        });
        if full {
            let connections = node.connections();
            demand(connections.len() == host.sockets.len(), &|| {
                let sockets: Vec<_> = host.sockets.keys().collect();
                format!("connections {connections:?}, sockets {sockets:?}")
            });
            for (id, state) in &connections {
                let socket = host.sockets.get(id);
                let agrees = socket.is_some_and(|socket| {
                    socket.closing == (*state == ConnectionState::Closed)
                        && socket.up == (*state == ConnectionState::Open)
                });
                demand(agrees, &|| format!("{id:?} is {state:?}, socket {socket:?}"));
                // Whoever stopped taking actions is told with the next timeout, which is due at once.
                let over = socket.is_some_and(|socket| socket.over && !socket.closing)
                    && node.poll_timeout().is_none_or(|at| at > now);
                demand(!over, &|| format!("{id:?} was ended, and is {state:?}"));
                let waits = !matches!(state, ConnectionState::Open | ConnectionState::Closed);
                demand(!waits || timer, &|| format!("{id:?} is {state:?}, and there is no deadline"));
            }
            demand(node.peer_count() <= limits.peers, &|| "too many peers".to_owned());
            for (key, peer) in &host.book.peers {
                let there = node.peer_id(*key) == Some(peer.id);
                let waiting = peer.waiting.len();
                demand(there || (waiting == 0 && peer.up.is_none()), &|| {
                    format!("{key:?} has left the table with {waiting} messages, up: {:?}", peer.up)
                });
                let outbox = node.outbox(*key).filter(|_| there);
                let (len, unwritten) = outbox.unwrap_or((0, false));
                // Below the high water mark one more message was accepted, of any length.
                let connection = &host.config.connection;
                let most = limits.outbox.min(connection.high_water_bytes + connection.max_frame_bytes);
                demand(len <= most, &|| format!("{len} bytes in the outbox of {key:?}"));
                // Of a frame that has begun so little may be written that nobody can tell what it is.
                let unclear =
                    peer.up.and_then(|connection| host.sockets.get(&connection)).is_some_and(|socket| {
                        let tap = &self.links[socket.link].taps[socket.side];
                        tap.current.is_none() && tap.is_unclear()
                    });
                demand(unwritten == (waiting > 0) || (unclear && waiting == 1), &|| {
                    format!("{waiting} messages wait for {key:?}, unwritten: {unwritten}")
                });
                demand(waiting == 0 || timer, &|| format!("{key:?} waits, and there is no deadline"));
            }
        }
        if full {
            let super::host::Host { node: Some(node), book, .. } = &mut self.hosts[number] else { return };
            book.peers.retain(|key, peer| {
                peer.up.is_some() || !peer.waiting.is_empty() || node.peer_id(*key).is_some()
            });
        }
        self.demand(number, result);
    }

    pub(super) fn phase(&mut self, phase: u32) {
        say!(self, "phase {phase}");
        match phase {
            0 => {
                self.stop_faults();
                self.after(SETTLE, Event::Phase(1));
            }
            1 => {
                self.check_rest();
                self.strict = false;
                self.make_room();
                self.after(5_000_000, Event::Phase(2));
            }
            2 => {
                self.send_probes();
                self.after(GET_THROUGH, Event::Phase(3));
            }
            3 => {
                self.check_probes();
                self.after(SETTLE, Event::Phase(LAST_PHASE));
            }
            _ => {
                self.check_rest();
                self.check_counts();
            }
        }
    }

    /// Nothing goes wrong from now on.
    fn stop_faults(&mut self) {
        self.faulty = false;
        self.plan.stop_faults();
        self.sending = false;
        self.plan.chunk = self.plan.chunk.max(1_000);
        self.plan.window = 65_536;
        self.strangers_leave();
        for link in 0..self.links.len() {
            for side in 0..2 {
                self.links[link].pipes[side].stalled_until = 0;
                self.links[link].pipes[side].flips = false;
                self.after(0, Event::Arrive(link, side));
            }
        }
        for host in 0..self.hosts.len() {
            self.network_up(host);
            self.resume(host);
            self.set_policy(host, true, false);
            self.with_ops(host, |this, ops| {
                if !this.hosts[host].book.is_registered(SPACES[0]) {
                    for space in SPACES {
                        if this.hosts[host].book.spaces.remove(space).is_some() {
                            ops.unregister_space(space);
                        }
                    }
                    this.register_space(host, SPACES[0], ops);
                }
                for (id, space) in core::mem::take(&mut this.hosts[host].book.blocks) {
                    ops.unblock(id, space.as_deref());
                }
            });
            self.drive(host, Drive::Wake);
        }
    }

    /// Everything has come to rest.
    fn check_rest(&mut self) {
        let mut pairs = BTreeMap::new();
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            for (key, peer) in &host.book.peers {
                if !peer.waiting.is_empty() {
                    let pipe = peer.up.and_then(|up| host.sockets.get(&up)).map(|socket| {
                        let pipe = &self.links[socket.link].pipes[1 - socket.side];
                        (socket.link, socket.side, pipe.used, pipe.blocked, self.links[socket.link].dead)
                    });
                    let waiting = peer.waiting.len();
                    let what = format!("node {number}: {waiting} messages still wait for {key:?}: {pipe:?}");
                    return self.violation(what);
                }
            }
            for (connection, socket) in &host.sockets {
                let link = &self.links[socket.link];
                if !socket.up {
                    let what = format!("node {number}: {connection:?} is left over: {socket:?}");
                    return self.violation(what);
                }
                let (Party::Host(a), Party::Host(b)) = (link.parties[0], link.parties[1]) else { continue };
                if !matches!(link.ends, [End::Live(_), End::Live(_)]) || link.dead {
                    let what = format!(
                        "node {number}: link {} is up at one end: {:?}, dead {}",
                        socket.link, link.ends, link.dead
                    );
                    return self.violation(what);
                }
                if link.pipes[socket.side].flipped_at.is_some() {
                    let what = format!("node {number}: {connection:?} has outlived a changed bit");
                    return self.violation(what);
                }
                let left = link.taps[1 - socket.side].frames.len();
                if left > 0 {
                    let what = format!("node {number}: {left} frames were not delivered on {connection:?}");
                    return self.violation(what);
                }
                let pair = (a.min(b), a.max(b));
                if *pairs.entry(pair).or_insert(socket.link) != socket.link {
                    return self.violation(format!("nodes {pair:?} have two connections"));
                }
            }
        }
    }

    /// Applications of full nodes let some peers go.
    fn make_room(&mut self) {
        for host in 0..self.hosts.len() {
            let limits = self.hosts[host].limits;
            let crowded = self.hosts[host].sockets.len() * 2 > limits.connections
                || self.hosts[host].book.peers.len() * 2 > limits.peers;
            if !crowded {
                continue;
            }
            let keys: Vec<_> = self.hosts[host].book.peers.keys().copied().collect();
            for key in keys {
                self.with_ops(host, |_, ops| {
                    ops.disconnect(key, b"no room");
                });
                self.drive(host, Drive::Wake);
            }
        }
    }

    /// Pairs of nodes, each with room for it, send each other something.
    fn send_probes(&mut self) {
        let count = self.hosts.len();
        let room = |host: &super::host::Host| {
            let connections = (limit(host.limits.connections) - host.sockets.len()) / 3;
            connections
                .min(limit(host.limits.peers).saturating_sub(host.book.peers.len()))
                .min(host.limits.pending)
        };
        let mut rooms: Vec<usize> = self.hosts.iter().map(room).collect();
        for _ in 0..PAIRS.min(2 * count) {
            let (from, to) = (self.random.index(count), self.random.index(count));
            let data = self.random.bytes(20);
            let what = Outgoing { space: SPACES[0], module: None, data };
            let blind = self.hosts[to].hidden || !self.would_take(to, &self.hosts[from].id, &what);
            if from == to || blind || rooms[from] == 0 || rooms[to] == 0 {
                continue;
            }
            rooms[from] -= 1;
            rooms[to] -= 1;
            let both = self.random.chance(400) && !self.hosts[from].hidden;
            for (from, to) in [(from, to), (to, from)].into_iter().take(1 + usize::from(both)) {
                self.send_probe(from, to, &what);
            }
        }
    }

    fn send_probe(&mut self, from: usize, to: usize, what: &Outgoing) {
        let url = self.hosts[to].url.clone();
        let mut serial = None;
        self.with_ops(from, |this, ops| {
            serial = this.send(from, ops, &url, false, what);
        });
        if let Some(serial) = serial {
            self.summary.pairs += 1;
            self.probes.push(Probe { from, to, serial, delivered: false });
        } else {
            self.violation(format!("node {from} has room and cannot send to node {to}"));
        }
        self.drive(from, Drive::Wake);
    }

    fn check_probes(&mut self) {
        if let Some(lost) = self.probes.iter().find(|probe| !probe.delivered) {
            let what = format!("nothing goes wrong, and node {} cannot reach node {}", lost.from, lost.to);
            self.violation(what);
        }
    }

    /// The counters of blocked messages agree with the model.
    fn check_counts(&mut self) {
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            let Some(node) = &host.node else { continue };
            let (entries, unattributed) = node.blocked();
            let mut counted = BTreeMap::<_, [u64; 2]>::new();
            let mut total = unattributed;
            for (url, space, incoming, outgoing) in &entries {
                total += u64::from(*incoming) + u64::from(*outgoing);
                let Some(id) = id_of(Some(url)) else { continue };
                let entry = counted.entry((id, space.clone())).or_default();
                entry[0] += u64::from(*incoming);
                entry[1] += u64::from(*outgoing);
            }
            let expected: u64 = host.book.blocked.values().flatten().sum();
            let right = if unattributed == 0 {
                counted == host.book.blocked
            } else {
                let within = |key, counts: &[u64; 2]| {
                    host.book
                        .blocked
                        .get(key)
                        .is_some_and(|most| counts[0] <= most[0] && counts[1] <= most[1])
                };
                counted.iter().all(|(key, counts)| within(key, counts))
            };
            if total != expected || !right || entries.len() > host.limits.blocked_counts {
                let what = format!(
                    "node {number}: blocked are {entries:?} and {unattributed}, expected {:?}",
                    host.book.blocked
                );
                return self.violation(what);
            }
            let counted: Result<(), String> = host.sockets.iter().try_for_each(|(connection, socket)| {
                node.counts(*connection).map_or(Ok(()), |counts| socket.counts.agree(&counts))
            });
            self.demand(number, counted);
        }
    }
}

/// A limit that can be reckoned with.
fn limit(limit: usize) -> usize {
    limit.min(1_000_000)
}
