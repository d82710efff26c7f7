//! Lists of blocked peers.

use super::*;

on_both_tiers!(
    a_block_holds_for_every_spelling_and_address,
    a_block_holds_for_a_key_with_the_other_sign,
    a_seeded_list_blocks_the_same,
    a_block_holds_in_one_space_or_in_all,
    a_full_block_list_refuses_and_recovers,
    a_peer_without_id_matches_no_block,
    a_block_list_in_a_router_drops_and_counts,
);

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const BASE32: &str = "xj4bnp4pahh6uqkbidpf3lrceoyagyndsylxvhfucd7wd4qacwwq";

/// The id that a URL ends in.
fn id_of(url: &str) -> Option<PeerId> {
    PeerUrl::parse(url, &UrlRules::default()).unwrap().peer_id().and_then(PeerId::new)
}

fn is_blocked<S: Storage>(blocks: &BlockList<S>, url: &str, space: &[u8]) -> bool {
    blocks.is_blocked(&Peer::new(url, id_of(url).as_ref()), space).unwrap()
}

fn a_block_holds_for_every_spelling_and_address<S: Tier>() {
    let spellings = [HEX.into(), HEX.to_uppercase(), BASE32.into(), BASE32.to_uppercase(), {
        let (front, back) = HEX.split_at(32);
        front.to_uppercase() + back
    }];
    for blocked in &spellings {
        let mut blocks = BlockList::<S>::new(&S::LIMITS);
        blocks.block(PeerId::new(blocked).unwrap(), None).unwrap();
        for spelling in &spellings {
            for address in ["ws://a.b:80", "wss://1.2.3.4:443", "https://[::1]:1/relay", "ws://a.b:0"] {
                assert!(
                    is_blocked(&blocks, &format!("{address}/{spelling}"), b"any"),
                    "{blocked} {spelling}"
                );
            }
            assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{spelling}0"), b"any"));
        }
        assert!(blocks.unblock(PeerId::new(&spellings[2]).unwrap(), None), "unblocked in another spelling");
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{HEX}"), b"any"));
    }
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    blocks.block(PeerId::new("alice").unwrap(), None).unwrap();
    assert!(is_blocked(&blocks, "wss://other.address:9/alice", b""));
    assert!(!is_blocked(&blocks, "ws://a.b:80/Alice", b""), "an id that is no key has one spelling");
    assert!(!is_blocked(&blocks, "ws://a.b:80/alice/bob", b""), "only the last segment is the id");
}

fn a_block_holds_for_a_key_with_the_other_sign<S: Tier>() {
    let key = *PeerId::new(HEX).unwrap().key().unwrap();
    let mut negative = key;
    negative[31] ^= 0x80;
    let mut other = key;
    other[31] ^= 0x40;
    let [key, negative, other] = [key, negative, other].map(PeerId::from_key);
    assert!(key != negative && key.has_same_holder(&negative) && !key.has_same_holder(&other));
    for (blocked, same) in [(key, negative), (negative, key)] {
        let mut blocks = BlockList::<S>::new(&S::LIMITS);
        blocks.block(blocked, None).unwrap();
        assert!(is_blocked(&blocks, &format!("ws://a.b:80/{same}"), b"any"));
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{other}"), b"any"));
        assert!(blocks.unblock(same, None));
        assert!(!is_blocked(&blocks, &format!("ws://a.b:80/{blocked}"), b"any"));
    }
}

fn a_seeded_list_blocks_the_same<S: Tier>() {
    for seed in [0, 1, u64::MAX] {
        let mut blocks = BlockList::<S>::new(&S::LIMITS).seeded(seed);
        blocks.block(PeerId::new(HEX).unwrap(), None).unwrap();
        blocks.block(PeerId::new("alice").unwrap(), Some(b"a")).unwrap();
        assert!(is_blocked(&blocks, &format!("ws://a.b:80/{HEX}"), b"any"));
        assert!(is_blocked(&blocks, ALICE, b"a") && !is_blocked(&blocks, ALICE, b"b"));
        assert!(!is_blocked(&blocks, BOB, b"a"));
    }
}

fn a_block_holds_in_one_space_or_in_all<S: Tier>() {
    let (alice, bob) = (PeerId::new("alice").unwrap(), PeerId::new("bob").unwrap());
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    assert!(!is_blocked(&blocks, ALICE, b"a"));
    blocks.block(alice, Some(b"a")).unwrap();
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [true, false]);
    assert!(!is_blocked(&blocks, ALICE, b""), "the empty id is a space, not all of them");
    assert!(!is_blocked(&blocks, BOB, b"a"));
    blocks.block(alice, None).unwrap();
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [true, true]);
    assert!(blocks.unblock(alice, None));
    assert_eq!(
        [b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)),
        [true, false],
        "rules are separate"
    );
    assert!(
        !blocks.unblock(alice, None)
            && !blocks.unblock(bob, Some(b"a"))
            && !blocks.unblock(alice, Some(b"b"))
    );
    assert!(blocks.unblock(alice, Some(b"a")));
    assert_eq!([b"a", b"b"].map(|space| is_blocked(&blocks, ALICE, space)), [false, false]);
}

fn a_full_block_list_refuses_and_recovers<S: Tier>() {
    let id = |number: usize| PeerId::new(&format!("peer{number}")).unwrap();
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    for number in 0..RULES {
        blocks.block(id(number), None).unwrap();
        blocks.block(id(number), None).expect("twice is the same as once");
    }
    assert_eq!(blocks.block(id(RULES), None), Err(CapacityError::BlockRules));
    assert_eq!(blocks.block(id(0), Some(b"a")), Err(CapacityError::BlockRules));
    assert_eq!(blocks.block(id(0), None), Ok(()), "it is there already");
    assert!(!is_blocked(&blocks, &format!("ws://a.b:80/peer{RULES}"), b"a"));
    assert!(blocks.unblock(id(1), None));
    blocks.block(id(RULES), None).unwrap();
    let blocked = |number| is_blocked(&blocks, &format!("ws://a.b:80/peer{number}"), b"a");
    assert_eq!((0..=RULES).map(blocked).collect::<Vec<_>>(), [true, false, true, true]);
}

fn a_peer_without_id_matches_no_block<S: Tier>() {
    let mut blocks = BlockList::<S>::new(&S::LIMITS);
    blocks.block(PeerId::new("alice").unwrap(), None).unwrap();
    let too_long = format!("ws://a.b:80/{}", "x".repeat(65));
    for url in ["ws://alice:80", &too_long] {
        assert_eq!(id_of(url), None);
        assert!(!is_blocked(&blocks, url, b"a"));
    }
    assert!(
        !blocks.is_blocked(&Peer::new(ALICE, None), b"a").unwrap(),
        "the id counts, not the text of the URL"
    );
    assert_eq!(blocks.has_local_agents(b"a"), Ok(true));
}

fn a_block_list_in_a_router_drops_and_counts<S: Tier>() {
    let blocks = BlockList::<S>::new(&S::LIMITS);
    let mut router = Router::<S, _>::new(&S::LIMITS, 7, blocks);
    let space = router.directory_mut().register_space(b"a").unwrap();
    let message = wire(Message::notify(b"a", b"x"));
    let id = id_of(ALICE).unwrap();
    let alice = Peer::new(ALICE, Some(&id));
    let delivered = Ok(Received::Notify { to: space, space: b"a", data: b"x" });
    assert_eq!(router.receive(alice, &message), delivered);
    router.directory_mut().policy_mut().block(id, Some(b"a")).unwrap();
    assert_eq!(router.receive(alice, &message), Ok(Received::Dropped(DropReason::Blocked)));
    assert_eq!(router.notify(alice, b"a", b"x"), Err(SendRefused::Blocked));
    assert_eq!(counts(&router), [(ALICE.into(), b"a".to_vec(), 1, 1)]);
    router.directory_mut().policy_mut().unblock(id, Some(b"a"));
    assert_eq!(router.receive(alice, &message), delivered);
}
