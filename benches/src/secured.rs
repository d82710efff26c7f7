//! Two ends of a secured channel.

use core::hint::black_box;

use kitfox_core::PeerId;
use kitfox_core::connection::{Channel, Connection, Handshake, Opener, Rx, Sealer, Tx};
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey, Secured, Start};
use kitfox_core::storage::{Heap, HeapBuffer, HeapQueue, TxQueue};

use crate::world::{CONFIG, NOW, Spaces, answer_questions, parse};

/// The channel.
pub type Wire = Secured<HeapBuffer>;
/// One end of it.
pub type Ends = (<Wire as Channel>::Opener, <Wire as Channel>::Sealer);

/// Those of a node, by a number.
pub fn credentials(seed: u8) -> Credentials {
    Credentials {
        key: SecretKey::from_seed(&[seed; 32]),
        network: Network::default(),
        max_record_bytes: HOST_RECORD_BYTES,
    }
}

/// The dialler's end and the acceptor's, before they have shaken hands.
pub fn ends() -> (Ends, Ends) {
    let (alice, bob) = (credentials(1), credentials(2));
    let dialler = Start::dial(&alice, &bob.key.peer_id()).expect("a key");
    (Wire::halves(dialler), Wire::halves(Start::accept(&bob)))
}

/// All there is to do before more bytes are needed.
pub fn work((opener, sealer): &mut Ends) -> u64 {
    loop {
        match opener.handshake() {
            Handshake::Work => Wire::work(opener, sealer).expect("an honest peer"),
            Handshake::Randomness => opener.give_randomness(black_box(&[7; 32])),
            Handshake::Admission(_) => opener.admitted(),
            Handshake::Bytes | Handshake::Done => return 0,
        }
    }
}

/// What an end writes.
pub fn written((_, sealer): &mut Ends) -> Vec<u8> {
    let mut queue = HeapQueue::with_limits(CONFIG.tx_queue);
    let mut pieces = [&[][..]; 1];
    let shown = sealer.peek(&mut queue, &mut pieces);
    let bytes = pieces[..shown].concat();
    sealer.written(&mut queue, bytes.len());
    bytes
}

/// An open connection whose acceptor is told apart.
pub fn open(directory: &Spaces<Heap>) -> (Connection<Heap, Wire>, Connection<Heap, Wire>) {
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
