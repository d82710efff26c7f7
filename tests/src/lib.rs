//! Everything kitfox promises, tested through its public API.

pub mod pair;
pub mod script;
