//! The learnt state, saved across restarts: one file with a version and a checksum, replaced as a whole.
//!
//! The file starts with a line that identifies it, followed by CBOR: a [`Header`] and an item for each container, then
//! the CRC-32 of all of it. CBOR names its fields, so a file with another layout is detected instead of misread. It is
//! written and read one container at a time: two hundred of them take 13 MB on disk, and never that much memory.
//!
//! A file that is damaged, from another version of the program or learnt with another configuration cannot be used: the
//! daemon then learns anew from the metrics file and the monitor's history.

pub mod packed;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;
use lxc_autoscale_core::durable;
use lxc_autoscale_core::ownership::give_to_owner_of_directory;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The beginning of the file; the number is the version of the format.
const MAGIC: &[u8] = b"lxc-autoscale-ml checkpoint 1\n";
const CRC_BYTES: u64 = 4;
/// A larger file is not ours: a container takes 60 KB.
const MAX_BYTES: u64 = 1 << 30;

/// The part before the containers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header<T> {
    /// Version of the program that wrote it.
    pub program: String,
    /// The part of the configuration that affects learning.
    pub learnt_by: String,
    /// Number of items that follow.
    pub items: usize,
    /// State that is not per container.
    pub general: T,
}

impl<T> Header<T> {
    /// The header of this program.
    pub fn new(learnt_by: String, items: usize, general: T) -> Self {
        Self { program: env!("CARGO_PKG_VERSION").to_owned(), learnt_by, items, general }
    }
}

/// Why a checkpoint cannot be used or was not written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be read.
    #[error("cannot read the checkpoint `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error("the checkpoint `{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It was written by another version of the program.
    #[error("the checkpoint `{}` was written by version {found} of this program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// It was learnt with another configuration.
    #[error("the checkpoint `{}` was learnt with other values of `[model]`, `[recommend]` or `[policy]`", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the checkpoint `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Replaces the checkpoint atomically and durably.
///
/// # Errors
/// [`CheckpointError::Write`]; the previous one then remains.
pub fn write<T: Serialize, I: Serialize>(
    path: &Path,
    header: &Header<T>,
    items: impl Iterator<Item = I>,
) -> Result<(), CheckpointError> {
    let encode = |error: ciborium::ser::Error<io::Error>| match error {
        ciborium::ser::Error::Io(error) => error,
        ciborium::ser::Error::Value(what) => io::Error::other(what),
    };
    let into = |file: &mut File| {
        give_to_owner_of_directory(file, path)?;
        let mut out = Summed { inner: BufWriter::new(file), crc: Crc::new() };
        out.write_all(MAGIC)?;
        ciborium::into_writer(header, &mut out).map_err(encode)?;
        for item in items {
            ciborium::into_writer(&item, &mut out).map_err(encode)?;
        }
        let Summed { inner: mut out, crc } = out;
        out.write_all(&crc.sum().to_le_bytes())?;
        out.flush()
    };
    durable::replace(path, 0o600, into, || Ok(()))
        .map(drop)
        .map_err(|source| CheckpointError::Write { path: path.to_owned(), source })
}

/// Reads a checkpoint and hands out its items; `None` if there is none.
///
/// Nothing is handed out of a file with a wrong checksum, from another version or learnt with another configuration.
///
/// # Errors
/// [`CheckpointError`]; an error in a later item occurs after the ones before were handed out.
pub fn read<T: DeserializeOwned, I: DeserializeOwned>(
    path: &Path,
    learnt_by: &str,
    mut each: impl FnMut(I),
) -> Result<Option<T>, CheckpointError> {
    let failed = |source| CheckpointError::Read { path: path.to_owned(), source };
    let damaged = |what: &str| CheckpointError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let decode = |error: ciborium::de::Error<io::Error>| damaged(&error.to_string());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_file() => return Err(damaged("it is not a regular file")),
        Ok(metadata) if MAX_BYTES < metadata.len() => return Err(damaged("it is larger than any of ours")),
        Ok(_) => {}
    }
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let Some(body) = length.checked_sub(CRC_BYTES) else { return Err(damaged("it is cut off")) };
    if !is_whole(&mut file, body).map_err(failed)? {
        return Err(damaged("its checksum is wrong"));
    }
    file.rewind().map_err(failed)?;
    let mut input = BufReader::new(file.take(body));
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(|_| damaged("it is cut off"))?;
    if magic != *MAGIC {
        let found = String::from_utf8_lossy(&magic).trim().to_owned();
        return Err(CheckpointError::Version { path: path.to_owned(), found });
    }
    // Two passes: the second one reads fields that only this version knows, and must not fail for a file of another
    // version.
    let begins = input.stream_position().map_err(failed)?;
    let header: Header<ciborium::Value> = ciborium::from_reader(&mut input).map_err(decode)?;
    if header.program != env!("CARGO_PKG_VERSION") {
        return Err(CheckpointError::Version { path: path.to_owned(), found: header.program });
    }
    if header.learnt_by != learnt_by {
        return Err(CheckpointError::Configuration { path: path.to_owned() });
    }
    input.seek(SeekFrom::Start(begins)).map_err(failed)?;
    let header: Header<T> = ciborium::from_reader(&mut input).map_err(decode)?;
    for _ in 0..header.items {
        each(ciborium::from_reader(&mut input).map_err(decode)?);
    }
    Ok(Some(header.general))
}

/// Renames an unusable checkpoint to `….aside`, replacing an earlier one; returns that name.
///
/// # Errors
/// The system's error.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.aside"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

fn is_whole(file: &mut File, body: u64) -> io::Result<bool> {
    let mut crc = Crc::new();
    let mut buffer = vec![0; 64 << 10];
    let mut rest = Read::by_ref(file).take(body);
    loop {
        match rest.read(&mut buffer)? {
            0 => break,
            read => crc.update(&buffer[..read]),
        }
    }
    let mut sum = [0; 4];
    file.read_exact(&mut sum)?;
    Ok(u32::from_le_bytes(sum) == crc.sum())
}

/// A writer that also computes the checksum.
struct Summed<W> {
    inner: W,
    crc: Crc,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tests;
