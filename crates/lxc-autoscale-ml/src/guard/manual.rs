//! Notices sizes that somebody else set. Pure.
//!
//! Whoever sets a size by hand knows something that the measurements do not: what will be installed tonight,
//! or what was slow. So the size becomes the new baseline for a while
//! ([`super::GuardPolicy::respect_manual_seconds`]): neither grown, except after running out of memory, nor
//! shrunk. A change is somebody else's when two records show different sizes and none of our changes lies
//! between them. It stays open whose until the API has told what it did ([`super::boost`]): beginning and end of a
//! boost are nobody's will about the time after it. What is open counts as set by hand.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::boost::ApiChange;
use crate::clock;

/// A record may have been taken this long before the configuration in it was read, or after: what we set around
/// the time of a record may or may not show in it.
const SLACK: SignedDuration = SignedDuration::from_secs(5);
/// Sizes that differ by less are the same: `cpulimit` has two digits.
pub(super) const SAME: f64 = 0.005;
/// The API has written down what it did at most this long after it shows in a record.
const TOLD_AFTER: SignedDuration = SignedDuration::from_mins(5);
/// Changes that are open at a time; more are made only while the API cannot be asked, and the oldest counts as set by hand.
const MOST_OPEN: usize = 8;

/// A size that somebody else set.
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
    /// How much remains of `seconds` for which it is respected, in seconds; `None` when nothing does.
    pub fn left(&self, seconds: u64, now: Timestamp) -> Option<u64> {
        let age = u64::try_from(now.duration_since(self.at).as_secs()).unwrap_or(0);
        Some(seconds.saturating_sub(age)).filter(|left| 0 < *left)
    }
}

/// A change by somebody else of which the API has not told yet whether it was a boost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    /// When the size before was seen last.
    since: Timestamp,
    #[serde(flatten)]
    manual: Manual,
}

impl Open {
    /// Whether it comes from the boosts among `changes`, the oldest first, and from nothing else.
    fn is_boost(&self, changes: &[ApiChange]) -> bool {
        let Manual { at, from, size } = self.manual;
        let mut has = from;
        for change in changes.iter().filter(|it| self.since - SLACK <= it.at && it.at <= at + TOLD_AFTER) {
            let (Some(before), Some(after)) = (change.before, change.after) else { continue };
            if SAME <= (before - has).abs() {
                continue;
            }
            if !change.by_boost {
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

/// What is known about the size of one resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// The size in the newest record that shows one, and when that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<(Timestamp, f64)>,
    /// When we changed it last: the API was asked after the first and had answered by the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ours: Option<(Timestamp, Timestamp)>,
    /// The last change by hand.
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

    /// Whether the API is to be asked what it did.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes in the changes of this size, the oldest first, that the API told of at `asked`; returns the last one that is
    /// known to have been made by hand now.
    pub fn explain(&mut self, changes: &[ApiChange], asked: Timestamp) -> Option<Manual> {
        let mut by_hand = None;
        for open in std::mem::take(&mut self.open) {
            if open.is_boost(changes) {
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
        }
    }

    /// Notes that we changed it after `begun` and before `done`, where nothing better is known of that change.
    pub fn note_ours_roughly(&mut self, begun: Timestamp, done: Timestamp) {
        if self.ours.is_none_or(|(known, _)| known < begun) {
            self.ours = Some((begun, done));
        }
    }

    /// The clock was set back: what lies ahead of `now` was now.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        if let Some((at, _)) = &mut self.known {
            clock::set_back(at, now);
        }
        if let Some((begun, done)) = &mut self.ours {
            clock::set_back(begun, now);
            clock::set_back(done, now);
        }
        for manual in self.manual.iter_mut().chain(self.open.iter_mut().map(|open| &mut open.manual)) {
            clock::set_back(&mut manual.at, now);
        }
        for open in &mut self.open {
            clock::set_back(&mut open.since, now);
        }
    }

    /// Takes in the size that a record taken at `at` shows; returns a change that counts as made by hand from now on.
    pub fn observe(&mut self, at: Timestamp, size: f64) -> Option<Manual> {
        let mut by_hand = None;
        if let Some((known_at, known)) = self.known
            && SAME <= (known - size).abs()
        {
            let is_ours =
                self.ours.is_some_and(|(begun, done)| known_at - SLACK <= done && begun <= at + SLACK);
            if !is_ours {
                if self.open.len() == MOST_OPEN {
                    by_hand = Some(self.open.remove(0).manual);
                }
                self.open.push(Open { since: known_at, manual: Manual { at, from: known, size } });
            }
        }
        self.known = Some((at, size));
        self.manual = by_hand.or(self.manual);
        by_hand
    }

    /// The same without the time of the newest record, which moves with every one.
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

    /// Records (time, size), and the times of our own changes; what was set by hand, if anything.
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
        // The first size that is seen was not set by anybody we know of.
        check(&[(0, 512.0)], &[], None);
        check(&[(0, 1.0), (60, 1.001)], &[], None);
        // The API took its time: records before its answer show the old size.
        let mut sizes = Sizes::default();
        sizes.note_ours(at(1), at(41));
        for (seconds, size) in [(0, 512.0), (20, 512.0), (38, 512.0), (50, 768.0)] {
            sizes.observe(at(seconds), size);
        }
        assert_eq!(sizes.manual(), None);
    }

    /// Changes of the API: (time, before, after), with a `b` where it was a boost or its end.
    fn told(changes: &[(i64, f64, f64, char)]) -> Vec<ApiChange> {
        let change = |(seconds, before, after, kind): &(i64, f64, f64, char)| ApiChange {
            at: at(*seconds),
            before: Some(*before),
            after: Some(*after),
            by_boost: *kind == 'b',
        };
        changes.iter().map(change).collect()
    }

    #[test]
    fn what_the_api_did_for_a_boost_is_nobodys_will() {
        for (records, changes, want) in [
            // Begin, and begin and end.
            (vec![(0, 2.0), (60, 8.0)], vec![(30, 2.0, 8.0, 'b')], None),
            (vec![(0, 2.0), (60, 8.0), (120, 2.0)], vec![(30, 2.0, 8.0, 'b'), (90, 8.0, 2.0, 'b')], None),
            // Two boosts between two records, and one that was written down after the record.
            (vec![(0, 2.0), (60, 8.0)], vec![(20, 2.0, 4.0, 'b'), (62, 4.0, 8.0, 'b')], None),
            // An undo, a request and a change past the API are somebody's.
            (vec![(0, 8.0), (60, 2.0)], vec![(30, 8.0, 2.0, 'u')], Some((60, 8.0, 2.0))),
            (vec![(0, 2.0), (60, 8.0)], vec![(20, 2.0, 4.0, 'o'), (30, 4.0, 8.0, 'b')], Some((60, 2.0, 8.0))),
            (vec![(0, 2.0), (60, 3.0)], vec![], Some((60, 2.0, 3.0))),
            // A boost of another time, or to another size, explains nothing.
            (vec![(600, 2.0), (660, 8.0)], vec![(30, 2.0, 8.0, 'b')], Some((660, 2.0, 8.0))),
            (vec![(0, 2.0), (60, 6.0)], vec![(30, 2.0, 8.0, 'b')], Some((60, 2.0, 6.0))),
            // What was set by hand before a boost is respected after it.
            (
                vec![(0, 1.0), (60, 2.0), (120, 8.0), (180, 2.0)],
                vec![(100, 2.0, 8.0, 'b'), (150, 8.0, 2.0, 'b')],
                Some((60, 1.0, 2.0)),
            ),
            // What was set by hand during a boost, too.
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
            // Until the API can be asked, all of it counts as set by hand.
            assert!(sizes.is_open() && sizes.manual().is_some());
            sizes.explain(&told(&changes), at(newest + 1));
            let want = want.map(|(seconds, from, size)| Manual { at: at(seconds), from, size });
            assert_eq!(sizes.manual(), want, "{records:?} {changes:?}");
            // It is asked again only as long as the API may not have written it down yet.
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
        // As the version before kept it.
        let text = r#"{"known":["2027-01-15T08:00:00Z",2.0],
            "manual":{"at":"2027-01-15T08:00:00Z","from":1.0,"size":2.0}}"#;
        let sizes: Sizes = serde_json::from_str(text).unwrap();
        assert_eq!(sizes.manual(), Some(Manual { at: at(0), from: 1.0, size: 2.0 }));
        assert!(!sizes.is_open());
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
