//! `forecast`: a container's expected usage in the coming hours.

mod show;

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Serialize;

use super::{CommandError, look, write_json};
use crate::config::Config;
use crate::forecast::outlook::{Outlook, PAST_STEPS, Past, look_ahead};
use crate::history::StoredPast;
use crate::observation::Observation;
use crate::recommend::series::{KEPT_STEPS, STEP_SECONDS, step_of};

/// Steps per hour.
const HOUR_STEPS: usize = 12;

/// The forecast of a container.
#[derive(Serialize)]
struct Forecast {
    id: Vmid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The time zone of habits; absent if the node's has no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// When it was last measured.
    measured_at: Option<Timestamp>,
    /// In cores; null while there is too little data.
    cpu: Option<Outlook>,
    /// In MiB; null while there is too little data.
    memory: Option<Outlook>,
    #[serde(skip)]
    zone: TimeZone,
    #[serde(skip)]
    steps_asked: usize,
}

/// Shows the expected usage of `id` in the `hours` after `now`, for complete steps.
///
/// # Errors
/// [`CommandError`] when nothing is known of the container or the metrics file cannot be read. If the monitor's history
/// cannot be read, only the time before the last eight days is missing.
pub fn forecast(
    config: &Config,
    id: Vmid,
    now: Timestamp,
    hours: u8,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let zone = config.forecast.zone().map_err(CommandError::TimeZone)?;
    let (pipeline, _) = look(config)?;
    let Some(container) = pipeline.history().container(id) else {
        return Err(CommandError::UnknownContainer { id, file: config.metrics.file.clone() });
    };
    let name = container.name.clone();
    let (cpu, memory) = container.model.whole_steps(now);
    let before = older(config, id, name.as_deref(), now);
    // The first incomplete step.
    let next_step = step_of(now.as_second());
    let ahead = usize::from(hours) * HOUR_STEPS;
    let expected = |recent: &[f32], of: fn(&Observation) -> Option<f64>| {
        let steps = joined(&before, of, recent, next_step);
        let first_step = next_step - i64::try_from(steps.len()).ok()?;
        look_ahead(Past { first_step, values: &steps }, &zone, ahead)
    };
    let forecast = Forecast {
        id,
        name,
        time_zone: zone.iana_name().map(str::to_owned),
        measured_at: container.model.last_observed(),
        cpu: expected(&cpu, |seen| seen.cpu_cores_used),
        memory: expected(&memory, |seen| seen.memory_used_mib),
        zone: zone.clone(),
        steps_asked: ahead,
    };
    if json { write_json(out, &forecast) } else { forecast.show(out).map_err(CommandError::from) }
}

/// The monitor's history of the weeks before the eight days that the daemon keeps.
fn older(config: &Config, id: Vmid, name: Option<&str>, now: Timestamp) -> Vec<Observation> {
    let path = &config.metrics.history;
    if path.as_os_str().is_empty() {
        return Vec::new();
    }
    let steps = i64::try_from(PAST_STEPS).unwrap_or(KEPT_STEPS);
    let read = StoredPast::open(path, now)
        .and_then(|past| past.map_or(Ok(Vec::new()), |past| past.steps_of(id, name, now, steps)));
    read.unwrap_or_else(|error| {
        tracing::warn!(container = %id, "weeks before the last eight days are not known: {}", ErrorChain(&error));
        Vec::new()
    })
}

/// The steps before `next_step`: `recent`, which ends there, preceded by `older`.
fn joined(
    older: &[Observation],
    of: fn(&Observation) -> Option<f64>,
    recent: &[f32],
    next_step: i64,
) -> Vec<f32> {
    let first_recent = next_step - i64::try_from(recent.len()).unwrap_or_default();
    let known = older.iter().filter_map(|seen| {
        let step = step_of(seen.at.as_second());
        of(seen).filter(|_| step < first_recent).map(|value| (step, value))
    });
    let known: Vec<(i64, f64)> = known.collect();
    let first = known.first().map_or(first_recent, |(step, _)| *step);
    let mut steps = vec![f32::NAN; usize::try_from(first_recent - first).unwrap_or_default()];
    for (step, value) in known {
        let place = usize::try_from(step - first).ok().and_then(|place| steps.get_mut(place));
        if let Some(kept) = place {
            #[expect(clippy::cast_possible_truncation, reason = "the engine keeps no more digits")]
            let value = value as f32;
            *kept = value;
        }
    }
    steps.extend_from_slice(recent);
    steps
}

/// An instant of the outlook.
fn instant(at_seconds: i64) -> Timestamp {
    Timestamp::from_second(at_seconds).unwrap_or(Timestamp::MAX)
}

const _: () = assert!(STEP_SECONDS * 12 == 3600, "an hour has twelve steps");

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(step: i64, cores: f64) -> Observation {
        // A step is measured at its end.
        let at = Timestamp::from_second((step + 1) * STEP_SECONDS).unwrap();
        Observation { cpu_cores_used: Some(cores), ..Observation::unknown(at) }
    }

    #[test]
    fn what_the_daemon_keeps_comes_first_and_a_gap_stays_one() {
        let older = [seen(1000, 1.0), seen(1001, 2.0), seen(1004, 9.0)];
        let steps = joined(&older, |seen| seen.cpu_cores_used, &[5.0, 6.0], 1006);
        assert_eq!((steps.len(), &steps[..2], &steps[4..]), (6, &[1.0, 2.0][..], &[5.0, 6.0][..]));
        assert!(steps[2].is_nan() && steps[3].is_nan());
        assert_eq!(joined(&[], |seen| seen.cpu_cores_used, &[5.0], 7), [5.0]);
    }
}
