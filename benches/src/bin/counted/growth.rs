//! How the paths grow with what a node has to do with: spaces, modules and connections. Messages of 128 B; how they grow
//! with the size of messages, the other paths show.

use kitfox_benches::bench::Bench;
use kitfox_benches::hub::Hub;
use kitfox_benches::paths::{SMALL, payload, read};
use kitfox_benches::world::{NOW, connected, directory, frames, module, space};
use kitfox_core::storage::Heap;
use kitfox_core::wire::Message;

/// Messages of one read.
const BATCH: usize = 16;
/// Reads in one round.
const READS: usize = 16;
/// Steps that go round any number of this that is not divided by it.
const STEP: u64 = 7919;

pub(crate) fn all(bench: &mut Bench) {
    for spaces in [1, 10, 100, 1000] {
        names(bench, "spaces", spaces, 1);
    }
    for modules in [1, 10, 100, 1000, 10_000] {
        names(bench, "modules", 1, modules);
    }
    for connections in [1, 10, 100, 1000, 10_000] {
        receive(bench, connections);
        send(bench, connections);
    }
}

/// Every message goes to another space, or another module of the same one.
fn names(bench: &mut Bench, kind: &str, spaces: u64, modules: u64) {
    let directory = directory::<Heap>(spaces, modules);
    let data = payload(SMALL);
    let mut batches: Vec<_> = (0..READS)
        .map(|batch| {
            let names: Vec<_> = (0..BATCH)
                .map(|message| {
                    let turn = (batch * BATCH + message) as u64 * STEP;
                    (space(turn % spaces), module(turn % modules))
                })
                .collect();
            frames(names.iter().map(|(id, name)| Message::module(id, name, &data)))
        })
        .collect();
    bench.path(format!("{kind}/receive/{}", spaces.max(modules)), |meter| {
        let (mut rx, _) = connected(&directory).1.into_halves();
        meter.rounds(|meter| {
            meter.measure((READS * BATCH) as u64, || {
                batches.iter_mut().map(|wire| read(&mut rx, &directory, wire)).sum()
            });
        });
    });
}

/// Every read is another connection's.
fn receive(bench: &mut Bench, connections: usize) {
    let (id, name, data) = (space(0), module(0), payload(SMALL));
    let mut wire = frames((0..BATCH).map(|_| Message::module(&id, &name, &data)));
    bench.path(format!("connections/receive/{connections}"), |meter| {
        let mut hub = Hub::<Heap>::new(connections);
        let mut turns = (0_usize..).map(|turn| turn * STEP as usize % connections);
        meter.rounds(|meter| {
            let turns: Vec<_> = turns.by_ref().take(READS).map(|turn| hub.peers[turn].0).collect();
            meter.measure((READS * BATCH) as u64, || {
                turns.iter().map(|connection| hub.read(*connection, &mut wire)).sum()
            });
        });
    });
}

/// Every message is for another connection, whose queue exists already: one that idles owns none.
fn send(bench: &mut Bench, connections: usize) {
    let (id, name, data) = (space(0), module(0), payload(SMALL));
    let mut socket = vec![0; 64 << 10];
    bench.path(format!("connections/send/{connections}"), |meter| {
        let mut hub = Hub::<Heap>::new(connections);
        let mut turns = (0_usize..).map(|turn| turn * STEP as usize % connections);
        meter.rounds(|meter| {
            let peers: Vec<_> = turns.by_ref().take(BATCH).map(|turn| hub.peers[turn]).collect();
            for (connection, peer) in &peers {
                hub.send(*peer, &id, &name, &data);
                hub.node.transmit(NOW, *connection, &mut socket);
            }
            meter.measure(BATCH as u64, || {
                peers.iter().map(|(_, peer)| hub.send(*peer, &id, &name, &data)).sum()
            });
            for (connection, _) in &peers {
                while hub.node.transmit(NOW, *connection, &mut socket) > 0 {}
            }
        });
    });
}
