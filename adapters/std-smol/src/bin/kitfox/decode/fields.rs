//! The fields of an encoded message, with their places, as far as they can be told apart.

use std::ops::Range;

/// A field as it stands in the bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Field<'a> {
    /// Its bytes, key included.
    pub(super) at: Range<usize>,
    pub(super) number: u64,
    pub(super) value: Value<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed(&'a [u8]),
    GroupStart,
    GroupEnd,
}

/// Where the bytes stop making sense, and why.
#[derive(Debug, PartialEq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) why: &'static str,
}

/// The fields of a message in their order, until the end or until something is broken.
pub(super) fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Broken>> {
    let mut place = 0;
    std::iter::from_fn(move || {
        if place == bytes.len() {
            return None;
        }
        let found = field(bytes, place);
        // Behind something that is broken nothing can be found.
        place = found.as_ref().map_or(bytes.len(), |field| field.at.end);
        Some(found)
    })
}

fn field(bytes: &[u8], start: usize) -> Result<Field<'_>, Broken> {
    let (key, place) = varint(bytes, start)?;
    let (number, wire_type) = (key >> 3, key & 7);
    if number == 0 {
        return Err(Broken { at: start, why: "a field has the number 0" });
    }
    let fixed = |len: usize| {
        let value = bytes.get(place..place + len).ok_or_else(|| ends(start))?;
        Ok((Value::Fixed(value), place + len))
    };
    let (value, end) = match wire_type {
        0 => {
            let (number, end) = varint(bytes, place)?;
            (Value::Number(number), end)
        }
        1 => fixed(8)?,
        2 => {
            let (len, place) = varint(bytes, place)?;
            let rest = &bytes[place..];
            let len =
                usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or_else(|| ends(start))?;
            (Value::Bytes(&rest[..len]), place + len)
        }
        3 => (Value::GroupStart, place),
        4 => (Value::GroupEnd, place),
        5 => fixed(4)?,
        _ => return Err(Broken { at: start, why: "a field has a wire type that does not exist" }),
    };
    Ok(Field { at: start..end, number, value })
}

fn ends(at: usize) -> Broken {
    Broken { at, why: "the message ends inside this field" }
}

/// A number of seven bits a byte, and the place behind it.
fn varint(bytes: &[u8], start: usize) -> Result<(u64, usize), Broken> {
    let mut value = 0;
    for (count, byte) in bytes[start..].iter().enumerate() {
        if count == 9 && *byte > 1 {
            return Err(Broken { at: start, why: "a number is longer than 64 bits" });
        }
        value |= u64::from(byte & 0x7f) << (7 * count);
        if *byte < 0x80 {
            return Ok((value, start + count + 1));
        }
    }
    Err(ends(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_found_in_its_place() {
        let bytes = [8, 2, 0x12, 1, 7, 0x2b, 0x2c, 0x35, 1, 2, 3, 4];
        let found: Vec<_> = fields(&bytes).map(Result::unwrap).collect();
        let values: Vec<_> =
            found.iter().map(|field| (field.at.clone(), field.number, &field.value)).collect();
        assert_eq!(
            values,
            [
                (0..2, 1, &Value::Number(2)),
                (2..5, 2, &Value::Bytes(&[7])),
                (5..6, 5, &Value::GroupStart),
                (6..7, 5, &Value::GroupEnd),
                (7..12, 6, &Value::Fixed(&[1, 2, 3, 4])),
            ]
        );
    }

    #[test]
    fn what_is_broken_is_the_last_that_is_found() {
        let cases: [(&[u8], usize); 7] = [
            (&[8], 1),
            (&[8, 1, 0x12, 5, 1], 2),
            (&[8, 1, 0], 2),
            (&[0x0e], 0),
            (&[0x35, 1], 0),
            (&[8, 0x80], 1),
            (&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2], 1),
        ];
        for (bytes, at) in cases {
            let last = fields(bytes).last().unwrap();
            assert_eq!(last.unwrap_err().at, at, "{bytes:?}");
        }
    }
}
