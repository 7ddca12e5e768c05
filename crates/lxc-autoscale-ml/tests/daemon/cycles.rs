//! What the daemon changes, and what it leaves alone.

use jiff::SignedDuration;
use lxc_autoscale_core::service::StopAsked;
use lxc_autoscale_ml::decide::{Action, Reason};
use lxc_autoscale_ml::ledger::{Ledger, Outcome};

use crate::api::{RecordingApi, Request};
use crate::node::{Container, IDLE, Node, STARVED, vmid};
use crate::policies::run;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The sizes requested for a container: cores and MiB.
fn asked(requests: &[Request], id: u32) -> (Option<u64>, Option<u64>) {
    let of = |route: &str, field: &str| {
        let mut found = requests.iter().filter(|(at, body)| *at == route && body["vm_id"] == id);
        let value = found.next().map(|(_, body)| body[field].as_u64().unwrap());
        assert!(found.next().is_none(), "{id} was asked for twice: {requests:?}");
        value
    };
    (of("/scale/cores", "cores"), of("/scale/ram", "memory"))
}

#[tokio::test]
async fn a_starved_container_grows_and_an_idle_one_shrinks() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(48, &[(100, IDLE), (101, STARVED)]);
    let report = node.cycle(&mut node.daemon(&api.url(), "")).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    let requests = api.take();
    let (cores, memory) = asked(&requests, 100);
    assert!((1..4).contains(&cores.unwrap()), "{requests:?}");
    // One step takes at most a quarter.
    assert!((3072..4096).contains(&memory.unwrap()), "{requests:?}");
    let (cores, memory) = asked(&requests, 101);
    assert!((3..=8).contains(&cores.unwrap()), "{requests:?}");
    assert!((1025..=2048).contains(&memory.unwrap()), "{requests:?}");
    assert_eq!(requests.len(), 4);
}

#[tokio::test]
async fn the_ledger_tells_what_was_asked_and_what_came_of_it() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(48, &[(101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "");
    node.cycle(&mut daemon).await;
    let (cores, memory) = asked(&api.take(), 101);
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let entries = ledger.newest().unwrap();
    let wanted = [cores, memory].map(|value| value.map(|value| value as f64));
    assert_eq!(entries.iter().map(|entry| entry.decision.to).collect::<Vec<_>>(), wanted);
    for (entry, wanted) in entries.iter().zip(wanted) {
        assert_eq!(entry.outcome, Outcome::Done { before: Some(1.0), after: wanted });
        assert!(0.0 < entry.decision.confidence_percent, "{entry:?}");
        // Its inputs are stored with it.
        assert!(entry.inputs.recommendation.is_some() && entry.inputs.node.cpus == Some(16));
    }
}

#[tokio::test]
async fn what_must_be_left_alone_gets_no_call() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(
        12,
        &[
            (110, Container { lock: Some("backup"), ..STARVED }),
            (111, Container { tags: &["autoscale-off"], ..STARVED }),
            (112, Container { template: true, ..STARVED }),
            (113, STARVED),
            (114, Container { configured: false, ..STARVED }),
            (115, STARVED),
        ],
    );
    node.stopped = vec![115];
    node.record(MINUTE);
    let report = node.cycle(&mut node.daemon(&api.url(), "[containers]\nignore = [113]")).await;
    assert_eq!(api.take(), []);
    assert_eq!(report.proposals.len(), 6);
    let reasons: Vec<String> =
        report.proposals.iter().map(|proposal| proposal.decisions.memory.reason.to_string()).collect();
    for (reason, word) in reasons.iter().zip([
        "backup",
        "autoscale-off",
        "template",
        "containers.ignore",
        "could not be read",
        "does not run",
    ]) {
        assert!(reason.contains(word), "{reasons:?}");
    }
}

#[tokio::test]
async fn modes_hold_back_what_they_should() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, STARVED)]);
    for (mode, action) in [("off", Action::Keep), ("recommend", Action::Grow)] {
        let mut daemon = node.daemon(&api.url(), &format!("[scaling]\nmode = \"{mode}\""));
        let report = node.cycle(&mut daemon).await;
        assert_eq!(report.proposals[0].decisions.cpu.action, action, "{mode}");
        assert_eq!(api.take(), [], "{mode}");
    }
    let mut daemon = node.daemon(&api.url(), "[scaling.memory]\nmode = \"recommend\"");
    node.cycle(&mut daemon).await;
    let (cores, memory) = asked(&api.take(), 101);
    assert!(cores.is_some() && memory.is_none());
}

#[tokio::test]
async fn the_first_hours_of_a_container_allow_growth_only() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(2, &[(100, IDLE), (101, STARVED)]);
    node.cycle(&mut node.daemon(&api.url(), "")).await;
    let requests = api.take();
    assert_eq!(asked(&requests, 100), (None, None));
    assert!(asked(&requests, 101).0.is_some());
}

#[tokio::test]
async fn cool_downs_hold_across_a_restart() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(48, &[(100, IDLE), (101, STARVED)]);
    let more = "[scaling.cpu]\ncooldown_up_seconds = 600\ncooldown_down_seconds = 600\n\
                [scaling.memory]\ncooldown_up_seconds = 600\ncooldown_down_seconds = 600";
    node.cycle(&mut node.daemon(&api.url(), more)).await;
    let requests = api.take();
    assert_eq!(requests.len(), 4);
    node.carry_out(&requests);
    node.record(MINUTE);
    node.cycle(&mut node.daemon(&api.url(), more)).await;
    assert_eq!(api.take(), [], "a restarted daemon knows what was changed a minute ago");
    node.record(SignedDuration::from_mins(10));
    node.cycle(&mut node.daemon(&api.url(), more)).await;
    assert_ne!(api.take(), []);
}

/// Somebody takes our change back before a record shows it: all records show the same size.
#[tokio::test]
async fn a_change_that_somebody_takes_back_at_once_is_not_made_again() {
    let api = RecordingApi::up().await;
    let no_wait = "[scaling.cpu]\ncooldown_up_seconds = 0\ncooldown_down_seconds = 0\n\
                [scaling.memory]\ncooldown_up_seconds = 0\ncooldown_down_seconds = 0";
    let mut node = Node::with_past(48, &[(100, IDLE), (101, IDLE)]);
    let mut daemon = node.daemon(&api.url(), no_wait);
    node.cycle(&mut daemon).await;
    let requests = api.take();
    assert!(asked(&requests, 100).1.is_some() && asked(&requests, 101).1.is_some(), "{requests:?}");
    let kept: Vec<Request> = requests.into_iter().filter(|(_, body)| body["vm_id"] == 101).collect();
    node.carry_out(&kept);
    for minute in 1..=40 {
        node.record(MINUTE);
        let report = if minute == 20 {
            daemon = node.daemon(&api.url(), no_wait);
            node.cycle(&mut daemon).await
        } else {
            node.cycle(&mut daemon).await
        };
        let requests = api.take();
        assert_eq!(asked(&requests, 100), (None, None), "minute {minute}");
        node.carry_out(&requests);
        for decision in report.proposals[0].decisions.both() {
            assert!(matches!(decision.reason, Reason::SetByHand { .. }), "minute {minute}: {decision}");
        }
        for decision in report.proposals[1].decisions.both() {
            assert!(!matches!(decision.reason, Reason::SetByHand { .. }), "minute {minute}: {decision}");
        }
    }
    // Each is told once, among our own changes.
    let (_, shown, _) = run(&node, no_wait, &["history", "100"]);
    assert_eq!(shown.matches("MiB → 4096 MiB  set by somebody else").count(), 1, "{shown}");
    assert_eq!(shown.matches("→ 4 cores  set by somebody else").count(), 1, "{shown}");
    let (_, shown, _) = run(&node, no_wait, &["history", "101"]);
    assert!(!shown.contains("set by somebody else"), "{shown}");
}

/// The second cycle sees the same record as the first, with the sizes before the change.
#[tokio::test]
async fn without_a_new_record_nothing_is_done_twice() {
    let api = RecordingApi::up().await;
    let no_wait = "[scaling.cpu]\ncooldown_up_seconds = 0\ncooldown_down_seconds = 0\n\
                [scaling.memory]\ncooldown_up_seconds = 0\ncooldown_down_seconds = 0";
    let mut node = Node::with_past(12, &[(101, Container { cores_used: 0.5, throttled: 0.0, ..STARVED })]);
    node.containers.get_mut(&101).unwrap().oom_kills = 1;
    node.record(MINUTE);
    let mut daemon = node.daemon(&api.url(), no_wait);
    node.cycle(&mut daemon).await;
    let first = asked(&api.take(), 101).1.unwrap();
    assert!(1228 <= first, "at least a fifth more after running out of memory: {first}");
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.proposals[0].decisions.memory.from, Some(first as f64));
    assert!(api.take().iter().all(|(_, body)| body["memory"].as_u64() != Some(first)));
}

#[tokio::test]
async fn running_out_of_memory_does_not_wait_for_the_cool_down() {
    let api = RecordingApi::up().await;
    let long = "[scaling.memory]\ncooldown_up_seconds = 86400";
    let mut node = Node::with_past(12, &[(101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), long);
    node.cycle(&mut daemon).await;
    let grown = asked(&api.take(), 101).1.unwrap();
    let container = node.containers.get_mut(&101).unwrap();
    (container.memory_mib, container.memory_used_mib) = (grown, grown as f64);
    node.record(MINUTE);
    node.cycle(&mut daemon).await;
    assert_eq!(asked(&api.take(), 101).1, None, "the cool-down holds");
    node.containers.get_mut(&101).unwrap().oom_kills = 1;
    // It happens in the first of two records; the daemon sees both at once.
    node.record(SignedDuration::from_secs(30));
    node.record(SignedDuration::from_secs(30));
    node.cycle(&mut daemon).await;
    assert!(Some(grown) < asked(&api.take(), 101).1, "out of memory breaks it");
    node.cycle(&mut daemon).await;
    assert_eq!(asked(&api.take(), 101).1, None, "and is answered once");
}

/// A shrink does not answer a container that runs out of memory while it is being made.
#[tokio::test]
async fn an_oom_kill_during_a_shrink_is_answered() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(48, &[(100, IDLE)]);
    let mut daemon = node.daemon(&api.url(), "");
    let cycle_at = node.now + SignedDuration::from_secs(20);
    node.containers.get_mut(&100).unwrap().oom_kills = 1;
    daemon.cycle(cycle_at, &StopAsked::default()).await;
    let shrunk = asked(&api.take(), 100).1.unwrap();
    node.containers.get_mut(&100).unwrap().memory_mib = shrunk;
    // Recorded with the time at which it was read, and seen by the daemon only in its next cycle.
    node.record(SignedDuration::from_secs(15));
    node.cycle(&mut daemon).await;
    let grown = asked(&api.take(), 100).1;
    assert!(Some(shrunk) < grown, "{shrunk} then {grown:?}");
}

#[tokio::test]
async fn a_pinned_container_keeps_its_cores() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, Container { pinned: true, ..STARVED })]);
    node.cycle(&mut node.daemon(&api.url(), "")).await;
    let (cores, memory) = asked(&api.take(), 101);
    assert!(cores.is_none() && memory.is_some());
}

#[tokio::test]
async fn a_daemon_told_to_stop_begins_no_further_change() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, STARVED), (102, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "");
    let stop = StopAsked::default();
    let told_at_the_first_change = async {
        while api.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        stop.ask();
    };
    tokio::join!(told_at_the_first_change, daemon.cycle(node.now, &stop));
    let calls = api.take();
    assert!(!calls.is_empty() && calls.iter().all(|(_, body)| body["vm_id"] == 101), "{calls:?}");
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    assert!(ledger.of_container(vmid(102), 10).unwrap().is_empty());
    assert!(daemon.cycle(node.now, &stop).await.proposals.is_empty(), "one that is to stop decides nothing");
}
