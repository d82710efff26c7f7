//! Against another implementation of Noise, in both roles. What is around Noise is written here by hand, after
//! `docs/protocol.md`.

use kitfox_core::connection::CloseReason;
use kitfox_core::secure::{REKEY_RECORDS, SecretKey};
use kitfox_core::storage::Heap;
use kitfox_tests::script::{Act, at, wire};
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState, TransportState};

use crate::common::{ALICE, BOB, Secure, alice, bob, id, key, url};

fn params() -> NoiseParams {
    "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().unwrap()
}

/// Magic, version and suite, then BLAKE2s of the network's name, which is empty.
pub(crate) fn prologue() -> Vec<u8> {
    wire("'kf' 01 01 69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9")
}

/// The X25519 public key of a node, as the other implementation derives it from its secret.
pub(crate) fn public(key: &SecretKey) -> Vec<u8> {
    use snow::params::DHChoice;
    use snow::resolvers::{CryptoResolver, DefaultResolver};
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
    dh.set(&*key.to_provisioned().0);
    dh.pubkey().to_vec()
}

fn dialling(network: &[u8]) -> HandshakeState {
    let secret = key(ALICE).to_provisioned().0;
    Builder::new(params())
        .prologue(network)
        .unwrap()
        .local_private_key(&*secret)
        .unwrap()
        .remote_public_key(&public(&key(BOB)))
        .unwrap()
        .build_initiator()
        .unwrap()
}

fn accepting() -> HandshakeState {
    let secret = key(BOB).to_provisioned().0;
    let prologue = prologue();
    Builder::new(params())
        .prologue(&prologue)
        .unwrap()
        .local_private_key(&*secret)
        .unwrap()
        .build_responder()
        .unwrap()
}

/// Record limit 1,024, frames of 4,096 bytes, and feature bits that nobody knows.
const LIMITS: &str = "0400 00001000 ffffffff";

fn first_message(noise: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 65_535];
    let len = noise.write_message(payload, &mut message).unwrap();
    let mut bytes = wire("'kf' 01 01");
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend(&message[..len]);
    bytes
}

fn id_bytes(seed: u8) -> [u8; 32] {
    *id(seed).key().unwrap()
}

/// One record, and what is behind it.
fn record(noise: &mut TransportState, text: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; text.len() + 16];
    let len = noise.write_message(text, &mut sealed).unwrap();
    [&(len as u16).to_be_bytes(), &sealed[..len]].concat()
}

fn open(noise: &mut TransportState, mut bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk() {
        let (sealed, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)));
        let mut part = vec![0; sealed.len()];
        let len = noise.read_message(sealed, &mut part).unwrap();
        text.extend(&part[..len]);
        bytes = rest;
    }
    text
}

fn preflight(own_url: &str) -> Vec<u8> {
    let mut payload = (own_url.len() as u32).to_be_bytes().to_vec();
    payload.extend(own_url.as_bytes());
    payload.extend(wire("0801"));
    let mut frame = vec![0];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection to our acceptor whose gate is open.
fn dialled() -> (TransportState, Secure<Heap>) {
    let mut noise = dialling(&prologue());
    let mut bob = bob::<Heap>();
    let payload = [&id_bytes(ALICE)[..], &wire(LIMITS), b"what later versions say"].concat();
    bob.receive(at(0), &first_message(&mut noise, &payload));
    let second = bob.written(at(0));
    let mut limits = [0; 100];
    assert_eq!(u16::from_be_bytes([second[0], second[1]]) as usize, second.len() - 2);
    let len = noise.read_message(&second[2..], &mut limits).unwrap();
    // Bob takes records of as much as his buffer holds, and frames of 4,096 bytes.
    assert_eq!(limits[..2], 16_384u16.to_be_bytes());
    assert_eq!(limits[2..len], wire("00001000 00000000"));
    let mut noise = noise.into_transport_mode().unwrap();
    bob.receive(at(0), &record(&mut noise, &preflight(&url(id(ALICE)))));
    let answer = bob.written(at(0));
    assert!(open(&mut noise, &answer).starts_with(&[0]), "Bob's preflight");
    bob.receive(at(0), &record(&mut noise, &wire("01 00000000")));
    assert!(bob.opened());
    (noise, bob)
}

#[test]
fn another_implementation_dials_us() {
    let (mut noise, mut bob) = dialled();
    bob.receive(at(0), &record(&mut noise, &wire("01 00000014 0802 1208 'it rains' 1a06 'garden'")));
    assert_eq!(bob.notified(), ["it rains"]);
    bob.notify(at(0), b"let it").unwrap();
    let written = bob.written(at(0));
    assert_eq!(open(&mut noise, &written), wire("01 00000012 0802 1206 'let it' 1a06 'garden'"));
    bob.receive(at(0), &record(&mut noise, &[]));
    assert_eq!(bob.closed(), Some(CloseReason::Ended));
}

#[test]
fn we_dial_another_implementation() {
    let mut alice = alice::<Heap>();
    alice.run(at(0));
    let first = alice.written(at(0));
    let mut noise = accepting();
    let mut payload = [0; 100];
    assert_eq!(first[..6], wire("'kf' 01 01 008a"));
    let len = noise.read_message(&first[6..], &mut payload).unwrap();
    assert_eq!((&payload[..32], len), (&id_bytes(ALICE)[..], 42));
    // Records of 16 KiB, frames of 4,096 bytes, and no features.
    assert_eq!(payload[32..42], wire("4000 00001000 00000000"));
    let mut second = [0; 200];
    let len = noise.write_message(&[wire(LIMITS), b"more".to_vec()].concat(), &mut second).unwrap();
    alice.receive(at(0), &[&(len as u16).to_be_bytes(), &second[..len]].concat());
    let mut noise = noise.into_transport_mode().unwrap();
    let preflight_of_alice = open(&mut noise, &alice.written(at(0)));
    let expected = preflight(&url(id(ALICE)));
    // Her URL, then a message with "hello" in it.
    assert_eq!(preflight_of_alice[5..expected.len() - 2], expected[5..expected.len() - 2]);
    alice.receive(at(0), &record(&mut noise, &preflight(&url(id(BOB)))));
    assert!(alice.opened());
    assert_eq!(open(&mut noise, &alice.written(at(0))), wire("01 00000000"));
    // Bob said that his records are of 1,024 bytes at most.
    alice.notify(at(0), &[7; 3000]).unwrap();
    let written = alice.written(at(0));
    assert_eq!(u16::from_be_bytes([written[0], written[1]]), 1024 + 16);
    assert!(open(&mut noise, &written).ends_with(b"\x1a\x06garden"));
}

#[test]
fn keys_are_replaced_as_noise_says() {
    let (mut noise, mut bob) = dialled();
    // Two records each way so far, handshake not counted: Alice has written two, Bob one.
    let (mut written, mut read) = (2, 1);
    // Every implementation has to know this number.
    assert_eq!(REKEY_RECORDS, 65_536);
    for number in 0..REKEY_RECORDS + 5 {
        let data = format!("{:08}", number % 100_000_000);
        let message = wire(&format!("01 00000014 0802 1208 '{data}' 1a06 'garden'"));
        bob.acts.truncate(8);
        let acts = bob.receive(at(0), &record(&mut noise, &message));
        assert!(matches!(&acts[..], [Act::Notify { .. }]), "{number}: {acts:?}");
        written += 1;
        if written == REKEY_RECORDS {
            noise.rekey_outgoing();
        }
        bob.notify(at(0), data.as_bytes()).unwrap();
        let back = bob.written(at(0));
        assert_eq!(open(&mut noise, &back).len(), message.len());
        read += 1;
        if read == REKEY_RECORDS {
            noise.rekey_incoming();
        }
    }
}

#[test]
fn an_id_that_is_not_the_one_of_the_key_closes() {
    // Alice's key, with another's id in the payload.
    for wrong in [id_bytes(3), [0; 32], [0xff; 32]] {
        let mut noise = dialling(&prologue());
        let mut bob = bob::<Heap>();
        bob.receive(at(0), &first_message(&mut noise, &[&wrong[..], &wire(LIMITS)].concat()));
        let error = kitfox_core::secure::HandshakeError::Id;
        assert_eq!(bob.closed(), Some(kitfox_core::ProtocolError::from(error).into()));
    }
}

#[test]
fn a_peer_that_takes_only_tiny_records_is_refused() {
    let mut noise = dialling(&prologue());
    let mut bob = bob::<Heap>();
    bob.receive(
        at(0),
        &first_message(&mut noise, &[&id_bytes(ALICE)[..], &wire("00ff 00001000 00000000")].concat()),
    );
    let error = kitfox_core::secure::HandshakeError::RecordLimit;
    assert_eq!(bob.closed(), Some(kitfox_core::ProtocolError::from(error).into()));
}
