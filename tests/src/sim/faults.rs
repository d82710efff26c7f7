//! What goes wrong.

use super::act::Drive;
use super::link::{End, Party, Segment};
use super::{Event, Fault, Simulation, say};

impl Simulation {
    /// The world's clock of faults.
    pub(super) fn fault(&mut self) {
        if !self.faulty {
            return;
        }
        let every = self.plan.fault_every;
        let wait = self.random.between(1, 2 * every);
        self.after(wait, Event::Fault);
        let spurious = self.random.index(self.hosts.len());
        if self.chance(Fault::SpuriousTimer) {
            self.drive(spurious, Drive::Timeout);
        }
        let total: u64 = Fault::TIMED.iter().map(|&fault| self.plan.rate(fault)).sum();
        if total == 0 {
            return;
        }
        let mut place = self.random.below(total);
        for fault in Fault::TIMED {
            let rate = self.plan.rate(fault);
            if place < rate {
                *self.summary.faults.entry(fault).or_default() += 1;
                say!(self, "fault: {fault:?}");
                return self.happens(fault);
            }
            place -= rate;
        }
    }

    /// A link that is not over, if the search finds one.
    fn some_link(&mut self) -> Option<usize> {
        let live: Vec<usize> = (self.links.len().saturating_sub(300)..self.links.len())
            .filter(|&link| self.links[link].ends.iter().any(|end| matches!(end, End::Live(_) | End::Raw)))
            .collect();
        if live.is_empty() { None } else { Some(self.random.pick(&live)) }
    }

    fn happens(&mut self, fault: Fault) {
        let host = self.random.index(self.hosts.len());
        match fault {
            Fault::Stall | Fault::Cut | Fault::HalfClose | Fault::SilentDeath | Fault::FlippedBit => {
                let Some(link) = self.some_link() else { return };
                let side = self.random.index(2);
                say!(self, "link {link}, side {side}: {fault:?}");
                match fault {
                    Fault::Stall => {
                        let pause = self.random.between(1_000, 20_000_000);
                        self.links[link].pipes[side].stalled_until = self.now + pause;
                    }
                    Fault::Cut => self.cut(link),
                    Fault::FlippedBit => self.links[link].pipes[side].flips = true,
                    Fault::HalfClose => self.send_segment(link, side, Segment::Fin),
                    _ => self.die_silently(link),
                }
            }
            Fault::RestartNoticed => self.restart(host, true),
            Fault::RestartUnnoticed => self.restart(host, false),
            Fault::NetworkDown => self.network_down(host),
            Fault::Disconnect => {
                self.with_ops(host, |this, ops| {
                    for _ in 0..this.random.between(1, 4) {
                        this.disconnect_somebody(host, ops);
                    }
                });
                self.drive(host, Drive::Wake);
            }
            Fault::Block => self.with_ops(host, |this, ops| this.reblock(host, ops)),
            Fault::Register => self.with_ops(host, |this, ops| this.reregister(host, ops)),
            Fault::Policy => {
                let (agents, failing) = (self.random.chance(700), self.random.chance(200));
                self.set_policy(host, agents, failing);
            }
            stranger => self.stranger_comes(stranger, host),
        }
    }

    /// Both ends learn that a link is broken, sooner or later.
    fn cut(&mut self, link: usize) {
        if self.links[link].dead {
            return;
        }
        let lost = self.random.chance(500);
        for side in 0..2 {
            if lost {
                self.links[link].pipes[side].lose();
            }
            self.send_segment(link, side, Segment::Reset);
        }
        self.links[link].dead = true;
        self.links[link].told = [true, true];
    }

    /// Nothing gets through any more, and nobody is told before it writes.
    fn die_silently(&mut self, link: usize) {
        let was_dead = core::mem::replace(&mut self.links[link].dead, true);
        if !was_dead && self.random.chance(500) {
            self.links[link].pipes.iter_mut().for_each(super::link::Pipe::lose);
        }
    }

    fn links_of(&self, host: usize) -> Vec<usize> {
        self.hosts[host].sockets.values().map(|socket| socket.link).collect()
    }

    /// A node dies and comes back with nothing but its id.
    pub(super) fn restart(&mut self, host: usize, noticed: bool) {
        for link in self.links_of(host) {
            for side in 0..2 {
                if self.links[link].parties[side] == Party::Host(host) {
                    self.links[link].ends[side] = End::Gone;
                }
                if self.links[link].parties[1 - side] == Party::Host(host) && noticed {
                    self.send_segment(link, side, Segment::Reset);
                }
            }
            if !noticed {
                self.die_silently(link);
            }
        }
        if self.random.chance(500) {
            let id = self.hosts[host].id;
            let address = self.new_address(Party::Host(host));
            let old = core::mem::replace(&mut self.hosts[host].url, self.plan.url(&address, &id));
            self.hosts[host].old_urls.push(old.clone());
            let address = old.split('/').nth(2).unwrap_or_default().to_owned();
            if self.random.chance(700) {
                self.addresses.remove(&address);
            } else {
                // Somebody else listens there now.
                let other = self.random.index(self.hosts.len());
                self.addresses.insert(address, Party::Host(other));
            }
        }
        say!(self, "node {host} restarts at {}", self.hosts[host].url);
        self.start_host(host);
    }

    fn network_down(&mut self, host: usize) {
        if !core::mem::replace(&mut self.hosts[host].network_up, false) {
            return;
        }
        if let Some(node) = &mut self.hosts[host].node {
            node.set_network_up(false);
        }
        let pause = self.random.between(100_000, 30_000_000);
        self.after(pause, Event::NetworkUp(host));
        for link in self.links_of(host) {
            if self.random.chance(500) {
                self.die_silently(link);
            } else {
                for side in 0..2 {
                    self.links[link].pipes[side].stalled_until = self.now + pause;
                }
            }
        }
    }

    pub(super) fn network_up(&mut self, host: usize) {
        let was_up = core::mem::replace(&mut self.hosts[host].network_up, true);
        if let Some(node) = self.hosts[host].node.as_mut().filter(|_| !was_up) {
            node.set_network_up(true);
        }
    }
}
