//! Figures of kitfox: instructions and allocations a message, exactly; and what it does over loopback beside others.
//!
//! * `cargo bench -p kitfox-benches --bench budgets` prints instructions and allocations beside the committed ones in
//!   `figures.txt` and beside the budgets.
//! * `cargo bench -p kitfox-benches --bench loopback` sets kitfox-smol beside raw sockets.
//! * `cargo run --release -p kitfox-benches --bin report --features field` sets it beside the field, all in one run.
//!
//! Here is what these programs are made of and what can be tested without valgrind.

#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // sockets and threads: std throughout

pub mod bench;
pub mod callgrind;
pub mod figures;
pub mod hub;
pub mod meter;
pub mod paths;
pub mod peers;
pub mod secured;
pub mod spread;
pub mod world;
