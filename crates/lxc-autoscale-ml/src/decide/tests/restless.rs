//! What the last day says about a change of CPU.

use super::*;
use crate::recommend::WeeklyPeak;

/// A day whose use alternates every five minutes between one core and `high`; the default headroom of 15 % applies.
fn alternating(high: f32) -> Restlessness {
    let steps: Vec<f32> = (0..288).map(|step| if step % 2 == 0 { 1.0 } else { high }).collect();
    Restlessness::of(&steps, 1.15, 1.0).unwrap()
}

/// What is decided about 4 cores when `target` is wanted after a day that alternated between 1 and `high`.
fn decide(high: f32, target: f64, change: impl FnOnce(&mut World)) -> Decision {
    let mut world = world();
    let restlessness = Some(alternating(high));
    world.recommendation.as_mut().unwrap().cpu = Some(Estimate { restlessness, ..estimate(target, 1.0) });
    change(&mut world);
    world.decide().cpu
}

fn estimate_of(world: &mut World) -> &mut Estimate {
    world.recommendation.as_mut().unwrap().cpu.as_mut().unwrap()
}

/// With a CPU limit instead of whole cores.
fn in_hundredths(world: &mut World) {
    world.policy.cpu.control = CpuControl::Cpulimit;
    world.allocation = Some(Allocation { cores: Some(8.0), cpulimit: Some(4.0), memory_mib: 2048.0 });
}

#[test]
fn a_shrink_goes_to_a_size_that_lasts() {
    assert_eq!(
        decide(3.0, 1.3, |_| ()).to_string(),
        "keep 4 cores: it could give back and is restless: on the last day 2 cores were enough for 5 min on average"
    );
    assert_eq!(decide(3.0, 1.3, in_hundredths).to, Some(3.45));
    // The step stays limited.
    let from_eight = |world: &mut World| world.allocation.as_mut().unwrap().cores = Some(8.0);
    assert_eq!(decide(3.0, 1.3, from_eight).to, Some(4.0));
    // Without the noise it is made.
    assert_eq!(decide(1.1, 1.3, |_| ()).to, Some(2.0));
}

#[test]
fn a_restless_container_comes_back_to_its_maximum() {
    let at_most = |cores: f64| move |world: &mut World| world.policy.cpu.max_cores = cores;
    assert_eq!(decide(3.0, 1.3, at_most(2.0)).to, Some(2.0));
    assert_eq!(decide(3.0, 1.3, at_most(3.0)).to, Some(3.0), "and no further");
    // Six cores would last, and are above the maximum.
    let from_eight = |world: &mut World| {
        world.allocation.as_mut().unwrap().cores = Some(8.0);
        world.policy.cpu.max_cores = 4.0;
    };
    assert_eq!(decide(5.0, 1.3, from_eight).to, Some(4.0));
}

/// A forecast of so many cores stands behind a target with its headroom.
fn foreseen(cores: f64) -> impl Fn(&mut World) {
    move |world| {
        let estimate = estimate_of(world);
        (estimate.basis, estimate.target) = (Fact::Forecast, cores * 1.15);
        estimate.evidence = vec![
            Evidence { fact: Fact::LastUse, value: 1.0 },
            Evidence { fact: Fact::RecentPeak, value: 3.0 },
            Evidence { fact: Fact::Forecast, value: cores },
        ];
    }
}

#[test]
fn what_was_enough_all_day_is_not_raised_for_a_forecast_that_fits() {
    assert_eq!(
        decide(3.0, 4.0, foreseen(3.9)).to_string(),
        "keep 4 cores: 3.45 cores were enough all of the last day, headroom included, and a forecast of 3.9 cores fits"
    );
    let with = |change: fn(&mut World)| {
        move |world: &mut World| {
            foreseen(3.9)(world);
            change(world);
        }
    };
    let grown = [
        ("what is foreseen is more than it has", decide(3.0, 4.0, foreseen(4.1))),
        ("the last day took its headroom", decide(3.6, 4.0, foreseen(3.9))),
        (
            "it was so on earlier days",
            decide(3.0, 4.0, with(|world| estimate_of(world).basis = Fact::SeasonPeak)),
        ),
        (
            "a peak comes at this time of the week",
            decide(
                3.0,
                4.0,
                with(|world| {
                    let peak = WeeklyPeak { at: now(), value: 3.8, weeks: 3, of: 4 };
                    estimate_of(world).weekly = Some(peak);
                }),
            ),
        ),
        (
            "it runs into its limit",
            decide(
                3.0,
                4.0,
                with(|world| {
                    let cut = Evidence { fact: Fact::ThrottledDemand, value: 1.1 };
                    estimate_of(world).evidence.push(cut);
                }),
            ),
        ),
        ("the policy asks for more", decide(3.0, 4.0, with(|world| world.policy.cpu.min_cores = 5.0))),
        ("the last day is not known", decide(3.0, 4.0, with(|world| estimate_of(world).restlessness = None))),
    ];
    for (why, decision) in grown {
        assert_eq!(decision.action, Action::Grow, "{why}: {decision}");
    }
}

/// After a random day of which so many cores were enough.
fn random(cores: f64) -> impl Fn(&mut World) {
    move |world| estimate_of(world).random_day = Some(cores)
}

#[test]
fn after_a_random_day_it_keeps_what_was_enough_for_it() {
    assert_eq!(
        decide(1.1, 1.3, random(4.0)).to_string(),
        "keep 4 cores: it could give back, and its use comes at random: 4 cores were enough for the last day, but for levels that \
         lasted"
    );
    assert_eq!(decide(1.1, 1.3, random(2.6)).to, Some(3.0));
    assert_eq!(decide(1.1, 1.3, random(1.5)).to, Some(2.0), "the step stays limited");
    // Its maximum is the policy's, whatever was enough.
    let at_most_three = |world: &mut World| {
        random(4.0)(world);
        world.policy.cpu.max_cores = 3.0;
    };
    assert_eq!(decide(1.1, 1.3, at_most_three).to, Some(3.0));
    let memory = |enough: f64| {
        let mut world = world();
        let estimate = Estimate { random_day: Some(enough), ..estimate(600.0, 300.0) };
        world.recommendation.as_mut().unwrap().memory = Some(estimate);
        world.decide().memory.to
    };
    assert_eq!((memory(1700.0), memory(2100.0)), (Some(1712.0), None));
}

#[test]
fn after_a_random_day_a_forecast_is_no_reason_to_grow() {
    let after = |random_day: Option<f64>, change: fn(&mut World)| {
        decide(3.0, 4.7, |world| {
            foreseen(4.1)(world);
            estimate_of(world).random_day = random_day;
            change(world);
        })
    };
    assert_eq!(after(None, |_| ()).action, Action::Grow);
    assert_eq!(
        after(Some(3.3), |_| ()).to_string(),
        "keep 4 cores: 3.45 cores were enough all of the last day, headroom included"
    );
    // More than it has was needed, by chance or for a while.
    assert_eq!(after(Some(4.5), |_| ()).action, Action::Grow);
    let in_season = |world: &mut World| estimate_of(world).basis = Fact::SeasonPeak;
    assert_eq!(after(Some(3.3), in_season).action, Action::Grow);
    let lasting = decide(3.6, 4.7, |world| {
        foreseen(4.1)(world);
        estimate_of(world).random_day = Some(3.3);
    });
    assert_eq!(lasting.action, Action::Grow, "{lasting}");
    let throttled = |world: &mut World| {
        estimate_of(world).evidence.push(Evidence { fact: Fact::ThrottledDemand, value: 4.2 });
    };
    assert_eq!(after(Some(3.3), throttled).action, Action::Grow);
}

/// A job that has run for half an hour is a level that lasts, which a random day leaves out. It needs its memory all the
/// same.
#[test]
fn memory_is_not_withheld_after_a_random_day() {
    for basis in [Fact::RecentPeak, Fact::Forecast, Fact::SeasonPeak] {
        let mut world = world();
        let evidence = vec![Evidence { fact: Fact::RecentPeak, value: 1900.0 }];
        let estimate = Estimate { random_day: Some(700.0), basis, evidence, ..estimate(2470.0, 1900.0) };
        world.recommendation.as_mut().unwrap().memory = Some(estimate);
        assert_eq!(world.decide().memory.action, Action::Grow, "{basis:?}");
    }
}
