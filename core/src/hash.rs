//! One hash function, seeded where strangers choose the keys.

use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

fn hasher(seed: u64) -> FoldHasher<'static> {
    FoldHasher::with_seed(seed, SharedSeed::global_fixed())
}

/// The hash of `bytes`.
#[inline]
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = hasher(seed);
    hasher.write(bytes);
    hasher.finish()
}

/// The hash of two byte strings. The border between them counts.
#[inline]
pub(crate) fn hash_pair(seed: u64, a: &[u8], b: &[u8]) -> u64 {
    let mut hasher = hasher(seed);
    hasher.write(a);
    hasher.write_usize(a.len());
    hasher.write(b);
    hasher.finish()
}
