//! Replays the usage of real machines (see `traces/README.md`).
//!
//! The traces are part of the program, so it needs no additional files.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::kernel::demand::Demand;

const MIB: f64 = 1024.0 * 1024.0;
const KB: f64 = 1000.0;

/// Name and text of each.
const FILES: [(&str, &str); 6] = [
    ("337", include_str!("../../traces/337.csv")),
    ("433", include_str!("../../traces/433.csv")),
    ("511", include_str!("../../traces/511.csv")),
    ("512", include_str!("../../traces/512.csv")),
    ("515", include_str!("../../traces/515.csv")),
    ("520", include_str!("../../traces/520.csv")),
];

/// The usage of one machine over some days, in even steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    step_seconds: f64,
    samples: Vec<Sample>,
}

/// The usage of a machine in one step.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Sample {
    timestamp: f64,
    cpu_cores_used: f64,
    memory_mb_used: f64,
    disk_read_kb_s: f64,
    disk_write_kb_s: f64,
    net_rx_kb_s: f64,
    net_tx_kb_s: f64,
}

/// Why a text is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is not CSV with the expected columns.
    #[error("a trace must be CSV with the columns of traces/README.md")]
    Csv(#[from] csv::Error),
    /// Its samples are not evenly spaced.
    #[error("a trace needs two samples or more, in even steps of time")]
    Uneven,
}

impl Trace {
    /// Parses the CSV columns described in traces/README.md.
    ///
    /// # Errors
    /// [`TraceError`] if a column is missing, a number is invalid, or the steps are not even.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let samples: Vec<Sample> = reader.deserialize().collect::<Result<_, _>>()?;
        let [first, second, ..] = samples.as_slice() else { return Err(TraceError::Uneven) };
        let step_seconds = second.timestamp - first.timestamp;
        let is_even =
            samples.windows(2).all(|pair| (pair[1].timestamp - pair[0].timestamp - step_seconds).abs() < 1.0);
        if is_even && 0.0 < step_seconds {
            Ok(Self { step_seconds, samples })
        } else {
            Err(TraceError::Uneven)
        }
    }

    /// The usage of the machine at a time after the trace's beginning; after its end, the trace repeats.
    ///
    /// A sample is the mean of its step. CPU and traffic are constant within a step, and memory, which changes
    /// slowly, is interpolated between samples. The trace does not say what the memory was used for, so seven tenths
    /// are assumed to be anonymous memory and the rest cache in use.
    pub fn demand(&self, seconds: f64) -> Demand {
        let length = self.samples.len();
        let position = (seconds / self.step_seconds).rem_euclid(length as f64);
        let at = usize::try_from(crate::kernel::files::whole(position)).unwrap_or(0).min(length - 1);
        let now = &self.samples[at];
        let next = &self.samples[(at + 1) % length];
        let share = position - at as f64;
        let memory = (now.memory_mb_used + (next.memory_mb_used - now.memory_mb_used) * share) * MIB;
        Demand {
            cores: now.cpu_cores_used,
            anon_bytes: memory * 0.7,
            shmem_bytes: 0.0,
            hot_file_bytes: memory * 0.3,
            read_bytes_per_second: now.disk_read_kb_s * KB,
            write_bytes_per_second: now.disk_write_kb_s * KB,
            rx_bytes_per_second: now.net_rx_kb_s * KB,
            tx_bytes_per_second: now.net_tx_kb_s * KB,
            processes: 20,
        }
    }

    /// Its duration before it repeats, in seconds.
    pub fn duration_seconds(&self) -> f64 {
        self.step_seconds * self.samples.len() as f64
    }
}

/// The names of the traces that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// A trace included in the program; `None` if there is none with that name.
pub fn by_name(name: &str) -> Option<&'static Trace> {
    static PARSED: OnceLock<Vec<(&'static str, Trace)>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| {
        FILES.iter().filter_map(|(name, text)| Some((*name, Trace::parse(text).ok()?))).collect()
    });
    parsed.iter().find(|(at, _)| *at == name).map(|(_, trace)| trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "timestamp,container_id,provisioned_cores,provisioned_memory_mb,cpu_cores_used,\
                          memory_mb_used,disk_read_kb_s,disk_write_kb_s,net_rx_kb_s,net_tx_kb_s\n";

    #[test]
    fn every_shipped_trace_is_five_days_long() {
        assert_eq!(names().count(), FILES.len());
        for name in names() {
            let trace = by_name(name).unwrap_or_else(|| panic!("{name} is no trace"));
            assert_eq!(trace.duration_seconds(), 5.0 * 86_400.0, "{name}");
        }
        assert_eq!(by_name("999"), None);
    }

    #[test]
    fn cpu_holds_for_a_step_and_memory_goes_evenly() {
        let text = format!("{HEADER}0,1,2,1024,1.5,100,10,20,1,2\n300,1,2,1024,0.5,200,0,0,0,0\n");
        let trace = Trace::parse(&text).unwrap();
        let at = |seconds| {
            let demand = trace.demand(seconds);
            (demand.cores, ((demand.anon_bytes + demand.hot_file_bytes) / MIB).round())
        };
        assert_eq!(at(0.0), (1.5, 100.0));
        assert_eq!(at(150.0), (1.5, 150.0));
        assert_eq!(at(300.0), (0.5, 200.0));
        assert_eq!(at(600.0), (1.5, 100.0));
        assert_eq!(at(-1.0).0, 0.5);
        assert_eq!(trace.demand(10.0).read_bytes_per_second, 10_000.0);
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for bad in [String::new(), HEADER.to_owned(), format!("{HEADER}0,1,2,1024,1.5,100,10,20,1,2\n")] {
            assert!(matches!(Trace::parse(&bad), Err(TraceError::Uneven)), "{bad}");
        }
        let uneven = format!("{HEADER}0,1,2,9,1,1,1,1,1,1\n300,1,2,9,1,1,1,1,1,1\n500,1,2,9,1,1,1,1,1,1\n");
        assert!(matches!(Trace::parse(&uneven), Err(TraceError::Uneven)));
        assert!(matches!(Trace::parse("timestamp\n1\n2\n"), Err(TraceError::Csv(_))));
    }
}
