//! One node with its sockets, and the model that it is held against.

use alloc::collections::{BTreeMap, VecDeque};

use kitfox_core::PeerId;
use kitfox_core::connection::{self, Plain, QuestionId};
use kitfox_core::node::{ConnectionId, Node, NodeConfig};
use kitfox_core::router::BlockList;
use kitfox_core::secure::{ChaChaPoly, Credentials};
use kitfox_core::storage::{Heap, Storage};

use super::Event;
use super::book::{Book, Counts};
use super::link::Time;
use super::node::{AnyNode, Keeper, Rules};
use super::plan::{Channel, LargeBoard, SmallBoard, Tier};
use super::sabotage::{Sabotage, Sabotaged};
use super::tapped::{Begin, Careless, Keyed, Keyless, Tapped};
use crate::world::Trusting;

/// A socket, from the order to dial or the acceptance to its release.
#[derive(Debug, Clone, Default)]
pub(super) struct Socket {
    pub(super) link: usize,
    pub(super) side: usize,
    /// The carrier is established.
    pub(super) connected: bool,
    /// What has arrived and was not read.
    pub(super) kernel: VecDeque<u8>,
    /// What was read and not taken.
    pub(super) unread: Vec<u8>,
    /// The stream ends behind what has arrived.
    pub(super) fin: bool,
    pub(super) reset: bool,
    /// The node was told of the end.
    pub(super) over: bool,
    /// The question that is open.
    pub(super) question: Option<QuestionId>,
    /// The node has closed it; it is only written to.
    pub(super) closing: bool,
    /// A handler has refused: nothing more may be delivered.
    pub(super) refused: bool,
    pub(super) up: bool,
    pub(super) counts: Counts,
}

/// The most that a node may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) peers: usize,
    pub(super) pending: usize,
    pub(super) outbox: usize,
    pub(super) frame: usize,
    pub(super) blocked_counts: usize,
}

impl Limits {
    fn new(config: &NodeConfig, tier: Tier) -> Self {
        let (connections, peers, outbox, frame, blocked_counts) = match tier {
            Tier::Heap => (usize::MAX, usize::MAX, usize::MAX, usize::MAX, usize::MAX),
            Tier::Small => (8, 5, 1024, 1024, 3),
            Tier::Large => (50, 25, 2048, 2048, 8),
        };
        Self {
            connections: connections.min(config.peers.max_connections),
            peers: peers.min(config.peers.max_peers),
            pending: config.peers.max_pending,
            outbox: outbox.min(config.connection.outbox.max_bytes),
            frame: frame.min(config.connection.max_frame_bytes),
            blocked_counts: blocked_counts.min(config.router.max_blocked_counts),
        }
    }
}

pub(super) struct Host {
    /// Taken out while it is driven.
    pub(super) node: Option<Box<dyn AnyNode>>,
    pub(super) tier: Tier,
    pub(super) id: PeerId,
    /// What it proves its id with, in a run with secured connections.
    pub(super) credentials: Option<Credentials>,
    pub(super) url: String,
    /// It had these before.
    pub(super) old_urls: Vec<String>,
    pub(super) config: NodeConfig,
    pub(super) limits: Limits,
    pub(super) incarnation: u32,
    pub(super) sockets: BTreeMap<ConnectionId, Socket>,
    /// Links and sides of sockets that were closed before it was told that their peers are down.
    pub(super) ended: BTreeMap<ConnectionId, (usize, usize)>,
    pub(super) book: Book,
    /// Nobody takes actions.
    pub(super) paused: bool,
    /// What waits for that.
    pub(super) backlog: Vec<Event>,
    pub(super) network_up: bool,
    /// Everything that was decided before its network went down was told.
    pub(super) knows_network_down: bool,
    /// It cannot be dialled.
    pub(super) hidden: bool,
    pub(super) tick_at: Option<Time>,
    /// Inputs since all books were compared.
    pub(super) unchecked: u32,
}

impl Host {
    /// A new process with a new node.
    pub(super) fn start(&mut self, channel: Channel, seed: u64, sabotage: Option<Sabotage>) {
        self.incarnation += 1;
        self.sockets.clear();
        self.ended.clear();
        self.backlog.clear();
        self.book = Book { agents: true, ..Book::default() };
        (self.paused, self.tick_at) = (false, None);
        let mut node = match self.tier {
            Tier::Heap => self.new_node::<Heap>(channel, seed, sabotage),
            Tier::Small => self.new_node::<SmallBoard>(channel, seed, sabotage),
            Tier::Large => self.new_node::<LargeBoard>(channel, seed, sabotage),
        };
        if let Some(sabotage) = sabotage {
            node = Box::new(Sabotaged::new(node, sabotage));
        }
        self.node = Some(node);
    }

    fn new_node<S: Storage>(
        &self,
        channel: Channel,
        seed: u64,
        sabotage: Option<Sabotage>,
    ) -> Box<dyn AnyNode> {
        let believes = sabotage == Some(Sabotage::BelievesIds);
        let keyed = self.credentials.clone().map(|credentials| Keyed { credentials, believes });
        match (channel, keyed) {
            (Channel::Secured, Some(keyed)) if sabotage == Some(Sabotage::IgnoresTags) => {
                self.boxed::<S, Tapped<S::RxBuffer, Careless>>(seed, keyed)
            }
            (Channel::Secured, Some(keyed)) => self.boxed::<S, Tapped<S::RxBuffer, ChaChaPoly>>(seed, keyed),
            (Channel::Trusting, _) => self.boxed::<S, Trusting>(seed, Keyless),
            _ => self.boxed::<S, Plain>(seed, Keyless),
        }
    }

    fn boxed<S: Storage, C: connection::Channel>(
        &self,
        seed: u64,
        starts: impl Begin<C> + 'static,
    ) -> Box<dyn AnyNode> {
        let blocks = BlockList::<S>::new(&self.config.router);
        let rules = Rules { blocks, agents: true, failing: false };
        Box::new(Keeper::new(Node::<S, _, C>::new(&self.config, self.id, seed, rules), starts))
    }

    pub(super) fn new(id: PeerId, url: String, config: NodeConfig, tier: Tier) -> Self {
        Self {
            node: None,
            tier,
            id,
            credentials: None,
            url,
            old_urls: Vec::new(),
            config,
            limits: Limits::new(&config, tier),
            incarnation: 0,
            sockets: BTreeMap::new(),
            ended: BTreeMap::new(),
            book: Book::default(),
            paused: false,
            backlog: Vec::new(),
            network_up: true,
            knows_network_down: false,
            hidden: false,
            tick_at: None,
            unchecked: 0,
        }
    }
}
