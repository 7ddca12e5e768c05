//! The mode `approve`: the daemon proposes, people answer with the program, beside it and through the same ledger.

use std::process::{Command, Output};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_ml::daemon::Daemon;
use lxc_autoscale_ml::ledger::{Ledger, Outcome};
use lxc_autoscale_ml::proposals::{Record, State};
use serde_json::{Value, json};

use crate::api::RecordingApi;
use crate::node::{IDLE, Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const APPROVE: &str = "[scaling]\nmode = \"approve\"";

/// A node whose past ends now: the program uses the real clock.
fn node() -> Node {
    let hours = 12;
    let mut node = Node::new(&[(100, IDLE)]);
    node.now = Timestamp::now() - SignedDuration::from_hours(hours);
    for _ in 0..hours * 12 {
        node.record(SignedDuration::from_mins(5));
    }
    node
}

/// Answers like a user, while the daemon has the ledger open.
fn proposals(node: &Node, url: &str, arguments: &[&str]) -> Output {
    let config = node.path("ml.toml");
    std::fs::write(&config, node.config_text(url, APPROVE)).unwrap();
    let program = env!("CARGO_BIN_EXE_lxc-autoscale-ml");
    Command::new(program).arg("proposals").args(arguments).arg("--config").arg(config).output().unwrap()
}

fn waiting(node: &Node) -> Vec<Record> {
    Ledger::open_read_only(&node.ledger()).unwrap().unwrap().waiting_proposals().unwrap()
}

fn proposal(node: &Node, number: i64) -> Record {
    Ledger::open_read_only(&node.ledger()).unwrap().unwrap().proposal(number).unwrap().unwrap()
}

async fn next_cycle(node: &mut Node, daemon: &mut Daemon) {
    node.record(MINUTE);
    node.cycle(daemon).await;
}

#[tokio::test]
async fn what_is_accepted_is_carried_out_exactly_and_with_a_name() {
    let api = RecordingApi::up().await;
    let mut node = node();
    let mut daemon = node.daemon(&api.url(), APPROVE);
    node.cycle(&mut daemon).await;
    assert_eq!(api.take(), [], "nothing is done before somebody accepts it");
    let asked = waiting(&node);
    assert_eq!(asked.len(), 2, "{asked:?}");
    next_cycle(&mut node, &mut daemon).await;
    assert_eq!(waiting(&node), asked, "the same is not asked twice");
    let memory = asked.iter().find(|it| it.decision.from == Some(4096.0)).unwrap();

    let listed = proposals(&node, &api.url(), &["list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");

    let accepted = proposals(&node, &api.url(), &["accept", &memory.number.to_string()]);
    assert!(accepted.status.success(), "{accepted:?}");
    next_cycle(&mut node, &mut daemon).await;
    let calls = api.take();
    assert_eq!(calls.len(), 1, "{calls:?}");
    let (route, body) = &calls[0];
    assert_eq!((*route, &body["vm_id"]), ("/scale/ram", &json!(100)));
    assert_eq!(body["memory"].as_f64(), memory.decision.to);

    let done = proposal(&node, memory.number);
    assert_eq!(done.state, State::Done);
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let entry =
        ledger.of_container(vmid(100), 20).unwrap().into_iter().find(|it| Some(it.number) == done.entry);
    assert!(matches!(entry.unwrap().outcome, Outcome::Done { .. }));
    let (who, how) = ledger.author(done.entry.unwrap()).unwrap().unwrap();
    assert!(who.contains("(uid "), "{who}");
    assert_eq!(how, format!("proposal {}", memory.number));

    let again = proposals(&node, &api.url(), &["accept", &memory.number.to_string(), "999"]);
    assert_eq!(again.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(errors.contains("is done") && errors.contains("999 does not exist"), "{errors}");
}

#[tokio::test]
async fn what_is_rejected_is_not_asked_again() {
    let api = RecordingApi::up().await;
    let mut node = node();
    let mut daemon = node.daemon(&api.url(), APPROVE);
    node.cycle(&mut daemon).await;
    let rejected = proposals(&node, &api.url(), &["reject", "all", "--reason", "a launch this week"]);
    assert!(rejected.status.success(), "{rejected:?}");
    for _ in 0..3 {
        next_cycle(&mut node, &mut daemon).await;
    }
    assert_eq!((waiting(&node), api.take()), (vec![], vec![]));
    let shown = proposals(&node, &api.url(), &["list", "--all"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("rejected by") && shown.contains("a launch this week"), "{shown}");
    // A rejection ended the proposal at once, and holds for three days.
    let listed = proposals(&node, &api.url(), &["list", "--all", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let time = |key: &str| listed[0][key].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time("rejected_until").duration_since(time("closed_at")), SignedDuration::from_hours(72));
    let day = |at: Timestamp| at.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
    let row = shown.lines().nth(1).unwrap();
    let (until, ended) = (row.find(&day(time("rejected_until"))), row.find(&day(time("closed_at"))));
    assert!(shown.contains("UNTIL") && shown.contains("ENDED"), "{shown}");
    assert!(until.is_some() && until < ended, "{shown}");
    // Those that wait have not ended.
    let waiting = proposals(&node, &api.url(), &["list"]);
    assert!(!String::from_utf8_lossy(&waiting.stdout).contains("ENDED"));
}

#[tokio::test]
async fn answers_are_told_as_json_wherever_the_option_stands() {
    let api = RecordingApi::up().await;
    let node = node();
    node.cycle(&mut node.daemon(&api.url(), APPROVE)).await;
    let asked = waiting(&node);
    let (one, other) = (asked[0].number.to_string(), asked[1].number.to_string());
    let answers = [
        (vec!["accept", one.as_str(), "--json"], "accepted"),
        (vec!["--json", "reject", other.as_str()], "rejected"),
    ];
    for (arguments, state) in answers {
        let output = proposals(&node, &api.url(), &arguments);
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((told.as_array().unwrap().len(), &told[0]["state"]), (1, &json!(state)), "{told}");
        assert!(told[0]["answer"]["who"].as_str().unwrap().contains("(uid "), "{told}");
    }
    // What cannot be answered is an error with JSON, too.
    let again = proposals(&node, &api.url(), &["accept", &one, "--json"]);
    assert_eq!((again.status.code(), String::from_utf8_lossy(&again.stdout).trim()), (Some(1), "[]"));
}

#[tokio::test]
async fn what_was_accepted_goes_through_the_guards_again() {
    let api = RecordingApi::up().await;
    let mut node = node();
    let mut daemon = node.daemon(&api.url(), APPROVE);
    node.cycle(&mut daemon).await;
    assert!(proposals(&node, &api.url(), &["accept", "all"]).status.success());
    // A backup begins between the answer and the cycle.
    node.containers.get_mut(&100).unwrap().lock = Some("backup");
    next_cycle(&mut node, &mut daemon).await;
    assert_eq!(api.take(), []);
    let held = waiting(&node);
    assert_eq!(held.len(), 2, "{held:?}");
    assert!(held.iter().all(|it| it.note.as_deref().unwrap().contains("backup")), "{held:?}");
    // Then it needs the memory that was to be taken away.
    let container = node.containers.get_mut(&100).unwrap();
    (container.lock, container.memory_used_mib) = (None, 3900.0);
    next_cycle(&mut node, &mut daemon).await;
    next_cycle(&mut node, &mut daemon).await;
    assert!(api.take().iter().all(|(route, _)| *route != "/scale/ram"));
}

#[tokio::test]
async fn running_out_of_memory_is_exempt_unless_told_otherwise() {
    for (more, calls) in [("", true), ("\napprove_exempt_oom = false", false)] {
        let api = RecordingApi::up().await;
        let mut node = Node::with_past(12, &[(101, STARVED)]);
        let mut daemon = node.daemon(&api.url(), &format!("{APPROVE}{more}"));
        node.cycle(&mut daemon).await;
        assert_eq!(api.take(), []);
        node.containers.get_mut(&101).unwrap().oom_kills = 1;
        next_cycle(&mut node, &mut daemon).await;
        assert_eq!(api.take().iter().any(|(route, _)| *route == "/scale/ram"), calls, "{more}");
    }
}
