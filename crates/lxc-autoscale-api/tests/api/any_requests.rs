//! Whatever is requested in whatever order, no size that this server brings about violates an invariant.

use std::collections::{BTreeMap, BTreeSet};

use lxc_autoscale_api::config::LimitsConfig;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::{LedgerEntry, LedgerPage, SizeOf};
use lxc_autoscale_core::container_config::ContainerConfig;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::node::{Node, RUNNING_104, request, send};

/// A stopped container and two that run.
const IDS: [u32; 3] = [102, 104, 106];
/// What the node can give, in MiB.
const TO_GIVE: u32 = 6000;
/// Rolls back for real: the sizes of the snapshot become the present ones.
const ROLLBACK: &str = r#"
{
    awk -v head="[$1]" '/^\[/ { here = ($0 == head); next } here && NF && !/^(#|snaptime:|parent:)/' "$conf"
    echo
    awk '/^\[/ { on = 1 } on' "$conf"
} >"$conf.tmp.$$" && mv "$conf.tmp.$$" "$conf"
"#;

/// A request: its method, its path and its body, of the container with this place in [`IDS`].
fn a_request() -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    let size = prop_oneof![0u32..10, 0u32..40, 0u32..20_000];
    (0usize..11, prop::sample::select(IDS.to_vec()), size, 0u32..3).prop_map(|(kind, id, size, which)| {
        let named = json!({"vm_id": id, "snapshot_name": format!("snapshot-{which}")});
        match kind {
            0 | 1 => ("POST", "/scale/cores", json!({"vm_id": id, "cores": size})),
            2 | 3 => ("POST", "/scale/ram", json!({"vm_id": id, "memory": size})),
            4 => ("POST", "/scale/cpulimit", json!({"vm_id": id, "cpulimit": f64::from(size) / 4.0})),
            5 => ("POST", "/boost", json!({"vm_id": id, "memory": size, "cores": which + 1, "minutes": 1})),
            6 => ("DELETE", "/boost", json!({"vm_id": id})),
            7 => ("POST", "/undo", json!({"vm_id": id, "to": "original"})),
            8 => ("POST", "/snapshot/create", named),
            _ => ("POST", "/snapshot/rollback", named),
        }
    })
}

/// Checks one entry of the ledger. A size that was not set before, or is not any more, is no step.
fn keeps(limits: &LimitsConfig, entry: &LedgerEntry) -> Result<(), TestCaseError> {
    let most = f64::from(limits.max_cores);
    let (least, most, smallest) = match entry.resource {
        SizeOf::Cores => (f64::from(limits.min_cores), most, 0.0),
        SizeOf::Cpulimit => (limits.min_cpulimit, most, 1.0),
        SizeOf::Memory => (limits.min_memory_mib as f64, limits.max_memory_mib as f64, 0.0),
        SizeOf::Rootfs => return Ok(()),
    };
    let Some(after) = entry.after else { return Ok(()) };
    prop_assert!((least..=most).contains(&after), "{entry:?}");
    let before = entry.before.unwrap_or(after);
    let (less, more) = (before.min(after).max(smallest), before.max(after).max(smallest));
    prop_assert!(more <= less * limits.max_step_factor, "{entry:?}");
    Ok(())
}

/// Checks all that was done, oldest first.
fn all_kept(limits: &LimitsConfig, entries: &[LedgerEntry]) -> Result<(), TestCaseError> {
    // By container, for those that run: the memory it has, and the least it had.
    let mut given: BTreeMap<Vmid, (f64, f64)> = BTreeMap::new();
    let mut changes: BTreeMap<Vmid, BTreeSet<u64>> = BTreeMap::new();
    for entry in entries {
        keeps(limits, entry)?;
        let of = changes.entry(entry.vm_id).or_default();
        of.insert(entry.change);
        prop_assert!(of.len() <= 8, "{entry:?}");
        let (SizeOf::Memory, Some(before), Some(after)) = (entry.resource, entry.before, entry.after) else {
            continue;
        };
        if entry.vm_id.get() == IDS[0] {
            continue;
        }
        let (has, least) = given.entry(entry.vm_id).or_insert((before, before));
        (*has, *least) = (after, least.min(after));
        let promised: f64 = given.values().map(|(has, least)| has - least).sum();
        prop_assert!(promised <= f64::from(TO_GIVE) || after < before, "{promised} {entry:?}");
    }
    Ok(())
}

async fn sequence(requests: Vec<(&'static str, &'static str, Value)>) -> Result<(), TestCaseError> {
    let mut node = Node::new();
    let limits = &mut node.config.limits;
    (limits.max_cores, limits.max_memory_mib, limits.min_memory_mib) = (16, 16_384, 64);
    (limits.max_step_factor, limits.max_changes_per_hour) = (4.0, 8);
    (limits.node_memory_reserve_percent, limits.allow_blind_memory_shrink) = (0.0, true);
    let limits = limits.clone();
    let meminfo = format!(
        "MemTotal: {} kB\nMemAvailable: {} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
        65_536 << 10,
        TO_GIVE << 10
    );
    std::fs::write(node.root().join("proc/meminfo"), meminfo).unwrap();
    node.write_conf(106, RUNNING_104);
    node.run(106);
    // Of a time when they were set by hand, out of all bounds.
    for (id, cores, memory) in [(102, 40, 700), (104, 2, 30_000), (106, 9, 2048)] {
        let now = node.conf(id).unwrap();
        let then = format!("cores: {cores}\nmemory: {memory}\nrootfs: local-lvm:vm-{id}-disk-0,size=8G\n");
        node.write_conf(id, &format!("{now}\n[snapshot-0]\n#mine\n{then}snaptime: 1\n"));
    }
    node.hook("rollback", ROLLBACK);
    let api = node.api();
    for (method, path, body) in requests {
        send(&api, request(method, path, Some(body))).await;
    }
    let page = send(&api, request("GET", "/ledger", None)).await;
    let page: LedgerPage = serde_json::from_value(page.data().clone()).unwrap();
    let entries: Vec<LedgerEntry> = page.entries.into_iter().rev().collect();
    all_kept(&limits, &entries)?;
    // Nothing was changed that the ledger does not know.
    for id in IDS {
        let has = ContainerConfig::parse(&node.conf(id).unwrap()).0.memory_mb.as_f64();
        let of = |entry: &&LedgerEntry| entry.vm_id.get() == id && entry.resource == SizeOf::Memory;
        let last = entries.iter().rfind(of);
        prop_assert!(last.is_none_or(|last| last.after == Some(has)), "{id}: {has} {last:?}");
    }
    Ok(())
}

#[test]
fn no_request_breaks_an_invariant() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Each request starts a process or more.
    let mut runner = TestRunner::new(Config {
        cases: 8,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let requests = prop::collection::vec(a_request(), 40);
    runner.run(&requests, |requests| runtime.block_on(sequence(requests))).unwrap();
}
