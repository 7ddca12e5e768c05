//! The time that the disk alone takes for a change: the same wait, with nothing around it.
//!
//! A change waits before its call until two pages are written over old ones in the write-ahead log of `api.sqlite`.
//! No server that does this can be faster than the disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Two pages of SQLite with their headers.
const PAGES_BYTES: usize = 2 * (4096 + 24);
/// At this length, the log is overwritten from its beginning.
const LOG_BYTES: u64 = 4 << 20;

/// The log file.
pub(crate) struct Disk {
    log: File,
    at: u64,
}

impl Disk {
    /// Creates the file in this directory.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let mut log =
            File::options().create(true).truncate(true).write(true).open(directory.join("disk.log"))?;
        for _ in 0..LOG_BYTES >> 20 {
            log.write_all(&vec![1; 1 << 20])?;
        }
        log.sync_all()?;
        Ok(Self { log, at: 0 })
    }

    /// Waits as a change does, and returns how long that took.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn wait(&mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.log.write_all_at(&[2; PAGES_BYTES], self.at)?;
        self.log.sync_data()?;
        self.at = (self.at + PAGES_BYTES as u64) % (LOG_BYTES - PAGES_BYTES as u64);
        Ok(begun.elapsed())
    }
}
