//! Processes that speak over secured connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use serde_json::Value;

use crate::common::*;
use crate::keys::Scratch;
use crate::raw::{Raw, addr_of, preflight, stranger};
use crate::usage::says;

/// Sends "it rains" to the garden.
fn send(url: &str, more: &[&str]) -> std::process::Output {
    kitfox(&[&["send", url, "--json", "--space", "garden", "--data", "it rains"], more].concat())
}

fn id_of(url: &Value) -> &str {
    url.as_str().unwrap().rsplit_once('/').unwrap().1
}

#[test]
fn two_processes_prove_their_ids_to_each_other() {
    let dir = Scratch::new();
    let ((ours, our_id), (theirs, their_id)) = (dir.key("ours"), dir.key("theirs"));
    let mut args = vec!["--key", &ours, "--echo", "--listen", "127.0.0.1:0"];
    if TcpListener::bind("[::1]:0").is_ok() {
        args.extend(["--listen", "[::1]:0"]);
    } else {
        eprintln!("no IPv6 on this machine");
    }
    let listener = Listener::secured(&args);
    for url in &listener.urls {
        assert!(url.starts_with("wss://") && url.ends_with(&our_id), "{url}");
        let sent = send(url, &["--key", &theirs, "--wait-replies", "1"]);
        assert!(sent.status.success(), "{}", text(&sent.stderr));
        assert_eq!(text(&sent.stderr), "");
        let told = events(&sent);
        assert_eq!((&told[0]["event"], &told[0]["proven"]), (&"peer_up".into(), &true.into()));
        assert_eq!(&told[0]["peer"], url);
        assert_eq!(named(&told, "notify")[0]["data"], hex(b"it rains"));

        let up = listener.expect("peer_up");
        assert_eq!((id_of(&up["peer"]), &up["proven"]), (&*their_id, &true.into()));
        listener.hears(up["peer"].as_str().unwrap(), b"it rains");
        listener.expect("peer_down");
    }
    let (_, stderr) = listener.stop();
    assert_eq!(stderr, "");
}

#[test]
fn on_a_plain_connection_nothing_is_proven() {
    let listener = Listener::garden(&[]);
    let sent = send(listener.url(), &["--plain"]);
    assert_eq!(events(&sent)[0]["proven"], false);
    assert_eq!(listener.expect("peer_up")["proven"], false);
}

#[test]
fn a_node_without_a_key_has_one_for_this_run_and_says_so() {
    let listener = Listener::secured(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    assert!(send(listener.url(), &[]).status.success());
    let (_, stderr) = listener.stop();
    assert_eq!(stderr.matches("for this run only").count(), 1, "{stderr}");
    assert!(stderr.contains("kitfox keygen FILE"), "{stderr}");
}

#[test]
fn a_restart_with_the_same_key_keeps_the_url() {
    let dir = Scratch::new();
    let (key, _) = dir.key("key");
    let first = Listener::secured(&["--key", &key]);
    let url = first.url().to_owned();
    first.stop();
    let second = Listener::secured(&["--key", &key, "--listen", addr_of(&url)]);
    assert_eq!(second.url(), url);
    assert!(send(&url, &[]).status.success());
}

#[test]
fn nodes_of_different_networks_do_not_understand_each_other() {
    let listener = Listener::secured(&["--network", "forest"]);
    for network in [&[][..], &["--network", "Forest"]] {
        let sent = send(listener.url(), network);
        says(&sent, 1, "wrong key, wrong network, a plain node, or not admitted");
        assert!(named(&events(&sent), "peer_up").is_empty());
        listener.rejects("for another key or network");
        // The other attempts.
        listener.rejects("for another key or network");
        listener.rejects("for another key or network");
    }
    let same = send(listener.url(), &["--network", "hex:666f72657374"]);
    assert!(same.status.success(), "{}", text(&same.stderr));
    listener.expect("peer_up");
}

#[test]
fn whoever_is_not_the_one_that_was_dialled_hears_nothing() {
    let dir = Scratch::new();
    let listener = Listener::secured(&[]);
    let (_, other) = dir.key("other");
    let sent = send(&format!("wss://{}/{other}", addr_of(listener.url())), &[]);
    says(&sent, 1, "wrong key, wrong network, a plain node, or not admitted");
    assert!(named(&events(&sent), "peer_up").is_empty());
    listener.rejects("for another key or network");
}

#[test]
fn a_secured_node_takes_no_plain_connection() {
    let listener = Listener::secured(&[]);
    let mut raw = Raw::connect(listener.url());
    raw.send(&preflight(&stranger("ab")));
    assert_eq!(raw.rest(), b"", "not a word");
    listener.rejects("does not speak a secured channel");
    let sent = send(&listener.url().replace("wss://", "ws://"), &["--plain"]);
    says(&sent, 1, "ended");
    listener.rejects("does not speak a secured channel");
}

#[test]
fn a_plain_node_takes_no_secured_connection() {
    let id = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let listener = Listener::garden(&["--id", id]);
    let sent = send(&listener.url().replace("ws://", "wss://"), &[]);
    says(&sent, 1, "the peer ended the handshake");
    listener.rejects("unknown frame type 107");
}

#[test]
fn a_signal_in_the_middle_of_a_large_send_cuts_no_message() {
    let dir = Scratch::new();
    let (path, data) = (dir.path("data"), vec![b'x'; 256 << 10]);
    std::fs::write(&path, &data).unwrap();
    let listener = Listener::secured(&[]);
    let args = ["send", listener.url(), "--json", "--space", "garden", "--file", &path, "--count", "100000"];
    let child = begin(&args);
    listener.expect("peer_up");
    let (wanted, mut heard) = (hex(&data), 0);
    for _ in 0..3 {
        assert!(listener.expect("notify")["data"] == wanted);
        heard += 1;
    }
    signal(&child, Signal::TERM);
    let sent = finish(child);
    says(&sent, 1, "stopped before everything was");
    let down = loop {
        let event = listener.next();
        if event["event"] != "notify" {
            break event;
        }
        assert!(event["data"] == wanted, "a message is whole or not there");
        heard += 1;
    };
    assert_eq!(down["reason"], "the peer disconnected: \"shutdown\"");
    let told = events(&sent);
    assert_eq!(told.last().unwrap()["totals"]["sent_messages"], heard);
    listener.stop();
}

/// Stands between two ends of one connection, and writes down what each says: first the dialler, then the acceptor.
fn tap(to: String) -> (String, JoinHandle<[Vec<u8>; 2]>) {
    let between = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = between.local_addr().unwrap().to_string();
    let tapping = thread::spawn(move || {
        let (dialler, acceptor) = (between.accept().unwrap().0, TcpStream::connect(to).unwrap());
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            thread::spawn(move || {
                let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(len @ 1..) = from.read(&mut buffer) {
                    all.extend(&buffer[..len]);
                    let _ = to.write_all(&buffer[..len]);
                }
                let _ = to.shutdown(Shutdown::Write);
                all
            })
        };
        let there = pass(dialler.try_clone().unwrap(), acceptor.try_clone().unwrap());
        let back = pass(acceptor, dialler);
        [there.join().unwrap(), back.join().unwrap()]
    });
    (addr, tapping)
}

#[test]
fn what_travels_on_a_secured_connection_is_explained_and_hidden() {
    let listener = Listener::secured(&["--echo"]);
    let (addr, tapping) = tap(addr_of(listener.url()).to_owned());
    let url = listener.url().replace(addr_of(listener.url()), &addr);
    let sent = send(&url, &["--wait-replies", "1"]);
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let [there, back] = tapping.join().unwrap();
    for said in [&there, &back] {
        assert!(!said.windows(8).any(|bytes| bytes == b"it rains"), "it is sealed");
        assert!(!said.windows(6).any(|bytes| bytes == b"garden"), "it is sealed");
    }
    let there = kitfox_with(&["decode"], &there);
    let back = kitfox_with(&["decode", "--secured", &hex(&back)], b"");
    let common = ["ephemeral key", "record", "text", "of no text: nothing more comes", "nothing is wrong"];
    let only = ["magic", "version", "suite", "first message", "static key"];
    for words in common.iter().chain(&only) {
        assert!(text(&there.stdout).contains(words), "{words}: {}", text(&there.stdout));
    }
    for words in common.iter().chain(&["second message"]) {
        assert!(text(&back.stdout).contains(words), "{words}: {}", text(&back.stdout));
    }
    assert!(there.status.success() && back.status.success());
}
