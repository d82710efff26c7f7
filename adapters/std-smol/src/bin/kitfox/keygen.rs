//! `kitfox keygen` and `kitfox provision`: keys in files. A secret is never shown.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use kitfox_smol::{KeyFileError, SecretKey, create_key, load_key, write_provisioned};
use lexopt::prelude::{Long, Short, Value};

use crate::failure::Failure;

/// The file of a new key.
pub(crate) struct Options(PathBuf);

/// What a microcontroller is given.
pub(crate) struct Provision {
    key: PathBuf,
    out: PathBuf,
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut file = None;
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Value(path) if file.is_none() => file = Some(path),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some(Options(path(file, "say where to keep the key: kitfox keygen FILE")?)))
}

/// `None` if the command is to be explained.
pub(crate) fn parse_provision(args: &mut lexopt::Parser) -> Result<Option<Provision>, Failure> {
    let (mut key, mut out) = (None, None);
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("key") => key = Some(args.value()?),
            Value(path) if out.is_none() => out = Some(path),
            other => return Err(other.unexpected().into()),
        }
    }
    let key = path(key, "say whose bytes to write: --key FILE, as \"kitfox keygen FILE\" makes it")?;
    let out = path(out, "say where to write the bytes: kitfox provision --key FILE OUT")?;
    Ok(Some(Provision { key, out }))
}

fn path(given: Option<OsString>, missing: &str) -> Result<PathBuf, Failure> {
    let given = given.filter(|path| !path.is_empty()).ok_or_else(|| Failure::usage(missing))?;
    Ok(given.into())
}

pub(crate) fn run(Options(file): Options) -> Result<(), Failure> {
    let key = create_key(&file).map_err(|error| not_written(&file, &error))?;
    println!("{}", key.peer_id());
    Ok(())
}

pub(crate) fn run_provision(Provision { key, out }: Provision) -> Result<(), Failure> {
    let key = load(&key)?;
    write_provisioned(&key, &out).map_err(|error| not_written(&out, &error))?;
    println!("{}", key.peer_id());
    Ok(())
}

/// The key in a file.
pub(crate) fn load(file: &Path) -> Result<SecretKey, Failure> {
    load_key(file).map_err(|error| {
        let name = file.display();
        let advice = match &error {
            KeyFileError::Io(error) if error.kind() == ErrorKind::NotFound => {
                format!("; \"kitfox keygen {name}\" makes a key")
            }
            KeyFileError::Exposed(_) => {
                format!("; if nobody has read it, \"chmod 600 {name}\" mends that")
            }
            KeyFileError::Malformed => "; \"kitfox keygen\" with another name makes a key".to_owned(),
            _ => String::new(),
        };
        Failure::usage(format!("--key {name}: {error}{advice}"))
    })
}

fn not_written(file: &Path, error: &KeyFileError) -> Failure {
    let advice = match error {
        KeyFileError::Exists => "; it is left as it is: choose another name, or move it away",
        KeyFileError::Io(error) if error.kind() == ErrorKind::NotFound => {
            "; the directory must be there already"
        }
        _ => "",
    };
    Failure::usage(format!("{}: {error}{advice}", file.display()))
}
