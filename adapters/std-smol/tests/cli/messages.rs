//! Two processes of the command.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use crate::common::*;
use crate::raw::Raw;

/// Sends to a listener, and expects that it is done.
fn send(url: &str, more: &[&str]) -> Vec<serde_json::Value> {
    let mut args = vec!["send", url, "--plain", "--json"];
    args.extend(more);
    let sent = kitfox(&args);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    events(&sent)
}

#[test]
fn a_message_goes_from_one_process_to_the_other() {
    let listener = Listener::garden(&[]);
    let told = send(listener.url(), &["--space", "garden", "--data", "it rains"]);
    let names: Vec<_> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["peer_up", "peer_down", "stats"]);
    assert_eq!((&told[0]["peer"], &told[1]["peer"]), (&listener.url().into(), &listener.url().into()));

    let up = listener.expect("peer_up");
    listener.hears(up["peer"].as_str().unwrap(), b"it rains");
    let down = listener.expect("peer_down");
    assert_eq!(down["peer"], up["peer"]);
    assert_eq!(down["reason"], "the peer disconnected: \"shutdown\"");
    let (rest, stderr) = listener.stop();
    let [stats] = &rest[..] else { panic!("{rest:?}") };
    assert_eq!((&stats["totals"]["received_messages"], &stats["totals"]["opened"]), (&1.into(), &1.into()));
    assert_eq!(stderr, "", "loopback is nothing to warn of");
}

#[test]
fn ipv4_and_ipv6_at_once() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("no IPv6 on this machine");
    }
    let listener = Listener::start(&["--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--space", "garden"]);
    assert!(listener.urls[0].starts_with("ws://127.0.0.1:") && listener.urls[1].starts_with("ws://[::1]:"));
    for url in &listener.urls {
        let told = send(url, &["--space", "garden", "--data", "both"]);
        assert_eq!(told[0]["peer"], url.as_str(), "each network has its own URL");
        let peer = listener.expect("peer_up")["peer"].as_str().unwrap().to_owned();
        listener.hears(&peer, b"both");
        listener.expect("peer_down");
    }
}

#[test]
fn an_echo_comes_back_from_space_and_module() {
    let listener = Listener::garden(&["--space", "hex:ff00", "--module", "photos", "--echo"]);
    let told = send(listener.url(), &["--space", "garden", "--data", "marco", "--wait-replies", "1"]);
    let [reply] = named(&told, "notify")[..] else { panic!("{told:?}") };
    assert_eq!((&reply["space"], &reply["data"]), (&"garden".into(), &hex(b"marco").into()));
    assert_eq!(reply["peer"], listener.url());

    let module = ["--space", "hex:FF00", "--module", "photos", "--data", "polo", "--count", "3"];
    let told = send(listener.url(), &[&module[..], &["--wait-replies", "3"]].concat());
    let replies = named(&told, "module");
    assert_eq!(replies.len(), 3);
    for reply in replies {
        assert_eq!((&reply["space"], &reply["module"]), (&"hex:ff00".into(), &"photos".into()));
        assert_eq!(reply["data"], hex(b"polo"));
    }
    let heard = listener.find(|event| event["event"] == "module");
    assert_eq!((&heard["space"], &heard["module"]), (&"hex:ff00".into(), &"photos".into()));
}

#[test]
fn files_and_standard_input_arrive_whole_and_show_no_progress_in_a_pipe() {
    let listener = Listener::garden(&[]);
    let large: Vec<u8> = (0..3 << 20).map(|place: u32| (place % 251) as u8).collect();
    let path = std::env::temp_dir().join(format!("cli-kitfox-{}", std::process::id()));
    fs::File::create(&path).unwrap().write_all(&large).unwrap();
    let to = ["send", listener.url(), "--plain", "--space", "garden"];
    let by_file = kitfox(&[&to[..], &["--file", path.to_str().unwrap()]].concat());
    fs::remove_file(&path).unwrap();
    let by_input = kitfox_with(&to, &large);
    for sent in [by_file, by_input] {
        assert!(sent.status.success());
        assert_eq!(text(&sent.stderr), "");
        let heard = listener.find(|event| event["event"] == "notify");
        assert!(heard["data"] == hex(&large));
    }
}

#[test]
fn many_messages_arrive_in_order() {
    let listener = Listener::garden(&[]);
    let sent = kitfox(&[
        "send",
        listener.url(),
        "--plain",
        "--space",
        "garden",
        "--data",
        "again",
        "--count",
        "2000",
    ]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let up = listener.expect("peer_up");
    for _ in 0..2000 {
        listener.hears(up["peer"].as_str().unwrap(), b"again");
    }
    listener.expect("peer_down");
    listener.is_small();
}

#[test]
fn what_nobody_takes_is_dropped_and_told() {
    let blocked = "ws://192.0.2.7:1/b10c";
    let listener = Listener::garden(&["--block", blocked]);
    send(listener.url(), &["--space", "elsewhere", "--data", "x"]);
    listener.expect("peer_up");
    let dropped = listener.expect("dropped");
    assert_eq!((&dropped["space"], &dropped["reason"]), (&"elsewhere".into(), &"unknown space".into()));
    listener.expect("peer_down");

    let mut raw = Raw::open(listener.url(), "b10c");
    let up = listener.expect("peer_up");
    raw.send(&crate::raw::notify(b"let me in"));
    let dropped = listener.expect("dropped");
    assert_eq!((&dropped["peer"], &dropped["reason"]), (&up["peer"], &"blocked".into()));
    drop(raw);
    listener.expect("peer_down");
    let (rest, _) = listener.stop();
    let counted = &rest[0]["blocked"][0];
    assert_eq!((&counted["peer"], &counted["space"]), (&up["peer"], &"garden".into()));
    assert_eq!(counted["incoming"], 1);
}

#[test]
fn what_is_advertised_is_what_peers_are_told() {
    let (one, two) = ("ws://fox.example:1/f0", "ws://fox.example:2/f0");
    let listener = Listener::garden(&["--advertise", one]);
    assert_eq!(listener.urls, [one]);
    let mut args = vec!["--space", "garden"];
    for url in [one, two] {
        args.extend(["--listen", "127.0.0.1:0", "--advertise", url]);
    }
    let listener = Listener::start(&args);
    assert_eq!(listener.urls, [one, two]);
}

#[test]
fn a_signal_ends_it_cleanly_and_everybody_is_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let listener = Listener::garden(&[]);
        let mut raw = Raw::open(listener.url(), "raw");
        listener.expect("peer_up");
        listener.signal(signal);
        raw.is_told(b"shutdown");
        drop(raw);
        let (rest, _) = listener.ends();
        let names: Vec<_> = rest.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["peer_down", "stats"]);
        assert_eq!(rest[0]["reason"], "closed by this end");
    }
}
