//! What was learnt, kept over a restart: one file with a version and a checksum, replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;

use super::codec::{self, Damaged, Reader, Writer};
use super::container::ContainerState;

/// What the file begins with; the digits are the version of all that follows.
const MAGIC: &[u8; 12] = b"lxc-anomal01";
/// A file larger than this is none of ours: 2.2 KiB for each of 10,000 containers and room.
const MAX_BYTES: u64 = 64 << 20;

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
    /// It holds something else than was written.
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

/// Reads the state; there is none where there is no file.
///
/// # Errors
/// [`StoreError::Read`] and [`StoreError::Damaged`].
pub fn load(path: &Path) -> Result<BTreeMap<Vmid, ContainerState>, StoreError> {
    match read(path) {
        Ok(bytes) => decode(&bytes).map_err(|source| StoreError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(StoreError::Read { path: path.to_owned(), source }),
    }
}

/// Replaces the state by another in one step; the directory is made where it does not exist.
///
/// # Errors
/// [`StoreError::Write`]; what was there before then still is.
pub fn save(path: &Path, states: &BTreeMap<Vmid, ContainerState>) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let new = path.with_extension("new");
    let written = write(&new, &encode(states)).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        // The disk may be full; half a file only takes room.
        let _ = fs::remove_file(&new);
        failed(source)
    })
}

/// The state as bytes.
fn encode(states: &BTreeMap<Vmid, ContainerState>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(MAGIC);
    writer.u32(u32::try_from(states.len()).unwrap_or(u32::MAX));
    for (vmid, state) in states {
        writer.u32(vmid.get());
        state.encode(&mut writer);
    }
    let checksum = codec::checksum(&writer.0);
    writer.u64(checksum);
    writer.0
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<Vmid, ContainerState>, Damaged> {
    let (content, checksum) = bytes.split_last_chunk::<8>().ok_or(Damaged("it ends too early"))?;
    if codec::checksum(content) != u64::from_le_bytes(*checksum) {
        return Err(Damaged("its checksum is wrong"));
    }
    let mut reader = Reader(content);
    if reader.bytes(MAGIC.len())? != MAGIC {
        return Err(Damaged("it begins with something else"));
    }
    let mut states = BTreeMap::new();
    for _ in 0..reader.u32()? {
        let vmid = Vmid::try_from(reader.u32()?).map_err(|_| Damaged("a container's id is none"))?;
        states.insert(vmid, ContainerState::decode(&mut reader)?);
    }
    if reader.0.is_empty() { Ok(states) } else { Err(Damaged("there is something after its end")) }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO in its place must not keep the monitor waiting.
    let file = OpenOptions::new().read(true).custom_flags(nonblocking()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
