//! The program as a user runs it.

use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::node::{Container, IDLE, Node, STARVED};

/// Runs the program with the node's configuration; nobody listens at the API's address.
fn run(node: &Node, arguments: &[&str]) -> Output {
    run_with(node, "", arguments)
}

/// The same with more configuration.
fn run_with(node: &Node, more: &str, arguments: &[&str]) -> Output {
    let config = node.path("ml.toml");
    std::fs::write(&config, node.config_text("http://127.0.0.1:9", more)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

/// A node whose past ends now: the program uses the real clock.
fn node() -> Node {
    let hours = 12;
    let mut node = Node::new(&[(100, IDLE), (101, STARVED)]);
    node.now = Timestamp::now() - SignedDuration::from_hours(hours);
    for _ in 0..hours * 12 {
        node.record(SignedDuration::from_mins(5));
    }
    node
}

#[track_caller]
fn check(output: &Output, code: i32, stdout: &[&str], stderr: &str) {
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{shown}\n{errors}");
    for part in stdout {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    assert!(errors.contains(stderr), "{errors}");
}

#[test]
fn plan_shows_changes_and_makes_none() {
    let node = node();
    let output = run(&node, &["plan"]);
    check(
        &output,
        2,
        &["~ 101   web", " → ", "~ 100   web", "2 to grow, 2 to shrink", "would be carried out"],
        "",
    );
    assert!(!node.ledger().exists(), "a plan leaves no trace");
    let output = run(&node, &["plan", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan[1]["id"], 101);
    assert_eq!(plan[1]["cpu"]["action"], "grow");
    assert_eq!(plan[1]["inputs"]["allocation"]["cores"], 2.0);
}

#[test]
fn a_plan_names_the_modes_that_hold_changes_back_once_unless_they_differ() {
    let node = node();
    let shown = |more: &str| String::from_utf8(run_with(&node, more, &["plan"]).stdout).unwrap();
    let one = shown("[scaling]\nmode = \"recommend\"");
    assert!(
        one.contains("None of them would be carried out: the mode is recommend.") && !one.contains('['),
        "{one}"
    );
    let mixed = shown("[scaling.cpu]\nmode = \"recommend\"\n[scaling.memory]\nmode = \"approve\"");
    for (resource, mark) in [(" cpu ", "[recommend]"), (" memory ", "[approve]")] {
        let changes = mixed.lines().filter(|line| line.starts_with('~') && line.contains(resource));
        assert!(changes.clone().count() == 2 && changes.clone().all(|line| line.ends_with(mark)), "{mixed}");
    }
    assert!(mixed.contains("what is marked [recommend] is only shown, what is marked [approve]"), "{mixed}");
}

/// Each number says what it is about, in the same words wherever it is shown.
#[test]
fn how_likely_the_size_and_the_change_stay_right_stands_side_by_side() {
    let node = node();
    let plan = node.path("plan.json");
    let plan = plan.to_str().unwrap();
    let apply = ["apply", plan];
    run(&node, &["once"]);
    for arguments in [&["plan", "--out", plan][..], &apply, &["why", "101"], &["why", "101", "--at", "0m"]] {
        let shown = String::from_utf8(run(&node, arguments).stdout).unwrap();
        let said = shown.lines().filter(|line| line.contains("stays right for an hour: this change "));
        assert!(0 < said.clone().count(), "{arguments:?}: {shown}");
        assert!(said.clone().all(|line| line.contains(" %, the recommended size ")), "{shown}");
    }
    for command in ["decisions", "once"] {
        let shown = String::from_utf8(run(&node, &[command]).stdout).unwrap();
        assert!(shown.contains("STAYS RIGHT"), "{command}: {shown}");
    }
}

#[test]
fn a_plan_without_changes_is_a_success() {
    let mut node = Node::new(&[(100, IDLE)]);
    node.now = Timestamp::now();
    node.record(SignedDuration::ZERO);
    let shown = "0 to grow, 0 to shrink, 2 kept (--all tells why); 0 MiB, 0 cores.";
    check(&run(&node, &["plan"]), 0, &[shown], "");
}

/// A dead monitor must not look like a quiet node.
#[test]
fn a_plan_from_old_measurements_says_so_and_is_no_success() {
    let mut node = Node::new(&[(100, IDLE)]);
    node.now = Timestamp::now() - SignedDuration::from_secs(1000);
    node.record(SignedDuration::ZERO);
    let why = "s old, more than `metrics.max_age_seconds` (300), so nothing is decided on it; is lxc_monitor running?";
    let plan = node.path("plan.json");
    let out = ["--out", plan.to_str().unwrap()];
    check(&run(&node, &[&["plan"], &out[..]].concat()), 5, &["0 to grow, 0 to shrink, 2 kept"], why);
    check(&run(&node, &["plan", "--json"]), 5, &["\"kind\": \"stale\""], why);
    std::fs::write(node.metrics_file(), "[]").unwrap();
    check(&run(&node, &["plan"]), 5, &[], "holds no measurement; is lxc_monitor running?");
    node.only_record(Timestamp::now() + SignedDuration::from_hours(1));
    check(&run(&node, &["plan"]), 5, &[], "s in the future");
    check(&run(&node, &["history", "100"]), 5, &[], "no decision has been made yet");
}

#[test]
fn a_demand_model_that_cannot_be_used_is_no_valid_configuration() {
    let node = node();
    let model = node.path("damaged.bin");
    let text = format!("[recommend]\ndemand_model = \"{}\"", model.display());
    check(&run_with(&node, &text, &["config"]), 1, &[], "cannot read the demand model");
    std::fs::write(&model, "nonsense").unwrap();
    check(&run_with(&node, &text, &["config"]), 1, &[], "cannot use the demand model");
    check(&run_with(&node, "", &["config"]), 0, &["interval_seconds"], "");
}

#[test]
fn a_plan_is_coloured_and_broken_for_terminals_only() {
    let node = node();
    let plain = run(&node, &["plan"]);
    assert!(!plain.stdout.contains(&0x1b), "a pipe gets no colour");
    let coloured = run(&node, &["plan", "--color", "always"]);
    assert!(String::from_utf8_lossy(&coloured.stdout).contains("\u{1b}[32m~ 100"));
    let config = node.path("ml.toml");
    let program = env!("CARGO_BIN_EXE_lxc-autoscale-ml");
    let narrow = Command::new(program)
        .args(["plan", "--all", "--config"])
        .arg(config)
        .env("COLUMNS", "80")
        .output()
        .unwrap();
    let text = String::from_utf8(narrow.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn history_tells_what_was_tried_and_what_came_of_it() {
    let node = node();
    run(&node, &["once"]);
    let want = ["Container 101 since", "memory", "1024 MiB → ", "failed", "out of reach", "changes decided"];
    check(&run(&node, &["history", "101"]), 0, &want, "");
    let output = run(&node, &["history", "101", "--json", "--since", "1h"]);
    let past: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(past["decisions"].as_array().unwrap().len(), 2, "{past}");
    assert_eq!(past["decisions"][0]["decision"]["action"], "grow");
    check(&run(&node, &["history", "999"]), 5, &[], "nothing is known of container 999");
    check(&run(&node, &["history", "101", "--since", "soon"]), 64, &[], "such as 7d");
}

#[test]
fn once_tries_says_what_failed_and_keeps_it() {
    let node = node();
    check(&run(&node, &["decisions"]), 1, &[], "no decision has been made yet");
    check(&run(&node, &["once"]), 1, &["failed", "out of reach"], "is lxc_autoscale_api running?");
    check(&run(&node, &["decisions"]), 0, &["+", "101", "failed"], "");
    let output = run(&node, &["decisions", "--json", "--limit", "1"]);
    let decisions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(decisions.as_array().unwrap().len(), 1);
    let entry = &decisions[0]["cpu"];
    assert_eq!((entry["action"].as_str(), entry["outcome"]["kind"].as_str()), (Some("grow"), Some("failed")));
}

#[test]
fn why_tells_words_and_numbers() {
    let node = node();
    run(&node, &["once"]);
    check(
        &run(&node, &["why", "101"]),
        0,
        &["Container 101 (web)", "otherwise:", "working set", "of 1024 MiB", "Last decisions", "recent peak"],
        "",
    );
    let output = run(&node, &["why", "101", "--json"]);
    let why: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(why["now"]["cpu"]["action"], "grow");
    assert_eq!(why["decisions"][0]["id"], 101);
    check(&run(&node, &["why", "999"]), 5, &[], "nothing is known of container 999");
}

#[test]
fn why_names_the_kind_of_load_and_its_meaning_once_it_is_known() {
    let node = node();
    run(&node, &["once"]);
    let told = |node: &Node, more: &[&str]| -> Value {
        let output = run(node, &[&["why", "100", "--json"][..], more].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let idle = json!({"name": "idle", "meaning": "hardly uses any CPU"});
    check(&run(&node, &["why", "100"]), 0, &["kind of load          idle: hardly uses any CPU"], "");
    assert_eq!(told(&node, &[])["kind_of_load"], idle);
    assert_eq!(told(&node, &["--at", "0m"])[0]["kind_of_load"], idle);

    // Nothing known is not idle.
    let mut young = Node::new(&[(100, IDLE)]);
    young.now = Timestamp::now() - SignedDuration::from_hours(2);
    (0..2 * 12).for_each(|_| young.record(SignedDuration::from_mins(5)));
    check(&run(&young, &["why", "100"]), 0, &["kind of load          not known yet"], "");
    assert_eq!(told(&young, &[]).get("kind_of_load"), None);
}

#[test]
fn forecast_tells_the_coming_hours_and_follows_the_configured_clock() {
    let node = node();
    let part = |zone: &str| {
        let output = run_with(
            &node,
            &format!("[forecast]\ntime_zone = \"{zone}\""),
            &["forecast", "101", "--hours", "2"],
        );
        check(&output, 0, &["Container 101 (web)", "80 % WITHIN", "memory, from 1", zone], "");
        String::from_utf8(output.stdout).unwrap()
    };
    // The two times always differ.
    assert_ne!(
        part("Asia/Kathmandu"),
        part("Pacific/Honolulu").replace("Pacific/Honolulu", "Asia/Kathmandu")
    );
    let output = run(&node, &["forecast", "101", "--hours", "1", "--json"]);
    let forecast: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = forecast["cpu"]["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 12, "{forecast}");
    let first: Timestamp = steps[0]["at"].as_str().unwrap().parse().unwrap();
    assert!(first.duration_since(Timestamp::now()).abs() < SignedDuration::from_mins(6), "{first}");
    let memory = |place: usize| forecast["memory"]["steps"][0]["band"][place]["value"].as_f64().unwrap();
    assert!(900.0 < memory(0) && memory(4) < 970.0, "{forecast}");
    check(&run(&node, &["forecast", "999"]), 5, &[], "nothing is known of container 999");
    check(&run(&node, &["forecast", "101", "--hours", "25"]), 64, &[], "25 is not in 1..=24");
}

#[test]
fn without_the_metrics_file_why_still_tells_the_past() {
    let node = node();
    run(&node, &["once"]);
    std::fs::remove_file(node.metrics_file()).unwrap();
    check(&run(&node, &["why", "101"]), 0, &["cannot read the metrics file", "grow from 2 cores"], "");
    let hint = "is lxc_monitor running? see `lxc-monitor check`";
    for (command, code) in
        [(vec!["plan"], 5), (vec!["forecast", "101"], 1), (vec!["capacity", "101"], 1), (vec!["backtest"], 1)]
    {
        check(&run(&node, &command), code, &[], "cannot read the metrics file");
        check(&run(&node, &command), code, &[], hint);
    }
    check(&run(&node, &["why", "101"]), 0, &[hint], "");
    check(&run(&node, &["policy", "show", "101"]), 0, &[hint], "");
}

#[test]
fn nothing_at_all_is_no_success() {
    let node = Node::new(&[]);
    check(&run(&node, &["why", "104"]), 5, &[], "see `lxc-monitor check`");
    check(&run(&node, &["why", "web"]), 1, &[], "see `lxc-monitor check`");
    check(&run(&node, &["why", "104", "--json"]), 5, &[], "nothing is known of container 104");
}

#[test]
fn a_name_is_as_good_as_an_id_as_long_as_one_container_has_it() {
    let mut node = node();
    node.containers.insert(102, Container { name: "db", ..IDLE });
    node.record(SignedDuration::from_secs(1));
    run(&node, &["once"]);
    for command in ["why", "forecast", "capacity", "history"] {
        check(&run(&node, &[command, "DB"]), 0, &["102"], "");
        let both = "several containers are named `web`: 100, 101; give one of these ids";
        check(&run(&node, &[command, "web"]), 1, &[], both);
        check(&run(&node, &[command, "mail"]), 5, &[], "a container named `mail`");
    }
    check(&run(&node, &["policy", "show", "db"]), 0, &["Container 102 (db)"], "");
    check(&run(&node, &["backtest", "--containers", "100,db"]), 0, &["2 containers"], "");
    check(&run(&node, &["backtest", "--containers", "web"]), 1, &[], "are named `web`: 100, 101");
    check(
        &run(&node, &["backtest", "--containers", "mail"]),
        1,
        &[],
        "container mail is not in the recording",
    );
    // One that is gone is still in the ledger.
    node.containers.remove(&102);
    node.only_record(Timestamp::now());
    check(&run(&node, &["history", "db"]), 0, &["Container 102"], "");
}

#[test]
fn wrong_usage_cannot_be_taken_for_a_plan_with_changes() {
    let node = Node::new(&[]);
    check(&run(&node, &["plan", "--jsn"]), 64, &[], "unexpected argument '--jsn'");
    check(&run(&node, &["why", "12"]), 64, &[], "is not a container id");
    check(
        &run(&node, &["--help"]),
        0,
        &["plan", "why", "decisions", "5 nothing is known of the container"],
        "",
    );
}

#[test]
fn a_configuration_that_is_wrong_is_named_with_its_line() {
    let node = Node::new(&[]);
    let config = node.path("bad.toml");
    std::fs::write(&config, "[scaling.cpu]\nmax_core = 4\n").unwrap();
    let program = env!("CARGO_BIN_EXE_lxc-autoscale-ml");
    let output = Command::new(program).arg("run").arg("--config").arg(&config).output().unwrap();
    check(
        &output,
        1,
        &[],
        "bad.toml:2: unknown key `scaling.cpu.max_core`; did you mean `scaling.cpu.max_cores`?",
    );
    let output = Command::new(program).args(["run", "--config", "/nonexistent.toml"]).output().unwrap();
    check(&output, 1, &[], "cannot read the configuration `/nonexistent.toml`");
}

#[test]
fn detect_scores_each_row_of_the_second_table() {
    let node = Node::new(&[]);
    let (train, score) = (node.path("train.csv"), node.path("score.csv"));
    let rows: Vec<String> = (0..100).map(|row| format!("{},{}\n", row % 7, row % 5)).collect();
    std::fs::write(&train, rows.concat()).unwrap();
    std::fs::write(&score, "3,2\n90,90\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"))
        .args(["detect", "--trees", "50", "--train"])
        .arg(&train)
        .arg("--score")
        .arg(&score)
        .output()
        .unwrap();
    check(&output, 0, &[], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let decisions: Vec<f64> =
        text.lines().map(|line| line.split_once(',').unwrap().1.parse().unwrap()).collect();
    assert!(matches!(decisions[..], [usual, unusual] if 0.0 <= usual && unusual < 0.0), "{text}");
}

#[test]
fn recommend_answers_line_by_line_with_the_built_in_defaults() {
    use std::io::Write;
    use std::process::Stdio;

    let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"))
        .args(["recommend", "--stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let step = r#"{"timestamp": 1372636800, "containers": [{"id": 101, "cores": 2.0, "memory_mb": 4096,
        "provisioned_cores": 2, "provisioned_memory_mb": 4096, "cpu_cores_used": 0.31, "cpu_throttled": 0.0,
        "memory_mb_used": 812.5, "oom": false}]}"#
        .replace('\n', " ");
    let mut input = program.stdin.take().unwrap();
    writeln!(input, "{step}").unwrap();
    drop(input);
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 1, "one line in, one line out");
    assert!(answers[0].is_object());
}

#[test]
fn why_tells_what_would_have_changed_a_decision_now_and_then() {
    let node = node();
    run(&node, &["once"]);
    let want = [
        "What would change that",
        "memory  if ",
        "MEMORY EXPERT",
        "memory forecast ",
        "least",
        "node budget",
        "* ",
    ];
    check(&run(&node, &["why", "100"]), 0, &want, "");
    let output = run(&node, &["why", "101", "--at", "0m"]);
    let want = [
        "Container 101 at ",
        "grow from 1024 MiB",
        "What would have changed it",
        "if the recommendation were",
    ];
    check(&output, 0, &want, "");
    let output = run(&node, &["why", "101", "--at", "0m", "--json"]);
    let then: Value = serde_json::from_slice(&output.stdout).unwrap();
    for entry in then.as_array().unwrap() {
        let made = &entry["decision"];
        let otherwise = entry["otherwise"]["decisive"].as_array().unwrap();
        assert!(!otherwise.is_empty() && entry["note"].is_null(), "{entry:#}");
        for it in otherwise {
            let differs = it["decision"]["action"] != made["action"] || it["decision"]["to"] != made["to"];
            assert!(differs && it["input"].is_string(), "{it:#}");
        }
        // The forecast it is based on is stored with it, that of the other resource is not.
        let about = made["resource"].as_str().unwrap();
        let other = if about == "cpu" { "memory" } else { "cpu" };
        let opinions = &entry["inputs"]["opinions"];
        let forecast = opinions[about]["forecast"].as_array().unwrap();
        let rises = |pair: &[Value]| {
            pair[0][0].as_f64() < pair[1][0].as_f64() && pair[0][1].as_f64() <= pair[1][1].as_f64()
        };
        assert!(2 <= forecast.len() && forecast.windows(2).all(rises), "{opinions:#}");
        assert!(opinions[other].is_null(), "{opinions:#}");
    }
    check(&run(&node, &["why", "101", "--at", "2d"]), 5, &[], "no decision about container 101 is kept from");
    check(&run(&node, &["why", "101", "--at", "2999-01-01T00:00:00Z"]), 5, &[], "is in the future");
    check(&run(&node, &["why", "101", "--at", "soon"]), 64, &[], "write a time such as");
}

#[test]
fn report_counts_what_was_measured_and_says_how_much_that_is() {
    let node = node();
    check(&run(&node, &["report"]), 0, &["there is no ledger"], "");
    run(&node, &["once"]);
    let want =
        ["What was saved from", "the metrics file, which holds hours", "GIB-HOURS FREED", "node", "4 failed"];
    check(&run(&node, &["report", "--since", "6h"]), 0, &want, "");
    let output = run(&node, &["report", "--since", "6h", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["source"], report["hours"].as_f64()), (&Value::from("metrics_file"), Some(6.0)));
    let idle = &report["containers"][0];
    let number = |path: &str| idle.pointer(path).and_then(Value::as_f64).unwrap();
    let covered = number("/memory/covered_hours");
    assert!((5.0..=6.0).contains(&covered), "{idle:#}");
    // 4 GiB all the time, of which 300 MiB are used.
    assert!((number("/memory/held") - 4.0 * covered).abs() < 1e-6, "{idle:#}");
    assert!((number("/memory/used") / covered - 0.29).abs() < 0.01, "{idle:#}");
    assert_eq!(idle["compared"], 0, "nothing was changed, so nothing can be worse for it");
}

#[test]
fn capacity_counts_by_the_rules_that_growth_goes_by() {
    let node = node();
    let want = [
        "More containers like 100 (web)",
        "Room for ",
        "runs out first",
        "peaks of 0 whole days",
        "EXPECTED",
    ];
    check(&run(&node, &["capacity", "100"]), 0, &want, "");
    let output = run(&node, &["capacity", "--cores", "0.1", "--memory-mib", "1000", "--json"]);
    let capacity: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |path: &str| capacity.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!((number("/memory/total"), number("/memory/reserve")), (65_536.0, 6553.6));
    let fit = (number("/count"), number("/cpu/fits"));
    let want = ((number("/memory/free") / 1000.0).floor(), (number("/cpu/free") / 0.1).floor());
    assert_eq!(fit, want, "{capacity:#}");
    assert_eq!(capacity["first"], "memory");
    let text = "[policy.web]\nnames = [\"web\"]\nscaling.priority = 1\n";
    let output = run_with(&node, text, &["capacity", "--policy", "web"]);
    check(&output, 0, &["the average of 2 containers of the policy web"], "");
    check(&run(&node, &["capacity", "--policy", "none"]), 1, &[], "there is no policy `none`");
    check(&run(&node, &["capacity", "999"]), 5, &[], "nothing is known of container 999");
    check(&run(&node, &["capacity"]), 64, &[], "--policy <NAME>|--cores <N>|--memory-mib <N>");
}

#[test]
fn a_back_test_by_the_daemons_configuration_names_it() {
    let node = node();
    let shown = ["Policy: ml.toml; ", "There is no verdict. The longest recording has only 11.9 hours."];
    check(&run(&node, &["backtest"]), 0, &shown, "container-days");
    let json = run(&node, &["backtest", "--json"]);
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["title"]["policy"], "ml.toml");
    // The file that is replayed is still the configured one.
    check(&run(&node, &["backtest", "--built-in"]), 0, &["Policy: built-in; "], "container-days");
    // What the configuration leaves alone stays as it is.
    let end = |more: &str| {
        let json = run_with(&node, more, &["backtest", "--json"]);
        let report: Value = serde_json::from_slice(&json.stdout).unwrap();
        report["containers"][0]["end"][1].as_f64().unwrap()
    };
    assert!(end("") < 4096.0);
    assert!((end("[containers]\nignore = [100]") - 4096.0).abs() < 1e-9);
}
