//! The programs that are compared: ours, the two floors, and forked commands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::MonitorBenchError;
use super::files::{Files, Reading};
use super::measure::{Contestant, Used};
use super::stage::{Looks, Stage};
use crate::bench::unit;
use crate::command::workspace_root;

/// Cost of one real `pct` command: 0.7 s of CPU for Perl and Proxmox's modules, whatever it does.
pub(super) const PCT_SECONDS: f64 = 0.7;
/// Number of commands with which the Python original measures one container once.
pub(super) const COMMANDS_PER_SAMPLE: u32 = 9;
/// Number of forked commands that are timed.
const FORKS: u32 = 500;

/// The monitor's unit.
const UNIT: &str = "lxc_monitor.service";

/// The monitor's release binary.
pub(super) fn monitor() -> PathBuf {
    workspace_root().join("target/release/lxc-monitor")
}

/// The number of cycles in the monitor's log.
pub(super) fn cycles_in(log: &Path) -> u64 {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().filter(|line| line.contains("measured ") && line.contains("running container")).count()
        as u64
}

/// A build of our own monitor with everything it ships with, minus the omitted features, writing its snapshots.
pub(super) fn ours(
    stage: &Stage,
    program: &Path,
    without: &[String],
    looks: Looks,
    time: Duration,
) -> Result<(Used, u64), MonitorBenchError> {
    let configuration = stage.monitor_configuration(without, looks)?.display().to_string();
    let log = stage.directory().join("monitor.log");
    let mut arguments = unit::environment(UNIT).map_err(MonitorBenchError::io("read", unit::path(UNIT)))?;
    let command = [program.display().to_string(), "run".to_owned(), "--config".to_owned(), configuration];
    arguments.extend(command);
    let memory_max = unit::memory_max(UNIT).map_err(MonitorBenchError::io("read", unit::path(UNIT)))?;
    let mut contestant =
        Contestant::start("lxc-monitor", stage.hierarchies(), memory_max, Path::new("env"), &arguments)?;
    contestant.wait_until(|| 3 <= cycles_in(&log))?;
    let outcome = contestant.watch(time, || cycles_in(&log))?;
    drop(contestant);
    check_complete(stage, &log)?;
    clear_output(stage);
    Ok(outcome)
}

/// Removes what the monitor wrote, so that the next one starts like the first.
pub(super) fn clear_output(stage: &Stage) {
    for entry in std::fs::read_dir(stage.directory()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.contains("metrics.json") || name.contains("monitor.log") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let _ = std::fs::remove_dir_all(stage.directory().join("state"));
}

/// A monitor that measures nothing is cheap, so every container must be in its last cycle.
fn check_complete(stage: &Stage, log: &Path) -> Result<(), MonitorBenchError> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rfind(|line| line.contains("running container")).unwrap_or_default();
    let wanted = format!("measured {} running container", stage.len());
    if line.contains(&wanted) && !line.contains("incomplete") {
        Ok(())
    } else {
        Err(MonitorBenchError::Contestant(format!("the monitor did not measure all: `{line}`")))
    }
}

/// A program that reads the same files into a buffer and does nothing with them.
pub(super) fn floor(
    stage: &Stage,
    files: &Files,
    reading: Reading,
    way: &'static str,
    time: Duration,
) -> Result<(Used, u64), MonitorBenchError> {
    let list = stage.directory().join("files");
    std::fs::write(&list, files.expand(stage, reading).join("\n"))
        .map_err(MonitorBenchError::io("write", &list))?;
    let rounds = stage.directory().join("rounds");
    let _ = std::fs::remove_file(&rounds);
    let program = workspace_root().join("target/release/examples/bench_read_floor");
    let arguments = [way.to_owned(), list.display().to_string(), rounds.display().to_string()];
    let mut contestant = Contestant::start(way, stage.hierarchies(), None, &program, &arguments)?;
    let done = || std::fs::metadata(&rounds).map_or(0, |metadata| metadata.len());
    contestant.wait_until(|| 3 <= done())?;
    contestant.watch(time, done)
}

/// CPU time of one forked command that does nothing.
pub(super) fn forked(stage: &Stage) -> Result<Duration, MonitorBenchError> {
    let loop_of = |command: &str| {
        let script = format!(
            "i=0; while [ $i -lt {FORKS} ]; do {command}; i=$((i+1)); done; echo . > \"$1\"; sleep 60"
        );
        let mark = stage.directory().join("forked");
        let _ = std::fs::remove_file(&mark);
        let arguments = ["-c".to_owned(), script, "sh".to_owned(), mark.display().to_string()];
        let mut contestant =
            Contestant::start("forked commands", stage.hierarchies(), None, Path::new("sh"), &arguments)?;
        let used = contestant.until(|| mark.exists())?;
        Ok::<_, MonitorBenchError>(used)
    };
    let (with, without) = (loop_of("/bin/true")?, loop_of(":")?);
    Ok(with.saturating_sub(without) / FORKS)
}
