//! Base 128 varints, as protobuf has them (at most ten bytes, redundant zero padding accepted), and the keys and
//! values made of them.

use super::message::DecodeError;

/// The longest varint, in bytes.
pub(crate) const MAX_BYTES: usize = 10;

pub(crate) const VARINT: u8 = 0;
const FIXED64: u8 = 1;
pub(crate) const LENGTH_DELIMITED: u8 = 2;
pub(crate) const START_GROUP: u8 = 3;
pub(crate) const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

/// How deep groups may nest. The hundredth may be there, but nothing may be in it.
const MAX_GROUP_DEPTH: usize = 100;

/// How many levels of groups are matched in one pass, see [`skip_group`].
const GROUP_WINDOW: usize = 25;

/// The number of bytes `value` takes, one to ten.
#[inline]
pub(crate) const fn len(value: u64) -> usize {
    if value < 0x80 {
        return 1;
    }
    let bits = 64 - value.leading_zeros() as usize;
    // The exact ceil(bits / 7) for 1..=64, without a division.
    (bits * 9 + 64) / 64
}

/// Reads a varint off the front of `bytes`; the second value is what follows it.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let mut value = 0u64;
    let mut shift = 0u32;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        // The tenth byte holds the 64th bit alone: neither more bits nor an eleventh byte.
        if shift == 63 && *byte > 1 {
            return Err(DecodeError::VarintTooLong);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Ok((value, rest));
        }
        shift += 7;
    }
    Err(DecodeError::Truncated)
}

/// Writes `value` at the front of `out`; returns what is left of `out`, or nothing if it does not fit.
pub(crate) fn encode(mut value: u64, mut out: &mut [u8]) -> Option<&mut [u8]> {
    while value >= 0x80 {
        let (byte, rest) = out.split_first_mut()?;
        *byte = value as u8 | 0x80;
        value >>= 7;
        out = rest;
    }
    let (byte, rest) = out.split_first_mut()?;
    *byte = value as u8;
    Some(rest)
}

/// The field number and wire type of the key at the front of `bytes`, and what follows it.
#[inline]
pub(crate) fn key(bytes: &[u8]) -> Result<(u32, u8, &[u8]), DecodeError> {
    let (key, rest) = decode(bytes)?;
    let key = u32::try_from(key).map_err(|_| DecodeError::KeyTooLarge)?;
    let wire_type = (key & 7) as u8;
    if wire_type > FIXED32 {
        return Err(DecodeError::WireType);
    }
    match key >> 3 {
        0 => Err(DecodeError::FieldNumberZero),
        number => Ok((number, wire_type, rest)),
    }
}

/// The bytes of a length-delimited value after its key, and what follows them.
#[inline]
pub(crate) fn length_delimited(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (len, rest) = decode(bytes)?;
    usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(DecodeError::Truncated)
}

/// What follows a value of this wire type, which is no group.
pub(crate) fn skip(wire_type: u8, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match wire_type {
        VARINT => Ok(decode(bytes)?.1),
        LENGTH_DELIMITED => Ok(length_delimited(bytes)?.1),
        FIXED32 => bytes.get(4..).ok_or(DecodeError::Truncated),
        FIXED64 => bytes.get(8..).ok_or(DecodeError::Truncated),
        _ => Err(DecodeError::WireType),
    }
}

/// What follows the group of this field number, whose first key is read already.
///
/// The end of a group must bear the number of its start, so the numbers of all open groups matter: 400 bytes of stack
/// for something no sender does. Instead, a window of levels is matched at a time and the group is read again for the
/// levels below, which is four times at most.
#[cold]
#[inline(never)]
pub(crate) fn skip_group(number: u32, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let mut window = 0;
    loop {
        let (rest, deepest) = match_groups(number, bytes, window)?;
        window += GROUP_WINDOW;
        if deepest <= window {
            return Ok(rest);
        }
    }
}

/// Reads a group to its end, matching starts and ends of the levels in the window; returns what follows the group and
/// the depth it reached.
fn match_groups(number: u32, bytes: &[u8], window: usize) -> Result<(&[u8], usize), DecodeError> {
    let mut open = [0u32; GROUP_WINDOW];
    let mut depth = 0usize;
    let mut deepest = 0;
    let mut start = Some(number);
    let mut rest = bytes;
    loop {
        if let Some(number) = start.take() {
            if let Some(open) = open.get_mut(depth.wrapping_sub(window)) {
                *open = number;
            }
            depth += 1;
            deepest = deepest.max(depth);
        }
        let (number, wire_type, tail) = key(rest)?;
        rest = match wire_type {
            END_GROUP => {
                depth -= 1;
                if open.get(depth.wrapping_sub(window)).is_some_and(|open| *open != number) {
                    return Err(DecodeError::EndGroup);
                }
                if depth == 0 {
                    return Ok((tail, deepest));
                }
                tail
            }
            _ if depth == MAX_GROUP_DEPTH => return Err(DecodeError::GroupDepth),
            START_GROUP => {
                start = Some(number);
                tail
            }
            wire_type => skip(wire_type, tail)?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_matches_the_encoding_at_every_power_of_two() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut out = [0; MAX_BYTES];
                let left = encode(value, &mut out).expect("ten bytes hold any varint").len();
                let written = MAX_BYTES - left;
                assert_eq!(written, len(value), "{value}");
                assert_eq!(decode(&out[..written]), Ok((value, &[][..])), "{value}");
                assert!(encode(value, &mut [0; MAX_BYTES][..written - 1]).is_none(), "{value}");
            }
        }
    }

    #[test]
    fn padding_is_accepted_up_to_ten_bytes_and_no_further() {
        assert_eq!(decode(&[0x81, 0x80, 0x00, 7]), Ok((1, &[7][..])));
        let mut bytes = [0x80; 11];
        assert_eq!(decode(&bytes), Err(DecodeError::VarintTooLong));
        assert_eq!(decode(&bytes[..9]), Err(DecodeError::Truncated));
        bytes[9] = 0;
        assert_eq!(decode(&bytes[..10]), Ok((0, &[][..])));
        bytes[9] = 2;
        assert_eq!(decode(&bytes), Err(DecodeError::VarintTooLong));
    }
}
