//! Boosts: a size is raised now and returned automatically later, even after a restart.
//!
//! Each boost is a row (`rows`). While a container has boosts, its size is the largest of them; when none is left, it
//! is the size from before the first one. If somebody else changes the size meanwhile, by hand or through the API,
//! their size stays and nothing is returned; `lxc-autoscale-ml` is nobody in that sense as long as it gives no more than
//! the boosts ([`decisions`]). Start and end of a boost are decided only when they have the container
//! to themselves, so that a size set while they waited counts. The end goes through the same guards as any other
//! change. As long as a shrink would hurt, it waits and is tried again. If another container has the id by then, the
//! boost is over, and nothing is returned. A container that may be another one is given back the size as any other,
//! which takes nothing but what looks like the boost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{
    BoostEvent, BoostInfo, BoostRequest, BoostState, EventKind, LedgerEntry, SizeOf,
};
use lxc_autoscale_core::{ErrorChain, Mebibytes, Vmid};
use serde::Serialize;

use crate::actions::ActionError;
use crate::auth::caller::Caller;
use crate::backend::{BackendError, ContainerHost, Likeness, Stored};
use crate::invariants::{self, What};
use crate::jobs::Journal;
use crate::ledger::{self, identities};
use crate::setting::{Applied, Setting};
use crate::state::{AppState, Shared};
use crate::store::{Store, StoreError};

pub mod decisions;
mod due;
mod rows;

pub use due::{Ends, watch};

use rows::NewBoost;

/// A week. A size that is wanted for longer is not a boost.
pub const MAX_MINUTES: u32 = 7 * 24 * 60;
/// The most boosts of one container at a time.
const MAX_OF_A_CONTAINER: usize = 16;
/// How often an end is decided again because its container was changed while it waited.
const MOST_TRIES: usize = 5;
/// How long an end waits for its container. A change may take an hour, and the end is tried again anyway.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no boost.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BoostRefused {
    /// It would not raise anything.
    #[error("container {vmid} already has that much {what} without any boost")]
    NoMore {
        /// The container.
        vmid: Vmid,
        /// The kind of size.
        what: &'static str,
    },
    /// There are too many boosts.
    #[error("container {vmid} has {MAX_OF_A_CONTAINER} boosts already")]
    TooMany {
        /// The container.
        vmid: Vmid,
    },
    /// A decision of `lxc-autoscale-ml` would take away what a boost has given.
    #[error(
        "the {what} of container {vmid} is boosted to {size} until {ends}, and no decision takes anything from that before \
         it is given back; nothing was changed (`DELETE /boost` ends a boost)"
    )]
    On {
        /// The container.
        vmid: Vmid,
        /// The kind of size.
        what: &'static str,
        /// The boosted size.
        size: f64,
        /// When the boost ends.
        ends: Timestamp,
    },
}

/// The boosts that were begun.
#[derive(Clone, Debug)]
pub struct Started {
    /// The boosts.
    pub boosts: Vec<BoostInfo>,
    /// The CPU limit of the container, if it keeps it from using the cores.
    pub held_at: Option<f64>,
}

/// Raises the requested sizes: all of them, even if the client leaves in between.
///
/// # Errors
/// [`ActionError`] if one of the sizes cannot be raised; then none is.
pub async fn start(
    state: &AppState,
    caller: &Caller,
    request: BoostRequest,
    now: Timestamp,
) -> Result<Started, ActionError> {
    // Checked before anything is raised, so that a request that will be refused leaves no size raised.
    let limits = &state.config().limits;
    let numbers =
        [(What::Cores, request.cores.map(u64::from)), (What::Memory, request.memory.map(Mebibytes::get))];
    for (what, number) in numbers {
        number.map_or(Ok(()), |number| invariants::bounds(limits, what, number))?;
    }
    let (own, caller) = (AppState::clone(state), caller.clone());
    state.changes().together(async move { raise_all(&own, &caller, &request, now).await }).await?
}

async fn raise_all(
    state: &Shared,
    caller: &Caller,
    request: &BoostRequest,
    now: Timestamp,
) -> Result<Started, ActionError> {
    let vmid = request.vm_id;
    let wanted = [
        (SizeOf::Cores, request.cores.map(f64::from)),
        (SizeOf::Memory, request.memory.map(|memory| memory.get() as f64)),
    ];
    let ends = now + SignedDuration::from_mins(request.minutes.into());
    let (mut raised, mut held_at) = (Vec::new(), None);
    for (resource, size) in wanted {
        let Some(size) = size else { continue };
        match raise(state, caller, (vmid, resource, size), (now, ends)).await {
            Ok(Raised { boost, held_at: held, .. }) => {
                raised.push(boost);
                held_at = held_at.or(held);
            }
            Err(error) => {
                for number in raised {
                    take_back(state, caller, vmid, number, now).await?;
                }
                return Err(error);
            }
        }
    }
    let mut boosts = list(state, Some(vmid)).await?;
    boosts.retain(|boost| raised.contains(&number_of(boost)));
    for boost in &boosts {
        tell(state, BoostState::Began, boost);
    }
    Ok(Started { boosts, held_at })
}

/// The result of starting a boost, for the audit log.
#[derive(Clone, Debug, Serialize)]
struct Raised {
    boost: i64,
    /// `None` if a larger boost holds.
    #[serde(flatten)]
    applied: Option<Applied>,
    /// The CPU limit, if it keeps the container from using the cores.
    #[serde(skip)]
    held_at: Option<f64>,
}

/// Raises one size.
async fn raise(
    state: &Shared,
    caller: &Caller,
    (vmid, resource, size): (Vmid, SizeOf, f64),
    (began, ends): (Timestamp, Timestamp),
) -> Result<Raised, ActionError> {
    let setting = Setting::new(vmid, resource, Some(size))?;
    let (change, order) = setting.asked(caller, LedgerEntry::BOOST);
    let (host, config, store) = (state.host(), state.in_force(), state.store().clone());
    let caller = caller.identity.to_string();
    let work = async move |journal: Journal| {
        let looked = look(&*host, &store, vmid, resource).await?;
        let Look { current, cpulimit, .. } = looked;
        let held_at = cpulimit.filter(|limit| resource == SizeOf::Cores && *limit < size);
        if MAX_OF_A_CONTAINER <= rows::read(&store, Some(vmid)).await?.len() {
            return Err(BoostRefused::TooMany { vmid }.into());
        }
        let base = base(&looked);
        // A container without a number of cores already has all cores.
        if base.is_none_or(|base| size <= base) {
            return Err(BoostRefused::NoMore { vmid, what: ledger::word(resource) }.into());
        }
        // A boost that cannot be recorded is not begun, and leaves no row.
        journal.begun().await?;
        // Inserted before the change, so that a restart in between leaves nothing raised for ever.
        let new = NewBoost { vmid, resource, size, base, began, ends, caller };
        let boost = rows::insert(&store, new).await?;
        if current.is_some_and(|current| size <= current) {
            return Ok(Raised { boost, applied: None, held_at });
        }
        match setting.apply(&*host, &journal, &config.now()).await {
            Ok(applied) => Ok(Raised { boost, applied: Some(applied), held_at }),
            // The call may still raise the size, which must end then.
            Err(error) if error.at_work().is_some() => Err(error),
            // The failed change may have been made all the same, so the node is asked. If so, the boost must end at
            // once, because the client does not know of it.
            Err(error) => {
                match host.stored(vmid).await.map(|stored| ledger::size(&stored.config, resource)) {
                    Ok(now) if !ledger::is_same(now, Some(size)) => {
                        rows::remove(&store, boost).await?;
                    }
                    _ => rows::let_end(&store, vmid, Some(boost), Timestamp::now()).await?,
                }
                Err(error)
            }
        }
    };
    state.changes().record(change, order, work).await
}

/// The size a container would have without its boosts: the size before the first one, unless somebody set another
/// size meanwhile. Pure.
fn base(looked: &Look) -> Option<f64> {
    match looked.boosts.first() {
        Some(first) if looked.is_raised(first.base?) => first.base,
        _ => looked.current,
    }
}

/// Takes back one size of a boost whose other size could not be raised.
async fn take_back(
    state: &Shared,
    caller: &Caller,
    vmid: Vmid,
    number: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    rows::let_end(state.store(), vmid, Some(number), now).await?;
    let boosts = list(state, Some(vmid)).await?;
    if let Some(half) = boosts.iter().find(|boost| number_of(boost) == number)
        && let Outcome::Waits(why) = try_to_end(state, caller, half, Clock::at(now)).await?
    {
        tracing::warn!(%vmid, why, "cannot take back one half of a failed boost yet");
    }
    Ok(())
}

/// Ends all boosts of a container now, as far as that does no harm; returns those that wait.
///
/// # Errors
/// [`ActionError`] if the boosts cannot be read or recorded.
pub async fn end_now(
    state: &AppState,
    caller: &Caller,
    vmid: Vmid,
    now: Timestamp,
) -> Result<Vec<BoostInfo>, ActionError> {
    let (own, caller) = (AppState::clone(state), caller.clone());
    let ended = state.changes().together(async move {
        rows::let_end(own.store(), vmid, None, now).await?;
        end_all(&own, &caller, vmid, now).await?;
        list(&own, Some(vmid)).await
    });
    Ok(ended.await??)
}

/// The boosts of one container, or of all.
///
/// # Errors
/// [`StoreError`].
pub async fn list(state: &Shared, of: Option<Vmid>) -> Result<Vec<BoostInfo>, StoreError> {
    Ok(rows::read(state.store(), of).await?.into_iter().map(|(boost, _)| boost).collect())
}

/// Ends the boosts whose time is over at `now`, and waits for it.
///
/// # Errors
/// [`StoreError`].
pub async fn end_due(state: &AppState, now: Timestamp) -> Result<(), StoreError> {
    let mut ends = Ends::default();
    ends.begin(state, now).await?;
    ends.all().await;
    Ok(())
}

/// The time, counted on from a moment.
#[derive(Clone, Copy, Debug)]
struct Clock {
    then: Timestamp,
    since: Instant,
}

impl Clock {
    fn at(now: Timestamp) -> Self {
        Self { then: now, since: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.then + self.since.elapsed()
    }
}

async fn end_all(state: &Shared, caller: &Caller, vmid: Vmid, now: Timestamp) -> Result<(), StoreError> {
    for due in due_at(state, Some(vmid), now).await?.into_values() {
        end_each(state, caller, due, Clock::at(now)).await?;
    }
    Ok(())
}

/// The boosts whose end is to be tried at `now`, by container.
async fn due_at(
    state: &Shared,
    of: Option<Vmid>,
    now: Timestamp,
) -> Result<BTreeMap<Vmid, Vec<BoostInfo>>, StoreError> {
    let mut boosts = rows::read(state.store(), of).await?;
    if boosts.iter().any(|(boost, next_try)| rows::is_ahead(boost, *next_try, now)) {
        tracing::warn!("the clock was set back; boosts last as long as was asked for, from now on");
        rows::follow_the_clock(state.store(), now).await?;
        boosts = rows::read(state.store(), of).await?;
    }
    let mut due = BTreeMap::<Vmid, Vec<BoostInfo>>::new();
    for (boost, _) in boosts.into_iter().filter(|(_, next_try)| *next_try <= now) {
        due.entry(boost.vm_id).or_default().push(boost);
    }
    Ok(due)
}

/// Ends boosts of one container.
async fn end_each(
    state: &Shared,
    caller: &Caller,
    due: Vec<BoostInfo>,
    clock: Clock,
) -> Result<(), StoreError> {
    for boost in due {
        match try_to_end(state, caller, &boost, clock).await? {
            Outcome::Ended => tell(state, BoostState::Ended, &boost),
            // A waiting boost is tried again every minute, but published once.
            Outcome::Waits(why) if boost.waiting.is_none() => {
                tell(state, BoostState::Waiting, &BoostInfo { waiting: Some(why), ..boost });
            }
            Outcome::Gone | Outcome::Waits(_) => {}
        }
    }
    Ok(())
}

/// Publishes an event about a boost.
fn tell(state: &Shared, how: BoostState, boost: &BoostInfo) {
    let event = BoostEvent { state: how, boost: boost.clone() };
    state.events().publish(EventKind::Boost(event), Timestamp::now());
}

/// The result of ending a boost.
enum Outcome {
    Ended,
    /// Somebody else had ended it already.
    Gone,
    /// It waits and is tried again, for this reason.
    Waits(String),
}

/// Ends one boost, if that does no harm.
async fn try_to_end(
    state: &Shared,
    caller: &Caller,
    boost: &BoostInfo,
    clock: Clock,
) -> Result<Outcome, StoreError> {
    let number = number_of(boost);
    let mut why = "its container keeps being changed".to_owned();
    for _ in 0..MOST_TRIES {
        match end_in_turn(state, caller, boost, clock.now()).await {
            Ok(Turn::Ended | Turn::OfAnother) => return Ok(Outcome::Ended),
            Ok(Turn::Gone) => return Ok(Outcome::Gone),
            Ok(Turn::Otherwise) => {}
            Err(ActionError::Backend(BackendError::NoSuchContainer { .. })) => {
                rows::remove(state.store(), number).await?;
                return Ok(Outcome::Ended);
            }
            Err(error) => {
                why = ErrorChain(&error).to_string();
                break;
            }
        }
    }
    tracing::warn!(number, why, "a boost cannot end yet");
    // A try may take longer than the pause before the next one.
    rows::wait(state.store(), number, &why, clock.now()).await?;
    Ok(Outcome::Waits(why))
}

/// What was found once the end had the container to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Ended,
    Gone,
    /// The size to return differs from the one decided before waiting.
    Otherwise,
    /// Another container has the id, and nothing of the boost is its own.
    OfAnother,
}

/// The result of ending a boost, for the audit log.
#[derive(Clone, Debug, Serialize)]
struct Given {
    #[serde(skip)]
    turn: Turn,
    /// `None` if another boost holds the size, or somebody has set it meanwhile.
    #[serde(flatten)]
    applied: Option<Applied>,
}

/// Decides what to return, waits for the container, and returns it if that is still right.
async fn end_in_turn(
    state: &Shared,
    caller: &Caller,
    boost: &BoostInfo,
    now: Timestamp,
) -> Result<Turn, ActionError> {
    let BoostInfo { id, vm_id: vmid, resource, .. } = *boost;
    let number = number_of(boost);
    let (host, config, store) = (state.host(), state.in_force(), state.store().clone());
    // Others may be changing the container now, so this look decides nothing about which container it is.
    let looked = found(&store, vmid, resource, &host.stored(vmid).await?).await?;
    let planned = what_remains(boost, &looked, now).or(looked.current);
    let setting = Setting::new(vmid, resource, planned)?;
    let (change, order) = setting.asked(caller, LedgerEntry::END_OF_BOOST);
    let work = async move |journal: Journal| {
        let looked = look(&*host, &store, vmid, resource).await?;
        if looked.is_another {
            return Ok(Given { turn: Turn::OfAnother, applied: None });
        }
        let Some(boost) = looked.boosts.iter().find(|boost| boost.id == id) else {
            return Ok(Given { turn: Turn::Gone, applied: None });
        };
        let applied = match what_remains(boost, &looked, now) {
            None => {
                tracing::info!(%vmid, resource = ledger::word(resource), "a boost is over; nothing to return");
                // No call records it, and the audit log must have the end before the row is removed.
                journal.begun().await?;
                None
            }
            Some(to) if ledger::is_same(Some(to), planned) => {
                Some(setting.apply(&*host, &journal, &config.now()).await?)
            }
            Some(_) => return Ok(Given { turn: Turn::Otherwise, applied: None }),
        };
        rows::remove(&store, number).await?;
        Ok(Given { turn: Turn::Ended, applied })
    };
    state.changes().record(change, order, work).await.map(|given| given.turn)
}

/// The size after a boost ends; `None` if it stays as it is, because another boost holds it or somebody has set it
/// meanwhile. Pure.
fn what_remains(boost: &BoostInfo, looked: &Look, now: Timestamp) -> Option<f64> {
    let base = boost.base?;
    let left = looked.boosts.iter().filter(|other| other.id != boost.id && now < other.ends);
    let to = largest(base, left);
    (looked.is_raised(base) && !ledger::is_same(looked.current, Some(to))).then_some(to)
}

fn largest<'a>(base: f64, boosts: impl IntoIterator<Item = &'a BoostInfo>) -> f64 {
    boosts.into_iter().fold(base, |size, boost| size.max(boost.size))
}

/// The boosts of one size of a container, with its current value.
#[derive(Debug)]
struct Look {
    boosts: Vec<BoostInfo>,
    current: Option<f64>,
    /// Whether `lxc-autoscale-ml` made the current value of what a boost had set.
    is_decided: bool,
    /// The CPU limit.
    cpulimit: Option<f64>,
    /// Whether another container had the id until now; then its boosts are forgotten.
    is_another: bool,
}

impl Look {
    /// Whether the current value is owed to the boosts, if `base` is the one from before: nobody has set it since. What
    /// the daemon has taken from a boost whose end waits is no wish for that size; what it has given beyond the boosts
    /// the container needs.
    fn is_raised(&self, base: f64) -> bool {
        let largest = largest(base, &self.boosts);
        let is_between = self.current.is_some_and(|current| base < current && current < largest);
        ledger::is_same(self.current, Some(largest)) || (self.is_decided && is_between)
    }
}

/// Looks at a container that no other change has at the same time.
async fn look(
    host: &dyn ContainerHost,
    store: &Store,
    vmid: Vmid,
    resource: SizeOf,
) -> Result<Look, ActionError> {
    let stored = host.stored(vmid).await?;
    let is_another = identities::likeness(store, vmid, &stored).await? == Likeness::Other;
    Ok(Look { is_another, ..found(store, vmid, resource, &stored).await? })
}

async fn found(store: &Store, vmid: Vmid, resource: SizeOf, stored: &Stored) -> Result<Look, StoreError> {
    let current = ledger::size(&stored.config, resource);
    let boosts = rows::read(store, Some(vmid)).await?.into_iter().map(|(boost, _)| boost);
    let boosts = boosts.filter(|boost| boost.resource == resource).collect();
    let decided = store.with(move |connection| ledger::decided(connection, vmid, resource)).await?;
    let is_decided = decided.is_some_and(|decided| ledger::is_same(decided, current));
    let cpulimit = stored.config.cpulimit.filter(|limit| 0.0 < *limit);
    Ok(Look { boosts, current, is_decided, cpulimit, is_another: false })
}

fn number_of(boost: &BoostInfo) -> i64 {
    i64::try_from(boost.id).unwrap_or(i64::MAX)
}
