//! A service that can be killed and is restarted.

use super::Workload;
use crate::kernel::demand::Demand;

/// How long a service that was killed is down before its supervisor restarts it, on its own clock.
const RESTART_SECONDS: f64 = 30.0;

/// The state of one container's service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Runner {
    started_at: f64,
}

impl Runner {
    /// A service that started at this time of its own clock.
    pub fn started_at(seconds: f64) -> Self {
        Self { started_at: seconds }
    }

    /// What it wants now; nothing while it is down.
    pub fn demand(&self, workload: &Workload, seed: u64, seconds: f64) -> Demand {
        if seconds < self.started_at {
            return Demand::default();
        }
        workload.demand(seed, seconds, seconds - self.started_at)
    }

    /// Marks it as killed: it is down for a while and then starts again, without the memory it had leaked.
    pub fn killed_at(&mut self, seconds: f64) {
        self.started_at = seconds + RESTART_SECONDS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Scenario;

    #[test]
    fn a_killed_service_pauses_and_starts_smaller() {
        let leak = Workload::Scenario { scenario: Scenario::Leak, cores: 1.0, memory_mib: 1000.0 };
        let day = 86_400.0;
        let mut runner = Runner::started_at(0.0);
        let before = runner.demand(&leak, 1, 5.0 * day);
        runner.killed_at(5.0 * day);
        assert_eq!(runner.demand(&leak, 1, 5.0 * day + 1.0), Demand::default());
        let after = runner.demand(&leak, 1, 5.0 * day + 31.0);
        assert!(after.anon_bytes < before.anon_bytes * 0.8 && 0.0 < after.anon_bytes);
    }
}
