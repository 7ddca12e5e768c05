//! Containers through Proxmox's REST API, of any node of the cluster, with the rights of an API token.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::Method;
use jiff::tz::TimeZone;
use lxc_autoscale_core::api::{ClusterStatus, ContainerSettings, HealthCheck, HealthState, SnapshotInfo};
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use super::watch::{self, Call, Standing};
use super::{Answer, BackendError, CloneOrder, ContainerHost, Stored, ha, texts};
use crate::config::RestConfig;
use crate::params::SnapshotName;

mod answers;
mod client;
mod privileges;
mod task;
mod tls;
mod token;

pub use privileges::{Missing, granting_commands};
pub use tls::{Fingerprint, TlsError};
pub use token::{Token, TokenError};

use answers::{ConfigAnswer, Listed, MemberAnswer, PendingAnswer, SnapshotAnswer};
use client::{About, Ask, Client};
use task::{Progress, TaskStatus, Upid};

/// A task is asked after at first, and later at most this often.
const FIRST_POLL: Duration = Duration::from_millis(100);
const LAST_POLL: Duration = Duration::from_secs(2);

/// Why the REST API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestSetupError {
    /// There is no token.
    #[error(
        "`backend = \"rest\"` takes an API token: set `rest.token_file`, or pass the credential `rest.token_credential`"
    )]
    NoToken,
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No server can be trusted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The fingerprint is none.
    #[error("`rest.fingerprint` is no SHA-256 fingerprint")]
    Fingerprint,
    /// Nobody knows which node.
    #[error("the name of this node is not known: set `rest.node`")]
    NoNode,
}

/// The containers of one node, through Proxmox's REST API.
#[derive(Debug)]
pub struct RestHost {
    client: Client,
    config: RestConfig,
    node: String,
    /// Tasks that took too long and may still be at work.
    overdue: Mutex<HashMap<Vmid, (Upid, String)>>,
}

impl fmt::Display for RestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, token) = (&self.config.url, self.client.token().id());
        write!(f, "the REST API at {url} for node {}, as {token}", self.node)
    }
}

impl RestHost {
    /// Reads token and certificate; connects to nothing.
    ///
    /// # Errors
    /// [`RestSetupError`] when one of them cannot be used.
    pub fn open(config: &RestConfig, token: &Path, own_node: Option<&str>) -> Result<Self, RestSetupError> {
        let token = Token::read(token)?;
        let tls = if config.fingerprint.is_empty() {
            tls::trusting_authority(&config.ca_file)?
        } else {
            let pinned = Fingerprint::parse(&config.fingerprint).ok_or(RestSetupError::Fingerprint)?;
            tls::trusting_fingerprint(pinned)?
        };
        let configured = Some(config.node.as_str()).filter(|name| !name.is_empty());
        let node = configured.or(own_node).ok_or(RestSetupError::NoNode)?.to_owned();
        let client = Client::new(config.url.clone(), token, &tls);
        Ok(Self { client, config: config.clone(), node, overdue: Mutex::default() })
    }

    /// What the token may not do.
    ///
    /// # Errors
    /// [`BackendError`] when Proxmox does not say.
    pub async fn missing_privileges(&self) -> Result<Vec<Missing>, BackendError> {
        let permissions = self.look(About::Node, "/access/permissions".to_owned()).await?;
        Ok(privileges::missing(&permissions))
    }

    /// The token it uses.
    pub fn token(&self) -> &Token {
        self.client.token()
    }

    fn of(&self, vmid: Vmid, rest: &str) -> String {
        format!("/nodes/{}/lxc/{vmid}{rest}", self.node)
    }

    async fn look<T: DeserializeOwned>(&self, about: About, path: String) -> Result<T, BackendError> {
        let limit = self.config.query_timeout();
        self.client.ask(&Ask { method: Method::GET, path, parameters: Vec::new(), about, limit }).await
    }

    /// The configuration in force, without pending changes.
    async fn current(&self, vmid: Vmid) -> Result<ConfigAnswer, BackendError> {
        let ask = Ask {
            method: Method::GET,
            path: self.of(vmid, "/config"),
            parameters: vec![("current", "1".to_owned())],
            about: About::Container(vmid),
            limit: self.config.query_timeout(),
        };
        self.client.ask(&ask).await
    }

    /// A change that is done when it is answered.
    async fn set(&self, vmid: Vmid, key: &'static str, value: String) -> Result<(), BackendError> {
        self.refuse_while_overdue(vmid).await?;
        let ask = Ask {
            method: Method::PUT,
            path: self.of(vmid, "/config"),
            parameters: vec![(key, value)],
            about: About::Container(vmid),
            limit: self.config.change_timeout(),
        };
        watch::note(Call { command: ask.shown(), upid: None }).await?;
        self.client.ask::<Value>(&ask).await.map(drop)
    }

    /// A change that is a task, followed to its end.
    async fn run(
        &self,
        vmid: Vmid,
        method: Method,
        path: String,
        parameters: Vec<(&'static str, String)>,
        limit: Duration,
    ) -> Result<Upid, BackendError> {
        self.refuse_while_overdue(vmid).await?;
        let deadline = Instant::now() + limit;
        // The task itself is begun within the time of a change.
        let begin = self.config.change_timeout();
        let ask = Ask { method, path, parameters, about: About::Container(vmid), limit: begin };
        watch::note(Call { command: ask.shown(), upid: None }).await?;
        let text: String = self.client.ask(&ask).await?;
        let upid = Upid::parse(&text).ok_or_else(|| BackendError::Unreadable {
            command: ask.shown(),
            detail: texts::shorten(&text),
        })?;
        if let Err(error) = watch::note(Call { command: ask.shown(), upid: Some(upid.to_string()) }).await {
            // It is begun: what remains is to follow it.
            tracing::error!(%upid, error = %ErrorChain(&error), "the name of the task is not written down");
        }
        let (progress, is_cancelled) = self.follow(&upid, deadline).await;
        match progress {
            Some(Progress::Done(warnings)) => {
                if let Some(warnings) = warnings {
                    tracing::warn!(command = ask.shown(), %upid, warnings, "the task ended with warnings");
                }
                Ok(upid)
            }
            Some(Progress::Failed(_)) if is_cancelled => {
                Err(BackendError::Cancelled { command: ask.shown() })
            }
            Some(Progress::Failed(text)) => Err(texts::classify(vmid, &ask.shown(), "task failed", &text)),
            Some(Progress::Running) | None => {
                let command = ask.shown();
                self.overdue().insert(vmid, (upid, command.clone()));
                Err(BackendError::TimedOut { command, limit, running: true })
            }
        }
    }

    /// Asks after a task until it has ended; `None` when the time is over first. Also returns whether it was asked
    /// to give up.
    async fn follow(&self, upid: &Upid, deadline: Instant) -> (Option<Progress>, bool) {
        let mut pause = FIRST_POLL;
        let mut is_cancelled = false;
        loop {
            match self.progress(upid).await {
                Ok(Progress::Running) => {}
                Ok(ended) => return (Some(ended), is_cancelled),
                // Proxmox's own proxy is restarted now and then; the task goes on.
                Err(error) => tracing::warn!(%upid, error = %ErrorChain(&error), "cannot ask after the task"),
            }
            if deadline <= Instant::now() + pause {
                return (None, is_cancelled);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = watch::cancelled(), if !is_cancelled => {
                    is_cancelled = true;
                    self.stop_task(upid).await;
                }
            }
            pause = (pause * 2).min(LAST_POLL);
        }
    }

    /// Asks Proxmox to stop a task, which cleans up as far as it can; its end is then seen as that of any other.
    async fn stop_task(&self, upid: &Upid) {
        let ask = Ask {
            method: Method::DELETE,
            path: format!("/nodes/{}/tasks/{upid}", upid.node()),
            parameters: Vec::new(),
            about: About::Node,
            limit: self.config.query_timeout(),
        };
        if let Err(error) = self.client.ask::<Value>(&ask).await {
            tracing::warn!(%upid, error = %ErrorChain(&error), "the task cannot be stopped");
        }
    }

    /// How a task stands, asked of the node it runs on.
    async fn progress(&self, upid: &Upid) -> Result<Progress, BackendError> {
        let path = format!("/nodes/{}/tasks/{upid}/status", upid.node());
        let status: TaskStatus = self.look(About::Node, path).await?;
        Ok(status.progress())
    }

    fn overdue(&self) -> std::sync::MutexGuard<'_, HashMap<Vmid, (Upid, String)>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is begun on a container whose last task has not ended.
    async fn refuse_while_overdue(&self, vmid: Vmid) -> Result<(), BackendError> {
        let Some((upid, command)) = self.overdue().get(&vmid).cloned() else { return Ok(()) };
        if self.progress(&upid).await? == Progress::Running {
            return Err(BackendError::StillRunning { vmid, command });
        }
        self.overdue().remove(&vmid);
        Ok(())
    }

    async fn listed(&self) -> Result<Vec<Listed>, BackendError> {
        self.look(About::Node, format!("/nodes/{}/lxc", self.node)).await
    }

    async fn state(&self, vmid: Vmid) -> Result<bool, BackendError> {
        let listed: Listed = self.look(About::Container(vmid), self.of(vmid, "/status/current")).await?;
        Ok(listed.is_running())
    }

    /// Starts or stops; `waits` is how long Proxmox itself waits for something.
    async fn power(
        &self,
        vmid: Vmid,
        verb: &str,
        parameters: Vec<(&'static str, String)>,
        waits: Duration,
        runs_afterwards: bool,
    ) -> Result<(), BackendError> {
        let limit = self.config.change_timeout() + waits;
        let path = self.of(vmid, &format!("/status/{verb}"));
        let upid = self.run(vmid, Method::POST, path, parameters, limit).await?;
        if upid.is_request_to_ha() {
            ha::acted(self, vmid, runs_afterwards, limit).await?;
        }
        Ok(())
    }

    async fn long(
        &self,
        vmid: Vmid,
        method: Method,
        path: String,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<(), BackendError> {
        self.run(vmid, method, path, parameters, self.config.long_timeout()).await.map(drop)
    }

    async fn check_version(&self) -> HealthCheck {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let found: Result<Version, _> = self.look(About::Node, "/version".to_owned()).await;
        let (state, detail) = match found {
            Ok(found) => {
                (HealthState::Healthy, format!("Proxmox VE {} at {}", found.version, self.config.url))
            }
            Err(error) => (HealthState::Unhealthy, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "rest".to_owned(), state, detail }
    }

    async fn check_containers(&self) -> HealthCheck {
        let (state, detail) = match self.listed().await {
            // Without VM.Audit Proxmox answers with an empty list, not with an error.
            Ok(listed) if listed.is_empty() => (
                HealthState::Degraded,
                format!("no containers on node {}, or none that the token may see", self.node),
            ),
            Ok(listed) => {
                (HealthState::Healthy, format!("{} containers on node {}", listed.len(), self.node))
            }
            Err(error) => (HealthState::Unhealthy, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "containers".to_owned(), state, detail }
    }

    async fn check_privileges(&self) -> HealthCheck {
        let (state, detail) = match self.missing_privileges().await {
            Ok(missing) if missing.is_empty() => (HealthState::Healthy, "nothing is missing".to_owned()),
            Ok(missing) => {
                let names = missing.iter().map(|missing| missing.feature).collect::<Vec<_>>().join(", ");
                (HealthState::Degraded, format!("the token may not do everywhere: {names}"))
            }
            Err(error) => (HealthState::Degraded, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "privileges".to_owned(), state, detail }
    }
}

impl ContainerHost for RestHost {
    fn containers(&self) -> Answer<'_, Vec<Vmid>> {
        Box::pin(async move {
            let mut found: Vec<Vmid> = self.listed().await?.iter().map(|listed| listed.vmid).collect();
            found.sort_unstable();
            Ok(found)
        })
    }

    fn running(&self) -> Answer<'_, Vec<Vmid>> {
        Box::pin(async move {
            let listed = self.listed().await?;
            let mut found: Vec<Vmid> =
                listed.iter().filter(|listed| listed.is_running()).map(|listed| listed.vmid).collect();
            found.sort_unstable();
            Ok(found)
        })
    }

    fn is_running(&self, vmid: Vmid) -> Answer<'_, bool> {
        Box::pin(self.state(vmid))
    }

    fn stored(&self, vmid: Vmid) -> Answer<'_, Stored> {
        Box::pin(async move {
            let answer = self.current(vmid).await?;
            let (config, parent, unreadable) = answers::config(&answer);
            for line in unreadable {
                tracing::warn!(%vmid, line, "a line of the container's configuration cannot be read");
            }
            let snapshots = self.snapshots(vmid).await?;
            Ok(Stored { config, parent, snapshots: snapshots.into_iter().map(|found| found.name).collect() })
        })
    }

    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings> {
        Box::pin(async move {
            let answer = self.current(vmid).await?;
            let pending: Vec<PendingAnswer> =
                self.look(About::Container(vmid), self.of(vmid, "/pending")).await?;
            Ok(answers::settings(vmid, &answer, pending))
        })
    }

    fn cluster(&self) -> Answer<'_, ClusterStatus> {
        Box::pin(async move {
            let members: Vec<MemberAnswer> = self.look(About::Node, "/cluster/status".to_owned()).await?;
            Ok(answers::cluster(members))
        })
    }

    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool> {
        Box::pin(async move {
            // The list of guests holds only those that the token may see; this answers for all.
            let ask = Ask {
                method: Method::GET,
                path: "/cluster/nextid".to_owned(),
                parameters: vec![("vmid", vmid.to_string())],
                about: About::Node,
                limit: self.config.query_timeout(),
            };
            match self.client.ask::<Value>(&ask).await {
                Ok(_) => Ok(false),
                Err(BackendError::Failed { detail, .. }) if detail.contains("already exists") => Ok(true),
                Err(error) => Err(error),
            }
        })
    }

    fn snapshots(&self, vmid: Vmid) -> Answer<'_, Vec<SnapshotInfo>> {
        Box::pin(async move {
            let answer: Vec<SnapshotAnswer> =
                self.look(About::Container(vmid), self.of(vmid, "/snapshot")).await?;
            Ok(answers::snapshots(answer, &TimeZone::system()))
        })
    }

    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, ()> {
        Box::pin(self.set(vmid, "cores", cores.to_string()))
    }

    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, ()> {
        Box::pin(match cores {
            Some(cores) => self.set(vmid, "cpulimit", cores.to_string()),
            None => self.set(vmid, "delete", "cpulimit".to_owned()),
        })
    }

    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.set(vmid, "delete", "cores".to_owned()))
    }

    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, ()> {
        Box::pin(self.set(vmid, "memory", memory.get().to_string()))
    }

    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.set(vmid, "tags", tags.join(";")))
    }

    fn grow_rootfs(&self, vmid: Vmid, gib: u32) -> Answer<'_, ()> {
        let parameters = vec![("disk", "rootfs".to_owned()), ("size", format!("+{gib}G"))];
        Box::pin(self.long(vmid, Method::PUT, self.of(vmid, "/resize"), parameters))
    }

    fn create_snapshot<'a>(
        &'a self,
        vmid: Vmid,
        name: &'a SnapshotName,
        description: &'static str,
    ) -> Answer<'a, ()> {
        let parameters = vec![("snapname", name.to_string()), ("description", description.to_owned())];
        Box::pin(self.long(vmid, Method::POST, self.of(vmid, "/snapshot"), parameters))
    }

    fn delete_snapshot<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        let path = self.of(vmid, &format!("/snapshot/{name}"));
        Box::pin(self.long(vmid, Method::DELETE, path, Vec::new()))
    }

    fn rollback<'a>(&'a self, vmid: Vmid, name: &'a SnapshotName) -> Answer<'a, ()> {
        let path = self.of(vmid, &format!("/snapshot/{name}/rollback"));
        Box::pin(self.long(vmid, Method::POST, path, Vec::new()))
    }

    fn clone_container<'a>(&'a self, order: &'a CloneOrder) -> Answer<'a, ()> {
        let mut parameters = vec![
            ("newid", order.target.to_string()),
            ("hostname", order.hostname.to_string()),
            ("full", "1".to_owned()),
        ];
        parameters.extend(order.snapshot.as_ref().map(|name| ("snapname", name.to_string())));
        Box::pin(self.long(order.source, Method::POST, self.of(order.source, "/clone"), parameters))
    }

    fn destroy(&self, vmid: Vmid) -> Answer<'_, ()> {
        let parameters = vec![("purge", "1".to_owned())];
        Box::pin(self.long(vmid, Method::DELETE, self.of(vmid, ""), parameters))
    }

    fn unlock(&self, vmid: Vmid) -> Answer<'_, ()> {
        let detail = format!("the REST API cannot remove a lock; run `pct unlock {vmid}` on the node");
        Box::pin(std::future::ready(Err(BackendError::Unsupported { vmid, detail })))
    }

    fn start(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.power(vmid, "start", Vec::new(), Duration::ZERO, true))
    }

    fn stop(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.power(vmid, "stop", Vec::new(), Duration::ZERO, false))
    }

    fn shutdown(&self, vmid: Vmid, patience: Duration, force: bool) -> Answer<'_, ()> {
        let mut parameters = vec![("timeout", patience.as_secs().to_string())];
        if force {
            parameters.push(("forceStop", "1".to_owned()));
        }
        Box::pin(self.power(vmid, "shutdown", parameters, patience, false))
    }

    fn reboot(&self, vmid: Vmid, patience: Duration) -> Answer<'_, ()> {
        let parameters = vec![("timeout", patience.as_secs().to_string())];
        Box::pin(self.power(vmid, "reboot", parameters, patience, true))
    }

    fn standing<'a>(&'a self, call: &'a Call) -> Answer<'a, Standing> {
        Box::pin(async move {
            let Some(upid) = call.upid.as_deref().and_then(Upid::parse) else { return Ok(Standing::Unknown) };
            Ok(match self.progress(&upid).await? {
                Progress::Running => Standing::Running,
                Progress::Done(_) | Progress::Failed(_) => Standing::Ended,
            })
        })
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>> {
        Box::pin(async move {
            vec![self.check_version().await, self.check_containers().await, self.check_privileges().await]
        })
    }
}
