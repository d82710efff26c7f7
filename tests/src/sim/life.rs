//! What the applications do: send, block, register, disconnect.

use kitfox_core::connection::{NotDialable, PushError};
use kitfox_core::node::SendError;
use kitfox_core::router::SendRefused;
use kitfox_core::wire::{HEADER_BYTES, PeerUrl, UrlRules};
use kitfox_core::{Instant, PeerId};

use super::act::{Drive, id_of};
use super::book::{Accepted, Expected};
use super::link::Origin;
use super::node::{AnyOps, Outgoing, To};
use super::{Event, Fault, MODULES, SPACES, Simulation, say};

impl Simulation {
    pub(super) fn register_first_spaces(&mut self, host: usize) {
        let all = if self.plan.calm { 3 } else { self.random.between(0, 3) as usize };
        self.with_ops(host, |this, ops| {
            for space in &SPACES[..all] {
                this.register_space(host, space, ops);
                this.register_module(host, space, MODULES[0], ops);
            }
        });
    }

    /// Does something to a node from outside of a delivery. An [`Input::Wake`](kitfox_core::node::Input) is to follow.
    pub(super) fn with_ops(&mut self, host: usize, with: impl FnOnce(&mut Self, &mut dyn AnyOps)) {
        let now: Instant = self.instant();
        let Some(mut node) = self.hosts[host].node.take() else { return };
        let mut with = Some(with);
        node.with_ops(now, &mut |ops| {
            if let Some(with) = with.take() {
                with(self, ops);
            }
        });
        self.hosts[host].node = Some(node);
    }

    pub(super) fn register_space(&mut self, host: usize, space: &[u8], ops: &mut dyn AnyOps) {
        let result = ops.register_space(space);
        let entry = self.hosts[host].book.spaces.entry(space.to_vec()).or_default();
        if result.is_ok() && entry.0 {
            self.violation(format!("node {host}: a space is registered twice"));
        } else {
            entry.0 |= result.is_ok();
        }
    }

    pub(super) fn register_module(&mut self, host: usize, space: &[u8], module: &str, ops: &mut dyn AnyOps) {
        if ops.register_module(space, module).is_ok() {
            let entry = self.hosts[host].book.spaces.entry(space.to_vec()).or_default();
            if !entry.1.insert(module.to_owned()) {
                self.violation(format!("node {host}: a module is registered twice"));
            }
        }
    }

    /// Something about spaces and modules changes.
    pub(super) fn reregister(&mut self, host: usize, ops: &mut dyn AnyOps) {
        let space = self.random.pick(&SPACES);
        let module = self.random.pick(&MODULES);
        match self.random.below(6) {
            0 | 1 => self.register_space(host, space, ops),
            2 | 3 => self.register_module(host, space, module, ops),
            4 => {
                let was = self.hosts[host].book.spaces.remove(space).is_some_and(|space| space.0);
                if ops.unregister_space(space) != was {
                    self.violation(format!("node {host}: unregisters a space wrongly"));
                }
            }
            _ => {
                let entry = self.hosts[host].book.spaces.get_mut(space);
                let was = entry.is_some_and(|space| space.1.remove(module));
                if ops.unregister_module(space, module) != was {
                    self.violation(format!("node {host}: unregisters a module wrongly"));
                }
            }
        }
    }

    /// Somebody is blocked, or not any more.
    pub(super) fn reblock(&mut self, host: usize, ops: &mut dyn AnyOps) {
        let other = self.random.index(self.hosts.len());
        let id = self.hosts[other].id;
        let space = if self.random.chance(300) { None } else { Some(self.random.pick(&SPACES)) };
        let rule = (id, space.map(<[u8]>::to_vec));
        if self.random.chance(500) {
            if ops.block(id, space).is_ok() {
                self.hosts[host].book.blocks.insert(rule);
            }
        } else if ops.unblock(id, space) != self.hosts[host].book.blocks.remove(&rule) {
            self.violation(format!("node {host}: unblocks wrongly"));
        }
    }

    /// The application sends in its own time.
    pub(super) fn send_again(&mut self, host: usize) {
        if !self.sending {
            return;
        }
        let every = self.plan.send_every;
        let wait = self.random.between(1, 2 * every);
        self.after(wait, Event::Send(host));
        let count = if self.random.chance(100) { self.random.between(1, 20) } else { 1 };
        for _ in 0..count {
            self.with_ops(host, |this, ops| this.send_somewhere(host, ops));
        }
        self.drive(host, Drive::Wake);
    }

    /// Perhaps the application does something from inside a delivery.
    pub(super) fn maybe_send(&mut self, host: usize, ops: &mut dyn AnyOps, of_thousand: u64) {
        if !self.sending || !self.random.chance(of_thousand) {
            return;
        }
        self.send_somewhere(host, ops);
        if self.chance(Fault::Register) {
            self.reregister(host, ops);
        }
        if self.chance(Fault::Block) {
            self.reblock(host, ops);
        }
        if self.chance(Fault::Disconnect) {
            self.disconnect_somebody(host, ops);
        }
    }

    pub(super) fn disconnect_somebody(&mut self, host: usize, ops: &mut dyn AnyOps) {
        let other = self.random.index(self.hosts.len());
        let id = self.hosts[other].id;
        if let Some(peer) = ops.key(&id) {
            let long = self.random.size(300);
            let reason = self.random.bytes(long);
            let done = ops.disconnect(peer, &reason);
            say!(self, "node {host}: disconnects {peer:?}: {done}");
        }
    }

    fn send_somewhere(&mut self, host: usize, ops: &mut dyn AnyOps) {
        let url = if !self.legacy.is_empty() && self.random.chance(100) {
            let place = self.random.index(self.legacy.len());
            self.legacy[place].clone()
        } else {
            // Most of a node's messages go to a few others.
            let near = self.random.chance(800);
            let distance = if near { self.random.below(4) } else { self.random.next() } as usize;
            let to = &self.hosts[(host + distance) % self.hosts.len()];
            let (url, old) = (to.url.clone(), to.old_urls.clone());
            if !old.is_empty() && self.chance(Fault::StaleUrl) {
                self.random.pick(&[&old[0]]).clone()
            } else {
                url
            }
        };
        let limit = self.hosts[host].limits.frame;
        let most =
            if self.chance(Fault::TooLarge) { 2 * limit } else { limit.min(20_000).saturating_sub(40) };
        let most = if self.plan.calm { most.min(900) } else { most };
        let len = self.random.size(most);
        let module = if self.random.chance(400) { Some(self.random.pick(&MODULES)) } else { None };
        let data = self.random.bytes(len);
        let outgoing = Outgoing { space: self.random.pick(&SPACES), module, data };
        let by_key = self.random.chance(300);
        self.send(host, ops, &url, by_key, &outgoing);
    }

    /// Sends one message, and holds the result against the model. Returns its serial number if it was accepted.
    pub(super) fn send(
        &mut self,
        host: usize,
        ops: &mut dyn AnyOps,
        url: &str,
        by_key: bool,
        what: &Outgoing,
    ) -> Option<u64> {
        let (Ok(url), Some(id)) = (PeerUrl::parse(url, &UrlRules::default()), id_of(Some(url))) else {
            return None;
        };
        let key = ops.key(&id).filter(|_| by_key);
        let sent = ops.send(key.map_or(To::Url(url), To::Peer), what);
        say!(self, "node {host}: sends {} bytes to {id}: {sent:?}", what.data.len());
        let right = self.is_right(host, id, what, sent.as_ref().err());
        if !right {
            self.violation(format!("node {host}: sending {} bytes: {sent:?}", what.data.len()));
        }
        let message = match sent {
            Ok(message) => message,
            Err(error) => {
                self.summary.refused += 1;
                if error == SendError::Refused(SendRefused::Blocked) {
                    self.hosts[host].book.count_blocked(id, what.space, 1);
                }
                return None;
            }
        };
        self.summary.accepted += 1;
        let serial = self.next_serial;
        self.next_serial += 1;
        let mut payload = vec![0; what.message().encoded_len()];
        let encoded = what.message().encode(&mut payload);
        debug_assert_eq!(encoded.ok(), Some(payload.len()));
        let origin = Origin { host, incarnation: self.hosts[host].incarnation, serial };
        let result = self.hosts[host].book.accepted(message, id, Accepted { origin, payload });
        self.demand(host, result);
        Some(serial)
    }

    /// Whether this is what the rules of sending say.
    fn is_right(&self, host: usize, to: PeerId, what: &Outgoing, error: Option<&SendError>) -> bool {
        let host = &self.hosts[host];
        let book = &host.book;
        if to == host.id {
            return matches!(error, Some(SendError::NotDialable(NotDialable::OurOwnId)));
        }
        let refused = if !book.is_registered(what.space) {
            Some(SendRefused::UnknownSpace)
        } else if book.failing {
            Some(SendRefused::LocalAgentsFailed)
        } else if !book.agents {
            Some(SendRefused::NoLocalAgents)
        } else if book.is_blocked(&to, what.space) {
            Some(SendRefused::Blocked)
        } else {
            None
        };
        let frame = HEADER_BYTES + what.message().encoded_len();
        let too_large = frame > host.config.connection.max_frame_bytes.min(host.limits.outbox);
        match (refused, error) {
            (Some(refused), error) => error == Some(&SendError::Refused(refused)),
            (None, None) => !too_large,
            (None, Some(SendError::NotQueued(PushError::TooLargeForPeer))) => frame > self.takes(&to),
            (None, Some(SendError::NotQueued(PushError::TooLarge))) => too_large,
            (None, Some(SendError::NotQueued(PushError::Backpressure) | SendError::Capacity(_))) => true,
            (None, Some(_)) => false,
        }
    }

    /// The policy of a node changes.
    pub(super) fn set_policy(&mut self, host: usize, agents: bool, failing: bool) {
        let book = &mut self.hosts[host].book;
        (book.agents, book.failing) = (agents, failing);
        self.with_ops(host, |_, ops| ops.set_policy(agents, failing));
    }

    /// Whether a message of this kind would be delivered now.
    pub(super) fn would_take(&self, host: usize, from: &PeerId, what: &Outgoing) -> bool {
        let mut payload = vec![0; what.message().encoded_len()];
        let encoded = what.message().encode(&mut payload).is_ok();
        let expected = self.hosts[host].book.expected(from, &payload);
        encoded && matches!(expected, Expected::Notify | Expected::Module)
    }
}
