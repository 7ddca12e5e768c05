//! Open kernel files take memory of the monitor: it keeps as many open as fit into its limit.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::fixture::Node;
use crate::program::{Daemon, PROGRAM};

const CGROUP: &str = "/sys/fs/cgroup";
/// First of their ids; no real node uses such numbers.
const FIRST_ID: u32 = 910_000;
const CONTAINERS: u32 = 150;
/// The monitor's limit. All twenty files of each container would take 13 MiB, in addition to its own memory.
const LIMIT_BYTES: u64 = 16 << 20;
/// Files other than the containers': the log, the metrics file and its copies, the database, sockets.
const OTHER_FILES: usize = 60;

/// Containers of one sleeping process each, in real groups of cgroup version 1; removed when dropped.
struct Containers {
    groups: Vec<PathBuf>,
    processes: Vec<Child>,
    sockets: Vec<UnixListener>,
}

impl Containers {
    fn start(node: &Node, lxc: &Path) -> Self {
        let mut containers = Self { groups: Vec::new(), processes: Vec::new(), sockets: Vec::new() };
        for id in FIRST_ID..FIRST_ID + CONTAINERS {
            node.write(&format!("pve/lxc/{id}.conf"), "memory: 512\n");
            let socket =
                SocketAddr::from_abstract_name(lxc.join(id.to_string()).join("command").to_str().unwrap());
            containers.sockets.push(UnixListener::bind_addr(&socket.unwrap()).unwrap());
            let process = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
            let pid = process.id().to_string();
            containers.processes.push(process);
            for tree in ["memory", "cpuacct", "cpu", "pids", "blkio", "unified"] {
                let group = Path::new(CGROUP).join(tree).join("lxc").join(id.to_string());
                if std::fs::create_dir_all(&group).is_ok() {
                    containers.groups.push(group.clone());
                    std::fs::write(group.join("cgroup.procs"), &pid).unwrap();
                }
            }
        }
        containers
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        self.sockets.clear();
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        for group in &self.groups {
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// A group with a memory limit; removed when dropped.
struct Limited(PathBuf);

impl Limited {
    fn new() -> Self {
        let group = Path::new(CGROUP).join(format!("memory/lxc-monitor-test-{}", std::process::id()));
        std::fs::create_dir(&group).unwrap();
        let limited = Self(group);
        std::fs::write(limited.0.join("memory.limit_in_bytes"), LIMIT_BYTES.to_string()).unwrap();
        limited
    }

    /// Runs the program in it.
    fn run(&self, config: &Path) -> Daemon {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        command.args([PROGRAM, "run", "--config"]).arg(config);
        Daemon::of(command)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_monitor_of_many_containers_stays_within_its_memory_limit() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !Path::new(CGROUP).join("memory/memory.oom_control").exists() {
        println!("skipped: it takes root and the control groups of version 1");
        return;
    }
    let node = Node::new();
    let lxc = node.path("lxc");
    let limited = Limited::new();
    let _containers = Containers::start(&node, &lxc);
    let text = std::fs::read_to_string(node.config_file()).unwrap();
    let real = |text: String, path: &str, real: &str| {
        text.replace(&format!("'{}'", node.path(path).display()), real)
    };
    let text = real(real(real(text, "cgroup", "'/sys/fs/cgroup'"), "proc", "'/proc'"), "sys", "'/sys'");
    let text = text.replace("'/var/lib/lxc'", &format!("'{}'", lxc.display()));
    node.write("lxc_monitor.toml", &text);

    let mut daemon = limited.run(&node.path("lxc_monitor.toml"));
    for _ in 0..5 {
        daemon.wait_for(&format!("measured {CONTAINERS} running containers"));
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).unwrap().count();
    let handles = usize::try_from(LIMIT_BYTES / 3 / (5 << 10)).unwrap();
    assert!(files <= handles + OTHER_FILES, "{files} files are open");
    // The files of quiet looks stay open for all containers, except those that exceed the bound.
    assert!(usize::try_from(6 * CONTAINERS).unwrap() <= files, "{files} files are open");
    let kills = std::fs::read_to_string(limited.0.join("memory.oom_control")).unwrap();
    assert!(kills.contains("oom_kill 0"), "{kills}");
    drop(daemon);
}
