use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::decide::{Amount, Decisions, NodeSituation, Obstacles, Reason};
use crate::guard::Guard;
use crate::ledger::Inputs;
use crate::policy::Identity;
use crate::recommend::Fact;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn vmid() -> Vmid {
    Vmid::try_from(104).unwrap()
}

fn node() -> Node {
    Node { name: Some("pve1".to_owned()), cpus: Some(16), memory_total_mib: Some(65_536) }
}

fn now(seconds: i64) -> Now {
    let configuration = Configuration { file: PathBuf::from("/etc/ml.toml"), sha256: "aaaa".to_owned() };
    Now { at: at(seconds), node: node(), configuration }
}

/// The decision about container 104: its CPU stays.
fn proposal(memory: Decision) -> Proposal {
    let cpu = Decision {
        resource: Resource::Cpu,
        action: Action::Keep,
        to: None,
        from: Some(2.0),
        reason: Reason::JustCutOff,
        ..memory.clone()
    };
    let in_force = Config::default().policy_book().unwrap().in_force(&Identity::of(vmid()), at(0));
    let inputs = Inputs {
        allocation: None,
        obstacles: Obstacles::default(),
        observation: None,
        recommendation: None,
        opinions: None,
        changes: crate::decide::LastChanges::default(),
        anomaly: None,
        unusual: None,
        node: NodeSituation::default(),
        policy: in_force.key(),
        guard: Guard::default(),
    };
    let name = Some("web".to_owned());
    Proposal { id: vmid(), name, decisions: Decisions { cpu, memory }, inputs, in_force: Arc::new(in_force) }
}

fn shrink(from: f64, to: f64) -> Decision {
    Decision {
        resource: Resource::Memory,
        action: Action::Shrink,
        from: Some(from),
        to: Some(to),
        apply: true,
        reason: Reason::CanGiveBack { basis: Fact::RecentPeak, target: Amount::Mib(to) },
        confidence_percent: 90.0,
    }
}

fn plan() -> Plan {
    let Now { node, configuration, .. } = now(0);
    let proposals = [proposal(shrink(1024.0, 768.0))];
    Plan::new(&proposals, node, configuration, at(0), SignedDuration::from_secs(900))
}

#[track_caller]
fn check(refused: Result<(), Refusal>, want: &str) {
    let text = refused.err().map(|refusal| refusal.to_string());
    assert!(text.as_deref().unwrap_or("").contains(want), "{text:?} has not `{want}`");
    assert_eq!(text.is_none(), want.is_empty(), "{text:?}");
}

#[test]
fn a_plan_is_good_for_its_time_its_node_and_its_configuration() {
    let plan = plan();
    assert_eq!((plan.changes.len(), plan.kept), (1, 1));
    check(plan.check(&now(899)), "");
    check(plan.check(&now(900)), "the plan expired");
    check(plan.check(&now(-60)), "60 s in the future");
    let other = Configuration { sha256: "bbbb".to_owned(), ..now(0).configuration };
    check(plan.check(&Now { configuration: other, ..now(1) }), "the configuration has changed");
    let other = Node { name: Some("pve2".to_owned()), ..node() };
    check(plan.check(&Now { node: other, ..now(1) }), "pve1 (16 CPUs, 65536 MiB), and this is pve2");
    let other = Node { memory_total_mib: Some(32_768), ..node() };
    check(plan.check(&Now { node: other, ..now(1) }), "the plan was made for another node");
    check(Plan { version: 2, ..plan.clone() }.check(&now(1)), "version 2");
}

#[test]
fn a_plan_that_somebody_edited_is_noticed() {
    let edits: [fn(&mut Plan); 4] = [
        |plan| plan.changes[0].decision.to = Some(512.0),
        |plan| plan.changes[0].id = Vmid::try_from(105).unwrap(),
        |plan| plan.expires_at = at(90_000),
        |plan| plan.changes.clear(),
    ];
    for edit in edits {
        let mut edited = plan();
        edit(&mut edited);
        check(edited.check(&now(1)), "the plan was altered");
    }
}

#[test]
fn a_change_is_made_only_where_everything_is_as_it_was() {
    let plan = plan();
    let change = &plan.changes[0];
    let decided = |decision: Decision| change.check(&proposal(decision));
    let kept =
        Decision { action: Action::Keep, to: None, reason: Reason::JustCutOff, ..shrink(1024.0, 768.0) };
    check(decided(shrink(1024.0, 768.0)), "");
    check(decided(shrink(1024.0, 640.0)), "");
    check(decided(shrink(1024.0, 784.0)), "decided now: shrink from 1024 MiB to 784 MiB");
    check(decided(kept), "ran into its limit a moment ago");
    check(decided(shrink(2048.0, 768.0)), "it had 1024 MiB then and has 2048 MiB now");
    let other = Proposal { name: Some("mail".to_owned()), ..proposal(shrink(1024.0, 768.0)) };
    check(change.check(&other), "called `web` when the plan was made and is called `mail` now");
    let mut other = proposal(shrink(1024.0, 768.0));
    other.inputs.policy = Some("another".to_owned());
    check(change.check(&other), "other rules are in force");
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    let plan = plan();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    assert!((plan.added(Resource::Memory) + 256.0).abs() < 1e-9);
    assert_eq!((plan.count(Action::Shrink), plan.count(Action::Grow)), (1, 0));
}
