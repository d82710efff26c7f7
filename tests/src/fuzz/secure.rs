//! The secured channel with somebody on the way who changes what is said.

use kitfox_core::Instant;
use kitfox_core::connection::{Channel as _, Connection, Input, Rx, Tx, Wants};
use kitfox_core::secure::{Credentials, Network, SecretKey, Secured, Start};
use kitfox_core::storage::{Heap, Storage};

use super::Choices;
use crate::pair::{Chunks, Side, peer_url};
use crate::script::{Fixed, config};

type Channel<S> = Secured<<S as Storage>::RxBuffer>;

/// What both ends of a session would say if nobody interfered.
const MESSAGES: usize = 6;

fn credentials(seed: u8) -> Credentials {
    Credentials { key: SecretKey::from_seed(&[seed; 32]), network: Network::default(), max_record_bytes: 300 }
}

fn url(seed: u8) -> String {
    format!("wss://127.0.0.1:9000/{}", credentials(seed).key.peer_id())
}

fn sides<S: Storage>() -> [Side<S, Channel<S>>; 2] {
    let (config, now) = (config(), Instant::ZERO);
    let bob = credentials(2).key.peer_id();
    let (opener, sealer) = Channel::<S>::halves(Start::dial(&credentials(1), &bob).expect("a key"));
    let rx = Rx::dial(now, &config, opener, peer_url(&url(2))).expect("diallable");
    let alice = Connection::from_halves(rx, Tx::new(&config, sealer));
    let (opener, sealer) = Channel::<S>::halves(Start::accept(&credentials(2)));
    let bob = Connection::from_halves(Rx::accept(now, &config, opener), Tx::new(&config, sealer));
    [Side::new(alice, &url(1), b"hello"), Side::new(bob, &url(2), b"world")]
}

/// One turn of somebody on the way: passes a piece on, changed or not.
fn meddle(choices: &mut Choices<'_>, bytes: &mut Vec<u8>, seen: &[u8]) -> bool {
    let at = choices.number();
    let at = if bytes.is_empty() { 0 } else { at % bytes.len() };
    match choices.below(8) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << choices.below(8),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(..at.min(bytes.len()))),
        3 => bytes.insert(at, choices.byte()),
        4 => bytes.extend_from_within(at..),
        // What was said before, once more.
        5 if !seen.is_empty() => bytes.extend_from_slice(&seen[at % seen.len()..]),
        _ => return false,
    }
    true
}

fn run<S: Storage>(input: &[u8]) -> [Vec<String>; 2] {
    let mut choices = Choices(input);
    let now = Instant::ZERO;
    let mut sides = sides::<S>();
    let mut seen = [Vec::new(), Vec::new()];
    let mut sent = [0; 2];
    let mut touched = false;
    for round in 0..40 {
        for from in 0..2 {
            sides[from].run(now);
            if round > 5 && sides[from].connection.is_open() && sent[from] < MESSAGES {
                let data = vec![b'a' + sent[from] as u8; choices.number() % 600];
                if sides[from].notify(now, &data).is_ok() {
                    sent[from] += 1;
                }
            }
            let mut bytes = sides[from].written(now);
            let honest = bytes.clone();
            if !choices.is_over() {
                touched |= meddle(&mut choices, &mut bytes, &seen[from]) && bytes != honest;
            }
            seen[from].extend_from_slice(&honest);
            let to = &mut sides[1 - from];
            to.shown = Chunks::Seeded(round, 1 + choices.below(256));
            if to.wants != Wants::Nothing {
                to.receive(now, &bytes);
            }
        }
    }
    for side in &mut sides {
        if side.wants == Wants::Bytes {
            side.tell(now, Input::End);
        }
    }
    let told =
        sides.each_ref().map(|side| side.notified().iter().map(|&data| data.to_owned()).collect::<Vec<_>>());
    for (told, sent) in told.iter().zip([sent[1], sent[0]]) {
        // What arrives is what was sent, from the first on, each once: whatever was done to the bytes.
        assert!(told.len() <= sent);
        for (number, data) in told.iter().enumerate() {
            assert!(data.bytes().all(|byte| byte == b'a' + number as u8), "message {number} is {data}");
        }
    }
    if !touched {
        assert_eq!([told[0].len(), told[1].len()], [MESSAGES; 2], "nobody interfered");
    }
    told
}

/// A handshake and records with any changes on the way: what arrives was sent, and both tiers agree.
pub fn secure(input: &[u8]) {
    assert_eq!(run::<Heap>(input), run::<Fixed>(input));
}
