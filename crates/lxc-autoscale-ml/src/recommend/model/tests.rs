//! What a container is recommended after what was seen of it.

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 / DAY * DAY + seconds).unwrap()
}

fn seen(seconds: i64, cpu: f64, memory: f64) -> Observation {
    Observation {
        cpu_cores_used: Some(cpu),
        cpu_throttled_share: Some(0.0),
        cores_limit: Some(64.0),
        memory_used_mib: Some(memory),
        memory_limit_mib: Some(65536.0),
        oom: Some(false),
        ..Observation::unknown(at(seconds))
    }
}

/// A model that saw `use_at(seconds)` every `step` seconds for `days`.
fn learnt(days: i64, step: i64, use_at: impl Fn(i64) -> (f64, f64)) -> (ContainerModel, Timestamp) {
    let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    let mut now = 0;
    while now < days * DAY {
        now += step;
        let (cpu, memory) = use_at(now);
        model.observe(&seen(now, cpu, memory));
    }
    (model, at(now))
}

#[test]
fn nothing_seen_is_nothing_recommended() {
    let model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    assert_eq!(
        model.recommend(at(0)),
        Recommendation { cpu: None, memory: None, history_seconds: 0, class: None }
    );
}

#[test]
fn a_steady_container_gets_its_use_and_headroom_whatever_the_pace() {
    for step in [2, 60, 300] {
        let days = if step == 2 { 1 } else { 3 };
        let (model, now) = learnt(days, step, |_| (0.8, 400.0));
        let got = model.recommend(now);
        let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
        assert!((0.88..0.97).contains(&cpu.target), "{cpu:?}");
        assert!((459.9..521.0).contains(&memory.target), "{memory:?}");
        assert!((cpu.floor - 0.8).abs() < 1e-3 && (memory.floor - 400.0).abs() < 1e-3);
        assert!(90.0 < cpu.confidence_percent, "{cpu:?}");
    }
}

#[test]
fn memory_is_there_before_the_hour_that_needs_it() {
    // Every day from 03:00 to 04:00 a job needs 3000 MiB; asked at 02:30 of the fourth day.
    let job = |seconds: i64| if (3 * 3600..4 * 3600).contains(&(seconds % DAY)) { 3000.0 } else { 300.0 };
    let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    let end = 3 * DAY + 2 * 3600 + 1800;
    for seconds in (300..=end).step_by(300) {
        model.observe(&seen(seconds, 0.1, job(seconds)));
    }
    let memory = model.recommend(at(end)).memory.unwrap();
    assert!(matches!(memory.basis, Fact::SeasonPeak | Fact::Forecast), "{memory:?}");
    assert!((3000.0..6000.0).contains(&memory.target), "{memory:?}");
    // The peak of the season is no reason against a shrink now; what is used now is.
    assert!((memory.floor - 300.0).abs() < 1.0, "{memory:?}");
}

#[test]
fn a_cut_off_container_is_recommended_more_than_it_shows() {
    let (mut model, now) = learnt(1, 300, |_| (0.5, 200.0));
    let mut cut = seen(DAY + 300, 1.0, 512.0);
    (cut.cpu_throttled_share, cut.cores_limit) = (Some(0.5), Some(1.0));
    (cut.oom, cut.memory_limit_mib) = (Some(true), Some(512.0));
    model.observe(&cut);
    let got = model.recommend(now + jiff::SignedDuration::from_secs(300));
    let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
    let tells = |estimate: &Estimate, fact| estimate.evidence.iter().any(|evidence| evidence.fact == fact);
    assert!(tells(&cpu, Fact::ThrottledDemand) && tells(&memory, Fact::OutOfMemory), "{cpu:?} {memory:?}");
    assert_eq!(cpu.basis, Fact::ThrottledDemand, "{cpu:?}");
    assert!(2.29 < cpu.target && 665.0 < memory.target, "{cpu:?} {memory:?}");
}

#[test]
fn after_a_gap_the_history_speaks() {
    let (mut model, _) = learnt(2, 300, |seconds| (if seconds % 3600 < 600 { 2.0 } else { 0.2 }, 200.0));
    // Off for a day, and idle in its first five minutes.
    model.observe(&seen(3 * DAY, 0.05, 200.0));
    let cpu = model.recommend(at(3 * DAY)).cpu.unwrap();
    assert_eq!(cpu.basis, Fact::DecayedQuantile);
    assert!((2.0..2.5).contains(&cpu.target), "{cpu:?}");
    assert!(model.recommend(at(3 * DAY)).history_seconds < 2 * 86_400 + 600, "a gap is no history");
}

#[test]
fn what_ran_before_a_pause_still_needs_its_memory() {
    let (mut model, _) = learnt(2, 300, |_| (0.5, 3000.0));
    // Stopped for five days, longer than the season looks back; a minute after its start it uses little.
    let start = 7 * DAY;
    model.observe(&seen(start, 0.1, 60.0));
    let memory = model.recommend(at(start)).memory.unwrap();
    assert_eq!((memory.basis, memory.target), (Fact::LastDaysPeak, 3900.0));
    // Half a window later its present is known, and speaks for itself.
    for minutes in 1..=720 {
        model.observe(&seen(start + minutes * 60, 0.1, 60.0));
    }
    let memory = model.recommend(at(start + 720 * 60)).memory.unwrap();
    assert!(memory.target < 100.0, "{memory:?}");
}

/// Nine hours ago it used 2500 MiB for two: longer than the window of recent peaks, and all that is known.
#[test]
fn on_the_first_day_all_that_was_seen_counts() {
    let burst = |seconds: i64| if seconds < 2 * 3600 { 2500.0 } else { 300.0 };
    for (hours, want) in [(11, 2500.0), (20, 2500.0), (30, 300.0)] {
        let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        for seconds in (60..=hours * 3600).step_by(60) {
            model.observe(&seen(seconds, 0.5, burst(seconds)));
        }
        let memory = model.recommend(at(hours * 3600)).memory.unwrap();
        assert!((memory.seen() - want).abs() < 1.0, "{hours} h: {memory:?}");
    }
}

#[test]
fn experts_are_told_apart_once_a_day_was_measured() {
    let shared = Arc::new(Shared::with_shipped(&RecommendConfig::default()));
    // Every quarter of an hour a burst that a forecast of the next five minutes does not foresee.
    let bursts = |minute: i64| if minute % 15 == 14 { 6.0 } else { 0.2 };
    let followed_after = |shared: &Arc<Shared>, hours: i64| {
        let mut model = ContainerModel::new(Arc::clone(shared));
        for minute in 0..60 * hours {
            model.observe(&seen(60 * (minute + 1), bursts(minute), 300.0));
        }
        model.cpu.experts.followed()
    };
    assert_eq!(followed_after(&shared, 23), experts::FIRST_CPU);
    assert_ne!(followed_after(&Arc::new(shared.choosing_at_once()), 23), experts::FIRST_CPU);
    assert_ne!(followed_after(&shared, 25), experts::FIRST_CPU);
    assert_eq!(followed_after(&Arc::new(shared.without_choice()), 25), experts::FIRST_CPU);
}

#[test]
fn a_resource_is_known_by_its_own_measurements_only() {
    let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
    for minute in 0..600 {
        let mut one = seen(60 * minute, 0.5, 300.0);
        one.memory_used_mib = one.memory_used_mib.filter(|_| 590 <= minute);
        model.observe(&one);
    }
    let got = model.recommend(at(600 * 60));
    let (cpu, memory) = (got.cpu.unwrap(), got.memory.unwrap());
    assert_eq!((cpu.known_seconds, memory.known_seconds), (36_000, 600));
    assert!(memory.confidence_percent < cpu.confidence_percent, "{memory:?}");
}

#[test]
fn nothing_is_left_of_a_container_after_a_long_pause() {
    let (mut model, _) = learnt(2, 300, |_| (0.5, 3000.0));
    model.observe(&seen(30 * DAY, 0.1, 60.0));
    let got = model.recommend(at(30 * DAY));
    assert!(got.cpu.unwrap().known_seconds <= 60 && got.memory.unwrap().known_seconds <= 60);
}

#[test]
fn an_observation_from_the_past_is_ignored() {
    let (mut model, now) = learnt(1, 300, |_| (0.5, 200.0));
    let before = model.recommend(now);
    model.observe(&seen(DAY - 600, 50.0, 50_000.0));
    assert_eq!(model.recommend(now), before);
}

proptest! {
    /// Finite, not below what is used, and never less sure than nothing or surer than certain.
    #[test]
    fn estimates_make_sense(
        steps in proptest::collection::vec((1i64..4000, 0.0f64..64.0, 0.0f64..60000.0, 0.0f64..1.0, any::<bool>()), 1..80),
    ) {
        let mut model = ContainerModel::new(Arc::new(Shared::with_shipped(&RecommendConfig::default())));
        let mut now = 0;
        for (seconds, cpu, memory, share, oom) in steps {
            now += seconds;
            let mut one = seen(now, cpu, memory);
            (one.cpu_throttled_share, one.oom, one.cores_limit) = (Some(share), Some(oom), Some(cpu.max(0.1)));
            model.observe(&one);
            let got = model.recommend(at(now));
            for (estimate, used) in [(got.cpu.unwrap(), cpu), (got.memory.unwrap(), memory)] {
                prop_assert!(estimate.target.is_finite() && used <= estimate.target * (1.0 + 1e-6));
                prop_assert!(estimate.floor <= estimate.target * (1.0 + 1e-6), "{estimate:?}");
                prop_assert!((0.0..=100.0).contains(&estimate.confidence_percent));
            }
        }
    }
}
