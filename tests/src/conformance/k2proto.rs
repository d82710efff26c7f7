//! Messages: both decoders and both encoders, the core's own and prost's.

use kitfox_core::wire::{K2Proto, Kind, Message, ModuleName};
use prost::Message as _;
use serde_json::{Value, json};

use super::input::{bytes, flag, hex, member, optional_bytes, optional_text, text};
use super::{Mismatch, same};

pub(super) fn run(case: &Value) -> Result<(), Mismatch> {
    let input = bytes(case, "bytes")?;
    let expected = expected(case)?;
    let owned = K2Proto::decode(input.as_slice());
    same("decoded", &expected, &Message::decode(&input).map_or(REJECTED, |message| seen(&message, &input)))?;
    same(
        "decoded by prost",
        &expected,
        &owned.map_or(REJECTED, |message| seen(&message.as_message(), &input)),
    )?;
    if expected == REJECTED { Ok(()) } else { build(case) }
}

const REJECTED: Value = Value::Null;

fn expected(case: &Value) -> Result<Value, Mismatch> {
    if !flag(case, "ok")? {
        return Ok(REJECTED);
    }
    let part = |name: &str| member(case, name).cloned();
    Ok(json!({ "fields": part("fields")?, "reencoded": part("reencoded")?, "canonical": part("canonical")? }))
}

/// What a decoded message says, in the words of the file.
fn seen(message: &Message<'_>, input: &[u8]) -> Value {
    let reencoded = encode(message);
    json!({
        "fields": {
            "ty_raw": message.ty,
            "ty": kind_name(message.kind()),
            "data": hex(message.data),
            "space_id": message.space.map(hex),
            "module_id": message.module.map(|name| name.as_str()),
        },
        "reencoded": hex(&reencoded),
        "canonical": reencoded == input,
    })
}

/// Builds the message from its fields.
fn build(case: &Value) -> Result<(), Mismatch> {
    let fields = member(case, "fields")?;
    let reencoded = member(case, "reencoded")?;
    let ty = member(fields, "ty_raw")?.as_i64().and_then(|ty| i32::try_from(ty).ok());
    let ty = ty.ok_or_else(|| Mismatch::malformed("\"ty_raw\" is no 32-bit number"))?;
    text(fields, "ty")?;
    let data = bytes(fields, "data")?;
    let space = optional_bytes(fields, "space_id")?;
    let module = optional_text(fields, "module_id")?.map(ModuleName::new);
    let message = Message { ty, data: &data, space: space.as_deref(), module };
    same("encoded from fields", reencoded, &json!(hex(&encode(&message))))?;
    let owned = K2Proto::from(message).encode_to_vec();
    same("encoded from fields by prost", reencoded, &json!(hex(&owned)))
}

/// The encoding, in one piece and as the head and tail around a payload that is not copied.
pub(super) fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut whole = vec![0; message.encoded_len()];
    let len = message.encode(&mut whole);
    assert_eq!(len, Ok(whole.len()), "encoded_len and encode agree");
    let (mut head, mut tail) = (vec![0; message.head_len()], vec![0; message.tail_len()]);
    assert_eq!(message.encode_head(&mut head), Ok(head.len()), "head_len and encode_head agree");
    assert_eq!(message.encode_tail(&mut tail), Ok(tail.len()), "tail_len and encode_tail agree");
    assert_eq!(whole, [&head, message.data, &tail].concat(), "head, payload and tail are the encoding");
    whole
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "UNSPECIFIED",
        Kind::Preflight => "PREFLIGHT",
        Kind::Notify => "NOTIFY",
        Kind::Module => "MODULE",
        Kind::Disconnect => "DISCONNECT",
        _ => "a kind that the format does not know",
    }
}
