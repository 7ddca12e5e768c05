//! A past for real containers: their present, measured several times and repeated.
//!
//! An invented past would differ from what the containers really do, and a daemon that looks for unusual behaviour
//! would rightly report that. Rates and sizes are the measured ones, in turn. Cumulative counters stay at their
//! present values, so that they can continue from there.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::{ContainerRecord, Pressure, PressureSet, Snapshot};

use super::{PastError, STEP};

/// Repeats `measured` every [`STEP`] for `duration` up to `end`; `each` receives every snapshot, oldest first.
///
/// # Errors
/// The error of `each`, or [`PastError::Clock`].
pub fn repeat(
    measured: &[Snapshot],
    end: Timestamp,
    duration: SignedDuration,
    mut each: impl FnMut(&Snapshot) -> Result<(), PastError>,
) -> Result<(), PastError> {
    let Some(first) = measured.first() else { return Ok(()) };
    let steps = duration.as_secs() / STEP.as_secs();
    for (step, sample) in (0..steps).zip(measured.iter().cycle()) {
        let before_end = SignedDuration::from_secs(STEP.as_secs() * (steps - 1 - step));
        let time = RecordTime::new(end.checked_sub(before_end)?, &TimeZone::system());
        let mut snapshot = sample.clone();
        snapshot.summary.collection_start_time = time;
        snapshot.summary.collection_end_time = time;
        for (id, record) in &mut snapshot.containers {
            record.timestamp = time;
            // It would have to end at the present uptime, but the container began later than the past.
            record.uptime_seconds = None;
            if let Some(first) = first.containers.get(id) {
                hold_counters(record, first);
            }
        }
        each(&snapshot)?;
    }
    Ok(())
}

fn hold_counters(record: &mut ContainerRecord, first: &ContainerRecord) {
    record.cpu_usage_usec = first.cpu_usage_usec;
    record.throttling = first.throttling;
    record.io_stats = first.io_stats;
    record.network_usage = first.network_usage;
    record.memory_events = first.memory_events;
    record.paging = first.paging;
    record.pressure = PressureSet {
        cpu: hold_totals(record.pressure.cpu, first.pressure.cpu),
        memory: hold_totals(record.pressure.memory, first.pressure.memory),
        io: hold_totals(record.pressure.io, first.pressure.io),
    };
}

fn hold_totals(now: Option<Pressure>, first: Option<Pressure>) -> Option<Pressure> {
    let (mut now, first) = (now?, first?);
    now.some.total_usec = first.some.total_usec;
    if let (Some(now), Some(first)) = (&mut now.full, first.full) {
        now.total_usec = first.total_usec;
    }
    Some(now)
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::Vmid;

    use super::*;

    fn measured(cores: f64, usage_usec: u64) -> Snapshot {
        serde_json::from_value(serde_json::json!({
            "100": {"timestamp": "2026-11-23T17:20:00Z", "cpu_cores_used": cores, "cpu_usage_usec": usage_usec,
                    "uptime_seconds": 9.0,
                    "pressure": {"cpu": {"some": {"avg10": cores, "avg60": 0.0, "avg300": 0.0, "total_usec": usage_usec}}}},
            "summary": {"collection_start_time": "2026-11-23T17:20:00Z", "collection_end_time": "2026-11-23T17:20:00Z",
                        "total_containers": 1, "total_duration_seconds": 0.1}
        }))
        .unwrap()
    }

    #[test]
    fn rates_take_turns_and_counters_stand_still() {
        let end: Timestamp = "2026-11-23T17:21:00Z".parse().unwrap();
        let mut seen = Vec::new();
        repeat(
            &[measured(0.5, 1000), measured(0.75, 2000)],
            end,
            SignedDuration::from_hours(1),
            |snapshot| {
                let record = &snapshot.containers[&Vmid::try_from(100).unwrap()];
                assert_eq!((record.uptime_seconds, record.cpu_usage_usec), (None, Some(1000)));
                assert_eq!(record.pressure.cpu.unwrap().some.total_usec, 1000);
                assert_eq!(record.timestamp, snapshot.summary.collection_start_time);
                seen.push((record.timestamp.instant(), record.cpu_cores_used.unwrap()));
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen.len(), 12);
        assert_eq!((seen[0].1, seen[1].1, seen[2].1), (0.5, 0.75, 0.5));
        assert_eq!(seen[11].0, end);
        assert!(seen.windows(2).all(|pair| pair[1].0.duration_since(pair[0].0) == STEP));
    }

    #[test]
    fn nothing_measured_is_no_past() {
        repeat(&[], Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1), |_| panic!("nothing to repeat"))
            .unwrap();
    }
}
