//! Plain channels, on which an id is only claimed; and peers that know nothing of our rules, driven by hand.
//!
//! Legacy mode (scenarios 17 and 18 of `docs/connections.md`) belongs to carriers that real Kitsune2 nodes speak; there
//! is none yet. A node of their kind on our TCP gets what is tested here: bounds.

mod tiers;

use core::time::Duration;

use kitfox_core::connection::{Answer, CloseReason, Question, QuestionId, SUPERSEDED, Timeout};
use kitfox_core::node::{Action, ConnectionId, ConnectionState, DownCause, Input, Node};
use kitfox_core::router::BlockList;
use kitfox_core::storage::Storage;
use kitfox_core::wire::{Message, PeerUrl, UrlRules};
use kitfox_core::{ApiMisuse, Instant, PeerId, ProtocolError};
use kitfox_tests::world::Event::{Accept, Connect, Deliver, Notice, Tick};
use kitfox_tests::world::{SPACE, Told, World};
use tiers::*;

both_tiers![
    a_claim_does_not_displace_a_live_connection,
    a_claim_is_answered_when_the_open_connection_has_ended,
    the_latest_claim_is_the_one_that_waits,
    a_peer_that_never_confirms_is_let_go_and_dialled,
    a_peer_that_confirms_with_a_message_is_heard,
    a_peer_that_answers_and_never_closes_is_used,
    both_connections_of_a_peer_without_rules_end_in_one,
    data_on_a_held_connection_waits,
    a_dialled_peer_that_is_another_one_changes_nothing_for_that_one,
    a_late_answer_is_misuse,
    an_answer_that_never_comes_closes,
    a_peer_that_always_says_that_another_one_stays_is_given_up,
    a_dial_that_was_answered_in_time_has_the_time_of_the_gate,
    what_is_due_at_the_same_moment_comes_in_order,
];

type Plain = kitfox_core::connection::Plain;

/// S and L are up on link 0; node 2 claims to be S.
fn with_stranger<T: Storage>() -> World<T, Plain> {
    let mut world = World::new(&config(), &["a", "b", "a"]);
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    for host in &mut world.hosts {
        host.told.clear();
    }
    world
}

/// Scenario 16.
fn a_claim_does_not_displace_a_live_connection<T: Storage>() {
    let mut world = with_stranger::<T>();
    world.send(2, L, b"I am S").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Held]);
    assert!(world.events().contains(&Deliver(0, 0)), "the open one is probed");
    world.send(S, L, b"still here").unwrap();
    world.send(L, S, b"so am I").unwrap();
    settle(&mut world);
    assert_eq!(states(&world, 2), [ConnectionState::Sent]);
    // Its time is over.
    while states(&world, L).len() > 1 {
        assert!(world.step(Tick(L)));
    }
    settle(&mut world);
    assert_eq!(world.hosts[S].told, [message(URL_L, b"so am I")]);
    let late = Told::Rejected(CloseReason::Timeout(Timeout::Preflight));
    assert_eq!(world.hosts[L].told, [message(URL_S, b"still here"), late]);
    assert_connected(&world);
}

fn a_claim_is_answered_when_the_open_connection_has_ended<T: Storage>() {
    let mut world = World::<T, Plain>::new(&config(), &["a", "b"]);
    world.send(S, L, b"hello").unwrap();
    settle(&mut world);
    world.hosts[L].told.clear();
    world.hosts[S].url = "ws://10.7.7.7:70/a".into();
    world.restart(&config(), S, false);
    world.send(S, L, b"again").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Held]);
    // The probe is answered by a reset.
    go(&mut world, &[Notice(0, 1)]);
    settle(&mut world);
    let failed = CloseReason::Failed;
    let moved = "ws://10.7.7.7:70/a";
    assert_eq!(
        world.hosts[L].told,
        [
            Told::Rejected(failed),
            down(URL_S, None, DownCause::Ended(failed)),
            up(moved),
            message(moved, b"again"),
        ]
    );
    assert_connected(&world);
}

fn the_latest_claim_is_the_one_that_waits<T: Storage>() {
    let mut world = with_stranger::<T>();
    world.send(2, L, b"I am S").unwrap();
    go(&mut world, &[Accept(1), Connect(1), Deliver(1, 1)]);
    world.restart(&config(), 2, false);
    world.send(2, L, b"I am S").unwrap();
    go(&mut world, &[Accept(2), Connect(2), Deliver(2, 1)]);
    assert_eq!(world.hosts[L].told, [Told::Rejected(CloseReason::Superseded)]);
    assert_eq!(states(&world, L), [ConnectionState::Open, ConnectionState::Held]);
    // S ends, and then its slot is the stranger's: a claimed id protects nothing more than that.
    world.disconnect(S, L, b"bye");
    settle(&mut world);
    assert!(
        world.hosts[L].told.iter().any(|told| matches!(told, Told::Message(_, data) if data == b"I am S"))
    );
}

/// A node whose sockets are this test.
struct Bench<T: Storage> {
    node: Node<T, BlockList<T>, Plain>,
    now: Instant,
    told: Vec<String>,
    dials: Vec<ConnectionId>,
    questions: Vec<(ConnectionId, QuestionId)>,
    answers: bool,
    /// Connections that may go on because they were answered.
    answered: Vec<ConnectionId>,
}

impl<T: Storage> Bench<T> {
    fn new(id: &str) -> Self {
        let mut config = config();
        config.peers.hold = Duration::from_secs(1);
        let policy = BlockList::new(&config.router);
        let mut node = Node::new(&config, PeerId::new(id).unwrap(), 1, policy);
        node.directory_mut().register_space(SPACE).unwrap();
        let (told, dials, questions) = (Vec::new(), Vec::new(), Vec::new());
        Self { node, now: Instant::ZERO, told, dials, questions, answers: true, answered: Vec::new() }
    }

    /// Shows bytes, and what follows from answers; returns what is written on `connection`. What is not taken is lost.
    fn handle(&mut self, connection: ConnectionId, mut bytes: Vec<u8>) -> Vec<u8> {
        let taken = self.input(Input::Bytes { connection, bytes: &mut bytes });
        bytes.drain(..taken);
        while self.show_again(connection, &mut bytes) {}
        self.written(connection)
    }

    /// Shows bytes again after an answer.
    fn show_again(&mut self, connection: ConnectionId, bytes: &mut Vec<u8>) -> bool {
        let answered = core::mem::take(&mut self.answered);
        for &other in answered.iter().filter(|&&other| other != connection) {
            self.input(Input::Bytes { connection: other, bytes: &mut [] });
        }
        if answered.contains(&connection) {
            let taken = self.input(Input::Bytes { connection, bytes });
            bytes.drain(..taken);
        }
        !answered.is_empty()
    }

    /// Handles one input and answers what is asked; returns how many bytes were taken.
    fn input(&mut self, input: Input<'_>) -> usize {
        let mut asked = Vec::new();
        let mut closed = Vec::new();
        let mut actions = self.node.handle(self.now, input);
        while let Some(action) = actions.next() {
            match action {
                Action::Dial { connection, .. } => self.dials.push(connection),
                Action::Ask { connection, id, question } => {
                    asked.push((connection, id, matches!(question, Question::GatherPreflight { .. })));
                }
                Action::Notify { data, .. } => self.told.push(format!("message {data:?}")),
                Action::Closed { connection, reason, .. } => {
                    closed.push(connection);
                    self.told.push(format!("closed {reason:?}"));
                }
                Action::PeerUp { .. } => self.told.push("up".into()),
                Action::PeerDown { .. } => self.told.push("down".into()),
                Action::Unresponsive { .. } => self.told.push("unresponsive".into()),
                Action::NotSent { .. } => self.told.push("not sent".into()),
                _ => {}
            }
        }
        let (taken, _) = actions.finish();
        let own_url = PeerUrl::parse("ws://10.0.0.9:80/m", &UrlRules::default()).unwrap();
        for (on, id, gather) in asked {
            self.questions.push((on, id));
            if self.answers {
                let preflight = Answer::Preflight { own_url, data: b"hi" };
                let answer = if gather { preflight } else { Answer::Accept };
                if self.node.answer(self.now, on, id, answer).is_ok() {
                    self.answered.push(on);
                }
            }
        }
        closed.into_iter().for_each(|closed| self.node.release(closed));
        taken
    }

    fn written(&mut self, connection: ConnectionId) -> Vec<u8> {
        let mut out = vec![0; 512];
        let len = self.node.transmit(self.now, connection, &mut out);
        out.truncate(len);
        out
    }

    fn accept(&mut self) -> ConnectionId {
        self.node.accept(self.now, ()).unwrap()
    }

    fn send(&mut self, url: &str, data: &[u8]) {
        let url = PeerUrl::parse(url, &UrlRules::default()).unwrap();
        self.node.ops(self.now).notify(url, SPACE, data).unwrap();
        self.input(Input::Wake);
    }

    /// Lets time pass to the deadline at which something happens.
    fn tick(&mut self) {
        let (told, states) = (self.told.len(), self.states());
        while (told, &states) == (self.told.len(), &self.states()) {
            self.now = self.now.max(self.node.poll_timeout().expect("something is to happen"));
            self.input(Input::Timeout);
            while let Some(on) = self.answered.pop() {
                self.input(Input::Bytes { connection: on, bytes: &mut [] });
            }
        }
    }

    fn states(&self) -> Vec<ConnectionState> {
        self.node.peers().connections().map(|(_, state)| state).collect()
    }
}

fn frame(ty: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![ty];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    bytes
}

fn preflight(url: &str) -> Vec<u8> {
    let mut payload = (url.len() as u32).to_be_bytes().to_vec();
    payload.extend(url.as_bytes());
    payload.extend(encoded(&Message::preflight(b"hi")));
    frame(0, &payload)
}

fn notify(data: &[u8]) -> Vec<u8> {
    frame(1, &encoded(&Message::notify(SPACE, data)))
}

const RAW: &str = "ws://10.0.0.8:80/c";

fn a_peer_that_never_confirms_is_let_go_and_dialled<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    let inbound = bench.accept();
    let answer = bench.handle(inbound, preflight(RAW));
    assert_eq!(answer[0], 0, "a preflight");
    assert_eq!(bench.states(), [ConnectionState::Offered]);
    bench.send(RAW, b"queued");
    assert_eq!(bench.written(inbound), Vec::<u8>::new());
    assert_eq!(bench.dials, []);
    bench.tick();
    assert_eq!(bench.told, ["closed Timeout(Preflight)"]);
    assert_eq!(bench.dials.len(), 1, "it is dialled when the offer has come to nothing");
    assert_eq!(bench.now, Instant::ZERO + config().connection.preflight_timeout);
}

fn a_peer_that_confirms_with_a_message_is_heard<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    let inbound = bench.accept();
    // A peer without a third leg writes as soon as it has written its preflight.
    bench.handle(inbound, [preflight(RAW), notify(b"one"), notify(b"two")].concat());
    assert_eq!(bench.told, ["up", "message [111, 110, 101]", "message [116, 119, 111]"]);
    bench.send(RAW, b"back");
    assert_eq!(bench.written(inbound), notify(b"back"));
}

fn a_peer_that_answers_and_never_closes_is_used<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.send(RAW, b"hello");
    let dialled = bench.dials[0];
    bench.node.connected(bench.now, dialled, ()).unwrap();
    assert_eq!(bench.handle(dialled, Vec::new())[0], 0);
    let out = bench.handle(dialled, preflight(RAW));
    assert_eq!(out, [frame(1, &[]), notify(b"hello")].concat());
    // It dials us, too, as a peer without a tie-break does: while one is open, its newcomer waits and is let go.
    let second = bench.accept();
    assert_eq!(bench.handle(second, preflight(RAW)), Vec::<u8>::new());
    assert_eq!(bench.states(), [ConnectionState::Open, ConnectionState::Held]);
    assert_eq!(bench.written(dialled), frame(1, &[]), "a probe");
    while bench.states().len() > 1 {
        bench.tick();
    }
    bench.handle(dialled, notify(b"still"));
    assert_eq!(bench.told, ["up", "closed Timeout(Preflight)", "message [115, 116, 105, 108, 108]"]);
}

fn both_connections_of_a_peer_without_rules_end_in_one<T: Storage>() {
    // The node is L, then S: the ids of the raw peers lie on both sides of its own.
    for url in [RAW, "ws://10.0.0.8:80/z"] {
        let mut bench = Bench::<T>::new("m");
        bench.send(url, b"hello");
        let dialled = bench.dials[0];
        bench.node.connected(bench.now, dialled, ()).unwrap();
        bench.handle(dialled, Vec::new());
        let inbound = bench.accept();
        bench.handle(inbound, preflight(url));
        // It answers ours, and writes on its own without a confirm.
        let mut written = bench.handle(inbound, notify(b"on mine"));
        written.extend(bench.handle(dialled, preflight(url)));
        let open = bench.states().iter().filter(|&&state| state == ConnectionState::Open).count();
        assert_eq!((open, bench.states().len()), (1, 1), "{url}");
        assert!(written.ends_with(&notify(b"hello")), "{url}: {written:?}");
        assert!(!bench.told.iter().any(|told| told.contains("unresponsive") || told.contains("not sent")));
    }
}

fn data_on_a_held_connection_waits<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.send(RAW, b"hello");
    let inbound = bench.accept();
    bench.handle(inbound, [preflight(RAW), notify(b"early")].concat());
    assert_eq!(bench.states(), [ConnectionState::Dialing, ConnectionState::Held]);
    assert_eq!(bench.told, Vec::<String>::new());
    // T_hold: our dial is given up and the held one answered. What it had sent is still with the driver.
    bench.tick();
    assert_eq!(bench.states(), [ConnectionState::Offered]);
    bench.handle(inbound, notify(b"early"));
    assert_eq!(bench.told, ["closed Superseded", "up", "message [101, 97, 114, 108, 121]"]);
}

/// Scenario 22.
fn a_dialled_peer_that_is_another_one_changes_nothing_for_that_one<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    let inbound = bench.accept();
    bench.handle(inbound, [preflight("ws://10.0.0.7:80/d"), notify(b"d")].concat());
    bench.told.clear();
    bench.send(RAW, b"hello");
    let dialled = bench.dials[0];
    bench.node.connected(bench.now, dialled, ()).unwrap();
    bench.handle(dialled, Vec::new());
    bench.handle(dialled, preflight("ws://10.0.0.7:80/d"));
    let wrong = CloseReason::Protocol(ProtocolError::WrongPeer);
    assert_eq!(bench.told, [format!("closed {wrong:?}")]);
    assert_eq!(bench.states(), [ConnectionState::Open]);
    bench.handle(inbound, notify(b"d"));
    assert_eq!(bench.told.len(), 2);
}

fn a_late_answer_is_misuse<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.answers = false;
    let inbound = bench.accept();
    bench.handle(inbound, preflight(RAW));
    let (on, id) = bench.questions[0];
    bench.node.answer(bench.now, on, id, Answer::Accept).unwrap();
    let again = bench.node.answer(bench.now, on, id, Answer::Accept);
    assert_eq!(again, Err(ApiMisuse::NoSuchQuestion));
    let mut actions = bench.node.handle(bench.now, Input::Failed(on));
    while actions.next().is_some() {}
    let _ = actions.finish();
    bench.node.release(on);
    let late = bench.node.answer(bench.now, on, id, Answer::Accept);
    assert_eq!(late, Err(ApiMisuse::NoSuchConnection));
    let connected = bench.node.connected(bench.now, on, ());
    assert_eq!(connected, Err(ApiMisuse::NoSuchConnection));
}

fn an_answer_that_never_comes_closes<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.answers = false;
    let inbound = bench.accept();
    bench.handle(inbound, preflight(RAW));
    bench.tick();
    assert_eq!(bench.told, ["closed Timeout(Preflight)"]);
    assert_eq!(bench.states(), []);
}

fn a_peer_that_always_says_that_another_one_stays_is_given_up<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.send(RAW, b"hello");
    for attempt in 0..3 {
        assert_eq!(bench.dials.len(), attempt + 1, "not before its time");
        let dialled = bench.dials[attempt];
        bench.node.connected(bench.now, dialled, ()).unwrap();
        assert_eq!(bench.handle(dialled, Vec::new())[0], 0, "a preflight");
        bench.handle(dialled, frame(1, &encoded(&Message::disconnect(SUPERSEDED))));
        if attempt < 2 {
            bench.tick();
        }
    }
    let closed = "closed Disconnected";
    assert_eq!(bench.told, [closed, closed, closed, "not sent", "unresponsive"]);
}

fn a_dial_that_was_answered_in_time_has_the_time_of_the_gate<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    bench.answers = false;
    bench.send(RAW, b"hello");
    let dialled = bench.dials[0];
    bench.now = bench.now + config().peers.dial_timeout / 2;
    let established = bench.now;
    bench.node.connected(bench.now, dialled, ()).unwrap();
    bench.input(Input::Bytes { connection: dialled, bytes: &mut [] });
    // Until our own preflight is written it is one that the peer knows nothing of, whatever was answered before.
    for _ in 0..2 {
        let (on, id) = bench.questions.pop().unwrap();
        bench.node.answer(bench.now, on, id, Answer::Accept).unwrap();
        bench.input(Input::Bytes { connection: on, bytes: &mut [] });
        assert_eq!(bench.states(), [ConnectionState::Dialing]);
    }
    bench.tick();
    assert_eq!(bench.told, ["closed Timeout(Preflight)"]);
    assert_eq!(bench.now.since(established), config().connection.preflight_timeout);
}

/// Whatever the heap of deadlines looks like.
fn what_is_due_at_the_same_moment_comes_in_order<T: Storage>() {
    let mut bench = Bench::<T>::new("m");
    let came: Vec<_> = (0..3).map(|_| bench.accept()).collect();
    bench.now = bench.now + config().connection.preflight_timeout;
    let mut ended = Vec::new();
    for _ in 0..10 {
        let mut actions = bench.node.handle(bench.now, Input::Timeout);
        while let Some(action) = actions.next() {
            if let Action::Closed { connection, .. } = action {
                ended.push(connection);
            }
        }
        actions.finish();
    }
    assert_eq!(ended, came);
}
