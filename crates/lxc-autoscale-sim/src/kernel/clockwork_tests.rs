use lxc_autoscale_core::Mebibytes;

use super::*;
use crate::boot::{boot, make};
use crate::fleet::{self, Member};
use crate::node::running;
use crate::workload::{Scenario, Workload};

const MIB: u64 = 1 << 20;

/// A node with two containers: 100 wants three cores and has one; 101 is idle.
struct Node {
    directory: tempfile::TempDir,
    version: CgroupVersion,
    kernel: Clockwork,
}

fn id(number: u32) -> Vmid {
    Vmid::try_from(number).unwrap()
}

fn node(version: CgroupVersion, rebalance: Duration) -> Node {
    let directory = tempfile::tempdir().unwrap();
    let layout = NodeLayout::new(directory.path().join("node"));
    let settings = NodeSettings { cgroup: version, cpus: 6, ..NodeSettings::default() };
    let member = |number, scenario, cores| Member {
        id: id(number),
        name: "ct",
        cores: 1,
        memory: Mebibytes::new(512),
        swap: Mebibytes::new(0),
        workload: Workload::Scenario { scenario, cores, memory_mib: 400.0 },
    };
    let members = [member(100, Scenario::Steady, 3.0), member(101, Scenario::Idle, 0.1)];
    make(&layout, &settings, &members, &directory.path().join("bin")).unwrap();
    fleet::plan(&members, 1, 1.0).save(&layout).unwrap();
    boot(&layout, true).unwrap();
    let machine = Machine::new(capacity(&settings), 1_800_000_000.0);
    let kernel = Clockwork::new(layout, machine, 1_800_000_000, rebalance).unwrap();
    Node { directory, version, kernel }
}

impl Node {
    fn ticks(&mut self, seconds: u32) {
        for _ in 0..seconds * 5 {
            self.kernel.tick(0.2).unwrap();
        }
    }

    fn path(&self, number: u32, controller: &str, file: &str) -> PathBuf {
        self.kernel.layout.container_cgroup(self.version, controller, id(number)).join(file)
    }

    fn read(&self, number: u32, controller: &str, file: &str) -> String {
        let path = self.path(number, controller, file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// CPU time of a container, in seconds.
    fn cpu_seconds(&self, number: u32) -> f64 {
        match self.version {
            CgroupVersion::V1 => {
                self.read(number, "cpuacct", "cpuacct.usage").trim().parse::<f64>().unwrap() / 1e9
            }
            CgroupVersion::V2 => {
                let stat = self.read(number, "", "cpu.stat");
                stat.lines().next().unwrap().strip_prefix("usage_usec ").unwrap().parse::<f64>().unwrap()
                    / 1e6
            }
        }
    }

    fn runs(&self, number: u32) -> bool {
        running(&self.kernel.layout).unwrap().contains(id(number))
    }

    fn set_config(&self, number: u32, from: &str, to: &str) {
        let path = self.kernel.layout.config(id(number));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn counters_advance_within_the_limits_on_both_generations() {
    for version in [CgroupVersion::V1, CgroupVersion::V2] {
        let mut node = node(version, REBALANCE);
        node.ticks(10);
        assert!(
            (node.cpu_seconds(100) - 10.0).abs() < 0.01,
            "one core for ten seconds: {}",
            node.cpu_seconds(100)
        );
        assert!(node.cpu_seconds(101) < 2.0);
        let pressure = node.read(100, "unified", "cpu.pressure");
        assert!(!pressure.starts_with("some avg10=0.00"), "{pressure}");
        let (file, controller) = match version {
            CgroupVersion::V1 => ("memory.usage_in_bytes", "memory"),
            CgroupVersion::V2 => ("memory.current", ""),
        };
        let memory: u64 = node.read(100, controller, file).trim().parse().unwrap();
        assert!((300 * MIB..512 * MIB).contains(&memory), "{memory}");
        let uptime = fs::read_to_string(node.kernel.layout.proc().join("uptime")).unwrap();
        assert!(uptime.starts_with("10.00 "), "{uptime}");
    }
}

#[test]
fn what_has_happened_is_shown_before_the_first_tick() {
    let first = node(CgroupVersion::V2, REBALANCE);
    let settings = NodeSettings::load(&first.kernel.layout).unwrap();
    let mut machine = Machine::new(capacity(&settings), 1_800_000_000.0);
    let plan = Plan::load(&first.kernel.layout).unwrap();
    let limits = BTreeMap::from([(id(100), Limits::default()), (id(101), Limits::default())]);
    machine.tick(&plan, &limits, 3600.0);
    let layout = first.kernel.layout.clone();
    let kernel = Clockwork::new(layout, machine, 1_800_000_000, REBALANCE).unwrap();
    let later = Node { kernel, ..first };
    assert!(9_000.0 < later.cpu_seconds(100), "{}", later.cpu_seconds(100));
}

#[test]
fn cores_of_the_configuration_become_cpus_at_the_next_rebalance() {
    let mut node = node(CgroupVersion::V2, Duration::from_secs(10));
    node.ticks(1);
    node.set_config(100, "cores: 1", "cores: 3");
    node.ticks(8);
    assert!(!node.read(100, "", "cpuset.cpus").contains(['-', ',']), "pvestatd has not come by yet");
    node.ticks(2);
    let before = node.cpu_seconds(100);
    node.ticks(10);
    let cores = (node.cpu_seconds(100) - before) / 10.0;
    assert!((2.8..=3.0).contains(&cores), "{cores}");
}

#[test]
fn a_quota_is_read_from_its_file_and_throttles() {
    let mut node = node(CgroupVersion::V2, REBALANCE);
    fs::write(node.path(100, "", "cpu.max"), "50000 100000\n").unwrap();
    node.ticks(10);
    assert!((node.cpu_seconds(100) - 5.0).abs() < 0.01);
    assert!(node.read(100, "", "cpu.stat").contains("nr_periods 100\nnr_throttled 100\n"));
    assert_eq!(node.read(100, "", "cpu.max"), "50000 100000\n", "the kernel writes no limit");
}

#[test]
fn a_limit_that_kills_init_ends_the_container() {
    let mut node = node(CgroupVersion::V2, REBALANCE);
    node.ticks(5);
    // Its tmpfs alone is larger.
    fs::write(node.path(100, "", "memory.max"), format!("{}\n", 16 * MIB)).unwrap();
    node.ticks(1);
    assert!(!node.runs(100) && node.runs(101));
    assert!(!node.path(100, "", "cpu.stat").exists());
    node.ticks(1);
    assert!(!node.path(100, "", "").exists(), "nothing comes back");
}

#[test]
fn a_limit_that_kills_the_workload_leaves_the_container() {
    let mut node = node(CgroupVersion::V2, REBALANCE);
    node.ticks(5);
    fs::write(node.path(100, "", "memory.max"), format!("{}\n", 64 * MIB)).unwrap();
    node.ticks(1);
    assert!(node.runs(100));
    assert!(node.read(100, "", "memory.events").contains("\noom_kill 1\n"));
}

#[test]
fn a_container_that_was_started_anew_counts_anew() {
    for version in [CgroupVersion::V1, CgroupVersion::V2] {
        let mut node = node(version, REBALANCE);
        node.ticks(20);
        let guests = pve::Machine::open(&node.kernel.layout).unwrap();
        let loaded = guests.store.load(id(100), &mut std::io::sink()).unwrap();
        let guest = guests.guest(id(100), &loaded.config.current).unwrap();
        guests.engine.kill(id(100)).unwrap();
        guests.engine.start(&guest).unwrap();
        node.ticks(2);
        assert!(node.cpu_seconds(100) <= 2.01, "{}", node.cpu_seconds(100));
        assert!(node.read(100, "unified", "cpu.pressure").contains("total="));
    }
}

#[test]
fn a_new_plan_is_taken_over() {
    let mut node = node(CgroupVersion::V2, REBALANCE);
    node.ticks(1);
    let mut plan = Plan::load(&node.kernel.layout).unwrap();
    plan.containers.remove(&id(100));
    plan.save(&node.kernel.layout).unwrap();
    node.ticks(1);
    let before = node.cpu_seconds(100);
    node.ticks(5);
    assert!(node.cpu_seconds(100) - before < 0.01);
    assert_eq!(node.read(100, "", "pids.current"), "1\n");
    assert!(node.directory.path().join("bin/pct").is_file());
}

#[test]
fn a_limit_file_that_makes_no_sense_changes_nothing() {
    let mut node = node(CgroupVersion::V2, REBALANCE);
    node.ticks(1);
    fs::write(node.path(100, "", "memory.max"), "plenty\n").unwrap();
    node.ticks(1);
    assert!(node.runs(100) && 1.5 < node.cpu_seconds(100));
}

#[test]
fn a_late_tick_is_made_up_for_slowly_and_completely() {
    let mut owed = 0.0;
    let late = step(2.0, &mut owed);
    assert_eq!((late, owed), (0.2, 1.8));
    let steps: Vec<f64> = (0..1000).map(|_| step(0.1, &mut owed)).collect();
    assert!(steps.iter().all(|&seconds| (0.1..=0.1031).contains(&seconds)));
    let total = late + steps.iter().sum::<f64>();
    assert!((total - 102.0).abs() < 1e-6 && owed.abs() < 1e-6, "{total} {owed}");
}
