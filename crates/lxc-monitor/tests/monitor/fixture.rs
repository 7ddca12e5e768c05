//! A node as a directory tree that the monitor reads.

use std::path::{Path, PathBuf};

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};
use lxc_monitor::collector::Collector;
use lxc_monitor::config::MonitorConfig;
use tempfile::TempDir;

/// The tree, removed when dropped.
pub(crate) struct Node {
    directory: TempDir,
}

impl Node {
    /// A node with 4 CPUs, 4 GiB of memory and 1 GiB of swap, and no containers.
    pub(crate) fn new() -> Self {
        let node = Self { directory: tempfile::tempdir().unwrap() };
        node.write("proc/stat", &cpu_stat(1000, 9000));
        node.write(
            "proc/meminfo",
            "MemTotal: 4194304 kB\nMemAvailable: 3145728 kB\nSwapTotal: 1048576 kB\nSwapFree: 1048064 kB\n",
        );
        node.write("proc/loadavg", "1.21 1.22 1.07 1/134 3467\n");
        node.write("proc/sys/kernel/osrelease", "6.8.12-4-pve\n");
        node.write("proc/sys/kernel/random/boot_id", "0a9cb1de-7a5e-4f7c-9d55-0242ac110002\n");
        node.write(
            "proc/vmstat",
            "nr_free_pages 9\npswpin 11\npswpout 12\npgmajfault 13\nworkingset_refault_anon 14\n\
             workingset_refault_file 15\noom_kill 16\n",
        );
        node.write("sys/devices/system/cpu/online", "0-3\n");
        node.write("proc/uptime", "2000.00 5000.00\n");
        node.write("proc/sys/kernel/hostname", "proxmox.example.org\n");
        node.write("proc/net/unix", "Num       RefCount Protocol Flags    Type St Inode Path\n");
        node.write("proc/net/dev", "Inter-|   Receive  |  Transmit\n face |bytes  |bytes\n");
        node.write("proc/diskstats", "   8       0 sda 0\n 253       1 dm-1 0\n 252       0 zram0 0\n");
        node.mkdir("sys/dev/block/8:0");
        node.mkdir("sys/dev/block/253:1/slaves/sda");
        node.mkdir("pve/lxc");
        node
    }

    /// A path below the root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Creates a directory.
    pub(crate) fn mkdir(&self, path: &str) {
        std::fs::create_dir_all(self.path(path)).unwrap();
    }

    /// Writes a file and the directories above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replaces a file atomically, for a monitor that reads at any moment.
    pub(crate) fn replace(&self, path: &str, text: &str) {
        self.write("replacement", text);
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::rename(self.path("replacement"), path).unwrap();
    }

    /// Appends a line to a file.
    pub(crate) fn append(&self, path: &str, line: &str) {
        let text = std::fs::read_to_string(self.path(path)).unwrap();
        self.write(path, &format!("{text}{line}\n"));
    }

    /// Creates what a running container has besides its control groups; `pid` is its init on the node.
    pub(crate) fn start(&self, id: u32, pid: u32) {
        self.write(
            &format!("pve/lxc/{id}.conf"),
            &format!("hostname: ct{id}\ncores: 2\nmemory: 512\nswap: 256\n"),
        );
        self.append(
            "proc/net/unix",
            &format!("0000: 00000002 00000000 00010000 0001 01 1 @/var/lib/lxc/{id}/command"),
        );
        self.append("proc/net/dev", &format!("veth{id}i0: 602 7 3 4 0 0 0 0 1152 12 1 2 0 0 0 0"));
        self.write(&format!("proc/{pid}/status"), &format!("Name:\tinit\nNSpid:\t{pid}\t1\n"));
        self.write(&format!("proc/{pid}/stat"), &process_stat(pid, 100_000));
        self.mkdir(&format!("proc/{pid}/root"));
    }

    /// Puts a FIFO in the place of a file.
    pub(crate) fn put_fifo(&self, path: &str) {
        use rustix::fs::{CWD, FileType, Mode};
        let path = self.path(path);
        let _ = std::fs::remove_file(&path);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    /// The configuration of a monitor of this node.
    pub(crate) fn config(&self) -> MonitorConfig {
        let mut config = MonitorConfig::default();
        config.paths.cgroup = self.path("cgroup");
        config.paths.proc = self.path("proc");
        config.paths.sys = self.path("sys");
        config.paths.pve = self.path("pve");
        config.output.file = self.path("metrics.json");
        config.alerts.state_file = self.path("state/alerts.json");
        config.anomaly.state_file = self.path("state/anomaly.state");
        config.notifications.directory = self.path("state/notifications");
        config.history.file = self.path("state/metrics.sqlite");
        config.exporter.listen.set_port(0);
        config.exporter.address_file = self.path("exporter.address");
        config.logging.file = self.path("monitor.log");
        config
    }

    /// The same as a file.
    pub(crate) fn config_file(&self) -> PathBuf {
        let config = self.config();
        let quoted = |path: &Path| format!("'{}'", path.display());
        let text = format!(
            "interval_seconds = 0.2\n[paths]\ncgroup = {}\nproc = {}\nsys = {}\npve = {}\nlxc = {}\n\
             [output]\nfile = {}\n[alerts]\nstate_file = {}\n[anomaly]\nstate_file = {}\n\
             [history]\nfile = {}\n[notifications]\ndirectory = {}\n\
             [exporter]\nlisten = '{}'\naddress_file = {}\n[logging]\nfile = {}\n",
            quoted(&config.paths.cgroup),
            quoted(&config.paths.proc),
            quoted(&config.paths.sys),
            quoted(&config.paths.pve),
            quoted(&config.paths.lxc),
            quoted(&config.output.file),
            quoted(&config.alerts.state_file),
            quoted(&config.anomaly.state_file),
            quoted(&config.history.file),
            quoted(&config.notifications.directory),
            config.exporter.listen,
            quoted(&config.exporter.address_file),
            quoted(&config.logging.file),
        );
        self.write("lxc_monitor.toml", &text);
        self.path("lxc_monitor.toml")
    }
}

/// `/proc/stat` of four CPUs.
pub(crate) fn cpu_stat(busy: u64, idle: u64) -> String {
    let cpus: String =
        ["cpu0", "cpu1", "cpu2", "cpu3"].map(|cpu| format!("{cpu} 0 0 0 0 0 0 0 0 0 0\n")).concat();
    format!("cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\n{cpus}btime 1\n")
}

/// `/proc/<pid>/stat` with a start time.
pub(crate) fn process_stat(pid: u32, start_ticks: u64) -> String {
    format!("{pid} (init) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0 0\n")
}

/// Measures once.
pub(crate) fn cycle(collector: &mut Collector) -> Snapshot {
    collector.cycle()
}

/// The record of a container.
#[track_caller]
pub(crate) fn record(snapshot: &Snapshot, id: u32) -> &ContainerRecord {
    snapshot.containers.get(&vmid(id)).unwrap_or_else(|| panic!("no record of {id} in {snapshot:?}"))
}

/// An id.
pub(crate) fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}
