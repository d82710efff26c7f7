//! The command `kitfox` from outside: processes over loopback, and somebody with a socket.
#![cfg(unix)]
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod common;
mod decode;
mod hostile;
mod keys;
mod load;
mod messages;
mod raw;
mod record;
mod secured;
mod terminal;
mod usage;
