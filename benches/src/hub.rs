//! A node with many peers.

use core::hint::black_box;

use kitfox_core::connection::{Answer, Question};
use kitfox_core::node::{Action, ConnectionId, Input, Node, NodeConfig, PeerKey};
use kitfox_core::router::BlockList;
use kitfox_core::storage::Storage;
use kitfox_core::wire::{FrameHeader, FrameType, HEADER_BYTES, Message, PreflightPayload};
use kitfox_core::{Config, PeerId};

use crate::world::{BOB, NOW, block_list, id, module, parse, peer_id, space};

type OfPeers<S> = Node<S, BlockList<S>>;

const CONFIG: NodeConfig =
    NodeConfig { connection: Config { max_frame_bytes: 4096, ..Config::HOST }, ..NodeConfig::HOST };

/// A node with one space and one module, and the connections and peers that are up.
#[derive(Debug)]
pub struct Hub<S: Storage> {
    /// The node.
    pub node: OfPeers<S>,
    /// Its connections, and whose they are.
    pub peers: Vec<(ConnectionId, PeerKey)>,
}

impl<S: Storage> Hub<S> {
    /// So many peers whose gate is open.
    ///
    /// # Panics
    /// If there are more than a node has room for.
    pub fn new(peers: usize) -> Self {
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
    pub fn read(&mut self, connection: ConnectionId, bytes: &mut [u8]) -> u64 {
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

    /// Sends a message; one if it was sent.
    #[inline]
    pub fn send(&mut self, peer: PeerKey, space: &[u8], module: &str, data: &[u8]) -> u64 {
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
