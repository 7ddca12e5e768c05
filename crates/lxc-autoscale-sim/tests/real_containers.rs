//! `pct` with a real container: limits that it sets are read back from this machine's own cgroup files.
//!
//! Needs root, Debian's `lxc` tools and busybox; if they are missing, the test prints that and does nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set up its case must fail")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lxc_autoscale_sim::node::{NodeLayout, NodeSettings, create_node, write_wrappers_for};

/// The ids of this test's containers; the process id makes them differ between concurrent runs.
fn ids() -> (u32, u32) {
    let first = 91_000 + std::process::id() % 400 * 2;
    (first, first + 1)
}

/// What this machine lacks, if anything.
fn missing() -> Option<&'static str> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| {
        use std::os::unix::fs::MetadataExt;
        metadata.uid() == 0
    });
    let has = |program: &str| {
        Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !is_root {
        Some("this test needs root")
    } else if !["lxc-create", "lxc-start", "lxc-stop", "lxc-attach"].iter().all(|program| has(program)) {
        Some("this test needs the package `lxc`")
    } else if !has("busybox") {
        Some("this test needs the package `busybox-static`")
    } else {
        None
    }
}

/// A node with its `pct`; its containers are removed when it is dropped, whatever happened in the test.
struct Node {
    directory: tempfile::TempDir,
    ids: Vec<u32>,
}

impl Node {
    fn new(ids: &[u32]) -> Self {
        // A short path, because it is part of the command socket's name.
        let directory = tempfile::Builder::new().prefix("sim").tempdir_in("/tmp").unwrap();
        let layout = NodeLayout::new(directory.path());
        create_node(&layout, &NodeSettings::for_lxc()).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_lxc-autoscale-sim"));
        write_wrappers_for(program, &layout, &directory.path().join("bin")).unwrap();
        Self { directory, ids: ids.to_vec() }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(self.directory.path().join("bin/pct")).args(args).output().unwrap()
    }

    /// A call that must succeed; returns its output.
    #[track_caller]
    fn pct(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pct {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn rebalance(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-sim"))
            .arg("--node")
            .arg(self.directory.path())
            .arg("rebalance")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for id in &self.ids {
            // It is gone already if the test got as far as destroying it.
            let _ = self.run(&["stop", &id.to_string()]);
        }
    }
}

/// The files of a container's limits on this machine.
struct Limits {
    version2: bool,
}

impl Limits {
    fn of_this_machine() -> Self {
        Self { version2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists() }
    }

    #[track_caller]
    fn read(&self, id: u32, v1: &str, v2: &str) -> String {
        let group = format!("lxc/{id}");
        let path: PathBuf = if self.version2 {
            Path::new("/sys/fs/cgroup").join(group).join(v2)
        } else {
            let controller = v1.split('.').next().unwrap();
            Path::new("/sys/fs/cgroup").join(controller).join(group).join(v1)
        };
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    #[track_caller]
    fn memory(&self, id: u32) -> u64 {
        self.read(id, "memory.limit_in_bytes", "memory.max").parse().unwrap()
    }

    /// Hundredths of a core; `None` if there is no limit.
    #[track_caller]
    fn cpu(&self, id: u32) -> Option<u64> {
        let quota = self.read(id, "cpu.cfs_quota_us", "cpu.max");
        quota.split(' ').next().unwrap().parse::<u64>().ok().map(|usec| usec / 1000)
    }

    #[track_caller]
    fn cpuset(&self, id: u32) -> String {
        self.read(id, "cpuset.cpus", "cpuset.cpus.effective")
    }
}

#[test]
fn limits_reach_the_kernel_and_copies_run() {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    let limits = Limits::of_this_machine();
    let (first, second) = ids();
    let node = Node::new(&[first, second]);
    let (id, copy) = (first.to_string(), second.to_string());
    node.pct(&[
        "create",
        &id,
        "local:vztmpl/busybox.tar",
        "--hostname",
        "busy",
        "--memory",
        "64",
        "--swap",
        "0",
        "--cores",
        "1",
        "--rootfs",
        "local:1",
    ]);
    assert_eq!(node.pct(&["status", &id]), "status: stopped\n");

    node.pct(&["start", &id]);
    assert_eq!(node.pct(&["status", &id]), "status: running\n");
    assert_eq!((limits.memory(first), limits.cpu(first)), (64 << 20, None));
    assert_eq!(limits.cpuset(first).split(['-', ',']).count(), 1, "one core");

    node.pct(&["set", &id, "-memory", "128", "-cpulimit", "0.5"]);
    assert_eq!((limits.memory(first), limits.cpu(first)), (128 << 20, Some(50)));
    node.pct(&["set", &id, "-memory", "96"]);
    node.pct(&["set", &id, "-delete", "cpulimit"]);
    assert_eq!((limits.memory(first), limits.cpu(first)), (96 << 20, None));

    let refused = node.run(&["set", &id, "-cpulimit", "0"]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("failed - Invalid argument"), "{text}");

    // `cores` takes effect with the next rebalancing.
    let before = limits.cpuset(first);
    node.pct(&["set", &id, "-delete", "cores"]);
    assert_eq!(limits.cpuset(first), before);
    let log = node.rebalance();
    assert!(log.contains(&format!("modified cpu set for lxc/{id}: {}", limits.cpuset(first))), "{log}");

    assert_eq!(node.pct(&["exec", &id, "--", "hostname"]), "busy\n");
    assert_eq!(node.run(&["exec", &id, "--", "sh", "-c", "exit 3"]).status.code(), Some(3));
    let status = node.pct(&["status", &id, "--verbose"]);
    for expected in ["maxmem: 100663296\n", "pid: ", "status: running\n", "\nmem: "] {
        assert!(status.contains(expected), "{expected:?} in {status}");
    }

    // A snapshot keeps files and limits; a copy of it can run.
    node.pct(&["exec", &id, "--", "sh", "-c", "echo one > /root/mark"]);
    node.pct(&["snapshot", &id, "before"]);
    node.pct(&["exec", &id, "--", "sh", "-c", "echo two > /root/mark"]);
    node.pct(&["set", &id, "-memory", "80"]);
    node.pct(&["clone", &id, &copy, "--snapname", "before", "--hostname", "copy"]);
    node.pct(&["start", &copy]);
    assert_eq!(node.pct(&["exec", &copy, "--", "sh", "-c", "cat /root/mark; hostname"]), "one\ncopy\n");
    node.pct(&["rollback", &id, "before", "--start"]);
    assert_eq!(node.pct(&["exec", &id, "--", "cat", "/root/mark"]), "one\n");
    assert_eq!(limits.memory(first), 96 << 20);

    let refused = node.run(&["destroy", &id]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("container is running"), "{refused:?}");
    node.pct(&["shutdown", &copy, "--timeout", "20", "--forceStop"]);
    node.pct(&["stop", &id]);
    for id in [&id, &copy] {
        node.pct(&["destroy", id]);
    }
    assert_eq!(node.pct(&["list"]), "");
    let left = fs::read_dir(node.directory.path().join("var/lib/lxc")).unwrap().count();
    assert_eq!(left, 0, "directories left behind");
}
