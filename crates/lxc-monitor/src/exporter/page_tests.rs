//! Freshness, and writing in pieces.

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::container_config::ContainerConfig;
use lxc_autoscale_core::metrics_file::{Bounds, MetricsWriter};
use lxc_autoscale_core::snapshot::{ContainerRecord, ContainerRecords, NodeRecord, Summary};

use super::*;

const INTERVAL: Duration = Duration::from_mins(1);
const ENDED: Duration = Duration::from_secs(5000);

fn snapshot(n_containers: u32) -> Arc<Snapshot> {
    let time = RecordTime::utc("2026-11-23T16:20:00Z".parse().unwrap());
    let record = |_| {
        let mut record = ContainerRecord::empty(time);
        record.cpu_usage_usec = Some(7);
        record.memory_usage_mb = Some(512.5);
        record
    };
    let containers: ContainerRecords =
        (0..n_containers).map(|index| (Vmid::try_from(100 + index).unwrap(), record(index))).collect();
    let summary = Summary {
        collection_start_time: time,
        collection_end_time: time,
        total_containers: u64::from(n_containers),
        total_duration_seconds: 0.1,
        monitor_cpu_percent: None,
        monitor_memory_usage_mb: None,
        schema_version: None,
        stopped_containers: Vec::new(),
        node: Some(NodeRecord { name: "pve1".to_owned(), cpus: Some(4), ..NodeRecord::default() }),
    };
    Arc::new(Snapshot { containers, summary })
}

fn page(n_containers: u32, interval: Duration) -> Page {
    let snapshot = snapshot(n_containers);
    let started = snapshot.summary.collection_start_time.instant();
    let cycle = Cycle { snapshot, stopped: Identities::default(), kept: None, is_written: true, interval };
    Page::empty(started, interval).after(cycle, ENDED)
}

fn pieces(page: &Page, since_boot: Duration) -> Vec<String> {
    Exposition::begin(page, Format::OpenMetrics, since_boot, Duration::ZERO).collect()
}

#[track_caller]
fn check_fresh(interval: Duration, age: Duration, want: bool) {
    let page = page(1, interval);
    assert_eq!(page.is_fresh(ENDED + age), want);
    let text = pieces(&page, ENDED + age).concat();
    assert_eq!(text.contains("lxc_container_memory_working_set_bytes{id=\"lxc/100\"}"), want, "{text}");
    assert_eq!(text.contains("lxc_node_cpus{id=\"node/pve1\"} 4"), want, "{text}");
    assert_eq!(text.contains("lxc_container_up"), want, "{text}");
    assert!(text.contains("\nlxc_monitor_last_cycle_timestamp_seconds 1795450800\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn what_is_no_longer_the_present_vanishes() {
    check_fresh(INTERVAL, Duration::ZERO, true);
    check_fresh(INTERVAL, INTERVAL * 3, true);
    check_fresh(INTERVAL, INTERVAL * 3 + Duration::from_millis(1), false);
    check_fresh(Duration::from_millis(100), Duration::from_secs(5), true);
    check_fresh(Duration::from_millis(100), Duration::from_millis(5001), false);
}

/// A snapshot of a node of which these fields are missing, in text and as health.
#[track_caller]
fn check_unknown(missing: &[&'static str], want_series: [bool; 2], want_health: Result<(), &str>) {
    let mut snapshot = Arc::unwrap_or_clone(snapshot(0));
    for field in missing {
        snapshot.summary.node.as_mut().unwrap().missing.insert(*field, "away".into());
    }
    let started = snapshot.summary.collection_start_time.instant();
    let cycle = Cycle {
        snapshot: Arc::new(snapshot),
        stopped: Identities::default(),
        kept: None,
        is_written: true,
        interval: INTERVAL,
    };
    let page = Page::empty(started, INTERVAL).after(cycle, ENDED);
    let text = pieces(&page, ENDED).concat();
    let is_served = |state: &str| text.contains(&format!("lxc_monitor_containers{{state=\"{state}\"}} 0"));
    assert_eq!([is_served("measured"), is_served("stopped")], want_series, "{text}");
    assert_eq!(page.health_at(ENDED), want_health.map_err(str::to_owned));
}

#[test]
fn a_number_of_containers_that_is_unknown_is_no_zero_and_not_healthy() {
    check_unknown(&[], [true, true], Ok(()));
    check_unknown(&["load"], [true, true], Ok(()));
    check_unknown(&["stopped_containers"], [true, false], Ok(()));
    check_unknown(&["containers"], [false, false], Err("no container could be looked at: away"));
}

#[test]
fn before_the_first_cycle_there_is_only_the_monitor() {
    let page = Page::empty("2026-11-23T16:20:00Z".parse().unwrap(), INTERVAL);
    assert!(!page.is_fresh(Duration::ZERO));
    let text = pieces(&page, Duration::ZERO).concat();
    assert!(text.contains("lxc_monitor_build_info{version="), "{text}");
    assert!(!text.contains("lxc_monitor_last_cycle_timestamp_seconds"), "{text}");
    assert!(!text.contains("lxc_container"), "{text}");
}

#[test]
fn cycles_and_failures_add_up() {
    let first = page(1, INTERVAL);
    let cycle = Cycle {
        snapshot: snapshot(1),
        stopped: Identities::default(),
        kept: None,
        is_written: false,
        interval: INTERVAL,
    };
    let second = first.after(cycle, ENDED);
    let text = pieces(&second, ENDED).concat();
    assert!(text.contains("\nlxc_monitor_cycles_total 2\n"), "{text}");
    assert!(text.contains("\nlxc_monitor_write_failures_total 1\n"), "{text}");
}

/// A join by name goes on while Proxmox does not answer; of what may have changed meanwhile there is no series.
#[test]
fn a_container_keeps_its_name_while_its_configuration_cannot_be_read() {
    let with = |text: Option<&str>| {
        let mut snapshot = Arc::unwrap_or_clone(snapshot(1));
        for (_, record) in &mut snapshot.containers {
            record.configuration = text.map(|text| ContainerConfig::parse(text).0.into());
            if text.is_none() {
                record.missing.insert("configuration", "pmxcfs hangs".into());
            }
        }
        Cycle {
            snapshot: Arc::new(snapshot),
            stopped: Identities::default(),
            kept: None,
            is_written: true,
            interval: INTERVAL,
        }
    };
    let text_after = |cycles: &[Option<&str>]| {
        let empty = Page::empty("2026-11-23T16:20:00Z".parse().unwrap(), INTERVAL);
        let page = cycles.iter().fold(empty, |page, text| page.after(with(*text), ENDED));
        pieces(&page, ENDED).concat()
    };
    let stored = "hostname: web\ntags: db;prod\nmemory: 2048\n";
    let info = "lxc_container_info{id=\"lxc/100\",name=\"web\",node=\"pve1\",tags=\"db;prod\"} 1\n";
    let dark = text_after(&[Some(stored), None, None]);
    assert!(dark.contains(info), "{dark}");
    assert!(!dark.contains("lxc_container_configured_memory_bytes{"), "{dark}");
    let renamed = text_after(&[Some(stored), None, Some("hostname: other\n"), None]);
    assert!(renamed.contains("name=\"other\"") && !renamed.contains("name=\"web\""), "{renamed}");
    let never = text_after(&[None]);
    assert!(never.contains("lxc_container_info{id=\"lxc/100\",node=\"pve1\"} 1\n"), "{never}");
}

/// As many as fit into a piece at a time, each once, between those that are measured.
#[test]
fn stopped_containers_keep_their_names_in_every_piece() {
    let mut snapshot = Arc::unwrap_or_clone(snapshot(1000));
    let stopped = (0..1000).map(|index| Vmid::try_from(600 + 2 * index).unwrap());
    let stopped: Vec<Vmid> = stopped.filter(|vmid| !snapshot.containers.contains_key(vmid)).collect();
    snapshot.summary.stopped_containers = stopped.clone();
    let known = |name: &str| {
        let stored: Arc<ContainerConfig> = ContainerConfig::parse(&format!("hostname: {name}\n")).0.into();
        stopped.iter().map(|vmid| (*vmid, Arc::clone(&stored))).collect::<Identities>()
    };
    let cycle = |stopped| Cycle {
        snapshot: Arc::new(snapshot.clone()),
        stopped,
        kept: None,
        is_written: true,
        interval: INTERVAL,
    };
    let empty = Page::empty("2026-11-23T16:20:00Z".parse().unwrap(), INTERVAL);
    let first = empty.after(cycle(known("off")), ENDED);
    // Proxmox does not answer, and then says something else.
    let second = first.after(cycle(Identities::default()), ENDED);
    assert!(Arc::ptr_eq(&first.identities, &second.identities));
    let third = second.after(cycle(known("renamed")), ENDED);
    for (page, name) in [(&second, "off"), (&third, "renamed")] {
        let text = pieces(page, ENDED).concat();
        let of_name = format!(",name=\"{name}\",node=\"pve1\"}} 1");
        let infos: Vec<_> = text.lines().filter(|line| line.starts_with("lxc_container_info{")).collect();
        assert_eq!(infos.len(), 1000 + stopped.len());
        assert_eq!(infos.iter().filter(|line| line.ends_with(&of_name)).count(), stopped.len());
        for vmid in &stopped {
            let id = format!("{{id=\"lxc/{vmid}\",");
            assert_eq!(infos.iter().filter(|line| line.contains(&id)).count(), 1, "{vmid}");
        }
    }
}

/// A large snapshot is served from its file, read once for all concurrent scrapes.
#[test]
fn what_is_served_from_a_file_is_what_was_measured() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 64 << 20, max_age: Duration::from_hours(1) };
    let (mut writer, _) = MetricsWriter::open(directory.path().join("metrics.json"), bounds).unwrap();
    let large = snapshot(5000);
    let kept = writer.append_shared(&large).unwrap();
    assert!(kept.is_some());
    let cycle = Cycle {
        snapshot: Arc::clone(&large),
        stopped: Identities::default(),
        kept,
        is_written: true,
        interval: INTERVAL,
    };
    let started = large.summary.collection_start_time.instant();
    let page = Page::empty(started, INTERVAL).after(cycle, ENDED);
    assert_eq!(Arc::strong_count(&large), 1, "nobody keeps it");
    let [one, other] = [(); 2].map(|()| page.snapshot.as_ref().unwrap().snapshot().unwrap());
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(one, large);
    let in_memory = Page { snapshot: Some(Served::InMemory(large)), ..page.clone() };
    assert_eq!(pieces(&page, ENDED).concat(), pieces(&in_memory, ENDED).concat());
}

/// Memory does not grow with the number of containers, and no series is lost or duplicated at the end of a piece.
#[test]
fn many_containers_come_in_small_pieces() {
    let pieces = pieces(&page(1000, INTERVAL), ENDED);
    assert!(8 < pieces.len(), "{}", pieces.len());
    for piece in &pieces {
        assert!(piece.len() < PIECE_BYTES * 4, "{}", piece.len());
    }
    let text = pieces.concat();
    for id in 100..1100 {
        let line = format!("\nlxc_container_cpu_usage_seconds_total{{id=\"lxc/{id}\"}} 0.000007\n");
        assert_eq!(text.matches(&line).count(), 1, "{id}");
    }
    let headings: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let distinct: std::collections::BTreeSet<_> = headings.iter().collect();
    assert_eq!(headings.len(), distinct.len());
}
