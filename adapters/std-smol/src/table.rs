//! Which connections exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kitfox_core::PeerId;

use crate::handler::Peer;
use crate::link::Link;
use crate::stats::Totals;

/// All connections. Locked for a look or a change, never while something is called.
#[derive(Default)]
pub(crate) struct Table {
    /// Every connection that has not ended, by its number, so the oldest first.
    links: BTreeMap<u64, Arc<Link>>,
    /// Those that peers opened and whose gate is not open yet.
    pending: BTreeMap<u64, Arc<Link>>,
    /// Open ones, oldest first. What is sent goes to the oldest: on a plain channel a claim displaces nothing.
    /// Invariant: no empty list.
    open: HashMap<PeerId, Vec<Arc<Link>>>,
    /// The ids in the URLs of open connections, so that those need not be parsed for every message.
    ids: HashMap<Box<str>, PeerId>,
    next_id: u64,
    pub(crate) totals: Totals,
    pub(crate) shut_down: bool,
}

impl Table {
    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a new connection in. Returns the oldest pending one if it has to make room.
    pub(crate) fn insert(
        &mut self,
        link: &Arc<Link>,
        incoming: bool,
        max_pending: usize,
    ) -> Option<Arc<Link>> {
        self.links.insert(link.id, link.clone());
        if !incoming {
            self.totals.dialled += 1;
            return None;
        }
        self.totals.accepted += 1;
        self.pending.insert(link.id, link.clone());
        if self.pending.len() <= max_pending {
            return None;
        }
        self.totals.evicted += 1;
        self.pending.pop_first().map(|(_, oldest)| oldest)
    }

    /// The gate of a connection is open.
    pub(crate) fn open(&mut self, link: &Arc<Link>, peer: &Peer) {
        self.pending.remove(&link.id);
        self.open.entry(*peer.id()).or_default().push(link.clone());
        self.ids.insert(peer.url().into(), *peer.id());
        self.totals.opened += 1;
    }

    /// A connection has ended.
    pub(crate) fn remove(&mut self, link: &Link) {
        if self.links.remove(&link.id).is_none() {
            return;
        }
        self.totals.closed += 1;
        self.pending.remove(&link.id);
        if let Some(peer) = link.peer()
            && let Some(open) = self.open.get_mut(peer.id())
        {
            open.retain(|other| other.id != link.id);
            if !open.iter().filter_map(|other| other.peer()).any(|other| other.url() == peer.url()) {
                self.ids.remove(peer.url());
            }
            if open.is_empty() {
                self.open.remove(peer.id());
            }
        }
        if let Some(stats) = link.stats() {
            self.totals.add(&stats);
        }
    }

    /// The connection on which messages to a peer go.
    pub(crate) fn find(&self, id: &PeerId) -> Option<&Arc<Link>> {
        self.open.get(id)?.first()
    }

    /// The connection on which messages to a URL go, and the id in the URL, if a connection with just this URL is open.
    pub(crate) fn find_url(&self, url: &str) -> Option<(PeerId, Arc<Link>)> {
        let id = self.ids.get(url)?;
        Some((*id, self.find(id)?.clone()))
    }

    /// Every open connection with a peer.
    pub(crate) fn find_all(&self, id: &PeerId) -> Vec<Arc<Link>> {
        self.open.get(id).cloned().unwrap_or_default()
    }

    /// Every connection, oldest first.
    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.values()
    }
}
