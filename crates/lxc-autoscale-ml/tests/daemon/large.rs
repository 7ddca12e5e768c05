//! A container larger than the built-in maximum: what its owner gave it stays within reach.

use jiff::SignedDuration;

use crate::api::{RecordingApi, Request};
use crate::node::{Container, IDLE, Node};
use crate::policies::run;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const LARGE: Container = Container { cores: 16, memory_mib: 32_768, ..IDLE };
/// Steps of any size, so that it is small at once; the maximums are the built-in ones.
const AT_ONCE: &str =
    "[scaling.cpu]\nmax_step_down_percent = 95\n[scaling.memory]\nmax_step_down_percent = 95";

/// The number in the request on this route, if there is one.
fn asked(requests: &[Request], route: &str, field: &str) -> Option<u64> {
    requests.iter().find(|(at, _)| *at == route).map(|(_, body)| body[field].as_u64().unwrap())
}

/// Sets the container to what the daemon has requested.
fn obey(node: &mut Node, api: &RecordingApi) {
    let requests = api.take();
    let container = node.containers.get_mut(&100).unwrap();
    if let Some(mib) = asked(&requests, "/scale/ram", "memory") {
        container.memory_mib = mib;
    }
    if let Some(cores) = asked(&requests, "/scale/cores", "cores") {
        container.cores = u32::try_from(cores).unwrap();
    }
}

/// A node whose container was made small by a daemon that has ended.
async fn made_small(api: &RecordingApi) -> Node {
    let mut node = Node::with_past(48, &[(100, LARGE)]);
    node.cycle(&mut node.daemon(&api.url(), AT_ONCE)).await;
    obey(&mut node, api);
    let container = &node.containers[&100];
    assert!(container.cores < 8 && container.memory_mib < 16_384, "{} MiB", container.memory_mib);
    node
}

#[tokio::test]
async fn what_its_owner_gave_it_survives_restarts() {
    let api = RecordingApi::up().await;
    let mut node = made_small(&api).await;
    for _ in 0..20 {
        let container = node.containers.get_mut(&100).unwrap();
        let (cores, mib) = (f64::from(container.cores), container.memory_mib as f64);
        container.cores_used = cores.min(12.0);
        container.throttled = if cores < 12.0 { 0.9 } else { 0.0 };
        container.memory_used_mib = (mib * 0.99).min(20_000.0);
        container.oom_kills += u64::from(mib < 20_000.0);
        node.record(MINUTE);
        // A daemon of its own for each cycle.
        node.cycle(&mut node.daemon(&api.url(), AT_ONCE)).await;
        obey(&mut node, &api);
    }
    let container = &node.containers[&100];
    let (cores, mib) = (container.cores, container.memory_mib);
    assert!((12..=16).contains(&cores), "{cores} cores");
    assert!((20_000..=32_768).contains(&mib), "{mib} MiB");
}

#[tokio::test]
async fn the_maximum_in_force_and_its_source_are_shown() {
    let api = RecordingApi::up().await;
    let node = made_small(&api).await;
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (code, shown, _) = run(&node, AT_ONCE, &["policy", "show", "100"]);
    assert_eq!(code, 0);
    for want in [
        "scaling.memory.max_mib 32768 size that somebody gave it",
        "scaling.cpu.max_cores 16.0 size that somebody gave it",
    ] {
        assert!(squeeze(&shown).contains(want), "`{want}` is not in:\n{shown}");
    }
    let (code, shown, _) = run(&node, AT_ONCE, &["why", "100"]);
    assert_eq!(code, 0);
    for want in [
        "memory maximum 32768 MiB (size that somebody gave it)",
        "cpu maximum 16 cores (size that somebody gave it)",
    ] {
        assert!(squeeze(&shown).contains(want), "`{want}` is not in:\n{shown}");
    }
    // A maximum that is set in a policy is the one in force.
    let text = "[policy.web]\nnames = [\"web\"]\nscaling.memory.max_mib = 16384\nscaling.cpu.max_cores = 4";
    let (_, shown, _) = run(&node, text, &["policy", "show", "100"]);
    for want in ["scaling.memory.max_mib 16384 policy web", "scaling.cpu.max_cores 4.0 policy web"] {
        assert!(squeeze(&shown).contains(want), "`{want}` is not in:\n{shown}");
    }
    let (_, shown, _) = run(&node, text, &["why", "100"]);
    let want = "memory maximum 16384 MiB (policy web)";
    assert!(squeeze(&shown).contains(want), "`{want}` is not in:\n{shown}");
}
