//! Peer URLs, as the recorded version takes them and as the newer one does.

use kitfox_core::wire::{PeerUrl, UrlRules};
use serde_json::{Map, Value, json};

use super::frame::recorded_rules;
use super::input::{flag, optional, optional_bytes, optional_text};
use super::{Mismatch, same};

pub(super) fn run(case: &Value) -> Result<(), Mismatch> {
    let text = optional_text(case, "input")?;
    let input = match (optional_bytes(case, "input_hex")?, text) {
        (Some(bytes), Some(text)) if bytes != text.as_bytes() => {
            return Err(Mismatch::malformed("\"input\" and \"input_hex\" differ"));
        }
        (Some(bytes), _) => bytes,
        (None, Some(text)) => text.into(),
        (None, None) => return Err(Mismatch::malformed("neither \"input\" nor \"input_hex\"")),
    };
    verdict("in 0.5.0-dev.1", case, &input, &recorded_rules())?;
    match optional(case, "v0_6_0_dev_3") {
        None => Ok(()),
        Some(newer) => verdict(
            "in 0.6.0-dev.3",
            newer,
            &input,
            &UrlRules { max_bytes: usize::MAX, ..UrlRules::default() },
        ),
    }
}

fn verdict(version: &str, expected: &Value, input: &[u8], rules: &UrlRules) -> Result<(), Mismatch> {
    let url = PeerUrl::parse_bytes(input, rules).ok();
    let of_text = str::from_utf8(input).ok().and_then(|text| PeerUrl::parse(text, rules).ok());
    same(format_args!("accept {version}"), &json!(flag(expected, "accept")?), &json!(url.is_some()))?;
    same(format_args!("accept {version} as text"), &json!(url.is_some()), &json!(of_text.is_some()))?;
    let Some(url) = url else { return Ok(()) };
    let seen = json!({
        "as_str": url.as_str(),
        "peer_id": url.peer_id(),
        "addr": url.addr(),
        "uses_tls": url.uses_tls(),
        "is_peer": url.is_peer(),
    });
    // The newer verdict records fewer of them.
    let recorded: Map<_, _> = seen
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| Some((name.clone(), expected.get(name)?.clone())))
        .collect();
    let seen: Map<_, _> = seen
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| recorded.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    same(format_args!("parts {version}"), &recorded.into(), &seen.into())
}
