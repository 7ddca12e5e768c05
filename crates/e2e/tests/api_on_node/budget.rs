//! The node's memory is promised once, however many ask for it at the same time.

use std::fs;
use std::thread;

use lxc_autoscale_core::procfs;
use lxc_autoscale_core::units::bytes_to_mib;
use serde_json::Value;

use crate::node::{BackEnd, Node};

/// The containers that the simulated node runs.
const IDS: [u32; 10] = [100, 101, 102, 103, 104, 110, 111, 112, 113, 114];

/// What can be given, in MiB: what is available beyond the reserve of 2 %.
fn to_give(node: &Node) -> f64 {
    let memory = fs::read_to_string(node.proxmox.at("node/proc/meminfo")).unwrap();
    let memory = procfs::meminfo(&memory).unwrap();
    bytes_to_mib(memory.available) - bytes_to_mib(memory.total) * 0.02
}

#[test]
fn as_many_containers_grow_as_the_node_has_memory_for() {
    for back_end in [BackEnd::Pct, BackEnd::Rest] {
        let node = Node::start(back_end);
        let at_first = to_give(&node);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of the node's memory"
        )]
        let more = (at_first / 5.0) as u64;
        let before = IDS.map(|id| node.config(id).memory_mb.get());
        let answers: Vec<Value> = thread::scope(|scope| {
            let asked: Vec<_> = IDS
                .into_iter()
                .zip(before)
                .map(|(id, before)| {
                    let body = format!(r#"{{"vm_id": {id}, "memory": {}}}"#, before + more);
                    let node = &node;
                    scope.spawn(move || node.post("/scale/ram", &body))
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let granted = answers.iter().filter(|answer| answer["status"] == "success").count();
        let refused = answers.iter().filter(|answer| answer["code"] == "node_memory_short").count();
        assert_eq!(granted + refused, IDS.len(), "{back_end:?}: {answers:?}");
        // As many as fit, and the containers take some of it meanwhile.
        let fit = |mib: f64| (1..=10_u32).take_while(|count| f64::from(*count) * more as f64 <= mib).count();
        assert!((fit(to_give(&node))..=fit(at_first)).contains(&granted), "{back_end:?}: {answers:?}");
        let now = IDS.map(|id| node.config(id).memory_mb.get());
        assert_eq!(
            now.iter().sum::<u64>(),
            before.iter().sum::<u64>() + granted as u64 * more,
            "{back_end:?}"
        );
    }
}
