//! A weekly peak is prepared for, and its resources are taken back after it.

use super::*;

const WEEK: f64 = 7.0 * DAY;
/// Weeks that pass; measured from the third on.
const WEEKS: u32 = 7;
/// In this week there is no peak, as on a holiday.
const HOLIDAY: u64 = 4;

/// The week of a time, and when its busy hour begins: Sunday, three o'clock, give or take ten minutes.
fn busy_hour(seconds: f64) -> (u64, f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
    let week = (seconds / WEEK) as u64;
    let unpunctual = 300.0 * (hash(11, week) * 4.0 - 2.0).round();
    // The host begins on a Friday.
    (week, week as f64 * WEEK + 2.0 * DAY + 3.0 * HOUR + unpunctual)
}

#[test]
fn a_weekly_peak_finds_its_size_there_and_gives_it_back() {
    let load = |seconds: f64| {
        let (week, begins) = busy_hour(seconds);
        let busy = week != HOLIDAY && (begins..begins + HOUR).contains(&seconds);
        let (memory, cores) = if busy { (1800.0, 2.7) } else { (400.0, 0.3) };
        Load::steady(memory * unrest(seconds), cores * unrest(seconds))
    };
    let mut steered = steered(Guest::new(4, 4096, load));
    let (mut cores_there, mut memory_there, mut weeks) = (0, 0, 0);
    // Steps from the third week on, and those of them with a size sufficient for the peak.
    let (mut steps, mut wide) = (0, [0, 0]);
    for _ in 0..WEEKS * 7 * STEPS_A_DAY {
        let seconds = steered.host.seconds();
        let (week, begins) = busy_hour(seconds);
        let guest = &steered.host.guests[&100];
        if 2 <= week {
            steps += 1;
            wide[0] += u32::from(3 <= guest.cores);
            wide[1] += u32::from(1818 < guest.memory_mib);
        }
        if 2 <= week && week != HOLIDAY && (begins..begins + HOUR).contains(&seconds) {
            assert!(
                3 <= guest.cores && 1818 < guest.memory_mib,
                "{seconds} s: {} cores, {} MiB",
                guest.cores,
                guest.memory_mib
            );
        }
        if 2 <= week && week != HOLIDAY && (seconds - (begins - 300.0)).abs() < 1.0 {
            weeks += 1;
            cores_there += u32::from(3 <= guest.cores);
            memory_there += u32::from(1818 < guest.memory_mib);
        }
        steered.step();
    }
    let hours = wide.map(|wide| f64::from(wide) / f64::from(steps) * 168.0);
    println!(
        "{cores_there} and {memory_there} of {weeks} weeks had their cores and memory five minutes before; {hours:?} h a week"
    );
    assert_eq!(weeks, 4);
    for there in [cores_there, memory_there] {
        assert!(95 * weeks <= 100 * there, "{cores_there} and {memory_there} of {weeks}");
    }
    // Memory also stays while the peak is one of the last days'.
    assert!(hours[0] < 6.0 && hours[1] < 40.0, "{hours:?} h a week");
}

/// A job that takes whatever there is, once a week: it is killed at any size.
#[test]
fn what_is_killed_each_week_is_not_given_more_each_week() {
    let load = |seconds: f64| {
        let (_, begins) = busy_hour(seconds);
        let memory = if (begins..begins + HOUR).contains(&seconds) { 60_000.0 } else { 300.0 };
        Load::steady(memory * unrest(seconds), 0.3)
    };
    let mut steered = steered(Guest::new(2, 512, load));
    let mut most = [0; WEEKS as usize];
    for _ in 0..WEEKS * 7 * STEPS_A_DAY {
        let (week, _) = busy_hour(steered.host.seconds());
        steered.step();
        let mib = steered.host.guests[&100].memory_mib;
        if let Some(most) = usize::try_from(week).ok().and_then(|week| most.get_mut(week)) {
            *most = mib.max(*most);
        }
    }
    println!("at most {most:?} MiB, week by week");
    assert!(steered.host.guests[&100].oom_kills() > u64::from(WEEKS), "it is killed");
    // What it has in between times `scaling.guard.oom_growth_factor`, and half as much again: no more in later weeks.
    assert!(most.iter().all(|mib| (512..=6 * 432).contains(mib)), "{most:?}");
}
