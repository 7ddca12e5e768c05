//! `proposals`: changes that wait for approval, and the answers.

use std::io::Write;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

use super::decisions::local_time;
use super::right;
use super::table::{Table, change, resource, sign};
use super::{CommandError, write_json};
use crate::config::Config;
use crate::decide::Decision;
use crate::ledger::{Ledger, StateLock};
use crate::proposals::{Answer, Record, State};
use crate::who;

/// Most proposals shown by `--all`.
const MOST_SHOWN: u32 = 1000;

/// A proposal, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    number: i64,
    id: Vmid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    state: State,
    #[serde(flatten)]
    decision: &'a Decision,
    why: String,
    made_at: Timestamp,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Timestamp>,
    /// Until when a rejection holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_until: Option<Timestamp>,
    /// The entry of the ledger that carried it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<i64>,
}

/// Shows the waiting proposals, or all stored ones.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be read or does not exist.
pub fn list_proposals(
    config: &Config,
    all: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let path = config.state.ledger();
    let ledger = Ledger::open_read_only(&path)?.ok_or(CommandError::NoLedger { path })?;
    let records = if all { ledger.all_proposals(None, MOST_SHOWN)? } else { ledger.waiting_proposals()? };
    if json {
        let lines: Vec<Line<'_>> = records.iter().map(|record| line(record, config)).collect();
        return write_json(out, &lines);
    }
    if records.is_empty() {
        writeln!(out, "No proposal waits; they are made in the mode `approve`.")?;
        return Ok(());
    }
    let headings =
        ["", "NO", "CT", "NAME", "RESOURCE", "ALLOCATION", right::HEADING, "STATE", "UNTIL", "ENDED", "WHY"];
    // Those that wait have not ended.
    let shown = |column: usize| all || headings.get(column) != Some(&"ENDED");
    let in_order = |cells: Vec<String>| -> Vec<String> {
        cells.into_iter().enumerate().filter(|(column, _)| shown(*column)).map(|(_, cell)| cell).collect()
    };
    let columns: Vec<&str> = headings
        .iter()
        .enumerate()
        .filter(|(column, _)| shown(*column))
        .map(|(_, heading)| *heading)
        .collect();
    let mut table = Table::headed(&columns);
    for record in &records {
        let time = |at: Option<Timestamp>| at.map(local_time).unwrap_or_default();
        table.row(in_order(vec![
            sign(&record.decision),
            record.number.to_string(),
            record.id.to_string(),
            record.name.clone().unwrap_or_default(),
            resource(record.decision.resource),
            change(&record.decision),
            right::cell(&record.decision),
            record.state.to_string(),
            time(in_force_until(record, config)),
            time(record.closed_at),
            words(record),
        ]));
    }
    table.write(out)?;
    Ok(())
}

/// Until when it waits or, once rejected, until when the same is not proposed again; `None` for others.
fn in_force_until(record: &Record, config: &Config) -> Option<Timestamp> {
    if record.state.is_waiting() {
        return Some(record.expires_at);
    }
    let answer = record.answer.as_ref().filter(|_| record.state == State::Rejected)?;
    answer.at.checked_add(config.proposals.rejection_holds()).ok()
}

/// Why it was made, who answered it, and its outcome.
fn words(record: &Record) -> String {
    let mut words = record.decision.reason.to_string();
    if let Some(answer) = &record.answer {
        let verb = if record.state == State::Rejected { "rejected" } else { "accepted" };
        words.extend(["; ", verb, " by ", answer.who.as_str()]);
        if let Some(reason) = &answer.reason {
            words.extend([" (", reason.as_str(), ")"]);
        }
    }
    if let Some(note) = &record.note {
        words.extend(["; ", note.as_str()]);
    }
    words
}

fn line<'a>(record: &'a Record, config: &Config) -> Line<'a> {
    Line {
        number: record.number,
        id: record.id,
        name: record.name.as_deref(),
        state: record.state,
        decision: &record.decision,
        why: record.decision.reason.to_string(),
        made_at: record.made_at,
        expires_at: record.expires_at,
        answer: record.answer.as_ref(),
        note: record.note.as_deref(),
        closed_at: record.closed_at,
        rejected_until: in_force_until(record, config).filter(|_| record.state == State::Rejected),
        entry: record.entry,
    }
}

/// Accepts (`true`) or rejects open proposals by number, or all of them, in the caller's name and with a reason, if one
/// is given. As JSON, those that were answered are shown.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be written, or, after the others were answered, when one of the proposals is
/// not open.
pub fn answer_proposals(
    config: &Config,
    numbers: &[String],
    (accept, reason): (bool, Option<String>),
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let path = config.state.ledger();
    let mut ledger = Ledger::open_beside(&path)?.ok_or(CommandError::NoLedger { path })?;
    let state = if accept { State::Accepted } else { State::Rejected };
    let answer = Answer { at: now, who: who::caller(), reason };
    let expires_at = now.checked_add(config.proposals.expires_after()).unwrap_or(Timestamp::MAX);
    let (mut answered, mut refused) = (Vec::new(), Vec::new());
    for number in chosen(&ledger, numbers)? {
        let record = ledger.proposal(number)?;
        match record {
            Some(record) if ledger.answer_proposal(number, state, &answer, expires_at)? => {
                if json {
                    answered.extend(ledger.proposal(number)?);
                } else {
                    let kind = resource(record.decision.resource);
                    writeln!(out, "{state} {number}: {} {kind} {}", record.id, change(&record.decision))?;
                }
            }
            Some(_) => {
                let state = ledger.proposal(number)?.map_or(State::Expired, |record| record.state);
                // One that is still recorded as open has expired.
                let state = if state == State::Open { State::Expired } else { state };
                refused.push(format!("{number} is {state}"));
            }
            None => refused.push(format!("{number} does not exist")),
        }
    }
    if json {
        let lines: Vec<Line<'_>> = answered.iter().map(|record| line(record, config)).collect();
        write_json(out, &lines)?;
    }
    if !refused.is_empty() {
        out.flush()?;
        return Err(CommandError::NotOpen(refused.join(", ")));
    }
    if accept && !json {
        // If the lock can be taken, no daemon runs.
        let is_alone = StateLock::take(&config.state.directory).is_ok();
        let when = if is_alone { "when lxc_autoscale_ml runs; it does not now" } else { "in the next cycle" };
        writeln!(out, "What the guards let through is carried out {when}.")?;
    }
    Ok(())
}

fn chosen(ledger: &Ledger, numbers: &[String]) -> Result<Vec<i64>, CommandError> {
    if numbers.iter().any(|number| number == "all") {
        let waiting = ledger.waiting_proposals()?;
        return Ok(waiting.iter().filter(|it| it.state == State::Open).map(|it| it.number).collect());
    }
    let parse = |text: &String| text.parse().map_err(|_| CommandError::NotANumber(text.clone()));
    numbers.iter().map(parse).collect()
}
