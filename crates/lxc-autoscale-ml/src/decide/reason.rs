//! Why a decision is what it is, with the numbers.

mod words;

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

use super::{CpuControl, Resource};
use crate::guard::disturbance::Disturbance;
use crate::guard::symptom::Symptom;
use crate::recommend::Fact;

/// How much of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// CPU, in cores.
    Cores(f64),
    /// Memory, in MiB.
    Mib(f64),
}

impl Amount {
    /// So much of `resource`.
    pub fn of(resource: Resource, value: f64) -> Self {
        match resource {
            Resource::Cpu => Self::Cores(value),
            Resource::Memory => Self::Mib(value),
        }
    }
}

/// Why a decision is what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// The policy does not decide about the resource.
    ModeOff,
    /// The configuration leaves the container alone.
    Ignored,
    /// Nobody knows what its policies allow.
    PolicyUnclear {
        /// Why.
        why: String,
    },
    /// The container does not run.
    Stopped,
    /// The container is a template.
    Template,
    /// Proxmox holds a lock on it.
    Locked {
        /// The lock.
        lock: String,
    },
    /// It carries the tag that keeps us away.
    TaggedOff {
        /// The tag.
        tag: String,
    },
    /// It is pinned to CPUs, and Proxmox ignores `cores`.
    Pinned {
        /// The CPUs.
        cpus: String,
    },
    /// What it has could not be read.
    AllocationUnknown,
    /// Nothing was observed.
    NoObservation,
    /// The latest observation is too old.
    Stale {
        /// Its age, in seconds.
        age_seconds: i64,
        /// The most allowed, in seconds.
        max_seconds: u64,
    },
    /// The latest observation lacks the use of the resource.
    UseUnknown,
    /// Nothing has been learnt about the resource yet.
    NoRecommendation,

    /// It needs more.
    NeedsMore {
        /// The evidence.
        basis: Fact,
        /// What it should have.
        target: Amount,
    },
    /// It has less than the policy allows, whatever it needs.
    BelowMinimum {
        /// The least.
        minimum: Amount,
    },
    /// It ran out of memory.
    RanOutOfMemory {
        /// What it should have.
        target: Amount,
    },
    /// It can give back.
    CanGiveBack {
        /// The evidence.
        basis: Fact,
        /// What it should have.
        target: Amount,
    },

    /// It has what it should have.
    Fits {
        /// What it should have.
        target: Amount,
    },
    /// It needs more and has the most the policy allows.
    AtMaximum {
        /// The most.
        maximum: Amount,
    },
    /// It could give back and has the least the policy allows.
    AtMinimum {
        /// The least.
        minimum: Amount,
    },
    /// It needs more and its other CPU setting would hold it back anyway.
    OtherSettingBinds {
        /// `cores`, `cpulimit` or the pinned CPUs.
        setting: SettingName,
        /// Its value.
        value: Amount,
    },
    /// It needs more and the node has no more CPUs.
    NodeCpus {
        /// CPUs of the node.
        cpus: u32,
    },
    /// It needs more and the node has no memory to spare.
    NodeMemory {
        /// Memory available, in MiB.
        available: Amount,
        /// Memory kept back, in MiB.
        reserve: Amount,
    },
    /// It needs more and the node's resources could not be read.
    NodeUnknown,
    /// It needs more, too soon after its last change.
    CoolDownUp {
        /// Time left, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, too soon after its last change.
    CoolDownDown {
        /// Time left, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, and is not known long enough.
    ShortHistory {
        /// Time observed, in seconds.
        seconds: u64,
        /// Time needed, in seconds.
        needed_seconds: u64,
    },
    /// It could give back, and recommendations for it often failed.
    LowConfidence {
        /// The confidence.
        percent: f64,
        /// The least.
        needed_percent: f64,
    },
    /// The container could give back, but nothing was measured since its last change.
    NotMeasuredSince,
    /// It could give back, and behaves unusually.
    Anomalous {
        /// Its score.
        score: f64,
    },
    /// It could give back, and was cut off a moment ago.
    JustCutOff,
    /// It could give back, and nothing tells whether it is short of memory.
    PressureUnknown,
    /// It could give back, and tasks wait for memory.
    UnderPressure {
        /// Share of the time, in percent.
        percent: f64,
        /// The most allowed.
        max_percent: f64,
    },
    /// The container could give back, but uses too much at present.
    InUse {
        /// What it uses, margin included.
        floor: Amount,
    },
    /// It could give back, and used more than that on its first day.
    UsedBefore {
        /// How long it is known, in seconds.
        known_seconds: u64,
        /// The highest use seen.
        seen: Amount,
    },
    /// It could give back too little to be worth a change.
    NotWorthIt {
        /// What it could give back.
        saving: Amount,
        /// The least that is worth a change.
        least: Amount,
    },
    /// All that was measured on the last day fits with its headroom.
    EnoughAllDay {
        /// What was enough all day, headroom included.
        size: Amount,
        /// What is foreseen, without headroom, which fits as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        foreseen: Option<Amount>,
    },
    /// It could give back, and such a size was soon outgrown, again and again, on the last day.
    Restless {
        /// The size.
        size: Amount,
        /// For how long it was enough on average.
        minutes: f64,
    },
    /// It could give back, and its use on the last day came at random.
    Random {
        /// What was enough all day but for levels that lasted, headroom included.
        size: Amount,
    },

    /// The newest measurement says nothing about it.
    Disturbed {
        /// Why not.
        disturbance: Disturbance,
    },
    /// Somebody else set its size lately.
    SetByHand {
        /// What it had before.
        from: Amount,
        /// What it was set to.
        size: Amount,
        /// Which of the two settings of the CPU was changed; `None` of memory, and where the sizes do not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        setting: Option<CpuControl>,
        /// Time for which that is respected, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, and a boost is on.
    Boosted {
        /// What it is raised to.
        size: Amount,
        /// Time until it ends, in seconds.
        remaining_seconds: u64,
    },
    /// The last shrink did harm and is undone.
    Undone {
        /// What got worse.
        symptom: Symptom,
    },
    /// It could give back, and what came of the last shrink is still being watched.
    Watched {
        /// Measurements without harm.
        samples: u32,
        /// Measurements needed.
        needed_samples: u32,
        /// Time it is watched at least, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, and the last shrinks did harm.
    BackingOff {
        /// What got worse.
        symptom: Symptom,
        /// The number of such shrinks in a row.
        count: u32,
        /// Time left, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, and the last shrinks were taken back before they had paid.
    Unpaid {
        /// How many shrinks were recently reversed before they paid off; each one that paid off halves the number.
        count: u32,
        /// Time left, in seconds.
        remaining_seconds: u64,
    },
    /// It could give back, and less than it has proved too little.
    TooSmallBefore {
        /// The size that proved too small.
        size: Amount,
        /// What got worse.
        symptom: Symptom,
    },
    /// It needs more, and leaks.
    Leaking {
        /// How fast.
        mib_per_hour: f64,
        /// The most it is given.
        most: Amount,
        /// Time until it is full, in seconds.
        full_seconds: i64,
    },
    /// It ran out of memory again and again, and was given more each time.
    RunsOutAgain {
        /// How often.
        times: u32,
        /// The most it is given.
        most: Amount,
    },
    /// A forecast asks for more, which on the first day gives no memory.
    NotSeenYet {
        /// How long it was measured.
        known_seconds: u64,
        /// The most it was seen to use.
        seen: Amount,
        /// The most it is given for that.
        most: Amount,
    },
    /// It needs more, and the node has no more for what all containers are expected to use.
    NodeBudget {
        /// The most it can be given.
        most: Amount,
        /// What all containers are expected to use.
        committed: Amount,
        /// What there is for them.
        budget: Amount,
        /// Who was granted something before it in this cycle.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<Vmid>,
    },
}

/// A CPU setting of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingName {
    /// `cores`.
    Cores,
    /// `cpulimit`.
    Cpulimit,
    /// The CPUs it is pinned to.
    Cpuset,
}
