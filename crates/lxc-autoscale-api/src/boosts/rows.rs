//! The table `boosts`.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{BoostInfo, SizeOf};
use rusqlite::{Connection, params};

use crate::ledger;
use crate::store::{Store, StoreError};

/// How long an end that was refused waits for the next attempt.
const TRY_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// A clock that is set back by no more than this is being adjusted, which no boost need notice.
const ADJUSTED: SignedDuration = SignedDuration::from_secs(60);

/// A boost to be inserted.
#[derive(Clone, Debug)]
pub(super) struct NewBoost {
    pub(super) vmid: Vmid,
    pub(super) resource: SizeOf,
    pub(super) size: f64,
    /// The size of the container without any boost.
    pub(super) base: Option<f64>,
    pub(super) began: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) caller: String,
}

/// Inserts a boost and returns its number.
///
/// # Errors
/// [`StoreError`], here and below.
pub(super) async fn insert(store: &Store, boost: NewBoost) -> Result<i64, StoreError> {
    let inserted = store.with(move |connection| {
        let NewBoost { vmid, resource, size, base, began, ends, caller } = boost;
        connection.execute(
            "INSERT INTO boosts (vmid, resource, size, base, began_us, ends_us, next_try_us, caller)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
            params![
                vmid.get(),
                ledger::word(resource),
                size,
                base,
                began.as_microsecond(),
                ends.as_microsecond(),
                caller
            ],
        )?;
        Ok(connection.last_insert_rowid())
    });
    inserted.await
}

/// Marks boosts of a container as over: all of them, or one.
pub(super) async fn let_end(
    store: &Store,
    vmid: Vmid,
    only: Option<i64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let marked = store.with(move |connection| {
        connection.execute(
            "UPDATE boosts SET ends_us = min(ends_us, ?2), next_try_us = ?2
             WHERE vmid = ?1 AND (?3 IS NULL OR number = ?3)",
            params![vmid.get(), now.as_microsecond(), only],
        )
    });
    marked.await.map(drop)
}

/// Records why the end of a boost waits, and when it is tried again.
pub(super) async fn wait(store: &Store, number: i64, why: &str, now: Timestamp) -> Result<(), StoreError> {
    let (next, noted) = (now + TRY_AGAIN_AFTER, why.to_owned());
    let written = store.with(move |connection| {
        let sql = "UPDATE boosts SET waiting = ?2, next_try_us = ?3 WHERE number = ?1";
        connection.execute(sql, params![number, noted, next.as_microsecond()])
    });
    written.await.map(drop)
}

/// Whether a boost was dated by a clock that has been set back since.
pub(super) fn is_ahead(boost: &BoostInfo, next_try: Timestamp, now: Timestamp) -> bool {
    now + ADJUSTED < boost.began || (boost.waiting.is_some() && now + TRY_AGAIN_AFTER + ADJUSTED < next_try)
}

/// Dates such boosts anew: one that seems to begin later than `now` begins now and lasts as long as was asked for, and an
/// end that waits is tried again.
pub(super) async fn follow_the_clock(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let (now_us, latest) = (now.as_microsecond(), (now + ADJUSTED).as_microsecond());
    let latest_try = (now + TRY_AGAIN_AFTER + ADJUSTED).as_microsecond();
    let moved = store.with(move |connection| {
        let transaction = connection.transaction()?;
        transaction.execute(
            "UPDATE boosts SET began_us = ?1, ends_us = ends_us - (began_us - ?1),
                               next_try_us = next_try_us - (began_us - ?1)
             WHERE ?2 < began_us",
            params![now_us, latest],
        )?;
        transaction.execute(
            "UPDATE boosts SET next_try_us = ?1 WHERE waiting IS NOT NULL AND ?2 < next_try_us",
            params![now_us, latest_try],
        )?;
        transaction.commit()
    });
    moved.await
}

/// Removes one boost.
pub(super) async fn remove(store: &Store, number: i64) -> Result<(), StoreError> {
    let removed =
        store.with(move |connection| connection.execute("DELETE FROM boosts WHERE number = ?1", [number]));
    removed.await.map(drop)
}

/// The boosts of one container, or of all, each with the time at which it is due for a check.
pub(super) async fn read(store: &Store, of: Option<Vmid>) -> Result<Vec<(BoostInfo, Timestamp)>, StoreError> {
    let mut boosts = store.with(|connection| all(connection)).await?;
    boosts.retain(|(boost, _)| of.is_none_or(|vmid| vmid == boost.vm_id));
    Ok(boosts)
}

/// Whether a size of a container has boosts.
pub(super) async fn has(store: &Store, vmid: Vmid, resource: SizeOf) -> Result<bool, StoreError> {
    let found = store.read(move |connection| {
        connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM boosts WHERE vmid = ?1 AND resource = ?2)")?
            .query_row(params![vmid.get(), ledger::word(resource)], |row| row.get(0))
    });
    found.await
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<(BoostInfo, Timestamp)>> {
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
