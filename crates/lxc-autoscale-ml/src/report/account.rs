//! The resources that one container held, used and freed in a period, and the sum of all.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

use super::baseline::Baseline;
use super::worse::{Comparison, Worse, compare};
use super::{First, Hour, Known, Made};
use crate::decide::Resource;

const MIB_PER_GIB: f64 = 1024.0;

/// One resource in a period, in core-hours or GiB-hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Held {
    /// Hours in which size and usage were measured.
    pub covered_hours: f64,
    /// With the sizes that people gave: the first known one, or what somebody else set since.
    pub provisioned: f64,
    /// With the sizes it had.
    pub held: f64,
    /// The usage.
    pub used: f64,
    /// What others' changes gave more than the first known size; negative if less.
    pub given_more: f64,
    /// The usage that the sizes that people gave would have had room for.
    #[serde(skip)]
    pub fitting: f64,
}

impl Held {
    /// The amount held less than people gave, which is what our changes freed; negative if more.
    pub fn freed(&self) -> f64 {
        self.provisioned - self.held
    }

    /// The unused share of what people gave, in percent. No more than that could have been used of it.
    pub fn slack_before_percent(&self) -> Option<f64> {
        share(self.provisioned, self.fitting)
    }

    /// The unused share of what was held, in percent.
    pub fn slack_after_percent(&self) -> Option<f64> {
        share(self.held, self.used)
    }

    fn add(&mut self, other: &Self) {
        self.covered_hours += other.covered_hours;
        self.provisioned += other.provisioned;
        self.held += other.held;
        self.used += other.used;
        self.given_more += other.given_more;
        self.fitting += other.fitting;
    }
}

fn share(held: f64, used: f64) -> Option<f64> {
    (0.0 < held).then(|| 100.0 * (1.0 - used / held))
}

/// The account of one container in a period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    /// The container; absent in the sum of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Vmid>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The first known number of cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_cores: Option<First>,
    /// The first known memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_memory_mib: Option<First>,
    /// CPU, in core-hours.
    pub cpu: Held,
    /// Memory, in GiB-hours.
    pub memory: Held,
    /// Growths that were made.
    pub grown: usize,
    /// Shrinks that were made.
    pub shrunk: usize,
    /// Of these, growths that undid a shrink.
    pub reverted: usize,
    /// Of these, changes that somebody wanted.
    pub by_people: usize,
    /// Changes that failed.
    pub failed: usize,
    /// Number of signs that could be compared with the time before our first change.
    pub compared: usize,
    /// Those that are worse since then.
    pub worse: Vec<Worse>,
}

/// The account of a container from `since` to `until`.
pub fn account(known: &Known, since: Timestamp, until: Timestamp) -> Account {
    let known = &of_its_own(known);
    let of_period = |at: i64| (since.as_second()..until.as_second()).contains(&at);
    let is_counted = |made: &&Made| !made.is_unsure && of_period(made.at.as_second());
    let made: Vec<&Made> = known.changes.iter().filter(is_counted).collect();
    let Comparison { compared, worse } = compare(known, since, until);
    Account {
        id: Some(known.id),
        name: known.name.clone(),
        first_cores: known.first_cores,
        first_memory_mib: known.first_memory,
        cpu: held(known, Resource::Cpu, of_period),
        memory: held(known, Resource::Memory, of_period),
        grown: made.iter().filter(|made| made.from < made.to).count(),
        shrunk: made.iter().filter(|made| made.to < made.from).count(),
        reverted: made.iter().filter(|made| made.is_revert).count(),
        by_people: made.iter().filter(|made| made.by_people).count(),
        failed: known.failed,
        compared,
        worse,
    }
}

/// The same without the changes before its first size, which are those of the container that had its id then.
fn of_its_own(known: &Known) -> Known {
    let is_its_own = |made: &&Made| {
        let first = match made.resource {
            Resource::Cpu => known.first_cores,
            Resource::Memory => known.first_memory,
        };
        first.is_none_or(|first| first.at <= made.at)
    };
    Known { changes: known.changes.iter().filter(is_its_own).copied().collect(), ..known.clone() }
}

/// What it held of a resource in the hours that count.
fn held(known: &Known, resource: Resource, counts: impl Fn(i64) -> bool) -> Held {
    type Of = fn(&Hour) -> Option<f64>;
    let (first, size, used, per_unit): (_, Of, Of, _) = match resource {
        Resource::Cpu => (known.first_cores, |hour| hour.cores, |hour| hour.cores_used, 1.0),
        Resource::Memory => {
            (known.first_memory, |hour| hour.memory_mib, |hour| hour.memory_used_mib, MIB_PER_GIB)
        }
    };
    let Some(first) = first else { return Held::default() };
    let changes = known.changes.iter().filter(|made| made.resource == resource);
    let given = Baseline::of(first, known.forgotten_before, changes, &known.hours, size);
    let mut sum = Held::default();
    for (hour, given) in known.hours.iter().zip(given).filter(|(hour, _)| counts(hour.start_seconds)) {
        if let (Some(size), Some(used)) = (size(hour), used(hour)) {
            sum.add(&Held {
                covered_hours: 1.0,
                provisioned: given / per_unit,
                held: size / per_unit,
                used: used / per_unit,
                given_more: (given - first.size) / per_unit,
                fitting: used.min(given) / per_unit,
            });
        }
    }
    sum
}

/// The sum of all.
pub fn total(accounts: &[Account]) -> Account {
    let (mut cpu, mut memory) = (Held::default(), Held::default());
    for account in accounts {
        cpu.add(&account.cpu);
        memory.add(&account.memory);
    }
    let sum = |of: fn(&Account) -> usize| accounts.iter().map(of).sum();
    Account {
        id: None,
        name: None,
        first_cores: None,
        first_memory_mib: None,
        cpu,
        memory,
        grown: sum(|it| it.grown),
        shrunk: sum(|it| it.shrunk),
        reverted: sum(|it| it.reverted),
        by_people: sum(|it| it.by_people),
        failed: sum(|it| it.failed),
        compared: sum(|it| it.compared),
        worse: Vec::new(),
    }
}

/// The hour of a change itself is neither before nor after it.
pub(super) fn first_change(known: &Known, resource: Resource) -> Option<i64> {
    let of_this = known.changes.iter().filter(|made| made.resource == resource && !made.is_unsure);
    of_this.map(|made| made.at.as_second()).min()
}
