//! Workers: the part of a call that Proxmox runs as a task, with a log below `/var/log/pve/tasks`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lxc_autoscale_core::Vmid;

use super::error::PctError;
use super::machine::Machine;
use crate::node::{NodeError, NodeLayout};

/// Number of logs kept in each of the sixteen directories.
const LOGS_KEPT: usize = 64;

/// The output of a worker: the terminal and the task's log.
struct Tee<'a> {
    out: &'a mut dyn Write,
    log: File,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.log.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.log.flush()
    }
}

/// Runs a worker in the foreground. Its output goes to standard output and to its log, whose last line is the result.
/// A failure becomes one line with exit status 255, like the status of a task.
///
/// # Errors
/// The error of the worker.
pub fn run_worker(
    machine: &Machine,
    kind: &str,
    id: Vmid,
    out: &mut dyn Write,
    work: impl FnOnce(&mut dyn Write) -> Result<(), PctError>,
) -> Result<(), PctError> {
    let (upid, log) = open_log(machine, kind, id)?;
    if let Some(begun) = &machine.on_task {
        begun(&upid);
    }
    let mut tee = Tee { out, log };
    let mut result = work(&mut tee);
    if result.is_ok() && machine.settings.tasks_warn {
        result = Ok(writeln!(tee, "WARN: this node warns of everything")?);
        machine.warnings.set(machine.warnings.get() + 1);
    }
    let Tee { mut log, .. } = tee;
    match result {
        Ok(()) if machine.settings.tasks_warn => Ok(writeln!(log, "TASK WARNINGS: 1")?),
        Ok(()) => Ok(writeln!(log, "TASK OK")?),
        Err(error @ PctError::Output(_)) => Err(error),
        Err(error) => {
            let text = error.text().trim_end().replace('\n', " ");
            writeln!(log, "TASK ERROR: {text}")?;
            Err(PctError::died(text))
        }
    }
}

/// Creates the log of a new task, named by its UPID, in the directory of the last digit of its start time.
fn open_log(machine: &Machine, kind: &str, id: Vmid) -> Result<(String, File), NodeError> {
    let (layout, node, user) = (&machine.layout, &machine.settings.name, &machine.user);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = format!("{:08X}", now.as_secs());
    let directory = layout.tasks().join(&start[start.len() - 1..]);
    fs::create_dir_all(&directory).map_err(NodeError::file("create", &directory))?;
    remove_old_logs(&directory)?;
    // In place of the process's start time, which Proxmox uses, this is the fraction of the second, because two tasks
    // of one process must not share a log.
    let upid = format!(
        "UPID:{node}:{:08X}:{:08X}:{start}:{kind}:{id}:{user}:",
        std::process::id(),
        now.subsec_nanos()
    );
    let path = directory.join(&upid);
    let log = File::options().create(true).append(true).open(&path);
    Ok((upid, log.map_err(NodeError::file("create", &path))?))
}

/// The path of a task's log; `None` if the text is not the name of a task.
pub fn log_file(layout: &NodeLayout, upid: &str) -> Option<PathBuf> {
    let is_name = upid.starts_with("UPID:") && !upid.contains('/');
    let start = upid.split(':').nth(4).filter(|start| is_name && start.is_ascii())?;
    Some(layout.tasks().join(&start[start.len().checked_sub(1)?..]).join(upid))
}

/// Limits the number of logs: the oldest are removed, as with Proxmox's rotation.
fn remove_old_logs(directory: &Path) -> Result<(), NodeError> {
    let entries = fs::read_dir(directory).map_err(NodeError::file("read", directory))?;
    let mut logs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    if logs.len() < LOGS_KEPT {
        return Ok(());
    }
    let start = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()?.split(':').nth(4).map(str::to_owned))
    };
    logs.sort_by_key(start);
    for log in &logs[..=logs.len() - LOGS_KEPT] {
        // Another worker may just have removed it.
        let _ = fs::remove_file(log);
    }
    Ok(())
}
