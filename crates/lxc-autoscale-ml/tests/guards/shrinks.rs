//! Ten thousand shrinks on a node that enforces limits, and the invariants for each of them.

use std::collections::VecDeque;

use jiff::SignedDuration;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::config::parse;
use lxc_autoscale_core::snapshot::ContainerRecord;
use lxc_autoscale_ml::confidence::Chances;
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::decide::{
    Allocation, LastChanges, NodeSituation, Obstacles, Policy, Reason, Resource, Situation, decide,
};
use lxc_autoscale_ml::guard::oom_run::Lasts;
use lxc_autoscale_ml::guard::{ContainerGuard, GuardInput};
use lxc_autoscale_ml::history::step;
use lxc_autoscale_ml::policy::Given;
use lxc_autoscale_ml::recommend::{Estimate, Fact, Recommendation};

use crate::host::{Guest, Host, Kill, Load};
use crate::steered::{Loop, hash};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 86_400.0;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since the start")]
fn slot(seconds: f64, length: f64) -> u64 {
    (seconds / length) as u64
}

/// A container with a working set of one of these shapes, and far more memory than it needs.
fn guest(seed: u64) -> Guest {
    let base = 80.0 + 900.0 * hash(seed, 1);
    let swing = base * (0.2 + 2.0 * hash(seed, 2));
    let phase = hash(seed, 3) * DAY;
    let period = 20.0 * MINUTE + hash(seed, 4) * 10.0 * HOUR;
    let shape = seed % 10;
    let load = move |seconds: f64| {
        let noise = 1.0 + 0.03 * (hash(seed, slot(seconds, MINUTE) + 1000) - 0.5);
        let t = seconds + phase;
        let cycle = |period: f64| 0.5 - 0.5 * (t / period * std::f64::consts::TAU).cos();
        let mib = match shape {
            0 => base,
            // A daily cycle; an hourly one.
            1 => base + swing * cycle(DAY),
            2 => base + swing * cycle(period),
            // Filled and emptied: a garbage collector, a cache with a time to live.
            3 => base + swing * (t % period) / period,
            // A nightly job of two hours, and an hourly one of ten minutes.
            4 => base + if t % DAY < 2.0 * HOUR { swing } else { 0.0 },
            5 => base + if t % HOUR < 10.0 * MINUTE { swing } else { 0.0 },
            // Slow growth, and slow decline.
            6 => base * (1.0 + 0.3 * seconds / DAY),
            7 => base + swing * (1.0 - seconds / (5.0 * DAY)).max(0.0),
            // One of three levels for some hours, in turn.
            8 => base + swing * (slot(t, 4.0 * HOUR) % 3) as f64 / 2.0,
            // A load that comes and goes at random within half an hour.
            _ => base + swing * cycle(HOUR) * hash(seed, slot(t, HOUR) + 10),
        };
        let cache_mib = if shape.is_multiple_of(3) { base * 0.4 } else { 0.0 };
        Load { memory_mib: mib * noise, cache_mib, cores: 0.2 + 0.6 * cycle(DAY) }
    };
    Guest::new(4, 16_384, load)
}

/// A kill is caused by a shrink if the demand exceeded the new size but not the old one, within half an hour of it.
const BLAMED: SignedDuration = SignedDuration::from_mins(30);

/// The outcomes of some shrinks.
#[derive(Debug, Default)]
struct Tally {
    shrinks: usize,
    undone: usize,
    container_days: f64,
    kills: usize,
    within_former: usize,
    blamed: Vec<Kill>,
}

impl Tally {
    fn count(&mut self, kills: &[Kill]) {
        self.kills += kills.len();
        for kill in kills {
            let former = kill.shrunk.filter(|(_, before)| kill.wanted_mib < *before as f64);
            self.within_former += usize::from(former.is_some());
            self.blamed.extend(former.filter(|(since, _)| *since < BLAMED).map(|_| *kill));
        }
    }

    #[expect(clippy::print_stdout, reason = "the figures are for docs/guards.md")]
    fn report(&self) {
        println!(
            "{} shrinks of memory in {:.0} container-days: {} OOM kills blamed on them, {} shrinks undone; {} OOM \
             kills altogether, {} of them below the size before the last shrink",
            self.shrinks,
            self.container_days,
            self.blamed.len(),
            self.undone,
            self.kills,
            self.within_former
        );
        assert!(self.blamed.is_empty(), "{:#?}", self.blamed);
        assert_eq!(self.within_former, 0, "killed with demand below the size before the last shrink");
    }
}

/// The decision and the guards, with a simple recommendation: the peak of the last day and the default headroom. The
/// demand model is left out, because it costs a thousand times as much; the test below uses it.
fn steer_plainly(seed: u64, tally: &mut Tally) {
    let policy = Policy::default();
    let id = Vmid::try_from(100).unwrap();
    let (mut host, mut guard) = (Host::new([(100, guest(seed))]), ContainerGuard::default());
    let mut changes = LastChanges::default();
    let mut day = VecDeque::new();
    let mut previous: Option<ContainerRecord> = None;
    for index in 0..3 * 288 {
        let record = host.step(SignedDuration::from_mins(5)).containers.remove(&id).unwrap();
        let observation = step(previous.as_ref(), &record).observation;
        previous = Some(record);
        let used = observation.memory_used_mib.unwrap();
        let size = host.guests[&100].memory_mib as f64;
        let facts = GuardInput {
            observation: &observation,
            cores: None,
            unlimited_cores: None,
            pinned: false,
            memory_mib: Some(size),
            restarted: false,
            replaced: false,
            disturbed: false,
            oom_run_lasts: Lasts::ADay,
            first: Given::default(),
        };
        guard.observe(facts);
        guard.judge(&policy, host.now);
        day.push_back(used);
        if 288 < day.len() {
            day.pop_front();
        }
        // It is known for a day before anything is done.
        if index < 288 {
            continue;
        }
        let peak = day.iter().copied().fold(0.0, f64::max);
        let floor = day.iter().rev().take(3).copied().fold(0.0, f64::max);
        let estimate = Estimate {
            target: peak * 1.3,
            floor,
            confidence_percent: 95.0,
            known_seconds: 300 * index,
            basis: Fact::RecentPeak,
            evidence: Vec::new(),
            weekly: None,
            restlessness: None,
            random_day: None,
            chances: Chances::default(),
        };
        let recommendation =
            Recommendation { cpu: None, memory: Some(estimate), history_seconds: 300 * index, class: None };
        let situation = Situation {
            allocation: Some(Allocation { cores: Some(4.0), cpulimit: None, memory_mib: size }),
            obstacles: Obstacles::default(),
            observation: Some(&observation),
            recommendation: Some(&recommendation),
            changes,
            anomaly: None,
            guard: guard.guard(None, host.now),
        };
        let node =
            NodeSituation { cpus: Some(16), memory_total_mib: Some(1e6), memory_available_mib: Some(5e5) };
        let decision = decide(&policy, &situation, &node, host.now).memory;
        if let (Some(to), true) = (decision.to, decision.apply) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            host.set(100, None, Some(to as u64));
            changes.note(&decision, host.now);
            guard.note_change(Resource::Memory, (host.now, host.now), size, to);
            tally.shrinks += usize::from(to < size);
            tally.undone += usize::from(matches!(decision.reason, Reason::Undone { .. }));
        }
    }
    tally.container_days += 3.0;
    tally.count(&host.kills);
}

#[test]
fn ten_thousand_shrinks_kill_nothing() {
    let mut tally = Tally::default();
    for seed in 0.. {
        steer_plainly(seed, &mut tally);
        if 10_000 <= tally.shrinks {
            break;
        }
    }
    tally.report();
}

/// The same with the complete pipeline, as many as `GUARDS_SHRINKS` says.
#[test]
fn shrinks_of_the_whole_pipeline_kill_nothing() {
    let wanted: usize = std::env::var("GUARDS_SHRINKS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let config: Config = parse("[scaling]\nmin_history_seconds = 86400").unwrap();
    let mut tally = Tally::default();
    let mut round = 0;
    while tally.shrinks < wanted {
        let guests = (0..5).map(|index| (100 + index, guest(1000 + 5 * round + u64::from(index))));
        let mut steered = Loop::new(&config, SignedDuration::from_mins(5), guests);
        for _ in 0..2 * 288 {
            for made in steered.step().1.iter().filter(|made| made.resource == Resource::Memory) {
                tally.shrinks += usize::from(made.to < made.from);
                tally.undone += usize::from(matches!(made.reason, Reason::Undone { .. }));
            }
        }
        tally.container_days += 10.0;
        tally.count(&steered.host.kills);
        round += 1;
    }
    tally.report();
}
