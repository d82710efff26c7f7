//! Keys: a peer's id is its Ed25519 public key, and the X25519 image of it is what the channel proves.

use core::fmt;

use curve25519_dalek::constants::X25519_BASEPOINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::montgomery::MontgomeryPoint;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::peer::PeerId;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// Why a key cannot be used. The fault of who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum KeyError {
    /// The peer id is not a key at all: it is neither 64 hex digits nor 52 characters of base32.
    NotAKey,
    /// The bytes are not a point of the curve, or not in the one form that a point has.
    NotAPoint,
    /// The point has a small order: everybody knows a secret for it.
    SmallOrder,
    /// The secret key and the id do not belong together.
    Mismatch,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAKey => "the peer id is not a public key",
            Self::NotAPoint => "the peer id is not a valid public key",
            Self::SmallOrder => "the peer id is a key of small order",
            Self::Mismatch => "the secret key does not belong to the id",
        })
    }
}

impl core::error::Error for KeyError {}

/// What a node proves its id with. It is never shown in logs, and wiped when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey {
    /// The X25519 secret, clamped or not.
    secret: [u8; KEY_BYTES],
    /// Its X25519 public key.
    public: [u8; KEY_BYTES],
    /// The Ed25519 public key.
    id: [u8; KEY_BYTES],
}

impl SecretKey {
    /// The key of a device, provisioned as its X25519 secret and its id. It costs one scalar multiplication.
    ///
    /// # Errors
    /// [`KeyError`] if the id is not a valid key, or not the one of this secret.
    pub fn provisioned(secret: [u8; KEY_BYTES], id: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let this = Self { secret, public: X25519_BASEPOINT.mul_clamped(secret).to_bytes(), id };
        if x25519_of(&this.id)? == this.public { Ok(this) } else { Err(KeyError::Mismatch) }
    }

    /// The key that belongs to a seed: 32 bytes from a good source of randomness, as Ed25519 takes them.
    ///
    /// ```
    /// use kitfox_core::secure::SecretKey;
    ///
    /// // The first test vector of RFC 8032.
    /// let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    /// let mut bytes = [0; 32];
    /// for (place, byte) in bytes.iter_mut().enumerate() {
    ///     *byte = u8::from_str_radix(&seed[2 * place..2 * place + 2], 16).unwrap();
    /// }
    /// let id = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    /// assert_eq!(SecretKey::from_seed(&bytes).peer_id().to_string(), id);
    /// ```
    #[cfg(feature = "keygen")]
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        use sha2::Digest;
        let mut hash = sha2::Sha512::digest(seed);
        let mut secret = Zeroizing::new([0; KEY_BYTES]);
        secret.copy_from_slice(&hash[..KEY_BYTES]);
        hash.as_mut_slice().zeroize();
        let point = curve25519_dalek::EdwardsPoint::mul_base_clamped(*secret);
        Self { secret: *secret, public: point.to_montgomery().to_bytes(), id: point.compress().to_bytes() }
    }

    /// The id that this key proves.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_key(self.id)
    }

    /// The bytes that a device is provisioned with, for [`provisioned`](Self::provisioned): the X25519 secret and the
    /// id. Keep them as you keep the key.
    pub fn to_provisioned(&self) -> (Zeroizing<[u8; KEY_BYTES]>, [u8; KEY_BYTES]) {
        (Zeroizing::new(self.secret), self.id)
    }

    /// A key without an id, for vectors that know none.
    #[cfg(test)]
    pub(super) fn for_tests(secret: [u8; KEY_BYTES]) -> Self {
        Self { secret, public: x25519_public(&secret), id: [0; KEY_BYTES] }
    }

    pub(super) fn id(&self) -> &[u8; KEY_BYTES] {
        &self.id
    }

    pub(super) fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    pub(super) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.secret
    }
}

/// The id, and nothing else.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.peer_id())
    }
}

/// The X25519 public key of a peer id.
///
/// # Errors
/// [`KeyError`] if the id is no key that anybody could prove, or that everybody could.
pub(super) fn public_key_of(id: &PeerId) -> Result<[u8; KEY_BYTES], KeyError> {
    x25519_of(id.key().ok_or(KeyError::NotAKey)?)
}

/// Whether a peer with this id can be spoken to on a secured channel.
///
/// # Errors
/// [`KeyError`] says why it cannot.
pub fn check_id(id: &PeerId) -> Result<(), KeyError> {
    public_key_of(id).map(drop)
}

/// The X25519 image of an Ed25519 public key. A key and its negative have the same one: the map drops the sign.
pub(super) fn x25519_of(id: &[u8; KEY_BYTES]) -> Result<[u8; KEY_BYTES], KeyError> {
    if !is_canonical(id) {
        return Err(KeyError::NotAPoint);
    }
    let point = CompressedEdwardsY(*id).decompress().ok_or(KeyError::NotAPoint)?;
    if point.is_small_order() {
        return Err(KeyError::SmallOrder);
    }
    Ok(point.to_montgomery().to_bytes())
}

/// Whether the coordinate is below the field's prime, 2^255 - 19: others are second spellings.
fn is_canonical(id: &[u8; KEY_BYTES]) -> bool {
    let [low, middle @ .., high] = id;
    high & 0x7f != 0x7f || *low < 0xed || middle.iter().any(|byte| *byte != 0xff)
}

/// A Diffie-Hellman result; `None` if it is zero, which the peer's key alone decides then.
pub(super) fn diffie_hellman(
    secret: &[u8; KEY_BYTES],
    public: &[u8; KEY_BYTES],
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let shared = Zeroizing::new(MontgomeryPoint(*public).mul_clamped(*secret).to_bytes());
    (shared.iter().fold(0, |all, byte| all | byte) != 0).then_some(shared)
}

/// The X25519 public key of a secret.
pub(super) fn x25519_public(secret: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
    X25519_BASEPOINT.mul_clamped(*secret).to_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> [u8; 32] {
        *PeerId::new(text).unwrap().key().unwrap()
    }

    /// Every point of small order, in its canonical form.
    const SMALL_ORDER: [&str; 8] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    ];

    #[test]
    fn keys_of_small_order_are_refused() {
        for key in SMALL_ORDER {
            assert_eq!(x25519_of(&hex(key)), Err(KeyError::SmallOrder), "{key}");
        }
    }

    #[test]
    fn what_is_not_a_point_is_refused() {
        // y = 2 is on no point.
        let mut key = [0; 32];
        key[0] = 2;
        assert_eq!(x25519_of(&key), Err(KeyError::NotAPoint));
    }

    #[test]
    fn a_second_spelling_of_a_point_is_refused() {
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                let mut key = [0xff; 32];
                (key[0], key[31]) = (low, high);
                assert_eq!(x25519_of(&key), Err(KeyError::NotAPoint), "{low:02x} {high:02x}");
            }
        }
    }

    #[test]
    fn the_secret_of_another_id_is_refused() {
        let [one, other] = [hex(ID), hex(OTHER_ID)];
        assert_eq!(SecretKey::provisioned([7; 32], one).unwrap_err(), KeyError::Mismatch);
        assert_eq!(SecretKey::provisioned([7; 32], other).unwrap_err(), KeyError::Mismatch);
    }

    /// From RFC 8032, section 7.1, tests 1 and 2.
    const ID: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const OTHER_ID: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    #[test]
    fn a_key_and_its_negative_have_the_same_image() {
        let mut negative = hex(ID);
        negative[31] ^= 0x80;
        assert_eq!(x25519_of(&negative), x25519_of(&hex(ID)));
    }

    #[cfg(feature = "keygen")]
    #[test]
    fn a_derived_key_is_a_provisioned_one() {
        let derived = SecretKey::from_seed(&[3; 32]);
        let (secret, id) = derived.to_provisioned();
        let provisioned = SecretKey::provisioned(*secret, id).unwrap();
        assert_eq!(provisioned.public, derived.public);
        assert_eq!(provisioned.peer_id(), derived.peer_id());
    }

    #[test]
    fn a_zero_result_of_diffie_hellman_is_refused() {
        assert!(diffie_hellman(&[7; 32], &[0; 32]).is_none());
        assert!(diffie_hellman(&[7; 32], &x25519_public(&[8; 32])).is_some());
    }

    #[test]
    fn a_result_whose_bytes_cancel_each_other_out_is_not_zero() {
        let mut secret = [3; 32];
        secret[1] = 9;
        let shared = diffie_hellman(&secret, &x25519_public(&[8; 32])).expect("it is not zero");
        assert_eq!(shared.iter().fold(0, |all, byte| all ^ byte), 0, "what this is a test of");
    }

    #[test]
    fn a_secret_is_never_printed() {
        extern crate std;
        use std::format;
        let secret = hex("307c83864f2833cb427a2ef1c00a013cfdff2768d980c0a3a520f006904de94f");
        let key = SecretKey::provisioned(secret, hex(ID)).unwrap();
        assert_eq!(format!("{key:?}"), format!("SecretKey(of {ID})"));
    }
}
