//! A clock that is set back: remembered times in the future block nothing.

use jiff::SignedDuration;
use lxc_autoscale_ml::daemon::CycleReport;
use lxc_autoscale_ml::decide::{Decision, Reason};
use lxc_autoscale_ml::ledger::Ledger;

use crate::api::RecordingApi;
use crate::node::{Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const YEAR: SignedDuration = SignedDuration::from_hours(24 * 365);

fn memory(report: &CycleReport) -> &Decision {
    &report.proposals[0].decisions.memory
}

#[tokio::test]
async fn running_out_of_memory_is_answered_after_the_clock_was_set_back() {
    for restart in [false, true] {
        let api = RecordingApi::up().await;
        let mut node = Node::with_past(12, &[(101, STARVED)]);
        let mut daemon = node.daemon(&api.url(), "");
        node.cycle(&mut daemon).await;
        assert!(api.take().iter().any(|(route, _)| *route == "/scale/ram"), "it grew");
        node.now -= YEAR;
        for _ in 0..3 {
            node.record(MINUTE);
            node.cycle(&mut daemon).await;
        }
        api.take();
        if restart {
            daemon = node.daemon(&api.url(), "");
        }
        node.containers.get_mut(&101).unwrap().oom_kills = 1;
        node.record(MINUTE);
        let report = node.cycle(&mut daemon).await;
        let reason = &memory(&report).reason;
        assert!(matches!(reason, Reason::RanOutOfMemory { .. }), "{restart}: {}", memory(&report));
        assert!(api.take().iter().any(|(route, _)| *route == "/scale/ram"), "{restart}");
    }
}

#[tokio::test]
async fn a_cool_down_ends_when_its_time_is_over_and_not_when_the_clock_is_there_again() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(26, &[(101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "[scaling.cpu]\ncooldown_up_seconds = 600");
    node.cycle(&mut daemon).await;
    let requests = api.take();
    assert!(requests.iter().any(|(route, _)| *route == "/scale/cores"));
    // It uses all that it got, and needs more.
    node.carry_out(&requests);
    let container = node.containers.get_mut(&101).unwrap();
    container.cores_used = container.cores.into();
    node.now -= YEAR;
    let mut remaining = Vec::new();
    for minute in 0..12 {
        node.record(MINUTE);
        // Half way the daemon restarts, with the same cool-down.
        if minute == 5 {
            daemon = node.daemon(&api.url(), "[scaling.cpu]\ncooldown_up_seconds = 600");
        }
        let report = node.cycle(&mut daemon).await;
        match report.proposals[0].decisions.cpu.reason {
            Reason::CoolDownUp { remaining_seconds } => remaining.push(remaining_seconds),
            Reason::NeedsMore { .. } => break,
            ref other => panic!("{minute}: {other}"),
        }
    }
    assert_eq!(remaining, (1..=10).rev().map(|minutes| 60 * minutes).collect::<Vec<u64>>());
    assert!(api.take().iter().any(|(route, _)| *route == "/scale/cores"));
    // The entries have the clock's times.
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let entries = ledger.of_container(vmid(101), 99).unwrap();
    assert!(entries.iter().any(|entry| node.now + YEAR / 2 < entry.at), "{entries:?}");
}
