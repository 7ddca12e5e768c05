//! Measures a running contestant.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::MonitorBenchError;
use super::groups::{Contestants, Hierarchies};

/// A contestant, alone in its control group; killed when dropped.
#[derive(Debug)]
pub(super) struct Contestant {
    name: &'static str,
    child: Child,
    groups: Contestants,
}

/// The resources used between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Used {
    /// CPU time, user and system.
    pub(super) cpu: Duration,
    /// The part of it spent in the kernel.
    pub(super) system: Duration,
    /// Resident memory of the process itself at the end, in MiB.
    pub(super) resident_mib: f64,
    /// Memory charged to its control group at the end minus page cache, in MiB, including what the kernel holds for
    /// it.
    pub(super) charged_mib: Option<f64>,
    /// Number of open files at the end.
    pub(super) open_files: usize,
}

impl Contestant {
    /// Starts a program in the contestants' groups, where its memory may be limited.
    pub(super) fn start(
        name: &'static str,
        hierarchies: &Hierarchies,
        memory_max: Option<u64>,
        program: &Path,
        arguments: &[String],
    ) -> Result<Self, MonitorBenchError> {
        let groups = hierarchies.add_contestant(memory_max)?;
        let [door, other_door] = groups.doors();
        // The shell moves itself into the groups, then executes the program.
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && echo $$ > \"$1\" && shift && exec \"$@\""]);
        command.arg(door).arg(other_door).arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(MonitorBenchError::io("run", program))?;
        Ok(Self { name, child, groups })
    }

    /// Waits until `is_ready`, for at most a minute.
    pub(super) fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<(), MonitorBenchError> {
        for _ in 0..1200 {
            if is_ready() {
                return Ok(());
            }
            self.still_runs()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(MonitorBenchError::Contestant(format!("{} was not ready within a minute", self.name)))
    }

    /// The CPU time it uses from now until `is_done`, for at most a minute.
    pub(super) fn until(&mut self, is_done: impl Fn() -> bool) -> Result<Duration, MonitorBenchError> {
        let before = self.cpu()?.0;
        self.wait_until(is_done)?;
        Ok(self.cpu()?.0.saturating_sub(before))
    }

    /// Measures it for a time; `progress` is read at both ends.
    pub(super) fn watch(
        &mut self,
        time: Duration,
        progress: impl Fn() -> u64,
    ) -> Result<(Used, u64), MonitorBenchError> {
        let (before, progress_before) = (self.cpu()?, progress());
        std::thread::sleep(time);
        let (after, progress_after) = (self.cpu()?, progress());
        self.still_runs()?;
        let (resident_mib, open_files) = (self.resident_mib()?, self.open_files());
        let used = Used {
            cpu: after.0.saturating_sub(before.0),
            system: after.1.saturating_sub(before.1),
            resident_mib,
            charged_mib: self.groups.charged_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20)),
            open_files,
        };
        Ok((used, progress_after.saturating_sub(progress_before)))
    }

    /// The CPU time of the whole group so far: in total, and in the kernel.
    fn cpu(&self) -> Result<(Duration, Duration), MonitorBenchError> {
        let path = self.groups.cpu.join("cpu.stat");
        let text = std::fs::read_to_string(&path).map_err(MonitorBenchError::io("read", path))?;
        let value = |key: &str| {
            let number = text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            Duration::from_micros(number.unwrap_or(0))
        };
        Ok((value("usage_usec "), value("system_usec ")))
    }

    fn resident_mib(&self) -> Result<f64, MonitorBenchError> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(MonitorBenchError::io("read", path))?;
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        Ok(kib.unwrap_or(0.0) / 1024.0)
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    fn still_runs(&mut self) -> Result<(), MonitorBenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                Err(MonitorBenchError::Contestant(format!("{} ended by itself: {status}", self.name)))
            }
            Err(source) => {
                Err(MonitorBenchError::Io { what: "wait for", path: self.name.to_owned(), source })
            }
        }
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // Kills the whole group, which belongs to the benchmark: a contestant may have started other processes.
        let _ = std::fs::write(self.groups.cpu.join("cgroup.kill"), "1");
        let _ = self.child.kill();
        let _ = self.child.wait();
        let has_ended = || {
            let procs = std::fs::read_to_string(self.groups.cpu.join("cgroup.procs"));
            procs.is_ok_and(|text| text.trim().is_empty())
        };
        for _ in 0..100 {
            if has_ended() {
                self.groups.forget_memory();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
