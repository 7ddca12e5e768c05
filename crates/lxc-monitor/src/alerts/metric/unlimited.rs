//! Whether there is anything to be a share of.
//!
//! A limit that was taken away is known not to be there, unlike one that could not be read: an alert on the share of it
//! is over.

use lxc_autoscale_core::snapshot::{ContainerRecord, NodeRecord};

use super::Metric;

impl Metric {
    /// Whether a container is known to have no limit of which this is the share, or nothing of it at all.
    pub fn is_unlimited_in(self, record: &ContainerRecord) -> bool {
        let has_no = |field: &str, limit: Option<()>| {
            record.limits.is_some() && limit.is_none() && !record.missing.contains(field)
        };
        let limits = record.limits.unwrap_or_default();
        match self {
            Self::Memory => has_no("limits.memory_mb", limits.memory_mb.map(|_| ())),
            Self::Processes => has_no("limits.pids", limits.pids.map(|_| ())),
            Self::Swap => record.swap_total_mb == Some(0.0),
            // It makes inodes as it goes.
            Self::RootfsInodes => {
                record.filesystem_total_gb.is_some() && record.filesystem_inodes_total.is_none()
            }
            _ => false,
        }
    }

    /// Whether the node is known to have nothing of which this is the share.
    pub fn is_unlimited_on(self, node: &NodeRecord) -> bool {
        self == Self::NodeSwap && node.swap_total_mb == Some(0.0)
    }
}
