//! The output for people and programs.

use lxc_autoscale_core::history_store::bucket::Codes;

use super::*;
use crate::history::store::{SampledCycle, Seen, Store};

const START_MS: i64 = 1_763_856_000_000;

struct Case {
    _directory: tempfile::TempDir,
    config: HistoryConfig,
}

fn seen(series: Series, name: &str) -> Seen<'_> {
    Seen { series, name: Some(name), may_be_another: true, up_since_ms: None }
}

fn case(minutes: i64) -> Case {
    let directory = tempfile::tempdir().unwrap();
    let config = HistoryConfig { file: directory.path().join("metrics.sqlite"), ..HistoryConfig::default() };
    let (mut store, _) = Store::open(&config).unwrap();
    let web = Series::from_raw(104);
    store.name(START_MS, [seen(Series::NODE, "pve1"), seen(web, "web")].into_iter()).unwrap();
    // Nothing in the second quarter.
    for minute in (0..minutes).filter(|minute| !(minutes / 4..minutes / 2).contains(minute)) {
        let mut codes = Codes::NONE;
        codes.set(Metric::Cpu, Some(if minute < minutes / 4 { 0.5 } else { 2.0 }));
        let samples = vec![(Series::NODE, codes), (web, codes)];
        store.append(&[SampledCycle { at_ms: START_MS + minute * 60_000, samples }]).unwrap();
    }
    Case { _directory: directory, config }
}

impl Case {
    fn show(&self, minutes: i64, args: &[&str]) -> Result<String, ShowError> {
        self.shown(minutes, args).map(|shown| shown.text)
    }

    fn shown(&self, minutes: i64, args: &[&str]) -> Result<Shown, ShowError> {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            args: HistoryArgs,
        }
        let args = <Program as clap::Parser>::parse_from([&["history"], args].concat()).args;
        let now = Timestamp::from_millisecond(START_MS + minutes * 60_000).unwrap();
        run(&self.config, &args, now, &TimeZone::UTC)
    }
}

#[test]
fn the_table_has_a_line_of_bars_and_few_rows() {
    let case = case(120);
    let text = case.show(120, &["104", "--since", "2h"]).unwrap();
    assert!(text.contains("container 104 (web)  cpu in cores: CPU in use"), "{text}");
    let bars = text.lines().nth(3).unwrap();
    assert_eq!(bars.chars().filter(|bar| *bar == ' ').count(), 18, "{text}");
    assert!(bars.starts_with('▂') && bars.ends_with('█'), "{text}");
    assert!(text.contains("min 0.500  mean 1.500  max 2.000  highest p95 2.000  90 samples"), "{text}");
    let rows = text.lines().filter(|line| line.starts_with("2025-11-23")).count();
    assert!((10..=26).contains(&rows), "{text}");
    let all = case.show(120, &["web", "--since", "2h", "--all"]).unwrap();
    assert_eq!(all.lines().filter(|line| line.starts_with("2025-11-23 0")).count(), 91, "{all}");
}

#[test]
fn programs_get_json_or_csv() {
    let case = case(120);
    let value: serde_json::Value =
        serde_json::from_str(&case.show(120, &["node", "--since", "2h", "--tier", "1h", "--json"]).unwrap())
            .unwrap();
    assert_eq!(
        (&value["unit"], &value["tier"], &value["name"]),
        (&"cores".into(), &"1h".into(), &"pve1".into())
    );
    let points = value["points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    assert_eq!((&points[0]["samples"], &points[0]["p95"]), (&30.into(), &0.5.into()));
    let csv = case.show(120, &["104", "--since", "10m", "--csv"]).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next().unwrap(), "time,samples,min (cores),mean (cores),max (cores),p95 (cores)");
    assert_eq!(lines.next().unwrap(), "2025-11-23T01:50:00+00:00,1,2,2,2,2");
    assert_eq!(lines.count(), 9);
}

#[test]
fn what_does_not_exist_is_said_with_what_may_have_been_meant() {
    let case = case(10);
    let error = |args: &[&str]| case.show(10, args).unwrap_err().to_string();
    assert_eq!(error(&["105"]), "the history knows no container `105`; did you mean `104`?");
    assert_eq!(error(&["wep"]), "the history knows no container `wep`; did you mean `web`?");
    let unknown = error(&["104", "--metric", "memroy"]);
    assert!(unknown.starts_with("there is no metric `memroy`; did you mean `memory`?"), "{unknown}");
    assert!(error(&["104", "--since", "soon"]).starts_with("`soon` is not a time"));
    assert_eq!(error(&["104", "--since", "1h", "--until", "2h"]), "`--until` is not after `--since`");
    let nothing =
        Case { config: HistoryConfig { file: "/nonexistent/x".into(), ..HistoryConfig::default() }, ..case };
    assert!(nothing.show(10, &["104"]).unwrap_err().to_string().starts_with("there is no history at"));
}

#[test]
fn a_name_that_does_not_identify_a_container_is_said_to_be_shared() {
    let case = case(10);
    let (mut store, _) = Store::open(&case.config).unwrap();
    let at_ms = START_MS + 600_000;
    store
        .name(at_ms, [seen(Series::from_raw(105), "web"), seen(Series::from_raw(110), "db")].into_iter())
        .unwrap();
    let error = case.show(10, &["web"]).unwrap_err().to_string();
    assert_eq!(error, "the name `web` is that of several containers, 104, 105; give the id");
    case.show(10, &["db"]).unwrap();
}

#[test]
fn a_period_that_has_not_begun_is_said_to_be_yet_to_come() {
    let error = |args: &[&str]| case(10).show(10, args).unwrap_err().to_string();
    assert_eq!(error(&["104", "--since", "2030-01-01"]), "`--since 2030-01-01` is yet to come");
}

#[test]
fn a_container_whose_id_has_gone_to_another_is_shown_by_its_name() {
    let case = case(120);
    let (mut store, _) = Store::open(&case.config).unwrap();
    let at_ms = START_MS + 120 * 60_000;
    store.name(at_ms, [seen(Series::from_raw(104), "tiny")].into_iter()).unwrap();
    let mut codes = Codes::NONE;
    codes.set(Metric::Cpu, Some(0.25));
    store.append(&[SampledCycle { at_ms, samples: vec![(Series::from_raw(104), codes)] }]).unwrap();
    for id in ["104", "tiny"] {
        let shown = case.shown(121, &[id, "--since", "2h"]).unwrap();
        assert!(
            shown.text.contains("container 104 (tiny)") && shown.text.contains(" 1 samples"),
            "{}",
            shown.text
        );
        assert_eq!(
            shown.warning.as_deref(),
            Some("until 2025-11-23 02:00, 104 was another container, which `history web` shows")
        );
    }
    let shown = case.shown(121, &["web", "--since", "3h"]).unwrap();
    assert!(
        shown.text.contains("container 104 (web)") && shown.text.contains(" 90 samples"),
        "{}",
        shown.text
    );
    let want = "this is `web`, which had the id 104 until 2025-11-23 02:00";
    assert_eq!(shown.warning.as_deref(), Some(want));
}

#[test]
fn programs_get_the_lists_as_json_or_csv() {
    let case = case(10);
    assert_eq!(case.show(10, &["--csv"]).unwrap(), "series,name\nnode,pve1\n104,web\n");
    let value: serde_json::Value = serde_json::from_str(&case.show(10, &["--json"]).unwrap()).unwrap();
    assert_eq!(value[1], serde_json::json!({"series": "104", "name": "web"}));
    let csv = case.show(10, &["--metric", "list", "--csv"]).unwrap();
    assert!(csv.starts_with("metric,unit,about\ncpu,cores,"), "{csv}");
    let value = case.show(10, &["--metric", "list", "--json"]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&value).unwrap();
    assert_eq!((value.as_array().unwrap().len(), &value[0]["unit"]), (Metric::ALL.len(), &"cores".into()));
    let error = case.show(10, &["--metric", "memory"]).unwrap_err().to_string();
    assert!(error.starts_with("`--metric memory` shows it of one container or of the node"), "{error}");
}

#[test]
fn metrics_and_series_are_listed() {
    let case = case(10);
    assert!(case.show(10, &["--metric", "list"]).unwrap().contains("oom_kills                 events"));
    assert_eq!(case.show(10, &[]).unwrap(), "CT          NAME\nnode        pve1\n104         web\n");
    assert!(
        case.show(10, &["104", "--metric", "swap"]).unwrap().contains("nothing was measured in this time")
    );
}

fn names_listed(case: &Case, args: &[&str]) -> Vec<String> {
    let text = case.show(10, args).unwrap();
    text.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn only_what_is_measured_of_a_series_is_shown_of_it() {
    let case = case(10);
    let all = names_listed(&case, &["--metric", "list"]);
    assert_eq!(all.len(), Metric::ALL.len());
    for (id, series) in [("node", Series::NODE), ("104", Series::from_raw(104))] {
        for name in &all {
            let is_of = Metric::from_name(name).unwrap().is_of(series);
            let shown = case.show(10, &[id, "--metric", name]);
            assert_eq!(shown.is_ok(), is_of, "{id} {name}: {shown:?}");
        }
    }
    let error = |args: &[&str]| case.show(10, args).unwrap_err().to_string();
    let memory = error(&["node", "--metric", "memory"]);
    assert!(memory.starts_with("`memory` is not measured of the node"), "{memory}");
    assert!(memory.ends_with("`history node --metric list` lists what is"), "{memory}");
    assert!(error(&["web", "--metric", "zfs_arc"]).starts_with("`zfs_arc` is not measured of a container"));
}

/// A kernel without pressure, a container without swap: what was never measured of it is not kept of it.
#[test]
fn what_is_kept_of_a_series_is_listed_of_it() {
    let case = case(10);
    let (mut store, _) = Store::open(&case.config).unwrap();
    let mut codes = Codes::NONE;
    codes.set(Metric::Swap, Some(16.0));
    codes.set(Metric::Cpu, Some(0.25));
    let other = Series::from_raw(110);
    store.name(START_MS + 1, [seen(other, "db")].into_iter()).unwrap();
    // Rolled up, and in every length.
    store
        .append(&[SampledCycle { at_ms: START_MS - 40 * 86_400_000, samples: vec![(other, codes)] }])
        .unwrap();
    while store.compact_step(START_MS).unwrap().more {}
    let mut codes = Codes::NONE;
    codes.set(Metric::Memory, Some(512.0));
    store.append(&[SampledCycle { at_ms: START_MS + 1, samples: vec![(other, codes)] }]).unwrap();
    drop(store);
    for (args, want) in [
        (vec!["104"], vec!["cpu"]),
        (vec!["web"], vec!["cpu"]),
        (vec!["node"], vec!["cpu"]),
        (vec!["110"], vec!["cpu", "memory", "swap"]),
        (vec!["110", "--since", "7d"], vec!["memory"]),
        (vec!["110", "--until", "7d"], vec!["cpu", "swap"]),
        (vec!["110", "--since", "7d", "--tier", "1m"], vec!["memory"]),
        (vec!["110", "--tier", "1h"], vec!["cpu", "memory", "swap"]),
    ] {
        assert_eq!(names_listed(&case, &[&args[..], &["--metric", "list"]].concat()), want, "{args:?}");
    }
    let json = case.show(10, &["110", "--metric", "list", "--since", "7d", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["metric"]), (1, &"memory".into()));
    let error = case.show(10, &["105", "--metric", "list"]).unwrap_err().to_string();
    assert_eq!(error, "the history knows no container `105`; did you mean `104`?");
}
