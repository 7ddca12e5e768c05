//! Containers that are replaced, and a node that is unknown.

use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_ml::decide::{Action, Reason};
use lxc_autoscale_ml::ledger::Ledger;
use lxc_autoscale_ml::proposals::State;

use crate::api::RecordingApi;
use crate::node::{Container, IDLE, Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const WATCH: &str = "[scaling]\nmode = \"recommend\"";

/// The container whose id is reused.
const DB: Container = Container { name: "db", ..IDLE };
const CLONE: Container = Container { name: "web", uptime_seconds: Some(20.0), ..IDLE };

#[tokio::test]
async fn a_container_that_got_the_id_of_another_does_not_inherit_its_past() {
    // Gone for a record, or destroyed and cloned between two of them.
    for was_seen_gone in [true, false] {
        let api = RecordingApi::up().await;
        let mut node = Node::with_past(24, &[(104, DB), (105, IDLE)]);
        let mut daemon = node.daemon(&api.url(), WATCH);
        let report = node.cycle(&mut daemon).await;
        assert_eq!(report.proposals[0].decisions.memory.action, Action::Shrink);
        if was_seen_gone {
            node.containers.remove(&104);
            node.record(MINUTE);
            node.cycle(&mut daemon).await;
        }
        node.containers.insert(104, CLONE);
        // Past its start, so that it is decided about.
        for uptime in [20.0, 350.0, 410.0] {
            node.containers.get_mut(&104).unwrap().uptime_seconds = Some(uptime);
            node.record(MINUTE);
            node.cycle(&mut daemon).await;
        }
        node.containers.get_mut(&104).unwrap().uptime_seconds = Some(470.0);
        node.record(MINUTE);
        let mut again = node.daemon(&api.url(), WATCH);
        for daemon in [&mut daemon, &mut again] {
            let report = node.cycle(daemon).await;
            let memory = &report.proposals[0].decisions.memory;
            assert!(matches!(memory.reason, Reason::ShortHistory { .. }), "{was_seen_gone}: {memory}");
            assert_eq!(report.proposals[1].decisions.memory.action, Action::Shrink, "the other stays");
        }
    }
}

/// The configuration of the new container cannot be read at first, and the daemon may end before it can.
#[tokio::test]
async fn a_container_whose_name_is_not_known_at_first_does_not_inherit_the_past_either() {
    for (name, is_restarted) in [("web", false), ("web", true), ("db", false), ("db", true)] {
        let api = RecordingApi::up().await;
        let mut node = Node::with_past(24, &[(104, DB)]);
        let mut daemon = node.daemon(&api.url(), WATCH);
        node.cycle(&mut daemon).await;
        for (uptime, configured) in
            [(20.0, false), (80.0, false), (350.0, true), (410.0, true), (470.0, true)]
        {
            let container = Container { name, configured, uptime_seconds: Some(uptime), ..IDLE };
            node.containers.insert(104, container);
            node.record(MINUTE);
            let report = node.cycle(&mut daemon).await;
            let memory = &report.proposals[0].decisions.memory;
            if !configured {
                assert_eq!(memory.action, Action::Keep, "{memory}");
                if is_restarted {
                    daemon.keep_all();
                    daemon = node.daemon(&api.url(), WATCH);
                }
            }
        }
        let report = node.cycle(&mut daemon).await;
        let memory = &report.proposals[0].decisions.memory;
        if name == "db" {
            assert_eq!(memory.action, Action::Shrink, "it was only restarted: {memory}");
        } else {
            assert!(matches!(memory.reason, Reason::ShortHistory { .. }), "{is_restarted}: {memory}");
        }
    }
}

#[tokio::test]
async fn a_container_that_is_renamed_while_it_runs_stays_what_it_is() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(104, DB)]);
    let mut daemon = node.daemon(&api.url(), WATCH);
    node.cycle(&mut daemon).await;
    node.containers.insert(104, IDLE);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.proposals[0].name.as_deref(), Some("web"));
    assert_eq!(report.proposals[0].decisions.memory.action, Action::Shrink);
}

#[tokio::test]
async fn what_was_accepted_for_one_container_is_not_done_to_another_of_its_id() {
    let api = RecordingApi::up().await;
    let mut node = Node::new(&[(104, DB)]);
    node.now = Timestamp::now() - SignedDuration::from_hours(12);
    for _ in 0..12 * 12 {
        node.record(SignedDuration::from_mins(5));
    }
    let approve = "[scaling]\nmode = \"approve\"\nmin_history_seconds = 0";
    let mut daemon = node.daemon(&api.url(), approve);
    node.cycle(&mut daemon).await;
    let config = node.path("ml.toml");
    std::fs::write(&config, node.config_text(&api.url(), approve)).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_lxc-autoscale-ml"));
    let accepted = program.args(["proposals", "accept", "all", "--config"]).arg(config).output().unwrap();
    assert!(accepted.status.success(), "{accepted:?}");
    // The daemon has not run since; the container has another name, the same size, and is as idle.
    node.containers.insert(104, IDLE);
    node.record(MINUTE);
    node.cycle(&mut daemon).await;
    assert_eq!(api.take(), []);
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let all = ledger.all_proposals(Some(vmid(104)), 9).unwrap();
    let withdrawn: Vec<_> = all.iter().filter(|it| it.state == State::Withdrawn).collect();
    assert_eq!(withdrawn.len(), 2, "{all:?}");
    let why = withdrawn[0].note.as_deref().unwrap();
    assert!(why.contains("it was called `db` then and is called `web` now"), "{why}");
}

#[tokio::test]
async fn figures_of_the_node_that_are_too_old_allow_no_growth() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(12, &[(101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), WATCH);
    node.is_known = false;
    let mut reasons = Vec::new();
    for minute in 0..8 {
        // The daemon restarts when they are three minutes old.
        if minute == 3 {
            daemon.keep_all();
            daemon = node.daemon(&api.url(), WATCH);
        }
        node.record(MINUTE);
        let report = node.cycle(&mut daemon).await;
        let decisions = &report.proposals[0].decisions;
        let unknown = |reason: &Reason| matches!(reason, Reason::NodeUnknown);
        reasons.push((unknown(&decisions.cpu.reason), unknown(&decisions.memory.reason)));
    }
    // `metrics.max_age_seconds` is five minutes.
    assert_eq!(reasons, [vec![(false, false); 5], vec![(true, true); 3]].concat());
    node.is_known = true;
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.proposals[0].decisions.memory.action, Action::Grow);
}
