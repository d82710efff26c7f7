//! The secured channel, from outside: what its users rely on, what its enemies try, and what others make of its bytes.

mod common;
mod example;
mod handshake;
mod interop;
mod node;
mod records;
mod session;
mod staging;
