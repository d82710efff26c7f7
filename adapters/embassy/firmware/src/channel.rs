//! What connections of every image are made of, and who it is: the one place that chooses.

use kitfox_embassy::{NoEntropy, Options};
use static_cell::StaticCell;

use crate::net;

#[cfg(feature = "plain")]
pub use kitfox_embassy::Plain as Channel;
#[cfg(not(feature = "plain"))]
pub use kitfox_embassy::Secured as Channel;

/// The options of a node with this image's identity. Called once.
pub fn options() -> Options<'static, Channel> {
    static NUMBERS: StaticCell<Numbers> = StaticCell::new();
    let entropy = NUMBERS.init(Numbers { seed: net::seed(), drawn: 0 });
    #[cfg(feature = "plain")]
    return Options::plain(kitfox_embassy::PeerId::new("firmware").expect("a peer id"), entropy);
    #[cfg(not(feature = "plain"))]
    Options::secured(credentials(), entropy)
}

/// The key that the image was built with. It is a test key, and everybody has it.
#[cfg(not(feature = "plain"))]
fn credentials() -> kitfox_embassy::Credentials {
    use kitfox_embassy::{Credentials, DEVICE_RECORD_BYTES, Network, SecretKey};

    const FILE: &str = include_str!("../test.key");
    const SECRET: [u8; 32] = hex(FILE, 0);
    const ID: [u8; 32] = hex(FILE, 65);
    let key = SecretKey::provisioned(SECRET, ID).expect("the secret is that of the id");
    Credentials { key, network: Network::new(b"garden"), max_record_bytes: DEVICE_RECORD_BYTES }
}

/// The 32 bytes whose digits begin here.
#[cfg(not(feature = "plain"))]
const fn hex(text: &str, start: usize) -> [u8; 32] {
    const fn digit(text: &str, at: usize) -> u8 {
        match text.as_bytes()[at] {
            digit @ b'0'..=b'9' => digit - b'0',
            letter @ b'a'..=b'f' => letter - b'a' + 10,
            _ => panic!("not a lower-case hex digit"),
        }
    }
    let (mut bytes, mut place) = ([0; 32], 0);
    while place < 32 {
        bytes[place] = digit(text, start + 2 * place) << 4 | digit(text, start + 2 * place + 1);
        place += 1;
    }
    bytes
}

/// Numbers that are other ones each time and can be guessed: QEMU's boards have no random number generator. It is good
/// for tests and for nothing else; a board that has none must not have this.
struct Numbers {
    seed: u64,
    drawn: u64,
}

impl kitfox_embassy::Entropy for Numbers {
    fn fill(&mut self, bytes: &mut [u8; 32]) -> Result<(), NoEntropy> {
        for chunk in bytes.chunks_exact_mut(8) {
            self.drawn += 1;
            let mixed = (self.seed ^ self.drawn.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&(mixed ^ mixed >> 29).to_le_bytes());
        }
        Ok(())
    }
}
