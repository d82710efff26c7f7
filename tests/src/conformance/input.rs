//! Reading the parts of a case.

use core::fmt::Write as _;

use serde_json::Value;

use super::Mismatch;

/// The member `name`, where null is the same as none.
pub(super) fn optional<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name).filter(|member| !member.is_null())
}

/// The member `name`.
pub(super) fn member<'v>(value: &'v Value, name: &str) -> Result<&'v Value, Mismatch> {
    value.get(name).ok_or_else(|| Mismatch::malformed(format_args!("no {name:?}")))
}

/// The member `name`, a text.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str, Mismatch> {
    member(value, name)?.as_str().ok_or_else(|| Mismatch::malformed(format_args!("{name:?} is no text")))
}

/// The member `name`, a text or null or missing.
pub(super) fn optional_text<'v>(value: &'v Value, name: &str) -> Result<Option<&'v str>, Mismatch> {
    optional(value, name).map(|_| text(value, name)).transpose()
}

/// The member `name`, true or false.
pub(super) fn flag(value: &Value, name: &str) -> Result<bool, Mismatch> {
    let flag = member(value, name)?.as_bool();
    flag.ok_or_else(|| Mismatch::malformed(format_args!("{name:?} is neither true nor false")))
}

/// The member `name`, a list that may be missing.
pub(super) fn list<'v>(value: &'v Value, name: &str) -> Result<&'v [Value], Mismatch> {
    match optional(value, name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(Mismatch::malformed(format_args!("{name:?} is no list"))),
    }
}

/// The member `name`, bytes in hex.
pub(super) fn bytes(value: &Value, name: &str) -> Result<Vec<u8>, Mismatch> {
    let hex = text(value, name)?;
    from_hex(hex).ok_or_else(|| Mismatch::malformed(format_args!("{name:?} is not hex")))
}

/// The member `name`, bytes in hex or null or missing.
pub(super) fn optional_bytes(value: &Value, name: &str) -> Result<Option<Vec<u8>>, Mismatch> {
    optional(value, name).map(|_| bytes(value, name)).transpose()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            &[high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
