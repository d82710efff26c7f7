//! The contracts of the storage traits, held against models, over both tiers.

extern crate alloc;

use alloc::collections::VecDeque;

use kitfox_core::storage::{
    Buffer, BufferLimits, FixedBuffer, FixedBytes, FixedQueue, FixedSeq, FixedTable, FixedText, HeapBuffer,
    HeapQueue, HeapTable, Owned, Seq, Table, TxQueue,
};
use kitfox_core::{CapacityError, fixed};
use proptest::prelude::*;

/// Slots of the Fixed tables, and limit of the others.
const SLOTS: usize = 6;
/// Bytes of the Fixed buffers, and limit of the others.
const BYTES: usize = 300;

fn limits(min_bytes: usize, max_bytes: usize) -> BufferLimits {
    BufferLimits { min_bytes, max_bytes }
}

/// A key whose hash takes few values, so that different keys collide.
fn hash(key: u8) -> u64 {
    (key % 4).into()
}

#[derive(Debug, Clone)]
enum TableOp {
    Insert(u8),
    Remove(u32),
    Replace(u32, u8),
    Find(u8),
}

fn table_ops() -> impl Strategy<Value = Vec<TableOp>> {
    let op = prop_oneof![
        4 => (0..12_u8).prop_map(TableOp::Insert),
        3 => (0..9_u32).prop_map(TableOp::Remove),
        1 => (0..9_u32, any::<u8>()).prop_map(|(slot, value)| TableOp::Replace(slot, value)),
        3 => (0..12_u8).prop_map(TableOp::Find),
    ];
    prop::collection::vec(op, 0..80)
}

/// The entries are a key and a value that may change in place.
fn table_is_its_model<T: Table<(u8, u8)>>(ops: &[TableOp], limit: usize) -> Result<Vec<u32>, TestCaseError> {
    let mut table = T::with_limit(limit);
    let mut model: Vec<Option<(u8, u8)>> = Vec::new();
    let mut slots = Vec::new();
    prop_assert_eq!(table.limit(), limit.min(SLOTS));
    for op in ops {
        let place = |slot: &u32| usize::try_from(*slot).unwrap();
        match op {
            TableOp::Insert(key) => match table.insert(|| hash(*key), (*key, 0)) {
                Ok(slot) => {
                    if model.len() <= place(&slot) {
                        prop_assert_eq!(model.len(), place(&slot), "a slot was left out");
                        model.push(None);
                    }
                    prop_assert_eq!(model[place(&slot)], None, "the slot was taken");
                    model[place(&slot)] = Some((*key, 0));
                    slots.push(slot);
                }
                Err(value) => {
                    prop_assert_eq!(value, (*key, 0));
                    prop_assert_eq!(model.iter().flatten().count(), table.limit(), "refused without need");
                }
            },
            TableOp::Remove(slot) => {
                let expected = model.get_mut(place(slot)).and_then(Option::take);
                prop_assert_eq!(table.remove(*slot), expected);
                prop_assert_eq!(table.remove(*slot), None);
            }
            TableOp::Replace(slot, value) => {
                let entry = model.get_mut(place(slot)).and_then(Option::as_mut);
                let held = table.get_mut(*slot);
                prop_assert_eq!(held.is_some(), entry.is_some());
                if let (Some(held), Some(entry)) = (held, entry) {
                    (held.1, entry.1) = (*value, *value);
                }
            }
            TableOp::Find(key) => {
                let found = table.find(|| hash(*key), |entry| entry.0 == *key);
                let expected = model.iter().flatten().any(|entry| entry.0 == *key);
                prop_assert_eq!(found.is_some(), expected);
                if let Some((slot, entry)) = found {
                    prop_assert_eq!(entry.0, *key);
                    prop_assert_eq!(model[place(&slot)], Some(*entry));
                }
            }
        }
        let count = model.iter().flatten().count();
        prop_assert_eq!((table.len(), table.is_empty()), (count, count == 0));
        prop_assert!(count <= table.limit());
        let listed: Vec<_> = table.iter().map(|(slot, entry)| (place(&slot), *entry)).collect();
        let expected: Vec<_> =
            model.iter().enumerate().filter_map(|(slot, entry)| Some((slot, (*entry)?))).collect();
        prop_assert_eq!(listed, expected, "not in the order of the slots");
        for (slot, entry) in model.iter().enumerate() {
            prop_assert_eq!(table.get(u32::try_from(slot).unwrap()), entry.as_ref());
        }
        prop_assert_eq!(table.get(u32::MAX), None);
    }
    Ok(slots)
}

#[derive(Debug, Clone)]
enum BufferOp {
    /// So many bytes, of so many more to come.
    Append(usize, usize),
    Clear,
    Relax,
}

fn buffer_ops() -> impl Strategy<Value = Vec<BufferOp>> {
    let op = prop_oneof![
        6 => (0..80_usize, 0..200_usize).prop_map(|(len, more)| BufferOp::Append(len, more)),
        1 => Just(BufferOp::Clear),
        2 => Just(BufferOp::Relax),
    ];
    prop::collection::vec(op, 0..60)
}

fn buffer_is_its_model<B: Buffer>(ops: &[BufferOp], min: usize, max: usize) -> Result<(), TestCaseError> {
    let mut buffer = B::with_limits(limits(min, max));
    let mut model = Vec::new();
    let limit = max.min(BYTES);
    prop_assert_eq!(buffer.limit(), limit);
    for (number, op) in (0_u8..).zip(ops) {
        let before = buffer.capacity();
        match *op {
            BufferOp::Append(len, more) => {
                let bytes = vec![number; len];
                let fits = model.len() + len + more <= limit;
                let appended = buffer.append(&bytes, model.len() + len + more);
                let expected = if fits { Ok(()) } else { Err(CapacityError::FrameBuffer) };
                prop_assert_eq!(appended, expected);
                if fits {
                    model.extend(bytes);
                }
                if B::GIVES_BACK && buffer.capacity() > before {
                    prop_assert!(buffer.capacity() <= 2 * model.len(), "more than twice of what arrived");
                    prop_assert!(buffer.capacity() <= limit);
                }
            }
            BufferOp::Clear => {
                buffer.clear();
                model.clear();
                prop_assert_eq!(buffer.capacity(), before, "memory is kept");
            }
            BufferOp::Relax => {
                let more = buffer.relax();
                prop_assert!(buffer.capacity() <= before && buffer.capacity() >= min.min(before));
                prop_assert_eq!(more, B::GIVES_BACK && buffer.capacity() > min);
            }
        }
        prop_assert_eq!(buffer.as_slice(), &model[..]);
        prop_assert_eq!(buffer.as_mut_slice(), &mut model[..]);
        prop_assert!(buffer.capacity() >= model.len());
    }
    // Left alone, a buffer gives back all but its minimum, in two looks.
    buffer.clear();
    buffer.relax();
    prop_assert!(!buffer.relax());
    if B::GIVES_BACK {
        prop_assert_eq!(buffer.capacity(), min);
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum QueueOp {
    Reserve(usize),
    Consume(usize),
    Peek(usize),
    Relax,
}

fn queue_ops() -> impl Strategy<Value = Vec<QueueOp>> {
    let op = prop_oneof![
        5 => (0..120_usize).prop_map(QueueOp::Reserve),
        5 => (0..150_usize).prop_map(QueueOp::Consume),
        1 => (0..4_usize).prop_map(QueueOp::Peek),
        1 => Just(QueueOp::Relax),
    ];
    prop::collection::vec(op, 0..120)
}

fn queue_is_its_model<Q: TxQueue>(ops: &[QueueOp], min: usize, max: usize) -> Result<(), TestCaseError> {
    let mut queue = Q::with_limits(limits(min, max));
    let mut model: VecDeque<u8> = VecDeque::new();
    let limit = max.min(BYTES);
    prop_assert_eq!(queue.limit(), limit);
    for (number, op) in (1_u8..).zip(ops) {
        match *op {
            QueueOp::Reserve(len) => {
                let fits = model.len() + len <= limit;
                let room = queue.reserve(len);
                prop_assert_eq!(room.as_ref().map(|room| room.len()), fits.then_some(len));
                if let Some(room) = room {
                    room.fill(number);
                    model.extend(room.iter());
                }
            }
            QueueOp::Consume(len) => {
                // More than there is takes all there is.
                queue.consume(len);
                model.drain(..len.min(model.len()));
            }
            QueueOp::Peek(count) => {
                let mut pieces = vec![&[][..]; count];
                let shown = queue.peek(&mut pieces);
                prop_assert!(shown <= count && pieces[..shown].iter().all(|piece| !piece.is_empty()));
                let pieces = pieces[..shown].concat();
                prop_assert!(model.iter().take(pieces.len()).eq(&pieces));
                prop_assert_eq!(pieces.is_empty(), model.is_empty() || count == 0);
            }
            QueueOp::Relax => {
                let before = queue.capacity();
                let more = queue.relax();
                prop_assert!(queue.capacity() <= before);
                prop_assert_eq!(more, Q::GIVES_BACK && queue.capacity() > min);
            }
        }
        prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
        prop_assert!(queue.capacity() >= queue.len());
        if Q::GIVES_BACK {
            // Twice the limit: what is queued moves to the front only when that frees as much as it moves.
            prop_assert!(queue.capacity() <= (2 * limit).max(256).max(min), "{} bytes", queue.capacity());
        }
        let mut pieces = [&[][..]; 16];
        let shown = queue.peek(&mut pieces);
        let pieces = pieces[..shown].concat();
        prop_assert!(model.iter().eq(&pieces), "other bytes than were put in");
    }
    queue.consume(usize::MAX);
    queue.relax();
    prop_assert!(!queue.relax());
    if Q::GIVES_BACK {
        prop_assert_eq!(queue.capacity(), min);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_a_list_of_slots(ops in table_ops(), limit in 0..8_usize) {
        // The slots depend on the order of insertions and removals only: the same ones every time.
        let heap = table_is_its_model::<HeapTable<_>>(&ops, limit.min(SLOTS))?;
        prop_assert_eq!(table_is_its_model::<HeapTable<_>>(&ops, limit.min(SLOTS))?, heap);
        let fixed = table_is_its_model::<FixedTable<_, SLOTS>>(&ops, limit)?;
        prop_assert_eq!(table_is_its_model::<FixedTable<_, SLOTS>>(&ops, limit)?, fixed);
    }

    #[test]
    fn a_buffer_is_a_list_of_bytes(ops in buffer_ops(), min in 0..50_usize, max in 0..400_usize) {
        let min = min.min(max);
        buffer_is_its_model::<HeapBuffer>(&ops, min, max.min(BYTES))?;
        buffer_is_its_model::<FixedBuffer<BYTES>>(&ops, min, max)?;
    }

    #[test]
    fn a_queue_is_a_queue_of_bytes(ops in queue_ops(), min in 0..50_usize, max in 0..400_usize) {
        let min = min.min(max);
        queue_is_its_model::<HeapQueue>(&ops, min, max.min(BYTES))?;
        queue_is_its_model::<FixedQueue<BYTES>>(&ops, min, max)?;
    }
}

#[test]
fn a_fixed_table_finds_entries_without_their_hash() {
    let mut table = FixedTable::<u8, 2>::with_limit(usize::MAX);
    assert_eq!(table.insert(|| unreachable!("searched in line"), 7), Ok(0));
    assert_eq!(table.find(|| unreachable!("searched in line"), |entry| *entry == 7), Some((0, &7)));
    assert_eq!(table.limit(), 2);
}

#[test]
fn an_empty_heap_table_hashes_nothing() {
    let table = HeapTable::<u8>::with_limit(usize::MAX);
    assert_eq!(table.find(|| unreachable!("nothing to find"), |_| true), None);
    assert_eq!(table.limit(), u32::MAX as usize);
}

fn sequence_is_a_list<Q: Seq<u8>>(places: usize) {
    let mut sequence = Q::default();
    assert!(sequence.as_slice().is_empty() && sequence.pop().is_none());
    for element in (1..).take(places) {
        assert!(sequence.push(element));
    }
    sequence.as_mut_slice()[1] = 9;
    assert_eq!(sequence.as_slice()[..3], [1, 9, 3]);
    assert_eq!(sequence.as_slice().len(), places);
    assert_eq!(sequence.pop(), u8::try_from(places).ok());
    assert_eq!(sequence.as_slice().len(), places - 1);
}

#[test]
fn a_sequence_is_a_list_of_elements() {
    sequence_is_a_list::<Vec<u8>>(40);
    sequence_is_a_list::<FixedSeq<u8, 4>>(4);
    let mut full = FixedSeq::<u8, 2>::default();
    assert_eq!([full.push(1), full.push(2), full.push(3)], [true, true, false]);
    assert_eq!(full.as_slice(), [1, 2], "nothing else is lost");
}

fn buffer_holds_its_limit_and_no_more<B: Buffer>() {
    let mut buffer = B::with_limits(limits(0, 8));
    assert_eq!(buffer.append(&[1; 8], 8), Ok(()));
    assert_eq!(buffer.append(&[2], 8), Err(CapacityError::FrameBuffer), "announced as less than it is");
    assert_eq!(buffer.append(&[], 9), Err(CapacityError::FrameBuffer), "announced as more than there may be");
    assert_eq!(buffer.append(&[], 8), Ok(()));
    assert_eq!(buffer.as_slice(), [1; 8]);
}

#[test]
fn a_buffer_holds_its_limit_and_no_more() {
    buffer_holds_its_limit_and_no_more::<HeapBuffer>();
    buffer_holds_its_limit_and_no_more::<FixedBuffer<BYTES>>();
    buffer_holds_its_limit_and_no_more::<FixedBuffer<8>>();
}

#[test]
fn memory_is_given_back_by_quarters_while_a_little_is_used_and_at_once_where_none_is() {
    let mut buffer = HeapBuffer::with_limits(limits(20, 1000));
    buffer.append(&[1; 100], 100).unwrap();
    buffer.clear();
    assert!(buffer.relax());
    assert_eq!(buffer.capacity(), 100, "all of it was needed since the last look");
    for left in [75, 56, 42] {
        buffer.append(&[1; 10], 10).unwrap();
        buffer.clear();
        assert!(buffer.relax());
        assert_eq!(buffer.capacity(), left);
    }
    buffer.append(&[1; 40], 40).unwrap();
    buffer.clear();
    assert!(buffer.relax());
    assert_eq!(buffer.capacity(), 40, "no less than was needed");
    assert!(!buffer.relax());
    assert_eq!(buffer.capacity(), 20);
}

#[test]
fn capacity_never_follows_what_is_announced() {
    let mut buffer = HeapBuffer::with_limits(limits(0, 1 << 30));
    buffer.append(&[1; 5], 1 << 30).unwrap();
    assert!(buffer.capacity() <= 10);
    // It grows only where what has arrived has no room.
    buffer.clear();
    let full = buffer.capacity();
    buffer.append(&vec![2; full], 1 << 30).unwrap();
    assert_eq!(buffer.capacity(), full);
    // But it does not grow beyond what is announced either.
    let mut buffer = HeapBuffer::with_limits(limits(0, 1 << 30));
    buffer.append(&[1; 60], 64).unwrap();
    assert_eq!(buffer.capacity(), 64);
}

#[test]
fn a_queue_grows_by_doubling_and_not_byte_by_byte() {
    let mut queue = HeapQueue::with_limits(limits(0, 1 << 20));
    let mut capacities = Vec::new();
    for _ in 0..10_000 {
        queue.reserve(1).unwrap()[0] = 1;
        capacities.push(queue.capacity());
    }
    capacities.dedup();
    assert_eq!(capacities, [256, 512, 1024, 2048, 4096, 8192, 16384]);
    // It is full before it grows.
    let mut queue = HeapQueue::with_limits(limits(0, 1 << 20));
    assert!(queue.reserve(200).is_some() && queue.reserve(56).is_some());
    assert_eq!(queue.capacity(), 256);
}

#[test]
fn values_that_are_too_long_are_refused() {
    assert_eq!(FixedBytes::<3>::copy_from(b"abc").unwrap().as_ref(), b"abc");
    assert_eq!(FixedBytes::<3>::copy_from(b"abcd"), None);
    assert_eq!(FixedBytes::<0>::copy_from(b"").unwrap().as_ref(), b"");
    assert_eq!(FixedText::<3>::copy_from("abc").unwrap().as_ref(), "abc");
    assert_eq!(FixedText::<3>::copy_from("ab\u{e9}"), None);
    assert_eq!(Box::<[u8]>::copy_from(&[7; 1000]).unwrap().as_ref(), [7; 1000]);
    assert_eq!(<Box<str> as Owned<str>>::copy_from("abc").unwrap().as_ref(), "abc");
}

#[test]
fn the_sizes_of_a_tier_are_those_that_were_named() {
    use kitfox_core::storage::Storage;

    fixed!(Named {
        spaces: 3,
        modules: 5,
        space_id: 7,
        module_name: 9,
        url: 11,
        blocked_counts: 2,
        block_rules: 4,
        frame: 64,
        tx: 128,
        outbox: 256,
        peers: 6,
        connections: 8
    });
    fixed!(Default {});
    assert_eq!(<Named as Storage>::Spaces::with_limit(usize::MAX).limit(), 3);
    assert_eq!(<Named as Storage>::Modules::with_limit(usize::MAX).limit(), 5);
    assert_eq!(<Named as Storage>::BlockedCounts::with_limit(usize::MAX).limit(), 2);
    assert_eq!(<Named as Storage>::BlockRules::with_limit(usize::MAX).limit(), 4);
    assert!(<Named as Storage>::SpaceId::copy_from(&[0; 7]).is_some());
    assert!(<Named as Storage>::SpaceId::copy_from(&[0; 8]).is_none());
    assert!(<Named as Storage>::ModuleName::copy_from("123456789").is_some());
    assert!(<Named as Storage>::ModuleName::copy_from("1234567890").is_none());
    assert!(<Named as Storage>::Url::copy_from("ws://a.b:80").is_some());
    assert!(<Named as Storage>::Url::copy_from("ws://a.b:800").is_none());
    let unlimited = limits(0, usize::MAX);
    assert_eq!(<Named as Storage>::RxBuffer::with_limits(unlimited).capacity(), 64);
    assert_eq!(<Named as Storage>::TxQueue::with_limits(unlimited).limit(), 128);
    assert_eq!(<Named as Storage>::Outbox::with_limits(unlimited).limit(), 256);
    assert_eq!(<Named as Storage>::Peers::with_limit(usize::MAX).limit(), 6);
    assert_eq!(<Named as Storage>::Connections::with_limit(usize::MAX).limit(), 8);
    assert_eq!(<Default as Storage>::RxBuffer::with_limits(unlimited).capacity(), 1024);
}
