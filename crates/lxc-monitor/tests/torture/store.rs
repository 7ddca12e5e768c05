//! The history's store: its writer killed at random moments, its files truncated and with flipped bits.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lxc_autoscale_core::history_store::{HistoryReader, Metric, Series, Tier};
use lxc_autoscale_core::metrics_file::MetricsReader;

use crate::daemon::{Daemon, node};
use crate::fixture::Node;
use crate::random::{Random, setting};

/// How often it is killed, and damaged, unless `LXC_TORTURE_KILLS` says otherwise.
const DEFAULT_KILLS: u64 = 20;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

fn store(node: &Node) -> PathBuf {
    node.path("state/metrics.sqlite")
}

/// Samples of the node by minute, and the number of damaged blocks; nothing while there is no history.
fn minutes(file: &Path) -> (Vec<(i64, u32)>, u64) {
    let Some(reader) = HistoryReader::open(file).unwrap() else { return (Vec::new(), 0) };
    let found = reader.read(Series::NODE, Metric::Containers, Tier::Minute.between(0, i64::MAX)).unwrap();
    (found.points.iter().map(|point| (point.start_ms, point.samples)).collect(), found.damaged_blocks)
}

/// When each snapshot of the metrics file was taken, in milliseconds since the epoch.
fn snapshots(node: &Node) -> Vec<i64> {
    let read = MetricsReader::new(node.path("metrics.json")).read_new().unwrap();
    read.snapshots.iter().map(|one| one.summary.collection_start_time.instant().as_millisecond()).collect()
}

/// Waits for a condition that must finally hold, while a monitor runs.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never holds that {what}");
        std::thread::yield_now();
    }
}

#[test]
fn killed_at_any_moment_it_loses_and_doubles_nothing() {
    let kills = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let mut random = Random::new();
    let (node, mut before) = (node(), Vec::new());
    let file = store(&node);
    for kill in 0..kills {
        let daemon = Daemon::start(&node);
        // The moment of the kill is random, not a wait for anything. Such frequent measurements are written every two
        // seconds, so one in eight is killed around that; the others while they catch up.
        let most_us = if random.below(8) == 0 { 2_500_000 } else { 250_000 };
        std::thread::sleep(Duration::from_micros(random.below(most_us)));
        drop(daemon);
        let (after, damaged) = minutes(&file);
        assert_eq!(damaged, 0, "kill {kill}");
        for (start, samples) in &before {
            let kept = after.iter().find(|(found, _)| found == start).map_or(0, |(_, samples)| *samples);
            assert!(*samples <= kept, "kill {kill}: {kept} of {samples} samples of minute {start} are left");
        }
        before = after;
    }
    let total = || minutes(&file).0.iter().map(|(_, samples)| u64::from(*samples)).sum::<u64>();
    let mut daemon = Daemon::start(&node);
    daemon.wait_for_snapshots(1);
    eventually("the history has what the metrics file has", || snapshots(&node).len() as u64 <= total());
    drop(daemon);
    let (recorded, written) = (total(), snapshots(&node).len() as u64);
    println!("{kills} kills, {written} snapshots, {recorded} of them in the history");
    assert!(recorded <= written, "no snapshot counts twice: {recorded} of {written}");
}

#[test]
fn whatever_is_cut_or_flipped_it_goes_on() {
    let rounds = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let mut random = Random::new();
    let node = node();
    let (file, log) = (store(&node), node.path("state/metrics.sqlite-wal"));
    let mut n_begun_anew = 0;
    for round in 0..rounds {
        let mut daemon = Daemon::start(&node);
        daemon.wait_for_snapshots(2);
        let newest = *snapshots(&node).last().unwrap();
        let has_newest = || {
            // While it is broken, and being replaced, there may be nothing to read.
            let reader = HistoryReader::open(&file).ok().flatten();
            let found = reader.and_then(|reader| {
                reader
                    .read(Series::NODE, Metric::Containers, Tier::Minute.between(newest - 60_000, i64::MAX))
                    .ok()
            });
            found.is_some_and(|found| found.points.iter().any(|point| newest < point.start_ms + 60_000))
        };
        let begun = Instant::now();
        while !has_newest() {
            if PATIENCE < begun.elapsed() {
                let said = daemon.kill_and_read();
                panic!("the history does not go on after damage {round}: {said:#?}");
            }
            std::thread::yield_now();
        }
        assert!(daemon.is_alive(), "round {round}");
        drop(daemon);
        let damaged = if random.below(2) == 0 && log.exists() { &log } else { &file };
        let mut bytes = std::fs::read(damaged).unwrap();
        if bytes.is_empty() {
            continue;
        }
        // The version number of the tables is taken as that of another program.
        let place = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        if random.below(3) == 0 {
            bytes.truncate(place);
        } else if !(60..64).contains(&place) {
            bytes[place] ^= 1 << random.below(8);
        }
        std::fs::write(damaged, bytes).unwrap();
        n_begun_anew = std::fs::read_dir(node.path("state"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"))
            .count();
    }
    println!("{rounds} times damaged; {n_begun_anew} files of broken histories are kept");
    assert!(!snapshots(&node).is_empty(), "and the metrics file has nothing of it");
}
