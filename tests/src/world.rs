//! Several [`Node`]s in one process on a virtual clock, connected by links that do what they are told.
//!
//! A world does nothing by itself. [`World::events`] lists what could happen next, [`World::step`] makes one of it
//! happen: a test, a search or a simulation decides which. Each node has a clock of its own, so that any of its
//! deadlines can come at any time.

use alloc::collections::{BTreeMap, VecDeque};

use kitfox_core::connection::{
    Answer, Channel, CloseReason, Numbers, Opened, Opener, Plain, Question, QuestionId, Wants,
};
use kitfox_core::node::{
    Action, ConnectionId, Input, MessageId, Node, NodeConfig, NotSentCause, Ops, SendError,
};
use kitfox_core::router::{BlockList, RegisterError};
use kitfox_core::storage::Storage;
use kitfox_core::wire::{PeerUrl, UrlRules};
use kitfox_core::{Instant, PeerId, ProtocolError};

/// The space that every node of a world has.
pub const SPACE: &[u8] = b"space";

/// A channel without records that counts as one that has proven its peer's id: for tests of the rules of secured
/// connections.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trusting;

impl Channel for Trusting {
    type Start = ();
    type Opener = Self;
    type Sealer = Plain;

    fn opener((): ()) -> Self {
        Self
    }

    fn sealer((): &()) -> Plain {
        Plain::default()
    }
}

impl Opener for Trusting {
    fn open(&mut self, wire: &mut [u8]) -> Result<Opened, ProtocolError> {
        Plain::default().open(wire)
    }

    fn proves_id(&self) -> bool {
        true
    }
}

/// What a node told its application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A peer is up.
    Up(String),
    /// A peer is down; with what is unknown, and why.
    Down(String, Option<Numbers>, kitfox_core::node::DownCause),
    /// A peer does not respond.
    Unresponsive(String),
    /// A message was given up: its data.
    NotSent(MessageId, NotSentCause, Vec<u8>),
    /// A message was delivered: from whom, and its data.
    Message(String, Vec<u8>),
    /// A connection ended that never was up.
    Rejected(CloseReason),
}

/// How a node's application answers questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// Preflights to refuse before all others are accepted.
    pub refuse_preflights: u32,
    /// Peers not to admit before all others are.
    pub refuse_admissions: u32,
}

/// What an application does while it looks at what it is told.
pub type OnTold<S> = fn(&Told, Option<ConnectionId>, &mut Ops<'_, S, BlockList<S>>);

/// One node with its application and its sockets.
#[derive(Debug, Clone)]
pub struct Host<S: Storage, C: Channel> {
    /// The node.
    pub node: Node<S, BlockList<S>, C>,
    /// Its URL, by which others dial it.
    pub url: String,
    /// Its own clock.
    pub now: Instant,
    /// What it told its application.
    pub told: Vec<Told>,
    /// How its application answers.
    pub answers: Answers,
    /// Bytes that its sockets take together before they are full.
    pub room: usize,
    /// Actions that its driver takes of one input before it does something else.
    pub patience: usize,
    /// What its application does with everything that it is told.
    pub on_told: Option<OnTold<S>>,
    pub(crate) sockets: BTreeMap<ConnectionId, Socket>,
    /// Something has happened to it since this was last set to `false`.
    pub(crate) touched: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) link: usize,
    pub(crate) side: usize,
    pub(crate) unread: Vec<u8>,
}

/// A carrier between two nodes: side 0 dialled, side 1 accepted.
#[derive(Debug, Clone)]
pub struct Link {
    /// The nodes at both ends.
    pub nodes: [usize; 2],
    pub(crate) ends: [End; 2],
    /// What is on its way to each side.
    pub(crate) pipes: [VecDeque<u8>; 2],
    /// The dial was refused or given up; on an established link: a side that is left is never told.
    pub(crate) refused: bool,
    /// The link is broken: nothing written from now on arrives. What is on its way may still do.
    pub(crate) broken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The dial has not arrived here.
    Waiting(Option<ConnectionId>),
    /// This side has a socket.
    Live(ConnectionId),
    /// This side has closed its socket, or lost it.
    Gone,
}

/// Something that could happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A dialled connection arrives at the node that listens.
    Accept(usize),
    /// The dialler learns that its dial succeeded.
    Connect(usize),
    /// The next frame on its way to that side of the link arrives.
    Deliver(usize, usize),
    /// That side learns that the other one is gone.
    Hangup(usize, usize),
    /// The next deadline of a node comes.
    Tick(usize),
    /// Fault: the link breaks, and what is on its way is lost.
    Cut(usize),
    /// Fault: the dial is refused.
    Refuse(usize),
    /// Fault: the link breaks. Each side learns of it at a time of its own, and gets any part of what was on its way
    /// before.
    Break(usize),
    /// That side learns that its link is broken; what was on its way to it is lost.
    Notice(usize, usize),
    /// Fault: the link breaks, what is on its way is lost, and nobody is ever told.
    Vanish(usize),
}

/// What the other side sees of a connection that a node closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// Everything that was written, and the end of the stream.
    #[default]
    Kept,
    /// The end of the stream without the reason.
    Silent,
    /// The end of the stream; what was on its way is lost.
    Reset,
}

/// Something that a network never does, to see whether a test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mischief {
    /// Nothing.
    #[default]
    None,
    /// Messages are lost in the middle of a stream.
    Drop,
    /// Messages arrive twice.
    Duplicate,
    /// A message and what follows it change places.
    Swap,
    /// Nobody is told that the other side closed its end.
    NoHangup,
    /// What arrives at one node first are the bytes of a confirm.
    EarlyConfirm,
}

/// Nodes and links.
#[derive(Debug, Clone)]
pub struct World<S: Storage, C: Channel> {
    /// The nodes.
    pub hosts: Vec<Host<S, C>>,
    /// The links, in the order in which they were dialled. Links that are over stay in their places.
    pub links: Vec<Link>,
    /// What is seen of a connection that a node closes.
    pub closing: Closing,
    /// What this network does that none does.
    pub mischief: Mischief,
    /// Directions, from and to, in which no dial ever completes.
    pub hanging: Vec<(usize, usize)>,
}

impl<S, C> World<S, C>
where
    S: Storage,
    C: Channel<Start: Default>,
{
    /// Nodes with these ids, in a world without links.
    pub fn new(config: &NodeConfig, ids: &[&str]) -> Self {
        let hosts = ids.iter().zip(1..).map(|(id, number)| Host::new(config, id, number)).collect();
        Self {
            hosts,
            links: Vec::new(),
            closing: Closing::default(),
            mischief: Mischief::default(),
            hanging: Vec::new(),
        }
    }

    /// Sends a message from one node to another.
    ///
    /// # Errors
    /// What the node says.
    pub fn send(&mut self, from: usize, to: usize, data: &[u8]) -> Result<MessageId, SendError> {
        let url = self.hosts[to].url.clone();
        let url = PeerUrl::parse(&url, &UrlRules::default()).expect("hosts have URLs");
        let now = self.hosts[from].now;
        let sent = self.hosts[from].node.ops(now).notify(url, SPACE, data);
        self.drive(from, Drive::Wake);
        sent
    }

    /// One node disconnects from another.
    pub fn disconnect(&mut self, from: usize, to: usize, reason: &[u8]) {
        let now = self.hosts[from].now;
        let id = *self.hosts[to].node.peers().own_id();
        if let Some(peer) = self.hosts[from].node.peers().peer(&id) {
            self.hosts[from].node.ops(now).disconnect(peer, reason);
        }
        self.drive(from, Drive::Wake);
    }

    /// A node dies and comes back with nothing but its id. The others learn of it only if `noticed`.
    pub fn restart(&mut self, config: &NodeConfig, node: usize, noticed: bool) {
        for link in 0..self.links.len() {
            for side in 0..2 {
                if self.links[link].nodes[side] == node && self.links[link].ends[side] != End::Gone {
                    self.links[link].ends[side] = End::Gone;
                    self.links[link].pipes[side].clear();
                    if !noticed {
                        // The other side is never told: its writes go nowhere, its reads bring nothing.
                        self.links[link].refused = true;
                    }
                }
            }
        }
        let old = &self.hosts[node];
        let id = old.url.rsplit('/').next().expect("the id is the last segment").to_owned();
        let mut new = Host::new(config, &id, 77 + node as u64);
        new.now = old.now;
        new.url.clone_from(&old.url);
        new.told.clone_from(&old.told);
        (new.answers, new.room, new.patience) = (old.answers, old.room, old.patience);
        new.on_told = old.on_told;
        self.hosts[node] = new;
    }

    /// A node's driver looks whether there is something to do or to write: its sockets have room again, say.
    pub fn wake(&mut self, node: usize) {
        self.drive(node, Drive::Wake);
    }

    /// Everything that could happen next but faults, in a fixed order.
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (number, link) in self.links.iter().enumerate() {
            if let (End::Waiting(_), false) = (link.ends[1], link.refused) {
                events.push(Event::Accept(number));
            }
            if let (End::Waiting(_), false) = (link.ends[0], link.refused) {
                events.push(Event::Connect(number));
            }
            for side in 0..2 {
                if let End::Live(_) = link.ends[side] {
                    if !link.pipes[side].is_empty() {
                        events.push(Event::Deliver(number, side));
                    }
                    if link.broken && !link.refused {
                        events.push(Event::Notice(number, side));
                    } else if link.pipes[side].is_empty() && self.is_hung_up(link, side) {
                        events.push(Event::Hangup(number, side));
                    }
                }
            }
        }
        events
    }

    fn is_hung_up(&self, link: &Link, side: usize) -> bool {
        link.ends[1 - side] == End::Gone && !link.refused && self.mischief != Mischief::NoHangup
    }

    /// The deadlines that could come next.
    pub fn ticks(&self) -> Vec<Event> {
        let with_deadline = |(_, host): &(usize, &Host<S, C>)| host.node.poll_timeout().is_some();
        self.hosts.iter().enumerate().filter(with_deadline).map(|(number, _)| Event::Tick(number)).collect()
    }

    /// Makes one thing happen. Returns `false`, and does nothing, if it cannot happen now.
    pub fn step(&mut self, event: Event) -> bool {
        match event {
            Event::Accept(link) => self.accept(link),
            Event::Connect(link) => {
                let End::Waiting(Some(connection)) = self.links[link].ends[0] else { return false };
                let node = self.links[link].nodes[0];
                let host = &mut self.hosts[node];
                if host.node.connected(host.now, connection, Default::default()).is_err() {
                    self.links[link].ends[0] = End::Gone;
                    return true;
                }
                self.links[link].ends[0] = End::Live(connection);
                host.sockets.insert(connection, Socket { link, side: 0, unread: Vec::new() });
                self.drive(node, Drive::Read(connection));
            }
            Event::Deliver(link, side) => {
                let End::Live(connection) = self.links[link].ends[side] else { return false };
                let node = self.links[link].nodes[side];
                let pipe = &mut self.links[link].pipes[side];
                let mut frame = take_frame(pipe);
                if frame.is_empty() {
                    return false;
                }
                let is_message = frame[0] == 1 && frame.len() > 5;
                match self.mischief {
                    Mischief::Drop if is_message => frame.clear(),
                    Mischief::Duplicate if is_message => frame = [&frame[..], &frame[..]].concat(),
                    Mischief::Swap if is_message => frame = [take_frame(pipe), frame].concat(),
                    Mischief::EarlyConfirm if frame[0] == 0 && side == 1 => frame.extend([1, 0, 0, 0, 0]),
                    _ => {}
                }
                if let Some(socket) = self.hosts[node].sockets.get_mut(&connection) {
                    socket.unread.extend(frame);
                }
                self.drive(node, Drive::Read(connection));
            }
            Event::Hangup(link, side) => {
                let End::Live(connection) = self.links[link].ends[side] else { return false };
                self.drive(self.links[link].nodes[side], Drive::End(connection));
            }
            Event::Tick(node) => {
                let host = &mut self.hosts[node];
                let Some(at) = host.node.poll_timeout() else { return false };
                host.now = host.now.max(at);
                self.drive(node, Drive::Timeout);
            }
            Event::Cut(link) => {
                for side in 0..2 {
                    self.links[link].pipes[side].clear();
                    if let End::Live(connection) = self.links[link].ends[side] {
                        self.drive(self.links[link].nodes[side], Drive::Failed(connection));
                    }
                    self.links[link].ends[side] = End::Gone;
                    self.links[link].pipes[side].clear();
                }
            }
            Event::Break(link) => self.links[link].broken = true,
            Event::Notice(link, side) => {
                let End::Live(connection) = self.links[link].ends[side] else { return false };
                self.links[link].pipes[side].clear();
                self.drive(self.links[link].nodes[side], Drive::Failed(connection));
            }
            Event::Vanish(link) => {
                let link = &mut self.links[link];
                (link.broken, link.refused) = (true, true);
                link.pipes.iter_mut().for_each(VecDeque::clear);
            }
            Event::Refuse(link) => {
                let End::Waiting(Some(connection)) = self.links[link].ends[0] else { return false };
                self.links[link].ends = [End::Gone, End::Gone];
                self.drive(self.links[link].nodes[0], Drive::Failed(connection));
            }
        }
        true
    }

    /// Lets everything happen in the fixed order until nothing more happens, at most `bound` times. Returns whether it
    /// came to rest.
    pub fn settle(&mut self, bound: usize) -> bool {
        for _ in 0..bound {
            let Some(&event) = self.events().first() else { return true };
            self.step(event);
        }
        self.events().is_empty()
    }

    /// Connections that both sides have.
    pub fn live_links(&self) -> usize {
        self.links.iter().filter(|link| matches!(link.ends, [End::Live(_), End::Live(_)])).count()
    }

    fn accept(&mut self, link: usize) {
        let node = self.links[link].nodes[1];
        let host = &mut self.hosts[node];
        match host.node.accept(host.now, Default::default()) {
            Ok(connection) => {
                self.links[link].ends[1] = End::Live(connection);
                host.sockets.insert(connection, Socket { link, side: 1, unread: Vec::new() });
            }
            Err(_) => self.links[link].ends[1] = End::Gone,
        }
        self.drive(node, Drive::Wake);
    }

    /// Gives a node an input and carries out everything that follows from it.
    fn drive(&mut self, node: usize, first: Drive) {
        self.hosts[node].touched = true;
        let mut todo = VecDeque::from([first]);
        while let Some(next) = todo.pop_front() {
            let mut effects = Vec::new();
            self.hosts[node].handle(next, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Dial(connection, url) => {
                        let to = self.hosts.iter().position(|host| host.url == url);
                        let nodes = [node, to.unwrap_or(node)];
                        let ends = [End::Waiting(Some(connection)), End::Waiting(None)];
                        let hangs = to.is_some_and(|to| self.hanging.contains(&(node, to)));
                        let refused = to.is_none() || hangs;
                        let pipes = Default::default();
                        self.links.push(Link { nodes, ends, pipes, refused, broken: false });
                    }
                    Effect::Answered(connection) => todo.push_back(Drive::Read(connection)),
                    Effect::Again(reads) => todo.push_back(reads.map_or(Drive::Wake, Drive::Read)),
                    Effect::Closed(connection) => {
                        if self.closing == Closing::Kept {
                            self.flush(node);
                        }
                        self.hosts[node].sockets.remove(&connection);
                        self.hosts[node].node.release(connection);
                        for link in &mut self.links {
                            for side in 0..2 {
                                if link.nodes[side] == node
                                    && (link.ends[side] == End::Live(connection)
                                        || link.ends[side] == End::Waiting(Some(connection)))
                                {
                                    link.ends[side] = End::Gone;
                                    link.pipes[side].clear();
                                    if self.closing == Closing::Reset {
                                        link.pipes[1 - side].clear();
                                    }
                                }
                            }
                        }
                    }
                }
            }
            self.flush(node);
        }
    }

    /// Writes everything that a node has to write.
    fn flush(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let mut out = [0; 4096];
        for (&connection, socket) in &host.sockets {
            loop {
                let room = host.room.min(out.len());
                let len = host.node.transmit(host.now, connection, &mut out[..room]);
                if len == 0 {
                    break;
                }
                host.room -= if host.room == usize::MAX { 0 } else { len };
                let link = &mut self.links[socket.link];
                if link.ends[1 - socket.side] != End::Gone && !link.broken {
                    link.pipes[1 - socket.side].extend(&out[..len]);
                }
            }
        }
    }
}

enum Drive {
    Read(ConnectionId),
    End(ConnectionId),
    Failed(ConnectionId),
    Timeout,
    Wake,
}

enum Effect {
    Dial(ConnectionId, String),
    Answered(ConnectionId),
    Closed(ConnectionId),
    /// The driver has stopped before there was nothing left to do.
    Again(Option<ConnectionId>),
}

impl<S, C> Host<S, C>
where
    S: Storage,
    C: Channel<Start: Default>,
{
    fn new(config: &NodeConfig, id: &str, number: u64) -> Self {
        let own_id = PeerId::new(id).expect("ids are ids");
        let mut node = Node::new(config, own_id, number, BlockList::new(&config.router));
        let registered: Result<_, RegisterError> = node.directory_mut().register_space(SPACE);
        registered.expect("every tier has room for one space");
        Self {
            node,
            url: format!("ws://10.0.0.{number}:80/{id}"),
            now: Instant::ZERO,
            told: Vec::new(),
            answers: Answers::default(),
            room: usize::MAX,
            patience: usize::MAX,
            on_told: None,
            sockets: BTreeMap::new(),
            touched: true,
        }
    }

    /// Handles one input: tells the application, answers questions, and collects what concerns the sockets.
    fn handle(&mut self, drive: Drive, effects: &mut Vec<Effect>) {
        let mut unread = Vec::new();
        let mut reads = None;
        let input = match drive {
            Drive::Read(connection) => {
                let Some(socket) = self.sockets.get_mut(&connection) else { return };
                unread = core::mem::take(&mut socket.unread);
                reads = Some(connection);
                Input::Bytes { connection, bytes: &mut unread }
            }
            Drive::End(connection) => Input::End(connection),
            Drive::Failed(connection) => Input::Failed(connection),
            Drive::Timeout => Input::Timeout,
            Drive::Wake => Input::Wake,
        };
        let mut asked: Vec<(ConnectionId, QuestionId, Asked)> = Vec::new();
        let mut left = self.patience;
        let mut actions = self.node.handle(self.now, input);
        while left > 0 {
            let Some((action, mut ops)) = actions.next_with() else { break };
            left -= 1;
            let url = |peer| ops.peer(peer).map(|peer| peer.url.to_owned()).unwrap_or_default();
            let mut on = None;
            let told = match action {
                Action::Dial { connection, peer } => {
                    effects.push(Effect::Dial(connection, url(peer)));
                    continue;
                }
                Action::Ask { connection, id, question } => {
                    asked.push((connection, id, Asked::of(question)));
                    continue;
                }
                Action::PeerUp { peer, .. } => Told::Up(url(peer)),
                Action::PeerDown { peer, unknown, cause, .. } => Told::Down(url(peer), unknown, cause),
                Action::Unresponsive { peer } => Told::Unresponsive(url(peer)),
                Action::NotSent { message, cause } => {
                    let data = ops.given_up().map(|message| message.data.to_vec()).unwrap_or_default();
                    Told::NotSent(message, cause, data)
                }
                Action::Notify { connection, data, .. } => {
                    on = Some(connection);
                    let peer = ops.peer_of(connection).map(url).unwrap_or_default();
                    Told::Message(peer, data.to_vec())
                }
                Action::Closed { connection, reason, .. } => {
                    effects.push(Effect::Closed(connection));
                    Told::Rejected(reason)
                }
                _ => continue,
            };
            if let Some(on_told) = self.on_told {
                on_told(&told, on, &mut ops);
            }
            self.told.push(told);
        }
        if left == 0 {
            effects.push(Effect::Again(reads));
        }
        let (taken, wants) = actions.finish();
        if let (Some(connection), Some(socket)) = (reads, reads.and_then(|id| self.sockets.get_mut(&id))) {
            socket.unread = unread.split_off(taken);
            assert!(
                socket.unread.is_empty() || wants != Wants::Bytes || taken > 0 || left == 0,
                "{connection:?} is stuck"
            );
        }
        for (connection, id, question) in asked {
            let own_url = PeerUrl::parse(&self.url, &UrlRules::default()).expect("hosts have URLs");
            let answer = match question {
                Asked::Gather => Answer::Preflight { own_url, data: b"hello" },
                Asked::Validate if self.answers.refuse_preflights > 0 => {
                    self.answers.refuse_preflights -= 1;
                    Answer::Refuse
                }
                Asked::Admit if self.answers.refuse_admissions > 0 => {
                    self.answers.refuse_admissions -= 1;
                    Answer::Refuse
                }
                _ => Answer::Accept,
            };
            // The connection may have ended since it asked.
            if self.node.answer(self.now, connection, id, answer).is_ok() {
                effects.push(Effect::Answered(connection));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Gather,
    Validate,
    Admit,
    Other,
}

impl Asked {
    fn of(question: Question<'_>) -> Self {
        match question {
            Question::GatherPreflight { .. } => Self::Gather,
            Question::ValidatePreflight { .. } => Self::Validate,
            Question::AdmitPeer { .. } => Self::Admit,
            _ => Self::Other,
        }
    }
}

/// The first frame of a pipe, or all of it if there is no whole one.
fn take_frame(pipe: &mut VecDeque<u8>) -> Vec<u8> {
    let len = pipe.iter().skip(1).take(4).fold(0, |len, &byte| len << 8 | usize::from(byte)) + 5;
    pipe.drain(..len.min(pipe.len())).collect()
}
