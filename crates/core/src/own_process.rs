//! The resource usage of this process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that all threads of this process have used.
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(used.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), nanoseconds)
}

/// Resident memory of this process, in MiB. It is always read from the real `/proc`, even if the node is a simulated
/// one. It is not read from `status`, which takes the kernel twice as long.
pub fn resident_mib() -> Option<f64> {
    ResidentMemory::open().and_then(|memory| memory.mib())
}

/// The same for whoever asks again and again.
#[derive(Debug)]
pub struct ResidentMemory(File);

impl ResidentMemory {
    /// Opens the kernel's file, which is anew at each reading.
    pub fn open() -> Option<Self> {
        File::open("/proc/self/statm").ok().map(Self)
    }

    /// How much there is now, in MiB.
    pub fn mib(&self) -> Option<f64> {
        // Seven numbers.
        let mut text = [0; 256];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let pages = std::str::from_utf8(&text[..length]).ok()?;
        let resident: f64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(resident * rustix::param::page_size() as f64 / f64::from(1 << 20))
    }
}
