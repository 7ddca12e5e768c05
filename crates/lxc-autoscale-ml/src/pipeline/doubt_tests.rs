//! Unusual behaviour is no habit until it recurs; lasting behaviour is followed.

use std::ops::Range;

use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot, Summary};

use super::*;
use crate::detect::Detector;
use crate::recommend::Fact;

const DAY: i64 = 288;
const HOUR: i64 = 12;

/// The season's memory for 02:50 of the fourth day, in MiB, with usage `memory_mib` at each step before; the detector
/// is run at the steps `asked`.
fn season(memory_mib: impl Fn(i64) -> f64, asked: &Range<i64>) -> f64 {
    let mut config = Config::default();
    (config.model.trees, config.model.history_rows) = (25, 300);
    config.metrics.history = std::path::PathBuf::new();
    let mut pipeline = Pipeline::new(&config).unwrap();
    let end = 3 * DAY + 34;
    for step in 0..=end {
        pipeline.take(snapshot(step, memory_mib(step)));
        if asked.contains(&step) {
            pipeline.learn().unwrap();
        }
    }
    let estimate = recommended(&pipeline, end);
    estimate.evidence.iter().find(|evidence| evidence.fact == Fact::SeasonPeak).unwrap().value
}

fn recommended(pipeline: &Pipeline, step: i64) -> Estimate {
    let container = pipeline.history().container(Vmid::try_from(100).unwrap()).unwrap();
    container.model.recommend(at(step)).memory.unwrap()
}

fn at(step: i64) -> Timestamp {
    // At midnight.
    Timestamp::from_second(1_799_971_200 + 300 * step).unwrap()
}

fn snapshot(step: i64, memory_mib: f64) -> Snapshot {
    let time = RecordTime::utc(at(step));
    let unrest = ((step * step) % 17) as f64;
    let record = ContainerRecord {
        cpu_usage_percent: Some(10.0 + unrest / 4.0),
        cpu_cores_used: Some(0.2 + unrest / 200.0),
        memory_usage_mb: Some(memory_mib + unrest),
        process_count: Some(20),
        uptime_seconds: Some(1e6 + 300.0 * step as f64),
        configuration: Some(ContainerConfig::parse("hostname: web\ncores: 4\nmemory: 8192\n").0.into()),
        ..ContainerRecord::empty(time)
    };
    Snapshot {
        containers: [(Vmid::try_from(100).unwrap(), record)].into(),
        summary: Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: 1,
            total_duration_seconds: 0.0,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: None,
            stopped_containers: Vec::new(),
            node: None,
        },
    }
}

/// 3000 MiB for a quarter of an hour from three at night on, on these days; otherwise 300 MiB.
fn job(days: &[i64]) -> impl Fn(i64) -> f64 {
    move |step| if days.contains(&(step / DAY)) && (36..39).contains(&(step % DAY)) { 3000.0 } else { 300.0 }
}

#[test]
fn a_spike_that_came_once_is_not_expected_the_next_night() {
    let night = 2 * DAY + 30..2 * DAY + 60;
    assert!(2990.0 < season(job(&[2]), &(0..0)), "nobody was asked, so it counts");
    assert!(season(job(&[2]), &night) < 350.0);
}

#[test]
fn what_came_twice_is_expected_although_each_time_was_unusual() {
    assert!(2990.0 < season(job(&[1, 2]), &(DAY + 30..2 * DAY + 60)));
}

#[test]
fn a_shift_that_lasts_is_followed_within_the_hour_and_remembered() {
    let begin = 2 * DAY + 30;
    let shifted = |step: i64| if begin <= step && step < begin + 5 * HOUR { 1200.0 } else { 300.0 };
    assert!(1190.0 < season(shifted, &(begin - HOUR..begin + 6 * HOUR)));
    let mut pipeline = Pipeline::new(&Config::default()).unwrap();
    for step in 0..=begin + HOUR {
        pipeline.take(snapshot(step, shifted(step)));
        if begin <= step {
            pipeline.learn().unwrap();
        }
    }
    assert!(1200.0 < recommended(&pipeline, begin + HOUR).target);
}

#[test]
fn a_policy_names_the_detector_that_judges_its_containers() {
    let text = "[policy.web]\nnames = [\"web\"]\nmodel.detector = \"robust_zscore\"\n";
    let judged = |text: &str, steps: i64| {
        let config: Config = lxc_autoscale_core::config::parse(text).unwrap();
        let mut pipeline = Pipeline::new(&config).unwrap();
        for step in 0..steps {
            pipeline.take(snapshot(step, 300.0));
        }
        pipeline.learn().unwrap();
        let proposals = pipeline.propose(&Changes::new(), &Approvals::default(), at(steps - 1));
        proposals[0].inputs.unusual.clone().unwrap().detector
    };
    assert_eq!(judged("", 100), Detector::IsolationForest, "too few rows for the default");
    assert_eq!(judged("", 700), Detector::GaussianMixture);
    assert_eq!(judged(text, 100), Detector::RobustZscore);
}
