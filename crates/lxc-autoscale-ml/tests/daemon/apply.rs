//! A plan in a file, and `apply`: the program as a user runs it, alone and beside a daemon.

use std::process::{Command, Output};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_ml::decide::Reason;
use lxc_autoscale_ml::ledger::{Ledger, Outcome, StateLock};
use serde_json::{Value, json};

use crate::api::RecordingApi;
use crate::node::{IDLE, Node, STARVED, vmid};

/// Two containers with half a day of past, one to shrink and one to grow, and an API that knows them.
struct Case {
    node: Node,
    api: RecordingApi,
    more: &'static str,
}

impl Case {
    async fn new(more: &'static str) -> Self {
        let mut node = Node::new(&[(100, IDLE), (101, STARVED)]);
        node.now = Timestamp::now() - SignedDuration::from_hours(12);
        for _ in 0..12 * 12 {
            node.record(SignedDuration::from_mins(5));
        }
        let api = RecordingApi::up().await;
        api.has(100, 4, 4096);
        api.has(101, 2, 1024);
        Self { node, api, more }
    }

    /// Runs the program while the API answers.
    async fn run(&self, arguments: &[&str]) -> Output {
        let config = self.node.path("ml.toml");
        std::fs::write(&config, self.node.config_text(&self.api.url(), self.more)).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
        program.args(arguments).arg("--config").arg(config).current_dir(self.node.path(""));
        program.stdin(std::process::Stdio::null());
        tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
    }

    /// Writes a plan, and returns its content.
    async fn plan(&self) -> Value {
        let output = self.run(&["plan", "--out", "plan.json"]).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("is written; until") && shown.contains("apply plan.json"), "{shown}");
        serde_json::from_slice(&std::fs::read(self.node.path("plan.json")).unwrap()).unwrap()
    }

    async fn apply(&self, code: i32, want: &[&str]) {
        let output = self.run(&["apply", "plan.json", "--yes"]).await;
        let (shown, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{shown}\n{errors}");
        for part in want {
            assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
        }
    }
}

#[tokio::test]
async fn a_plan_is_carried_out_exactly_and_once() {
    // The daemon itself carries out nothing.
    let case = Case::new("[scaling]\nmode = \"recommend\"").await;
    let plan = case.plan().await;
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 4, "{plan}");
    case.apply(0, &["100 web, memory: done", "4 of 4 changes are done"]).await;
    let calls = case.api.take();
    let asked: Vec<Value> = calls
        .iter()
        .map(|(route, body)| {
            let to = if *route == "/scale/ram" { &body["memory"] } else { &body["cores"] };
            json!([body["vm_id"], to.as_f64()])
        })
        .collect();
    let planned: Vec<Value> = changes.iter().map(|it| json!([it["id"], it["to"]])).collect();
    assert_eq!(asked, planned);

    let ledger = Ledger::open_read_only(&case.node.ledger()).unwrap().unwrap();
    for entry in
        [ledger.of_container(vmid(100), 9).unwrap(), ledger.of_container(vmid(101), 9).unwrap()].concat()
    {
        assert!(matches!(entry.outcome, Outcome::Done { .. }), "{entry:?}");
        let (who, how) = ledger.author(entry.number).unwrap().unwrap();
        assert!(who.contains("(uid "), "{who}");
        assert_eq!(how, format!("plan {}", plan["id"].as_str().unwrap()));
    }
    let output = case.run(&["history", "100"]).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("wanted by "), "{output:?}");
    // The second time it finds other sizes.
    case.apply(3, &["it had 4096 MiB then and has", "nothing was done"]).await;
    assert_eq!(case.api.take(), []);
}

#[tokio::test]
async fn what_has_changed_since_is_named_and_nothing_is_done() {
    let case = Case::new("").await;
    case.plan().await;
    // One changed size of four is enough.
    case.api.has(101, 3, 1024);
    case.apply(3, &["101 web, cpu: not done: it had 2 cores then and has 3 cores now", "nothing was done"])
        .await;
    case.api.has(101, 2, 1024);
    case.api.configure(100, |config| config.lock = Some("backup".to_owned()));
    case.apply(3, &["100 web, memory: not done: decided now: keep", "lock `backup`"]).await;
    case.api.configure(100, |config| (config.lock, config.tags) = (None, vec!["autoscale-off".to_owned()]));
    case.apply(3, &["carries the tag `autoscale-off`"]).await;
    case.api.configure(100, |config| config.tags = Vec::new());

    let other = Case { more: "[scaling]\npriority = 1", ..case };
    other.apply(3, &["the configuration has changed"]).await;
    let mut case = Case { more: "", ..other };
    // It uses the memory that was to be taken away.
    case.node.containers.get_mut(&100).unwrap().memory_used_mib = 3900.0;
    case.node.record(SignedDuration::from_secs(1));
    case.apply(3, &["100 web, memory: not done: decided now: grow from 4096 MiB"]).await;
    case.node.containers.remove(&101);
    case.node.record(SignedDuration::from_secs(1));
    case.apply(3, &["101 web, memory: not done: it is not measured any more"]).await;

    case.node.only_record(Timestamp::now() - SignedDuration::from_hours(1));
    case.apply(3, &["so nothing is decided on it; is lxc_monitor running?", "nothing was done"]).await;

    let text = std::fs::read_to_string(case.node.path("plan.json")).unwrap();
    std::fs::write(case.node.path("plan.json"), text.replacen("\"to\": ", "\"to\": 1", 1)).unwrap();
    case.apply(3, &["the plan was altered"]).await;
    assert_eq!(case.api.take(), []);
    std::fs::write(case.node.path("plan.json"), "{}").unwrap();
    let output = case.run(&["apply", "plan.json", "--yes"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a plan"), "{output:?}");
}

#[tokio::test]
async fn without_a_terminal_nobody_is_asked_and_nothing_done() {
    let case = Case::new("").await;
    case.plan().await;
    let output = case.run(&["apply", "plan.json"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`--yes` carries the plan out"), "{output:?}");
    assert_eq!(case.api.take(), []);
}

#[tokio::test]
async fn what_fails_is_told_for_each_change() {
    let case = Case::new("").await;
    case.plan().await;
    case.api.refuse_only("/scale/ram", 409);
    let output = case.run(&["apply", "plan.json", "--yes", "--json"]).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["result"], "partly");
    for change in report["changes"].as_array().unwrap() {
        let want = if change["resource"] == "memory" { "failed" } else { "done" };
        assert_eq!(change["outcome"]["kind"], want, "{report}");
    }
}

#[tokio::test]
async fn a_daemon_at_work_takes_in_what_was_applied() {
    let mut case = Case::new("[scaling]\nmode = \"recommend\"").await;
    let lock = StateLock::take(&case.node.path("state")).unwrap();
    let mut daemon = case.node.daemon(&case.api.url(), case.more);
    case.node.cycle(&mut daemon).await;
    case.plan().await;
    case.apply(0, &["4 of 4 changes are done"]).await;
    drop(lock);
    let applied = case.api.take();
    assert_eq!(applied.len(), 4, "{applied:?}");
    // The records show the changes.
    case.node.carry_out(&applied);
    case.node.now = Timestamp::now();
    case.node.record(SignedDuration::from_secs(20));
    let report = case.node.cycle(&mut daemon).await;
    let memory = |id: u32| report.proposals.iter().find(|it| it.id == vmid(id)).unwrap().clone();
    // A shrink of the daemon's own is watched; a manual size would be left alone for a day.
    let shrunk = memory(100);
    let watch = shrunk.inputs.guard.memory.shrinks.watch;
    assert!(watch.is_some(), "{:?}", shrunk.inputs.guard);
    assert_eq!(shrunk.inputs.guard.memory.manual, None);
    assert!(shrunk.inputs.changes.memory_down.is_some());
    assert!(!matches!(shrunk.decisions.memory.reason, Reason::SetByHand { .. }), "{:?}", shrunk.decisions);
    assert!(memory(101).inputs.changes.cpu_up.is_some());
}

#[tokio::test]
async fn a_shrink_that_was_applied_without_a_daemon_is_watched_by_the_next_one() {
    let mut case = Case::new("[scaling]\nmode = \"recommend\"").await;
    case.plan().await;
    case.apply(0, &["changes are done"]).await;
    let mut daemon = case.node.daemon(&case.api.url(), case.more);
    for (_, body) in
        case.api.take().iter().filter(|(route, body)| *route == "/scale/ram" && body["vm_id"] == 100)
    {
        case.node.containers.get_mut(&100).unwrap().memory_mib = body["memory"].as_u64().unwrap();
    }
    case.node.now = Timestamp::now();
    case.node.record(SignedDuration::from_secs(20));
    let report = case.node.cycle(&mut daemon).await;
    let shrunk = report.proposals.iter().find(|it| it.id == vmid(100)).unwrap();
    assert!(shrunk.inputs.guard.memory.shrinks.watch.is_some(), "{:?}", shrunk.inputs.guard);
    assert_eq!(shrunk.inputs.guard.memory.manual, None);
}

/// An undo by the API, a second after `apply`: no record ever shows another size than before.
#[tokio::test]
async fn what_was_applied_and_undone_at_once_is_not_planned_again() {
    for is_beside_a_daemon in [false, true] {
        let mut case = Case::new(
            "[scaling.cpu]\ncooldown_down_seconds = 0\n[scaling.memory]\ncooldown_down_seconds = 0",
        )
        .await;
        let lock = is_beside_a_daemon.then(|| StateLock::take(&case.node.path("state")).unwrap());
        if is_beside_a_daemon {
            let mut daemon = case.node.daemon(&case.api.url(), "[scaling]\nmode = \"off\"");
            case.node.cycle(&mut daemon).await;
        }
        case.plan().await;
        case.apply(0, &["4 of 4 changes are done"]).await;
        drop(lock);
        // In the future, because the next record must be later than the change.
        case.node.now = Timestamp::now();
        case.node.record(SignedDuration::from_secs(20));
        let output = case.run(&["plan", "--all"]).await;
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{shown}");
        assert_eq!(
            shown.matches(", which is respected for another").count(),
            4,
            "beside a daemon {is_beside_a_daemon}: {shown}"
        );
    }
}
