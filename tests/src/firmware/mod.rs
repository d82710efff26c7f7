//! Firmware: built for its boards, and run in QEMU beside a kitfox-smol node.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)] // std throughout

mod host;
mod image;
mod machine;
pub mod sizes;

pub use host::{BOARD, ECHO, Host, SPACE, Told, Wire, within};
pub use image::{BOARDS, Board, Image};
pub use machine::Machine;

use std::process::{Command, Stdio};
use std::time::Duration;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is needed to run firmware and is not there, with what to do about it.
pub fn missing() -> Option<String> {
    if says("0") {
        return Some("KITFOX_QEMU is 0".to_owned());
    }
    let mut remedies = Vec::new();
    let runs = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    if !runs("qemu-system-arm").is_ok_and(|status| status.success()) {
        remedies.push("install qemu-system-arm".to_owned());
    }
    for board in &BOARDS {
        if !board.has_target() {
            remedies.push(format!("rustup target add {}", board.target));
        }
    }
    if remedies.is_empty() { None } else { Some(remedies.join("; ")) }
}

/// Whether what is missing is a failure: the variable `KITFOX_QEMU` is 1. If it is 0, no firmware is run at all.
pub fn is_mandatory() -> bool {
    says("1")
}

fn says(what: &str) -> bool {
    std::env::var_os("KITFOX_QEMU").is_some_and(|value| value == what)
}
