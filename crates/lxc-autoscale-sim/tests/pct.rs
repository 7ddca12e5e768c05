//! Behaviour of `pct` beyond the recorded calls: concurrent calls, cgroup v1, partial failures, additional volumes.

#![allow(clippy::unwrap_used, reason = "a test that cannot set up its case must fail")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use lxc_autoscale_core::{Mebibytes, Vmid};
use lxc_autoscale_sim::node::{
    CgroupVersion, NodeLayout, NodeSettings, Storage, StorageKind, add_container, create_node, running,
};
use lxc_autoscale_sim::pve::{Terminal, pct};

const CONFIG: &str = "\
arch: amd64
cores: 1
hostname: web
memory: 256
ostype: debian
rootfs: local-lvm:vm-100-disk-0,size=1G
swap: 0
";

struct Node {
    directory: tempfile::TempDir,
    layout: NodeLayout,
}

impl Node {
    fn new(settings: &NodeSettings, containers: std::ops::Range<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        create_node(&layout, settings).unwrap();
        for number in containers {
            let config = CONFIG.replace("100", &number.to_string());
            add_container(&layout, vmid(number), &config).unwrap();
        }
        Self { directory, layout }
    }

    /// Runs a call in a process of its own.
    fn spawn(&self, line: &str) -> std::process::Child {
        Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-sim"))
            .arg("--node")
            .arg(self.directory.path())
            .arg("pct")
            .args(line.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn call(&self, line: &str) -> (u8, String) {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = pct::run(&self.layout, &args, &mut Terminal { out: &mut out, err: &mut err });
        (status, String::from_utf8([out, err].concat()).unwrap())
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.directory.path().join(path)).unwrap().trim().to_owned()
    }
}

fn vmid(number: u32) -> Vmid {
    Vmid::try_from(number).unwrap()
}

#[test]
fn containers_started_at_once_all_run() {
    let node = Node::new(&NodeSettings::default(), 100..112);
    let children: Vec<_> = (100..112).map(|number| node.spawn(&format!("start {number}"))).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let ids: Vec<u32> = running(&node.layout).unwrap().ids().iter().map(|id| id.get()).collect();
    assert_eq!(ids, (100..112).collect::<Vec<_>>());
    let mut pids: Vec<String> =
        (100..112).map(|id| node.read(&format!("sys/fs/cgroup/lxc/{id}/ns/cgroup.procs"))).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 12, "every container has its own init");
}

#[test]
fn changes_at_once_are_all_stored() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    node.call("start 100");
    let options = ["-cores 3", "-memory 512", "-swap 64", "-onboot 1", "-cpulimit 1.5", "-tags b;a"];
    let children: Vec<_> = options.iter().map(|option| node.spawn(&format!("set 100 {option}"))).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let config = node.read("etc/pve/lxc/100.conf");
    for line in ["cores: 3", "memory: 512", "swap: 64", "onboot: 1", "cpulimit: 1.5", "tags: a;b"] {
        assert!(config.lines().any(|found| found == line), "{line} in {config}");
    }
    assert_eq!(node.read("sys/fs/cgroup/lxc/100/memory.max"), (512u64 << 20).to_string());
    assert_eq!(node.read("sys/fs/cgroup/lxc/100/memory.swap.max"), (64u64 << 20).to_string());
}

#[test]
fn a_held_lock_is_waited_for() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    let path = node.layout.config_lock(vmid(100));
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    let mut child = node.spawn("set 100 -cores 2");
    // The call prints that it waits; only then is the lock released.
    let mut said = [0; 25];
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said[..], b"trying to acquire lock...");
    drop(held);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), " OK\n");
    assert!(node.read("etc/pve/lxc/100.conf").contains("cores: 2"));
}

#[test]
fn cgroup_v1_has_its_own_files_and_refusals() {
    let settings = NodeSettings { cgroup: CgroupVersion::V1, ..NodeSettings::default() };
    let node = Node::new(&settings, 100..101);
    assert_eq!(node.call("start 100"), (0, String::new()));
    let limits = |node: &Node| {
        ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"].map(|file| {
            node.read(&format!("sys/fs/cgroup/memory/lxc/100/{file}")).parse::<u64>().unwrap() >> 20
        })
    };
    assert_eq!(limits(&node), [256, 256]);
    assert_eq!(node.call("set 100 -memory 512 -swap 128").0, 0);
    assert_eq!(limits(&node), [512, 640]);
    assert_eq!(node.call("set 100 -memory 128").0, 0);
    assert_eq!(limits(&node), [128, 256]);
    assert_eq!(node.call("set 100 -cpulimit 2").0, 0);
    assert_eq!(node.read("sys/fs/cgroup/cpu/lxc/100/cpu.cfs_quota_us"), "200000");

    // More is in use than would be left.
    let group = node.directory.path().join("sys/fs/cgroup/memory/lxc/100");
    fs::write(group.join("memory.usage_in_bytes"), format!("{}\n", 120u64 << 20)).unwrap();
    assert_eq!(node.call("set 100 -swap 0").0, 0);
    let (status, text) = node.call("set 100 -memory 64");
    let path = "/sys/fs/cgroup/memory/lxc/100/memory.limit_in_bytes";
    let want =
        format!("memory: unable to hotplug memory: closing file '{path}' failed - Device or resource busy\n");
    assert!(status != 0 && text.contains(&want), "{text}");
    assert!(node.read("etc/pve/lxc/100.conf").contains("memory: 128"));
}

#[test]
fn a_change_that_fails_in_part_leaves_the_file_alone() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    node.call("start 100");
    let (status, _) = node.call("set 100 -cpuunits 500 -cpulimit 0 -memory 512 -hostname new");
    assert_ne!(status, 0);
    assert_eq!(node.read("etc/pve/lxc/100.conf"), CONFIG.trim());
    // Proxmox leaves in force what it had applied before.
    assert_eq!(node.read("sys/fs/cgroup/lxc/100/cpu.weight"), "500");
    assert_eq!(node.read("sys/fs/cgroup/lxc/100/memory.max"), (512u64 << 20).to_string());
}

fn of_version(version: &str) -> NodeSettings {
    NodeSettings { pve_version: version.to_owned(), ..NodeSettings::default() }
}

/// Only `OK` counted on version 6; a resize never exits by how its task ended.
#[test]
fn warnings_are_a_failure_by_the_exit_code_of_version_6_only() {
    for (version, status) in [("6.4-15", 255), ("7.0-8", 0), ("9.1.4", 0)] {
        let node = Node::new(&NodeSettings { tasks_warn: true, ..of_version(version) }, 100..101);
        let (found, said) = node.call("start 100");
        assert_eq!(found, status, "{version}: {said}");
        assert!(said.ends_with("Task finished with 1 warning(s)!\n"), "{version}: {said}");
        assert_eq!(node.call("resize 100 rootfs +1G").0, 0, "{version}");
        assert_eq!(node.call("set 100 --memory 300"), (0, String::new()), "{version}: it is no task");
    }
}

/// Before 8.3, the configuration is written before the error is raised.
#[test]
fn before_8_3_what_is_refused_stays_pending() {
    let node = Node::new(&of_version("8.2.7"), 100..101);
    assert_eq!(node.call("start 100").0, 0);
    let (status, said) = node.call("set 100 --cpulimit 0 --memory 512");
    assert!(status != 0 && said.contains("unable to hotplug cpulimit"), "{said}");
    let stored = node.read("etc/pve/lxc/100.conf");
    assert!(stored.contains("memory: 512") && stored.ends_with("[pve:pending]\ncpulimit: 0"), "{stored}");
    assert_eq!(node.call("set 100 --revert cpulimit").0, 0);
    assert!(!node.read("etc/pve/lxc/100.conf").contains("pending"));
}

/// A snapshot that an interrupted call has left is shown as incomplete, and ZFS knows only the newest.
#[test]
fn what_cannot_be_rolled_back_to_is_refused() {
    let pool =
        Storage { id: "local-lvm".to_owned(), kind: StorageKind::ZfsPool, size: Mebibytes::new(102_400) };
    let node = Node::new(&NodeSettings { storages: vec![pool], ..NodeSettings::default() }, 100..101);
    for name in ["one", "two"] {
        assert_eq!(node.call(&format!("snapshot 100 {name}")).0, 0);
    }
    let refused = "can't rollback, 'one' is not most recent snapshot on 'local-lvm:vm-100-disk-0'\n";
    assert_eq!(node.call("rollback 100 one"), (255, refused.to_owned()));
    assert_eq!(node.call("rollback 100 two").0, 0);
    let path = node.directory.path().join("etc/pve/lxc/100.conf");
    let half = fs::read_to_string(&path).unwrap() + "snapstate: prepare\n";
    fs::write(&path, half).unwrap();
    assert!(node.call("config 100 --snapshot two").1.contains("snapstate: prepare"));
    let refused = "unable to rollback to incomplete snapshot (snapstate = prepare)\n";
    assert_eq!(node.call("rollback 100 two"), (255, refused.to_owned()));
}

#[test]
fn an_abbreviated_command_is_found_and_others_are_explained() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    assert_eq!(node.call("conf 100 --curr"), node.call("config 100 --current 1"));
    for (line, want) in [
        ("sta 100", "ERROR: unknown command 'pct sta'\nUSAGE: pct <COMMAND> [ARGS] [OPTIONS]\n"),
        ("nonsense", "ERROR: unknown command 'pct nonsense'\nUSAGE: pct <COMMAND> [ARGS] [OPTIONS]\n"),
        ("migrate 100 other", "pct migrate: this node has no such command, only a real Proxmox node has\n"),
    ] {
        let (status, text) = node.call(line);
        assert_eq!((status, text.starts_with(want)), (255, true), "{line}: {text}");
    }
}

#[test]
fn a_directory_without_a_node_is_said_to_be_none() {
    let layout = NodeLayout::new(Path::new("/nonexistent/node"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = pct::run(&layout, &["list".to_owned()], &mut Terminal { out: &mut out, err: &mut err });
    let text = String::from_utf8(err).unwrap();
    assert!(status != 0 && text.contains("cannot read `/nonexistent/node/etc/sim/node.json`"), "{text}");
}

#[test]
fn a_mount_point_is_made_grown_detached_and_removed() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    let config_has = |line: &str| node.read("etc/pve/lxc/100.conf").lines().any(|found| found == line);
    let volume = node.layout.volume("local-lvm", "vm-100-disk-1");

    let (status, text) =
        node.call("create 101 local:vztmpl/any.tar -rootfs local-lvm:1 -mp0 local:2,mp=/srv -tags b,A");
    assert_eq!(status, 0, "{text}");
    let created = node.read("etc/pve/lxc/101.conf");
    assert!(
        created.contains("mp0: local:101/vm-101-disk-0.raw,mp=/srv,size=2G") && created.contains("tags: a;b"),
        "{created}"
    );

    // The name of the root volume is taken, although nobody has used it yet.
    assert_eq!(node.call("set 100 -mp0 local-lvm:1,mp=/data").0, 0);
    assert_eq!(node.call("start 100").0, 0);
    assert!(
        config_has("mp0: local-lvm:vm-100-disk-1,mp=/data,size=1G"),
        "{}",
        node.read("etc/pve/lxc/100.conf")
    );
    assert_eq!(node.call("resize 100 mp0 +512M").0, 0);
    assert!(config_has("mp0: local-lvm:vm-100-disk-1,mp=/data,size=1536M"));
    assert_eq!(node.call("df 100").1.lines().count(), 3);

    // A running container keeps it until it is stopped and started.
    assert_eq!(node.call("set 100 -delete mp0").0, 0);
    assert!(config_has("delete: mp0"));
    assert_eq!((node.call("stop 100").0, node.call("start 100").0), (0, 0));
    assert!(config_has("unused0: local-lvm:vm-100-disk-1") && volume.is_dir());
    assert_eq!(node.call("set 100 -delete unused0").0, 0);
    assert!(!config_has("unused0: local-lvm:vm-100-disk-1") && !volume.exists());
}

#[test]
fn a_protected_container_keeps_its_drives() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    assert_eq!(node.call("set 100 -protection 1").0, 0);
    for (line, want) in [
        ("destroy 100", "can't remove CT 100 - protection mode enabled\n"),
        ("set 100 -mp0 local-lvm:1,mp=/x", "can't update CT 100 drive 'mp0' - protection mode enabled\n"),
    ] {
        assert_eq!(node.call(line), (255, want.to_owned()), "{line}");
    }
    assert_eq!(node.call("resize 100 rootfs +1G").0, 0, "growing is no loss");
}

#[test]
fn options_that_wait_come_into_force_at_the_next_start() {
    let node = Node::new(&NodeSettings::default(), 100..101);
    node.call("start 100");
    assert_eq!(node.call("set 100 -ostype alpine -nameserver 10.0.0.1").0, 0);
    let pending = node.call("pending 100").1;
    assert!(
        pending.contains("new nameserver: 10.0.0.1\n") && pending.contains("new ostype: alpine\n"),
        "{pending}"
    );
    assert_eq!(node.call("reboot 100").0, 0);
    let config = node.read("etc/pve/lxc/100.conf");
    assert!(config.contains("ostype: alpine") && !config.contains("[pve:pending]"), "{config}");
}

/// The links of a node lead somewhere wherever it is started from.
#[test]
fn a_relative_directory_makes_no_dangling_links() {
    fn dangling(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_symlink() && !entry.path().exists() {
                found.push(entry.path());
            } else if kind.is_dir() {
                dangling(&entry.path(), found);
            }
        }
    }
    let scratch = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-sim"))
        .args(["run", "--dir", "nodes/one", "--seconds", "0"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(said.contains(&format!("runs in {}/nodes/one/node;", scratch.path().display())), "{said}");
    let mut found = Vec::new();
    dangling(scratch.path(), &mut found);
    assert_eq!(found, [""; 0].map(std::path::PathBuf::from));
}
