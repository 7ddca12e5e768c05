//! The rules that both resources share, in the order in which they win.

use jiff::Timestamp;

use super::reason::{Amount, Reason};
use super::{Action, Decision, Mode, Resource};
use crate::recommend::{Estimate, Fact, Restlessness};

/// A growth smaller than this part of the hysteresis is noise of the estimate, not a need.
const GROWTH_HYSTERESIS: f64 = 0.25;
/// Sizes are compared with this tolerance: a millionth of a core or a MiB is rounding.
const EPSILON: f64 = 1e-6;

/// One resource of one container, with everything that bounds a change of it.
pub(super) struct Case<'a> {
    pub(super) resource: Resource,
    pub(super) mode: Mode,
    /// In the mode `approve`: running out does not wait to be accepted.
    pub(super) exempt_urgent: bool,
    pub(super) current: f64,
    pub(super) estimate: &'a Estimate,
    /// Least and most the policy allows.
    pub(super) low: f64,
    pub(super) high: f64,
    /// What else caps growth, with the reason to give when it does.
    pub(super) caps: Vec<(f64, Reason)>,
    /// Sizes are multiples of this.
    pub(super) granularity: f64,
    pub(super) max_step_up_percent: f64,
    pub(super) max_step_down_percent: f64,
    /// A step of this size is allowed whatever the percentages say.
    pub(super) least_step: f64,
    pub(super) hysteresis_percent: f64,
    pub(super) min_shrink: f64,
    pub(super) cooldown_up_seconds: u64,
    pub(super) cooldown_down_seconds: u64,
    pub(super) last_change: Option<Timestamp>,
    /// What it uses now, margin included: no shrink goes below.
    pub(super) in_use: f64,
    /// It ran out: grow to at least this, now.
    pub(super) urgent: Option<f64>,
    /// A shrink did harm: give back this size, now, with the reason.
    pub(super) undo: Option<(f64, Reason)>,
    /// No shrink below these sizes for a while, with the reasons, the strongest first.
    pub(super) held: Vec<(f64, Reason)>,
    /// No shrink with less confidence.
    pub(super) min_confidence_percent: f64,
    /// What speaks against a shrink, the strongest first.
    pub(super) vetoes: Vec<Reason>,
}

impl Case<'_> {
    pub(super) fn weigh(&self, now: Timestamp) -> Decision {
        let undo = self.undo.as_ref().map_or(0.0, |(size, _)| *size);
        let wanted = self.urgent.unwrap_or(0.0).max(undo).max(self.estimate.target);
        let target = self.round_up(wanted).clamp(self.low, self.high.max(self.low));
        let outcome = if self.current + EPSILON < target {
            self.grow(wanted, target, now)
        } else if target + EPSILON < self.current {
            self.shrink(target, now)
        } else {
            Err(self.unmoved(wanted))
        };
        let (action, to, reason) = match outcome {
            Ok((to, reason)) if self.current < to => (Action::Grow, Some(to), reason),
            Ok((to, reason)) => (Action::Shrink, Some(to), reason),
            Err(reason) => (Action::Keep, None, reason),
        };
        Decision {
            resource: self.resource,
            action,
            from: Some(self.current),
            to,
            apply: to.is_some() && self.may_act(&reason),
            reason,
            confidence_percent: self.estimate.confidence_at(self.current, to.unwrap_or(self.current)),
        }
    }

    /// Whether a change for this reason is carried out without being accepted by somebody.
    fn may_act(&self, reason: &Reason) -> bool {
        match self.mode {
            Mode::Auto => true,
            // Who accepted a shrink accepted that it is given back when it does harm.
            Mode::Approve => match reason {
                Reason::RanOutOfMemory { .. } => self.exempt_urgent,
                Reason::Undone { .. } => true,
                _ => false,
            },
            Mode::Off | Mode::Recommend => false,
        }
    }

    fn grow(&self, wanted: f64, target: f64, now: Timestamp) -> Result<(f64, Reason), Reason> {
        let cap = self.caps.iter().min_by(|a, b| a.0.total_cmp(&b.0));
        let capped = cap.map_or(target, |(most, _)| self.round_down(*most).min(target));
        if capped <= self.current + EPSILON {
            return Err(
                cap.map_or(Reason::Fits { target: self.amount(wanted) }, |(_, reason)| reason.clone())
            );
        }
        let undo = self.undo.as_ref().filter(|(size, _)| self.current + EPSILON < *size);
        if self.urgent.is_none() && undo.is_none() {
            let least = self.current * GROWTH_HYSTERESIS * self.hysteresis_percent / 100.0;
            if let Some(reason) = self.enough_all_day(least) {
                return Err(reason);
            }
            if capped.min(wanted) - self.current < least && self.low <= self.current {
                // What is left to it may be as little as what it needs.
                let cap = cap.filter(|_| capped + EPSILON < target);
                return Err(
                    cap.map_or(Reason::Fits { target: self.amount(wanted) }, |(_, reason)| reason.clone())
                );
            }
            if let Some(remaining_seconds) = self.cooling(self.cooldown_up_seconds, now) {
                return Err(Reason::CoolDownUp { remaining_seconds });
            }
        }
        let step = (self.current * self.max_step_up_percent / 100.0).max(self.least_step);
        // What it had before may be had again in one step.
        let step = step.max(undo.map_or(0.0, |(size, _)| size - self.current));
        let stepped = self.round_up(self.current + step).min(capped);
        // Where the minimum is more than it needs, the minimum is why it grows.
        let is_by_minimum = self.round_up(wanted) + EPSILON < self.low;
        let reason = match (self.urgent, undo) {
            (Some(_), _) => Reason::RanOutOfMemory { target: self.amount(wanted.max(self.low)) },
            (None, Some((_, reason))) => reason.clone(),
            (None, None) if is_by_minimum => Reason::BelowMinimum { minimum: self.amount(self.low) },
            (None, None) => Reason::NeedsMore { basis: self.estimate.basis, target: self.amount(wanted) },
        };
        Ok((stepped, reason))
    }

    /// Why a growth is not made that nothing measured asks for: all that was needed on the last day fits with its headroom,
    /// or lacks less of it than `least`, and what is foreseen fits without. The rest is the forecast's wavering, or what an
    /// expert adds after a shortage of its own size. After a random day a forecast says nothing. For CPU alone: memory that
    /// comes too late kills.
    fn enough_all_day(&self, least: f64) -> Option<Reason> {
        let fits = |enough: &f64| *enough < self.current + least;
        let enough = self.estimate.restlessness.as_ref().map(|day| day.enough).filter(fits)?;
        let is_random = self.estimate.random_day.as_ref().is_some_and(fits);
        let foreseen = self.estimate.value_of(Fact::Forecast).filter(|_| !is_random);
        let is_calm = matches!(self.estimate.basis, Fact::Forecast | Fact::RecentPeak)
            && self.estimate.value_of(Fact::ThrottledDemand).is_none()
            && self.estimate.weekly.is_none()
            && foreseen.is_none_or(|foreseen| foreseen <= self.current + EPSILON)
            && self.low <= self.current;
        let foreseen = foreseen.map(|foreseen| self.amount(foreseen));
        is_calm.then(|| Reason::EnoughAllDay { size: self.amount(enough), foreseen })
    }

    fn shrink(&self, target: f64, now: Timestamp) -> Result<(f64, Reason), Reason> {
        if let Some(veto) = self.vetoes.first() {
            return Err(veto.clone());
        }
        let floor = self.estimate.floor.max(self.in_use);
        let mut held = self.round_up(floor).max(target);
        if self.current <= held + EPSILON {
            return Err(Reason::InUse { floor: self.amount(floor) });
        }
        for (least, reason) in &self.held {
            held = held.max(self.round_up(*least));
            if self.current <= held + EPSILON {
                return Err(reason.clone());
            }
        }
        let step = (self.current * self.max_step_down_percent / 100.0).max(self.least_step);
        let stepped = self.round_up(self.current - step).max(held);
        let least = (self.current * self.hysteresis_percent / 100.0).max(self.min_shrink);
        let saving = self.current - stepped;
        if saving + EPSILON < least {
            return Err(Reason::NotWorthIt { saving: self.amount(saving), least: self.amount(least) });
        }
        let stepped = match &self.estimate.restlessness {
            Some(day) => self.lasting(stepped, least, day)?,
            None => stepped,
        };
        let percent = self.estimate.confidence_at(self.current, stepped);
        if percent < self.min_confidence_percent {
            return Err(Reason::LowConfidence { percent, needed_percent: self.min_confidence_percent });
        }
        if let Some(remaining_seconds) = self.cooling(self.cooldown_down_seconds, now) {
            return Err(Reason::CoolDownDown { remaining_seconds });
        }
        let target = self.amount(self.estimate.target);
        Ok((stepped, Reason::CanGiveBack { basis: self.estimate.basis, target }))
    }

    /// The size itself if it would not soon be outgrown, or else the smallest larger one that would not and still saves
    /// at least `least`. A container above its maximum comes back to it in any case.
    fn lasting(&self, size: f64, least: f64, day: &Restlessness) -> Result<f64, Reason> {
        let pays = |size: f64| day.pays(self.current, size);
        if pays(size) {
            return Ok(size);
        }
        let larger = day.sizes().map(|larger| self.round_up(larger));
        let most = self.high.min(self.current - least) + EPSILON;
        let larger = larger.filter(|larger| size < *larger && *larger <= most);
        if let Some(larger) = larger.filter(|larger| pays(*larger)).min_by(f64::total_cmp) {
            return Ok(larger);
        }
        if self.high + EPSILON < self.current {
            return Ok(size.max(self.high));
        }
        let minutes = day.lasted(size).unwrap_or_default() * 60.0;
        Err(Reason::Restless { size: self.amount(size), minutes })
    }

    /// Why it stays where it is although nothing forbade a change.
    fn unmoved(&self, wanted: f64) -> Reason {
        if self.high + EPSILON < wanted {
            Reason::AtMaximum { maximum: self.amount(self.high) }
        } else if wanted + self.granularity < self.low {
            Reason::AtMinimum { minimum: self.amount(self.low) }
        } else {
            Reason::Fits { target: self.amount(wanted) }
        }
    }

    /// Seconds of a cool-down that remain since the last change in either direction.
    fn cooling(&self, cooldown_seconds: u64, now: Timestamp) -> Option<u64> {
        // A change that lies ahead is one of now: by more than clocks differ it is set back where it is remembered.
        let elapsed = u64::try_from(now.duration_since(self.last_change?).as_secs()).unwrap_or(0);
        Some(cooldown_seconds.saturating_sub(elapsed)).filter(|remaining| 0 < *remaining)
    }

    fn amount(&self, value: f64) -> Amount {
        Amount::of(self.resource, value)
    }

    fn round_up(&self, value: f64) -> f64 {
        (value / self.granularity - EPSILON).ceil() * self.granularity
    }

    fn round_down(&self, value: f64) -> f64 {
        (value / self.granularity + EPSILON).floor() * self.granularity
    }
}
