//! The output of a `pct` call, of which only the beginning is kept.
//!
//! The call prints into an anonymous file in memory (memfd_create(2)) instead of a pipe. A pipe would break when this
//! server dies, and the next progress message would then end `pct` half way. The file exists for as long as anyone
//! has it open.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FallocateFlags, MemfdFlags, OFlags, fallocate, fcntl_setfl, memfd_create};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often the memory of output that is not kept is freed.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// One output stream.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    limit: usize,
}

impl Output {
    /// An output of which `limit` bytes are kept.
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        let file = File::from(memfd_create("pct-output", MemfdFlags::CLOEXEC)?);
        fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(Self { file, limit })
    }

    /// The handle that a program prints to.
    pub(super) fn writer(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    /// The kept part of what was printed so far.
    pub(super) fn text(&self) -> io::Result<String> {
        let printed = usize::try_from(self.file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; printed.min(self.limit)];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Frees the memory of output that is not kept; later output is appended after it.
    fn trim(&self) -> io::Result<()> {
        let (printed, limit) = (self.file.metadata()?.len(), self.limit as u64);
        if limit < printed {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, limit, printed - limit)?;
        }
        Ok(())
    }
}

/// Waits for `work`, the end of a program that prints to `outputs`, and keeps those small meanwhile.
pub(super) async fn while_printing<F: Future>(work: F, outputs: &[Output; 2]) -> F::Output {
    let mut work = std::pin::pin!(work);
    // Most calls end before the first tick, so that nothing wakes up for them.
    let mut interval = interval_at(Instant::now() + TRIM_EVERY, TRIM_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = interval.tick() => for output in outputs {
                if let Err(error) = output.trim() {
                    tracing::warn!(%error, "cannot free the memory of surplus output of pct");
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_beginning_is_kept_and_the_rest_takes_no_memory() {
        let output = Output::new(10).unwrap();
        let mut program = Command::new("sh");
        program.args(["-c", "printf 0123456789abc; head -c 3000000 /dev/zero"]);
        assert!(program.stdout(output.writer().unwrap()).status().unwrap().success());
        output.trim().unwrap();
        assert_eq!(output.text().unwrap(), "0123456789");
        let found = output.file.metadata().unwrap();
        assert_eq!(found.len(), 3_000_013);
        assert!(found.blocks() * 512 <= 8192, "{} blocks", found.blocks());
        // Later output is appended, and takes nothing from the beginning.
        output.file.try_clone().unwrap().write_all(b"more").unwrap();
        assert_eq!(output.text().unwrap(), "0123456789");
    }

    #[test]
    fn what_is_little_is_there_whole() {
        let output = Output::new(100).unwrap();
        output.file.try_clone().unwrap().write_all(b"two\nlines\n").unwrap();
        output.trim().unwrap();
        assert_eq!(output.text().unwrap(), "two\nlines\n");
        assert_eq!(Output::new(100).unwrap().text().unwrap(), "");
    }
}
