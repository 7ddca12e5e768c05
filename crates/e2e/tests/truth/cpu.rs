//! CPU usage and throttling (A3, A5), compared with the burner's own figures and the kernel's counters.

use lxc_autoscale_core::snapshot::{ContainerRecord, Snapshot, Throttling};

use crate::container::{Container, Limits};
use crate::machine::{keyed, stall_usec, text};
use crate::monitor::{record, usec};
use crate::node::NodeCpu;
use crate::{Proof, around};

/// How far a burner may deviate from its order for its nominal figure to be checked.
const AS_TOLD: f64 = 0.02;
/// Long enough that the scheduler's ticks do not matter.
const INTERVAL_SECONDS: f64 = 5.0;

/// A burner of 1.5 cores under a limit of 2 (half of that on a machine with one CPU).
pub(crate) fn burning(proof: &mut Proof) {
    let limit = f64::from(proof.machine.cpus.min(2));
    let nominal = 0.75 * limit;
    let mut container = proof.container(limits(limit));
    container.order(&format!("burn {nominal}"));
    let node = NodeCpu::watch();
    let id = container.id;
    let snapshots =
        series(proof, "burning", 4, |snapshots| burned_as_told(&mut container, snapshots, nominal));
    let pairs = pairs(&snapshots, id);

    let first = record(&snapshots[0], container.id);
    let rateless = first.cpu_cores_used.is_none()
        && first.cpu_usage_percent.is_none()
        && first.cpu_throttled_share.is_none()
        && first.missing.contains("cpu_cores_used")
        && snapshots[0].summary.node.as_ref().is_some_and(|node| node.cpu_cores_used.is_none());
    let found = format!("{:?}", first.missing.reason("cpu_cores_used"));
    proof.findings.holds("first sample: no rate", "absent, with its reason", rateless, found);

    let truth: Vec<f64> = pairs.iter().map(|pair| burned_cores(&mut container, *pair)).collect();
    let (least, most) = ratios(&pairs, &truth);
    proof.findings.within("cpu_cores_used, least", least, 0.97..=1.03);
    proof.findings.within("cpu_cores_used, most", most, 0.97..=1.03);
    let off = pairs.iter().map(|(_, now)| {
        let (cores, percent) = now.cpu_cores_used.zip(now.cpu_usage_percent).unwrap_or((f64::NAN, f64::NAN));
        (percent / (100.0 * cores / limit) - 1.0).abs()
    });
    proof.findings.within("cpu_usage_percent, of the limit", off.reduce(f64::max), 0.0..=0.0001);

    // The machine may have been busy otherwise; the burner's own figures decide.
    let quiet = pairs.iter().zip(&truth).find(|(_, truth)| is_as_told(**truth, nominal));
    match quiet {
        Some(((_, now), _)) => {
            let around_nominal = |value: f64| 0.97 * value..=1.03 * value;
            proof.findings.within("cpu_cores_used, nominal", now.cpu_cores_used, around_nominal(nominal));
            proof.findings.within("cpu_usage_percent, nominal", now.cpu_usage_percent, around_nominal(75.0));
        }
        None => proof.findings.skip(
            &["cpu_cores_used, nominal", "cpu_usage_percent, nominal"],
            &format!("the machine was too busy: the burner used {truth:.2?} of {nominal} cores"),
        ),
    }

    let limits = record(&snapshots[0], container.id).limits.unwrap();
    proof.findings.within("limits.quota_cores", limits.quota_cores, limit..=limit);
    proof.findings.within("limits.cores", limits.cores, limit..=limit);

    let machine = proof.machine;
    let (snapshot, kernel) = around(|| machine.cpu_usec(id), || proof.monitor.once());
    proof.findings.counter("cpu_usage_usec", record(&snapshot, id).cpu_usage_usec, kernel);

    let ratios: Vec<f64> = snapshots.windows(2).map(|pair| node_ratio(&node, &pair[0], &pair[1])).collect();
    proof.findings.within("node.cpu_cores_used, least", ratios.iter().copied().reduce(f64::min), 0.97..=1.03);
    proof.findings.within("node.cpu_cores_used, most", ratios.iter().copied().reduce(f64::max), 0.97..=1.03);
}

/// Quota of the throttled container, in cores: so little that its two threads reach it even on a busy machine.
const QUOTA: f64 = 0.2;

/// Two threads that want a core each, under a small limit.
pub(crate) fn throttled(proof: &mut Proof) {
    let mut container = proof.container(limits(QUOTA));
    let id = container.id;
    container.order("burn 2");
    let snapshots =
        series(proof, "throttled", 3, |snapshots| burned_as_told(&mut container, snapshots, QUOTA));
    let pairs = pairs(&snapshots, id);
    let truth: Vec<f64> = pairs.iter().map(|pair| burned_cores(&mut container, *pair)).collect();
    let (least, most) = ratios(&pairs, &truth);
    proof.findings.within("throttled: cpu_cores_used, least", least, 0.97..=1.03);
    proof.findings.within("throttled: cpu_cores_used, most", most, 0.97..=1.03);
    let quiet = pairs.iter().zip(&truth).find(|(_, truth)| is_as_told(**truth, QUOTA));
    let (nominal, rises) = ("throttled: cpu_cores_used, nominal", "throttling.nr_throttled rises");
    match quiet {
        Some((pair, _)) => {
            proof.findings.within(nominal, pair.1.cpu_cores_used, 0.97 * QUOTA..=1.03 * QUOTA);
            // There are ten periods a second, and burners that want ten times their quota reach it in nearly all of
            // them.
            let possible = 10.0 * INTERVAL_SECONDS;
            proof.findings.within(
                rises,
                rise(*pair, |counters| counters.nr_throttled),
                0.5 * possible..=1.1 * possible,
            );
        }
        None => proof
            .findings
            .skip(&[nominal, rises], &format!("the machine was too busy: {truth:.2?} of {QUOTA} cores")),
    }

    let machine = proof.machine;
    let counters = || {
        let stat = machine.file(id, "cpu", "cpu.stat");
        // Version 1 counts nanoseconds.
        let held_back =
            keyed(&stat, "throttled_usec").or_else(|| Some(keyed(&stat, "throttled_time")? / 1000));
        [keyed(&stat, "nr_periods"), keyed(&stat, "nr_throttled"), held_back]
    };
    let (snapshot, (before, after)) = around(counters, || proof.monitor.once());
    let throttling = record(&snapshot, id).throttling;
    let names = ["throttling.nr_periods", "throttling.nr_throttled", "throttling.throttled_usec"];
    let measured = [
        throttling.map(|counters| counters.nr_periods),
        throttling.map(|counters| counters.nr_throttled),
        throttling.map(|counters| counters.throttled_usec),
    ];
    for n in 0..names.len() {
        proof.findings.counter(names[n], measured[n], (before[n], after[n]));
    }
    let newest = *pairs.last().unwrap();
    let hits = rise(newest, |counters| counters.nr_throttled);
    let periods = rise(newest, |counters| counters.nr_periods);
    let share = hits.zip(periods).map_or(f64::NAN, |(hits, periods)| hits / periods);
    proof.findings.within("cpu_throttled_share", newest.1.cpu_throttled_share, share - 1e-9..=share + 1e-9);

    // Threads that are throttled wait for a CPU most of the time.
    let pressure = machine.pressure(Some(id), "cpu");
    let (snapshot, kernel) = around(|| stall_usec(&pressure, "some"), || proof.monitor.once());
    let measured = record(&snapshot, id).pressure.cpu.map(|cpu| cpu.some.total_usec);
    proof.findings.counter("pressure.cpu.some.total_usec", measured, kernel);
    let average = || {
        let text = text(&pressure);
        let word = text.split_whitespace().find_map(|word| word.strip_prefix("avg10=")).map(str::to_owned);
        word.and_then(|word| word.parse::<f64>().ok()).unwrap_or(f64::NAN)
    };
    let (snapshot, (before, after)) = around(average, || proof.monitor.once());
    let measured = record(&snapshot, id).pressure.cpu.map(|cpu| cpu.some.avg10);
    // The average is updated every two seconds, and changes by a fifth at most.
    let (low, high) = (before.min(after) - 20.0, before.max(after) + 20.0);
    proof.findings.within("pressure.cpu.some.avg10", measured, low.max(0.01)..=high.min(100.0));
}

fn limits(quota_cores: f64) -> Limits {
    Limits { quota_cores: Some(quota_cores), memory_mib: 128, swap_mib: 0, pids: None }
}

/// Measures `least` times. On the machine made for the test, measures until the wanted result occurs, or so often
/// that it never will.
fn series(
    proof: &Proof,
    name: &str,
    least: usize,
    mut is_enough: impl FnMut(&[Snapshot]) -> bool,
) -> Vec<Snapshot> {
    const MOST: usize = 12;
    let daemon = proof.monitor.run(name, INTERVAL_SECONDS);
    let mut snapshots = daemon.wait_for(least);
    while proof.machine.is_complete && snapshots.len() < MOST && !is_enough(&snapshots) {
        snapshots = daemon.wait_for(snapshots.len() + 1);
    }
    daemon.stop();
    snapshots
}

fn pairs(snapshots: &[Snapshot], id: u32) -> Vec<(&ContainerRecord, &ContainerRecord)> {
    snapshots.windows(2).map(|pair| (record(&pair[0], id), record(&pair[1], id))).collect()
}

/// Whether a burner used what it was told, by its own figures: then the machine had time for it.
fn is_as_told(burned: f64, nominal: f64) -> bool {
    (burned / nominal - 1.0).abs() < AS_TOLD
}

fn burned_as_told(container: &mut Container, snapshots: &[Snapshot], nominal: f64) -> bool {
    pairs(snapshots, container.id).iter().any(|pair| is_as_told(burned_cores(container, *pair), nominal))
}

/// How much a throttling counter increased between two records.
fn rise(
    (earlier, later): (&ContainerRecord, &ContainerRecord),
    counter: fn(&Throttling) -> u64,
) -> Option<f64> {
    Some((counter(&later.throttling?) - counter(&earlier.throttling?)) as f64)
}

/// The burner's own usage between two records, in cores.
fn burned_cores(container: &mut Container, (earlier, later): (&ContainerRecord, &ContainerRecord)) -> f64 {
    let (from, to) = (usec(earlier.timestamp), usec(later.timestamp));
    container.ask(&format!("burned {from} {to}")) / (to - from)
}

/// The smallest and the largest ratio of measured to true values.
fn ratios(pairs: &[(&ContainerRecord, &ContainerRecord)], truth: &[f64]) -> (Option<f64>, Option<f64>) {
    let ratio =
        |((_, now), truth): (&(&ContainerRecord, &ContainerRecord), &f64)| Some(now.cpu_cores_used? / truth);
    let ratios: Option<Vec<f64>> = pairs.iter().zip(truth).map(ratio).collect();
    let ratios = ratios.unwrap_or_default();
    (ratios.iter().copied().reduce(f64::min), ratios.iter().copied().reduce(f64::max))
}

fn node_ratio(node: &NodeCpu, earlier: &Snapshot, later: &Snapshot) -> f64 {
    let at = |snapshot: &Snapshot| usec(snapshot.summary.collection_start_time);
    let measured = later.summary.node.as_ref().and_then(|node| node.cpu_cores_used).unwrap_or(f64::NAN);
    measured / node.cores_used(at(earlier), at(later))
}
