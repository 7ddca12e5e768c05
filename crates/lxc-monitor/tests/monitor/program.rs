//! The program itself: its commands, signals and exit codes, and that it starts no other program.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use lxc_autoscale_core::metrics_file::MetricsReader;
use lxc_autoscale_core::snapshot::Snapshot;

use crate::fixture::{Node, vmid};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_lxc-monitor");

pub(crate) fn node() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory\n");
    node.start(104, 7104);
    node.write("cgroup/lxc/104/cgroup.procs", "7104\n");
    node.write("cgroup/lxc/104/cpu.stat", "usage_usec 5\n");
    memory(&node, 104);
    node
}

fn memory(node: &Node, id: u32) {
    node.write(&format!("cgroup/lxc/{id}/memory.current"), "209715200\n");
    let stat = "anon 104857600\nfile 94371840\nshmem 0\nfile_dirty 0\ninactive_file 52428800\nactive_file 41943040\n";
    node.write(&format!("cgroup/lxc/{id}/memory.stat"), stat);
}

fn run(node: &Node, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).arg("--config").arg(node.config_file()).output().unwrap()
}

/// The daemon with its log; stopped when dropped.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    log: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Daemon {
    pub(crate) fn start(config: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--config").arg(config);
        Self::of(command)
    }

    /// A process started by a command, which logs like the daemon.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, log }
    }

    /// Reads the log up to the first line that contains `wanted`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        let mut seen = Vec::new();
        for line in self.log.by_ref().map_while(Result::ok) {
            if line.contains(wanted) {
                return;
            }
            seen.push(line);
        }
        panic!("the log ended without `{wanted}`: {seen:#?}");
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn once_prints_one_snapshot_with_rates() {
    let node = node();
    let output = run(&node, &["once", "--interval-ms", "20"]);
    assert!(output.status.success());
    let snapshot: Snapshot = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(snapshot.containers[&vmid(104)].cpu_cores_used, Some(0.0));
}

#[test]
fn check_says_what_is_wrong_and_ends_with_1() {
    let node = node();
    let output = run(&node, &["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("104 ct104"), "{text}");
    assert!(text.contains("All that is needed can be read; 1 container is measured."), "{text}");

    std::fs::remove_dir_all(node.path("cgroup")).unwrap();
    let output = run(&node, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["healthy"], false);
    assert_eq!(report["probes"][0]["name"], "control groups");
    assert_eq!(report["probes"][0]["state"], "bad");
    assert!(report["probes"][0]["fix"].as_str().unwrap().contains("`paths.cgroup`"));
}

/// What `check` prints of a node, and whether it found what is essential.
#[track_caller]
fn check_report(node: &Node, want_success: bool) -> String {
    let output = run(node, &["check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.success(), want_success, "{text}");
    text
}

#[test]
fn check_says_when_memory_cannot_be_measured() {
    let node = node();
    node.start(105, 7105);
    node.write("cgroup/lxc/105/cgroup.procs", "7105\n");
    node.write("cgroup/lxc/105/cpu.stat", "usage_usec 5\n");
    memory(&node, 105);
    let off = "the kernel's memory controller is off (boot with cgroup_enable=memory, without cgroup_disable=memory)";
    std::fs::remove_file(node.path("cgroup/lxc/105/memory.stat")).unwrap();
    let text = check_report(&node, true);
    assert!(text.contains("note  containers      memory_usage_mb of 105 cannot be measured: "), "{text}");
    assert!(text.contains("105/memory.stat` does not exist"), "{text}");
    assert!(text.contains("needed can be read of 1 of 2 containers; see the note above."), "{text}");
    assert!(!text.contains(off), "{text}");
    for id in [104, 105] {
        std::fs::remove_file(node.path(&format!("cgroup/lxc/{id}/memory.current"))).unwrap();
    }
    std::fs::remove_file(node.path("cgroup/lxc/104/memory.stat")).unwrap();
    let text = check_report(&node, false);
    let found = format!("FAIL  containers      memory_usage_mb of any container cannot be measured: {off}\n");
    assert!(text.contains(&found), "{text}");
    assert!(text.contains("Something essential cannot be read or written"), "{text}");
    assert!(!text.contains("swapaccount"), "{text}");
    let output = run(&node, &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_names_overrides_that_match_no_container() {
    let node = node();
    node.write("pve/lxc/104.conf", "hostname: ct104\nmemory: 512\ntags: database\n");
    node.write("pve/lxc/105.conf", "hostname: ct105\nmemory: 512\n");
    let config = node.config_file();
    for whose in ["tag.DataBase", "tag.web", "container.105", "container.555"] {
        node.append("lxc_monitor.toml", &format!("[alerts.{whose}.rule.memory]\nenabled = false"));
    }
    let output = Command::new(PROGRAM).arg("check").arg("--config").arg(config).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let want = "note  alerts          no container matches `alerts.tag.web`, `alerts.container.555`\n";
    assert!(output.status.success() && text.contains(want), "{text}");
}

/// A directory or a FIFO in its place, or a disk that takes no file (as `/proc`): the lines are in the journal as well.
#[test]
fn a_log_file_that_cannot_be_written_keeps_no_monitor_from_starting() {
    for case in ["directory", "fifo", "nowhere"] {
        let node = node();
        let config = node.config_file();
        match case {
            "directory" => node.mkdir("monitor.log"),
            "fifo" => node.put_fifo("monitor.log"),
            _ => {
                let own = node.path("monitor.log").display().to_string();
                let text = std::fs::read_to_string(&config).unwrap();
                node.write("lxc_monitor.toml", &text.replace(&own, "/proc/monitor.log"));
            }
        }
        let mut daemon = Daemon::start(&config);
        daemon.wait_for("monitor.log`; set `logging.file` to a path that can be written, or to \"\"");
        daemon.wait_for("measured 1 running container");
        if case == "nowhere" {
            // Only making a file there shows that it cannot be made, and a look makes none.
            continue;
        }
        let output = Command::new(PROGRAM).arg("check").arg("--config").arg(&config).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("FAIL  own files       the log, `") && text.contains("set `logging.file`"),
            "{text}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_file_and_line() {
    let node = node();
    node.write("wrong.toml", "interval_seconds = 60\n[output]\nfil = \"/x\"\n");
    let output =
        Command::new(PROGRAM).arg("run").arg("--config").arg(node.path("wrong.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("wrong.toml:3: unknown key `output.fil`; did you mean `output.file`?"), "{error}");
}

#[test]
fn run_writes_reloads_and_ends_in_order() {
    let node = node();
    let config = node.config_file();
    let mut daemon = Daemon::start(&config);
    daemon.wait_for("measured 1 running container in ");

    node.write("lxc_monitor.toml", "interval_seconds = -1\n");
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for("`interval_seconds` must be from 0.1 to 3600; the settings stay as they were");

    node.config_file();
    let moved = std::fs::read_to_string(&config).unwrap().replace("metrics.json", "moved.json");
    node.write("lxc_monitor.toml", &moved);
    daemon.signal(rustix::process::Signal::HUP);
    daemon.wait_for("again");
    daemon.wait_for("measured 1 running container in ");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait_for("lxc-monitor ends");
    assert!(daemon.process.wait().unwrap().success());

    let log = std::fs::read_to_string(node.path("monitor.log")).unwrap();
    assert_eq!(log.matches("there are no pressure values").count(), 1, "{log}");
    assert_eq!(log.matches("the kernel does not count memory_swap_events").count(), 1, "{log}");
    assert!(2 <= log.matches("measured 1 running container").count(), "{log}");
    for file in ["metrics.json", "moved.json"] {
        let read = MetricsReader::new(node.path(file)).read_new().unwrap();
        assert!(!read.snapshots.is_empty(), "{file}");
        assert!(read.unreadable.is_empty(), "{file}");
    }
}

#[test]
fn it_starts_no_process() {
    let node = node();
    let trace = node.path("trace");
    let traced = Command::new("strace")
        .args(["-f", "-e", "trace=process", "-o"])
        .arg(&trace)
        .args([PROGRAM, "once", "--interval-ms", "20", "--config"])
        .arg(node.config_file())
        .output();
    let Ok(traced) = traced else {
        println!("skipped: strace is not installed");
        return;
    };
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls = |name: &str| trace.lines().filter(|line| line.contains(name)).count();
    assert_eq!(calls("execve("), 1, "only its own start: {trace}");
    assert_eq!(calls("fork("), 0, "{trace}");
    let clones = trace.lines().filter(|line| line.contains("clone(") || line.contains("clone3("));
    for line in clones.filter(|line| !line.contains("resumed")) {
        assert!(line.contains("CLONE_THREAD"), "{line}");
    }
}
