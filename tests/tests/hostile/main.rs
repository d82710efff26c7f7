//! Hostile peers against a running node, over loopback.
//!
//! `w01_...` to `w22_...` attack a node with each weakness that Kitsune2's transport (0.5.0-dev.1) was found to have:
//! over both channels wherever a channel makes sense of it. Where a weakness, or a part of one, cannot apply:
//!
//! | weakness | why not |
//! |---|---|
//! | W12, streams: one that stalls blocks those behind it | A connection is one stream. What is left of it, that one peer stops others, is attacked |
//! | W16, the accept loop awaits each handshake | There is no handshake in that loop; that a slow one delays others is attacked all the same |
//! | W19, a configured relay overrides the peer's own | There are no relays: a peer is dialled at the address in its own URL |
//! | W21, our own URL is found missing only after the dial | A node always has one: it is made of its id and the connection's address. What is told to peers is attacked |
//!
//! `docs/security.md` says what is promised; `docs/differences.md` what differs from Kitsune2.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod attacker;
#[allow(dead_code)] // each of the test programs that share it uses a part
#[path = "../smol/common.rs"]
mod common;
mod flood;
mod gate;
mod handshakes;
mod messages;
mod noise;
mod peers;
mod records;
