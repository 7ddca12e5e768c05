//! Appends snapshots to the exchange file.

use std::borrow::Cow;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::backlog::Backlog;
use super::disk::{self, Stamp, stamp_at};
use super::format::{self, ArrayWriter};
use super::kept_record::KeptRecord;
use super::lock::{Lock, LockError};
use super::recover::{Recovery, oldest_in, recover, time_of};
use super::spares::{Spare, Spares};
use super::text;
use super::trust::{self, Believed, Distrust};
use crate::durable::sync_directory;
use crate::snapshot::Snapshot;

/// Mode of the files unless another is set: the usage of containers concerns only root and a group.
pub const DEFAULT_MODE: u32 = 0o640;

/// Up to this size the newest record stays in memory; a larger one, of more than a hundred containers, is kept in a
/// file of its own.
const MAX_IN_MEMORY_BYTES: u64 = 256 << 10;

/// How long records must have come evenly before any is dropped because of its age.
const STEADY: Duration = Duration::from_hours(24);

/// Length of what follows the last record, in bytes.
const FOOTER_BYTES: u64 = format::FOOTER.len() as u64;

/// Longest time between two records of an even sequence.
const LONGEST_STEP: Duration = Duration::from_hours(2);

/// Limits for the size and age of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Size of one copy, in bytes; when it is reached, the newest half is kept.
    pub max_bytes: u64,
    /// Age of the oldest record.
    pub max_age: Duration,
}

/// The only writer of the exchange file.
#[derive(Debug)]
pub struct MetricsWriter {
    /// The published copy's name.
    path: PathBuf,
    bounds: Bounds,
    mode: u32,
    /// Held for as long as the writer lives, so that there is only one.
    lock: Lock,
    published: Published,
    spares: Spares,
    /// What the published copy contains beyond the one published before it.
    last_addition: Addition,
    /// The large record before, whose file the next one takes unless somebody still reads it.
    record_before: Option<Arc<KeptRecord>>,
    /// The snapshot that is being published and is in no copy yet; it comes after the backlog.
    newest: Option<Arc<Snapshot>>,
    /// Records that are in no copy yet because the last append failed.
    backlog: Backlog,
    /// Whether a change of the names is not durable yet.
    is_directory_dirty: bool,
    clock: Clock,
    /// See [`MetricsWriter::left_by_trim`].
    left_by_trim: Option<Duration>,
}

/// What was written after the existing records of a copy.
#[derive(Debug)]
enum Addition {
    Bytes(Vec<u8>),
    /// One snapshot that others keep as well; its text, which is as large, is generated again when needed.
    Shared {
        snapshot: Arc<Snapshot>,
        is_first: bool,
    },
    /// One large record.
    Kept {
        record: Arc<KeptRecord>,
        is_first: bool,
    },
}

/// The published copy, kept open so that it can be read even if somebody removes its name.
#[derive(Debug)]
struct Published {
    file: File,
    stamp: Stamp,
    /// The time of its oldest record.
    oldest: Option<Timestamp>,
}

/// How evenly the times of the records came, which shows whether the clock can be trusted.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    newest: Option<Timestamp>,
    steady: Duration,
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another monitor writes this file.
    #[error("another lxc-monitor is writing `{}`; stop it first", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written; what was published before remains.
    #[error("cannot write the metrics file `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could change what is written there.
    #[error("the metrics file `{}` is in no safe place", path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Distrust,
    },
    /// The snapshot cannot be serialised. Its numbers always can: those that are not finite are rejected where they
    /// are read.
    #[error("a snapshot cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl MetricsWriter {
    /// Takes over the file: locks it, and creates or repairs it.
    ///
    /// A symbolic link made by root or by the user that this program runs as is followed, so that the copies can be
    /// in a directory to which the monitor may write.
    ///
    /// # Errors
    /// [`WriteError::InUse`] if another writer has it; [`WriteError::Unsafe`] if others could change or replace it;
    /// [`WriteError::Write`] if it cannot be written.
    pub fn open(path: impl Into<PathBuf>, bounds: Bounds) -> Result<(Self, Recovery), WriteError> {
        let given = path.into();
        let failed = |source| WriteError::Write { path: given.clone(), source };
        let distrusted = |source| WriteError::Unsafe { path: given.clone(), source };
        let believed = Believed::own();
        let path = trust::check_place(&given, &believed).map_err(distrusted)?;
        let lock = Lock::take(&path).map_err(|error| match error {
            LockError::Held => WriteError::InUse { path: given.clone() },
            LockError::Io(source) => failed(source),
        })?;
        if let Ok(metadata) = std::fs::symlink_metadata(&path)
            && metadata.is_file()
        {
            // Its mode is corrected with the first snapshot.
            believed.check_owner(&metadata).map_err(distrusted)?;
        }
        let spares = Spares::new(&path);
        spares.remove_leftovers();
        let recovery = recover(&path, DEFAULT_MODE, bounds.max_bytes).map_err(failed)?;
        let published = Published::open(&path).map_err(failed)?;
        let writer = Self {
            path,
            bounds,
            mode: DEFAULT_MODE,
            lock,
            published,
            spares,
            last_addition: Addition::Bytes(Vec::new()),
            record_before: None,
            newest: None,
            backlog: Backlog::default(),
            is_directory_dirty: false,
            clock: Clock::default(),
            left_by_trim: None,
        };
        Ok((writer, recovery))
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the bounds, from the next append on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if bounds.max_bytes != self.bounds.max_bytes {
            self.left_by_trim = None;
        }
        self.bounds = bounds;
    }

    /// The time span of the records that were kept when the older half was last dropped because of the file's size;
    /// `None` if that has not happened.
    pub fn left_by_trim(&self) -> Option<Duration> {
        self.left_by_trim
    }

    /// Changes the mode of the file: for the published copy at once, for others from now on.
    pub fn set_mode(&mut self, mode: u32) {
        if mode != self.mode {
            self.mode = mode;
            self.spares.remove_all();
        }
        // Best effort: the next copy has it in any case.
        let _ = self.published.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    }

    /// Takes over snapshots from before the file could be opened; they are published with the next one.
    pub fn take_over(&mut self, earlier: Backlog) {
        self.backlog.prepend(earlier);
    }

    /// Publishes one more snapshot; when this returns `Ok`, it survives a crash.
    ///
    /// A snapshot that could not be written is kept in memory and written with a later one.
    ///
    /// # Errors
    /// [`WriteError`]; what was published before remains, and the next append may succeed.
    pub fn append(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        self.put_by(snapshot)?;
        self.publish_all(snapshot.summary.collection_start_time.instant())
    }

    /// Publishes one more snapshot, like [`Self::append`]. Its text, which is as large, is written while it is
    /// generated and is never in memory as a whole. Until the next snapshot is published, this one must remain
    /// available: either the snapshot itself is kept or, if it is large, a [`KeptRecord`], which is returned; then
    /// nobody needs to keep the snapshot.
    ///
    /// # Errors
    /// As of [`Self::append`].
    pub fn append_shared(&mut self, snapshot: &Arc<Snapshot>) -> Result<Option<Arc<KeptRecord>>, WriteError> {
        if !self.backlog.is_empty() {
            return self.append(snapshot).map(|()| None);
        }
        self.append_newest(snapshot)?;
        Ok(match &self.last_addition {
            Addition::Kept { record, .. } => Some(Arc::clone(record)),
            Addition::Bytes(_) | Addition::Shared { .. } => None,
        })
    }

    fn append_newest(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), WriteError> {
        self.newest = Some(Arc::clone(snapshot));
        let published = self.publish_all(snapshot.summary.collection_start_time.instant());
        match self.newest.take() {
            Some(unpublished) => self.put_by(&unpublished).and(published),
            None => published,
        }
    }

    /// Adds a snapshot to those that are in no copy yet.
    fn put_by(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        Ok(self.backlog.push(snapshot)?)
    }

    /// Publishes everything that is in no copy yet; the newest of it was taken at `taken`.
    fn publish_all(&mut self, taken: Timestamp) -> Result<(), WriteError> {
        let is_as_we_left_it = stamp_at(&self.path) == Some(self.published.stamp);
        self.clock.pass(taken);
        match self.lock.keep() {
            Ok(()) => {}
            Err(LockError::Held) => return Err(WriteError::InUse { path: self.path.clone() }),
            Err(LockError::Io(source)) => return Err(self.failed(source)),
        }
        let published = match self.publish(taken, is_as_we_left_it) {
            // A snapshot is worth more than spares that only rest.
            Err(error) if is_full(&error) && self.spares.keep_one() => self.publish(taken, is_as_we_left_it),
            result => result,
        };
        published.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Write { path: self.path.clone(), source }
    }

    fn publish(&mut self, now: Timestamp, is_as_we_left_it: bool) -> io::Result<()> {
        if self.is_directory_dirty {
            // If the exchange were not durable, a crash could undo it after the other copy was written to.
            sync_directory(&self.path)?;
            self.is_directory_dirty = false;
        }
        let is_too_large = self.bounds.max_bytes < self.published.stamp.bytes();
        let is_trimmed = is_as_we_left_it && (is_too_large || self.is_too_old(now));
        let (mut spare, oldest) = if is_trimmed {
            self.trimmed(now)?
        } else if is_as_we_left_it {
            let Published { file, stamp, oldest } = &self.published;
            (self.spares.rested(file, *stamp, self.mode, Instant::now())?, *oldest)
        } else {
            (self.restored()?, self.published.oldest)
        };

        let published_bytes = spare.complete_bytes();
        let is_first = published_bytes == format::EMPTY.len() as u64;
        let at = published_bytes - FOOTER_BYTES;
        // Before the exchange nobody uses this copy; a failure leaves bytes that the next append overwrites.
        if let Err(error) = spare.write_end(at, |end| self.write_addition(end, is_first)) {
            if is_trimmed {
                // It does not begin like the published one.
                spare.remove();
            } else {
                self.spares.give_back(spare);
            }
            return Err(error);
        }
        self.exchange(spare, is_as_we_left_it && !is_trimmed)?;
        let earlier = self.record_before.take().and_then(Arc::into_inner);
        let addition = self.take_addition(is_first).out_of_memory(&self.path, &self.published, at, earlier);
        if let Addition::Kept { record, .. } = std::mem::replace(&mut self.last_addition, addition) {
            self.record_before = Some(record);
        }
        self.published.oldest = oldest.or(Some(now));
        if is_trimmed && is_too_large {
            self.left_by_trim = oldest.map(|oldest| age(oldest, now));
        }
        sync_directory(&self.path)?;
        self.is_directory_dirty = false;
        Ok(())
    }

    /// Writes what follows the last record: the backlog, the newest snapshot and the end of the file.
    fn write_addition(&self, end: &mut impl Write, is_first: bool) -> io::Result<()> {
        let mut separator = separator(is_first);
        for record in self.backlog.records() {
            end.write_all(separator)?;
            end.write_all(&record[format::SEPARATOR.len()..])?;
            separator = format::SEPARATOR;
        }
        if let Some(newest) = &self.newest {
            end.write_all(separator)?;
            text::write(end, &**newest)?;
        }
        end.write_all(format::FOOTER)
    }

    /// What was just published, and is in no other copy.
    fn take_addition(&mut self, is_first: bool) -> Addition {
        let records = self.backlog.take();
        match self.newest.take() {
            Some(snapshot) if records.is_empty() => Addition::Shared { snapshot, is_first },
            _ => {
                let mut bytes = records.concat();
                if is_first {
                    bytes.drain(..format::SEPARATOR.len() - format::FIRST_SEPARATOR.len());
                }
                bytes.extend_from_slice(format::FOOTER);
                Addition::Bytes(bytes)
            }
        }
    }

    /// Publishes a copy in one step. The previously published one becomes a spare if nobody else has changed it and
    /// the new copy continues it.
    ///
    /// # Errors
    /// If the names could not be exchanged. Everything after that is housekeeping: a failure is only logged, because
    /// the copy is published, and writing its record again would duplicate it.
    fn exchange(&mut self, spare: Spare, goes_on: bool) -> io::Result<()> {
        let (name, file) = spare.into_parts();
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        let is_exchanged = match renameat_with(CWD, &name, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => true,
            // This file system cannot exchange names, or somebody removed the published copy: publish by renaming,
            // and make a new spare next time.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => {
                std::fs::rename(&name, &self.path)?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.is_directory_dirty = true;
        let published = Published { file, stamp, oldest: self.published.oldest };
        let retired = std::mem::replace(&mut self.published, published);
        if is_exchanged && let Err(error) = self.tidy_up(&name, retired, &metadata, goes_on) {
            tracing::warn!(
                "what stood in the place of the metrics file `{}` is `{}` now, and cannot be moved out of the way: {error}",
                self.path.display(),
                name.display()
            );
        }
        Ok(())
    }

    /// Handles what is at `name` after the copy with this metadata was published in its place.
    fn tidy_up(
        &mut self,
        name: &Path,
        retired: Published,
        published: &Metadata,
        goes_on: bool,
    ) -> io::Result<()> {
        let metadata = retired.file.metadata()?;
        // Somebody who changed the permissions of the file reached only one copy; the other one is as configured, and
        // stays.
        let access = |metadata: &Metadata| (metadata.mode(), metadata.uid(), metadata.gid());
        let is_ours = metadata.nlink() == 1 && access(&metadata) == access(published);
        match stamp_at(name) {
            // Nobody else can write to it, or keeps it under another name.
            Some(found) if found == retired.stamp && is_ours && goes_on => {
                self.spares.retire(name.to_owned(), retired.file, retired.stamp, Instant::now());
                Ok(())
            }
            Some(found) if found.is_same_file(retired.stamp) => std::fs::remove_file(name),
            // Somebody put something else in the place of the file, which is not ours to remove.
            Some(_) => disk::put_intruder_aside(name, &self.path),
            None => Ok(()),
        }
    }

    /// A complete copy of what was published, after somebody removed, replaced or changed it.
    fn restored(&mut self) -> io::Result<Spare> {
        let published = &self.published;
        if Stamp::of(&published.file.metadata()?) == published.stamp {
            self.spares.remove_all();
            return self.spares.copy_of(&published.file, published.stamp.bytes(), self.mode);
        }
        // The copy published immediately before it lacks only the last addition.
        if let Some(mut spare) = self.spares.take_newest() {
            let shared = spare.complete_bytes() - FOOTER_BYTES;
            let lacking = self.published.stamp.bytes().saturating_sub(shared);
            // A copy that was brought up to date but could not be written to any further lacks nothing.
            let is_complete = lacking == FOOTER_BYTES;
            let mut complete = || {
                let addition = self.last_addition.bytes().ok().filter(|bytes| bytes.len() as u64 == lacking);
                addition
                    .is_some_and(|addition| spare.write_end(shared, |end| end.write_all(&addition)).is_ok())
            };
            if is_complete || complete() {
                self.spares.remove_all();
                return Ok(spare);
            }
            self.spares.give_back(spare);
        }
        recover(&self.path, self.mode, self.bounds.max_bytes)?;
        self.published = Published::open(&self.path)?;
        self.spares.copy_of(&self.published.file, self.published.stamp.bytes(), self.mode)
    }

    /// Whether there are records beyond the age limit, according to a clock that has run evenly for long enough: a
    /// clock that jumps ahead and is corrected must not cost the past.
    fn is_too_old(&self, now: Timestamp) -> bool {
        STEADY.min(self.bounds.max_age / 8) <= self.clock.steady
            && self.published.oldest.is_some_and(|oldest| self.bounds.max_age < age(oldest, now))
    }

    /// A copy without the oldest records: it has the newest half by size, and nothing near the age limit. Also
    /// returns the time of its oldest record. No spare is left, because none continues to the same end.
    ///
    /// Records within the newest seven eighths of the age limit are kept, so that trimming happens once in an eighth
    /// of it and not at every append.
    fn trimmed(&mut self, now: Timestamp) -> io::Result<(Spare, Option<Timestamp>)> {
        let keep_age = self.is_too_old(now).then(|| self.bounds.max_age / 8 * 7);
        let bytes = self.published.stamp.bytes();
        let first_kept_by_size =
            if self.bounds.max_bytes < bytes { bytes - self.bounds.max_bytes / 2 } else { 0 };
        // Their space may be what the disk lacks.
        self.spares.remove_all();
        let mut source = BufReader::new(&self.published.file);
        // A record that begins before the offset ends at the first line break from there on, or directly before it;
        // the omitted part is not read.
        source.seek(SeekFrom::Start(first_kept_by_size.saturating_sub(1)))?;
        if 0 < first_kept_by_size {
            source.skip_until(b'\n')?;
        }
        let mut oldest = None;
        // Record by record, so that the file may be larger than memory.
        let spare = self.spares.filled(self.mode, |file| {
            let mut kept = ArrayWriter::begin(BufWriter::new(file))?;
            format::for_each_record(source, |_, record| {
                // To find its time takes as long as to copy it.
                let is_too_old = |keep_age| time_of(record).is_some_and(|taken| keep_age < age(taken, now));
                if keep_age.is_some_and(is_too_old) {
                    return Ok(());
                }
                if kept.is_empty() {
                    oldest = time_of(record);
                }
                kept.push(record)
            })?;
            kept.finish().map(|_| ())
        })?;
        Ok((spare, oldest))
    }
}

impl Addition {
    /// Moves a large record to a file, that of an `earlier` one or a new one, if the file system supports that; it was
    /// published at `at`.
    fn out_of_memory(self, path: &Path, published: &Published, at: u64, earlier: Option<KeptRecord>) -> Self {
        let Self::Shared { is_first, .. } = self else { return self };
        let place = at + separator(is_first).len() as u64..published.stamp.bytes() - FOOTER_BYTES;
        if place.end - place.start <= MAX_IN_MEMORY_BYTES {
            return self;
        }
        KeptRecord::copy(path, &published.file, place, earlier)
            .map_or(self, |record| Self::Kept { record: record.into(), is_first })
    }

    fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        let (is_first, record) = match self {
            Self::Bytes(bytes) => return Ok(bytes.into()),
            Self::Shared { snapshot, is_first } => (*is_first, serde_json::to_vec(&**snapshot)?),
            Self::Kept { record, is_first } => (*is_first, record.text()?),
        };
        Ok([separator(is_first), &record, format::FOOTER].concat().into())
    }
}

impl Published {
    fn open(path: &Path) -> io::Result<Self> {
        let file = disk::open_own(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let oldest = oldest_in(&file)?;
        Ok(Self { file, stamp, oldest })
    }
}

impl Clock {
    /// Takes the time of one more record.
    fn pass(&mut self, taken: Timestamp) {
        let step = self.newest.map_or(0, |newest| taken.duration_since(newest).as_nanos());
        self.newest = Some(taken);
        self.steady = match u64::try_from(step).map(Duration::from_nanos) {
            Ok(step) if step <= LONGEST_STEP => self.steady.saturating_add(step),
            _ => Duration::ZERO,
        };
    }
}

/// What precedes a record.
fn separator(is_first: bool) -> &'static [u8] {
    if is_first { format::FIRST_SEPARATOR } else { format::SEPARATOR }
}

/// Time from `earlier` to `later`; zero if the clock was set back.
fn age(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// Whether the disk, or our quota on it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
