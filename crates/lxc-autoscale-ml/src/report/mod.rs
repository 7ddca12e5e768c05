//! The savings from the sizes that were set, and where a container is worse off since. Pure.
//!
//! A container is compared with the **size that people gave it**: the first one it is known to have had, or what somebody
//! else set since. That would be its size if we had changed nothing. The amount it held less, hour by hour, was freed by
//! us; what others' changes freed is not ours, and is counted apart. Only hours with both a measured size and a measured usage count,
//! and every figure tells how many there are.

mod account;
mod baseline;
mod worse;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

pub use account::{Account, Held, account, total};
pub use worse::{Sign, Worse};

use crate::decide::Resource;

/// The measurements of one hour of one container; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hour {
    /// Its beginning, in seconds since the epoch.
    pub start_seconds: i64,
    /// Cores available to it.
    pub cores: Option<f64>,
    /// Mean usage, in cores.
    pub cores_used: Option<f64>,
    /// Its memory limit, in MiB.
    pub memory_mib: Option<f64>,
    /// Mean working set, in MiB.
    pub memory_used_mib: Option<f64>,
    /// Share of the enforcement periods that were throttled, in percent.
    pub throttled_percent: Option<f64>,
    /// Share of the time in which some task waited for memory, in percent.
    pub pressure_percent: Option<f64>,
    /// Processes killed by the OOM killer.
    pub oom_kills: Option<f64>,
}

/// A change made by us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// When.
    pub at: Timestamp,
    /// The resource.
    pub resource: Resource,
    /// The size before, in cores or MiB.
    pub from: f64,
    /// The size after.
    pub to: f64,
    /// Whether it undid a shrink.
    pub is_revert: bool,
    /// Whether somebody wanted it, by a proposal or a plan.
    pub by_people: bool,
    /// Whether it is not known if it was made.
    pub is_unsure: bool,
}

/// The first known size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct First {
    /// In cores or MiB.
    pub size: f64,
    /// Since when it is known.
    pub at: Timestamp,
}

/// Everything known of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The container.
    pub id: Vmid,
    /// Its name.
    pub name: Option<String>,
    /// Its first cores.
    pub first_cores: Option<First>,
    /// Its first memory.
    pub first_memory: Option<First>,
    /// The hours of the period and of the days before, in order of time.
    pub hours: Vec<Hour>,
    /// All stored changes, in order of time.
    pub changes: Vec<Made>,
    /// Changes before this are not stored any more.
    pub forgotten_before: Timestamp,
    /// Changes of the period that failed.
    pub failed: usize,
}

#[cfg(test)]
mod tests;
