//! Computes the facts of the step between two consecutive records of a container. Pure.
//!
//! Counters are differenced here and nowhere else. If CPU time or uptime went down, the container restarted and its
//! counters began at zero; their present values accumulated since. Any other counter that went down alone says nothing:
//! on cgroup version 1 the kills are a sum over the existing groups. Between records further apart than
//! [`LONGEST_STEP`] there are no rates: that is a gap, and is marked as one.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Run;
use lxc_autoscale_core::snapshot::{
    ContainerRecord, MemoryEvents, Paging, Pressure, PressureSet, Throttling,
};

use crate::observation::Observation;

/// The longest time between two records that counts as one step.
pub const LONGEST_STEP: SignedDuration = SignedDuration::from_mins(15);

/// Pages are 4 KiB on every machine that Proxmox runs on.
const PAGE_MIB: f64 = 4096.0 / (1 << 20) as f64;

/// The step between two records of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The facts, at the time of the later record.
    pub observation: Observation,
    /// Length of the step; `None` for the first record and after a gap.
    pub seconds: Option<f64>,
    /// Whether the container restarted in between.
    pub restarted: bool,
    /// The length of a gap: nothing was recorded for longer than a step may be.
    pub gap: Option<SignedDuration>,
}

/// Computes the step between two records; `previous` must be the older one.
pub fn step(previous: Option<&ContainerRecord>, current: &ContainerRecord) -> Step {
    let at = current.timestamp.instant();
    let elapsed = previous.map(|previous| at.duration_since(previous.timestamp.instant()));
    let restarted = previous.is_some_and(|previous| restarted_between(previous, current) == Some(true));
    let gap = elapsed.filter(|elapsed| LONGEST_STEP < *elapsed);
    let seconds = elapsed.filter(|_| gap.is_none()).map(|elapsed| elapsed.as_secs_f64());
    let pair = Pair { previous, current, restarted, seconds: seconds.filter(|seconds| 0.0 < *seconds) };
    Step { observation: pair.observation(at), seconds, restarted, gap }
}

/// Whether the container restarted between the two records; `None` if they do not tell.
pub fn restarted_between(previous: &ContainerRecord, current: &ContainerRecord) -> Option<bool> {
    let went_down = matches!((previous.cpu_usage_usec, current.cpu_usage_usec), (Some(before), Some(now)) if now < before);
    if went_down {
        return Some(true);
    }
    Run::of(current, None).restarted_since(&Run::of(previous, None))
}

struct Pair<'a> {
    previous: Option<&'a ContainerRecord>,
    current: &'a ContainerRecord,
    restarted: bool,
    /// Length of the step, if it is valid and positive.
    seconds: Option<f64>,
}

impl Pair<'_> {
    fn observation(&self, at: Timestamp) -> Observation {
        let current = self.current;
        let limits = current.limits.as_ref();
        let configured = current.configuration.as_deref();
        Observation {
            at,
            cpu_cores_used: self.cores_used().filter(|cores| cores.is_finite() && 0.0 <= *cores),
            cpu_throttled_share: self.throttled_share().filter(|share| (0.0..=1.0).contains(share)),
            cores_limit: limits
                .and_then(|limits| limits.cores)
                .or_else(|| configured.and_then(|config| config.cores).map(f64::from)),
            memory_used_mib: current.memory_usage_mb.filter(|used| used.is_finite() && 0.0 <= *used),
            memory_limit_mib: limits
                .and_then(|limits| limits.memory_mb)
                .or_else(|| configured.map(|config| config.memory_mb.as_f64())),
            oom: self.ran_out_of_memory(),
            memory_pressure_percent: self.pressure(|pressure| pressure.memory),
            swap_in_mib_per_second: self.swap_in(),
            memory_read_back_mib_per_second: self.read_back(),
            cpu_pressure_percent: self.pressure(|pressure| pressure.cpu),
        }
    }

    /// The increase of a counter since the previous record; `None` when one of the two readings is missing.
    fn gained(&self, of: impl Fn(&ContainerRecord) -> Option<u64>) -> Option<u64> {
        let now = of(self.current)?;
        if self.restarted {
            return Some(now);
        }
        now.checked_sub(of(self.previous?)?)
    }

    fn cores_used(&self) -> Option<f64> {
        let current = self.current;
        let measured = current.cpu_cores_used;
        let counted = || {
            let gained_usec = self.gained(|record| record.cpu_usage_usec)?;
            Some(gained_usec as f64 / 1e6 / self.seconds?)
        };
        let from_share = || Some(current.cpu_usage_percent? / 100.0 * current.limits.as_ref()?.cores?);
        measured.or_else(counted).or_else(from_share)
    }

    fn throttled_share(&self) -> Option<f64> {
        let counter = |of: fn(&Throttling) -> u64| self.gained(|record| record.throttling.as_ref().map(of));
        self.current.cpu_throttled_share.or_else(|| {
            let periods = counter(|throttling| throttling.nr_periods)?;
            let throttled = counter(|throttling| throttling.nr_throttled)?;
            // No period at all: nothing ran, so nothing was throttled.
            Some(if periods == 0 { 0.0 } else { throttled as f64 / periods as f64 })
        })
    }

    /// `None` unless at least one of the counters could be compared.
    fn ran_out_of_memory(&self) -> Option<bool> {
        let counter = |of: fn(&MemoryEvents) -> Option<u64>| {
            self.gained(|record| record.memory_events.as_ref().and_then(of))
        };
        match (counter(|events| events.oom_kill), counter(|events| events.oom)) {
            (None, None) => None,
            (kills, failures) => Some(0 < kills.unwrap_or(0) + failures.unwrap_or(0)),
        }
    }

    /// The share of the step itself if there is a counter, otherwise the kernel's minute average.
    fn pressure(&self, of: fn(&PressureSet) -> Option<Pressure>) -> Option<f64> {
        let now = of(&self.current.pressure)?;
        let over_step = || {
            let total = |record: &ContainerRecord| {
                of(&record.pressure).map(|pressure: Pressure| pressure.some.total_usec)
            };
            Some(self.gained(total)? as f64 / 1e4 / self.seconds?)
        };
        let percent = over_step().unwrap_or(now.some.avg60);
        percent.is_finite().then(|| percent.clamp(0.0, 100.0))
    }

    fn swap_in(&self) -> Option<f64> {
        self.pages_per_second(|paging| paging.swap_in)
    }

    /// Evicted file pages and swapped pages that were read again. A major fault may also be the first read of a page,
    /// so major faults count only if the kernel does not report refaults.
    fn read_back(&self) -> Option<f64> {
        let file = self.pages_per_second(|paging| paging.refault_file);
        let anon = self.pages_per_second(|paging| paging.refault_anon.or(paging.swap_in));
        match (file, anon) {
            (None, None) => self.pages_per_second(|paging| paging.major_faults),
            (file, anon) => Some(file.unwrap_or(0.0) + anon.unwrap_or(0.0)),
        }
    }

    /// The increase of a counter of pages, in MiB/s.
    fn pages_per_second(&self, of: fn(&Paging) -> Option<u64>) -> Option<f64> {
        let pages = self.gained(|record| record.paging.as_ref().and_then(of))?;
        Some(pages as f64 * PAGE_MIB / self.seconds?)
    }
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::RecordTime;
    use lxc_autoscale_core::snapshot::{Limits, PressureLine};

    use super::*;

    fn record(seconds: i64) -> ContainerRecord {
        let at = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        ContainerRecord {
            uptime_seconds: Some(10_000.0 + seconds as f64),
            ..ContainerRecord::empty(RecordTime::utc(at))
        }
    }

    fn with_kills(seconds: i64, kills: u64) -> ContainerRecord {
        let events = MemoryEvents { max: 7, oom_kill: Some(kills), ..MemoryEvents::default() };
        ContainerRecord { memory_events: Some(events), ..record(seconds) }
    }

    fn between(previous: &ContainerRecord, current: &ContainerRecord) -> Observation {
        step(Some(previous), current).observation
    }

    #[track_caller]
    fn check_oom(previous: Option<&ContainerRecord>, current: &ContainerRecord, want: Option<bool>) {
        assert_eq!(step(previous, current).observation.oom, want);
    }

    #[test]
    fn only_what_was_gained_counts_as_running_out_of_memory() {
        let before = with_kills(0, 3);
        let restarted = ContainerRecord { uptime_seconds: Some(5.0), ..with_kills(60, 1) };
        check_oom(None, &before, None);
        check_oom(Some(&before), &with_kills(60, 3), Some(false));
        check_oom(Some(&before), &with_kills(60, 4), Some(true));
        // On cgroup v1 the sum falls when systemd removes the group of a service that was killed.
        check_oom(Some(&before), &with_kills(60, 0), None);
        check_oom(Some(&before), &with_kills(60, 2), None);
        check_oom(Some(&before), &restarted, Some(true));
        check_oom(Some(&before), &record(60), None);
        check_oom(Some(&record(0)), &with_kills(60, 4), None);
        // After a gap the kernel's counter still shows it.
        check_oom(Some(&before), &with_kills(7200, 4), Some(true));
    }

    #[test]
    fn cpu_use_comes_from_the_best_source_there_is() {
        let counted = |seconds, usec| ContainerRecord { cpu_usage_usec: Some(usec), ..record(seconds) };
        assert_eq!(between(&counted(0, 0), &counted(60, 90_000_000)).cpu_cores_used, Some(1.5));
        let measured = ContainerRecord { cpu_cores_used: Some(0.25), ..counted(60, 90_000_000) };
        assert_eq!(between(&counted(0, 0), &measured).cpu_cores_used, Some(0.25));
        let limits = Limits { cores: Some(4.0), ..Limits::default() };
        let share = ContainerRecord { cpu_usage_percent: Some(50.0), limits: Some(limits), ..record(60) };
        assert_eq!(between(&record(0), &share).cpu_cores_used, Some(2.0));
        // A percentage of an unknown whole, as the original wrote it, is not a number of cores.
        let original = ContainerRecord { cpu_usage_percent: Some(50.0), ..record(60) };
        assert_eq!(between(&record(0), &original).cpu_cores_used, None);
    }

    #[test]
    fn a_counter_that_went_down_means_a_restart() {
        let previous =
            ContainerRecord { cpu_usage_usec: Some(900_000_000), uptime_seconds: None, ..record(0) };
        let current =
            ContainerRecord { cpu_usage_usec: Some(30_000_000), uptime_seconds: None, ..record(60) };
        let step = step(Some(&previous), &current);
        assert!(step.restarted);
        assert_eq!(step.observation.cpu_cores_used, Some(0.5));
    }

    #[test]
    fn a_gap_is_a_gap_and_gives_no_rates() {
        let previous = ContainerRecord { cpu_usage_usec: Some(0), ..record(0) };
        let current = ContainerRecord { cpu_usage_usec: Some(60_000_000), ..record(3600) };
        let step = step(Some(&previous), &current);
        assert_eq!((step.gap, step.seconds), (Some(SignedDuration::from_hours(1)), None));
        assert_eq!(step.observation.cpu_cores_used, None);
    }

    #[test]
    fn pressure_and_swapping_are_those_of_the_step() {
        let at = |seconds, stalled_usec, pages| {
            let some = PressureLine { avg10: 0.0, avg60: 9.0, avg300: 0.0, total_usec: stalled_usec };
            let mut record = record(seconds);
            record.pressure.memory = Some(Pressure { some, full: None });
            record.paging = Some(Paging { swap_in: Some(pages), ..Paging::default() });
            record
        };
        let first = step(None, &at(0, 5_000_000, 100)).observation;
        assert_eq!((first.memory_pressure_percent, first.swap_in_mib_per_second), (Some(9.0), None));
        let next = between(&at(0, 5_000_000, 100), &at(10, 7_000_000, 25_700));
        assert_eq!((next.memory_pressure_percent, next.swap_in_mib_per_second), (Some(20.0), Some(10.0)));
    }

    #[test]
    fn what_is_read_back_is_refaults_or_else_major_faults() {
        let at = |seconds, paging| ContainerRecord { paging: Some(paging), ..record(seconds) };
        let none = Paging::default();
        let check = |before, after, want| {
            let seen = between(&at(0, before), &at(10, after));
            assert_eq!(seen.memory_read_back_mib_per_second, want);
        };
        let refaults = |file, anon| Paging { refault_file: Some(file), refault_anon: anon, ..none };
        check(refaults(0, Some(0)), refaults(2560, Some(5120)), Some(3.0));
        check(refaults(0, None), refaults(2560, None), Some(1.0));
        let faults = |count| Paging { major_faults: Some(count), ..none };
        check(faults(100), faults(2660), Some(1.0));
        check(
            Paging { major_faults: Some(0), ..refaults(0, None) },
            Paging { major_faults: Some(9999), ..refaults(0, None) },
            Some(0.0),
        );
        check(none, none, None);
    }

    #[test]
    fn throttling_is_the_share_of_the_periods_of_the_step() {
        let at = |seconds, nr_periods, nr_throttled| {
            let throttling = Throttling { nr_periods, nr_throttled, throttled_usec: 0 };
            ContainerRecord { throttling: Some(throttling), ..record(seconds) }
        };
        assert_eq!(between(&at(0, 100, 50), &at(60, 300, 100)).cpu_throttled_share, Some(0.25));
        assert_eq!(between(&at(0, 100, 50), &at(60, 100, 50)).cpu_throttled_share, Some(0.0));
        assert_eq!(step(None, &at(0, 100, 50)).observation.cpu_throttled_share, None);
    }

    #[test]
    fn what_was_not_measured_is_not_zero() {
        let observation = between(&record(0), &record(60));
        assert_eq!(observation, Observation::unknown(observation.at));
    }

    #[test]
    fn nonsense_is_unknown() {
        let bad = ContainerRecord {
            cpu_cores_used: Some(f64::NAN),
            memory_usage_mb: Some(-1.0),
            cpu_throttled_share: Some(7.0),
            ..record(60)
        };
        let observation = between(&record(0), &bad);
        assert_eq!(observation, Observation::unknown(observation.at));
    }
}
