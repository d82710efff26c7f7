//! `kitfox decode` from outside.

use std::fs;

use crate::common::*;
use crate::raw::*;

fn stream() -> Vec<u8> {
    [preflight(&stranger("dec0")), CONFIRM.to_vec(), notify(b"it rains"), goodbye(b"bye")].concat()
}

#[test]
fn a_stream_is_explained_from_digits_a_file_and_standard_input() {
    let bytes = stream();
    let by_digits = kitfox(&["decode", &hex(&bytes)]);
    let path = std::env::temp_dir().join(format!("cli-kitfox-stream-{}", std::process::id()));
    fs::write(&path, &bytes).unwrap();
    let by_file = kitfox(&["decode", "--file", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    let by_input = kitfox_with(&["decode"], &bytes);
    let by_digits_in_a_pipe = kitfox_with(&["decode"], hex(&bytes).as_bytes());
    for output in [&by_digits, &by_file, &by_input, &by_digits_in_a_pipe] {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), text(&by_digits.stdout));
    }
    let told = text(&by_digits.stdout);
    for words in [
        "ws://127.0.0.1:1/dec0",
        "PREFLIGHT",
        "a confirm or a probe",
        "\"it rains\", 8 B",
        "\"garden\"",
        "DISCONNECT",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(told.ends_with("4 frames in 74 bytes; nothing is wrong\n"), "{told}");
    assert!(!told.contains('\x1b'), "no colours in a pipe");
}

#[test]
fn what_is_wrong_is_shown_where_it_is() {
    let mut bytes = stream();
    let place = bytes.len();
    bytes.extend([7, 0, 0, 0, 0]);
    let output = kitfox(&["decode", &hex(&bytes)]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    let line = told.lines().find(|line| line.contains("wrong")).unwrap();
    assert!(line.starts_with(&format!("{place:08x}  07 00 00 00 00 ")), "{line}");
    assert!(line.contains("unknown frame type 7"), "{line}");
    assert!(text(&output.stderr).contains("one thing is wrong"));
}

#[test]
fn what_is_no_input_ends_it_with_2() {
    for args in [
        &["decode", "01 0"][..],
        &["decode", "zz"],
        &["decode", "--file", "/no/such"],
        &["decode", "01", "--file", "x"],
    ] {
        assert_eq!(kitfox(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn whatever_it_is_given_it_ends() {
    let mut state = 11u32;
    let mut bytes = Vec::new();
    for _ in 0..50_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.push((state >> 24) as u8);
    }
    // A frame of garbage that is whole.
    let framed = frame(DATA, &bytes);
    for input in [&bytes, &framed] {
        assert_eq!(kitfox_with(&["decode"], input).status.code(), Some(1));
    }
    assert!(kitfox_with(&["decode"], b"").status.success());
}
