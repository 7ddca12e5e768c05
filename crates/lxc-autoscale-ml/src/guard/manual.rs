//! Notices sizes that somebody else set. Pure.
//!
//! Whoever sets a size by hand knows something that the measurements do not: what will be installed tonight,
//! or what was slow. So the size becomes the new baseline for a while
//! ([`super::GuardPolicy::respect_manual_seconds`]): neither grown, except after running out of memory, nor
//! shrunk. A change is somebody else's when two records show different sizes and none of our changes lies
//! between them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock;

/// A record may have been taken this long before the configuration in it was read, or after: what we set around
/// the time of a record may or may not show in it.
const SLACK: SignedDuration = SignedDuration::from_secs(5);
/// Sizes that differ by less are the same: `cpulimit` has two digits.
const SAME: f64 = 0.005;

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

/// What is known about the size of one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sizes {
    /// The size in the newest record that shows one, and when that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<(Timestamp, f64)>,
    /// When we changed it last: the API was asked after the first and had answered by the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ours: Option<(Timestamp, Timestamp)>,
    /// The last change by somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
}

impl Sizes {
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
        if let Some(manual) = &mut self.manual {
            clock::set_back(&mut manual.at, now);
        }
    }

    /// Takes in the size that a record taken at `at` shows.
    pub fn observe(&mut self, at: Timestamp, size: f64) {
        if let Some((known_at, known)) = self.known
            && SAME <= (known - size).abs()
        {
            let is_ours =
                self.ours.is_some_and(|(begun, done)| known_at - SLACK <= done && begun <= at + SLACK);
            if !is_ours {
                self.manual = Some(Manual { at, from: known, size });
            }
        }
        self.known = Some((at, size));
    }

    /// The same without the time of the newest record, which moves with every one.
    pub(super) fn timeless(self) -> Self {
        Self { known: self.known.map(|(_, size)| (Timestamp::UNIX_EPOCH, size)), ..self }
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
        assert_eq!(sizes.manual, want, "{records:?} {ours:?}");
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
        assert_eq!(sizes.manual, None);
    }

    #[test]
    fn it_is_respected_for_a_while() {
        let mut sizes = Sizes::default();
        sizes.observe(at(0), 512.0);
        sizes.observe(at(60), 768.0);
        let manual = sizes.manual.unwrap();
        assert_eq!(manual.left(3600, at(1860)), Some(1800));
        assert_eq!(manual.left(3600, at(3660)), None);
        assert_eq!(manual.left(0, at(60)), None);
    }
}
