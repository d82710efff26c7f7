//! Payloads of preflight frames, byte by byte.

use kitfox_core::wire::{PeerUrl, PreflightError, PreflightPayload, UrlError, UrlRules};

const RULES: UrlRules = UrlRules::MULTI_SEGMENT;
const PAYLOAD: &[u8] = b"\x00\x00\x00\x0dws://a.b:80/xmessage";
const URL_END: usize = 4 + 13;

fn payload() -> PreflightPayload<'static> {
    PreflightPayload { url: PeerUrl::parse("ws://a.b:80/x", &RULES).unwrap(), message: b"message" }
}

#[test]
fn a_payload_is_the_length_of_the_url_the_url_and_the_message() {
    let mut out = [0xee; 40];
    assert_eq!(payload().encode(&mut out), Some(PAYLOAD.len()));
    assert_eq!(payload().encoded_len(), PAYLOAD.len());
    assert!(out.starts_with(PAYLOAD) && out[PAYLOAD.len()..].iter().all(|byte| *byte == 0xee));
    assert_eq!(PreflightPayload::decode(PAYLOAD, &RULES), Ok(payload()));
}

#[test]
fn it_fills_a_buffer_of_its_length_and_no_shorter_one() {
    let mut out = [0; PAYLOAD.len()];
    assert_eq!(payload().encode(&mut out), Some(PAYLOAD.len()));
    for len in 0..PAYLOAD.len() {
        assert_eq!(payload().encode(&mut out[..len]), None, "{len}");
    }
}

#[test]
fn one_that_ends_inside_its_url_is_truncated_and_the_message_may_have_any_length() {
    for len in 0..URL_END {
        assert_eq!(
            PreflightPayload::decode(&PAYLOAD[..len], &RULES),
            Err(PreflightError::Truncated),
            "{len}"
        );
    }
    for len in URL_END..=PAYLOAD.len() {
        let read = PreflightPayload::decode(&PAYLOAD[..len], &RULES).unwrap();
        assert_eq!((read.url, read.message), (payload().url, &PAYLOAD[URL_END..len]));
        assert_eq!(read.encoded_len(), len);
    }
    assert_eq!(PreflightPayload::decode(&[0xff; 40], &RULES), Err(PreflightError::Truncated));
}

#[test]
fn what_is_wrong_with_the_url_is_told() {
    let mut payload = PAYLOAD.to_vec();
    payload[4] = b'f';
    assert_eq!(PreflightPayload::decode(&payload, &RULES), Err(PreflightError::Url(UrlError::Scheme)));
    payload[4] = 0xff;
    assert_eq!(PreflightPayload::decode(&payload, &RULES), Err(PreflightError::Url(UrlError::NotUtf8)));
}
