//! `/scale/*`: cores, memory and root filesystem.

use axum::extract::State;
use lxc_autoscale_core::api::{
    IncreaseStorageRequest, IncreasedStorage, Resized, ScaleCoresRequest, ScaleCpulimitRequest,
    ScaleRamRequest, ScaledCores, ScaledCpulimit, ScaledRam, SizeOf,
};
use lxc_autoscale_core::count;

use super::jobs::{self, LongAnswer, PrefersAsync};
use super::{Answer, success};
use crate::actions::resize::{self, SetCores};
use crate::auth::caller::Caller;
use crate::boosts::decisions;
use crate::changes::Change;
use crate::error::ApiError;
use crate::extract::ApiJson;
use crate::hundredths::hundredths;
use crate::jobs::{Journal, Order, Task};
use crate::state::AppState;

pub(super) async fn cores(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(request): ApiJson<ScaleCoresRequest>,
) -> Answer<ScaledCores> {
    let ScaleCoresRequest { vm_id, cores, expected } = request;
    let is_decision = decisions::is_decision(&caller);
    let change = Change {
        summary: format!("set the cores of container {vm_id} to {cores}"),
        vmids: vec![vm_id],
        caller,
    };
    let (host, config, store) = (state.host(), state.in_force(), state.store().clone());
    let order = Order::requested(Task::SetCores { vmid: vm_id, cores: Some(cores) });
    let SetCores { scaled, held_at } = state
        .changes()
        .record(change, order, async move |journal: Journal| {
            if is_decision {
                let to = (SizeOf::Cores, Some(cores.into()));
                decisions::keep_from(&*host, &store, vm_id, to).await?;
            }
            resize::set_cores(&*host, &journal, &config.now(), vm_id, cores, expected).await
        })
        .await?;
    let said = sentence(&scaled, &count(cores, "core")) + &holding(held_at);
    Ok(success(said, scaled))
}

pub(super) async fn cpulimit(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(request): ApiJson<ScaleCpulimitRequest>,
) -> Answer<ScaledCpulimit> {
    let ScaleCpulimitRequest { vm_id, cpulimit, expected } = request;
    let is_decision = decisions::is_decision(&caller);
    let change = Change {
        summary: format!("set the CPU limit of container {vm_id} to {cpulimit}"),
        vmids: vec![vm_id],
        caller,
    };
    let (host, config, store) = (state.host(), state.in_force(), state.store().clone());
    let hundredths = hundredths(cpulimit);
    let order = Order::requested(Task::SetCpulimit { vmid: vm_id, hundredths });
    let scaled = state
        .changes()
        .record(change, order, async move |journal: Journal| {
            if is_decision {
                let to = (SizeOf::Cpulimit, Some(cpulimit).filter(|limit| 0.0 < *limit));
                decisions::keep_from(&*host, &store, vm_id, to).await?;
            }
            resize::set_cpulimit(&*host, &journal, &config.now(), vm_id, cpulimit, expected).await
        })
        .await?;
    let what = scaled
        .after
        .map_or("no CPU limit".to_owned(), |cores| format!("a CPU limit of {}", count(cores, "core")));
    Ok(success(sentence(&scaled, &what), scaled))
}

pub(super) async fn ram(
    State(state): State<AppState>,
    caller: Caller,
    ApiJson(request): ApiJson<ScaleRamRequest>,
) -> Answer<ScaledRam> {
    let ScaleRamRequest { vm_id, memory, expected } = request;
    let is_decision = decisions::is_decision(&caller);
    let change = Change {
        summary: format!("set the memory of container {vm_id} to {memory}"),
        vmids: vec![vm_id],
        caller,
    };
    let (host, config, store) = (state.host(), state.in_force(), state.store().clone());
    let order = Order::requested(Task::SetMemory { vmid: vm_id, memory_mib: memory.get() });
    let scaled = state
        .changes()
        .record(change, order, async move |journal: Journal| {
            if is_decision {
                let to = (SizeOf::Memory, Some(memory.get() as f64));
                decisions::keep_from(&*host, &store, vm_id, to).await?;
            }
            resize::set_memory(&*host, &journal, &config.now(), vm_id, memory, expected).await
        })
        .await?;
    Ok(success(sentence(&scaled, &format!("{memory} of memory")), scaled))
}

pub(super) async fn storage(
    State(state): State<AppState>,
    caller: Caller,
    prefer: PrefersAsync,
    ApiJson(request): ApiJson<IncreaseStorageRequest>,
) -> Result<LongAnswer<IncreasedStorage>, ApiError> {
    let IncreaseStorageRequest { vm_id, disk_size } = request;
    let change = Change {
        summary: format!("add {disk_size} GiB to the root filesystem of container {vm_id}"),
        vmids: vec![vm_id],
        caller,
    };
    let (host, config) = (state.host(), state.in_force());
    let task = Task::GrowRootfs { vmid: vm_id, gib: disk_size };
    jobs::answer(&state, prefer, change, task, say_grown, async move |journal| {
        resize::grow_rootfs(&*host, &journal, &config.now(), vm_id, disk_size).await
    })
    .await
}

fn say_grown(grown: &IncreasedStorage) -> String {
    let IncreasedStorage { size, filesystem_grown } = grown;
    let shown = size.after.map_or("more".to_owned(), |size| size.to_string());
    let vm_id = size.vm_id;
    match filesystem_grown {
        Some(true) => sentence(size, &format!("{shown} of root filesystem")),
        Some(false) => format!(
            "The volume of container {vm_id} has {shown} now, but the file system on it has NOT grown: the \
             container sees no more than before. See the log for Proxmox's message, and `resize2fs`."
        ),
        None => format!(
            "The volume of container {vm_id} has {shown} now; it is not known whether the file system on it has \
             grown, too."
        ),
    }
}

/// What to add about a CPU limit that keeps a container from using its cores.
pub(super) fn holding(limit: Option<f64>) -> String {
    limit.map_or_else(String::new, |limit| {
        let limit = count(limit, "core");
        format!(
            " But its CPU limit of {limit} holds, so it can use no more than that: POST /scale/cpulimit sets another one, \
             and 0 removes it."
        )
    })
}

fn sentence<T>(resized: &Resized<T>, what: &str) -> String {
    let vm_id = resized.vm_id;
    if resized.changed {
        format!("Container {vm_id} has {what} now.")
    } else {
        format!("Container {vm_id} has {what} already; nothing was changed.")
    }
}
