//! Containers through the `pct` program. What is cheaper to read directly is read directly: configurations from
//! `/etc/pve`, running containers from `/proc/net/unix`. No process is started to read something that a file shows.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use lxc_autoscale_core::api::{ClusterStatus, ContainerSettings, HealthCheck, HealthState, SnapshotInfo};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid, count, procfs};
use tokio::process::Child;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::watch::{self, Standing};
use super::{Afterwards, Answer, BackendError, CloneOrder, ContainerHost, Grown, Stored, ha, texts};
use crate::config::{PathsConfig, PctConfig};
use crate::params::SnapshotName;

mod ahead;
mod files;
mod orphans;
mod output;
mod parse;
mod run;

use ahead::Ahead;
use run::{Call, Kind, Printed, Runner};

/// How many files of the node may be read at once, including reads that hang: each keeps a thread until the kernel
/// releases it, and the threads are needed elsewhere.
const MAX_FILES: usize = 32;

/// The containers of the node this process runs on.
#[derive(Debug)]
pub struct PctHost {
    runner: Runner,
    paths: PathsConfig,
    files: Arc<Semaphore>,
    ahead: Ahead,
}

impl PctHost {
    /// Creates the back end; starts and opens nothing.
    pub fn new(pct: PctConfig, paths: PathsConfig) -> Self {
        Self {
            runner: Runner::new(pct),
            paths,
            files: Arc::new(Semaphore::new(MAX_FILES)),
            ahead: Ahead::default(),
        }
    }

    fn config_file(&self, vmid: Vmid) -> PathBuf {
        self.paths.pve.join("lxc").join(format!("{vmid}.conf"))
    }

    /// Works with a file of the node in a thread of its own, for at most the time of a query: `/etc/pve` is a FUSE
    /// file system, which can hang.
    async fn with_file<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, BackendError> {
        let limit = self.runner.config().query_timeout();
        let (opened, files) = (path.clone(), Arc::clone(&self.files));
        let done = timeout(limit, async move {
            let turn = files.acquire_owned().await.map_err(std::io::Error::other)?;
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                work(&opened)
            });
            work.await.map_err(std::io::Error::other)?
        });
        match done.await {
            Ok(result) => result.map_err(|source| BackendError::Read { path, source }),
            Err(_) => Err(BackendError::ReadTimedOut { path, limit }),
        }
    }

    async fn read(&self, path: PathBuf) -> Result<String, BackendError> {
        let bytes = self.with_file(path, |path| std::fs::read(path)).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn read_config(&self, vmid: Vmid) -> Result<Vec<u8>, BackendError> {
        match self.with_file(self.config_file(vmid), |path| std::fs::read(path)).await {
            Err(BackendError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(self.absent(vmid).await)
            }
            read => read,
        }
    }

    async fn read_running(&self) -> Result<Vec<Vmid>, BackendError> {
        let text = self.read(self.paths.proc.join("net/unix")).await?;
        Ok(procfs::command_sockets(&text, &self.paths.lxc.to_string_lossy()).into_iter().collect())
    }

    async fn change(&self, call: Call) -> Result<(), BackendError> {
        let printed = self.runner.run(&call).await?;
        log_remark(&call, &printed);
        Ok(())
    }

    /// Changes a container, and reads what is stored about it as soon as the call has ended.
    async fn change_and_read(&self, vmid: Vmid, call: Call) -> Result<Afterwards, BackendError> {
        let mut read = None;
        let begin = |child: &Child| {
            read = self.ahead.begin(child, self.config_file(vmid), self.runner.limit(&call));
        };
        let printed = self.runner.run_seen(&call, begin).await?;
        log_remark(&call, &printed);
        let Some(read) = read else { return Ok(None) };
        let bytes = read.bytes(self.runner.config().query_timeout()).await;
        Ok(bytes.map(|bytes| parsed(vmid, &bytes)))
    }

    /// Sets or removes an option of a container.
    ///
    /// Before Proxmox VE 8.3, what a running container refuses stays in its configuration as a pending change, and would
    /// come into force at the next start. It is taken back.
    async fn set(&self, vmid: Vmid, option: &'static str, call: Call) -> Result<Afterwards, BackendError> {
        let detail = match self.change_and_read(vmid, call).await {
            Err(BackendError::NotApplicable { detail, .. }) => detail,
            ended => return ended,
        };
        let taken_back = match self.read_config(vmid).await {
            Ok(bytes) if !files::settings(vmid, &bytes).pending.contains_key(option) => Ok(()),
            Ok(_) => self.change(Call::new(Kind::Change, "set", vmid).arg("--revert").arg(option)).await,
            Err(error) => Err(error),
        };
        Err(BackendError::refused_value(vmid, detail, taken_back))
    }

    /// Why a container has no configuration file.
    async fn absent(&self, vmid: Vmid) -> BackendError {
        let directory = self.paths.pve.join("lxc");
        let shown = directory.display().to_string();
        match self.with_file(directory, Path::try_exists).await {
            Ok(true) => BackendError::NoSuchContainer { vmid },
            // Without its cluster file system, the node seems to have no containers at all.
            Ok(false) => BackendError::NodeNotReady {
                detail: format!("`{shown}` does not exist; see `systemctl status pve-cluster`"),
            },
            Err(error) => error,
        }
    }

    /// Starts or stops a container.
    async fn power(&self, vmid: Vmid, call: Call, runs_afterwards: bool) -> Result<(), BackendError> {
        let printed = self.runner.run(&call).await?;
        log_remark(&call, &printed);
        if printed.stdout.contains(REQUEST_TO_HA) {
            ha::acted(self, vmid, runs_afterwards, self.runner.limit(&call)).await?;
        }
        Ok(())
    }

    fn check_program(&self) -> HealthCheck {
        let path = &self.runner.config().path;
        let overdue = self.runner.overdue();
        let shown = path.display();
        let (state, detail) = match std::fs::metadata(path) {
            Err(error) => (HealthState::Unhealthy, format!("`{shown}`: {error}")),
            Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
                (HealthState::Unhealthy, format!("`{shown}` is not an executable file"))
            }
            Ok(_) if !overdue.is_empty() => {
                (HealthState::Degraded, format!("took too long and still running: {}", overdue.join(", ")))
            }
            Ok(_) => (HealthState::Healthy, format!("`{shown}` is executable")),
        };
        HealthCheck { name: "pct".to_owned(), state, detail }
    }

    async fn check_configuration(&self) -> HealthCheck {
        let directory = self.paths.pve.join("lxc");
        let shown = directory.display().to_string();
        let writable = self.with_file(directory, |path| {
            rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(std::io::Error::from)
        });
        let (state, detail) = match (self.containers().await, writable.await) {
            (Err(error), _) => (HealthState::Unhealthy, ErrorChain(&error).to_string()),
            (Ok(_), Err(error)) => (
                HealthState::Unhealthy,
                format!("`{shown}` cannot be written, is the cluster without quorum? {}", ErrorChain(&error)),
            ),
            (Ok(containers), Ok(())) => {
                (HealthState::Healthy, format!("{} in `{shown}`", count(containers.len(), "container")))
            }
        };
        HealthCheck { name: "configuration".to_owned(), state, detail }
    }

    async fn check_running_state(&self) -> HealthCheck {
        let (state, detail) = match self.read_running().await {
            Ok(running) => {
                (HealthState::Healthy, format!("running now: {}", count(running.len(), "container")))
            }
            Err(error) => (HealthState::Degraded, format!("falling back to pct: {}", ErrorChain(&error))),
        };
        HealthCheck { name: "running_state".to_owned(), state, detail }
    }
}

/// What pct prints when it only sends a request to the high availability manager.
const REQUEST_TO_HA: &str = "Requesting HA";

/// What a configuration says; logs the lines that cannot be read.
fn parsed(vmid: Vmid, bytes: &[u8]) -> Stored {
    let (stored, unreadable) = parse::stored(bytes);
    for line in unreadable {
        tracing::warn!(%vmid, line, "a line of the container's configuration cannot be read");
    }
    stored
}

/// Logs what pct printed on stderr although it succeeded.
fn log_remark(call: &Call, printed: &Printed) {
    if !printed.stderr.trim().is_empty() {
        let remark = texts::shorten(&printed.stderr);
        tracing::warn!(command = call.shown(), remark, "pct succeeded with a message on stderr");
    }
}

impl ContainerHost for PctHost {
    fn containers(&self) -> Answer<'_, Vec<Vmid>> {
        Box::pin(self.with_file(self.paths.pve.join("lxc"), |path| {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(path)? {
                found.extend(entry?.file_name().to_str().and_then(Vmid::from_config_file_name));
            }
            found.sort_unstable();
            Ok(found)
        }))
    }

    fn running(&self) -> Answer<'_, Vec<Vmid>> {
        Box::pin(self.read_running())
    }

    fn is_running(&self, vmid: Vmid) -> Answer<'_, bool> {
        Box::pin(async move {
            if let Ok(running) = self.read_running().await {
                return Ok(running.binary_search(&vmid).is_ok());
            }
            let call = Call::new(Kind::Query, "status", vmid);
            let printed = self.runner.run(&call).await?;
            let unreadable = || BackendError::Unreadable {
                command: call.shown(),
                detail: printed.stdout.chars().take(120).collect(),
            };
            parse::status(&printed.stdout).ok_or_else(unreadable)
        })
    }

    fn stored(&self, vmid: Vmid) -> Answer<'_, Stored> {
        Box::pin(async move { Ok(parsed(vmid, &self.read_config(vmid).await?)) })
    }

    fn settings_in<'a>(&'a self, vmid: Vmid, snapshot: &'a SnapshotName) -> Answer<'a, ContainerConfig> {
        Box::pin(async move {
            let bytes = self.read_config(vmid).await?;
            parse::settings_in(&bytes, snapshot.as_str())
                .ok_or_else(|| BackendError::NoSuchSnapshot { vmid, name: snapshot.to_string() })
        })
    }

    fn may_start(&self, _: Vmid) -> Answer<'_, ()> {
        // `pct` runs as root.
        Box::pin(std::future::ready(Ok(())))
    }

    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings> {
        Box::pin(async move { Ok(files::settings(vmid, &self.read_config(vmid).await?)) })
    }

    fn cluster(&self) -> Answer<'_, ClusterStatus> {
        Box::pin(async move {
            let path = self.paths.pve.join(".members");
            let command = path.display().to_string();
            let text = self.read(path).await?;
            files::cluster(&text)
                .map_err(|error| BackendError::Unreadable { command, detail: error.to_string() })
        })
    }

    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool> {
        Box::pin(self.with_file(self.paths.pve.clone(), move |pve| {
            let file = format!("{vmid}.conf");
            let mut homes = vec![pve.to_owned()];
            match std::fs::read_dir(pve.join("nodes")) {
                Ok(nodes) => {
                    for node in nodes {
                        homes.push(node?.path());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            for home in homes {
                for kind in ["lxc", "qemu-server"] {
                    if home.join(kind).join(&file).try_exists()? {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        }))
    }

    fn snapshots(&self, vmid: Vmid) -> Answer<'_, Vec<SnapshotInfo>> {
        Box::pin(async move {
            let call = Call::new(Kind::Query, "listsnapshot", vmid);
            let printed = self.runner.run(&call).await?;
            let list = parse::snapshot_list(&printed.stdout, &TimeZone::system())
                .map_err(|detail| BackendError::Unreadable { command: call.shown(), detail })?;
            Ok(parse::with_states(list, &self.read_config(vmid).await?))
        })
    }

    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, Afterwards> {
        Box::pin(self.set(vmid, "cores", Call::new(Kind::Change, "set", vmid).arg("-cores").arg(cores)))
    }

    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, Afterwards> {
        let call = Call::new(Kind::Change, "set", vmid);
        let call = match cores {
            Some(cores) => call.arg("-cpulimit").arg(cores),
            None => call.arg("-delete").arg("cpulimit"),
        };
        Box::pin(self.set(vmid, "cpulimit", call))
    }

    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, Afterwards> {
        Box::pin(self.change_and_read(vmid, Call::new(Kind::Change, "set", vmid).arg("-delete").arg("cores")))
    }

    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, Afterwards> {
        let call = Call::new(Kind::Change, "set", vmid).arg("-memory").arg(memory.get());
        Box::pin(self.set(vmid, "memory", call))
    }

    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.change(Call::new(Kind::Change, "set", vmid).arg("-tags").arg(tags.join(";"))))
    }

    fn remove_notes(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.change(Call::new(Kind::Change, "set", vmid).arg("-delete").arg("description")))
    }

    fn unprotect(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.change(Call::new(Kind::Change, "set", vmid).arg("-protection").arg(0)))
    }

    fn grow_rootfs(&self, vmid: Vmid, gib: u32) -> Answer<'_, Grown> {
        Box::pin(async move {
            let call = Call::new(Kind::Long, "resize", vmid).arg("rootfs").arg(format_args!("+{gib}G"));
            let printed = self.runner.run(&call).await?;
            // `pct resize` exits with 0 even if its task failed; only stderr shows it.
            if let Some(error) = texts::known(vmid, &printed.stderr) {
                return Err(error);
            }
            log_remark(&call, &printed);
            Ok(Grown::by(vmid, printed.stdout.lines().chain(printed.stderr.lines())))
        })
    }

    fn create_snapshot<'a>(
        &'a self,
        vmid: Vmid,
        name: &'a SnapshotName,
        description: &'static str,
    ) -> Answer<'a, ()> {
        let call = Call::new(Kind::Long, "snapshot", vmid).arg(name);
        Box::pin(self.change(call.arg("--description").arg(description)))
    }

    fn delete_snapshot<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        Box::pin(self.change(Call::new(Kind::Long, "delsnapshot", vmid).arg(name)))
    }

    fn rollback<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        Box::pin(self.change(Call::new(Kind::Long, "rollback", vmid).arg(name)))
    }

    fn clone_container<'a>(&'a self, order: &'a CloneOrder) -> Answer<'a, ()> {
        let mut call = Call::new(Kind::Long, "clone", order.source).arg(order.target);
        if let Some(snapshot) = &order.snapshot {
            call = call.arg("--snapname").arg(snapshot);
        }
        if let Some(notes) = &order.notes {
            call = call.arg("--description").private(notes.clone());
        }
        // Booleans are passed with a value: a bare flag would swallow the argument after it.
        Box::pin(self.change(call.arg("--hostname").arg(&order.hostname).arg("--full").arg(1)))
    }

    fn destroy(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.change(Call::new(Kind::Long, "destroy", vmid).arg("--purge").arg(1)))
    }

    fn unlock(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.change(Call::new(Kind::Change, "unlock", vmid)))
    }

    fn start(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.power(vmid, Call::new(Kind::Change, "start", vmid), true))
    }

    fn stop(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.power(vmid, Call::new(Kind::Change, "stop", vmid), false))
    }

    fn shutdown(&self, vmid: Vmid, patience: Duration, force: bool) -> Answer<'_, ()> {
        let mut call = Call::new(Kind::Change, "shutdown", vmid).waiting(patience);
        call = call.arg("--timeout").arg(patience.as_secs());
        if force {
            call = call.arg("--forceStop").arg(1);
        }
        Box::pin(self.power(vmid, call, false))
    }

    fn reboot(&self, vmid: Vmid, patience: Duration) -> Answer<'_, ()> {
        let call = Call::new(Kind::Change, "reboot", vmid).waiting(patience);
        Box::pin(self.power(vmid, call.arg("--timeout").arg(patience.as_secs()), true))
    }

    fn standing<'a>(&'a self, _: Vmid, call: &'a watch::Call) -> Answer<'a, Standing> {
        Box::pin(async move {
            let command = call.command.clone();
            if !command.starts_with("pct ") {
                // The call was a request to the high availability manager.
                return Ok(Standing::Unknown);
            }
            let found = self
                .with_file(PathBuf::from(orphans::PROCFS), move |proc| orphans::is_running(proc, &command));
            Ok(if found.await? { Standing::Running } else { Standing::Ended })
        })
    }

    fn probe(&self) -> std::pin::Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>> {
        Box::pin(async move {
            vec![self.check_program(), self.check_configuration().await, self.check_running_state().await]
        })
    }
}
