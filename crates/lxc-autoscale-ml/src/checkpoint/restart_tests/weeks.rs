//! The past weeks are known after a start, whatever state it starts from.

use ciborium::Value;

use super::*;
use crate::checkpoint::{self, Header};
use crate::policy::learning::learnt_by;
use crate::recommend::Estimate;

const STEP_MS: i64 = 300_000;
const STEPS_AN_HOUR: i64 = 12;
/// The weekly busy hour of container 100 begins two hours after [`BEGIN`].
const BUSY_MINUTE: i64 = 120;

/// The monitor's history: four weeks of container 100. Its busy hour is busy in the last five minutes.
fn store_weeks(path: &Path) {
    store(path, 0, 0.0, 0.0);
    let database = rusqlite::Connection::open(path).unwrap();
    let stats = |metric: Metric, value: f64| {
        let code = code::encode(value, metric.resolution()).unwrap();
        (metric, Stats { count: 5, min: code, mean: code, max: code, p95: code })
    };
    let mut chunks = std::collections::BTreeMap::<i64, chunk::Chunk>::new();
    for step in -28 * 24 * STEPS_AN_HOUR..0 {
        let start_ms = BEGIN * 1000 + step * STEP_MS;
        let busy_step = BUSY_MINUTE / 5 + STEPS_AN_HOUR - 1;
        let is_busy = (step - busy_step).rem_euclid(7 * 24 * STEPS_AN_HOUR) == 0;
        let (cores, mib) = if is_busy { (3.5, 1900.0) } else { (0.4, 300.0) };
        let metrics = vec![stats(Metric::Cpu, cores), stats(Metric::Memory, mib)];
        let begins = Tier::FiveMinutes.chunk_start(start_ms);
        let place = u32::try_from((start_ms - begins) / STEP_MS).unwrap();
        chunks.entry(begins).or_default().insert(place, Bucket { samples: 5, metrics });
    }
    for (begins, chunk) in chunks {
        let sql = "INSERT INTO chunks (tier, start_ms, series, data) VALUES (?1, ?2, 100, ?3)";
        database
            .execute(sql, rusqlite::params![Tier::FiveMinutes.id(), begins, chunk::encode(&chunk)])
            .unwrap();
    }
}

/// The recommended sizes: CPU, then memory.
fn recommended(pipeline: &Pipeline, id: u32, minute: i64) -> [Estimate; 2] {
    let recommendation = pipeline.history().container(vmid(id)).unwrap().model.recommend(at(minute));
    [recommendation.cpu.unwrap(), recommendation.memory.unwrap()]
}

#[track_caller]
fn assert_is_there(pipeline: &Pipeline, minute: i64) {
    let [cpu, memory] = recommended(pipeline, 100, minute);
    for (estimate, want) in [(&cpu, 3.5), (&memory, 1900.0)] {
        let weekly = estimate.weekly.unwrap();
        assert_eq!((weekly.weeks, weekly.of, weekly.at), (4, 4, at(BUSY_MINUTE)), "{estimate:?}");
        assert!(want <= estimate.target, "{estimate:?}");
    }
}

#[test]
fn a_fresh_installation_knows_the_weeks_that_the_monitor_has_recorded() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    store_weeks(&config.metrics.history);
    let mut pipeline = begin(&config);
    (1..BUSY_MINUTE - 5).for_each(|minute| pipeline.take(snapshot(minute)));
    assert_is_there(&pipeline, BUSY_MINUTE - 5);
    let [cpu, memory] = recommended(&pipeline, 100, BUSY_MINUTE - 5);
    assert!(cpu.target < 1.5 * 3.5 && memory.target < 1.5 * 1900.0, "{cpu:?} {memory:?}");
    // Until the last minute of the hour, and after a start within it from the first record with CPU usage on.
    (BUSY_MINUTE - 5..BUSY_MINUTE + 58).for_each(|minute| pipeline.take(snapshot(minute)));
    assert_is_there(&pipeline, BUSY_MINUTE + 57);
    let mut started_late = begin(&config);
    (BUSY_MINUTE + 29..BUSY_MINUTE + 31).for_each(|minute| started_late.take(snapshot(minute)));
    assert_is_there(&started_late, BUSY_MINUTE + 30);
    for estimate in recommended(&pipeline, 101, BUSY_MINUTE + 57) {
        assert!(estimate.weekly.is_none(), "of this one nothing was recorded: {estimate:?}");
    }
    // Long before and long after it there is no trace of it.
    for minute in [30, BUSY_MINUTE + 80] {
        let mut pipeline = begin(&config);
        (minute - 10..minute).for_each(|minute| pipeline.take(snapshot(minute)));
        assert!(recommended(&pipeline, 100, minute).iter().all(|estimate| estimate.weekly.is_none()));
    }
}

/// The same checkpoint as written by a version without weeks.
fn without_weeks(path: &Path, config: &Config) {
    let mut items: Vec<Value> = Vec::new();
    let learnt_by = learnt_by(config);
    let general =
        checkpoint::read::<Value, Value>(path, &learnt_by, |item| items.push(item)).unwrap().unwrap();
    let mut taken = 0;
    for item in &mut items {
        take_out(item, &mut taken);
    }
    assert!(3 * 5 <= taken, "{taken} fields of three containers");
    let header = Header::new(learnt_by, items.len(), general);
    checkpoint::write(path, &header, items.into_iter()).unwrap();
}

fn take_out(value: &mut Value, taken: &mut usize) {
    let Value::Map(fields) = value else { return };
    let all = fields.len();
    fields.retain(|(name, _)| {
        !name.as_text().is_some_and(|name| ["weeks", "weekly", "weeks_told"].contains(&name))
    });
    *taken += all - fields.len();
    for (_, value) in fields {
        take_out(value, taken);
    }
}

#[test]
fn a_checkpoint_of_before_is_good_and_its_weeks_are_found_out() {
    for has_history in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        let mut pipeline = begin(&config);
        (1..60).for_each(|minute| pipeline.take(snapshot(minute)));
        pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
        without_weeks(&config.state.checkpoint(), &config);
        if has_history {
            store_weeks(&config.metrics.history);
        }
        let mut pipeline = begin(&config);
        assert!(pipeline.restore(&config.state.checkpoint()).unwrap());
        let model = &pipeline.history().container(vmid(100)).unwrap().model;
        assert!(!model.lacks_weeks(), "what it remembers of the last days is a part of them");
        (60..BUSY_MINUTE - 5).for_each(|minute| pipeline.take(snapshot(minute)));
        if has_history {
            assert_is_there(&pipeline, BUSY_MINUTE - 5);
        } else {
            let estimates = recommended(&pipeline, 100, BUSY_MINUTE - 5);
            assert!(estimates.iter().all(|estimate| estimate.weekly.is_none()));
        }
    }
}

/// The recommendations around the busy hour, with restarts after these minutes.
fn around_the_busy_hour(restarts: &[i64]) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    store_weeks(&config.metrics.history);
    let mut pipeline = begin(&config);
    let mut said = Vec::new();
    for minute in 60..BUSY_MINUTE + 90 {
        pipeline.take(snapshot(minute));
        said.push(serde_json::to_string(&recommended(&pipeline, 100, minute)).unwrap());
        if restarts.contains(&minute) {
            pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
            pipeline = begin(&config);
            assert!(pipeline.restore(&config.state.checkpoint()).unwrap());
        }
    }
    said
}

#[test]
fn a_restart_before_or_in_the_busy_hour_changes_nothing() {
    let undisturbed = around_the_busy_hour(&[]);
    assert!(undisturbed.iter().any(|said| said.contains("weekly_peak")));
    assert_eq!(around_the_busy_hour(&[70, 88, 92, 115, 130]), undisturbed);
}
