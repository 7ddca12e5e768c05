//! What the daemon does when its file, the API or its disk fails: it waits, reports it, and continues.

use jiff::SignedDuration;
use lxc_autoscale_core::config;
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::daemon::Daemon;
use lxc_autoscale_ml::ledger::{Ledger, Outcome};

use crate::api::RecordingApi;
use crate::node::{Container, IDLE, Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const BUSY: Container = Container { memory_used_mib: 880.0, ..STARVED };

#[tokio::test]
async fn a_missing_file_is_waited_for() {
    let api = RecordingApi::up().await;
    let mut node = Node::new(&[(101, Container { memory_used_mib: 700.0, ..BUSY })]);
    let mut daemon = node.daemon(&api.url(), "");
    let report = node.cycle(&mut daemon).await;
    assert!(report.troubles[0].starts_with("cannot read the metrics file"), "{:?}", report.troubles);
    for _ in 0..30 {
        node.record(MINUTE);
    }
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_broken_file_costs_nothing_but_the_wait() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(26, &[(101, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    let whole = std::fs::read(node.metrics_file()).unwrap();
    for broken in [&b"this is no JSON"[..], b"{\"a\": 1}", b""] {
        std::fs::write(node.metrics_file(), broken).unwrap();
        let report = node.cycle(&mut daemon).await;
        assert_eq!(report.troubles.len(), 1, "{:?}", String::from_utf8_lossy(broken));
        assert_eq!(api.take(), []);
    }
    std::fs::write(node.metrics_file(), whole).unwrap();
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(api.take().len(), 1);
}

#[tokio::test]
async fn a_file_that_anybody_could_have_written_steers_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    let set_mode = |node: &Node, mode| {
        std::fs::set_permissions(node.metrics_file(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&node, 0o666);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles.len(), 1, "{:?}", report.troubles);
    for words in ["is not trusted and steers nothing", "others may write to it (mode 0666)"] {
        assert!(report.troubles[0].contains(words), "{:?}", report.troubles);
    }
    assert_eq!(api.take(), []);
    set_mode(&node, 0o640);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_ne!(api.take(), []);
}

#[tokio::test]
async fn a_file_of_the_monitors_user_is_believed_and_one_of_others_is_not() {
    use std::os::unix::fs::chown;
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, BUSY)]);
    // On every Debian user 1 is `daemon`, and user 2 `bin`.
    if chown(node.metrics_file(), Some(2), None).is_err() {
        return;
    }
    let mut config: Config = config::parse(&node.config_text(&api.url(), "")).unwrap();
    config.metrics.owner = "daemon".to_owned();
    let mut daemon = Daemon::start(config).unwrap();
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles.len(), 1, "{:?}", report.troubles);
    for words in ["steers nothing", "belongs to user 2", "to the monitor's user `daemon` (1)"] {
        assert!(report.troubles[0].contains(words), "{:?}", report.troubles);
    }
    assert_eq!(api.take(), []);
    chown(node.metrics_file(), Some(1), None).unwrap();
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_ne!(api.take(), []);
}

#[tokio::test]
async fn a_record_of_a_later_program_steers_nothing() {
    let api = RecordingApi::up().await;
    let node = Node::with_past(12, &[(101, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    let text = std::fs::read_to_string(node.metrics_file()).unwrap();
    std::fs::write(node.metrics_file(), text.replace("\"schema_version\":1", "\"schema_version\":99"))
        .unwrap();
    let report = node.cycle(&mut daemon).await;
    assert!(!report.troubles.is_empty());
    assert_eq!(api.take(), []);
}

#[tokio::test]
async fn stale_data_steers_nothing() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(48, &[(100, IDLE), (101, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "");
    node.now += SignedDuration::from_mins(10);
    let report = node.cycle(&mut daemon).await;
    assert!(report.troubles[0].contains("is lxc_monitor running?"), "{:?}", report.troubles);
    assert_eq!(api.take(), []);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_ne!(api.take(), []);
}

#[tokio::test]
async fn an_api_that_is_down_is_asked_again_and_nothing_is_claimed() {
    let mut api = RecordingApi::down();
    let mut node = Node::with_past(26, &[(101, BUSY), (102, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    for _ in 0..3 {
        node.record(MINUTE);
        let report = node.cycle(&mut daemon).await;
        assert!(report.troubles[0].contains("is lxc_autoscale_api running?"), "{:?}", report.troubles);
        assert!(report.carried.iter().all(|carried| matches!(carried.outcome, Outcome::Failed { .. })));
    }
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let failed: Vec<_> =
        ledger.newest().unwrap().into_iter().filter(|entry| entry.outcome.error().is_some()).collect();
    assert_eq!(failed.iter().map(|entry| entry.times).collect::<Vec<_>>(), [3, 3]);
    assert!(ledger.last_changes().unwrap().is_empty(), "what was not done cools nothing down");
    api.start().await;
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(api.take().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_kept_and_does_not_stop_the_others() {
    let api = RecordingApi::up().await;
    api.refuse_with(Some(409));
    let node = Node::with_past(26, &[(101, BUSY), (102, BUSY)]);
    let report = node.cycle(&mut node.daemon(&api.url(), "")).await;
    assert_eq!(api.take().len(), 2);
    assert_eq!(report.troubles, Vec::<String>::new(), "a refusal is an answer");
    for carried in &report.carried {
        assert!(carried.outcome.error().unwrap().contains("container_locked"), "{:?}", carried.outcome);
    }
}

#[tokio::test]
async fn what_is_refused_is_asked_for_ever_more_rarely_and_counted_once() {
    let api = RecordingApi::up().await;
    api.refuse_with(Some(409));
    let mut node = Node::with_past(26, &[(101, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    for _ in 0..60 {
        node.record(MINUTE);
        node.cycle(&mut daemon).await;
    }
    let calls = api.take();
    assert!((3..=7).contains(&calls.len()), "{} calls in an hour", calls.len());
    let ledger = Ledger::open_read_only(&node.ledger()).unwrap().unwrap();
    let entries = ledger.of_container(vmid(101), 100).unwrap();
    let failed: Vec<_> = entries.iter().filter(|entry| entry.outcome.error().is_some()).collect();
    assert_eq!((failed.len(), failed[0].times), (1, calls.len() as u64), "{failed:?}");
    // Memory is requested in spite of it after running out, and the API's result is then believed.
    api.refuse_with(None);
    node.containers.get_mut(&101).unwrap().oom_kills = 1;
    node.record(MINUTE);
    node.cycle(&mut daemon).await;
    assert!(api.take().iter().any(|(route, _)| *route == "/scale/ram"));
}

#[tokio::test]
async fn without_a_ledger_nothing_is_resized_and_it_is_begun_again() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(26, &[(101, BUSY)]);
    let mut daemon = node.daemon(&api.url(), "");
    // Somebody overwrites the database under the running daemon.
    let spoilt = rusqlite::Connection::open(node.ledger()).unwrap();
    spoilt.execute_batch("DROP TABLE decisions").unwrap();
    let report = node.cycle(&mut daemon).await;
    assert!(report.troubles[0].contains("nothing is resized meanwhile"), "{:?}", report.troubles);
    assert_eq!(api.take(), []);
    drop(spoilt);
    std::fs::remove_file(node.ledger()).unwrap();
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    assert_eq!(api.take().len(), 1);
}
