//! Containers on any node of the cluster, through Proxmox's REST API, with the privileges of an API token.
//!
//! A container is first looked for on the configured node. If it is not there, the cluster is asked for its node, and
//! later requests go to that one.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use hyper::Method;
use jiff::tz::TimeZone;
use lxc_autoscale_core::api::{
    ClusterStatus, ContainerSettings, HealthCheck, HealthState, SnapshotInfo, SnapshotState,
};
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid, count};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::identity::hardware_addresses;
use super::volumes::volumes;
use super::watch::{Call, Standing};
use super::{
    Afterwards, Answer, BackendError, CloneOrder, ContainerHost, ContainerIdentity, Grown, Stored, ha,
};
use crate::config::RestConfig;
use crate::params::SnapshotName;

mod answers;
mod calls;
mod client;
mod places;
mod privileges;
mod task;
mod tls;
mod token;

pub use privileges::{Missing, Privileges};
pub use tls::{Fingerprint, TlsError};
pub use token::{Token, TokenError};

use answers::{ConfigAnswer, Listed, MemberAnswer, PendingAnswer, SnapshotAnswer};
use calls::Overdue;
use client::{About, Ask, Client};

/// Why the REST API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestSetupError {
    /// There is no token.
    #[error(
        "`backend = \"rest\"` takes an API token: set `rest.token_file`, or pass the credential `rest.token_credential`"
    )]
    NoToken,
    /// Only the service can read the token.
    #[error(
        "the unit passes the credential `rest.token_credential` in a form that only the service can read"
    )]
    ClosedToken,
    /// The token cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No server can be trusted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The fingerprint is malformed.
    #[error("`rest.fingerprint` is not a SHA-256 fingerprint")]
    Fingerprint,
    /// The name of the node is not known.
    #[error("the name of this node is not known: set `rest.node`")]
    NoNode,
}

/// The containers of a cluster, through the REST API of one node.
#[derive(Debug)]
pub struct RestHost {
    client: Client,
    config: RestConfig,
    node: String,
    /// The nodes of containers that are not on `node`.
    away: Mutex<HashMap<Vmid, String>>,
    /// Calls that may still be running although nobody waits for them.
    overdue: Mutex<HashMap<Vmid, Overdue>>,
}

impl fmt::Display for RestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (url, token) = (&self.config.url, self.client.token().id());
        write!(f, "the REST API at {url} from node {} on, as {token}", self.node)
    }
}

impl RestHost {
    /// Reads token and certificate; connects to nothing.
    ///
    /// # Errors
    /// [`RestSetupError`] if one of them cannot be used.
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
        let config = config.clone();
        Ok(Self { client, config, node, away: Mutex::default(), overdue: Mutex::default() })
    }

    /// The privileges of the token.
    ///
    /// # Errors
    /// [`BackendError`] if Proxmox does not tell.
    pub async fn privileges(&self) -> Result<Privileges, BackendError> {
        let version = self.version().await?;
        let found = self.look("/access/permissions".to_owned()).await?;
        Ok(Privileges::new(found, &version))
    }

    /// The version of Proxmox, such as `8.4.21`.
    async fn version(&self) -> Result<String, BackendError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let found: Version = self.look("/version".to_owned()).await?;
        Ok(found.version)
    }

    /// The token in use.
    pub fn token(&self) -> &Token {
        self.client.token()
    }

    async fn look<T: DeserializeOwned>(&self, path: String) -> Result<T, BackendError> {
        let (about, limit) = (About::Node, self.config.query_timeout());
        self.client.ask(&Ask { method: Method::GET, path, parameters: Vec::new(), about, limit }).await
    }

    /// The configuration in force, without pending changes.
    async fn current(&self, vmid: Vmid) -> Result<ConfigAnswer, BackendError> {
        self.look_at(vmid, "/config", vec![("current", "1".to_owned())]).await
    }

    async fn listed(&self) -> Result<Vec<Listed>, BackendError> {
        self.look(format!("/nodes/{}/lxc", self.node)).await
    }

    async fn state(&self, vmid: Vmid) -> Result<bool, BackendError> {
        let listed: Listed = self.look_at(vmid, "/status/current", Vec::new()).await?;
        Ok(listed.is_running())
    }

    /// Starts or stops a container; `waits` is how long Proxmox itself waits for something.
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
        let (state, detail) = match self.version().await {
            Ok(version) => (HealthState::Healthy, format!("Proxmox VE {version} at {}", self.config.url)),
            Err(error) => (HealthState::Unhealthy, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "rest".to_owned(), state, detail }
    }

    async fn check_containers(&self) -> HealthCheck {
        let (state, detail) = match self.listed().await {
            // Without VM.Audit, Proxmox answers with an empty list instead of an error.
            Ok(listed) if listed.is_empty() => (
                HealthState::Degraded,
                format!("no containers on node {}, or none that the token may see", self.node),
            ),
            Ok(listed) => {
                (HealthState::Healthy, format!("{} on node {}", count(listed.len(), "container"), self.node))
            }
            Err(error) => (HealthState::Unhealthy, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "containers".to_owned(), state, detail }
    }

    async fn check_privileges(&self) -> HealthCheck {
        let (state, detail) = match self.privileges().await {
            Ok(found) => privileges_state(&found),
            Err(error) => (HealthState::Degraded, ErrorChain(&error).to_string()),
        };
        HealthCheck { name: "privileges".to_owned(), state, detail }
    }
}

/// A token that may change no container is no better than none. One that lacks something for some of them, or for
/// something else than sizes, still does its work.
fn privileges_state(found: &Privileges) -> (HealthState, String) {
    let everywhere = found.missing_everywhere();
    if !everywhere.is_empty() {
        let detail = format!("the token may not resize any container: it lacks {}", everywhere.join(", "));
        return (HealthState::Unhealthy, detail);
    }
    let missing = found.missing();
    if missing.is_empty() {
        return (HealthState::Healthy, "nothing is missing".to_owned());
    }
    let names = missing.iter().map(|missing| missing.feature).collect::<Vec<_>>().join(", ");
    (HealthState::Degraded, format!("the token lacks privileges, at least on some paths, for: {names}"))
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
            let text = answers::text(&answer);
            let (config, unreadable) = ContainerConfig::parse(&text);
            for line in unreadable {
                tracing::warn!(%vmid, %line, "a line of the container's configuration cannot be read");
            }
            let found = self.snapshots(vmid).await?;
            let incomplete = found.iter().filter(|found| found.state != SnapshotState::Complete);
            let incomplete = incomplete.map(|found| (found.name.clone(), found.state)).collect();
            let snapshots = found.into_iter().map(|found| found.name).collect();
            let (parent, digest) = (answers::parent(&answer), answers::digest(&answer));
            let (volumes, home) = (volumes(&text), self.home(vmid));
            let identity = ContainerIdentity::new(&config, &volumes, hardware_addresses(&text));
            let notes = answers::notes(&answer);
            Ok(Stored { config, parent, snapshots, incomplete, volumes, digest, home, identity, notes })
        })
    }

    fn settings_in<'a>(&'a self, vmid: Vmid, snapshot: &'a SnapshotName) -> Answer<'a, ContainerConfig> {
        Box::pin(async move {
            let parameters = vec![("snapshot", snapshot.to_string())];
            let answer: ConfigAnswer = self.look_at(vmid, "/config", parameters).await?;
            Ok(ContainerConfig::parse(&answers::text(&answer)).0)
        })
    }

    fn may_start(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(async move {
            let place = format!("/vms/{vmid}");
            let ask = Ask {
                method: Method::GET,
                path: "/access/permissions".to_owned(),
                parameters: vec![("path", place.clone())],
                about: About::Node,
                limit: self.config.query_timeout(),
            };
            let found = self.client.ask(&ask).await;
            match found.map(|found| privileges::may_start(found, &place)) {
                Ok(true) => Ok(()),
                Ok(false) => Err(BackendError::NotPermitted {
                    command: format!("POST {}", self.of(vmid, "/status/start")),
                    detail: format!("the token lacks {} on {place}", privileges::POWER),
                }),
                Err(error) => {
                    // Proxmox itself decides then.
                    tracing::warn!(%vmid, error = %ErrorChain(&error), "cannot ask for the privileges of the token");
                    Ok(())
                }
            }
        })
    }

    fn settings(&self, vmid: Vmid) -> Answer<'_, ContainerSettings> {
        Box::pin(async move {
            let answer = self.current(vmid).await?;
            let pending: Vec<PendingAnswer> = self.look_at(vmid, "/pending", Vec::new()).await?;
            Ok(answers::settings(vmid, &answer, pending))
        })
    }

    fn cluster(&self) -> Answer<'_, ClusterStatus> {
        Box::pin(async move {
            let members: Vec<MemberAnswer> = self.look("/cluster/status".to_owned()).await?;
            Ok(answers::cluster(members))
        })
    }

    fn is_taken(&self, vmid: Vmid) -> Answer<'_, bool> {
        Box::pin(async move {
            // The list of guests holds only those that the token may see; this call considers all of them.
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
            let answer: Vec<SnapshotAnswer> = self.look_at(vmid, "/snapshot", Vec::new()).await?;
            Ok(answers::snapshots(answer, &TimeZone::system()))
        })
    }

    fn set_cores(&self, vmid: Vmid, cores: u32) -> Answer<'_, Afterwards> {
        Box::pin(self.set_size(vmid, "cores", cores.to_string()))
    }

    fn set_cpulimit(&self, vmid: Vmid, cores: Option<f64>) -> Answer<'_, Afterwards> {
        Box::pin(match cores {
            Some(cores) => self.set_size(vmid, "cpulimit", cores.to_string()),
            None => self.set_size(vmid, "delete", "cpulimit".to_owned()),
        })
    }

    fn remove_cores(&self, vmid: Vmid) -> Answer<'_, Afterwards> {
        Box::pin(self.set_size(vmid, "delete", "cores".to_owned()))
    }

    fn set_memory(&self, vmid: Vmid, memory: Mebibytes) -> Answer<'_, Afterwards> {
        Box::pin(self.set_size(vmid, "memory", memory.get().to_string()))
    }

    fn set_tags<'a>(&'a self, vmid: Vmid, tags: &'a [String]) -> Answer<'a, ()> {
        Box::pin(self.set(vmid, "tags", tags.join(";")))
    }

    fn remove_notes(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.set(vmid, "delete", "description".to_owned()))
    }

    fn unprotect(&self, vmid: Vmid) -> Answer<'_, ()> {
        Box::pin(self.set(vmid, "protection", "0".to_owned()))
    }

    fn grow_rootfs(&self, vmid: Vmid, gib: u32) -> Answer<'_, Grown> {
        let parameters = vec![("disk", "rootfs".to_owned()), ("size", format!("+{gib}G"))];
        Box::pin(async move {
            let limit = self.config.long_timeout();
            let upid = self.run(vmid, Method::PUT, self.of(vmid, "/resize"), parameters, limit).await?;
            Ok(match self.printed(&upid).await {
                Ok(lines) => Grown::by(vmid, lines.iter().map(String::as_str)),
                Err(error) => {
                    tracing::warn!(%upid, error = %ErrorChain(&error), "cannot read what the task has printed");
                    Grown::Unknown
                }
            })
        })
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
        parameters.extend(order.notes.clone().map(|notes| ("description", notes)));
        Box::pin(async move {
            let path = self.of(order.source, "/clone");
            self.long(order.source, Method::POST, path, parameters).await?;
            let home = self.away().get(&order.source).cloned();
            if let Some(home) = home {
                self.away().insert(order.target, home);
            }
            Ok(())
        })
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

    fn standing<'a>(&'a self, vmid: Vmid, call: &'a Call) -> Answer<'a, Standing> {
        Box::pin(self.standing_of(vmid, call))
    }

    fn probe(&self) -> Pin<Box<dyn Future<Output = Vec<HealthCheck>> + Send + '_>> {
        Box::pin(async move {
            vec![self.check_version().await, self.check_containers().await, self.check_privileges().await]
        })
    }
}
