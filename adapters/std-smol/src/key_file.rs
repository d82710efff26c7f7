//! Where a host keeps its key: a file that only its owner can read, with the seed of the key as 64 hex digits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use kitfox_core::secure::SecretKey;
use zeroize::Zeroizing;

/// Longest key file, in bytes: 64 digits and some white space.
const MAX_FILE_BYTES: u64 = 256;

/// Why there is no key.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or written.
    Io(io::Error),
    /// There is a file of this name already. It is left as it is.
    Exists,
    /// Others than the owner may read or write the file; these are its permissions.
    Exposed(u32),
    /// The file does not hold 64 hex digits.
    Malformed,
    /// The system gave no random numbers.
    Random(getrandom::Error),
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Exists => f.write_str("the file exists already"),
            Self::Exposed(mode) => {
                write!(
                    f,
                    "others may read the key file (mode {mode:03o}): it must be its owner's alone (mode 600)"
                )
            }
            Self::Malformed => f.write_str("the file holds no key: it should be 64 hex digits"),
            Self::Random(error) => write!(f, "no random numbers: {error}"),
        }
    }
}

impl error::Error for KeyFileError {}

impl From<io::Error> for KeyFileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists,
            _ => Self::Io(error),
        }
    }
}

fn new_seed() -> Result<Zeroizing<[u8; 32]>, getrandom::Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    Ok(seed)
}

/// A new key, of random bytes from the system, that is kept nowhere.
///
/// # Errors
/// The system gave no random numbers.
pub fn new_key() -> Result<SecretKey, getrandom::Error> {
    Ok(SecretKey::from_seed(&*new_seed()?))
}

/// Makes a new key and stores it in a new file that only its owner can read. The file is there with all of the key, or
/// not at all.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("kitfox-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("node.key");
/// let key = kitfox_smol::create_key(&path)?;
/// assert_eq!(kitfox_smol::load_key(&path)?.peer_id(), key.peer_id());
/// assert!(kitfox_smol::create_key(&path).is_err(), "it is never overwritten");
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`KeyFileError`].
pub fn create_key(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    let path = path.as_ref();
    let seed = new_seed().map_err(KeyFileError::Random)?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed.iter() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    publish(path, text.as_bytes())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Writes what a microcontroller is provisioned with into a new file that only its owner can read: 32 bytes of secret
/// and 32 bytes of id, for [`SecretKey::provisioned`]. The file is there with all of it, or not at all.
///
/// # Errors
/// See [`KeyFileError`].
pub fn write_provisioned(key: &SecretKey, path: impl AsRef<Path>) -> Result<(), KeyFileError> {
    let (secret, id) = key.to_provisioned();
    let mut bytes = Zeroizing::new([0; 64]);
    bytes[..32].copy_from_slice(&*secret);
    bytes[32..].copy_from_slice(&id);
    publish(path.as_ref(), &*bytes)
}

/// Makes a new file that has all of the bytes from the moment when it is there.
fn publish(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    // Written under another name and linked: a link is made at once, and never over another file.
    let temporary = beside(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    Ok(())
}

/// A name in the same directory that nobody uses.
fn beside(path: &Path) -> Result<PathBuf, KeyFileError> {
    let number = getrandom::u64().map_err(KeyFileError::Random)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{number:016x}.new"));
    Ok(path.with_file_name(name))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads the key that [`create_key`] has stored.
///
/// # Errors
/// See [`KeyFileError`].
pub fn load_key(path: impl AsRef<Path>) -> Result<SecretKey, KeyFileError> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed(mode));
        }
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE_BYTES as usize));
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => KeyFileError::Malformed,
        _ => KeyFileError::Io(error),
    })?;
    let mut seed = Zeroizing::new([0; 32]);
    let digits = text.trim().as_bytes();
    if digits.len() != 2 * seed.len() {
        return Err(KeyFileError::Malformed);
    }
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            let value = char::from(digit).to_digit(16).ok_or(KeyFileError::Malformed)?;
            *byte = *byte << 4 | value as u8;
        }
    }
    Ok(SecretKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test alone.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("kitfox-key-{:016x}", getrandom::u64().unwrap()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn with_text(dir: &Scratch, text: &[u8]) -> Result<SecretKey, KeyFileError> {
        let path = dir.0.join("key");
        let _ = fs::remove_file(&path);
        write_new(&path, text).unwrap();
        load_key(path)
    }

    #[test]
    fn a_stored_key_is_the_one_that_is_loaded() {
        let dir = Scratch::new();
        let key = create_key(dir.0.join("key")).unwrap();
        assert_eq!(load_key(dir.0.join("key")).unwrap().peer_id(), key.peer_id());
        let names: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["key"], "nothing else is left");
    }

    #[test]
    fn a_key_file_is_never_overwritten() {
        let dir = Scratch::new();
        let key = create_key(dir.0.join("key")).unwrap();
        assert!(matches!(create_key(dir.0.join("key")), Err(KeyFileError::Exists)));
        assert_eq!(load_key(dir.0.join("key")).unwrap().peer_id(), key.peer_id());
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn what_a_device_is_provisioned_with_is_the_same_key() {
        let dir = Scratch::new();
        let (key, path) = (create_key(dir.0.join("key")).unwrap(), dir.0.join("device"));
        write_provisioned(&key, &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let (secret, id) = bytes.split_at(32);
        let device = SecretKey::provisioned(secret.try_into().unwrap(), id.try_into().unwrap()).unwrap();
        assert_eq!(device.peer_id(), key.peer_id());
        assert!(matches!(write_provisioned(&key, &path), Err(KeyFileError::Exists)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = Scratch::new();
        let digits = "0f".repeat(32);
        assert!(with_text(&dir, digits.as_bytes()).is_ok());
        assert!(with_text(&dir, format!(" {digits}\r\n").as_bytes()).is_ok());
        for text in
            [&b""[..], &digits.as_bytes()[1..], b"\xff\xfe", "0g".repeat(32).as_bytes(), &[b'0'; 1000]]
        {
            assert!(matches!(with_text(&dir, text), Err(KeyFileError::Malformed)), "{}", text.escape_ascii());
        }
        assert!(matches!(load_key(dir.0.join("none")), Err(KeyFileError::Io(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = Scratch::new();
        let path = dir.0.join("key");
        create_key(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(load_key(&path), Err(KeyFileError::Exposed(exposed)) if exposed == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load_key(&path).is_ok());
    }
}
