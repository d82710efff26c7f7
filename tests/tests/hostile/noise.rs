//! Handshakes by another implementation of Noise, with whatever in them. What is around Noise is written by hand,
//! after `docs/protocol.md`.

use kitfox_smol::{PeerId, SecretKey};
use kitfox_tests::script::wire;
use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState, TransportState};

/// Bytes in front of the first message: magic, version, suite and length.
pub(crate) const FIRST_HEADER: usize = 6;

pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub(crate) fn id(seed: u8) -> PeerId {
    key(seed).peer_id()
}

pub(crate) fn id_bytes(seed: u8) -> [u8; 32] {
    key(seed).to_provisioned().1
}

/// Magic, version and suite, then BLAKE2s of the network's name, which is empty.
pub(crate) fn prologue() -> Vec<u8> {
    wire("'kf' 01 01 69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9")
}

/// The X25519 public key of a node, as the other implementation derives it from its secret.
fn public(key: &SecretKey) -> Vec<u8> {
    let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
    dh.set(&*key.to_provisioned().0);
    dh.pubkey().to_vec()
}

fn builder(
    prologue: &[u8],
    secret: &[u8],
    end: impl FnOnce(Builder<'_>) -> HandshakeState,
) -> HandshakeState {
    let params = "Noise_IK_25519_ChaChaPoly_BLAKE2s".parse().unwrap();
    end(Builder::new(params).prologue(prologue).unwrap().local_private_key(secret).unwrap())
}

/// The end that dials `remote`.
pub(crate) fn dialling(prologue: &[u8], seed: u8, remote: u8) -> HandshakeState {
    let remote = public(&key(remote));
    builder(prologue, &*key(seed).to_provisioned().0, |builder| {
        builder.remote_public_key(&remote).unwrap().build_initiator().unwrap()
    })
}

/// The end that is dialled.
pub(crate) fn accepting(seed: u8) -> HandshakeState {
    let prologue = prologue();
    builder(&prologue, &*key(seed).to_provisioned().0, |builder| builder.build_responder().unwrap())
}

/// Records of 16 KiB, frames of 100 MiB, no features.
pub(crate) const LIMITS: &str = "4000 06400000 00000000";

pub(crate) fn limits() -> Vec<u8> {
    wire(LIMITS)
}

/// A first message with this payload, its header included.
pub(crate) fn first_with(noise: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 65_535];
    let len = noise.write_message(payload, &mut message).unwrap();
    let mut bytes = wire("'kf' 01 01");
    bytes.extend((len as u16).to_be_bytes());
    bytes.extend(&message[..len]);
    bytes
}

/// The first message that such a peer ought to send.
pub(crate) fn first(noise: &mut HandshakeState, id: &[u8; 32]) -> Vec<u8> {
    first_with(noise, &[&id[..], &limits()].concat())
}

/// The second message that such a peer ought to send, its header included.
pub(crate) fn second(noise: &mut HandshakeState, limits: &str) -> Vec<u8> {
    let mut message = [0; 200];
    let len = noise.write_message(&wire(limits), &mut message).unwrap();
    [&(len as u16).to_be_bytes(), &message[..len]].concat()
}

/// Reads a handshake message.
pub(crate) fn take(noise: &mut HandshakeState, message: &[u8]) {
    noise.read_message(message, &mut [0; 300]).unwrap();
}

/// One record.
pub(crate) fn record(noise: &mut TransportState, text: &[u8]) -> Vec<u8> {
    let mut sealed = vec![0; text.len() + 16];
    let len = noise.write_message(text, &mut sealed).unwrap();
    [&(len as u16).to_be_bytes(), &sealed[..len]].concat()
}
