use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::confidence::{Chances, Known, Scale};
use crate::decide::{Allocation, Amount, AnomalyScore, LastChanges, NodeSituation, Obstacles, Reason};
use crate::guard::Guard;
use crate::guard::boost::Boost;
use crate::guard::disturbance::Disturbance;
use crate::guard::manual::Manual;
use crate::ledger::Outcome;
use crate::observation::Observation;
use crate::recommend::{Estimate, Evidence, Fact, Recommendation, Restlessness};

fn at() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn ago(seconds: i64) -> Timestamp {
    at() - SignedDuration::from_secs(seconds)
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

/// A container with 4 cores and 2048 MiB and a recommendation of `memory_mib`, on a large node.
fn world(memory_mib: f64) -> World {
    let inputs = Inputs {
        allocation: Some(Allocation { cores: Some(4.0), cpulimit: None, memory_mib: 2048.0 }),
        obstacles: Obstacles::default(),
        observation: Some(Observation {
            cpu_cores_used: Some(1.0),
            cpu_throttled_share: Some(0.0),
            memory_used_mib: Some(600.0),
            memory_limit_mib: Some(2048.0),
            oom: Some(false),
            memory_pressure_percent: Some(0.0),
            ..Observation::unknown(ago(10))
        }),
        recommendation: Some(Recommendation {
            cpu: Some(estimate(4.0, 1.0)),
            memory: Some(estimate(memory_mib, 600.0)),
            history_seconds: 48 * 3600,
            class: None,
        }),
        opinions: None,
        changes: LastChanges::default(),
        anomaly: None,
        unusual: None,
        node: NodeSituation {
            cpus: Some(16),
            memory_total_mib: Some(65_536.0),
            memory_available_mib: Some(32_768.0),
        },
        policy: None,
        guard: Guard::default(),
    };
    World { policy: Policy::default(), inputs, at: at() }
}

/// `if …: …` for every decisive change, and `not enough: if …: …` for every other one.
fn told(world: &World) -> String {
    let local = |at: Timestamp| at.strftime("%H:%M").to_string();
    let alternatives = world.alternatives(Resource::Memory);
    let line = |it: &Otherwise| {
        format!("if {}: {}\n", it.change.words(Resource::Memory, world, &local), it.decision)
    };
    let next = alternatives.next.iter().map(|it| format!("not enough: {}", line(it)));
    alternatives.decisive.iter().map(line).chain(next).collect()
}

#[track_caller]
fn check(world: &World, want: &[&str]) {
    let told = told(world);
    for part in want {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
}

#[test]
fn a_container_that_fits_would_grow_with_more_and_shrink_with_less() {
    check(
        &world(2048.0),
        &[
            "if the recommendation were 1840 MiB: shrink from 2048 MiB to 1840 MiB",
            "if the recommendation were 2100 MiB: grow from 2048 MiB to 2112 MiB",
            "if it had 1500 MiB more working set (2100 MiB): grow",
        ],
    );
}

#[test]
fn what_holds_a_shrink_is_taken_away() {
    let mut cooling = world(800.0);
    cooling.inputs.changes.memory_up = Some(ago(600));
    let ends = "if it were not for the cool-down (ends 08:20): shrink from 2048 MiB to 1536 MiB";
    check(&cooling, &[ends]);
    let mut pressed = world(800.0);
    pressed.inputs.observation.as_mut().unwrap().memory_pressure_percent = Some(12.5);
    check(&pressed, &["if its tasks waited for memory 1.00 % of the time: shrink from 2048 MiB to 1536 MiB"]);
    let mut by_hand = world(800.0);
    by_hand.inputs.guard.memory.manual = Some(Manual { at: ago(3600), from: 1024.0, size: 2048.0 });
    check(
        &by_hand,
        &["if nobody had set it by hand (respected until 07:00): shrink from 2048 MiB to 1536 MiB"],
    );
    let mut boosted = world(800.0);
    boosted.inputs.guard.memory.boost = Some(Boost { size: 2048.0, ends: ago(-3600) });
    check(&boosted, &["if it were not boosted (until 09:00): shrink from 2048 MiB to 1536 MiB"]);
    let mut young = world(800.0);
    young.inputs.recommendation.as_mut().unwrap().memory.as_mut().unwrap().known_seconds = 3600;
    check(&young, &["if it were known for 6.0 h: shrink from 2048 MiB to 1536 MiB"]);
    let mut in_use = world(800.0);
    in_use.inputs.recommendation.as_mut().unwrap().memory = Some(estimate(800.0, 1900.0));
    check(&in_use, &["if it had 300 MiB less working set (1600 MiB): shrink from 2048 MiB to 1840 MiB"]);
}

/// The lock that is on is also what disturbs the measurement.
#[test]
fn without_the_lock_it_would_not_have_been_locked() {
    let mut locked = world(800.0);
    locked.inputs.obstacles.lock = Some("backup".to_owned());
    locked.inputs.guard.disturbance = Some(Disturbance::Lock { lock: "backup".to_owned() });
    check(&locked, &["if Proxmox held no lock on it: shrink from 2048 MiB to 1536 MiB"]);
    assert!(!told(&locked).contains("not enough"), "{}", told(&locked));
    // Its first minutes are what they are, without a lock as well.
    let start = Disturbance::Start { uptime_seconds: 60.0, boot_seconds: 300 };
    locked.inputs.guard.disturbance = Some(start);
    check(&locked, &["not enough: if Proxmox held no lock on it: keep 2048 MiB: it started 60 s ago"]);
}

/// The recommended size may be as likely as asked for to stay right, and the shrink towards it is not.
#[test]
fn the_confidence_that_is_missing_is_that_of_the_shrink() {
    let mut world = world(800.0);
    world.policy.min_confidence_percent = 98.0;
    let memory = world.inputs.recommendation.as_mut().unwrap().memory.as_mut().unwrap();
    memory.confidence_percent = 99.0;
    memory.chances = Chances::new(Known {
        scale: Scale::Memory,
        known_seconds: 48.0 * 3600.0,
        last: Some(600.0),
        hour_peak: Some(1500.0),
        day_peak: Some(1900.0),
        season_peak: Some(1900.0),
        wishes: vec![800.0, 1900.0],
        forecast: None,
        record: 0.5,
    });
    let made = world.decide(Resource::Memory);
    assert!(matches!(made.reason, Reason::LowConfidence { .. }), "{made}");
    check(
        &world,
        &["if the chance that this stays right for an hour were 98 %: shrink from 2048 MiB to 1536 MiB"],
    );
}

/// What the confidence follows from is not kept: of a decision in the ledger, the confidence that it names counts.
#[test]
fn a_decision_of_the_past_is_judged_by_its_own_confidence() {
    let kept = |world: &World| {
        let decision = world.decide(Resource::Memory);
        let text = serde_json::to_string(&world.inputs).unwrap();
        let entry = Entry {
            number: 1,
            at: world.at,
            last_at: world.at,
            times: 1,
            id: lxc_autoscale_core::Vmid::try_from(100).unwrap(),
            reason: decision.reason.to_string(),
            decision,
            inputs: serde_json::from_str(&text).unwrap(),
            outcome: Outcome::Nothing,
        };
        World::of(&entry, world.policy.clone())
    };
    let doubtful = |confidence_percent: f64, min_percent: f64| {
        let mut world = world(800.0);
        world.policy.min_confidence_percent = min_percent;
        let memory = world.inputs.recommendation.as_mut().unwrap().memory.as_mut().unwrap();
        memory.confidence_percent = confidence_percent;
        memory.chances = Chances::new(Known {
            scale: Scale::Memory,
            known_seconds: 48.0 * 3600.0,
            last: Some(600.0),
            hour_peak: Some(1500.0),
            day_peak: Some(1900.0),
            season_peak: Some(1900.0),
            wishes: vec![800.0, 1900.0],
            forecast: None,
            record: 0.5,
        });
        world
    };
    // The shrink is less likely to stay right than the size that is recommended, or more.
    for (of_size, least, action) in [(99.0, 98.0, Action::Keep), (0.5, 1.0, Action::Shrink)] {
        let then = doubtful(of_size, least);
        let made = then.decide(Resource::Memory);
        assert_eq!(made.action, action, "{made}");
        let again = kept(&then).decide(Resource::Memory);
        assert_eq!((again.action, again.to, &again.reason), (made.action, made.to, &made.reason));
        assert_eq!(told(&kept(&then)), told(&then));
    }
}

#[test]
fn what_is_not_enough_alone_is_told_with_what_comes_next() {
    let mut world = world(800.0);
    world.inputs.changes.memory_down = Some(ago(600));
    world.inputs.observation.as_mut().unwrap().memory_pressure_percent = Some(12.5);
    world.inputs.anomaly = Some(AnomalyScore { score: -0.7, decision: -0.1 });
    let made = world.decide(Resource::Memory);
    assert!(matches!(made.reason, Reason::Anomalous { .. }), "{made}");
    check(
        &world,
        &["not enough: if it behaved as usual: keep 2048 MiB: it could give back and its tasks wait"],
    );
}

/// What a shrink would take to be none is computed: its size is rounded and bounded by a step.
#[test]
fn the_advice_about_a_shrink_is_what_would_be_decided() {
    let mut stepped = world(800.0);
    stepped.inputs.recommendation.as_mut().unwrap().cpu = Some(estimate(0.05, 0.05));
    stepped.inputs.observation.as_mut().unwrap().cpu_cores_used = Some(0.05);
    for (max_step_down_percent, wants) in [(75.0, 0.05), (25.0, 0.05), (75.0, 2.5)] {
        stepped.policy.cpu.max_step_down_percent = max_step_down_percent;
        stepped.inputs.recommendation.as_mut().unwrap().cpu.as_mut().unwrap().target = wants;
        for resource in [Resource::Cpu, Resource::Memory] {
            let made = stepped.decide(resource);
            assert_eq!(made.action, Action::Shrink, "{made}");
            let alternatives = stepped.alternatives(resource);
            let amount = alternatives.enough().unwrap();
            let least = match resource {
                Resource::Cpu => "3.01 cores",
                Resource::Memory => "1841 MiB",
            };
            assert_eq!(
                alternatives.advice(&made),
                format!("it would keep what it has if it should have {least}")
            );
            let then = stepped.with(resource, &Change::Recommended { amount }).decide(resource);
            assert_eq!(then.action, Action::Keep, "{then}");
        }
    }
    // Where no recommendation keeps it, none is named.
    stepped.policy.memory.max_mib = 1024;
    let made = stepped.decide(Resource::Memory);
    assert_eq!(made.action, Action::Shrink);
    let alternatives = stepped.alternatives(Resource::Memory);
    assert_eq!((alternatives.enough(), alternatives.advice(&made)), (None, made.reason.otherwise()));
}

#[test]
fn a_shrink_that_is_made_names_what_would_have_held_it() {
    check(
        &world(800.0),
        &[
            "if the policy did not limit the step: shrink from 2048 MiB to 800 MiB",
            "if its tasks waited for memory 1.01 % of the time: keep 2048 MiB",
            "if it had 1001 MiB more working set (1601 MiB): keep 2048 MiB",
        ],
    );
}

prop_compose! {
    fn worlds()(
        target in 0.0f64..6000.0, floor in 0.0f64..3000.0, pressure in 0.0f64..5.0, available in 0.0f64..65_536.0,
        up in proptest::option::of(0i64..4000), known in 0u64..40_000, oom in any::<bool>(), stopped in any::<bool>(),
        by_hand in proptest::option::of(0i64..100_000), boost in proptest::option::of(100.0f64..4000.0),
    ) -> World {
        let mut world = world(target.max(floor));
        world.inputs.recommendation.as_mut().unwrap().memory = Some(estimate(target.max(floor), floor));
        world.inputs.recommendation.as_mut().unwrap().memory.as_mut().unwrap().known_seconds = known;
        let seen = world.inputs.observation.as_mut().unwrap();
        (seen.memory_pressure_percent, seen.oom) = (Some(pressure), Some(oom));
        world.inputs.node.memory_available_mib = Some(available);
        world.inputs.changes.memory_up = up.map(ago);
        world.inputs.obstacles.stopped = stopped;
        world.inputs.guard.memory.manual =
            by_hand.map(|seconds| Manual { at: ago(seconds), from: 1024.0, size: 2048.0 });
        world.inputs.guard.memory.boost = boost.map(|size| Boost { size, ends: ago(-600) });
        world
    }
}

proptest! {
    /// Everything reported is a decision: from the same inputs except one.
    #[test]
    fn what_is_told_is_what_would_be_decided(world in worlds()) {
        for resource in [Resource::Cpu, Resource::Memory] {
            let made = world.decide(resource);
            let alternatives = world.alternatives(resource);
            for Otherwise { change, decision } in &alternatives.decisive {
                let altered = world.with(resource, change);
                prop_assert_eq!(&altered.decide(resource), decision);
                prop_assert!(differs(decision, &made), "{:?}: {} is {}", change, decision, made);
            }
            for Otherwise { decision, .. } in &alternatives.next {
                prop_assert!(!differs(decision, &made));
            }
        }
    }

    /// The reported value is the nearest: one step closer, the decision stays the same.
    #[test]
    fn the_nearest_value_is_told(world in worlds()) {
        let made = world.decide(Resource::Memory);
        let before = change::estimate(&world, Resource::Memory).unwrap().target;
        for Otherwise { change, .. } in world.alternatives(Resource::Memory).decisive {
            if let Change::Recommended { amount: Amount::Mib(mib) } = change
                && 2.0 < (mib - before).abs()
            {
                let closer = Amount::Mib(mib + 2.0 * (before - mib).signum());
                let decision = world.with(Resource::Memory, &Change::Recommended { amount: closer });
                prop_assert_eq!(decision.decide(Resource::Memory).action, made.action, "{} {}", mib, before);
            }
        }
    }
}

#[test]
fn what_was_enough_all_day_can_be_outgrown() {
    let mut world = world(2048.0);
    let cpu = world.inputs.recommendation.as_mut().unwrap().cpu.as_mut().unwrap();
    (cpu.basis, cpu.target) = (Fact::Forecast, 4.2);
    cpu.evidence = vec![Evidence { fact: Fact::Forecast, value: 3.6 }];
    cpu.restlessness = Restlessness::of(&[2.0; 288], 1.15, 1.0);
    assert!(matches!(world.decide(Resource::Cpu).reason, Reason::EnoughAllDay { .. }));
    let local = |at: Timestamp| at.to_string();
    let alternatives = world.alternatives(Resource::Cpu);
    let told: Vec<String> =
        alternatives.decisive.iter().map(|it| it.change.words(Resource::Cpu, &world, &local)).collect();
    for part in ["the recommendation were", "more CPU in use", "its use on the last day did not count"] {
        assert!(told.iter().any(|words| words.contains(part)), "no `{part}` in {told:?}");
    }
}
