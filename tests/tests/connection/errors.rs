//! What a peer may not do. Each of it closes the connection, for a reason that says whose fault it is.

use kitfox_core::connection::{CloseReason, Input, Wants};
use kitfox_core::router::DropReason;
use kitfox_core::storage::Storage;
use kitfox_core::wire::{DecodeError, FrameError, HEADER_BYTES, PreflightError, UrlError};
use kitfox_core::{Config, Oversize, ProtocolError};
use kitfox_tests::on_both_tiers;
use kitfox_tests::pair::{ALICE, BOB, Side};
use kitfox_tests::script::{Act, at, config, wire};

use crate::{CONFIRM, FROM_ALICE, PROTOCOL_ERROR, RAIN, open_acceptor, open_dialler};

on_both_tiers!(
    an_unknown_frame_type_closes_at_its_first_byte,
    an_unknown_type_closes_before_the_length_is_looked_at,
    the_preflight_bound_counts_the_header,
    the_frame_bound_counts_the_header,
    the_preflight_bound_is_never_above_the_frame_bound,
    an_oversize_frame_closes_at_its_header,
    a_data_frame_before_the_preflight_closes,
    a_second_preflight_frame_closes_at_its_first_byte,
    a_preflight_frame_without_a_preflight_message_closes,
    a_preflight_url_without_an_id_closes,
    an_id_of_more_than_64_bytes_closes,
    a_url_that_is_not_canonical_closes,
    a_url_that_is_not_utf8_closes,
    a_url_beyond_its_payload_closes,
    a_url_beyond_the_configured_length_closes,
    the_peer_that_was_dialled_must_answer,
    a_peer_with_our_own_id_closes,
    a_message_without_a_space_closes,
    an_undecodable_message_closes,
    the_end_of_the_stream_between_frames_is_clean,
    the_end_of_the_stream_inside_a_frame_is_the_peers_fault,
    a_failed_socket_closes_without_a_word_to_the_peer,
    a_skipped_frame_ends_exactly_where_its_header_says,
    the_end_of_a_skipped_frame_is_a_clean_end,
    an_end_before_everything_was_taken_cuts_what_was_not,
    a_skipped_frame_may_be_longer_than_memory,
    nothing_follows_the_end,
);

fn protocol(error: ProtocolError) -> CloseReason {
    CloseReason::Protocol(error)
}

fn too_large(frame_bytes: u64, max_frame_bytes: usize) -> CloseReason {
    let payload_bytes = (frame_bytes - HEADER_BYTES as u64) as u32;
    protocol(ProtocolError::Frame(FrameError::TooLarge { payload_bytes, max_frame_bytes }))
}

fn preflight(error: PreflightError) -> CloseReason {
    protocol(ProtocolError::Preflight(error))
}

/// The side closes for this reason and nothing else, with a farewell of fixed words.
#[track_caller]
fn closes<S: Storage>(mut side: Side<S>, bytes: &[u8], reason: CloseReason) {
    side.run(at(0));
    side.written(at(0));
    assert_eq!(side.receive(at(0), bytes), [Act::closed(reason)]);
    assert_eq!((side.wants, side.connection.rx().close_reason()), (Wants::Nothing, Some(reason)));
    assert_eq!(side.written(at(0)), wire(PROTOCOL_ERROR));
    assert!(!side.connection.is_open());
}

fn acceptor<S: Storage>() -> Side<S> {
    Side::accept(at(0), &config())
}

fn dialler<S: Storage>() -> Side<S> {
    Side::dial(at(0), &config())
}

/// An acceptor that has answered the preflight.
fn offered<S: Storage>() -> Side<S> {
    let mut bob = acceptor();
    bob.receive(at(0), &wire(FROM_ALICE));
    bob
}

/// A preflight frame with this URL, and an empty preflight.
fn preflight_from(url: &[u8]) -> Vec<u8> {
    preflight_with(url, &wire("0801"))
}

fn preflight_with(url: &[u8], message: &[u8]) -> Vec<u8> {
    let len = (4 + url.len() + message.len()) as u32;
    let url_len = url.len() as u32;
    [&[0][..], &len.to_be_bytes(), &url_len.to_be_bytes(), url, message].concat()
}

/// A NOTIFY frame of `len` bytes in all; at least 400.
fn notify_of(len: usize) -> Vec<u8> {
    let data = len - 5 - 2 - 3 - 8;
    let (low, high) = ((data & 0x7f | 0x80) as u8, (data >> 7) as u8);
    let mut frame = [&[1][..], &(len as u32 - 5).to_be_bytes(), &[8, 2, 0x12, low, high]].concat();
    frame.resize(frame.len() + data, 7);
    frame.extend(wire("1a06 'garden'"));
    assert_eq!(frame.len(), len);
    frame
}

fn an_unknown_frame_type_closes_at_its_first_byte<S: Storage>() {
    for ty in [2, 3, 0x7f, 0x80, 0xff] {
        let reason = protocol(ProtocolError::Frame(FrameError::UnknownType(ty)));
        closes(acceptor::<S>(), &[ty], reason);
        closes(offered::<S>(), &[ty], reason);
        closes(dialler::<S>(), &[ty], reason);
        closes(open_acceptor::<S>(), &[ty], reason);
        closes(open_dialler::<S>(), &[ty], reason);
    }
}

fn an_unknown_type_closes_before_the_length_is_looked_at<S: Storage>() {
    let reason = protocol(ProtocolError::Frame(FrameError::UnknownType(2)));
    closes(open_acceptor::<S>(), &wire("02 ffffffff 00"), reason);
    closes(acceptor::<S>(), &wire("02 ffffffff 00"), reason);
}

fn the_preflight_bound_counts_the_header<S: Storage>() {
    let fill = |len: usize| {
        let data = len - 5 - 4 - ALICE.len() - 2 - 3;
        let mut message = [8, 1, 0x12, (data & 0x7f | 0x80) as u8, (data >> 7) as u8].to_vec();
        message.resize(message.len() + data, 7);
        preflight_with(ALICE.as_bytes(), &message)
    };
    assert_eq!((fill(1024).len(), fill(1025).len()), (1024, 1025));
    let mut bob = acceptor::<S>();
    assert!(matches!(bob.receive(at(0), &fill(1024))[0], Act::ValidatePreflight { .. }));
    closes(acceptor::<S>(), &fill(1025), too_large(1025, 1024));
    closes(acceptor::<S>(), &fill(1025)[..5], too_large(1025, 1024));
}

fn the_frame_bound_counts_the_header<S: Storage>() {
    for mut side in [open_acceptor::<S>(), offered(), open_dialler()] {
        let acts = side.receive(at(0), &notify_of(4096));
        assert!(matches!(acts.last(), Some(Act::Notify { wire_bytes: 4096, .. })), "{acts:?}");
    }
    closes(open_acceptor::<S>(), &notify_of(4097), too_large(4097, 4096));
    closes(open_dialler::<S>(), &notify_of(4097), too_large(4097, 4096));
    closes(offered::<S>(), &notify_of(4097), too_large(4097, 4096));
}

fn the_preflight_bound_is_never_above_the_frame_bound<S: Storage>() {
    let config = Config { max_frame_bytes: 100, ..config() };
    closes(Side::<S>::accept(at(0), &config), &wire("00 00000060"), too_large(101, 100));
}

fn an_oversize_frame_closes_at_its_header<S: Storage>() {
    for oversize in [Oversize::Close, Oversize::Skip] {
        let config = Config { oversize, ..config() };
        // Skipping is for data frames of open connections.
        closes(Side::<S>::accept(at(0), &config), &wire("01 ffffffff"), too_large(0x1_0000_0004, 1024));
        closes(Side::<S>::dial(at(0), &config), &wire("00 ffffffff"), too_large(0x1_0000_0004, 1024));
        let mut bob = Side::<S>::accept(at(0), &config);
        bob.receive(at(0), &wire(FROM_ALICE));
        closes(bob, &wire("01 ffffffff"), too_large(0x1_0000_0004, 4096));
    }
    closes(open_acceptor::<S>(), &wire("01 ffffffff"), too_large(0x1_0000_0004, 4096));
}

fn a_data_frame_before_the_preflight_closes<S: Storage>() {
    for frame in [RAIN, CONFIRM, "01 00000002 0801", "01 00000003 1201 'x'"] {
        closes(acceptor::<S>(), &wire(frame), protocol(ProtocolError::DataBeforePreflight));
        closes(dialler::<S>(), &wire(frame), protocol(ProtocolError::DataBeforePreflight));
    }
    let garbage = protocol(ProtocolError::Message(DecodeError::Truncated));
    closes(acceptor::<S>(), &wire("01 00000002 12ff"), garbage);
}

fn a_second_preflight_frame_closes_at_its_first_byte<S: Storage>() {
    let reason = protocol(ProtocolError::SecondPreflight);
    closes(open_acceptor::<S>(), &[0], reason);
    closes(open_dialler::<S>(), &[0], reason);
    closes(offered::<S>(), &[0], reason);
    closes(open_acceptor::<S>(), &wire(FROM_ALICE), reason);
    closes(offered::<S>(), &wire(FROM_ALICE), reason);
    let config = Config { oversize: Oversize::Skip, ..config() };
    let mut bob = Side::<S>::accept(at(0), &config);
    bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
    closes(bob, &wire("00 ffffffff"), reason);
}

fn a_preflight_frame_without_a_preflight_message_closes<S: Storage>() {
    let nothing = "";
    let unspecified = "1205 'hello'";
    let notify = "0802 1208 'it rains' 1a06 'garden'";
    let disconnect = "080f 1203 'bye'";
    let unknown = "0804";
    for message in [nothing, unspecified, notify, disconnect, unknown] {
        let reason = protocol(ProtocolError::NotPreflight);
        closes(acceptor::<S>(), &preflight_with(ALICE.as_bytes(), &wire(message)), reason);
        closes(dialler::<S>(), &preflight_with(BOB.as_bytes(), &wire(message)), reason);
    }
    let undecodable = protocol(ProtocolError::Message(DecodeError::Truncated));
    closes(acceptor::<S>(), &preflight_with(ALICE.as_bytes(), &wire("0801 12ff")), undecodable);
}

fn a_preflight_url_without_an_id_closes<S: Storage>() {
    let reason = protocol(ProtocolError::UrlWithoutId);
    closes(acceptor::<S>(), &preflight_from(b"ws://127.0.0.1:9000"), reason);
    closes(dialler::<S>(), &preflight_from(b"ws://127.0.0.1:9001"), reason);
}

fn an_id_of_more_than_64_bytes_closes<S: Storage>() {
    let with_id = |len| preflight_from(format!("ws://a.b:80/{}", "x".repeat(len)).as_bytes());
    let mut bob = acceptor::<S>();
    assert!(matches!(bob.receive(at(0), &with_id(64))[0], Act::ValidatePreflight { .. }));
    closes(acceptor::<S>(), &with_id(65), protocol(ProtocolError::UrlWithoutId));
}

fn a_url_that_is_not_canonical_closes<S: Storage>() {
    let urls = ["ws://a.b/x", "WS://a.b:80/x", "ws://a.b:80/", "ws://a.b:080/x", "ws://a.b:80/x?", "", "x"];
    for url in urls {
        let mut bob = acceptor::<S>();
        let acts = bob.receive(at(0), &preflight_from(url.as_bytes()));
        let [Act::Closed { reason: CloseReason::Protocol(error), .. }] = acts[..] else { panic!("{acts:?}") };
        assert!(matches!(error, ProtocolError::Preflight(PreflightError::Url(_))), "{url}: {error}");
        assert_eq!(bob.written(at(0)), wire(PROTOCOL_ERROR));
    }
}

fn a_url_that_is_not_utf8_closes<S: Storage>() {
    let mut bob = acceptor::<S>();
    let acts = bob.receive(at(0), &preflight_from(b"ws://a.b:80/\xff"));
    assert!(matches!(acts[..], [Act::Closed { reason: CloseReason::Protocol(_), .. }]), "{acts:?}");
}

fn a_url_beyond_its_payload_closes<S: Storage>() {
    let reason = preflight(PreflightError::Truncated);
    for frame in
        ["00 00000000", "00 00000003 000000", "00 00000005 00000002 'w'", "00 00000006 ffffffff 'ws'"]
    {
        closes(acceptor::<S>(), &wire(frame), reason);
        closes(dialler::<S>(), &wire(frame), reason);
    }
}

fn a_url_beyond_the_configured_length_closes<S: Storage>() {
    let mut config = config();
    config.url.max_bytes = ALICE.len();
    let mut bob = Side::<S>::accept(at(0), &config);
    assert!(matches!(bob.receive(at(0), &wire(FROM_ALICE))[0], Act::ValidatePreflight { .. }));
    config.url.max_bytes -= 1;
    let bob = Side::<S>::accept(at(0), &config);
    closes(bob, &wire(FROM_ALICE), preflight(PreflightError::Url(UrlError::TooLong)));
}

fn the_peer_that_was_dialled_must_answer<S: Storage>() {
    closes(dialler::<S>(), &wire(FROM_ALICE), protocol(ProtocolError::WrongPeer));
    closes(dialler::<S>(), &preflight_from(b"ws://127.0.0.1:9001/Bob"), protocol(ProtocolError::WrongPeer));
    // Under another address it is the same peer.
    let mut alice = dialler::<S>();
    alice.receive(at(0), &preflight_from(b"wss://example.com:443/bob"));
    assert!(alice.opened());
}

fn a_peer_with_our_own_id_closes<S: Storage>() {
    let mut bob = acceptor::<S>();
    let acts = bob.receive(at(0), &preflight_from(b"ws://127.0.0.1:9000/bob"));
    assert_eq!(acts.last(), Some(&Act::closed(ProtocolError::OurOwnId)));
    assert_eq!(bob.written(at(0)), wire(PROTOCOL_ERROR));

    let mut alice = dialler::<S>();
    alice.own.0 = "ws://127.0.0.1:9000/bob".into();
    assert_eq!(alice.receive(at(0), &[]).last(), Some(&Act::closed(ProtocolError::OurOwnId)));
}

fn a_message_without_a_space_closes<S: Storage>() {
    for frame in ["01 00000002 0802", "01 00000002 0803", "01 00000008 0803 2204 'moss'"] {
        closes(open_acceptor::<S>(), &wire(frame), protocol(ProtocolError::MissingSpace));
    }
    // A space id may be empty, but it has to be there.
    let dropped = Act::Dropped { reason: DropReason::UnknownSpace, space: String::new(), wire_bytes: 9 };
    assert_eq!(open_acceptor::<S>().receive(at(0), &wire("01 00000004 0802 1a00")), [dropped]);
}

fn an_undecodable_message_closes<S: Storage>() {
    let broken = [
        ("01 00000001 08", DecodeError::Truncated),
        ("01 00000002 0a00", DecodeError::WireType),
        ("01 00000003 2201 ff", DecodeError::NotUtf8),
        ("01 00000001 04", DecodeError::FieldNumberZero),
    ];
    for (frame, error) in broken {
        let reason = protocol(ProtocolError::Message(error));
        closes(open_acceptor::<S>(), &wire(frame), reason);
        closes(offered::<S>(), &wire(frame), reason);
    }
}

fn the_end_of_the_stream_between_frames_is_clean<S: Storage>() {
    for mut side in [open_acceptor::<S>(), open_dialler(), acceptor(), dialler(), offered()] {
        side.run(at(0));
        side.written(at(0));
        assert_eq!(side.tell(at(0), Input::End), [Act::closed(CloseReason::Ended)]);
        assert_eq!((side.wants, side.written(at(0))), (Wants::Nothing, vec![]));
    }
    let mut bob = open_acceptor::<S>();
    bob.receive(at(0), &wire(RAIN));
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(CloseReason::Ended)]);
}

fn the_end_of_the_stream_inside_a_frame_is_the_peers_fault<S: Storage>() {
    for len in 1..wire(RAIN).len() {
        let mut bob = open_acceptor::<S>();
        bob.receive(at(0), &wire(RAIN)[..len]);
        assert_eq!(bob.tell(at(0), Input::End), [Act::closed(ProtocolError::EndInsideFrame)], "{len}");
        assert_eq!(bob.written(at(0)), wire(PROTOCOL_ERROR));
    }
    let mut bob = acceptor::<S>();
    bob.receive(at(0), &wire(FROM_ALICE)[..30]);
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(ProtocolError::EndInsideFrame)]);
    assert!(!bob.opened());
}

fn a_failed_socket_closes_without_a_word_to_the_peer<S: Storage>() {
    for mut side in [open_acceptor::<S>(), dialler(), offered()] {
        side.run(at(0));
        side.written(at(0));
        side.receive(at(0), &[1, 0]);
        assert_eq!(side.tell(at(0), Input::Failed), [Act::closed(CloseReason::Failed)]);
        assert_eq!(side.written(at(0)), b"");
    }
}

fn skipping<S: Storage>() -> Side<S> {
    let mut bob = Side::<S>::accept(at(0), &Config { oversize: Oversize::Skip, ..config() });
    bob.receive(at(0), &[wire(FROM_ALICE), wire(CONFIRM)].concat());
    bob
}

fn a_skipped_frame_ends_exactly_where_its_header_says<S: Storage>() {
    for (len, pieces) in [(4097, 4097), (4097, 1), (4100, 7), (10_000, 4096), (10_000, 33)] {
        let mut bob = skipping::<S>();
        let mut frame = notify_of(len);
        frame[5..].fill(0xff);
        let dropped =
            Act::Dropped { reason: DropReason::Oversize, space: String::new(), wire_bytes: len as u64 };
        let rain = Act::Notify { space: "garden".into(), data: "it rains".into(), wire_bytes: 25 };
        let bytes = [frame.clone(), wire(RAIN), frame, wire(CONFIRM), wire(RAIN)].concat();
        let acts: Vec<_> = bytes.chunks(pieces).flat_map(|piece| bob.receive(at(0), piece)).collect();
        assert_eq!(acts, [dropped.clone(), rain.clone(), dropped, rain], "{len} in pieces of {pieces}");
        let counts = bob.connection.rx().counts();
        assert_eq!((counts.dropped(DropReason::Oversize), counts.messages, counts.bytes), (2, 2, 50));
        // No frame is under way.
        assert_ne!(bob.connection.rx().poll_timeout(), Some(at(30_000)));
        assert_eq!(bob.tell(at(0), Input::End), [Act::closed(CloseReason::Ended)]);
    }
}

fn the_end_of_a_skipped_frame_is_a_clean_end<S: Storage>() {
    let mut bob = skipping::<S>();
    bob.written(at(0));
    assert_eq!(bob.receive(at(0), &notify_of(4097)).len(), 1);
    assert_eq!(bob.tell(at(100_000), Input::Timeout), []);
    assert_eq!(bob.tell(at(100_000), Input::End), [Act::closed(CloseReason::Ended)]);
}

fn an_end_before_everything_was_taken_cuts_what_was_not<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    let mut bytes = [wire(RAIN), wire(RAIN)].concat();
    let mut actions = bob.connection.handle(at(0), Input::Bytes(&mut bytes));
    assert!(actions.next(&bob.directory).is_some());
    assert_eq!(actions.finish().0, 25);
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(ProtocolError::EndInsideFrame)]);
}

fn a_skipped_frame_may_be_longer_than_memory<S: Storage>() {
    let mut bob = skipping::<S>();
    let wire_bytes = 0x1_0000_0004;
    let acts = bob.receive(at(0), &wire("01 ffffffff"));
    assert_eq!(acts, [Act::Dropped { reason: DropReason::Oversize, space: String::new(), wire_bytes }]);
    for _ in 0..100 {
        assert_eq!(bob.receive(at(0), &[2; 10_000]), []);
    }
    assert_eq!(bob.wants, Wants::Bytes);
    assert_eq!(bob.tell(at(0), Input::End), [Act::closed(ProtocolError::EndInsideFrame)]);
}

fn nothing_follows_the_end<S: Storage>() {
    let mut bob = open_acceptor::<S>();
    bob.receive(at(0), &wire("05"));
    bob.written(at(0));
    for bytes in [wire(RAIN), wire("ff"), vec![]] {
        assert_eq!(bob.receive(at(0), &bytes), []);
        assert_eq!(bob.wants, Wants::Nothing);
    }
    let inputs = [
        Input::End,
        Input::Failed,
        Input::Timeout,
        Input::Disconnect { reason: b"bye" },
        Input::Bytes(&mut []),
    ];
    for input in inputs {
        assert_eq!(bob.tell(at(90_000), input), []);
    }
    let unknown = protocol(ProtocolError::Frame(FrameError::UnknownType(5)));
    assert_eq!((bob.closed(), bob.connection.rx().close_reason()), (Some(unknown), Some(unknown)));
    assert_eq!((bob.written(at(0)), bob.connection.poll_timeout()), (vec![], None));
}
