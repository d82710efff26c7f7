//! Nodes on embassy-net stacks in one process, on a network of the test's own and a clock that only the test moves.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

mod common;
mod compliance;
mod gate;
mod hub;
mod life;
mod messages;
mod raw;
mod secured;
mod sim;
mod stream;
