//! A change continues after its client has left, and always ends.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use lxc_autoscale_core::api::{JobState, SizeOf};
use lxc_autoscale_core::container_config::ContainerConfig;
use tokio::sync::Notify;

use super::*;
use crate::backend::pct::PctHost;
use crate::backend::watch::{Call, Watcher};
use crate::jobs::table;
use crate::ledger;

fn change(id: u32) -> Change {
    Change { summary: "test".to_owned(), vmids: vec![Vmid::try_from(id).unwrap()], caller: Caller::user(0) }
}

/// A node with container 104, and the changes of it.
fn changes(capacity: u32) -> (tempfile::TempDir, Changes) {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.max_changes = capacity;
    config.server.queue_timeout_seconds = 60;
    config.audit.file = directory.path().join("audit.jsonl");
    config.paths.pve = directory.path().to_owned();
    std::fs::create_dir(directory.path().join("lxc")).unwrap();
    std::fs::write(conf(&directory), "cores: 2\nmemory: 512\n").unwrap();
    let host = Arc::new(PctHost::new(config.pct.clone(), config.paths.clone()));
    let store = Store::new(directory.path());
    let changes = Changes::new(&config, host, store, Events::new(Timestamp::UNIX_EPOCH), Arc::default());
    (directory, changes)
}

fn conf(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("lxc/104.conf")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn a_change_ends_though_its_client_leaves() {
    runtime().block_on(async {
        let (_directory, changes) = changes(4);
        let (go, done) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let started = Arc::new(Notify::new());
        let client = tokio::spawn({
            let (changes, go, done, started) = (changes.clone(), go.clone(), done.clone(), started.clone());
            async move {
                let work = async move {
                    started.notify_one();
                    go.notified().await;
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                changes.run(change(104), work).await
            }
        });
        started.notified().await;
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!(changes.in_progress(), 1);
        go.notify_one();
        changes.finish().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
        assert!(matches!(
            changes.run(change(104), async { Ok(()) }).await,
            Err(ActionError::Change(ChangeError::ShuttingDown))
        ));
    });
}

#[test]
fn a_change_whose_client_left_while_it_waited_is_not_begun() {
    runtime().block_on(async {
        let (_directory, changes) = changes(4);
        let ticket = changes.gate.enter(&change(104).vmids, Duration::ZERO).await.unwrap();
        let done = Arc::new(AtomicU32::new(0));
        let client = tokio::spawn({
            let (changes, done) = (changes.clone(), done.clone());
            async move {
                let work = async move {
                    done.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                };
                changes.run(change(104), work).await
            }
        });
        while changes.in_progress() == 0 {
            tokio::task::yield_now().await;
        }
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        drop(ticket);
        changes.finish().await;
        assert_eq!(done.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn changes_are_bounded() {
    runtime().block_on(async {
        let (_directory, changes) = changes(1);
        let held = changes.permits.acquire().await.unwrap();
        assert!(matches!(
            changes.run(change(104), async { Ok(()) }).await,
            Err(ActionError::Change(ChangeError::TooManyChanges))
        ));
        drop(held);
        assert!(changes.run(change(104), async { Ok(()) }).await.is_ok());
    });
}

/// The events in the audit log, each with its code.
fn trail(directory: &tempfile::TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .map(|line| format!("{} {}", line["event"].as_str().unwrap(), line["code"].as_str().unwrap_or("")))
        .collect()
}

/// The change may have left anything behind, so the node is asked, and no other change gets the container before.
#[test]
fn a_panic_in_a_change_is_told_at_once_and_settled_against_the_node() {
    runtime().block_on(async {
        let (directory, changes) = changes(1);
        let [vmid] = change(104).vmids[..] else { panic!() };
        let (host, file) = (changes.host.clone(), conf(&directory));
        let work = async move |journal: Journal| -> Result<(), ActionError> {
            journal.found(vmid, &host.stored(vmid).await?, None);
            journal.note(Call { command: "pct set 104 -cores 4321".to_owned(), upid: None }).await?;
            std::fs::write(file, "cores: 4321\nmemory: 512\n").unwrap();
            panic!("a defect")
        };
        let order = Order::requested(Task::SetCores { vmid, cores: Some(4321) });
        let crashed = changes.record(change(104), order, work).await;
        assert!(matches!(crashed, Err(ActionError::Change(ChangeError::Crashed))), "{crashed:?}");
        changes.run(change(104), async { Ok(()) }).await.unwrap();
        let page = changes.store.with(|connection| ledger::page(connection, None, None)).await.unwrap();
        let [entry] = &page.entries[..] else { panic!("{page:?}") };
        assert_eq!((entry.resource, entry.before, entry.after), (SizeOf::Cores, Some(2.0), Some(4321.0)));
        assert_eq!((entry.caller.as_str(), entry.why.as_str()), ("uid:0", "request"));
        assert_eq!(trail(&directory), ["begun ", "not_done internal", "done ", "begun ", "done "]);
        changes.finish().await;
    });
}

/// The jobs by state and code.
async fn jobs(changes: &Changes) -> Vec<(JobState, Option<String>)> {
    let jobs = changes.store.with(|connection| table::jobs(connection, None)).await.unwrap();
    jobs.into_iter().map(|job| (job.state, job.code)).collect()
}

fn snapshot() -> Order {
    let vmid = Vmid::try_from(104).unwrap();
    Order::requested(Task::CreateSnapshot { vmid, name: "mine".to_owned() })
}

/// A client that leaves while the row of its job is being written must not leave a row that nobody ends.
#[test]
fn a_client_that_leaves_while_its_job_is_queued_leaves_no_job_behind() {
    for is_told_a_number in [false, true] {
        runtime().block_on(async {
            let (_directory, changes) = changes(4);
            let (held, release) = (Arc::new(Notify::new()), std::sync::mpsc::channel::<()>());
            let holder = tokio::spawn({
                let (store, held) = (changes.store.clone(), held.clone());
                async move {
                    store
                        .with(move |_| {
                            held.notify_one();
                            let _ = release.1.recv();
                            Ok(())
                        })
                        .await
                }
            });
            held.notified().await;
            let client = tokio::spawn({
                let changes = changes.clone();
                async move {
                    let work = async |_| -> Result<(), ActionError> { Ok(()) };
                    if is_told_a_number {
                        changes.start_job(change(104), snapshot(), |()| String::new(), work).await.map(drop)
                    } else {
                        changes.wait_for_job(change(104), snapshot(), |()| String::new(), work).await
                    }
                }
            });
            while changes.in_progress() == 0 {
                tokio::task::yield_now().await;
            }
            client.abort();
            assert!(client.await.unwrap_err().is_cancelled());
            drop(release.0);
            holder.await.unwrap().unwrap();
            changes.finish().await;
            assert_eq!(jobs(&changes).await, [(JobState::Cancelled, Some("abandoned".to_owned()))]);
            assert!(locked(&changes.cancels).is_empty());
        });
    }
}

/// Makes the database refuse writes, as a full disk does.
async fn refuse(changes: &Changes, column: &'static str) {
    let trigger = format!(
        "CREATE TRIGGER full BEFORE UPDATE OF {column} ON changes BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    );
    changes.store.with(move |connection| connection.execute_batch(&trigger)).await.unwrap();
}

#[test]
fn a_job_that_cannot_be_begun_ends() {
    runtime().block_on(async {
        let (directory, changes) = changes(4);
        refuse(&changes, "begun_us").await;
        let work = async |_| -> Result<(), ActionError> { panic!("it is not begun") };
        let refused = changes.wait_for_job(change(104), snapshot(), |()| String::new(), work).await;
        assert!(matches!(refused, Err(ActionError::Change(ChangeError::NotRecorded(_)))), "{refused:?}");
        changes.finish().await;
        assert_eq!(jobs(&changes).await, [(JobState::Failed, Some("not_recorded".to_owned()))]);
        assert_eq!(trail(&directory), ["not_done not_recorded"]);
        assert!(locked(&changes.cancels).is_empty());
    });
}

#[test]
fn an_end_that_cannot_be_written_down_is_written_with_the_next() {
    runtime().block_on(async {
        let (_directory, changes) = changes(4);
        refuse(&changes, "ended_us").await;
        let work = async |_| -> Result<(), ActionError> { Ok(()) };
        changes.wait_for_job(change(104), snapshot(), |()| String::new(), work).await.unwrap();
        assert_eq!(jobs(&changes).await, [(JobState::Running, None)]);
        changes.store.with(|connection| connection.execute_batch("DROP TRIGGER full")).await.unwrap();
        changes.run(change(104), async { Ok(()) }).await.unwrap();
        changes.finish().await;
        assert_eq!(jobs(&changes).await, [(JobState::Done, None)]);
    });
}

/// The client need not wait for the store, and yet nobody reads anything older there once it has its answer.
#[test]
fn a_client_is_answered_before_the_end_is_stored_and_whoever_reads_the_store_waits_for_it() {
    // As the daemon has it: whoever stores the end keeps a thread of one's own meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (directory, changes) = changes(1);
        let [vmid] = change(104).vmids[..] else { panic!() };
        let stored = changes.host.stored(vmid).await.unwrap().config;
        let other = Arc::new(Mutex::new(Some(
            rusqlite::Connection::open(directory.path().join("api.sqlite")).unwrap(),
        )));
        let writer = Arc::clone(&other);
        let work = async move |journal: Journal| {
            journal.begun().await?;
            journal.compare(vmid, &stored, &ContainerConfig { cores: Some(3), ..stored.clone() });
            // Nobody else can write from now on.
            let other = locked(&writer);
            other.as_ref().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
            Ok(())
        };
        let order = Order::requested(Task::SetCores { vmid, cores: Some(3) });
        changes.record(change(104), order, work).await.unwrap();
        assert_eq!(trail(&directory), ["begun ", "done "]);
        let turn = tokio::time::timeout(Duration::ZERO, changes.store.turn()).await;
        assert!(turn.is_err(), "it is free while the end is being written");
        assert_eq!(changes.in_progress(), 0, "the next change finds no place");
        let finished = tokio::time::timeout(Duration::ZERO, changes.clone().finish()).await;
        assert!(finished.is_err(), "the server ends before the end is written");
        drop(locked(&other).take());
        let page = changes.store.with(|connection| ledger::page(connection, None, None)).await.unwrap();
        let [entry] = &page.entries[..] else { panic!("{page:?}") };
        assert_eq!((entry.before, entry.after), (Some(2.0), Some(3.0)));
        changes.finish().await;
    });
}

/// A container's changes are counted only up to the limit, however many there were.
#[test]
fn changes_within_the_hour_are_counted_as_far_as_matters() {
    runtime().block_on(async {
        let (_directory, changes) = changes(4);
        let [vmid] = change(104).vmids[..] else { panic!() };
        changes.keep_to(&LimitsConfig { max_changes_per_hour: 2, ..LimitsConfig::default() });
        let stored = changes.host.stored(vmid).await.unwrap().config;
        for cores in 1..=5 {
            let [before, after] =
                [cores, cores + 1].map(|cores| ContainerConfig { cores: Some(cores), ..stored.clone() });
            let work = async move |journal: Journal| {
                journal.begun().await?;
                journal.compare(vmid, &before, &after);
                Ok(())
            };
            changes.record(change(104), Order::requested(Task::Other), work).await.unwrap();
        }
        let work = async move |journal: Journal| {
            let mut counted = Vec::new();
            for most in [0, 1, 2, 4, 120] {
                counted.push(journal.changes_last_hour(vmid, most).await?);
            }
            Ok(counted)
        };
        let counted = changes.record(change(104), Order::requested(Task::Other), work).await.unwrap();
        // The limit is 2 when the change begins, and may be different when it asks.
        assert_eq!(counted, [0, 2, 2, 4, 5]);
    });
}
