//! Jobs that are killed every day at any size.

use super::*;

/// A job that takes whatever there is, once a day, give or take twenty minutes: it is killed at any size. What it is given
/// then is a guess, and must not become the evidence for more on the next day.
#[test]
fn what_is_killed_each_day_is_not_given_more_each_day() {
    let load = |seconds: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
        let day = (seconds / DAY) as u64;
        let begins = day as f64 * DAY + 3.0 * HOUR + 300.0 * (hash(5, day) * 8.0 - 4.0).round();
        let memory = if (begins..begins + 300.0).contains(&seconds) { 60_000.0 } else { 300.0 };
        Load::steady(memory * unrest(seconds), 0.3)
    };
    let mut steered = steered(Guest::new(2, 512, load));
    let mut most = Vec::new();
    for _ in 0..14 {
        let mut of_day = 0;
        for _ in 0..STEPS_A_DAY {
            steered.step();
            of_day = steered.host.guests[&100].memory_mib.max(of_day);
        }
        most.push(of_day);
    }
    println!("at most {most:?} MiB, day by day");
    assert!(14 <= steered.host.guests[&100].oom_kills(), "it is killed");
    assert!(most.iter().all(|mib| (512..=5 * 512).contains(mib)), "{most:?}");
}
