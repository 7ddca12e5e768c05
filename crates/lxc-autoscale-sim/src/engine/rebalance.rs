//! Turns `cores` into cpusets, like pvestatd does about every ten seconds.
//!
//! `pct set -cores` changes only the configuration. In each cycle, a container whose set does not have as many CPUs
//! as its configuration says first loses its highest ones or gains the lowest free ones. Then each container with
//! fewer cores than the node is moved, CPU by CPU, to CPUs that carry at least two containers less; the margin keeps
//! sets from moving back and forth between equal CPUs. A pinned container is counted but never moved.

use lxc_autoscale_core::Vmid;

use super::CpuSet;

/// A running container for the purpose of rebalancing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The container.
    pub id: Vmid,
    /// The configured `cores`.
    pub cores: Option<u32>,
    /// Whether its configuration pins it to CPUs.
    pub pinned: bool,
    /// The CPUs it may use now.
    pub cpus: CpuSet,
}

/// One write of a cpuset; a container may be moved twice in one cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpusetChange {
    /// The container.
    pub id: Vmid,
    /// Its new CPUs.
    pub cpus: CpuSet,
}

/// Plans one cycle; returns the writes in their order.
pub fn plan_cpusets(containers: &[Placement], node: &CpuSet) -> Vec<CpusetChange> {
    let mut changes = Vec::new();
    let mut load = Load::default();
    let mut movable = Vec::new();
    for container in containers {
        let mut cpus = container.cpus.clone();
        if !container.pinned {
            let wanted = container.cores.map_or(node.len(), |cores| node.len().min(cores as usize));
            let resized = resize(&cpus, wanted, node);
            if resized != cpus {
                cpus = resized;
                changes.push(CpusetChange { id: container.id, cpus: cpus.clone() });
            }
            if container.cores.is_some() && wanted < node.len() {
                movable.push((container.id, cpus.clone()));
            }
        }
        cpus.iter().for_each(|cpu| load.add(cpu));
    }
    for (id, cpus) in movable {
        let moved = spread(&cpus, node, &mut load);
        if moved != cpus {
            changes.push(CpusetChange { id, cpus: moved });
        }
    }
    changes
}

/// Keeps the lowest CPUs, or adds the lowest free ones.
fn resize(cpus: &CpuSet, wanted: usize, node: &CpuSet) -> CpuSet {
    let free = node.iter().filter(|&cpu| !cpus.contains(cpu));
    cpus.iter().filter(|&cpu| node.contains(cpu)).chain(free).take(wanted).collect()
}

/// Moves each CPU of a container to the least loaded one, if that is worthwhile.
fn spread(cpus: &CpuSet, node: &CpuSet, load: &mut Load) -> CpuSet {
    let mut moved = CpuSet::default();
    for cpu in cpus.iter() {
        let (mut best, mut best_load) = (cpu, load.of(cpu));
        for candidate in node.iter() {
            let is_free = !cpus.contains(candidate) && !moved.contains(candidate);
            if is_free && load.of(candidate) + 1 < best_load {
                (best, best_load) = (candidate, load.of(candidate));
            }
        }
        if best != cpu {
            load.remove(cpu);
            load.add(best);
        }
        moved.insert(best);
    }
    moved
}

/// How many containers may use each CPU.
#[derive(Debug, Default)]
struct Load {
    containers: Vec<usize>,
}

impl Load {
    fn of(&self, cpu: u32) -> usize {
        self.containers.get(cpu as usize).copied().unwrap_or(0)
    }

    fn add(&mut self, cpu: u32) {
        let index = cpu as usize;
        if self.containers.len() <= index {
            self.containers.resize(index + 1, 0);
        }
        self.containers[index] += 1;
    }

    fn remove(&mut self, cpu: u32) {
        if let Some(count) = self.containers.get_mut(cpu as usize) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    fn id(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    /// Container 100 with these cores and CPUs, next to 101, which has CPUs 0 and 1 of four.
    #[track_caller]
    fn check(cores: Option<u32>, now: &str, want: &[&str]) {
        let placements = [
            Placement { id: id(100), cores, pinned: false, cpus: set(now) },
            Placement { id: id(101), cores: Some(2), pinned: false, cpus: set("0-1") },
        ];
        let planned: Vec<String> =
            plan_cpusets(&placements, &set("0-3")).iter().map(|change| change.cpus.to_string()).collect();
        assert_eq!(planned, want, "{cores:?} from {now}");
    }

    #[test]
    fn as_recorded() {
        check(Some(1), "2", &[]);
        check(Some(3), "2", &["0-2", "1-3"]);
        check(Some(16), "1-3", &["0-3"]);
        check(Some(1), "0-3", &["0", "2"]);
        check(None, "2", &["0-3"]);
        check(Some(2), "0-3", &["0-1", "2-3"]);
    }

    #[test]
    fn a_pinned_container_stays_and_counts() {
        let placements = [
            Placement { id: id(100), cores: Some(1), pinned: true, cpus: set("0-1") },
            Placement { id: id(101), cores: Some(1), pinned: false, cpus: set("0") },
        ];
        let planned = plan_cpusets(&placements, &set("0-3"));
        assert_eq!(planned, [CpusetChange { id: id(101), cpus: set("2") }]);
    }

    proptest! {
        /// After one cycle every set has its size and consists of CPUs of the node, and a second cycle resizes
        /// nothing.
        #[test]
        fn sizes_are_enacted_at_once(cores in proptest::collection::vec(proptest::option::of(1u32..12), 1..8)) {
            let node = CpuSet::first(6);
            let mut placements: Vec<Placement> = (100..)
                .zip(&cores)
                .map(|(number, &cores)| Placement { id: id(number), cores, pinned: false, cpus: node.clone() })
                .collect();
            for change in plan_cpusets(&placements, &node) {
                let container = placements.iter_mut().find(|container| container.id == change.id).unwrap();
                container.cpus = change.cpus;
            }
            for container in &placements {
                let want = container.cores.map_or(6, |cores| cores.min(6)) as usize;
                prop_assert_eq!(container.cpus.len(), want);
                prop_assert!(container.cpus.iter().all(|cpu| node.contains(cpu)));
            }
        }
    }
}
