//! What a daemon that was interrupted leaves to the next one, and what others did meanwhile.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::config::IN_FORCE_FILE;
use lxc_autoscale_ml::daemon::{CycleReport, Daemon};
use lxc_autoscale_ml::decide::{Decision, Reason};
use lxc_autoscale_ml::guard::ResourceGuard;
use lxc_autoscale_ml::ledger::{Ledger, Outcome};
use lxc_autoscale_ml::pipeline::Proposal;

use crate::api::RecordingApi;
use crate::node::{Container, IDLE, Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const RECOMMEND: &str = "[scaling]\nmode = \"recommend\"";
const AUTHOR: (&str, &str) = ("root (uid 0)", "plan 3f2a9c81d04b");

/// A node whose past ends now: the program uses the real clock.
fn node_until_now(containers: &[(u32, Container)]) -> Node {
    let mut node = Node::new(containers);
    node.now = Timestamp::now() - SignedDuration::from_hours(12);
    for _ in 0..12 * 12 {
        node.record(SignedDuration::from_mins(5));
    }
    node
}

/// The daemon as systemd starts it; killed at the latest with the test.
struct Running(Child);

impl Running {
    fn start(node: &Node, text: &str) -> Self {
        let config = node.path("ml.toml");
        std::fs::write(&config, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
        program.arg("run").arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        Self(program.spawn().unwrap())
    }

    /// SIGKILL, which nothing can catch.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn of(report: &CycleReport, id: u32) -> &Proposal {
    report.proposals.iter().find(|it| it.id == vmid(id)).unwrap()
}

fn memory(report: &CycleReport, id: u32) -> (&Decision, &ResourceGuard) {
    let proposal = of(report, id);
    (&proposal.decisions.memory, &proposal.inputs.guard.memory)
}

/// The decision about memory, with its inputs.
fn decided(report: &CycleReport, id: u32) -> Proposal {
    let proposal = of(report, id).clone();
    assert!(proposal.decisions.memory.to.is_some(), "{}", proposal.decisions.memory);
    proposal
}

fn ledger(node: &Node) -> Ledger {
    Ledger::open_beside(&node.ledger()).unwrap().unwrap()
}

/// Somebody begins to carry out the decision about memory.
fn apply(ledger: &mut Ledger, at: Timestamp, proposal: &Proposal) -> i64 {
    let decision = Decision { apply: true, ..proposal.decisions.memory.clone() };
    ledger.begin_for(at, proposal.id, &decision, &proposal.inputs, AUTHOR).unwrap()
}

/// It is done, and the records will show it.
fn done(node: &mut Node, ledger: &mut Ledger, entry: i64, proposal: &Proposal) {
    let to = proposal.decisions.memory.to.unwrap();
    let outcome = Outcome::Done { before: proposal.decisions.memory.from, after: Some(to) };
    ledger.settle_beside(entry, &outcome, node.now).unwrap();
    node.containers.get_mut(&proposal.id.get()).unwrap().memory_mib = format!("{to}").parse().unwrap();
}

#[tokio::test]
async fn a_shrink_that_was_cut_off_by_a_kill_is_watched_and_undone() {
    let mut node = node_until_now(&[(100, IDLE)]);
    let api = RecordingApi::up().await;
    api.hang_at(Some("/scale/ram"));
    let daemon = Running::start(&node, &node.config_text(&api.url(), ""));
    until("the daemon shrinks it", || api.seen().iter().any(|(route, _)| *route == "/scale/ram")).await;
    daemon.kill();
    let wanted = api.take().into_iter().find(|(route, _)| *route == "/scale/ram").unwrap().1;
    assert!(wanted["memory"].as_u64() < Some(4096), "{wanted}");
    api.hang_at(None);
    // Proxmox did it all the same.
    node.containers.get_mut(&100).unwrap().memory_mib = wanted["memory"].as_u64().unwrap();
    node.now = Timestamp::now();
    node.record(SignedDuration::from_secs(20));
    let mut daemon = node.daemon(&api.url(), "");
    let report = node.cycle(&mut daemon).await;
    let (decision, standing) = memory(&report, 100);
    assert_eq!(standing.shrinks.watch.map(|watch| watch.from), Some(4096.0), "{decision}");
    assert_eq!(standing.manual, None);
    // It needs the memory it lost: all of it is restored in one step, and the size is remembered.
    node.containers.get_mut(&100).unwrap().oom_kills = 1;
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    let (decision, standing) = memory(&report, 100);
    assert!(Some(4096.0) <= decision.to, "{decision}");
    assert_eq!(standing.shrinks.failure.map(|failure| failure.size), wanted["memory"].as_f64());
    let entries = ledger(&node).of_container(vmid(100), 9).unwrap();
    assert!(entries.iter().any(|entry| matches!(entry.outcome, Outcome::Unknown { .. })), "{entries:?}");
}

#[tokio::test]
async fn what_came_of_a_change_is_written_down_when_the_disk_allows_it_again() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(12, &[(101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "");
    let spoilt = rusqlite::Connection::open(node.ledger()).unwrap();
    spoilt
        .execute_batch(
            "CREATE TRIGGER full BEFORE UPDATE ON decisions WHEN new.outcome_kind = 'done' AND new.resource = 'memory'
             BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
        )
        .unwrap();
    let report = node.cycle(&mut daemon).await;
    assert!(report.troubles[0].contains("nothing is resized meanwhile"), "{:?}", report.troubles);
    let pending = |node: &Node| {
        let entries = ledger(node).of_container(vmid(101), 9).unwrap();
        entries.iter().filter(|entry| entry.outcome == Outcome::Pending).count()
    };
    assert_eq!((pending(&node), report.carried.len()), (1, 2), "{:?}", report.carried);
    let calls = api.take();
    assert_eq!(calls.len(), 2, "{calls:?}");
    spoilt.execute_batch("DROP TRIGGER full").unwrap();
    // Within the minute it runs out of memory, which does not wait until the entry counts as abandoned.
    node.containers.get_mut(&101).unwrap().oom_kills = 1;
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert!(api.take().iter().any(|(route, _)| *route == "/scale/ram"));
    assert_eq!(pending(&node), 0);
    let entries = ledger(&node).of_container(vmid(101), 9).unwrap();
    let done = entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Done { .. })).count();
    assert_eq!(done, report.carried.len() + 2, "{entries:?}");
}

/// The slow one has the lower number.
#[tokio::test]
async fn of_two_who_apply_at_the_same_time_the_slow_one_is_taken_in_too() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE), (102, IDLE)]);
    let mut daemon = node.daemon(&api.url(), RECOMMEND);
    let report = node.cycle(&mut daemon).await;
    let (one, other) = (decided(&report, 100), decided(&report, 102));
    let mut ledger = ledger(&node);
    let slow = apply(&mut ledger, node.now, &one);
    let fast = apply(&mut ledger, node.now, &other);
    done(&mut node, &mut ledger, fast, &other);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert!(memory(&report, 102).1.shrinks.watch.is_some());
    assert!(memory(&report, 100).1.shrinks.watch.is_none());
    done(&mut node, &mut ledger, slow, &one);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    for id in [100, 102] {
        let (decision, standing) = memory(&report, id);
        assert!(standing.shrinks.watch.is_some() && standing.manual.is_none(), "{id}: {decision}");
        assert!(of(&report, id).inputs.changes.memory_down.is_some(), "{id}");
    }
    // Each is taken over once.
    let samples = |report: &CycleReport| memory(report, 102).1.shrinks.watch.unwrap().samples;
    let before = samples(&report);
    node.record(MINUTE);
    assert_eq!(samples(&node.cycle(&mut daemon).await), before + 1);
}

#[tokio::test]
async fn what_is_applied_before_and_during_a_restart_is_taken_in_by_the_next_daemon() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE), (102, IDLE)]);
    let mut daemon = node.daemon(&api.url(), RECOMMEND);
    let report = node.cycle(&mut daemon).await;
    let (before, during) = (decided(&report, 100), decided(&report, 102));
    let mut ledger = ledger(&node);
    let entry = apply(&mut ledger, node.now, &before);
    done(&mut node, &mut ledger, entry, &before);
    let entry = apply(&mut ledger, node.now, &during);
    // As with every reload of the configuration: the former daemon is dropped once the next one exists.
    let mut daemon: Daemon = node.daemon(&api.url(), "");
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    let (decision, standing) = memory(&report, 100);
    assert!(standing.shrinks.watch.is_some() && standing.manual.is_none(), "{decision}");
    let pending: Vec<Outcome> =
        ledger.of_container(vmid(102), 9).unwrap().into_iter().map(|it| it.outcome).collect();
    assert!(pending.contains(&Outcome::Pending), "it is still under way: {pending:?}");
    let touched =
        |id: u32| api.seen().iter().any(|(route, body)| *route == "/scale/ram" && body["vm_id"] == id);
    assert!(!touched(102), "it is left to who applies it");
    done(&mut node, &mut ledger, entry, &during);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert!(memory(&report, 102).1.shrinks.watch.is_some());
    assert!(!matches!(memory(&report, 102).0.reason, Reason::SetByHand { .. }));
}

/// The cause is not in the file, and passes.
#[tokio::test]
async fn a_configuration_that_could_not_be_taken_over_is_tried_again() {
    let node = node_until_now(&[(100, IDLE)]);
    let api = RecordingApi::up().await;
    let text = node.config_text(&api.url(), "interval_seconds = 1\n[containers]\nignore = [100]");
    let _daemon = Running::start(&node, &text);
    let in_force = |state: &str, node: &Node| {
        std::fs::read_to_string(node.path(state).join(IN_FORCE_FILE)).unwrap_or_default()
    };
    until("it runs", || in_force("state", &node) == text).await;
    // Its state directory does not exist yet, and something else is in its place.
    std::fs::write(node.path("other"), "").unwrap();
    let moved = text.replace("/state\"", "/other\"");
    assert_ne!(moved, text);
    std::fs::write(node.path("ml.toml"), &moved).unwrap();
    let written = Instant::now();
    until("it looks at it", || Duration::from_secs(4) < written.elapsed()).await;
    assert_eq!(in_force("state", &node), text);
    std::fs::remove_file(node.path("other")).unwrap();
    until("it is taken over", || in_force("other", &node) == moved).await;
}
