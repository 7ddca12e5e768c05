//! What the class of a young container says about how soon it is known.

use super::*;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 / 86_400 * 86_400 + seconds).unwrap()
}

fn seen(seconds: i64, cpu: f64) -> Observation {
    Observation {
        cpu_cores_used: Some(cpu),
        cpu_throttled_share: Some(0.0),
        cores_limit: Some(64.0),
        memory_used_mib: Some(300.0),
        memory_limit_mib: Some(65536.0),
        oom: Some(false),
        ..Observation::unknown(at(seconds))
    }
}

/// Up and down within minutes, never far: what a forecast of the next step misses, a peak of the last ones holds.
fn steady(seconds: i64) -> f64 {
    if seconds % 900 == 0 { 1.6 } else { 0.9 }
}

/// Little, with a burst of five minutes every three hours.
fn rarely(seconds: i64) -> f64 {
    if seconds % (3 * HOUR) < 300 { 4.0 } else { 0.3 }
}

/// Steady, with a burst every three hours.
fn bursty(seconds: i64) -> f64 {
    if seconds % (3 * HOUR) < 1200 { 4.0 } else { steady(seconds) }
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared::with_shipped(&RecommendConfig::default()))
}

/// A container with this use after so many hours.
fn after(shared: &Arc<Shared>, hours: i64, cpu: fn(i64) -> f64) -> ContainerModel {
    let mut model = ContainerModel::new(Arc::clone(shared));
    (300..=hours * HOUR).step_by(300).for_each(|seconds| model.observe(&seen(seconds, cpu(seconds))));
    model
}

fn followed(model: &ContainerModel) -> usize {
    model.cpu.experts.followed()
}

#[track_caller]
fn check(hours: i64, cpu: fn(i64) -> f64, class: Option<Class>, is_chosen: bool) {
    let model = after(&shared(), hours, cpu);
    assert_eq!(model.kind.class, class);
    assert_eq!(followed(&model) != experts::FIRST_CPU, is_chosen, "{:?}", model.opinions().cpu);
    let like = class.filter(|class| Class::SHOW_SOON.contains(class) && hours < 24);
    assert_eq!(model.opinions().cpu.unwrap().like, like);
    assert_eq!(model.opinions().memory.unwrap().like, None);
}

#[test]
fn a_young_container_is_chosen_for_as_soon_as_its_class_allows() {
    check(2, steady, None, false);
    check(5, steady, Some(Class::Steady), true);
    check(20, rarely, Some(Class::Bursty), false);
}

#[test]
fn without_a_class_or_a_class_that_counts_a_day_must_be_known() {
    let heedless = Arc::new(shared().choosing_soon_for(&[]));
    assert_eq!(followed(&after(&heedless, 20, steady)), experts::FIRST_CPU);
    // What is measured of CPU alone has no class.
    let mut model = ContainerModel::new(shared());
    for seconds in (300..=20 * HOUR).step_by(300) {
        model.observe(&Observation { memory_used_mib: None, ..seen(seconds, steady(seconds)) });
    }
    assert_eq!((model.kind.class, followed(&model)), (None, experts::FIRST_CPU));
}

#[test]
fn what_it_costs_itself_overrides_what_its_class_said() {
    // After nine steady hours come the bursts.
    let changes = |seconds| if seconds < 9 * HOUR { steady(seconds) } else { bursty(seconds) };
    let early = followed(&after(&shared(), 9, changes));
    assert_ne!(early, experts::FIRST_CPU);
    let heedless = Arc::new(shared().choosing_soon_for(&[]));
    for hours in [60, 72] {
        let (with, without) = (after(&shared(), hours, changes), after(&heedless, hours, changes));
        assert_eq!(followed(&with), followed(&without));
        assert_ne!(followed(&with), early);
    }
}

#[test]
fn memory_waits_for_a_day_whatever_the_class() {
    assert_eq!(after(&shared(), 20, steady).memory.experts.followed(), experts::FIRST_MEMORY);
}

#[test]
fn a_restart_on_its_first_day_changes_nothing() {
    let shared = shared();
    let mut undisturbed = ContainerModel::new(Arc::clone(&shared));
    let mut restarted = undisturbed.clone();
    for seconds in (300..=26 * HOUR).step_by(300) {
        if seconds % (3 * HOUR + 1500) == 0 {
            let mut kept = Vec::new();
            ciborium::into_writer(&restarted, &mut kept).unwrap();
            restarted = ciborium::from_reader(&kept[..]).unwrap();
            restarted.set_shared(&shared);
        }
        // People may ask for its class at any time.
        undisturbed.look_at_kind();
        undisturbed.observe(&seen(seconds, steady(seconds)));
        restarted.observe(&seen(seconds, steady(seconds)));
        assert_eq!(restarted.opinions(), undisturbed.opinions());
        assert_eq!(restarted.recommend(at(seconds)).cpu, undisturbed.recommend(at(seconds)).cpu);
    }
    assert_ne!(followed(&restarted), experts::FIRST_CPU);
}
