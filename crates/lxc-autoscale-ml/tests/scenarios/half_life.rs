//! What `recommend.cpu_half_life_hours` changes, and what not.

use std::sync::Arc;

use jiff::Timestamp;
use lxc_autoscale_ml::observation::Observation;
use lxc_autoscale_ml::recommend::ContainerModel;

use super::*;

/// The cores recommended after ten busy and four quiet days: at once, and after two hours that nobody measured.
fn cores(half_life_hours: f64) -> [f64; 2] {
    let text = format!("[recommend]\ncpu_half_life_hours = {half_life_hours}");
    let config: Config = parse(&text).unwrap();
    let mut model = ContainerModel::new(Arc::new(config.shared().unwrap()));
    let mut now = Timestamp::from_second(1_800_000_000 / 86_400 * 86_400).unwrap();
    for step in 0..14 * STEPS_A_DAY {
        now += SignedDuration::from_mins(5);
        let used = if step < 10 * STEPS_A_DAY { 2.0 } else { 0.2 };
        model.observe(&Observation {
            cpu_cores_used: Some(used),
            cpu_throttled_share: Some(0.0),
            cores_limit: Some(4.0),
            ..Observation::unknown(now)
        });
    }
    [0, 2].map(|hours| model.recommend(now + SignedDuration::from_hours(hours)).cpu.unwrap().target)
}

#[test]
fn the_half_life_of_the_cpu_counts_after_a_gap_only() {
    let ([short, after_gap], [long, long_after_gap]) = (cores(1.0), cores(2400.0));
    assert!((short - long).abs() < 1e-9, "without a gap: {short} and {long} cores");
    assert!(after_gap < 1.0 && 2.0 <= long_after_gap, "after one: {after_gap} and {long_after_gap} cores");
}
