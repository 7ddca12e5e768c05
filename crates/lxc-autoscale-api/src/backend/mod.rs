//! The containers of the node, as the actions see them.
//!
//! [`ContainerHost`] is the door: plain typed methods, each one thing Proxmox can do, with typed errors that
//! know nothing of HTTP. [`pct`] goes through the `pct` program, [`rest`] through Proxmox's REST API; what a whole
//! change consists of stands in [`crate::actions`]. [`Opened`] chooses between them.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::api::{ClusterStatus, ContainerSettings, HealthCheck, SnapshotInfo, VolumeInfo};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{Mebibytes, Vmid};
use sha1::{Digest, Sha1};

use self::pct::PctHost;
use self::rest::{RestHost, RestSetupError};
use self::watch::{Call, Standing};
use crate::auth::keys::hex;
use crate::config::{BackendChoice, Config};
use crate::params::{Hostname, SnapshotName};

mod ha;
pub mod measured;
pub mod pct;
pub mod rest;
mod texts;
mod volumes;
pub mod watch;

/// The back end that the configuration names.
#[derive(Debug)]
pub enum Opened {
    /// Through `pct`.
    Pct(PctHost),
    /// Through the REST API.
    Rest(Box<RestHost>),
}

impl Opened {
    /// Opens it; with `auto` it is the REST API where there is a token for it.
    ///
    /// # Errors
    /// [`RestSetupError`] when the REST API is to be used and cannot be. Nothing else takes its place: whoever gave
    /// it a token does not expect us to act as root.
    pub fn new(config: &Config, node_name: Option<&str>) -> Result<Self, RestSetupError> {
        match (config.backend, config.rest.token_path()) {
            (BackendChoice::Pct, _) | (BackendChoice::Auto, None) => {
                Ok(Self::Pct(PctHost::new(config.pct.clone(), config.paths.clone())))
            }
            (BackendChoice::Rest, None) => Err(RestSetupError::NoToken),
            (BackendChoice::Rest | BackendChoice::Auto, Some(token)) => {
                let host = RestHost::open(&config.rest, &token, node_name)?;
                Ok(Self::Rest(Box::new(host)))
            }
        }
    }

    /// As the actions see it.
    pub fn into_host(self) -> Arc<dyn ContainerHost> {
        match self {
            Self::Pct(host) => Arc::new(host),
            Self::Rest(host) => Arc::new(*host),
        }
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pct(_) => f.write_str("pct"),
            Self::Rest(host) => write!(f, "{host}"),
        }
    }
}

/// What a method of [`ContainerHost`] returns: a trait object cannot have `async fn`s yet.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What Proxmox has stored about a container now.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its current settings.
    pub config: ContainerConfig,
    /// The snapshot its present state descends from.
    pub parent: Option<String>,
    /// Names of its snapshots.
    pub snapshots: Vec<String>,
    /// Its disks.
    pub volumes: Vec<VolumeInfo>,
    /// Proxmox's digest of all of its configuration: what is pending and what belongs to snapshots, too.
    pub digest: String,
    /// The node it is on, by its name; empty for the one this runs on.
    pub home: String,
}

impl Stored {
    /// Whether there is a snapshot of this name.
    pub fn has_snapshot(&self, name: &SnapshotName) -> bool {
        self.snapshots.iter().any(|snapshot| snapshot == name.as_str())
    }
}

/// A digest as Proxmox makes it of a configuration: the SHA-1 of its file.
fn digest(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}

/// Whether a root filesystem has all of what was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grown {
    /// The volume and the file system on it.
    Both,
    /// The volume alone: the container sees no more than before.
    VolumeOnly,
    /// The volume; what it printed about the file system cannot be read.
    Unknown,
}

impl Grown {
    /// By the lines that the call, or its task, has printed.
    fn by<'a>(vmid: Vmid, mut printed: impl Iterator<Item = &'a str>) -> Self {
        match printed.find(|line| line.contains(texts::FILE_SYSTEM_NOT_GROWN)) {
            None => Self::Both,
            // To Proxmox a mere warning: the volume and the configuration have the new size.
            Some(line) => {
                tracing::warn!(%vmid, remark = texts::shorten(line), "the volume grew, its file system did not");
                Self::VolumeOnly
            }
        }
    }
}

/// What to copy, and how to call the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneOrder {
    /// The container to copy.
    pub source: Vmid,
    /// The id of the copy.
    pub target: Vmid,
    /// Its host name.
    pub hostname: Hostname,
    /// The snapshot to copy from; a running container can be copied from a snapshot only.
    pub snapshot: Option<SnapshotName>,
}

/// Where containers live.
pub trait ContainerHost: fmt::Debug + Send + Sync {
    /// The containers configured on this node.
    fn containers(&self) -> Answer<'_, Vec<Vmid>>;
    /// Those of them that run.
    fn running(&self) -> Answer<'_, Vec<Vmid>>;
    /// Whether a container runs.
    fn is_running(&self, vmid: Vmid) -> Answer<'_, bool>;
    /// What is stored about a container.
    fn stored(&self, vmid: Vmid) -> Answer<'_, Stored>;
    /// All settings of a container, in force and pending.
    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings>;
    /// The nodes of the cluster, and whether it can decide.
    fn cluster(&self) -> Answer<'_, ClusterStatus>;
    /// Whether any guest, of any kind and on any node, has this id.
    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool>;
    /// The snapshots of a container.
    fn snapshots(&self, vmid: Vmid) -> Answer<'_, Vec<SnapshotInfo>>;

    /// Sets the number of cores.
    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, ()>;
    /// Sets the CPU limit, in cores; `None` removes it. Proxmox takes 0 for none, but fails on it while the container runs.
    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, ()>;
    /// Removes the number of cores: the container may use all of the node's.
    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Sets the memory.
    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, ()>;
    /// Replaces the tags.
    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()>;
    /// Adds to the root filesystem.
    fn grow_rootfs(&self, vmid: Vmid, gib: u32) -> Answer<'_, Grown>;

    /// Takes a snapshot.
    fn create_snapshot<'a>(
        &'a self,
        vmid: Vmid,
        name: &'a SnapshotName,
        description: &'static str,
    ) -> Answer<'a, ()>;
    /// Drops a snapshot.
    fn delete_snapshot<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()>;
    /// Goes back to a snapshot; leaves the container stopped.
    fn rollback<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()>;

    /// Copies a container in full.
    fn clone_container<'a>(&'a self, order: &'a CloneOrder) -> Answer<'a, ()>;
    /// Removes a stopped container and its volumes for ever.
    fn destroy(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Removes the lock an interrupted call left.
    fn unlock(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Starts a container.
    fn start(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Stops a container at once.
    fn stop(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Asks a container to stop by itself within `patience`; with `force` it is killed then.
    fn shutdown(&self, vmid: Vmid, patience: Duration, force: bool) -> Answer<'_, ()>;
    /// Restarts a container; it is killed if it has not stopped by itself within `patience`.
    fn reboot(&self, vmid: Vmid, patience: Duration) -> Answer<'_, ()>;

    /// How a call on a container stands that nobody waits for any more.
    fn standing<'a>(&'a self, vmid: Vmid, call: &'a Call) -> Answer<'a, Standing>;

    /// Looks whether containers could be changed now; changes nothing.
    fn probe(&self) -> Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>>;
}

/// Why the back end did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such container: on this node, or for the REST API in the cluster.
    #[error("container {vmid} does not exist here")]
    NoSuchContainer {
        /// The container.
        vmid: Vmid,
    },
    /// Proxmox holds a lock on it: a backup, migration or snapshot is under way, or was interrupted.
    #[error("container {vmid} is locked ({lock}); wait for what holds the lock, or see `pct unlock`")]
    Locked {
        /// The container.
        vmid: Vmid,
        /// Proxmox's name of the lock.
        lock: String,
    },
    /// Another program changes it right now.
    #[error("the configuration of container {vmid} is being changed by another program; try again")]
    Busy {
        /// The container.
        vmid: Vmid,
    },
    /// An earlier call that took too long is still at work on it.
    #[error(
        "an earlier `{command}` on container {vmid} took too long and still runs; nothing is done until it ends"
    )]
    StillRunning {
        /// The container.
        vmid: Vmid,
        /// That call.
        command: String,
    },
    /// It has no such snapshot.
    #[error("container {vmid} has no snapshot `{name}`")]
    NoSuchSnapshot {
        /// The container.
        vmid: Vmid,
        /// The snapshot.
        name: String,
    },
    /// What was to be made exists; `what` is a subject such as `container 105`.
    #[error("{what} exists already")]
    Exists {
        /// What.
        what: String,
        /// Whether it is a snapshot.
        kind: Existing,
    },
    /// A storage or mount point of the container cannot do it.
    #[error("the storage of container {vmid} cannot do this: {detail}")]
    Unsupported {
        /// The container.
        vmid: Vmid,
        /// Proxmox's words.
        detail: String,
    },
    /// The container is in the wrong state: running, stopped, a template, protected.
    #[error("container {vmid} is in no state for this: {detail}")]
    WrongState {
        /// The container.
        vmid: Vmid,
        /// Proxmox's words.
        detail: String,
        /// Which state is in the way.
        state: Obstacle,
    },
    /// The kernel refused the new value of a running container.
    #[error("the value could not be applied to the running container {vmid}: {detail}")]
    NotApplicable {
        /// The container.
        vmid: Vmid,
        /// Proxmox's words.
        detail: String,
    },
    /// The node is not ready for changes: no quorum, `/etc/pve` not mounted, not root.
    #[error("the node is not ready for changes: {detail}")]
    NodeNotReady {
        /// Proxmox's words.
        detail: String,
    },
    /// Proxmox does not know us.
    #[error(
        "Proxmox does not accept the API token `{token}`; is it deleted, expired, or its secret mistyped?"
    )]
    Unauthorized {
        /// Its name.
        token: String,
    },
    /// Proxmox knows us and does not let us.
    #[error("`{command}` is not permitted: {detail}; see `lxc-autoscale-api check`")]
    NotPermitted {
        /// The call.
        command: String,
        /// Proxmox's words.
        detail: String,
    },
    /// Proxmox's REST API does not answer.
    #[error("`{command}` got no answer: {detail}")]
    Unreachable {
        /// The call.
        command: String,
        /// Why.
        detail: String,
    },
    /// A file of the node cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the node did not answer.
    #[error("reading `{}` took longer than {limit:?}", path.display())]
    ReadTimedOut {
        /// The file.
        path: PathBuf,
        /// The time it was given.
        limit: Duration,
    },
    /// The program cannot be started.
    #[error("cannot run `{command}`")]
    Spawn {
        /// The call.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// The call took too long.
    #[error("`{command}` took longer than {limit:?} and {}", if *.running { "may still be at work" } else { "was given up" })]
    TimedOut {
        /// The call.
        command: String,
        /// The time it was given.
        limit: Duration,
        /// Whether it goes on: in spite of SIGTERM, or as a task of Proxmox.
        running: bool,
    },
    /// It was sent, and the answer did not come.
    #[error("`{command}` was sent, and its answer was lost ({detail}); it may be at work")]
    AnswerLost {
        /// The call.
        command: String,
        /// Why.
        detail: String,
    },
    /// It was given up because somebody wanted that.
    #[error("`{command}` was cancelled")]
    Cancelled {
        /// The call.
        command: String,
    },
    /// The call cannot be written down, so it was not made.
    #[error("`{command}` was not begun, because it could not be written down: {detail}")]
    NotRecorded {
        /// The call.
        command: String,
        /// Why.
        detail: String,
    },
    /// The call failed in a way that has no name here.
    #[error("`{command}` failed ({status}): {detail}")]
    Failed {
        /// The call.
        command: String,
        /// Its exit status or HTTP status.
        status: String,
        /// What it said.
        detail: String,
    },
    /// The answer cannot be understood.
    #[error("`{command}` gave output that cannot be understood: {detail}")]
    Unreadable {
        /// The call.
        command: String,
        /// The line.
        detail: String,
    },
}

impl BackendError {
    /// The call, where it may be at work still.
    pub fn at_work(&self) -> Option<&str> {
        match self {
            Self::TimedOut { command, running: true, .. } | Self::AnswerLost { command, .. } => Some(command),
            _ => None,
        }
    }

    /// Whether the call may have left some of its work when it failed. What Proxmox names a reason for it has refused before
    /// it began, or taken back itself.
    pub fn may_have_begun(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. }
                | Self::AnswerLost { .. }
                | Self::Cancelled { .. }
                | Self::Failed { .. }
                | Self::Unreadable { .. }
        )
    }
}

/// What exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// A guest of that id.
    Guest,
    /// A snapshot of that name.
    Snapshot,
}

/// Which state of a container is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It runs.
    Running,
    /// It does not run.
    Stopped,
    /// It is a template.
    Template,
    /// It is protected from removal.
    Protected,
    /// Only its newest snapshot can be rolled back to on this storage.
    NewerSnapshot,
    /// Its configuration was changed meanwhile.
    Modified,
    /// Its disk has that size, or more, already.
    DiskSize,
    /// It was asked to stop, and did not in time.
    DidNotStop,
}
