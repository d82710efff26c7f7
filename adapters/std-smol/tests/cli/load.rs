//! Many connections, and those who take all they can get: what it costs the process, and everybody else.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::*;
use crate::raw::*;

#[test]
fn headers_without_bodies_cost_next_to_nothing() {
    let listener = Listener::garden(&[]);
    let raws: Vec<_> = (0..200)
        .map(|number| {
            let mut raw = Raw::open(listener.url(), &format!("{number:04}"));
            // A frame of 100 MiB begins.
            raw.send(&[1, 6, 63, 255, 251, 8, 2]);
            raw
        })
        .collect();
    for _ in &raws {
        listener.expect("peer_up");
    }
    listener.serves();
    drop(raws);
    for _ in 0..200 {
        listener.expect("peer_down");
    }
}

#[test]
fn of_a_flood_of_connections_the_oldest_make_room() {
    let _ = rlimit::increase_nofile_limit(4096);
    let listener = Listener::garden(&[]);
    // Hosts keep so many that have not said who they are.
    let (kept, more) = (1024, 300);
    let mut raws: Vec<_> = (0..kept + more).map(|_| Raw::connect(listener.url())).collect();
    for raw in &mut raws[..more] {
        raw.is_told(b"capacity");
        listener.rejects("no place for another pending connection");
    }
    let known = raws.last_mut().unwrap();
    known.send(&preflight(&stranger("1a57")));
    known.send(&CONFIRM);
    listener.expect("peer_up");
    listener.serves();
}

#[test]
fn beyond_the_limit_connections_are_turned_away() {
    let listener = Listener::garden(&["--max-connections", "2"]);
    let first = Raw::open(listener.url(), "01");
    let _second = Raw::open(listener.url(), "02");
    listener.expect("peer_up");
    listener.expect("peer_up");
    assert_eq!(Raw::connect(listener.url()).rest(), b"");
    listener.rejects("no place for another connection");
    drop(first);
    listener.expect("peer_down");
    let (rest, _) = listener.stop();
    assert_eq!(rest.last().unwrap()["totals"]["turned_away"], 1);
}

#[test]
fn a_peer_that_never_reads_loses_its_echo_and_nobody_else_does() {
    let listener = Listener::garden(&["--echo", "--max-frame-bytes", "65536"]);
    let greedy = Raw::open(listener.url(), "9eed");
    let up = listener.expect("peer_up");
    let enough = Arc::new(AtomicBool::new(false));
    let (message, had_enough) = (notify(&[7; 60_000]), enough.clone());
    let mut writer = greedy.stream.try_clone().unwrap();
    let writing =
        thread::spawn(
            move || {
                while !had_enough.load(Ordering::Acquire) && writer.write_all(&message).is_ok() {}
            },
        );
    let dropped = listener.find(|event| event["event"] == "dropped");
    assert_eq!((&dropped["peer"], &dropped["space"]), (&up["peer"], &"garden".into()));
    assert_eq!(dropped["reason"], "echo not sent: the outbox is full");
    // Reading goes on.
    listener.find(|event| event["event"] == "notify" && event["peer"] == up["peer"]);
    // Others are served meanwhile.
    let to = ["send", listener.url(), "--plain", "--json", "--space", "garden"];
    let sent = kitfox(&[&to[..], &["--data", "me too", "--wait-replies", "1"]].concat());
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert_eq!(named(&events(&sent), "notify")[0]["data"], hex(b"me too"));
    listener.is_small();
    enough.store(true, Ordering::Release);
    writing.join().unwrap();
    drop(greedy);
    listener.find(|event| event["event"] == "peer_down" && event["peer"] == up["peer"]);
    listener.is_small();
}

#[test]
fn where_nobody_reads_the_output_a_signal_still_ends_it() {
    let mut listener = Listener::unread();
    let mut raw = Raw::open(listener.url(), "10ud");
    raw.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Until the output is full, and nothing is read any more.
    while raw.stream.write_all(&notify(&[7; 60_000])).is_ok() {}
    listener.is_small();
    listener.signal(Signal::TERM);
    assert_eq!(listener.code(), Some(1));
}
