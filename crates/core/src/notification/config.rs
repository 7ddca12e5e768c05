//! Where the queue is, and how much it may hold.

use std::path::PathBuf;

use serde::Deserialize;

use super::queue::{Limits, Queue};
use crate::config::{BrokenRule, Validate};

/// The table `[notifications]` of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// The directory; empty for none, in which case nothing is queued.
    pub directory: PathBuf,
    /// The most notifications that may wait; the oldest are dropped.
    pub max_count: usize,
    /// Their largest total size, in MiB.
    pub max_size_mib: u64,
}

impl QueueConfig {
    /// The producers' side of the queue; `None` if none is configured.
    pub fn queue(&self) -> Option<Queue> {
        let limits = Limits { max_count: self.max_count, max_bytes: self.max_size_mib << 20 };
        (!self.directory.as_os_str().is_empty()).then(|| Queue::new(&self.directory, limits))
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { directory: "/var/lib/lxc_autoscale_ml/notifications".into(), max_count: 1000, max_size_mib: 8 }
    }
}

impl Validate for QueueConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let path_holds = self.directory.as_os_str().is_empty() || self.directory.is_absolute();
        BrokenRule::unless(
            path_holds,
            "notifications.directory",
            "must be an absolute path, or \"\" for none",
        )?;
        let count_holds = (1..=100_000).contains(&self.max_count);
        BrokenRule::unless(count_holds, "notifications.max_count", "must be from 1 to 100000")?;
        let size_holds = (1..=1024).contains(&self.max_size_mib);
        BrokenRule::unless(size_holds, "notifications.max_size_mib", "must be from 1 to 1024")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_no_queue() {
        assert!(QueueConfig::default().queue().is_some());
        assert!(QueueConfig { directory: PathBuf::new(), ..QueueConfig::default() }.queue().is_none());
    }
}
