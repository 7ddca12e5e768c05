use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::IoStats;
use proptest::prelude::*;

use super::*;
use crate::history::step;

fn record(seconds: i64, cpu: f64, memory: f64) -> ContainerRecord {
    let at = Timestamp::from_second(1_800_000_000 + seconds).unwrap();
    ContainerRecord {
        cpu_usage_percent: Some(cpu),
        memory_usage_mb: Some(memory),
        process_count: Some(10),
        io_stats: Some(IoStats {
            reads: seconds.unsigned_abs() * 100,
            writes: 0,
            read_ops: None,
            write_ops: None,
        }),
        ..ContainerRecord::empty(RecordTime::utc(at))
    }
}

fn table(records: &[ContainerRecord]) -> FeatureTable {
    let mut table = FeatureTable::new(1440);
    let mut previous = None;
    for record in records {
        table.push(previous, record, &step(previous, record));
        previous = Some(record);
    }
    table
}

/// A cell of the newest row; `None` where nothing was measured.
fn cell(table: &FeatureTable, name: &str) -> Option<f32> {
    let cells = table.cells();
    let column = FEATURES.iter().position(|feature| *feature == name).unwrap();
    Some(cells[[cells.nrows() - 1, column]]).filter(|value| !value.is_nan())
}

#[test]
fn the_columns_are_what_their_names_say() {
    let records = [record(0, 10.0, 100.0), record(60, 20.0, 100.0), record(120, 40.0, 160.0)];
    let table = table(&records);
    for (name, want) in [
        ("cpu_memory_ratio", Some(0.25)),
        ("cpu_per_process", Some(4.0)),
        ("cpu_trend", Some(15.0)),
        ("cpu_usage_percent", Some(40.0)),
        ("filesystem_free_gb", None),
        ("io_reads", Some(100.0)),
        ("io_writes", Some(0.0)),
        ("max_cpu", Some(40.0)),
        ("min_cpu", Some(10.0)),
        ("max_memory", Some(160.0)),
        ("memory_per_process", Some(16.0)),
        ("memory_trend", Some(30.0)),
        ("network_rx_bytes", None),
        ("process_count", Some(10.0)),
        ("rolling_mean_memory", Some(120.0)),
        ("swap_usage_mb", None),
        ("time_diff", Some(60.0)),
    ] {
        assert_eq!(cell(&table, name), want, "{name}");
    }
    let deviation = cell(&table, "rolling_std_cpu").unwrap();
    assert!((deviation - 12.472).abs() < 1e-3, "{deviation}");
}

#[test]
fn a_gap_begins_the_rolling_columns_anew() {
    let table = table(&[record(0, 90.0, 100.0), record(7200, 10.0, 100.0)]);
    assert_eq!((cell(&table, "rolling_mean_cpu"), cell(&table, "time_diff")), (Some(10.0), None));
    assert_eq!((cell(&table, "max_cpu"), cell(&table, "io_reads")), (Some(10.0), None));
}

/// Ninety quiet minutes, then `last`.
fn quiet_then(last: ContainerRecord) -> FeatureTable {
    let quiet =
        (0..90).map(|minute| record(60 * minute, 5.0 + (minute % 7) as f64, 200.0 + (minute % 5) as f64));
    table(&quiet.chain([last]).collect::<Vec<_>>())
}

#[test]
fn a_row_unlike_the_past_is_an_anomaly_and_one_like_it_is_not() {
    let judge = |table: FeatureTable| {
        table.judge(&crate::config::ModelConfig::default().detection(), 64).unwrap().unwrap()
    };
    let usual = judge(quiet_then(record(5400, 7.0, 202.0)));
    let unusual = judge(quiet_then(record(5400, 95.0, 900.0)));
    assert!(!usual.score.is_anomaly(), "{usual:?}");
    assert!(unusual.score.is_anomaly(), "{unusual:?}");
    assert!(95.0 < unusual.unusual.percentile && usual.unusual.because.is_empty());
    let because = &unusual.unusual.because;
    assert!(because.iter().any(|name| name.contains("memory") || name.contains("cpu")), "{because:?}");
    assert!(usual.features.contains("cpu_usage_percent"));
    assert!(!usual.features.contains("swap_usage_mb"), "never measured, never learnt from");
}

/// A restart changes no digit of a verdict: of the forest while there are few rows, and of the mixture.
#[test]
fn a_table_from_a_checkpoint_gives_the_same_verdicts() {
    let params = crate::config::ModelConfig::default().detection();
    for (rows, detector) in [(200, Detector::IsolationForest), (700, Detector::GaussianMixture)] {
        let usual = |n: i64| record(60 * n, 5.0 + (n * n % 13) as f64 / 3.0, 200.0 + (n % 60) as f64);
        let before = table(&(0..rows).map(usual).collect::<Vec<_>>());
        let mut bytes = Vec::new();
        ciborium::into_writer(&before, &mut bytes).unwrap();
        let after: FeatureTable = ciborium::from_reader(&bytes[..]).unwrap();
        let verdict = |table: &FeatureTable| table.judge(&params, 64).unwrap().unwrap();
        assert_eq!(verdict(&before).unusual.detector, detector);
        assert_eq!(verdict(&after), verdict(&before), "{rows}");
    }
}

#[test]
fn too_little_past_gives_no_verdict() {
    // The first row has no step and is not compared.
    let table = table(&[0, 60, 120, 180].map(|seconds| record(seconds, 1.0, 1.0)));
    assert_eq!(table.judge(&crate::config::ModelConfig::default().detection(), 3).unwrap(), None);
    assert!(table.judge(&crate::config::ModelConfig::default().detection(), 2).unwrap().is_some());
}

#[test]
fn a_change_of_the_interval_makes_nothing_unusual() {
    let slow = (0..90).map(|n| record(300 * n, 5.0 + (n % 7) as f64, 200.0 + (n % 5) as f64));
    let fast = (1..60).map(|n| record(300 * 89 + 2 * n, 5.0 + (n % 7) as f64, 200.0 + (n % 5) as f64));
    let table = table(&slow.chain(fast).collect::<Vec<_>>());
    let judge = |min_rows| table.judge(&crate::config::ModelConfig::default().detection(), min_rows).unwrap();
    assert_eq!(judge(64), None, "58 fast rows are too few to learn from, and slow ones are no measure");
    assert!(!judge(58).unwrap().score.is_anomaly());
}

#[test]
fn the_table_is_bounded() {
    let mut table = FeatureTable::new(3);
    for minute in 0..10 {
        let record = record(60 * minute, 1.0, 1.0);
        table.push(None, &record, &step(None, &record));
    }
    assert_eq!(table.len(), 3);
}

fn any_number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        any::<f64>().prop_map(Some),
        Just(Some(f64::NAN)),
        Just(Some(f64::INFINITY)),
        (0.0..100.0f64).prop_map(Some)
    ]
}

proptest! {
    /// Whatever the file contains, no infinite value reaches the detector.
    #[test]
    fn cells_are_finite(
        cells in prop::collection::vec((1i64..2000, any_number(), any_number(), any::<Option<u64>>()), 2..12),
    ) {
        let mut seconds = 0;
        let records: Vec<_> = cells
            .into_iter()
            .map(|(pause, cpu, memory, count)| {
                seconds += pause;
                let io = count.map(|reads| IoStats { reads, writes: reads, read_ops: None, write_ops: None });
                ContainerRecord {
                    cpu_usage_percent: cpu,
                    memory_usage_mb: memory,
                    process_count: count,
                    io_stats: io,
                    swap_usage_mb: memory,
                    ..record(seconds, 0.0, 0.0)
                }
            })
            .collect();
        let table = table(&records);
        prop_assert!(table.cells().iter().all(|cell| !cell.is_infinite()));
        prop_assert!(table.judge(&crate::config::ModelConfig::default().detection(), 2).is_ok());
    }
}
