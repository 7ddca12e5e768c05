//! Every release of Proxmox VE as its kernel appears: the control group files of a running container on that kernel,
//! and the output of `check`, compared with `versions/<release>.txt`.
//!
//! The files of Proxmox VE 8 are those of a recorded container with that layout; the differences of other kernels
//! follow from the release in which the kernel got a file (Documentation/admin-guide/cgroup-v2.rst and the history of
//! kernel/cgroup, mm/memcontrol.c and kernel/sched/psi.c). `BLESS=1 cargo nextest run -p lxc-monitor versions` rewrites
//! the expected texts; review the difference before committing it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::fixture::Node;

/// Major and minor number of a kernel.
type Kernel = (u32, u32);

const BEFORE_ALL: Kernel = (0, 0);

/// Files of a container's group in version 2: the kernel that introduced them, name, content.
///
/// A name without content exists and is not read.
const V2: &[(Kernel, &str, &str)] = &[
    (BEFORE_ALL, "cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n"),
    (BEFORE_ALL, "cgroup.events", "populated 1\nfrozen 0\n"),
    (BEFORE_ALL, "cgroup.freeze", ""),
    ((5, 14), "cgroup.kill", ""),
    (BEFORE_ALL, "cgroup.max.depth", ""),
    (BEFORE_ALL, "cgroup.max.descendants", ""),
    ((6, 1), "cgroup.pressure", "1\n"),
    (BEFORE_ALL, "cgroup.procs", ""),
    (BEFORE_ALL, "cgroup.stat", ""),
    (BEFORE_ALL, "cgroup.subtree_control", ""),
    (BEFORE_ALL, "cgroup.threads", ""),
    (BEFORE_ALL, "cgroup.type", ""),
    ((5, 15), "cpu.idle", ""),
    (BEFORE_ALL, "cpu.max", "150000 100000\n"),
    ((5, 14), "cpu.max.burst", ""),
    (BEFORE_ALL, "cpu.weight", ""),
    (BEFORE_ALL, "cpu.weight.nice", ""),
    (BEFORE_ALL, "cpuset.cpus", ""),
    (BEFORE_ALL, "cpuset.cpus.effective", "0-1\n"),
    (BEFORE_ALL, "cpuset.cpus.partition", ""),
    (BEFORE_ALL, "cpuset.mems", ""),
    (BEFORE_ALL, "cpuset.mems.effective", ""),
    (BEFORE_ALL, "hugetlb.2MB.current", ""),
    (BEFORE_ALL, "hugetlb.2MB.max", ""),
    (BEFORE_ALL, "io.max", ""),
    (BEFORE_ALL, "io.stat", "8:0 rbytes=5120 wbytes=1024 rios=4 wios=2 dbytes=0 dios=0\n"),
    (BEFORE_ALL, "memory.current", "268435456\n"),
    ((5, 2), "memory.events.local", ""),
    (BEFORE_ALL, "memory.high", "532676608\n"),
    (BEFORE_ALL, "memory.low", ""),
    (BEFORE_ALL, "memory.max", "536870912\n"),
    (BEFORE_ALL, "memory.min", ""),
    ((5, 10), "memory.numa_stat", ""),
    (BEFORE_ALL, "memory.oom.group", ""),
    ((5, 19), "memory.peak", ""),
    ((5, 19), "memory.reclaim", ""),
    (BEFORE_ALL, "memory.swap.current", "1048576\n"),
    ((5, 8), "memory.swap.high", ""),
    (BEFORE_ALL, "memory.swap.max", "268435456\n"),
    ((6, 5), "memory.swap.peak", ""),
    ((5, 19), "memory.zswap.current", ""),
    ((5, 19), "memory.zswap.max", ""),
    ((6, 8), "memory.zswap.writeback", ""),
    ((5, 13), "misc.current", ""),
    ((5, 13), "misc.max", ""),
    (BEFORE_ALL, "pids.current", "31\n"),
    (BEFORE_ALL, "pids.events", "max 0\n"),
    ((6, 11), "pids.events.local", "max 0\n"),
    (BEFORE_ALL, "pids.max", "max\n"),
    ((6, 1), "pids.peak", "40\n"),
    (BEFORE_ALL, "rdma.current", ""),
    (BEFORE_ALL, "rdma.max", ""),
];

/// Lines of `memory.stat` in version 2.
const MEMORY_STAT: &[(Kernel, &str)] = &[
    (BEFORE_ALL, "anon 52428800"),
    (BEFORE_ALL, "file 209715200"),
    ((5, 18), "kernel 3194880"),
    (BEFORE_ALL, "kernel_stack 49152"),
    (BEFORE_ALL, "shmem 104857600"),
    (BEFORE_ALL, "file_mapped 0"),
    (BEFORE_ALL, "file_dirty 0"),
    (BEFORE_ALL, "file_writeback 0"),
    (BEFORE_ALL, "inactive_anon 0"),
    (BEFORE_ALL, "active_anon 0"),
    (BEFORE_ALL, "inactive_file 94371840"),
    (BEFORE_ALL, "active_file 10485760"),
    (BEFORE_ALL, "unevictable 0"),
    ((5, 9), "workingset_refault_anon 1"),
    ((5, 9), "workingset_refault_file 2"),
    ((6, 13), "pswpin 3"),
    ((6, 13), "pswpout 4"),
    (BEFORE_ALL, "pgfault 900"),
    (BEFORE_ALL, "pgmajfault 183"),
];

const CPU_STAT: &[(Kernel, &str)] = &[
    (BEFORE_ALL, "usage_usec 35292297"),
    (BEFORE_ALL, "user_usec 1"),
    (BEFORE_ALL, "system_usec 1"),
    ((6, 13), "nice_usec 0"),
    (BEFORE_ALL, "nr_periods 120"),
    (BEFORE_ALL, "nr_throttled 7"),
    (BEFORE_ALL, "throttled_usec 900"),
    ((5, 15), "nr_bursts 0"),
    ((5, 15), "burst_usec 0"),
];

const MEMORY_EVENTS: &[(Kernel, &str)] = &[
    (BEFORE_ALL, "low 0"),
    (BEFORE_ALL, "high 1"),
    (BEFORE_ALL, "max 2"),
    (BEFORE_ALL, "oom 3"),
    (BEFORE_ALL, "oom_kill 4"),
    ((5, 17), "oom_group_kill 0"),
];

const SWAP_EVENTS: &[(Kernel, &str)] = &[((5, 8), "high 0"), (BEFORE_ALL, "max 8"), (BEFORE_ALL, "fail 9")];

const PRESSURE: &[(Kernel, &str)] = &[
    (BEFORE_ALL, "some avg10=1.50 avg60=0.03 avg300=0.06 total=4253314"),
    (BEFORE_ALL, "full avg10=0.00 avg60=0.00 avg300=0.00 total=417732"),
];

const CPU_PRESSURE: &[(Kernel, &str)] = &[
    (BEFORE_ALL, "some avg10=1.50 avg60=0.03 avg300=0.06 total=4253314"),
    ((5, 13), "full avg10=0.00 avg60=0.00 avg300=0.00 total=417732"),
];

/// Files of a container's groups in version 1: controller, name, content.
const V1: &[(&str, &str, &str)] = &[
    ("blkio", "blkio.bfq.weight", ""),
    ("blkio", "blkio.throttle.io_service_bytes", ""),
    ("blkio", "blkio.throttle.io_service_bytes_recursive", "8:0 Read 5120\n8:0 Write 1024\nTotal 6144\n"),
    ("blkio", "blkio.throttle.io_serviced", ""),
    ("blkio", "blkio.throttle.io_serviced_recursive", "8:0 Read 4\n8:0 Write 2\nTotal 6\n"),
    ("blkio", "blkio.throttle.read_bps_device", ""),
    ("cpu,cpuacct", "cpu.cfs_period_us", "100000\n"),
    ("cpu,cpuacct", "cpu.cfs_quota_us", "150000\n"),
    ("cpu,cpuacct", "cpu.shares", ""),
    ("cpu,cpuacct", "cpu.stat", "nr_periods 120\nnr_throttled 7\nthrottled_time 900000\n"),
    ("cpu,cpuacct", "cpuacct.stat", ""),
    ("cpu,cpuacct", "cpuacct.usage", "35292297999\n"),
    ("cpu,cpuacct", "cpuacct.usage_percpu", ""),
    ("cpuset", "cpuset.cpus", "0-1\n"),
    ("cpuset", "cpuset.effective_cpus", "0-1\n"),
    ("cpuset", "cpuset.mems", ""),
    ("devices", "devices.list", ""),
    ("freezer", "freezer.state", ""),
    ("memory", "memory.failcnt", "2\n"),
    ("memory", "memory.kmem.usage_in_bytes", ""),
    ("memory", "memory.limit_in_bytes", "536870912\n"),
    ("memory", "memory.max_usage_in_bytes", ""),
    ("memory", "memory.memsw.limit_in_bytes", "805306368\n"),
    ("memory", "memory.memsw.usage_in_bytes", ""),
    ("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"),
    ("memory", "memory.soft_limit_in_bytes", ""),
    (
        "memory",
        "memory.stat",
        "cache 0\nrss 0\npgpgin 9\npgpgout 8\ntotal_cache 209715200\ntotal_rss 52428800\ntotal_rss_huge 0\n\
         total_shmem 104857600\ntotal_mapped_file 0\ntotal_dirty 0\ntotal_writeback 0\ntotal_swap 1048576\n\
         total_pgpgin 99\ntotal_pgpgout 88\ntotal_pgfault 900\ntotal_pgmajfault 183\ntotal_inactive_anon 0\n\
         total_active_anon 0\ntotal_inactive_file 94371840\ntotal_active_file 10485760\ntotal_unevictable 0\n",
    ),
    ("memory", "memory.swappiness", ""),
    ("memory", "memory.usage_in_bytes", "268435456\n"),
    ("pids", "pids.current", "31\n"),
    ("pids", "pids.events", "max 0\n"),
    ("pids", "pids.max", "max\n"),
];

/// How a release mounts its control groups.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// Version 1 alone.
    V1,
    /// Version 1, with a version 2 tree at `unified` that has no controllers.
    Hybrid,
    V2,
}

/// One release.
struct Release {
    /// Name of the expected text.
    name: &'static str,
    /// `/proc/sys/kernel/osrelease`.
    kernel: &'static str,
    number: Kernel,
    layout: Layout,
    /// Whether the kernel was booted with pressure stall information.
    psi: bool,
}

const RELEASES: [Release; 6] = [
    Release { name: "pve-6-v1", kernel: "5.4.203-1-pve", number: (5, 4), layout: Layout::V1, psi: false },
    Release {
        name: "pve-6-hybrid",
        kernel: "5.4.203-1-pve",
        number: (5, 4),
        layout: Layout::Hybrid,
        psi: true,
    },
    Release {
        name: "pve-7-hybrid",
        kernel: "5.15.158-2-pve",
        number: (5, 15),
        layout: Layout::Hybrid,
        psi: true,
    },
    Release { name: "pve-7-v2", kernel: "5.15.158-2-pve", number: (5, 15), layout: Layout::V2, psi: true },
    Release { name: "pve-8", kernel: "6.8.12-4-pve", number: (6, 8), layout: Layout::V2, psi: true },
    Release { name: "pve-9", kernel: "6.14.8-2-pve", number: (6, 14), layout: Layout::V2, psi: true },
];

impl Release {
    fn lines(&self, lines: &[(Kernel, &str)]) -> String {
        let there = lines.iter().filter(|(since, _)| *since <= self.number);
        there.flat_map(|(_, line)| [*line, "\n"]).collect()
    }

    fn pressure(&self, node: &Node, directory: &str, suffix: &str) {
        if self.psi {
            node.write(&format!("{directory}/cpu{suffix}"), &self.lines(CPU_PRESSURE));
            node.write(&format!("{directory}/memory{suffix}"), &self.lines(PRESSURE));
            node.write(&format!("{directory}/io{suffix}"), &self.lines(PRESSURE));
        }
    }

    /// A node of this release with container 104 running.
    fn node(&self) -> Node {
        let node = Node::new();
        node.write("proc/sys/kernel/osrelease", &format!("{}\n", self.kernel));
        self.pressure(&node, "proc/pressure", "");
        node.start(104, 7104);
        match self.layout {
            Layout::V1 => Self::container_v1(&node),
            Layout::Hybrid => {
                Self::container_v1(&node);
                node.write("cgroup/unified/cgroup.controllers", "\n");
                node.write("cgroup/unified/lxc/104/cgroup.events", "populated 1\nfrozen 0\n");
                self.pressure(&node, "cgroup/unified/lxc/104", ".pressure");
            }
            Layout::V2 => self.container_v2(&node),
        }
        node
    }

    fn container_v1(node: &Node) {
        let mut controllers = BTreeSet::new();
        for (controller, name, text) in V1 {
            node.write(&format!("cgroup/{controller}/lxc/104/{name}"), text);
            controllers.insert(*controller);
        }
        for controller in controllers.into_iter().chain(["systemd"]) {
            for name in ["cgroup.clone_children", "notify_on_release", "tasks", "cgroup.procs"] {
                node.write(&format!("cgroup/{controller}/lxc/104/{name}"), "");
            }
            node.write(&format!("cgroup/{controller}/lxc/104/ns/cgroup.procs"), "7104\n");
        }
    }

    fn container_v2(&self, node: &Node) {
        node.write("cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n");
        for (_, name, text) in V2.iter().filter(|(since, ..)| *since <= self.number) {
            node.write(&format!("cgroup/lxc/104/{name}"), text);
        }
        for (name, lines) in [
            ("cpu.stat", CPU_STAT),
            ("memory.stat", MEMORY_STAT),
            ("memory.events", MEMORY_EVENTS),
            ("memory.swap.events", SWAP_EVENTS),
        ] {
            node.write(&format!("cgroup/lxc/104/{name}"), &self.lines(lines));
        }
        self.pressure(node, "cgroup/lxc/104", ".pressure");
        node.write("cgroup/lxc/104/ns/cgroup.procs", "");
        node.write("cgroup/lxc/104/ns/init.scope/cgroup.procs", "7104\n");
    }

    /// The output of `check`, without anything that differs between machines.
    fn check(&self, node: &Node, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lxc-monitor"))
            .args(arguments)
            .arg("--config")
            .arg(node.config_file())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.replace(node.path("").to_str().unwrap(), "/").replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }
}

/// The fields of a record, without the values.
fn fields(prefix: &str, value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(object) => {
            for (key, value) in object {
                fields(&format!("{prefix}{}{key}", if prefix.is_empty() { "" } else { "." }), value, found);
            }
        }
        None => {
            found.insert(prefix.to_owned());
        }
    }
}

/// The report for people, then the JSON: the gaps, and the fields that are present.
fn report(release: &Release) -> String {
    let node = release.node();
    let table = release.check(&node, &["check"]);
    // Whether the tests run as root does not depend on the release.
    let table: String = table
        .lines()
        .scan(false, |of_privileges, line| {
            *of_privileges = line.contains("privileges") || (*of_privileges && line.contains(" -> "));
            Some((*of_privileges, line))
        })
        .filter(|(of_privileges, _)| !of_privileges)
        .flat_map(|(_, line)| [line, "\n"])
        .collect();
    let json: serde_json::Value = serde_json::from_str(&release.check(&node, &["check", "--json"])).unwrap();
    let lacks = serde_json::to_string_pretty(&json["lacks"]).unwrap();
    let mut found = BTreeSet::new();
    let record = &json["containers"][0]["record"];
    for (key, value) in record.as_object().unwrap().iter().filter(|(key, _)| *key != "configuration") {
        fields(key, value, &mut found);
    }
    let found = found.into_iter().collect::<Vec<_>>().join("\n");
    format!("{table}\n--- lacks, as JSON\n{lacks}\n\n--- fields of the record\n{found}\n")
}

/// Compares with the expected text, or writes it.
#[track_caller]
fn check(release: &Release) {
    let expected: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "tests/monitor/versions", &format!("{}.txt", release.name)]
            .iter()
            .collect();
    let found = report(release);
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(expected.parent().unwrap()).unwrap();
        std::fs::write(&expected, &found).unwrap();
    }
    let want = std::fs::read_to_string(&expected).unwrap_or_default();
    assert!(found == want, "{} differs from {}; it is now:\n{found}", release.name, expected.display());
}

#[test]
fn check_explains_what_each_release_lacks() {
    for release in &RELEASES {
        check(release);
    }
}

/// Everything that this release adds to the fields of the Python original must fit in a line that is written for every
/// container in every cycle; two thirds of it are pressure and traffic.
#[test]
fn a_record_of_the_newest_release_stays_small() {
    let newest = &RELEASES[RELEASES.len() - 1];
    let json: serde_json::Value =
        serde_json::from_str(&newest.check(&newest.node(), &["check", "--json"])).unwrap();
    let record = &json["containers"][0]["record"];
    let bytes = record.to_string().len();
    let part = |key: &str| record[key].to_string().len();
    println!(
        "{bytes} bytes, of which pressure {}, traffic {}, devices {}, events {}, inodes {}",
        part("pressure"),
        part("network_interfaces"),
        part("io_devices"),
        part("memory_events") + part("memory_swap_events") + part("pids_events"),
        part("filesystem_inodes_used") + part("filesystem_inodes_total"),
    );
    assert!(bytes < 2400, "{bytes} bytes: {record}");
}

/// ZFS charges no control group; its counts for the container's datasets are used instead.
#[test]
fn a_container_on_zfs_has_the_io_that_zfs_counts() {
    for release in &RELEASES {
        let node = release.node();
        for (path, text) in [
            ("lxc/104/io.stat", ""),
            ("blkio/lxc/104/blkio.throttle.io_service_bytes_recursive", "Total 0\n"),
            ("blkio/lxc/104/blkio.throttle.io_serviced_recursive", "Total 0\n"),
        ] {
            if node.path(&format!("cgroup/{path}")).exists() {
                node.write(&format!("cgroup/{path}"), text);
            }
        }
        let dataset = "rpool/data/subvol-104-disk-0";
        let counters = "writes 4 2\nnwritten 4 2048\nreads 4 3\nnread 4 4096\n";
        node.write("proc/spl/kstat/zfs/rpool/objset-0x8a", &format!("dataset_name 7 {dataset}\n{counters}"));
        let json: serde_json::Value =
            serde_json::from_str(&release.check(&node, &["check", "--json"])).unwrap();
        let record = &json["containers"][0]["record"];
        let want = serde_json::json!({"reads": 8, "writes": 4, "read_ops": 3, "write_ops": 2});
        assert_eq!(record["io_stats"], want, "{}: {record:#}", release.name);
        assert_eq!(record["io_devices"][dataset]["rbytes"], 4096, "{}", release.name);
    }
}

/// Measurements must not depend on the release if all of them count the value.
#[test]
fn the_same_container_reads_the_same_on_every_release() {
    for release in &RELEASES {
        let json: serde_json::Value =
            serde_json::from_str(&release.check(&release.node(), &["check", "--json"])).unwrap();
        let record = &json["containers"][0]["record"];
        for (pointer, want) in [
            ("/cpu_usage_usec", 35_292_297.0),
            ("/throttling/throttled_usec", 900.0),
            ("/limits/cores", 1.5),
            ("/limits/memory_mb", 512.0),
            ("/limits/swap_mb", 256.0),
            ("/memory_usage_mb", 156.0),
            ("/swap_usage_mb", 1.0),
            ("/memory_events/max", 2.0),
            ("/memory_events/oom_kill", 4.0),
            ("/paging/major_faults", 183.0),
            ("/io_stats/reads", 10.0),
            ("/io_devices/sda/wbytes", 1024.0),
            ("/process_count", 31.0),
        ] {
            let found = record.pointer(pointer).and_then(serde_json::Value::as_f64);
            assert_eq!(found, Some(want), "{pointer} on {}: {record:#}", release.name);
        }
        assert_eq!(record.get("missing"), None, "{}: an absent file is no failed read", release.name);
        assert_eq!(record.pointer("/pressure/cpu").is_some(), release.psi, "{}", release.name);
    }
}
