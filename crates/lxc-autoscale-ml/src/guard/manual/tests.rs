//! Which sizes were set by somebody else.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Records (time, size) and the times of our own changes; the expected manual change, if any.
#[track_caller]
fn check(records: &[(i64, f64)], ours: &[i64], want: Option<(i64, f64, f64)>) {
    let mut sizes = Sizes::default();
    for (seconds, size) in records {
        for ours in ours.iter().filter(|ours| *ours < seconds) {
            sizes.note_ours(at(*ours), at(*ours + 1));
        }
        sizes.observe(at(*seconds), *size);
    }
    let want = want.map(|(seconds, from, size)| Manual { at: at(seconds), from, size });
    assert_eq!(sizes.manual(), want, "{records:?} {ours:?}");
}

#[test]
fn only_what_we_did_not_do_is_somebody_elses() {
    check(&[(0, 512.0), (60, 512.0)], &[], None);
    check(&[(0, 512.0), (60, 768.0)], &[], Some((60, 512.0, 768.0)));
    check(&[(0, 512.0), (60, 768.0)], &[1], None);
    // Our change shows in the second record only, because the first was taken at the same time.
    check(&[(0, 512.0), (60, 512.0), (120, 768.0)], &[57], None);
    // Somebody takes it back.
    check(&[(0, 512.0), (60, 768.0), (120, 512.0)], &[1], Some((120, 768.0, 512.0)));
    // The first known size is not a change.
    check(&[(0, 512.0)], &[], None);
    check(&[(0, 1.0), (60, 1.001)], &[], None);
    // The API was slow: records before its answer show the old size.
    let mut sizes = Sizes::default();
    sizes.note_ours(at(1), at(41));
    for (seconds, size) in [(0, 512.0), (20, 512.0), (38, 512.0), (50, 768.0)] {
        sizes.observe(at(seconds), size);
    }
    assert_eq!(sizes.manual(), None);
}

/// Changes by the API: (time, before, after), with a `b` for the beginning or end of a boost, and a `d` for a
/// decision of ours.
fn told(changes: &[(i64, f64, f64, char)]) -> Vec<ApiChange> {
    let change = |(seconds, before, after, kind): &(i64, f64, f64, char)| ApiChange {
        at: at(*seconds),
        before: Some(*before),
        after: Some(*after),
        by_boost: *kind == 'b',
        by_us: *kind == 'd',
    };
    changes.iter().map(change).collect()
}

#[test]
fn what_the_api_did_for_a_boost_is_nobodys_will() {
    for (records, changes, want) in [
        // A beginning, and a beginning and end.
        (vec![(0, 2.0), (60, 8.0)], vec![(30, 2.0, 8.0, 'b')], None),
        (vec![(0, 2.0), (60, 8.0), (120, 2.0)], vec![(30, 2.0, 8.0, 'b'), (90, 8.0, 2.0, 'b')], None),
        // Two boosts between two records, and one that was recorded after the record.
        (vec![(0, 2.0), (60, 8.0)], vec![(20, 2.0, 4.0, 'b'), (62, 4.0, 8.0, 'b')], None),
        // An undo, a request and a change past the API are manual.
        (vec![(0, 8.0), (60, 2.0)], vec![(30, 8.0, 2.0, 'u')], Some((60, 8.0, 2.0))),
        (vec![(0, 2.0), (60, 8.0)], vec![(20, 2.0, 4.0, 'o'), (30, 4.0, 8.0, 'b')], Some((60, 2.0, 8.0))),
        (vec![(0, 2.0), (60, 3.0)], vec![], Some((60, 2.0, 3.0))),
        // A boost at another time or to another size explains nothing.
        (vec![(600, 2.0), (660, 8.0)], vec![(30, 2.0, 8.0, 'b')], Some((660, 2.0, 8.0))),
        (vec![(0, 2.0), (60, 6.0)], vec![(30, 2.0, 8.0, 'b')], Some((60, 2.0, 6.0))),
        // A call of ours whose outcome was unknown, and that ended late; and what somebody did after it.
        (vec![(0, 2.0), (600, 3.0)], vec![(590, 2.0, 3.0, 'd')], None),
        (vec![(0, 2.0), (600, 4.0)], vec![(580, 2.0, 3.0, 'd'), (590, 3.0, 4.0, 'r')], Some((600, 2.0, 4.0))),
        // A size set by hand before a boost is respected after it.
        (
            vec![(0, 1.0), (60, 2.0), (120, 8.0), (180, 2.0)],
            vec![(100, 2.0, 8.0, 'b'), (150, 8.0, 2.0, 'b')],
            Some((60, 1.0, 2.0)),
        ),
        // So is one set by hand during a boost.
        (
            vec![(0, 2.0), (60, 8.0), (120, 6.0)],
            vec![(30, 2.0, 8.0, 'b'), (100, 8.0, 6.0, 'r')],
            Some((120, 8.0, 6.0)),
        ),
    ] {
        let mut sizes = Sizes::default();
        for (seconds, size) in &records {
            sizes.observe(at(*seconds), *size);
        }
        let newest = records.last().unwrap().0;
        // Until the API can be asked, all of it counts as manual.
        assert!(sizes.is_open() && sizes.manual().is_some());
        sizes.explain(&told(&changes), at(newest + 1));
        let want = want.map(|(seconds, from, size)| Manual { at: at(seconds), from, size });
        assert_eq!(sizes.manual(), want, "{records:?} {changes:?}");
        // It is asked again only as long as the API may not have recorded it yet.
        sizes.explain(&told(&changes), at(newest) + TOLD_AFTER);
        assert_eq!((sizes.manual(), sizes.is_open()), (want, false), "{records:?} {changes:?}");
    }
}

#[test]
fn while_the_api_cannot_be_asked_the_newest_change_counts() {
    let mut sizes = Sizes::default();
    for step in 0..100 {
        sizes.observe(at(60 * step), if step % 2 == 0 { 2.0 } else { 8.0 });
    }
    assert_eq!(sizes.open.len(), MOST_OPEN);
    assert_eq!(sizes.manual().map(|manual| manual.at), Some(at(60 * 99)));
    let text = serde_json::to_string(&sizes).unwrap();
    assert_eq!(serde_json::from_str::<Sizes>(&text).unwrap(), sizes);
    // As stored by the previous version.
    let text = r#"{"known":["2027-01-15T08:00:00Z",2.0],
        "manual":{"at":"2027-01-15T08:00:00Z","from":1.0,"size":2.0}}"#;
    let sizes: Sizes = serde_json::from_str(text).unwrap();
    assert_eq!(sizes.manual(), Some(Manual { at: at(0), from: 1.0, size: 2.0 }));
    assert!(!sizes.is_open());
}

/// What happens to a size: a record of it, a change of ours that the API carried out (and how a record may show it),
/// or one of which it is not known whether it was.
enum Step {
    Record(i64, f64),
    Set(i64, f64, f64),
    SetBound(i64, f64, f64),
    Unknown(i64),
}
use Step::{Record, Set, SetBound, Unknown};

#[track_caller]
fn check_awaited(what: &str, steps: &[Step], want: Option<(i64, f64, f64)>) {
    let mut sizes = Sizes::default();
    for step in steps {
        match *step {
            Record(seconds, size) => drop(sizes.observe(at(seconds), size)),
            Set(seconds, from, to) => sizes.note_set((at(seconds), at(seconds + 1)), from, to, false),
            SetBound(seconds, from, to) => sizes.note_set((at(seconds), at(seconds + 1)), from, to, true),
            Unknown(seconds) => sizes.note_ours(at(seconds), at(seconds + 1)),
        }
        // It survives a restart, which tells it of our last change once more.
        let text = serde_json::to_string(&sizes).unwrap();
        let mut again: Sizes = serde_json::from_str(&text).unwrap();
        assert_eq!(again, sizes, "{what}");
        if let Some((begun, done)) = sizes.ours {
            again.note_ours_roughly(begun, done + SignedDuration::from_mins(10));
        }
        assert_eq!(again, sizes, "{what}");
    }
    let want = want.map(|(seconds, from, size)| Manual { at: at(seconds), from, size });
    assert_eq!(sizes.manual(), want, "{what}");
}

#[test]
fn what_is_not_the_size_we_set_was_set_by_somebody_else() {
    let undone = Some((60, 512.0, 768.0));
    for (what, steps, want) in [
        ("undone", vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 768.0)], undone),
        ("carried out", vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 512.0)], None),
        (
            "set to something else",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 640.0)],
            Some((60, 512.0, 640.0)),
        ),
        (
            "not measured yet: the record may be older than the change",
            vec![Record(0, 768.0), Set(50, 768.0, 512.0), Record(60, 768.0)],
            None,
        ),
        (
            "the next record shows it",
            vec![Record(0, 768.0), Set(50, 768.0, 512.0), Record(60, 768.0), Record(120, 512.0)],
            None,
        ),
        (
            "the next record shows that it was undone",
            vec![Record(0, 768.0), Set(50, 768.0, 512.0), Record(60, 768.0), Record(120, 768.0)],
            Some((120, 512.0, 768.0)),
        ),
        (
            "shown at once, and undone before the next record",
            vec![Record(0, 768.0), Set(50, 768.0, 512.0), Record(52, 512.0), Record(60, 768.0)],
            undone,
        ),
        (
            "it may not have been carried out",
            vec![Record(0, 768.0), Unknown(1), Record(60, 768.0), Record(120, 768.0)],
            None,
        ),
        (
            "our own later change",
            vec![
                Record(0, 768.0),
                Set(1, 768.0, 512.0),
                Set(20, 512.0, 384.0),
                Record(60, 384.0),
                Record(120, 384.0),
            ],
            None,
        ),
        (
            "our own later change, undone to the first",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Set(20, 512.0, 384.0), Record(60, 512.0)],
            Some((60, 384.0, 512.0)),
        ),
        (
            "our own later change that may not have been carried out",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Unknown(20), Record(60, 512.0)],
            None,
        ),
        (
            "undone, and changed again before a record could show it",
            vec![
                Record(0, 768.0),
                Set(1, 768.0, 512.0),
                Record(5, 768.0),
                Set(6, 768.0, 512.0),
                Record(60, 512.0),
            ],
            Some((5, 512.0, 768.0)),
        ),
        ("two digits", vec![Record(0, 2.0), Set(1, 2.0, 1.334), Record(60, 1.33)], None),
        (
            "a growth of the cores that the limit does not let show",
            vec![Record(0, 2.0), SetBound(1, 2.0, 4.0), Record(60, 2.5)],
            None,
        ),
        (
            "a growth of the cores, undone",
            vec![Record(0, 2.0), SetBound(1, 2.0, 4.0), Record(60, 2.0)],
            Some((60, 4.0, 2.0)),
        ),
        (
            "the records show another setting",
            vec![Record(0, 1.5), SetBound(1, 4.0, 2.0), Record(60, 1.5)],
            None,
        ),
        (
            "told twice",
            vec![
                Record(0, 768.0),
                Set(1, 768.0, 512.0),
                Set(1, 768.0, 512.0),
                Record(60, 512.0),
                Set(1, 768.0, 512.0),
                Record(120, 512.0),
            ],
            None,
        ),
        ("nothing is known of it yet", vec![Set(1, 768.0, 512.0), Record(60, 768.0)], None),
    ] {
        check_awaited(what, &steps, want);
    }
}

#[test]
fn a_late_reading_is_nobodys_change() {
    for (what, steps, want) in [
        (
            "a late reading shows the size before once more",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 768.0), Record(70, 512.0)],
            None,
        ),
        (
            "several late readings",
            vec![
                Record(0, 768.0),
                Set(1, 768.0, 512.0),
                Record(60, 768.0),
                Record(70, 768.0),
                Record(80, 512.0),
                Record(90, 512.0),
            ],
            None,
        ),
        (
            "after a late reading it is changed by hand",
            vec![
                Record(0, 768.0),
                Set(1, 768.0, 512.0),
                Record(60, 768.0),
                Record(70, 512.0),
                Record(80, 768.0),
            ],
            Some((80, 512.0, 768.0)),
        ),
        (
            "undone, and set again when no reading is that late",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 768.0), Record(361, 512.0)],
            Some((361, 768.0, 512.0)),
        ),
        (
            "set to something that it never was before, and back",
            vec![Record(0, 768.0), Set(1, 768.0, 512.0), Record(60, 640.0), Record(70, 512.0)],
            Some((70, 640.0, 512.0)),
        ),
    ] {
        check_awaited(what, &steps, want);
    }
}

#[test]
fn a_boost_of_what_we_have_just_set_is_nobodys_will() {
    for (changes, want) in [
        (vec![(1, 768.0, 512.0, 'r'), (30, 512.0, 1024.0, 'b')], None),
        (vec![(1, 768.0, 512.0, 'r'), (30, 512.0, 1024.0, 'u')], Some((60, 512.0, 1024.0))),
    ] {
        let mut sizes = Sizes::default();
        sizes.observe(at(0), 768.0);
        sizes.note_set((at(1), at(2)), 768.0, 512.0, false);
        sizes.observe(at(60), 1024.0);
        sizes.explain(&told(&changes), at(60) + TOLD_AFTER);
        let want = want.map(|(seconds, from, size)| Manual { at: at(seconds), from, size });
        assert_eq!(sizes.manual(), want, "{changes:?}");
    }
}

#[test]
fn it_is_respected_for_a_while() {
    let mut sizes = Sizes::default();
    sizes.observe(at(0), 512.0);
    sizes.observe(at(60), 768.0);
    let manual = sizes.manual().unwrap();
    assert_eq!(manual.left(3600, at(1860)), Some(1800));
    assert_eq!(manual.left(3600, at(3660)), None);
    assert_eq!(manual.left(0, at(60)), None);
}
