//! Images: programs of the firmware crate for a board.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A board that QEMU plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// As QEMU and the firmware's feature call it.
    pub name: &'static str,
    /// What the compiler calls its processor.
    pub target: &'static str,
    /// Where its RAM begins.
    pub ram: u64,
    /// How much RAM it has.
    pub ram_bytes: u64,
    /// How much flash it has.
    pub flash_bytes: u64,
    /// The longest frame that the node takes on it.
    pub frame_bytes: usize,
}

/// The boards: a small one, whose memory is the measure, and a larger one with another processor.
pub const BOARDS: [Board; 2] = [
    Board {
        name: "lm3s6965evb",
        target: "thumbv7m-none-eabi",
        ram: 0x2000_0000,
        ram_bytes: 64 << 10,
        flash_bytes: 256 << 10,
        frame_bytes: 3 << 9,
    },
    Board {
        name: "mps2-an386",
        target: "thumbv7em-none-eabihf",
        ram: 0x2000_0000,
        ram_bytes: 4 << 20,
        flash_bytes: 4 << 20,
        frame_bytes: 4 << 10,
    },
];

impl Board {
    /// Whether there is a core library for it.
    pub fn has_target(&self) -> bool {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let libdir = Command::new(rustc).args(["--print", "target-libdir", "--target", self.target]).output();
        libdir.is_ok_and(|output| {
            output.status.success() && Path::new(String::from_utf8_lossy(&output.stdout).trim_end()).is_dir()
        })
    }

    /// Where its images are built: a directory of its own, because features of boards exclude each other.
    pub fn target_dir(&self) -> PathBuf {
        workspace().join("target").join(format!("firmware-{}", self.name))
    }
}

/// A program with the features that it is built with, besides the board's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name of the program.
    pub program: &'static str,
    /// Separated by commas.
    pub features: String,
}

impl Image {
    /// Builds it and returns where the ELF file is.
    ///
    /// # Panics
    /// If it does not build, with what the compiler says.
    pub fn build(&self, board: &Board) -> PathBuf {
        let target_dir = board.target_dir();
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(workspace().join("adapters/embassy/firmware"))
            .args(["build", "--release", "--locked", "--quiet", "--bin", self.program])
            .args(["--features", board.name, "--features", &self.features])
            .args(["--target", board.target, "--target-dir"])
            .arg(&target_dir)
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} for {} does not build:\n{said}", self.program, board.name);
        // The next image may have the same name and other features.
        let built = target_dir.join(board.target).join("release").join(self.program);
        let features = self.features.replace(',', "-");
        let kept = target_dir.join(format!("{}-{features}.elf", self.program));
        std::fs::copy(&built, &kept).expect("cargo has built it");
        kept
    }
}

fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests lie in the workspace").to_owned()
}
