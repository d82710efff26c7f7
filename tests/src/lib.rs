//! Everything kitfox promises, tested through its public API.

pub mod world;
pub mod search;
