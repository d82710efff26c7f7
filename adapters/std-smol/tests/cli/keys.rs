//! `kitfox keygen`, `kitfox provision`, and files with keys.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::*;
use crate::usage::says;

/// A directory of its own for each, gone with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("cli-kitfox-keys-{process}-{number}"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A new key: its file, and its id.
    pub(crate) fn key(&self, name: &str) -> (String, String) {
        let path = self.path(name);
        let made = kitfox(&["keygen", &path]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        (path, text(&made.stdout).trim().to_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_key_is_made_once_and_never_shown() {
    let dir = Scratch::new();
    let path = dir.path("node.key");
    let made = kitfox(&["keygen", &path]);
    assert!(made.status.success() && made.stderr.is_empty());
    let id = text(&made.stdout);
    assert!(id.len() == 65 && id.ends_with('\n') && id.trim().chars().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(mode(&path), 0o600);
    let secret = fs::read_to_string(&path).unwrap();
    assert!(!id.contains(secret.trim()));

    let again = kitfox(&["keygen", &path]);
    says(&again, 2, "the file exists already; it is left as it is");
    assert!(again.stdout.is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
    let (_, other) = dir.key("other.key");
    assert_ne!(other, id.trim());
}

#[test]
fn a_device_is_given_the_same_id() {
    let dir = Scratch::new();
    let ((key, id), out) = (dir.key("node.key"), dir.path("node.bin"));
    let written = kitfox(&["provision", "--key", &key, &out]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    assert_eq!(text(&written.stdout).trim(), id);
    let bytes = fs::read(&out).unwrap();
    assert_eq!((bytes.len(), hex(&bytes[32..]), mode(&out)), (64, id, 0o600));
    assert!(!text(&written.stdout).contains(&hex(&bytes[..32])));
    says(&kitfox(&["provision", "--key", &key, &out]), 2, "the file exists already");
    assert_eq!(fs::read(&out).unwrap(), bytes);
}

#[test]
fn a_key_that_cannot_be_used_is_said_with_what_to_do() {
    let dir = Scratch::new();
    let (key, _) = dir.key("node.key");
    let out = dir.path("out");
    let uses: [&[&str]; 3] = [
        &["listen", "--listen", "127.0.0.1:0", "--space", "a", "--key"],
        &["send", &format!("wss://127.0.0.1:1/{}", "ab".repeat(32)), "--space", "a", "--data", "x", "--key"],
        &["provision", &out, "--key"],
    ];
    for args in uses {
        let with = |key: &str| kitfox(&[args, &[key]].concat());
        let missing = dir.path("missing");
        says(&with(&missing), 2, &format!("\"kitfox keygen {missing}\" makes a key"));
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        says(&with(&key), 2, &format!("chmod 600 {key}"));
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        let wrong = dir.path("wrong");
        fs::write(&wrong, "no key").unwrap();
        fs::set_permissions(&wrong, Permissions::from_mode(0o600)).unwrap();
        says(&with(&wrong), 2, "64 hex digits");
    }
}
