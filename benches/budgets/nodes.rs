//! Paths through a whole [`Node`], with one peer and with ten thousand.

use core::hint::black_box;

use kitfox_core::connection::{Answer, Question};
use kitfox_core::node::{Action, ConnectionId, Input, Node, NodeConfig, PeerKey};
use kitfox_core::router::BlockList;
use kitfox_core::storage::{Heap, Storage};
use kitfox_core::wire::{FrameHeader, FrameType, HEADER_BYTES, Message, PreflightPayload};
use kitfox_core::{Config, PeerId};

use crate::Bench;
use crate::world::{BOB, NOW, block_list, frames, id, module, parse, peer_id, space};

kitfox_core::fixed! {
    /// What a device might have.
    Board { spaces: 1, modules: 1, block_rules: 4, frame: 4096, tx: 1024, outbox: 4096 }
}

type OfPeers<S> = Node<S, BlockList<S>>;

/// Messages of one read, and reads in one round.
const BATCH: usize = 16;
const READS: usize = 4;
/// Peers of a large node.
const MANY: usize = 10_000;

const CONFIG: NodeConfig =
    NodeConfig { connection: Config { max_frame_bytes: 4096, ..Config::HOST }, ..NodeConfig::HOST };

pub(crate) fn all(bench: &mut Bench) {
    one_peer::<Heap>(bench, "heap");
    one_peer::<Board>(bench, "fixed");
    many_peers(bench);
}

/// A node with one space and one module, and the connections and peers that are up.
struct Hub<S: Storage> {
    node: OfPeers<S>,
    peers: Vec<(ConnectionId, PeerKey)>,
}

impl<S: Storage> Hub<S> {
    fn new(peers: usize) -> Self {
        let mut node = Node::new(&CONFIG, peer_id(BOB), 1, block_list());
        node.directory_mut().register_space(&space(0)).expect("room");
        node.directory_mut().register_module(&space(0), &module(0)).expect("room");
        let mut hub = Self { node, peers: Vec::new() };
        for number in 0..peers {
            let connection = hub.node.accept(NOW, ()).expect("room");
            hub.show(connection, &mut preflight(number as u64));
            // The dialler's confirm.
            hub.show(connection, &mut kitfox_core::wire::EMPTY_DATA_FRAME.clone());
            let peer = hub.node.peers().peer_of(connection).expect("the gate is open");
            hub.node.transmit(NOW, connection, &mut [0; 1024]);
            hub.peers.push((connection, peer));
        }
        hub
    }

    /// Shows bytes, and answers whatever is asked.
    fn show(&mut self, connection: ConnectionId, bytes: &mut [u8]) {
        let mut start = 0;
        loop {
            let mut asked = None;
            let input = Input::Bytes { connection, bytes: &mut bytes[start..] };
            let mut actions = self.node.handle(NOW, input);
            while let Some(action) = actions.next() {
                if let Action::Ask { id, question, .. } = action {
                    asked = Some((id, matches!(question, Question::GatherPreflight { .. })));
                }
            }
            start += actions.finish().0;
            let Some((id, gather)) = asked else { return };
            let preflight = Answer::Preflight { own_url: parse(BOB), data: b"preflight" };
            let answer = if gather { preflight } else { Answer::Accept };
            self.node.answer(NOW, connection, id, answer).expect("asked for");
        }
    }

    /// Takes all messages out of one read.
    #[inline]
    fn read(&mut self, connection: ConnectionId, bytes: &mut [u8]) -> u64 {
        let mut delivered = 0;
        let mut actions =
            self.node.handle(black_box(NOW), Input::Bytes { connection, bytes: black_box(bytes) });
        while let Some(action) = actions.next() {
            if let Action::Module { to, data, .. } = action {
                black_box((to.index(), data));
                delivered += 1;
            }
        }
        black_box(actions.finish());
        delivered
    }

    #[inline]
    fn send(&mut self, peer: PeerKey, space: &[u8], module: &str, data: &[u8]) -> u64 {
        let sent = self.node.ops(black_box(NOW)).module_peer(
            peer,
            black_box(space),
            black_box(module),
            black_box(data),
        );
        u64::from(sent.is_ok())
    }
}

/// The preflight frame of a peer.
fn preflight(number: u64) -> Vec<u8> {
    let url = format!("ws://10.1.2.3:4567/{}", PeerId::from_key(id(100_000 + number)));
    let message = Message::preflight(b"");
    let payload = PreflightPayload { url: parse(&url), message: b"\x08\x01" };
    debug_assert_eq!(message.encoded_len(), 2);
    let header = FrameHeader::new(FrameType::Preflight, payload.encoded_len(), 4096).expect("short");
    let mut frame = header.encode().to_vec();
    frame.resize(HEADER_BYTES + payload.encoded_len(), 0);
    payload.encode(&mut frame[HEADER_BYTES..]).expect("room");
    frame
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
