//! `shadow`: what each candidate would have cost, compared with the live policy.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::decisions::local_time;
use super::table::Table;
use super::{CommandError, write_json};
use crate::backtest::score::{Cost, Prices, Sums};
use crate::config::Config;
use crate::figures::counted;
use crate::ledger::Ledger;
use crate::shadow::Kept;

/// One candidate and the live policy over the same time.
#[derive(Serialize)]
struct Row {
    shadow: String,
    containers: usize,
    since: Timestamp,
    until: Timestamp,
    /// The prices that both are judged by.
    judged_by: Vec<JudgedBy>,
    candidate: Score,
    live: Score,
}

impl Row {
    /// Whose prices they are.
    fn prices(&self, general: &Prices) -> String {
        let own = self.judged_by.iter().filter(|by| by.prices != *general);
        match own.map(|by| by.containers).sum::<usize>() {
            0 => "the prices of `[recommend]`".to_owned(),
            all if all == self.containers => {
                format!("the prices that are in force under `{}`, not those of `[recommend]`", self.shadow)
            }
            some => format!(
                "the prices that are in force under `{}`, for {some} of {} not those of `[recommend]`",
                self.shadow, self.containers
            ),
        }
    }
}

/// Prices, and how many of the candidate's containers are judged by them.
#[derive(Serialize)]
struct JudgedBy {
    containers: usize,
    #[serde(flatten)]
    prices: Prices,
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
    fn of(sums: &Sums, cost: &Cost) -> Self {
        Self {
            container_hours: sums.hours,
            core_hours: sums.cpu.allocated,
            gib_hours: sums.memory.allocated,
            unserved_core_hours: sums.cpu.unserved,
            memory_shortages: sums.memory.shortages,
            changes: sums.cpu.resizes + sums.memory.resizes,
            cost: cost.total(),
        }
    }
}

/// One candidate, added up over its containers.
#[derive(Default)]
struct Added {
    span: Option<(Timestamp, Timestamp)>,
    judged_by: Vec<JudgedBy>,
    candidate: (Sums, Cost),
    live: (Sums, Cost),
}

impl Added {
    /// Adds a container: each costs what it costs by its own prices.
    fn add(&mut self, kept: &Kept, general: &Prices) {
        let (since, until) = self.span.unwrap_or((kept.begun, kept.until));
        self.span = Some((since.min(kept.begun), until.max(kept.until)));
        let prices = kept.own_prices.unwrap_or(*general);
        match self.judged_by.iter_mut().find(|known| known.prices == prices) {
            Some(known) => known.containers += 1,
            None => self.judged_by.push(JudgedBy { containers: 1, prices }),
        }
        for ((sums, cost), judged) in [(&mut self.candidate, &kept.judged), (&mut self.live, &kept.live)] {
            sums.add(&judged.sums);
            cost.add(&judged.sums.cost(&prices));
        }
    }

    /// `None` without a container.
    fn row(self, shadow: &str) -> Option<Row> {
        let (since, until) = self.span?;
        Some(Row {
            shadow: shadow.to_owned(),
            containers: self.judged_by.iter().map(|by| by.containers).sum(),
            since,
            until,
            judged_by: self.judged_by,
            candidate: Score::of(&self.candidate.0, &self.candidate.1),
            live: Score::of(&self.live.0, &self.live.1),
        })
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
    let mut added: BTreeMap<&str, Added> = BTreeMap::new();
    for ((name, _), kept) in kept.iter().filter(|((name, _), _)| config.shadow.contains_key(name)) {
        added.entry(name).or_default().add(kept, &prices);
    }
    let rows: Vec<Row> = added.into_iter().filter_map(|(name, added)| added.row(name)).collect();
    if json { write_json(out, &rows) } else { write(config, &prices, &rows, out).map_err(CommandError::from) }
}

fn write(config: &Config, general: &Prices, rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
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
            writeln!(out, "{:.1} % {word} by {}\n", percent.abs(), row.prices(general))?;
        }
    }
    Ok(())
}
