//! Programs with other features than this one, built before anything is measured.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use kitfox_benches::bench::target_directory;
use kitfox_benches::peers::Fault;

use crate::Options;
use crate::peers::{Peer, Program};

/// The features of this program, which its companions share so that what they are made of is built once.
const FEATURES: [(&str, bool); 5] = [
    ("iroh", cfg!(feature = "iroh")),
    ("kitsune2", cfg!(feature = "kitsune2")),
    ("libp2p", cfg!(feature = "libp2p")),
    ("peerlink", cfg!(feature = "peerlink")),
    ("zenoh", cfg!(feature = "zenoh")),
];

/// Where they are, or why they are not.
pub(crate) struct Companions {
    this: Result<PathBuf, String>,
    ring: Result<PathBuf, String>,
    counted: Result<PathBuf, String>,
}

impl Companions {
    pub(crate) fn build(options: &Options) -> Self {
        let wanted = |program| options.peers.iter().any(|peer| peer.program == program);
        let features: Vec<_> = FEATURES.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let release = target_directory("");
        let ring = if wanted(Program::Ring) {
            build("report", &["ring"], &release.join("ring"))
        } else {
            Err("nobody asked for it".into())
        };
        Self {
            this: env::current_exe().map_err(|error| error.to_string()),
            ring: ring.map_err(|error| error.to_string()),
            counted: build("counted", &features, &release).map_err(|error| error.to_string()),
        }
    }

    /// The program that measures a peer.
    pub(crate) fn of(&self, peer: &Peer) -> Result<&Path, String> {
        let program = match peer.program {
            Program::This => &self.this,
            Program::Ring => &self.ring,
        };
        program.as_deref().map_err(Clone::clone)
    }

    /// The program whose allocator counts.
    pub(crate) fn counted(&self) -> Result<&Path, String> {
        self.counted.as_deref().map_err(Clone::clone)
    }
}

fn build(bin: &str, features: &[&str], target: &Path) -> Result<PathBuf, Fault> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .args(["--bin", bin, "--features", &features.join(",")])
        .arg("--target-dir")
        .arg(target)
        .status()?;
    if !status.success() {
        return Err(format!("program {bin} could not be built").into());
    }
    Ok(target.join("release").join(bin))
}
