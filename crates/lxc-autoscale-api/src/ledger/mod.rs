//! The ledger: which sizes were changed, from what to what, by whom and why; and what they were at any time.
//!
//! An entry is written in the same transaction as the end of its change (`crate::jobs::table::end`). If a change
//! finds a size other than the one the previous change left, somebody else changed it, and that becomes an entry,
//! too. The sizes from before the first change are kept for ever.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{LedgerEntry, LedgerPage, OriginalSize, SizeOf};
use lxc_autoscale_core::container_config::ContainerConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use self::identities::Unsure;
use crate::backend::ContainerIdentity;
use crate::budget::{Given, PROMISED_FOR, growths};
use crate::config::StateConfig;
use crate::jobs::table::{days_us, json};
use crate::store::kept::{Table, first_kept};

pub(crate) mod identities;

/// The most entries in one response.
const PAGE: i64 = 500;
/// Sizes that differ by less are equal: `cpulimit` has two decimals.
const SAME: f64 = 0.005;
/// How many entries of another time than the one asked for are passed over, because the clock was wrong when they were
/// made. A clock is set right soon after the boot, and few changes are made by then.
const OUT_OF_ORDER: u32 = 32;
/// The author of entries for changes that somebody else made.
const OUTSIDE: &str = "outside";
/// All sizes in the ledger.
const RESOURCES: [SizeOf; 4] = [SizeOf::Cores, SizeOf::Cpulimit, SizeOf::Memory, SizeOf::Rootfs];
/// The row of `facts` with the time from which on the ledger is complete.
const SINCE: &str = "ledger_since_us";

/// A size that has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The container.
    pub vmid: Vmid,
    /// The kind of size.
    pub resource: SizeOf,
    /// In cores or MiB; `None` if the configuration has no value.
    pub before: Option<f64>,
    /// The new value, likewise.
    pub after: Option<f64>,
    /// Which container has the id, if known.
    pub of: Option<ContainerIdentity>,
}

/// The time to which sizes are to be returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first change.
    Original,
    /// The given time.
    At(Timestamp),
}

/// What is known about a size at a given time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// It had this value; `None` if the configuration had none.
    Size(Option<f64>),
    /// As far as known, it has not changed since.
    Unchanged,
    /// The ledger does not go back that far.
    Forgotten {
        /// The time it goes back to.
        since: Timestamp,
    },
}

/// What the ledger knows does not fit the container any more, so that nothing is done by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerMismatch {
    /// Another container has the id now.
    #[error(
        "the id {vmid} belongs to another container than the one that is known; what was known is forgotten, and nothing \
         was changed"
    )]
    OtherContainer {
        /// The id.
        vmid: Vmid,
    },
    /// The container may be the known one with other networks, or another one that looks like it.
    #[error(
        "nothing was changed: the hardware addresses of container {vmid} are all others than before, so it may be \
         another container with the same name and root volume; what is known is kept, and counts as its own again \
         once one of its sizes is changed here by a request"
    )]
    UnsureContainer {
        /// The id.
        vmid: Vmid,
    },
    /// The ledger knows another size by now than the one that was to be returned.
    #[error(
        "while this waited, what the ledger knows of the {what} of container {vmid} has changed; nothing was done, ask \
         again"
    )]
    Changed {
        /// The container.
        vmid: Vmid,
        /// Which size.
        what: &'static str,
    },
}

/// A size in the configuration, in cores or MiB.
pub fn size(config: &ContainerConfig, resource: SizeOf) -> Option<f64> {
    match resource {
        SizeOf::Cores => config.cores.map(f64::from),
        SizeOf::Cpulimit => config.cpulimit,
        SizeOf::Memory => Some(config.memory_mb.get() as f64),
        SizeOf::Rootfs => config.rootfs_mb.map(|size| size.get() as f64),
    }
}

/// Whether two sizes are equal.
pub fn is_same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() < SAME,
        (None, None) => true,
        _ => false,
    }
}

/// The sizes in which two configurations of a container differ; `of` says which container has the id.
pub fn differences(
    vmid: Vmid,
    before: &ContainerConfig,
    after: &ContainerConfig,
    of: Option<&ContainerIdentity>,
) -> Vec<Changed> {
    RESOURCES
        .into_iter()
        .map(|resource| Changed {
            vmid,
            resource,
            before: size(before, resource),
            after: size(after, resource),
            of: of.cloned(),
        })
        .filter(|changed| !is_same(changed.before, changed.after))
        .collect()
}

/// Writes entries, and returns them.
pub(crate) fn write(
    connection: &Connection,
    changed: &[Changed],
    caller: &str,
    why: &str,
    change: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<LedgerEntry>> {
    let at = now.as_microsecond();
    let mut insert = connection.prepare_cached(
        "INSERT INTO ledger (at_us, vmid, resource, before, after, caller, why, change)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    let mut original = connection.prepare_cached(
        "INSERT OR IGNORE INTO originals (vmid, resource, size, at_us) VALUES (?1, ?2, ?3, ?4)",
    )?;
    // The end of a boost was asked for when the boost was, maybe of another container.
    let unsure = if why.starts_with(LedgerEntry::END_OF_BOOST) { Unsure::StaysSo } else { Unsure::IsKnown };
    let mut entries = Vec::with_capacity(changed.len());
    for Changed { vmid, resource, before, after, of } in changed {
        if let Some(of) = of {
            // Entries of a container that had the id before must not become part of the new one's ledger.
            identities::notice(connection, *vmid, of, unsure)?;
        }
        let (id, word) = (vmid.get(), word(*resource));
        let mut enter = |before: Option<f64>, after: Option<f64>, caller: &str, why: &str| {
            let number = insert.insert(params![at, id, word, before, after, caller, why, change])?;
            entries.push(LedgerEntry {
                number: number.unsigned_abs(),
                at: time(at)?,
                vm_id: *vmid,
                resource: *resource,
                before,
                after,
                caller: caller.to_owned(),
                why: why.to_owned(),
                change: change.unsigned_abs(),
                undoable: is_undoable(*resource),
            });
            Ok::<_, rusqlite::Error>(())
        };
        let last = last_after(connection, *vmid, *resource, i64::MAX)?;
        if let Some(last) = last.filter(|last| !is_same(*last, *before)) {
            enter(last, *before, OUTSIDE, "noticed")?;
        }
        original.execute(params![id, word, before, at])?;
        enter(*before, *after, caller, why)?;
    }
    Ok(entries)
}

/// A root filesystem cannot shrink.
fn is_undoable(resource: SizeOf) -> bool {
    resource != SizeOf::Rootfs
}

/// The size after the newest entry up to a given time.
#[expect(clippy::option_option, reason = "no entry is something else than an entry that names no size")]
fn last_after(
    connection: &Connection,
    vmid: Vmid,
    resource: SizeOf,
    until_us: i64,
) -> rusqlite::Result<Option<Option<f64>>> {
    connection
        .prepare_cached(
            "SELECT after FROM ledger WHERE vmid = ?1 AND resource = ?2 AND at_us <= ?3 ORDER BY number DESC LIMIT 1",
        )?
        .query_row(params![vmid.get(), word(resource), until_us], |row| row.get(0))
        .optional()
}

/// The size that decisions of `lxc-autoscale-ml` have made of what a boost had set, if those were the newest changes of
/// it. What they made of a size that somebody else had set is that one's.
#[expect(clippy::option_option, reason = "no such decision is something else than one that left no size")]
pub(crate) fn decided(
    connection: &Connection,
    vmid: Vmid,
    resource: SizeOf,
) -> rusqlite::Result<Option<Option<f64>>> {
    let mut newest = connection.prepare_cached(
        "SELECT before, after, why FROM ledger WHERE vmid = ?1 AND resource = ?2 ORDER BY number DESC",
    )?;
    let mut rows = newest.query(params![vmid.get(), word(resource)])?;
    // What the newest decision left, and what the oldest of those seen found.
    let mut decided: Option<(Option<f64>, Option<f64>)> = None;
    while let Some(row) = rows.next()? {
        let (before, after): (Option<f64>, Option<f64>) = (row.get(0)?, row.get(1)?);
        let why = row.get_ref(2)?.as_str()?;
        if decided.is_some_and(|(_, found)| !is_same(found, after)) {
            return Ok(None);
        }
        if LedgerEntry::decision_in(why).is_none() {
            return Ok(decided.map(|(left, _)| left).filter(|_| is_of_boost(why)));
        }
        decided = Some((decided.map_or(after, |(left, _)| left), before));
    }
    Ok(None)
}

/// Whether an entry with this `why` is the start or the end of a boost.
fn is_of_boost(why: &str) -> bool {
    let reason = why.split_once(": ").map_or(why, |(reason, _)| reason);
    [LedgerEntry::BOOST, LedgerEntry::END_OF_BOOST].contains(&reason)
}

/// Forgets everything about an id whose container is gone.
pub(crate) fn forget(connection: &Connection, vmid: Vmid) -> rusqlite::Result<()> {
    for table in ["originals", "ledger", "boosts", "identities"] {
        connection.execute(&format!("DELETE FROM {table} WHERE vmid = ?1"), [vmid.get()])?;
    }
    Ok(())
}

/// What is known about a size at a given time.
pub(crate) fn known(
    connection: &Connection,
    vmid: Vmid,
    resource: SizeOf,
    moment: Moment,
) -> rusqlite::Result<Known> {
    let original: Option<Option<f64>> = connection
        .query_row(
            "SELECT size FROM originals WHERE vmid = ?1 AND resource = ?2",
            params![vmid.get(), word(resource)],
            |row| row.get(0),
        )
        .optional()?;
    let Some(original) = original else { return Ok(Known::Unchanged) };
    let Moment::At(at) = moment else { return Ok(Known::Size(original)) };
    let at_us = at.as_microsecond();
    if let Some(after) = last_after(connection, vmid, resource, at_us)? {
        return Ok(Known::Size(after));
    }
    let since: Option<i64> = connection
        .query_row("SELECT value FROM facts WHERE name = ?1", [SINCE], |row| row.get(0))
        .optional()?;
    let since = since.and_then(|us| Timestamp::from_microsecond(us).ok());
    let first: Option<i64> = connection.query_row(
        "SELECT at_us FROM originals WHERE vmid = ?1 AND resource = ?2",
        params![vmid.get(), word(resource)],
        |row| row.get(0),
    )?;
    // No pruned entry lies between the first change and that time, so the size was still the original one.
    if first.is_some_and(|first| at_us < first) {
        return Ok(Known::Size(original));
    }
    match since {
        Some(since) if at < since => Ok(Known::Forgotten { since }),
        _ => {
            let before: Option<Option<f64>> = connection
                .query_row(
                    "SELECT before FROM ledger WHERE vmid = ?1 AND resource = ?2 ORDER BY number LIMIT 1",
                    params![vmid.get(), word(resource)],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(before.map_or(Known::Unchanged, Known::Size))
        }
    }
}

/// How many changes of a container's sizes there were in the hour before `now`, counted up to `most`. Undoing a
/// change counts as one, too.
///
/// A change dated in the future was made before the clock was set back. It counts if it is dated at most an hour ahead,
/// because it may have been made just now; one further ahead was made by a wrong clock, and would count until the clock
/// is there. So a clock that is set back locks a container for two hours at most.
///
/// Entries are in the order of their changes, which is not that of their times if the clock was wrong for a while: after
/// a boot with a clock far in the past, say. So an old entry does not end the count. It reads backwards from the newest
/// entry of each size, until [`OUT_OF_ORDER`] entries were of another time, so the time does not grow with the number of
/// entries.
pub(crate) fn changes_last_hour(
    connection: &Connection,
    vmid: Vmid,
    most: u32,
    now: Timestamp,
) -> rusqlite::Result<u32> {
    let hour = SignedDuration::from_hours(1);
    let (since, until) = ((now - hour).as_microsecond(), (now + hour).as_microsecond());
    let enough = usize::try_from(most).unwrap_or(usize::MAX);
    let mut changes = BTreeSet::new();
    let mut newest = connection.prepare_cached(
        "SELECT at_us, caller, change FROM ledger WHERE vmid = ?1 AND resource = ?2 ORDER BY number DESC",
    )?;
    for resource in RESOURCES {
        let mut rows = newest.query(params![vmid.get(), word(resource)])?;
        let mut of_other_times = 0;
        while changes.len() < enough
            && of_other_times < OUT_OF_ORDER
            && let Some(row) = rows.next()?
        {
            let at = row.get::<_, i64>(0)?;
            if at <= since || until < at {
                of_other_times += 1;
            } else if row.get_ref(1)?.as_str()? != OUTSIDE {
                changes.insert(row.get::<_, i64>(2)?);
            }
        }
    }
    Ok(u32::try_from(changes.len()).unwrap_or(u32::MAX))
}

/// How much more memory each container has, in MiB, than the least it had within [`PROMISED_FOR`] before `now`, by the
/// changes made here except those with the given numbers; and what it has by them. What somebody else changed counts for
/// nothing: when that happened is not known.
///
/// It reads backwards from the newest entry, until [`OUT_OF_ORDER`] entries were of another time, so the time does not
/// grow with the number of entries.
pub(crate) fn recent_growth(
    connection: &Connection,
    except: &BTreeSet<i64>,
    now: Timestamp,
) -> rusqlite::Result<BTreeMap<Vmid, Given>> {
    let lasts = PROMISED_FOR.as_micros().unsigned_abs();
    let mut newest = connection.prepare_cached(
        "SELECT at_us, vmid, resource, before, after, caller, change FROM ledger ORDER BY number DESC",
    )?;
    let mut rows = newest.query([])?;
    let (mut changes, mut sizes) = (Vec::new(), BTreeMap::new());
    let mut of_other_times = 0;
    while of_other_times < OUT_OF_ORDER
        && let Some(row) = rows.next()?
    {
        if lasts <= u128::from(row.get::<_, i64>(0)?.abs_diff(now.as_microsecond())) {
            of_other_times += 1;
            continue;
        }
        let is_memory = row.get_ref(2)?.as_str()? == word(SizeOf::Memory);
        if !is_memory || row.get_ref(5)?.as_str()? == OUTSIDE || except.contains(&row.get(6)?) {
            continue;
        }
        if let (Some(before), Some(after)) = (row.get::<_, Option<f64>>(3)?, row.get::<_, Option<f64>>(4)?) {
            let vmid = vmid(row.get(1)?)?;
            changes.push((vmid, after - before));
            sizes.entry(vmid).or_insert(after);
        }
    }
    let growths = growths(changes).into_iter();
    Ok(growths
        .filter_map(|(vmid, more_mib)| Some((vmid, Given { more_mib, has_mib: *sizes.get(&vmid)? })))
        .collect())
}

/// The containers that were ever changed.
pub(crate) fn containers(connection: &Connection) -> rusqlite::Result<Vec<Vmid>> {
    let mut statement = connection.prepare("SELECT DISTINCT vmid FROM originals ORDER BY vmid")?;
    statement.query_map([], |row| vmid(row.get(0)?))?.collect()
}

/// The entries that match a condition.
fn entries(
    connection: &Connection,
    condition: &'static str,
    params: &[&dyn ToSql],
) -> rusqlite::Result<Vec<LedgerEntry>> {
    let mut statement = connection.prepare(&format!(
        "SELECT number, at_us, vmid, resource, before, after, caller, why, change FROM ledger WHERE {condition}"
    ))?;
    let entries = statement.query_map(params, |row| {
        let resource = resource(&row.get::<_, String>(3)?)?;
        Ok(LedgerEntry {
            number: row.get::<_, i64>(0)?.unsigned_abs(),
            at: time(row.get(1)?)?,
            vm_id: vmid(row.get(2)?)?,
            resource,
            before: row.get(4)?,
            after: row.get(5)?,
            caller: row.get(6)?,
            why: row.get(7)?,
            change: row.get::<_, i64>(8)?.unsigned_abs(),
            undoable: is_undoable(resource),
        })
    })?;
    entries.collect()
}

/// The newest entries, of one container or of all; only of those in `scope`, if there is one.
pub(crate) fn page(
    connection: &Connection,
    of: Option<Vmid>,
    scope: Option<&BTreeSet<Vmid>>,
) -> rusqlite::Result<LedgerPage> {
    let (of, scope) = (of.map(Vmid::get), scope.map(json).transpose()?);
    let entries = entries(
        connection,
        "(?1 IS NULL OR vmid = ?1) AND (?2 IS NULL OR vmid IN (SELECT value FROM json_each(?2)))
         ORDER BY number DESC LIMIT ?3",
        params![of, scope, PAGE],
    )?;
    let mut statement = connection.prepare(
        "SELECT vmid, resource, size, at_us FROM originals
         WHERE (?1 IS NULL OR vmid = ?1) AND (?2 IS NULL OR vmid IN (SELECT value FROM json_each(?2)))
         ORDER BY vmid, resource",
    )?;
    let originals = statement.query_map(params![of, scope], |row| {
        Ok(OriginalSize {
            vm_id: vmid(row.get(0)?)?,
            resource: resource(&row.get::<_, String>(1)?)?,
            size: row.get(2)?,
            until: time(row.get(3)?)?,
        })
    })?;
    Ok(LedgerPage { entries, originals: originals.collect::<Result<_, _>>()? })
}

/// Removes what exceeds the configured age or number, and stores the time from which on the ledger is complete.
pub(crate) fn prune(connection: &Connection, config: &StateConfig, now: Timestamp) -> rusqlite::Result<()> {
    let since = now.as_microsecond() - days_us(config.ledger_keep_days);
    let table = Table { name: "ledger", time: "at_us" };
    let Some(first) = first_kept(connection, table, since, config.max_ledger_entries)? else { return Ok(()) };
    let last: Option<i64> =
        connection.query_row("SELECT max(at_us) FROM ledger WHERE number < ?1", [first], |row| row.get(0))?;
    connection.execute("DELETE FROM ledger WHERE number < ?1", [first])?;
    connection.execute(
        "INSERT INTO facts (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![SINCE, last],
    )?;
    Ok(())
}

/// The word for a size in the tables.
pub fn word(resource: SizeOf) -> &'static str {
    match resource {
        SizeOf::Cores => "cores",
        SizeOf::Cpulimit => "cpulimit",
        SizeOf::Memory => "memory",
        SizeOf::Rootfs => "rootfs",
    }
}

/// Parses a word from the tables.
pub(crate) fn resource(word: &str) -> rusqlite::Result<SizeOf> {
    serde_json::from_value(word.into()).map_err(|error| unreadable(Type::Text, error))
}

/// Parses a time from the tables.
pub(crate) fn time(us: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(us).map_err(|error| unreadable(Type::Integer, error))
}

/// Parses an id from the tables.
pub(crate) fn vmid(id: u32) -> rusqlite::Result<Vmid> {
    Vmid::try_from(id).map_err(|error| unreadable(Type::Integer, error))
}

fn unreadable(kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(error))
}
