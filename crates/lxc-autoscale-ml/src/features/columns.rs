//! The columns of the table, computed from the stored rows.

use std::collections::VecDeque;

use ndarray::Array2;

use super::row::{Measure, Row};
use super::{FEATURES, narrow};

/// Number of rows for means, deviations and trends.
const ROLLING_ROWS: usize = 5;
/// Time window for extremes, in seconds.
const EXTREMES_SECONDS: f64 = 3600.0;
/// No cell depends on anything further back.
const REACH_SECONDS: f64 = 2.0 * EXTREMES_SECONDS;

/// A row per record and a column per feature; NaN where nothing was measured.
pub(super) fn of(rows: &VecDeque<Row>) -> Array2<f32> {
    of_last(rows, rows.len())
}

/// The cells of the newest row; `None` when there is none.
pub(super) fn newest(rows: &VecDeque<Row>) -> Option<Vec<f32>> {
    let mut seconds = 0.0;
    let reaches = rows.iter().rev().position(|row| {
        seconds += row.seconds().unwrap_or(f64::INFINITY);
        REACH_SECONDS < seconds
    });
    let needed = reaches.map_or(rows.len(), |rows| rows + 1).max(ROLLING_ROWS).min(rows.len());
    Some(of_last(rows, needed).rows().into_iter().next_back()?.to_vec())
}

/// The cells of the last `count` rows, as if there were none before them.
fn of_last(rows: &VecDeque<Row>, count: usize) -> Array2<f32> {
    let mut cells = Array2::zeros((count, FEATURES.len()));
    let (mut cpu, mut memory) = (Rolling::default(), Rolling::default());
    let mut seconds = 0.0;
    for (row, mut cells) in rows.range(rows.len() - count..).zip(cells.rows_mut()) {
        if row.begins() {
            (cpu, memory) = (Rolling::default(), Rolling::default());
        }
        seconds += row.seconds().unwrap_or_default();
        let of_cpu = cpu.push(seconds, row.get(Measure::Cpu));
        let of_memory = memory.push(seconds, row.get(Measure::Memory));
        for (cell, value) in cells.iter_mut().zip(values(row, &of_cpu, &of_memory)) {
            *cell = value.map_or(f32::NAN, narrow);
        }
    }
    cells
}

/// In the order of [`FEATURES`].
fn values(row: &Row, cpu: &Rolled, memory: &Rolled) -> [Option<f64>; FEATURES.len()] {
    let processes = row.get(Measure::Processes);
    let at_least_one = processes.filter(|count| 0.0 < *count);
    [
        ratio(cpu.value, memory.value),
        ratio(cpu.value, at_least_one),
        cpu.trend,
        cpu.value,
        row.get(Measure::FilesystemFree),
        row.get(Measure::FilesystemTotal),
        row.get(Measure::FilesystemUsage),
        row.get(Measure::IoReads),
        row.get(Measure::IoWrites),
        cpu.max,
        memory.max,
        ratio(memory.value, at_least_one),
        memory.trend,
        memory.value,
        cpu.min,
        memory.min,
        row.get(Measure::NetworkReceived),
        row.get(Measure::NetworkSent),
        processes,
        cpu.mean,
        memory.mean,
        cpu.deviation,
        memory.deviation,
        row.get(Measure::SwapTotal),
        row.get(Measure::SwapUsage),
        row.seconds(),
    ]
}

fn ratio(dividend: Option<f64>, divisor: Option<f64>) -> Option<f64> {
    let divisor = divisor.filter(|divisor| *divisor != 0.0)?;
    Some(dividend? / divisor)
}

/// One measure since the last gap.
#[derive(Debug, Default)]
struct Rolling {
    /// The newest rows, newest last, each with its time in seconds.
    newest: VecDeque<(f64, Option<f64>)>,
    /// Candidates for the maximum and minimum of the hour: none is exceeded by a later one.
    largest: VecDeque<(f64, f64)>,
    smallest: VecDeque<(f64, f64)>,
}

/// The aggregates of one measure at one row.
struct Rolled {
    value: Option<f64>,
    mean: Option<f64>,
    deviation: Option<f64>,
    trend: Option<f64>,
    max: Option<f64>,
    min: Option<f64>,
}

impl Rolling {
    fn push(&mut self, seconds: f64, value: Option<f64>) -> Rolled {
        if self.newest.len() == ROLLING_ROWS {
            self.newest.pop_front();
        }
        self.newest.push_back((seconds, value));
        let moments = self.moments();
        Rolled {
            value,
            mean: moments.map(|(mean, _)| mean),
            deviation: moments.map(|(_, deviation)| deviation),
            trend: self.trend(),
            max: extreme(&mut self.largest, seconds, value, |new, old| old <= new),
            min: extreme(&mut self.smallest, seconds, value, |new, old| new <= old),
        }
    }

    /// Mean and standard deviation of the newest rows.
    fn moments(&self) -> Option<(f64, f64)> {
        let values = || self.newest.iter().filter_map(|(_, value)| *value);
        let count = values().count() as f64;
        if count == 0.0 {
            return None;
        }
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Some((mean, variance.sqrt()))
    }

    /// Change per minute over the newest rows.
    fn trend(&self) -> Option<f64> {
        let (since, from) = self.newest.front()?;
        let (until, to) = self.newest.back()?;
        let minutes = (until - since) / 60.0;
        if minutes <= 0.0 {
            return None;
        }
        Some(((*to)? - (*from)?) / minutes)
    }
}

/// The extreme of the hour that ends at `seconds`.
fn extreme(
    candidates: &mut VecDeque<(f64, f64)>,
    seconds: f64,
    value: Option<f64>,
    beats: fn(f64, f64) -> bool,
) -> Option<f64> {
    if let Some(value) = value {
        while candidates.back().is_some_and(|(_, old)| beats(value, *old)) {
            candidates.pop_back();
        }
        candidates.push_back((seconds, value));
    }
    while candidates.front().is_some_and(|(then, _)| *then + EXTREMES_SECONDS < seconds) {
        candidates.pop_front();
    }
    candidates.front().map(|(_, value)| *value)
}
