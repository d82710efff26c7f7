//! The codec against prost, and the URL check against the URL Standard.

use kitfox_core::wire::{K2Proto, Message, PathRule, PeerUrl, UrlRules};
use prost::Message as _;

/// Any bytes are a message for kitfox exactly where they are one for prost, and the same one.
pub fn wire(input: &[u8]) {
    let ours = Message::decode(input);
    let theirs = K2Proto::decode(input);
    assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?} {theirs:?}");
    let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
    assert_eq!(ours.ty, theirs.ty);
    assert_eq!(ours.data, &theirs.data[..]);
    assert_eq!(ours.space, theirs.space_id.as_deref());
    assert_eq!(
        ours.module.map(|name| name.as_bytes().to_vec()),
        theirs.module_id.clone().map(String::into_bytes)
    );
    // What was understood is written as prost writes it.
    let mut written = vec![0; ours.encoded_len()];
    assert_eq!(ours.encode(&mut written).unwrap(), written.len());
    assert_eq!(written, theirs.encode_to_vec());
}

/// A text that is taken as a peer URL is one that the URL Standard takes, unchanged.
pub fn url(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    let single = UrlRules { path: PathRule::SingleSegment, ..UrlRules::default() };
    let multi = UrlRules::MULTI_SEGMENT;
    let (one, many) = (PeerUrl::parse(text, &single), PeerUrl::parse(text, &multi));
    assert!(one.is_err() || many.is_ok(), "the newer rule takes what the older one takes");
    let Ok(parsed) = many else { return };
    assert_eq!(parsed.as_str(), text);
    let standard = url::Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(["ws", "wss", "http", "https"].contains(&standard.scheme()));
    assert_eq!(standard.host_str(), Some(parsed.host()));
    assert_eq!(standard.port_or_known_default(), Some(parsed.port()));
    // The Standard leaves out the port that a scheme stands for; Kitsune2 wants it written.
    let written = format!("{}://{}:{}{}", standard.scheme(), parsed.host(), parsed.port(), standard.path());
    assert!(written == text || written.strip_suffix('/') == Some(text), "{text} is written as {written}");
    let last = standard.path().rsplit('/').next().filter(|segment| !segment.is_empty());
    assert_eq!(parsed.peer_id(), last);
}
