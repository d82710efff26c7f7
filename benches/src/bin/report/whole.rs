//! All instructions of both ends and everything in between but the kernel: what a program executes for many messages
//! less what it executes for few, under callgrind. So can be counted whose parts cannot be called alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kitfox_benches::bench::target_directory;
use kitfox_benches::callgrind;

use crate::Options;
use crate::child::{CHILD, bounded};
use crate::companion::Companions;
use crate::peers::Peer;

/// Sizes of messages.
pub(crate) const SIZES: [(usize, &str); 2] = [(128, "128 B"), (16 << 10, "16 KiB")];
/// Few messages, and many.
const MESSAGES: [u64; 2] = [1000, 5000];
const LIMIT: Duration = Duration::from_secs(60);

/// One peer, and instructions a message by size.
pub(crate) struct Row {
    pub(crate) peer: &'static Peer,
    pub(crate) instructions: [Result<u64, String>; SIZES.len()],
}

/// Runs the peers that this is done for.
pub(crate) fn measure(options: &Options, companions: &Companions) -> Vec<Row> {
    let peers = options.peers.iter().filter(|peer| peer.whole);
    let count = |peer: &Peer, bytes: usize| {
        eprintln!("all instructions of {}, {bytes} B", peer.name);
        let [few, many] = MESSAGES.map(|messages| once(companions.of(peer)?, peer.name, bytes, messages));
        Ok(many?.saturating_sub(few?) / (MESSAGES[1] - MESSAGES[0]))
    };
    peers.map(|&peer| Row { peer, instructions: SIZES.map(|(bytes, _)| count(peer, bytes)) }).collect()
}

fn once(program: &Path, name: &str, bytes: usize, messages: u64) -> Result<u64, String> {
    let directory = target_directory("callgrind-whole");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let dump = directory.join(format!("{name}.{bytes}.{messages}"));
    let mut command = callgrind::command();
    command.arg(format!("--callgrind-out-file={}", dump.display()));
    command.arg(program).args([CHILD, "once", name, &bytes.to_string(), &messages.to_string()]);
    match bounded(command, LIMIT).fault {
        Some(fault) => Err(fault),
        None => callgrind::total_of(&dump).map_err(|error| error.to_string()),
    }
}
