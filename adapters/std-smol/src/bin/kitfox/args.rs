//! What the parsers of all commands need.

use std::ops::RangeInclusive;

use kitfox_smol::PeerId;
use kitfox_smol::core::wire::{PeerUrl, UrlRules};
use lexopt::ValueExt;
use lexopt::prelude::{Long, Short};

use crate::failure::Failure;

/// A command that takes no options. `None` if it is to be explained.
pub(crate) fn nothing(args: &mut lexopt::Parser) -> Result<Option<()>, Failure> {
    match args.next()? {
        None => Ok(Some(())),
        Some(Short('h') | Long("help")) => Ok(None),
        Some(other) => Err(other.unexpected().into()),
    }
}

/// The value of an option, as text.
pub(crate) fn text(args: &mut lexopt::Parser) -> Result<String, Failure> {
    Ok(args.value()?.string()?)
}

/// The value of an option, as a whole number within bounds.
pub(crate) fn number(
    args: &mut lexopt::Parser,
    option: &str,
    bounds: RangeInclusive<u64>,
) -> Result<u64, Failure> {
    let text = text(args)?;
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (bounds.start(), bounds.end());
        Failure::usage(format!("{option} takes a whole number from {first} to {last}, not \"{text}\""))
    })
}

/// A number of things, or of bytes.
pub(crate) fn size(
    args: &mut lexopt::Parser,
    option: &str,
    bounds: RangeInclusive<u64>,
) -> Result<usize, Failure> {
    let number = number(args, option, bounds)?;
    usize::try_from(number)
        .map_err(|_| Failure::usage(format!("{option} {number} is more than this machine can count")))
}

/// The id in the URL of a peer.
pub(crate) fn peer_id(url: &str) -> Result<String, Failure> {
    let hint = "a peer's URL looks like wss://192.0.2.7:4711/ID, as \"kitfox listen\" prints it";
    let parsed = PeerUrl::parse(url, &UrlRules::default())
        .map_err(|error| Failure::usage(format!("\"{url}\" is not the URL of a peer: {error}; {hint}")))?;
    let id = parsed.peer_id().filter(|id| PeerId::new(id).is_some());
    let id = id.ok_or_else(|| Failure::usage(format!("\"{url}\" has no peer id; {hint}")))?;
    Ok(id.to_owned())
}
