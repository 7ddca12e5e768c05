//! The quality of the forecasts.

use std::fmt::Write;
use std::time::Instant;

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::forecast::outlook::{LEVELS, pinball};
use lxc_autoscale_ml::recommend::series::step_of;
use serde::Serialize;

use crate::contestant::Contestant;
use crate::parallel::in_parallel;

/// The first forecast is made after three days, the others at different times of later days, up to this number.
const FIRST_STEP: usize = 3 * 288;
const MOST_ORIGINS: usize = 8;
/// Horizons in steps: an hour and a day.
const HORIZONS: [usize; 2] = [12, 288];

/// One set of traces.
#[derive(Serialize)]
pub(crate) struct Set {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
}

/// One forecaster at one horizon for one resource.
#[derive(Serialize)]
pub(crate) struct Row {
    resource: &'static str,
    horizon_steps: usize,
    contestant: &'static str,
    /// Forecasts that were made, and those that were impossible.
    made: usize,
    missing: usize,
    /// Pinball loss divided by the mean usage, mean over series.
    loss: f64,
    /// The same divided by that of the last value, geometric mean over series.
    ratio: f64,
    coverage_80: f64,
    coverage_95: f64,
    /// Time per forecast, in the JSON only: it depends on the machine.
    milliseconds: f64,
}

/// The results of a forecaster on one series at one horizon.
#[derive(Clone, Copy, Default)]
struct Tally {
    made: usize,
    missing: usize,
    loss: f64,
    values: f64,
    within_80: f64,
    within_95: f64,
    seconds: f64,
}

impl Tally {
    fn judge(&mut self, rows: &[[f64; 5]], came: &[f32]) {
        for (row, came) in rows.iter().zip(came).filter(|(_, came)| !came.is_nan()) {
            let came = f64::from(*came);
            let losses = LEVELS.iter().zip(row).map(|(level, value)| pinball(*level, *value, came));
            self.loss += losses.sum::<f64>() / LEVELS.len() as f64;
            self.values += 1.0;
            let within = |low: usize, high: usize| {
                if (row[low]..=row[high]).contains(&came) { 1.0 } else { 0.0 }
            };
            self.within_80 += within(1, 3);
            self.within_95 += within(0, 4);
        }
    }
}

type Tallies = [[Tally; Contestant::ALL.len()]; HORIZONS.len()];

pub(crate) fn contest(recordings: &[Recording]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (resource, cpu) in [("CPU", true), ("memory", false)] {
        let series: Vec<(f64, Tallies)> =
            in_parallel(recordings, |recording| one(recording, cpu)).into_iter().flatten().collect();
        for (horizon, steps) in HORIZONS.into_iter().enumerate() {
            for (index, contestant) in Contestant::ALL.into_iter().enumerate() {
                rows.push(row(&series, (resource, steps, contestant), (horizon, index)));
            }
        }
    }
    rows
}

fn row(
    series: &[(f64, Tallies)],
    (resource, horizon_steps, contestant): (&'static str, usize, Contestant),
    (horizon, index): (usize, usize),
) -> Row {
    let last_value = Contestant::ALL.iter().position(|one| *one == Contestant::LastValue).unwrap_or_default();
    let (mut sum, mut loss, mut ratios, mut number) = (Tally::default(), 0.0, 0.0, 0.0);
    for (scale, tallies) in series {
        let (own, last) = (&tallies[horizon][index], &tallies[horizon][last_value]);
        sum.made += own.made;
        sum.missing += own.missing;
        sum.values += own.values;
        sum.within_80 += own.within_80;
        sum.within_95 += own.within_95;
        sum.seconds += own.seconds;
        if 0.0 < own.values && 0.0 < last.values {
            // A constant series has no loss to compare with.
            let unmoved = 1e-4 * scale;
            let mean = |tally: &Tally| tally.loss / tally.values;
            loss += mean(own) / scale;
            ratios += ((mean(own) + unmoved) / (mean(last) + unmoved)).ln();
            number += 1.0;
        }
    }
    Row {
        resource,
        horizon_steps,
        contestant: contestant.name(),
        made: sum.made,
        missing: sum.missing,
        loss: loss / number,
        ratio: (ratios / number).exp(),
        coverage_80: sum.within_80 / sum.values,
        coverage_95: sum.within_95 / sum.values,
        milliseconds: 1000.0 * sum.seconds / (sum.made + sum.missing) as f64,
    }
}

/// The results of all forecasters on one resource of a recording; `None` if it is too short or unused.
fn one(recording: &Recording, cpu: bool) -> Option<(f64, Tallies)> {
    let first = step_of(recording.span()?.0);
    let mut values: Vec<f32> = Vec::new();
    for sample in &recording.samples {
        let place = usize::try_from(step_of(sample.at) - first).ok()?;
        values.resize((place + 1).max(values.len()), f32::NAN);
        #[expect(clippy::cast_possible_truncation, reason = "the engine keeps no more digits")]
        let value =
            (if cpu { sample.cpu_cores } else { sample.memory_mib }).map_or(f32::NAN, |value| value as f32);
        values[place] = value;
    }
    let known: Vec<f64> =
        values.iter().filter(|value| !value.is_nan()).map(|value| f64::from(*value)).collect();
    let scale = known.iter().sum::<f64>() / known.len() as f64;
    let mut tallies = Tallies::default();
    // Not a divisor of a day, so that all times of day occur.
    let apart = ((values.len().saturating_sub(FIRST_STEP + HORIZONS[1])) / MOST_ORIGINS).max(50) | 1;
    let origins = (FIRST_STEP..values.len().saturating_sub(HORIZONS[1])).step_by(apart).take(MOST_ORIGINS);
    for origin in origins {
        let (past, coming) = values.split_at(origin);
        if past.iter().rev().take(12).all(|value| value.is_nan()) {
            continue;
        }
        for (steps, tallies) in HORIZONS.into_iter().zip(&mut tallies) {
            let mut said = Vec::new();
            for (contestant, tally) in Contestant::ALL.into_iter().zip(tallies.iter_mut()) {
                let begin = Instant::now();
                let rows = contestant.forecast(first, past, steps).filter(|rows| rows.len() == steps);
                tally.seconds += begin.elapsed().as_secs_f64();
                said.push(rows);
            }
            // Only forecasts that all of them could make are compared.
            let all = said.iter().all(Option::is_some);
            for (rows, tally) in said.iter().zip(tallies.iter_mut()) {
                match rows {
                    Some(rows) => {
                        tally.made += 1;
                        if all {
                            tally.judge(rows, &coming[..steps]);
                        }
                    }
                    None => tally.missing += 1,
                }
            }
        }
    }
    (0.0 < scale && 0 < tallies[0][0].made).then_some((scale, tallies))
}

/// The set as a table.
pub(crate) fn markdown(set: &Set) -> String {
    let mut out = format!(
        "### {}\n\n| resource | ahead | method | loss, share of the mean | over last value | 80 % band holds | 95 % band holds | forecasts, could not |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        set.title
    );
    for row in &set.rows {
        let ahead = if row.horizon_steps == HORIZONS[0] { "1 h" } else { "24 h" };
        let _ = writeln!(
            out,
            "| {} | {ahead} | {} | {} | {} | {:.1} % | {:.1} % | {}, {} |",
            row.resource,
            row.contestant,
            figure(row.loss, 4),
            figure(row.ratio, 3),
            100.0 * row.coverage_80,
            100.0 * row.coverage_95,
            row.made,
            row.missing
        );
    }
    out
}

/// A figure with so many digits; large ones are abbreviated.
fn figure(value: f64, digits: usize) -> String {
    if value < 1000.0 { format!("{value:.digits$}") } else { "> 1000".to_owned() }
}
