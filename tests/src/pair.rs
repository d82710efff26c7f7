//! Two connections driven against each other, or one against a script, on a virtual clock.

use alloc::collections::VecDeque;
use core::time::Duration;

use kitfox_core::connection::{
    Action, Answer, Channel, CloseReason, Connection, Input, Plain, Question, QuestionId, Refusal, SendError,
    Wants,
};
use kitfox_core::router::Directory;
use kitfox_core::storage::Storage;
use kitfox_core::wire::{PeerUrl, UrlRules};
use kitfox_core::{Config, Instant, RouterLimits};

use crate::script::{Act, Rules};

/// The dialler's URL.
pub const ALICE: &str = "ws://127.0.0.1:9000/alice";
/// The acceptor's URL.
pub const BOB: &str = "ws://127.0.0.1:9001/bob";
/// The space that both sides have registered...
pub const SPACE: &[u8] = b"garden";
/// ...with this module.
pub const MODULE: &str = "moss";

/// More rounds than any finite exchange of these tests needs: a livelock fails instead of hanging.
const MAX_ROUNDS: usize = 1_000_000;

/// Parses a URL that a test wrote.
pub fn peer_url(text: &str) -> PeerUrl<'_> {
    PeerUrl::parse(text, &UrlRules::default()).expect("a peer URL")
}

/// Sizes of consecutive chunks.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums)] // tests choose among them
pub enum Chunks {
    /// Everything at once.
    Whole,
    /// All of this size.
    Each(usize),
    /// These, and then everything.
    These(VecDeque<usize>),
    /// Sizes from 1 to the second number, which the first one seeds.
    Seeded(u64, usize),
}

impl Chunks {
    /// The size of the next chunk of what is `left`. Never zero unless nothing is left.
    pub fn next(&mut self, left: usize) -> usize {
        let size = match self {
            Self::Whole => left,
            Self::Each(size) => *size,
            Self::These(sizes) => sizes.pop_front().unwrap_or(left),
            Self::Seeded(seed, max) => {
                *seed = splitmix(*seed);
                1 + (*seed >> 33) as usize % (*max).max(1)
            }
        };
        size.max(1).min(left)
    }
}

fn splitmix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A question, by its place in the life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // tests name them
pub enum Stage {
    /// `Randomness`.
    Randomness,
    /// `AdmitHandshake`.
    Handshake,
    /// `AdmitPeer`.
    Admit,
    /// `HasLocalAgents`.
    LocalAgents,
    /// `GatherPreflight`.
    Gather,
    /// `ValidatePreflight` at the gate.
    Validate,
    /// `ValidatePreflight` on an open connection.
    Revalidate,
}

impl Stage {
    /// The questions of the gate.
    pub const GATE: [Self; 4] = [Self::Admit, Self::LocalAgents, Self::Gather, Self::Validate];

    /// Why a connection closes that is refused here.
    pub fn refusal(self) -> CloseReason {
        CloseReason::Refused(match self {
            Self::Randomness | Self::Handshake => Refusal::Handshake,
            Self::Admit => Refusal::Admission,
            Self::LocalAgents => Refusal::NoLocalAgents,
            Self::Gather => Refusal::Gather,
            Self::Validate | Self::Revalidate => Refusal::Preflight,
        })
    }
}

/// What a side does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // tests choose among them
pub enum Reply {
    /// Yes, at once.
    Accept,
    /// No, at once.
    Refuse,
    /// Yes, after this time.
    After(Duration),
    /// Nothing.
    Never,
}

/// How many actions a driver takes from one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // tests choose among them
pub enum Pace {
    /// All of them.
    All,
    /// One; then it finishes and shows the bytes that were not taken again.
    One,
}

/// One end: a connection and the driver that a real adapter would be.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // tests reach into everything
pub struct Side<S: Storage, C: Channel = Plain> {
    /// The connection.
    pub connection: Connection<S, C>,
    /// What is registered.
    pub directory: Directory<S, Rules>,
    /// Our URL and our preflight data.
    pub own: (String, Vec<u8>),
    /// What is done with this question; all others are accepted at once.
    pub reply: Option<(Stage, Reply)>,
    /// A handler refuses messages with this data.
    pub refuse_data: Option<Vec<u8>>,
    /// How much of what has arrived a read shows.
    pub shown: Chunks,
    /// How many actions are taken from one read.
    pub pace: Pace,
    /// What has arrived and was not taken.
    pub inbox: Vec<u8>,
    /// Every action so far.
    pub acts: Vec<Act>,
    /// What the connection wanted last.
    pub wants: Wants,
    /// The question that is open, and when it will be answered.
    pub question: Option<(QuestionId, Stage, Option<Instant>)>,
    /// Bytes are pulled with `transmit_slices` instead of `transmit`.
    pub vectored: bool,
    /// What is answered when randomness is asked for: the same for each connection, so that runs repeat.
    pub randomness: [u8; 32],
    /// How many steps of a handshake were taken.
    pub works: usize,
}

impl<S: Storage> Side<S> {
    /// Alice, who dials Bob.
    pub fn dial(now: Instant, config: &Config) -> Self {
        let connection = Connection::dial(now, config, peer_url(BOB)).expect("a dialable URL");
        Self::new(connection, ALICE, b"hello")
    }

    /// Bob, who is dialled.
    pub fn accept(now: Instant, config: &Config) -> Self {
        Self::new(Connection::accept(now, config), BOB, b"world")
    }
}

impl<S: Storage, C: Channel> Side<S, C> {
    /// Drives `connection` in the name of `own_url`.
    pub fn new(connection: Connection<S, C>, own_url: &str, preflight: &[u8]) -> Self {
        let mut directory = Directory::new(&RouterLimits::HOST, Rules::default());
        directory.register_space(SPACE).expect("room for a space");
        directory.register_module(SPACE, MODULE).expect("room for a module");
        Self {
            connection,
            directory,
            own: (own_url.into(), preflight.into()),
            reply: None,
            refuse_data: None,
            shown: Chunks::Whole,
            pace: Pace::All,
            inbox: Vec::new(),
            acts: Vec::new(),
            wants: Wants::Bytes,
            question: None,
            vectored: false,
            randomness: [preflight.first().copied().unwrap_or(7); 32],
            works: 0,
        }
    }

    /// Lets `bytes` arrive, does all there is to do, and returns the actions.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Act> {
        let seen = self.acts.len();
        self.inbox.extend_from_slice(bytes);
        self.run(now);
        self.acts[seen..].to_vec()
    }

    /// Tells the connection of something other than bytes, does all there is to do, and returns the actions.
    pub fn tell(&mut self, now: Instant, input: Input<'_>) -> Vec<Act> {
        let seen = self.acts.len();
        self.round(now, Some(input));
        self.run(now);
        self.acts[seen..].to_vec()
    }

    /// Does all there is to do without more bytes or answers.
    pub fn run(&mut self, now: Instant) {
        for _ in 0..MAX_ROUNDS {
            if !self.round(now, None) {
                return;
            }
        }
        panic!("the driver never comes to rest");
    }

    /// One read; returns whether anything came of it.
    fn round(&mut self, now: Instant, input: Option<Input<'_>>) -> bool {
        let shown = if input.is_some() { 0 } else { self.shown.next(self.inbox.len()) };
        let mut exhausted = true;
        let seen = self.acts.len();
        let mut actions =
            self.connection.handle(now, input.unwrap_or(Input::Bytes(&mut self.inbox[..shown])));
        while let Some(action) = actions.next(&self.directory) {
            let open = self.acts.iter().any(|act| matches!(act, Act::Opened { .. }));
            let act = Act::of(&action);
            assert!(!matches!(self.acts.last(), Some(Act::Closed { .. })), "{act:?} after the end");
            let mut refuse = false;
            match action {
                Action::Ask { id, question } => {
                    assert!(self.question.is_none(), "{act:?} while another question is open");
                    self.question = Some((id, stage(&question, open), None));
                }
                Action::Notify { to, space, data, .. } => {
                    assert_eq!(self.directory.space(space), Some(to));
                    refuse = self.refuse_data.as_deref() == Some(data);
                }
                Action::Module { to, space, module, data, .. } => {
                    let space = self.directory.space(space).expect("a registered space");
                    assert_eq!(self.directory.module(space, module.as_str()), Some(to));
                    refuse = self.refuse_data.as_deref() == Some(data);
                }
                Action::Closed { .. } => self.question = None,
                _ => {}
            }
            let at_gate = matches!(act, Act::Opened { .. } | Act::Closed { .. }) || act.is_question();
            assert!(open || at_gate, "{act:?} before the gate is open");
            self.acts.push(act);
            if refuse {
                actions.close(CloseReason::Refused(Refusal::Handler));
            }
            if self.pace == Pace::One {
                exhausted = false;
                break;
            }
        }
        let (taken, wants) = actions.finish();
        if exhausted && wants == Wants::Bytes {
            assert_eq!(taken, shown, "a connection that wants bytes leaves some");
        }
        assert_eq!(wants == Wants::Answer, self.question.is_some(), "wants {wants:?}");
        self.inbox.drain(..taken);
        self.wants = wants;
        if wants == Wants::Work {
            self.connection.work(now);
            self.works += 1;
            return true;
        }
        let came = self.acts.len() > seen || taken > 0;
        self.answer(now) || (came && wants != Wants::Answer)
    }

    /// Answers the open question, if it is time to.
    fn answer(&mut self, now: Instant) -> bool {
        let Some((id, stage, due)) = self.question else { return false };
        let reply = self.reply.filter(|(at, _)| *at == stage).map_or(Reply::Accept, |(_, reply)| reply);
        let accept = match reply {
            Reply::Accept => true,
            Reply::Refuse => false,
            Reply::Never => return false,
            Reply::After(delay) => {
                let due = due.unwrap_or(now + delay);
                self.question = Some((id, stage, Some(due)));
                if now < due {
                    return false;
                }
                true
            }
        };
        let answer = match (accept, stage) {
            (false, _) => Answer::Refuse,
            (true, Stage::Randomness) => Answer::Randomness(&self.randomness),
            (true, Stage::Gather) => Answer::Preflight { own_url: peer_url(&self.own.0), data: &self.own.1 },
            (true, _) => Answer::Accept,
        };
        self.connection.answer(now, id, answer).expect("the question is open");
        self.question = None;
        true
    }

    /// Everything that waits to be written.
    pub fn written(&mut self, now: Instant) -> Vec<u8> {
        let mut all = Vec::new();
        while self.pull(now, usize::MAX, &mut all) > 0 {}
        all
    }

    /// Moves up to `max` bytes that wait to be written to the end of `out`.
    pub fn pull(&mut self, now: Instant, max: usize, out: &mut impl Extend<u8>) -> usize {
        if self.vectored {
            let write = |pieces: &[&[u8]]| {
                let bytes: Vec<u8> = pieces.concat().into_iter().take(max).collect();
                let len = bytes.len();
                out.extend(bytes);
                Ok::<_, core::convert::Infallible>(len)
            };
            let Ok(len) = self.connection.tx_mut().transmit_slices(now, write);
            return len;
        }
        let mut buffer = vec![0; max.min(self.connection.tx().pending().max(1) + 64)];
        let len = self.connection.transmit(now, &mut buffer);
        out.extend(buffer[..len].iter().copied());
        len
    }

    /// Sends a message to the space that both sides have.
    ///
    /// # Errors
    /// Those of [`Connection::notify`].
    pub fn notify(&mut self, now: Instant, data: &[u8]) -> Result<(), SendError> {
        self.connection.notify(now, &self.directory, SPACE, data)
    }

    /// Why the connection ended, if the driver was told so.
    pub fn closed(&self) -> Option<CloseReason> {
        match self.acts.last() {
            Some(Act::Closed { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    /// Whether the driver was ever told that the gate is open.
    pub fn opened(&self) -> bool {
        self.acts.iter().any(|act| matches!(act, Act::Opened { .. }))
    }

    /// The data of the NOTIFY messages that were delivered, as [`text`](crate::script::text).
    pub fn notified(&self) -> Vec<&str> {
        let mut notified = Vec::new();
        for act in &self.acts {
            if let Act::Notify { data, .. } = act {
                notified.push(data.as_str());
            }
        }
        notified
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.question.and_then(|(_, _, due)| due);
        [self.connection.poll_timeout(), due].into_iter().flatten().min()
    }
}

fn stage(question: &Question<'_>, open: bool) -> Stage {
    match question {
        Question::Randomness => Stage::Randomness,
        Question::AdmitHandshake { .. } => Stage::Handshake,
        Question::AdmitPeer { .. } => Stage::Admit,
        Question::HasLocalAgents => Stage::LocalAgents,
        Question::GatherPreflight { .. } => Stage::Gather,
        Question::ValidatePreflight { .. } if open => Stage::Revalidate,
        Question::ValidatePreflight { .. } => Stage::Validate,
        other => panic!("unknown question {other:?}"),
    }
}

/// One direction of a byte stream.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // tests reach into everything
pub struct Link {
    /// How much goes in at once.
    pub writes: Chunks,
    /// How much comes out at once.
    pub reads: Chunks,
    /// Nothing goes in or comes out.
    pub stalled: bool,
    /// On their way.
    pub bytes: VecDeque<u8>,
    /// Everything that ever went in.
    pub log: Vec<u8>,
    /// The writer has closed its end...
    ended: bool,
    /// ...and the reader knows.
    told: bool,
}

impl Link {
    fn new() -> Self {
        Self {
            writes: Chunks::Whole,
            reads: Chunks::Whole,
            stalled: false,
            bytes: VecDeque::new(),
            log: Vec::new(),
            ended: false,
            told: false,
        }
    }

    /// Cuts bytes in both places by `chunks`.
    pub fn chunks(&mut self, chunks: &Chunks) {
        (self.writes, self.reads) = (chunks.clone(), chunks.clone());
    }

    fn turn<S: Storage, C: Channel>(
        &mut self,
        now: Instant,
        from: &mut Side<S, C>,
        to: &mut Side<S, C>,
    ) -> bool {
        if self.stalled {
            return false;
        }
        let room = self.writes.next(usize::MAX);
        let mut written = Vec::new();
        let len = from.pull(now, room, &mut written);
        self.log.extend_from_slice(&written);
        self.bytes.extend(written);
        self.ended |= from.wants == Wants::Nothing && from.connection.tx().pending() == 0;
        // A reader takes nothing from the socket while what it has is not taken.
        let mut moved = len > 0;
        if to.inbox.is_empty() && !self.bytes.is_empty() {
            let len = self.reads.next(self.bytes.len());
            to.inbox.extend(self.bytes.drain(..len));
            moved = true;
        } else if self.ended && !self.told && to.inbox.is_empty() && to.wants == Wants::Bytes {
            self.told = true;
            to.tell(now, Input::End);
            moved = true;
        }
        if to.wants == Wants::Nothing {
            to.inbox.clear();
        }
        moved
    }
}

/// Two sides, and the links between them.
///
/// Set knobs, then [`drive`](Self::drive) or [`advance`](Self::advance), then look at [`Side::acts`].
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // tests reach into everything
pub struct Pair<S: Storage, C: Channel = Plain> {
    /// The dialler.
    pub a: Side<S, C>,
    /// The acceptor.
    pub b: Side<S, C>,
    /// The virtual clock.
    pub now: Instant,
    /// From dialler to acceptor.
    pub a_to_b: Link,
    /// From acceptor to dialler.
    pub b_to_a: Link,
}

impl<S: Storage> Pair<S> {
    /// Alice dials Bob over plain connections; nothing has happened yet.
    pub fn new(config: &Config) -> Self {
        Self::of(Side::dial(Instant::ZERO, config), Side::accept(Instant::ZERO, config))
    }

    /// A pair whose gates are open.
    pub fn open(config: &Config) -> Self {
        let mut pair = Self::new(config);
        pair.drive();
        assert!(pair.a.opened() && pair.b.opened());
        pair
    }
}

impl<S: Storage, C: Channel> Pair<S, C> {
    /// Joins two sides.
    pub fn of(a: Side<S, C>, b: Side<S, C>) -> Self {
        Self { a, b, now: Instant::ZERO, a_to_b: Link::new(), b_to_a: Link::new() }
    }

    /// The dialler or the acceptor.
    pub fn side(&mut self, dialler: bool) -> &mut Side<S, C> {
        if dialler { &mut self.a } else { &mut self.b }
    }

    /// Both links cut bytes by `chunks`.
    pub fn chunks(&mut self, chunks: &Chunks) {
        self.a_to_b.chunks(chunks);
        self.b_to_a.chunks(chunks);
    }

    /// Moves bytes until nothing moves any more. Time stands still.
    pub fn drive(&mut self) {
        for _ in 0..MAX_ROUNDS {
            self.a.run(self.now);
            self.b.run(self.now);
            let there = self.a_to_b.turn(self.now, &mut self.a, &mut self.b);
            let back = self.b_to_a.turn(self.now, &mut self.b, &mut self.a);
            if !there && !back {
                return;
            }
        }
        panic!("the pair never comes to rest");
    }

    /// Lets time pass: from deadline to deadline, with everything that follows from each.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        self.drive();
        for _ in 0..MAX_ROUNDS {
            match [self.a.deadline(), self.b.deadline()].into_iter().flatten().min() {
                Some(due) if due <= end => self.now = self.now.max(due),
                _ => {
                    self.now = end;
                    return;
                }
            }
            for side in [&mut self.a, &mut self.b] {
                if side.deadline().is_some_and(|due| due <= self.now) {
                    side.tell(self.now, Input::Timeout);
                    let next = side.connection.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "a timer does not move: {next:?}");
                }
            }
            self.drive();
        }
        panic!("timers never end");
    }
}

/// Opens a pair, sends messages of several lengths both ways and says goodbye; returns what both sides told.
pub fn exchange<S: Storage, C: Channel>(mut pair: Pair<S, C>) -> [Vec<Act>; 2] {
    pair.drive();
    for len in [0, 1, 5, 300, 4000] {
        pair.a.notify(pair.now, &vec![b'a'; len]).expect("room for a message");
        pair.b.notify(pair.now, &vec![b'b'; len]).expect("room for a message");
    }
    pair.drive();
    pair.a.tell(pair.now, Input::Disconnect { reason: b"done" });
    pair.drive();
    [pair.a.acts, pair.b.acts]
}
