//! Names of spaces and modules: text where they are UTF-8, `hex:` and hex digits otherwise.

use std::fmt;
use std::str;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Serialize, Serializer};

use crate::failure::Failure;

const HEX: &str = "hex:";

/// The bytes that a name stands for.
pub(crate) fn parse(name: &str) -> Result<Vec<u8>, Failure> {
    match name.strip_prefix(HEX) {
        Some(digits) => HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|error| {
            Failure::usage(format!("\"{name}\": after hex: come pairs of hex digits ({error})"))
        }),
        None => Ok(name.as_bytes().to_vec()),
    }
}

/// As [`parse`], for modules, whose names are UTF-8.
pub(crate) fn parse_module(name: &str) -> Result<String, Failure> {
    String::from_utf8(parse(name)?)
        .map_err(|_| Failure::usage(format!("\"{name}\": the name of a module is UTF-8")))
}

/// Shows a name so that [`parse`] gives its bytes again.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match str::from_utf8(self.0) {
            Ok(text) if !text.starts_with(HEX) => f.write_str(text),
            _ => write!(f, "{HEX}{}", Hex(self.0)),
        }
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Shows bytes as hex digits, without a text of all of them.
#[derive(Clone, Copy)]
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HEXLOWER.encode_display(self.0).fmt(f)
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_shown_is_read_as_the_same_bytes() {
        for bytes in [&b"garden"[..], b"", b"\xff\x00", b"hex:", b"hex:61", "日本".as_bytes()] {
            assert_eq!(parse(&Name(bytes).to_string()).unwrap(), bytes);
        }
        assert_eq!(parse("hex:FFfe").unwrap(), b"\xff\xfe");
        assert_eq!(Name(b"\xff").to_string(), "hex:ff");
        for wrong in ["hex:f", "hex:zz", "hex:é"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse_module("hex:ff").is_err());
    }
}
