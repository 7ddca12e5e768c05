//! `shadow`: what each candidate would have cost, compared with the live policy.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::decisions::local_time;
use super::table::Table;
use super::{CommandError, write_json};
use crate::backtest::score::{Prices, Sums};
use crate::config::Config;
use crate::figures::counted;
use crate::ledger::Ledger;

/// One candidate and the live policy over the same time.
#[derive(Serialize)]
struct Row {
    shadow: String,
    containers: usize,
    since: Timestamp,
    until: Timestamp,
    candidate: Score,
    live: Score,
}

/// The score of an allocation.
#[derive(Clone, Copy, Serialize)]
struct Score {
    container_hours: f64,
    core_hours: f64,
    gib_hours: f64,
    unserved_core_hours: f64,
    memory_shortages: u64,
    changes: u64,
    cost: f64,
}

impl Score {
    fn of(sums: &Sums, prices: &Prices) -> Self {
        Self {
            container_hours: sums.hours,
            core_hours: sums.cpu.allocated,
            gib_hours: sums.memory.allocated,
            unserved_core_hours: sums.cpu.unserved,
            memory_shortages: sums.memory.shortages,
            changes: sums.cpu.resizes + sums.memory.resizes,
            cost: sums.cost(prices).total(),
        }
    }
}

/// Shows the candidates of the configuration, by name.
///
/// # Errors
/// [`CommandError`] when the ledger cannot be read or the result cannot be written.
pub fn shadow(config: &Config, json: bool, out: &mut impl Write) -> Result<(), CommandError> {
    let kept = match Ledger::open_read_only(&config.state.ledger())? {
        Some(ledger) => ledger.shadows()?,
        None => BTreeMap::new(),
    };
    let prices = Prices::from(&config.recommend);
    let mut rows: BTreeMap<&str, (usize, Timestamp, Timestamp, Sums, Sums)> = BTreeMap::new();
    for ((name, _), kept) in kept.iter().filter(|((name, _), _)| config.shadow.contains_key(name)) {
        let empty = (0, kept.begun, kept.until, Sums::default(), Sums::default());
        let (containers, since, until, candidate, live) = rows.entry(name).or_insert(empty);
        *containers += 1;
        (*since, *until) = ((*since).min(kept.begun), (*until).max(kept.until));
        candidate.add(&kept.judged.sums);
        live.add(&kept.live.sums);
    }
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(name, (containers, since, until, candidate, live))| Row {
            shadow: name.to_owned(),
            containers,
            since,
            until,
            candidate: Score::of(&candidate, &prices),
            live: Score::of(&live, &prices),
        })
        .collect();
    if json { write_json(out, &rows) } else { write(config, &rows, out).map_err(CommandError::from) }
}

fn write(config: &Config, rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
    if config.shadow.is_empty() {
        return writeln!(out, "There is no `[shadow.NAME]` in the configuration.");
    }
    let waiting: Vec<&str> = config.shadow.keys().map(String::as_str).collect();
    let waiting = waiting.iter().filter(|name| !rows.iter().any(|row| row.shadow == **name));
    for name in waiting {
        writeln!(
            out,
            "{name}: no scores saved yet; that happens every ten minutes and when the daemon ends."
        )?;
    }
    for row in rows {
        let hours = row.live.container_hours;
        writeln!(
            out,
            "{}: {}, {hours:.1} container-hours, {} to {}",
            row.shadow,
            counted(row.containers, "container", "containers"),
            local_time(row.since),
            local_time(row.until)
        )?;
        let mut table =
            Table::headed(&["", "CORE-HOURS", "GIB-HOURS", "UNSERVED", "SHORTAGES", "CHANGES", "COST"]);
        for (name, score) in [("live", &row.live), (row.shadow.as_str(), &row.candidate)] {
            table.row(vec![
                name.to_owned(),
                format!("{:.2}", score.core_hours),
                format!("{:.2}", score.gib_hours),
                format!("{:.3}", score.unserved_core_hours),
                score.memory_shortages.to_string(),
                score.changes.to_string(),
                format!("{:.3}", score.cost),
            ]);
        }
        table.write(out)?;
        if 0.0 < row.live.cost {
            let percent = 100.0 * (row.candidate.cost / row.live.cost - 1.0);
            let word = if percent < 0.0 { "less" } else { "more" };
            writeln!(out, "{:.1} % {word} by the prices of `[recommend]`\n", percent.abs())?;
        }
    }
    Ok(())
}
