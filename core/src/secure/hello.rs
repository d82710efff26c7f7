//! The bytes around and inside the two messages of a handshake. `docs/protocol.md` has them in full.

use super::aead::TAG_BYTES;
use super::key::KEY_BYTES;
use super::noise::{FIRST_HEAD, SECOND_HEAD};
use super::{HandshakeError, Network};

/// Version of the channel.
pub const VERSION: u8 = 1;
/// The only suite of version 1: `Noise_IK_25519_ChaChaPoly_BLAKE2s`.
pub const SUITE: u8 = 1;

/// What a secured connection begins with. No frame does: it would be one of an unknown type.
const MAGIC: [u8; 2] = *b"kf";
const HELLO: [u8; 4] = [MAGIC[0], MAGIC[1], VERSION, SUITE];

/// Bytes of a length, in front of everything.
pub(super) const LEN_BYTES: usize = 2;
/// Bytes in front of the first message: magic, version, suite, length.
pub(super) const FIRST_HEADER: usize = HELLO.len() + LEN_BYTES;
/// Bytes in front of the second message: a length.
pub(super) const SECOND_HEADER: usize = LEN_BYTES;

/// Longest message of a handshake. What a payload holds beyond [`Limits`] is for later versions.
const MAX_MESSAGE: usize = 256;
const LIMITS_BYTES: usize = 10;
/// Bytes of the payload of our own first message.
const FIRST_PAYLOAD: usize = KEY_BYTES + LIMITS_BYTES;

/// Bytes of our own first message, header included.
pub(super) const FIRST_BYTES: usize = FIRST_HEADER + FIRST_HEAD + FIRST_PAYLOAD + TAG_BYTES;
/// Bytes of our own second message, header included.
pub(super) const SECOND_BYTES: usize = SECOND_HEADER + SECOND_HEAD + LIMITS_BYTES + TAG_BYTES;

/// Bytes that a record adds to its text: length and tag.
pub const RECORD_OVERHEAD: usize = LEN_BYTES + TAG_BYTES;
/// Every node takes records with so many bytes of text.
pub const MIN_RECORD_BYTES: u16 = 256;
/// No record has more bytes of text than its length can say, tag included.
pub const MAX_RECORD_BYTES: u16 = u16::MAX - TAG_BYTES as u16;

/// What a handshake is bound to, besides the keys.
pub(super) fn prologue(network: &Network) -> [&[u8]; 2] {
    [&HELLO, &network.0]
}

/// What an end tells the other about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Longest text of a record that it takes.
    pub(super) record_bytes: u16,
    /// Longest frame that it takes, header included.
    pub(super) frame_bytes: u32,
}

/// Feature bits that this version sets. None is defined; those that are not known are ignored.
const FEATURES: u32 = 0;

impl Limits {
    fn encode(self) -> [u8; LIMITS_BYTES] {
        let mut bytes = [0; LIMITS_BYTES];
        bytes[..2].copy_from_slice(&self.record_bytes.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.frame_bytes.to_be_bytes());
        bytes[6..].copy_from_slice(&FEATURES.to_be_bytes());
        bytes
    }

    /// Reads limits from the front of `payload`; what is behind them is ignored.
    fn decode(payload: &[u8]) -> Result<Self, HandshakeError> {
        let (&[r0, r1, f0, f1, f2, f3, _, _, _, _], _) =
            payload.split_first_chunk::<LIMITS_BYTES>().ok_or(HandshakeError::Length)?;
        let record_bytes = u16::from_be_bytes([r0, r1]);
        if record_bytes < MIN_RECORD_BYTES {
            return Err(HandshakeError::RecordLimit);
        }
        Ok(Self { record_bytes, frame_bytes: u32::from_be_bytes([f0, f1, f2, f3]) })
    }
}

/// The first message with its header, ready to be worked on.
pub(super) fn first(id: &[u8; KEY_BYTES], limits: Limits) -> [u8; FIRST_BYTES] {
    let mut bytes = [0; FIRST_BYTES];
    bytes[..HELLO.len()].copy_from_slice(&HELLO);
    bytes[HELLO.len()..FIRST_HEADER].copy_from_slice(&((FIRST_BYTES - FIRST_HEADER) as u16).to_be_bytes());
    let payload = &mut bytes[FIRST_HEADER + FIRST_HEAD..];
    payload[..KEY_BYTES].copy_from_slice(id);
    payload[KEY_BYTES..FIRST_PAYLOAD].copy_from_slice(&limits.encode());
    bytes
}

/// The second message with its header, ready to be worked on.
pub(super) fn second(limits: Limits) -> [u8; SECOND_BYTES] {
    let mut bytes = [0; SECOND_BYTES];
    bytes[..SECOND_HEADER].copy_from_slice(&((SECOND_BYTES - SECOND_HEADER) as u16).to_be_bytes());
    bytes[SECOND_HEADER + SECOND_HEAD..][..LIMITS_BYTES].copy_from_slice(&limits.encode());
    bytes
}

/// How long the first message is with its header, from as many of its bytes as are there; `None` if that is not known
/// yet. What is wrong is said at the first byte that shows it.
pub(super) fn first_len(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    for (place, (&is, &ought)) in bytes.iter().zip(&HELLO).enumerate() {
        if is != ought {
            return Err(match place {
                2 => HandshakeError::Version(is),
                3 => HandshakeError::Suite(is),
                _ => HandshakeError::NotSecured,
            });
        }
    }
    message_len(bytes.get(HELLO.len()..).unwrap_or_default(), FIRST_HEAD + FIRST_PAYLOAD + TAG_BYTES)
        .map(|len| len.map(|len| FIRST_HEADER + len))
}

/// How long the second message is with its header.
pub(super) fn second_len(bytes: &[u8]) -> Result<Option<usize>, HandshakeError> {
    message_len(bytes, SECOND_HEAD + LIMITS_BYTES + TAG_BYTES).map(|len| len.map(|len| SECOND_HEADER + len))
}

fn message_len(bytes: &[u8], least: usize) -> Result<Option<usize>, HandshakeError> {
    let Some((&len, _)) = bytes.split_first_chunk() else { return Ok(None) };
    let len = usize::from(u16::from_be_bytes(len));
    if (least..=MAX_MESSAGE).contains(&len) { Ok(Some(len)) } else { Err(HandshakeError::Length) }
}

/// The id and the limits in a first message that was opened.
pub(super) fn read_first(message: &[u8]) -> Result<([u8; KEY_BYTES], Limits), HandshakeError> {
    let payload = payload(message, FIRST_HEAD)?;
    let (id, limits) = payload.split_first_chunk().ok_or(HandshakeError::Length)?;
    Ok((*id, Limits::decode(limits)?))
}

/// The limits in a second message that was opened.
pub(super) fn read_second(message: &[u8]) -> Result<Limits, HandshakeError> {
    Limits::decode(payload(message, SECOND_HEAD)?)
}

fn payload(message: &[u8], head: usize) -> Result<&[u8], HandshakeError> {
    let end = message.len().checked_sub(TAG_BYTES).ok_or(HandshakeError::Length)?;
    message.get(head..end).ok_or(HandshakeError::Length)
}
