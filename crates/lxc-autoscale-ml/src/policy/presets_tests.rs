//! Every preset parses, stays within the bounds, has its reasons, differs from the default, and has an effect.

use jiff::Timestamp;
use lxc_autoscale_core::config;

use super::*;
use crate::confidence::Chances;
use crate::config::{Config, ModelConfig, ScalingConfig};
use crate::decide::{
    Allocation, CpuPolicy, Decisions, LastChanges, NodeSituation, Obstacles, Policy, Situation, decide,
};
use crate::guard::Guard;
use crate::observation::Observation;
use crate::recommend::{Estimate, Fact, RecommendConfig, Recommendation};

fn presets() -> Presets {
    Presets::shipped().unwrap()
}

#[test]
fn there_are_many_and_no_two_are_the_same() {
    let presets = presets();
    let all: Vec<(&str, &Preset)> = presets.all().collect();
    assert!(40 <= all.len(), "{}", all.len());
    for (index, (name, preset)) in all.iter().enumerate() {
        for (other, same) in &all[..index] {
            assert!(preset.overrides != same.overrides, "{name} and {other} set the same");
        }
    }
}

#[test]
fn each_deviation_is_one_and_has_a_reason() {
    let of_control = |control| {
        let cpu = CpuPolicy { control, ..ScalingConfig::default().cpu };
        let scaling = ScalingConfig {
            cpu: CpuPolicy { min_cores: cpu.fewest_cores(), ..cpu },
            ..ScalingConfig::default()
        };
        Overrides::values(&scaling, &RecommendConfig::default(), &ModelConfig::default())
    };
    for (name, preset) in presets().all() {
        let (mut scaling, mut recommend) = (ScalingConfig::default(), RecommendConfig::default());
        preset.overrides.apply(&mut scaling, &mut recommend, &mut ModelConfig::default(), &mut |_| {});
        // The fewest cores are 0 by default, which stands for what the control allows.
        let defaults = of_control(scaling.cpu.control);
        assert!(2 <= preset.settings.len() && !preset.names.is_empty() && !preset.group.is_empty(), "{name}");
        for Setting { key, value, reason } in &preset.settings {
            let (_, default) = defaults.iter().find(|(known, _)| known == key).unwrap();
            assert!(
                value.as_f64() != default.as_f64() || value.as_f64().is_none(),
                "{name}: {key} is the default"
            );
            assert!(15 <= reason.len(), "{name}: {key}: {reason}");
        }
        // The parsed values are the ones shown.
        let mut set = Vec::new();
        preset
            .overrides
            .apply(&mut scaling, &mut recommend, &mut ModelConfig::default(), &mut |key| set.push(key));
        assert_eq!(set.len(), preset.settings.len(), "{name}");
    }
}

#[test]
fn each_is_sound_on_top_of_the_defaults() {
    for (name, _) in presets().all() {
        let text = format!("[policy.it]\nnames = [\"*\"]\npreset = \"{name}\"");
        let parsed = config::parse::<Config>(&text);
        assert!(parsed.is_ok(), "{name}: {parsed:?}");
    }
}

#[test]
fn a_usual_name_means_one_preset() {
    let presets = presets();
    for (container, want) in [
        ("postgresql", Some("postgresql")),
        ("db-postgres-2", Some("postgresql")),
        ("jellyfin", Some("jellyfin")),
        ("pihole", Some("pihole")),
        ("home-assistant", Some("home-assistant")),
        ("zigbee2mqtt", Some("zigbee2mqtt")),
        ("gitea", Some("gitea")),
        ("gitlab-runner", None),
        ("web", None),
    ] {
        assert_eq!(presets.by_name(container), want, "{container}");
    }
}

/// The decisions in many situations.
fn decided(policy: &Policy) -> Vec<Decisions> {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let ago = |seconds: i64| Timestamp::from_second(1_800_000_000 - seconds).unwrap();
    let node = NodeSituation {
        cpus: Some(32),
        memory_total_mib: Some(262_144.0),
        memory_available_mib: Some(200_000.0),
    };
    let mut all = Vec::new();
    for memory_mib in [48.0_f64, 100.0, 300.0, 900.0, 3000.0, 8000.0] {
        for share in [0.1, 0.5, 0.75, 1.5] {
            for (cores, wanted) in [(1.0_f64, 5.0), (4.0, 0.4), (8.0, 3.0)] {
                for changed in [90, 700, 1200, 3000, 20_000, 90_000] {
                    let used = (memory_mib * share).min(memory_mib);
                    let estimate = |target: f64, floor: f64| Estimate {
                        target,
                        floor,
                        confidence_percent: 95.0,
                        known_seconds: 43_200,
                        basis: Fact::RecentPeak,
                        evidence: Vec::new(),
                        weekly: None,
                        restlessness: None,
                        random_day: None,
                        chances: Chances::default(),
                    };
                    let seen = Observation {
                        cpu_cores_used: Some(cores.min(wanted)),
                        cpu_throttled_share: Some(0.0),
                        memory_used_mib: Some(used),
                        oom: Some(false),
                        memory_pressure_percent: Some(0.7),
                        ..Observation::unknown(now)
                    };
                    let recommendation = Recommendation {
                        cpu: Some(estimate(wanted, cores.min(wanted))),
                        memory: Some(estimate(memory_mib * share * 1.05, used)),
                        history_seconds: 43_200,
                        class: None,
                    };
                    let last = Some(ago(changed));
                    let situation = Situation {
                        allocation: Some(Allocation { cores: Some(cores), cpulimit: None, memory_mib }),
                        obstacles: Obstacles::default(),
                        observation: Some(&seen),
                        recommendation: Some(&recommendation),
                        changes: LastChanges {
                            cpu_up: last,
                            cpu_down: last,
                            memory_up: last,
                            memory_down: last,
                            memory_up_unsure: None,
                        },
                        anomaly: None,
                        guard: Guard::default(),
                    };
                    all.push(decide(policy, &situation, &node, now));
                }
            }
        }
    }
    all
}

/// The resulting sizes, without the reasons.
fn sizes(decisions: &[Decisions]) -> Vec<(Option<f64>, Option<f64>)> {
    decisions.iter().map(|decisions| (decisions.cpu.to, decisions.memory.to)).collect()
}

#[test]
fn each_changes_what_is_done_somewhere() {
    let plain = sizes(&decided(&ScalingConfig::default().policy(900)));
    for (name, preset) in presets().all() {
        let (mut scaling, mut recommend) = (ScalingConfig::default(), RecommendConfig::default());
        preset.overrides.apply(&mut scaling, &mut recommend, &mut ModelConfig::default(), &mut |_| {});
        assert!(sizes(&decided(&scaling.policy(900))) != plain, "{name} changes nothing");
    }
}

/// The documentation lists all presets of the program, with every key and its reason.
#[test]
fn the_pages_name_every_preset() {
    let (policies, page) =
        (include_str!("../../../../docs/policies.md"), include_str!("../../../../docs/presets.md"));
    for (name, preset) in presets().all() {
        let listed = format!("`{name}` ({})", preset.title);
        assert!(policies.contains(&listed), "docs/policies.md lacks {listed}");
        for Setting { key, value, reason } in &preset.settings {
            let short = key.trim_start_matches("scaling.");
            let row = format!("| `{name}` | `{short}` | {value} | {reason} |");
            assert!(page.lines().any(|line| line == row), "docs/presets.md lacks {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with(&format!("| `{name}` |"))).count();
        assert_eq!(rows, preset.settings.len(), "docs/presets.md has other rows of `{name}`");
    }
}
