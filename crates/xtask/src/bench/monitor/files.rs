//! Determines which files the monitor reads in a cycle, by tracing it with strace.
//!
//! The floor reads exactly these files, equally often, so that it causes the same work in the kernel and none of its
//! own. There are separate floors for what is read of a container in each cycle, and what is read only in full
//! measurements.

use std::collections::BTreeMap;
use std::path::Path;

use super::MonitorBenchError;
use super::contestants::{clear_output, cycles_in, monitor};
use super::measure::Contestant;
use super::stage::{Looks, Stage};

/// Number of cycles that are skipped, in which handles are opened and processes looked up.
const WARM_UP_CYCLES: u64 = 3;
/// Number of traced cycles, in which each container is measured in full twice.
const CYCLES: u64 = 20;

/// The files of one cycle.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// Files of the node, or of all containers together.
    pub(super) of_node: Vec<String>,
    /// Files of each container.
    pub(super) of_container: Vec<OfContainer>,
}

/// A file of each container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfContainer {
    /// Its path, with `{id}` and `{init}` in place of the container's own.
    pub(super) template: String,
    /// It is read in one of this many cycles.
    pub(super) every: u64,
}

/// The selection of files that a floor reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All files that the monitor reads, equally often.
    AsOften,
    /// The files that it reads in each cycle.
    OfEachCycle,
    /// All of its files, in each cycle.
    AllEachCycle,
}

impl Files {
    /// Traces the monitor for a few cycles.
    pub(super) fn trace(stage: &Stage) -> Result<Self, MonitorBenchError> {
        let (trace, log) = (stage.directory().join("trace"), stage.directory().join("monitor.log"));
        let configuration = stage.monitor_configuration(&[], Looks::AsShipped)?;
        let mut arguments: Vec<String> = [
            "--quiet=all",
            "--follow-forks",
            "--decode-fds=path",
            "--string-limit=400",
            "--trace=read,pread64,write",
            "--output",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(trace.display().to_string());
        arguments.extend([monitor().display().to_string(), "run".to_owned(), "--config".to_owned()]);
        arguments.push(configuration.display().to_string());
        let mut strace =
            Contestant::start("strace", stage.hierarchies(), None, Path::new("strace"), &arguments)?;
        strace.wait_until(|| WARM_UP_CYCLES + CYCLES < cycles_in(&log))?;
        drop(strace);
        let text = std::fs::read(&trace).map_err(MonitorBenchError::io("read", &trace))?;
        clear_output(stage);
        Ok(Self::from_trace(&String::from_utf8_lossy(&text), &stage.containers().collect::<Vec<_>>()))
    }

    /// Takes the node's files that are read in most of the traced cycles, and those of containers that are read in
    /// more than one. The log line of each cycle separates the cycles.
    fn from_trace(trace: &str, containers: &[(u32, u32)]) -> Self {
        let mut cycle = 0;
        let mut last_seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut calls = Calls::default();
        for line in trace.lines() {
            // Counted once per cycle; the line goes to standard output as well.
            if line.contains("monitor.log>") && line.contains("running container") {
                cycle += 1;
            } else if let (Some(path), true) =
                (calls.path_read(line), (WARM_UP_CYCLES..WARM_UP_CYCLES + CYCLES).contains(&cycle))
            {
                let (cycles, last) = last_seen.entry(path).or_insert((0, u64::MAX));
                *cycles += u64::from(*last != cycle);
                *last = cycle;
            }
        }
        let mut files = Self::default();
        for (path, (cycles, _)) in last_seen {
            match template(&path, containers) {
                Some((0, template)) if 1 < cycles => {
                    // Rounded to the nearest number.
                    let every = (CYCLES + cycles / 2) / cycles;
                    files.of_container.push(OfContainer { template, every });
                }
                None if CYCLES / 2 < cycles => files.of_node.push(own(&path)),
                Some(_) | None => {}
            }
        }
        files
    }

    /// The files for the floor, one per line: the number of rounds, in which of them the file is read, and the path.
    /// Containers take turns, as in the monitor.
    pub(super) fn expand(&self, stage: &Stage, reading: Reading) -> Vec<String> {
        let of_containers = (0_u64..).zip(stage.containers()).flat_map(|(turn, (id, init))| {
            let line = move |file: &OfContainer| {
                let path =
                    file.template.replace("{id}", &id.to_string()).replace("{init}", &init.to_string());
                let every = if reading == Reading::AllEachCycle { 1 } else { file.every };
                format!("{every} {} {path}", turn % every)
            };
            let is_read = move |file: &&OfContainer| reading != Reading::OfEachCycle || file.every == 1;
            self.of_container.iter().filter(is_read).map(line)
        });
        self.of_node.iter().map(|path| format!("1 0 {path}")).chain(of_containers).collect()
    }
}

/// The calls that have begun but not ended, by thread; a trace of several threads splits them into two lines.
#[derive(Debug, Default)]
struct Calls<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Calls<'a> {
    /// The kernel file that the call which ends in this line has read bytes from.
    fn path_read(&mut self, line: &'a str) -> Option<String> {
        let (thread, call) = line.split_once(' ')?;
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            self.0.insert(thread, begun.trim_start());
            return None;
        }
        let (call, result) = call.rsplit_once(" = ")?;
        let call =
            if call.trim_start().starts_with("<... ") { self.0.remove(thread)? } else { call.trim_start() };
        let got_bytes = result.split(' ').next()?.parse::<u64>().is_ok_and(|bytes| 0 < bytes);
        let arguments = call.strip_prefix("read(").or_else(|| call.strip_prefix("pread64("))?;
        let (path, _) = arguments.split_once('<')?.1.split_once('>')?;
        let is_source =
            ["/sys/", "/proc/"].iter().any(|root| path.starts_with(root)) || path.contains("/pve/");
        (got_bytes && is_source).then(|| path.to_owned())
    }
}

/// What the monitor reads about itself, the floor reads about itself.
fn own(path: &str) -> String {
    let mut parts = path.splitn(4, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (_, Some("proc"), Some(_), Some(rest @ ("net/dev" | "net/unix" | "status" | "statm"))) => {
            format!("/proc/self/{rest}")
        }
        _ => path.to_owned(),
    }
}

/// Replaces id and init of the container that a path belongs to, and returns which one it is.
fn template(path: &str, containers: &[(u32, u32)]) -> Option<(usize, String)> {
    containers.iter().enumerate().find_map(|(index, (id, init))| {
        let (by_id, by_init) = (format!("/{id}"), format!("/proc/{init}/"));
        if path.contains(&by_id) {
            Some((index, path.replace(&by_id, "/{id}")))
        } else if path.starts_with(&by_init) {
            Some((index, path.replacen(&by_init, "/proc/{init}/", 1)))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_gave_bytes_count_as_often_as_they_were_read() {
        let end = "9 write(3</tmp/monitor.log>, \"measured 2 running containers\", 29) = 29\n";
        let cycle = "9 read(5</proc/stat>, \"cpu\", 4096) = 3\n9 read(5</proc/stat>, \"\", 4096) = 0\n\
                     9 pread64(7</sys/fs/cgroup/lxc/900100/cpu.stat>, \"u\", 4096, 0) = 1\n\
                     9 pread64(7</sys/fs/cgroup/lxc/900101/cpu.stat>, \"u\", 4096, 0) = 1\n\
                     9 read(8</proc/71/stat>, \"71\", 4096) = 2\n9 read(9</usr/lib/libc.so>, \"E\", 1) = 1\n";
        let once = "9 read(5</sys/fs/cgroup/lxc/900100/rare>, \"1\", 4096) = 1\n";
        let seldom = "9 pread64(6</sys/fs/cgroup/lxc/900100/pids.max>, \"1\", 4096, 0) = 1\n\
                      9 read(5</proc/cpuinfo>, \"c\", 4096) = 1\n";
        let cycle = format!("{cycle}{end}");
        let ten = format!("{seldom}{}", cycle.repeat(10));
        let trace = format!("{once}{}{once}{ten}{ten}{}", cycle.repeat(3), once.repeat(9));
        let files = Files::from_trace(&trace, &[(900_100, 71), (900_101, 72)]);
        assert_eq!(files.of_node, ["/proc/stat"]);
        let of_container = |template: &str, every| OfContainer { template: template.to_owned(), every };
        let want = [
            of_container("/proc/{init}/stat", 1),
            of_container("/sys/fs/cgroup/lxc/{id}/cpu.stat", 1),
            of_container("/sys/fs/cgroup/lxc/{id}/pids.max", 10),
        ];
        assert_eq!(files.of_container, want);
    }
}
