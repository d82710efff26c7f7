//! Everything kitfox promises, tested through its public API.

extern crate alloc;

pub mod compliance;
pub mod conformance;
pub mod firmware;
pub mod frames;
pub mod fuzz;
pub mod pair;
pub mod script;
pub mod search;
pub mod sim;
pub mod world;

/// The examples of the documents, compiled and run.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guides/smol.md")]
    struct Smol;
    #[doc = include_str!("../../docs/guides/byte-vectors.md")]
    struct ByteVectors;
    #[doc = include_str!("../../docs/guides/firmware.md")]
    struct Firmware;
    #[doc = include_str!("../../docs/guides/recording.md")]
    struct Recording;
}
