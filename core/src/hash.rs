//! Two hash functions, one for the keys that strangers choose and a cheaper one for those that only we register; and
//! equality of such keys. Both do the usual lengths in registers, without a call.

use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

fn hasher(seed: u64) -> FoldHasher<'static> {
    FoldHasher::with_seed(seed, SharedSeed::global_fixed())
}

/// The hash of a key that only we register: anybody can compute it.
#[inline]
pub(crate) fn hash_own(bytes: &[u8]) -> u64 {
    hash_salted(0, bytes)
}

/// As [`hash_own`], of two byte strings. The border between them counts.
#[inline]
pub(crate) fn hash_own_pair(a: &[u8], b: &[u8]) -> u64 {
    hash_salted(hash_own(a), b)
}

#[inline]
fn hash_salted(salt: u64, bytes: &[u8]) -> u64 {
    // Digits of pi: numbers without a structure that ids could have.
    const PI: [u64; 4] =
        [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];
    match usual(bytes) {
        Usual::Id([a, b, c, d]) => fold(a ^ PI[0] ^ salt, b ^ PI[1]) ^ fold(c ^ PI[2], d ^ PI[3]),
        Usual::Name(first, last) => fold(first ^ PI[0] ^ salt, last ^ PI[1]) ^ bytes.len() as u64,
        // Foldhash turns its seed by the length, which is nothing for a seed of zero.
        Usual::No => hash_any(PI[0] ^ salt, bytes),
    }
}

#[cfg(feature = "alloc")]
#[inline(never)]
fn hash_any(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = hasher(seed);
    hasher.write(bytes);
    hasher.finish()
}

/// FNV-1a, which is small: without an allocator all tables are searched in line, and nobody gains by keys that hash alike.
#[cfg(not(feature = "alloc"))]
#[inline(never)]
fn hash_any(seed: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(seed ^ bytes.len() as u64, step)
}

/// The hash of a key that strangers choose: nobody can compute it without the seed.
#[inline]
pub(crate) fn hash_seeded(seed: u64, bytes: &[u8]) -> u64 {
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

/// Whether two keys are equal.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Ok(a), Ok(b)) = (<&[u8; 32]>::try_from(a), <&[u8; 32]>::try_from(b)) {
        return a == b;
    }
    match (usual(a), usual(b)) {
        (Usual::Name(first, last), Usual::Name(b_first, b_last)) => first == b_first && last == b_last,
        _ => a == b,
    }
}

/// The bytes of a key as numbers, if it has one of the usual lengths.
enum Usual {
    /// 32 bytes: the id of a space, the key of a peer.
    Id([u64; 4]),
    /// The first eight of 8 to 16 bytes and the last eight, which may overlap: the name of a module.
    Name(u64, u64),
    No,
}

#[inline(always)]
fn usual(bytes: &[u8]) -> Usual {
    if let Ok(id) = <&[u8; 32]>::try_from(bytes) {
        let (words, _) = id.as_chunks::<8>();
        if let &[a, b, c, d] = words {
            return Usual::Id([a, b, c, d].map(u64::from_le_bytes));
        }
    }
    match (bytes.first_chunk(), bytes.last_chunk(), bytes.len()) {
        (Some(first), Some(last), ..=16) => {
            Usual::Name(u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        }
        _ => Usual::No,
    }
}

/// Both halves of the product, mixed.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
#[allow(clippy::std_instead_of_alloc)] // tests run without the feature `alloc` too
mod tests {
    use super::*;

    /// Keys of every length from 0 to 40 that differ in one bit.
    fn keys() -> std::vec::Vec<std::vec::Vec<u8>> {
        let mut keys = std::vec::Vec::new();
        for len in 0..=40 {
            keys.push(std::vec![0x5a; len]);
            for bit in 0..8 * len {
                let mut key = std::vec![0x5a; len];
                key[bit / 8] ^= 1 << (bit % 8);
                keys.push(key);
            }
        }
        keys
    }

    #[test]
    fn keys_are_the_same_if_and_only_if_their_bytes_are() {
        for a in keys() {
            for b in keys() {
                assert_eq!(same(&a, &b), a == b);
            }
        }
    }

    #[test]
    fn every_bit_the_length_and_the_border_count() {
        let (mut hashes, mut count) = (std::collections::BTreeSet::new(), 0);
        for key in keys() {
            for hash in [hash_own(&key), hash_own_pair(b"space", &key), hash_own_pair(&key, b"module")] {
                count += 1;
                hashes.insert(hash);
                assert_eq!(hashes.len(), count, "{key:?}");
            }
        }
    }

    #[test]
    fn every_bit_the_length_the_border_and_the_seed_count_for_keys_of_strangers() {
        let (mut hashes, mut count) = (std::collections::BTreeSet::new(), 0);
        for key in keys() {
            for seed in [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03] {
                let pairs = [hash_pair(seed, b"peer", &key), hash_pair(seed, &key, b"space")];
                for hash in pairs.into_iter().chain([hash_seeded(seed, &key)]) {
                    count += 1;
                    hashes.insert(hash);
                    assert_eq!(hashes.len(), count, "{key:?}");
                }
            }
        }
    }

    #[test]
    fn similar_keys_spread_over_the_buckets_of_a_table() {
        for len in [8, 12, 32] {
            let mut buckets = [0u32; 256];
            for number in 0u32..4096 {
                let mut key = std::vec![0; len];
                key[4..8].copy_from_slice(&number.to_be_bytes());
                buckets[(hash_own(&key) & 0xff) as usize] += 1;
            }
            // 16 each on average; a random function has a bucket of more than 40 once in a million tables.
            assert!(buckets.iter().all(|&count| count < 40), "length {len}: {buckets:?}");
        }
    }
}
