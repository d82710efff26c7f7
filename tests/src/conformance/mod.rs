//! Holds kitfox against files of recorded behaviour of the real Kitsune2. `tests/vectors/README.md` has the format.
//!
//! Nothing here knows a case by its name, and no rule of the router stands here: the runner hands inputs to the
//! public API of `kitfox-core` and writes down what comes back in the words of the format.

mod frame;
mod input;
mod k2proto;
mod scenario;
mod url;

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::{fs, io};

use serde_json::Value;

/// What the cases of a file are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Messages: decoding and encoding.
    K2Proto,
    /// Frames and preflight payloads.
    Frame,
    /// Peer URLs.
    Url,
    /// Operations on a router and what they set off.
    Scenario,
}

impl Kind {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "k2proto" => Self::K2Proto,
            "frame" => Self::Frame,
            "url" => Self::Url,
            "scenario" => Self::Scenario,
            _ => return None,
        })
    }
}

/// The cases of one file.
#[derive(Debug, Clone)]
pub struct Vectors {
    kind: Kind,
    cases: Vec<Value>,
}

impl Vectors {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or as for [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = fs::read(path).map_err(LoadError::Unreadable)?;
        let file = serde_json::from_slice(&bytes).map_err(LoadError::Json)?;
        Self::from_value(file)
    }

    /// Takes the text of a file.
    ///
    /// # Errors
    /// If it is not JSON, has no list of cases, or is of a kind that this runner does not know.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        Self::from_value(serde_json::from_str(text).map_err(LoadError::Json)?)
    }

    /// Takes a file that is JSON already.
    ///
    /// # Errors
    /// If it has no list of cases, or is of a kind that this runner does not know.
    pub fn from_value(mut file: Value) -> Result<Self, LoadError> {
        let name = file.get("kind").and_then(Value::as_str).ok_or(LoadError::Missing("kind"))?;
        let kind = Kind::from_name(name).ok_or_else(|| LoadError::UnknownKind(name.into()))?;
        match file.get_mut("cases").map(Value::take) {
            Some(Value::Array(cases)) => Ok(Self { kind, cases }),
            _ => Err(LoadError::Missing("cases")),
        }
    }

    /// What the cases are about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Runs every case.
    pub fn run(&self) -> Report {
        let mut report = Report::default();
        for (index, case) in self.cases.iter().enumerate() {
            let run = match self.kind {
                Kind::K2Proto => k2proto::run,
                Kind::Frame => frame::run,
                Kind::Url => url::run,
                Kind::Scenario => scenario::run,
            };
            match judge(|| run(case)) {
                Ok(()) => report.passed += 1,
                Err(mismatch) => {
                    let id = case.get("id").and_then(Value::as_str);
                    let case = id.map_or_else(|| format!("#{index}"), Into::into);
                    report.failures.push(Failure { case, mismatch });
                }
            }
        }
        report
    }
}

/// Why a file is not run at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is not JSON.
    Json(serde_json::Error),
    /// It lacks a part that every file has, or that part is of the wrong type.
    Missing(&'static str),
    /// It is of a kind that this runner does not know.
    UnknownKind(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::Json(error) => write!(f, "is not JSON: {error}"),
            Self::Missing(part) => write!(f, "is no vector file: no usable {part:?}"),
            Self::UnknownKind(kind) => {
                write!(f, "is of unknown kind {kind:?}; known are k2proto, frame, url and scenario")
            }
        }
    }
}

impl core::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            Self::Json(error) => Some(error),
            Self::Missing(_) | Self::UnknownKind(_) => None,
        }
    }
}

/// What became of the cases of one file.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many cases passed.
    pub passed: usize,
    /// The others, in the order of the file.
    pub failures: Vec<Failure>,
}

/// A case that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The case's id, or its number if it has none.
    pub case: String,
    /// The first difference.
    pub mismatch: Mismatch,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.mismatch)
    }
}

/// The first difference between what a file says and what kitfox does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What the file says.
    pub expected: String,
    /// What kitfox does.
    pub got: String,
}

impl Mismatch {
    fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { expected: expected.into(), got: got.into() }
    }

    /// The file has a case that makes no sense.
    fn malformed(what: impl fmt::Display) -> Self {
        Self::new("a well-formed case", what.to_string())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str| text.replace('\n', "\\n").replace('\r', "\\r");
        write!(f, "expected {}, got {}", line(&self.expected), line(&self.got))
    }
}

/// Runs one case. A panic in it is its failure.
///
/// # Errors
/// The first difference, or the panic.
pub fn judge(case: impl FnOnce() -> Result<(), Mismatch>) -> Result<(), Mismatch> {
    catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        Err(Mismatch::new("no panic", format!("panic: {text}")))
    })
}

/// Holds `got` against `expected`; `what` says which part of the case they are.
fn same(what: impl fmt::Display, expected: &Value, got: &Value) -> Result<(), Mismatch> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.to_string(), got.to_string());
    let common = expected.bytes().zip(got.bytes()).take_while(|(a, b)| a == b).count();
    let clip = |text: &str| clip(text, common);
    Err(Mismatch::new(format!("{what} {}", clip(&expected)), clip(&got)))
}

/// `text` as it is, or the part around the byte at `focus` if it is very long.
fn clip(text: &str, focus: usize) -> String {
    const LONG: usize = 800;
    const BEFORE: usize = 300;
    if text.len() <= LONG {
        return text.into();
    }
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let start = floor(focus.saturating_sub(BEFORE));
    let end = floor(start + LONG);
    let (before, after) = (if start > 0 { "..." } else { "" }, if end < text.len() { "..." } else { "" });
    format!("{before}{}{after}", &text[start..end])
}
