//! `[state]`: what is stored across restarts, and for how long.

use std::path::PathBuf;

use lxc_autoscale_core::config::BrokenRule;
use serde::Deserialize;

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// The directory of `api.sqlite`.
    pub directory: PathBuf,
    /// How long a change is kept as a job after it has ended, in days.
    pub jobs_keep_days: u32,
    /// How many changes are kept at most.
    pub max_jobs: u32,
    /// How long entries of the ledger are kept, in days.
    pub ledger_keep_days: u32,
    /// How many ledger entries are kept at most.
    pub max_ledger_entries: u32,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/lxc_autoscale_ml/api"),
            jobs_keep_days: 30,
            max_jobs: 20_000,
            ledger_keep_days: 400,
            max_ledger_entries: 200_000,
        }
    }
}

impl StateConfig {
    pub(super) fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        unless(self.directory.is_absolute(), "state.directory", "must be an absolute path")?;
        let days = |days: u32| (1..=36_500).contains(&days);
        unless(days(self.jobs_keep_days), "state.jobs_keep_days", "must be from 1 to 36500")?;
        unless(days(self.ledger_keep_days), "state.ledger_keep_days", "must be from 1 to 36500")?;
        let rows = |rows: u32| (100..=10_000_000).contains(&rows);
        unless(rows(self.max_jobs), "state.max_jobs", "must be from 100 to 10000000")?;
        unless(rows(self.max_ledger_entries), "state.max_ledger_entries", "must be from 100 to 10000000")
    }
}
