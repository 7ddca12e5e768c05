//! Reads the new records of the exchange file.
//!
//! In a file whose copies change places, neither inode nor offset means anything. So the reader remembers the last
//! record it has delivered, searches for it from the end, and delivers the records after it, one at a time. The cost
//! of a read is that of the new records, whatever the size of the file; the memory is that of the largest record.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::disk::open_no_link;
use super::format::{self, ElementError};
use super::original;
use super::tail::{self, Mark};
use super::trust::{self, Believed, Distrust};
use crate::progress::{Progress, Unwatched};
use crate::snapshot::Snapshot;

/// How much of the end is read first to find the newest record; doubled until it is found.
const FIRST_TAIL_BYTES: u64 = 64 << 10;

/// Reads only what was appended since the last call, whatever happened to the file in between.
#[derive(Debug)]
pub struct MetricsReader {
    path: PathBuf,
    believed: Believed,
    /// The last record that was delivered, parsable or not.
    last: Option<Mark>,
    /// When the last delivered snapshot was taken.
    last_taken: Option<Timestamp>,
}

/// How far a reader has come, to be stored across restarts.
///
/// It is meant for the program that created it. Another program may not find the record by it, and then falls back to
/// the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    last: Option<Mark>,
    last_taken: Option<Timestamp>,
}

/// The result of a read.
#[derive(Debug, Default)]
pub struct NewSnapshots {
    /// Snapshots that were not returned before, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Records that could not be parsed; each affects only itself.
    pub unreadable: Vec<UnreadableRecord>,
}

/// A record that is not a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("record {position} of what was new in the metrics file is not a snapshot")]
pub struct UnreadableRecord {
    /// Its position among the new records, from 1.
    pub position: usize,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be opened or read; it may not exist yet.
    #[error("cannot read the metrics file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody who is not authorised on this node could have written it.
    #[error("the metrics file `{}` is not trusted and steers nothing", path.display())]
    Distrusted {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Distrust,
    },
    /// It is not a JSON array.
    #[error("`{}` is not a metrics file", path.display())]
    NotAMetricsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

impl MetricsReader {
    /// Prepares to read `path` from its oldest record; opens nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), believed: Believed::default(), last: None, last_taken: None }
    }

    /// Trusts files of these users, and of nobody else.
    #[must_use]
    pub fn believing(self, believed: Believed) -> Self {
        Self { believed, ..self }
    }

    /// Continues from the position of another reader of the same file.
    #[must_use]
    pub fn from_position(self, position: Position) -> Self {
        Self { last: position.last, last_taken: position.last_taken, ..self }
    }

    /// How far it has come.
    pub fn position(&self) -> Position {
        Position { last: self.last, last_taken: self.last_taken }
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns all snapshots that are newer than the newest one returned before.
    ///
    /// The first call returns the whole file; [`MetricsReader::each_new`] needs less memory.
    ///
    /// # Errors
    /// As [`MetricsReader::each_new`].
    pub fn read_new(&mut self) -> Result<NewSnapshots, ReadError> {
        let mut found = NewSnapshots::default();
        self.each_new(|record| match record {
            Ok(snapshot) => found.snapshots.push(snapshot),
            Err(unreadable) => found.unreadable.push(unreadable),
        })?;
        Ok(found)
    }

    /// Delivers the snapshots that are newer than the newest one delivered before, oldest first, and the records
    /// among them that could not be parsed.
    ///
    /// If the record delivered last is no longer in the file (it was trimmed, or the file was replaced), all
    /// snapshots taken after it are new. What was delivered before an error is not delivered again.
    ///
    /// # Errors
    /// [`ReadError`] if the file is missing, unreadable, not trusted or not a metrics file; the next call may
    /// succeed.
    pub fn each_new(
        &mut self,
        each: impl FnMut(Result<Snapshot, UnreadableRecord>),
    ) -> Result<(), ReadError> {
        self.each_new_watched(&Unwatched, each)
    }

    /// As [`MetricsReader::each_new`], but after every record tells `progress` how many of the new bytes are read. If
    /// `progress` stops the read, the next call continues with the record after that.
    ///
    /// # Errors
    /// The same.
    pub fn each_new_watched(
        &mut self,
        progress: &dyn Progress,
        each: impl FnMut(Result<Snapshot, UnreadableRecord>),
    ) -> Result<(), ReadError> {
        let mut file = open_trusted(&self.path, &self.believed)?;
        let path = self.path.clone();
        let failed = |source| ReadError::Read { path: path.clone(), source };
        let mut beginning = [0; 4];
        let length = read_up_to(&mut file, &mut beginning).map_err(failed)?;
        if format::is_line_layout(&beginning[..length]) {
            self.each_line(file, progress, each).map_err(failed)
        } else {
            self.each_element(file, progress, each)
        }
    }

    /// Reads only the newest record; `None` if the file has none. Trusts the user of the shipped unit.
    ///
    /// # Errors
    /// As [`MetricsReader::each_new`]. An unparsable newest record is [`ReadError::NotAMetricsFile`]; one longer than
    /// any record can be is not read at all, so that no file can use up all memory.
    pub fn read_newest(path: &Path) -> Result<Option<Snapshot>, ReadError> {
        Self::read_newest_by(path, &Believed::default())
    }

    /// As [`MetricsReader::read_newest`], but trusts these users and nobody else.
    ///
    /// # Errors
    /// The same.
    pub fn read_newest_by(path: &Path, believed: &Believed) -> Result<Option<Snapshot>, ReadError> {
        let failed = |source| ReadError::Read { path: path.to_owned(), source };
        let file = open_trusted(path, believed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut tail_length = FIRST_TAIL_BYTES.min(size);
        loop {
            let tail = tail::last_bytes(&file, size, tail_length).map_err(failed)?;
            let newest = format::records(&tail).last();
            // A record that begins at the first byte of the tail may have begun before it.
            let is_whole = newest.is_none_or(|(offset, _)| 0 < offset) || tail_length == size;
            if is_whole {
                return newest
                    .map(|(_, record)| parse_record(record))
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

    fn each_line(
        &mut self,
        mut file: File,
        progress: &dyn Progress,
        mut each: impl FnMut(Result<Snapshot, UnreadableRecord>),
    ) -> io::Result<()> {
        let size = file.metadata()?.len();
        let known = match self.last {
            Some(last) => tail::end_of_last(&file, size, last)?,
            None => None,
        };
        let only_after = if known.is_none() { self.last_taken } else { None };
        file.seek(SeekFrom::Start(known.unwrap_or(0)))?;
        let new = size - known.unwrap_or(0);
        let (mut position, mut stopped) = (0, false);
        // A reader that is delayed for longer than a copy rests may read what is being written in place of the
        // footer.
        let read = format::for_each_whole_record(BufReader::new(file.take(new)), |offset, record| {
            position += 1;
            self.hand_out(record, position, only_after, &mut each);
            progress.at(offset + record.len() as u64, new);
            stopped = progress.is_stopped();
            if stopped { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        if stopped { Ok(()) } else { read }
    }

    /// Reads a file in another layout, such as the indented one of the Python original.
    fn each_element(
        &mut self,
        mut file: File,
        progress: &dyn Progress,
        mut each: impl FnMut(Result<Snapshot, UnreadableRecord>),
    ) -> Result<(), ReadError> {
        let path = self.path.clone();
        let failed = |source| ReadError::Read { path: path.clone(), source };
        file.rewind().map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        // Shares its offset with the handle that is read from.
        let mut place = file.try_clone().map_err(failed)?;
        let only_after = self.last_taken;
        let (mut position, mut stopped) = (0, false);
        let read = format::for_each_element(BufReader::new(file), |element| {
            position += 1;
            self.hand_out(element.get().as_bytes(), position, only_after, &mut each);
            progress.at(place.stream_position()?, size);
            stopped = progress.is_stopped();
            if stopped { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        match read {
            Ok(()) => Ok(()),
            Err(ElementError::Each(_)) if stopped => Ok(()),
            Err(ElementError::Each(source)) => Err(failed(source)),
            Err(ElementError::Json(source)) => Err(ReadError::NotAMetricsFile { path, source }),
        }
    }

    fn hand_out(
        &mut self,
        record: &[u8],
        position: usize,
        only_after: Option<Timestamp>,
        each: &mut impl FnMut(Result<Snapshot, UnreadableRecord>),
    ) {
        self.last = Some(Mark::of(record));
        match parse_record(record) {
            Ok(snapshot) => {
                let taken = snapshot.summary.collection_start_time.instant();
                self.last_taken = Some(taken);
                if only_after.is_none_or(|after| after < taken) {
                    each(Ok(snapshot));
                }
            }
            Err(source) => each(Err(UnreadableRecord { position, source })),
        }
    }
}

/// Parses a record in a layout that this program knows. Of one of the Python original, only what means the same as in
/// ours is there.
///
/// # Errors
/// If it is not such a record.
pub fn parse_record(record: &[u8]) -> serde_json::Result<Snapshot> {
    // The whole text is checked: the parser does not check strings that it skips, but other readers do.
    let text = std::str::from_utf8(record).map_err(serde_json::Error::custom)?;
    let mut snapshot = text.parse()?;
    trust::check_schema(&snapshot).map_err(serde_json::Error::custom)?;
    original::keep_what_is_true(&mut snapshot);
    Ok(snapshot)
}

/// Opens a file that nobody else could have written; checks the opened file, not what has its name later.
pub(super) fn open_trusted(path: &Path, believed: &Believed) -> Result<File, ReadError> {
    let failed = |source| ReadError::Read { path: path.to_owned(), source };
    let distrusted = |source| ReadError::Distrusted { path: path.to_owned(), source };
    let place = trust::check_place(path, believed).map_err(distrusted)?;
    let file = open_no_link(&place).map_err(failed)?;
    trust::check_file(&file.metadata().map_err(failed)?, believed).map_err(distrusted)?;
    Ok(file)
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
