//! Why a command has not done what it was asked for.

use std::fmt;
use std::process::ExitCode;

/// Why a command ends without success: whose fault it is decides about the exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the command was told cannot be done.
    Usage(String),
    /// The peer refused or was lost, or bytes break the protocol.
    Peer(String),
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    pub(crate) fn peer(what: impl Into<String>) -> Self {
        Self::Peer(what.into())
    }

    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Peer(_) => 1,
            Self::Usage(_) => 2,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(what) | Self::Peer(what)) = self;
        f.write_str(what)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}
