//! Recordings of anyone: a replay takes any file, and says the same of it each time.

use kitfox_core::secure::SecretKey;
use kitfox_smol::record;

/// The first byte says whether there is a key; the rest is a recording.
pub fn replay(input: &[u8]) {
    let Some((first, recording)) = input.split_first() else { return };
    let key = (first % 2 == 1).then(|| SecretKey::from_seed(&[1; 32]));
    let mut told = String::new();
    let first = record::replay_telling(recording, key.as_ref(), |number, entry| {
        told.push_str(&format!("{number} {entry}\n"));
    });
    let again = record::replay(recording, key.as_ref());
    assert_eq!(format!("{first:?}"), format!("{again:?}"), "what was replayed once is replayed again");
    if let Ok(replayed) = first {
        assert!(told.lines().count() as u64 >= replayed.entries, "each entry is told");
        assert!(replayed.read_bytes <= recording.len() as u64, "nothing was read that is not in the file");
    }
}
