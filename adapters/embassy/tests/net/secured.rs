//! What only secured connections promise.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kitfox_embassy::core::ProtocolError;
use kitfox_embassy::core::connection::Channel;
use kitfox_embassy::{Credentials, KeyError, NoEntropy, Options, PeerId, Plain, Protection, Secured};

use crate::common::*;
use crate::hub::Hub;
use crate::sim::{Sim, test};

/// A node that gives a peer up after one attempt.
async fn hasty<W: Wire>(sim: &Sim, hub: &Hub, host: u8, options: Options<'static, W>) -> Party<W> {
    Party::with(sim, hub, host, options.peers(HASTY), Reporter::default()).await
}

/// What is sent is handed back, and the other node was told nothing.
async fn is_not_let_in<W: Wire, V: Wire>(guest: &Party<W>, url: &str, host: &Party<V>) {
    guest.node.send_notify(url, SPACE, b"let me in").await.unwrap();
    within(30_000, guest.until(|event| matches!(event, Event::NotSent(..)))).await;
    let met = host.told.events.borrow().iter().any(|event| matches!(event, Event::Up(_)));
    assert!(!met && host.told.heard.borrow().is_empty());
}

#[test]
fn a_plain_peer_and_a_secured_one_do_not_meet() {
    test(async |sim| {
        let hub = Hub::default();
        let secured = hasty(&sim, &hub, 1, Secured::options("alice")).await;
        let plain = hasty(&sim, &hub, 2, Plain::options("bob")).await;
        is_not_let_in(&plain, "ws://10.0.0.1:7777/alice", &secured).await;
        is_not_let_in(&secured, &Secured::url(2, PORT, "bob"), &plain).await;
    });
}

#[test]
fn without_random_bytes_there_is_no_handshake() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<Secured>::new(&sim, &hub, 2, "bob").await;
        let mut drawn = 0u8;
        // Those of the seed are the last ones.
        let dry = Box::leak(Box::new(move |bytes: &mut [u8; 32]| {
            drawn += 1;
            bytes.fill(drawn);
            if drawn == 1 { Ok(()) } else { Err(NoEntropy) }
        }));
        let alice = hasty(&sim, &hub, 1, Options::secured(credentials("alice"), dry)).await;
        is_not_let_in(&alice, &bob.url, &bob).await;
        assert_eq!(bob.node.stats().await.totals.received_messages, 0);
    });
}

#[test]
fn the_secret_of_another_key_makes_no_credentials() {
    let (secret, _) = key("alice").to_provisioned();
    let (_, id) = key("bob").to_provisioned();
    let made = kitfox_embassy::SecretKey::provisioned(*secret, id);
    assert_eq!(made.map(|_| ()), Err(KeyError::Mismatch));
}

/// The secured channel, which notes each step of its handshakes.
#[derive(Debug, Clone)]
struct Watched;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Noted {
    /// In this turn of the runner.
    Step(u64),
    Message,
}

thread_local! {
    static NOTED: RefCell<Vec<Noted>> = const { RefCell::new(Vec::new()) };
    static TURNS: RefCell<Rc<Cell<u64>>> = RefCell::default();
}

fn note(what: Noted) {
    NOTED.with_borrow_mut(|noted| noted.push(what));
}

impl Channel for Watched {
    type Start = <Secured as Channel>::Start;
    type Opener = <Secured as Channel>::Opener;
    type Sealer = <Secured as Channel>::Sealer;
    const SECURED: bool = true;

    fn opener(start: Self::Start) -> Self::Opener {
        Secured::opener(start)
    }

    fn sealer(start: &Self::Start) -> Self::Sealer {
        Secured::sealer(start)
    }

    fn work(opener: &mut Self::Opener, sealer: &mut Self::Sealer) -> Result<(), ProtocolError> {
        note(Noted::Step(TURNS.with_borrow(|turns| turns.get())));
        <Secured as Channel>::work(opener, sealer)
    }
}

impl Protection for Watched {
    type Identity = Credentials;

    fn peer_id(ours: &Credentials) -> PeerId {
        <Secured as Protection>::peer_id(ours)
    }

    fn dial(ours: &Credentials, peer: &PeerId) -> Result<Self::Start, KeyError> {
        <Secured as Protection>::dial(ours, peer)
    }

    fn accept(ours: &Credentials) -> Self::Start {
        <Secured as Protection>::accept(ours)
    }
}

impl Wire for Watched {
    fn id(name: &str) -> PeerId {
        Secured::id(name)
    }

    fn options<'a>(name: &str) -> Options<'a, Self> {
        let Options { identity, entropy, port, advertise, config, close_timeout } = Secured::options(name);
        Options { identity, entropy, port, advertise, config, close_timeout }
    }
}

#[test]
fn between_two_steps_of_a_handshake_others_are_heard() {
    test(async |sim| {
        let hub = Hub::default();
        let bob = Party::<Watched>::new(&sim, &hub, 2, "bob").await;
        bob.told.on_message.set(|_, message| {
            if message.data == b"meanwhile" {
                note(Noted::Message);
            }
            Ok(())
        });
        let alice = Party::<Secured>::new(&sim, &hub, 1, "alice").await;
        let carol = Party::<Secured>::new(&sim, &hub, 3, "carol").await;
        alice.node.send_notify(&bob.url, SPACE, b"hello").await.unwrap();
        assert_eq!(bob.hears().await, b"hello");
        NOTED.with_borrow_mut(Vec::clear);
        TURNS.set(bob.polls.clone());
        let (node, url, heard) = (alice.node, bob.url.clone(), bob.told.heard.clone());
        let carol_is_heard = move || heard.borrow().iter().filter(|heard| *heard == b"hello").count() == 2;
        let is_over = carol_is_heard.clone();
        sim.spawn("alice sends", async move {
            while !is_over() {
                node.send_notify(&url, SPACE, b"meanwhile").await.unwrap();
            }
        });
        carol.node.send_notify(&bob.url, SPACE, b"hello").await.unwrap();
        within(1000, eventually(|| carol_is_heard().then_some(()))).await;
        let noted = NOTED.with_borrow(Vec::clone);
        let step = |noted: &Noted| match noted {
            Noted::Step(turn) => Some(*turn),
            Noted::Message => None,
        };
        let turns: Vec<u64> = noted.iter().filter_map(step).collect();
        assert_eq!(turns.len(), 5, "two to read, three to answer");
        assert!(turns.is_sorted_by(|one, next| one < next), "one in a turn: {turns:?}");
        let between =
            noted.iter().skip_while(|noted| step(noted).is_none()).position(|noted| step(noted).is_none());
        assert!(between.is_some_and(|steps| steps < 5), "{between:?} steps before anybody else was heard");
    });
}
