//! The secured channel: a handshake at each end, and messages in records.

use core::hint::black_box;

use kitfox_benches::bench::Bench;
use kitfox_benches::paths::{KIB, LARGE, SMALL, Size, TINY, deliver, payload};
use kitfox_benches::secured::{ends, open, work, written};
use kitfox_benches::world::{NOW, directory, module, space};
use kitfox_core::connection::{Handshake, Input, Opener};
use kitfox_core::wire::Message;

pub(crate) fn all(bench: &mut Bench) {
    handshake(bench);
    for size in [TINY, SMALL, KIB, LARGE] {
        send(bench, size, "", size.batch);
        receive(bench, size);
    }
    // A record for each message: what a lone one costs.
    send(bench, SMALL, "-alone", 1);
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
