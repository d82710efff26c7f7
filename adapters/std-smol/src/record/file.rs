//! The file of a recording: eight bytes that say what it is, the number of its format, and then entries, each behind its
//! length. The first of them is the [`Header`].

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH};

use kitfox_core::node::PeerLimits;
use kitfox_core::secure::Network;
use kitfox_core::{Config, PeerId, RouterLimits};
use serde::{Deserialize, Serialize};

use super::ReplayError;
use crate::builder::Limits;
use crate::node::Setup;
use crate::security::Security;
use crate::taped::entry::{End, Entry};
use crate::taped::{Sink, Tape};

/// What every recording begins with.
const MAGIC: [u8; 8] = *b"kitfoxre";

/// The format: goes up whenever an entry, or a type of the core in one, is written in another way.
const VERSION: u16 = 1;

/// In front of each entry stands its length, in little endian.
const LEN_BYTES: usize = 4;

/// Room that is kept for the last entry.
const END_BYTES: u64 = 16;

/// Entries are written to the file when there are so many bytes of them, or when the last time was so long ago.
const FLUSH_BYTES: usize = 256 << 10;
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What the core was made with.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    /// The version of kitfox that has recorded.
    pub(super) version: String,
    /// Seconds since 1970, when the node was built.
    pub(super) at_s: u64,
    pub(super) id: PeerId,
    pub(super) seed: u64,
    pub(super) config: Config,
    pub(super) peers: PeerLimits,
    pub(super) router: RouterLimits,
    /// Of a secured node.
    pub(super) secured: Option<SecuredHeader>,
}

/// What a secured node brings to its handshakes, but for the key.
#[derive(Serialize, Deserialize)]
pub(super) struct SecuredHeader {
    pub(super) network: Network,
    pub(super) max_record_bytes: u16,
}

/// How far a recording has come, from [`Node::recording`](crate::Node::recording).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// Entries that were recorded.
    pub entries: u64,
    /// Bytes of the file, with those that are still to be written.
    pub bytes: u64,
    /// Calls that were not recorded because the recording was [cut](RecordingState::is_cut).
    pub missed: u64,
    /// Whether it goes on.
    pub state: RecordingState,
}

/// Whether a recording goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordingState {
    /// It does.
    Running,
    /// The node was shut down.
    Stopped,
    /// The file has reached its limit; the node goes on.
    Limit,
    /// The file could not be written; the node goes on.
    Failed(ErrorKind),
}

impl RecordingState {
    /// Whether the recording ended before the node did.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Limit | Self::Failed(_))
    }
}

/// Writes a recording.
struct Recorder(Mutex<Writer>);

struct Writer {
    file: File,
    /// Whole entries that are not written yet.
    buffer: Vec<u8>,
    max_bytes: u64,
    flushed: StdInstant,
    so_far: Recording,
}

/// Begins a recording in a new file that only its owner can read.
///
/// # Errors
/// The file exists already, or cannot be written.
pub(crate) fn start(
    path: &Path,
    max_bytes: u64,
    config: &Config,
    limits: &Limits,
    setup: &Setup,
) -> io::Result<Tape> {
    let secured = match &setup.security {
        Security::Plain => None,
        Security::Secured(ours) => {
            Some(SecuredHeader { network: ours.network, max_record_bytes: ours.max_record_bytes })
        }
    };
    let header = Header {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        id: setup.id,
        seed: setup.seed,
        config: *config,
        peers: limits.peers,
        router: limits.router,
        secured,
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    put(&mut bytes, &header)?;
    // At once, so that a file that cannot be written is known before the node is there.
    file.write_all(&bytes)?;
    let so_far =
        Recording { entries: 0, bytes: bytes.len() as u64, missed: 0, state: RecordingState::Running };
    let writer = Writer { file, buffer: Vec::new(), max_bytes, flushed: StdInstant::now(), so_far };
    Ok(Tape::to(Arc::new(Recorder(Mutex::new(writer)))))
}

/// Puts an entry and its length behind what is there; nothing if it is too long.
fn put(bytes: &mut Vec<u8>, entry: &impl Serialize) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend([0; LEN_BYTES]);
    let encoded = postcard::to_io(entry, &mut *bytes).map(drop).map_err(io::Error::other);
    let len = u32::try_from(bytes.len() - start - LEN_BYTES).map_err(io::Error::other);
    match encoded.and(len) {
        Ok(len) => {
            bytes[start..start + LEN_BYTES].copy_from_slice(&len.to_le_bytes());
            Ok(())
        }
        Err(error) => {
            bytes.truncate(start);
            Err(error)
        }
    }
}

impl Recorder {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Recorder {
    fn put(&self, entry: &Entry<'_>) {
        self.writer().put(entry);
    }

    fn finish(&self) {
        self.writer().end(End::Stopped);
    }

    fn so_far(&self) -> Option<Recording> {
        Some(self.writer().so_far)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Writer {
    fn put(&mut self, entry: &Entry<'_>) {
        if self.so_far.state != RecordingState::Running {
            self.so_far.missed += u64::from(self.so_far.state.is_cut());
            return;
        }
        let start = self.buffer.len();
        let fits = put(&mut self.buffer, entry).is_ok();
        let len = (self.buffer.len() - start) as u64;
        if !fits || self.so_far.bytes + len + END_BYTES > self.max_bytes {
            self.buffer.truncate(start);
            self.so_far.missed += 1;
            return self.end(End::Limit);
        }
        self.so_far.bytes += len;
        self.so_far.entries += 1;
        if self.buffer.len() >= FLUSH_BYTES || self.flushed.elapsed() >= FLUSH_INTERVAL {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.file.write_all(&self.buffer) {
            // What was written of it may end anywhere: nothing can follow.
            self.so_far.state = RecordingState::Failed(error.kind());
        }
        self.buffer.clear();
        self.buffer.shrink_to(2 * FLUSH_BYTES);
        self.flushed = StdInstant::now();
    }

    /// Writes the last entry.
    fn end(&mut self, end: End) {
        if self.so_far.state != RecordingState::Running {
            return;
        }
        self.so_far.state = match end {
            End::Stopped => RecordingState::Stopped,
            End::Limit => RecordingState::Limit,
        };
        let start = self.buffer.len();
        if put(&mut self.buffer, &Entry::End(end)).is_ok() {
            self.so_far.bytes += (self.buffer.len() - start) as u64;
        }
        self.flush();
        self.buffer = Vec::new();
    }
}

/// Reads a recording, one entry at a time. Memory grows with what the file holds, never with a number in it.
pub(super) struct Entries<R> {
    file: R,
    bytes: Vec<u8>,
}

impl<R: Read> Entries<R> {
    /// Reads up to the first entry.
    pub(super) fn new(mut file: R) -> Result<(Header, Self), ReplayError> {
        let mut front = [0; MAGIC.len() + size_of::<u16>()];
        file.read_exact(&mut front).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => ReplayError::NotARecording,
            _ => ReplayError::Io(error),
        })?;
        let (magic, version) = front.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ReplayError::NotARecording);
        }
        let version = u16::from_le_bytes([version[0], version[1]]);
        if version != VERSION {
            return Err(ReplayError::Version(version));
        }
        let mut entries = Self { file, bytes: Vec::new() };
        let header = entries.next()?.and_then(decode);
        let malformed = ReplayError::Malformed { entry: 0, what: "its header is not one" };
        Ok((header.ok_or(malformed)?, entries))
    }

    /// The next entry that is whole.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ReplayError> {
        self.bytes.clear();
        self.file.by_ref().take(LEN_BYTES as u64).read_to_end(&mut self.bytes)?;
        let Ok(len) = <[u8; LEN_BYTES]>::try_from(&self.bytes[..]) else { return Ok(None) };
        let len = u32::from_le_bytes(len);
        self.bytes.clear();
        self.file.by_ref().take(len.into()).read_to_end(&mut self.bytes)?;
        Ok((self.bytes.len() as u64 == len.into()).then_some(&self.bytes))
    }
}

/// What an entry says.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

/// The bytes of an entry, without its length.
pub(super) fn encode(entry: &Entry<'_>, bytes: &mut Vec<u8>) {
    bytes.clear();
    if postcard::to_io(entry, &mut *bytes).is_err() {
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taped::entry::TableCall;

    const NOTE: Entry<'static> = Entry::Table { call: TableCall::NetworkUp(true), deadline: None };

    /// A writer to a file that takes nothing.
    fn failing(path: &Path) -> Writer {
        std::fs::write(path, b"").unwrap();
        let so_far = Recording { entries: 0, bytes: 0, missed: 0, state: RecordingState::Running };
        let file = File::open(path).unwrap();
        Writer { file, buffer: Vec::new(), max_bytes: u64::MAX, flushed: StdInstant::now(), so_far }
    }

    #[test]
    fn where_the_file_takes_no_more_that_is_counted_and_nothing_else_happens() {
        let path = std::env::temp_dir().join(format!("kitfox-recorder-{}", std::process::id()));
        let mut writer = failing(&path);
        let mut put = 0;
        while writer.so_far.state == RecordingState::Running {
            writer.put(&NOTE);
            put += 1;
        }
        assert!(put > 1 && writer.so_far.missed == 0, "what waits is written together");
        writer.put(&NOTE);
        writer.end(End::Stopped);
        assert!(matches!(writer.so_far.state, RecordingState::Failed(_)) && writer.so_far.state.is_cut());
        assert_eq!((writer.so_far.missed, writer.buffer.len()), (1, 0));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_length_of_an_entry_is_believed_only_as_far_as_bytes_follow() {
        let mut file = MAGIC.to_vec();
        file.extend(VERSION.to_le_bytes());
        file.extend([255; LEN_BYTES]);
        file.extend([0; 100]);
        assert!(matches!(Entries::new(&file[..]), Err(ReplayError::Malformed { entry: 0, .. })));
        let mut entries = Entries { file: &file[10..], bytes: Vec::new() };
        assert_eq!(entries.next().unwrap(), None);
        assert!(entries.bytes.capacity() < 1 << 10);
    }
}
