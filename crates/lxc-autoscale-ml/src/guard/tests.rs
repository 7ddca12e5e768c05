//! The guards' state of one container over its records.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn observation(seconds: i64, used: f64, pressure: f64) -> Observation {
    Observation {
        memory_used_mib: Some(used),
        memory_limit_mib: Some(1024.0),
        memory_pressure_percent: Some(pressure),
        oom: Some(false),
        ..Observation::unknown(at(seconds))
    }
}

fn seen(observation: &Observation) -> GuardInput<'_> {
    GuardInput {
        observation,
        cores: Some(2.0),
        unlimited_cores: None,
        pinned: false,
        memory_mib: Some(1024.0),
        restarted: false,
        replaced: false,
        disturbed: false,
        oom_run_lasts: Lasts::ADay,
        first: Given::default(),
    }
}

/// What it was given by the records: minutes with its cores and memory (`None` for no limit).
fn given(first: Given, records: &[(Option<f64>, f64)]) -> (ContainerGuard, Given) {
    let mut guard = ContainerGuard::default();
    for (minute, (cores, mib)) in (0..).zip(records) {
        let observation = observation(60 * minute, 500.0, 0.0);
        let unlimited_cores = cores.is_none().then_some(32.0);
        let memory_mib = Some(*mib);
        guard.observe(GuardInput { cores: *cores, unlimited_cores, memory_mib, first, ..seen(&observation) });
    }
    let given = guard.lasting_state().given();
    (guard, given)
}

#[test]
fn what_somebody_gave_is_the_first_size_or_what_was_set_since() {
    let of = |cores, mib| Given { cores: Some(cores), memory_mib: Some(mib) };
    let none = Given::default();
    let is = |records: &[(Option<f64>, f64)]| given(none, records).1;
    assert_eq!(is(&[(Some(16.0), 32_768.0)]), of(16.0, 32_768.0));
    // Somebody changes it: at once, and for good when the API says that it was no boost.
    assert_eq!(is(&[(Some(16.0), 32_768.0), (Some(4.0), 8192.0)]), of(4.0, 8192.0));
    let (mut guard, _) = given(none, &[(Some(16.0), 32_768.0), (Some(4.0), 8192.0)]);
    for resource in [Resource::Cpu, Resource::Memory] {
        guard.explain(resource, &[], at(3600));
    }
    let text = serde_json::to_string(guard.lasting_state()).unwrap();
    let kept: LastingState = serde_json::from_str(&text).unwrap();
    assert_eq!((kept.given(), kept.says_the_same(guard.lasting_state())), (of(4.0, 8192.0), true));
    // A boost gives nothing.
    let (mut guard, _) = given(none, &[(Some(2.0), 1024.0), (Some(12.0), 1024.0)]);
    guard.explain(Resource::Cpu, &boost(30, 900, 2.0, 12.0), at(3600));
    assert_eq!(guard.lasting_state().given(), of(2.0, 1024.0));
    // Without a limit it was given the whole node, until somebody limits it.
    assert_eq!(is(&[(None, 1024.0)]), of(32.0, 1024.0));
    assert_eq!(is(&[(None, 1024.0), (Some(4.0), 1024.0)]), of(4.0, 1024.0));
    assert_eq!(is(&[(Some(2.0), 1024.0), (None, 1024.0)]), of(32.0, 1024.0));
    // The ledger knows what it had before; what somebody sets counts for more.
    let first = of(16.0, 32_768.0);
    assert_eq!(given(first, &[(Some(4.0), 4096.0)]).1, first);
    assert_eq!(given(first, &[(Some(4.0), 4096.0), (Some(6.0), 4096.0)]).1, of(6.0, 32_768.0));
}

#[test]
fn our_own_changes_give_and_take_nothing() {
    let mut guard = ContainerGuard::default();
    let mut minute = 0;
    let mut record = |guard: &mut ContainerGuard, cores: Option<f64>, mib: f64| {
        minute += 1;
        let observation = observation(60 * minute, 500.0, 0.0);
        let unlimited_cores = cores.is_none().then_some(32.0);
        guard.observe(GuardInput { cores, unlimited_cores, memory_mib: Some(mib), ..seen(&observation) });
    };
    record(&mut guard, None, 32_768.0);
    guard.note_change(Resource::Cpu, (at(70), at(71)), 32.0, 8.0);
    guard.note_change(Resource::Memory, (at(70), at(71)), 32_768.0, 24_576.0);
    record(&mut guard, Some(8.0), 24_576.0);
    guard.note_change(Resource::Cpu, (at(130), at(131)), 8.0, 2.0);
    record(&mut guard, Some(2.0), 24_576.0);
    assert_eq!(guard.lasting_state().given(), Given { cores: Some(32.0), memory_mib: Some(32_768.0) });
}

/// The state of an earlier version does not say what CPU it was given; the ledger does.
#[test]
fn a_state_that_does_not_know_what_was_given_asks_the_ledger() {
    let text = r#"{"cpu":{"sizes":{"known":["2027-01-15T08:00:00Z",2.0]}},"given_mib":32768.0}"#;
    let mut guard = ContainerGuard::restored(serde_json::from_str(text).unwrap());
    let observation = observation(60, 500.0, 0.0);
    let first = Given { cores: Some(16.0), memory_mib: Some(9.0) };
    guard.observe(GuardInput { first, ..seen(&observation) });
    assert_eq!(guard.lasting_state().given().cores, Some(16.0));
}

/// Ten quiet minutes, a shrink, and these pressures after it.
fn shrunk(pressures: &[f64]) -> ContainerGuard {
    let mut guard = ContainerGuard::default();
    for minute in 0..10 {
        guard.observe(seen(&observation(60 * minute, 500.0, 0.0)));
    }
    guard.note_change(Resource::Memory, (at(544), at(545)), 1024.0, 768.0);
    for (minute, pressure) in (10..).zip(pressures) {
        guard.observe(seen(&observation(60 * minute, 500.0, *pressure)));
    }
    guard.judge(&Policy::default(), at(2000));
    guard
}

#[test]
fn a_watch_goes_on_after_a_restart_where_it_stood() {
    let whole = shrunk(&[0.0, 0.0, 0.0, 8.0]);
    assert_eq!(whole.guard(None, at(2000)).memory.shrinks.undo.map(|undo| undo.size), Some(1024.0));
    // The daemon restarts after two of the four measurements and reads all records again.
    let text = serde_json::to_string(shrunk(&[0.0, 0.0]).lasting_state()).unwrap();
    let mut restarted = ContainerGuard::restored(serde_json::from_str(&text).unwrap());
    for minute in 0..14 {
        let pressure = if minute == 13 { 8.0 } else { 0.0 };
        restarted.observe(seen(&observation(60 * minute, 500.0, pressure)));
    }
    restarted.judge(&Policy::default(), at(2000));
    assert_eq!(restarted.lasting_state(), whole.lasting_state());
}

/// The configuration is read late once after a shrink, and shows the size before it.
#[test]
fn a_late_reading_does_not_end_the_watch_of_a_shrink() {
    let mut guard = ContainerGuard::default();
    for minute in 0..10 {
        guard.observe(seen(&observation(60 * minute, 500.0, 0.0)));
    }
    guard.note_set(Resource::Memory, (at(544), at(545)), 1024.0, 768.0);
    let sizes = [1024.0, 768.0, 768.0, 768.0, 768.0];
    for (minute, (mib, pressure)) in (10..).zip(sizes.into_iter().zip([0.0, 0.0, 0.0, 0.0, 8.0])) {
        let observation = observation(60 * minute, 500.0, pressure);
        guard.observe(GuardInput { memory_mib: Some(mib), ..seen(&observation) });
    }
    assert_eq!(guard.lasting_state().given().memory_mib, Some(1024.0));
    guard.judge(&Policy::default(), at(2000));
    let memory = guard.guard(None, at(2000)).memory;
    assert_eq!((memory.manual, memory.shrinks.undo.map(|undo| undo.size)), (None, Some(1024.0)));
}

/// What cannot be read is no size, no limit taken away and nothing that somebody set.
#[test]
fn a_record_without_configuration_changes_nothing() {
    let of = |cores: Option<f64>, mib: Option<f64>, times: &[i64]| {
        let mut guard = ContainerGuard::default();
        for seconds in times {
            let observation = observation(*seconds, 500.0, 0.0);
            let is_known = seconds % 120 == 0;
            guard.observe(GuardInput {
                cores: cores.filter(|_| is_known),
                memory_mib: mib.filter(|_| is_known),
                ..seen(&observation)
            });
        }
        (guard.is_open(), guard.lasting_state().given(), guard.guard(None, at(900)))
    };
    let all = of(Some(2.0), Some(2048.0), &[0, 120, 240]);
    assert_eq!(of(Some(2.0), Some(2048.0), &[0, 60, 120, 180, 240]), all);
}

#[test]
fn what_was_before_the_shrink_is_not_held_against_it() {
    let mut guard = ContainerGuard::default();
    for minute in 0..10 {
        guard.observe(seen(&observation(60 * minute, 500.0, 7.0)));
    }
    guard.note_change(Resource::Memory, (at(544), at(545)), 1024.0, 768.0);
    guard.observe(seen(&observation(600, 500.0, 8.5)));
    guard.judge(&Policy::default(), at(601));
    let shrinks = guard.guard(None, at(601)).memory.shrinks;
    assert!(shrinks.undo.is_none() && shrinks.watch.unwrap().samples == 1);
}

#[test]
fn a_disturbed_step_is_no_sign_of_harm_and_running_out_of_memory_always_is() {
    let disturbed = |guard: &mut ContainerGuard, observation: &Observation| {
        guard.observe(GuardInput { disturbed: true, ..seen(observation) });
        guard.judge(&Policy::default(), at(2000));
        guard.guard(None, at(2000)).memory.shrinks
    };
    let mut guard = shrunk(&[]);
    let shrinks = disturbed(&mut guard, &observation(600, 500.0, 50.0));
    assert!(shrinks.undo.is_none() && shrinks.watch.is_some());
    let ran_out = Observation { oom: Some(true), ..observation(660, 500.0, 50.0) };
    let shrinks = disturbed(&mut guard, &ran_out);
    assert_eq!(shrinks.undo.map(|undo| undo.symptom), Some(symptom::Symptom::OutOfMemory));
}

/// After forty hours, each with 12 MiB more.
fn leaking() -> ContainerGuard {
    let mut guard = ContainerGuard::default();
    for step in 0..40 * 12 {
        guard.observe(seen(&observation(300 * step, 300.0 + step as f64, 0.0)));
    }
    guard
}

#[test]
fn a_leak_is_noticed_goes_on_and_ends_with_a_restart() {
    let mut guard = leaking();
    let leak = *guard.lasting_state().leak().unwrap();
    assert!((leak.mib_per_hour - 12.0).abs() < 0.2 && (leak.size_mib - 1024.0).abs() < 1e-9, "{leak:?}");
    let observation = observation(300 * 480, 300.0, 0.0);
    guard.observe(GuardInput { restarted: true, ..seen(&observation) });
    assert_eq!(guard.lasting_state().leak(), None);
}

#[test]
fn somebody_who_sets_the_size_of_a_leaking_container_lifts_its_cap() {
    let mut guard = leaking();
    assert!(guard.lasting_state().leak().is_some());
    let observation = observation(300 * 480, 780.0, 0.0);
    guard.observe(GuardInput { memory_mib: Some(4096.0), ..seen(&observation) });
    assert_eq!(guard.guard(None, at(300 * 480)).memory.manual.map(|manual| manual.size), Some(4096.0));
    // At once, by the memory it was given; it is no leak any more when the API says that no boost did it.
    let leak = guard.guard(None, at(300 * 480)).leak.unwrap();
    assert!((leak.most_mib(50.0) - 4096.0).abs() < 1e-9);
    guard.explain(Resource::Memory, &[], at(300 * 482));
    assert_eq!(guard.lasting_state().leak(), None);
}

/// The beginning and the end of a boost, as the API reports them.
fn boost(begin: i64, end: i64, base: f64, size: f64) -> [ApiChange; 2] {
    let change = |seconds, before, after| ApiChange {
        at: at(seconds),
        before: Some(before),
        after: Some(after),
        by_boost: true,
        by_us: false,
    };
    [change(begin, base, size), change(end, size, base)]
}

#[test]
fn a_boost_gives_nothing_for_good_and_ends_no_leak() {
    let mut guard = leaking();
    let before = *guard.lasting_state().leak().unwrap();
    for (step, size) in [(480, 4096.0), (481, 1024.0)] {
        let observation = observation(300 * step, 780.0, 0.0);
        guard.observe(GuardInput { memory_mib: Some(size), ..seen(&observation) });
    }
    guard.explain(Resource::Memory, &boost(300 * 480 - 10, 300 * 481 - 10, 1024.0, 4096.0), at(300 * 482));
    let after = guard.guard(None, at(300 * 482));
    assert_eq!(after.memory.manual, None);
    let leak = after.leak.unwrap();
    assert_eq!((leak.noticed, leak.given_mib), (before.noticed, Some(1024.0)));
}

#[test]
fn a_clock_that_was_set_back_shuts_nothing_out() {
    let mut guard = shrunk(&[0.0]);
    guard.judge(&Policy::default(), at(-100_000));
    guard.observe(seen(&observation(-90_000, 500.0, 0.0)));
    assert_eq!(guard.lasting_state().seen, Some(at(-90_000)));
}

/// An undone shrink delays the next one by the back-off alone, not also as unpaid.
#[test]
fn an_undone_shrink_is_none_that_did_not_pay() {
    for (seen_after, want) in [(&[0.0, 9.0][..], None), (&[0.0, 0.0], Some((1, 3600 - 60)))] {
        let mut guard = shrunk(seen_after);
        assert_eq!(guard.lasting_state().memory.shrinks.undo.is_some(), want.is_none());
        guard.note_change(Resource::Memory, (at(700), at(700)), 768.0, 1024.0);
        let unpaid = guard.guard(None, at(760)).memory.unpaid;
        assert_eq!(unpaid.waiting(1800, 86_400, at(760)), want);
    }
}

/// After the clock was set back, state lasts as long as before, not until the clock catches up.
#[test]
fn what_was_remembered_before_a_clock_was_set_back_lasts_no_longer_for_it() {
    let day = 86_400;
    let mut guard = shrunk(&[0.0, 9.0]);
    let failure = guard.lasting_state().memory.shrinks.failure.unwrap();
    let ran_out = Observation { oom: Some(true), ..observation(720, 500.0, 0.0) };
    guard.observe(GuardInput { memory_mib: Some(2048.0), cores: Some(3.0), ..seen(&ran_out) });
    guard.note_change(Resource::Cpu, (at(730), at(731)), 3.0, 2.0);
    guard.judge(&Policy::default(), at(740));
    let standing = |guard: &ContainerGuard, now: i64| guard.guard(None, at(now));
    assert!(standing(&guard, 740).memory.manual.is_some() && standing(&guard, 740).oom_run.is_some());

    // The clock goes back by a year, and a day passes.
    let now = -365 * day;
    guard.judge(&Policy::default(), at(now));
    let then = standing(&guard, now);
    assert_eq!(then.memory.manual.map(|manual| manual.left(day.unsigned_abs(), at(now))), Some(Some(86_400)));
    assert_eq!(then.cpu.shrinks.watch.map(|watch| watch.changed_at), Some(at(now)), "it is watched on");
    let moved = then.memory.shrinks.failure.unwrap();
    let lasts = |failure: &revert::Failure, until: Timestamp| until.duration_since(failure.at);
    assert_eq!(lasts(&moved, moved.retry_at), lasts(&failure, failure.retry_at));
    assert_eq!(lasts(&moved, moved.forget_at), lasts(&failure, failure.forget_at));
    assert_eq!(then.memory.shrinks.undo.map(|undo| undo.since), Some(at(now)));
    let later = standing(&guard, now + day);
    assert_eq!(later.memory.manual.and_then(|manual| manual.left(86_400, at(now + day))), None);
    assert_eq!(standing(&guard, now + day / 2 * 3).oom_run, None);
    // A change made now is known to be ours, and a measurement made now is used.
    guard.note_change(Resource::Memory, (at(now), at(now + 1)), 2048.0, 1536.0);
    let after = observation(now + 60, 500.0, 0.0);
    guard.observe(GuardInput { memory_mib: Some(1536.0), cores: Some(2.0), ..seen(&after) });
    guard.judge(&Policy::default(), at(now + 61));
    let watch = standing(&guard, now + 61).memory.shrinks.watch.unwrap();
    assert_eq!((watch.samples, watch.from), (1, 2048.0));
    assert_eq!(standing(&guard, now + 61).memory.manual.map(|manual| manual.size), Some(2048.0));
    assert_eq!(guard.state_from_records().recent.len(), 1);
}

/// It is not known whether it happened, so it is compared with the time before it.
#[test]
fn a_shrink_that_was_cut_off_is_compared_with_the_time_before_it() {
    let mut guard = ContainerGuard::default();
    for minute in 0..10 {
        guard.observe(seen(&observation(60 * minute, 500.0, 7.0)));
    }
    // The next daemon has already read later records.
    guard.observe(seen(&observation(600, 500.0, 30.0)));
    guard.note_interrupted(Resource::Memory, at(550), 1024.0, 768.0);
    let watch = guard.lasting_state().memory.shrinks.watch.unwrap();
    assert_eq!((watch.from, watch.to, watch.changed_at), (1024.0, 768.0, at(550)));
    assert_eq!(watch.before.memory_pressure_percent, Some(7.0));
    guard.judge(&Policy::default(), at(601));
    assert_eq!(guard.guard(None, at(601)).memory.shrinks.undo.map(|undo| undo.size), Some(1024.0));
    // A growth that was cut off ends no watch.
    let mut guard = shrunk(&[0.0]);
    guard.note_interrupted(Resource::Memory, at(700), 768.0, 1024.0);
    assert!(guard.lasting_state().memory.shrinks.watch.is_some());
}

/// Whether the lost memory was given back is not known, so it is asked for until it was.
#[test]
fn a_growth_that_may_have_been_made_undoes_no_harm() {
    let undo = |guard: &ContainerGuard| guard.lasting_state().memory.shrinks.undo.map(|undo| undo.size);
    let mut guard = shrunk(&[0.0, 9.0]);
    assert_eq!(undo(&guard), Some(1024.0));
    guard.note_unsure(Resource::Memory, (at(700), at(701)), 768.0, 1024.0);
    assert_eq!(undo(&guard), Some(1024.0));
    guard.note_set(Resource::Memory, (at(760), at(761)), 768.0, 1024.0);
    assert_eq!(undo(&guard), None);
    // Nor does it end the watch of a shrink.
    let mut guard = shrunk(&[0.0]);
    guard.note_unsure(Resource::Memory, (at(700), at(701)), 768.0, 1024.0);
    assert!(guard.lasting_state().memory.shrinks.watch.is_some());
    // And nothing has been reversed before it paid off.
    assert_eq!(guard.guard(None, at(760)).memory.unpaid.waiting(1800, 86_400, at(760)), None);
    guard.note_set(Resource::Memory, (at(760), at(761)), 768.0, 1024.0);
    assert_eq!(guard.lasting_state().memory.shrinks.watch, None);
}

#[test]
fn another_container_under_the_id_begins_with_nothing() {
    let mut guard = shrunk(&[0.0, 9.0]);
    let first = observation(720, 300.0, 0.0);
    guard.observe(GuardInput { replaced: true, memory_mib: Some(4096.0), ..seen(&first) });
    guard.judge(&Policy::default(), at(730));
    assert_eq!(guard.guard(None, at(730)).memory, ResourceGuard::default());
    assert_eq!(guard.state_from_records().recent.len(), 1);
    // A daemon that reads the record again knows it already.
    let mut again = ContainerGuard::restored(guard.lasting_state().clone().into());
    again.note_change(Resource::Memory, (at(740), at(741)), 4096.0, 3072.0);
    again.observe(GuardInput { replaced: true, memory_mib: Some(4096.0), ..seen(&first) });
    assert!(again.lasting_state().memory.shrinks.watch.is_some());
}

#[test]
fn what_is_kept_is_news_only_when_it_says_something_else() {
    let (one, other) = (shrunk(&[0.0; 8]), shrunk(&[0.0; 9]));
    assert_ne!(one.lasting_state(), other.lasting_state());
    assert!(one.lasting_state().says_the_same(other.lasting_state()));
    assert!(!one.lasting_state().says_the_same(shrunk(&[0.0, 9.0]).lasting_state()));
}

/// Records (size by configuration, whether it ran out), a minute apart; the most that running out raises it to.
#[track_caller]
fn check_most(records: &[(f64, bool)], ours: &[i64], want: f64) {
    let mut guard = ContainerGuard::default();
    for (minute, (size, ran_out)) in (0..).zip(records) {
        for ours in ours.iter().filter(|ours| 60 * (minute - 1) < **ours && **ours < 60 * minute) {
            guard.note_change(Resource::Memory, (at(*ours), at(*ours + 1)), records[0].0, *size);
        }
        let mut observation = observation(60 * minute, 50.0, 0.0);
        (observation.memory_limit_mib, observation.oom) = (Some(*size), Some(*ran_out));
        guard.observe(GuardInput { memory_mib: Some(*size), ..seen(&observation) });
        // It survives a restart.
        let text = serde_json::to_string(guard.lasting_state()).unwrap();
        assert_eq!(serde_json::from_str::<LastingState>(&text).unwrap(), *guard.lasting_state());
    }
    let run = guard.guard(None, at(60 * i64::try_from(records.len()).unwrap())).oom_run.unwrap();
    assert!((run.most_mib(4.0) - want).abs() < 1e-9, "{run:?}");
}

/// Proxmox ignores the cores of a pinned container, which hide what we made of its limit.
#[test]
fn a_limit_that_we_raised_above_the_cores_of_a_pinned_container_was_set_by_nobody_else() {
    for pinned in [true, false] {
        let mut guard = ContainerGuard::default();
        let see = |guard: &mut ContainerGuard, seconds| {
            guard.observe(GuardInput { cores: Some(1.0), pinned, ..seen(&observation(seconds, 50.0, 0.0)) });
        };
        see(&mut guard, 0);
        guard.note_set(Resource::Cpu, (at(10), at(11)), 1.0, 2.0);
        see(&mut guard, 60);
        see(&mut guard, 3660);
        assert_eq!(guard.lasting_state().cpu.sizes.manual().is_none(), pinned);
    }
}

#[test]
fn what_somebody_gave_it_may_be_had_again() {
    // We made it small, and it ran out: four times that size is less than it had.
    check_most(&[(1024.0, false), (128.0, false), (128.0, true)], &[30], 1024.0);
    // It was small when first seen.
    check_most(&[(128.0, false), (128.0, true)], &[], 512.0);
    // Somebody made it small on purpose.
    check_most(&[(1024.0, false), (128.0, false), (128.0, true)], &[], 512.0);
    check_most(&[(1024.0, false), (256.0, false), (128.0, false), (128.0, true)], &[30], 512.0);
}

#[test]
fn a_queue_that_was_restored_almost_full_gets_no_more_room_than_it_needs() {
    let mut queue: VecDeque<u64> = (0..63).collect();
    for number in 63..100 {
        push_newest(&mut queue, number, 64);
        assert!(queue.capacity() <= 64, "{}", queue.capacity());
    }
    assert!(queue.into_iter().eq(36..100));
}
