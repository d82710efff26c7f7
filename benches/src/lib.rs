//! Exact figures of kitfox: instructions and allocations a message.
//!
//! `cargo bench -p kitfox-benches --bench budgets` prints them beside the committed ones in `figures.txt` and beside
//! the budgets. Here is what that program is made of and what can be tested without valgrind.

pub mod callgrind;
pub mod figures;
pub mod meter;
