//! The node: all containers, and the resources they share.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;

use super::container::Container;
use super::cpu::{self, Want};
use super::demand::Demand;
use super::limits::Limits;
use super::memory::{Bounds, Killed};
use super::psi::{Pressure, Stall, decay};

/// The resources of the node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// CPUs.
    pub cpus: f64,
    /// Memory, in bytes.
    pub memory_bytes: f64,
    /// Swap, in bytes.
    pub swap_bytes: f64,
}

/// Memory of the host itself: the kernel and Proxmox's services.
pub const HOST_MEMORY_BYTES: f64 = 1200.0 * 1024.0 * 1024.0;
/// CPU usage of the host itself, in cores.
const HOST_CORES: f64 = 0.05;
/// Share of memory that the node keeps free; below it, containers are reclaimed from.
const FREE_SHARE: f64 = 0.02;
/// Time between two updates of the load average, in seconds.
const LOAD_SECONDS: f64 = 5.0;
/// Decay factors of the 1, 5 and 15 minute load averages per update, out of 2048 (include/linux/sched/loadavg.h).
const LOAD_KEEP: [u64; 3] = [1884, 2014, 2037];

/// One container in a tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tenant {
    /// What its processes want.
    pub demand: Demand,
    /// Its limits.
    pub limits: Limits,
}

/// The node and its running containers.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its resources.
    pub capacity: Capacity,
    /// The running containers.
    pub containers: BTreeMap<Vmid, Container>,
    /// Seconds since it was booted.
    pub uptime_seconds: f64,
    /// CPU time used, in core-seconds.
    pub busy_seconds: f64,
    /// `/proc/pressure/cpu`.
    pub cpu_pressure: Pressure,
    /// `/proc/pressure/memory`.
    pub memory_pressure: Pressure,
    /// `/proc/pressure/io`.
    pub io_pressure: Pressure,
    /// Load averages in the kernel's fixed point (2048 is one).
    load: [u64; 3],
    load_seconds: f64,
    runnable: f64,
}

impl Node {
    /// A node that has just booted.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            containers: BTreeMap::new(),
            uptime_seconds: 0.0,
            busy_seconds: 0.0,
            cpu_pressure: Pressure::default(),
            memory_pressure: Pressure::default(),
            io_pressure: Pressure::default(),
            load: [0; 3],
            load_seconds: 0.0,
            runnable: 0.0,
        }
    }

    /// Advances by one tick. Containers that are not among the tenants have stopped and are forgotten; new ones start
    /// from zero. Returns who was killed; a container whose init was killed is gone.
    pub fn tick(&mut self, tenants: &BTreeMap<Vmid, Tenant>, seconds: f64) -> BTreeMap<Vmid, Killed> {
        self.containers.retain(|id, _| tenants.contains_key(id));
        let before: Vec<_> = tenants.keys().map(|id| self.stalls(*id)).collect();
        let cpus = self.capacity.cpus;

        let mut killed = BTreeMap::new();
        let mut wants: Vec<Want> = Vec::with_capacity(tenants.len());
        for (id, tenant) in tenants {
            let swap_free = self.swap_free();
            let container = self.containers.entry(*id).or_default();
            let (want, who) = container.begin_tick(&tenant.demand, &tenant.limits, cpus, swap_free, seconds);
            wants.push(want);
            if who != Killed::Nobody {
                killed.insert(*id, who);
            }
        }
        self.reclaim_globally(tenants);

        let served = cpu::share(&wants, (cpus - HOST_CORES).max(0.0));
        for (((id, tenant), served), want) in tenants.iter().zip(&served).zip(&wants) {
            if let Some(container) = self.containers.get_mut(id) {
                container.end_tick(*served, &tenant.limits, cpus, seconds);
            }
            self.runnable += want.total * seconds;
        }
        self.count_own(&served, &before, tenants, seconds);
        self.containers.retain(|id, _| killed.get(id) != Some(&Killed::Init));
        killed
    }

    /// Memory that containers hold, in bytes.
    pub fn containers_memory(&self) -> f64 {
        self.containers.values().map(|container| container.memory.current()).sum()
    }

    /// Swap that is not used, in bytes.
    pub fn swap_free(&self) -> f64 {
        let used: f64 = self.containers.values().map(|container| container.memory.swapped()).sum();
        (self.capacity.swap_bytes - used).max(0.0)
    }

    /// The load averages, in hundredths.
    pub fn load_centi(&self) -> [u64; 3] {
        self.load.map(|load| load * 100 / 2048)
    }

    /// Takes cache, then swaps, from all containers in proportion, if the node runs out of memory.
    fn reclaim_globally(&mut self, tenants: &BTreeMap<Vmid, Tenant>) {
        let usable = (self.capacity.memory_bytes * (1.0 - FREE_SHARE) - HOST_MEMORY_BYTES).max(0.0);
        let held = self.containers_memory();
        if held <= usable {
            return;
        }
        let keep = usable / held;
        for (id, tenant) in tenants {
            let swap_free = self.swap_free();
            if let Some(container) = self.containers.get_mut(id) {
                let bounds = Bounds {
                    swap: tenant.limits.swap_max_bytes,
                    node_swap_free: swap_free,
                    ..Bounds::default()
                };
                let target = container.memory.current() * keep;
                container.memory.reclaim(target, &bounds);
            }
        }
    }

    /// Cumulative stalls of one container (cpu, memory, io; some and full), in microseconds.
    fn stalls(&self, id: Vmid) -> [[f64; 2]; 3] {
        let Some(container) = self.containers.get(&id) else { return [[0.0; 2]; 3] };
        [container.cpu.pressure, container.memory.pressure, container.io.pressure]
            .map(|pressure| [pressure.some.total_usec(), pressure.full.total_usec()])
    }

    /// Counts the node's own time, load and pressure.
    ///
    /// Something is stalled as often as the stalls of independent containers overlap; everything is stalled only
    /// while every container with work is.
    fn count_own(
        &mut self,
        served: &[f64],
        before: &[[[f64; 2]; 3]],
        tenants: &BTreeMap<Vmid, Tenant>,
        seconds: f64,
    ) {
        self.uptime_seconds += seconds;
        let busy: f64 = served.iter().sum::<f64>() + HOST_CORES;
        self.busy_seconds += busy.min(self.capacity.cpus) * seconds;
        self.runnable += HOST_CORES * seconds;

        let mut free = [1.0f64; 3];
        let mut all = [1.0f64; 3];
        for (id, before) in tenants.keys().zip(before) {
            let now = self.stalls(*id);
            for resource in 0..3 {
                let some = (now[resource][0] - before[resource][0]) / 1e6 / seconds;
                let full = (now[resource][1] - before[resource][1]) / 1e6 / seconds;
                free[resource] *= 1.0 - some.clamp(0.0, 1.0);
                all[resource] *= full.clamp(0.0, 1.0);
            }
        }
        let stall = |resource: usize, full: f64| Stall { some: 1.0 - free[resource], full };
        let nobody = tenants.is_empty();
        let full = |resource: usize| if nobody { 0.0 } else { all[resource] };
        // System-wide, some task is always on a CPU; the kernel prints zeros there.
        self.cpu_pressure.advance(seconds, stall(0, 0.0));
        self.memory_pressure.advance(seconds, stall(1, full(1)));
        self.io_pressure.advance(seconds, stall(2, full(2)));

        self.load_seconds += seconds;
        while LOAD_SECONDS <= self.load_seconds {
            let active = super::files::whole(self.runnable / self.load_seconds * 2048.0);
            for (load, keep) in self.load.iter_mut().zip(LOAD_KEEP) {
                *load = decay(*load, keep, active);
            }
            let left = self.load_seconds - LOAD_SECONDS;
            self.runnable *= left / self.load_seconds;
            self.load_seconds = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

    fn id(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    fn node(cpus: f64, memory_gib: f64) -> Node {
        Node::new(Capacity { cpus, memory_bytes: memory_gib * GIB, swap_bytes: 4.0 * GIB })
    }

    fn tenant(cores: f64, anon_gib: f64, cpu_weight: f64) -> Tenant {
        Tenant {
            demand: Demand { cores, anon_bytes: anon_gib * GIB, processes: 3, ..Demand::default() },
            limits: Limits { cpu_weight, swap_max_bytes: Some(GIB), ..Limits::default() },
        }
    }

    fn run(node: &mut Node, tenants: &BTreeMap<Vmid, Tenant>, ticks: u32) {
        for _ in 0..ticks {
            node.tick(tenants, 0.2);
        }
    }

    #[test]
    fn a_full_node_shares_by_weight_and_shows_pressure() {
        let mut node = node(4.05, 16.0);
        let tenants =
            BTreeMap::from([(id(100), tenant(8.0, 0.1, 100.0)), (id(101), tenant(8.0, 0.1, 300.0))]);
        run(&mut node, &tenants, 50);
        let used = |number| node.containers[&id(number)].cpu.usage_usec / 10e6;
        assert!(
            (used(100) - 1.0).abs() < 1e-6 && (used(101) - 3.0).abs() < 1e-6,
            "{} {}",
            used(100),
            used(101)
        );
        assert!(0.0 < node.containers[&id(100)].cpu.pressure.full.total_usec());
        assert!(9e6 < node.cpu_pressure.some.total_usec());
        assert_eq!(node.cpu_pressure.full.total_usec(), 0.0);
        assert!((node.busy_seconds - 40.5).abs() < 1e-6);
    }

    #[test]
    fn the_load_average_approaches_what_is_runnable() {
        let mut node = node(8.0, 16.0);
        run(&mut node, &BTreeMap::from([(id(100), tenant(2.0, 0.1, 100.0))]), 5 * 60 * 60);
        let [one, five, fifteen] = node.load_centi();
        assert!((203..=206).contains(&one) && (203..=206).contains(&five), "{one} {five}");
        assert!(195 < fifteen, "{fifteen}");
    }

    #[test]
    fn a_node_without_memory_left_takes_it_from_all() {
        let mut node = node(4.0, 4.0);
        let tenants =
            BTreeMap::from([(id(100), tenant(0.1, 2.0, 100.0)), (id(101), tenant(0.1, 1.5, 100.0))]);
        run(&mut node, &tenants, 100);
        assert!(node.containers_memory() <= 4.0 * GIB - HOST_MEMORY_BYTES);
        assert!(node.containers.values().all(|container| 0.0 < container.memory.swapped()));
    }

    #[test]
    fn a_container_that_is_gone_starts_anew() {
        let mut node = node(4.0, 8.0);
        let both = BTreeMap::from([(id(100), tenant(1.0, 0.1, 100.0)), (id(101), tenant(1.0, 0.1, 100.0))]);
        run(&mut node, &both, 10);
        let one = BTreeMap::from([(id(101), tenant(1.0, 0.1, 100.0))]);
        run(&mut node, &one, 1);
        assert_eq!(node.containers.keys().copied().collect::<Vec<_>>(), [id(101)]);
        run(&mut node, &both, 1);
        assert!(node.containers[&id(100)].cpu.usage_usec < node.containers[&id(101)].cpu.usage_usec);
    }

    #[test]
    fn a_killed_init_takes_its_container_along() {
        let mut node = node(4.0, 8.0);
        let mut small = tenant(0.1, 0.0, 100.0);
        small.demand.shmem_bytes = GIB;
        small.limits =
            Limits { memory_max_bytes: Some(0.25 * GIB), swap_max_bytes: Some(0.0), ..Limits::default() };
        let killed = node.tick(&BTreeMap::from([(id(100), small)]), 0.2);
        assert_eq!(killed, BTreeMap::from([(id(100), Killed::Init)]));
        assert!(node.containers.is_empty());
    }
}
