//! `backtest` as a user runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot set up its case must fail"
)]

mod causality;
mod files;
mod metrics;
mod pipe;
mod reference;

use std::fmt::Write as _;

use files::{Traces, backtest};

#[test]
fn the_same_recording_gives_the_same_result_to_the_byte() {
    let traces = Traces::new(2, 2);
    let run = || {
        let output =
            backtest(&["--traces", traces.csv(), "--allocations", traces.out(), "--html", traces.page()]);
        (output, std::fs::read(traces.out()).unwrap(), std::fs::read(traces.page()).unwrap())
    };
    let (first, second) = (run(), run());
    assert!(first.0.contains("2 containers"), "{}", first.0);
    assert_eq!(first, second);
}

#[test]
fn the_table_has_a_line_for_each_container_and_the_total() {
    let traces = Traces::new(3, 2);
    let shown = backtest(&["--traces", traces.csv()]);
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let lines: Vec<String> = shown.lines().filter_map(first).collect();
    for wanted in ["CT", "200", "201", "202", "all"] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}:\n{shown}");
    }
    assert!(shown.contains("By the stated prices the policy saves "), "{shown}");
    assert!(!shown.contains("NAME"), "traces have no names");
}

#[test]
fn json_has_what_the_table_has() {
    let traces = Traces::new(2, 2);
    let report: serde_json::Value =
        serde_json::from_str(&backtest(&["--traces", traces.csv(), "--json"])).unwrap();
    assert_eq!(report["containers"].as_array().unwrap().len(), 2);
    let total = &report["total"];
    let sum = |path: [&str; 2]| {
        let of = |row: &serde_json::Value| row[path[0]][path[1]].as_f64().unwrap();
        let parts: f64 = report["containers"].as_array().unwrap().iter().map(of).sum();
        assert!((parts - of(total)).abs() < 1e-6, "{path:?}");
    };
    sum(["cpu", "allocated"]);
    sum(["memory", "allocated"]);
    let (j, provisioned) = (total["j"].as_f64().unwrap(), total["j_provisioned"].as_f64().unwrap());
    assert!(1.0 < j && j < provisioned, "{j} {provisioned}");
}

#[test]
fn only_the_containers_that_are_named_are_replayed() {
    let traces = Traces::new(3, 1);
    let shown = backtest(&["--traces", traces.csv(), "--containers", "200,202", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let ids: Vec<_> = report["containers"].as_array().unwrap().iter().map(|row| row["id"].as_u64()).collect();
    assert_eq!(ids, [Some(200), Some(202)]);
    let error = files::refused(&["--traces", traces.csv(), "--containers", "999"]);
    assert!(error.contains("container 999 is not in the recording, which has 200, 201, 202"), "{error}");
}

#[test]
fn another_policy_gives_another_result() {
    let traces = Traces::new(2, 2);
    let changes = |policy: &str| {
        let file = traces.path("policy.toml");
        std::fs::write(&file, policy).unwrap();
        backtest(&["--traces", traces.csv(), "--policy", &file, "--allocations", traces.out()]);
        std::fs::read_to_string(traces.out()).unwrap().lines().count() - 1
    };
    assert_eq!(changes("[scaling]\nmode = \"off\""), 2, "only what each had at first");
    let recommended = changes("[scaling]\nmode = \"recommend\"");
    assert_eq!(recommended, changes("[scaling]\nmode = \"auto\""), "as if it were carried out");
    assert!(2 < recommended);
    assert_eq!(changes("[containers]\nignore = [200, 201]"), 2);
}

/// A container of 32 GiB that needs 20 GiB each night, with the configuration as it ships.
#[test]
fn what_a_container_had_may_be_given_back_whatever_the_default_maximum() {
    let mut csv = files::table(&[]);
    for step in 1..=6 * 288 {
        let is_night = (24..60).contains(&(step % 288));
        let (cores, mib) = if is_night { (12.0, 20_480) } else { (0.5, 2000) };
        let at = files::BEGIN + 300 * step;
        writeln!(csv, "{at},200,16,32768,{cores},{}", mib + step % 7).unwrap();
    }
    let traces = Traces::new(1, 1);
    let (file, policy) = (traces.path("large.csv"), traces.path("empty.toml"));
    std::fs::write(&file, csv).unwrap();
    std::fs::write(&policy, "").unwrap();
    backtest(&["--traces", &file, "--policy", &policy, "--allocations", traces.out()]);
    let decisions = traces.decisions();
    assert!(decisions.iter().any(|(_, _, cores, mib)| *cores < 8.0 && *mib < 16_384.0), "it is made small");
    for night in 3..6 {
        // In the middle of the night.
        let at = files::BEGIN + 300 * (night * 288 + 42);
        let (_, _, cores, mib) = decisions.iter().rev().find(|decision| decision.0 < at).unwrap();
        assert!((12.0..=16.0).contains(cores), "night {night}: {cores} cores");
        assert!((20_480.0..=32_768.0).contains(mib), "night {night}: {mib} MiB");
    }
}

#[test]
fn prices_count() {
    let traces = Traces::new(2, 2);
    let j = |policy: &str| {
        let file = traces.path("policy.toml");
        std::fs::write(&file, policy).unwrap();
        let shown = backtest(&["--traces", traces.csv(), "--policy", &file, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
        (report["prices"]["resize"].as_f64().unwrap(), report["total"]["cost"]["cpu"].as_f64().unwrap())
    };
    let (cheap, dear) = (j("[recommend]\nprice_resize = 0"), j("[recommend]\nprice_resize = 5"));
    assert!(cheap.0 < 1e-9 && (dear.0 - 5.0).abs() < 1e-9 && cheap.1 < dear.1, "{cheap:?} {dear:?}");
}

/// The cost of CPU and memory for each container, and for all.
fn costs(traces: &Traces, policy: &str) -> Vec<[f64; 2]> {
    let file = traces.path("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let shown = backtest(&["--traces", traces.csv(), "--policy", &file, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let rows = report["containers"].as_array().unwrap().iter().chain([&report["total"]]);
    rows.map(|row| ["cpu", "memory"].map(|of| row["cost"][of].as_f64().unwrap())).collect()
}

#[test]
fn each_container_is_judged_by_the_prices_of_its_own_policy() {
    let traces = Traces::new(2, 2);
    let prices = "price_resize = 2\ncpu_headroom_percent = 60\n";
    let general = costs(&traces, &format!("[recommend]\n{prices}"));
    let own = "recommend.price_resize = 2\nrecommend.cpu_headroom_percent = 60\n";
    assert_eq!(costs(&traces, &format!("[policy.all]\nids = [200, 201]\n{own}")), general);
    // One of the two, and the total is the sum of what each costs.
    let mixed = costs(&traces, &format!("[policy.one]\nids = [201]\n{own}"));
    assert_eq!((mixed[0], mixed[1]), (costs(&traces, "")[0], general[1]));
    for of in [0, 1] {
        assert!((mixed[0][of] + mixed[1][of] - mixed[2][of]).abs() < 1e-9, "{mixed:?}");
    }
}

#[test]
fn whole_cores_are_whole() {
    let traces = Traces::new(2, 2);
    backtest(&["--traces", traces.csv(), "--cpu-class", "integer", "--allocations", traces.out()]);
    for (_, _, cores, _) in traces.decisions() {
        assert!(1.0 <= cores && cores.fract() == 0.0, "{cores}");
    }
}

/// With a policy, CPU is given as the daemon with that policy would give it.
#[test]
fn cpu_of_traces_is_given_as_the_policy_says() {
    let traces = Traces::new(2, 2);
    let file = traces.path("policy.toml");
    let run = |policy: &str, more: &[&str]| {
        std::fs::write(&file, policy).unwrap();
        let fixed = ["--traces", traces.csv(), "--policy", &file, "--allocations", traces.out()];
        let shown = backtest(&fixed.iter().chain(more).copied().collect::<Vec<_>>());
        let is_whole = |id: u64| traces.decisions().iter().all(|it| it.1 != id || it.2.fract() == 0.0);
        (shown, [is_whole(200), is_whole(201)])
    };
    let cores = "[scaling.cpu]\ncontrol = \"cores\"";
    let cpulimit = "[scaling.cpu]\ncontrol = \"cpulimit\"";
    let one = "[policy.one]\nids = [201]\nscaling.cpu.control = \"cpulimit\"";
    for (policy, more, title, is_whole) in [
        ("", &[][..], "CPU in whole cores;", [true, true]),
        (cores, &[], "CPU in whole cores;", [true, true]),
        (cpulimit, &[], "CPU in hundredths of a core;", [false, false]),
        (one, &[], "CPU in whole cores or in hundredths, as each policy says;", [true, false]),
        (cores, &["--cpu-class", "fractional"], "CPU in hundredths of a core;", [false, false]),
        (cpulimit, &["--cpu-class", "integer"], "CPU in whole cores;", [true, true]),
    ] {
        let (shown, found) = run(policy, more);
        assert!(shown.contains(title), "{policy} {more:?}: {shown}");
        assert_eq!(found, is_whole, "{policy} {more:?}");
    }
    // Hundredths alone are enough to get less than one core.
    let decisions = |policy: &str, more: &[&str]| {
        run(policy, more);
        traces.decisions()
    };
    let hundredths = decisions(cpulimit, &[]);
    assert_eq!(hundredths, decisions(&format!("{cpulimit}\nmin_cores = 0.1"), &[]));
    assert_eq!(hundredths, decisions(cores, &["--cpu-class", "fractional"]));
    assert!(hundredths.iter().any(|decision| decision.2 < 1.0), "{hundredths:?}");
}

#[test]
fn what_cannot_be_replayed_is_named() {
    let missing = files::refused(&["--traces", "/nonexistent/traces.csv"]);
    assert!(missing.contains("cannot read `/nonexistent/traces.csv`"), "{missing}");
    let traces = Traces::new(1, 1);
    let broken = traces.path("broken.csv");
    std::fs::write(&broken, "timestamp,container_id\n1,2\n").unwrap();
    let error = files::refused(&["--traces", &broken]);
    assert!(error.contains("broken.csv") && error.contains("provisioned_cores"), "{error}");
    // A column that is misspelt would otherwise count as a use that nobody knows.
    let named = std::fs::read_to_string(traces.csv()).unwrap().replace("memory_mb_used", "memory_used");
    for lines in [2, 1] {
        let text = named.lines().take(lines).collect::<Vec<_>>().join("\n");
        std::fs::write(&broken, text).unwrap();
        let error = files::refused(&["--traces", &broken]);
        assert!(error.contains("the column `memory_mb_used` is missing"), "{error}");
    }
    let error = files::refused(&["--traces", traces.csv(), "--allocations", "/nonexistent/out.csv"]);
    assert!(error.contains("cannot write `/nonexistent/out.csv`"), "{error}");
    let error = files::refused(&["--traces", traces.csv(), "--metrics", "x"]);
    assert!(error.contains("cannot be used with"), "{error}");
}
