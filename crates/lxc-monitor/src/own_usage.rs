//! The monitor's own usage.

use std::time::Duration;

use lxc_autoscale_core::own_process::{self, ResidentMemory};

use crate::clock;

/// The state at the last look.
#[derive(Debug)]
pub struct OwnUsage {
    cpu_time: Duration,
    at: Duration,
    memory: Option<ResidentMemory>,
}

/// The monitor's usage since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// In percent of one core.
    pub cpu_percent: Option<f64>,
    /// Resident memory, in MiB.
    pub memory_mib: Option<f64>,
}

impl OwnUsage {
    /// Starts counting.
    pub fn begin() -> Self {
        Self {
            cpu_time: own_process::cpu_time(),
            at: clock::now().since_boot,
            memory: ResidentMemory::open(),
        }
    }

    /// The usage since the last call.
    pub fn since_last(&mut self) -> Used {
        let (cpu_time, at) = (own_process::cpu_time(), clock::now().since_boot);
        let elapsed = at.saturating_sub(self.at).as_secs_f64();
        let used = cpu_time.saturating_sub(self.cpu_time).as_secs_f64();
        (self.cpu_time, self.at) = (cpu_time, at);
        let cpu_percent = (0.0 < elapsed).then(|| 100.0 * used / elapsed);
        Used { cpu_percent, memory_mib: self.memory.as_ref().and_then(ResidentMemory::mib) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_no_negative_cpu() {
        let mut usage = OwnUsage::begin();
        let used = usage.since_last();
        assert!(used.memory_mib.is_some_and(|mib| 0.5 < mib), "{used:?}");
        assert!(used.cpu_percent.is_none_or(|percent| 0.0 <= percent), "{used:?}");
    }
}
