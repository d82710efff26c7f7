//! `--record` of `listen` and `send`: all that goes into the core, in a file.

use std::path::PathBuf;

use kitfox_smol::record::RecordingState;
use kitfox_smol::{Builder, Node};

use crate::args;
use crate::failure::Failure;
use crate::node::Identity;

/// What the command line says about a recording.
#[derive(Default)]
pub(crate) struct Record {
    file: Option<PathBuf>,
    max_bytes: Option<u64>,
}

impl Record {
    /// Takes the value of `--record`.
    pub(crate) fn take_file(&mut self, args: &mut lexopt::Parser) -> Result<(), Failure> {
        self.file = Some(args.value()?.into());
        Ok(())
    }

    /// Takes the value of `--record-max-bytes`.
    pub(crate) fn take_max_bytes(&mut self, args: &mut lexopt::Parser) -> Result<(), Failure> {
        self.max_bytes = Some(args::number(args, "--record-max-bytes", 4096..=u64::MAX)?);
        Ok(())
    }

    /// Says no to what has no meaning.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), Failure> {
        if self.file.is_none() && self.max_bytes.is_some() {
            return Err(Failure::usage("--record-max-bytes is for a recording: --record FILE"));
        }
        if self.file.is_some() && !identity.plain && identity.key.is_none() {
            return Err(Failure::usage(
                "a recording is replayed with the node's key, and one that is for this run only is kept nowhere: \
                 add --key FILE",
            ));
        }
        Ok(())
    }

    /// Has the node record, if it is to. Says what that means.
    pub(crate) fn build(&self, builder: Builder) -> Builder {
        let Some(file) = &self.file else { return builder };
        eprintln!(
            "recording: {} will hold all that is received and sent; keep it like the key",
            file.display()
        );
        let builder = builder.record(file);
        match self.max_bytes {
            Some(bytes) => builder.record_max_bytes(bytes),
            None => builder,
        }
    }

    /// Says on standard error if a recording ended before its node did.
    pub(crate) fn tell(&self, node: &Node) {
        let (Some(file), Some(recording)) = (&self.file, node.recording()) else { return };
        let why = match recording.state {
            RecordingState::Limit => "has reached its limit".to_owned(),
            RecordingState::Failed(error) => format!("could not be written ({error})"),
            _ => return,
        };
        eprintln!(
            "recording: {} {why} after {} entries; {} more are not in it",
            file.display(),
            recording.entries,
            recording.missed
        );
    }
}
