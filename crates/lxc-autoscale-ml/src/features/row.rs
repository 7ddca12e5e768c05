//! One record as it is stored: measurements in numbers of 16 bits.
//!
//! They use the codes of the history ([`code`]): exact for small multiples of a resolution, eleven significant bits
//! (0.05 %) above. No detector can distinguish smaller differences.

use std::collections::VecDeque;

use lxc_autoscale_core::history_store::code::{self, Code};
use lxc_autoscale_core::snapshot::{ContainerRecord, IoStats, NetworkUsage};

use serde::de::{Deserializer, Error as _};
use serde::ser::Serializer;

use crate::checkpoint::packed;
use crate::history::Step;

/// Never a valid code: [`code::encode`] limits values far below.
const UNKNOWN: Code = Code::MAX;

/// Flag in the code of the seconds: the rolling columns start anew with this row, after a gap or a restart. Known steps
/// are at most [`crate::history::LONGEST_STEP`], whose code is far smaller; the code of an unknown step has it, too.
const BEGINS: Code = 1 << 15;

/// The measures, in the order in which they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Cpu,
    Memory,
    FilesystemFree,
    FilesystemTotal,
    FilesystemUsage,
    IoReads,
    IoWrites,
    NetworkReceived,
    NetworkSent,
    Processes,
    SwapTotal,
    SwapUsage,
    Seconds,
}

const MEASURES: usize = Measure::Seconds as usize + 1;

/// A row in a checkpoint: its codes, and a byte for the flag.
const ROW_BYTES: usize = 2 * MEASURES + 1;

impl Measure {
    /// The resolution of its values, in its unit.
    fn resolution(self) -> f64 {
        match self {
            // Percent, MiB, GB, bytes a second, seconds.
            Self::Cpu | Self::FilesystemFree | Self::FilesystemTotal | Self::FilesystemUsage => 0.001,
            Self::Memory | Self::SwapTotal | Self::SwapUsage => 0.015_625,
            Self::IoReads | Self::IoWrites | Self::NetworkReceived | Self::NetworkSent => 0.125,
            Self::Processes => 1.0,
            Self::Seconds => 0.01,
        }
    }
}

/// The measurements of one record. There is one per minute of a day of each container: it has no space for a separate
/// flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// By measure; the code of the seconds includes [`BEGINS`].
    codes: [Code; MEASURES],
}

impl Row {
    /// The row of a record; `step` lies between it and the one before.
    pub(super) fn of(previous: Option<&ContainerRecord>, record: &ContainerRecord, step: &Step) -> Self {
        let rates = Rates { previous: previous.filter(|_| !step.restarted), record, seconds: step.seconds };
        let mut codes = [UNKNOWN; MEASURES];
        for (measure, value) in [
            (Measure::Cpu, record.cpu_usage_percent),
            (Measure::Memory, record.memory_usage_mb),
            (Measure::FilesystemFree, record.filesystem_free_gb),
            (Measure::FilesystemTotal, record.filesystem_total_gb),
            (Measure::FilesystemUsage, record.filesystem_usage_gb),
            (Measure::IoReads, rates.io(|io| io.reads)),
            (Measure::IoWrites, rates.io(|io| io.writes)),
            (Measure::NetworkReceived, rates.network(|network| network.rx_bytes)),
            (Measure::NetworkSent, rates.network(|network| network.tx_bytes)),
            (Measure::Processes, record.process_count.map(|count| count as f64)),
            (Measure::SwapTotal, record.swap_total_mb),
            (Measure::SwapUsage, record.swap_usage_mb),
            (Measure::Seconds, step.seconds),
        ] {
            let code = value.and_then(|value| code::encode(value, measure.resolution()));
            codes[measure as usize] = code.unwrap_or(UNKNOWN);
        }
        Self::beginning(codes, step.seconds.is_none() || step.restarted)
    }

    /// The row of these codes.
    fn beginning(mut codes: [Code; MEASURES], begins: bool) -> Self {
        if begins {
            codes[Measure::Seconds as usize] |= BEGINS;
        }
        Self { codes }
    }

    /// The code without the flag.
    fn code(&self, measure: Measure) -> Code {
        let code = self.codes[measure as usize];
        if measure == Measure::Seconds && code != UNKNOWN { code & !BEGINS } else { code }
    }

    /// What was measured; `None` where it was not.
    pub(super) fn get(&self, measure: Measure) -> Option<f64> {
        let code = self.code(measure);
        (code != UNKNOWN).then(|| code::decode(code, measure.resolution()))
    }

    /// Length of the step that it ends, in seconds.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.get(Measure::Seconds)
    }

    /// Whether the rolling columns start anew with it.
    pub(super) fn begins(&self) -> bool {
        self.codes[Measure::Seconds as usize] & BEGINS != 0
    }
}

/// Writes rows as bytes.
pub(super) fn pack<S: Serializer>(rows: &VecDeque<Row>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(rows.len() * ROW_BYTES);
    for row in rows {
        let mut codes = row.codes;
        codes[Measure::Seconds as usize] = row.code(Measure::Seconds);
        bytes.extend(codes.iter().flat_map(|code| code.to_le_bytes()));
        bytes.push(u8::from(row.begins()));
    }
    serializer.serialize_bytes(&bytes)
}

/// Reads what [`pack`] wrote.
pub(super) fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Row>, D::Error> {
    let bytes = packed::bytes(deserializer)?;
    let (rows, rest) = bytes.as_chunks::<ROW_BYTES>();
    if !rest.is_empty() {
        return Err(D::Error::custom("a table of features is cut off"));
    }
    let row = |bytes: &[u8; ROW_BYTES]| {
        let (codes, _) = bytes.as_chunks::<2>();
        let mut row = [UNKNOWN; MEASURES];
        for (code, bytes) in row.iter_mut().zip(codes) {
            *code = Code::from_le_bytes(*bytes);
        }
        Row::beginning(row, bytes[ROW_BYTES - 1] != 0)
    };
    Ok(rows.iter().map(row).collect())
}

/// Counters as rates per second.
struct Rates<'a> {
    previous: Option<&'a ContainerRecord>,
    record: &'a ContainerRecord,
    seconds: Option<f64>,
}

impl Rates<'_> {
    fn io(&self, of: impl Fn(&IoStats) -> u64) -> Option<f64> {
        self.rate(|record| record.io_stats.as_ref().map(&of))
    }

    fn network(&self, of: impl Fn(&NetworkUsage) -> u64) -> Option<f64> {
        self.rate(|record| record.network_usage.as_ref().map(&of))
    }

    /// `None` if the counter went down: its increase before that is unknown.
    fn rate(&self, of: impl Fn(&ContainerRecord) -> Option<u64>) -> Option<f64> {
        let gained = of(self.record)?.checked_sub(of(self.previous?)?)?;
        Some(gained as f64 / self.seconds?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LONGEST_STEP;

    #[test]
    fn that_a_row_begins_anew_stands_beside_the_longest_step() {
        let longest = code::encode(LONGEST_STEP.as_secs_f64(), Measure::Seconds.resolution()).unwrap();
        for (seconds, begins) in [(0, false), (0, true), (longest, false), (longest, true)] {
            let mut codes = [UNKNOWN; MEASURES];
            codes[Measure::Seconds as usize] = seconds;
            let row = Row::beginning(codes, begins);
            assert_eq!((row.code(Measure::Seconds), row.begins()), (seconds, begins));
        }
        let unknown = Row::beginning([UNKNOWN; MEASURES], true);
        assert!(unknown.begins() && unknown.seconds().is_none());
    }
}
