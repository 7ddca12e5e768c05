//! Looks at all containers in turn, and tells of each shift of level once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::notification::{Kind, Notification, NotificationId, Severity, Source};
use lxc_autoscale_core::{RecordTime, Vmid};
use serde::Serialize;

use super::{Hours, Shift};
use crate::decide::{Amount, Resource};
use crate::history::{ContainerHistory, History};

/// A level is made of hours.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Most containers that are looked at in one cycle, so that none of them takes long.
const MOST_LOOKS: usize = 10;
/// A shift that has lasted longer when it is first seen was told of before a restart.
const NEWS_HOURS: usize = 9;
/// Less of a change is nothing anybody would look after: a twentieth of a core, and what a shell takes.
const LEAST_CORES: f64 = 0.05;
const LEAST_MIB: f64 = 16.0;

/// A level of one resource that has shifted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shifted {
    /// Of what.
    pub resource: Resource,
    /// From what to what, and for how long.
    #[serde(flatten)]
    pub shift: Shift,
    /// Whether it looks like a loop that never ends.
    pub hangs: bool,
}

/// The levels of a container that have shifted, as they are known at `now`.
pub fn shifts(container: &ContainerHistory, now: Timestamp) -> Vec<Shifted> {
    let (cpu, memory) = container.model.whole_steps(now);
    let cpu = Hours::of(&cpu);
    let of_cpu = cpu.shift(LEAST_CORES).map(|shift| Shifted {
        resource: Resource::Cpu,
        hangs: cpu.hangs_since(&shift),
        shift,
    });
    let of_memory = Hours::of(&memory).shift(LEAST_MIB);
    let of_memory = of_memory.map(|shift| Shifted { resource: Resource::Memory, shift, hangs: false });
    of_cpu.into_iter().chain(of_memory).collect()
}

/// Whom it looked at and what it told of.
#[derive(Clone, Debug, Default)]
pub struct RegimeWatch {
    looked: BTreeMap<Vmid, Timestamp>,
    /// When the shift began that was told of last; whether it hung.
    told: BTreeMap<(Vmid, Resource), (Timestamp, bool)>,
}

impl RegimeWatch {
    /// The shifts that are new at `now`.
    pub fn look(&mut self, history: &History, now: Timestamp) -> Vec<(Vmid, Shifted)> {
        self.looked.retain(|id, _| history.container(*id).is_some());
        self.told.retain(|(id, _), _| history.container(*id).is_some());
        let is_due = |at: &Timestamp| LOOK_EVERY <= now.duration_since(*at).abs();
        let mut due: Vec<_> =
            history.containers().filter(|(id, _)| self.looked.get(id).is_none_or(is_due)).collect();
        // Who waits longest comes first, so that everybody's turn comes where there are more than can be looked at.
        due.sort_by_key(|(id, _)| self.looked.get(id).copied());
        let mut new = Vec::new();
        for (id, container) in due.into_iter().take(MOST_LOOKS) {
            self.looked.insert(id, now);
            for shifted in shifts(container, now) {
                if self.is_news(id, &shifted, now) {
                    new.push((id, shifted));
                }
            }
        }
        new
    }

    fn is_news(&mut self, id: Vmid, shifted: &Shifted, now: Timestamp) -> bool {
        let hours = i64::try_from(shifted.shift.hours).unwrap_or_default();
        let Ok(begun) = now.checked_sub(SignedDuration::from_hours(hours)) else { return false };
        let known = self.told.insert((id, shifted.resource), (begun, shifted.hangs));
        match known {
            // The hours are counted from the newest step, so that the begin of one shift wanders.
            Some((told, hung)) if told.duration_since(begun).abs() <= LOOK_EVERY * 2 => {
                shifted.hangs && !hung
            }
            _ => shifted.shift.hours <= NEWS_HOURS,
        }
    }
}

impl Shifted {
    /// What there is to say about it.
    pub fn text(&self) -> String {
        let [before, after] =
            [self.shift.before, self.shift.after].map(|level| Amount::of(self.resource, level));
        let kind = match self.resource {
            Resource::Cpu => "CPU",
            Resource::Memory => "memory",
        };
        let hours = self.shift.hours;
        let hangs =
            if self.hangs { ", without any change: a loop that never ends looks like this" } else { "" };
        format!("the level of {kind} is {after} for {hours} h, {before} were expected{hangs}")
    }

    /// The notification about it; only what hangs is worth one.
    pub fn notification(&self, id: Vmid, name: Option<&str>, now: Timestamp) -> Option<Notification> {
        if !self.hangs {
            return None;
        }
        let time = RecordTime::utc(now);
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        let details = BTreeMap::from([
            ("finding".to_owned(), "stuck".into()),
            ("hours".to_owned(), self.shift.hours.into()),
            ("cores".to_owned(), self.shift.after.into()),
            ("cores_before".to_owned(), self.shift.before.into()),
        ]);
        Some(Notification {
            id: NotificationId::new(time),
            time,
            source: Source::Ml,
            severity: Severity::Warning,
            kind: Kind::Event,
            container: Some(id),
            title: format!("{id}{name}: looks stuck"),
            text: format!("In container {id}{name} {}.", self.text()),
            details,
        })
    }
}
