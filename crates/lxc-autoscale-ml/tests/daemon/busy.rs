//! Containers that the API is busy with, and changes that it does not answer: they cost no other container its change,
//! and a growth that may not have been made is no answer to a lack of memory.

use jiff::SignedDuration;
use lxc_autoscale_core::config;
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::daemon::{CycleReport, Daemon};
use lxc_autoscale_ml::decide::{Decision, Reason};
use lxc_autoscale_ml::ledger::Outcome;

use crate::api::{RecordingApi, Request};
use crate::node::{Container, IDLE, Node, STARVED, vmid};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A daemon that waits for an answer no longer than a test can.
fn hasty(node: &Node, api: &RecordingApi) -> Daemon {
    let mut config: Config = config::parse(&node.config_text(&api.url(), "")).unwrap();
    config.api.timeout_seconds = 0.3;
    Daemon::start(config).unwrap()
}

/// The containers that were asked for, in that order.
fn order(requests: &[Request]) -> Vec<u64> {
    let mut ids: Vec<u64> = requests.iter().map(|(_, body)| body["vm_id"].as_u64().unwrap()).collect();
    ids.dedup();
    ids
}

/// What was to be done with the memory of a container, and what came of it.
fn memory(report: &CycleReport, id: u32) -> (&Decision, Option<&Outcome>) {
    let proposal = report.proposals.iter().find(|proposal| proposal.id == vmid(id)).unwrap();
    let decision = &proposal.decisions.memory;
    let carried =
        report.carried.iter().find(|carried| carried.id == vmid(id) && carried.decision == *decision);
    (decision, carried.map(|carried| &carried.outcome))
}

#[tokio::test]
async fn a_container_that_is_busy_is_asked_for_once_and_delays_no_other() {
    let api = RecordingApi::up().await;
    api.is_busy_with(101);
    let node = Node::with_past(48, &[(101, STARVED), (102, STARVED)]);
    let report = node.cycle(&mut node.daemon(&api.url(), "")).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    let requests = api.take();
    let about = |id: u64| requests.iter().filter(|(_, body)| body["vm_id"] == id).count();
    assert_eq!((about(101), about(102)), (1, 2), "{requests:?}");
    let error = report.carried[0].outcome.error().unwrap();
    assert!(error.contains("change_in_progress"), "{error}");
}

#[tokio::test]
async fn a_change_without_an_answer_stops_no_other_as_long_as_the_api_answers_anything() {
    let api = RecordingApi::up().await;
    api.stick_at(101, true);
    let node = Node::with_past(48, &[(101, STARVED), (102, STARVED)]);
    let report = node.cycle(&mut hasty(&node, &api)).await;
    assert_eq!(report.troubles, Vec::<String>::new());
    let requests = api.take();
    let about = |id: u64| requests.iter().filter(|(_, body)| body["vm_id"] == id).count();
    assert_eq!((about(101), about(102)), (1, 2), "{requests:?}");
    assert!(matches!(report.carried[0].outcome, Outcome::Unknown { .. }), "{report:?}");
}

#[tokio::test]
async fn an_api_that_answers_nothing_is_out_of_reach() {
    let api = RecordingApi::up().await;
    api.hang_at(Some("/"));
    let node = Node::with_past(48, &[(101, STARVED), (102, STARVED)]);
    let report = node.cycle(&mut hasty(&node, &api)).await;
    assert!(report.troubles[0].contains("did not answer"), "{:?}", report.troubles);
    assert_eq!(api.take().len(), 1);
    let error = report.carried.last().unwrap().outcome.error().unwrap();
    assert!(error.contains("out of reach"), "{error}");
}

/// Whatever takes long then does not keep it waiting.
#[tokio::test]
async fn who_ran_out_of_memory_comes_first() {
    let api = RecordingApi::up().await;
    let mut node = Node::with_past(48, &[(101, STARVED), (102, IDLE), (103, STARVED), (104, STARVED)]);
    let mut daemon = node.daemon(&api.url(), "");
    node.containers.get_mut(&103).unwrap().oom_kills = 1;
    node.record(MINUTE);
    node.cycle(&mut daemon).await;
    let requests = api.take();
    assert_eq!(order(&requests), [103, 101, 104, 102], "{requests:?}");
    assert_eq!(requests[0].0, "/scale/ram", "its memory before its CPU");
}

#[tokio::test]
async fn a_growth_that_may_not_have_been_made_does_not_answer_a_lack_of_memory() {
    let api = RecordingApi::up().await;
    let small = Container { cores_used: 0.5, throttled: 0.0, ..STARVED };
    let mut node = Node::with_past(48, &[(101, small)]);
    let mut daemon = hasty(&node, &api);
    node.cycle(&mut daemon).await;
    node.carry_out(&api.take());
    node.record(MINUTE);
    node.cycle(&mut daemon).await;
    node.carry_out(&api.take());
    // It runs out, and nobody knows whether the growth was made.
    api.stick_at(101, true);
    node.containers.get_mut(&101).unwrap().oom_kills = 1;
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    let (first, outcome) = memory(&report, 101);
    assert!(matches!(first.reason, Reason::RanOutOfMemory { .. }), "{first}");
    assert!(matches!(outcome, Some(Outcome::Unknown { .. })), "{outcome:?}");
    let asked = api.take();
    // It was not, so it is asked for again, from the same size.
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    let (again, _) = memory(&report, 101);
    assert_eq!((&again.reason, again.from, again.to), (&first.reason, first.from, first.to), "{again}");
    let repeated = api.take();
    let of_memory = |requests: &[Request]| requests.iter().find(|(route, _)| *route == "/scale/ram").cloned();
    assert_eq!(of_memory(&repeated), of_memory(&asked));
    assert!(of_memory(&asked).unwrap().1["expected"].is_u64(), "who has it already is not grown twice");
    // A restarted daemon knows as much.
    drop(daemon);
    let mut daemon = hasty(&node, &api);
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    assert!(matches!(memory(&report, 101).0.reason, Reason::RanOutOfMemory { .. }));
    // It was made after all: one lack is answered once.
    node.carry_out(&of_memory(&api.take()).into_iter().collect::<Vec<_>>());
    node.record(MINUTE);
    let report = node.cycle(&mut daemon).await;
    let (later, _) = memory(&report, 101);
    assert!(!matches!(later.reason, Reason::RanOutOfMemory { .. }), "{later}");
}
