//! Records what goes into the core, and replays it: for faults that are hard to bring about again.
//!
//! All that the core does follows from what it is told: bytes, answers, times, and what the application wants. A node
//! that [records](crate::Builder::record) writes every call into its core to a file, with all that went in and a digest
//! of what came out. [`replay`] makes the same calls into the same parts, without sockets, tasks or a clock, and
//! compares what comes out with what the node saw. The first difference is an error that names the entry. So whoever
//! has a recording can look at a fault as often as need be, with a debugger or with another version of the core.
//!
//! ```
//! use kitfox_smol::{Node, record};
//!
//! # futures_lite::future::block_on(async {
//! # let dir = std::env::temp_dir().join(format!("kitfox-record-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! # let path = dir.join("node.rec");
//! let node = Node::builder().plain().record(&path).build()?;
//! node.listen("127.0.0.1:0").await?;
//! node.register_space(b"garden", |_: &_, _: &[u8]| Ok(()))?;
//! node.shutdown().await;
//!
//! let replayed = record::replay(std::fs::File::open(&path)?, None)?;
//! assert_eq!(replayed.ended, record::Ended::Stopped);
//! assert_eq!(replayed.entries, 1);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # A recording is a secret
//!
//! It holds all that was received and sent, the numbers with which the node's tables are seeded, and what its handshakes
//! drew their secrets from. The node's key is not in it; but with the key it opens every session that was recorded,
//! and without it the plaintext of what the node sent can be read all the same. The file is its owner's alone; treat it
//! like the key.
//!
//! # What is recorded
//!
//! Calls of the peer table, of what is registered and blocked, of each peer's outbox and of both halves of each
//! connection. The counters of blocked messages are not recorded: nothing follows from them.

mod error;
mod file;
mod replay;
mod replayer;

pub use error::ReplayError;
pub(crate) use file::start;
pub use file::{Recording, RecordingState};
pub use replay::{Ended, Replayed, replay, replay_telling};
