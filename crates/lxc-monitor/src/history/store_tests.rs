//! The store through the interfaces that the daemon and the reader use.

use lxc_autoscale_core::history_store::bucket::roll_up;
use lxc_autoscale_core::history_store::{HistoryReader, Point};
use proptest::prelude::*;

use super::*;

const CT: Series = Series::from_raw(104);
const START_MS: i64 = 1_763_856_000_000;

fn config(directory: &Path) -> HistoryConfig {
    HistoryConfig { file: directory.join("metrics.sqlite"), ..HistoryConfig::default() }
}

fn cycle(at_ms: i64, cpu: f64) -> SampledCycle {
    let mut codes = Codes::NONE;
    codes.set(Metric::Cpu, Some(cpu));
    codes.set(Metric::Memory, Some(100.0 * cpu));
    SampledCycle { at_ms, samples: vec![(Series::NODE, codes), (CT, codes)] }
}

/// A series that has been there all the time.
fn seen(series: Series, name: &str) -> Seen<'_> {
    Seen { series, name: Some(name), may_be_another: false, up_since_ms: None }
}

/// A value that differs at each time.
fn cpu_at(at_ms: i64) -> f64 {
    ((at_ms / 1000) % 97) as f64 / 50.0
}

fn compact(store: &mut Store, now_ms: i64) -> Merged {
    let mut total = Merged::default();
    loop {
        let step = store.compact_step(now_ms).unwrap();
        assert_eq!(step.damaged, 0);
        for (_, merged) in &step.merged {
            total.added += merged.added;
            total.replaced += merged.replaced;
        }
        if !step.more {
            return total;
        }
    }
}

fn read(config: &HistoryConfig, tier: Tier) -> Vec<Point> {
    let reader = HistoryReader::open(&config.file).unwrap().unwrap();
    let found = reader.read(CT, Metric::Cpu, tier.between(0, i64::MAX)).unwrap();
    assert_eq!(found.damaged_blocks, 0);
    found.points
}

/// The roll-ups of the samples at these times.
fn expected(moments: &[i64], tier: Tier) -> Vec<(i64, u32, f64)> {
    let mut samples: Vec<Sample> = moments
        .iter()
        .map(|at_ms| Sample { at_ms: *at_ms, codes: cycle(*at_ms, cpu_at(*at_ms)).samples[1].1 })
        .collect();
    roll_up(&mut samples, tier, &[Metric::Cpu])
        .into_iter()
        .map(|(at, bucket)| {
            let stats = bucket.metrics[0].1;
            (at, stats.count, lxc_autoscale_core::history_store::code::decode(stats.p95, 0.001))
        })
        .collect()
}

fn summary(points: &[Point]) -> Vec<(i64, u32, f64)> {
    points.iter().map(|point| (point.start_ms, point.samples, point.p95)).collect()
}

#[test]
fn what_is_written_is_read_before_during_and_after_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let (mut store, aside) = Store::open(&config).unwrap();
    assert_eq!(aside, None);
    let moments: Vec<i64> = (0..9 * 60).map(|minute| START_MS + minute * 60_000 + 17_000).collect();
    for moment in &moments {
        store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
    }
    for tier in Tier::ALL {
        assert_eq!(summary(&read(&config, tier)), expected(&moments, tier), "{}", tier.name());
    }
    let now_ms = *moments.last().unwrap();
    loop {
        let more = store.compact_step(now_ms).unwrap().more;
        for tier in Tier::ALL {
            assert_eq!(summary(&read(&config, tier)), expected(&moments, tier), "{}", tier.name());
        }
        if !more {
            break;
        }
    }
    assert_eq!(store.newest_ms().unwrap(), Some(now_ms));
    let waiting: i64 =
        store.connection.query_row("SELECT count(*) FROM recent", [], |row| row.get(0)).unwrap();
    assert!(waiting < 2 * 2 * 120, "{waiting}: two windows are rolled up");
}

#[test]
fn the_same_samples_again_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let (mut store, _) = Store::open(&config).unwrap();
    let moments: Vec<i64> = (0..300).map(|minute| START_MS + minute * 60_000).collect();
    let now_ms = START_MS + 100 * 3_600_000;
    for round in 0..3 {
        for moment in &moments {
            store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
        }
        let merged = compact(&mut store, now_ms);
        assert_eq!(merged == Merged::default(), round != 0, "{merged:?}");
        assert_eq!(summary(&read(&config, Tier::Hour)), expected(&moments, Tier::Hour));
    }
}

#[test]
fn a_fast_cadence_is_rolled_up_from_all_of_its_samples() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let (mut store, _) = Store::open(&config).unwrap();
    let moments: Vec<i64> = (0..3600).map(|second| START_MS + second * 1000).collect();
    for batch in moments.chunks(7) {
        store.append(&batch.iter().map(|at| cycle(*at, cpu_at(*at))).collect::<Vec<_>>()).unwrap();
    }
    compact(&mut store, START_MS + 100 * 3_600_000);
    assert_eq!(store.newest_ms().unwrap(), None);
    for tier in Tier::ALL {
        assert_eq!(summary(&read(&config, tier)), expected(&moments, tier), "{}", tier.name());
    }
    assert_eq!(read(&config, Tier::Hour)[0].samples, 3600);
}

/// The daemon was killed within a minute after writing its beginning; the metrics file has all of it.
#[test]
fn a_minute_that_is_read_again_counts_as_a_whole_also_while_it_is_rolled_up() {
    let moments: Vec<i64> = (0..30).map(|second| START_MS + second * 1000).collect();
    let minute: Vec<SampledCycle> = moments.iter().map(|at| cycle(*at, cpu_at(*at))).collect();
    let late_ms = START_MS + 100 * 3_600_000;
    // So many steps of rolling up are done when the minute is read again.
    for steps in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let (mut store, _) = Store::open(&config).unwrap();
        for batch in minute[..6].chunks(2) {
            store.append(batch).unwrap();
        }
        for _ in 0..steps {
            store.compact_step(late_ms).unwrap();
        }
        // Both shards, unless they are rolled up and deleted.
        assert_eq!(store.append(&minute).unwrap(), 2, "{steps} steps");
        assert_eq!(store.append(&minute).unwrap(), 0, "{steps} steps");
        assert_eq!(store.newest_ms().unwrap(), moments.last().copied());
        for tier in Tier::ALL {
            let found = summary(&read(&config, tier));
            assert_eq!(found, expected(&moments, tier), "{steps} steps, {}", tier.name());
        }
        compact(&mut store, late_ms);
        assert_eq!(store.newest_ms().unwrap(), None);
        for tier in Tier::ALL {
            let found = summary(&read(&config, tier));
            assert_eq!(found, expected(&moments, tier), "{steps} steps, {}", tier.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever the clock did, no sample counts twice and none is lost: exactly so while its window is not rolled up
    /// yet; afterwards, a late sample counts only if its bucket is empty.
    #[test]
    fn clock_steps_neither_lose_nor_duplicate(
        steps in prop::collection::vec(prop_oneof![8 => Just(60_000_i64), 1 => -20_000_000..20_000_000_i64], 1..80),
        compact_every in 1..60_usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let late = config(directory.path());
        let never = HistoryConfig { file: directory.path().join("never.sqlite"), ..late.clone() };
        let (mut store, _) = Store::open(&late).unwrap();
        let (mut untouched, _) = Store::open(&never).unwrap();
        let (mut at_ms, mut moments) = (START_MS, Vec::new());
        for (index, step) in steps.iter().enumerate() {
            at_ms += step;
            moments.push(at_ms);
            // Each twice, as in a replay.
            for _ in 0..2 {
                store.append(&[cycle(at_ms, cpu_at(at_ms))]).unwrap();
                untouched.append(&[cycle(at_ms, cpu_at(at_ms))]).unwrap();
            }
            if index % compact_every == 0 {
                compact(&mut store, at_ms);
            }
        }
        compact(&mut store, i64::MAX / 2);
        moments.sort_unstable();
        moments.dedup();
        for tier in Tier::ALL {
            let want = expected(&moments, tier);
            prop_assert_eq!(&summary(&read(&never, tier)), &want);
            let found = summary(&read(&late, tier));
            let starts = |points: &[(i64, u32, f64)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
            prop_assert_eq!(starts(&found), starts(&want));
            prop_assert!(found.iter().zip(&want).all(|(found, want)| (1..=want.1).contains(&found.1)));
        }
    }
}

#[test]
fn age_is_counted_in_days_with_measurements() {
    let directory = tempfile::tempdir().unwrap();
    let day_ms = 86_400_000;
    let first_of = |config: &HistoryConfig, tier| read(config, tier)[0].start_ms;
    let run = |keep: [u64; 3]| {
        let config = HistoryConfig {
            file: directory.path().join(format!("{keep:?}.sqlite")),
            keep_1m_days: keep[0],
            keep_5m_days: keep[1],
            keep_1h_days: keep[2],
            ..HistoryConfig::default()
        };
        let (mut store, _) = Store::open(&config).unwrap();
        for hour in 0..20 * 24 {
            store.append(&[cycle(START_MS + hour * 3_600_000, 1.0)]).unwrap();
        }
        // The clock jumps ahead by ten years, for two cycles.
        for hour in 0..2 {
            store.append(&[cycle(START_MS + 3650 * day_ms + hour * 3_600_000, 1.0)]).unwrap();
        }
        compact(&mut store, START_MS + 21 * day_ms);
        compact(&mut store, START_MS + 3651 * day_ms);
        Tier::ALL.map(|tier| (first_of(&config, tier) - START_MS) / day_ms)
    };
    assert_eq!(run([30, 30, 30]), [0, 0, 0]);
    let [minutes, five, hours] = run([2, 10, 1000]);
    assert!((17..=18).contains(&minutes), "{minutes}");
    assert!((8..=10).contains(&five), "{five}");
    assert_eq!(hours, 0);
}

#[test]
fn the_size_is_bounded_and_the_finest_goes_first() {
    let directory = tempfile::tempdir().unwrap();
    let config = HistoryConfig {
        max_size_mib: 8,
        keep_1m_days: 3650,
        keep_5m_days: 3650,
        keep_1h_days: 3650,
        ..config(directory.path())
    };
    let (mut store, _) = Store::open(&config).unwrap();
    let mut codes = Codes::NONE;
    let mut noise = 1_u32;
    let size = || std::fs::metadata(&config.file).unwrap().len();
    for minute in 0..1440 {
        let samples = (100..160).map(|id| {
            for metric in Metric::ALL {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                codes.set_code(*metric, u16::try_from(noise >> 19).unwrap());
            }
            (Series::from_raw(id), codes)
        });
        let at_ms = START_MS + minute * 60_000;
        if let Err(error) = store.append(&[SampledCycle { at_ms, samples: samples.collect() }]) {
            assert!(!error.is_corrupt(), "{error:?}");
            store.enforce_bounds().unwrap();
        }
        if minute % 60 == 0 {
            while store.compact_step(at_ms).is_ok_and(|step| step.more) {}
            store.enforce_bounds().unwrap();
        }
        assert!(size() <= 8 << 20, "{}", size());
    }
    let series = Series::from_raw(104);
    let reader = HistoryReader::open(&config.file).unwrap().unwrap();
    let first =
        |tier: Tier| reader.read(series, Metric::Cpu, tier.between(0, i64::MAX)).unwrap().points[0].start_ms;
    assert_eq!(first(Tier::Hour), START_MS);
    assert!(START_MS < first(Tier::Minute));
}

#[test]
fn a_broken_database_is_put_aside_and_what_is_readable_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let moments: Vec<i64> = (0..3 * 1440).map(|minute| START_MS + minute * 60_000).collect();
    {
        let (mut store, _) = Store::open(&config).unwrap();
        for moment in &moments {
            store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
        }
        compact(&mut store, START_MS + 100 * 86_400_000);
    }
    // Not a database at all, five times; three are kept.
    for round in 1..=5 {
        std::fs::write(&config.file, vec![b'x'; 10_000]).unwrap();
        let (_, aside) = Store::open(&config).unwrap();
        assert_eq!(aside.unwrap(), directory.path().join(format!("metrics.sqlite.corrupt-{round}")));
    }
    let put_aside = std::fs::read_dir(directory.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().contains("corrupt"));
    assert_eq!(put_aside.count(), 3);
}

/// A flipped bit or a truncation only affects its place; it never causes a permanent error or another value.
#[test]
fn damage_costs_what_it_hits() {
    let directory = tempfile::tempdir().unwrap();
    let config = HistoryConfig { keep_1m_days: 30, ..config(directory.path()) };
    let moments: Vec<i64> = (0..12 * 1440).step_by(10).map(|minute| START_MS + minute * 60_000).collect();
    {
        let (mut store, _) = Store::open(&config).unwrap();
        for moment in &moments {
            store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
        }
        compact(&mut store, START_MS + 100 * 86_400_000);
    }
    let whole = std::fs::read(&config.file).unwrap();
    let want = expected(&moments, Tier::Minute);
    let mut noise = 7_u64;
    let mut kept_in_all = 0;
    for round in 0..60 {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = usize::try_from(noise >> 33).unwrap() % whole.len();
        let mut bytes = whole.clone();
        if round % 3 == 0 {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << (noise % 8);
        }
        for file in std::fs::read_dir(directory.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        std::fs::write(&config.file, bytes).unwrap();
        let (mut store, _) = match Store::open(&config) {
            Ok(opened) => opened,
            // The version number of another program: not ours to delete.
            Err(StoreError::History(HistoryError::Version { .. })) => continue,
            Err(error) => panic!("round {round}: {error:?}"),
        };
        let appended = store.append(&[cycle(START_MS + 50 * 86_400_000, 1.0)]).map(drop);
        let compacted = appended.and_then(|()| store.compact_step(i64::MAX / 2).map(drop));
        if let Err(error) = compacted {
            assert!(error.is_corrupt(), "round {round}: {error:?}");
            store = store.begin_again().unwrap().0;
        }
        let reader = HistoryReader::open(store.path()).unwrap().unwrap();
        let found = match reader.read(CT, Metric::Cpu, Tier::Minute.between(0, START_MS + 40 * 86_400_000)) {
            Ok(found) => found.points,
            Err(error) => {
                let error = StoreError::from(error);
                assert!(error.is_corrupt(), "round {round}: {error:?}");
                drop(reader);
                let (store, _) = store.begin_again().unwrap();
                let reader = HistoryReader::open(store.path()).unwrap().unwrap();
                reader
                    .read(CT, Metric::Cpu, Tier::Minute.between(0, START_MS + 40 * 86_400_000))
                    .unwrap()
                    .points
            }
        };
        println!("round {round} at {place} of {}: {} kept", whole.len(), found.len());
        kept_in_all += found.len();
        let found = summary(&found);
        assert!(
            found.iter().all(|point| want.contains(point)),
            "round {round}: a value that was never stored"
        );
    }
    println!("{} of {} buckets kept", kept_in_all / 60, want.len());
    assert!(want.len() * 60 / 2 < kept_in_all, "{kept_in_all}");
}

/// 104 was `bigdb` for 90 minutes and half a minute, then `web`.
fn reused(directory: &Path) -> (HistoryConfig, Store, i64) {
    let config = config(directory);
    let (mut store, _) = Store::open(&config).unwrap();
    let begins_ms = START_MS + 90 * 60_000 + 30_000;
    for step in 0..4 * 180 {
        let at_ms = START_MS + step * 15_000;
        let is_former = at_ms < begins_ms;
        let seen =
            if is_former { seen(CT, "bigdb") } else { Seen { may_be_another: true, ..seen(CT, "web") } };
        let replaced = store.name(at_ms, [seen].into_iter()).unwrap();
        let want = (at_ms == begins_ms).then(|| Replaced {
            series: CT,
            former: "bigdb".to_owned(),
            name: "web".to_owned(),
        });
        assert_eq!(replaced, Vec::from_iter(want));
        store.append(&[cycle(at_ms, if is_former { 8.0 } else { 0.5 })]).unwrap();
    }
    (config, store, begins_ms)
}

#[test]
fn a_container_that_got_the_id_of_another_shares_no_roll_up_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (config, mut store, begins_ms) = reused(directory.path());
    for is_rolled_up in [false, true] {
        if is_rolled_up {
            compact(&mut store, START_MS + 100 * 3_600_000);
            assert_eq!(store.newest_ms().unwrap(), None);
        }
        let reader = HistoryReader::open(&config.file).unwrap().unwrap();
        let (present, former) = (reader.series().unwrap().remove(0), reader.former().unwrap().remove(0));
        assert_eq!((present.name.as_str(), former.name.as_str()), ("web", "bigdb"));
        assert_eq!((former.epoch.ends_ms, present.epoch.begins_ms), (begins_ms, begins_ms));
        for tier in Tier::ALL {
            let (of_present, of_former) = (
                reader.read_of(&present, Metric::Cpu, tier.between(0, i64::MAX)).unwrap().points,
                reader.read_of(&former, Metric::Cpu, tier.between(0, i64::MAX)).unwrap().points,
            );
            assert_eq!(of_present, read(&config, tier), "what is asked for by number is the present one's");
            assert_eq!(of_present[0].start_ms, tier.bucket_start(begins_ms), "{}", tier.name());
            assert!(of_present.iter().all(|point| point.max < 1.0), "{}", tier.name());
            assert!(of_former.iter().all(|point| 7.0 < point.min), "{}", tier.name());
            let whole = usize::try_from((begins_ms - START_MS) / tier.bucket_ms()).unwrap();
            assert_eq!(of_former.len(), whole, "{}", tier.name());
        }
        // The node was there all the time.
        let node = reader.read(Series::NODE, Metric::Cpu, Tier::Minute.between(0, i64::MAX)).unwrap();
        assert_eq!(node.points.len(), 180);
    }
}

#[test]
fn a_new_container_is_told_by_its_name_and_by_having_been_away() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&config(directory.path())).unwrap();
    let mut at_ms = START_MS;
    let mut name = |name: Option<&str>, may_be_another: bool| {
        at_ms += 60_000;
        store
            .name(at_ms, [Seen { series: CT, name, may_be_another, up_since_ms: None }].into_iter())
            .unwrap()
            .len()
    };
    assert_eq!(name(None, true), 0);
    assert_eq!(name(Some("web"), true), 0, "its name was not known before");
    assert_eq!(name(Some("web"), true), 0);
    assert_eq!(name(None, true), 0, "its name cannot be read");
    assert_eq!(name(Some("www"), false), 1, "what was away had another name");
    assert_eq!(name(Some("http"), false), 0, "renamed while it runs");
    assert_eq!(name(Some("db"), true), 1);
}

/// It was started while its name could not be read; the monitor, too, may be restarted meanwhile.
#[test]
fn a_new_container_whose_name_is_read_later_has_its_own_past_from_its_start() {
    for is_reopened in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let (mut store, _) = Store::open(&config).unwrap();
        let at = |minute: i64| START_MS + minute * 60_000;
        let name = |store: &mut Store, minute, name, may_be_another| {
            let seen = Seen { series: CT, name, may_be_another, up_since_ms: None };
            let replaced = store.name(at(minute), [seen].into_iter()).unwrap();
            store.append(&[cycle(at(minute), 1.0)]).unwrap();
            replaced.len()
        };
        assert_eq!(name(&mut store, 0, Some("bigdb"), false), 0);
        assert_eq!(name(&mut store, 1, None, true), 0, "its name cannot be read");
        assert_eq!(name(&mut store, 2, None, false), 0);
        if is_reopened {
            drop(store);
            store = Store::open(&config).unwrap().0;
        }
        assert_eq!(name(&mut store, 3, None, false), 0);
        assert_eq!(name(&mut store, 4, Some("web"), false), 1, "reopened: {is_reopened}");
        assert_eq!(name(&mut store, 5, Some("www"), false), 0, "renamed while it runs");
        let reader = HistoryReader::open(&config.file).unwrap().unwrap();
        assert_eq!(
            reader.series().unwrap().remove(0).epoch.begins_ms,
            at(1),
            "not only when its name was read"
        );
        // One that turned out to be the same is not in doubt any more.
        assert_eq!(name(&mut store, 6, None, true), 0);
        assert_eq!(name(&mut store, 7, Some("www"), false), 0);
        assert_eq!(name(&mut store, 8, Some("db"), false), 0);
    }
}

/// Nothing is known of the time before but what is stored: whether it was up when it was last recorded tells.
#[test]
fn what_ran_when_it_was_last_recorded_is_the_same_under_another_name() {
    for is_rolled_up in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let (mut store, _) = Store::open(&config).unwrap();
        store.name(START_MS, [seen(CT, "bigdb"), seen(Series::NODE, "pve")].into_iter()).unwrap();
        let last_ms = START_MS + 10 * 60_000;
        for minute in 0..=10 {
            store.append(&[cycle(START_MS + minute * 60_000, 1.0)]).unwrap();
        }
        // Others of the same shard were recorded for longer.
        let node = cycle(START_MS + 600 * 60_000, 1.0).samples[0];
        store.append(&[SampledCycle { at_ms: START_MS + 600 * 60_000, samples: vec![node] }]).unwrap();
        if is_rolled_up {
            compact(&mut store, START_MS + 100 * 3_600_000);
        }
        let now_ms = START_MS + 24 * 3_600_000;
        let mut name = |name, up_since_ms| {
            let seen = Seen { series: CT, name: Some(name), may_be_another: true, up_since_ms };
            store.name(now_ms, [seen].into_iter()).unwrap().len()
        };
        assert_eq!(name("renamed", Some(last_ms - 300_000)), 0, "it ran, rolled up: {is_rolled_up}");
        assert_eq!(name("web", Some(last_ms + 60_000)), 1, "it was started later");
        assert_eq!(name("db", None), 1, "it is not known since when it runs");
    }
}

/// The clock was years ahead for a moment, in which a container got the id of another one.
#[test]
fn a_clock_that_was_ahead_freezes_neither_names_nor_pasts() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let ahead_ms = START_MS + 900 * 24 * 3_600_000;
    let another = |name| Seen { may_be_another: true, ..seen(CT, name) };
    let (mut store, _) = Store::open(&config).unwrap();
    store.name(START_MS, [seen(CT, "bigdb")].into_iter()).unwrap();
    store.append(&[cycle(START_MS, 8.0)]).unwrap();
    assert_eq!(store.name(ahead_ms, [another("web")].into_iter()).unwrap().len(), 1);
    store.append(&[cycle(ahead_ms, 0.5)]).unwrap();
    drop(store);

    let now_ms = START_MS + 3_600_000;
    let (mut store, _) = Store::open(&config).unwrap();
    store.it_is(now_ms).unwrap();
    let present = |now_ms: i64| {
        let reader = HistoryReader::open(&config.file).unwrap().unwrap().as_of(now_ms);
        let points = reader.read(CT, Metric::Cpu, Tier::Minute.between(0, now_ms)).unwrap().points;
        let of_former: Vec<String> = reader.former().unwrap().into_iter().map(|info| info.name).collect();
        (points.iter().map(|point| point.max).collect::<Vec<_>>(), of_former)
    };
    assert_eq!(store.name(now_ms, [seen(CT, "web")].into_iter()).unwrap(), []);
    store.append(&[cycle(now_ms, 0.5)]).unwrap();
    assert_eq!(
        present(now_ms + 60_000),
        (vec![0.5], vec!["bigdb".to_owned()]),
        "not of the former one's past"
    );
    let later_ms = now_ms + 60_000;
    let replaced = store.name(later_ms, [another("db")].into_iter()).unwrap();
    assert_eq!(replaced.len(), 1, "a name that is of now counts: {replaced:?}");
    store.append(&[cycle(later_ms, 0.25)]).unwrap();
    assert_eq!(present(later_ms + 60_000), (vec![0.25], vec!["bigdb".to_owned(), "web".to_owned()]));
}

#[test]
fn a_store_of_the_version_before_is_read_and_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let (mut store, _) = Store::open(&config).unwrap();
    store.name(START_MS, [seen(CT, "web")].into_iter()).unwrap();
    store.append(&[cycle(START_MS, 1.0)]).unwrap();
    store.connection.execute_batch("DROP TABLE epochs").unwrap();
    drop(store);
    let reader = HistoryReader::open(&config.file).unwrap().unwrap();
    assert_eq!((reader.series().unwrap().len(), reader.former().unwrap().len()), (1, 0));
    assert_eq!(read(&config, Tier::Minute).len(), 1);
    drop(reader);
    let (mut store, aside) = Store::open(&config).unwrap();
    assert_eq!(aside, None);
    let web = Seen { may_be_another: true, ..seen(CT, "other") };
    assert_eq!(store.name(START_MS + 60_000, [web].into_iter()).unwrap().len(), 1);
    assert_eq!(read(&config, Tier::Minute).len(), 0);
    let (_, aside) = store.begin_again().unwrap();
    assert!(aside.exists());
    let reader = HistoryReader::open(&config.file).unwrap().unwrap();
    assert_eq!(reader.former().unwrap()[0].name, "web", "epochs are salvaged");
}

/// A flipped bit in the head of a row turns a blob into text, or text into a number.
#[test]
fn values_of_a_wrong_type_cost_only_themselves() {
    let wrong = [
        "UPDATE series SET name = CAST(x'ff' AS TEXT) WHERE id = 104",
        "UPDATE series SET name = 7 WHERE id = 104",
        "UPDATE epochs SET begins_ms = 'never'",
        "UPDATE epochs SET former = 7",
        "UPDATE recent SET frame = CAST(frame AS TEXT) WHERE number = 3",
        "UPDATE recent SET frame = 7 WHERE number = 3",
        "UPDATE recent SET at_ms = 'never' WHERE number = 3",
        "UPDATE recent SET last_ms = 'never' WHERE number = (SELECT max(number) FROM recent)",
        "UPDATE chunks SET data = CAST(data AS TEXT) WHERE number = 3",
        "UPDATE chunks SET data = 7 WHERE number = 3",
        "UPDATE chunks SET start_ms = 'never' WHERE number = 3",
    ];
    let moments: Vec<i64> = (0..12 * 60).map(|minute| START_MS + minute * 60_000).collect();
    let last_ms = *moments.last().unwrap();
    for damage in wrong {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path());
        let (mut store, _) = Store::open(&config).unwrap();
        for moment in &moments {
            store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
        }
        store.name(last_ms, [seen(CT, "web"), seen(Series::NODE, "pve")].into_iter()).unwrap();
        // From the beginning on, so that all values are of the present one.
        store.name(START_MS - 1, [seen(CT, "bigdb")].into_iter()).unwrap();
        store.name(START_MS, [Seen { may_be_another: true, ..seen(CT, "web") }].into_iter()).unwrap();
        compact(&mut store, last_ms);
        store.connection.execute(damage, []).unwrap();
        drop(store);

        // A reader continues before the writer has noticed it.
        let reader = HistoryReader::open(&config.file).unwrap().unwrap();
        assert_eq!(reader.series().unwrap().len(), 2, "{damage}");
        let read = reader.read(CT, Metric::Cpu, Tier::Minute.between(0, i64::MAX)).unwrap();
        assert!(moments.len() / 2 < read.points.len(), "{damage}: {}", read.points.len());
        // And so does the writer, permanently.
        let (mut store, _) = Store::open(&config).unwrap_or_else(|error| panic!("{damage}: {error:?}"));
        for hour in 1..=12 {
            let at_ms = last_ms + hour * 3_600_000;
            let go_on = |store: &mut Store| -> Result<(), StoreError> {
                store.newest_ms()?;
                store.append(&[cycle(at_ms, 1.0)])?;
                while store.compact_step(at_ms)?.more {}
                Ok(())
            };
            if let Err(error) = go_on(&mut store) {
                assert!(error.is_corrupt(), "{damage}: {error:?}");
                store = store.begin_again().unwrap().0;
                go_on(&mut store).unwrap_or_else(|error| panic!("{damage}: {error:?}"));
            }
        }
        let found = read_all(&config);
        assert!(moments.len() / 2 < found.len(), "{damage}: {}", found.len());
    }
}

/// The readable minutes, whatever is damaged.
fn read_all(config: &HistoryConfig) -> Vec<Point> {
    let reader = HistoryReader::open(&config.file).unwrap().unwrap();
    reader.read(CT, Metric::Cpu, Tier::Minute.between(0, i64::MAX)).unwrap().points
}

/// Truncated behind what is written each minute: the writer would not notice for hours, but no reader could read.
#[test]
fn what_the_writer_does_not_touch_is_looked_at_when_it_starts() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let moments: Vec<i64> = (0..12 * 60).map(|minute| START_MS + minute * 60_000).collect();
    {
        let (mut store, _) = Store::open(&config).unwrap();
        for moment in &moments {
            store.append(&[cycle(*moment, cpu_at(*moment))]).unwrap();
        }
        compact(&mut store, *moments.last().unwrap());
    }
    let mut bytes = std::fs::read(&config.file).unwrap();
    // The second half becomes zeros.
    let half = bytes.len() / 2 / 4096 * 4096;
    bytes[half..].fill(0);
    std::fs::write(&config.file, bytes).unwrap();
    let (mut store, aside) = Store::open(&config).unwrap();
    assert!(aside.is_some());
    store.append(&[cycle(START_MS + 86_400_000, 1.0)]).unwrap();
    for tier in Tier::ALL {
        read(&config, tier);
    }
}

/// The first page contains the header and the list of tables.
#[test]
fn no_bit_of_the_first_page_ends_the_history_for_good() {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let config = config(directory.path());
    let (mut store, _) = Store::open(&config).unwrap();
    store.append(&[cycle(START_MS, 1.0)]).unwrap();
    drop(store);
    let whole = std::fs::read(&config.file).unwrap();
    // All of the header, and a part of the table definitions.
    let places =
        (0..whole.len().min(4096)).filter(|place| *place < 108 || (whole[*place] != 0 && place % 7 == 0));
    for (place, bit) in places.flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        for file in std::fs::read_dir(directory.path()).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << bit;
        std::fs::write(&config.file, &bytes).unwrap();
        // Like the daemon: a broken database is replaced, once.
        let result = use_it(&config).or_else(|error| match error {
            StoreError::History(HistoryError::Version { .. }) => Ok(()),
            error if error.is_corrupt() => use_it(&config),
            error => Err(error),
        });
        result.unwrap_or_else(|error| panic!("bit {bit} of byte {place}: {error:?}"));
    }
}

/// All operations of the daemon; the database is replaced when it is found to be broken.
fn use_it(config: &HistoryConfig) -> Result<(), StoreError> {
    let (mut store, _) = Store::open(config)?;
    let day_later = START_MS + 86_400_000;
    let mut all = || {
        store.newest_ms()?;
        store.name(day_later, [seen(CT, "web")].into_iter())?;
        store.append(&[cycle(day_later, 1.0)])?;
        for _ in 0..100 {
            if !store.compact_step(day_later)?.more {
                return store.enforce_bounds();
            }
        }
        panic!("it is rolled up again and again");
    };
    match all() {
        Err(error) if error.is_corrupt() => store.begin_again().and(Err(error)),
        result => result,
    }
}
