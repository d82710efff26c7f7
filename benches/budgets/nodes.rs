//! Paths through a whole node, with one peer and with ten thousand.

use kitfox_benches::bench::Bench;
use kitfox_benches::hub::Hub;
use kitfox_benches::world::{NOW, frames, module, space};
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::Message;

kitfox_core::fixed! {
    /// What a device might have.
    Board { spaces: 1, modules: 1, block_rules: 4, frame: 4096, tx: 1024, outbox: 4096 }
}

/// Messages of one read, and reads in one round.
const BATCH: usize = 16;
const READS: usize = 4;
/// Peers of a large node.
const MANY: usize = 10_000;

pub(crate) fn all(bench: &mut Bench) {
    one_peer::<Heap>(bench, "heap");
    one_peer::<Board>(bench, "fixed");
    many_peers(bench);
}

fn batch() -> Vec<u8> {
    let (space, name) = (space(0), module(0));
    frames((0..BATCH).map(|_| Message::module(&space, &name, &[7; 128])))
}

fn one_peer<S: Storage>(bench: &mut Bench, tier: &str) {
    let mut wire = batch();
    bench.path(format!("node-receive/{tier}/1/128"), |meter| {
        let mut hub = Hub::<S>::new(1);
        let (connection, _) = hub.peers[0];
        meter.rounds(|meter| {
            meter.measure((READS * BATCH) as u64, || {
                (0..READS).map(|_| hub.read(connection, &mut wire)).sum()
            });
        });
    });
    let (space, name) = (space(0), module(0));
    bench.path(format!("node-send/{tier}/1/128"), |meter| {
        let mut hub = Hub::<S>::new(1);
        let (connection, peer) = hub.peers[0];
        let mut socket = vec![0; 64 << 10];
        meter.rounds(|meter| {
            meter
                .measure(BATCH as u64, || (0..BATCH).map(|_| hub.send(peer, &space, &name, &[7; 128])).sum());
            while hub.node.transmit(NOW, connection, &mut socket) > 0 {}
        });
    });
}

/// Ten thousand peers, a read or a message for one after the other.
fn many_peers(bench: &mut Bench) {
    let mut wire = batch();
    bench.path("node-receive/heap/10k/128".into(), |meter| {
        let mut hub = Hub::<Heap>::new(MANY);
        let mut turn = 0;
        meter.rounds(|meter| {
            meter.measure((READS * BATCH) as u64, || {
                let mut next = || {
                    turn = (turn + 7919) % MANY;
                    hub.peers[turn].0
                };
                let turns: [_; READS] = core::array::from_fn(|_| next());
                turns.into_iter().map(|connection| hub.read(connection, &mut wire)).sum()
            });
        });
    });
    let (space, name) = (space(0), module(0));
    bench.path("node-send/heap/10k/128".into(), |meter| {
        let mut hub = Hub::<Heap>::new(MANY);
        let (mut turn, mut socket) = (0, vec![0; 64 << 10]);
        meter.rounds(|meter| {
            let peers: [_; BATCH] = core::array::from_fn(|_| {
                turn = (turn + 7919) % MANY;
                hub.peers[turn]
            });
            for (connection, peer) in peers {
                // So that its queue exists: a connection that idles owns none.
                hub.send(peer, &space, &name, &[7; 128]);
                hub.node.transmit(NOW, connection, &mut socket);
            }
            meter.measure(BATCH as u64, || {
                peers.iter().map(|(_, peer)| hub.send(*peer, &space, &name, &[7; 128])).sum()
            });
            for (connection, _) in peers {
                hub.node.transmit(NOW, connection, &mut socket);
            }
        });
    });
}
