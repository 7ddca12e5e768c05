//! Policies by a container's identity, how they are stored, and how the program shows them.

use jiff::SignedDuration;
use lxc_autoscale_ml::decide::{Action, Reason, decide};
use lxc_autoscale_ml::ledger::Ledger;
use serde_json::Value;

use crate::api::{RecordingApi, Request};
use crate::node::{Container, IDLE, Node, STARVED};

/// The memory requested for a container, in MiB.
fn memory(requests: &[Request], id: u32) -> Option<u64> {
    let found = requests.iter().find(|(at, body)| *at == "/scale/ram" && body["vm_id"] == id);
    found.map(|(_, body)| body["memory"].as_u64().unwrap())
}

#[tokio::test]
async fn containers_are_treated_as_their_policies_say() {
    let api = RecordingApi::up().await;
    let of = |tags: &'static [&'static str], pool| Container { tags, pool, ..IDLE };
    let containers = [
        (100, of(&[], None)),
        (101, of(&["db"], None)),
        (102, of(&[], Some("quiet"))),
        (103, of(&["db"], Some("quiet"))),
        (104, Container { pool_missing: Some("it cannot be read"), ..IDLE }),
    ];
    let text = r#"
        [policy.databases]
        tags = ["db"]
        scaling.memory.min_mib = 3584
        [policy.quiet]
        pools = ["quiet"]
        scaling.mode = "recommend"
        [policy.own]
        ids = [103]
        scaling.mode = "auto"
    "#;
    let node = Node::with_past(48, &containers);
    let report = node.cycle(&mut node.daemon(&api.url(), text)).await;
    let requests = api.take();
    assert!(memory(&requests, 100).unwrap() < 3584);
    assert_eq!(memory(&requests, 101), Some(3584));
    assert_eq!(memory(&requests, 102), None);
    assert_eq!(memory(&requests, 103), Some(3584));
    assert_eq!(memory(&requests, 104), None, "it may be in the pool that is left alone");
    let reason = &report.proposals[4].decisions.memory.reason;
    assert!(matches!(reason, Reason::PolicyUnclear { why } if why.contains("pool")), "{reason:?}");
}

#[tokio::test]
async fn prices_and_head_room_differ_by_policy() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(48, &[(100, STARVED), (101, Container { tags: &["lean"], ..STARVED })]);
    let text = "[scaling.cpu]\nmax_cores = 16\n[policy.lean]\ntags = [\"lean\"]\n\
                recommend.price_unserved_core_hour = 1.1\nrecommend.price_core_hour = 1.0\n\
                recommend.cpu_headroom_percent = 0";
    let report = node.cycle(&mut node.daemon(&api.url(), text)).await;
    let target = |index: usize| {
        let inputs = &report.proposals[index].inputs;
        inputs.recommendation.as_ref().unwrap().cpu.as_ref().unwrap().target
    };
    assert!(target(1) < target(0), "{} {}", target(1), target(0));
}

fn cpulimit(requests: &[Request], id: u32) -> Option<f64> {
    let found = requests.iter().find(|(at, body)| *at == "/scale/cpulimit" && body["vm_id"] == id);
    found.map(|(_, body)| body["cpulimit"].as_f64().unwrap())
}

#[tokio::test]
async fn cpu_is_given_by_the_setting_that_the_policy_names() {
    let api = RecordingApi::up().await;
    let pinned = |container: Container| Container { pinned: true, ..container };
    let containers = [
        (100, IDLE),
        (101, Container { tags: &["quota"], ..IDLE }),
        (102, Container { tags: &["quota"], ..pinned(IDLE) }),
        (103, pinned(IDLE)),
        (104, Container { tags: &["quota"], cores: 16, ..pinned(STARVED) }),
    ];
    let mut node = Node::with_past(48, &containers);
    let text = "[policy.quota]\ntags = [\"quota\"]\nscaling.cpu.control = \"cpulimit\"\nscaling.cpu.min_cores = 0.25";
    let mut daemon = node.daemon(&api.url(), text);
    let report = node.cycle(&mut daemon).await;
    let requests = api.take();
    let of = |route: &str, id: u32| requests.iter().any(|(at, body)| *at == route && body["vm_id"] == id);
    assert!(of("/scale/cores", 100) && !of("/scale/cpulimit", 100), "{requests:?}");
    // A quarter of four cores in one step, and of the two that 102 is pinned to, whatever its `cores` are.
    assert_eq!(cpulimit(&requests, 101), Some(1.0));
    assert_eq!(cpulimit(&requests, 102), Some(0.5));
    assert!((101..=104).all(|id| !of("/scale/cores", id)), "{requests:?}");
    // Proxmox would ignore its cores, and a limit is not allowed: it is left alone, and the reason is given.
    assert!(!of("/scale/cpulimit", 103));
    let reason = |index: usize| report.proposals[index].decisions.cpu.reason.to_string();
    assert!(reason(3).contains("pinned to the CPUs 0-1, and Proxmox ignores `cores`"), "{}", reason(3));
    assert_eq!(cpulimit(&requests, 104), None);
    assert!(reason(4).contains("lxc.cgroup2.cpuset.cpus"), "{}", reason(4));
    // What was set counts before a record shows it.
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.proposals[1].decisions.cpu.from, Some(1.0));
    node.record(SignedDuration::from_mins(1));
}

/// All inputs of a decision are in the ledger, including the rules: repeated, it is the same.
#[tokio::test]
async fn decisions_can_be_made_again_from_the_ledger_alone() {
    let api = RecordingApi::up().await;
    let mut node =
        Node::with_past(48, &[(100, IDLE), (101, STARVED), (102, Container { tags: &["db"], ..IDLE })]);
    let text = "[policy.db]\ntags = [\"db\"]\npreset = \"postgresql\"\n\
                [[policy.db.schedule]]\nstart = \"00:00\"\nduration_minutes = 1440\nscaling.memory.min_mib = 2000";
    let mut daemon = node.daemon(&api.url(), text);
    for _ in 0..3 {
        node.cycle(&mut daemon).await;
        node.carry_out(&api.take());
        node.record(SignedDuration::from_mins(1));
    }
    // Another configuration: earlier decisions are still explained by the rules in force then.
    drop(daemon);
    node.cycle(&mut node.daemon(&api.url(), "[scaling]\nmin_history_seconds = 1")).await;
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let mut keys = std::collections::BTreeSet::new();
    let mut made_again = 0;
    for id in 100..=102 {
        for entry in ledger.of_container(crate::node::vmid(id), 100).unwrap() {
            let key = entry.inputs.policy.clone().unwrap();
            let kept = ledger.policy(&key).unwrap().unwrap();
            assert_eq!(kept.key().unwrap(), key, "the key follows from what is kept");
            let again = decide(&kept.policy, &entry.inputs.situation(), &entry.inputs.node, entry.at);
            let again = match entry.decision.resource {
                lxc_autoscale_ml::decide::Resource::Cpu => again.cpu,
                lxc_autoscale_ml::decide::Resource::Memory => again.memory,
            };
            assert_eq!(again.to_string(), entry.decision.to_string());
            assert_eq!((again.apply, again.to), (entry.decision.apply, entry.decision.to));
            made_again += usize::from(again.action != Action::Keep);
            keys.insert(key);
        }
    }
    assert!(4 <= made_again, "{made_again} changes");
    assert_eq!(keys.len(), 3, "the general rules, those of the policy, and the general ones of later");
}

#[tokio::test]
async fn rules_that_no_decision_names_any_more_are_forgotten() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(1, &[(100, IDLE)]);
    let key = |node: &Node| {
        let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
        ledger.newest().unwrap()[0].inputs.policy.clone().unwrap()
    };
    node.cycle(&mut node.daemon(&api.url(), "[scaling]\npriority = 1")).await;
    let old = key(&node);
    node.now += SignedDuration::from_hours(24 * 91);
    node.record(SignedDuration::from_mins(1));
    node.cycle(&mut node.daemon(&api.url(), "")).await;
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    assert_eq!(ledger.policy(&old).unwrap(), None);
    assert!(ledger.policy(&key(&node)).unwrap().is_some());
}

pub(crate) fn run(node: &Node, text: &str, arguments: &[&str]) -> (i32, String, String) {
    let config = node.path("ml.toml");
    std::fs::write(&config, node.config_text("http://127.0.0.1:9", text)).unwrap();
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (program.status.code().unwrap(), text(&program.stdout), text(&program.stderr))
}

#[test]
fn the_program_shows_each_value_and_where_it_comes_from() {
    let node =
        Node::with_past(1, &[(100, IDLE), (104, Container { tags: &["db"], pool: Some("p"), ..IDLE })]);
    let text = "[policy.db]\ntags = [\"db\"]\npreset = \"postgresql\"\nscaling.memory.min_mib = 777\n\
                [[policy.db.schedule]]\nstart = \"08:00\"\nduration_minutes = 60\ntime_zone = \"Europe/Rome\"\n\
                scaling.cpu.min_cores = 3";
    let (code, shown, _) = run(&node, text, &["policy", "show", "104", "--at", "2026-07-01T06:30:00Z"]);
    assert_eq!(code, 0);
    for want in [
        "Container 104 (web), tags db, pool p",
        "preset postgresql (policy db) < policy db < policy db, schedule 1",
        "scaling.memory.min_mib                           777          policy db",
    ] {
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeeze(&shown).contains(&squeeze(want)), "`{want}` is not in:\n{shown}");
    }
    let (_, json, _) = run(&node, text, &["policy", "show", "104", "--json", "--at", "2026-07-01T07:00:00Z"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let of =
        |key: &str| json["values"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(of("scaling.cpu.min_cores")["value"], 1.0, "the schedule is over");
    assert_eq!(of("scaling.memory.min_mib")["source"]["policy"], "db");
    assert_eq!(of("scaling.mode")["source"]["kind"], "default");
    let (_, shown, _) = run(&node, text, &["policy", "show", "999"]);
    assert!(shown.contains("Note: no measurement names it"), "{shown}");
    let (_, shown, _) = run(&node, text, &["policy", "list"]);
    assert!(shown.contains("tags db") && shown.contains("104"), "{shown}");
}

#[test]
fn the_more_careful_mode_is_named_for_each_resource() {
    let node = Node::with_past(1, &[(104, IDLE)]);
    let text = "[scaling]\nmode = \"recommend\"\n[scaling.memory]\nmode = \"off\"";
    let (_, shown, _) = run(&node, text, &["policy", "show", "104"]);
    assert!(shown.contains("Resulting mode: CPU recommend, memory off"), "{shown}");
    let (_, json, _) = run(&node, text, &["policy", "show", "104", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["modes"], serde_json::json!({"cpu": "recommend", "memory": "off"}));
}

/// A mode that something else overrules is not the mode that applies in the end.
#[test]
fn what_turns_a_container_off_is_named_whatever_its_modes_are() {
    let mut node = Node::with_past(
        1,
        &[
            (101, Container { tags: &["Autoscale-Off"], ..IDLE }),
            (102, IDLE),
            (103, Container { template: true, ..IDLE }),
            (104, Container { lock: Some("backup"), ..IDLE }),
            (106, IDLE),
        ],
    );
    node.stopped.push(105);
    node.record(SignedDuration::from_mins(5));
    let text = "[containers]\nignore = [102]\n\
                [policy.little]\nids = [106]\nscaling.memory.max_mib = 512\n\
                [policy.much]\nids = [106]\nscaling.memory.min_mib = 1024";
    for (id, by) in [
        ("101", "tag autoscale-off"),
        ("102", "containers.ignore"),
        ("103", "template"),
        ("104", "lock backup"),
        ("105", "stopped"),
        ("106", "the rules for it are not clear"),
    ] {
        let (_, shown, _) = run(&node, text, &["policy", "show", id]);
        assert!(shown.contains(&format!("Resulting mode: off ({by})")), "{shown}");
        let (_, json, _) = run(&node, text, &["policy", "show", id, "--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["modes"], serde_json::json!({"cpu": "off", "memory": "off"}));
        assert_eq!(json["off_by"], by);
    }
    // Nobody knows how long a lock stays, and the tag may be there for good.
    let at = ["--at", "2099-01-01T00:00:00Z"];
    let (_, shown, _) = run(&node, text, &[&["policy", "show", "104"], &at[..]].concat());
    assert!(shown.contains("Resulting mode: CPU auto, memory auto"), "{shown}");
    let (_, shown, _) = run(&node, text, &[&["policy", "show", "101"], &at[..]].concat());
    assert!(shown.contains("Resulting mode: off (tag autoscale-off)"), "{shown}");
    let (_, shown, _) = run(&node, text, &["plan", "--all"]);
    assert!(shown.contains("`containers.ignore` names it"), "{shown}");
}

/// Older measurements are read only for what the newest one lacks.
#[test]
fn who_a_container_is_tells_the_newest_measurement_and_of_a_stopped_one_the_last_that_names_it() {
    let mut node = Node::with_past(1, &[(100, IDLE), (104, Container { tags: &["db"], ..IDLE })]);
    let text = "[policy.db]\ntags = [\"db\"]\nscaling.priority = 1";
    let listed = |node: &Node| run(node, text, &["policy", "list"]).1;
    node.containers.remove(&104);
    node.stopped.push(104);
    node.record(SignedDuration::from_mins(5));
    assert!(listed(&node).contains("104"), "{}", listed(&node));
    let (_, shown, _) = run(&node, text, &["policy", "show", "104"]);
    assert!(shown.contains("Container 104 (web), tags db"), "{shown}");
    // A file of which only the end can be read.
    let kept = std::fs::read_to_string(node.metrics_file()).unwrap();
    let last = kept.lines().rev().nth(1).unwrap();
    std::fs::write(node.metrics_file(), format!("no array\n{last}\n]\n")).unwrap();
    let (_, shown, _) = run(&node, text, &["policy", "show", "100"]);
    assert!(shown.contains("Container 100 (web), tags none") && !shown.contains("Note:"), "{shown}");
    let (_, shown, _) = run(&node, text, &["policy", "show", "104"]);
    assert!(shown.contains("is not a metrics file"), "{shown}");
}

#[test]
fn the_program_tells_why_a_preset_differs() {
    let node = Node::new(&[]);
    let (code, shown, _) = run(&node, "", &["policy", "presets", "postgresql"]);
    assert!(
        code == 0 && shown.contains("scaling.memory.margin_percent = 40") && shown.contains("page cache"),
        "{shown}"
    );
    let (code, _, error) = run(&node, "", &["policy", "presets", "postgres"]);
    assert!(
        code == 1 && error.contains("there is no preset `postgres`; did you mean `postgresql`?"),
        "{error}"
    );
}
