//! The secured channel: a handshake at each end, and messages in records.

use core::hint::black_box;

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, Connection, Handshake, Input, Opener, Rx, Sealer, Tx};
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey, Secured, Start};
use kitfox_core::storage::{Heap, HeapBuffer, HeapQueue, TxQueue};
use kitfox_core::wire::Message;

use crate::Bench;
use crate::paths::{KIB, LARGE, SMALL, Size, TINY, deliver, payload};
use crate::world::{CONFIG, NOW, Spaces, answer_questions, directory, module, parse, space};

type Wire = Secured<HeapBuffer>;
type Ends = (<Wire as Channel>::Opener, <Wire as Channel>::Sealer);

pub(crate) fn all(bench: &mut Bench) {
    handshake(bench);
    for size in [TINY, SMALL, KIB, LARGE] {
        send(bench, size, "", size.batch);
        receive(bench, size);
    }
    // A record for each message: what a lone one costs.
    send(bench, SMALL, "-alone", 1);
}

fn credentials(seed: u8) -> Credentials {
    Credentials {
        key: SecretKey::from_seed(&[seed; 32]),
        network: Network::default(),
        max_record_bytes: HOST_RECORD_BYTES,
    }
}

fn ends() -> (Ends, Ends) {
    let (alice, bob) = (credentials(1), credentials(2));
    let dialler = Start::dial(&alice, &bob.key.peer_id()).expect("a key");
    (Wire::halves(dialler), Wire::halves(Start::accept(&bob)))
}

/// All there is to do before more bytes are needed.
fn work((opener, sealer): &mut Ends) -> u64 {
    loop {
        match opener.handshake() {
            Handshake::Work => Wire::work(opener, sealer).expect("an honest peer"),
            Handshake::Randomness => opener.give_randomness(black_box(&[7; 32])),
            Handshake::Admission(_) => opener.admitted(),
            Handshake::Bytes | Handshake::Done => return 0,
        }
    }
}

fn written((_, sealer): &mut Ends) -> Vec<u8> {
    let mut queue = HeapQueue::with_limits(CONFIG.tx_queue);
    let mut pieces = [&[][..]; 1];
    let shown = sealer.peek(&mut queue, &mut pieces);
    let bytes = pieces[..shown].concat();
    sealer.written(&mut queue, bytes.len());
    bytes
}

/// Both messages at one end, everything but sockets.
fn handshake(bench: &mut Bench) {
    bench.path("handshake/dialler".into(), |meter| {
        meter.rounds(|meter| {
            let (mut alice, mut bob) = ends();
            meter.measure(0, || work(&mut alice));
            let mut first = written(&mut alice);
            bob.0.open(&mut first).expect("honest");
            work(&mut bob);
            let mut second = written(&mut bob);
            alice.0.open(&mut second).expect("honest");
            meter.measure(1, || work(&mut alice) + 1);
            assert_eq!(alice.0.handshake(), Handshake::Done);
        });
    });
    bench.path("handshake/acceptor".into(), |meter| {
        meter.rounds(|meter| {
            let (mut alice, mut bob) = ends();
            work(&mut alice);
            let mut first = written(&mut alice);
            bob.0.open(&mut first).expect("honest");
            meter.measure(1, || work(&mut bob) + 1);
            assert_eq!(bob.0.handshake(), Handshake::Done);
        });
    });
}

/// An open connection whose acceptor is told apart.
fn open(directory: &Spaces<Heap>) -> (Connection<Heap, Wire>, Connection<Heap, Wire>) {
    let (dialled, accepted) = ends();
    let url = |seed: u8| {
        let id: PeerId = credentials(seed).key.peer_id();
        format!("wss://127.0.0.1:9000/{id}")
    };
    let (alice_url, bob_url) = (url(1), url(2));
    let rx = Rx::dial(NOW, &CONFIG, dialled.0, parse(&bob_url)).expect("diallable");
    let mut alice = Connection::from_halves(rx, Tx::new(&CONFIG, dialled.1));
    let rx = Rx::accept(NOW, &CONFIG, accepted.0);
    let mut bob = Connection::from_halves(rx, Tx::new(&CONFIG, accepted.1));
    let mut wire = [0; 1024];
    for _ in 0..4 {
        answer_questions(&mut alice, directory, &alice_url, &mut []);
        let len = alice.transmit(NOW, &mut wire);
        answer_questions(&mut bob, directory, &bob_url, &mut wire[..len]);
        let len = bob.transmit(NOW, &mut wire);
        answer_questions(&mut alice, directory, &alice_url, &mut wire[..len]);
    }
    assert!(alice.is_open() && bob.is_open());
    (alice, bob)
}

/// From messages to sealed records.
fn send(bench: &mut Bench, size: Size, suffix: &str, batch: usize) {
    let (data, space, name) = (payload(size), space(0), module(0));
    bench.path(format!("secure-send{suffix}/heap/module/{}", size.name), |meter| {
        let directory = directory(1, 1);
        let (mut alice, _) = open(&directory);
        let message = Message::module(&space, &name, &data);
        let mut out = vec![0; 64 << 10];
        meter.rounds(|meter| {
            meter.measure(batch as u64, || {
                for _ in 0..batch {
                    alice.tx_mut().push(NOW, black_box(&message)).expect("room");
                }
                while black_box(alice.transmit(NOW, &mut out)) > 0 {}
                batch as u64
            });
        });
    });
}

/// From the bytes of a read to handlers.
fn receive(bench: &mut Bench, size: Size) {
    let (data, space, name) = (payload(size), space(0), module(0));
    bench.path(format!("secure-receive/heap/module/{}", size.name), |meter| {
        let directory = directory(1, 1);
        let (mut alice, mut bob) = open(&directory);
        let message = Message::module(&space, &name, &data);
        let mut wire = vec![0; 64 << 10];
        meter.rounds(|meter| {
            for _ in 0..size.batch {
                alice.tx_mut().push(NOW, &message).expect("room");
            }
            let mut len = 0;
            loop {
                match alice.transmit(NOW, &mut wire[len..]) {
                    0 => break,
                    more => len += more,
                }
            }
            let mut wire = wire[..len].to_vec();
            meter.measure(size.batch as u64, || {
                let mut delivered = 0;
                let mut actions = bob.handle(black_box(NOW), Input::Bytes(black_box(&mut wire)));
                while let Some(action) = actions.next(&directory) {
                    delivered += deliver(action);
                }
                black_box(actions.finish());
                delivered
            });
        });
    });
}
