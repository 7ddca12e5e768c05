//! The limits of a container, as the kernel enforces them.

/// The limits of one container. `None` is "no limit" throughout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// CPU bandwidth (`cpu.max`), in cores.
    pub quota_cores: Option<f64>,
    /// CPUs in the cpuset.
    pub cpuset_cpus: Option<u32>,
    /// CPU weight (`cpu.weight`; on v1, `cpu.shares` scaled accordingly).
    pub cpu_weight: f64,
    /// `memory.high`, in bytes.
    pub memory_high_bytes: Option<f64>,
    /// `memory.max`, in bytes.
    pub memory_max_bytes: Option<f64>,
    /// `memory.swap.max`, in bytes; on v1, the memory-plus-swap limit minus the memory limit.
    pub swap_max_bytes: Option<f64>,
    /// `pids.max`.
    pub pids_max: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            quota_cores: None,
            cpuset_cpus: None,
            cpu_weight: 100.0,
            memory_high_bytes: None,
            memory_max_bytes: None,
            swap_max_bytes: None,
            pids_max: None,
        }
    }
}

impl Limits {
    /// The most cores that this container can use at once on a node with `node_cpus`.
    pub fn cores(&self, node_cpus: f64) -> f64 {
        let cpuset = self.cpuset_cpus.map_or(node_cpus, f64::from).min(node_cpus);
        self.quota_cores.map_or(cpuset, |quota| quota.min(cpuset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_of_quota_cpuset_and_node_counts() {
        let limits = |quota_cores, cpuset_cpus| Limits { quota_cores, cpuset_cpus, ..Limits::default() };
        assert_eq!(limits(Some(1.5), Some(4)).cores(8.0), 1.5);
        assert_eq!(limits(Some(6.0), Some(4)).cores(8.0), 4.0);
        assert_eq!(limits(None, Some(16)).cores(8.0), 8.0);
        assert_eq!(limits(None, None).cores(8.0), 8.0);
    }
}
