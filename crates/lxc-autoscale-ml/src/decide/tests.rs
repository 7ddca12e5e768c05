//! Each rule as a row of a table, and what must hold whatever the numbers are.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::confidence::Chances;
use crate::guard::boost::Boost;
use crate::guard::budget::MemoryBudget;
use crate::guard::disturbance::Disturbance;
use crate::guard::manual::Manual;
use crate::guard::oom_run::OomRun;
use crate::guard::revert::{Failure, Shrinks, Undo, Watch};
use crate::guard::symptom::{Symptom, Symptoms};
use crate::guard::unpaid::Unpaid;
use crate::recommend::{Evidence, Recommendation, Restlessness};

mod restless;

const HOUR: i64 = 3600;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// Everything a decision is made from; a test changes what it is about.
#[derive(Clone, Debug)]
struct World {
    policy: Policy,
    allocation: Option<Allocation>,
    obstacles: Obstacles,
    seen: Option<Observation>,
    recommendation: Option<Recommendation>,
    changes: LastChanges,
    anomaly: Option<AnomalyScore>,
    node: NodeSituation,
    guard: Guard,
}

fn estimate(target: f64, floor: f64) -> Estimate {
    Estimate {
        target,
        floor,
        confidence_percent: 90.0,
        known_seconds: 48 * 3600,
        basis: Fact::RecentPeak,
        evidence: Vec::new(),
        weekly: None,
        restlessness: None,
        random_day: None,
        chances: Chances::default(),
    }
}

/// A container with 4 cores and 2048 MiB that fits, on a large node.
fn world() -> World {
    World {
        policy: Policy::default(),
        allocation: Some(Allocation { cores: Some(4.0), cpulimit: None, memory_mib: 2048.0 }),
        obstacles: Obstacles::default(),
        seen: Some(Observation {
            cpu_cores_used: Some(1.0),
            cpu_throttled_share: Some(0.0),
            cores_limit: Some(4.0),
            memory_used_mib: Some(600.0),
            memory_limit_mib: Some(2048.0),
            oom: Some(false),
            memory_pressure_percent: Some(0.0),
            ..Observation::unknown(ago(10))
        }),
        recommendation: Some(Recommendation {
            cpu: Some(estimate(4.0, 1.0)),
            memory: Some(estimate(2048.0, 600.0)),
            history_seconds: 48 * 3600,
            class: None,
        }),
        changes: LastChanges::default(),
        anomaly: None,
        node: NodeSituation {
            cpus: Some(16),
            memory_total_mib: Some(65536.0),
            memory_available_mib: Some(32768.0),
        },
        guard: Guard::default(),
    }
}

impl World {
    fn decide(&self) -> Decisions {
        let situation = Situation {
            allocation: self.allocation,
            obstacles: self.obstacles.clone(),
            observation: self.seen.as_ref(),
            recommendation: self.recommendation.as_ref(),
            changes: self.changes,
            anomaly: self.anomaly,
            guard: self.guard.clone(),
        };
        decide(&self.policy, &situation, &self.node, now())
    }

    fn seen(&mut self) -> &mut Observation {
        self.seen.as_mut().unwrap()
    }

    fn want(&mut self, cores: f64, mib: f64) {
        let recommendation = self.recommendation.as_mut().unwrap();
        (recommendation.cpu, recommendation.memory) =
            (Some(estimate(cores, 1.0)), Some(estimate(mib, 600.0)));
    }
}

/// Changes the usual world and looks at both decisions: `grow to 6 cores`, or `keep` and why.
#[track_caller]
fn check(change: impl FnOnce(&mut World), want_cpu: &str, want_memory: &str) {
    let mut world = world();
    change(&mut world);
    let decisions = world.decide();
    assert_eq!(
        (decisions.cpu.to_string().as_str(), decisions.memory.to_string().as_str()),
        (want_cpu, want_memory)
    );
}

const CPU_FITS: &str = "keep 4 cores: it has about what it should have, 4 cores";
const MEMORY_FITS: &str = "keep 2048 MiB: it has about what it should have, 2048 MiB";

/// Settings of the CPU now, the size before and the one that somebody set an hour ago, and what is said of it.
#[track_caller]
fn check_by_hand(cores: Option<f64>, cpulimit: Option<f64>, from: f64, size: f64, want: &str) {
    let change = |world: &mut World| {
        world.allocation = Some(Allocation { cores, cpulimit, memory_mib: 2048.0 });
        world.guard.cpu.manual = Some(Manual { at: ago(HOUR), from, size });
    };
    let mut world = world();
    change(&mut world);
    let said = world.decide().cpu.reason.to_string();
    assert!(said.starts_with(want) && said.contains("which is respected for another"), "{said}");
}

#[test]
fn the_setting_of_the_cpu_that_somebody_changed_is_named() {
    check_by_hand(
        Some(4.0),
        Some(1.5),
        4.0,
        1.5,
        "somebody set its CPU limit, so that it may use 1.5 cores instead of 4 cores",
    );
    check_by_hand(
        Some(2.0),
        None,
        4.0,
        2.0,
        "somebody set its cores, so that it may use 2 cores instead of 4 cores",
    );
    check_by_hand(
        Some(4.0),
        None,
        1.5,
        4.0,
        "somebody set its CPU limit, so that it may use 4 cores instead of 1.5 cores",
    );
    // Two cores more, or a limit of two taken away.
    check_by_hand(Some(4.0), None, 2.0, 4.0, "somebody set its cores or its CPU limit, so that it may use 4");
    // The configuration has changed since.
    check_by_hand(
        Some(8.0),
        None,
        4.0,
        1.5,
        "somebody set its cores or its CPU limit, so that it may use 1.5",
    );
}

/// Where the minimum decides the size, it is the reason, whatever the container needs.
#[test]
fn a_growth_to_the_minimum_says_so() {
    let small = |world: &mut World| {
        world.allocation = Some(Allocation { cores: Some(1.0), cpulimit: None, memory_mib: 512.0 });
        (world.policy.cpu.min_cores, world.policy.memory.min_mib) = (3.0, 1024);
        world.seen().memory_used_mib = Some(300.0);
    };
    check(
        |world| {
            small(world);
            world.want(1.09, 600.0);
        },
        "grow from 1 core to 3 cores: it has less than the minimum of 3 cores",
        "grow from 512 MiB to 1024 MiB: it has less than the minimum of 1024 MiB",
    );
    // What needs as much as the minimum, or more, says what it needs.
    check(
        |world| {
            small(world);
            world.want(2.5, 1020.0);
        },
        "grow from 1 core to 3 cores: it should have 2.5 cores (recent peak)",
        "grow from 512 MiB to 1024 MiB: it should have 1020 MiB (recent peak)",
    );
    let mut world = world();
    small(&mut world);
    world.want(1.09, 600.0);
    world.seen().oom = Some(true);
    let said = world.decide().memory.to_string();
    assert_eq!(said, "grow from 512 MiB to 1024 MiB: it ran out of memory and should have 1024 MiB");
}

#[test]
fn it_follows_its_recommendation() {
    check(|_| {}, CPU_FITS, MEMORY_FITS);
    check(
        |world| world.want(5.2, 3000.0),
        "grow from 4 cores to 6 cores: it should have 5.2 cores (recent peak)",
        "grow from 2048 MiB to 3008 MiB: it should have 3000 MiB (recent peak)",
    );
    check(
        |world| world.want(1.3, 1700.0),
        "shrink from 4 cores to 2 cores: 1.3 cores are enough for it (recent peak)",
        "shrink from 2048 MiB to 1712 MiB: 1700 MiB are enough for it (recent peak)",
    );
}

#[test]
fn steps_and_bounds_hold() {
    check(
        |world| world.want(40.0, 90000.0),
        "grow from 4 cores to 8 cores: it should have 40 cores (recent peak)",
        "grow from 2048 MiB to 4096 MiB: it should have 90000 MiB (recent peak)",
    );
    check(
        |world| {
            world.want(40.0, 90000.0);
            world.allocation = Some(Allocation { cores: Some(8.0), cpulimit: None, memory_mib: 16384.0 });
        },
        "keep 8 cores: it needs more and has the maximum of 8 cores",
        "keep 16384 MiB: it needs more and has the maximum of 16384 MiB",
    );
    check(
        |world| world.want(0.1, 700.0),
        "shrink from 4 cores to 1 core: 0.1 cores are enough for it (recent peak)",
        "shrink from 2048 MiB to 1536 MiB: 700 MiB are enough for it (recent peak)",
    );
    check(
        |world| world.want(3.9, 2040.0),
        "keep 4 cores: it has about what it should have, 3.9 cores",
        "keep 2048 MiB: it has about what it should have, 2040 MiB",
    );
    check(
        |world| world.want(4.0, 1900.0),
        CPU_FITS,
        "keep 2048 MiB: it could give back 144 MiB, and less than 205 MiB is not worth a change",
    );
}

#[test]
fn what_is_unknown_changes_nothing() {
    let lost = "its latest observation does not tell how much it uses";
    check(
        |world| {
            world.want(8.0, 700.0);
            world.seen().cpu_cores_used = None;
            world.seen().memory_used_mib = None;
        },
        &format!("keep 4 cores: {lost}"),
        &format!("keep 2048 MiB: {lost}"),
    );
    let old = "its latest observation is 3600 s old, more than 900 s";
    check(
        |world| {
            world.want(8.0, 700.0);
            world.seen().at = ago(HOUR);
        },
        &format!("keep 4 cores: {old}"),
        &format!("keep 2048 MiB: {old}"),
    );
    let unread = "keep: what it has could not be read";
    check(|world| world.allocation = None, unread, unread);
    let unseen = "it has not been observed";
    check(|world| world.seen = None, &format!("keep 4 cores: {unseen}"), &format!("keep 2048 MiB: {unseen}"));
    let unlearnt = "nothing has been learnt about it yet";
    check(
        |world| world.recommendation = None,
        &format!("keep 4 cores: {unlearnt}"),
        &format!("keep 2048 MiB: {unlearnt}"),
    );
    let node = "it needs more and what the node has could not be read";
    check(
        |world| {
            world.want(8.0, 4000.0);
            world.node = NodeSituation::default();
        },
        &format!("keep 4 cores: {node}"),
        &format!("keep 2048 MiB: {node}"),
    );
}

#[test]
fn obstacles_win() {
    let both = |set: fn(&mut World), why: &str| {
        check(
            |world| {
                world.want(8.0, 700.0);
                set(world);
            },
            &format!("keep 4 cores: {why}"),
            &format!("keep 2048 MiB: {why}"),
        );
    };
    both(|world| world.obstacles.lock = Some("backup".to_owned()), "Proxmox holds the lock `backup` on it");
    both(|world| world.obstacles.template = true, "the container is a template");
    both(|world| world.obstacles.stopped = true, "the container does not run");
    both(|world| world.obstacles.tags.push("autoscale-off".to_owned()), "it carries the tag `autoscale-off`");
    both(|world| world.obstacles.tags.push("Autoscale-OFF".to_owned()), "it carries the tag `autoscale-off`");
    both(
        |world| (world.policy.cpu.mode, world.policy.memory.mode) = (Mode::Off, Mode::Off),
        "the policy's mode is off",
    );
    check(
        |world| {
            world.want(8.0, 2048.0);
            world.obstacles.pinned_cpuset = Some("0-3".to_owned());
        },
        "keep 4 cores: it is pinned to the CPUs 0-3, and Proxmox ignores `cores`",
        MEMORY_FITS,
    );
    check(
        |world| {
            world.want(8.0, 2048.0);
            world.allocation = Some(Allocation { cores: Some(4.0), cpulimit: Some(2.5), memory_mib: 2048.0 });
        },
        "keep 4 cores: it needs more and `cpulimit` would hold it at 3 cores anyway",
        MEMORY_FITS,
    );
}

#[test]
fn the_mode_recommend_shows_and_does_not_apply() {
    let mut world = world();
    world.want(8.0, 4000.0);
    (world.policy.cpu.mode, world.policy.memory.mode) = (Mode::Recommend, Mode::Auto);
    let decisions = world.decide();
    assert_eq!((decisions.cpu.action, decisions.cpu.apply), (Action::Grow, false));
    assert_eq!((decisions.memory.action, decisions.memory.apply), (Action::Grow, true));
}

#[test]
fn a_shrink_needs_proof() {
    let both = |set: fn(&mut World), why: &str| {
        check(
            |world| {
                world.want(1.0, 1000.0);
                set(world);
            },
            &format!("keep 4 cores: it could give back{why}"),
            &format!("keep 2048 MiB: it could give back{why}"),
        );
    };
    both(
        |world| {
            let recommendation = world.recommendation.as_mut().unwrap();
            for estimate in [&mut recommendation.cpu, &mut recommendation.memory] {
                estimate.as_mut().unwrap().known_seconds = 7200;
            }
        },
        " and is known for 2.0 h of the 6.0 h a shrink needs",
    );
    both(
        |world| world.anomaly = Some(AnomalyScore { score: -0.71, decision: -0.1 }),
        " and behaves unusually (score -0.71)",
    );
    check(
        |world| {
            world.want(4.0, 1000.0);
            world.seen().memory_pressure_percent = Some(4.0);
        },
        CPU_FITS,
        "keep 2048 MiB: it could give back and its tasks wait for memory 4.0 % of the time, more than 1 %",
    );
    check(
        |world| {
            world.want(4.0, 1000.0);
            world.seen().memory_pressure_percent = None;
            world.seen().oom = None;
        },
        CPU_FITS,
        "keep 2048 MiB: it could give back and nothing tells whether it is short of memory",
    );
    check(
        |world| {
            world.want(1.0, 700.0);
            world.seen().cpu_cores_used = Some(3.5);
            world.seen().memory_used_mib = Some(1900.0);
        },
        "keep 4 cores: it could give back and uses 3.5 cores just now, margin included",
        "keep 2048 MiB: it could give back and uses 2185 MiB just now, margin included",
    );
    check(
        |world| {
            world.want(1.0, 2048.0);
            world.seen().cpu_throttled_share = Some(0.2);
        },
        "keep 4 cores: it could give back and ran into its limit a moment ago",
        MEMORY_FITS,
    );
}

#[test]
fn cool_downs_are_kept_and_running_out_of_memory_does_not_wait() {
    check(
        |world| {
            world.want(8.0, 4000.0);
            (world.changes.cpu_down, world.changes.memory_up) = (Some(ago(20)), Some(ago(20)));
        },
        "keep 4 cores: it needs more and was changed lately; 40 s of the cool-down remain",
        "keep 2048 MiB: it needs more and was changed lately; 40 s of the cool-down remain",
    );
    check(
        |world| {
            world.want(1.0, 1000.0);
            (world.changes.cpu_up, world.changes.memory_up) = (Some(ago(20)), Some(ago(20)));
        },
        "keep 4 cores: it could give back and was changed lately; 580 s of the cool-down remain",
        "keep 2048 MiB: it could give back and was changed lately; 1780 s of the cool-down remain",
    );
    check(
        |world| {
            world.want(4.0, 1000.0);
            world.changes.memory_down = Some(ago(20));
            world.seen().oom = Some(true);
        },
        CPU_FITS,
        "grow from 2048 MiB to 2464 MiB: it ran out of memory and should have 2458 MiB",
    );
}

#[test]
fn what_was_not_measured_since_the_last_change_is_not_shrunk_again() {
    check(
        |world| {
            world.want(1.0, 1000.0);
            (world.policy.cpu.cooldown_down_seconds, world.policy.memory.cooldown_down_seconds) = (5, 5);
            (world.changes.cpu_down, world.changes.memory_down) = (Some(ago(8)), Some(ago(8)));
        },
        "keep 4 cores: it could give back and has not been measured since its last change",
        "keep 2048 MiB: it could give back and has not been measured since its last change",
    );
}

#[test]
fn an_observation_from_the_future_decides_nothing() {
    check(
        |world| {
            world.want(8.0, 1000.0);
            world.seen().at = ago(-7200);
        },
        "keep 4 cores: its latest observation lies 7200 s in the future",
        "keep 2048 MiB: its latest observation lies 7200 s in the future",
    );
}

#[test]
fn a_container_below_the_minimum_is_told_so() {
    check(
        |world| {
            world.want(1.0, 700.0);
            (world.policy.cpu.min_cores, world.policy.memory.min_mib) = (6.0, 3072);
        },
        "grow from 4 cores to 6 cores: it has less than the minimum of 6 cores",
        "grow from 2048 MiB to 3072 MiB: it has less than the minimum of 3072 MiB",
    );
}

#[test]
fn growth_is_bounded_by_the_node() {
    check(
        |world| {
            world.want(8.0, 4000.0);
            world.node.cpus = Some(5);
            world.node.memory_available_mib = Some(6653.6 + 100.0);
        },
        "grow from 4 cores to 5 cores: it should have 8 cores (recent peak)",
        "grow from 2048 MiB to 2240 MiB: it should have 4000 MiB (recent peak)",
    );
    check(
        |world| {
            world.want(8.0, 4000.0);
            world.node.cpus = Some(4);
            world.node.memory_available_mib = Some(6000.0);
        },
        "keep 4 cores: it needs more and the node has only 4 CPUs",
        "keep 2048 MiB: it needs more and the node has 6000 MiB available, 6554 MiB of them in reserve",
    );
}

#[test]
fn a_shrink_that_is_less_sure_than_the_rules_ask_for_is_not_made() {
    let unsure = |world: &mut World| {
        world.want(1.0, 700.0);
        world.policy.min_confidence_percent = 95.0;
    };
    check(
        unsure,
        "keep 4 cores: it could give back, but the chance that this stays right for an hour is 90 %, not 95 %",
        "keep 2048 MiB: it could give back, but the chance that this stays right for an hour is 90 %, not 95 %",
    );
}

#[test]
fn what_one_container_is_granted_the_next_does_not_get() {
    let mut world = world();
    world.want(4.0, 4000.0);
    let decision = world.decide().memory;
    world.node.grant(&decision);
    assert_eq!(world.node.memory_available_mib, Some(32768.0 - (decision.to.unwrap() - 2048.0)));
}

#[test]
fn the_shipped_defaults_are_valid() {
    use lxc_autoscale_core::config::Validate;
    assert_eq!(Policy::default().validate(), Ok(()));
    assert_eq!(crate::recommend::RecommendConfig::default().validate(), Ok(()));
}

#[test]
fn a_decision_survives_storage() {
    let mut world = world();
    world.want(8.0, 700.0);
    let decisions = world.decide();
    let stored = serde_json::to_string(&decisions).unwrap();
    assert_eq!(serde_json::from_str::<Decisions>(&stored).unwrap(), decisions);
}

fn maybe<T: fmt::Debug + Clone + 'static>(
    some: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    prop_oneof![1 => Just(None), 4 => some.prop_map(Some)].boxed()
}

prop_compose! {
    fn observations()(
        cpu in maybe(0.0f64..20.0), share in maybe(0.0f64..1.0), memory in maybe(0.0f64..30000.0),
        oom in maybe(any::<bool>()), pressure in maybe(0.0f64..20.0), age in -2000i64..2000,
    ) -> Observation {
        Observation {
            cpu_cores_used: cpu, cpu_throttled_share: share, memory_used_mib: memory, oom,
            memory_pressure_percent: pressure, ..Observation::unknown(ago(age))
        }
    }
}

prop_compose! {
    fn recommendations()(
        cpu in maybe((0.0f64..40.0, 0.0f64..40.0)), memory in maybe((0.0f64..60000.0, 0.0f64..60000.0)),
        confidence_percent in 0.0f64..100.0, known_seconds in 0u64..200_000, is_forecast in any::<bool>(),
        day in maybe(proptest::collection::vec(0.0f32..20.0, 150..288)), random in maybe((0.0f64..20.0, 0.0f64..60000.0)),
    ) -> Recommendation {
        let basis = if is_forecast { Fact::Forecast } else { Fact::SeasonPeak };
        let estimate = |(target, floor)| Estimate {
            target, floor, confidence_percent, known_seconds, basis, evidence: Vec::new(),
            weekly: None, restlessness: None, random_day: None, chances: Chances::default(),
        };
        let restlessness = day.and_then(|day| Restlessness::of(&day, 1.15, 1.0));
        Recommendation {
            cpu: cpu.map(|of| Estimate { restlessness, random_day: random.map(|(cores, _)| cores), ..estimate(of) }),
            memory: memory.map(|of| Estimate { random_day: random.map(|(_, mib)| mib), ..estimate(of) }), history_seconds: known_seconds, class: None,
        }
    }
}

/// A container of 512 MiB that used 285 at most, and is forecast to use 1300: what became of others on their first day.
#[test]
fn a_forecast_alone_gives_no_memory_on_the_first_day() {
    const TARGET: f64 = 1690.0;
    let decide = |hours: u64, basis: Fact, seen: f64, change: &dyn Fn(&mut World)| {
        let mut world = world();
        world.allocation.as_mut().unwrap().memory_mib = 512.0;
        world.seen().memory_used_mib = Some(seen);
        let evidence = vec![
            Evidence { fact: Fact::RecentPeak, value: seen },
            Evidence { fact: Fact::Forecast, value: 1300.0 },
        ];
        world.recommendation.as_mut().unwrap().memory =
            Some(Estimate { known_seconds: hours * 3600, basis, evidence, ..estimate(TARGET, seen) });
        change(&mut world);
        world.decide().memory
    };
    let unchanged = |_: &mut World| {};
    assert_eq!(
        decide(2, Fact::Forecast, 285.0, &unchanged).to_string(),
        "keep 512 MiB: it is known for 2.0 h only, and what is merely forecast gives no memory on the first day: it used or \
         lacked 285 MiB at most, for which it is given up to 370 MiB"
    );
    for (hours, basis, seen, want) in [
        (23, Fact::Forecast, 285.0, None),
        // As far as one step goes.
        (24, Fact::Forecast, 285.0, Some(1024.0)),
        (2, Fact::Forecast, 480.0, Some(624.0)),
        (2, Fact::RecentPeak, 285.0, Some(1024.0)),
        (2, Fact::MemoryPressure, 500.0, Some(1024.0)),
    ] {
        assert_eq!(decide(hours, basis, seen, &unchanged).to, want, "{hours} h, {basis:?}, {seen} MiB");
    }
    // What it had before a shrink, and the least of its policy, are given all the same; so is a shrink held off.
    let given_back = |world: &mut World| {
        let undo = Undo { size: 900.0, symptom: Symptom::OutOfMemory, since: ago(60) };
        world.guard.memory.shrinks.undo = Some(undo);
    };
    assert_eq!(decide(2, Fact::Forecast, 285.0, &given_back).to, Some(912.0));
    let at_least = |world: &mut World| world.policy.memory.min_mib = 1024;
    assert_eq!(decide(2, Fact::Forecast, 285.0, &at_least).to, Some(1024.0));
    let large = |world: &mut World| world.allocation.as_mut().unwrap().memory_mib = 1690.0;
    assert_eq!(decide(12, Fact::Forecast, 285.0, &large).action, Action::Keep);
}

/// A container of 2048 MiB that uses 285 now and used 1200 seven hours ago, and would get 512 by its forecast.
#[test]
fn on_the_first_day_no_memory_is_taken_that_was_used_once() {
    let decide = |hours: u64| {
        let mut world = world();
        world.allocation.as_mut().unwrap().memory_mib = 2048.0;
        world.seen().memory_used_mib = Some(285.0);
        let evidence = vec![
            Evidence { fact: Fact::RecentPeak, value: 285.0 },
            Evidence { fact: Fact::LastDaysPeak, value: 1200.0 },
        ];
        let known_seconds = hours * 3600;
        world.recommendation.as_mut().unwrap().memory =
            Some(Estimate { known_seconds, evidence, ..estimate(512.0, 285.0) });
        // Down to what was used, and no further.
        let first = world.decide().memory;
        world.allocation.as_mut().unwrap().memory_mib = 1392.0;
        (first.to, world.decide().memory)
    };
    let (first, then) = decide(23);
    assert_eq!(first, Some(1536.0), "a quarter at once");
    assert_eq!(
        then.to_string(),
        "keep 1392 MiB: it could give back, is known for 23.0 h only, and used or lacked 1200 MiB at most"
    );
    let (first, then) = decide(24);
    assert_eq!((first, then.to), (Some(1536.0), Some(1056.0)));
}

#[test]
fn shrinks_that_were_taken_back_make_the_next_wait() {
    for (minutes, longest, want) in [(21, 21_600, true), (19, 21_600, false), (19, 0, true)] {
        let mut world = world();
        world.policy.guard.max_unpaid_seconds = longest;
        let recommendation = world.recommendation.as_mut().unwrap();
        recommendation.cpu = Some(estimate(1.0, 0.5));
        recommendation.memory = Some(estimate(400.0, 300.0));
        for resource_guard in [&mut world.guard.cpu, &mut world.guard.memory] {
            resource_guard.unpaid.note_change(ago(60 * (minutes + 10)), 4.0, 2.0);
            resource_guard.unpaid.note_change(ago(60 * minutes), 2.0, 4.0);
        }
        let decided = world.decide();
        assert_eq!(decided.cpu.action == Action::Shrink, want, "{minutes} min: {}", decided.cpu);
        if !want {
            let want = "it could give back and its last shrink was taken back before that had paid; the next is made in";
            assert!(decided.cpu.reason.to_string().starts_with(want), "{}", decided.cpu);
            assert!(matches!(decided.memory.reason, Reason::Unpaid { count: 1, .. }), "{}", decided.memory);
        }
    }
}

#[test]
fn a_boost_holds_shrinks_and_nothing_else() {
    let boosted = |cores: f64, mib: f64, left: i64, want: (f64, f64)| {
        move |world: &mut World| {
            let ends = ago(-left);
            world.guard.cpu.boost = Some(Boost { size: cores, ends });
            world.guard.memory.boost = Some(Boost { size: mib, ends });
            world.want(want.0, want.1);
        }
    };
    check(
        boosted(4.0, 2048.0, 600, (1.3, 1700.0)),
        "keep 4 cores: it could give back and is boosted to 4 cores for another 10 min",
        "keep 2048 MiB: it could give back and is boosted to 2048 MiB for another 10 min",
    );
    // It has grown beyond the boost, and comes back that far.
    check(
        boosted(3.0, 1800.0, 600, (1.3, 1700.0)),
        "shrink from 4 cores to 3 cores: 1.3 cores are enough for it (recent peak)",
        "shrink from 2048 MiB to 1808 MiB: 1700 MiB are enough for it (recent peak)",
    );
    check(
        boosted(4.0, 2048.0, 600, (5.2, 3000.0)),
        "grow from 4 cores to 6 cores: it should have 5.2 cores (recent peak)",
        "grow from 2048 MiB to 3008 MiB: it should have 3000 MiB (recent peak)",
    );
    check(
        boosted(4.0, 2048.0, 0, (1.3, 1700.0)),
        "shrink from 4 cores to 2 cores: 1.3 cores are enough for it (recent peak)",
        "shrink from 2048 MiB to 1712 MiB: 1700 MiB are enough for it (recent peak)",
    );
}

prop_compose! {
    fn changes()(times in proptest::array::uniform4(maybe(-50i64..4000))) -> LastChanges {
        let [cpu_up, cpu_down, memory_up, memory_down] = times.map(|time| time.map(ago));
        LastChanges { cpu_up, cpu_down, memory_up, memory_down, memory_up_unsure: None }
    }
}

prop_compose! {
    fn worlds()(
        fractional in any::<bool>(),
        cores in maybe(1u32..12), cpulimit in maybe(0.1f64..12.0), memory_mib in 16u32..40000,
        seen in maybe(observations()), recommendation in maybe(recommendations()), changes in changes(),
        anomaly in maybe((-1.0f64..0.0, -0.3f64..0.3)),
        cpus in maybe(1u32..24), total in maybe(1000.0f64..100_000.0), available in maybe(0.0f64..100_000.0),
    ) -> World {
        let mut policy = Policy { min_confidence_percent: 60.0, ..Policy::default() };
        if fractional {
            policy.cpu.control = CpuControl::Cpulimit;
            policy.cpu.min_cores = 0.25;
        }
        World {
            policy,
            allocation: Some(Allocation { cores: cores.map(f64::from), cpulimit, memory_mib: f64::from(memory_mib) }),
            obstacles: Obstacles::default(), seen, recommendation, changes,
            anomaly: anomaly.map(|(score, decision)| AnomalyScore { score, decision }),
            node: NodeSituation { cpus, memory_total_mib: total, memory_available_mib: available },
            guard: Guard::default(),
        }
    }
}

prop_compose! {
    fn resource_guards()(
        watch in maybe((0i64..2000, 0u32..6)), failure in maybe((0i64..100_000, 1.0f64..12.0, 1u32..9, -4000i64..80_000)),
        undo in maybe(0.5f64..14.0), manual in maybe((0i64..100_000, 1.0f64..12.0)), unit in 1.0f64..1.1,
        memory in any::<bool>(), boost in maybe((1.0f64..12.0, -100i64..4000)), taken_back in maybe(0i64..30_000),
    ) -> ResourceGuard {
        let unit = if memory { 2000.0 * unit } else { unit };
        let symptom = Symptom::OutOfMemory;
        let mut unpaid = Unpaid::default();
        if let Some(age) = taken_back {
            unpaid.note_change(ago(age + 300), 4.0 * unit, 3.0 * unit);
            unpaid.note_change(ago(age), 3.0 * unit, 4.0 * unit);
        }
        ResourceGuard {
            unpaid,
            shrinks: Shrinks { resting: None,
                watch: watch.map(|(age, samples)| Watch {
                    changed_at: ago(age), from: 4.0 * unit, to: 3.0 * unit, before: Symptoms::default(), samples,
                }),
                failure: failure.map(|(age, size, count, wait)| Failure {
                    at: ago(age), size: size * unit, least: 1.1 * size * unit, symptom, count,
                    retry_at: ago(-wait), forget_at: ago(age - 7 * 86_400),
                }),
                undo: undo.map(|size| Undo { size: size * unit, symptom, since: ago(60) }),
            },
            manual: manual.map(|(age, size)| Manual { at: ago(age), from: size * unit, size: 2.0 * size * unit }),
            boost: boost.map(|(size, left)| Boost { size: size * unit, ends: ago(-left) }),
        }
    }
}

prop_compose! {
    fn guarded_worlds()(
        world in worlds(), cpu in resource_guards(), memory in resource_guards(), locked in 0u8..10,
        budget in maybe((0.0f64..40_000.0, 0.0f64..40_000.0, 0.0f64..40_000.0)), run in maybe((16.0f64..30_000.0, 1u32..9)),
    ) -> World {
        let disturbance = (locked == 0).then(|| Disturbance::Lock { lock: "backup".to_owned() });
        let budget = budget.map(|(most_mib, committed_mib, budget_mib)| {
            MemoryBudget { most_mib, committed_mib, budget_mib, ahead: None }
        });
        let oom_run = run.map(|(base_mib, times)| OomRun { since: ago(7200), last: ago(60), base_mib, times, given_mib: None });
        World { guard: Guard { disturbance, cpu, memory, leak: None, oom_run, budget }, ..world }
    }
}

/// Cases of each property: `PROPTEST_CASES`, such as the million of `docs/guards.md`, or so many that nobody waits.
fn cases() -> ProptestConfig {
    let named = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig::with_cases(named.unwrap_or(20_000))
}

proptest! {
    #![proptest_config(cases())]

    /// Bounds, missing data, cool-downs and the budget, whatever the guards remember.
    #[test]
    fn the_guards_keep_what_they_promise(world in guarded_worlds()) {
        let decisions = world.decide();
        let policy = &world.policy;
        let guard = &world.guard;
        let rows = [
            (&decisions.cpu, &guard.cpu, policy.cpu.min_cores, policy.cpu.max_cores,
                world.changes.cpu_up, world.changes.cpu_down, policy.cpu.cooldown_up_seconds, policy.cpu.cooldown_down_seconds),
            (&decisions.memory, &guard.memory, policy.memory.min_mib as f64, policy.memory.max_mib as f64,
                world.changes.memory_up, world.changes.memory_down, policy.memory.cooldown_up_seconds, policy.memory.cooldown_down_seconds),
        ];
        let ran_out = world.seen.as_ref().is_some_and(|seen| seen.oom == Some(true));
        for (decision, resource_guard, low, high, up, down, wait_up, wait_down) in rows {
            let (Some(from), Some(to)) = (decision.from, decision.to) else { continue };
            let inside = low - 1e-6 <= to && to <= high + 1e-6;
            prop_assert!(inside || (high < to && to < from) || (from < to && to < low), "{decision:?}");
            let urgent = matches!(decision.reason, Reason::RanOutOfMemory { .. } | Reason::Undone { .. });
            // No reversal inside the cool-down, but for harm.
            let elapsed = |at: Option<Timestamp>| at.map_or(i64::MAX, |at| now().duration_since(at).as_secs());
            if decision.action == Action::Shrink {
                prop_assert!(i64::try_from(wait_down).unwrap() <= elapsed(up.max(down)));
                prop_assert!(resource_guard.shrinks.watch.is_none() && resource_guard.shrinks.backing_off(now()).is_none());
                let longest = policy.guard.max_unpaid_seconds;
                prop_assert!(resource_guard.unpaid.waiting(wait_down, longest, now()).is_none(), "{decision:?}");
                prop_assert!(!(ran_out && decision.resource == Resource::Memory));
                let boosted = resource_guard.boost.filter(|boost| now() < boost.ends);
                prop_assert!(boosted.is_none_or(|boost| boost.size <= to + 1e-6), "{decision:?}");
            } else if !urgent {
                prop_assert!(i64::try_from(wait_up).unwrap() <= elapsed(up.max(down)), "{decision:?}");
            }
            let answers_oom = matches!(decision.reason, Reason::RanOutOfMemory { .. });
            prop_assert!(guard.disturbance.is_none() || answers_oom, "{decision:?}");
            let by_hand = resource_guard.manual.and_then(|manual| manual.left(policy.guard.respect_manual_seconds, now()));
            prop_assert!(by_hand.is_none() || answers_oom, "{decision:?}");
        }
        let memory = &decisions.memory;
        if let (Some(from), Some(to)) = (memory.from, memory.to) {
            if from < to {
                prop_assert!(guard.budget.is_none_or(|budget| to <= budget.most_mib + 1e-6), "{memory:?}");
                prop_assert!(guard.oom_run.is_none_or(|run| to <= run.most_mib(4.0) + 1e-6), "{memory:?}");
            } else {
                let remembered = guard.memory.shrinks.remembered(now());
                prop_assert!(remembered.is_none_or(|failure| failure.least <= to + 1e-6), "{memory:?}");
            }
        }
    }

    #[test]
    fn what_must_hold_holds(world in worlds()) {
        let decisions = world.decide();
        let policy = &world.policy;
        let bounds = [
            (&decisions.cpu, policy.cpu.min_cores, policy.cpu.max_cores),
            (&decisions.memory, policy.memory.min_mib as f64, policy.memory.max_mib as f64),
        ];
        for (decision, low, high) in bounds {
            prop_assert_eq!(decision.to.is_some(), decision.action != Action::Keep);
            let (Some(from), Some(to)) = (decision.from, decision.to) else { continue };
            prop_assert_eq!(decision.action == Action::Grow, from < to);
            prop_assert!(1e-9 < (to - from).abs());
            // Inside the bounds, or on the way back to them.
            let inside = |to: f64| low - 1e-6 <= to && to <= high + 1e-6;
            prop_assert!(inside(to) || (high < to && to < from) || (from < to && to < low), "{decision:?}");
        }
    }

    #[test]
    fn no_change_without_data(world in worlds()) {
        let decisions = world.decide();
        let fresh = world.seen.as_ref().filter(|seen| (ago(900)..=ago(-900)).contains(&seen.at));
        let known = world.recommendation.as_ref();
        let cpu_known = fresh.and_then(|seen| seen.cpu_cores_used).is_some() && known.is_some_and(|known| known.cpu.is_some());
        let memory_known = fresh.and_then(|seen| seen.memory_used_mib).is_some() && known.is_some_and(|known| known.memory.is_some());
        prop_assert!(cpu_known || decisions.cpu.to.is_none());
        prop_assert!(memory_known || decisions.memory.to.is_none());
    }

    #[test]
    fn a_shrink_is_proved(world in worlds()) {
        let decisions = world.decide();
        for decision in [&decisions.cpu, &decisions.memory] {
            if decision.action != Action::Shrink { continue }
            let seen = world.seen.as_ref().unwrap();
            let known = world.recommendation.as_ref().unwrap();
            let to = decision.to.unwrap() + 1e-5;
            prop_assert!(world.policy.min_confidence_percent <= decision.confidence_percent);
            prop_assert!(world.anomaly.is_none_or(|anomaly| !anomaly.is_anomaly()));
            let (estimate, in_use, last, cooldown) = if decision.resource == Resource::Cpu {
                let last = world.changes.cpu_up.max(world.changes.cpu_down);
                (known.cpu.as_ref(), seen.cpu_cores_used.unwrap(), last, world.policy.cpu.cooldown_down_seconds)
            } else {
                prop_assert!(seen.oom != Some(true) && (seen.oom.is_some() || seen.memory_pressure_percent.is_some()));
                let last = world.changes.memory_up.max(world.changes.memory_down);
                (known.memory.as_ref(), seen.memory_used_mib.unwrap() * 1.15, last, world.policy.memory.cooldown_down_seconds)
            };
            prop_assert!(6 * 3600 <= estimate.unwrap().known_seconds);
            prop_assert!(last.is_none_or(|last| last < seen.at), "measured since the last change");
            prop_assert!(in_use <= to && estimate.unwrap().floor <= to, "{decision:?}");
            let elapsed = last.map(|last| now().duration_since(last).as_secs());
            prop_assert!(elapsed.is_none_or(|elapsed| i64::try_from(cooldown).unwrap() <= elapsed));
        }
    }

    #[test]
    fn a_growth_stays_within_the_node_and_its_cool_down(world in worlds()) {
        let decisions = world.decide();
        let since = |one: Option<Timestamp>, other| one.max(other).map(|last| now().duration_since(last).as_secs());
        if decisions.cpu.action == Action::Grow {
            prop_assert!(decisions.cpu.to.unwrap() <= f64::from(world.node.cpus.unwrap()) + 1e-6);
            prop_assert!(since(world.changes.cpu_up, world.changes.cpu_down).is_none_or(|elapsed| 60 <= elapsed));
        }
        if decisions.memory.action == Action::Grow {
            let spare = world.node.memory_available_mib.unwrap() - 0.1 * world.node.memory_total_mib.unwrap();
            let added = decisions.memory.to.unwrap() - decisions.memory.from.unwrap();
            prop_assert!(added <= spare + 1e-6, "{added} of {spare}");
            let waited = since(world.changes.memory_up, world.changes.memory_down).is_none_or(|elapsed| 60 <= elapsed);
            prop_assert!(waited || world.seen.as_ref().unwrap().oom == Some(true));
        }
    }
}
