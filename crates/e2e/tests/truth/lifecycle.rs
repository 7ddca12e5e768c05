//! Containers that stop, vanish and come back (A3, A12).

use std::time::{Duration, Instant};

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::snapshot::Snapshot;
use lxc_autoscale_e2e::eventually;

use crate::Proof;
use crate::container::Limits;
use crate::monitor::record;

const LIMITS: Limits = Limits { quota_cores: None, memory_mib: 128, swap_mib: 0, pids: None };

pub(crate) fn check(proof: &mut Proof) {
    let mut stays = proof.container(LIMITS);
    let mut dies = proof.container(LIMITS);
    let [stays_id, dies_id] = [stays.id, dies.id].map(|id| Vmid::try_from(id).unwrap());
    stays.order("burn 0.1");
    dies.order("burn 0.1");

    let daemon = proof.monitor.run("lifecycle", 0.1);
    let limit = Duration::from_mins(2);
    let rated = |snapshot: &Snapshot, id: Vmid| {
        snapshot.containers.get(&id).is_some_and(|record| record.cpu_cores_used.is_some())
    };
    eventually("both are measured", limit, || {
        daemon.snapshots().iter().any(|snapshot| rated(snapshot, dies_id)).then_some(())
    });
    dies.kill();
    let gone = |snapshot: &Snapshot| {
        !snapshot.containers.contains_key(&dies_id) && snapshot.summary.stopped_containers.contains(&dies_id)
    };
    eventually("the monitor sees that it stopped", limit, || {
        daemon.snapshots().last().filter(|snapshot| gone(snapshot)).map(|_| ())
    });
    let called = Instant::now();
    dies.boot();
    let snapshots = eventually("the monitor sees that it runs again", limit, || {
        let snapshots = daemon.snapshots();
        snapshots.last().is_some_and(|snapshot| rated(snapshot, dies_id)).then_some(snapshots)
    });
    let seen_after = called.elapsed();
    daemon.stop();

    let last_gone = snapshots.iter().rposition(gone);
    proof.findings.holds(
        "stopped: counted, no record",
        "in stopped_containers and not among the containers",
        last_gone.is_some(),
        format!("snapshot {last_gone:?} of {}", snapshots.len()),
    );
    // The other one is in every snapshot, with a rate in each but the first.
    let whole = snapshots.iter().skip(1).all(|snapshot| rated(snapshot, stays_id));
    let found = format!("{} snapshots", snapshots.len());
    proof.findings.holds("killed: only its own row", "the other is in every snapshot", whole, found);
    let back = snapshots[last_gone.unwrap_or(0)..]
        .iter()
        .find(|snapshot| snapshot.containers.contains_key(&dies_id));
    let back = back.map(|snapshot| record(snapshot, dies.id));
    let rateless =
        back.is_some_and(|record| record.cpu_cores_used.is_none() && record.cpu_throttled_share.is_none());
    let found = format!("{:?}", back.and_then(|record| record.missing.reason("cpu_cores_used")));
    proof.findings.holds("restarted: no rate", "the first sample after the start has none", rateless, found);
    let uptime = back.and_then(|record| record.uptime_seconds);
    proof.findings.within("restarted: uptime_seconds", uptime, 0.0..=seen_after.as_secs_f64() + 0.03);
}
