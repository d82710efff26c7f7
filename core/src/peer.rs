//! Who a peer is: its id, in every spelling, and the URL under which it is known.

use core::fmt;
use core::hash::{Hash, Hasher};

use crate::hash::{hash_own, hash_seeded};

/// Longest text of a peer id, in bytes. Source: 64 hex digits of an Ed25519 key are the longest standard spelling.
pub const MAX_PEER_ID_BYTES: usize = 64;

/// Bytes of a public key.
const KEY_BYTES: usize = 32;

/// A peer id that compares equal in every spelling.
///
/// 64 hex digits in any case and 52 characters of unpadded base32 in any case name a public key of 32 bytes; every
/// other text of 1 to [`MAX_PEER_ID_BYTES`] bytes stands for itself. Kitsune2 treats the spellings of one key as
/// different peers, which lets a blocked peer back in under another one.
///
/// Ids are ordered by their raw bytes.
///
/// ```
/// use kitfox_core::PeerId;
///
/// let hex = PeerId::new("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
/// let upper = PeerId::new("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD").unwrap();
/// let base32 = PeerId::new("xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq").unwrap();
/// assert!(hex == upper && hex == base32);
/// assert_ne!(PeerId::new("alice"), PeerId::new("Alice"));
/// assert!(PeerId::new("alice") < PeerId::new("bob"));
/// ```
#[derive(Clone, Copy, Eq)]
pub struct PeerId {
    form: Form,
    /// Invariant: bytes behind the id's own are zero.
    bytes: [u8; MAX_PEER_ID_BYTES],
    /// Of the id's own bytes without the sign of a key. Block lists look for an id with every message; it is hashed
    /// once.
    hash: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Key,
    Text(u8),
}

impl PeerId {
    /// The id that `text`, the last segment of a peer URL, names; `None` if it is empty or too long.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if let Some(key) = decode_hex(text).or_else(|| decode_base32(text)) {
            return Some(Self::from_key(key));
        }
        let mut bytes = [0; MAX_PEER_ID_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        match text.len() {
            0 => None,
            len => {
                Some(Self { form: Form::Text(u8::try_from(len).ok()?), bytes, hash: hash_own(text) as u32 })
            }
        }
    }

    /// The id of a public key.
    pub fn from_key(key: [u8; KEY_BYTES]) -> Self {
        let mut bytes = [0; MAX_PEER_ID_BYTES];
        bytes[..KEY_BYTES].copy_from_slice(&key);
        Self { form: Form::Key, bytes, hash: hash_own(&without_sign(key)) as u32 }
    }

    /// Whether whoever can prove this id can prove the other one too: they are equal, or keys that differ in their sign
    /// alone. To ban one of them is to ban both.
    #[inline]
    pub fn has_same_holder(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self.key(), other.key()) {
            (Some(a), Some(b)) if self.hash == other.hash => without_sign(*a) == without_sign(*b),
            _ => false,
        }
    }

    /// A hash that strangers cannot foresee, equal for ids that have the same holder.
    pub(crate) fn holder_hash(&self, seed: u64) -> u64 {
        match self.key() {
            Some(key) => hash_seeded(seed, &without_sign(*key)),
            None => hash_seeded(seed, self.as_bytes()),
        }
    }

    /// The public key, if the id is the text of one.
    pub fn key(&self) -> Option<&[u8; KEY_BYTES]> {
        match self.form {
            Form::Key => self.bytes.first_chunk(),
            Form::Text(_) => None,
        }
    }

    /// The raw bytes of the id: the key's, or the text's.
    pub fn as_bytes(&self) -> &[u8] {
        let len = match self.form {
            Form::Key => KEY_BYTES,
            Form::Text(len) => len.into(),
        };
        self.bytes.get(..len).unwrap_or(&self.bytes)
    }
}

/// A public key without the bit that tells it from its negative, which has the same secret.
#[inline]
const fn without_sign(mut key: [u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    key[KEY_BYTES - 1] &= 0x7f;
    key
}

impl PeerId {
    /// A hash for tables, which look at its first and its last bits.
    #[inline]
    pub(crate) fn table_hash(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes()).then_with(|| self.form.cmp(&other.form))
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Most ids that are compared differ, and show it in their hash.
impl PartialEq for PeerId {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.form == other.form && self.bytes == other.bytes
    }
}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// Keys as lower-case hex, texts as they are.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Key => self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Form::Text(_) => f.write_str(core::str::from_utf8(self.as_bytes()).unwrap_or_default()),
        }
    }
}

/// As its text.
#[cfg(feature = "serde")]
impl serde::Serialize for PeerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for PeerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Takes the text of an id.
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = PeerId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a peer id")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PeerId, E> {
                PeerId::new(text).ok_or_else(|| E::custom("not a peer id"))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

fn decode_hex(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
        for &digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(key)
}

/// RFC 4648 base32 without padding: 52 characters are 260 bits, of which the last 4 must be zero.
fn decode_base32(text: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 52 {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    let mut out = key.iter_mut();
    let (mut bits, mut held) = (0u32, 0u32);
    for &character in text {
        let value = match character {
            b'a'..=b'z' => character - b'a',
            b'A'..=b'Z' => character - b'A',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            *out.next()? = (bits >> held) as u8;
            bits &= (1 << held) - 1;
        }
    }
    (bits == 0).then_some(key)
}

/// A peer as policies and handlers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Peer<'a> {
    /// The URL under which the peer is known: the one in its preflight, or the one a message is sent to.
    pub url: &'a str,
    /// The id that the URL ends in, in its canonical form; `None` if it has none that can be an id.
    pub id: Option<&'a PeerId>,
    /// Whether the peer has proven the id, on a secured channel. Otherwise it is only claimed: anybody can say that
    /// they are anybody.
    pub proven: bool,
}

impl<'a> Peer<'a> {
    /// The peer with this URL and this id, which it claims.
    pub const fn new(url: &'a str, id: Option<&'a PeerId>) -> Self {
        Self { url, id, proven: false }
    }
}
