//! Sans-IO core of kitfox: the Kitsune2 wire, gate, router and connection as pure state machines.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod wire;
