//! ChaCha20-Poly1305 by crate `ring`.

use kitfox_core::secure::{Aead, TAG_BYTES, noise_nonce};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// The same bytes as of the portable cipher, sooner.
#[derive(Clone)]
pub(crate) struct RingCipher(LessSafeKey);

impl Aead for RingCipher {
    fn new(key: &[u8; 32]) -> Self {
        // Keys of 32 bytes are always taken.
        Self(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes")))
    }

    fn seal(&self, nonce: u64, ad: &[u8], text: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(noise_nonce(nonce));
        let mut out = [0; TAG_BYTES];
        match self.0.seal_in_place_separate_tag(nonce, Aad::from(ad), text) {
            Ok(tag) => out.copy_from_slice(tag.as_ref()),
            Err(_) => debug_assert!(false, "records are far shorter than the cipher's limit"),
        }
        out
    }

    fn open(&self, nonce: u64, ad: &[u8], text: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        let nonce = Nonce::assume_unique_for_key(noise_nonce(nonce));
        self.0.open_in_place_separate_tag(nonce, Aad::from(ad), (*tag).into(), text, 0..).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use kitfox_core::secure::ChaChaPoly;

    use super::*;

    #[test]
    fn both_ciphers_make_the_same_bytes() {
        let key = [7; 32];
        for len in [0, 1, 16, 63, 64, 65, 1000, 16_384] {
            for nonce in [0, 1, 1 << 40, u64::MAX] {
                let text: Vec<u8> = (0..len).map(|place| place as u8).collect();
                let (mut one, mut other) = (text.clone(), text.clone());
                let tag = RingCipher::new(&key).seal(nonce, b"ad", &mut one);
                assert_eq!(tag, ChaChaPoly::new(&key).seal(nonce, b"ad", &mut other));
                assert_eq!(one, other);
                assert!(RingCipher::new(&key).open(nonce, b"ad", &mut one, &tag));
                assert_eq!(one, text);
                assert!(!RingCipher::new(&key).open(nonce, b"other", &mut other, &tag));
            }
        }
    }
}
