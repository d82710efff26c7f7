//! kitfox-smol end to end, over loopback.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod common;
mod compliance;
mod gate;
mod life;
mod messages;
mod peers;
mod record;
mod secured;
