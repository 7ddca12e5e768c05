//! Days of a container in seconds: the daemon's pipeline on a simulated node, with four shapes of load.

// Clippy recognises test functions, but not the fixtures between them.
#![expect(clippy::unwrap_used, reason = "a fixture that fails ends its test")]

mod daily_kills;
mod half_life;
#[path = "../guards/host.rs"]
#[expect(dead_code, reason = "the tests of the guards use the rest")]
mod host;
mod large;
mod noise;
#[path = "../guards/steered.rs"]
mod steered;
mod weekly;

use jiff::SignedDuration;
use lxc_autoscale_core::config::parse;
use lxc_autoscale_ml::config::Config;

use crate::host::{Guest, Load};
use crate::steered::{Loop, Made, hash};

const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;
const STEPS_A_DAY: u32 = 288;

fn steered(guest: Guest) -> Loop {
    let config: Config = parse("").unwrap();
    Loop::new(&config, SignedDuration::from_mins(5), [(100, guest)])
}

fn days(steered: &mut Loop, days: u32) -> Vec<Made> {
    (0..days * STEPS_A_DAY).flat_map(|_| steered.step().1).collect()
}

/// Little noise, as in every real container.
fn unrest(seconds: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
    let minute = (seconds / 60.0) as u64;
    1.0 + 0.02 * (hash(7, minute) - 0.5)
}

#[test]
fn a_steady_container_gets_no_call_in_a_day() {
    let mut steered =
        steered(Guest::new(1, 512, |seconds| Load::steady(330.0 * unrest(seconds), 0.5 * unrest(seconds))));
    days(&mut steered, 3);
    let made = days(&mut steered, 1);
    assert!(made.is_empty(), "{made:?}");
}

/// Number of changes of size, and of reversals, on the four days after the first three. A part of each step's chance is
/// that of the one before.
fn restless_days(sigma: f64, kept: f64, wait: &str) -> (usize, usize) {
    let config: Config = parse(&format!("[scaling.guard]\nmax_unpaid_seconds = {wait}")).unwrap();
    let load = move |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
        let step = (seconds / 300.0) as u64;
        // The sum of twelve uniform numbers is nearly normal, of variance one.
        let chance = |step: u64| (0..12).map(|part| hash(100 + part, step)).sum::<f64>() - 6.0;
        let chance = kept * chance(step.saturating_sub(1)) + (1.0 - kept * kept).sqrt() * chance(step);
        Load::steady(330.0 * unrest(seconds), (1.4 * (sigma * chance).exp()).min(6.0))
    };
    let mut steered = Loop::new(&config, SignedDuration::from_mins(5), [(100, Guest::new(4, 512, load))]);
    days(&mut steered, 3);
    let made = days(&mut steered, 4);
    let grows: Vec<bool> = made.iter().map(|made| made.from < made.to).collect();
    (made.len(), grows.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// A random load is not followed: nothing is learnt from it, and nothing saved.
#[test]
fn a_restless_container_is_not_resized_all_day() {
    let (quiet, _) = restless_days(0.05, 0.0, "21600");
    let (random, _) = restless_days(0.6, 0.0, "21600");
    println!(
        "{quiet} changes in four days for a load that hardly moves, {random} for one that moves at random"
    );
    assert!(quiet <= 4 && random <= 4, "{quiet} and {random}");
}

/// What is not quite random is followed, and less where that did not pay off.
#[test]
fn what_does_not_pay_off_is_followed_less() {
    let ((before, turns_before), (now, turns)) =
        (restless_days(0.6, 0.7, "0"), restless_days(0.6, 0.7, "21600"));
    println!("{now} changes and {turns} turns instead of {before} and {turns_before}, in four days");
    assert!(20 < before, "{before}");
    assert!(2 * now <= before && 2 * turns <= turns_before, "{now} of {before}, {turns} of {turns_before}");
}

#[test]
fn a_level_shift_is_followed_within_an_hour() {
    // Just after the second day.
    let shift = 2.0 * DAY + 60.0;
    let load = move |seconds: f64| {
        let (memory, cores) = if seconds < shift { (300.0, 0.4) } else { (900.0, 2.6) };
        Load::steady(memory * unrest(seconds), cores * unrest(seconds))
    };
    let mut steered = steered(Guest::new(4, 2048, load));
    days(&mut steered, 2);
    let before = (steered.host.guests[&100].cores, steered.host.guests[&100].memory_mib);
    assert!(before.0 < 3, "it was made smaller: {before:?}");
    for _ in 0..12 {
        steered.step();
    }
    let guest = &steered.host.guests[&100];
    assert!(3 <= guest.cores && 900 < guest.memory_mib, "{} cores, {} MiB", guest.cores, guest.memory_mib);
}

#[test]
fn a_leak_is_noticed_and_capped() {
    let mut steered = steered(Guest::new(1, 1024, |seconds| Load::steady(300.0 + seconds / 120.0, 0.2)));
    let mut told = Vec::new();
    for _ in 0..7 * STEPS_A_DAY {
        steered.step();
        told.extend(steered.pipeline.new_leaks());
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let leak = told[0].leak;
    assert!((25.0..35.0).contains(&leak.mib_per_hour), "{leak:?}");
    assert!(steered.host.guests[&100].memory_mib as f64 <= leak.size_mib * 1.5 + 16.0);
}

/// On how many of ten days, from the fourth on, a container has what its daily peak needs five minutes before it begins:
/// cores, memory, and days. The peak lasts so long and begins at nine, give or take so many times five minutes.
fn before_daily_peaks(seed: u64, lasts: f64, give_or_take: f64) -> (u32, u32, u32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
    let day_of = |seconds: f64| (seconds / DAY) as u64;
    let begins = move |day: u64| {
        let chance = hash(seed, day) * 2.0 - 1.0;
        day as f64 * DAY + 9.0 * HOUR + 300.0 * (chance * give_or_take).round()
    };
    let load = move |seconds: f64| {
        let begin = begins(day_of(seconds));
        let busy = (begin..begin + lasts).contains(&seconds);
        let (memory, cores) = if busy { (1800.0, 2.7) } else { (400.0, 0.3) };
        Load::steady(memory * unrest(seconds), cores * unrest(seconds))
    };
    let mut steered = steered(Guest::new(4, 4096, load));
    let (mut cores_there, mut memory_there, mut days) = (0, 0, 0);
    for _ in 0..13 * STEPS_A_DAY {
        let seconds = steered.host.seconds();
        let day = day_of(seconds);
        if 3 <= day && (seconds - (begins(day) - 300.0)).abs() < 1.0 {
            let guest = &steered.host.guests[&100];
            days += 1;
            cores_there += u32::from(3 <= guest.cores);
            memory_there += u32::from(1818 < guest.memory_mib);
        }
        steered.step();
    }
    assert_eq!(days, 10);
    (cores_there, memory_there, days)
}

/// Seeds of each shape of a daily peak.
const SEEDS: u64 = 4;

#[test]
fn daily_peaks_find_their_cores_and_memory_there_before_they_rise() {
    for lasts in [8.0, 2.0, 1.0] {
        for give_or_take in [0.0, 1.0, 2.0] {
            let of_seed = |seed| before_daily_peaks(seed, lasts * HOUR, give_or_take);
            let (cores, memory, days) = (1..=SEEDS)
                .map(of_seed)
                .fold((0, 0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1, sum.2 + next.2));
            let minutes = 5.0 * give_or_take;
            println!(
                "{lasts} h, give or take {minutes} minutes: cores on {cores} and memory on {memory} of {days} days"
            );
            assert!(95 * days <= 100 * cores, "{lasts} h, ±{minutes} min: cores on {cores} of {days} days");
            assert!(
                95 * days <= 100 * memory,
                "{lasts} h, ±{minutes} min: memory on {memory} of {days} days"
            );
        }
    }
}
