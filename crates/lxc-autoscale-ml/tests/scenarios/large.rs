//! A container that its owner made larger than the built-in maximum.

use super::*;

/// What its night needs: more than the built-in maximums of 16 GiB and 8 cores, less than what it was given.
const NIGHT_MIB: f64 = 20_480.0;
const NIGHT_CORES: f64 = 11.5;

/// Whether it is busy, from two to five each night.
fn is_night(seconds: f64) -> bool {
    (2.0 * HOUR..5.0 * HOUR).contains(&(seconds % DAY))
}

fn nightly(seconds: f64) -> Load {
    let (memory, cores) = if is_night(seconds) { (NIGHT_MIB, NIGHT_CORES) } else { (1500.0, 0.5) };
    Load::steady(memory * unrest(seconds), cores * unrest(seconds))
}

/// Eight nights; the times that memory ran out after the first of them, and the least cores and MiB that it had.
fn nights(text: &str) -> (u64, u32, u64) {
    let config: Config = parse(text).unwrap();
    let guests = [(100, Guest::new(16, 32_768, nightly))];
    let mut steered = Loop::new(&config, SignedDuration::from_mins(5), guests);
    let mut least = (16, 32_768);
    let mut first_night = 0;
    for _ in 0..8 * STEPS_A_DAY {
        steered.step();
        let guest = &steered.host.guests[&100];
        if steered.host.seconds() < DAY {
            first_night = guest.oom_kills();
        }
        least = (guest.cores.min(least.0), guest.memory_mib.min(least.1));
        // An hour into the night it has had time to grow, whatever was foreseen.
        let seconds = steered.host.seconds();
        if is_night(seconds) && is_night(seconds - HOUR) {
            let (cores, mib) = (guest.cores, guest.memory_mib);
            assert!(NIGHT_CORES < f64::from(cores), "{cores} cores at {seconds} s");
            assert!(NIGHT_MIB * 1.02 < mib as f64, "{mib} MiB at {seconds} s");
        }
    }
    (steered.host.guests[&100].oom_kills() - first_night, least.0, least.1)
}

#[test]
fn it_gets_back_at_night_what_it_gave_back_by_day() {
    let shipped = nights("");
    let (kills, cores, mib) = shipped;
    println!("at least {cores} cores and {mib} MiB, out of memory {kills} times in seven nights");
    assert_eq!(kills, 0, "what each night needs is there before it");
    assert!(cores < 8 && mib < 16_384, "it is made small by day: {cores} cores, {mib} MiB");
    // The bound costs nothing: with one that nothing reaches, all is the same.
    let boundless = nights("[scaling.cpu]\nmax_cores = 16\n[scaling.memory]\nmax_mib = 1048576");
    assert_eq!(shipped, boundless);
}

/// A maximum that somebody wrote down holds for it, too.
#[test]
fn a_maximum_that_is_set_holds_whatever_it_was_given() {
    let text = "[scaling.cpu]\nmax_cores = 6\n[scaling.memory]\nmax_mib = 12288";
    let config: Config = parse(text).unwrap();
    let guests = [(100, Guest::new(16, 32_768, nightly))];
    let mut steered = Loop::new(&config, SignedDuration::from_mins(5), guests);
    days(&mut steered, 3);
    for _ in 0..2 * STEPS_A_DAY {
        steered.step();
        let guest = &steered.host.guests[&100];
        assert!(guest.cores <= 6 && guest.memory_mib <= 12_288, "{} {}", guest.cores, guest.memory_mib);
    }
}
