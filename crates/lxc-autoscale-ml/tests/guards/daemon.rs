//! The guards in the daemon: records in a file, calls over HTTP, a restart in between.

use jiff::SignedDuration;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::notification::Consumer;
use lxc_autoscale_ml::daemon::CycleReport;
use lxc_autoscale_ml::decide::{Action, Decision, Reason};
use lxc_autoscale_ml::ledger::Outcome;

use crate::api::Stage;
use crate::host::{Guest, Load};

const FIVE: SignedDuration = SignedDuration::from_mins(5);

fn memory(report: &CycleReport, id: u32) -> &Decision {
    &report.proposals.iter().find(|proposal| proposal.id.get() == id).unwrap().decisions.memory
}

/// The size after the first shrink, and when it was undone, in cycles after it.
async fn until_undone(stage: &mut Stage, more: &str, restart: bool) -> (u64, u32, String) {
    let mut daemon = stage.daemon(more);
    let (mut shrunk, mut after) = (None, 0);
    for _ in 0..30 {
        let report = stage.minute(&mut daemon).await;
        let decision = memory(&report, 100);
        match shrunk {
            Some(to) if decision.action == Action::Grow => {
                return (to, after + 1, decision.reason.to_string());
            }
            Some(_) => after += 1,
            None if decision.action == Action::Shrink => {
                shrunk = stage.calls().iter().find(|call| call.2 == "memory").map(|call| call.3);
                if restart {
                    daemon = stage.daemon(more);
                }
            }
            None => {}
        }
    }
    panic!("it was never undone");
}

/// Programs hold 300 MiB and depend on 2000 MiB of page cache, which no working set shows.
fn cached() -> Guest {
    Guest::new(2, 4096, |_| Load { memory_mib: 300.0, cache_mib: 2000.0, cores: 0.2 })
}

/// No margin, practically no limit of steps, no headroom, no waiting.
const BAD: &str = "[recommend]\nmemory_headroom_percent = 0\n[scaling]\nmin_history_seconds = 0\n\
    min_confidence_percent = 0\n[scaling.memory]\nmargin_percent = 0\nmax_step_down_percent = 80\n\
    cooldown_up_seconds = 86400\ncooldown_down_seconds = 0\nmin_mib = 128\n";

#[tokio::test]
async fn a_bad_policy_is_undone_within_two_cycles() {
    for restart in [false, true] {
        let mut stage = Stage::up([(100, cached())]).await;
        stage.pass(24 * 12, FIVE);
        let (shrunk, cycles, reason) = until_undone(&mut stage, BAD, restart).await;
        assert!(shrunk < 1500 && cycles <= 2, "{shrunk} {cycles}");
        assert!(reason.starts_with("the last shrink did harm: its tasks waited for memory"), "{reason}");
        let host = stage.host();
        assert_eq!((host.guests[&100].memory_mib, host.kills.len()), (4096, 0));
    }
}

#[tokio::test]
async fn what_proved_too_small_is_not_tried_again_soon() {
    let mut stage = Stage::up([(100, cached())]).await;
    stage.pass(24 * 12, FIVE);
    until_undone(&mut stage, BAD, false).await;
    // A restart in between; then hours in which the policy would shrink it every minute.
    let policy = BAD.replace("cooldown_down_seconds = 0", "cooldown_down_seconds = 600");
    let mut daemon = stage.daemon(&policy);
    stage.calls();
    let mut reasons = Vec::new();
    for _ in 0..90 {
        let report = stage.minute(&mut daemon).await;
        reasons.push(memory(&report, 100).reason.clone());
    }
    let sizes: Vec<u64> = stage.calls().iter().filter(|call| call.2 == "memory").map(|call| call.3).collect();
    assert!(sizes.iter().all(|size| 1500 < *size), "{sizes:?}");
    assert!(sizes.len() <= 12, "{sizes:?}");
    assert!(
        reasons.iter().any(|reason| matches!(
            reason,
            Reason::Watched { .. } | Reason::TooSmallBefore { .. } | Reason::BackingOff { .. }
        )),
        "{reasons:?}"
    );
}

#[tokio::test]
async fn too_few_cores_are_undone() {
    // Bursts that a mean over five minutes hides: half a core, then three as soon as it has fewer.
    let mut stage = Stage::up([(100, Guest::new(4, 1024, |_| Load::steady(300.0, 0.4)))]).await;
    stage.pass(24 * 12, FIVE);
    let mut daemon = stage.daemon("");
    stage.minute(&mut daemon).await;
    assert_eq!(stage.host().guests[&100].cores, 1, "it gave back what it does not use");
    stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(300.0, 3.0));
    let report = stage.minute(&mut daemon).await;
    let reason = report.proposals[0].decisions.cpu.reason.to_string();
    assert!(reason.starts_with("the last shrink did harm: its tasks waited for a CPU"), "{reason}");
    assert_eq!(stage.host().guests[&100].cores, 4, "all of it at once");
}

#[tokio::test]
async fn what_somebody_sets_by_hand_is_respected_and_said() {
    let mut stage = Stage::up([(100, Guest::new(2, 4096, |_| Load::steady(300.0, 0.2)))]).await;
    stage.pass(24 * 12, FIVE);
    let mut daemon = stage.daemon("");
    stage.minute(&mut daemon).await;
    let shrunk = stage.host().guests[&100].memory_mib;
    assert!(shrunk < 4096);
    stage.minute(&mut daemon).await;
    // Somebody reverses it while the daemon is being restarted.
    stage.host().guests.get_mut(&100).unwrap().memory_mib = 6000;
    stage.calls();
    let mut daemon = stage.daemon("");
    for _ in 0..60 {
        let report = stage.minute(&mut daemon).await;
        let reason = memory(&report, 100).reason.to_string();
        let said = format!("somebody set it from {shrunk} MiB to 6000 MiB, which is respected for another");
        assert!(reason.starts_with(&said), "{reason}");
    }
    assert!(stage.calls().iter().all(|call| call.2 != "memory"));
    // Running out of memory is answered all the same.
    stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(6500.0, 0.2));
    stage.minute(&mut daemon).await;
    assert!(stage.calls().iter().any(|call| call.2 == "memory" && 6000 < call.3));
    // For as long as the configuration says, and not at all if that is zero.
    stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(300.0, 0.2));
    let mut daemon = stage.daemon("[scaling.guard]\nrespect_manual_seconds = 0\n");
    let report = stage.minute(&mut daemon).await;
    assert!(!matches!(memory(&report, 100).reason, Reason::SetByHand { .. }));
}

/// Between the last record and the call based on it.
#[tokio::test]
async fn what_somebody_has_just_set_is_not_overwritten() {
    let mut stage = Stage::up([(100, Guest::new(2, 4096, |_| Load::steady(300.0, 0.2)))]).await;
    stage.pass(24 * 12, FIVE);
    let mut daemon = stage.daemon("");
    stage.host().guests.get_mut(&100).unwrap().memory_mib = 8192;
    let report = stage.cycle(&mut daemon).await;
    assert_eq!(memory(&report, 100).to, Some(3072.0), "by the record it has 4096 MiB");
    let refused = report.carried.iter().find_map(|carried| carried.outcome.error()).unwrap();
    assert!(refused.contains("size_changed") && refused.contains("is 8192"), "{refused}");
    let outcomes: Vec<_> = report.carried.iter().map(|carried| carried.outcome.kind()).collect();
    assert!(outcomes.contains(&"overtaken") && !outcomes.contains(&"failed"), "{outcomes:?}");
    assert_eq!(stage.host().guests[&100].memory_mib, 8192);
    let report = stage.minute(&mut daemon).await;
    let reason = memory(&report, 100).reason.to_string();
    assert!(reason.starts_with("somebody set it from 4096 MiB to 8192 MiB"), "{reason}");
    assert_eq!(stage.host().guests[&100].memory_mib, 8192);
}

/// Somebody set the very size that was decided on: it is neither our change nor a failure, and is respected.
#[tokio::test]
async fn what_somebody_has_just_set_to_the_wanted_size_is_not_ours() {
    let mut stage = Stage::up([(100, Guest::new(2, 4096, |_| Load::steady(300.0, 0.2)))]).await;
    stage.pass(24 * 12, FIVE);
    let mut daemon = stage.daemon("");
    stage.host().guests.get_mut(&100).unwrap().memory_mib = 3072;
    let report = stage.cycle(&mut daemon).await;
    assert_eq!(memory(&report, 100).to, Some(3072.0), "by the record it has 4096 MiB");
    let carried = report.carried.iter().find(|carried| carried.decision.to == Some(3072.0)).unwrap();
    assert_eq!(carried.outcome, Outcome::Already { size: Some(3072.0) });
    let report = stage.minute(&mut daemon).await;
    let reason = memory(&report, 100).reason.to_string();
    assert!(reason.starts_with("somebody set it from 4096 MiB to 3072 MiB"), "{reason}");
}

/// It ran out of memory, and somebody gave it as much as the daemon was about to.
#[tokio::test]
async fn a_lack_of_memory_that_somebody_has_just_answered_is_not_answered_again() {
    let mut wanted = None;
    for by_hand in [false, true] {
        let mut stage = Stage::up([(100, Guest::new(2, 4096, |_| Load::steady(3000.0, 0.2)))]).await;
        stage.pass(12, FIVE);
        let mut daemon = stage.daemon("");
        stage.minute(&mut daemon).await;
        stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(5000.0, 0.2));
        stage.pass(1, SignedDuration::from_mins(1));
        stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(3000.0, 0.2));
        if let Some(size) = wanted.filter(|_| by_hand) {
            stage.host().guests.get_mut(&100).unwrap().memory_mib = size;
        }
        let report = stage.cycle(&mut daemon).await;
        let answer = memory(&report, 100).clone();
        assert!(matches!(answer.reason, Reason::RanOutOfMemory { .. }), "{answer}");
        let outcome = &report.carried.iter().find(|carried| carried.decision == answer).unwrap().outcome;
        assert_eq!(outcome.kind(), if by_hand { "already" } else { "done" });
        wanted = Some(stage.host().guests[&100].memory_mib);
        for _ in 0..3 {
            let report = stage.minute(&mut daemon).await;
            let decision = memory(&report, 100);
            assert!(!matches!(decision.reason, Reason::RanOutOfMemory { .. }), "{by_hand}: {decision}");
        }
    }
}

#[tokio::test]
async fn a_container_that_just_started_is_left_alone_until_it_runs_out_of_memory() {
    let mut stage = Stage::up([(100, Guest::new(2, 4096, |_| Load::steady(300.0, 0.2)))]).await;
    stage.pass(26 * 12, FIVE);
    let seconds = stage.host().seconds();
    stage.host().guests.get_mut(&100).unwrap().restart(seconds);
    let mut daemon = stage.daemon("");
    for _ in 0..4 {
        let report = stage.minute(&mut daemon).await;
        assert!(memory(&report, 100).reason.to_string().starts_with("it started"));
    }
    assert_eq!(stage.calls(), []);
    stage.host().guests.get_mut(&100).unwrap().set_load(|_| Load::steady(5000.0, 0.2));
    let seconds = stage.host().seconds();
    stage.host().guests.get_mut(&100).unwrap().restart(seconds);
    let report = stage.minute(&mut daemon).await;
    assert!(matches!(memory(&report, 100).reason, Reason::RanOutOfMemory { .. }), "{}", memory(&report, 100));
    // Without a start to wait for, it is decided at once.
    let seconds = stage.host().seconds();
    {
        let mut host = stage.host();
        let guest = host.guests.get_mut(&100).unwrap();
        guest.set_load(|_| Load::steady(300.0, 0.2));
        guest.restart(seconds);
    }
    let mut daemon = stage.daemon("[scaling.guard]\nboot_seconds = 0\n");
    let report = stage.minute(&mut daemon).await;
    assert!(!matches!(memory(&report, 100).reason, Reason::Disturbed { .. }));
}

#[tokio::test]
async fn the_node_is_not_given_out_twice_and_the_loser_is_told() {
    // 8192 MiB, a tenth in reserve; three containers of 2 GiB each that run out of it.
    let hungry = || Guest::new(2, 2048, |_| Load::steady(1700.0, 0.2));
    let mut stage = Stage::up([(100, hungry()), (101, hungry()), (102, hungry())]).await;
    {
        let mut host = stage.host();
        (host.memory_total_mib, host.others_mib) = (8192.0, 900.0);
    }
    stage.pass(18 * 12, FIVE);
    for guest in stage.host().guests.values_mut() {
        guest.set_load(|_| Load::steady(2100.0, 0.2));
    }
    let mut daemon = stage.daemon("");
    let report = stage.minute(&mut daemon).await;
    let calls = stage.calls();
    let grown: Vec<(u32, u64)> =
        calls.iter().filter(|call| call.2 == "memory").map(|call| (call.1, call.3)).collect();
    // The first gets what is left, which is less than it wants.
    let budget = 8192.0 * 0.9 - 900.0;
    let total =
        |stage: &Stage| stage.host().guests.values().map(|guest| guest.memory_mib as f64).sum::<f64>();
    assert!(matches!(grown[..], [(100, size)] if 2300 < size && size < 2458), "{grown:?}");
    assert!(total(&stage) <= budget, "{} of {budget}", total(&stage));
    for id in [101, 102] {
        let loser = memory(&report, id).to_string();
        let said = "keep 2048 MiB: it needs more and the node can give it 2";
        assert!(loser.starts_with(said) && loser.ends_with("; 100 came first"), "{loser}");
    }
    // Cycle after cycle the budget is kept.
    for _ in 0..30 {
        stage.minute(&mut daemon).await;
        assert!(total(&stage) <= budget, "{} of {budget}", total(&stage));
    }
}

#[tokio::test]
async fn a_leak_is_told_once_and_not_fed() {
    // 30 MiB an hour, without end.
    let mut stage =
        Stage::up([(100, Guest::new(2, 2048, |seconds| Load::steady(600.0 + seconds / 120.0, 0.2)))]).await;
    stage.pass(40 * 12, FIVE);
    let mut daemon = stage.daemon("");
    stage.minute(&mut daemon).await;
    let queue = Consumer::open(stage.path("notifications")).unwrap();
    let told = queue.pending(10).unwrap().notifications;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].title.starts_with("100 web: memory leaks, full in"), "{}", told[0].title);
    assert!((25.0..35.0).contains(&told[0].details["mib_per_hour"].as_f64().unwrap()), "{told:?}");
    assert_eq!(told[0].container, Vmid::try_from(100).ok());
    // Three days later it has half as much again and no more, with restarts of the daemon in between.
    let mut reasons = Vec::new();
    for _ in 0..9 {
        daemon = stage.daemon("");
        for _ in 0..8 {
            stage.pass(11, FIVE);
            let report = stage.minute(&mut daemon).await;
            reasons.push(memory(&report, 100).reason.clone());
        }
    }
    let host = stage.host();
    assert!(host.guests[&100].memory_mib <= 3072, "{}", host.guests[&100].memory_mib);
    assert!(0 < host.guests[&100].oom_kills());
    drop(host);
    assert!(reasons.iter().any(|reason| matches!(reason, Reason::Leaking { .. })), "{reasons:?}");
    assert_eq!(queue.pending(10).unwrap().notifications.len(), 1, "once");
}
