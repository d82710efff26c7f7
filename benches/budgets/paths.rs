//! The paths that are measured.

use core::hint::black_box;

use bytes::Bytes;
use kitfox_core::connection::{Action, Connection, Input, Plain, Tx};
use kitfox_core::router::{BlockedCounts, DropReason, Router};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{K2Proto, Message, PeerUrl, UrlRules};
use kitfox_core::{Peer, RouterLimits};
use prost::Message as _;

use kitfox_benches::bench::Bench;
use kitfox_benches::paths::{HUGE, KIB, LARGE, SIZES, SMALL, Size, deliver, module_batch, payload, read};
use kitfox_benches::world::{
    ALICE, BOB, CONFIG, Fixed, NOW, Spaces, block_list, connected, directory, encoded, frames, module,
    peer_id, space,
};

/// Bytes of one read of a socket.
const READ_BYTES: usize = 64 << 10;

/// Reads, or batches to send, in one round.
const BATCHES: usize = 4;

pub(crate) fn all(bench: &mut Bench) {
    receive::<Heap>(bench, "heap");
    receive::<Fixed>(bench, "fixed");
    receive_mixed(bench);
    receive_and_keep(bench);
    send::<Heap>(bench, "heap", &SIZES);
    send::<Fixed>(bench, "fixed", &SIZES[..4]);
    send_shared(bench);
    parts(bench);
}

fn notify_batch(size: Size) -> Vec<u8> {
    let (data, space) = (payload(size), space(0));
    frames((0..size.batch).map(|_| Message::notify(&space, &data)))
}

/// As [`read`], through the one value that is both halves.
#[inline]
fn handle<S: Storage>(connection: &mut Connection<S>, directory: &Spaces<S>, bytes: &mut [u8]) -> u64 {
    let mut delivered = 0;
    let mut actions = connection.handle(black_box(NOW), Input::Bytes(black_box(bytes)));
    while let Some(action) = actions.next(directory) {
        delivered += deliver(action);
    }
    black_box(actions.finish());
    delivered
}

fn receive<S: Storage>(bench: &mut Bench, tier: &str) {
    let directory = directory::<S>(1, 1);
    let messages = |size: Size| (BATCHES * size.batch) as u64;
    let cases = SIZES.map(|size| ("module", size, module_batch(size)));
    for (kind, size, mut wire) in cases.into_iter().chain([("notify", SMALL, notify_batch(SMALL))]) {
        bench.path(format!("receive/{tier}/{kind}/{}", size.name), |meter| {
            let (mut rx, _) = connected(&directory).1.into_halves();
            meter.rounds(|meter| {
                meter.measure(messages(size), || {
                    (0..BATCHES).map(|_| read(&mut rx, &directory, &mut wire)).sum()
                });
            });
        });
        bench.path(format!("handle/{tier}/{kind}/{}", size.name), |meter| {
            let (_, mut bob) = connected(&directory);
            meter.rounds(|meter| {
                meter.measure(messages(size), || {
                    (0..BATCHES).map(|_| handle(&mut bob, &directory, &mut wire)).sum()
                });
            });
        });
    }
    receive_blocked::<S>(bench, tier);
    receive_pieces(bench, tier, &directory);
}

/// Messages of a blocked peer are dropped and counted.
fn receive_blocked<S: Storage>(bench: &mut Bench, tier: &str) {
    let mut directory = directory::<S>(1, 1);
    directory.policy_mut().block(peer_id(ALICE), None).expect("room");
    let mut wire = module_batch(SMALL);
    let mut counts = BlockedCounts::<S>::new(&RouterLimits::HOST, black_box(7));
    let mut count = |action: Action<'_>| match action {
        Action::Dropped { reason: DropReason::Blocked, space, .. } => {
            counts.incoming(black_box(ALICE), space);
            1
        }
        _ => 0,
    };
    bench.path(format!("receive/{tier}/blocked/128"), |meter| {
        let (mut rx, _) = connected(&directory).1.into_halves();
        meter.rounds(|meter| {
            meter.measure((BATCHES * SMALL.batch) as u64, || {
                let mut dropped = 0;
                for _ in 0..BATCHES {
                    let mut frames = rx.read(NOW, black_box(&mut wire));
                    while let Some(action) = frames.next(&directory) {
                        dropped += count(action);
                    }
                    black_box(frames.finish());
                }
                dropped
            });
        });
    });
    bench.path(format!("handle/{tier}/blocked/128"), |meter| {
        let (_, mut bob) = connected(&directory);
        meter.rounds(|meter| {
            meter.measure((BATCHES * SMALL.batch) as u64, || {
                let mut dropped = 0;
                for _ in 0..BATCHES {
                    let mut actions = bob.handle(NOW, Input::Bytes(black_box(&mut wire)));
                    while let Some(action) = actions.next(&directory) {
                        dropped += count(action);
                    }
                    black_box(actions.finish());
                }
                dropped
            });
        });
    });
}

/// Reads that end inside of frames.
fn receive_pieces<S: Storage>(bench: &mut Bench, tier: &str, directory: &Spaces<S>) {
    let one = |size: Size| module_batch(Size { batch: 1, ..size });
    let mut cases = vec![
        ("stream/128", SMALL.batch, module_batch(SMALL), 1460),
        ("halves/1k", 1, one(KIB), KIB.bytes.div_ceil(2)),
        ("pieces/16k", 1, one(LARGE), 4 << 10),
    ];
    if tier == "heap" {
        cases.push(("pieces/1m", 1, one(HUGE), READ_BYTES));
    }
    for (kind, messages, mut wire, read_bytes) in cases {
        bench.path(format!("receive/{tier}/{kind}"), |meter| {
            let (mut rx, _) = connected(directory).1.into_halves();
            meter.rounds(|meter| {
                meter.measure((BATCHES * messages) as u64, || {
                    let mut delivered = 0;
                    for _ in 0..BATCHES {
                        for bytes in wire.chunks_mut(read_bytes) {
                            delivered += read(&mut rx, directory, bytes);
                        }
                    }
                    delivered
                });
            });
        });
    }
}

/// 100 spaces with 1,000 modules, each message to another one.
fn receive_mixed(bench: &mut Bench) {
    const SPACES: u64 = 100;
    const MODULES: u64 = 10;
    let directory = directory::<Heap>(SPACES, MODULES);
    let data = payload(SMALL);
    let names: Vec<_> = (0..MODULES).map(module).collect();
    // Steps of 37 and 7 go round all spaces and all modules.
    let ids: Vec<_> = (0..SPACES * MODULES)
        .map(|step| (space(step * 37 % SPACES), ((step + step / SPACES) * 7 % MODULES) as usize))
        .collect();
    let mut batches: Vec<_> = ids
        .chunks_exact(SMALL.batch)
        .map(|batch| frames(batch.iter().map(|(space, name)| Message::module(space, &names[*name], &data))))
        .collect();
    let messages = (batches.len() * SMALL.batch) as u64;
    bench.path("receive/heap/mixed/128".into(), |meter| {
        let (mut rx, _) = connected(&directory).1.into_halves();
        meter.rounds(|meter| {
            meter.measure(messages, || batches.iter_mut().map(|wire| read(&mut rx, &directory, wire)).sum());
        });
    });
    bench.path("handle/heap/mixed/128".into(), |meter| {
        let (_, mut bob) = connected(&directory);
        meter.rounds(|meter| {
            meter.measure(messages, || {
                batches.iter_mut().map(|wire| handle(&mut bob, &directory, wire)).sum()
            });
        });
    });
}

/// Payloads that the user keeps: copied out of a frame that came whole, with its buffer if it came in pieces. How much
/// the growing buffer costs depends on the allocator, which may find room behind it or not: with a filter these paths
/// can differ from their committed figures.
fn receive_and_keep(bench: &mut Bench) {
    let directory = directory::<Heap>(1, 1);
    let one = |size: Size| module_batch(Size { batch: 1, ..size });
    let cases = [
        ("keep/128", SMALL.batch, module_batch(SMALL), READ_BYTES),
        ("keep/16k", LARGE.batch, module_batch(LARGE), READ_BYTES),
        ("keep-pieces/16k", 1, one(LARGE), 4 << 10),
        ("keep-pieces/1m", 1, one(HUGE), READ_BYTES),
    ];
    for (kind, messages, mut wire, read_bytes) in cases {
        bench.path(format!("receive/heap/{kind}"), |meter| {
            let (mut rx, _) = connected(&directory).1.into_halves();
            let mut kept = Vec::with_capacity(BATCHES * messages);
            meter.rounds(|meter| {
                kept.clear();
                meter.measure((BATCHES * messages) as u64, || {
                    for _ in 0..BATCHES {
                        for bytes in wire.chunks_mut(read_bytes) {
                            let mut frames = rx.read(NOW, black_box(bytes));
                            while frames.next(&directory).is_some() {
                                kept.extend(frames.payload_to_bytes());
                            }
                            black_box(frames.finish());
                        }
                    }
                    kept.len() as u64
                });
            });
        });
    }
}

/// Room for everything that one batch queues.
fn socket() -> Vec<u8> {
    vec![0; 2 << 20]
}

fn send<S: Storage>(bench: &mut Bench, tier: &str, sizes: &[Size]) {
    let directory = directory::<S>(1, 1);
    let (id, name) = (space(0), module(0));
    let mut socket = socket();
    for &size in sizes {
        // The Fixed tier's queue holds one message of 16 KiB.
        let batch = if size.bytes > KIB.bytes { 1 } else { size.batch };
        let data = payload(size);
        let message = Message::module(&id, &name, &data);
        bench.path(format!("push/{tier}/module/{}", size.name), |meter| {
            let mut tx = Tx::<S>::new(&CONFIG, Plain::default());
            meter.rounds(|meter| {
                meter.measure(batch as u64, || {
                    (0..batch).map(|_| u64::from(tx.push(NOW, black_box(&message)).is_ok())).sum()
                });
                tx.transmit(NOW, &mut socket);
            });
        });
        bench.path(format!("send/{tier}/module/{}", size.name), |meter| {
            let (mut alice, _) = connected(&directory);
            meter.rounds(|meter| {
                meter.measure(batch as u64, || {
                    (0..batch)
                        .map(|_| {
                            let data = black_box(&data);
                            let sent = alice.module(NOW, &directory, black_box(&id), black_box(&name), data);
                            u64::from(sent.is_ok())
                        })
                        .sum()
                });
                alice.transmit(NOW, &mut socket);
            });
        });
        bench.path(format!("transmit/{tier}/module/{}", size.name), |meter| {
            let mut tx = Tx::<S>::new(&CONFIG, Plain::default());
            meter.rounds(|meter| {
                (0..batch).for_each(|_| tx.push(NOW, &message).expect("room"));
                let mut pending = tx.pending();
                meter.measure(batch as u64, || {
                    while pending > 0 {
                        pending -= tx.transmit(NOW, black_box(&mut socket));
                    }
                    batch as u64
                });
            });
        });
    }
}

/// Large payloads go into the queue and out of it without a copy.
fn send_shared(bench: &mut Bench) {
    let (id, name) = (space(0), module(0));
    let routing = Message::module(&id, &name, &[]);
    for size in [LARGE, HUGE] {
        let data = Bytes::from(payload(size));
        bench.path(format!("push-shared/heap/module/{}", size.name), |meter| {
            let mut tx = Tx::<Heap>::new(&CONFIG, Plain::default());
            meter.rounds(|meter| {
                meter.measure(size.batch as u64, || {
                    (0..size.batch)
                        .map(|_| {
                            let pushed = tx.push_shared(NOW, black_box(&routing), black_box(&data).clone());
                            u64::from(pushed.is_ok())
                        })
                        .sum()
                });
                write_all(&mut tx);
            });
        });
        bench.path(format!("transmit-slices/heap/module/{}", size.name), |meter| {
            let mut tx = Tx::<Heap>::new(&CONFIG, Plain::default());
            meter.rounds(|meter| {
                for _ in 0..size.batch {
                    tx.push_shared(NOW, &routing, data.clone()).expect("room");
                }
                meter.measure(size.batch as u64, || {
                    write_all(&mut tx);
                    size.batch as u64
                });
            });
        });
    }
}

/// A socket that takes whatever it is shown.
fn write_all(tx: &mut Tx<Heap>) {
    let take = |pieces: &[&[u8]]| Ok::<_, ()>(black_box(pieces).iter().map(|piece| piece.len()).sum());
    while tx.transmit_slices(NOW, take) != Ok(0) {}
}

/// Parts of the paths alone, other ways to do the same, and the floor.
fn parts(bench: &mut Bench) {
    const TIMES: u64 = 16;
    let (id, name) = (space(0), module(0));
    for size in SIZES {
        let data = payload(size);
        let message = Message::module(&id, &name, &data);
        let bytes = encoded(&message);
        let mut out = vec![0; bytes.len()];
        let mut repeat = |name: &str, body: &mut dyn FnMut()| {
            bench.path(format!("{name}/{}", size.name), |meter| {
                meter.rounds(|meter| {
                    meter.measure(TIMES, || {
                        (0..TIMES).for_each(|_| body());
                        TIMES
                    });
                });
            });
        };
        repeat("message-decode", &mut || {
            black_box(Message::decode(black_box(&bytes)).expect("valid"));
        });
        repeat("message-encode", &mut || {
            black_box(black_box(&message).encode(&mut out).expect("room"));
        });
        repeat("memcpy", &mut || out[..data.len()].copy_from_slice(black_box(&data)));
        repeat("prost-decode", &mut || {
            black_box(K2Proto::decode(black_box(&bytes[..])).expect("valid"));
        });
        let owned = K2Proto::from(message);
        repeat("prost-encode", &mut || {
            black_box(Bytes::from(black_box(&owned).encode_to_vec()));
        });
    }
    router::<Heap>(bench, "heap");
    router::<Fixed>(bench, "fixed");
    let (alice, _) = connected(&directory::<Heap>(1, 1));
    let mut repeat = |name: &str, body: &mut dyn FnMut()| {
        bench.path(name.into(), |meter| {
            meter.rounds(|meter| {
                meter.measure(TIMES, || {
                    (0..TIMES).for_each(|_| body());
                    TIMES
                });
            });
        });
    };
    repeat("poll-timeout/heap", &mut || {
        black_box(black_box(&alice).poll_timeout());
    });
    repeat("url-parse", &mut || {
        black_box(PeerUrl::parse(black_box(BOB), &UrlRules::default()).expect("valid"));
    });
    repeat("peer-id", &mut || {
        black_box(peer_id(black_box(BOB)));
    });
}

fn router<S: Storage>(bench: &mut Bench, tier: &str) {
    let message = encoded(&Message::module(&space(0), &module(0), &payload(SMALL)));
    let alice = peer_id(ALICE);
    let peer = Peer::new(ALICE, Some(&alice));
    bench.path(format!("router-receive/{tier}/module/128"), |meter| {
        let mut router = Router::<S, _>::new(&RouterLimits::HOST, 7, block_list::<S>());
        router.directory_mut().register_space(&space(0)).expect("room");
        router.directory_mut().register_module(&space(0), &module(0)).expect("room");
        meter.rounds(|meter| {
            meter.measure(16, || {
                (0..16)
                    .map(|_| {
                        let received = router.receive(black_box(peer), black_box(&message));
                        u64::from(black_box(received).is_ok())
                    })
                    .sum()
            });
        });
    });
}
