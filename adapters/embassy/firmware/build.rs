//! Puts the memory map of the board where the linker looks for it.

use std::path::PathBuf;
use std::{env, fs};

const BOARDS: [&str; 2] = ["lm3s6965evb", "mps2-an386"];

fn main() {
    let chosen = |board: &&&str| {
        env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase().replace('-', "_"))).is_some()
    };
    let boards: Vec<_> = BOARDS.iter().filter(chosen).collect();
    let [board] = boards[..] else { panic!("choose one board as a feature: {}", BOARDS.join(" or ")) };

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let map = format!("memory/{board}.x");
    fs::copy(&map, out.join("memory.x")).expect("a memory map for each board");
    println!("cargo:rerun-if-changed={map}");
    println!("cargo:rustc-link-search={}", out.display());

    // The sections lie as close as they can: without, the linker aligns them to pages that no board has.
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    if env::var_os("CARGO_FEATURE_DEFMT").is_some() {
        println!("cargo:rustc-link-arg-bins=-Tdefmt.x");
    }
}
