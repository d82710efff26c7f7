//! `--record` and `kitfox replay`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::common::*;
use crate::keys::Scratch;
use crate::usage::says;

/// Records a node that hears some messages and echoes them: what `send` is told to send.
fn record(dir: &Scratch, args: &[&str], send: &[&str]) -> String {
    let file = dir.path("fault.rec");
    let secured = !args.contains(&"--plain");
    let args = [args, &["--record", &file, "--echo"]].concat();
    let listener = if secured {
        Listener::secured(&args)
    } else {
        Listener::garden(&args.into_iter().filter(|arg| *arg != "--plain").collect::<Vec<_>>())
    };
    let send = [&["send", listener.url(), "--space", "garden", "--count", "3", "--wait-replies", "3"], send];
    let sent = kitfox(&send.concat());
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let (_, stderr) = listener.stop();
    assert!(stderr.contains("keep it like the key"), "{stderr}");
    file
}

#[test]
fn a_recording_is_replayed_with_the_same_actions() {
    let dir = Scratch::new();
    let (key, id) = dir.key("node.key");
    let file = record(&dir, &["--key", &key], &["--data", "it rains"]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let output = kitfox(&["replay", &file, "--key", &key]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for words in [id.as_str(), "3 received, 3 accepted for sending", "with its node", "with the same actions"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(told.lines().count(), 9);

    let traced = kitfox(&["replay", &file, "--key", &key, "--trace"]);
    let trace = text(&traced.stdout);
    assert!(traced.status.success() && trace.ends_with(&told));
    assert!(trace.contains("Notify") && trace.contains("Randomness(not shown)"), "{trace}");
    assert!(!trace.contains("it rains") && !trace.contains(&hex(b"it rains")));
}

#[test]
fn a_recording_wants_the_key_of_its_node() {
    let dir = Scratch::new();
    let ((key, id), (other, _)) = (dir.key("node.key"), dir.key("other.key"));
    let file = record(&dir, &["--key", &key], &["--data", "x"]);
    says(&kitfox(&["replay", &file]), 2, &id);
    says(&kitfox(&["replay", &file, "--key", &other]), 2, "the file that the node had");
    says(&kitfox(&["replay", &key, "--key", &key]), 2, "this is not a recording");
}

#[test]
fn a_difference_is_told_with_its_entry_and_ends_it_with_1() {
    let dir = Scratch::new();
    let file = record(&dir, &["--plain"], &["--plain", "--data", "it rains"]);
    assert!(kitfox(&["replay", &file]).status.success());
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"it rains").unwrap();
    bytes[at] ^= 1;
    let changed = dir.path("changed.rec");
    fs::write(&changed, &bytes).unwrap();
    let output = kitfox(&["replay", &changed]);
    says(&output, 1, "connection 1, receive half: recorded was Next(Notify");
    assert!(output.stdout.is_empty());
    fs::write(&changed, &bytes[..bytes.len() / 2]).unwrap();
    bytes[at] ^= 1;
    fs::write(&changed, &bytes[..bytes.len() - 1]).unwrap();
    assert!(text(&kitfox(&["replay", &changed]).stdout).contains("in the middle"));
}

#[test]
fn a_recording_is_never_written_over_and_has_a_limit() {
    let dir = Scratch::new();
    let file = dir.path("fault.rec");
    fs::write(&file, b"something else").unwrap();
    let listen = ["listen", "--plain", "--listen", "127.0.0.1:0", "--space", "garden", "--record", &file];
    says(&kitfox(&listen), 2, "a file that exists is left as it is");
    assert_eq!(fs::read(&file).unwrap(), b"something else");

    let file = dir.path("limit.rec");
    let listener = Listener::garden(&["--record", &file, "--record-max-bytes", "4096"]);
    let data = "x".repeat(5000);
    let sent = kitfox(&["send", listener.url(), "--plain", "--space", "garden", "--data", &data]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    listener.find(|event| event["event"] == "notify");
    let (_, stderr) = listener.stop();
    assert!(stderr.contains("has reached its limit"), "{stderr}");
    assert!(fs::metadata(&file).unwrap().len() <= 4096);
    let replayed = kitfox(&["replay", &file]);
    assert!(replayed.status.success() && text(&replayed.stdout).contains("at its limit"));
}

#[test]
fn a_recording_of_a_process_that_was_killed_is_replayed_as_far_as_it_goes() {
    let dir = Scratch::new();
    let file = dir.path("killed.rec");
    let mut listener = Listener::garden(&["--record", &file]);
    // More than is kept back.
    let data = "x".repeat(100_000);
    let to = ["send", listener.url(), "--plain", "--space", "garden", "--data", &data, "--count", "10"];
    assert!(kitfox(&to).status.success());
    listener.signal(Signal::KILL);
    assert_eq!(listener.code(), None);
    let replayed = kitfox(&["replay", &file]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let told = text(&replayed.stdout);
    assert!(told.contains("in the middle") && !told.contains("bytes        0 B read"), "{told}");
}
