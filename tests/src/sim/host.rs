//! One node with its sockets, and the model that it is held against.

use alloc::collections::{BTreeMap, VecDeque};

use kitfox_core::PeerId;
use kitfox_core::connection::{Plain, QuestionId};
use kitfox_core::node::{ConnectionId, Node, NodeConfig};
use kitfox_core::router::BlockList;
use kitfox_core::storage::{Heap, Storage};

use super::Event;
use super::book::{Book, Counts};
use super::link::Time;
use super::node::{AnyNode, Rules};
use super::plan::{LargeBoard, SmallBoard, Tier};
use super::sabotage::{Sabotage, Sabotaged};
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
    pub(super) fn start(&mut self, secured: bool, seed: u64, sabotage: Option<Sabotage>) {
        self.incarnation += 1;
        self.sockets.clear();
        self.ended.clear();
        self.backlog.clear();
        self.book = Book { agents: true, ..Book::default() };
        (self.paused, self.tick_at) = (false, None);
        let (config, id) = (&self.config, self.id);
        let mut node = match self.tier {
            Tier::Heap => new_node::<Heap>(config, id, secured, seed),
            Tier::Small => new_node::<SmallBoard>(config, id, secured, seed),
            Tier::Large => new_node::<LargeBoard>(config, id, secured, seed),
        };
        if let Some(sabotage) = sabotage {
            node = Box::new(Sabotaged::new(node, sabotage));
        }
        self.node = Some(node);
    }

    pub(super) fn new(id: PeerId, url: String, config: NodeConfig, tier: Tier) -> Self {
        Self {
            node: None,
            tier,
            id,
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

fn new_node<S: Storage>(config: &NodeConfig, id: PeerId, secured: bool, seed: u64) -> Box<dyn AnyNode> {
    let rules = Rules { blocks: BlockList::<S>::new(&config.router), agents: true, failing: false };
    if secured {
        Box::new(Node::<S, _, Trusting>::new(config, id, seed, rules))
    } else {
        Box::new(Node::<S, _, Plain>::new(config, id, seed, rules))
    }
}
