//! The containers of the node, as the actions use them.
//!
//! [`ContainerHost`] is the interface: plain typed methods, each for one operation of Proxmox, with typed errors that
//! know nothing of HTTP. [`pct`] implements it with the `pct` program, [`rest`] with Proxmox's REST API, and
//! [`Opened`] chooses between them. [`crate::actions`] combines these operations into whole changes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lxc_autoscale_core::api::{
    ClusterStatus, ContainerSettings, HealthCheck, SnapshotInfo, SnapshotState, VolumeInfo,
};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};
use sha1::{Digest, Sha1};

pub use self::identity::{ContainerIdentity, Likeness};
use self::pct::PctHost;
use self::rest::{RestHost, RestSetupError};
use self::watch::{Call, Standing};
use crate::auth::keys::hex;
use crate::config::{BackendChoice, Config, TokenPlace};
use crate::params::{Hostname, SnapshotName};

mod ha;
mod identity;
pub mod measured;
pub mod pct;
pub mod rest;
pub mod snapstate;
mod texts;
mod volumes;
pub mod watch;

/// The back end chosen by the configuration.
#[derive(Debug)]
pub enum Opened {
    /// The `pct` program.
    Pct(Box<PctHost>),
    /// Proxmox's REST API.
    Rest(Box<RestHost>),
}

impl Opened {
    /// Opens the back end. `auto` chooses the REST API if there is a token for it.
    ///
    /// # Errors
    /// [`RestSetupError`] if the REST API is to be used and cannot be. There is no fallback to `pct`: whoever
    /// configured a token does not expect this server to act as root.
    pub fn new(config: &Config, node_name: Option<&str>) -> Result<Self, RestSetupError> {
        Self::with_token(config, config.rest.token().as_ref(), node_name)
    }

    /// The same with a token that was found.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_token(
        config: &Config,
        token: Option<&TokenPlace>,
        node_name: Option<&str>,
    ) -> Result<Self, RestSetupError> {
        match (config.backend, token) {
            (BackendChoice::Pct, _) | (BackendChoice::Auto, None) => {
                let host = PctHost::new(config.pct.clone(), config.paths.clone());
                Ok(Self::Pct(Box::new(host)))
            }
            (BackendChoice::Rest, None) => Err(RestSetupError::NoToken),
            (BackendChoice::Rest | BackendChoice::Auto, Some(token)) => {
                let path = match token {
                    TokenPlace::File(path) | TokenPlace::Credential(path) | TokenPlace::Unit(path) => path,
                    TokenPlace::Closed => return Err(RestSetupError::ClosedToken),
                };
                let host = RestHost::open(&config.rest, path, node_name)?;
                Ok(Self::Rest(Box::new(host)))
            }
        }
    }

    /// The back end as the actions use it.
    pub fn into_host(self) -> Arc<dyn ContainerHost> {
        match self {
            Self::Pct(host) => Arc::new(*host),
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

/// The return type of [`ContainerHost`]'s methods: trait objects do not support `async fn` yet.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// What is stored about a container after its size was set, if the back end has read it already.
pub type Afterwards = Option<Stored>;

/// The current state that Proxmox has stored about a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Its current settings.
    pub config: ContainerConfig,
    /// The snapshot that its present state descends from.
    pub parent: Option<String>,
    /// Names of its snapshots, complete or not.
    pub snapshots: Vec<String>,
    /// Those of them that are incomplete.
    pub incomplete: BTreeMap<String, SnapshotState>,
    /// Its disks.
    pub volumes: Vec<VolumeInfo>,
    /// Proxmox's digest of the whole configuration, including pending changes and snapshots.
    pub digest: String,
    /// The name of the node it is on; empty for the node this server runs on.
    pub home: String,
    /// What tells it from another container that gets its id later.
    pub identity: ContainerIdentity,
    /// Its notes, which Proxmox calls its description.
    pub notes: Option<String>,
}

impl Stored {
    /// Whether there is a snapshot of this name.
    pub fn has_snapshot(&self, name: &SnapshotName) -> bool {
        self.snapshot(name.as_str()).is_some()
    }

    /// The state of a snapshot; `None` if there is none of this name.
    pub fn snapshot(&self, name: &str) -> Option<SnapshotState> {
        let is_there = self.snapshots.iter().any(|snapshot| snapshot == name);
        is_there.then(|| self.incomplete.get(name).copied().unwrap_or_default())
    }
}

/// The digest that Proxmox makes of a configuration: the SHA-1 of its file.
fn digest(bytes: &[u8]) -> String {
    hex(&Sha1::digest(bytes))
}

/// How much of a root filesystem was enlarged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grown {
    /// The volume and the file system on it.
    Both,
    /// Only the volume: the container sees no more space than before.
    VolumeOnly,
    /// The volume; the output about the file system cannot be read.
    Unknown,
}

impl Grown {
    /// Derives the result from the output of the call or its task.
    fn by<'a>(vmid: Vmid, mut printed: impl Iterator<Item = &'a str>) -> Self {
        match printed.find(|line| line.contains(texts::FILE_SYSTEM_NOT_GROWN)) {
            None => Self::Both,
            // Proxmox treats this as a mere warning: the volume and the configuration have the new size.
            Some(line) => {
                tracing::warn!(%vmid, remark = texts::shorten(line), "the volume grew, its file system did not");
                Self::VolumeOnly
            }
        }
    }
}

/// What to copy, and what to name the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneOrder {
    /// The container to copy.
    pub source: Vmid,
    /// The id of the copy.
    pub target: Vmid,
    /// The host name of the copy.
    pub hostname: Hostname,
    /// The snapshot to copy from; a running container can be copied from a snapshot only.
    pub snapshot: Option<SnapshotName>,
    /// The notes of the copy. Without any, it has those of its source or, copied from a snapshot, the description of
    /// the snapshot.
    pub notes: Option<String>,
}

/// Where containers live.
pub trait ContainerHost: fmt::Debug + Send + Sync {
    /// The containers configured on this node.
    fn containers(&self) -> Answer<'_, Vec<Vmid>>;
    /// Those of them that are running.
    fn running(&self) -> Answer<'_, Vec<Vmid>>;
    /// Whether a container is running.
    fn is_running(&self, vmid: Vmid) -> Answer<'_, bool>;
    /// What is stored about a container.
    fn stored(&self, vmid: Vmid) -> Answer<'_, Stored>;
    /// All settings of a container, both in force and pending.
    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings>;
    /// The nodes of the cluster, and whether it has quorum.
    fn cluster(&self) -> Answer<'_, ClusterStatus>;
    /// Whether any guest, of any kind and on any node, has this id.
    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool>;
    /// The settings that a snapshot would bring back.
    fn settings_in<'a>(&'a self, vmid: Vmid, snapshot: &'a SnapshotName) -> Answer<'a, ContainerConfig>;
    /// Checks that a container could be started; if that is not known, it passes.
    fn may_start(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// The snapshots of a container.
    fn snapshots(&self, vmid: Vmid) -> Answer<'_, Vec<SnapshotInfo>>;

    /// Sets the number of cores.
    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, Afterwards>;
    /// Sets the CPU limit, in cores; `None` removes it. Proxmox accepts 0 for no limit, but fails on it while the
    /// container runs.
    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, Afterwards>;
    /// Removes the number of cores: the container may use all cores of the node.
    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, Afterwards>;
    /// Sets the memory.
    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, Afterwards>;
    /// Replaces the tags.
    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()>;
    /// Removes the notes.
    fn remove_notes(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Removes the protection from removal.
    fn unprotect(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Enlarges the root filesystem by `gib` GiB.
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
    /// Rolls back to a snapshot, and leaves the container stopped.
    fn rollback<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()>;

    /// Makes a full copy of a container.
    fn clone_container<'a>(&'a self, order: &'a CloneOrder) -> Answer<'a, ()>;
    /// Removes a stopped container and its volumes permanently.
    fn destroy(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Removes the lock that an interrupted call left.
    fn unlock(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Starts a container.
    fn start(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Stops a container at once.
    fn stop(&self, vmid: Vmid) -> Answer<'_, ()>;
    /// Asks a container to shut down within `patience`; with `force` it is killed after that.
    fn shutdown(&self, vmid: Vmid, patience: Duration, force: bool) -> Answer<'_, ()>;
    /// Restarts a container; it is killed if it has not shut down within `patience`.
    fn reboot(&self, vmid: Vmid, patience: Duration) -> Answer<'_, ()>;

    /// The state of a call on a container that nobody waits for any more.
    fn standing<'a>(&'a self, vmid: Vmid, call: &'a Call) -> Answer<'a, Standing>;

    /// Checks whether containers could be changed now; changes nothing.
    fn probe(&self) -> Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>>;
}

/// Why the back end did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The container does not exist on this node, or for the REST API in the cluster.
    #[error("container {vmid} does not exist here")]
    NoSuchContainer {
        /// The container.
        vmid: Vmid,
    },
    /// Proxmox holds a lock on the container: a backup, migration or snapshot is under way or was interrupted.
    #[error("container {vmid} is locked ({lock}); wait for what holds the lock, or see `pct unlock`")]
    Locked {
        /// The container.
        vmid: Vmid,
        /// Proxmox's name of the lock.
        lock: String,
    },
    /// Another program is changing the container.
    #[error("the configuration of container {vmid} is being changed by another program; try again")]
    Busy {
        /// The container.
        vmid: Vmid,
    },
    /// An earlier call on the container took too long and is still running.
    #[error(
        "an earlier `{command}` on container {vmid} took too long and is still running; nothing is done until it ends"
    )]
    StillRunning {
        /// The container.
        vmid: Vmid,
        /// The earlier call.
        command: String,
    },
    /// The container has no such snapshot.
    #[error("container {vmid} has no snapshot `{name}`")]
    NoSuchSnapshot {
        /// The container.
        vmid: Vmid,
        /// The snapshot.
        name: String,
    },
    /// What was to be created exists already; `what` names it, such as `container 105`.
    #[error("{what} exists already")]
    Exists {
        /// What exists.
        what: String,
        /// Whether it is a snapshot.
        kind: Existing,
    },
    /// A storage or mount point of the container does not support this.
    #[error("the storage of container {vmid} cannot do this: {detail}")]
    Unsupported {
        /// The container.
        vmid: Vmid,
        /// Proxmox's message.
        detail: String,
    },
    /// The container is in the wrong state, such as running, stopped, a template or protected.
    #[error("container {vmid} is in the wrong state for this: {detail}")]
    WrongState {
        /// The container.
        vmid: Vmid,
        /// Proxmox's message.
        detail: String,
        /// Which state is in the way.
        state: Obstacle,
    },
    /// The kernel refused the new value for a running container.
    #[error("the value could not be applied to the running container {vmid}: {detail}")]
    NotApplicable {
        /// The container.
        vmid: Vmid,
        /// Proxmox's message.
        detail: String,
    },
    /// The node is not ready for changes: no quorum, `/etc/pve` not mounted, not root.
    #[error("the node is not ready for changes: {detail}")]
    NodeNotReady {
        /// Proxmox's message.
        detail: String,
    },
    /// Proxmox does not accept the token.
    #[error(
        "Proxmox does not accept the API token `{token}`; is it deleted, expired, or its secret mistyped?"
    )]
    Unauthorized {
        /// The name of the token.
        token: String,
    },
    /// Proxmox accepts the token but denies the call.
    #[error("`{command}` is not permitted: {detail}; see `lxc-autoscale-api check`")]
    NotPermitted {
        /// The call.
        command: String,
        /// Proxmox's message.
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
    /// Reading a file of the node did not finish in time.
    #[error("reading `{}` took longer than {limit:?}", path.display())]
    ReadTimedOut {
        /// The file.
        path: PathBuf,
        /// The time limit.
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
    #[error("`{command}` took longer than {limit:?} and {}", if *.running { "may still be running" } else { "was ended" })]
    TimedOut {
        /// The call.
        command: String,
        /// The time limit.
        limit: Duration,
        /// Whether it continues, in spite of SIGTERM or as a task of Proxmox.
        running: bool,
    },
    /// The request was sent, but no answer came.
    #[error("`{command}` was sent, and its answer was lost ({detail}); it may still be running")]
    AnswerLost {
        /// The call.
        command: String,
        /// Why.
        detail: String,
    },
    /// The call was cancelled on request.
    #[error("`{command}` was cancelled")]
    Cancelled {
        /// The call.
        command: String,
    },
    /// The call could not be recorded, so it was not made.
    #[error("`{command}` was not made, because it could not be recorded first: {detail}")]
    NotRecorded {
        /// The call.
        command: String,
        /// Why.
        detail: String,
    },
    /// The call failed in a way that has no variant of its own.
    #[error("`{command}` failed ({status}): {detail}")]
    Failed {
        /// The call.
        command: String,
        /// Its exit status or HTTP status.
        status: String,
        /// What it printed.
        detail: String,
    },
    /// The output of the call cannot be parsed.
    #[error("`{command}` printed something that cannot be understood: {detail}")]
    Unreadable {
        /// The call.
        command: String,
        /// The line.
        detail: String,
    },
}

impl BackendError {
    /// The error for a value that the kernel refused, with what became of the change that Proxmox may have kept.
    fn refused_value(vmid: Vmid, detail: String, taken_back: Result<(), Self>) -> Self {
        let detail = match taken_back {
            Ok(()) => detail,
            Err(error) => {
                format!(
                    "{detail}; unless it is taken back by hand, it waits for the next start ({})",
                    ErrorChain(&error)
                )
            }
        };
        Self::NotApplicable { vmid, detail }
    }

    /// The call that may still be running.
    pub fn at_work(&self) -> Option<&str> {
        match self {
            Self::TimedOut { command, running: true, .. } | Self::AnswerLost { command, .. } => Some(command),
            _ => None,
        }
    }

    /// Whether the failed call may have done part of its work. If Proxmox gave a reason that we know, it refused the
    /// call before it began, or cleaned up itself.
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

    /// Whether something else holds the container, which it will not do for ever.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::Busy { .. } | Self::StillRunning { .. })
    }

    /// Whether the same call may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        self.is_locked()
            || matches!(
                self,
                Self::WrongState { state: Obstacle::Modified, .. }
                    | Self::NodeNotReady { .. }
                    | Self::Unreachable { .. }
                    | Self::Read { .. }
                    | Self::ReadTimedOut { .. }
                    | Self::TimedOut { running: false, .. }
                    | Self::Failed { .. }
            )
    }
}

/// What exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// A guest with that id.
    Guest,
    /// A snapshot with that name.
    Snapshot,
}

/// The state of a container that prevents a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is running.
    Running,
    /// It is stopped.
    Stopped,
    /// It is a template.
    Template,
    /// It is protected from removal.
    Protected,
    /// The snapshot is not its newest, and this storage can roll back only to that.
    NewerSnapshot,
    /// Proxmox has not finished taking or removing the snapshot.
    IncompleteSnapshot,
    /// Its configuration was changed meanwhile.
    Modified,
    /// Its disk already has that size or more.
    DiskSize,
    /// It was asked to shut down, and did not in time.
    DidNotStop,
}
