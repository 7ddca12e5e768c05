//! The copies that are not published.
//!
//! A copy that was published may still be read by processes that opened it then, and writing to it would show them a
//! mixture of the old end and the new one. So it rests before it is written to again. A writer that appends faster
//! than that keeps more copies, up to a limit.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{self, Stamp, stamp_at};
use super::format::FOOTER;
use crate::durable::{create_new, sibling};

/// Time that a reader has to read the file after opening it, unless records come too fast for the number of spares.
///
/// Each further copy is written to as often as the others, so this time determines how much is written to the disk.
/// At one record a second, two spares alternate, and being a little early or late does not require a third.
const REST: Duration = Duration::from_millis(1500);

/// The most copies besides the published one; at ten snapshots a second, each rests for most of a second.
const MAX_SPARES: usize = 8;

/// How long only one copy is kept after the disk was full.
const TIGHT: Duration = Duration::from_mins(1);

/// Time that a reader has to read the file after opening it while only one copy is kept. Records that come faster
/// than this wait in memory for the next append.
const SHORT_REST: Duration = Duration::from_millis(500);

/// Size of the pieces in which files are written. They begin at whole multiples of it, because the kernel then keeps each in
/// one piece of memory, and a page of it costs two thirds of what it costs otherwise.
const PIECE_BYTES: usize = 64 << 10;

/// The copies that are not published; the one that has rested longest is first.
#[derive(Debug)]
pub(super) struct Spares {
    names: Vec<PathBuf>,
    resting: VecDeque<Resting>,
    /// When the disk was last full.
    full_at: Option<Instant>,
}

/// A copy that was published until `since`.
#[derive(Debug)]
struct Resting {
    spare: Spare,
    since: Instant,
}

/// A copy that nobody can open under the published name, and that nobody should still be reading.
#[derive(Debug)]
pub(super) struct Spare {
    name: PathBuf,
    file: File,
    /// Up to here it is a complete array with the oldest records of the published one.
    complete_bytes: u64,
    /// Its state as we left it; `None` after a failed write, which may leave anything after `complete_bytes`.
    stamp: Option<Stamp>,
}

impl Spares {
    /// The names of spares for the file at `path`.
    pub(super) fn new(path: &Path) -> Self {
        let name = |number: usize| match number {
            1 => sibling(path, "spare"),
            _ => sibling(path, &format!("spare-{number}")),
        };
        Self { names: (1..=MAX_SPARES).map(name).collect(), resting: VecDeque::new(), full_at: None }
    }

    /// Removes what an earlier writer left.
    pub(super) fn remove_leftovers(&self) {
        for name in &self.names {
            // If one cannot be removed, that fails again, with a reason, when its place is needed.
            let _ = std::fs::remove_file(name);
        }
    }

    /// Removes all copies; processes that are reading them are not affected.
    pub(super) fn remove_all(&mut self) {
        for resting in self.resting.drain(..) {
            let _ = std::fs::remove_file(&resting.spare.name);
        }
    }

    /// Removes all copies except the one that has rested longest; returns whether that freed space.
    pub(super) fn keep_one(&mut self) -> bool {
        self.full_at = Some(Instant::now());
        let has_more = 1 < self.resting.len();
        for resting in self.resting.drain(1.min(self.resting.len())..) {
            let _ = std::fs::remove_file(&resting.spare.name);
        }
        has_more
    }

    /// A copy of everything published, to be written to: one that has rested, brought up to date, or a new one.
    ///
    /// # Errors
    /// I/O errors; [`io::ErrorKind::ResourceBusy`] while there is room for only one copy and it has not rested.
    pub(super) fn rested(
        &mut self,
        published: &File,
        stamp: Stamp,
        mode: u32,
        now: Instant,
    ) -> io::Result<Spare> {
        self.resting.retain(|resting| resting.spare.is_as_we_left_it() || resting.spare.remove());
        let rested = self.resting.front().map(|oldest| now.saturating_duration_since(oldest.since));
        let has_rested = |rest: Duration| rested.is_some_and(|rested| rest <= rested);
        let is_tight = self.full_at.is_some_and(|at| at.elapsed() < TIGHT);
        let is_full = if is_tight { 1 } else { MAX_SPARES } <= self.resting.len();
        if !(has_rested(REST) || is_full) {
            match self.copy_of(published, stamp.bytes(), mode) {
                // A short rest is better than a snapshot that is not published.
                Err(_) if has_rested(SHORT_REST) => {}
                copied => return copied,
            }
        }
        match self.resting.pop_front() {
            Some(oldest) if is_tight && !has_rested(SHORT_REST) => {
                self.resting.push_front(oldest);
                Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "the disk was full, and the one copy left may still be read; the record comes with a later one",
                ))
            }
            Some(oldest) => self.brought_up_to_date(oldest, published, stamp.bytes()),
            None => self.copy_of(published, stamp.bytes(), mode),
        }
    }

    /// A new copy of the first `bytes` of `source`.
    pub(super) fn copy_of(&self, source: &File, bytes: u64, mode: u32) -> io::Result<Spare> {
        self.filled(mode, |file| copy_range(source, 0..bytes, file, 0))
    }

    /// A new copy, to which `write` writes a complete array.
    pub(super) fn filled(
        &self,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<Spare> {
        let is_free = |name: &&PathBuf| self.resting.iter().all(|resting| resting.spare.name != **name);
        let name = self.names.iter().find(is_free).ok_or_else(|| io::Error::other("no place for a spare"))?;
        let mut file = create_new(name, mode)?;
        let filled = write(&mut file).and_then(|()| file.metadata());
        if filled.is_err() {
            // A full disk needs the space back; the first error is the one that counts.
            let _ = std::fs::remove_file(name);
        }
        let complete_bytes = filled?.len();
        Ok(Spare { name: name.clone(), file, complete_bytes, stamp: None })
    }

    /// The copy that was published immediately before the present one.
    pub(super) fn take_newest(&mut self) -> Option<Spare> {
        let newest = self.resting.pop_back()?;
        if newest.spare.is_as_we_left_it() {
            return Some(newest.spare);
        }
        self.resting.push_back(newest);
        None
    }

    /// Takes back a copy that could not be written to.
    pub(super) fn give_back(&mut self, spare: Spare) {
        // It has rested already.
        let now = Instant::now();
        let long_ago = now.checked_sub(REST).unwrap_or(now);
        let since = self.resting.front().map_or(long_ago, |oldest| oldest.since);
        self.resting.push_front(Resting { spare, since });
    }

    /// Takes the copy that was published until now.
    pub(super) fn retire(&mut self, name: PathBuf, file: File, stamp: Stamp, now: Instant) {
        disk::let_go_of_pages(&file, stamp.bytes());
        let spare = Spare { name, file, complete_bytes: stamp.bytes(), stamp: Some(stamp) };
        self.resting.push_back(Resting { spare, since: now });
    }

    fn brought_up_to_date(&mut self, oldest: Resting, published: &File, bytes: u64) -> io::Result<Spare> {
        let Resting { mut spare, since } = oldest;
        match spare.catch_up(published, bytes) {
            Ok(()) => Ok(spare),
            Err(error) => {
                self.resting.push_front(Resting { spare, since });
                Err(error)
            }
        }
    }
}

impl Spare {
    /// Size of the array it contains.
    pub(super) fn complete_bytes(&self) -> u64 {
        self.complete_bytes
    }

    /// Its name and its file.
    pub(super) fn into_parts(self) -> (PathBuf, File) {
        (self.name, self.file)
    }

    /// Replaces the end of the file, from `at` on, durably; `write` produces it.
    pub(super) fn write_end(
        &mut self,
        at: u64,
        write: impl FnOnce(&mut End<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.stamp = None;
        let mut end = End { file: &self.file, at, piece: Vec::with_capacity(PIECE_BYTES) };
        let written = write(&mut end).and_then(|()| {
            end.flush()?;
            let bytes = end.at;
            cut_off(&self.file, bytes)?;
            self.file.sync_all()?;
            Ok(bytes)
        });
        match written {
            Ok(bytes) => {
                self.complete_bytes = bytes;
                Ok(())
            }
            Err(error) => {
                // A full disk needs the space back; the first error is the one that counts.
                let _ = self.file.set_len(self.complete_bytes);
                Err(error)
            }
        }
    }

    /// Copies what the published file has and this copy lacks.
    fn catch_up(&mut self, published: &File, bytes: u64) -> io::Result<()> {
        // Both are identical up to the footer of the shorter one.
        let from = self.complete_bytes - FOOTER.len() as u64;
        self.stamp = None;
        let copied = copy_range(published, from..bytes, &self.file, from);
        if copied.is_ok() {
            self.complete_bytes = bytes;
        } else {
            let _ = self.file.set_len(self.complete_bytes);
        }
        copied
    }

    /// Whether nobody has removed, replaced or changed it.
    fn is_as_we_left_it(&self) -> bool {
        let Some(found) = stamp_at(&self.name) else { return false };
        match self.stamp {
            Some(left) => left == found,
            None => self
                .file
                .metadata()
                .is_ok_and(|own| found.is_same_file(Stamp::of(&own)) && self.complete_bytes <= found.bytes()),
        }
    }

    /// Removes the file; returns `false`, for `retain`.
    pub(super) fn remove(&self) -> bool {
        let _ = std::fs::remove_file(&self.name);
        false
    }
}

/// The end of a file, written piece by piece.
#[derive(Debug)]
pub(super) struct End<'a> {
    file: &'a File,
    /// Where the next piece begins.
    at: u64,
    piece: Vec<u8>,
}

impl Write for End<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = up_to_boundary(self.at) - self.piece.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.piece.extend_from_slice(taken);
        if taken.len() == room {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.piece, self.at)?;
        self.at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

/// Length of the piece that begins at an offset of a file.
fn up_to_boundary(at: u64) -> usize {
    // A remainder is smaller than a piece.
    PIECE_BYTES - usize::try_from(at % PIECE_BYTES as u64).unwrap_or(0)
}

/// Removes what a failed write left after the end. The check avoids a journal transaction if the file already has
/// that length.
fn cut_off(file: &File, bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() == bytes { Ok(()) } else { file.set_len(bytes) }
}

/// Copies a range of bytes to an offset of another file.
///
/// In large pieces: within one file system, `copy_file_range` and `sendfile` would use a pipe of sixteen pages, page
/// by page.
pub(super) fn copy_range(source: &File, range: Range<u64>, target: &File, at: u64) -> io::Result<()> {
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut buffer = vec![0; length(range.end - range.start).min(PIECE_BYTES)];
    let mut begin = range.start;
    while begin < range.end {
        let to = at + (begin - range.start);
        let wanted = length(range.end - begin).min(buffer.len()).min(up_to_boundary(to));
        let piece = &mut buffer[..wanted];
        source.read_exact_at(piece, begin)?;
        target.write_all_at(piece, to)?;
        begin += wanted as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;
    use crate::metrics_file::format::EMPTY;

    /// The number of copies, including the published one, after twenty appends at this interval, each a little late
    /// or not.
    fn copies_at(interval: Duration) -> usize {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lxc_metrics.json");
        let mut spares = Spares::new(&path);
        let mut published = create_new(&path, 0o600).unwrap();
        published.write_all_at(EMPTY, 0).unwrap();
        let begun = Instant::now();
        for number in 0..20 {
            let late = Duration::from_millis(if number % 3 == 0 { 5 } else { 0 });
            let now = begun + interval * number + late;
            let stamp = Stamp::of(&published.metadata().unwrap());
            let (name, file) = spares.rested(&published, stamp, 0o600, now).unwrap().into_parts();
            renameat_with(CWD, &name, CWD, &path, RenameFlags::EXCHANGE).unwrap();
            spares.retire(name, std::mem::replace(&mut published, file), stamp, now);
        }
        std::fs::read_dir(directory.path()).unwrap().count()
    }

    #[test]
    fn pieces_end_at_whole_multiples_of_their_size_and_lose_nothing() {
        let text: Vec<u8> = (b'a'..=b'w').cycle().take(3 * PIECE_BYTES + 5).collect();
        let boundaries = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 7];
        for (at, step) in boundaries.iter().flat_map(|at| [(*at as u64, 1000), (*at as u64, text.len())]) {
            let [file, copy] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
            let mut end = End { file: &file, at, piece: Vec::new() };
            for part in text.chunks(step) {
                end.write_all(part).unwrap();
                assert!(end.at == at || end.at.is_multiple_of(PIECE_BYTES as u64), "{at}");
            }
            end.flush().unwrap();
            let mut found = vec![0; text.len()];
            file.read_exact_at(&mut found, at).unwrap();
            assert!(found == text, "written from {at}");
            for to in boundaries {
                copy_range(&file, at..at + text.len() as u64, &copy, to as u64).unwrap();
                copy.read_exact_at(&mut found, to as u64).unwrap();
                assert!(found == text, "copied from {at} to {to}");
            }
        }
    }

    #[test]
    fn there_are_no_more_copies_than_rests_take() {
        for (milliseconds, want) in [(60_000, 2), (2000, 2), (1600, 2), (1000, 3), (500, 4), (100, 9)] {
            assert_eq!(copies_at(Duration::from_millis(milliseconds)), want, "every {milliseconds} ms");
        }
    }
}
