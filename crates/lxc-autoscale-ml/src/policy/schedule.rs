//! Whether a schedule is in force at a time.
//!
//! A schedule begins at a local time and lasts for a length of real time: if the clocks change meanwhile, it ends an
//! hour earlier or later by local time. A start that the clocks skip moves by as much as they skip; one that occurs
//! twice counts the first time.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::overrides::{Overrides, ScalingOverrides};
use crate::config::ScalingConfig;

/// The longest schedule: a week. Anything longer is always in force.
pub const LONGEST_MINUTES: u32 = 7 * 24 * 60;
/// The longest lead: a day.
pub const LONGEST_LEAD_MINUTES: u32 = 24 * 60;

/// A checked schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its number in its policy, from 1.
    pub number: usize,
    /// Of the schedules in force together, the higher wins.
    pub precedence: i32,
    /// Days on which it begins.
    pub days: Vec<Weekday>,
    /// When it begins.
    pub start: Time,
    /// How long it lasts.
    pub duration: SignedDuration,
    /// How long before the start a raised minimum is in force.
    pub lead: SignedDuration,
    /// The time zone of `start`.
    pub zone: TimeZone,
    /// What it sets.
    pub scaling: ScalingOverrides,
}

/// The phase of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not in force.
    Out,
    /// It begins soon: raised minimums are in force.
    Ahead,
    /// It is in force.
    In,
}

impl Schedule {
    /// The phase at `now`.
    pub fn phase(&self, now: Timestamp) -> Phase {
        let begins = self.begins_around(now);
        if begins.iter().any(|begin| *begin <= now && now < *begin + self.duration) {
            Phase::In
        } else if begins.iter().any(|begin| *begin - self.lead <= now && now < *begin) {
            Phase::Ahead
        } else {
            Phase::Out
        }
    }

    /// The starts that may matter at `now`.
    fn begins_around(&self, now: Timestamp) -> Vec<Timestamp> {
        let today = self.zone.to_datetime(now).date();
        let back = i32::try_from(self.duration.as_hours() / 24 + 2).unwrap_or(i32::MAX);
        let dates = (-back..=2).filter_map(|days| today.checked_add(days.days()).ok());
        dates
            .filter(|date| self.days.contains(&date.weekday()))
            .filter_map(|date| {
                let local = date.to_datetime(self.start);
                self.zone.to_ambiguous_timestamp(local).compatible().ok()
            })
            .collect()
    }

    /// What it sets on top of `below` in this phase.
    pub fn overrides(&self, phase: Phase, below: &ScalingConfig) -> Overrides {
        let scaling = match phase {
            Phase::Out => ScalingOverrides::default(),
            Phase::In => self.scaling.clone(),
            Phase::Ahead => self.raised(below),
        };
        Overrides { scaling, ..Overrides::default() }
    }

    /// The minimums that it raises, with the maximums that they need.
    fn raised(&self, below: &ScalingConfig) -> ScalingOverrides {
        let mut raised = ScalingOverrides::default();
        let (cpu, memory) = (&self.scaling.cpu, &self.scaling.memory);
        raised.cpu.min_cores = cpu.min_cores.filter(|cores| below.cpu.fewest_cores() < *cores);
        if raised.cpu.min_cores.is_some_and(|cores| below.cpu.max_cores < cores) {
            raised.cpu.max_cores = cpu.max_cores;
        }
        raised.memory.min_mib = memory.min_mib.filter(|mib| below.memory.min_mib < *mib);
        if raised.memory.min_mib.is_some_and(|mib| below.memory.max_mib < mib) {
            raised.memory.max_mib = memory.max_mib;
        }
        raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(start: &str, minutes: i64, days: &[Weekday]) -> Schedule {
        Schedule {
            number: 1,
            precedence: 0,
            days: days.to_vec(),
            start: start.parse().unwrap(),
            duration: SignedDuration::from_mins(minutes),
            lead: SignedDuration::from_mins(10),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            scaling: ScalingOverrides::default(),
        }
    }

    #[track_caller]
    fn check(schedule: &Schedule, rows: &[(&str, Phase)]) {
        for (time, want) in rows {
            let now: Timestamp = time.parse().unwrap();
            assert_eq!(schedule.phase(now), *want, "at {time}");
        }
    }

    #[test]
    fn office_hours() {
        use Phase::{Ahead, In, Out};
        let days = [Weekday::Monday, Weekday::Friday];
        check(
            &schedule("08:00", 600, &days),
            &[
                ("2026-07-06T05:49:59Z", Out),
                ("2026-07-06T05:50:00Z", Ahead),
                ("2026-07-06T05:59:59Z", Ahead),
                ("2026-07-06T06:00:00Z", In),
                ("2026-07-06T15:59:59Z", In),
                ("2026-07-06T16:00:00Z", Out),
                ("2026-07-07T08:00:00Z", Out),
                ("2026-07-10T08:00:00Z", In),
                // Winter: the same local time, an hour later in UTC.
                ("2026-12-07T06:30:00Z", Out),
                ("2026-12-07T07:00:00Z", In),
            ],
        );
    }

    #[test]
    fn over_midnight_it_belongs_to_the_day_on_which_it_begins() {
        use Phase::{In, Out};
        check(
            &schedule("22:00", 480, &[Weekday::Saturday]),
            &[
                ("2026-07-11T20:00:00Z", In),
                ("2026-07-12T03:59:00Z", In),
                ("2026-07-12T04:00:00Z", Out),
                ("2026-07-12T20:00:00Z", Out),
            ],
        );
        // A week long: from Saturday to Saturday, without a gap.
        check(
            &schedule("22:00", 7 * 24 * 60, &[Weekday::Saturday]),
            &[("2026-07-18T19:59:00Z", In), ("2026-07-18T20:00:00Z", In)],
        );
    }

    #[test]
    fn clocks_that_go_forward_skip_the_start_and_not_the_schedule() {
        use Phase::{Ahead, In, Out};
        // On 29 March 2026 Berlin goes from 02:00 (01:00Z) to 03:00: 02:30 becomes 03:30 (01:30Z).
        check(
            &schedule("02:30", 60, &[Weekday::Sunday]),
            &[
                ("2026-03-29T01:00:00Z", Out),
                ("2026-03-29T01:20:00Z", Ahead),
                ("2026-03-29T01:30:00Z", In),
                ("2026-03-29T02:29:59Z", In),
                ("2026-03-29T02:30:00Z", Out),
            ],
        );
        // A schedule over that night lasts eight hours all the same, so it ends at 07:00 local time.
        check(
            &schedule("22:00", 480, &[Weekday::Saturday]),
            &[("2026-03-29T04:59:00Z", In), ("2026-03-29T05:00:00Z", Out)],
        );
    }

    #[test]
    fn clocks_that_go_back_begin_it_once() {
        use Phase::{In, Out};
        // On 25 October 2026 Berlin has 02:30 twice: 00:30Z and 01:30Z.
        check(
            &schedule("02:30", 30, &[Weekday::Sunday]),
            &[("2026-10-25T00:30:00Z", In), ("2026-10-25T01:00:00Z", Out), ("2026-10-25T01:30:00Z", Out)],
        );
    }

    #[test]
    fn ahead_of_it_only_what_raises_a_minimum_is_in_force() {
        let mut schedule = schedule("08:00", 60, &[Weekday::Monday]);
        schedule.scaling.cpu.min_cores = Some(4.0);
        schedule.scaling.memory.min_mib = Some(64);
        schedule.scaling.priority = Some(5);
        let below = ScalingConfig::default();
        let ahead = schedule.overrides(Phase::Ahead, &below).scaling;
        assert_eq!(ahead.cpu.min_cores, Some(4.0));
        assert_eq!((ahead.memory.min_mib, ahead.priority), (None, None));
        assert_eq!(schedule.overrides(Phase::In, &below).scaling, schedule.scaling);
        assert!(schedule.overrides(Phase::Out, &below).is_empty());
    }
}
