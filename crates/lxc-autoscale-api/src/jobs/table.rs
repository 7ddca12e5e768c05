//! The table `changes`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{JobInfo, JobState, JobStep, LedgerEntry};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Before, CopyStage, Order, Task, copies};
use crate::backend::watch::Call;
use crate::config::StateConfig;
use crate::ledger::{self, Changed};
use crate::store::kept::{Table, first_kept};

/// The most jobs in one response.
const PAGE: i64 = 200;

/// What is recorded of a change when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What and why.
    pub(crate) order: Order,
    /// The change in words.
    pub(crate) summary: String,
    /// The containers.
    pub(crate) containers: Vec<Vmid>,
    /// Who.
    pub(crate) caller: String,
    /// Whether it is a job.
    pub(crate) is_job: bool,
}

/// A change that has not ended, as recorded.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Its number.
    pub(crate) number: i64,
    /// What was asked for.
    pub(crate) asked: Asked,
    /// Whether it has begun.
    pub(crate) is_begun: bool,
    /// The state of the node before.
    pub(crate) before: Option<Before>,
    /// Its last call.
    pub(crate) call: Option<Call>,
    /// How far its copy has come, if it makes one.
    pub(crate) copy: Option<CopyStage>,
    /// Whether it was answered already, because a call of it may still be running.
    pub(crate) is_answered: bool,
}

/// How a change ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The final state.
    pub(crate) state: JobState,
    /// The result.
    pub(crate) result: Option<Value>,
    /// The outcome as a sentence.
    pub(crate) message: String,
    /// The error code.
    pub(crate) code: Option<String>,
    /// The sizes that differ afterwards.
    pub(crate) changed: Vec<Changed>,
    /// Ids whose containers are gone or new.
    pub(crate) forgotten: Vec<Vmid>,
}

/// Inserts a new change and returns its number.
pub(crate) fn insert(
    connection: &Connection,
    asked: &Asked,
    is_begun: bool,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let state = if is_begun { JobState::Running } else { JobState::Queued };
    let begun = is_begun.then(|| now.as_microsecond());
    connection
        .prepare_cached(
            "INSERT INTO changes (is_job, task, summary, containers, caller, state, created_us, begun_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            asked.is_job,
            json(&asked.order)?,
            asked.summary,
            json(&asked.containers)?,
            asked.caller,
            word(state),
            now.as_microsecond(),
            begun
        ])?;
    Ok(connection.last_insert_rowid())
}

/// Makes the next number greater than this one, which another record already uses.
pub(crate) fn number_after(connection: &Connection, newest: u64) -> rusqlite::Result<()> {
    let newest = i64::try_from(newest).unwrap_or(0);
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'changes', 0
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'changes')",
        [],
    )?;
    let sql = "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'changes'";
    connection.execute(sql, [newest]).map(drop)
}

/// Records that a queued change has begun.
pub(crate) fn begin(connection: &Connection, number: i64, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE changes SET state = 'running', begun_us = ?2 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute(params![number, now.as_microsecond()]).map(drop)
}

/// Records a call that is about to be made, with the state of the node before and of the copy, if they are new; or the
/// task that the call has started.
pub(crate) fn note(
    connection: &Connection,
    number: i64,
    call: &Call,
    (before, copy): (Option<&Before>, Option<CopyStage>),
    now: Timestamp,
) -> rusqlite::Result<()> {
    let step = match &call.upid {
        None => call.command.clone(),
        Some(upid) => upid.clone(),
    };
    let (before, copy) = (before.map(json).transpose()?, copy.as_ref().map(json).transpose()?);
    connection
        .prepare_cached(
            "UPDATE changes SET call = ?2, before = coalesce(?3, before), copy = coalesce(?5, copy),
             steps = json_insert(steps, '$[#]', json(?4)) WHERE number = ?1",
        )?
        .execute(params![number, json(call)?, before, json(&JobStep { at: now, text: step })?, copy])
        .map(drop)
}

/// Records the answer to a change that has not ended, because a call of it may still be running.
pub(crate) fn leave_open(
    connection: &Connection,
    number: i64,
    message: &str,
    code: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE changes SET message = ?2, code = ?3 WHERE number = ?1";
    connection.prepare_cached(sql)?.execute(params![number, message, code]).map(drop)
}

/// Records how a change ended and what it changed, in one transaction; returns the new ledger entries.
pub(crate) fn end(
    connection: &mut Connection,
    number: i64,
    end: &End,
    now: Timestamp,
) -> rusqlite::Result<Vec<LedgerEntry>> {
    let transaction = connection.transaction()?;
    let result = end.result.as_ref().map(json).transpose()?;
    transaction
        .prepare_cached(
            "UPDATE changes SET state = ?2, ended_us = ?3, result = ?4, message = ?5, code = ?6 WHERE number = ?1",
        )?
        .execute(params![number, word(end.state), now.as_microsecond(), result, end.message, end.code])?;
    for vmid in &end.forgotten {
        ledger::forget(&transaction, *vmid)?;
        copies::forget(&transaction, *vmid)?;
    }
    let mut entries = Vec::new();
    if !end.changed.is_empty() || !end.forgotten.is_empty() {
        let (caller, task): (String, String) = transaction
            .prepare_cached("SELECT caller, task FROM changes WHERE number = ?1")?
            .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let order: Order = parse(&task)?;
        entries = ledger::write(&transaction, &end.changed, &caller, &order.why, number, now)?;
        if let (Task::CreateClone { target, .. }, JobState::Done) = (order.task, end.state) {
            copies::note(&transaction, target, number, now)?;
        }
    }
    transaction.commit()?;
    Ok(entries)
}

/// Source and target of the copies that left something behind which had to be named.
pub(crate) fn copies_with_leftovers(connection: &Connection) -> rusqlite::Result<Vec<(Vmid, Vmid)>> {
    let mut statement = connection.prepare(
        "SELECT DISTINCT task FROM changes WHERE json_extract(task, '$.kind') = 'create_clone'
             AND ended_us IS NOT NULL
             AND (code = 'left_behind' OR json_extract(result, '$.left_behind') IS NOT NULL)",
    )?;
    let mut copies = Vec::new();
    for task in statement.query_map([], |row| row.get::<_, String>(0))? {
        if let Order { task: Task::CreateClone { source, target, .. }, .. } = parse(&task?)? {
            copies.push((source, target));
        }
    }
    copies.sort_unstable();
    copies.dedup();
    Ok(copies)
}

/// Removes what exceeds the configured age or number. Sizes from before a first change are kept for ever.
pub(crate) fn prune(connection: &Connection, config: &StateConfig, now: Timestamp) -> rusqlite::Result<()> {
    let since = now.as_microsecond() - days_us(config.jobs_keep_days);
    let table = Table { name: "changes", time: "created_us" };
    if let Some(first) = first_kept(connection, table, since, config.max_jobs)? {
        let sql = "DELETE FROM changes WHERE number < ?1 AND state NOT IN ('queued', 'running')";
        connection.execute(sql, [first])?;
    }
    ledger::prune(connection, config, now)
}

/// Converts days to µs.
pub(crate) fn days_us(days: u32) -> i64 {
    i64::from(days) * 86_400_000_000
}

/// The changes that have not ended.
pub(crate) fn open(connection: &Connection) -> rusqlite::Result<Vec<Open>> {
    let mut statement = connection.prepare(&format!("{OPEN} ORDER BY number"))?;
    statement.query_map([], read_open)?.collect()
}

/// One change, if it has not ended.
pub(crate) fn open_change(connection: &Connection, number: i64) -> rusqlite::Result<Option<Open>> {
    connection.query_row(&format!("{OPEN} AND number = ?1"), [number], read_open).optional()
}

const OPEN: &str =
    "SELECT number, is_job, task, summary, containers, caller, state, before, call, code, copy FROM changes
         WHERE state IN ('queued', 'running')";

fn read_open(row: &Row<'_>) -> rusqlite::Result<Open> {
    let optional = |index: usize| row.get::<_, Option<String>>(index);
    Ok(Open {
        number: row.get(0)?,
        asked: Asked {
            is_job: row.get(1)?,
            order: parse(&row.get::<_, String>(2)?)?,
            summary: row.get(3)?,
            containers: parse(&row.get::<_, String>(4)?)?,
            caller: row.get(5)?,
        },
        is_begun: row.get::<_, String>(6)? == word(JobState::Running),
        before: optional(7)?.map(|text| parse(&text)).transpose()?,
        call: optional(8)?.map(|text| parse(&text)).transpose()?,
        is_answered: optional(9)?.is_some(),
        copy: optional(10)?.map(|text| parse(&text)).transpose()?,
    })
}

const CHANGE: &str =
    "SELECT number, task, summary, containers, caller, state, created_us, begun_us, ended_us, steps, result,
                   message, code FROM changes";

/// One job, with its order.
pub(crate) fn job(connection: &Connection, number: i64) -> rusqlite::Result<Option<(JobInfo, Order)>> {
    let sql = format!("{CHANGE} WHERE is_job = 1 AND number = ?1");
    connection.query_row(&sql, [number], read_job).optional()
}

/// One change that has ended, whether a job or not.
pub(crate) fn ended(connection: &Connection, number: i64) -> rusqlite::Result<Option<(JobInfo, Order)>> {
    let sql = format!("{CHANGE} WHERE ended_us IS NOT NULL AND number = ?1");
    connection.query_row(&sql, [number], read_job).optional()
}

/// The last changes, jobs or not, in the order of their requests.
///
/// These are the changes that began at `since` or later and within a minute of the last start, and those that ended
/// at least a second after `since` and within a minute of the last end (the record of the start may precede `since`).
/// Times later than `now` come from a clock that was set back since, and are not used as the last start or end.
pub(crate) fn last_changes(
    connection: &Connection,
    since: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<Vec<(JobInfo, Order)>> {
    let last = |time| format!("(SELECT coalesce(max({time}), 0) FROM changes WHERE {time} <= ?2) - 60000000");
    let mut statement = connection.prepare(&format!(
        "{CHANGE} WHERE max(?1, {}) <= begun_us OR max(?1 + 1000000, {}) <= ended_us ORDER BY number",
        last("begun_us"),
        last("ended_us")
    ))?;
    statement.query_map([since.as_microsecond(), now.as_microsecond()], read_job)?.collect()
}

/// The newest jobs, newest first; only those whose containers are all in `scope`, if there is one.
pub(crate) fn jobs(
    connection: &Connection,
    scope: Option<&BTreeSet<Vmid>>,
) -> rusqlite::Result<Vec<JobInfo>> {
    let mut statement = connection.prepare(&format!(
        "{CHANGE} WHERE is_job = 1 AND (?2 IS NULL OR NOT EXISTS (
             SELECT 1 FROM json_each(containers) WHERE value NOT IN (SELECT value FROM json_each(?2))))
         ORDER BY number DESC LIMIT ?1"
    ))?;
    let jobs = statement.query_map(params![PAGE, scope.map(json).transpose()?], read_job)?;
    jobs.map(|read| read.map(|(info, _)| info)).collect()
}

/// How many jobs are kept in each state, with 0 for states without jobs.
pub(crate) fn count_by_state(connection: &Connection) -> rusqlite::Result<BTreeMap<JobState, u64>> {
    let all = [
        JobState::Queued,
        JobState::Running,
        JobState::Done,
        JobState::Failed,
        JobState::Cancelled,
        JobState::Unknown,
    ];
    let mut counts = BTreeMap::from(all.map(|state| (state, 0)));
    let mut statement =
        connection.prepare("SELECT state, count(*) FROM changes WHERE is_job = 1 GROUP BY state")?;
    for row in statement.query_map([], |row| Ok((state(row, 0)?, row.get::<_, i64>(1)?)))? {
        let (state, count) = row?;
        counts.insert(state, count.unsigned_abs());
    }
    Ok(counts)
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<JobState> {
    parse(&format!("\"{}\"", row.get::<_, String>(column)?))
}

fn read_job(row: &Row<'_>) -> rusqlite::Result<(JobInfo, Order)> {
    let task: String = row.get(1)?;
    let order: Order = parse(&task)?;
    let state = state(row, 5)?;
    let time = |index: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(index)?.and_then(|us| Timestamp::from_microsecond(us).ok()))
    };
    let result = row.get::<_, Option<String>>(10)?.map(|text| parse(&text)).transpose()?;
    let code: Option<String> = row.get(12)?;
    // A job that was answered already waits for a call that nobody can stop any more.
    let is_at_work = state == JobState::Running && code.is_none();
    let info = JobInfo {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        state,
        kind: order.task.kind().to_owned(),
        summary: row.get(2)?,
        containers: parse(&row.get::<_, String>(3)?)?,
        caller: row.get(4)?,
        created: time(6)?.unwrap_or(Timestamp::UNIX_EPOCH),
        begun: time(7)?,
        ended: time(8)?,
        cancellable: state == JobState::Queued || (is_at_work && order.task.is_cancellable()),
        steps: parse(&row.get::<_, String>(9)?)?,
        result,
        message: row.get(11)?,
        code,
    };
    Ok((info, order))
}

/// The word for a state in the tables.
pub(crate) fn word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Unknown => "unknown",
    }
}

/// A value as it stands in the tables.
pub(crate) fn json<T: Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn parse<T: DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}
