//! Real containers on a real kernel, in Proxmox's control group layout.
//!
//! Every reading is compared with the kernel's own file, read just before and just after the cycle: a counter must lie
//! between the two, whatever else the machine does meanwhile.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_monitor::collector::Collector;
use lxc_monitor::config::MonitorConfig;
use tempfile::TempDir;

use crate::fixture::{cycle, record, vmid};

const CGROUP: &str = "/sys/fs/cgroup";
const MIB: u64 = 1 << 20;
/// Time limit for anything the kernel or LXC does.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why no real containers can run here; `None` if they can.
fn obstacle() -> Option<String> {
    let has_lxc =
        Command::new("lxc-create").arg("--version").output().is_ok_and(|output| output.status.success());
    if !rustix::process::geteuid().is_root() {
        Some("not root".to_owned())
    } else if !has_lxc {
        Some("lxc-create is not installed".to_owned())
    } else if !Path::new(CGROUP).join("memory/memory.stat").exists() {
        Some("this test writes the limits of cgroup version 1, which is not mounted here".to_owned())
    } else {
        None
    }
}

/// A busybox container; stopped and destroyed when dropped.
struct Container {
    id: u32,
    /// On a disk, because page cache is needed; short, because socket names end at 107 characters.
    directory: TempDir,
    attached: Vec<Child>,
}

impl Container {
    fn start(id: u32) -> Self {
        let directory = tempfile::Builder::new().prefix("lm").tempdir_in("/var/tmp").unwrap();
        let container = Self { id, directory, attached: Vec::new() };
        container.lxc("lxc-create", &["-t", "busybox"]);
        let config_path = container.path().join(id.to_string()).join("config");
        let config = std::fs::read_to_string(&config_path).unwrap();
        let kept = config.lines().filter(|line| !line.starts_with("lxc.net") && !line.contains("apparmor"));
        let own = format!(
            "lxc.net.0.type = veth\nlxc.net.0.veth.pair = veth{id}i0\nlxc.net.0.flags = up\n\
             lxc.cgroup.dir.container = lxc/{id}\nlxc.cgroup.dir.container.inner = ns\n\
             lxc.cgroup.dir.monitor = lxc.monitor/{id}\n"
        );
        std::fs::write(&config_path, kept.collect::<Vec<_>>().join("\n") + "\n" + &own).unwrap();
        container.lxc("lxc-start", &[]);
        container.lxc("lxc-wait", &["-s", "RUNNING", "-t", "30"]);
        container
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    #[track_caller]
    fn lxc(&self, tool: &str, arguments: &[&str]) {
        let output = self.command(tool).args(arguments).output().unwrap();
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{tool} {arguments:?}: {stdout}{stderr}");
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = Command::new(tool);
        command.args(["-n", &self.id.to_string(), "-P"]).arg(self.path()).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, script: &str) {
        self.lxc("lxc-attach", &["--", "sh", "-c", script]);
    }

    /// Runs a script in the container until the end of the container.
    fn run_on(&mut self, script: &str) {
        let mut attach = self.command("lxc-attach");
        let child =
            attach.args(["--", "sh", "-c", script]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.attached.push(child.unwrap());
    }

    fn group(&self, controller: &str) -> PathBuf {
        Path::new(CGROUP).join(controller).join(format!("lxc/{}", self.id))
    }

    fn set(&self, controller: &str, file: &str, value: &str) {
        std::fs::write(self.group(controller).join(file), value).unwrap();
    }

    fn text(&self, controller: &str, file: &str) -> String {
        std::fs::read_to_string(self.group(controller).join(file)).unwrap()
    }

    fn number(&self, controller: &str, file: &str) -> u64 {
        self.text(controller, file).trim().parse().unwrap()
    }

    /// A line of a file of `key number` lines.
    fn keyed(&self, controller: &str, file: &str, key: &str) -> u64 {
        let text = self.text(controller, file);
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
    }

    fn stop(&mut self) {
        self.lxc("lxc-stop", &["-k"]);
        for mut child in self.attached.drain(..) {
            child.wait().unwrap();
        }
    }

    fn monitor(&self) -> Collector {
        let configs = self.path().join("pve/lxc");
        std::fs::create_dir_all(&configs).unwrap();
        let text = format!("hostname: ct{}\ncores: 2\nmemory: 512\n", self.id);
        std::fs::write(configs.join(format!("{}.conf", self.id)), text).unwrap();
        let mut config = MonitorConfig::default();
        config.paths.pve = self.path().join("pve");
        self.path().clone_into(&mut config.paths.lxc);
        config.output.file = self.path().join("metrics.json");
        Collector::new(&config)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for mut child in self.attached.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        for (tool, arguments) in [("lxc-stop", ["-k"].as_slice()), ("lxc-destroy", ["-f"].as_slice())] {
            let _ = self.command(tool).args(arguments).output();
        }
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel's values just before and just after a cycle, with their times.
#[derive(Debug)]
struct Bracket<T> {
    before: (Instant, T),
    after: (Instant, T),
    snapshot: Snapshot,
}

fn bracket<T>(collector: &mut Collector, kernel: impl Fn() -> T) -> Bracket<T> {
    let before = kernel();
    let before_at = Instant::now();
    let snapshot = cycle(collector);
    let after_at = Instant::now();
    Bracket { before: (before_at, before), after: (after_at, kernel()), snapshot }
}

impl<T: PartialOrd + std::fmt::Debug> Bracket<T> {
    #[track_caller]
    fn check(&self, found: &T) {
        assert!(
            (&self.before.1..=&self.after.1).contains(&found),
            "{:?} {found:?} {:?}",
            self.before,
            self.after
        );
    }
}

fn container_record(bracket: &Bracket<u64>, id: u32) -> &ContainerRecord {
    record(&bracket.snapshot, id)
}

#[test]
fn cpu_use_throttling_and_state_are_those_of_the_kernel() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let mut container = Container::start(90101);
    let id = container.id;
    let mut collector = container.monitor();
    container.set("cpu", "cpu.cfs_quota_us", "30000");
    container.run_on("while :; do :; done");
    wait_until("throttling", || 3 < container.keyed("cpu", "cpu.stat", "nr_throttled"));

    let usage = || container.number("cpuacct", "cpuacct.usage") / 1000;
    let first = bracket(&mut collector, usage);
    first.check(&container_record(&first, id).cpu_usage_usec.unwrap());
    assert_eq!(container_record(&first, id).cpu_cores_used, None);
    let throttled_at_first = container.keyed("cpu", "cpu.stat", "nr_throttled");
    wait_until("more throttling", || {
        throttled_at_first + 10 < container.keyed("cpu", "cpu.stat", "nr_throttled")
    });
    let second = bracket(&mut collector, usage);
    let record = container_record(&second, id);
    second.check(&record.cpu_usage_usec.unwrap());

    // The rate is within the bounds given by the kernel's counter and the clock.
    let seconds = |usec: u64| Duration::from_micros(usec).as_secs_f64();
    let least = seconds(second.before.1 - first.after.1)
        / second.after.0.duration_since(first.before.0).as_secs_f64();
    let most = seconds(second.after.1 - first.before.1)
        / second.before.0.duration_since(first.after.0).as_secs_f64();
    let cores = record.cpu_cores_used.unwrap();
    assert!((least..=most).contains(&cores), "{least} {cores} {most}");
    let percent = record.cpu_usage_percent.unwrap();
    assert!(
        (percent - (100.0 * cores / 0.3).min(100.0)).abs() < 0.1,
        "{percent} % of 0.3 cores, {cores} used"
    );
    println!("used {cores:.4} cores, {percent:.1} % of 0.3; by the kernel {least:.4} to {most:.4}");

    let limits = record.limits.unwrap();
    assert_eq!((limits.quota_cores, limits.cores), (Some(0.3), Some(0.3)));
    let throttled = record.throttling.unwrap().nr_throttled;
    assert!(
        throttled_at_first < throttled && throttled <= container.keyed("cpu", "cpu.stat", "nr_throttled")
    );
    assert!(0.0 < record.cpu_throttled_share.unwrap());
    assert_eq!(record.configuration.as_ref().unwrap().name.as_deref(), Some("ct90101"));
    let pressure = record.pressure.cpu.unwrap().some.total_usec;
    assert!(0 < pressure, "a throttled task waits for the CPU");

    container.stop();
    let snapshot = cycle(&mut collector);
    assert!(snapshot.containers.is_empty(), "{:?}", snapshot.containers);
    assert_eq!(snapshot.summary.stopped_containers, [vmid(id)]);
}

#[test]
fn memory_is_the_working_set() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let container = Container::start(90102);
    let id = container.id;
    container.set("memory", "memory.limit_in_bytes", "536870912");
    let mut collector = container.monitor();
    let used = |collector: &mut Collector| {
        let snapshot = cycle(collector);
        let record = record(&snapshot, id);
        (record.memory_usage_mb.unwrap(), record.memory.unwrap(), record.limits.unwrap().memory_mb.unwrap())
    };
    let (idle, _, limit) = used(&mut collector);
    assert_eq!(limit.to_string(), "512");

    container.run("dd if=/dev/zero of=/dev/shm/held bs=1M count=200");
    // The kernel updates `memory.stat` every two seconds and not always when it is read.
    wait_until("tmpfs in memory.stat", || {
        200 * MIB <= container.keyed("memory", "memory.stat", "total_shmem")
    });
    let (with_tmpfs, memory, _) = used(&mut collector);
    assert!(39.0 <= 100.0 * with_tmpfs / limit, "{with_tmpfs} MiB of {limit}");
    assert!(200.0 <= memory.shmem_mb, "{memory:?}");

    // Written, flushed, and read twice, so that part of it is on the active list.
    container.run("dd if=/dev/zero of=/cached bs=1M count=300 conv=fsync; cat /cached /cached >/dev/null");
    wait_until("page cache in memory.stat", || {
        let list = |name| container.keyed("memory", "memory.stat", name);
        250 * MIB <= list("total_inactive_file") + list("total_active_file") && list("total_dirty") < MIB
    });
    let (with_cache, memory, _) = used(&mut collector);
    assert!(250.0 <= memory.inactive_file_mb + memory.active_file_mb, "{memory:?}");
    // The kernel's bookkeeping of cached pages (buffer heads, tree nodes) is charged to the container, too.
    assert!(with_cache < with_tmpfs + 12.0, "{with_tmpfs} MiB became {with_cache} MiB: {memory:?}");
    println!("idle {idle:.1}, with tmpfs {with_tmpfs:.1}, with page cache {with_cache:.1} MiB: {memory:?}");
}

#[test]
fn everything_else_is_what_the_kernel_says() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let mut container = Container::start(90103);
    let id = container.id;
    let mut collector = container.monitor();
    let device = || {
        let read = |name| {
            let path = format!("/sys/class/net/veth{id}i0/statistics/{name}");
            std::fs::read_to_string(path).unwrap().trim().parse::<u64>().unwrap()
        };
        // The container receives what the node sends.
        (read("tx_bytes"), read("rx_bytes"))
    };
    let network = bracket(&mut collector, device);
    let record = record(&network.snapshot, id);
    let usage = record.network_usage.unwrap();
    assert!((network.before.1.0..=network.after.1.0).contains(&usage.rx_bytes), "{usage:?}");
    assert!((network.before.1.1..=network.after.1.1).contains(&usage.tx_bytes), "{usage:?}");

    let stat = rustix::fs::statvfs(container.path().join(id.to_string()).join("rootfs")).unwrap();
    let gib = (stat.f_blocks * stat.f_frsize) as f64 / f64::from(1 << 30);
    assert!((record.filesystem_total_gb.unwrap() - gib).abs() < 1e-6);
    assert!(record.filesystem_usage_gb.unwrap() + record.filesystem_free_gb.unwrap() <= gib + 1e-6);

    assert!((1..100).contains(&record.process_count.unwrap()));
    assert!((0.0..600.0).contains(&record.uptime_seconds.unwrap()), "{:?}", record.uptime_seconds);
    assert!(record.io_stats.is_some(), "{:?}", record.missing);
    assert!(record.memory_events.is_some() && record.paging.is_some());
    let unexplained = ["cpu_", "swap", "limits.swap", "pressure"];
    let unexpected: Vec<_> = record
        .missing
        .entries()
        .filter(|(field, _)| !unexplained.iter().any(|known| field.starts_with(known)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");

    let written_before = record.io_stats.unwrap().writes;
    // The shell continues and has the counters of the `dd` it waited for.
    container.run_on("dd if=/dev/zero of=/written bs=1M count=20 conv=fsync; sleep 1000");
    wait_until("20 MiB of writes", || {
        let snapshot = cycle(&mut collector);
        crate::fixture::record(&snapshot, id)
            .io_stats
            .is_some_and(|io| written_before + 20 * 2048 <= io.writes)
    });
}

/// Sums up one key over the `pids.events` of a group and of those below it.
fn refused_forks(group: &Path) -> u64 {
    let own = std::fs::read_to_string(group.join("pids.events")).unwrap_or_default();
    let own: u64 = own.trim().strip_prefix("max ").and_then(|count| count.parse().ok()).unwrap_or(0);
    let below = std::fs::read_dir(group).into_iter().flatten().flatten();
    own + below.filter(|entry| entry.path().is_dir()).map(|entry| refused_forks(&entry.path())).sum::<u64>()
}

#[test]
fn devices_interfaces_inodes_and_the_process_limit_are_those_of_the_kernel() {
    if let Some(obstacle) = obstacle() {
        println!("skipped: {obstacle}");
        return;
    }
    let mut container = Container::start(90104);
    let id = container.id;
    let mut collector = container.monitor();

    // Without a limit version 1 cannot count the limit's events.
    let snapshot = cycle(&mut collector);
    let before = record(&snapshot, id);
    assert_eq!((before.pids_events, before.missing.get("pids_events")), (None, None));
    let root = rustix::fs::statvfs(container.path().join(id.to_string()).join("rootfs")).unwrap();
    assert_eq!(before.filesystem_inodes_total, (0 < root.f_files).then_some(root.f_files));
    assert!(before.filesystem_inodes_used <= before.filesystem_inodes_total);

    // Newer kernels count block I/O in version 1 only if there is a throttle, here one of 10 GB/s.
    let device = rustix::fs::stat(container.path()).unwrap().st_dev;
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let disks = std::fs::read_to_string("/proc/diskstats").unwrap();
    let name = disks.lines().find_map(|line| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        (format!("{}:{}", words[0], words[1]) == number).then(|| words[2].to_owned())
    });
    let Some(name) = name else {
        println!("skipped: `{}` is not on a block device", container.path().display());
        return;
    };
    container.set("blkio", "blkio.throttle.write_bps_device", &format!("{number} 10000000000"));
    container.run("dd if=/dev/zero of=/written bs=1M count=20 conv=fsync");
    let counted = |file: &str, direction: &str| {
        container.keyed(
            "blkio",
            &format!("blkio.throttle.{file}_recursive"),
            &format!("{number} {direction}"),
        )
    };
    let kernel = || {
        let io = [
            ("io_service_bytes", "Read"),
            ("io_service_bytes", "Write"),
            ("io_serviced", "Read"),
            ("io_serviced", "Write"),
        ];
        io.map(|(file, direction)| counted(file, direction))
    };
    let io = bracket(&mut collector, kernel);
    let found =
        record(&io.snapshot, id).io_devices.get(&name).unwrap_or_else(|| panic!("no {name} in {io:?}"));
    for (index, found) in [found.rbytes, found.wbytes, found.rios, found.wios].into_iter().enumerate() {
        assert!((io.before.1[index]..=io.after.1[index]).contains(&found), "{index}: {found} {io:?}");
    }
    assert!(20 * MIB <= found.wbytes, "{found:?}");
    println!("{name}: {found:?}");

    let veth = format!("veth{id}i0");
    let statistics = || {
        // The container's directions: it sends what the node receives.
        [
            "tx_bytes",
            "tx_packets",
            "tx_errors",
            "tx_dropped",
            "rx_bytes",
            "rx_packets",
            "rx_errors",
            "rx_dropped",
        ]
        .map(|counter| {
            let path = format!("/sys/class/net/{veth}/statistics/{counter}");
            std::fs::read_to_string(path).unwrap().trim().parse::<u64>().unwrap()
        })
    };
    let traffic = bracket(&mut collector, statistics);
    let end = *record(&traffic.snapshot, id).network_interfaces.get(&veth).unwrap();
    let found = [
        end.rx_bytes,
        end.rx_packets,
        end.rx_errors,
        end.rx_dropped,
        end.tx_bytes,
        end.tx_packets,
        end.tx_errors,
        end.tx_dropped,
    ];
    for (index, found) in found.into_iter().enumerate() {
        let (before, after) = (traffic.before.1[index], traffic.after.1[index]);
        assert!((before..=after).contains(&found), "{index}: {before} {found} {after}");
    }

    container.run_on("while :; do sleep 600 & sleep 0.01; done");
    container.set("pids", "pids.max", "12");
    let group = container.group("pids");
    wait_until("a refused fork", || 0 < refused_forks(&group));
    let events = bracket(&mut collector, || refused_forks(&group));
    let found = record(&events.snapshot, id);
    events.check(&found.pids_events.unwrap().max);
    assert_eq!(found.limits.unwrap().pids, Some(12));
}

/// The counters of `/proc/vmstat` that a record of the node carries, in a fixed order.
fn vmstat() -> [u64; 6] {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap();
    ["pgmajfault", "pswpin", "pswpout", "workingset_refault_file", "workingset_refault_anon", "oom_kill"].map(
        |key| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("no {key}")).parse().unwrap()
        },
    )
}

#[test]
fn the_node_is_what_proc_and_sysfs_say() {
    if !Path::new(CGROUP).exists() {
        println!("skipped: no control groups here");
        return;
    }
    let mut collector = Collector::new(&MonitorConfig::default());
    let paging = bracket(&mut collector, vmstat);
    let node = paging.snapshot.summary.node.clone().unwrap();
    let found = node.paging.unwrap();
    let found = [
        found.major_faults,
        found.swap_in,
        found.swap_out,
        found.refault_file,
        found.refault_anon,
        node.oom_kill,
    ];
    for (index, found) in found.into_iter().enumerate() {
        let (before, after) = (paging.before.1[index], paging.after.1[index]);
        assert!((before..=after).contains(&found.unwrap()), "{index}: {before} {found:?} {after}");
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    assert_eq!(node.kernel, Some(read("/proc/sys/kernel/osrelease")));
    let topology = node.topology.unwrap();
    assert_eq!(topology.online, read("/sys/devices/system/cpu/online"));
    assert!((1..=node.cpus.unwrap()).contains(&topology.cores.unwrap()), "{topology:?}");
    assert!(1 < node.threads.unwrap());
    println!("{topology:?}, {} threads", node.threads.unwrap());
}
