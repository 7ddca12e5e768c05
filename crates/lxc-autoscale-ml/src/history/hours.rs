//! The hours of the metrics file, for reports without the monitor's history.

use std::collections::BTreeMap;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot};

use super::differences::step;
use crate::observation::Observation;
use crate::report::Hour;

const HOUR_SECONDS: i64 = 3600;
/// An hour counts when at least half of it was measured.
const LEAST_SECONDS: f64 = 1800.0;
/// A longer time between measurements says nothing about the time between.
const LONGEST_STEP_SECONDS: f64 = 1800.0;

/// Sums records into hours.
#[derive(Debug, Default)]
pub struct Hours(BTreeMap<Vmid, Container>);

#[derive(Debug, Default)]
struct Container {
    name: Option<String>,
    previous: Option<(i64, ContainerRecord)>,
    hours: BTreeMap<i64, Sums>,
}

/// Values times seconds, and seconds.
#[derive(Debug, Default)]
struct Sums {
    seconds: f64,
    values: [Mean; 6],
    kills: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    sum: f64,
    seconds: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>, seconds: f64) {
        if let Some(value) = value {
            self.sum += value * seconds;
            self.seconds += seconds;
        }
    }

    fn value(self) -> Option<f64> {
        (0.0 < self.seconds).then(|| self.sum / self.seconds)
    }
}

impl Hours {
    /// Takes in the next snapshot.
    pub fn take(&mut self, snapshot: &Snapshot) {
        let at = snapshot.summary.collection_end_time.instant().as_second();
        for (id, record) in &snapshot.containers {
            self.0.entry(*id).or_default().take(at, record);
        }
    }

    /// The names and hours of all containers.
    pub fn into_measured(self) -> BTreeMap<Vmid, (Option<String>, Vec<Hour>)> {
        let hours = |container: Container| {
            let whole = container.hours.into_iter().filter(|(_, sums)| LEAST_SECONDS <= sums.seconds);
            (container.name, whole.map(|(start_seconds, sums)| sums.hour(start_seconds)).collect())
        };
        self.0.into_iter().map(|(id, container)| (id, hours(container))).collect()
    }
}

impl Container {
    fn take(&mut self, at: i64, record: &ContainerRecord) {
        if let Some(name) = record.configuration.as_ref().and_then(|configuration| configuration.name.clone())
        {
            self.name = Some(name);
        }
        let previous = self.previous.take();
        let seconds = previous.as_ref().map_or(0.0, |(before, _)| (at - before) as f64);
        let observation = step(previous.as_ref().map(|(_, record)| record), record).observation;
        if 0.0 < seconds && seconds <= LONGEST_STEP_SECONDS {
            let before = previous.as_ref().map(|(_, record)| record);
            let kills =
                kills(record).zip(before.and_then(kills)).map(|(now, before)| now.saturating_sub(before));
            let start = at.div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
            self.hours.entry(start).or_default().add(&observation, kills, seconds);
        }
        self.previous = Some((at, record.clone()));
    }
}

fn kills(record: &ContainerRecord) -> Option<u64> {
    record.memory_events.as_ref()?.oom_kill
}

impl Sums {
    fn add(&mut self, seen: &Observation, kills: Option<u64>, seconds: f64) {
        let values = [
            seen.cores_limit,
            seen.cpu_cores_used,
            seen.memory_limit_mib,
            seen.memory_used_mib,
            seen.cpu_throttled_share.map(|share| 100.0 * share),
            seen.memory_pressure_percent,
        ];
        self.seconds += seconds;
        for (mean, value) in self.values.iter_mut().zip(values) {
            mean.add(value, seconds);
        }
        if let Some(kills) = kills {
            *self.kills.get_or_insert(0.0) += kills as f64;
        }
    }

    fn hour(self, start_seconds: i64) -> Hour {
        let [cores, cores_used, memory_mib, memory_used_mib, throttled_percent, pressure_percent] =
            self.values.map(Mean::value);
        Hour {
            start_seconds,
            cores,
            cores_used,
            memory_mib,
            memory_used_mib,
            throttled_percent,
            pressure_percent,
            oom_kills: self.kills,
        }
    }
}
