//! Checks all containers in turn, and reports each level shift once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::notification::{Kind, Notification, NotificationId, Severity, Source};
use lxc_autoscale_core::{RecordTime, Vmid};
use serde::Serialize;

use super::{Hours, Shift};
use crate::decide::{Amount, Resource};
use crate::history::{ContainerHistory, History};

/// Levels are based on hours.
const LOOK_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Most containers checked in one cycle, so that no cycle takes long.
const MOST_LOOKS: usize = 10;
/// A shift that has lasted longer when it is first seen was reported before a restart.
const NEWS_HOURS: usize = 9;
/// A smaller change is not worth anybody's attention: a twentieth of a core, and the memory of a shell.
const LEAST_CORES: f64 = 0.05;
const LEAST_MIB: f64 = 16.0;

/// A level shift of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shifted {
    /// The resource.
    pub resource: Resource,
    /// The levels, and how long it has lasted.
    #[serde(flatten)]
    pub shift: Shift,
    /// Whether it looks like an endless loop.
    pub hangs: bool,
}

/// The level shifts of a container, as known at `now`.
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

/// Which containers were checked and which shifts were reported.
#[derive(Clone, Debug, Default)]
pub struct RegimeWatch {
    looked: BTreeMap<Vmid, Timestamp>,
    /// When the shift last reported began; whether it was stuck.
    told: BTreeMap<(Vmid, Resource), (Timestamp, bool)>,
}

impl RegimeWatch {
    /// The new shifts at `now`.
    pub fn look(&mut self, history: &History, now: Timestamp) -> Vec<(Vmid, Shifted)> {
        self.looked.retain(|id, _| history.container(*id).is_some());
        self.told.retain(|(id, _), _| history.container(*id).is_some());
        let is_due = |at: &Timestamp| LOOK_EVERY <= now.duration_since(*at).abs();
        let mut due: Vec<_> =
            history.containers().filter(|(id, _)| self.looked.get(id).is_none_or(is_due)).collect();
        // Those that have waited longest come first, so that all get their turn.
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
            // The hours are counted from the newest step, so the beginning of one shift varies.
            Some((told, hung)) if told.duration_since(begun).abs() <= LOOK_EVERY * 2 => {
                shifted.hangs && !hung
            }
            _ => shifted.shift.hours <= NEWS_HOURS,
        }
    }
}

impl Shifted {
    /// The message about it.
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

    /// The notification about it; only stuck loads are worth one.
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
