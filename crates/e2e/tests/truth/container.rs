//! Real LXC containers in Proxmox's layout, and the load inside them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lxc_autoscale_e2e::{binary, output};

use crate::machine::Machine;
use crate::monitor::Monitor;

/// Longest time for an order, also on an emulated machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// Name of the container that is created first and copied for all others; it is never started.
const TEMPLATE: &str = "made-once";

/// The limits that the kernel must enforce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) quota_cores: Option<f64>,
    pub(crate) memory_mib: u64,
    pub(crate) swap_mib: u64,
    pub(crate) pids: Option<u64>,
}

/// A running container; it is stopped and removed with the test, whatever the test does.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: u32,
    directory: PathBuf,
    load: Option<Load>,
    /// The times before and after the call of `lxc-start`.
    pub(crate) started: (Instant, Instant),
}

impl Container {
    /// Creates and starts a container; `data` is a directory of the node that it sees as `/data`.
    pub(crate) fn start(machine: Machine, monitor: &Monitor, id: u32, limits: Limits, data: &Path) -> Self {
        let directory = monitor.containers();
        fs::create_dir_all(&directory).unwrap();
        let template = directory.join(TEMPLATE);
        if !template.exists() {
            let mut create = Command::new("lxc-create");
            succeed(
                create.args(["-n", TEMPLATE, "-t", "busybox", "-P"]).arg(&directory).stdin(Stdio::null()),
            );
        }
        let own = directory.join(id.to_string());
        // The template's script takes seconds on an emulated machine; copying does not.
        succeed(Command::new("cp").arg("-a").arg(&template).arg(&own));
        let config = own.join("config");
        let text = fs::read_to_string(&config).unwrap().replace(TEMPLATE, &id.to_string());
        fs::write(&config, config_text(&text, machine, id, limits, data)).unwrap();
        // An init that starts nothing; the template's would remove the network's address (udhcpc).
        fs::write(own.join("rootfs/etc/inittab"), "::ctrlaltdel:/bin/true\n").unwrap();
        monitor.configure(id, &proxmox_text(id, limits));
        let mut container = Self { id, directory, load: None, started: (Instant::now(), Instant::now()) };
        container.boot();
        container
    }

    /// Starts it, or starts it again after it was stopped.
    pub(crate) fn boot(&mut self) {
        let before = Instant::now();
        let log = self.directory.join(format!("{}.log", self.id));
        let mut start = tool("lxc-start", self.id, &self.directory);
        start.args(["-l", "WARN", "-o"]).arg(&log).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(
            start.status().unwrap().success(),
            "{start:?}: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
        self.started = (before, Instant::now());
        self.load = Some(Load::attach(self.id, &self.directory));
    }

    /// Gives an order to the load and waits for its answer.
    pub(crate) fn order(&mut self, order: &str) -> String {
        self.load.as_mut().unwrap().order(order)
    }

    /// An order whose answer is a number.
    pub(crate) fn ask(&mut self, order: &str) -> f64 {
        let answer = self.order(order);
        answer.parse().unwrap_or_else(|_| panic!("{order}: {answer}"))
    }

    /// The container's root filesystem as the node sees it.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join(format!("{}/rootfs", self.id))
    }

    /// Runs a command in it.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let mut attach = tool("lxc-attach", self.id, &self.directory);
        String::from_utf8(output(attach.arg("--").args(words)).stdout).unwrap()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        succeed(tool("lxc-stop", self.id, &self.directory).arg("-k"));
        self.load = None;
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = tool("lxc-stop", self.id, &self.directory).arg("-k").output();
        self.load = None;
        remove_groups(self.id);
    }
}

/// Empty groups may be left if the kernel was still busy with them.
fn remove_groups(id: u32) {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for root in roots.chain([PathBuf::from("/sys/fs/cgroup")]) {
        for group in [format!("lxc/{id}/ns"), format!("lxc/{id}"), format!("lxc.monitor/{id}")] {
            // Only an empty group can be removed.
            let _ = fs::remove_dir(root.join(group));
        }
    }
}

/// The template's configuration without its network and confinement, with Proxmox's layout and our limits.
fn config_text(template: &str, machine: Machine, id: u32, limits: Limits, data: &Path) -> String {
    let ours = ["lxc.net.", "lxc.apparmor.", "lxc.cgroup"];
    let kept = template.lines().filter(|line| !ours.iter().any(|prefix| line.starts_with(prefix)));
    let mut lines: Vec<String> = kept.map(str::to_owned).collect();
    let address = container_address(id);
    lines.extend([
        // Debian's profile may not be loaded, and what it forbids is not part of the test.
        "lxc.apparmor.profile = unconfined".to_owned(),
        "lxc.net.0.type = veth".to_owned(),
        format!("lxc.net.0.veth.pair = {}", node_device(id)),
        "lxc.net.0.flags = up".to_owned(),
        format!("lxc.net.0.ipv4.address = {address}/30"),
        format!("lxc.cgroup.dir.container = lxc/{id}"),
        "lxc.cgroup.dir.container.inner = ns".to_owned(),
        format!("lxc.cgroup.dir.monitor = lxc.monitor/{id}"),
        format!("lxc.mount.entry = {} opt/load none ro,bind,create=file 0 0", binary("truth-load").display()),
        "lxc.mount.entry = tmpfs ram tmpfs size=400m,create=dir 0 0".to_owned(),
        format!("lxc.mount.entry = {} data none bind,create=dir 0 0", data.display()),
    ]);
    let bytes = |mebibytes: u64| mebibytes << 20;
    let quota = limits.quota_cores.map(|cores| (cores * 100_000.0) as u64);
    if machine.is_v2 {
        lines.push(format!("lxc.cgroup2.memory.max = {}", bytes(limits.memory_mib)));
        lines.push(format!("lxc.cgroup2.memory.swap.max = {}", bytes(limits.swap_mib)));
        lines.extend(quota.map(|quota| format!("lxc.cgroup2.cpu.max = {quota} 100000")));
        lines.extend(limits.pids.map(|pids| format!("lxc.cgroup2.pids.max = {pids}")));
    } else {
        lines.push(format!("lxc.cgroup.memory.limit_in_bytes = {}", bytes(limits.memory_mib)));
        lines.extend(quota.map(|quota| format!("lxc.cgroup.cpu.cfs_quota_us = {quota}")));
        lines.extend(limits.pids.map(|pids| format!("lxc.cgroup.pids.max = {pids}")));
    }
    lines.join("\n") + "\n"
}

/// The configuration that Proxmox would have stored, including everything that must not be taken for the current
/// state.
fn proxmox_text(id: u32, limits: Limits) -> String {
    let cpulimit = limits.quota_cores.map(|cores| format!("cpulimit: {cores}\n")).unwrap_or_default();
    format!(
        "#a note: memory: 1\nhostname: truth{id}\ncores: 2\n{cpulimit}memory: {}\nswap: {}\nonboot: 1\n\
         rootfs: local-lvm:vm-{id}-disk-0,size=8G\ntags: truth;web\n\n[before]\nmemory: 1\nhostname: old\n",
        limits.memory_mib, limits.swap_mib
    )
}

/// The node's end of a container's network device.
pub(crate) fn node_device(id: u32) -> String {
    format!("veth{id}i0")
}

/// A link-local network of four addresses per container, from 169.254.16.0 to 169.254.156.160.
fn address(id: u32, host: u32) -> String {
    let n = 4 * (id % 9000) + host;
    format!("169.254.{}.{}", 16 + n / 256, n % 256)
}

pub(crate) fn node_address(id: u32) -> String {
    address(id, 1)
}

pub(crate) fn container_address(id: u32) -> String {
    address(id, 2)
}

fn tool(program: &str, id: u32, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-n", &id.to_string(), "-P"]).arg(directory).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) {
    // LXC's monitor keeps the streams it inherits, so it gets none of ours.
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
}

/// The program that makes the load, inside the container.
#[derive(Debug)]
struct Load {
    attached: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Load {
    fn attach(id: u32, directory: &Path) -> Self {
        let mut attach = tool("lxc-attach", id, directory);
        attach.args(["--", "/opt/load"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut attached = attach.spawn().unwrap();
        let (orders, outputs) = (attached.stdin.take().unwrap(), attached.stdout.take().unwrap());
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(outputs).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self { attached, orders, answers }
    }

    fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").unwrap_or_else(|error| panic!("{order}: {error}"));
        let answer = self.answers.recv_timeout(PATIENCE);
        answer.unwrap_or_else(|error| panic!("the load did not answer to `{order}`: {error}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The container is gone, and the load with it.
        let _ = self.attached.kill();
        let _ = self.attached.wait();
    }
}
