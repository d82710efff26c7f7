//! Somebody with a socket who does not keep the rules, one connection at a time.

use std::time::{Duration, Instant};

use crate::common::*;
use crate::raw::*;

/// A stranger opens a connection, sends this, and is closed for that reason without ever being up.
fn turned_away(listener: &Listener, bytes: &[u8], told: &[u8], reason: &str) {
    let mut raw = Raw::connect(listener.url());
    raw.send(bytes);
    raw.is_told(told);
    listener.rejects(reason);
}

#[test]
fn every_split_of_the_stream_gives_the_same_messages() {
    let listener = Listener::garden(&["--module", "photos"]);
    let peer = stranger("5117");
    let photo = frame(DATA, &message(3, &[(2, b"two"), (3, b"garden"), (4, b"photos")]));
    let stream =
        [preflight(&peer), CONFIRM.to_vec(), notify(b"one"), photo, notify(b""), goodbye(b"bye")].concat();
    let heard = || {
        assert_eq!(listener.expect("peer_up")["peer"], peer);
        listener.hears(&peer, b"one");
        let module = listener.expect("module");
        assert_eq!((&module["module"], &module["data"]), (&"photos".into(), &hex(b"two").into()));
        listener.hears(&peer, b"");
        let down = listener.expect("peer_down");
        assert_eq!(down["reason"], "the peer disconnected: \"bye\"");
    };
    for cut in 0..=stream.len() {
        let mut raw = Raw::connect(listener.url());
        raw.send(&stream[..cut]);
        raw.send(&stream[cut..]);
        heard();
    }
    let mut raw = Raw::connect(listener.url());
    stream.chunks(1).for_each(|byte| raw.send(byte));
    heard();
    listener.serves();
}

#[test]
fn many_frames_in_one_write_are_heard_in_order() {
    let listener = Listener::garden(&[]);
    let peer = stranger("3a27");
    let mut stream = [preflight(&peer), CONFIRM.to_vec()].concat();
    for number in 0..3000u32 {
        stream.extend(notify(&number.to_be_bytes()));
    }
    let mut raw = Raw::connect(listener.url());
    raw.send(&stream);
    assert_eq!(listener.expect("peer_up")["peer"], peer);
    for number in 0..3000u32 {
        listener.hears(&peer, &number.to_be_bytes());
    }
    raw.end();
    assert_eq!(listener.expect("peer_down")["reason"], "the stream ended");
    listener.serves();
}

#[test]
fn nothing_gets_past_the_gate_without_a_preflight() {
    let listener = Listener::garden(&[]);
    let url = stranger("9a7e");
    let refused = b"protocol error";
    turned_away(&listener, &notify(b"hello"), refused, "data before the preflight");
    turned_away(&listener, &CONFIRM, refused, "data before the preflight");
    let smuggled = message(2, &[(2, b"hello"), (3, b"garden")]);
    let not_preflight = "preflight frame without a PREFLIGHT message";
    turned_away(&listener, &preflight_with(&url, &smuggled), refused, not_preflight);
    turned_away(&listener, &preflight_with(&url, b""), refused, not_preflight);
    turned_away(&listener, &preflight_with(&url, b"\xff"), refused, "message does not decode");
    turned_away(&listener, &frame(PREFLIGHT, b""), refused, "preflight ends inside its URL");
    turned_away(&listener, &frame(PREFLIGHT, &[0, 0, 0, 9, b'w']), refused, "preflight ends inside its URL");
    turned_away(&listener, &preflight("ws://127.0.0.1:1"), refused, "preflight URL without a peer id");
    turned_away(
        &listener,
        &preflight(&stranger(&"x".repeat(65))),
        refused,
        "preflight URL without a peer id",
    );
    turned_away(&listener, &preflight("ws://127.0.0.1/9a7e"), refused, "port");
    turned_away(&listener, &preflight(""), refused, "preflight URL");
    let own_id = listener.url().rsplit_once('/').unwrap().1;
    turned_away(&listener, &preflight(&stranger(own_id)), refused, "the peer has our own id");
    // A goodbye may come at any time.
    let mut polite = Raw::connect(listener.url());
    polite.send(&goodbye(b"never mind"));
    assert_eq!(polite.rest(), b"");
    listener.rejects("the peer disconnected: \"never mind\"");
    listener.serves();
}

#[test]
fn frames_that_break_the_protocol_end_an_open_connection() {
    let listener = Listener::garden(&[]);
    let cases: [(Vec<u8>, &str); 7] = [
        (preflight(&stranger("0be4")), "second preflight frame"),
        (vec![2], "unknown frame type 2"),
        (vec![255], "unknown frame type 255"),
        (vec![1, 255, 255, 255, 255], "is larger than"),
        (vec![1, 6, 64, 0, 0], "is larger than"),
        (frame(DATA, b"\x08"), "message does not decode"),
        (frame(DATA, &message(2, &[(2, b"to nowhere")])), "message without a space id"),
    ];
    for (bytes, reason) in cases {
        let mut raw = Raw::open(listener.url(), "0be4");
        let up = listener.expect("peer_up");
        raw.send(&notify(b"before"));
        listener.hears(up["peer"].as_str().unwrap(), b"before");
        raw.send(&[&bytes[..], &notify(b"behind")].concat());
        raw.is_told(b"protocol error");
        let down = listener.expect("peer_down");
        assert_eq!(down["peer"], up["peer"]);
        assert!(down["reason"].as_str().unwrap().contains(reason), "{down}");
    }
    let mut raw = Raw::open(listener.url(), "0be4");
    listener.expect("peer_up");
    raw.send(&notify(b"cut short")[..9]);
    raw.end();
    assert!(listener.expect("peer_down")["reason"].as_str().unwrap().contains("ended inside a frame"));
    listener.serves();
}

#[test]
fn kinds_that_nobody_knows_change_nothing() {
    let listener = Listener::garden(&[]);
    let mut raw = Raw::open(listener.url(), "7e57");
    let peer = listener.expect("peer_up")["peer"].as_str().unwrap().to_owned();
    for kind in [0, 4, 14, 16, 99] {
        raw.send(&frame(DATA, &message(kind, &[(2, b"?"), (3, b"garden")])));
        assert_eq!(listener.expect("dropped")["reason"], "unspecified kind");
    }
    raw.send(&notify(b"known"));
    listener.hears(&peer, b"known");
}

#[test]
fn a_liar_about_a_live_peer_changes_nothing_for_that_one() {
    let listener = Listener::garden(&["--echo"]);
    let mut honest = Raw::open(listener.url(), "a11e");
    let peer = listener.expect("peer_up")["peer"].as_str().unwrap().to_owned();
    let mut liar = Raw::connect(listener.url());
    liar.send(&[preflight(&peer), CONFIRM.to_vec(), notify(b"it is me")].concat());
    // An empty frame tells the honest one that somebody asked.
    assert_eq!(honest.read_frame(), (DATA, vec![]));
    honest.send(&notify(b"no, me"));
    listener.hears(&peer, b"no, me");
    assert_eq!(honest.read_frame(), (DATA, message(2, &[(2, b"no, me"), (3, b"garden")])));
    // The liar is not answered, and not for ever.
    liar.is_told(b"timeout");
    listener.rejects("the gate did not open in time");
    honest.send(&notify(b"still me"));
    listener.hears(&peer, b"still me");
    listener.is_small();
}

#[test]
fn whoever_is_silent_or_slow_is_turned_away_in_time() {
    let listener = Listener::garden(&[]);
    let begun = Instant::now();
    let mut silent = Raw::connect(listener.url());
    let mut slow = Raw::connect(listener.url());
    let mut half = Raw::connect(listener.url());
    half.send(&preflight(&stranger("4a1f")));
    let (ty, _) = half.read_frame();
    assert_eq!(ty, PREFLIGHT, "answered, and never confirmed");
    slow.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    // One byte at a time, until the node has had enough.
    let bytes = preflight(&stranger(&"51".repeat(32)));
    let mut told = [0; 64];
    let mut sent = bytes.iter();
    let closed = loop {
        match std::io::Read::read(&mut slow.stream, &mut told) {
            Ok(len) => break told[..len].to_vec(),
            Err(_) => sent.next().into_iter().for_each(|byte| slow.send(&[*byte])),
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(closed, goodbye(b"timeout"));
    assert!(begun.elapsed() >= Duration::from_secs(9), "after ten seconds, less the time to connect");
    silent.is_told(b"timeout");
    half.is_told(b"timeout");
    for _ in 0..3 {
        listener.rejects("the gate did not open in time");
    }
    drop((silent, slow, half));
    listener.serves();
}

#[test]
fn garbage_is_turned_away_whatever_it_is() {
    let listener = Listener::garden(&[]);
    // A linear congruential generator: the same garbage in each run.
    let mut state = 7u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for round in 0..200 {
        let mut bytes: Vec<u8> = (0..usize::from(random()) + 6).map(|_| random()).collect();
        // Half of it begins like a frame.
        if round % 2 == 0 {
            bytes[..5].copy_from_slice(&[(round / 2 % 2) as u8, 0, 0, 0, random() % 64]);
        }
        let mut raw = Raw::connect(listener.url());
        raw.send(&bytes);
        raw.end();
        raw.rest();
        listener.expect("rejected");
    }
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]
    {
        let mut raw = Raw::connect(listener.url());
        raw.send(bytes);
        raw.is_told(b"protocol error");
        listener.rejects("unknown frame type");
    }
    let mut empty = Raw::connect(listener.url());
    empty.end();
    assert_eq!(empty.rest(), b"");
    listener.rejects("the stream ended");
    listener.serves();
}
