//! `wire::message` against prost 0.14 and the recorded vectors of Kitsune2.

use kitfox_core::wire::{BufferTooSmall, DecodeError, Kind, MAX_HEAD_BYTES, Message, ModuleName};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

/// The schema for prost, which is what Kitsune2 decodes and encodes with.
#[derive(Clone, PartialEq, prost::Message)]
struct Oracle {
    #[prost(enumeration = "Ty", tag = "1")]
    ty: i32,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "3")]
    space_id: Option<Vec<u8>>,
    #[prost(string, optional, tag = "4")]
    module_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Ty {
    Unspecified = 0,
    Preflight = 1,
    Notify = 2,
    Module = 3,
    Disconnect = 15,
}

impl Oracle {
    fn as_message(&self) -> Message<'_> {
        Message {
            ty: self.ty,
            data: &self.data,
            space: self.space_id.as_deref(),
            module: self.module_id.as_deref().map(ModuleName::new),
        }
    }
}

/// Decodes with both and compares; returns whether the bytes were accepted.
fn agree(bytes: &[u8]) -> bool {
    let ours = Message::decode(bytes);
    match (Oracle::decode(bytes), ours) {
        (Ok(theirs), Ok(ours)) => {
            assert_eq!(theirs.as_message(), ours, "{bytes:02x?}");
            assert_eq!(theirs.ty() as i32, ours.kind().to_wire(), "{bytes:02x?}");
            assert_eq!(encoding(&ours), theirs.encode_to_vec(), "{bytes:02x?}");
            true
        }
        (Err(_), Err(_)) => false,
        (theirs, ours) => panic!("{bytes:02x?}: prost {theirs:?}, we {ours:?}"),
    }
}

/// The encoding, made in every way there is.
fn encoding(message: &Message<'_>) -> Vec<u8> {
    let len = message.encoded_len();
    let mut out = vec![0xee; len + 3];
    assert_eq!(message.encode(&mut out), Ok(len));
    assert_eq!(out.split_off(len), [0xee; 3]);

    let (mut head, mut tail) = ([0; MAX_HEAD_BYTES], vec![0; message.tail_len()]);
    let head_len = message.encode_head(&mut head).expect("MAX_HEAD_BYTES are always enough");
    assert_eq!(head_len, message.head_len());
    assert_eq!(message.encode_tail(&mut tail), Ok(tail.len()));
    assert_eq!([&head[..head_len], message.data, &tail].concat(), out);
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().map(|c| (c as char).to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn varint(mut value: u64, padding: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    for _ in 0..padding {
        *out.last_mut().expect("not empty") |= 0x80;
        out.push(0);
    }
    out
}

fn key(number: u64, wire_type: u64) -> Vec<u8> {
    varint(number << 3 | wire_type, 0)
}

/// `depth` groups, each in the one before, around `inner`; field numbers from 5 up.
fn nested(depth: u64, inner: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..depth).flat_map(|level| key(5 + level, 3)).collect();
    bytes.extend_from_slice(inner);
    bytes.extend((0..depth).rev().flat_map(|level| key(5 + level, 4)));
    bytes
}

#[test]
fn every_recorded_vector_is_decoded_rejected_and_encoded_as_kitsune2_did() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/proto.dev.json");
    let text = std::fs::read_to_string(path).expect("the vectors are in the repository");
    let file: serde_json::Value = serde_json::from_str(&text).expect("the vectors are JSON");
    let cases = file["cases"].as_array().expect("a list of cases");
    assert_eq!(Some(cases.len() as u64), file["count"].as_u64());
    assert!(!cases.is_empty());
    for case in cases {
        let bytes = hex(case["bytes"].as_str().expect("bytes"));
        agree(&bytes);
        let decoded = Message::decode(&bytes);
        if !case["ok"].as_bool().expect("ok") {
            assert!(decoded.is_err(), "{case}");
            continue;
        }
        let fields = &case["fields"];
        let data = hex(fields["data"].as_str().expect("data"));
        let space = fields["space_id"].as_str().map(hex);
        let expected = Message {
            ty: i32::try_from(fields["ty_raw"].as_i64().expect("ty_raw")).expect("32 bits"),
            data: &data,
            space: space.as_deref(),
            module: fields["module_id"].as_str().map(ModuleName::new),
        };
        assert_eq!(decoded, Ok(expected), "{case}");
        let kind = match fields["ty"].as_str().expect("ty") {
            "UNSPECIFIED" => Kind::Unspecified,
            "PREFLIGHT" => Kind::Preflight,
            "NOTIFY" => Kind::Notify,
            "MODULE" => Kind::Module,
            "DISCONNECT" => Kind::Disconnect,
            other => panic!("{other}"),
        };
        assert_eq!(expected.kind(), kind, "{case}");
        let reencoded = encoding(&expected);
        assert_eq!(reencoded, hex(case["reencoded"].as_str().expect("reencoded")), "{case}");
        assert_eq!(reencoded == bytes, case["canonical"].as_bool().expect("canonical"), "{case}");
    }
}

#[test]
fn all_inputs_of_up_to_two_bytes_and_a_sample_of_three_agree_with_prost() {
    assert!(agree(&[]));
    for a in 0..=255 {
        agree(&[a]);
        for b in 0..=255 {
            agree(&[a, b]);
        }
    }
    // Keys of one byte with a known number or one next to it, then a stride through the rest that misses no value.
    for a in 0..=0x30 {
        for rest in (0..=0xffffu16).step_by(37) {
            let [b, c] = rest.to_le_bytes();
            agree(&[a, b, c]);
        }
    }
}

#[test]
#[ignore = "16 million inputs: run in release"]
fn all_inputs_of_three_bytes_agree_with_prost() {
    for input in 0..1u32 << 24 {
        let [a, b, c, _] = input.to_le_bytes();
        agree(&[a, b, c]);
    }
}

#[test]
fn groups_nest_to_a_hundred_and_the_hundredth_must_be_empty() {
    for (depth, inner, accepted) in [
        (1, &[][..], true),
        (99, &[], true),
        (99, &[0x28, 0x00], true),
        (100, &[], true),
        (100, &[0x28, 0x00], false),
        (100, &[0x2a, 0x00], false),
        (101, &[], false),
        (1000, &[], false),
    ] {
        let bytes = nested(depth, inner);
        assert_eq!(agree(&bytes), accepted, "{depth} {inner:?}");
        // After a group the message goes on.
        assert_eq!(agree(&[&bytes[..], &[0x08, 0x02]].concat()), accepted);
        if !accepted {
            assert_eq!(Message::decode(&bytes), Err(DecodeError::GroupDepth));
        }
    }
    // What counts is how many are open, not how many there were.
    assert!(agree(&[nested(100, &[]), nested(100, &[])].concat()));
    assert!(agree(&nested(50, &[nested(50, &[]), nested(49, &[0x28, 0x00]), nested(50, &[])].concat())));
}

#[test]
fn a_group_ends_with_its_own_number_at_every_depth() {
    for depth in [1u64, 2, 24, 25, 26, 49, 50, 51, 74, 75, 76, 99, 100] {
        let start: Vec<u8> = (0..depth).flat_map(|level| key(1000 + level, 3)).collect();
        for wrong in 0..=depth {
            let mut bytes = start.clone();
            for level in (0..depth).rev() {
                let number = if level == wrong { 999 } else { 1000 + level };
                bytes.extend(key(number, 4));
            }
            assert_eq!(agree(&bytes), wrong == depth, "depth {depth}, level {wrong}");
            if wrong < depth {
                assert_eq!(Message::decode(&bytes), Err(DecodeError::EndGroup));
            }
        }
        // Two more groups side by side at the deepest level, the second of which ends wrong.
        let inner = [key(7, 3), key(7, 4), key(8, 3), key(7, 4)].concat();
        assert!(!agree(&nested(depth, &inner)));
    }
    assert!(!agree(&[0x2c]));
    assert!(!agree(&[0x2b, 0x2c, 0x2c]));
}

#[test]
fn known_numbers_inside_a_group_are_skipped_whatever_their_wire_type() {
    let inner = [0x0d, 1, 2, 3, 4, 0x22, 1, 0xff, 0x18, 0x05, 0x09, 1, 2, 3, 4, 5, 6, 7, 8];
    assert!(agree(&nested(1, &inner)));
    assert!(!agree(&inner));
    assert_eq!(Message::decode(&nested(1, &inner)), Ok(Message::default()));
}

#[test]
fn each_rule_of_the_wire_has_its_error() {
    for (bytes, error) in [
        (&[0x08][..], DecodeError::Truncated),
        (&[0x08, 0x80], DecodeError::Truncated),
        (&[0x12, 0x02, 0x00], DecodeError::Truncated),
        (&[0x29, 0, 0, 0, 0, 0, 0, 0], DecodeError::Truncated),
        (&[0x2d, 0, 0, 0], DecodeError::Truncated),
        (&[0x2b], DecodeError::Truncated),
        (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], DecodeError::Truncated),
        (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], DecodeError::VarintTooLong),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], DecodeError::VarintTooLong),
        (&[0x88, 0x80, 0x80, 0x80, 0x10, 0x00], DecodeError::KeyTooLarge),
        (&[0x00, 0x00], DecodeError::FieldNumberZero),
        (&[0x0a, 0x00], DecodeError::WireType),
        (&[0x10, 0x00], DecodeError::WireType),
        (&[0x23, 0x24], DecodeError::WireType),
        (&[0x2e], DecodeError::WireType),
        (&[0x2f], DecodeError::WireType),
        (&[0x2c], DecodeError::EndGroup),
        (&[0x2b, 0x34], DecodeError::EndGroup),
        (&[0x22, 0x01, 0xff], DecodeError::NotUtf8),
        (&[0x22, 0x01, 0xff, 0x22, 0x00], DecodeError::NotUtf8),
        (&[0x22, 0x00, 0x22, 0x02, 0xc3, 0x28], DecodeError::NotUtf8),
    ] {
        assert!(!agree(bytes));
        assert_eq!(Message::decode(bytes), Err(error), "{bytes:02x?}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn the_last_of_duplicates_wins_and_a_type_keeps_its_low_32_bits() {
    let first = encoding(&Message::module(b"space", "module", b"data"));
    let last = [0x08, 0x02, 0x12, 0x00, 0x1a, 0x00, 0x22, 0x00];
    let bytes = [&first[..], &last].concat();
    assert!(agree(&bytes));
    let expected = Message { ty: 2, data: b"", space: Some(b""), module: Some(ModuleName::new("")) };
    assert_eq!(Message::decode(&bytes), Ok(expected));

    let bytes = [vec![0x08], varint((1 << 32) + 3, 0)].concat();
    assert!(agree(&bytes));
    assert_eq!(Message::decode(&bytes).map(|message| message.kind()), Ok(Kind::Module));
}

/// Messages of all shapes, with lengths about the steps of a length varint.
fn shapes() -> Vec<Oracle> {
    let mut shapes = Vec::new();
    for ty in [0, 1, 2, 3, 15, 4, 127, 128, 16_384, i32::MAX, -1, i32::MIN] {
        for len in [0, 1, 127, 128, 16_383, 16_384] {
            for space_id in [None, Some(vec![]), Some(vec![0xff; 32]), Some(vec![1; 128])] {
                for module_id in [None, Some(""), Some("gossip"), Some("gøssip-módule"), Some("m\0")] {
                    let module_id = module_id.map(String::from);
                    shapes.push(Oracle { ty, data: vec![7; len], space_id: space_id.clone(), module_id });
                }
            }
        }
    }
    // All lengths of ids that a copy might treat differently.
    for len in 0..70 {
        let module_id = Some("abcdefghij".repeat(7)[..len].into());
        shapes.push(Oracle { space_id: Some((0..len as u8).collect()), module_id, ..Oracle::default() });
    }
    shapes.push(Oracle { module_id: Some("m".repeat(127)), ..Oracle::default() });
    shapes.push(Oracle { module_id: Some("ü".repeat(64)), ..Oracle::default() });
    shapes.push(Oracle { data: vec![1; (1 << 21) - 1], ..Oracle::default() });
    shapes.push(Oracle { data: vec![1; 1 << 21], space_id: Some(vec![2; 1 << 14]), ..Oracle::default() });
    // Where a length read wrong by a power of two would end exactly at the end of the bytes.
    for (data, space) in [(64, 62), (128, 125), (128, 126), (16_384, 16_381), (16_384, 49_148)] {
        shapes.push(Oracle { data: vec![0; data], space_id: Some(vec![0; space]), ..Oracle::default() });
    }
    shapes
}

#[test]
fn encodings_are_those_of_prost_and_decode_to_the_same_message() {
    for shape in shapes() {
        let bytes = encoding(&shape.as_message());
        assert!(agree(&bytes));
        assert_eq!(Message::decode(&bytes), Ok(shape.as_message()));
    }
}

#[test]
fn a_buffer_too_short_is_refused_with_the_size_needed() {
    for shape in shapes().iter().filter(|shape| shape.data.len() < 1 << 10) {
        let message = shape.as_message();
        let needed = message.encoded_len();
        for len in 0..needed {
            let mut out = vec![0; len];
            assert_eq!(message.encode(&mut out), Err(BufferTooSmall { needed }));
        }
        if let Some(len) = message.head_len().checked_sub(1) {
            let error = message.encode_head(&mut vec![0; len]);
            assert_eq!(error, Err(BufferTooSmall { needed: len + 1 }));
        }
        if let Some(len) = message.tail_len().checked_sub(1) {
            let error = message.encode_tail(&mut vec![0; len]);
            assert_eq!(error, Err(BufferTooSmall { needed: len + 1 }));
        }
    }
}

#[test]
fn every_prefix_agrees_with_prost() {
    let mut messages: Vec<Vec<u8>> = [
        Message::notify(&[3; 32], b"some data"),
        Message::module(&[3; 32], "gossip", &[0xff; 200]),
        Message::module(&[3; 200], "gøssip", b""),
        Message::preflight(b"preflight"),
        Message::disconnect(b"that is it"),
        Message { ty: -1, ..Message::default() },
    ]
    .iter()
    .map(encoding)
    .collect();
    let group = nested(3, &[0x2d, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 0x2a, 2, 3, 4, 0x28, 0x80, 0x01]);
    messages.push([&group, &messages[0][..], &group].concat());
    messages.push(nested(100, &[]));
    messages.push([varint(8, 9), varint(3, 9), varint(18, 3), varint(2, 8), vec![5, 6]].concat());
    for message in messages {
        assert!(agree(&message));
        for end in 0..message.len() {
            agree(&message[..end]);
        }
    }
}

#[test]
fn constructors_set_the_fields_of_their_kind() {
    const NOTIFY: Message<'_> = Message::notify(b"space", b"data");
    const MODULE: Message<'_> = Message::module(b"space", "module", b"data");
    const PREFLIGHT: Message<'_> = Message::preflight(b"data");
    const DISCONNECT: Message<'_> = Message::disconnect(b"reason");
    assert_eq!(NOTIFY, Message { ty: 2, data: b"data", space: Some(b"space"), module: None });
    assert_eq!(
        MODULE,
        Message { ty: 3, data: b"data", space: Some(b"space"), module: Some(ModuleName::new("module")) }
    );
    assert_eq!(PREFLIGHT, Message { ty: 1, data: b"data", space: None, module: None });
    assert_eq!(DISCONNECT, Message { ty: 15, data: b"reason", space: None, module: None });
    for ty in [i32::MIN, -1, 0, 4, 14, 16, i32::MAX] {
        assert_eq!(Message { ty, ..NOTIFY }.kind(), Kind::Unspecified);
    }
    assert_eq!(encoding(&Message::preflight(b"")), [0x08, 0x01]);
    assert!(encoding(&Message::default()).is_empty());
}

#[cfg(feature = "alloc")]
#[test]
fn the_owned_type_is_the_schema_and_converts_both_ways() {
    use kitfox_core::wire::{K2Proto, K2WireType};
    for shape in shapes() {
        let message = shape.as_message();
        let owned = K2Proto::from(message);
        assert_eq!(owned.as_message(), message);
        assert_eq!(owned.encode_to_vec(), encoding(&message));
        assert_eq!(owned.ty() as i32, message.kind().to_wire());
        assert_eq!(owned.ty(), K2WireType::from(message.kind()));
        assert_eq!(K2Proto::decode(&encoding(&message)[..]), Ok(owned));
    }
}

/// One field, well-formed or nearly so. The numbers are about the known ones, the lengths mostly right.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![20 => 1..7u64, 1 => Just(0u64), 1 => 1..(1u64 << 30), 1 => any::<u64>()];
    let padding = || prop_oneof![9 => Just(0usize), 1 => 0..10usize];
    let text = prop_oneof![vec(any::<u8>(), 0..40), "\\PC{0,12}".prop_map(String::into_bytes)];
    let value = prop_oneof![0..20u64, any::<u64>(), Just(1u64 << 32), Just((1u64 << 32) + 3)];
    let plain = (number, 0..8u64, padding(), padding(), text, value, 0..60u8).prop_map(
        |(number, wire_type, key_padding, padding, text, value, twist)| {
            // Known numbers mostly have their own wire type.
            let wire_type = match (number, twist) {
                (1, 6..) => 0,
                (2..=4, 6..) => 2,
                _ => wire_type,
            };
            let mut out = varint(number.wrapping_shl(3) | wire_type, key_padding);
            match wire_type {
                0 => out.extend(varint(value, padding)),
                1 => out.extend(value.to_le_bytes()),
                2 => {
                    let len = if twist == 59 { value } else { text.len() as u64 };
                    out.extend(varint(len, padding));
                    out.extend(text);
                }
                5 => out.extend((value as u32).to_le_bytes()),
                _ => {}
            }
            out
        },
    );
    plain.prop_recursive(4, 24, 4, |inner| {
        (5..9u64, vec(inner, 0..4), 0..12u8).prop_map(|(number, fields, twist)| {
            let end = if twist == 0 { number + 1 } else { number };
            [key(number, 3), fields.concat(), key(end, 4)].concat()
        })
    })
}

fn message() -> impl Strategy<Value = Oracle> {
    let ty = prop_oneof![4 => 0..4i32, 1 => Just(15), 1 => any::<i32>()];
    (ty, vec(any::<u8>(), 0..300), option::of(vec(any::<u8>(), 0..40)), option::of("\\PC{0,12}"))
        .prop_map(|(ty, data, space_id, module_id)| Oracle { ty, data, space_id, module_id })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_agree_with_prost(bytes in vec(any::<u8>(), 0..64)) {
        agree(&bytes);
    }

    #[test]
    fn sequences_of_fields_agree_with_prost(fields in vec(field(), 0..7)) {
        agree(&fields.concat());
    }

    #[test]
    fn mutations_of_valid_encodings_agree_with_prost(
        message in message(),
        extra in option::of(field()),
        mutations in vec((0..4u8, any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoding(&message.as_message());
        bytes.extend(extra.into_iter().flatten());
        for (how, at, byte) in mutations {
            let at = at.index(bytes.len() + 1);
            match bytes.get_mut(at) {
                Some(target) if how == 0 => *target ^= 1 << (byte % 8),
                Some(target) if how == 1 => *target = byte,
                _ if how == 2 => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
            agree(&bytes);
        }
    }

    #[test]
    fn fields_in_any_order_decode_as_in_the_usual_one(
        message in message(),
        order in Just([0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let Oracle { ty, data, space_id, module_id } = message.clone();
        let parts = [
            Oracle { ty, ..Oracle::default() },
            Oracle { data, ..Oracle::default() },
            Oracle { space_id, ..Oracle::default() },
            Oracle { module_id, ..Oracle::default() },
        ]
        .map(|part| part.encode_to_vec());
        let bytes = order.map(|part| parts[part].clone()).concat();
        prop_assert!(agree(&bytes));
        prop_assert_eq!(Message::decode(&bytes), Ok(message.as_message()));
        let usual = encoding(&message.as_message());
        prop_assert_eq!(Message::decode(&usual), Ok(message.as_message()));
    }
}
