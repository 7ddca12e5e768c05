//! Candidate policies on live data: they are scored beside the live one, survive a restart, and never act.

use jiff::SignedDuration;
use lxc_autoscale_ml::daemon::Daemon;
use lxc_autoscale_ml::ledger::Ledger;
use lxc_autoscale_ml::shadow::{Kept, KeptShadows};

use crate::api::RecordingApi;
use crate::node::{Container, IDLE, Node, vmid};

const STEP: SignedDuration = SignedDuration::from_mins(5);
/// The live policy only recommends; `lean` would act, `generous` would never give less than 8 GiB.
const CANDIDATES: &str = "[scaling]\nmode = \"recommend\"\n[shadow.lean]\nscaling.mode = \"auto\"\n\
    [shadow.generous]\nids = [100]\nscaling.mode = \"auto\"\nscaling.cpu.mode = \"off\"\nscaling.memory.min_mib = 8192\n";

async fn cycles(node: &mut Node, daemon: &mut Daemon, count: usize) {
    for _ in 0..count {
        node.record(STEP);
        node.cycle(daemon).await;
    }
}

fn kept(node: &Node) -> KeptShadows {
    Ledger::open_read_only(&node.ledger()).unwrap().unwrap().shadows().unwrap()
}

fn of(kept: &KeptShadows, name: &str, id: u32) -> Kept {
    kept[&(name.to_owned(), vmid(id))].clone()
}

/// The memory that container 100 has under a candidate, in MiB.
fn memory_of(kept: &KeptShadows, name: &str) -> Option<f64> {
    Some(kept.get(&(name.to_owned(), vmid(100)))?.size.memory_mib)
}

#[tokio::test]
async fn candidates_are_scored_beside_what_really_was_and_never_act() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE), (101, IDLE)]);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 24).await;
    assert_eq!(api.take(), [], "neither the live policy nor a candidate acts");
    daemon.keep_shadows();
    let calm = kept(&node);
    assert_eq!(calm.len(), 3, "`generous` is for one container only");
    let (lean, generous) = (of(&calm, "lean", 100), of(&calm, "generous", 100));
    for kept in [&lean, &generous] {
        assert!((kept.live.sums.hours - 2.0).abs() < 0.01, "{kept:?}");
        assert!((kept.live.sums.memory.allocated - 8.0).abs() < 0.1, "4 GiB for two hours: {kept:?}");
        assert_eq!(kept.live.sums.memory.resizes, 0);
        assert!((kept.judged.sums.hours - kept.live.sums.hours).abs() < 1e-9, "the same time");
    }
    assert!(lean.judged.sums.memory.allocated < 0.8 * 8.0, "{lean:?}");
    assert!(lean.judged.sums.cpu.allocated < lean.live.sums.cpu.allocated, "{lean:?}");
    assert!(0 < lean.judged.sums.memory.resizes && lean.judged.sums.memory.shortages == 0, "{lean:?}");
    assert!(8.0 < generous.judged.sums.memory.allocated, "{generous:?}");
    // Memory that `lean` took is suddenly needed: the live allocation has it, the virtual one does not.
    node.containers.insert(100, Container { memory_used_mib: 3000.0, ..IDLE });
    cycles(&mut node, &mut daemon, 3).await;
    daemon.keep_shadows();
    let lean = of(&kept(&node), "lean", 100);
    assert!(lean.size.memory_mib > of(&calm, "lean", 100).size.memory_mib, "it answers: {lean:?}");
    assert_eq!((lean.judged.sums.memory.shortages, lean.live.sums.memory.shortages), (1, 0), "{lean:?}");
    assert_eq!(api.take(), []);
}

#[tokio::test]
async fn scores_and_sizes_survive_a_restart_and_another_definition_begins_anew() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE)]);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 12).await;
    daemon.keep_shadows();
    let before = of(&kept(&node), "lean", 100);
    drop(daemon);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 12).await;
    daemon.keep_shadows();
    let after = of(&kept(&node), "lean", 100);
    assert_eq!((after.begun, after.provisioned), (before.begun, before.provisioned));
    assert!((after.judged.sums.hours - before.judged.sums.hours - 1.0).abs() < 0.01, "{before:?} {after:?}");
    assert!(after.size.memory_mib <= before.size.memory_mib);
    drop(daemon);
    let other = CANDIDATES.replace("scaling.memory.min_mib = 8192", "scaling.memory.min_mib = 4097");
    let mut daemon = node.daemon(&api.url(), &other);
    node.cycle(&mut daemon).await;
    daemon.keep_shadows();
    let kept = kept(&node);
    assert_eq!(of(&kept, "lean", 100).begun, before.begun, "its definition is the same");
    assert!(before.begun < of(&kept, "generous", 100).begun);
    drop(daemon);
    let mut daemon = node.daemon(&api.url(), "");
    node.cycle(&mut daemon).await;
    assert_eq!(self::kept(&node), KeptShadows::new(), "what no configuration names any more is not kept");
}

/// Somebody sets its memory, whether the daemon only recommends or leaves it alone.
#[tokio::test]
async fn a_size_that_somebody_sets_is_every_candidates() {
    let api = RecordingApi::up().await;
    for mode in ["recommend", "off"] {
        let mut node = Node::with_past(24, &[(100, IDLE)]);
        let candidates = CANDIDATES.replacen("recommend", mode, 1);
        let mut daemon = node.daemon(&api.url(), &candidates);
        node.cycle(&mut daemon).await;
        cycles(&mut node, &mut daemon, 12).await;
        daemon.keep_shadows();
        let before = kept(&node);
        assert!(of(&before, "lean", 100).size.memory_mib < 4096.0);
        assert_eq!(memory_of(&before, "generous"), Some(8192.0));
        // Too little of it: what they imagined has enough, what they have now does not.
        node.containers.insert(100, Container { memory_mib: 256, memory_used_mib: 250.0, ..IDLE });
        cycles(&mut node, &mut daemon, 1).await;
        daemon.keep_shadows();
        let after = kept(&node);
        for name in ["lean", "generous"] {
            let kept = of(&after, name, 100);
            assert_eq!(memory_of(&after, name), Some(256.0), "{mode}, {name}: {kept:?}");
            let (judged, live) = (kept.judged.sums.memory, kept.live.sums.memory);
            assert_eq!(judged.shortages, live.shortages, "{mode}, {name}");
            let gained = judged.allocated - of(&before, name, 100).judged.sums.memory.allocated;
            let real = live.allocated - of(&before, name, 100).live.sums.memory.allocated;
            assert!((gained - real).abs() < 1e-9, "{mode}, {name}: the same from then on");
        }
        // It is still so after a restart, and another change is taken over, too.
        drop(daemon);
        let mut daemon = node.daemon(&api.url(), &candidates);
        node.cycle(&mut daemon).await;
        node.containers.insert(100, Container { memory_mib: 1024, ..IDLE });
        cycles(&mut node, &mut daemon, 3).await;
        daemon.keep_shadows();
        let last = kept(&node);
        for name in ["lean", "generous"] {
            assert_eq!(memory_of(&last, name), Some(1024.0), "{mode}, {name}");
        }
    }
    assert_eq!(api.take(), [], "nothing acts");
}

/// The state of an older version did not keep what somebody had set.
#[tokio::test]
async fn what_somebody_set_long_ago_is_no_news_after_an_upgrade() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE)]);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 1).await;
    node.containers.insert(100, Container { memory_mib: 2048, ..IDLE });
    cycles(&mut node, &mut daemon, 3).await;
    daemon.keep_shadows();
    drop(daemon);
    let mut ledger = Ledger::open_beside(&node.ledger()).unwrap().unwrap();
    let mut shadows = ledger.shadows().unwrap();
    for kept in shadows.values_mut() {
        (kept.by_hand, kept.real, kept.size.memory_mib) = (None, None, 3000.0);
    }
    ledger.keep_shadows(&shadows).unwrap();
    drop(ledger);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 2).await;
    daemon.keep_shadows();
    for name in ["lean", "generous"] {
        assert_eq!(memory_of(&kept(&node), name), Some(3000.0), "{name}");
    }
}

#[tokio::test]
async fn the_program_shows_the_scores() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE)]);
    let mut daemon = node.daemon(&api.url(), CANDIDATES);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 12).await;
    daemon.keep_shadows();
    let (code, shown, error) = crate::policies::run(&node, CANDIDATES, &["shadow"]);
    assert!(code == 0 && shown.contains("% less by the prices"), "{shown}{error}");
    let (_, json, _) = crate::policies::run(&node, CANDIDATES, &["shadow", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[1]["shadow"], "lean");
    assert!(rows[1]["candidate"]["cost"].as_f64() < rows[1]["live"]["cost"].as_f64(), "{rows}");
    assert!(rows[0]["live"]["cost"].as_f64() < rows[0]["candidate"]["cost"].as_f64(), "{rows}");
    let (_, shown, _) = crate::policies::run(&node, "", &["shadow"]);
    assert!(shown.contains("There is no `[shadow.NAME]`"), "{shown}");
}

/// As the back-test judges a policy: by the prices and the headroom that it sets. What really was is judged by the same.
#[tokio::test]
async fn a_candidate_with_prices_of_its_own_is_judged_by_them() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(24, &[(100, IDLE), (101, IDLE)]);
    let candidates = "[scaling]\nmode = \"recommend\"\n[shadow.lean]\nscaling.mode = \"auto\"\n\
        [shadow.dear]\nscaling.mode = \"auto\"\nrecommend.price_gib_hour = 1.1\n\
        recommend.cpu_headroom_percent = 130\n\
        [policy.own]\nids = [101]\nrecommend.price_core_hour = 3.0\n";
    let mut daemon = node.daemon(&api.url(), candidates);
    node.cycle(&mut daemon).await;
    cycles(&mut node, &mut daemon, 12).await;
    daemon.keep_shadows();
    let kept = kept(&node);
    let needed = |name| of(&kept, name, 100).live.sums.cpu.needed;
    assert!((needed("dear") / needed("lean") - 2.3 / 1.15).abs() < 1e-6, "{}", needed("dear"));
    let (_, json, _) = crate::policies::run(&node, candidates, &["shadow", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    for (row, name, prices) in
        [(0, "dear", [(1.0, 1.1), (3.0, 1.1)]), (1, "lean", [(1.0, 0.11), (3.0, 0.11)])]
    {
        assert_eq!(rows[row]["shadow"], name);
        let judged_by = rows[row]["judged_by"].as_array().unwrap();
        assert_eq!(judged_by.len(), 2, "{judged_by:?}");
        let (mut candidate, mut live) = (0.0, 0.0);
        for (by, (id, (core, gib))) in judged_by.iter().zip([100, 101].into_iter().zip(prices)) {
            assert_eq!(
                (by["core_hour"].as_f64(), by["gib_hour"].as_f64()),
                (Some(core), Some(gib)),
                "{name}"
            );
            let of_it = of(&kept, name, id);
            for (cost, sums) in [(&mut candidate, of_it.judged.sums), (&mut live, of_it.live.sums)] {
                let changes = (sums.cpu.resizes + sums.memory.resizes) as f64;
                *cost += core * sums.cpu.allocated
                    + gib * sums.memory.allocated
                    + 20.0 * sums.cpu.unserved
                    + 10.0 * sums.memory.shortages as f64
                    + 0.02 * changes;
            }
        }
        let cost = |of: &str| rows[row][of]["cost"].as_f64().unwrap();
        assert!(
            (cost("candidate") - candidate).abs() < 1e-9,
            "{name}: {} and {candidate}",
            cost("candidate")
        );
        assert!((cost("live") - live).abs() < 1e-9, "{name}: {} and {live}", cost("live"));
    }
    let (_, shown, _) = crate::policies::run(&node, candidates, &["shadow"]);
    for told in [
        "by the prices that are in force under `dear`, not those of `[recommend]`",
        "by the prices that are in force under `lean`, for 1 of 2 not those of `[recommend]`",
    ] {
        assert!(shown.contains(told), "{shown}");
    }
}

#[test]
fn a_wrong_candidate_is_named() {
    let node = Node::new(&[]);
    for (text, want) in [
        (
            "[shadow.x]\nscaling.memory.min_mib = 99999\nscaling.memory.max_mib = 16384",
            "`shadow.x.scaling.memory.max_mib` must not be less",
        ),
        ("[shadow.x]\nids = [100]", "`shadow.x` must set something"),
        (
            "[shadow.x]\nscaling.memory.min_mb = 1",
            "unknown key `shadow.x.scaling.memory.min_mb`; did you mean",
        ),
    ] {
        let (code, _, error) = crate::policies::run(&node, text, &["policy", "list"]);
        assert!(code == 1 && error.contains(want), "{error}");
    }
}
