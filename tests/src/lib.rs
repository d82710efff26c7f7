//! Everything kitfox promises, tested through its public API.

extern crate alloc;

pub mod search;
pub mod world;
