//! Where random bytes come from.

use core::fmt;

/// There are no random bytes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[allow(clippy::exhaustive_structs)] // it says all there is to say
pub struct NoEntropy;

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no random bytes")
    }
}

impl core::error::Error for NoEntropy {}

/// A source of random bytes: the chip's true random number generator, or a generator that was seeded from it.
///
/// The secrecy of a connection hangs on it. Two handshakes with the same bytes have the same keys, also after a restart,
/// and bytes that can be guessed give the connection away. So it fails closed: a generator whose health test fails, that
/// is not ready, or that a chip does not have, is [`NoEntropy`], which ends the handshake. Never is it a constant, a
/// counter, a serial number or the time.
///
/// A closure is one:
///
/// ```
/// use kitfox_embassy::{Entropy, NoEntropy};
///
/// # fn read_trng(_: &mut [u8; 32]) -> bool { false }
/// let mut entropy = |bytes: &mut [u8; 32]| if read_trng(bytes) { Ok(()) } else { Err(NoEntropy) };
/// # let mut bytes = [0; 32];
/// # assert_eq!(Entropy::fill(&mut entropy, &mut bytes), Err(NoEntropy));
/// ```
pub trait Entropy {
    /// Fills `bytes` with what nobody can guess and what was never given before. Called once when the node is made, and
    /// once for each handshake of a secured channel. It should return at once.
    ///
    /// # Errors
    /// [`NoEntropy`] refuses what the bytes were for; it will be tried again.
    fn fill(&mut self, bytes: &mut [u8; 32]) -> Result<(), NoEntropy>;
}

impl<F: FnMut(&mut [u8; 32]) -> Result<(), NoEntropy>> Entropy for F {
    fn fill(&mut self, bytes: &mut [u8; 32]) -> Result<(), NoEntropy> {
        self(bytes)
    }
}
