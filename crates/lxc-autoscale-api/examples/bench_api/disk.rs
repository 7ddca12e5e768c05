//! What the disk alone takes of a change: the same waits for it, with nothing around them.
//!
//! A change waits before its call, while two files are written out at once: a line behind the end of one (the audit log) and
//! two pages over old ones in the middle of the other (the log of `api.sqlite`). No server that keeps to this is quicker
//! than the disk is with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// A record of the audit log is about this long.
const LINE_BYTES: usize = 330;
/// Two pages of SQLite with their heads.
const PAGES_BYTES: usize = 2 * (4096 + 24);
/// The log is written over from its beginning again when it is so long.
const LOG_BYTES: u64 = 4 << 20;

/// The two files; the first is written to by a thread of its own.
pub(crate) struct Disk {
    lines: SyncSender<()>,
    written: Receiver<io::Result<()>>,
    log: File,
    at: u64,
}

impl Disk {
    /// Makes the files in that directory.
    ///
    /// # Errors
    /// When they cannot be made.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let mut audit = File::options().create(true).append(true).open(directory.join("disk.audit"))?;
        let mut log =
            File::options().create(true).truncate(true).write(true).open(directory.join("disk.log"))?;
        for _ in 0..LOG_BYTES >> 20 {
            log.write_all(&vec![1; 1 << 20])?;
        }
        log.sync_all()?;
        let (lines, wanted) = sync_channel(1);
        let (tell, written) = sync_channel(1);
        thread::spawn(move || {
            let line = [b'x'; LINE_BYTES];
            while wanted.recv().is_ok() {
                let done = audit.write_all(&line).and_then(|()| audit.sync_data());
                // Nobody listens any more when all is measured.
                let _ = tell.send(done);
            }
        });
        Ok(Self { lines, written, log, at: 0 })
    }

    /// Waits as a change does, and returns how long that took.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn wait(&mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        self.lines.send(()).map_err(io::Error::other)?;
        self.log.write_all_at(&[2; PAGES_BYTES], self.at)?;
        self.log.sync_data()?;
        self.written.recv().map_err(io::Error::other)??;
        self.at = (self.at + PAGES_BYTES as u64) % (LOG_BYTES - PAGES_BYTES as u64);
        Ok(begun.elapsed())
    }
}
