//! The learnt state, saved across restarts: one file with a version and a checksum, replaced as a whole.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;

use super::codec::{self, Damaged, Form, Reader, Writer};
use super::container::ContainerState;
use crate::state_file::{self, ReadError};

/// The beginning of the file; the digits are the version of the format.
const MAGIC: &[u8; 12] = b"lxc-anomal04";
/// The beginning before it was included whether another container may have got the id.
const THIRD_MAGIC: &[u8; 12] = b"lxc-anomal03";
/// The beginning before the names of the containers were included.
const SECOND_MAGIC: &[u8; 12] = b"lxc-anomal02";
/// The beginning before the levels of the week were included.
const FIRST_MAGIC: &[u8; 12] = b"lxc-anomal01";

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error("`{}` is damaged or of another version", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Damaged,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the state; empty if there is no file.
///
/// # Errors
/// [`StoreError::Read`] and [`StoreError::Damaged`].
pub fn load(path: &Path) -> Result<BTreeMap<Vmid, Box<ContainerState>>, StoreError> {
    let damaged = |source| StoreError::Damaged { path: path.to_owned(), source };
    match state_file::read(path) {
        Ok(Some(bytes)) => decode(&bytes).map_err(damaged),
        Ok(None) => Ok(BTreeMap::new()),
        Err(ReadError::Io(source)) => Err(StoreError::Read { path: path.to_owned(), source }),
        Err(ReadError::Foreign) => Err(damaged(Damaged("it is not a regular file of the size ours has"))),
    }
}

/// Replaces the state atomically; creates the directory if it does not exist.
///
/// # Errors
/// [`StoreError::Write`]; the previous state then remains.
pub fn save(path: &Path, states: &BTreeMap<Vmid, Box<ContainerState>>) -> Result<(), StoreError> {
    state_file::replace(path, &encode(states))
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

/// The state as bytes.
pub fn encode(states: &BTreeMap<Vmid, Box<ContainerState>>) -> Vec<u8> {
    // An older program that an upgrade puts back reads the form before, and would learn anew from what it cannot read.
    let has_doubt = states.values().any(|state| state.is_in_doubt());
    let (magic, form) = if has_doubt { (MAGIC, Form::WithDoubt) } else { (THIRD_MAGIC, Form::WithName) };
    let mut writer = Writer::default();
    writer.bytes(magic);
    writer.u32(u32::try_from(states.len()).unwrap_or(u32::MAX));
    for (vmid, state) in states {
        writer.u32(vmid.get());
        state.encode(&mut writer, form);
    }
    let checksum = codec::checksum(&writer.0);
    writer.u64(checksum);
    writer.0
}

/// The state from its bytes.
///
/// # Errors
/// [`Damaged`] says what is wrong with them.
pub fn decode(bytes: &[u8]) -> Result<BTreeMap<Vmid, Box<ContainerState>>, Damaged> {
    let (content, checksum) = bytes.split_last_chunk::<8>().ok_or(Damaged("it ends too early"))?;
    if codec::checksum(content) != u64::from_le_bytes(*checksum) {
        return Err(Damaged("its checksum is wrong"));
    }
    let mut reader = Reader(content);
    let form = match reader.bytes(MAGIC.len())? {
        magic if magic == MAGIC => Form::WithDoubt,
        magic if magic == THIRD_MAGIC => Form::WithName,
        magic if magic == SECOND_MAGIC => Form::WithWeek,
        magic if magic == FIRST_MAGIC => Form::First,
        _ => return Err(Damaged("it begins with something else")),
    };
    let mut states = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let vmid = Vmid::try_from(reader.u32()?).map_err(|_| Damaged("a container's id is invalid"))?;
        states.insert(vmid, Box::new(ContainerState::decode(&mut reader, form)?));
    }
    if reader.0.is_empty() { Ok(states) } else { Err(Damaged("there is something after its end")) }
}
