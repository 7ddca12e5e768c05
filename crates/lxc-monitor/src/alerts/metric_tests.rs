use std::collections::BTreeSet;

use lxc_autoscale_core::snapshot::Limits;

use super::*;
use crate::clock;

fn record() -> ContainerRecord {
    ContainerRecord::empty(clock::record_time(clock::now().wall))
}

#[test]
fn every_name_stands_for_one_metric_and_back() {
    let names: BTreeSet<_> = Metric::all().map(|(name, _)| name).collect();
    assert_eq!(names.len(), Metric::all().count());
    for (name, metric) in Metric::all() {
        assert_eq!(metric.name(), name);
        assert_eq!(name.starts_with("node_"), metric.scope() == Scope::Node, "{name}");
    }
}

#[test]
fn a_name_from_before_stands_for_the_same_metric_and_means_no_metric_of_now() {
    for (former, metric) in names::FORMER {
        assert_eq!(metric.name(), format!("{former}_percent"));
        assert_eq!((Metric::named(former), metric.unit()), (Some(metric), Unit::Percent));
        assert!(Metric::all().all(|(name, _)| name != former), "{former}");
    }
    assert_eq!(Metric::named("disk"), None);
}

#[test]
fn nothing_is_known_of_an_empty_record() {
    for (name, metric) in Metric::all() {
        assert_eq!(metric.of_container(&record()), None, "{name}");
        assert_eq!(metric.of_node(&NodeRecord::default()), None, "{name}");
    }
}

#[test]
fn shares_are_of_what_the_container_may_use() {
    let mut record = record();
    record.memory_usage_mb = Some(256.0);
    assert_eq!(Metric::Memory.of_container(&record), None, "no limit, no share");
    record.limits = Some(Limits { memory_mb: Some(512.0), pids: Some(200), ..Limits::default() });
    record.process_count = Some(50);
    record.cpu_throttled_share = Some(0.25);
    record.filesystem_total_gb = Some(10.0);
    record.filesystem_usage_gb = Some(7.2);
    record.filesystem_free_gb = Some(1.8);
    record.swap_usage_mb = Some(0.0);
    record.swap_total_mb = Some(0.0);
    let value = |metric: Metric| metric.of_container(&record).map(f64::round);
    assert_eq!(value(Metric::Memory), Some(50.0));
    assert_eq!(value(Metric::Processes), Some(25.0));
    assert_eq!(value(Metric::Throttled), Some(25.0));
    assert_eq!(value(Metric::Rootfs), Some(80.0));
    assert_eq!(value(Metric::Swap), None, "there is no swap to be full");
}

#[test]
fn the_cache_of_zfs_is_available_down_to_its_floor() {
    let value = |zfs_arc_mb, zfs_arc_min_mb| {
        Metric::NodeMemoryAvailable.of_node(&NodeRecord {
            memory_total_mb: Some(3200.0),
            memory_available_mb: Some(320.0),
            zfs_arc_mb,
            zfs_arc_min_mb,
            ..NodeRecord::default()
        })
    };
    assert_eq!(value(None, None), Some(10.0));
    assert_eq!(value(Some(50.0), None), Some(10.0));
    assert_eq!(value(Some(1700.0), None), Some(60.0));
    assert_eq!(value(Some(1700.0), Some(1380.0)), Some(20.0));
}
