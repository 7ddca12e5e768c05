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
        reader.read(Series::from_raw(id), metric, Tier::Minute.between(0, i64::MAX)).unwrap().points
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

/// One record of container 104 each minute, with these members.
fn minutes(records: &[&str]) -> String {
    let text: Vec<String> = records
        .iter()
        .enumerate()
        .map(|(minute, members)| {
            let time = format!("2024-08-20T13:{minute:02}:00");
            format!(
                "{{\"104\": {{\"timestamp\": \"{time}\", {members}}}, \"105\": {{\"timestamp\": \"{time}\", \"memory_usage_mb\": 7.5}}, \
                 \"summary\": {{\"collection_start_time\": \"{time}\"}}}}"
            )
        })
        .collect();
    format!("[{}]", text.join(", "))
}

/// When `pct exec` failed, the original wrote zeros.
#[test]
fn zeros_of_a_read_that_failed_are_unknown() {
    let case = Case::new();
    let record = |memory: f64, swap: [f64; 2], rootfs: [f64; 2], network: [u64; 2]| {
        format!(
            "\"memory_usage_mb\": {memory:?}, \"swap_usage_mb\": {:?}, \"swap_total_mb\": {:?}, \
             \"filesystem_usage_gb\": {:?}, \"filesystem_total_gb\": {:?}, \
             \"network_usage\": {{\"rx_bytes\": {}, \"tx_bytes\": {}}}",
            swap[0], swap[1], rootfs[0], rootfs[1], network[0], network[1]
        )
    };
    let good = |rx: u64| record(900.5, [100.0, 512.0], [4.5, 8.0], [rx, rx / 2]);
    let far = 500_000_000_000;
    let failed = record(0.0, [0.0, 0.0], [0.0, 0.0], [0, 0]);
    let no_swap_used = record(900.5, [0.0, 512.0], [4.5, 8.0], [far + 576_000, 0]);
    let records =
        [good(far), good(far + 96_000), failed, good(far + 384_000), good(far + 480_000), no_swap_used];
    let report = case.import(minutes(&records.each_ref().map(String::as_str)).as_bytes(), "UTC").unwrap();
    assert_eq!((report.snapshots, report.damaged, report.unusable_fields), (6, 0, 0));
    let minute_of = |point: &Point| point.start_ms / 60_000 % 60;
    let of = |metric| -> Vec<(i64, f64)> {
        case.read(104, metric).iter().map(|point| (minute_of(point), point.mean)).collect()
    };
    let (minutes, measured) = ([0, 1, 3, 4, 5], |value| move |minute: i64| (minute, value));
    assert_eq!(of(Metric::MemoryWithoutCache), minutes.map(measured(900.5)));
    assert_eq!(of(Metric::RootfsUsed), minutes.map(measured(4608.0)));
    assert_eq!(of(Metric::RootfsTotal), minutes.map(measured(8192.0)));
    assert_eq!(of(Metric::Swap), [(0, 100.0), (1, 100.0), (3, 100.0), (4, 100.0), (5, 0.0)]);
    assert_eq!(of(Metric::NetRx), [(1, 1600.0), (4, 1600.0), (5, 1600.0)], "no rate across the gap");
}

#[test]
fn a_field_that_is_no_sane_number_costs_only_itself() {
    let case = Case::new();
    let network = |rx: &str| format!("\"network_usage\": {{\"rx_bytes\": {rx}, \"tx_bytes\": 5}}");
    let memory = "\"memory_usage_mb\": 512.0";
    let records = [
        format!("{memory}, {}", network("60000")),
        format!("{memory}, {}", network("120000.0")),
        format!("{memory}, {}", network("-9")),
        format!("{memory}, {}", network("180000.5")),
        format!("{memory}, \"network_usage\": []"),
        format!("\"memory_usage_mb\": NaN, {}", network("240000")),
        format!("\"memory_usage_mb\": -Infinity, \"note\": \"NaN\", {}", network("300000")),
        format!("\"memory_usage_mb\": \"1.5\", {}", network("null")),
        "\"memory_usage_mb\": 1e999".to_owned(),
        "\"memory_usage_mb\": null, \"filesystem_usage_gb\": {}, \"filesystem_total_gb\": 8.0".to_owned(),
    ];
    let text = minutes(&records.each_ref().map(String::as_str));
    let report = case.import(text.as_bytes(), "UTC").unwrap();
    assert_eq!((report.snapshots, report.of_the_original, report.damaged), (10, 10, 0), "{report:?}");
    assert_eq!(report.unusable_fields, 8, "{report:?}");
    let minutes = |id, metric| -> Vec<i64> {
        case.read(id, metric).iter().map(|point| point.start_ms / 60_000 % 60).collect()
    };
    assert_eq!(minutes(105, Metric::MemoryWithoutCache), (0..10).collect::<Vec<_>>(), "the others count");
    assert_eq!(minutes(104, Metric::MemoryWithoutCache), [0, 1, 2, 3, 4]);
    assert_eq!(minutes(104, Metric::NetRx), [1, 6]);
    assert_eq!(minutes(104, Metric::RootfsTotal), [9]);
    assert_eq!(minutes(104, Metric::RootfsUsed), [0; 0]);
}

#[test]
fn what_is_no_container_costs_only_itself() {
    let case = Case::new();
    let summary = "\"summary\": {\"collection_start_time\": \"2024-08-20T13:07:00\"}";
    let good = "\"104\": {\"timestamp\": \"2024-08-20T13:07:01\", \"memory_usage_mb\": 512.0}";
    let text = format!(
        "[{{{good}, \"105\": null, \"106\": {{\"memory_usage_mb\": 1.0}}, \"web\": {{}}, {summary}}}, {{\"105\": 7, {summary}}}]"
    );
    let report = case.import(text.as_bytes(), "UTC").unwrap();
    assert_eq!((report.snapshots, report.unusable_fields, report.damaged), (1, 3, 1), "{report:?}");
    assert_eq!(case.read(104, Metric::MemoryWithoutCache).len(), 1);
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

/// A file of weeks up to now: its beginning is older than what is kept, and its end is not rolled up yet.
#[test]
fn what_is_counted_as_new_is_there_and_a_second_import_finds_nothing() {
    let case = Case::new();
    let case = Case { config: HistoryConfig { keep_1m_days: 1, keep_5m_days: 2, ..case.config }, ..case };
    let last: Timestamp = "2026-11-23T11:55:00Z".parse().unwrap();
    let times: Vec<String> = (0..12 * 288)
        .rev()
        .map(|step| {
            (last - jiff::SignedDuration::from_mins(5 * step)).strftime("%Y-%m-%dT%H:%M:%S").to_string()
        })
        .collect();
    let text = original(&times.iter().map(String::as_str).collect::<Vec<_>>());
    let first = case.import(text.as_bytes(), "UTC").unwrap();
    let reader = HistoryReader::open(&case.config.file).unwrap().unwrap();
    // Samples that wait are rolled up when they are read.
    let waiting_ms = "2026-11-23T08:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
    let kept: usize = Tier::ALL
        .into_iter()
        .map(|tier| {
            let series = Series::from_raw(104);
            reader.read(series, Metric::MemoryWithoutCache, tier.between(0, waiting_ms)).unwrap().points.len()
        })
        .sum();
    assert_eq!((first.roll_ups, first.new_frames), (kept as u64, 48), "{first:?}");
    let second = case.import(text.as_bytes(), "UTC").unwrap();
    assert_eq!((second.roll_ups, second.new_frames), (0, 0), "{second:?}");
}

/// A record of ours each minute, in which 104 is called `name` and has been running for so long.
fn ours(day: &str, minutes: impl Iterator<Item = (u32, &'static str, u32)>) -> String {
    let records: Vec<String> = minutes
        .map(|(minute, name, uptime)| {
            let time = format!("{day}T13:{minute:02}:00Z");
            format!(
                "{{\"104\":{{\"timestamp\":\"{time}\",\"memory_usage_mb\":{minute}.0,\"uptime_seconds\":{uptime}.0,\
                 \"configuration\":{{\"name\":\"{name}\",\"memory_mb\":512,\"swap_mb\":0}}}},\"summary\":{{\
                 \"collection_start_time\":\"{time}\",\"collection_end_time\":\"{time}\",\"total_containers\":1,\
                 \"total_duration_seconds\":0.1,\"schema_version\":1}}}}"
            )
        })
        .collect();
    format!("[\n{}\n]\n", records.join(",\n"))
}

/// The daemon was stopped before it rolled its samples up.
#[test]
fn what_the_daemon_holds_as_samples_is_nothing_new() {
    let case = Case::new();
    let text = ours("2026-11-20", (0..20).map(|minute| (minute, "web", 7000 + 60 * minute)));
    let (mut store, _) = Store::open(&case.config).unwrap();
    let (mut rates, mut times) = (Rates::default(), LocalTimes::new(TimeZone::UTC));
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let cycle = record::read(line.trim_end_matches(',').as_bytes(), &mut times).unwrap().cycle;
        store.name(cycle.at_ms, cycle.seen(&rates)).unwrap();
        store.append(&[SampledCycle { at_ms: cycle.at_ms, samples: rates.samples(&cycle) }]).unwrap();
    }
    drop(store);
    let report = case.import(text.as_bytes(), "UTC").unwrap();
    assert_eq!((report.snapshots, report.roll_ups, report.new_frames), (20, 0, 0), "{report:?}");
    assert_eq!(case.read(104, Metric::Memory).len(), 20);
}

#[test]
fn an_older_file_names_nothing_anew_and_keeps_its_containers_apart() {
    let case = Case::new();
    let present = ours("2026-11-20", (0..4).map(|minute| (minute, "web", 100_000 + 60 * minute)));
    case.import(present.as_bytes(), "UTC").unwrap();
    let older = ours(
        "2026-11-10",
        (0..8).map(|minute| {
            if minute < 4 {
                (minute, "bigdb", 7000 + 60 * minute)
            } else {
                (minute, "web", 60 * minute - 230)
            }
        }),
    );
    for _ in 0..2 {
        case.import(older.as_bytes(), "UTC").unwrap();
        let reader = HistoryReader::open(&case.config.file).unwrap().unwrap();
        let called = |list: Vec<lxc_autoscale_core::history_store::SeriesInfo>| -> Vec<String> {
            list.into_iter().map(|info| info.name).collect()
        };
        assert_eq!(
            (called(reader.series().unwrap()), called(reader.former().unwrap())),
            (vec!["web".to_owned()], vec!["bigdb".to_owned()])
        );
        let means: Vec<f64> = case.read(104, Metric::Memory).iter().map(|point| point.mean).collect();
        assert_eq!(means, [4.0, 5.0, 6.0, 7.0, 0.0, 1.0, 2.0, 3.0]);
    }
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
