//! CPU: quota, cpuset and contention, with their counters.
//!
//! Work that is not served waits, and is wanted again in the next tick in addition to new work. Work that has waited
//! for [`PATIENCE_SECONDS`] is dropped, as a client gives up on a request. A quota that is exhausted shows in
//! `nr_throttled` and `throttled_usec`, and also in the `full` line of `cpu.pressure`, because it stops all tasks of
//! the container at once (the kernel has counted that line for cgroups since 5.13 for this very case). A cpuset or a
//! full node leaves tasks waiting in a run queue, which shows only in `cpu.pressure`.

use super::limits::Limits;
use super::psi::{Pressure, Stall};

/// Length of one period of CPU bandwidth control, in seconds; Proxmox always sets 100 ms.
pub const PERIOD_SECONDS: f64 = 0.1;
/// Unserved work is dropped after about this time.
pub const PATIENCE_SECONDS: f64 = 10.0;
/// Share of CPU time spent in the kernel.
const SYSTEM_SHARE: f64 = 0.2;
/// Work below this counts as none, in core-seconds.
const EPSILON: f64 = 1e-9;

/// The CPU counters of one container; times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    /// CPU time used.
    pub usage_usec: f64,
    /// The part of it spent in user mode.
    pub user_usec: f64,
    /// Periods of a quota that began while there was something to run.
    pub nr_periods: f64,
    /// Periods in which the quota was used up.
    pub nr_throttled: f64,
    /// Time for which CPUs were throttled.
    pub throttled_usec: f64,
    /// `cpu.pressure`.
    pub pressure: Pressure,
    /// Unserved work, in core-seconds.
    backlog: f64,
}

/// What a container wants from the CPUs in one tick, in cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Want {
    /// Everything that could run, including waiting work.
    pub total: f64,
    /// The part that its own limits allow.
    pub allowed: f64,
    /// Its weight relative to the others.
    pub weight: f64,
}

impl Cpu {
    /// Adds the demand of a tick to the waiting work.
    pub fn want(&self, demand_cores: f64, limits: &Limits, node_cpus: f64, seconds: f64) -> Want {
        let total = demand_cores.max(0.0) + self.backlog / seconds;
        Want { total, allowed: total.min(limits.cores(node_cpus)), weight: limits.cpu_weight.max(1.0) }
    }

    /// Counts a tick in which `served` cores were given.
    pub fn account(
        &mut self,
        demand_cores: f64,
        want: Want,
        served: f64,
        limits: &Limits,
        node_cpus: f64,
        seconds: f64,
    ) {
        self.usage_usec += served * seconds * 1e6;
        self.user_usec += served * seconds * 1e6 * (1.0 - SYSTEM_SHARE);
        let unserved = ((want.total - served) * seconds).max(0.0);
        let patience = (demand_cores.max(0.0) * PATIENCE_SECONDS)
            .max(self.backlog * (-seconds / PATIENCE_SECONDS).exp());
        self.backlog = if EPSILON < unserved { unserved.min(patience) } else { 0.0 };

        // As many CPUs as could run at the same time without a quota.
        let runnable = want.total.min(limits.cpuset_cpus.map_or(node_cpus, f64::from)).min(node_cpus);
        let mut stall = Stall::default();
        if let Some(quota) = limits.quota_cores
            && 0.0 < want.total
        {
            self.nr_periods += seconds / PERIOD_SECONDS;
            if quota < runnable && quota <= served + EPSILON {
                self.nr_throttled += seconds / PERIOD_SECONDS;
                self.throttled_usec += (runnable - quota) * seconds * 1e6;
                let held = 1.0 - quota / runnable;
                stall = Stall { some: held, full: held };
            }
        }
        if EPSILON < unserved && stall == Stall::default() {
            let waiting = Stall::of_tasks(1.0 - served / want.total, want.total.ceil());
            // On its own CPUs, some task of the container is always running; only other containers can take all CPUs
            // from it.
            let full = if served + EPSILON < want.allowed { waiting.full } else { 0.0 };
            stall = Stall { some: waiting.some, full };
        }
        self.pressure.advance(seconds, stall);
    }

    /// Unserved work that still waits, in core-seconds.
    pub fn backlog(&self) -> f64 {
        self.backlog
    }

    /// The processes that wanted it are gone.
    pub fn drop_backlog(&mut self) {
        self.backlog = 0.0;
    }
}

/// Distributes `capacity` cores by weight; no container gets more than its own limits allow.
///
/// What one does not need goes to the others, until nothing is left or nobody wants more.
pub fn share(wants: &[Want], capacity: f64) -> Vec<f64> {
    let mut served = vec![0.0; wants.len()];
    let mut left = capacity.max(0.0);
    let mut open: Vec<usize> = (0..wants.len()).filter(|&i| 0.0 < wants[i].allowed).collect();
    while !open.is_empty() && EPSILON < left {
        let weights: f64 = open.iter().map(|&i| wants[i].weight).sum();
        let per_weight = left / weights;
        let (done, rest): (Vec<usize>, Vec<usize>) =
            open.iter().partition(|&&i| wants[i].allowed <= per_weight * wants[i].weight);
        if done.is_empty() {
            for &i in &rest {
                served[i] = per_weight * wants[i].weight;
            }
            break;
        }
        for &i in &done {
            served[i] = wants[i].allowed;
            left -= wants[i].allowed;
        }
        open = rest;
    }
    served
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(quota_cores: Option<f64>, cpuset_cpus: Option<u32>) -> Limits {
        Limits { quota_cores, cpuset_cpus, ..Limits::default() }
    }

    /// Ten seconds of a constant demand, alone on a node of 8 CPUs.
    fn ten_seconds(demand_cores: f64, limits: &Limits) -> Cpu {
        let mut cpu = Cpu::default();
        for _ in 0..50 {
            let want = cpu.want(demand_cores, limits, 8.0, 0.2);
            let served = share(&[want], 8.0)[0];
            cpu.account(demand_cores, want, served, limits, 8.0, 0.2);
        }
        cpu
    }

    #[track_caller]
    fn check(
        demand: f64,
        quota: Option<f64>,
        cpuset: Option<u32>,
        want_cores: f64,
        throttled: f64,
        backlog: bool,
    ) {
        let cpu = ten_seconds(demand, &limits(quota, cpuset));
        assert!((cpu.usage_usec / 10e6 - want_cores).abs() < 1e-6, "used {}", cpu.usage_usec / 10e6);
        let share = if cpu.nr_periods == 0.0 { 0.0 } else { cpu.nr_throttled / cpu.nr_periods };
        assert!((share - throttled).abs() < 1e-9, "throttled {share}");
        assert_eq!(0.0 < cpu.backlog(), backlog);
    }

    #[test]
    fn a_demand_meets_its_limits() {
        //    demand quota      cpuset    used throttled waits
        check(0.5, None, None, 0.5, 0.0, false);
        check(0.5, Some(1.0), Some(2), 0.5, 0.0, false);
        check(3.0, Some(1.5), Some(4), 1.5, 1.0, true);
        check(3.0, None, Some(2), 2.0, 0.0, true);
        check(3.0, Some(2.5), Some(2), 2.0, 0.0, true);
        check(12.0, None, None, 8.0, 0.0, true);
        check(0.0, Some(1.0), None, 0.0, 0.0, false);
    }

    #[test]
    fn a_quota_that_binds_is_full_pressure_and_a_cpuset_only_some() {
        let quota = ten_seconds(3.0, &limits(Some(1.0), None));
        let cpuset = ten_seconds(3.0, &limits(None, Some(1)));
        assert!(0.0 < quota.pressure.full.total_usec() && 0.0 < quota.throttled_usec);
        assert!(0.0 < cpuset.pressure.some.total_usec());
        assert_eq!((cpuset.pressure.full.total_usec(), cpuset.throttled_usec), (0.0, 0.0));
    }

    #[test]
    fn no_quota_counts_no_periods() {
        assert_eq!(ten_seconds(1.0, &limits(None, Some(2))).nr_periods, 0.0);
        assert!((ten_seconds(1.0, &limits(Some(2.0), None)).nr_periods - 100.0).abs() < 1e-6);
    }

    #[test]
    fn what_waited_is_served_when_there_is_room() {
        let mut cpu = ten_seconds(3.0, &limits(None, Some(1)));
        let waiting = cpu.backlog();
        let wide = limits(None, Some(8));
        let want = cpu.want(1.0, &wide, 8.0, 10.0);
        cpu.account(1.0, want, want.allowed, &wide, 8.0, 10.0);
        assert!(0.0 < waiting);
        assert_eq!(cpu.backlog(), 0.0);
        assert!((cpu.usage_usec / 1e6 - (10.0 + 10.0 + waiting)).abs() < 1e-6);
    }

    #[test]
    fn contention_is_shared_by_weight() {
        let want = |allowed, weight| Want { total: allowed, allowed, weight };
        assert_eq!(share(&[want(4.0, 100.0), want(4.0, 300.0)], 4.0), [1.0, 3.0]);
        assert_eq!(share(&[want(0.5, 100.0), want(9.0, 100.0), want(9.0, 100.0)], 4.5), [0.5, 2.0, 2.0]);
        assert_eq!(share(&[want(1.0, 100.0), want(0.0, 100.0)], 4.0), [1.0, 0.0]);
    }

    proptest! {
        /// No container gets more than it is allowed, together they get no more than there is, and no wanted capacity
        /// is left unused.
        #[test]
        fn sharing_conserves(wants in proptest::collection::vec((0.0f64..16.0, 1.0f64..10_000.0), 0..12), capacity in 0.0f64..32.0) {
            let wants: Vec<_> = wants.into_iter().map(|(allowed, weight)| Want { total: allowed, allowed, weight }).collect();
            let served = share(&wants, capacity);
            for (served, want) in served.iter().zip(&wants) {
                prop_assert!((0.0..=want.allowed + 1e-9).contains(served));
            }
            let given: f64 = served.iter().sum();
            let wanted: f64 = wants.iter().map(|want| want.allowed).sum();
            prop_assert!((given - wanted.min(capacity)).abs() < 1e-6, "{} of {}", given, wanted.min(capacity));
        }

        /// Limits hold for any length of tick, and counters only rise.
        #[test]
        fn limits_hold_and_counters_rise(
            demands in proptest::collection::vec(0.0f64..20.0, 1..40),
            quota in proptest::option::of(0.01f64..8.0),
            cpuset in proptest::option::of(1u32..8),
            seconds in 0.05f64..60.0,
        ) {
            let limits = limits(quota, cpuset);
            let mut cpu = Cpu::default();
            for demand in demands {
                let before = cpu;
                let want = cpu.want(demand, &limits, 8.0, seconds);
                let served = share(&[want], 8.0)[0];
                cpu.account(demand, want, served, &limits, 8.0, seconds);
                prop_assert!(served <= limits.cores(8.0) + 1e-9);
                prop_assert!(cpu.usage_usec - before.usage_usec <= limits.cores(8.0) * seconds * 1e6 + 1e-3);
                prop_assert!(before.nr_periods <= cpu.nr_periods && before.nr_throttled <= cpu.nr_throttled);
                prop_assert!(cpu.nr_throttled <= cpu.nr_periods && before.throttled_usec <= cpu.throttled_usec);
                prop_assert!(before.pressure.some.total_usec() <= cpu.pressure.some.total_usec());
                prop_assert!(cpu.pressure.full.total_usec() <= cpu.pressure.some.total_usec() + 1e-3);
                prop_assert!(cpu.backlog() <= 20.0 * PATIENCE_SECONDS);
            }
        }
    }
}
