//! Everything kitfox promises, tested through its public API.

extern crate alloc;

pub mod conformance;
pub mod firmware;
pub mod fuzz;
pub mod pair;
pub mod script;
pub mod search;
pub mod sim;
pub mod world;

/// The example of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
