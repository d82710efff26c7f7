//! What must hold: each message has one fate, in order, and nothing else goes wrong.

use kitfox_core::connection::{Channel, Numbers};
use kitfox_core::node::{ConnectionState, MessageId};
use kitfox_core::storage::Storage;

use super::{Fault, L, Run, S, STRANGER};
use crate::world::{End, Told, World};

/// What the application of each node was told, as far as it matters for what may come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    hosts: [Host; 3],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Host {
    up: bool,
    /// How often it has crashed.
    life: u8,
    /// What it sent, in all its lives.
    sent: Vec<Sent>,
    /// How many messages were delivered to it: a message is delivered at most once, in order.
    received: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    data: [u8; 3],
    id: MessageId,
    life: u8,
    fate: Fate,
    delivered: bool,
}

/// The id is only compared with those that are told.
impl core::hash::Hash for Sent {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        (self.data, self.id.number, self.life, self.fate, self.delivered).hash(state);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    /// It waits, or was written on a connection that is open.
    Accepted,
    Unknown,
    NotSent,
}

/// Whether a message waits for a connection.
pub(super) fn waits<T: Storage, C: Channel>(world: &World<T, C>) -> bool {
    world.hosts.iter().any(|host| {
        let outbox = |peer| host.node.outbox(peer);
        host.node.peers().peers().filter_map(outbox).any(|outbox| outbox.has_unwritten())
    })
}

impl Ledger {
    /// A node sends its next message: S and the stranger to L, L to S.
    pub(super) fn send<T, C>(&mut self, world: &mut World<T, C>, from: usize)
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        let host = &mut self.hosts[from];
        let data = [from as u8, host.life, host.sent.len() as u8];
        // What is told while it is sent belongs to messages before it; its own fate cannot be told yet.
        let before = world.hosts[from].told.len();
        let to = if from == L { S } else { L };
        let id = world.send(from, to, &data).expect("outboxes have room");
        debug_assert!(
            world.hosts[from].told[before..]
                .iter()
                .all(|told| !matches!(told, Told::NotSent(told, ..) if *told == id))
        );
        host.sent.push(Sent { data, id, life: host.life, fate: Fate::Accepted, delivered: false });
    }

    /// A node has crashed: what it had accepted is nobody's business any more.
    pub(super) fn restart(&mut self, node: usize) {
        self.hosts[node].up = false;
        self.hosts[node].life += 1;
    }

    /// Takes over what nodes told, and checks it.
    pub(super) fn absorb<T, C>(&mut self, world: &mut World<T, C>, run: &Run) -> Result<(), String>
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        for number in 0..world.hosts.len() {
            for told in core::mem::take(&mut world.hosts[number].told) {
                self.tell(number, told, run)?;
            }
            let node = &world.hosts[number].node;
            let states = || node.peers().connections().map(|(_, state)| state);
            for peer in node.peers().peers() {
                let of_peer = node
                    .peers()
                    .connections()
                    .filter(|&(id, _)| node.peers().peer_of(id) == Some(peer))
                    .filter(|&(_, state)| state == ConnectionState::Open);
                if of_peer.count() > 1 {
                    return Err(format!("{number} has two open connections"));
                }
            }
            let inbound = states().filter(|&state| state == ConnectionState::Inbound).count();
            if node.peers().pending() != inbound {
                return Err(format!("{number} counts {} pending, not {inbound}", node.peers().pending()));
            }
            let open = states().filter(|&state| state == ConnectionState::Open).count();
            if number != L && (open > 0) != self.hosts[number].up {
                return Err(format!(
                    "{number} has {open} open and was told that is {}",
                    self.hosts[number].up
                ));
            }
        }
        Ok(())
    }

    fn tell(&mut self, number: usize, told: Told, run: &Run) -> Result<(), String> {
        // A stranger's own fortune is no concern.
        let faultless = run.is_peaceful() && number != STRANGER;
        let stranger = run.messages[STRANGER] > 0;
        match told {
            Told::Up(_) => {
                let up = core::mem::replace(&mut self.hosts[number].up, true);
                if up && !(stranger && run.established.is_empty()) {
                    return Err(format!("{number}: up twice"));
                }
            }
            Told::Down(_, unknown, _) => {
                if !core::mem::replace(&mut self.hosts[number].up, false) {
                    return Err(format!("{number}: down, but was not up"));
                }
                if faultless {
                    return Err(format!("{number}: down without a fault"));
                }
                if let Some(unknown) = unknown {
                    self.lose(number, unknown)?;
                }
            }
            Told::Unresponsive(peer) => {
                if faultless {
                    return Err(format!("{number}: unresponsive without a fault"));
                }
                if peer.is_empty() {
                    return Err(format!("{number}: somebody is unresponsive"));
                }
            }
            Told::NotSent(id, _, data) => {
                if faultless {
                    return Err(format!("{number}: not sent without a fault"));
                }
                let host = &mut self.hosts[number];
                let life = host.life;
                let found = host.sent.iter_mut().find(|sent| sent.life == life && sent.id == id);
                let Some(sent) = found else { return Err(format!("{number}: {id:?} was never sent")) };
                if sent.data != data[..] {
                    return Err(format!("{number}: {data:?} handed back for {:?}", sent.data));
                }
                if sent.fate != Fate::Accepted || sent.delivered {
                    return Err(format!("{number}: not sent, but {sent:?}"));
                }
                sent.fate = Fate::NotSent;
            }
            Told::Message(_, data) => self.deliver(number, &data)?,
            Told::Rejected(_) => {}
        }
        Ok(())
    }

    /// The fate of these messages of a node's last session is unknown.
    fn lose(&mut self, number: usize, unknown: Numbers) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let life = host.life;
        // The stay of the peer in the table is that of the last message.
        let peer = host.sent.iter().rev().find(|sent| sent.life == life).map(|sent| sent.id.peer);
        let mut lost = 0;
        for sent in &mut host.sent {
            let in_range = (unknown.first..=unknown.last).contains(&sent.id.number);
            if sent.life == life && Some(sent.id.peer) == peer && in_range {
                if sent.fate != Fate::Accepted {
                    return Err(format!("{number}: unknown, but {sent:?}"));
                }
                sent.fate = Fate::Unknown;
                lost += 1;
            }
        }
        if lost != unknown.last - unknown.first + 1 {
            return Err(format!("{number}: {unknown:?} are unknown, but {:?}", host.sent));
        }
        Ok(())
    }

    fn deliver(&mut self, to: usize, data: &[u8]) -> Result<(), String> {
        if !self.hosts[to].up {
            return Err(format!("{to}: {data:?} came before it was up"));
        }
        self.hosts[to].received += 1;
        let sent = &mut self.hosts[data[0] as usize].sent;
        let at = sent.iter().position(|sent| sent.data == data).ok_or("nobody sent this")?;
        if sent[at].delivered {
            return Err(format!("{to}: {data:?} came twice"));
        }
        if sent[at].fate == Fate::NotSent {
            return Err(format!("{to}: {data:?} came, but was not sent"));
        }
        sent[at].delivered = true;
        let life = sent[at].life;
        if sent[at + 1..].iter().any(|later| later.delivered) {
            return Err(format!("{to}: {data:?} came too late"));
        }
        // Messages of a session arrive without a gap: what was left out belongs to an earlier one, whose end is known.
        let left_out = |sent: &&Sent| sent.life == life && !sent.delivered && sent.fate == Fate::Accepted;
        match sent[..at].iter().find(left_out) {
            Some(sent) => Err(format!("{to}: {data:?} came before {sent:?}")),
            None => Ok(()),
        }
    }

    /// Checks a state in which nothing more happens.
    pub(super) fn settled<T, C>(&self, world: &World<T, C>, run: &Run) -> Result<(), String>
    where
        T: Storage,
        C: Channel<Start: Default>,
    {
        // Where somebody is not told of an end, its own end may stay open for ever.
        let untold = run.kinds.iter().any(|kind| matches!(kind, Fault::SilentCrash | Fault::Vanish));
        let dead = |link: &crate::world::Link| link.refused || link.broken;
        let mut live = 0;
        for link in &world.links {
            match link.ends {
                [End::Live(_), End::Live(_)] if !dead(link) => live += 1,
                [End::Gone, End::Gone] => {}
                // A dial that never completed and was given up.
                [End::Gone, End::Waiting(_)] if link.refused => {}
                _ if untold && dead(link) => {}
                ends => return Err(format!("a link is left: {ends:?}")),
            }
        }
        if live > 1 {
            return Err(format!("{live} live connections"));
        }
        for (number, host) in world.hosts.iter().enumerate() {
            let peers = host.node.peers();
            let mut open = 0;
            for (id, state) in peers.connections() {
                if state != ConnectionState::Open {
                    return Err(format!("{number}: a connection is left: {state:?}"));
                }
                let (link, side) = (host.sockets[&id].link, host.sockets[&id].side);
                let link = &world.links[link];
                let other = &world.hosts[link.nodes[1 - side]].node;
                let theirs = match link.ends[1 - side] {
                    End::Live(theirs) => other.peers().state(theirs),
                    _ => None,
                };
                if theirs != Some(ConnectionState::Open) && !dead(link) {
                    return Err(format!("{number}: open, and {theirs:?} at the other end"));
                }
                open += 1;
            }
            if peers.peers().count() != open {
                return Err(format!("{number}: {open} open, {} peers", peers.peers().count()));
            }
            if peers.peers().any(|peer| host.node.outbox(peer).is_some_and(|outbox| !outbox.is_empty())) {
                return Err(format!("{number}: something waits for ever"));
            }
            let on_dead_link = host.sockets.values().any(|socket| dead(&world.links[socket.link]));
            for sent in &self.hosts[number].sent {
                let lost =
                    !sent.delivered && sent.fate == Fate::Accepted && sent.life == self.hosts[number].life;
                if lost && !on_dead_link {
                    return Err(format!("{number}: lost in silence: {sent:?}"));
                }
                if run.is_peaceful() && number != STRANGER && !sent.delivered {
                    return Err(format!("{number}: lost without a fault: {sent:?}"));
                }
            }
        }
        if run.is_peaceful() && live == 0 && run.messages != [0; 3] {
            return Err("no connection without a fault".into());
        }
        Ok(())
    }
}
