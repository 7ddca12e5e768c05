//! `decisions`: the newest decision about each container.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

use super::right;
use super::table::{Table, change, resource, sign};
use super::{CommandError, write_json};
use crate::config::Config;
use crate::decide::{Action, Resource};
use crate::ledger::{Entry, Ledger, Outcome};

/// The newest decisions about one container.
#[derive(Debug, Serialize)]
struct Newest {
    id: Vmid,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Summary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Summary>,
}

/// One of them, as JSON.
#[derive(Debug, Serialize)]
struct Summary {
    at: Timestamp,
    action: Action,
    from: Option<f64>,
    to: Option<f64>,
    confidence_percent: f64,
    reason: String,
    outcome: Outcome,
}

/// Shows the newest decision about each resource of each container, by id; with `limit`, only of the containers with
/// the latest decisions.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be read or does not exist.
pub fn decisions(
    config: &Config,
    json: bool,
    limit: Option<usize>,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let path = config.state.ledger();
    let ledger = Ledger::open_read_only(&path)?.ok_or(CommandError::NoLedger { path })?;
    let entries = keep_latest(ledger.newest()?, limit);
    if json {
        return write_json(out, &by_container(entries));
    }
    let mut table =
        Table::headed(&["", "DECIDED", "CT", "RESOURCE", "ALLOCATION", right::HEADING, "OUTCOME", "WHY"]);
    for entry in &entries {
        table.row(vec![
            sign(&entry.decision),
            local_time(entry.last_at),
            entry.id.to_string(),
            resource(entry.decision.resource),
            change(&entry.decision),
            right::cell(&entry.decision),
            entry.outcome.word().to_owned(),
            entry.outcome.error().map_or_else(|| entry.reason.clone(), str::to_owned),
        ]);
    }
    table.write(out)?;
    Ok(())
}

/// The entries of the `limit` containers with the latest ones, in their original order.
fn keep_latest(mut entries: Vec<Entry>, limit: Option<usize>) -> Vec<Entry> {
    let Some(limit) = limit else { return entries };
    let mut latest: BTreeMap<Vmid, Timestamp> = BTreeMap::new();
    for entry in &entries {
        let at = latest.entry(entry.id).or_insert(entry.last_at);
        *at = entry.last_at.max(*at);
    }
    let mut order: Vec<(Timestamp, Vmid)> = latest.into_iter().map(|(id, at)| (at, id)).collect();
    order.sort_unstable_by(|one, other| other.cmp(one));
    order.truncate(limit);
    entries.retain(|entry| order.iter().any(|(_, id)| *id == entry.id));
    entries
}

fn by_container(entries: Vec<Entry>) -> Vec<Newest> {
    let mut containers: BTreeMap<Vmid, Newest> = BTreeMap::new();
    for entry in entries {
        let id = entry.id;
        let newest = containers.entry(id).or_insert(Newest { id, cpu: None, memory: None });
        let place = match entry.decision.resource {
            Resource::Cpu => &mut newest.cpu,
            Resource::Memory => &mut newest.memory,
        };
        *place = Some(Summary {
            at: entry.last_at,
            action: entry.decision.action,
            from: entry.decision.from,
            to: entry.decision.to,
            confidence_percent: entry.decision.confidence_percent,
            reason: entry.reason,
            outcome: entry.outcome,
        });
    }
    containers.into_values().collect()
}

/// `2026-11-23 17:20:00` in the time zone of this machine.
pub(super) fn local_time(at: Timestamp) -> String {
    at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
