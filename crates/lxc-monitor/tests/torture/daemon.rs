//! The running program on a synthetic node.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use crate::fixture::Node;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_lxc-monitor");

/// A node with some containers, measured ten times a second.
pub(crate) fn node() -> Node {
    let node = Node::new();
    node.write("cgroup/cgroup.controllers", "cpu memory\n");
    for id in 101..106 {
        start(&node, id);
    }
    let config = std::fs::read_to_string(node.config_file()).unwrap();
    node.write("lxc_monitor.toml", &config.replace("interval_seconds = 0.2", "interval_seconds = 0.1"));
    node
}

/// Starts a container.
pub(crate) fn start(node: &Node, id: u32) {
    node.start(id, 7000 + id);
    make_group(node, id);
}

/// Makes the control group of a container.
pub(crate) fn make_group(node: &Node, id: u32) {
    let pid = 7000 + id;
    node.write(&format!("cgroup/lxc/{id}/cgroup.procs"), &format!("{pid}\n"));
    node.write(&format!("cgroup/lxc/{id}/cpu.stat"), "usage_usec 5\n");
    node.write(&format!("cgroup/lxc/{id}/memory.current"), "1048576\n");
}

/// The daemon with its log; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) process: Child,
    log: Lines<BufReader<ChildStdout>>,
}

impl Daemon {
    pub(crate) fn start(node: &Node) -> Self {
        Self::start_with(node, &mut Command::new(PROGRAM))
    }

    /// Like `start`, with a prepared command.
    pub(crate) fn start_with(node: &Node, command: &mut Command) -> Self {
        let mut process = command
            .args(["run", "--config"])
            .arg(node.path("lxc_monitor.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, log }
    }

    /// Reads the log up to the next line that contains `wanted`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, wanted: &str) -> String {
        let mut seen = Vec::new();
        for line in self.log.by_ref().map_while(Result::ok) {
            if line.contains(wanted) {
                return line;
            }
            seen.push(line);
        }
        panic!("the log ended without `{wanted}`: {seen:#?}");
    }

    /// Waits until so many more snapshots are written.
    #[track_caller]
    pub(crate) fn wait_for_snapshots(&mut self, number: usize) {
        for _ in 0..number {
            self.wait_for_written();
        }
    }

    /// Waits for the next cycle whose snapshot was written.
    #[track_caller]
    fn wait_for_written(&mut self) {
        while self.wait_for("measured ").contains("not written") {}
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Kills it with SIGKILL; returns its log without the cycles.
    pub(crate) fn kill_and_read(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        let lines = self.log.by_ref().map_while(Result::ok);
        lines.filter(|line| !line.contains("measured ")).collect()
    }

    /// Kills it with SIGKILL; returns how many snapshots its log says were written.
    pub(crate) fn kill(mut self) -> usize {
        self.process.kill().unwrap();
        let is_written = |line: &String| line.contains("measured ") && !line.contains("not written");
        let written = self.log.by_ref().map_while(Result::ok).filter(is_written).count();
        self.process.wait().unwrap();
        written
    }

    /// Waits for its end; returns its exit status and its standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap(), said)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
