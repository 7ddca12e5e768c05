//! API keys, each with a name, a role, a scope and an expiry; stored as hashes.
//!
//! A key is 256 random bits, which cannot be guessed, so one round of SHA-256 hides it as well as a slow hash would.
//! The file is checked whenever a key is presented, and read again if it has changed, so a revoked key stops working
//! at once.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use lxc_autoscale_core::{Vmid, durable};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Identity, Role};

/// Prefix of every key, so that a leaked one can be recognised.
const PREFIX: &str = "lxak_";
/// The most keys that a file may hold.
const MOST_KEYS: usize = 1000;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Why the keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the keys in `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner can read or write the file, or another user owns it.
    #[error("`{}` holds keys and must belong to the user of this server, with mode 0600: `chmod 600` and `chown` it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("`{}` is not a file of keys", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the keys to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A defect in this program.
    #[error("reading the keys in `{}` ended unexpectedly", path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
    },
    /// A key with that name exists.
    #[error("there already is a key `{name}`")]
    Exists {
        /// The name.
        name: String,
    },
    /// There is no key with that name.
    #[error("there is no key `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// There are too many.
    #[error("there are {MOST_KEYS} keys already; revoke some")]
    TooMany,
}

impl KeysError {
    /// The stable error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "key_exists",
            Self::Unknown { .. } => "no_such_api_key",
            Self::TooMany => "too_many_keys",
            Self::Read { .. }
            | Self::Open { .. }
            | Self::Form { .. }
            | Self::Write { .. }
            | Self::Crashed { .. } => "keys_file",
        }
    }
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// The role of its holder.
    pub role: Role,
    /// The containers in its scope; absent means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<BTreeSet<Vmid>>,
    /// When it was created.
    pub created: Timestamp,
    /// When it expires; absent means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// SHA-256 of the secret, in hexadecimal digits.
    sha256: String,
}

impl Key {
    /// Whether it has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// The parameters of a new key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub name: String,
    /// The role of its holder.
    pub role: Role,
    /// The containers in its scope; `None` means all.
    pub containers: Option<BTreeSet<Vmid>>,
    /// When it expires.
    pub expires: Option<Timestamp>,
}

impl fmt::Display for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, containers, expires } = self;
        write!(f, "make the key `{name}`: role {role}, {}", scope(containers.as_ref()))?;
        expires.map_or(Ok(()), |expires| write!(f, ", until {expires:.0}"))
    }
}

/// The scope of a key, in words.
pub fn scope(containers: Option<&BTreeSet<Vmid>>) -> String {
    let Some(ids) = containers else { return "all containers".to_owned() };
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The keys in a file, which need not exist.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    read: Mutex<Option<(Version, Arc<Vec<Key>>)>>,
}

/// Tells two states of a file apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    changed: (i64, i64),
    size: u64,
}

impl Version {
    fn of(found: &Metadata) -> Self {
        Self { inode: found.ino(), changed: (found.ctime(), found.ctime_nsec()), size: found.size() }
    }
}

impl KeyFile {
    /// The keys in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::new(None) }
    }

    /// The current keys.
    ///
    /// # Errors
    /// [`KeysError`] if the file exists but cannot be trusted or read.
    pub fn keys(&self) -> Result<Arc<Vec<Key>>, KeysError> {
        self.keys_of(rustix::process::geteuid().as_raw())
    }

    /// As [`KeyFile::keys`], for a server that runs as user `own`.
    ///
    /// # Errors
    /// [`KeysError`] if the file cannot be read, or is not that user's alone.
    pub fn keys_of(&self, own: u32) -> Result<Arc<Vec<Key>>, KeysError> {
        let mut file = match File::options().read(true).custom_flags(NO_FOLLOW).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            Err(source) => return Err(self.unread(source)),
        };
        let found = file.metadata().map_err(|source| self.unread(source))?;
        if !found.is_file() || found.mode() & 0o077 != 0 || found.uid() != own {
            return Err(KeysError::Open { path: self.path.clone() });
        }
        let version = Version::of(&found);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, keys)) = &*read
            && *known == version
        {
            return Ok(Arc::clone(keys));
        }
        let mut text = String::new();
        Read::by_ref(&mut file)
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(|source| self.unread(source))?;
        let keys = serde_json::from_str(&text);
        let keys: Arc<Vec<Key>> =
            Arc::new(keys.map_err(|source| KeysError::Form { path: self.path.clone(), source })?);
        *read = Some((version, Arc::clone(&keys)));
        Ok(keys)
    }

    /// Works with the keys in a thread of its own: nothing else is held up if the file is large, or where a read may hang,
    /// such as below `/etc/pve`.
    ///
    /// # Errors
    /// As [`KeyFile::keys`].
    pub async fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, KeysError> + Send + 'static,
    ) -> Result<T, KeysError> {
        let own = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.unwrap_or_else(|_| Err(KeysError::Crashed { path: self.path.clone() }))
    }

    /// The caller who presents `secret`; `None` if the key is unknown, revoked or expired.
    ///
    /// # Errors
    /// As [`KeyFile::keys`].
    pub fn holder(&self, secret: &str, now: Timestamp) -> Result<Option<Caller>, KeysError> {
        let keys = self.keys()?;
        let presented = hash(secret);
        // Every key is compared, in a time that does not depend on where they differ.
        let mut found = None;
        for key in keys.iter() {
            if bool::from(key.sha256.as_bytes().ct_eq(presented.as_bytes())) {
                found = Some(key);
            }
        }
        Ok(found.filter(|key| !key.is_expired(now)).map(|key| Caller {
            identity: Identity::Key { name: key.name.clone(), made: key.created },
            role: key.role,
            containers: key.containers.clone(),
            purpose: None,
            origin: None,
            queue_timeout: None,
        }))
    }

    /// Creates a key and returns its secret, which is not shown again.
    ///
    /// # Errors
    /// [`KeysError`] if the name is taken or the file cannot be written.
    pub fn create(&self, new: NewKey, now: Timestamp) -> Result<String, KeysError> {
        let _lock = self.lock()?;
        let mut keys = self.keys()?.as_ref().clone();
        if keys.iter().any(|key| key.name == new.name) {
            return Err(KeysError::Exists { name: new.name });
        }
        if MOST_KEYS <= keys.len() {
            return Err(KeysError::TooMany);
        }
        let random = random().map_err(|source| KeysError::Read { path: PathBuf::from(RANDOM), source })?;
        let secret = format!("{PREFIX}{}", hex(&random));
        let NewKey { name, role, containers, expires } = new;
        keys.push(Key { name, role, containers, created: now, expires, sha256: hash(&secret) });
        self.write(&keys)?;
        Ok(secret)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`KeysError`] if there is no such key or the file cannot be written.
    pub fn revoke(&self, name: &str) -> Result<(), KeysError> {
        let _lock = self.lock()?;
        let mut keys = self.keys()?.as_ref().clone();
        let before = keys.len();
        keys.retain(|key| key.name != name);
        if keys.len() == before {
            return Err(KeysError::Unknown { name: name.to_owned() });
        }
        self.write(&keys)
    }

    /// Locks the file for one change at a time.
    fn lock(&self) -> Result<File, KeysError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let lock = self.path.with_extension("lock");
        let opened = fs::create_dir_all(directory)
            .and_then(|()| File::options().create(true).append(true).mode(0o600).open(&lock));
        let locked = opened.and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| KeysError::Write { path: lock, source })
    }

    /// Replaces the file in one step, durably: a reader sees either the old keys or the new ones, and a revoked key
    /// stays revoked after a power cut.
    fn write(&self, keys: &[Key]) -> Result<(), KeysError> {
        let write = |file: &mut File| {
            serde_json::to_writer_pretty(&mut *file, keys)?;
            file.write_all(b"\n")
        };
        durable::replace(&self.path, 0o600, write, || Ok(()))
            .map(|_| ())
            .map_err(|source| KeysError::Write { path: self.path.clone(), source })
    }

    fn unread(&self, source: io::Error) -> KeysError {
        KeysError::Read { path: self.path.clone(), source }
    }
}

/// A symbolic link in place of the file is not followed (`O_NOFOLLOW`), and a FIFO does not block us (`O_NONBLOCK`).
const NO_FOLLOW: i32 =
    (rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits()).cast_signed();

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// The kernel's source of random bytes.
const RANDOM: &str = "/dev/urandom";

/// 256 random bits.
pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut random = [0; 32];
    File::open(RANDOM)?.read_exact(&mut random)?;
    Ok(random)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file() -> (tempfile::TempDir, KeyFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = KeyFile::new(directory.path().join("keys.json"));
        (directory, file)
    }

    fn new(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), role: Role::Operator, containers: None, expires: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_key_is_good_until_it_is_revoked() {
        let (_directory, file) = file();
        assert_eq!(file.holder("anything", at(1)).unwrap(), None);
        let secret = file.create(new("ci"), at(1)).unwrap();
        let holder = file.holder(&secret, at(2)).unwrap().unwrap();
        let identity = Identity::Key { name: "ci".to_owned(), made: at(1) };
        assert_eq!((holder.identity.clone(), holder.role), (identity, Role::Operator));
        assert_eq!(file.holder(&secret[..secret.len() - 1], at(2)).unwrap(), None);
        assert!(!fs::read_to_string(&file.path).unwrap().contains(&secret), "the secret is not stored");
        assert!(matches!(file.create(new("ci"), at(2)), Err(KeysError::Exists { .. })));
        // Another process revokes it.
        KeyFile::new(file.path.clone()).revoke("ci").unwrap();
        assert_eq!(file.holder(&secret, at(3)).unwrap(), None);
        assert!(matches!(file.revoke("ci"), Err(KeysError::Unknown { .. })));
        // Under its old name it is another key, with another secret.
        let again = file.create(new("ci"), at(4)).unwrap();
        assert_eq!(file.holder(&secret, at(5)).unwrap(), None);
        assert_ne!(file.holder(&again, at(5)).unwrap().unwrap().identity, holder.identity);
    }

    #[test]
    fn a_key_ends_when_it_was_said_to() {
        let (_directory, file) = file();
        let secret = file.create(NewKey { expires: Some(at(100)), ..new("guest") }, at(1)).unwrap();
        assert!(file.holder(&secret, at(99)).unwrap().is_some());
        assert_eq!(file.holder(&secret, at(100)).unwrap(), None);
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_a_link_is_refused() {
        let (directory, file) = file();
        let secret = file.create(new("ci"), at(1)).unwrap();
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.holder(&secret, at(2)), Err(KeysError::Open { .. })));
        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&file.path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file.path).unwrap();
        assert!(matches!(file.holder(&secret, at(2)), Err(KeysError::Read { .. })));
    }

    #[test]
    fn what_is_no_key_file_is_an_error_and_lets_nobody_in() {
        let (_directory, file) = file();
        let secret = file.create(new("ci"), at(1)).unwrap();
        for broken in ["", "{}", "[{\"name\": \"x\"}]", "[1]"] {
            fs::write(&file.path, broken).unwrap();
            assert!(matches!(file.holder(&secret, at(2)), Err(KeysError::Form { .. })), "{broken}");
        }
    }
}
