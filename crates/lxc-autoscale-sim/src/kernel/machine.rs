//! The node with the services in its containers, which have a clock of their own.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;

use super::limits::Limits;
use super::memory::Killed;
use super::node::{Capacity, Node, Tenant};
use crate::workload::{Plan, Runner};

/// A node whose containers follow a workload plan.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The node.
    pub node: Node,
    /// The services, by container.
    runners: BTreeMap<Vmid, Runner>,
    /// The workloads' clock, in seconds since the Unix epoch; it may run faster than the node's.
    workload_seconds: f64,
}

impl Machine {
    /// A node that has just booted, at this time of the workloads' clock.
    pub fn new(capacity: Capacity, workload_seconds: f64) -> Self {
        Self { node: Node::new(capacity), runners: BTreeMap::new(), workload_seconds }
    }

    /// Advances by one tick of the node's clock, and by `plan.speed` times as much of the workloads' clock. Returns
    /// who was killed.
    ///
    /// The containers with limits are those that are running.
    pub fn tick(
        &mut self,
        plan: &Plan,
        limits: &BTreeMap<Vmid, Limits>,
        seconds: f64,
    ) -> BTreeMap<Vmid, Killed> {
        self.workload_seconds += seconds * plan.speed;
        let now = self.workload_seconds;
        self.runners.retain(|id, _| limits.contains_key(id));
        let tenants = limits
            .iter()
            .map(|(id, limits)| {
                let runner = self.runners.entry(*id).or_insert_with(|| Runner::started_at(now));
                let seed = plan.seed.wrapping_add(u64::from(id.get()) << 32);
                let demand = plan.containers.get(id).map(|workload| runner.demand(workload, seed, now));
                // Traffic is counted on the node's clock, so a faster workload does not cause more of it.
                (*id, Tenant { demand: demand.unwrap_or_default(), limits: *limits })
            })
            .collect();
        let killed = self.node.tick(&tenants, seconds);
        for id in killed.keys() {
            if let Some(runner) = self.runners.get_mut(id) {
                runner.killed_at(now);
            }
        }
        killed
    }

    /// A container was restarted: its counters and its service start again.
    pub fn restart(&mut self, id: Vmid) {
        self.node.containers.remove(&id);
        self.runners.remove(&id);
    }

    /// The workloads' clock, in seconds since the Unix epoch.
    pub fn workload_seconds(&self) -> f64 {
        self.workload_seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Scenario, Workload};

    const MIB: f64 = 1024.0 * 1024.0;

    fn id() -> Vmid {
        Vmid::try_from(103).unwrap()
    }

    fn machine() -> Machine {
        Machine::new(Capacity { cpus: 4.0, memory_bytes: 8192.0 * MIB, swap_bytes: 0.0 }, 0.0)
    }

    fn plan(speed: f64) -> Plan {
        let leak = Workload::Scenario { scenario: Scenario::Leak, cores: 0.5, memory_mib: 400.0 };
        Plan { seed: 3, speed, containers: BTreeMap::from([(id(), leak)]) }
    }

    fn limits(memory_mib: f64) -> BTreeMap<Vmid, Limits> {
        let limits = Limits {
            memory_max_bytes: Some(memory_mib * MIB),
            swap_max_bytes: Some(0.0),
            ..Limits::default()
        };
        BTreeMap::from([(id(), limits)])
    }

    #[test]
    fn workloads_may_run_ahead_of_the_clock() {
        let mut machine = machine();
        for _ in 0..10 {
            machine.tick(&plan(60.0), &limits(1024.0), 1.0);
        }
        assert_eq!(machine.workload_seconds(), 600.0);
        assert_eq!(machine.node.uptime_seconds, 10.0);
        assert!(machine.node.containers[&id()].cpu.usage_usec <= 0.5 * 10e6);
    }

    #[test]
    fn a_leak_that_meets_its_limit_is_killed_and_begins_again_smaller() {
        let mut machine = machine();
        let mut killed_at = None;
        for hour in 0..200 {
            if !machine.tick(&plan(1.0), &limits(300.0), 3600.0).is_empty() {
                killed_at = Some(hour);
                break;
            }
        }
        let anon = |machine: &Machine| machine.node.containers[&id()].memory.anon;
        assert!(killed_at.is_some_and(|hour| 48 < hour), "{killed_at:?}");
        assert!(anon(&machine) < 3.0 * MIB);
        machine.tick(&plan(1.0), &limits(300.0), 31.0);
        machine.tick(&plan(1.0), &limits(300.0), 31.0);
        assert!((anon(&machine) - 182.0 * MIB).abs() < 3.0 * MIB, "{}", anon(&machine) / MIB);
        assert_eq!(machine.node.containers[&id()].memory.events.oom_kill, 1.0);
    }

    #[test]
    fn a_restart_begins_from_nothing() {
        let mut machine = machine();
        for _ in 0..10 {
            machine.tick(&plan(1.0), &limits(1024.0), 3600.0);
        }
        machine.restart(id());
        machine.tick(&plan(1.0), &limits(1024.0), 1.0);
        assert!(machine.node.containers[&id()].cpu.usage_usec < 1e6);
        assert!(machine.node.containers[&id()].memory.anon < 190.0 * MIB);
    }
}
