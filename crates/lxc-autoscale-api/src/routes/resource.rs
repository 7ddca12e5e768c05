//! `/resource/*`: state and usage.

use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use lxc_autoscale_core::api::{
    ClusterStatus, ContainerRequest, ContainerSettings, ContainerStatus, NodeRequest, NodeStatus, Why,
    WhyRequest,
};
use lxc_autoscale_core::snapshot::ContainerState;
use lxc_autoscale_core::{ErrorChain, Vmid, count};
use serde_json::Value;

use super::{Answer, in_thread, success};
use crate::auth::caller::Caller;
use crate::backend::{BackendError, ContainerHost};
use crate::error::ApiError;
use crate::extract::ApiQuery;
use crate::state::AppState;
use crate::why::{self, WhyError};
use crate::{metrics, node};

pub(super) async fn container(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(ContainerRequest { vm_id }): ApiQuery<ContainerRequest>,
) -> Answer<ContainerStatus> {
    caller.may_touch(&[vm_id])?;
    let host = state.host();
    let allocation = host.stored(vm_id).await?.config;
    let running = host.is_running(vm_id).await?;
    let usage = if running {
        let config = state.config();
        let read = config.clone();
        let newest = in_thread(move || metrics::newest(&read.metrics, Timestamp::now())).await?;
        metrics::record_of(newest, vm_id, &config.metrics, Timestamp::now())
    } else {
        Err("the container does not run".to_owned())
    };
    let (usage, usage_missing) = match usage {
        // The configuration in the record is older than `allocation`.
        Ok(mut record) => {
            record.configuration = None;
            (Some(record), None)
        }
        Err(reason) => (None, Some(reason)),
    };
    let (state, word) =
        if running { (ContainerState::Running, "runs") } else { (ContainerState::Stopped, "is stopped") };
    let status = ContainerStatus { vm_id, state, allocation, usage, usage_missing };
    Ok(success(format!("Container {vm_id} {word}."), status))
}

pub(super) async fn settings(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(ContainerRequest { vm_id }): ApiQuery<ContainerRequest>,
) -> Answer<ContainerSettings> {
    caller.may_touch(&[vm_id])?;
    let settings = state.host().settings(vm_id).await?;
    let waiting = match settings.pending.len() {
        0 => "no change waits".to_owned(),
        1 => "1 change waits".to_owned(),
        more => format!("{more} changes wait"),
    };
    let set = count(settings.settings.len(), "setting");
    let message = format!("Container {vm_id} has {set}; {waiting} for its next start.");
    Ok(success(message, settings))
}

pub(super) async fn why(
    State(state): State<AppState>,
    caller: Caller,
    ApiQuery(WhyRequest { vm_id, at }): ApiQuery<WhyRequest>,
) -> Answer<Why> {
    caller.may_touch(&[vm_id])?;
    let explanation = state.questions().why(&state.config().configuration, vm_id, at).await?;
    // The program relies on measurements and decisions. If it can read neither, it knows as little about a container
    // that exists as about one that does not.
    if at.is_none() && tells_nothing(&explanation) {
        match state.host().stored(vm_id).await {
            Err(BackendError::NoSuchContainer { .. }) => {
                let said =
                    format!("nothing is known of container {vm_id}, and no container has that id here");
                return Err(WhyError::NothingKnown { said }.into());
            }
            Err(error) => {
                tracing::warn!(%vm_id, error = %ErrorChain(&error), "cannot check whether it exists");
            }
            Ok(_) => {}
        }
    }
    let kind_of_load = why::kind_of_load(vm_id, &explanation);
    let message = match at {
        None => format!("Why container {vm_id} has its size."),
        Some(at) => format!("The decisions about container {vm_id} at {at}."),
    };
    Ok(success(message, Why { vm_id, kind_of_load, explanation }))
}

/// Whether the ml daemon's program has neither a current nor an earlier decision.
fn tells_nothing(explanation: &Value) -> bool {
    let decisions = explanation.get("decisions").and_then(Value::as_array);
    explanation.get("now").is_none() && decisions.is_some_and(Vec::is_empty)
}

pub(super) async fn cluster(State(state): State<AppState>) -> Answer<ClusterStatus> {
    let status = state.host().cluster().await?;
    let online = status.nodes.iter().filter(|node| node.online).count();
    let message = match &status.cluster {
        None => "This node is not in a cluster.".to_owned(),
        Some(cluster) => {
            let quorum = if cluster.quorate { "has quorum" } else { "has NO quorum" };
            let nodes = count(status.nodes.len(), "node");
            format!("Cluster {} {quorum}; online: {online} of {nodes}.", cluster.name)
        }
    };
    Ok(success(message, status))
}

pub(super) async fn node(
    State(state): State<AppState>,
    ApiQuery(NodeRequest { node_name }): ApiQuery<NodeRequest>,
) -> Answer<NodeStatus> {
    match state.node_name() {
        Some(name) if name.eq_ignore_ascii_case(&node_name) => {}
        name => {
            let name = name.unwrap_or("a node whose name cannot be read");
            let message = format!("this server runs on {name} and knows no other node");
            return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_node", message));
        }
    }
    let shared = AppState::clone(&state);
    let mut status =
        in_thread(move || node::status(&shared.config().paths.proc, &node_name, shared.cpu())).await?;
    count_containers(&*state.host(), &mut status).await;
    Ok(success(format!("Status of node {}.", status.node_name), status))
}

async fn count_containers(host: &dyn ContainerHost, status: &mut NodeStatus) {
    let number = |found: Result<Vec<Vmid>, BackendError>| match found {
        Ok(found) => Ok(u32::try_from(found.len()).unwrap_or(u32::MAX)),
        Err(error) => Err(ErrorChain(&error).to_string()),
    };
    match number(host.containers().await) {
        Ok(containers) => status.containers = Some(containers),
        Err(reason) => {
            status.missing.insert("containers".to_owned(), reason);
        }
    }
    match number(host.running().await) {
        Ok(running) => status.containers_running = Some(running),
        Err(reason) => {
            status.missing.insert("containers_running".to_owned(), reason);
        }
    }
}
