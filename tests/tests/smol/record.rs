//! Recordings of nodes, and their replay.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kitfox_core::Config;
use kitfox_core::storage::BufferLimits;
use kitfox_core::wire::Message;
use kitfox_smol::record::{Ended, RecordingState, ReplayError, Replayed, replay, replay_telling};
use kitfox_smol::{BuildError, Builder, Node, Peer, PeerLimits, Refused, SecretKey, SendError};

use crate::common::{Event, Party, Raw, SPACE, data, hasty, peers, test, with_node, within};

/// A directory of this test alone.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kitfox-record-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn load(path: &Path, key: Option<&SecretKey>) -> Result<Replayed, ReplayError> {
    replay(File::open(path).unwrap(), key)
}

/// Replays a recording of a node that was shut down. There is something of every kind in it.
fn replays(path: &Path, key: Option<&SecretKey>) -> Replayed {
    let replayed = load(path, key).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(replayed.ended, Ended::Stopped);
    let Replayed { entries, table_calls, rules_calls, outbox_calls, rx_calls, tx_calls, .. } = replayed;
    assert_eq!(table_calls + rules_calls + outbox_calls + rx_calls + tx_calls, entries);
    for calls in [table_calls, rules_calls, outbox_calls, rx_calls, tx_calls] {
        assert!(calls > 1, "{replayed:?}");
    }
    replayed
}

/// Messages of many sizes.
fn sizes() -> impl Iterator<Item = Vec<u8>> {
    let sizes = [0, 1, 127, 128, 2047, 2048, 16_384, 65_536, 1_000_000];
    sizes.into_iter().map(|size| (0..size).map(|place| (place * 31 % 251) as u8).collect())
}

/// What two nodes do with each other.
async fn life(alice: &Party, bob: &Party) {
    // Messages of many sizes in both directions, copied and shared.
    for data in sizes() {
        alice.node.notify(&bob.url, SPACE, &data).unwrap();
        bob.node.notify_shared(&alice.url, SPACE, data.into()).unwrap();
    }
    for data in sizes() {
        assert!(bob.hears().await == data);
        assert!(alice.hears().await == data);
    }
    // Many small ones at once.
    for number in 0..500_u32 {
        alice.node.notify(&bob.url, SPACE, &number.to_le_bytes()).unwrap();
    }
    for number in 0..500_u32 {
        assert_eq!(bob.hears().await, number.to_le_bytes());
    }
    // Spaces, modules and blocks come and go.
    bob.mute(b"orchard");
    alice.mute(b"orchard");
    bob.node.register_module(SPACE, "photos", |_: &Peer, _: &[u8]| Ok(())).unwrap();
    alice.node.module(&bob.url, SPACE, "photos", b"cat").unwrap();
    alice.node.module(&bob.url, SPACE, "poems", b"nobody takes it").unwrap();
    alice.node.notify(&bob.url, SPACE, b"all of it has come").unwrap();
    assert_eq!(bob.hears().await, b"all of it has come");
    assert!(bob.node.unregister_module(SPACE, "photos").await);
    bob.node.block(alice.node.peer_id(), Some(b"orchard")).unwrap();
    alice.node.notify(&bob.url, b"orchard", b"blocked").unwrap();
    assert!(matches!(bob.node.notify(&alice.url, b"orchard", b"blocked"), Err(SendError::Refused(_))));
    alice.node.notify(&bob.url, SPACE, b"not blocked").unwrap();
    assert_eq!(bob.hears().await, b"not blocked");
    assert!(bob.node.unblock(alice.node.peer_id(), Some(b"orchard")));
    assert!(alice.node.unregister_space(b"orchard").await);
    // Down and up again.
    assert!(alice.node.disconnect(&bob.url, b"see you"));
    alice.node.notify(&bob.url, SPACE, b"back").unwrap();
    assert_eq!(bob.hears().await, b"back");
    // Nobody is there.
    let nobody = format!("{}://127.0.0.1:1/{}", alice.url.split(':').next().unwrap(), key(99).peer_id());
    alice.node.notify(&nobody, SPACE, b"hello?").unwrap();
    within(async { while !matches!(alice.event().await, Event::NotSent(..)) {} }).await;
}

#[test]
fn what_plain_nodes_did_is_replayed_with_the_same_actions() {
    test(async {
        let dir = Scratch::new("plain");
        let (one, two) = (dir.file("alice"), dir.file("bob"));
        let record = |path: &PathBuf| {
            let path = path.clone();
            move |builder: Builder| builder.record(path).limits(hasty())
        };
        let (alice, bob) = (Party::with(record(&one), |_| {}).await, Party::with(record(&two), |_| {}).await);
        life(&alice, &bob).await;
        assert_eq!(alice.node.recording().unwrap().state, RecordingState::Running);
        assert_eq!((alice.node.shutdown().await, bob.node.shutdown().await), (0, 0));
        let recording = alice.node.recording().unwrap();
        assert_eq!((recording.state, recording.missed), (RecordingState::Stopped, 0));
        assert_eq!(recording.bytes, fs::metadata(&one).unwrap().len());

        let (alice, bob) = (replays(&one, None), replays(&two, None));
        assert_eq!(recording.entries, alice.entries);
        assert_eq!(alice.received_messages, sizes().count() as u64);
        assert!(alice.accepted_messages > 500 && bob.received_messages > 500);
        assert!(alice.connections >= 2 && bob.connections >= 2, "it came back");
        let sent: usize = sizes().map(|data| data.len()).sum();
        assert!(alice.written_bytes > sent as u64 && bob.read_bytes > sent as u64);
        assert!(alice.written_bytes >= bob.read_bytes && bob.written_bytes >= alice.read_bytes);
    });
}

#[test]
fn what_secured_nodes_did_is_replayed_with_their_keys_and_no_others() {
    test(async {
        let dir = Scratch::new("secured");
        let (one, two) = (dir.file("alice"), dir.file("bob"));
        let record = |path: &PathBuf, seed| {
            let path = path.clone();
            move |builder: Builder| builder.key(key(seed)).record(path).limits(hasty())
        };
        let (alice, bob) =
            (Party::secured(record(&one, 1), |_| {}).await, Party::secured(record(&two, 2), |_| {}).await);
        life(&alice, &bob).await;
        assert_eq!((alice.node.shutdown().await, bob.node.shutdown().await), (0, 0));
        let (alice, bob) = (replays(&one, Some(&key(1))), replays(&two, Some(&key(2))));
        assert_eq!(alice.peer_id, key(1).peer_id());
        assert!(alice.written_bytes >= bob.read_bytes && bob.written_bytes >= alice.read_bytes);
        assert!(bob.received_messages > 500);

        let id = key(1).peer_id().to_string();
        let missing = load(&one, None).unwrap_err();
        assert!(matches!(&missing, ReplayError::KeyMissing(missing) if *missing == id), "{missing}");
        let other = load(&one, Some(&key(2))).unwrap_err();
        let given = key(2).peer_id().to_string();
        assert!(
            matches!(&other, ReplayError::OtherKey { recorded, given: other } if *recorded == id && *other == given),
            "{other}"
        );
        // The key is not in the file, in any of its forms.
        let bytes = fs::read(&one).unwrap();
        let (secret, _) = key(1).to_provisioned();
        for secret in [&[1; 32][..], &secret[..]] {
            assert!(!bytes.windows(32).any(|window| window == secret));
        }
    });
}

/// Says to each other what is in a small recording, and how it was replayed.
async fn small(dir: &Scratch, secured: bool) -> Vec<u8> {
    let path = dir.file("small");
    let config = Config { preflight_timeout: Duration::from_secs(60), ..Config::HOST };
    let record = |builder: Builder| builder.record(path.clone()).config(config).limits(hasty());
    let (alice, bob) = if secured {
        let alice = Party::secured(|builder| record(builder).key(key(1)), |_| {}).await;
        (alice, Party::secured(|builder| builder, |_| {}).await)
    } else {
        (Party::with(record, |_| {}).await, Party::new().await)
    };
    alice.node.notify(&bob.url, SPACE, b"it rains").unwrap();
    assert_eq!(bob.hears().await, b"it rains");
    bob.node.notify(&alice.url, SPACE, b"let it").unwrap();
    assert_eq!(alice.hears().await, b"let it");
    alice.node.block(bob.node.peer_id(), None).unwrap();
    bob.node.notify(&alice.url, SPACE, b"blocked").unwrap();
    assert_eq!(bob.node.shutdown().await, 0);
    alice.up().await;
    alice.told(b"shutdown").await;
    assert_eq!(alice.node.shutdown().await, 0);
    fs::read(path).unwrap()
}

/// A small recording of a plain node, and one of a secured node with its key. What is done with them takes as long as it
/// takes: no patience is lost by it.
fn small_ones(name: &str) -> [(Vec<u8>, Option<SecretKey>); 2] {
    let dir = Scratch::new(name);
    [false, true].map(|secured| {
        let dir = Scratch(dir.file(&secured.to_string()));
        fs::create_dir_all(&dir.0).unwrap();
        (test(small(&dir, secured)), secured.then(|| key(1)))
    })
}

/// Where the entries of a recording begin, behind their lengths; the header is the first.
fn entries(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut entries, mut at) = (Vec::new(), 10);
    while let Some(len) = bytes.get(at..at + 4) {
        let start = at + 4;
        at = start + u32::from_le_bytes(len.try_into().unwrap()) as usize;
        entries.push(start..at);
    }
    entries
}

#[test]
fn a_recording_that_is_cut_anywhere_replays_up_to_its_last_whole_entry() {
    for (bytes, key) in small_ones("cut") {
        let ends: Vec<_> = entries(&bytes).iter().map(|entry| entry.end).collect();
        for len in 0..bytes.len() {
            // The entries that are whole, without the header and the end.
            let whole = ends.iter().filter(|end| **end <= len).count();
            match replay(&bytes[..len], key.as_ref()) {
                Ok(replayed) => {
                    assert_eq!((replayed.ended, replayed.entries), (Ended::Cut, whole as u64 - 1), "{len}");
                }
                Err(ReplayError::NotARecording) => assert!(len < 10),
                Err(ReplayError::Malformed { entry: 0, .. }) => assert_eq!(whole, 0),
                Err(error) => panic!("{len}: {error}"),
            }
        }
        assert_eq!(replay(&bytes[..], key.as_ref()).unwrap().ended, Ended::Stopped);
    }
}

#[test]
fn a_bit_that_flips_in_a_recording_does_no_harm() {
    for (bytes, key) in small_ones("flip") {
        let (mut differences, mut damages, mut unseen) = (0, 0, 0);
        // A handshake takes its time: one bit of each byte.
        for bit in (0..bytes.len() * 8).filter(|bit| key.is_none() || bit % 8 == bit / 8 % 8) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match replay(&flipped[..], key.as_ref()) {
                Ok(_) => unseen += 1,
                Err(ReplayError::Difference { .. }) => differences += 1,
                Err(_) => damages += 1,
            }
        }
        // What is not compared: when something happened, where nothing follows from it, and what the node was called.
        assert!(differences > unseen && damages > 100, "{differences} {damages} {unseen}");
    }
}

#[test]
fn entries_in_any_order_do_no_harm() {
    for (bytes, key) in small_ones("order") {
        let all = entries(&bytes);
        let pieces: Vec<_> =
            all[1..].iter().map(|entry| bytes[entry.start - 4..entry.end].to_vec()).collect();
        let front = &bytes[..all[0].end];
        let tries =
            |pieces: &[Vec<u8>]| replay(&[front, &pieces.concat()].concat()[..], key.as_ref()).is_ok();
        assert!(tries(&pieces));
        // Left out, told twice, or exchanged with the next one.
        let mut unseen = 0;
        for place in 1..pieces.len() {
            let (mut without, mut twice, mut exchanged) = (pieces.clone(), pieces.clone(), pieces.clone());
            without.remove(place - 1);
            twice.insert(place, pieces[place - 1].clone());
            exchanged.swap(place - 1, place);
            unseen += [without, twice, exchanged].iter().filter(|pieces| tries(pieces)).count();
        }
        assert!(unseen < 2 * pieces.len(), "{unseen} of {}", 3 * pieces.len());
        // Chosen by chance.
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2000 {
            let mut chosen = Vec::new();
            for _ in 0..60 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                chosen.push(pieces[random as usize % pieces.len()].clone());
            }
            tries(&chosen);
        }
    }
}

#[test]
fn what_a_handler_that_panics_has_left_is_replayed() {
    test(async {
        let dir = Scratch::new("panic");
        let path = dir.file("node");
        let bob = Party::with(|builder| builder.record(&path), |_| {}).await;
        bob.node.register_space(b"trap", |_: &Peer, _: &[u8]| panic!("a handler that panics")).unwrap();
        let alice = Party::new().await;
        alice.mute(b"trap");
        alice.node.notify(&bob.url, b"trap", b"x").unwrap();
        alice.up().await;
        alice.down().await;
        alice.node.notify(&bob.url, SPACE, b"still there?").unwrap();
        assert_eq!(bob.hears().await, b"still there?");
        bob.node.shutdown().await;
        assert_eq!(replays(&path, None).received_messages, 2);
    });
}

#[test]
fn an_input_that_was_changed_is_found_at_its_entry() {
    test(async {
        let dir = Scratch::new("changed");
        let bytes = small(&dir, false).await;
        let mut reads = Vec::new();
        replay_telling(&bytes[..], None, |number, entry| reads.push((number, entry.to_string()))).unwrap();
        // The message that was heard, in the bytes that were read.
        let found: Vec<_> = bytes.windows(6).enumerate().filter(|(_, window)| *window == b"let it").collect();
        let [(at, _)] = found[..] else { panic!("it stands there once: {found:?}") };
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let number = entries(&bytes).iter().position(|entry| entry.contains(&at)).unwrap() as u64;
        match replay(&changed[..], None).unwrap_err() {
            ReplayError::Difference { entry, part, recorded, replayed } => {
                // The bytes were read, and the next thing that was seen is another one.
                assert!(reads[number as usize - 1].1.contains("Read"), "{:?}", reads[number as usize - 1]);
                assert_eq!(entry, number + 1);
                assert_eq!(part, "connection 1, receive half");
                assert!(recorded.contains("Notify") && replayed.contains("Notify"), "{recorded} {replayed}");
                assert_ne!(recorded, replayed);
            }
            error => panic!("{error}"),
        }
        // Another answer of a node that is called the same: what was written differs.
        let url = bytes.windows(6).position(|window| window == b"it rai").unwrap();
        changed = bytes.clone();
        changed[url] ^= 1;
        let error = replay(&changed[..], None).unwrap_err();
        assert!(error.to_string().contains("transmit half: recorded was Transmit"), "{error}");
    });
}

#[test]
fn what_a_replay_tells_shows_no_message_and_no_secret() {
    test(async {
        let dir = Scratch::new("telling");
        let bytes = small(&dir, true).await;
        let mut told = String::new();
        replay_telling(&bytes[..], Some(&key(1)), |number, entry| told += &format!("{number} {entry}\n"))
            .unwrap();
        for words in
            ["Randomness(not shown)", "AdmitPeer", "Notify", "Transmit", "Blocked", "NextStep(Some(Up("]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        for secret in ["it rains", "let it", "105, 116, 32", "6974"] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    });
}

#[test]
fn a_recording_is_a_new_file_of_its_owner() {
    test(async {
        let dir = Scratch::new("owner");
        let path = dir.file("node");
        let node = Node::builder().plain().record(&path).build().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let again = Node::builder().plain().record(&path).build();
        assert!(
            matches!(&again, Err(BuildError::Record(error)) if error.kind() == std::io::ErrorKind::AlreadyExists)
        );
        node.register_space(SPACE, |_: &Peer, _: &[u8]| Ok(())).unwrap();
        node.shutdown().await;
        assert_eq!(load(&path, None).unwrap().rules_calls, 1, "nobody has written over it");
        let nowhere = Node::builder().plain().record(dir.file("no/such/directory")).build();
        assert!(matches!(nowhere, Err(BuildError::Record(_))));
        assert!(Node::builder().plain().build().unwrap().recording().is_none());
    });
}

#[test]
fn at_its_limit_a_recording_ends_and_the_node_goes_on() {
    test(async {
        let dir = Scratch::new("limit");
        let path = dir.file("node");
        let limit = 20_000;
        let record = |builder: Builder| builder.record(&path).record_max_bytes(limit);
        let (alice, bob) = (Party::with(record, |_| {}).await, Party::new().await);
        for _ in 0..20 {
            alice.node.notify(&bob.url, SPACE, &[7; 3000]).unwrap();
            assert_eq!(bob.hears().await, [7; 3000]);
        }
        let recording = alice.node.recording().unwrap();
        assert!(recording.state == RecordingState::Limit && recording.state.is_cut());
        assert!(recording.missed > 0 && recording.bytes <= limit, "{recording:?}");
        assert_eq!(recording.bytes, fs::metadata(&path).unwrap().len());
        let replayed = load(&path, None).unwrap();
        assert_eq!((replayed.ended, replayed.entries), (Ended::Limit, recording.entries));
        assert!(replayed.accepted_messages > 2);
        alice.node.shutdown().await;
        assert_eq!(fs::metadata(&path).unwrap().len(), recording.bytes);
    });
}

#[test]
fn a_recording_ends_with_its_node_also_where_nobody_shuts_it_down() {
    test(async {
        let dir = Scratch::new("dropped");
        let path = dir.file("node");
        let (alice, bob) = (Party::with(|builder| builder.record(&path), |_| {}).await, Party::new().await);
        alice.node.notify(&bob.url, SPACE, b"short").unwrap();
        assert_eq!(bob.hears().await, b"short");
        drop(alice);
        bob.up().await;
        bob.told(b"shutdown").await;
        // Its tasks end soon after.
        within(async {
            while load(&path, None).unwrap().ended != Ended::Stopped {
                async_io::Timer::after(Duration::from_millis(1)).await;
            }
        })
        .await;
        replays(&path, None);
    });
}

#[test]
fn what_strangers_did_to_a_node_is_replayed() {
    test(async {
        let dir = Scratch::new("strangers");
        let path = dir.file("node");
        let config = Config {
            preflight_timeout: Duration::from_millis(100),
            frame_timeout: Duration::from_millis(200),
            rx_buffer: BufferLimits { min_bytes: 0, max_bytes: 100_000 },
            relax_interval: Duration::from_millis(20),
            ..Config::HOST
        };
        let limits = peers(PeerLimits { max_pending: 4, attempts: 1, ..PeerLimits::HOST });
        let bob = Party::with(
            |builder| builder.record(&path).config(config).limits(limits),
            |events| events.admit = Ok(()),
        )
        .await;
        with_node(&bob.node, b"angry", |_, _, _| Err(Refused));
        with_node(&bob.node, b"busy", |node, _, _| {
            // From inside a delivery: the next message meets other rules.
            node.mute_once();
            Ok(())
        });
        // Garbage, a header that promises too much, silence, half a frame, an unknown type.
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 255, 255, 255, 255], &[0, 0, 0], &[7]] {
            Raw::connect(&bob.url).send(bytes);
        }
        let mut silent = Raw::connect(&bob.url);
        silent.rest();
        // More than may wait: the oldest make room.
        let flood: Vec<_> = (0..12).map(|_| Raw::connect(&bob.url)).collect();
        drop(flood);
        // A peer that goes through the gate, byte by byte, and then is refused by a handler.
        let mut raw = Raw::opened(&bob.url, "ab");
        for byte in data(&Message::notify(SPACE, b"slow")) {
            raw.send(&[byte]);
        }
        assert_eq!(bob.hears().await, b"slow");
        let together = [Message::notify(b"busy", b"1"), Message::notify(b"late", b"2")];
        raw.send(&together.iter().flat_map(|message| data(message)).collect::<Vec<_>>());
        raw.send(&data(&Message::notify(&[9; 40], b"nobody's")));
        raw.send(&data(&Message::notify(b"angry", b"no")));
        raw.rest();
        // A frame that never ends, and one that is too long.
        let mut slow = Raw::opened(&bob.url, "cd");
        slow.send(&[1, 0, 0, 1, 0, 8]);
        slow.rest();
        let mut long = Raw::opened(&bob.url, "ef");
        long.send(&[1, 0, 2, 0, 0]);
        long.rest();
        // A peer that claims an id which is connected.
        let first = Raw::opened(&bob.url, "gh");
        let second = Raw::connect(&bob.url);
        drop((first, second));
        assert_eq!(bob.node.shutdown().await, 0);
        let replayed = replays(&path, None);
        assert!(replayed.connections >= 15, "{replayed:?}");
    });
}

/// Registers a space if it is not.
trait MuteOnce {
    fn mute_once(&self);
}

impl MuteOnce for Node {
    fn mute_once(&self) {
        let _ = self.register_space(b"late", |_: &Peer, _: &[u8]| Ok(()));
    }
}

#[test]
fn what_was_refused_is_replayed() {
    test(async {
        let dir = Scratch::new("refused");
        for (place, secured) in [false, true, false, true].into_iter().enumerate() {
            let files = [dir.file(&format!("alice{place}")), dir.file(&format!("bob{place}"))];
            // Refused is the preflight, or whoever comes before that; alice gives up at once.
            let behave = |events: &mut crate::common::Events| match place / 2 {
                0 => events.valid = Err(Refused),
                _ => events.at_home = false,
            };
            let record = |path: &PathBuf| {
                let path = path.clone();
                move |builder: Builder| builder.record(path).limits(hasty())
            };
            let (alice, bob) = if secured {
                let (one, two) = (record(&files[0]), record(&files[1]));
                let alice = Party::secured(|builder| one(builder).key(key(20)), |_| {}).await;
                (alice, Party::secured(|builder| two(builder).key(key(21)), behave).await)
            } else {
                let alice = Party::with(record(&files[0]), |_| {}).await;
                (alice, Party::with(record(&files[1]), behave).await)
            };
            alice.node.notify(&bob.url, SPACE, b"may I?").unwrap();
            within(async { while !matches!(alice.event().await, Event::NotSent(..)) {} }).await;
            alice.node.shutdown().await;
            bob.node.shutdown().await;
            for (file, seed) in files.iter().zip([20, 21]) {
                let replayed = load(file, secured.then(|| key(seed)).as_ref()).unwrap();
                assert!(replayed.table_calls > 2 && replayed.tx_calls > 2, "{replayed:?}");
                assert_eq!((replayed.ended, replayed.received_messages), (Ended::Stopped, 0));
            }
        }
    });
}

#[test]
fn nodes_that_dial_each_other_at_once_are_replayed() {
    test(async {
        let dir = Scratch::new("simultaneous");
        for round in 0..10_u8 {
            let files = [dir.file(&format!("alice{round}")), dir.file(&format!("bob{round}"))];
            let party = |place: usize| {
                let (path, key) = (files[place].clone(), key(10 + place as u8));
                Party::secured(move |builder| builder.record(path).key(key), |_| {})
            };
            let (alice, bob) = (party(0).await, party(1).await);
            alice.node.notify(&bob.url, SPACE, b"from alice").unwrap();
            bob.node.notify(&alice.url, SPACE, b"from bob").unwrap();
            assert_eq!(bob.hears().await, b"from alice");
            assert_eq!(alice.hears().await, b"from bob");
            // And again, where one of them leaves in the middle.
            alice.node.notify_shared(&bob.url, SPACE, vec![round; 300_000].into()).unwrap();
            bob.node.disconnect(&alice.url, b"in the middle");
            let _ = bob.node.notify(&alice.url, SPACE, b"again");
            alice.node.shutdown().await;
            bob.node.shutdown().await;
            for (place, file) in files.iter().enumerate() {
                replays(file, Some(&key(10 + place as u8)));
            }
        }
    });
}
