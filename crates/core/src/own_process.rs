//! What this process itself costs.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time this process has used, in all its threads.
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(used.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), nanoseconds)
}

/// Its resident memory, in MiB: always from the real `/proc`, whatever node is being looked at. Not from `status`, which takes the
/// kernel twice as long.
pub fn resident_mib() -> Option<f64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: f64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(resident * rustix::param::page_size() as f64 / f64::from(1 << 20))
}
