//! What is fuzzed: each target takes any bytes and panics if a promise does not hold. `fuzz/` feeds them with inputs
//! that a fuzzer invents; the small corpus that is kept there is replayed by `cargo test`.

mod connection;
mod node;
mod replay;
mod router;
mod secure;
mod wire;

pub use connection::connection;
pub use node::node;
pub use replay::replay;
pub use router::router;
pub use secure::secure;
pub use wire::{url, wire};

/// A target: its name, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("connection", connection),
    ("node", node),
    ("replay", replay),
    ("router", router),
    ("secure", secure),
    ("url", url),
    ("wire", wire),
];

/// Takes decisions out of the input, and zeros when it is used up.
#[derive(Debug)]
struct Choices<'i>(&'i [u8]);

impl<'i> Choices<'i> {
    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `bound`, which is not zero and at most 256.
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// All that is left.
    fn rest(self) -> &'i [u8] {
        self.0
    }
}
