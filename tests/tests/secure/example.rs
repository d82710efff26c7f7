//! The worked example of `docs/protocol.md`.

use std::fs;
use std::path::Path;

use kitfox_core::connection::CloseReason;
use kitfox_core::secure::SecretKey;
use kitfox_core::storage::Heap;
use kitfox_tests::script::at;

use crate::common::{ALICE, BOB, alice, bob, id, key};
use crate::interop::{prologue, public};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of the document that begin with this label, and their hex digits.
fn documented(text: &str, label: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("{label:<14}")));
    let first = lines.next().unwrap_or_else(|| panic!("docs/protocol.md has no {label}"));
    let rest = lines.take_while(|line| line.starts_with("              "));
    let digits = core::iter::once(&first[14..]).chain(rest.map(str::trim)).collect::<String>();
    digits.chars().filter(|character| !character.is_whitespace()).collect()
}

#[test]
fn the_worked_example_is_what_happens() {
    let (mut alice, mut bob) = (alice::<Heap>(), bob::<Heap>());
    let mut said = Vec::new();
    let mut says = |label: &'static str, bytes: Vec<u8>| {
        said.push((label, hex(&bytes)));
        bytes
    };
    let public_key = |key: SecretKey| public(&key);
    says("alice id", id(ALICE).key().unwrap().to_vec());
    says("bob id", id(BOB).key().unwrap().to_vec());
    says("alice x25519", public_key(key(ALICE)));
    says("bob x25519", public_key(key(BOB)));
    says("prologue", prologue());

    alice.run(at(0));
    bob.receive(at(0), &says("first", alice.written(at(0))));
    alice.receive(at(0), &says("second", bob.written(at(0))));
    bob.receive(at(0), &says("preflight", alice.written(at(0))));
    alice.receive(at(0), &says("answer", bob.written(at(0))));
    bob.receive(at(0), &says("confirm", alice.written(at(0))));
    alice.notify(at(0), b"it rains").unwrap();
    bob.receive(at(0), &says("notify", alice.written(at(0))));
    alice.connection.tx_mut().push_farewell(at(0), CloseReason::Local);
    bob.receive(at(0), &says("close", alice.written(at(0))));
    assert_eq!((bob.notified(), bob.closed()), (vec!["it rains"], Some(CloseReason::Ended)));

    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = fs::read_to_string(text).unwrap();
    for (label, bytes) in said {
        assert_eq!(documented(&text, label), bytes, "{label}");
    }
}
