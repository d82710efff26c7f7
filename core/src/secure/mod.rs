//! The secured channel: both ends prove their ids, and nobody else reads or changes what they say.
//!
//! A peer's id is its Ed25519 public key; a handshake of two messages proves that each end has the secret of the id
//! that it claims, and records carry the stream of frames from then on. `docs/protocol.md` describes the bytes,
//! `docs/security.md` what is promised and what is not.
//!
//! The core draws no randomness: [`Question::Randomness`](crate::connection::Question::Randomness) asks for it.

mod aead;
mod channel;
mod hello;
mod key;
mod noise;

pub use aead::{Aead, ChaChaPoly, REKEY_RECORDS, TAG_BYTES, noise_nonce};
pub use channel::{Opener, Sealer, Secured, Start};
pub use hello::{MAX_RECORD_BYTES, MIN_RECORD_BYTES, RECORD_OVERHEAD, SUITE, VERSION};
pub use key::{KEY_BYTES, KeyError, SecretKey, check_id};

use core::fmt;

use blake2::{Blake2s256, Digest};

/// A network: nodes of different networks do not understand each other's handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Network([u8; 32]);

impl Network {
    /// The network of this name, of any length.
    pub fn new(name: &[u8]) -> Self {
        Self(Blake2s256::digest(name).into())
    }
}

impl Default for Network {
    /// The network without a name.
    fn default() -> Self {
        Self::new(b"")
    }
}

/// What a node brings to each of its handshakes.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // written as a literal by every user
pub struct Credentials {
    /// Proves who we are.
    pub key: SecretKey,
    /// The network that both ends must be on.
    pub network: Network,
    /// Longest text of a record that we take, in bytes; [`MIN_RECORD_BYTES`] at least, [`MAX_RECORD_BYTES`] at most. It
    /// is further limited by the buffer of the channel.
    pub max_record_bytes: u16,
}

/// [`Credentials::max_record_bytes`] of a host: 16 KiB. Longer records are hardly faster.
pub const HOST_RECORD_BYTES: u16 = 16 << 10;
/// [`Credentials::max_record_bytes`] of a microcontroller: 1 KiB.
pub const DEVICE_RECORD_BYTES: u16 = 1 << 10;

/// What went wrong in a handshake. The connection is closed without a word: nobody is there who could be trusted to
/// read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first bytes are not those of a secured channel. Plain frames, perhaps.
    NotSecured,
    /// Another version of the channel.
    Version(u8),
    /// Another suite of algorithms.
    Suite(u8),
    /// A message of a length that none has.
    Length,
    /// A message does not open: it is for another key or another network, or was changed on its way.
    Forged,
    /// A Diffie-Hellman gave zero: the peer's key is one that everybody knows a secret of.
    ZeroSecret,
    /// The id in the first message is no valid key, or not the one that its sender proved.
    Id,
    /// The peer takes records only that are shorter than [`MIN_RECORD_BYTES`].
    RecordLimit,
    /// The stream ended: the peer is another one than we think, on another network, or did not admit us.
    Ended,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSecured => f.write_str("the peer does not speak a secured channel"),
            Self::Version(version) => write!(f, "the peer speaks version {version} of the secured channel"),
            Self::Suite(suite) => write!(f, "the peer speaks suite {suite} of the secured channel"),
            Self::Length => f.write_str("a handshake message has the wrong length"),
            Self::Forged => f.write_str("a handshake message is for another key or network, or damaged"),
            Self::ZeroSecret => f.write_str("a handshake key is not one"),
            Self::Id => f.write_str("the peer claims an id that it did not prove"),
            Self::RecordLimit => f.write_str("the peer takes no records that are long enough"),
            Self::Ended => f.write_str(
                "the peer ended the handshake: wrong key, wrong network, a plain node, or not admitted",
            ),
        }
    }
}

impl core::error::Error for HandshakeError {}
