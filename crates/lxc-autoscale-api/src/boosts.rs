//! More for a while: a boost raises a size now and ends by itself, over a restart too.
//!
//! Each boost is a row; what a container has is the largest of its boosts, and the size before the first of them when
//! none is left. Who sets the size meanwhile, by hand or through the API, wins: then there is nothing to give back. The
//! end goes through the same guards as any other change; while a shrink would hurt, it waits and is tried again.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{BoostEvent, BoostInfo, BoostRequest, BoostState, EventKind, SizeOf};
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};
use rusqlite::{Connection, params};

use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::backend::BackendError;
use crate::invariants::{self, What};
use crate::ledger;
use crate::state::{AppState, Shared};
use crate::store::StoreError;
use crate::undo::set;

/// A week; what is wanted for longer is no boost.
pub const MAX_MINUTES: u32 = 7 * 24 * 60;
/// How often it is looked whether one is over.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(2);
/// How long a refused end waits.
const TRY_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// Most boosts of one container at a time.
const MAX_OF_A_CONTAINER: usize = 16;

/// Why there is no boost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoostRefused {
    /// It would raise nothing.
    #[error("container {vmid} has as much {what} as that already, and without any boost")]
    NoMore {
        /// The container.
        vmid: Vmid,
        /// Of what.
        what: &'static str,
    },
    /// There are too many.
    #[error("container {vmid} has {MAX_OF_A_CONTAINER} boosts already")]
    TooMany {
        /// The container.
        vmid: Vmid,
    },
}

/// Raises what was asked for.
///
/// # Errors
/// [`ActionError`] when one of the sizes cannot be raised; then none is.
pub async fn start(
    state: &Shared,
    caller: &Caller,
    request: &BoostRequest,
    now: Timestamp,
) -> Result<Vec<BoostInfo>, ActionError> {
    let vmid = request.vm_id;
    // Before anything is raised: what can be seen to be refused is not to leave a container raised meanwhile.
    let limits = &state.config().limits;
    let numbers =
        [(What::Cores, request.cores.map(u64::from)), (What::Memory, request.memory.map(Mebibytes::get))];
    for (what, number) in numbers {
        number.map_or(Ok(()), |number| invariants::bounds(limits, what, number))?;
    }
    let wanted = [
        (SizeOf::Cores, request.cores.map(f64::from)),
        (SizeOf::Memory, request.memory.map(|memory| memory.get() as f64)),
    ];
    let ends = now + SignedDuration::from_mins(request.minutes.into());
    let mut raised = Vec::new();
    for (resource, size) in wanted {
        let Some(size) = size else { continue };
        match raise(state, caller, (vmid, resource, size), (now, ends)).await {
            Ok(boost) => raised.push(boost),
            Err(error) => {
                for (number, resource, before) in raised {
                    if let Err(error) = set(state, caller, (vmid, resource, before), "end of boost").await {
                        tracing::warn!(%vmid, error = %ErrorChain(&error), "half a boost is not taken back yet");
                        continue;
                    }
                    remove(state, number).await?;
                }
                return Err(error);
            }
        }
    }
    let numbers: Vec<i64> = raised.into_iter().map(|(number, _, _)| number).collect();
    let mut boosts = list(state, Some(vmid)).await?;
    boosts.retain(|boost| i64::try_from(boost.id).is_ok_and(|id| numbers.contains(&id)));
    for boost in &boosts {
        tell(state, BoostState::Began, boost);
    }
    Ok(boosts)
}

/// Raises one size; returns the boost's number and what the container had.
async fn raise(
    state: &Shared,
    caller: &Caller,
    (vmid, resource, size): (Vmid, SizeOf, f64),
    (now, ends): (Timestamp, Timestamp),
) -> Result<(i64, SizeOf, Option<f64>), ActionError> {
    let current = ledger::size(&state.host().stored(vmid).await?.config, resource);
    let others = list(state, Some(vmid)).await?;
    if MAX_OF_A_CONTAINER <= others.len() {
        return Err(BoostRefused::TooMany { vmid }.into());
    }
    let base = others.iter().find(|boost| boost.resource == resource).map_or(current, |boost| boost.base);
    // Without a number of cores a container has all that there are.
    if base.is_none_or(|base| size <= base) {
        return Err(BoostRefused::NoMore { vmid, what: ledger::word(resource) }.into());
    }
    let (who, word) = (caller.identity.to_string(), ledger::word(resource));
    // Before the change, so that a restart in between leaves nothing raised for ever.
    let inserted = state.store().with(move |connection| {
        connection.execute(
            "INSERT INTO boosts (vmid, resource, size, base, began_us, ends_us, next_try_us, caller)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
            params![vmid.get(), word, size, base, now.as_microsecond(), ends.as_microsecond(), who],
        )?;
        Ok(connection.last_insert_rowid())
    });
    let number = inserted.await?;
    if current.is_some_and(|current| size <= current) {
        return Ok((number, resource, current));
    }
    match set(state, caller, (vmid, resource, Some(size)), "boost").await {
        Ok(_) => Ok((number, resource, current)),
        Err(error) => {
            remove(state, number).await?;
            Err(error)
        }
    }
}

/// Ends all boosts of a container now, as far as that does not hurt; returns those that wait.
///
/// # Errors
/// [`StoreError`].
pub async fn end_now(state: &Shared, vmid: Vmid, now: Timestamp) -> Result<Vec<BoostInfo>, StoreError> {
    let marked = state.store().with(move |connection| {
        connection.execute(
            "UPDATE boosts SET ends_us = min(ends_us, ?2), next_try_us = ?2 WHERE vmid = ?1",
            params![vmid.get(), now.as_microsecond()],
        )
    });
    marked.await?;
    end_due(state, now).await?;
    list(state, Some(vmid)).await
}

/// The boosts of a container, or all.
///
/// # Errors
/// [`StoreError`].
pub async fn list(state: &Shared, of: Option<Vmid>) -> Result<Vec<BoostInfo>, StoreError> {
    let mut boosts = state.store().with(|connection| read(connection)).await?;
    boosts.retain(|(boost, _)| of.is_none_or(|vmid| vmid == boost.vm_id));
    Ok(boosts.into_iter().map(|(boost, _)| boost).collect())
}

/// Ends those whose time is over at `now`.
///
/// # Errors
/// [`StoreError`].
pub async fn end_due(state: &Shared, now: Timestamp) -> Result<(), StoreError> {
    let all = state.store().with(|connection| read(connection)).await?;
    for (boost, next_try) in &all {
        if next_try <= &now {
            end(state, boost, now).await?;
        }
    }
    Ok(())
}

/// Tells those who listen.
fn tell(state: &Shared, how: BoostState, boost: &BoostInfo) {
    let event = BoostEvent { state: how, boost: boost.clone() };
    state.events().publish(EventKind::Boost(event), Timestamp::now());
}

/// Ends one boost, if that does not hurt.
async fn end(state: &Shared, boost: &BoostInfo, now: Timestamp) -> Result<(), StoreError> {
    match try_to_end(state, boost, now).await? {
        None => tell(state, BoostState::Ended, boost),
        // One that waits is tried again each minute, and told once.
        Some(why) if boost.waiting.is_none() => {
            tell(state, BoostState::Waiting, &BoostInfo { waiting: Some(why), ..boost.clone() });
        }
        Some(_) => {}
    }
    Ok(())
}

/// Returns why it waits, if it does.
async fn try_to_end(state: &Shared, boost: &BoostInfo, now: Timestamp) -> Result<Option<String>, StoreError> {
    let BoostInfo { vm_id: vmid, resource, .. } = *boost;
    let number = i64::try_from(boost.id).unwrap_or(i64::MAX);
    let mut same = list(state, Some(vmid)).await?;
    same.retain(|other| other.resource == resource);
    let current = match state.host().stored(vmid).await {
        Ok(stored) => ledger::size(&stored.config, resource),
        Err(BackendError::NoSuchContainer { .. }) => return remove(state, number).await.map(|()| None),
        Err(error) => {
            let why = ErrorChain(&error).to_string();
            return wait(state, number, why, now).await.map(Some);
        }
    };
    match what_remains(boost, &same, current, now) {
        None => {
            tracing::info!(%vmid, resource = ledger::word(resource), "a boost is over; there is nothing to give back");
            remove(state, number).await?;
            Ok(None)
        }
        Some(to) => match set(state, &Caller::server(), (vmid, resource, Some(to)), "end of boost").await {
            Ok(_) | Err(ActionError::Backend(BackendError::NoSuchContainer { .. })) => {
                remove(state, number).await?;
                Ok(None)
            }
            Err(error) => {
                let why = ErrorChain(&error).to_string();
                wait(state, number, why, now).await.map(Some)
            }
        },
    }
}

/// What the size becomes when a boost ends; `None` when it stays as it is: because another boost holds it, or because
/// somebody set it meanwhile. Pure.
fn what_remains(boost: &BoostInfo, same: &[BoostInfo], current: Option<f64>, now: Timestamp) -> Option<f64> {
    let base = boost.base?;
    let largest =
        |boosts: &mut dyn Iterator<Item = &BoostInfo>| boosts.fold(base, |size, boost| size.max(boost.size));
    let raised_to = largest(&mut same.iter());
    let to = largest(&mut same.iter().filter(|other| other.id != boost.id && now < other.ends));
    (ledger::is_same(current, Some(raised_to)) && !ledger::is_same(current, Some(to))).then_some(to)
}

async fn wait(state: &Shared, number: i64, why: String, now: Timestamp) -> Result<String, StoreError> {
    tracing::warn!(number, why, "a boost cannot end yet");
    let (next, noted) = (now + TRY_AGAIN_AFTER, why.clone());
    let written = state.store().with(move |connection| {
        let sql = "UPDATE boosts SET waiting = ?2, next_try_us = ?3 WHERE number = ?1";
        connection.execute(sql, params![number, noted, next.as_microsecond()])
    });
    written.await.map(|_| why)
}

async fn remove(state: &Shared, number: i64) -> Result<(), StoreError> {
    let removed = state
        .store()
        .with(move |connection| connection.execute("DELETE FROM boosts WHERE number = ?1", [number]));
    removed.await.map(drop)
}

/// All boosts, each with the time it is looked at next.
fn read(connection: &Connection) -> rusqlite::Result<Vec<(BoostInfo, Timestamp)>> {
    let mut statement = connection.prepare(
        "SELECT number, vmid, resource, size, base, began_us, ends_us, caller, waiting, next_try_us FROM boosts
         ORDER BY number",
    )?;
    let rows = statement.query_map([], |row| {
        let boost = BoostInfo {
            id: row.get::<_, i64>(0)?.unsigned_abs(),
            vm_id: ledger::vmid(row.get(1)?)?,
            resource: ledger::resource(&row.get::<_, String>(2)?)?,
            size: row.get(3)?,
            base: row.get(4)?,
            began: ledger::time(row.get(5)?)?,
            ends: ledger::time(row.get(6)?)?,
            caller: row.get(7)?,
            waiting: row.get(8)?,
        };
        Ok((boost, ledger::time(row.get(9)?)?))
    })?;
    rows.collect()
}

/// Ends boosts when their time is over, as long as the server runs.
pub async fn watch(state: AppState) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        interval.tick().await;
        if let Err(error) = end_due(&state, Timestamp::now()).await {
            tracing::error!(error = %ErrorChain(&error), "boosts cannot be looked after");
        }
    }
}
