//! `report`: what the sizes that were set saved in a period, and where something got worse.

mod collect;
mod show;

use std::io::Write;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::screen::Screen;
use super::{CommandError, write_json};
use crate::config::Config;
use crate::report::{Account, account, total};

/// A report, as JSON.
#[derive(Serialize)]
struct Report {
    since: Timestamp,
    until: Timestamp,
    /// Hours of the period.
    hours: f64,
    /// The source of the measurements.
    source: collect::Source,
    /// What is unknown, if anything.
    notes: Vec<String>,
    containers: Vec<Account>,
    /// The sum of all containers.
    node: Account,
}

/// Shows the savings in the time `ago` before `now`.
///
/// # Errors
/// [`CommandError`] when neither the monitor's history nor the metrics file can be read, or the ledger cannot be.
pub fn report(
    config: &Config,
    ago: SignedDuration,
    now: Timestamp,
    json: bool,
    screen: Screen,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let since = now.checked_sub(ago).unwrap_or(Timestamp::MIN);
    let collect::Collected { source, known, notes } = collect::collect(config, since, now)?;
    let containers: Vec<Account> = known.iter().map(|known| account(known, since, now)).collect();
    let node = total(&containers);
    let hours = now.duration_since(since).as_secs_f64() / 3600.0;
    let report = Report { since, until: now, hours, source, notes, containers, node };
    if json { write_json(out, &report) } else { report.show(screen, out).map_err(CommandError::from) }
}
