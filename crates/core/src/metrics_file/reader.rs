//! Reads what is new in the exchange file.
//!
//! Neither inode nor offset mean anything in a file whose two copies change places, so the reader remembers
//! the last record it returned, reads from the end, and stops where it meets it again. The cost of a read is
//! that of the new records, whatever the file holds.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;

use super::format::{self, ElementError};
use crate::snapshot::Snapshot;

/// How much of the end is read at first; doubled until the last known record is in it.
const FIRST_TAIL_BYTES: u64 = 64 << 10;

/// Reads only what was appended since the last call, whatever happened to the file in between.
#[derive(Debug)]
pub struct MetricsReader {
    path: PathBuf,
    last: Option<LastRecord>,
}

/// Recognises the newest record that was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastRecord {
    length: usize,
    hash: u64,
    instant: Timestamp,
}

/// What a read found.
#[derive(Debug, Default)]
pub struct NewSnapshots {
    /// Snapshots not returned before, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Records that could not be read; each costs only itself.
    pub unreadable: Vec<UnreadableRecord>,
}

/// A record that is not a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("record {position} of what was new in the metrics file is not a snapshot")]
pub struct UnreadableRecord {
    /// Its place among the new records, from 1.
    pub position: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// Why the file could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read; it may not exist yet.
    #[error("cannot read the metrics file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no JSON array.
    #[error("`{}` is not a metrics file", path.display())]
    NotAMetricsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl MetricsReader {
    /// Prepares to read `path` from its oldest record on; opens nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: None }
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the snapshots that are newer than the newest one returned before.
    ///
    /// When the record returned last is not in the file any more (it was trimmed away, or the file was
    /// replaced), all snapshots taken after it are new.
    ///
    /// # Errors
    /// [`ReadError`] when the file is missing, unreadable or no metrics file; the next call may succeed.
    pub fn read_new(&mut self) -> Result<NewSnapshots, ReadError> {
        let failed = |source| ReadError::Read { path: self.path.clone(), source };
        let mut file = open_regular(&self.path).map_err(failed)?;
        let mut beginning = [0; 4];
        let length = read_up_to(&mut file, &mut beginning).map_err(failed)?;
        if format::is_line_layout(&beginning[..length]) {
            let tail = self.read_tail(&mut file).map_err(failed)?;
            Ok(self.parse_tail(&tail))
        } else {
            self.read_foreign(file)
        }
    }

    /// Reads the newest record only; `None` while the file holds none.
    ///
    /// # Errors
    /// As [`MetricsReader::read_new`]; an unreadable newest record is [`ReadError::NotAMetricsFile`], and one that
    /// is longer than any record can be is not read at all, so that no file can take all memory.
    pub fn read_newest(path: &Path) -> Result<Option<Snapshot>, ReadError> {
        let failed = |source| ReadError::Read { path: path.to_owned(), source };
        let mut file = open_regular(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut tail_length = FIRST_TAIL_BYTES.min(size);
        loop {
            let tail = read_last_bytes(&mut file, size, tail_length).map_err(failed)?;
            let newest = format::records(&tail).last();
            // A record that begins at the first byte of the tail may have begun before it.
            let is_whole = newest.is_none_or(|(offset, _)| 0 < offset) || tail_length == size;
            if is_whole {
                return newest
                    .map(|(_, record)| serde_json::from_slice(record))
                    .transpose()
                    .map_err(|source| ReadError::NotAMetricsFile { path: path.to_owned(), source });
            }
            if format::MAX_RECORD_BYTES < tail_length {
                return Err(failed(io::Error::other(format!(
                    "its last line is longer than {} bytes, which no record is",
                    format::MAX_RECORD_BYTES
                ))));
            }
            tail_length = (tail_length * 2).min(size);
        }
    }

    /// The end of the file: from the last known record on, or all of it when that is not there.
    fn read_tail(&self, file: &mut File) -> io::Result<Vec<u8>> {
        let size = file.metadata()?.len();
        let mut length = if self.last.is_some() { FIRST_TAIL_BYTES.min(size) } else { size };
        loop {
            let tail = read_last_bytes(file, size, length)?;
            if length == size || self.position_after_last(&tail).is_some() {
                return Ok(tail);
            }
            length = (length * 2).min(size);
        }
    }

    /// Where in `tail` the first record after the last known one begins.
    fn position_after_last(&self, tail: &[u8]) -> Option<usize> {
        let last = self.last?;
        format::records(tail)
            .filter(|(_, record)| record.len() == last.length && hash_of(record) == last.hash)
            .last()
            .map(|(offset, record)| offset + record.len())
    }

    fn parse_tail(&mut self, tail: &[u8]) -> NewSnapshots {
        let known = self.position_after_last(tail);
        let only_after = if known.is_none() { self.last.map(|last| last.instant) } else { None };
        let mut found = NewSnapshots::default();
        let mut newest = None;
        for (index, (_, record)) in format::records(&tail[known.unwrap_or(0)..]).enumerate() {
            match serde_json::from_slice::<Snapshot>(record) {
                Ok(snapshot) => {
                    newest = Some(LastRecord::of(record, &snapshot));
                    found.push_if_after(only_after, snapshot);
                }
                Err(source) => found.unreadable.push(UnreadableRecord { position: index + 1, source }),
            }
        }
        self.last = newest.or(self.last);
        found
    }

    /// Reads a file in another layout, such as the indented one of the Python original.
    fn read_foreign(&mut self, mut file: File) -> Result<NewSnapshots, ReadError> {
        file.rewind().map_err(|source| ReadError::Read { path: self.path.clone(), source })?;
        let only_after = self.last.map(|last| last.instant);
        let mut found = NewSnapshots::default();
        let mut newest = None;
        let mut position = 0;
        format::for_each_element(BufReader::new(file), |element| {
            position += 1;
            match serde_json::from_str::<Snapshot>(element.get()) {
                Ok(snapshot) => {
                    newest = Some(LastRecord::of(element.get().as_bytes(), &snapshot));
                    found.push_if_after(only_after, snapshot);
                }
                Err(source) => found.unreadable.push(UnreadableRecord { position, source }),
            }
            Ok(())
        })
        .map_err(|error| match error {
            ElementError::Json(source) => ReadError::NotAMetricsFile { path: self.path.clone(), source },
            ElementError::Each(source) => ReadError::Read { path: self.path.clone(), source },
        })?;
        self.last = newest.or(self.last);
        Ok(found)
    }
}

impl LastRecord {
    fn of(record: &[u8], snapshot: &Snapshot) -> Self {
        let instant = snapshot.summary.collection_start_time.instant();
        Self { length: record.len(), hash: hash_of(record), instant }
    }
}

impl NewSnapshots {
    fn push_if_after(&mut self, only_after: Option<Timestamp>, snapshot: Snapshot) {
        let instant = snapshot.summary.collection_start_time.instant();
        if only_after.is_none_or(|after| after < instant) {
            self.snapshots.push(snapshot);
        }
    }
}

fn hash_of(record: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    record.hash(&mut hasher);
    hasher.finish()
}

/// Opens a regular file; a FIFO or device in its place is an error instead of a wait without end.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn read_last_bytes(file: &mut File, size: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(size - length))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}
