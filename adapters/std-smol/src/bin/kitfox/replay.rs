//! `kitfox replay`: makes the calls of a recording again, and compares what comes out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use kitfox_smol::record::{Ended, ReplayError, Replayed, replay_telling};
use lexopt::prelude::{Long, Short, Value};

use crate::failure::Failure;
use crate::keygen;
use crate::text;

/// What the command line says.
pub(crate) struct Options {
    file: PathBuf,
    key: Option<PathBuf>,
    trace: bool,
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let (mut file, mut key, mut trace) = (None, None, false);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("key") => key = Some(args.value()?.into()),
            Long("trace") => trace = true,
            Value(path) if file.is_none() => file = Some(path.into()),
            other => return Err(other.unexpected().into()),
        }
    }
    let file = file.ok_or_else(|| Failure::usage("say what to replay: kitfox replay FILE"))?;
    Ok(Some(Options { file, key, trace }))
}

pub(crate) fn run(Options { file, key, trace }: Options) -> Result<(), Failure> {
    let name = file.display();
    let key = key.map(|key| keygen::load(&key)).transpose()?;
    let recording = File::open(&file).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    let mut out = BufWriter::new(io::stdout().lock());
    // Who reads no further does not want to know more.
    let mut unread = !trace;
    let replayed = replay_telling(recording, key.as_ref(), |number, entry| {
        unread = unread || writeln!(out, "{number:>8}  {entry}").is_err();
    });
    let outcome = match replayed {
        Ok(replayed) => {
            let _ = out.write_all(summary(&replayed).as_bytes());
            Ok(())
        }
        Err(error) => Err(failure(&file, &error)),
    };
    let _ = out.flush();
    outcome
}

fn failure(file: &std::path::Path, error: &ReplayError) -> Failure {
    let advice = match error {
        ReplayError::KeyMissing(_) => "; --key FILE with the file that the node had",
        ReplayError::OtherKey { .. } => "; --key takes the file that the node had",
        ReplayError::Io(_) | ReplayError::NotARecording => "",
        ReplayError::Version(_) => "; the version of kitfox that has recorded replays it",
        // What was looked for, and what nobody asked for.
        _ => return Failure::peer(format!("{}: {error}", file.display())),
    };
    Failure::usage(format!("{}: {error}{advice}", file.display()))
}

/// What was replayed, for people.
fn summary(replayed: &Replayed) -> String {
    let Replayed { peer_id, version, at_s, .. } = replayed;
    let count = text::count;
    let ended = match replayed.ended {
        Ended::Stopped => "with its node",
        Ended::Limit => "at its limit, before its node",
        _ => "in the middle: the node was killed, or the file could not be written",
    };
    let rows = [
        ("node", peer_id.to_string()),
        ("recorded", format!("by kitfox {version}, from {at_s} s after 1970 on")),
        ("lasted", format!("{:.6} s", replayed.lasted.as_secs_f64())),
        ("connections", count(replayed.connections)),
        (
            "messages",
            format!(
                "{} received, {} accepted for sending",
                count(replayed.received_messages),
                count(replayed.accepted_messages)
            ),
        ),
        (
            "bytes",
            format!(
                "{} read, {} written",
                text::bytes(replayed.read_bytes),
                text::bytes(replayed.written_bytes)
            ),
        ),
        (
            "entries",
            format!(
                "{}: {} of the peer table, {} of rules, {} of outboxes, {} of receive halves, {} of transmit halves",
                count(replayed.entries),
                count(replayed.table_calls),
                count(replayed.rules_calls),
                count(replayed.outbox_calls),
                count(replayed.rx_calls),
                count(replayed.tx_calls)
            ),
        ),
        ("ended", ended.to_owned()),
        ("replayed", "with the same actions".to_owned()),
    ];
    rows.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}
