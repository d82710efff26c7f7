//! Whole nodes over the secured channel, driven by hand.

use core::time::Duration;

use kitfox_core::Instant;
use kitfox_core::connection::{Answer, NotDialable, Question, Wants};
use kitfox_core::node::{Action, ConnectionId, Input, Node, NodeConfig, NotSentCause, SendError};
use kitfox_core::router::BlockList;
use kitfox_core::secure::{Secured, Start};
use kitfox_core::storage::{Heap, HeapBuffer};
use kitfox_core::{Config, PeerId};
use kitfox_tests::pair::peer_url;

use crate::common::{ALICE, BOB, credentials, id};

type Channel = Secured<HeapBuffer>;

const SPACE: &[u8] = b"garden";

/// More actions than any input of these tests has: a node that tells the same for ever fails instead of hanging.
const MANY: usize = 1000;

fn secured_url(id: PeerId) -> String {
    format!("wss://127.0.0.1:9000/{id}")
}

/// A node with one connection at a time, and what it told.
struct Party {
    node: Node<Heap, BlockList<Heap>, Channel>,
    seed: u8,
    now: Instant,
    connection: Option<ConnectionId>,
    /// Bytes that were shown and not taken.
    unread: Vec<u8>,
    dials: Vec<ConnectionId>,
    heard: Vec<String>,
    not_sent: Vec<(u64, NotSentCause)>,
    up: bool,
}

impl Party {
    fn new(seed: u8, max_frame_bytes: usize) -> Self {
        let config = NodeConfig {
            connection: Config { max_frame_bytes, ..Config::HOST },
            idle_probe: Some(Duration::from_secs(30)),
            ..NodeConfig::HOST
        };
        let mut node = Node::new(&config, id(seed), seed.into(), BlockList::new(&config.router));
        node.directory_mut().register_space(SPACE).unwrap();
        let (heard, not_sent) = (Vec::new(), Vec::new());
        let now = Instant::ZERO;
        Self {
            node,
            seed,
            now,
            connection: None,
            unread: Vec::new(),
            dials: Vec::new(),
            heard,
            not_sent,
            up: false,
        }
    }

    fn send(&mut self, to: PeerId, data: &[u8]) -> Result<(), SendError> {
        let to = secured_url(to);
        self.node.ops(self.now).notify(peer_url(&to), SPACE, data).map(drop)?;
        self.run(Input::Wake, MANY);
        Ok(())
    }

    /// Handles an input and takes so many actions of it; then what the connection wants.
    fn run(&mut self, input: Input<'_>, most: usize) -> (usize, Wants) {
        let mut asked = Vec::new();
        let mut actions = self.node.handle(self.now, input);
        for _ in 0..most {
            let Some(action) = actions.next() else { break };
            match action {
                Action::Ask { connection, id, question } => {
                    asked.push((
                        connection,
                        id,
                        match question {
                            Question::Randomness => 0,
                            Question::GatherPreflight { .. } => 1,
                            _ => 2,
                        },
                    ));
                }
                Action::Dial { connection, .. } => self.dials.push(connection),
                Action::Notify { data, .. } => self.heard.push(String::from_utf8_lossy(data).into_owned()),
                Action::NotSent { message, cause } => self.not_sent.push((message.number, cause)),
                Action::PeerUp { .. } => self.up = true,
                Action::PeerDown { .. } => self.up = false,
                _ => {}
            }
        }
        let finished = actions.finish();
        let (own_url, randomness) = (secured_url(id(self.seed)), [self.seed; 32]);
        for (connection, id, kind) in asked {
            let answer = match kind {
                0 => Answer::Randomness(&randomness),
                1 => Answer::Preflight { own_url: peer_url(&own_url), data: b"" },
                _ => Answer::Accept,
            };
            self.node.answer(self.now, connection, id, answer).unwrap();
        }
        finished
    }

    /// Everything that can be done with the bytes that are there.
    fn read(&mut self) {
        let Some(connection) = self.connection else { return };
        for _ in 0..1000 {
            let mut bytes = core::mem::take(&mut self.unread);
            let before = self.heard.len();
            let (taken, wants) = self.run(Input::Bytes { connection, bytes: &mut bytes }, MANY);
            bytes.drain(..taken);
            self.unread = bytes;
            match wants {
                Wants::Work => self.node.work(self.now, connection),
                Wants::Answer | Wants::Again => {}
                _ if taken > 0 || self.heard.len() > before => {}
                _ => return,
            }
        }
        panic!("it never comes to rest");
    }

    fn written(&mut self) -> Vec<u8> {
        let Some(connection) = self.connection else { return Vec::new() };
        let mut all = Vec::new();
        let mut out = [0; 4096];
        loop {
            match self.node.transmit(self.now, connection, &mut out) {
                0 => return all,
                len => all.extend_from_slice(&out[..len]),
            }
        }
    }

    /// Deadlines that have come.
    fn tick(&mut self) {
        for _ in 0..MANY {
            if self.node.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            self.run(Input::Timeout, MANY);
        }
        panic!("a deadline never goes");
    }
}

/// Both ways, until nothing moves.
fn settle(alice: &mut Party, bob: &mut Party) {
    for _ in 0..20 {
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *alice, &mut *bob) } else { (&mut *bob, &mut *alice) };
            from.read();
            from.tick();
            let bytes = from.written();
            to.unread.extend(bytes);
        }
    }
}

/// Alice has dialled Bob, who takes frames of so many bytes.
fn connected(first: &[&[u8]], bobs_frames: usize) -> (Party, Party) {
    let (mut alice, mut bob) = (Party::new(ALICE, 1 << 20), Party::new(BOB, bobs_frames));
    for data in first {
        alice.send(id(BOB), data).unwrap();
    }
    let dial = alice.dials.pop().expect("she dials");
    let channel = Start::dial(&credentials(ALICE), &id(BOB)).unwrap();
    alice.node.connected(alice.now, dial, channel).unwrap();
    alice.connection = Some(dial);
    bob.connection = Some(bob.node.accept(bob.now, Start::accept(&credentials(BOB))).unwrap());
    settle(&mut alice, &mut bob);
    assert!(alice.up && bob.up);
    (alice, bob)
}

#[test]
fn a_message_reaches_a_node_that_was_dialled_for_it() {
    let (_, bob) = connected(&[b"it rains"], 1 << 20);
    assert_eq!(bob.heard, ["it rains"]);
}

/// Several messages lie opened in a record that came in pieces; a deadline comes between two of them, and the node
/// looks at the connection without any of its bytes.
#[test]
fn a_look_at_a_connection_takes_nothing_of_a_record_that_it_holds() {
    let (mut alice, mut bob) = connected(&[b"first"], 1 << 20);
    for data in [&b"one"[..], b"two", b"three"] {
        alice.send(id(BOB), data).unwrap();
    }
    let mut record = alice.written();
    let connection = bob.connection.unwrap();
    // In two pieces, so that the record is put together inside, and only one message is taken.
    let mut rest = record.split_off(7);
    let (taken, _) = bob.run(Input::Bytes { connection, bytes: &mut record }, MANY);
    assert_eq!(taken, 7);
    let (taken, _) = bob.run(Input::Bytes { connection, bytes: &mut rest }, 1);
    assert_eq!((taken, bob.heard.last().map(String::as_str)), (rest.len(), Some("one")));
    // The probe of an idle connection, for one.
    bob.now = bob.now + Duration::from_secs(31);
    bob.tick();
    bob.read();
    assert_eq!(bob.heard, ["first", "one", "two", "three"], "each once, and in order");
}

#[test]
fn what_waited_for_a_peer_that_does_not_take_it_is_handed_back_and_the_rest_arrives() {
    let long = vec![b'x'; 500];
    let (mut alice, mut bob) = connected(&[&long, b"one", &long, &long, b"two"], 300);
    settle(&mut alice, &mut bob);
    assert_eq!(bob.heard, ["one", "two"]);
    assert_eq!(alice.not_sent, [0, 2, 3].map(|number| (number, NotSentCause::TooLargeForPeer)));
    assert!(alice.up && bob.up, "the connection stays");
    // From now on it is refused at once.
    assert!(alice.send(id(BOB), &long).is_err());
    alice.send(id(BOB), b"three").unwrap();
    settle(&mut alice, &mut bob);
    assert_eq!(bob.heard.last().map(String::as_str), Some("three"));
}

#[test]
fn a_peer_is_proven_while_it_is_up() {
    let (mut alice, _) = connected(&[b"it rains"], 1 << 20);
    let key = alice.node.peers().peer(&id(BOB)).unwrap();
    assert!(alice.node.peer(key).unwrap().proven);
    assert!(alice.node.ops(Instant::ZERO).peer(key).unwrap().proven);
    // Whom we only mean to dial has proven nothing.
    alice.send(id(3), b"who is there?").unwrap();
    let key = alice.node.peers().peer(&id(3)).unwrap();
    assert!(!alice.node.peer(key).unwrap().proven);
}

#[test]
fn what_a_secured_node_cannot_dial_is_refused_up_front() {
    let mut alice = Party::new(ALICE, 1 << 20);
    let mut send = |url: &str| alice.node.ops(Instant::ZERO).notify(peer_url(url), SPACE, b"").map(drop);
    for (url, error) in [
        (format!("ws://a:1/{}", id(BOB)), NotDialable::PlainUrl),
        ("wss://a:1/bob".into(), NotDialable::NoKey),
        (format!("wss://a:1/02{}", "00".repeat(31)), NotDialable::NoKey),
        (format!("wss://a:0/{}", id(BOB)), NotDialable::PortZero),
    ] {
        assert_eq!(send(&url), Err(SendError::NotDialable(error)), "{url}");
    }
    assert_eq!(send(&secured_url(id(BOB))), Ok(()));
    // A second URL of a peer that waits for its dial is looked at, too.
    assert_eq!(send(&format!("ws://a:1/{}", id(BOB))), Err(SendError::NotDialable(NotDialable::PlainUrl)));
}

#[test]
fn a_plain_node_dials_no_secured_url() {
    let config = NodeConfig::HOST;
    let mut node = Node::<Heap, _>::new(&config, id(ALICE), 1, BlockList::<Heap>::new(&config.router));
    node.directory_mut().register_space(SPACE).unwrap();
    let url = secured_url(id(BOB));
    let sent = node.ops(Instant::ZERO).notify(peer_url(&url), SPACE, b"").map(drop);
    assert_eq!(sent, Err(SendError::NotDialable(NotDialable::SecuredUrl)));
}
