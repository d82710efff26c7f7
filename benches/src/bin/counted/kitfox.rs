//! kitfox's own paths, from the bytes of a read to a handler, and from a message to the bytes of a write.

use std::hint::black_box;

use kitfox_benches::bench::Bench;
use kitfox_benches::paths::{
    HUGE, KIB, LARGE, SIZES, SMALL, Size, TINY, deliver, module_batch, payload, read,
};
use kitfox_benches::secured;
use kitfox_benches::world::{Fixed, NOW, Spaces, connected, directory, module, space};
use kitfox_core::connection::{Channel, Connection, Input};
use kitfox_core::storage::{Heap, Storage};

/// Reads in one round.
const READS: usize = 4;

pub(crate) fn all(bench: &mut Bench) {
    for size in SIZES {
        receive::<Heap>(bench, "kitfox heap", size);
    }
    for size in SIZES {
        receive::<Fixed>(bench, "kitfox fixed", size);
    }
    for size in [TINY, SMALL, KIB, LARGE] {
        secured(bench, size);
    }
    for size in [TINY, SMALL, KIB, LARGE, HUGE] {
        send::<Heap>(bench, "kitfox heap", size);
    }
    // The queue of this tier has room for no more than that.
    for size in [TINY, SMALL, KIB, LARGE] {
        send::<Fixed>(bench, "kitfox fixed", size);
    }
}

fn receive<S: Storage>(bench: &mut Bench, who: &str, size: Size) {
    let directory = directory::<S>(1, 1);
    let mut wire = module_batch(size);
    bench.path(format!("receive/{who}/{}", size.bytes), |meter| {
        let (mut rx, _) = connected(&directory).1.into_halves();
        meter.rounds(|meter| {
            meter.measure((READS * size.batch) as u64, || {
                (0..READS).map(|_| read(&mut rx, &directory, &mut wire)).sum()
            });
        });
    });
}

/// To the bytes of the write: queue and copy.
fn send<S: Storage>(bench: &mut Bench, who: &str, size: Size) {
    // One at a time of those of which not all fit into a queue.
    let batch = if size.bytes > KIB.bytes { 1 } else { size.batch };
    send_on(bench, who, size, batch, |directory| *connected::<S>(directory).0);
}

/// So many messages on a connection, to the bytes of the write.
fn send_on<S: Storage, C: Channel>(
    bench: &mut Bench,
    who: &str,
    size: Size,
    batch: usize,
    open: impl Fn(&Spaces<S>) -> Connection<S, C>,
) {
    let directory = directory::<S>(1, 1);
    let (id, name, data) = (space(0), module(0), payload(size));
    let mut socket = vec![0; 2 << 20];
    bench.path(format!("send/{who}/{}", size.bytes), |meter| {
        let mut alice = open(&directory);
        meter.rounds(|meter| {
            meter.measure(batch as u64, || {
                let mut sent = 0;
                for _ in 0..batch {
                    let data = black_box(&data);
                    let pushed = alice.module(NOW, &directory, black_box(&id), black_box(&name), data);
                    sent += u64::from(pushed.is_ok());
                }
                while black_box(alice.transmit(NOW, &mut socket)) > 0 {}
                sent
            });
        });
    });
}

/// Both directions of a secured connection, several messages a record as far as they go.
fn secured(bench: &mut Bench, size: Size) {
    let directory = directory::<Heap>(1, 1);
    let (id, name, data) = (space(0), module(0), payload(size));
    let mut wire = vec![0; 128 << 10];
    let batch = size.batch;
    bench.path(format!("receive/kitfox secured/{}", size.bytes), |meter| {
        let (mut alice, mut bob) = secured::open(&directory);
        meter.rounds(|meter| {
            let mut len = 0;
            for _ in 0..batch {
                alice.module(NOW, &directory, &id, &name, &data).expect("room");
            }
            loop {
                match alice.transmit(NOW, &mut wire[len..]) {
                    0 => break,
                    more => len += more,
                }
            }
            let bytes = &mut wire[..len];
            meter.measure(batch as u64, || {
                let mut delivered = 0;
                let mut actions = bob.handle(black_box(NOW), Input::Bytes(black_box(bytes)));
                while let Some(action) = actions.next(&directory) {
                    delivered += deliver(action);
                }
                black_box(actions.finish());
                delivered
            });
        });
    });
    send_on(bench, "kitfox secured", size, batch, |directory| secured::open(directory).0);
}
