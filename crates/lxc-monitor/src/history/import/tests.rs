//! Files of both kinds, complete and damaged, are imported once.

use std::fmt::Write;

use lxc_autoscale_core::history_store::{HistoryReader, Metric, Point, Series, Tier};

use lxc_autoscale_core::progress::Unwatched;

use super::*;

struct Case {
    directory: tempfile::TempDir,
    config: HistoryConfig,
}

impl Case {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("metrics.sqlite");
        Self { directory, config: HistoryConfig { file, ..HistoryConfig::default() } }
    }

    fn import(&self, text: &[u8], zone: &str) -> Result<Report, ImportError> {
        let path = self.directory.path().join("metrics.json");
        std::fs::write(&path, text).unwrap();
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        run(&self.config, &path, TimeZone::get(zone).unwrap(), now, &Unwatched)
    }

    fn read(&self, id: u32, metric: Metric) -> Vec<Point> {
        let reader = HistoryReader::open(&self.config.file).unwrap().unwrap();
        reader.read(Series::from_raw(id), metric, Tier::Minute, 0, i64::MAX).unwrap().points
    }
}

/// A file as written by `json.dump(…, indent=4)` of the original, with one snapshot per time.
fn original(times: &[&str]) -> String {
    let mut text = "[".to_owned();
    for (index, time) in times.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let rx = 1_000_000 + 96_000 * index;
        write!(
            text,
            "{separator}\n    {{\n        \"104\": {{\n            \"timestamp\": \"{time}.100000\",\n            \"cpu_usage_percent\": 37.5,\n            \
             \"memory_usage_mb\": 512.0,\n            \"swap_usage_mb\": 16.0,\n            \"swap_total_mb\": 512.0,\n            \"process_count\": 31,\n            \
             \"io_stats\": {{\n                \"reads\": 81920,\n                \"writes\": 40960\n            }},\n            \
             \"network_usage\": {{\n                \"rx_bytes\": {rx},\n                \"tx_bytes\": 5\n            }},\n            \
             \"filesystem_usage_gb\": 1.5,\n            \"filesystem_total_gb\": 8.0,\n            \"filesystem_free_gb\": 6.5\n        }},\n        \
             \"summary\": {{\n            \"collection_start_time\": \"{time}.000000\",\n            \"collection_end_time\": \"{time}.200000\",\n            \
             \"total_containers\": 1,\n            \"total_duration_seconds\": 0.2,\n            \"monitor_cpu_percent\": 0.1,\n            \"monitor_memory_usage_mb\": 30.5\n        }}\n    }}"
        )
        .unwrap();
    }
    text + "\n]"
}

#[test]
fn of_the_original_only_what_is_true_is_taken() {
    let case = Case::new();
    let text = original(&["2024-08-20T13:07:00", "2024-08-20T13:08:00", "2024-08-20T13:09:00"]);
    let report = case.import(text.as_bytes(), "Europe/Rome").unwrap();
    assert_eq!((report.snapshots, report.of_the_original, report.damaged), (3, 3, 0));
    let memory = case.read(104, Metric::MemoryWithoutCache);
    let first: Timestamp = "2024-08-20T11:07:00Z".parse().unwrap();
    assert_eq!(memory[0].start_ms, first.as_millisecond());
    assert_eq!((memory.len(), memory[0].mean), (3, 512.0));
    assert_eq!(
        case.read(104, Metric::NetRx).iter().map(|point| point.mean).collect::<Vec<_>>(),
        [1600.0, 1600.0]
    );
    let means = |metric| case.read(104, metric).iter().map(|point| point.mean).collect::<Vec<_>>();
    assert_eq!((means(Metric::RootfsUsed), means(Metric::Swap)), (vec![1536.0; 3], vec![16.0; 3]));
    for left_out in
        [Metric::Cpu, Metric::CpuShare, Metric::Memory, Metric::Processes, Metric::IoRead, Metric::SwapLimit]
    {
        assert_eq!(case.read(104, left_out), [], "{}", left_out.name());
    }
}

#[test]
fn a_second_import_changes_nothing() {
    let case = Case::new();
    let times: Vec<String> = (0..600).map(|n| format!("2024-08-20T{:02}:{:02}:30", n / 60, n % 60)).collect();
    let text = original(&times.iter().map(String::as_str).collect::<Vec<_>>());
    let first = case.import(text.as_bytes(), "UTC").unwrap();
    assert!(600 < first.roll_ups, "{first:?}");
    let before = case.read(104, Metric::NetRx);
    let second = case.import(text.as_bytes(), "UTC").unwrap();
    assert_eq!((second.roll_ups, second.new_frames), (0, 0), "{second:?}");
    assert_eq!(case.read(104, Metric::NetRx), before);
}

#[test]
fn a_file_that_goes_on_past_one_imported_before_is_imported_to_its_end() {
    let case = Case::new();
    let times = ["2024-08-20T13:07:10", "2024-08-20T13:07:20", "2024-08-20T13:07:30", "2024-08-20T13:08:10"];
    let samples = || -> Vec<u32> {
        case.read(104, Metric::MemoryWithoutCache).iter().map(|point| point.samples).collect()
    };
    case.import(original(&times[..2]).as_bytes(), "UTC").unwrap();
    assert_eq!(samples(), [2]);
    case.import(original(&times).as_bytes(), "UTC").unwrap();
    assert_eq!(samples(), [3, 1]);
}

#[test]
fn damaged_records_cost_only_themselves_and_are_named() {
    let case = Case::new();
    let times: Vec<String> = (0..30).map(|n| format!("2024-08-20T13:{n:02}:00")).collect();
    let whole = original(&times.iter().map(String::as_str).collect::<Vec<_>>());
    let mut bytes = whole.into_bytes();
    // A brace, a digit of a time, a quote, and the end.
    let nth = |needle: &str, n: usize| {
        std::str::from_utf8(&bytes).unwrap().match_indices(needle).nth(n).map(|(at, _)| at).unwrap()
    };
    let (brace, digit, quote) = (nth("\"io_stats\": {", 5), nth("2024-08", 30), nth("\"summary\"", 20));
    bytes[brace + 12] = b'[';
    bytes[digit] = b'z';
    bytes[quote] = b'#';
    bytes.truncate(bytes.len() - 300);
    let report = case.import(&bytes, "UTC").unwrap();
    assert_eq!((report.snapshots, report.damaged), (26, 4), "{report:?}");
    assert_eq!(report.damaged_at.len(), 4);
    assert!(report.damaged_at.iter().all(|at| bytes[usize::try_from(*at).unwrap()] == b'{'));
    assert!(report.damaged_at.is_sorted());
}

#[test]
fn the_hour_that_comes_twice_is_told_apart_by_its_order() {
    let case = Case::new();
    // Summer time ended in Rome on 2024-10-27 at 03:00, which became 02:00.
    let times = [
        "2024-10-27T01:50:00",
        "2024-10-27T02:20:00",
        "2024-10-27T02:50:00",
        "2024-10-27T02:20:00",
        "2024-10-27T02:50:00",
        "2024-10-27T03:10:00",
    ];
    case.import(original(&times).as_bytes(), "Europe/Rome").unwrap();
    let found: Vec<String> = case
        .read(104, Metric::MemoryWithoutCache)
        .iter()
        .map(|point| Timestamp::from_millisecond(point.start_ms).unwrap().strftime("%H:%M").to_string())
        .collect();
    assert_eq!(found, ["23:50", "00:20", "00:50", "01:20", "01:50", "02:10"]);
}

#[test]
fn what_is_no_metrics_file_is_said_to_be_none() {
    let case = Case::new();
    for text in ["", "[]", "hello", "{\"a\": 1}", "[{}]"] {
        let error = case.import(text.as_bytes(), "UTC").unwrap_err();
        assert!(matches!(error, ImportError::NoMetricsFile { .. }), "{text}: {error:?}");
    }
}
