//! A restart changes nothing, and what remains without a checkpoint.

use std::path::Path;

use jiff::Timestamp;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::history_store::bucket::{Bucket, Stats, Tier};
use lxc_autoscale_core::history_store::{Metric, chunk, code, schema};
use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};
use lxc_autoscale_core::progress::{Progress, Unwatched};
use lxc_autoscale_core::snapshot::{ContainerRecord, IoStats, MemoryEvents, Snapshot, Summary, Throttling};
use lxc_autoscale_core::{RecordTime, Vmid};

use super::CheckpointError;
use crate::config::Config;
use crate::detect::Detector;
use crate::guard::LastingStates;
use crate::pipeline::{Changes, Pipeline};

mod doubt;
mod weeks;

const BEGIN: i64 = 1_800_000_000;

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + 60 * minute).unwrap()
}

/// An hourly wave with noise that does not repeat within a test.
fn wave(minute: i64, id: i64) -> f64 {
    let hourly = if (minute + 7 * id) % 60 < 11 { 1.7 } else { 0.4 };
    hourly + ((minute * minute + 31 * id) % 17) as f64 / 40.0
}

fn record(minute: i64, id: i64) -> ContainerRecord {
    let memory = 300.0 + 90.0 * wave(minute, id) + 0.1 * minute as f64;
    let counter = |each: i64| (minute * each).unsigned_abs();
    ContainerRecord {
        cpu_usage_percent: Some(25.0 * wave(minute, id)),
        cpu_cores_used: Some(wave(minute, id) / 1.1),
        memory_usage_mb: Some(memory / 1.3),
        process_count: Some(20 + counter(7) % 5),
        uptime_seconds: Some(1e6 + 60.0 * minute as f64),
        io_stats: Some(IoStats {
            reads: counter(4096),
            writes: counter(100),
            read_ops: None,
            write_ops: None,
        }),
        throttling: Some(Throttling {
            nr_periods: counter(600),
            nr_throttled: counter(60),
            throttled_usec: counter(1000),
        }),
        memory_events: Some(MemoryEvents {
            oom_kill: Some(u64::from(140 < minute)),
            ..MemoryEvents::default()
        }),
        configuration: Some(ContainerConfig::parse("hostname: web\ncores: 4\nmemory: 2048\n").0.into()),
        ..ContainerRecord::empty(RecordTime::utc(at(minute)))
    }
}

fn snapshot(minute: i64) -> Snapshot {
    let time = RecordTime::utc(at(minute));
    let ids = [100, 101, 102];
    Snapshot {
        containers: ids.iter().map(|id| (vmid(*id), record(minute, i64::from(*id)))).collect(),
        summary: Summary {
            collection_start_time: time,
            collection_end_time: time,
            total_containers: 3,
            total_duration_seconds: 0.0,
            monitor_cpu_percent: None,
            monitor_memory_usage_mb: None,
            schema_version: None,
            stopped_containers: Vec::new(),
            node: None,
        },
    }
}

fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}

fn config(directory: &Path) -> Config {
    let mut config = Config::default();
    config.metrics.file = directory.join("lxc_metrics.json");
    config.metrics.history = directory.join("metrics.sqlite");
    config.state.directory = directory.to_owned();
    config.model.trees = 25;
    config.model.history_rows = 150;
    config
}

fn begin(config: &Config) -> Pipeline {
    let mut pipeline = Pipeline::new(config).unwrap();
    pipeline.restore_guards(LastingStates::new(), &Changes::new());
    pipeline
}

/// One cycle; all decisions and their inputs, exactly.
fn cycle(pipeline: &mut Pipeline, minute: i64) -> String {
    pipeline.load(&Unwatched).unwrap();
    pipeline.learn().unwrap();
    pipeline.judge(at(minute));
    serde_json::to_string_pretty(&pipeline.propose(
        &Changes::new(),
        &crate::proposals::Approvals::default(),
        at(minute),
    ))
    .unwrap()
}

/// Three hours of a daemon, or of one that ended after each of these minutes and restarted three minutes later, with
/// its guards saved as in the ledger.
fn decisions(restarts: &[i64]) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let bounds = Bounds { max_bytes: 8 << 20, max_age: std::time::Duration::from_hours(24) };
    let (mut writer, _) = MetricsWriter::open(&config.metrics.file, bounds).unwrap();
    let mut pipeline = begin(&config);
    let mut decided = Vec::new();
    for minute in 0..180 {
        writer.append(&snapshot(minute)).unwrap();
        let is_down = restarts.iter().any(|end| (*end + 1..*end + 3).contains(&minute));
        if is_down {
            continue;
        }
        if restarts.iter().any(|end| *end + 3 == minute) {
            let kept =
                pipeline.guards().lasting_states().map(|(id, kept)| (id, kept.clone().into())).collect();
            pipeline = Pipeline::new(&config).unwrap();
            pipeline.restore_guards(kept, &Changes::new());
            assert!(pipeline.restore(&config.state.checkpoint()).unwrap());
        }
        let now = cycle(&mut pipeline, minute);
        if 160 <= minute {
            decided.push(now);
        }
        if restarts.contains(&minute) {
            pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
        }
    }
    decided
}

#[test]
fn a_restart_changes_no_digit_of_any_decision() {
    let undisturbed = decisions(&[]);
    assert!(undisturbed[19].contains("\"recommendation\"") && undisturbed[19].contains("\"anomaly\""));
    assert_eq!(decisions(&[80]), undisturbed);
    assert_eq!(decisions(&[30, 110, 141, 155]), undisturbed);
}

/// Stops the reading after a number of progress calls.
struct StopAfter(std::cell::Cell<u32>);

impl Progress for StopAfter {
    fn at(&self, _done: u64, _total: u64) {}

    fn is_stopped(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

/// Three containers, the first with a past in the monitor's history, and two hours of records.
#[test]
fn a_start_that_was_stopped_leaves_what_the_next_one_goes_on_from_or_nothing() {
    let start = |stops: &[u32]| {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        store(&config.metrics.history, 60, 2.5, 1500.0);
        let bounds = Bounds { max_bytes: 8 << 20, max_age: std::time::Duration::from_hours(24) };
        let (mut writer, _) = MetricsWriter::open(&config.metrics.file, bounds).unwrap();
        (0..120).for_each(|minute| writer.append(&snapshot(minute)).unwrap());
        let mut wholes = Vec::new();
        for stop in stops {
            let mut pipeline = begin(&config);
            pipeline.restore(&config.state.checkpoint()).unwrap();
            assert!(pipeline.load(&StopAfter((*stop).into())).unwrap().stopped);
            if pipeline.is_whole() {
                pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
            }
            wholes.push(pipeline.is_whole());
        }
        let mut pipeline = begin(&config);
        assert_eq!(pipeline.restore(&config.state.checkpoint()).unwrap(), wholes.contains(&true));
        (wholes, cycle(&mut pipeline, 120))
    };
    let (_, undisturbed) = start(&[]);
    // Called before each of the three new containers, and after each snapshot.
    for (stops, whole) in [
        (&[0_u32] as &[u32], &[false] as &[bool]),
        (&[2], &[false]),
        (&[3], &[true]),
        (&[40, 0, 30], &[true; 3]),
        (&[1, 5, 0], &[false, true, true]),
    ] {
        let (wholes, decided) = start(stops);
        assert_eq!(wholes, whole, "{stops:?}");
        assert!(decided == undisturbed, "{stops:?}");
    }
}

#[test]
fn a_checkpoint_of_another_configuration_is_refused_and_nothing_of_it_is_known() {
    let other_price = |config: &mut Config| config.recommend.price_core_hour *= 2.0;
    // The default of an earlier version.
    let other_detector = |config: &mut Config| {
        (config.model.detector, config.model.contamination) = (Detector::IsolationForest, 0.05);
    };
    for change in [other_price as fn(&mut Config), other_detector] {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        let mut former = config.clone();
        change(&mut former);
        let mut pipeline = begin(&former);
        (0..10).for_each(|minute| pipeline.take(snapshot(minute)));
        pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
        let mut other = begin(&config);
        let error = other.restore(&config.state.checkpoint()).unwrap_err();
        assert!(matches!(error, CheckpointError::Configuration { .. }), "{error}");
        assert_eq!(other.history().containers().count(), 0);
    }
}

/// A policy, without and with a key that affects learning.
#[test]
fn a_checkpoint_stays_good_when_only_rules_change() {
    let policy = |text: &str| {
        let config: Config = lxc_autoscale_core::config::parse(text).unwrap();
        (config.policy, config.scaling, config.containers)
    };
    for (text, is_good) in [
        ("[policy.web]\nnames = [\"web\"]\nscaling.memory.min_mib = 512", true),
        ("[policy.web]\nids = [100]\nscaling.guard.watch_samples = 9\nscaling.mode = \"off\"", true),
        (
            "[policy.web]\nids = [100]\n[[policy.web.schedule]]\nstart = \"22:00\"\nduration_minutes = 60\nscaling.cpu.min_cores = 2",
            true,
        ),
        ("[scaling]\nmode = \"recommend\"\n[containers]\nignore = [102]", true),
        ("[policy.web]\nnames = [\"web\"]\nscaling.guard.boot_seconds = 9", false),
        ("[policy.web]\nnames = [\"web\"]\nrecommend.price_core_hour = 9", false),
        ("[policy.web]\nnames = [\"web\"]\nmodel.contamination = 0.1", false),
        ("[policy.web]\nnames = [\"web\"]\npreset = \"pihole\"", false),
        ("[scaling.guard]\nboot_seconds = 9", false),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let mut config = config(scratch.path());
        let mut pipeline = begin(&config);
        (0..10).for_each(|minute| pipeline.take(snapshot(minute)));
        pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
        (config.policy, config.scaling, config.containers) = policy(text);
        let mut other = begin(&config);
        match other.restore(&config.state.checkpoint()) {
            Ok(true) => assert!(is_good && other.history().containers().count() == 3, "{text}"),
            Err(CheckpointError::Configuration { .. }) => assert!(!is_good, "{text}"),
            unexpected => panic!("{text}: {unexpected:?}"),
        }
    }
}

/// The monitor's history with `hours` before [`BEGIN`] of constant usage by container 100.
fn store(path: &Path, hours: i64, cores: f64, mib: f64) {
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute_batch(schema::SQL).unwrap();
    database.execute_batch(schema::EPOCHS).unwrap();
    database.pragma_update(None, "user_version", schema::VERSION).unwrap();
    database.execute("INSERT INTO series (id, name) VALUES (100, 'web')", []).unwrap();
    let stats = |metric: Metric, value: f64| {
        let code = code::encode(value, metric.resolution()).unwrap();
        (metric, Stats { count: 5, min: code, mean: code, max: code, p95: code })
    };
    let bucket = Bucket { samples: 5, metrics: vec![stats(Metric::Cpu, cores), stats(Metric::Memory, mib)] };
    let mut chunks = std::collections::BTreeMap::<i64, chunk::Chunk>::new();
    let mut start_ms = (BEGIN - hours * 3600) * 1000;
    while start_ms < BEGIN * 1000 {
        let begins = Tier::FiveMinutes.chunk_start(start_ms);
        let place = u32::try_from((start_ms - begins) / Tier::FiveMinutes.bucket_ms()).unwrap();
        chunks.entry(begins).or_default().insert(place, bucket.clone());
        start_ms += Tier::FiveMinutes.bucket_ms();
    }
    for (begins, chunk) in chunks {
        let sql = "INSERT INTO chunks (tier, start_ms, series, data) VALUES (?1, ?2, 100, ?3)";
        let row = rusqlite::params![Tier::FiveMinutes.id(), begins, chunk::encode(&chunk)];
        database.execute(sql, row).unwrap();
    }
}

#[test]
fn a_fresh_installation_knows_what_the_monitor_has_recorded() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    store(&config.metrics.history, 60, 2.5, 1500.0);
    let mut pipeline = begin(&config);
    pipeline.take(snapshot(1));
    let model = |id| &pipeline.history().container(vmid(id)).unwrap().model;
    let (known, new) = (model(100).recommend(at(1)), model(101).recommend(at(1)));
    let (cpu, memory) = (known.cpu.unwrap(), known.memory.unwrap());
    assert!((2 * 86_400..=60 * 3600 + 120).contains(&cpu.known_seconds), "{cpu:?}");
    assert!(2.0 < cpu.target && 1400.0 < memory.target, "{cpu:?} {memory:?}");
    assert!(new.cpu.unwrap().known_seconds <= 60, "of this one nothing was recorded");

    let mut without = config.clone();
    without.metrics.history = std::path::PathBuf::new();
    let mut pipeline = begin(&without);
    pipeline.take(snapshot(1));
    let known = pipeline.history().container(vmid(100)).unwrap().model.recommend(at(1));
    assert!(known.cpu.unwrap().known_seconds <= 60);
}

#[test]
fn the_past_of_another_container_with_the_same_id_is_not_taken_for_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    store(&config.metrics.history, 60, 2.5, 1500.0);
    let mut pipeline = begin(&config);
    let mut first = snapshot(1);
    let record = first.containers.get_mut(&vmid(100)).unwrap();
    record.configuration = Some(ContainerConfig::parse("hostname: other\n").0.into());
    pipeline.take(first);
    let known = pipeline.history().container(vmid(100)).unwrap().model.recommend(at(1));
    assert!(known.cpu.unwrap().known_seconds <= 60);
}

/// The same where its first record does not tell its name.
#[test]
fn the_stored_past_is_asked_for_once_the_name_is_known() {
    for (name, is_known) in [("other", false), ("web", true)] {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        store(&config.metrics.history, 60, 2.5, 1500.0);
        let mut pipeline = begin(&config);
        for minute in 1..4 {
            let mut next = snapshot(minute);
            let record = next.containers.get_mut(&vmid(100)).unwrap();
            let configuration = ContainerConfig::parse(&format!("hostname: {name}\n")).0;
            record.configuration = (1 < minute).then_some(configuration.into());
            if record.configuration.is_none() {
                record.missing.insert("configuration", "it could not be read".into());
            }
            pipeline.take(next);
        }
        let known = pipeline.history().container(vmid(100)).unwrap().model.recommend(at(3));
        let known_seconds = known.cpu.unwrap().known_seconds;
        assert_eq!(2 * 86_400 <= known_seconds, is_known, "{name}: {known_seconds}");
    }
}

/// The monitor saw the id go from one container to another, so its history already has the new name; this daemon forgot
/// the old one after a day, or lost its checkpoint.
#[test]
fn what_is_from_before_a_number_went_to_this_container_is_not_learnt() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    store(&config.metrics.history, 60, 2.5, 1500.0);
    let database = rusqlite::Connection::open(&config.metrics.history).unwrap();
    let begins_ms = (BEGIN - 3600) * 1000;
    database.execute("INSERT INTO epochs VALUES (100, ?1, 'bigdb')", [begins_ms]).unwrap();
    let mut pipeline = begin(&config);
    pipeline.take(snapshot(1));
    let known = pipeline.history().container(vmid(100)).unwrap().model.recommend(at(1));
    let known_seconds = known.cpu.unwrap().known_seconds;
    assert!((1800..=3600 + 120).contains(&known_seconds), "{known_seconds}");
}

/// The daemon started before the monitor had created its database, or before it could be read.
#[test]
fn a_history_that_comes_later_is_learnt_from_all_the_same() {
    for broken in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let config = config(scratch.path());
        if broken {
            std::fs::write(
                &config.metrics.history,
                "this is no database, and long enough to be one".repeat(99),
            )
            .unwrap();
        }
        let mut pipeline = begin(&config);
        let known = |pipeline: &Pipeline| {
            let model = &pipeline.history().container(vmid(100)).unwrap().model;
            model.recommend(at(9)).cpu.unwrap().known_seconds
        };
        (1..4).for_each(|minute| pipeline.take(snapshot(minute)));
        assert!(known(&pipeline) <= 180);
        if broken {
            std::fs::remove_file(&config.metrics.history).unwrap();
        }
        store(&config.metrics.history, 60, 2.5, 1500.0);
        // It restarts in between, and still knows that data is missing.
        pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
        let mut again = begin(&config);
        assert!(again.restore(&config.state.checkpoint()).unwrap());
        for mut pipeline in [pipeline, again] {
            (4..6).for_each(|minute| pipeline.take(snapshot(minute)));
            assert!(2 * 86_400 <= known(&pipeline), "{broken}: {}", known(&pipeline));
        }
    }
}
