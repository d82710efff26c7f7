//! Wrong usage, refusals, and who is not there: what is said, and with which exit code.

use std::io::Read;
use std::net::TcpListener;
use std::process::Output;
use std::thread;

use crate::common::*;
use crate::raw::{CONFIRM, Raw, preflight, stranger};

const URL: &str = "ws://127.0.0.1:1/ba7816bf";
const SECURED: &str = "wss://127.0.0.1:1/d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// It ends with this code, and says this on standard error.
pub(crate) fn says(output: &Output, code: i32, words: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
}

#[test]
fn every_command_is_explained_with_examples() {
    let whole = kitfox(&["--help"]);
    assert!(whole.status.success());
    let whole = text(&whole.stdout);
    let lines = whole.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = lines.map_while(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"listen") && commands.contains(&"demo"), "{commands:?}");
    for command in commands {
        for help in ["--help", "-h"] {
            let output = kitfox(&[command, help]);
            assert!(output.status.success() && output.stderr.is_empty(), "{command}");
            let help = text(&output.stdout);
            assert!(help.contains(&format!("Usage: kitfox {command}")), "{help}");
            assert!(help.contains("Example") && help.contains(&format!("\n  kitfox {command}")), "{help}");
            assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        }
    }
    assert!(text(&kitfox(&["--version"]).stdout).starts_with("kitfox "));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    let listen = ["listen", "--plain", "--listen", "127.0.0.1:0", "--space", "garden"];
    let send = ["send", URL, "--plain", "--space", "garden", "--data", "x"];
    let with = |args: &[&'static str], more: &[&'static str]| [args, more].concat();
    let cases: &[(Vec<&str>, &str)] = &[
        (vec![], "a command is missing"),
        (vec!["bark"], "there is no command \"bark\""),
        (vec!["demo", "x"], "unexpected argument"),
        (vec!["listen", "--bark"], "invalid option '--bark'"),
        (vec!["send", URL, "--space", "a"], "add --plain if you trust the network"),
        (vec!["send", SECURED, "--plain", "--space", "a"], "leave out --plain"),
        (vec!["send", SECURED, "--space", "a", "--id", "ab"], "invalid option '--id'"),
        (vec!["send", "wss://127.0.0.1:1/ab", "--space", "a", "--data", "x"], "cannot be dialled"),
        (vec!["send", SECURED, "--space", "a", "--key", "/no/such/file"], "kitfox keygen /no/such/file"),
        (vec!["listen", "--id", "ab", "--listen", "127.0.0.1:0", "--space", "a"], "--key FILE"),
        (with(&listen, &["--key", "x"]), "--key and --network are for secured connections"),
        (with(&listen, &["--network", "x"]), "--key and --network are for secured connections"),
        (with(&listen, &["--network", "hex:0"]), "pairs of hex digits"),
        (with(&listen, &["--advertise", SECURED]), "begin with ws://"),
        (
            with(&listen, &["--advertise", SECURED, "--listen", "127.0.0.1:0", "--advertise", SECURED]),
            "begin with ws://",
        ),
        (vec!["keygen"], "kitfox keygen FILE"),
        (vec!["keygen", "a", "b"], "unexpected argument"),
        (vec!["keygen", "/no/such/directory/key"], "the directory must be there"),
        (vec!["provision", "out"], "--key FILE"),
        (vec!["replay"], "kitfox replay FILE"),
        (vec!["replay", "/no/such/file"], "/no/such/file"),
        (vec!["replay", "a", "b"], "unexpected argument"),
        (with(&listen, &["--record", "/no/such/directory/fault.rec"]), "the directory must be there"),
        (with(&listen, &["--record-max-bytes", "5000"]), "--record FILE"),
        (
            with(&listen, &["--record", "x", "--record-max-bytes", "1"]),
            "--record-max-bytes takes a whole number",
        ),
        (vec!["listen", "--listen", "127.0.0.1:0", "--space", "a", "--record", "x"], "add --key FILE"),
        (vec!["provision", "--key", "x"], "kitfox provision --key FILE OUT"),
        (vec!["listen", "--plain", "--space", "a"], "--listen 127.0.0.1:0"),
        (vec!["listen", "--plain", "--listen", "127.0.0.1:0"], "--space NAME"),
        (vec!["listen", "--plain", "--listen", "nonsense", "--space", "a"], "IP:PORT"),
        (with(&listen, &["--space", "garden"]), "--space garden"),
        (with(&listen, &["--module", "a", "--module", "a"]), "--module a"),
        (with(&listen, &["--space", "hex:f"]), "pairs of hex digits"),
        (with(&listen, &["--module", "hex:ff"]), "UTF-8"),
        (with(&listen, &["--block", "ba7816bf"]), "is not the URL of a peer"),
        (with(&listen, &["--block", "ws://127.0.0.1:1"]), "has no peer id"),
        (with(&listen, &["--max-connections", "0"]), "--max-connections takes a whole number from 1"),
        (with(&listen, &["--max-frame-bytes", "lots"]), "not \"lots\""),
        (with(&listen, &["--id", "a/b"]), "64 hex digits"),
        (with(&listen, &["--id", "ab", "--advertise", URL]), "ends in the node's id"),
        (with(&listen, &["--advertise", URL, "--advertise", URL]), "one for each --listen"),
        (vec!["send", "--plain", "--space", "a"], "kitfox send PEER_URL"),
        (vec!["send", "127.0.0.1:1", "--plain", "--space", "a"], "looks like wss://"),
        (vec!["send", URL, "--plain", "--data", "x"], "--space NAME"),
        (with(&send, &["--file", "y"]), "one --data or one --file"),
        (with(&send, &["--count", "0"]), "--count takes a whole number"),
        (with(&send, &[URL]), "unexpected argument"),
        (vec!["send", "ws://127.0.0.1:0/ab", "--plain", "--space", "a", "--data", "x"], "cannot be dialled"),
        (vec!["send", URL, "--plain", "--space", "a", "--file", "/no/such/file"], "/no/such/file"),
    ];
    for (args, words) in cases {
        let output = kitfox(args);
        says(&output, 2, words);
        assert!(text(&output.stderr).contains("--help"), "{args:?}");
        assert_eq!(
            text(&output.stdout).lines().filter(|line| !line.contains("stats")).count(),
            0,
            "{args:?}"
        );
    }
}

#[test]
fn an_address_that_is_taken_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    says(
        &kitfox(&["listen", "--plain", "--listen", &addr, "--space", "a"]),
        2,
        "port 0 takes one that is free",
    );
}

#[test]
fn a_plain_node_that_others_can_reach_is_warned_of() {
    let listener = Listener::start(&["--listen", "0.0.0.0:0", "--space", "garden"]);
    let (_, stderr) = listener.stop();
    assert!(stderr.contains("warning: 0.0.0.0:0"), "{stderr}");
}

#[test]
fn a_peer_that_is_not_there_ends_it_with_1() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ab", nobody.local_addr().unwrap());
    drop(nobody);
    let output = kitfox(&["send", &url, "--plain", "--space", "a", "--data", "x", "--json"]);
    says(&output, 1, "was not reached");
    assert!(named(&events(&output), "peer_up").is_empty());
}

#[test]
fn a_peer_that_refuses_ends_it_with_1() {
    let listener = Listener::garden(&["--max-frame-bytes", "1000"]);
    let url = listener.url().rsplit_once('/').unwrap().0.to_owned() + "/another";
    let to = |url: &str, data: &str| {
        kitfox(&["send", url, "--plain", "--json", "--space", "garden", "--data", data])
    };
    let output = to(&url, "x");
    says(&output, 1, "the dialled peer has another id");
    let told = events(&output);
    assert_eq!(named(&told, "rejected").len(), 3, "once for each attempt");
    assert!(named(&told, "peer_up").is_empty() && named(&told, "peer_down").is_empty());

    // Whoever waits for a reply hears of the refusal, however long it takes.
    let data = "x".repeat(1000);
    let to = ["send", listener.url(), "--plain", "--json", "--space", "garden", "--data", &data];
    let output = kitfox(&[&to[..], &["--wait-replies", "1"]].concat());
    says(&output, 1, "protocol error");
    let told = events(&output);
    assert_eq!((named(&told, "peer_up").len(), named(&told, "peer_down").len()), (1, 1));
}

#[test]
fn a_peer_that_is_lost_ends_it_with_1() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ab", server.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let mut raw = Raw { stream: server.accept().unwrap().0 };
        let (own, other) = (stranger("ab"), raw.read_frame());
        assert_eq!(other.0, 0);
        raw.send(&preflight(&own));
        let mut confirm = [0; 5];
        raw.stream.read_exact(&mut confirm).unwrap();
        assert_eq!(confirm[0], CONFIRM[0]);
    });
    let output =
        kitfox(&["send", &url, "--plain", "--space", "a", "--data", "x", "--wait-replies", "1", "--json"]);
    says(&output, 1, "the peer was lost");
    serving.join().unwrap();
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let listener = Listener::garden(&[]);
    let args = ["send", listener.url(), "--plain", "--space", "garden", "--data", "x", "--wait-replies", "1"];
    assert_eq!(kitfox_unread(&args).code(), Some(1));
}
