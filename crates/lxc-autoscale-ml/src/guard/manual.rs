//! Detects sizes set by somebody else. Pure.
//!
//! Whoever sets a size by hand knows something that the measurements do not show: what will be installed tonight, or
//! what was slow. So the size becomes the new baseline for a while ([`super::GuardPolicy::respect_manual_seconds`]):
//! neither grown, except after running out of memory, nor shrunk.
//!
//! A change is somebody else's if two records show different sizes and none of our changes lies between them. It is also
//! somebody else's if a record does not show the size that we set: the API had read that size back, so it was changed
//! again since.
//!
//! [`Sizes`] holds what is known about one size. Two parts of it do not depend on each other. The first is what became
//! of our last change. It is either *awaited* (the API has read back the new size, and no record has shown it yet) or
//! *settled* (a record has shown what became of it, or nothing is expected of the records).
//!
//! | our last change | what comes | what follows |
//! | --- | --- | --- |
//! | any | the API carries out a change of ours | awaited; settled if the records do not follow that size |
//! | any | a change of ours may have been made | settled, and it is our last change |
//! | awaited | the API carries out our next change, from another size than the awaited one | a change is opened, from the size that we had set to that one; the next change is awaited |
//! | awaited | a record shows the awaited size | settled |
//! | awaited | a record shows another size, `SHOWN_AFTER` the change or later | a change is opened, from the size that we had set; settled |
//! | awaited | a record shows another size, earlier than that | compared with the record before, as if nothing were awaited; stays awaited |
//! | awaited | the container is pinned to CPUs | settled: its records do not show what we set |
//! | settled | a record shows the same size as the record before | nothing |
//! | settled | a record shows another size, and our last change may lie between the two | nothing |
//! | settled | a record shows another size otherwise | a change is opened |
//!
//! The second is the list of *open* changes: until the API has reported its own changes ([`super::boost`]), it is not
//! known whether somebody wanted them. The beginning and end of a boost say nothing about the time after it, and a call
//! of ours may have ended long after we were told that nobody knows whether it will. The last open change counts as
//! manual.
//!
//! | an open change | what follows |
//! | --- | --- |
//! | the size before it was shown instead of the one that we had set, and a record shows ours within `TOLD_AFTER` | dropped: the record before was read late, and nobody changed anything |
//! | the API tells that boosts and calls of ours made it | dropped |
//! | the API does not tell so, `TOLD_AFTER` the change or later | manual |
//! | the API does not tell so, earlier than that | stays open |
//! | it is the oldest of `MOST_OPEN`, and one more is opened | manual |

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

    /// Whether a record with `size`, taken at `at`, shows the size that we had set. The record before was then read late,
    /// and nobody changed anything.
    fn was_a_late_reading(&self, at: Timestamp, size: f64) -> bool {
        at <= self.manual.at + TOLD_AFTER && self.instead_of.is_some_and(|awaited| awaited.is_shown_by(size))
    }

    /// Whether the boosts and the calls of ours among `changes`, oldest first, explain the open change completely.
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
    /// The API was called after this time.
    begun: Timestamp,
    /// The API had answered by this time.
    done: Timestamp,
    /// The size as the API read it back.
    size: f64,
    /// The least size in a record that counts as `size`: another setting of the CPU may allow less than what was set.
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
    /// The size that our last change set, until a record shows what became of that change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    awaited: Option<Awaited>,
    /// When our last change that a record has shown was begun: later differences between records are not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shown: Option<Timestamp>,
    /// The last manual change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<Manual>,
    /// Changes since the last manual one of which it is not known yet whether they were boosts.
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

    /// Notes that we changed the size between the two times, or may have.
    pub fn note_ours(&mut self, begun: Timestamp, done: Timestamp) {
        if self.ours.is_none_or(|(known, _)| known <= begun) {
            self.ours = Some((begun, done));
            self.awaited = None;
        }
    }

    /// Notes that we changed the size between the two times: the API has told that it was `from` before, and has read back
    /// `size`. With `is_bound`, another setting may keep a growth from showing in full.
    pub fn note_set(&mut self, (begun, done): (Timestamp, Timestamp), from: f64, size: f64, is_bound: bool) {
        let before = self.awaited;
        if before.is_some_and(|before| before.begun == begun) || self.shown == Some(begun) {
            // The same change is noted once more, as after a crash.
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
        // If neither is `from`, another setting decides what the records show, and the new size is not awaited.
        let is_tracked = tracked.into_iter().any(|known| (known - from).abs() < SAME);
        let least = if is_bound && from < size { from + 2.0 * SAME } else { size };
        let awaited = Awaited { begun, done, size, least: least.min(size) };
        self.awaited = Some(awaited).filter(|_| is_tracked && SAME <= (from - size).abs());
    }

    /// Expects no record to show the size that we set.
    pub(super) fn expect_nothing(&mut self) {
        self.awaited = None;
    }

    /// Notes that we changed the size after `begun` and before `done`, unless that change is known more precisely.
    pub fn note_ours_roughly(&mut self, begun: Timestamp, done: Timestamp) {
        if self.ours.is_none_or(|(known, _)| known < begun) {
            self.ours = Some((begun, done));
            self.awaited = None;
        }
    }

    /// The clock was set back: times after `now` become `now`.
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
            // Whatever the times say: the clock may have been set back since the change.
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

    /// This state without the time of the newest record, which changes with every record.
    pub(super) fn timeless(&self) -> Self {
        Self { known: self.known.map(|(_, size)| (Timestamp::UNIX_EPOCH, size)), ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
