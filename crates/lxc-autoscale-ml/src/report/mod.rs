//! What the sizes that were set have saved, and where a container is worse off since. Pure.
//!
//! A container is measured against the **first size it is known to have had**: what it would hold today if nobody had
//! changed it. What it held less than that, hour by hour, was freed. Only hours in which both its size and its use were
//! measured count, and every figure says how many they are.

mod account;
mod worse;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::Serialize;

pub use account::{Account, Held, account, total};
pub use worse::{Sign, Worse};

use crate::decide::Resource;

/// One hour of one container as it was measured; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Hour {
    /// Its beginning, in seconds since the epoch.
    pub start_seconds: i64,
    /// Cores it could use.
    pub cores: Option<f64>,
    /// Cores it used, on average.
    pub cores_used: Option<f64>,
    /// Its memory limit, in MiB.
    pub memory_mib: Option<f64>,
    /// Its working set on average, in MiB.
    pub memory_used_mib: Option<f64>,
    /// Share of the enforcement periods in which the CPU limit was hit, in percent.
    pub throttled_percent: Option<f64>,
    /// Share of the time in which some task waited for memory, in percent.
    pub pressure_percent: Option<f64>,
    /// Processes that the OOM killer ended.
    pub oom_kills: Option<f64>,
}

/// A change of ours that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Made {
    /// When.
    pub at: Timestamp,
    /// What.
    pub resource: Resource,
    /// The size before, in cores or MiB.
    pub from: f64,
    /// The size after.
    pub to: f64,
    /// It gave back what a shrink had taken.
    pub is_revert: bool,
    /// Somebody wanted it: a proposal or a plan.
    pub by_people: bool,
}

/// The first size that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct First {
    /// In cores or MiB.
    pub size: f64,
    /// Since when it is known.
    pub at: Timestamp,
}

/// All that is known of one container.
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
    /// The hours of the period and of the days before it, in order of time.
    pub hours: Vec<Hour>,
    /// All changes that are kept, in order of time.
    pub changes: Vec<Made>,
    /// Changes of the period that failed.
    pub failed: usize,
}

#[cfg(test)]
mod tests;
