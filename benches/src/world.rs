//! Two nodes with an open connection, and what they say to each other.

use kitfox_core::connection::{Action, Answer, Channel, Connection, Input, Question, Wants};
use kitfox_core::router::{BlockList, Directory};
use kitfox_core::storage::Storage;
use kitfox_core::wire::{FrameHeader, FrameType, Message, PeerUrl, UrlRules};
use kitfox_core::{Config, Instant, PeerId, RouterLimits};

/// Spaces and modules.
pub type Spaces<S> = Directory<S, BlockList<S>>;

/// The one moment.
pub const NOW: Instant = Instant::from_micros(1_000_000);

/// The URL of the one who dials.
pub const ALICE: &str =
    "wss://relay.example.org:443/4b8f0c2d6a1e9375b0d4f8c3a2e7165948d3b7f0c6a91e2584d7f3b09c6e1a52";
/// The URL of the one who is dialled.
pub const BOB: &str =
    "wss://relay.example.org:443/e01d5a7c93f64b28ce50a7d1f98b3642c5e0d7a4816f39b2ac74d058e3f1b697";

/// Frames of up to 100 MiB; on the Fixed tier only what lies whole in the caller's buffer is as long as that.
pub const CONFIG: Config = Config::HOST;

kitfox_core::fixed! {
    /// What a gateway might have.
    pub Fixed { spaces: 2, modules: 4, url: 128, block_rules: 4, frame: (1 << 20) + 1024, tx: 20 * 1024 }
}

/// A number that looks random: ids of spaces and peers are hashes.
fn scrambled(number: u64) -> u64 {
    let number = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ number >> 32
}

/// Thirty-two bytes that belong to a number.
pub fn id(number: u64) -> [u8; 32] {
    let mut id = [0; 32];
    for (part, chunk) in (1..).zip(id.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&scrambled(number << 8 | part).to_le_bytes());
    }
    id
}

/// The id of a space.
pub fn space(number: u64) -> [u8; 32] {
    id(number)
}

/// The name of a module: eight characters.
pub fn module(number: u64) -> String {
    format!("module{number:02}")
}

/// The URL's peer.
pub fn peer_id(url: &str) -> PeerId {
    parse(url).peer_id().and_then(PeerId::new).expect("has an id")
}

/// A URL that is valid.
pub fn parse(url: &str) -> PeerUrl<'_> {
    PeerUrl::parse(url, &UrlRules::default()).expect("valid URL")
}

/// Some peers are blocked that have nothing to do with anything.
pub fn block_list<S: Storage>() -> BlockList<S> {
    let mut blocks = BlockList::new(&RouterLimits::HOST);
    blocks.block(PeerId::from_key(id(2001)), None).expect("room");
    blocks.block(PeerId::from_key(id(2002)), None).expect("room");
    blocks.block(PeerId::from_key(id(2003)), Some(&space(0))).expect("room");
    blocks
}

/// So many spaces with so many modules each.
pub fn directory<S: Storage>(spaces: u64, modules: u64) -> Spaces<S> {
    let mut directory = Directory::new(&RouterLimits::HOST, block_list());
    for number in 0..spaces {
        directory.register_space(&space(number)).expect("room");
        for name in (0..modules).map(module) {
            directory.register_module(&space(number), &name).expect("room");
        }
    }
    directory
}

/// The two ends of an open connection. Those of the Fixed tier are larger than a stack.
pub fn connected<S: Storage>(directory: &Spaces<S>) -> (Box<Connection<S>>, Box<Connection<S>>) {
    let mut alice = dialler();
    let mut bob = acceptor();
    let mut wire = [0; 1024];
    for _ in 0..2 {
        answer_questions(&mut alice, directory, ALICE, &mut []);
        let len = alice.transmit(NOW, &mut wire);
        answer_questions(&mut bob, directory, BOB, &mut wire[..len]);
        let len = bob.transmit(NOW, &mut wire);
        answer_questions(&mut alice, directory, ALICE, &mut wire[..len]);
    }
    assert!(alice.is_open() && bob.is_open());
    // Bob has not seen Alice's confirm as a frame of its own yet.
    answer_questions(&mut bob, directory, BOB, &mut kitfox_core::wire::EMPTY_DATA_FRAME.clone());
    (alice, bob)
}

#[inline(never)]
fn dialler<S: Storage>() -> Box<Connection<S>> {
    Box::new(Connection::dial(NOW, &CONFIG, parse(BOB)).expect("diallable"))
}

#[inline(never)]
fn acceptor<S: Storage>() -> Box<Connection<S>> {
    Box::new(Connection::accept(NOW, &CONFIG))
}

/// All there is to do about these bytes, with a yes to every question.
pub fn answer_questions<S: Storage, C: Channel>(
    connection: &mut Connection<S, C>,
    directory: &Spaces<S>,
    own_url: &str,
    bytes: &mut [u8],
) {
    let mut start = 0;
    loop {
        let mut answer = None;
        let mut actions = connection.handle(NOW, Input::Bytes(&mut bytes[start..]));
        while let Some(action) = actions.next(directory) {
            match action {
                Action::Ask { id, question: Question::GatherPreflight { .. } } => {
                    answer = Some((id, Answer::Preflight { own_url: parse(own_url), data: b"preflight" }));
                }
                Action::Ask { id, question: Question::Randomness } => {
                    answer = Some((id, Answer::Randomness(&[7; 32])));
                }
                Action::Ask { id, .. } => answer = Some((id, Answer::Accept)),
                _ => {}
            }
        }
        let (taken, wants) = actions.finish();
        start += taken;
        match (wants, answer) {
            (Wants::Answer, Some((id, answer))) => connection.answer(NOW, id, answer).expect("asked for"),
            (Wants::Work, _) => connection.work(NOW),
            _ => return,
        }
    }
}

/// The bytes of a message.
pub fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).expect("room");
    bytes
}

/// The frames of messages, one after the other.
pub fn frames<'m>(messages: impl IntoIterator<Item = Message<'m>>) -> Vec<u8> {
    let mut wire = Vec::new();
    for message in messages {
        let header =
            FrameHeader::new(FrameType::Data, message.encoded_len(), usize::MAX).expect("short enough");
        wire.extend_from_slice(&header.encode());
        wire.extend_from_slice(&encoded(&message));
    }
    wire
}
