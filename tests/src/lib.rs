//! Everything kitfox promises, tested through its public API.

pub mod search;
pub mod world;
