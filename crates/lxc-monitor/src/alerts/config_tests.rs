use lxc_autoscale_core::config::parse;

use super::*;
use crate::alerts::metric::Metric;
use crate::config::MonitorConfig;

const SHIPPED: &str = include_str!("../../../../config/lxc_monitor.toml");

#[track_caller]
fn alerts(text: &str) -> AlertsConfig {
    parse::<MonitorConfig>(text).unwrap_or_else(|(line, problem)| panic!("{line}: {problem}")).alerts
}

#[track_caller]
fn check(text: &str, want_line: usize, want: &str) {
    let (line, problem) = parse::<MonitorConfig>(text).unwrap_err();
    assert_eq!((line, problem.to_string().as_str()), (want_line, want));
}

#[test]
fn every_rule_stands_whole_in_the_shipped_file() {
    for (name, rule) in defaults::rules() {
        let (_, section) = SHIPPED.split_once(&format!("\n[alerts.rule.{name}]\n")).unwrap_or_else(|| {
            panic!("no [alerts.rule.{name}]");
        });
        let section = section.split("\n[").next().unwrap();
        for key in ["metric", "trigger", "clear", "for_seconds", "clear_for_seconds", "severity", "enabled"] {
            assert!(section.contains(&format!("{key} = ")), "`{key}` of {name}");
        }
        assert!(section.contains(&format!("metric = \"{}\"", rule.metric.name())), "{name}");
    }
}

#[test]
fn one_key_changes_one_key() {
    let config = alerts("[alerts.rule.memory]\nfor_seconds = 7\n");
    let want = Rule { for_seconds: 7, ..defaults::rules()["memory"] };
    assert_eq!(config.rules["memory"], want);
    assert_eq!(config.rules.len(), defaults::rules().len());
}

#[test]
fn a_new_name_is_a_new_rule() {
    let text = "[alerts.rule.busy]\nmetric = \"cpu_pressure_some_avg10\"\ntrigger = 30\nclear = 10.5\n\
                severity = \"info\"\n";
    let rule = alerts(text).rules["busy"];
    assert_eq!(rule.metric.name(), "cpu_pressure_some_avg10");
    assert_eq!((rule.trigger, rule.clear, rule.severity), (30.0, 10.5, Severity::Info));
}

#[test]
fn a_former_name_of_a_metric_is_taken() {
    let rule = |metric: &str| {
        alerts(&format!("[alerts.rule.busy]\nmetric = \"{metric}\"\ntrigger = 30\nclear = 10\n")).rules["busy"]
    };
    assert_eq!(rule("cpu"), rule("cpu_percent"));
    assert_eq!(rule("cpu").metric, Metric::Cpu);
}

#[test]
fn wrong_rules_are_refused_by_line_and_name() {
    let head = "interval_seconds = 60\n";
    let case = |text: &str, line, want: &str| check(&format!("{head}{text}"), line, want);
    case(
        "[alerts.rule.rootfs]\ntrigger = 80\n",
        2,
        "`alerts.rule.rootfs.clear` is 87 and must be less than `trigger`, 80",
    );
    case(
        "[alerts.rule.node-memory]\ntrigger = 5\nclear = 4\n",
        4,
        "`alerts.rule.node-memory.clear` is 4 and must be more than `trigger`, 5: the less, the worse",
    );
    case("[alerts.rule.rootfs]\ntrigger = nan\n", 3, "`alerts.rule.rootfs.trigger` must be from 0 to 100");
    case(
        "[alerts.rule.rootfs]\nfor_seconds = 999999999\n",
        3,
        "`alerts.rule.rootfs.for_seconds` must be from 0 to 604800",
    );
    case("[alerts]\nstate_file = \"x\"\n", 3, "`alerts.state_file` must be an absolute path");
    case(
        "[alerts]\nno_data_after_seconds = 1\n",
        3,
        "`alerts.no_data_after_seconds` must be from 60 to 604800",
    );
    case(
        "[alerts.rule.\"a b\"]\nmetric = \"cpu\"\ntrigger = 2\nclear = 1\n",
        2,
        "`alerts.rule.a b` must be named with small letters, digits, - and _ only",
    );
}

#[test]
fn overrides_are_checked_too() {
    check(
        "[alerts.container.104.rule.rootfs]\ntrigger = 95\n",
        1,
        "`alerts.container.104.rule.rootfs` must have both `trigger` and `clear`, or neither",
    );
    check(
        "[alerts.tag.db.rule.node-memory]\nenabled = false\n",
        1,
        "`alerts.tag.db.rule.node-memory` cannot be changed here: it is about the node",
    );
    check(
        "[alerts.tag.db.rule.memory]\nmetric = \"cpu\"\n",
        2,
        "`alerts.tag.db.rule.memory.metric` cannot differ between containers; make a rule of its own",
    );
    let (_, problem) = parse::<MonitorConfig>("[alerts.tag.db.rule.memroy]\nenabled = false\n").unwrap_err();
    assert!(problem.to_string().contains("changes no rule; there are "), "{problem}");
    let (_, problem) = parse::<MonitorConfig>("[alerts.container.99.rule.memory]\n").unwrap_err();
    assert!(problem.to_string().contains("`99` is not a container id"), "{problem}");
    let (_, problem) = parse::<MonitorConfig>("[alerts.rule.x]\nmetric = \"cup\"\n").unwrap_err();
    assert!(problem.to_string().contains("there is no metric `cup`; there are cpu_percent, "), "{problem}");
    let (_, problem) = parse::<MonitorConfig>("[alerts.rule.x]\ntrigger = 1\n").unwrap_err();
    assert!(problem.to_string().contains("the new rule `x` needs `metric`, `trigger` and `clear`"));
}

#[test]
fn tags_are_those_of_proxmox_whatever_their_case() {
    let config = alerts("[alerts.tag.DataBase.rule.memory]\nenabled = false\n");
    let settings = config.settings(Duration::from_mins(1));
    let rule = settings.rules.rules["memory"];
    for (tag, want) in [("database", false), ("DATABASE", false), ("data", true)] {
        let tags = [tag.to_owned()];
        let rule = settings.rules.for_container("memory", rule, "104".parse().unwrap(), Some(&tags));
        assert_eq!(rule.unwrap().enabled, want, "{tag}");
    }
    for tag in ["web", "Web-1", "_a", "9.x+y"] {
        alerts(&format!("[alerts.tag.\"{tag}\".rule.memory]\nenabled = false\n"));
    }
    for tag in ["a b!", "", "-a", "büro", "a;b"] {
        let text = format!("[alerts.tag.\"{tag}\".rule.memory]\nenabled = false\n");
        let (line, problem) = parse::<MonitorConfig>(&text).unwrap_err();
        let problem = problem.to_string();
        assert_eq!(line, 1, "{problem}");
        assert!(problem.starts_with(&format!("`alerts.tag.{tag}` can be no tag of Proxmox: ")), "{problem}");
    }
    let (_, problem) = parse::<MonitorConfig>(
        "[alerts.tag.db.rule.memory]\nenabled = false\n[alerts.tag.DB.rule.swap]\nenabled = false\n",
    )
    .unwrap_err();
    assert!(problem.to_string().contains("is the same tag as `"), "{problem}");
}

#[test]
fn an_alert_that_could_never_fire_is_refused() {
    let held = |key: &str| {
        format!(
            "`{key}.for_seconds` must be 0 for `oom_kills`, which counts what happened since the previous cycle: it is \
             0 again in the next one, so the alert would never fire"
        )
    };
    check("[alerts.rule.oom-kill]\nfor_seconds = 60\n", 2, &held("alerts.rule.oom-kill"));
    check("[alerts.tag.db.rule.oom-kill]\nfor_seconds = 60\n", 2, &held("alerts.tag.db.rule.oom-kill"));
    check(
        "[alerts.container.104.rule.oom-kill]\nfor_seconds = 1\n",
        2,
        &held("alerts.container.104.rule.oom-kill"),
    );
    check(
        "[alerts.rule.stopped]\ntrigger = 2\nclear = 1\n",
        2,
        "`alerts.rule.stopped.trigger` must be from 0 to 1",
    );
}

#[test]
fn a_new_rule_about_events_fires_at_once() {
    let config = alerts("[alerts.rule.my-oom]\nmetric = \"oom_kills\"\ntrigger = 1\nclear = 0\n");
    let rule = config.rules["my-oom"];
    assert_eq!((rule.for_seconds, rule.clear_for_seconds), (0, 60));
}

#[test]
fn overrides_reach_the_engine() {
    let config = alerts("[alerts.container.104.rule.memory]\ntrigger = 60\nclear = 50\n");
    let settings = config.settings(Duration::from_mins(1));
    let rule = settings.rules.rules["memory"];
    let rule = settings.rules.for_container("memory", rule, "104".parse().unwrap(), Some(&[])).unwrap();
    assert_eq!((rule.metric, rule.trigger), (Metric::Memory, 60.0));
}

#[test]
fn switched_off_there_are_no_rules() {
    let config = alerts("[alerts]\nenabled = false\n");
    assert!(config.settings(Duration::from_mins(1)).rules.rules.is_empty());
}

#[test]
fn data_is_not_missed_before_three_cycles_are() {
    let after = |interval| AlertsConfig::default().settings(Duration::from_secs(interval)).no_data_after;
    assert_eq!(after(60), SignedDuration::from_secs(600));
    assert_eq!(after(3600), SignedDuration::from_secs(3 * 3600));
}
