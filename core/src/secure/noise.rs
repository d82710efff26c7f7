//! `Noise_IK_25519_ChaChaPoly_BLAKE2s`, one Diffie-Hellman at a time.
//!
//! Source: The Noise Protocol Framework, revision 34. Messages are written and read in place, in buffers of the
//! caller: the payload lies where its ciphertext belongs.

use core::ops::Range;

use blake2::{Blake2s256, Digest};
use hmac::{KeyInit, Mac, SimpleHmac};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::HandshakeError;
use super::aead::{Aead, Cipher, TAG_BYTES};
use super::key::{KEY_BYTES, SecretKey, diffie_hellman, x25519_public};

/// The name of the protocol, which both ends hash first.
const NAME: &[u8] = b"Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// Bytes of the first message in front of its payload: an ephemeral key, and the dialler's own with its tag.
pub(super) const FIRST_HEAD: usize = 2 * KEY_BYTES + TAG_BYTES;
/// Bytes of the second message in front of its payload: an ephemeral key.
pub(super) const SECOND_HEAD: usize = KEY_BYTES;

const EPHEMERAL: Range<usize> = 0..KEY_BYTES;
const STATIC: Range<usize> = KEY_BYTES..FIRST_HEAD;

/// One end of a handshake.
#[derive(Clone)]
pub(super) struct Noise {
    symmetric: Symmetric,
    local: SecretKey,
    /// The peer's X25519 key. An acceptor learns it from the first message.
    remote: [u8; KEY_BYTES],
    /// Our own secret for this handshake alone.
    ephemeral: Zeroizing<[u8; KEY_BYTES]>,
    remote_ephemeral: [u8; KEY_BYTES],
    next: Token,
}

/// What is to be done next; each but the last is one scalar multiplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    WriteFirstE,
    WriteFirstEs,
    WriteFirstSs,
    ReadSecondEe,
    ReadSecondSe,
    ReadFirstEs,
    ReadFirstSs,
    WriteSecondE,
    WriteSecondEe,
    WriteSecondSe,
    Nothing,
}

/// Where the message stands after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It takes more steps.
    More,
    /// It is whole: it can be sent, or its payload can be read.
    Whole,
}

impl Noise {
    /// The end that writes the first message, to the owner of `remote`.
    pub(super) fn dial(prologue: &[&[u8]], local: SecretKey, remote: [u8; KEY_BYTES]) -> Self {
        Self::new(prologue, local, remote, &remote, Token::WriteFirstE)
    }

    /// The end that reads the first message.
    pub(super) fn accept(prologue: &[&[u8]], local: SecretKey) -> Self {
        let public = *local.public();
        Self::new(prologue, local, [0; KEY_BYTES], &public, Token::ReadFirstEs)
    }

    fn new(
        prologue: &[&[u8]],
        local: SecretKey,
        remote: [u8; KEY_BYTES],
        responder: &[u8; KEY_BYTES],
        next: Token,
    ) -> Self {
        let mut symmetric = Symmetric::new();
        symmetric.mix_hash(prologue);
        symmetric.mix_hash(&[responder]);
        let ephemeral = Zeroizing::new([0; KEY_BYTES]);
        Self { symmetric, local, remote, ephemeral, remote_ephemeral: [0; KEY_BYTES], next }
    }

    /// Fresh random bytes, before the first step that writes.
    pub(super) fn set_ephemeral(&mut self, secret: &[u8; KEY_BYTES]) {
        *self.ephemeral = *secret;
    }

    /// Our own id.
    pub(super) fn local_id(&self) -> &[u8; KEY_BYTES] {
        self.local.id()
    }

    /// The peer's X25519 key; an acceptor knows it when the first message is read.
    pub(super) fn remote(&self) -> &[u8; KEY_BYTES] {
        &self.remote
    }

    /// The next step of the message that is being written or read. Its length is that of the whole message.
    ///
    /// # Errors
    /// The peer's fault; the handshake is of no use afterwards.
    pub(super) fn step<A: Aead>(&mut self, message: &mut [u8]) -> Result<Progress, HandshakeError> {
        use Token::{
            Nothing, ReadFirstEs, ReadFirstSs, ReadSecondEe, ReadSecondSe, WriteFirstE, WriteFirstEs,
            WriteFirstSs, WriteSecondE, WriteSecondEe, WriteSecondSe,
        };
        if message.len() < if self.is_first() { FIRST_HEAD } else { SECOND_HEAD } + TAG_BYTES {
            return Err(HandshakeError::Length);
        }
        let (next, progress) = match self.next {
            WriteFirstE => (self.write_e(message, WriteFirstEs), Progress::More),
            WriteFirstEs => {
                self.mix(diffie_hellman(&self.ephemeral, &self.remote))?;
                let public = *self.local.public();
                let (text, tag) = message[STATIC].split_at_mut(KEY_BYTES);
                text.copy_from_slice(&public);
                tag.copy_from_slice(&self.symmetric.encrypt_and_hash::<A>(text));
                (WriteFirstSs, Progress::More)
            }
            WriteFirstSs => {
                self.mix(diffie_hellman(self.local.secret(), &self.remote))?;
                self.write_payload::<A>(&mut message[FIRST_HEAD..]);
                (ReadSecondEe, Progress::Whole)
            }
            ReadSecondEe => {
                self.read_e(message);
                self.mix(diffie_hellman(&self.ephemeral, &self.remote_ephemeral))?;
                (ReadSecondSe, Progress::More)
            }
            ReadSecondSe => {
                self.mix(diffie_hellman(self.local.secret(), &self.remote_ephemeral))?;
                self.symmetric.decrypt_and_hash::<A>(&mut message[SECOND_HEAD..])?;
                (Nothing, Progress::Whole)
            }
            ReadFirstEs => {
                self.read_e(message);
                self.mix(diffie_hellman(self.local.secret(), &self.remote_ephemeral))?;
                self.symmetric.decrypt_and_hash::<A>(&mut message[STATIC])?;
                self.remote.copy_from_slice(&message[STATIC][..KEY_BYTES]);
                (ReadFirstSs, Progress::More)
            }
            ReadFirstSs => {
                self.mix(diffie_hellman(self.local.secret(), &self.remote))?;
                self.symmetric.decrypt_and_hash::<A>(&mut message[FIRST_HEAD..])?;
                (WriteSecondE, Progress::Whole)
            }
            WriteSecondE => (self.write_e(message, WriteSecondEe), Progress::More),
            WriteSecondEe => {
                self.mix(diffie_hellman(&self.ephemeral, &self.remote_ephemeral))?;
                (WriteSecondSe, Progress::More)
            }
            WriteSecondSe => {
                self.mix(diffie_hellman(&self.ephemeral, &self.remote))?;
                self.write_payload::<A>(&mut message[SECOND_HEAD..]);
                (Nothing, Progress::Whole)
            }
            Nothing => return Err(HandshakeError::Length),
        };
        self.next = next;
        Ok(progress)
    }

    fn is_first(&self) -> bool {
        use Token::{ReadFirstEs, ReadFirstSs, WriteFirstE, WriteFirstEs, WriteFirstSs};
        matches!(self.next, WriteFirstE | WriteFirstEs | WriteFirstSs | ReadFirstEs | ReadFirstSs)
    }

    fn write_e(&mut self, message: &mut [u8], next: Token) -> Token {
        let public = x25519_public(&self.ephemeral);
        message[EPHEMERAL].copy_from_slice(&public);
        self.symmetric.mix_hash(&[&public]);
        next
    }

    fn read_e(&mut self, message: &[u8]) {
        self.remote_ephemeral.copy_from_slice(&message[EPHEMERAL]);
        self.symmetric.mix_hash(&[&self.remote_ephemeral]);
    }

    /// The one Diffie-Hellman of a step.
    fn mix(&mut self, shared: Option<Zeroizing<[u8; KEY_BYTES]>>) -> Result<(), HandshakeError> {
        let shared = shared.ok_or(HandshakeError::ZeroSecret)?;
        self.symmetric.mix_key(&shared);
        Ok(())
    }

    fn write_payload<A: Aead>(&mut self, room: &mut [u8]) {
        let text = room.len() - TAG_BYTES;
        let (text, tag) = room.split_at_mut(text);
        tag.copy_from_slice(&self.symmetric.encrypt_and_hash::<A>(text));
    }

    /// The ciphers of a finished handshake: what the dialler writes with, and what the acceptor writes with.
    pub(super) fn split<A: Aead>(&self) -> (Cipher<A>, Cipher<A>) {
        debug_assert_eq!(self.next, Token::Nothing);
        let (dialler, acceptor) = hkdf(&self.symmetric.chaining, &[]);
        (Cipher::new(&dialler), Cipher::new(&acceptor))
    }
}

/// Noise's symmetric state.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Symmetric {
    hash: [u8; 32],
    chaining: [u8; 32],
    key: [u8; 32],
}

impl Symmetric {
    fn new() -> Self {
        let hash: [u8; 32] = Blake2s256::digest(NAME).into();
        Self { hash, chaining: hash, key: [0; 32] }
    }

    fn mix_hash(&mut self, parts: &[&[u8]]) {
        let mut hash = Blake2s256::new_with_prefix(self.hash);
        parts.iter().for_each(|part| hash.update(part));
        self.hash = hash.finalize().into();
    }

    fn mix_key(&mut self, input: &[u8; 32]) {
        let (chaining, key) = hkdf(&self.chaining, input);
        (self.chaining, self.key) = (*chaining, *key);
    }

    /// Each key encrypts one text, so that the nonce is always zero.
    fn encrypt_and_hash<A: Aead>(&mut self, text: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = A::new(&self.key).seal(0, &self.hash, text);
        self.mix_hash(&[text, &tag]);
        tag
    }

    /// Opens a text with its tag behind it.
    fn decrypt_and_hash<A: Aead>(&mut self, sealed: &mut [u8]) -> Result<(), HandshakeError> {
        let before = self.hash;
        self.mix_hash(&[sealed]);
        let (text, tag) = sealed.split_last_chunk_mut().ok_or(HandshakeError::Length)?;
        if A::new(&self.key).open(0, &before, text, tag) { Ok(()) } else { Err(HandshakeError::Forged) }
    }
}

/// Noise's `HKDF` with two outputs.
fn hkdf(chaining: &[u8; 32], input: &[u8]) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let secret = hmac(chaining, &[input]);
    let first = hmac(&secret, &[&[1]]);
    let second = hmac(&secret, &[&*first, &[2]]);
    (first, second)
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let Ok(mut mac) = SimpleHmac::<Blake2s256>::new_from_slice(key) else {
        debug_assert!(false, "keys of every length are taken");
        return Zeroizing::new([0; 32]);
    };
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use alloc::vec::Vec;

    use super::*;
    use crate::secure::ChaChaPoly;

    fn hex(value: &serde_json::Value) -> Vec<u8> {
        let text = value.as_str().expect("hex");
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn key(value: &serde_json::Value) -> [u8; KEY_BYTES] {
        hex(value).try_into().unwrap()
    }

    /// All steps of one message.
    fn whole(noise: &mut Noise, message: &mut [u8]) -> Result<(), HandshakeError> {
        while noise.step::<ChaChaPoly>(message)? == Progress::More {}
        Ok(())
    }

    fn room(head: usize, payload: &[u8]) -> Vec<u8> {
        let mut message = std::vec![0; head + payload.len() + TAG_BYTES];
        message[head..head + payload.len()].copy_from_slice(payload);
        message
    }

    /// Vectors that others have published for this protocol, byte for byte, in both roles.
    #[test]
    fn published_vectors_are_reproduced() {
        let file: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/noise_ik.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 2);
        for vector in vectors {
            let prologue = hex(&vector["init_prologue"]);
            let dialler_key = SecretKey::for_tests(key(&vector["init_static"]));
            let acceptor_key = SecretKey::for_tests(key(&vector["resp_static"]));
            let mut dialler = Noise::dial(&[&prologue], dialler_key, key(&vector["init_remote_static"]));
            let mut acceptor = Noise::accept(&[&prologue], acceptor_key);
            dialler.set_ephemeral(&key(&vector["init_ephemeral"]));
            acceptor.set_ephemeral(&key(&vector["resp_ephemeral"]));

            let messages = vector["messages"].as_array().unwrap();
            let mut texts =
                messages.iter().map(|message| (hex(&message["payload"]), hex(&message["ciphertext"])));
            for head in [FIRST_HEAD, SECOND_HEAD] {
                let (payload, expected) = texts.next().unwrap();
                let mut message = room(head, &payload);
                whole(&mut dialler, &mut message).unwrap();
                assert_eq!(message, expected);
                whole(&mut acceptor, &mut message).unwrap();
                assert_eq!(message[head..head + payload.len()], payload);
                core::mem::swap(&mut dialler, &mut acceptor);
            }
            assert_eq!(dialler.symmetric.hash, acceptor.symmetric.hash);
            if let Some(expected) = vector.get("handshake_hash") {
                assert_eq!(dialler.symmetric.hash, key(expected));
            }

            let (mut from_dialler, mut from_acceptor) = dialler.split::<ChaChaPoly>();
            let (mut at_acceptor, mut at_dialler) = acceptor.split::<ChaChaPoly>();
            for (number, (payload, expected)) in texts.enumerate() {
                let (writing, reading) = match number % 2 {
                    0 => (&mut from_dialler, &mut at_acceptor),
                    _ => (&mut from_acceptor, &mut at_dialler),
                };
                let mut text = payload.clone();
                let tag = writing.seal(&[], &mut text);
                assert_eq!([&text[..], &tag].concat(), expected);
                assert!(reading.open(&[], &mut text, &tag));
                assert_eq!(text, payload);
            }
        }
    }

    fn ends() -> (Noise, Noise) {
        let (dialler, acceptor) = (SecretKey::for_tests([1; 32]), SecretKey::for_tests([2; 32]));
        let mut dialler = Noise::dial(&[b"here"], dialler, *acceptor.public());
        let mut acceptor = Noise::accept(&[b"here"], SecretKey::for_tests([2; 32]));
        dialler.set_ephemeral(&[3; 32]);
        acceptor.set_ephemeral(&[4; 32]);
        (dialler, acceptor)
    }

    #[test]
    fn a_flipped_bit_anywhere_in_either_message_is_refused() {
        let (mut dialler, acceptor) = ends();
        let mut first = room(FIRST_HEAD, b"hello");
        whole(&mut dialler, &mut first).unwrap();
        for place in 0..first.len() {
            let mut flipped = first.clone();
            flipped[place] ^= 1;
            assert_eq!(
                whole(&mut acceptor.clone(), &mut flipped),
                Err(HandshakeError::Forged),
                "byte {place}"
            );
        }
        let mut acceptor = acceptor;
        whole(&mut acceptor, &mut first).unwrap();
        let mut second = room(SECOND_HEAD, b"you too");
        whole(&mut acceptor, &mut second).unwrap();
        for place in 0..second.len() {
            let mut flipped = second.clone();
            flipped[place] ^= 1;
            assert_eq!(
                whole(&mut dialler.clone(), &mut flipped),
                Err(HandshakeError::Forged),
                "byte {place}"
            );
        }
    }

    #[test]
    fn an_ephemeral_key_of_small_order_is_refused() {
        let (_, mut acceptor) = ends();
        for low in [0, 1] {
            let mut message = room(FIRST_HEAD, b"");
            message[0] = low;
            assert_eq!(whole(&mut acceptor.clone(), &mut message), Err(HandshakeError::ZeroSecret));
        }
        let (mut dialler, _) = ends();
        let mut first = room(FIRST_HEAD, b"");
        whole(&mut dialler, &mut first).unwrap();
        whole(&mut acceptor, &mut first).unwrap();
        let mut second = room(SECOND_HEAD, b"");
        whole(&mut acceptor, &mut second).unwrap();
        second[..KEY_BYTES].fill(0);
        assert_eq!(whole(&mut dialler, &mut second), Err(HandshakeError::ZeroSecret));
    }

    #[test]
    fn room_too_short_for_a_message_is_refused_at_each_step() {
        let (mut dialler, mut acceptor) = ends();
        let too_short = |noise: &Noise, message: &[u8], least: usize| {
            for len in 0..least {
                let step = noise.clone().step::<ChaChaPoly>(&mut message[..len].to_vec());
                assert_eq!(step, Err(HandshakeError::Length), "{len} bytes");
            }
        };
        for head in [FIRST_HEAD, SECOND_HEAD] {
            let mut message = room(head, b"");
            for end in [&mut dialler, &mut acceptor] {
                too_short(end, &message, head + TAG_BYTES);
                while end.step::<ChaChaPoly>(&mut message).unwrap() == Progress::More {
                    too_short(end, &message, head + TAG_BYTES);
                }
            }
            core::mem::swap(&mut dialler, &mut acceptor);
        }
        too_short(&dialler, &room(FIRST_HEAD, b""), FIRST_HEAD + TAG_BYTES);
    }

    #[test]
    fn another_prologue_is_refused_at_the_first_message() {
        let (mut dialler, _) = ends();
        let mut acceptor = Noise::accept(&[b"there"], SecretKey::for_tests([2; 32]));
        let mut first = room(FIRST_HEAD, b"");
        whole(&mut dialler, &mut first).unwrap();
        assert_eq!(whole(&mut acceptor, &mut first), Err(HandshakeError::Forged));
    }

    #[test]
    fn each_step_is_one_scalar_multiplication() {
        let (mut dialler, mut acceptor) = ends();
        let steps = |noise: &mut Noise, message: &mut [u8]| {
            let mut count = 1;
            while noise.step::<ChaChaPoly>(message).unwrap() == Progress::More {
                count += 1;
            }
            count
        };
        let (mut first, mut second) = (room(FIRST_HEAD, b""), room(SECOND_HEAD, b""));
        assert_eq!((steps(&mut dialler, &mut first), steps(&mut acceptor, &mut first)), (3, 2));
        assert_eq!((steps(&mut acceptor, &mut second), steps(&mut dialler, &mut second)), (3, 2));
    }
}
