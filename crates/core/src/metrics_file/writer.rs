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

use super::disk::{self, Stamp, stamp_at};
use super::format::{self, ArrayWriter};
use super::kept_record::KeptRecord;
use super::lock::{Lock, LockError};
use super::recover::{Recovery, oldest_in, recover, time_of};
use super::spares::{Spare, Spares};
use super::trust::{self, Believed, Distrust};
use crate::durable::sync_directory;
use crate::snapshot::Snapshot;

/// Mode of the files unless another is set: what containers use is nobody's business but root's and a group's.
pub const DEFAULT_MODE: u32 = 0o640;

/// Snapshots kept in memory while the disk is full, in bytes; the oldest go first.
const MAX_BACKLOG_BYTES: usize = 4 << 20;

/// Up to this size the newest record stays in memory; a larger one, of more than a hundred containers, in a file of its own.
const MAX_IN_MEMORY_BYTES: u64 = 256 << 10;

/// Time for which records must have come evenly before any is dropped for its age.
const STEADY: Duration = Duration::from_hours(24);

/// What stands behind the last record, in bytes.
const FOOTER_BYTES: u64 = format::FOOTER.len() as u64;

/// Longest time between two records of an even sequence.
const LONGEST_STEP: Duration = Duration::from_hours(2);

/// How large and how old the file may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Size of one copy, in bytes; the newest half is kept when it is reached.
    pub max_bytes: u64,
    /// Age of the oldest record.
    pub max_age: Duration,
}

/// The one writer of the exchange file.
#[derive(Debug)]
pub struct MetricsWriter {
    /// The published copy's name.
    path: PathBuf,
    bounds: Bounds,
    mode: u32,
    /// Held as long as the writer lives, so that there is only one.
    lock: Lock,
    published: Published,
    spares: Spares,
    /// What the published copy has and the one published before it lacks.
    last_addition: Addition,
    /// The snapshot that is being published and is in no copy yet, behind the backlog.
    newest: Option<Arc<Snapshot>>,
    /// Records that are in no copy yet, because the last append failed, each behind a separator.
    backlog: Vec<Vec<u8>>,
    /// Whether the names changed without being durable yet.
    is_directory_dirty: bool,
    clock: Clock,
    /// See [`MetricsWriter::left_by_trim`].
    left_by_trim: Option<Duration>,
}

/// What was put behind the records of a copy.
#[derive(Debug)]
enum Addition {
    Bytes(Vec<u8>),
    /// One snapshot that others keep as well; its text, which is as large, is made again when it is needed.
    Shared {
        snapshot: Arc<Snapshot>,
        is_first: bool,
    },
    /// One record that is large.
    Kept {
        record: Arc<KeptRecord>,
        is_first: bool,
    },
}

/// The published copy, open, so that it can be read even when somebody removes its name.
#[derive(Debug)]
struct Published {
    file: File,
    stamp: Stamp,
    /// Time of its oldest record.
    oldest: Option<Timestamp>,
}

/// How evenly the times of the records came, which tells whether the clock can be believed.
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
    /// It cannot be written; what was published before still stands.
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
    /// The snapshot cannot be expressed. Its numbers can: those that are not finite are refused where they are read.
    #[error("a snapshot cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl MetricsWriter {
    /// Takes over the file: locks it, creates or repairs it.
    ///
    /// A symbolic link made by root or by the user that this program runs as is followed, so that the copies may
    /// live where the monitor may write.
    ///
    /// # Errors
    /// [`WriteError::InUse`] while another writer has it; [`WriteError::Unsafe`] where others could change or
    /// replace it; [`WriteError::Write`] when it cannot be written.
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
            // Its mode is put right with the first snapshot.
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
            newest: None,
            backlog: Vec::new(),
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

    /// Time over which the records reached that were left when the older half was dropped for the size of the file last;
    /// `None` while it was not.
    pub fn left_by_trim(&self) -> Option<Duration> {
        self.left_by_trim
    }

    /// Changes the mode of the file, at once for the published copy and from then on for others.
    pub fn set_mode(&mut self, mode: u32) {
        if mode != self.mode {
            self.mode = mode;
            self.spares.remove_all();
        }
        // Best effort: the next copy has it in any case.
        let _ = self.published.file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    }

    /// Publishes one more snapshot; when this returns `Ok` it survives a crash.
    ///
    /// A snapshot that could not be written is kept in memory and written with a later one.
    ///
    /// # Errors
    /// [`WriteError`]; what was published before still stands and the next append may succeed.
    pub fn append(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        self.put_by(snapshot)?;
        self.publish_all(snapshot.summary.collection_start_time.instant())
    }

    /// Publishes one more snapshot, as [`Self::append`] does. Its text, which is as large again, is written as it is made and never
    /// stands in memory as a whole. What must be known of it until the next one is published is the snapshot, or, where
    /// that is large, a [`KeptRecord`], which is returned: then nobody need keep the snapshot.
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

    /// Puts a snapshot behind those that are in no copy yet.
    fn put_by(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        let mut record = format::SEPARATOR.to_vec();
        serde_json::to_writer(&mut record, snapshot)?;
        self.backlog.push(record);
        trim_backlog(&mut self.backlog);
        Ok(())
    }

    /// Publishes what is in no copy yet, of which the newest was taken at that time.
    fn publish_all(&mut self, taken: Timestamp) -> Result<(), WriteError> {
        let is_as_we_left_it = stamp_at(&self.path) == Some(self.published.stamp);
        self.clock.pass(taken);
        match self.lock.keep() {
            Ok(()) => {}
            Err(LockError::Held) => return Err(WriteError::InUse { path: self.path.clone() }),
            Err(LockError::Io(source)) => return Err(self.failed(source)),
        }
        let published = match self.publish(taken, is_as_we_left_it) {
            // Spares that are there to rest are worth less than the snapshot.
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
            // An exchange that is not durable could be undone by a crash after its other copy was written to.
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
        // Until the exchange this copy is nobody's: a failure leaves bytes that the next append overwrites.
        if let Err(error) = spare.write_end(at, |end| self.write_addition(end, is_first)) {
            if is_trimmed {
                // It does not begin as the published one does.
                spare.remove();
            } else {
                self.spares.give_back(spare);
            }
            return Err(error);
        }
        self.exchange(spare, is_as_we_left_it && !is_trimmed)?;
        self.last_addition = self.take_addition(is_first).out_of_memory(&self.path, &self.published, at);
        self.published.oldest = oldest.or(Some(now));
        if is_trimmed && is_too_large {
            self.left_by_trim = oldest.map(|oldest| age(oldest, now));
        }
        sync_directory(&self.path)?;
        self.is_directory_dirty = false;
        Ok(())
    }

    /// Writes what is to stand behind the last record: the backlog, the newest snapshot and the end of the file.
    fn write_addition(&self, end: &mut impl Write, is_first: bool) -> io::Result<()> {
        let mut separator = separator(is_first);
        for record in &self.backlog {
            end.write_all(separator)?;
            end.write_all(&record[format::SEPARATOR.len()..])?;
            separator = format::SEPARATOR;
        }
        if let Some(newest) = &self.newest {
            end.write_all(separator)?;
            serde_json::to_writer(&mut *end, &**newest)?;
        }
        end.write_all(format::FOOTER)
    }

    /// What was published now, which is in no copy but this one.
    fn take_addition(&mut self, is_first: bool) -> Addition {
        let records = std::mem::take(&mut self.backlog);
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

    /// Publishes a copy, in one step; the one that was published before becomes a spare if it is ours alone and the copy
    /// goes on where it ends.
    ///
    /// # Errors
    /// When the names could not be exchanged. What comes after that is housekeeping: its failure is logged, because
    /// the copy is published all the same, and writing its record again would double it.
    fn exchange(&mut self, spare: Spare, goes_on: bool) -> io::Result<()> {
        let (name, file) = spare.into_parts();
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        let is_exchanged = match renameat_with(CWD, &name, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => true,
            // This file system cannot exchange names, or somebody removed the published copy: publish by
            // renaming, and copy a new spare next time.
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

    /// Sees to what came to `name` when the copy with that metadata was published in its place.
    fn tidy_up(
        &mut self,
        name: &Path,
        retired: Published,
        published: &Metadata,
        goes_on: bool,
    ) -> io::Result<()> {
        let metadata = retired.file.metadata()?;
        // Whoever changed who may read and write the file reached one copy: the other is as configured, and stays.
        let access = |metadata: &Metadata| (metadata.mode(), metadata.uid(), metadata.gid());
        let is_ours = metadata.nlink() == 1 && access(&metadata) == access(published);
        match stamp_at(name) {
            // Nobody else can write to it or keeps it under another name.
            Some(found) if found == retired.stamp && is_ours && goes_on => {
                self.spares.retire(name.to_owned(), retired.file, retired.stamp, Instant::now());
                Ok(())
            }
            Some(found) if found.is_same_file(retired.stamp) => std::fs::remove_file(name),
            // Somebody put something else in the place of the file; it is not ours to remove.
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
        // The last copy that was published before it lacks only the last addition.
        if let Some(mut spare) = self.spares.take_newest() {
            let shared = spare.complete_bytes() - FOOTER_BYTES;
            let lacking = self.published.stamp.bytes().saturating_sub(shared);
            // One that was brought up to date, and could not be written to any further, lacks nothing.
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

    /// Whether records are beyond the age limit, by a clock that has run evenly for long enough: one that jumps
    /// ahead and is put right again must not cost the past.
    fn is_too_old(&self, now: Timestamp) -> bool {
        STEADY.min(self.bounds.max_age / 8) <= self.clock.steady
            && self.published.oldest.is_some_and(|oldest| self.bounds.max_age < age(oldest, now))
    }

    /// A copy without the oldest records: the newest half by size, and what is not near the age limit; with the time of its
    /// oldest. No spare is left, because none goes on to the same end.
    ///
    /// Records within the newest seven eighths of the age limit are kept, so that this happens once in
    /// an eighth of it and not at every append.
    fn trimmed(&mut self, now: Timestamp) -> io::Result<(Spare, Option<Timestamp>)> {
        let keep_age = self.is_too_old(now).then(|| self.bounds.max_age / 8 * 7);
        let bytes = self.published.stamp.bytes();
        let first_kept_by_size =
            if self.bounds.max_bytes < bytes { bytes - self.bounds.max_bytes / 2 } else { 0 };
        // The room they take may be what the disk lacks.
        self.spares.remove_all();
        let mut source = BufReader::new(&self.published.file);
        // A record that begins before the bound ends at the first line break from there on, or right before it; what is left
        // out is not read.
        source.seek(SeekFrom::Start(first_kept_by_size.saturating_sub(1)))?;
        if 0 < first_kept_by_size {
            source.skip_until(b'\n')?;
        }
        let mut oldest = None;
        // Record by record, so that the file may be larger than memory.
        let spare = self.spares.filled(self.mode, |file| {
            let mut kept = ArrayWriter::begin(BufWriter::new(file))?;
            format::for_each_record(source, |_, record| {
                let is_too_old = || {
                    let taken = time_of(record);
                    keep_age.zip(taken).is_some_and(|(keep_age, taken)| keep_age < age(taken, now))
                };
                if is_too_old() {
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
    /// The same with a large snapshot kept in a file, where the file system can do that; it was published behind `at`.
    fn out_of_memory(self, path: &Path, published: &Published, at: u64) -> Self {
        let Self::Shared { is_first, .. } = self else { return self };
        let (begin, end) = (at + separator(is_first).len() as u64, published.stamp.bytes() - FOOTER_BYTES);
        if end - begin <= MAX_IN_MEMORY_BYTES {
            return self;
        }
        KeptRecord::copy(path, &published.file, begin, end)
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

/// What stands before a record.
fn separator(is_first: bool) -> &'static [u8] {
    if is_first { format::FIRST_SEPARATOR } else { format::SEPARATOR }
}

/// Time from `earlier` to `later`; zero when the clock was set back.
fn age(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// Whether there is no room on the disk, or none that is ours.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn trim_backlog(backlog: &mut Vec<Vec<u8>>) {
    let mut total: usize = backlog.iter().map(Vec::len).sum();
    while MAX_BACKLOG_BYTES < total && 1 < backlog.len() {
        total -= backlog.remove(0).len();
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
