//! Why a recording was not replayed to its end.

use std::{error, fmt, io};

/// Why a recording was not replayed to its end. Entries are numbered from 1.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file cannot be read.
    Io(io::Error),
    /// It is no recording.
    NotARecording,
    /// It is a recording of another format, which has this number.
    Version(u16),
    /// It is the recording of a secured node, whose id this is, and no key was given.
    KeyMissing(String),
    /// It is the recording of another node than the one that has the key.
    OtherKey {
        /// The id of the node that was recorded.
        recorded: String,
        /// The id of the key that was given.
        given: String,
    },
    /// An entry that no node writes: the file is damaged.
    Malformed {
        /// The number of the entry; 0 is the header.
        entry: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The node that the recording tells of owned more memory than a replay is given: the file is damaged, or the node
    /// was configured for a machine like few.
    TooLarge {
        /// The number of the entry.
        entry: u64,
    },
    /// Something else came out than was recorded: here is the fault that was looked for, or the core is another one.
    Difference {
        /// The number of the entry.
        entry: u64,
        /// The part of the node: "peer table", "rules", "outbox ...", or "connection ...".
        part: String,
        /// What was recorded, as text for people.
        recorded: String,
        /// What came out, as text for people.
        replayed: String,
    },
}

impl ReplayError {
    /// The number of the entry at which the replay ended, if it came so far.
    pub fn entry(&self) -> Option<u64> {
        match self {
            Self::Malformed { entry, .. } | Self::TooLarge { entry } | Self::Difference { entry, .. } => {
                Some(*entry)
            }
            _ => None,
        }
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotARecording => f.write_str("this is not a recording"),
            Self::Version(version) => {
                write!(f, "a recording of format {version}, which this version does not replay")
            }
            Self::KeyMissing(id) => write!(f, "a recording of the secured node {id}: its key is needed"),
            Self::OtherKey { recorded, given } => {
                write!(f, "a recording of the node {recorded}, and the key is that of {given}")
            }
            Self::Malformed { entry: 0, what } => write!(f, "the recording is damaged: {what}"),
            Self::Malformed { entry, what } => write!(f, "entry {entry} is damaged: {what}"),
            Self::TooLarge { entry } => write!(f, "entry {entry}: the replay needs too much memory"),
            Self::Difference { entry, part, recorded, replayed } => {
                write!(f, "entry {entry}, {part}: recorded was {recorded}, and now comes {replayed}")
            }
        }
    }
}

impl error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
