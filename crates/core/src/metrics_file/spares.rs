//! The copies that are not published.
//!
//! A copy that was published may still be read by those who opened it then, and writing to it would show them
//! half of the old end and half of the new one. So it rests before it is written to again; a writer that appends
//! faster than that keeps more copies, up to a bound.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::{Stamp, stamp_at};
use super::format::FOOTER;
use crate::durable::{create_new, sibling};

/// Time that a reader has from opening the file to its end, unless records come faster than the spares last.
const REST: Duration = Duration::from_secs(2);

/// Copies beside the published one, at most; at ten snapshots a second each rests for most of a second.
const MAX_SPARES: usize = 8;

/// Time for which no more than one copy is kept after the disk was full.
const TIGHT: Duration = Duration::from_mins(1);

/// The copies that are not published, the one that rested longest first.
#[derive(Debug)]
pub(super) struct Spares {
    names: Vec<PathBuf>,
    resting: VecDeque<Resting>,
    /// When the disk was full last.
    full_at: Option<Instant>,
}

/// A copy that was published until `since`.
#[derive(Debug)]
struct Resting {
    spare: Spare,
    since: Instant,
}

/// A copy that nobody can open by the published name, and nobody who did so should still be reading.
#[derive(Debug)]
pub(super) struct Spare {
    name: PathBuf,
    file: File,
    /// It is complete up to there: an array with the oldest records of the published one.
    complete_bytes: u64,
    /// Its state as we left it; `None` after a failed write, which leaves anything behind `complete_bytes`.
    stamp: Option<Stamp>,
}

impl Spares {
    /// The places for spares of the file at `path`.
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
            // What cannot be removed fails again, with a reason, where its place is needed.
            let _ = std::fs::remove_file(name);
        }
    }

    /// Removes all copies; those who read them go on undisturbed.
    pub(super) fn remove_all(&mut self) {
        for resting in self.resting.drain(..) {
            let _ = std::fs::remove_file(&resting.spare.name);
        }
    }

    /// Removes all copies but the one that rested longest; returns whether that made room.
    pub(super) fn keep_one(&mut self) -> bool {
        self.full_at = Some(Instant::now());
        let has_more = 1 < self.resting.len();
        for resting in self.resting.drain(1.min(self.resting.len())..) {
            let _ = std::fs::remove_file(&resting.spare.name);
        }
        has_more
    }

    /// A copy of all that is published, to be written to: one that rested, brought up to date, or a new one.
    pub(super) fn rested(&mut self, published: &File, stamp: Stamp, mode: u32) -> io::Result<Spare> {
        self.resting.retain(|resting| resting.spare.is_as_we_left_it() || resting.spare.remove());
        let has_rested = self.resting.front().is_some_and(|oldest| REST <= oldest.since.elapsed());
        let is_tight = self.full_at.is_some_and(|at| at.elapsed() < TIGHT);
        let is_full = if is_tight { 1 } else { MAX_SPARES } <= self.resting.len();
        if !(has_rested || is_full) {
            match self.copy_of(published, stamp.bytes(), mode) {
                // A short rest is better than a snapshot that is not published.
                Err(_) if !self.resting.is_empty() => {}
                copied => return copied,
            }
        }
        match self.resting.pop_front() {
            Some(oldest) => self.brought_up_to_date(oldest, published, stamp.bytes()),
            None => self.copy_of(published, stamp.bytes(), mode),
        }
    }

    /// A new copy of the first `bytes` of `source`.
    pub(super) fn copy_of(&self, source: &File, bytes: u64, mode: u32) -> io::Result<Spare> {
        let is_free = |name: &&PathBuf| self.resting.iter().all(|resting| resting.spare.name != **name);
        let name = self.names.iter().find(is_free).ok_or_else(|| io::Error::other("no place for a spare"))?;
        let mut file = create_new(name, mode)?;
        let copied = copy_range(source, 0, bytes, &mut file);
        if copied.is_err() {
            // A full disk needs the room back; the error that counts is the first one.
            let _ = std::fs::remove_file(name);
        }
        copied?;
        Ok(Spare { name: name.clone(), file, complete_bytes: bytes, stamp: None })
    }

    /// The copy that was published last before the present one.
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
        // It has had its rest.
        let since = self.resting.front().map_or_else(Instant::now, |oldest| oldest.since);
        self.resting.push_front(Resting { spare, since });
    }

    /// Takes the copy that was published until now.
    pub(super) fn retire(&mut self, name: PathBuf, file: File, stamp: Stamp) {
        let spare = Spare { name, file, complete_bytes: stamp.bytes(), stamp: Some(stamp) };
        self.resting.push_back(Resting { spare, since: Instant::now() });
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
    /// Size of the array it holds.
    pub(super) fn complete_bytes(&self) -> u64 {
        self.complete_bytes
    }

    /// Its name and itself.
    pub(super) fn into_parts(self) -> (PathBuf, File) {
        (self.name, self.file)
    }

    /// Writes the end of the file, from `at` on, durably.
    pub(super) fn write_end(&mut self, end: &[u8], at: u64) -> io::Result<()> {
        self.stamp = None;
        let bytes = at + end.len() as u64;
        let written = self
            .file
            .write_all_at(end, at)
            .and_then(|()| self.file.set_len(bytes))
            .and_then(|()| self.file.sync_all());
        match written {
            Ok(()) => {
                self.complete_bytes = bytes;
                Ok(())
            }
            Err(error) => {
                // A full disk needs the room back; the error that counts is the first one.
                let _ = self.file.set_len(self.complete_bytes);
                Err(error)
            }
        }
    }

    /// Copies what the published file has and this copy lacks.
    fn catch_up(&mut self, published: &File, bytes: u64) -> io::Result<()> {
        // Both hold the same up to the footer of the shorter one.
        let from = self.complete_bytes - FOOTER.len() as u64;
        self.stamp = None;
        let copied = copy_range(published, from, bytes, &mut self.file);
        if copied.is_ok() {
            self.complete_bytes = bytes;
        } else {
            let _ = self.file.set_len(self.complete_bytes);
        }
        copied
    }

    /// Whether nobody removed, replaced or changed it.
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

    /// Removes it by name; returns `false`, for `retain`.
    fn remove(&self) -> bool {
        let _ = std::fs::remove_file(&self.name);
        false
    }
}

/// Copies the bytes from `from` to `to` to the same place of another file.
fn copy_range(source: &File, from: u64, to: u64, target: &mut File) -> io::Result<()> {
    let mut source = source;
    source.seek(SeekFrom::Start(from))?;
    target.seek(SeekFrom::Start(from))?;
    let copied = io::copy(&mut io::Read::take(source, to - from), target)?;
    if copied == to - from { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
