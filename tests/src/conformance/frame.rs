//! Frames and the payloads of preflight frames.

use kitfox_core::wire::{
    FrameHeader, FrameType, HEADER_BYTES, PathRule, PeerUrl, PreflightPayload, UrlRules,
};
use serde_json::{Value, json};

use super::input::{bytes, hex, member, optional, text};
use super::{Mismatch, same};

/// The URLs of the version that was recorded.
pub(super) fn recorded_rules() -> UrlRules {
    UrlRules { path: PathRule::SingleSegment, max_bytes: usize::MAX }
}

pub(super) fn run(case: &Value) -> Result<(), Mismatch> {
    let max = max_frame_bytes(case)?;
    match text(case, "dir")? {
        "encode" => {
            let frame = encode(member(case, "input")?, max)?;
            let got = frame.map_or_else(refused, |bytes| json!({ "ok": true, "bytes": hex(&bytes) }));
            same("result", &without_text(member(case, "result")?), &got)
        }
        "decode" => {
            let bytes = bytes(case, "bytes")?;
            let header = FrameHeader::decode(&bytes, max).ok();
            same(
                "header",
                &without_text(member(case, "header")?),
                &header.map_or_else(refused, header_seen),
            )?;
            let got = header.map_or(Value::Null, |header| body(header, &bytes).unwrap_or_else(refused));
            same("body", &optional(case, "body").map_or(Value::Null, without_text), &got)
        }
        other => Err(Mismatch::malformed(format_args!("\"dir\" {other:?}"))),
    }
}

fn refused() -> Value {
    json!({ "ok": false })
}

/// The outcome without the oracle's wording.
fn without_text(outcome: &Value) -> Value {
    let mut outcome = outcome.clone();
    if let Some(members) = outcome.as_object_mut() {
        members.remove("error_text");
    }
    outcome
}

/// No bound at all where the number does not fit the platform.
fn max_frame_bytes(case: &Value) -> Result<usize, Mismatch> {
    let max = member(case, "max_frame_bytes")?;
    match max.as_u64() {
        Some(max) => Ok(usize::try_from(max).unwrap_or(usize::MAX)),
        // A JSON writer that knows only floating point writes it so.
        None if max.as_f64().is_some_and(|max| max >= 1.8e19) => Ok(usize::MAX),
        None => Err(Mismatch::malformed("\"max_frame_bytes\" is no size")),
    }
}

fn encode(input: &Value, max: usize) -> Result<Option<Vec<u8>>, Mismatch> {
    let (ty, payload) = match text(input, "type")? {
        "data" => (FrameType::Data, bytes(input, "data")?),
        "preflight" => {
            let message = bytes(input, "preflight")?;
            let Ok(url) = PeerUrl::parse(text(input, "url")?, &recorded_rules()) else { return Ok(None) };
            let payload = PreflightPayload { url, message: &message };
            let mut out = vec![0; payload.encoded_len()];
            assert_eq!(payload.encode(&mut out), Some(out.len()), "encoded_len and encode agree");
            (FrameType::Preflight, out)
        }
        other => return Err(Mismatch::malformed(format_args!("\"type\" {other:?}"))),
    };
    let header = FrameHeader::new(ty, payload.len(), max).ok();
    Ok(header.map(|header| [header.encode().as_slice(), &payload].concat()))
}

fn header_seen(header: FrameHeader) -> Value {
    let ty = match header.ty {
        FrameType::Preflight => "preflight",
        FrameType::Data => "data",
    };
    json!({ "ok": true, "type": ty, "len": header.payload_bytes })
}

/// What follows the header, if it is there and good.
fn body(header: FrameHeader, bytes: &[u8]) -> Option<Value> {
    let consumed = header.frame_bytes();
    let payload = bytes.get(HEADER_BYTES..consumed)?;
    Some(match header.ty {
        FrameType::Data => json!({ "ok": true, "data": hex(payload), "consumed": consumed }),
        FrameType::Preflight => {
            let PreflightPayload { url, message } =
                PreflightPayload::decode(payload, &recorded_rules()).ok()?;
            json!({ "ok": true, "url": url.as_str(), "preflight": hex(message), "consumed": consumed })
        }
    })
}
