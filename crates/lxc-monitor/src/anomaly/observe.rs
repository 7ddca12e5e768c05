//! From a record to the watched values: gauges as they are, counters as rates since the previous record.

use lxc_autoscale_core::Run;
use lxc_autoscale_core::snapshot::{ContainerRecord, Pressure};

use super::codec::{Damaged, Reader, Writer};
use super::metric::METRICS;

/// The cumulative values of the previous record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    /// The time, in seconds since the Unix epoch.
    at: f64,
    uptime: Option<f64>,
    totals: Totals,
}

/// Sectors, bytes of network traffic, and microseconds of pressure on CPU, memory and I/O, as far as known: five
/// options would take twice the space in each container's state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    /// A bit for each known value.
    known: u8,
    values: [u64; 5],
}

impl Totals {
    fn each(&self) -> [Option<u64>; 5] {
        std::array::from_fn(|place| (self.known >> place & 1 == 1).then_some(self.values[place]))
    }
}

impl From<[Option<u64>; 5]> for Totals {
    fn from(totals: [Option<u64>; 5]) -> Self {
        let bits = totals.iter().enumerate().map(|(place, total)| u8::from(total.is_some()) << place);
        Self { known: bits.sum(), values: totals.map(Option::unwrap_or_default) }
    }
}

/// The watched values of one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation {
    /// Whether the container was started since the previous record.
    pub(super) restarted: bool,
    /// In the order of [`super::metric::Metric::ALL`]; absent is unknown.
    pub(super) values: [Option<f64>; METRICS],
}

impl Counters {
    /// The values in a record.
    pub(super) fn of(record: &ContainerRecord) -> Self {
        let io = record.io_stats.as_ref().map(|io| io.reads.saturating_add(io.writes));
        let network = record.network_usage.as_ref().map(|use_| use_.rx_bytes.saturating_add(use_.tx_bytes));
        let stalled = |pressure: Option<&Pressure>| pressure.map(|pressure| pressure.some.total_usec);
        let pressure = &record.pressure;
        Self {
            at: record.timestamp.as_seconds(),
            uptime: record.uptime_seconds.filter(|uptime| uptime.is_finite()),
            totals: Totals::from([
                io,
                network,
                stalled(pressure.cpu.as_ref()),
                stalled(pressure.memory.as_ref()),
                stalled(pressure.io.as_ref()),
            ]),
        }
    }

    /// Increase of each counter per second; unknown if there is no earlier one, if it went back, or over no time.
    fn rates_since(&self, previous: Option<&Self>) -> [Option<f64>; 5] {
        let mut rates = [None; 5];
        let Some(previous) = previous else { return rates };
        let elapsed = self.at - previous.at;
        if elapsed <= 0.0 {
            return rates;
        }
        for (rate, (now, before)) in
            rates.iter_mut().zip(self.totals.each().into_iter().zip(previous.totals.each()))
        {
            let increase = now.zip(before).and_then(|(now, before)| now.checked_sub(before));
            *rate = increase.map(|increase| increase as f64 / elapsed);
        }
        rates
    }

    /// When the record was taken, in seconds since the Unix epoch.
    pub(super) fn at(&self) -> f64 {
        self.at
    }

    /// Whether the container's first process started after the previous record; `None` if that is not known.
    pub(super) fn started_since(&self, previous: &Self) -> Option<bool> {
        self.run().restarted_since(&previous.run())
    }

    fn run(&self) -> Run {
        Run { at_seconds: self.at, node_uptime_seconds: None, uptime_seconds: self.uptime, boot: None }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.f64(self.at);
        writer.optional(self.uptime, Writer::f64);
        self.totals.each().into_iter().for_each(|total| writer.optional(total, Writer::u64));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let (at, uptime) = (reader.f64()?, reader.optional(Reader::f64)?);
        let mut totals = [None; 5];
        for total in &mut totals {
            *total = reader.optional(Reader::u64)?;
        }
        Ok(Self { at, uptime, totals: totals.into() })
    }
}

/// Computes the watched values of a record.
pub(super) fn observe(previous: Option<&Counters>, now: &Counters, record: &ContainerRecord) -> Observation {
    let restarted = previous.is_some_and(|previous| now.started_since(previous) == Some(true));
    let [sectors, network, cpu, memory, io] = now.rates_since(previous.filter(|_| !restarted));
    let percent = |usec_per_second: Option<f64>| usec_per_second.map(|usec| (usec / 1e4).min(100.0));
    Observation {
        restarted,
        values: [
            record.cpu_cores_used,
            record.memory_usage_mb,
            sectors.map(|sectors| sectors * 512.0),
            network,
            record.process_count.map(|count| count as f64),
            percent(cpu),
            percent(memory),
            percent(io),
        ],
    }
}
