//! Detects sizes set by somebody else. Pure.
//!
//! Whoever sets a size by hand knows something that the measurements do not show: what will be installed tonight, or
//! what was slow. So the size becomes the new baseline for a while ([`super::GuardPolicy::respect_manual_seconds`]):
//! neither grown, except after running out of memory, nor shrunk. A change is somebody else's if two records show
//! different sizes and none of our changes lies between them, or if a record does not show the size that we set: the
//! API had read that size back, so somebody has changed it again since. If a later record shows our size after all, the
//! one before it was read late, and nobody changed anything. A change stays open until the API has reported its own
//! changes ([`super::boost`]): the beginning and end of a boost say nothing about the time after it, and a call of ours
//! may have ended long after we were told that nobody knows whether it will. An open change counts as manual.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::boost::ApiChange;
use crate::clock;

/// The configuration in a record may have been read this long before or after the record's time: a change of ours
/// around that time may or may not show in it.
const SLACK: SignedDuration = SignedDuration::from_secs(5);
/// A record that is this much later than a change of ours shows it: the monitor reads the settings of a container that
/// does nothing every ten seconds (`collection.full_look_seconds`), and [`SLACK`] counts, too.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Sizes that differ by less are equal: `cpulimit` has two digits.
pub(super) const SAME: f64 = 0.005;
/// The API has recorded a change at most this long after it shows in a record.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// Most open changes; there are more only while the API cannot be asked, and then the oldest counts as manual.
const MOST_OPEN: usize = 8;

/// A size set by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manual {
    /// When it was first seen.
    pub at: Timestamp,
    /// The size before, in cores or MiB.
    pub from: f64,
    /// The size it was set to.
    pub size: f64,
}

impl Manual {
    /// How much of the `seconds` of respect remains, in seconds; `None` when they are over.
    pub fn left(&self, seconds: u64, now: Timestamp) -> Option<u64> {
        let age = u64::try_from(now.duration_since(self.at).as_secs()).unwrap_or(0);
        Some(seconds.saturating_sub(age)).filter(|left| 0 < *left)
    }
}

/// A change by somebody else of which it is not known yet whether it was a boost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    /// When the size before was last seen.
    since: Timestamp,
    #[serde(flatten)]
    manual: Manual,
    /// The size that we had set, if the record showed the one before it instead: it may have been read too early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instead_of: Option<Awaited>,
}

impl Open {
    fn new(since: Timestamp, manual: Manual) -> Self {
        Self { since, manual, instead_of: None }
    }

    /// Whether a record with `size`, taken at `at`, shows what we had set: the record before was read late, and nobody
    /// changed anything.
    fn was_a_late_reading(&self, at: Timestamp, size: f64) -> bool {
        at <= self.manual.at + TOLD_AFTER && self.instead_of.is_some_and(|awaited| awaited.is_shown_by(size))
    }

    /// Whether it was made by the boosts and by what we asked for among `changes`, oldest first, and by nothing else.
    fn is_nobodys_will(&self, changes: &[ApiChange]) -> bool {
        let Manual { at, from, size } = self.manual;
        let mut has = from;
        for change in changes.iter().filter(|it| self.since - SLACK <= it.at && it.at <= at + TOLD_AFTER) {
            let (Some(before), Some(after)) = (change.before, change.after) else { continue };
            if SAME <= (before - has).abs() {
                continue;
            }
            if !change.by_boost && !change.by_us {
                return false;
            }
            has = after;
            if (has - size).abs() < SAME {
                return true;
            }
        }
        false
    }
}

/// A size that we set and that no record has shown yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Awaited {
    /// The API was called after this.
    begun: Timestamp,
    /// It had answered by this.
    done: Timestamp,
    /// The size as the API read it back.
    size: f64,
    /// The least that a record may show for it: another setting of the CPU may allow less than what was set.
    least: f64,
}

impl Awaited {
    fn is_shown_by(&self, size: f64) -> bool {
        self.least - SAME < size && size < self.size + SAME
    }
}

/// What is known about the size of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// The size in the newest record that shows one, and the time of that record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<(Timestamp, f64)>,
    /// Our last change: the API was called after the first time and had answered by the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ours: Option<(Timestamp, Timestamp)>,
    /// The size that it set, until a record shows what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaited: Option<Awaited>,
    /// When our last change that a record has shown was begun: what changes after it is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Timestamp>,
    /// The last manual change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<Manual>,
    /// Changes since then that may have been boosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open: Vec<Open>,
}

impl Sizes {
    /// The last change by somebody else that is not known to have been a boost.
    pub fn manual(&self) -> Option<Manual> {
        self.open.last().map(|open| open.manual).or(self.manual)
    }

    /// Whether no size was seen yet, and none set by us.
    pub(super) fn is_unknown(&self) -> bool {
        self.known.is_none() && self.ours.is_none()
    }

    /// Whether the API needs to be asked about changes.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes in the changes of this size, oldest first, that the API reported at `asked`; returns the last one that is
    /// now known to be manual.
    pub fn explain(&mut self, changes: &[ApiChange], asked: Timestamp) -> Option<Manual> {
        let mut by_hand = None;
        for open in std::mem::take(&mut self.open) {
            if open.is_nobodys_will(changes) {
                continue;
            }
            if open.manual.at + TOLD_AFTER <= asked {
                by_hand = Some(open.manual);
            } else {
                self.open.push(open);
            }
        }
        self.manual = by_hand.or(self.manual);
        by_hand
    }

    /// Notes that we changed it between the two times, or may have.
    pub fn note_ours(&mut self, begun: Timestamp, done: Timestamp) {
        if self.ours.is_none_or(|(known, _)| known <= begun) {
            self.ours = Some((begun, done));
            self.awaited = None;
        }
    }

    /// The same where the API has told that it was `from` until then, and read back `size`. With `is_bound`, another
    /// setting may keep a growth from showing in full.
    pub fn note_set(&mut self, (begun, done): (Timestamp, Timestamp), from: f64, size: f64, is_bound: bool) {
        let before = self.awaited;
        if before.is_some_and(|before| before.begun == begun) || self.shown == Some(begun) {
            // It is told once more, as after a crash.
            return;
        }
        self.note_ours(begun, done);
        if self.ours != Some((begun, done)) {
            return;
        }
        if let (Some(before), Some((at, _))) = (before, self.known)
            && !before.is_shown_by(from)
        {
            // The API carries out a change only from the size that it names, so somebody had changed ours already.
            self.open(Open::new(before.begun, Manual { at, from: before.size, size: from }));
        }
        let tracked = self.known.map(|(_, known)| known).into_iter().chain(before.map(|before| before.size));
        // Where another setting decides what a record shows, nothing can be expected of it.
        let is_tracked = tracked.into_iter().any(|known| (known - from).abs() < SAME);
        let least = if is_bound && from < size { from + 2.0 * SAME } else { size };
        let awaited = Awaited { begun, done, size, least: least.min(size) };
        self.awaited = Some(awaited).filter(|_| is_tracked && SAME <= (from - size).abs());
    }

    /// Expects no record to show the size that we set.
    pub(super) fn expect_nothing(&mut self) {
        self.awaited = None;
    }

    /// Notes that we changed it after `begun` and before `done`, if nothing more precise is known of that change.
    pub fn note_ours_roughly(&mut self, begun: Timestamp, done: Timestamp) {
        if self.ours.is_none_or(|(known, _)| known < begun) {
            self.ours = Some((begun, done));
            self.awaited = None;
        }
    }

    /// The clock was set back: what lies after `now` was now.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        if let Some((at, _)) = &mut self.known {
            clock::set_back(at, now);
        }
        if let Some((begun, done)) = &mut self.ours {
            clock::set_back(begun, now);
            clock::set_back(done, now);
        }
        if let Some(Awaited { begun, done, .. }) = &mut self.awaited {
            clock::set_back(begun, now);
            clock::set_back(done, now);
        }
        if let Some(begun) = &mut self.shown {
            clock::set_back(begun, now);
        }
        for manual in self.manual.iter_mut().chain(self.open.iter_mut().map(|open| &mut open.manual)) {
            clock::set_back(&mut manual.at, now);
        }
        for open in &mut self.open {
            clock::set_back(&mut open.since, now);
            if let Some(Awaited { begun, done, .. }) = &mut open.instead_of {
                clock::set_back(begun, now);
                clock::set_back(done, now);
            }
        }
    }

    /// Takes in the size in a record taken at `at`; returns a change that counts as manual from now on.
    pub fn observe(&mut self, at: Timestamp, size: f64) -> Option<Manual> {
        let is_late = self.open.last().is_some_and(|open| open.was_a_late_reading(at, size));
        let by_hand = match self.awaited {
            _ if is_late => {
                self.open.pop();
                None
            }
            // Whatever the clocks say, which may have been set back since.
            Some(awaited) if awaited.is_shown_by(size) => {
                (self.awaited, self.shown) = (None, Some(awaited.begun));
                None
            }
            Some(awaited) if awaited.done + SHOWN_AFTER <= at => {
                (self.awaited, self.shown) = (None, Some(awaited.begun));
                let is_as_before = self.known.is_some_and(|(_, known)| (known - size).abs() < SAME);
                let open = Open::new(awaited.begun, Manual { at, from: awaited.size, size });
                self.open(Open { instead_of: Some(awaited).filter(|_| is_as_before), ..open })
            }
            _ => self.compare(at, size),
        };
        self.known = Some((at, size));
        by_hand
    }

    /// Compares the size with that of the record before.
    fn compare(&mut self, at: Timestamp, size: f64) -> Option<Manual> {
        let (known_at, known) = self.known.filter(|(_, known)| SAME <= (known - size).abs())?;
        let is_ours = self.ours.is_some_and(|(begun, done)| {
            known_at - SLACK <= done && begun <= at + SLACK && self.shown != Some(begun)
        });
        if is_ours {
            return None;
        }
        self.open(Open::new(known_at, Manual { at, from: known, size }))
    }

    /// Takes in a change by somebody else; returns the oldest open one, which counts as manual, if there are too many.
    fn open(&mut self, open: Open) -> Option<Manual> {
        let is_full = self.open.len() == MOST_OPEN;
        let by_hand = is_full.then(|| self.open.remove(0).manual);
        self.open.push(open);
        self.manual = by_hand.or(self.manual);
        by_hand
    }

    /// The same without the time of the newest record, which changes with every record.
    pub(super) fn timeless(&self) -> Self {
        Self { known: self.known.map(|(_, size)| (Timestamp::UNIX_EPOCH, size)), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
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
            (
                vec![(0, 2.0), (600, 4.0)],
                vec![(580, 2.0, 3.0, 'd'), (590, 3.0, 4.0, 'r')],
                Some((600, 2.0, 4.0)),
            ),
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
}
