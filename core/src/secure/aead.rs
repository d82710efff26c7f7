//! The cipher of the records, which a host may replace by a faster one of the same name.

use chacha20poly1305::aead::{AeadInOut, KeyInit};

/// Bytes that authenticate a record.
pub const TAG_BYTES: usize = 16;

/// ChaCha20-Poly1305 of RFC 8439, with the nonce that Noise prescribes: four zero bytes, then a little-endian counter.
///
/// The bytes on the wire do not depend on who implements it. [`ChaChaPoly`] runs everywhere; a host may bring one that
/// uses more of its processor.
pub trait Aead: Clone + 'static {
    /// The cipher with this key. The key is wiped when the cipher is dropped.
    fn new(key: &[u8; 32]) -> Self;

    /// Encrypts `text` in place and returns its tag.
    fn seal(&self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES];

    /// Decrypts `text` in place. `false` if the tag does not fit: then `text` holds nothing of use.
    #[must_use]
    fn open(&self, nonce: u64, ad: &[u8], text: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool;
}

/// The portable cipher, of crate `chacha20poly1305`.
#[derive(Clone)]
pub struct ChaChaPoly(chacha20poly1305::ChaCha20Poly1305);

impl Aead for ChaChaPoly {
    fn new(key: &[u8; 32]) -> Self {
        Self(chacha20poly1305::ChaCha20Poly1305::new(key.into()))
    }

    fn seal(&self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        match self.0.encrypt_inout_detached(&noise_nonce(nonce).into(), ad, text.into()) {
            Ok(tag) => tag.into(),
            Err(_) => {
                debug_assert!(false, "records are far shorter than the cipher's limit");
                [0; TAG_BYTES]
            }
        }
    }

    fn open(&self, nonce: u64, ad: &[u8], text: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.0.decrypt_inout_detached(&noise_nonce(nonce).into(), ad, text.into(), tag.into()).is_ok()
    }
}

/// A counter as the nonce of a cipher: four zero bytes, then the counter in little-endian order.
pub const fn noise_nonce(counter: u64) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = counter.to_le_bytes();
    [0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

/// A cipher and the counter of what it has sealed or opened.
#[derive(Clone)]
pub(super) struct Cipher<A> {
    aead: A,
    count: u64,
}

/// Both ends replace the key of a direction after so many records of it.
pub const REKEY_RECORDS: u64 = 1 << 16;

impl<A: Aead> Cipher<A> {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self { aead: A::new(key), count: 0 }
    }

    pub(super) fn seal(&mut self, ad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.aead.seal(self.count, ad, text);
        self.counted();
        tag
    }

    #[must_use]
    pub(super) fn open(&mut self, ad: &[u8], text: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        let opened = self.aead.open(self.count, ad, text, tag);
        if opened {
            self.counted();
        }
        opened
    }

    /// The count never reaches the nonce that rekeying takes: at a record a nanosecond that would take 584 years.
    fn counted(&mut self) {
        self.count = self.count.saturating_add(1);
        if self.count.is_multiple_of(REKEY_RECORDS) {
            self.rekey();
        }
    }

    /// Noise's `REKEY`: the key becomes what the old one makes of 32 zero bytes under the last nonce.
    fn rekey(&mut self) {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        let _ = self.aead.seal(u64::MAX, &[], &mut *key);
        self.aead = A::new(&key);
    }
}
