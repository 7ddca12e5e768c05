//! Changes that the API refused, and when they are requested again. Pure.
//!
//! The reason of a refusal seldom disappears within a minute: a backup holds the container, the working set has grown,
//! the storage is away. Repeating the request in every cycle would only fill two logs, so the back-off doubles with
//! every refusal in a row. A change in the other direction is requested at once, and so is what a container lacks at this
//! moment. A container that something else is just being done to is asked about again a minute later each time: how long
//! that takes says nothing about us.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;

use crate::decide::{Action, Decision, Reason, Resource};

/// Back-off after the first refusal, and the longest.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// Recent refusals by the API.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<(Vmid, Resource), Refusal>);

#[derive(Debug)]
struct Refusal {
    action: Action,
    error: String,
    at: Timestamp,
    pause: SignedDuration,
}

impl Refusals {
    /// Why `decision` is not requested at `now`; `None` when it is.
    pub fn hold(&self, vmid: Vmid, decision: &Decision, now: Timestamp) -> Option<String> {
        if is_urgent(decision) {
            return None;
        }
        let refusal = self.0.get(&(vmid, decision.resource)).filter(|it| it.action == decision.action)?;
        // The absolute value, so that it does not hold for ever after the clock was set back.
        let left = refusal.pause - now.duration_since(refusal.at).abs();
        let error = &refusal.error;
        left.is_positive().then(|| format!("not asked again for another {} s: {error}", left.as_secs()))
    }

    /// Notes that `decision` was refused at `now`, and whether only because the container was `busy`; returns whether that
    /// is new.
    pub fn note(
        &mut self,
        vmid: Vmid,
        decision: &Decision,
        (error, busy): (&str, bool),
        now: Timestamp,
    ) -> bool {
        let key = (vmid, decision.resource);
        let before = self.0.get(&key).filter(|before| before.action == decision.action);
        // What is urgent is asked for in every cycle, and the growth that follows it must not wait for that.
        let lengthens = !busy && !is_urgent(decision);
        let longer = |before: &Refusal| (before.pause * 2).min(LONGEST_PAUSE);
        let pause = before.filter(|_| lengthens).map_or(FIRST_PAUSE, longer);
        let is_news = before.is_none_or(|before| before.error != error);
        self.0.insert(key, Refusal { action: decision.action, error: error.to_owned(), at: now, pause });
        is_news
    }

    /// Notes that a change of `resource` was made.
    pub fn is_over(&mut self, vmid: Vmid, resource: Resource) {
        self.0.remove(&(vmid, resource));
    }
}

/// Whether the container lacks something at this moment: it ran out of memory, or a shrink did harm.
pub(crate) fn is_urgent(decision: &Decision) -> bool {
    let is_wanted = matches!(decision.reason, Reason::RanOutOfMemory { .. } | Reason::Undone { .. });
    decision.action == Action::Grow && is_wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Amount;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    fn memory(action: Action, reason: Reason) -> Decision {
        Decision {
            resource: Resource::Memory,
            action,
            from: Some(1024.0),
            to: Some(768.0),
            apply: true,
            reason,
            confidence_percent: 90.0,
        }
    }

    #[test]
    fn a_refusal_is_news_once_and_asked_for_ever_more_rarely() {
        let vmid = Vmid::try_from(104).unwrap();
        let target = Amount::Mib(700.0);
        let shrink = memory(Action::Shrink, Reason::NotMeasuredSince);
        let grow = memory(Action::Grow, Reason::BelowMinimum { minimum: target });
        let urgent = memory(Action::Grow, Reason::RanOutOfMemory { target });
        let mut refusals = Refusals::default();
        let (mut asked, mut news) = (Vec::new(), 0);
        for minute in 0..400 {
            if refusals.hold(vmid, &shrink, at(minute)).is_none() {
                asked.push(minute);
                news += i32::from(refusals.note(vmid, &shrink, ("below the working set", false), at(minute)));
            }
        }
        assert_eq!((asked, news), (vec![0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363], 1));
        assert_eq!(
            refusals.hold(vmid, &shrink, at(403)).as_deref(),
            Some("not asked again for another 1200 s: below the working set")
        );
        assert_eq!(refusals.hold(vmid, &grow, at(403)), None, "another direction");
        assert!(refusals.note(vmid, &grow, ("too little storage", false), at(403)));
        assert!(refusals.hold(vmid, &grow, at(403)).is_some());
        assert_eq!(refusals.hold(vmid, &urgent, at(403)), None, "running out of memory does not wait");
        refusals.is_over(vmid, Resource::Memory);
        assert_eq!(refusals.hold(vmid, &grow, at(403)), None);
    }

    #[test]
    fn what_is_urgent_or_meets_a_busy_container_makes_nothing_wait_longer() {
        let vmid = Vmid::try_from(104).unwrap();
        let target = Amount::Mib(700.0);
        let grow = memory(Action::Grow, Reason::BelowMinimum { minimum: target });
        let urgent = memory(Action::Grow, Reason::RanOutOfMemory { target });
        let mut refusals = Refusals::default();
        // It ran out of memory, and the node had none for five minutes.
        for minute in 0..=5 {
            assert_eq!(refusals.hold(vmid, &urgent, at(minute)), None);
            refusals.note(vmid, &urgent, ("too little memory", false), at(minute));
        }
        assert_eq!(refusals.hold(vmid, &grow, at(6)), None, "the growth after it waits a minute");
        for minute in 6..26 {
            assert_eq!(refusals.hold(vmid, &grow, at(minute)), None, "a copy of it is being made");
            refusals.note(vmid, &grow, ("change in progress", true), at(minute));
        }
    }
}
