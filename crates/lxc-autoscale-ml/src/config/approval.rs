//! `[proposals]`: how long proposals and plans are valid.

use jiff::SignedDuration;
use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::Deserialize;

/// `[proposals]`: changes that wait for approval, in the mode `approve`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProposalsConfig {
    /// How long one waits for approval, and an accepted one to be carried out, in seconds.
    pub expire_seconds: u64,
    /// How long the same is not proposed again after a rejection, in seconds.
    pub rejected_seconds: u64,
    /// How long a plan may be applied, in seconds.
    pub plan_seconds: u64,
}

impl Default for ProposalsConfig {
    fn default() -> Self {
        Self { expire_seconds: 86_400, rejected_seconds: 3 * 86_400, plan_seconds: 900 }
    }
}

impl ProposalsConfig {
    /// How long a proposal waits.
    pub fn expires_after(&self) -> SignedDuration {
        duration(self.expire_seconds)
    }

    /// How long a rejection holds.
    pub fn rejection_holds(&self) -> SignedDuration {
        duration(self.rejected_seconds)
    }

    /// How long a plan may be applied.
    pub fn plan_holds(&self) -> SignedDuration {
        duration(self.plan_seconds)
    }
}

impl Validate for ProposalsConfig {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let (expire, rejected) = (self.expire_seconds, self.rejected_seconds);
        unless((60..=MONTH).contains(&expire), "proposals.expire_seconds", "must be from 60 to 2678400")?;
        unless(rejected <= MONTH, "proposals.rejected_seconds", "must be at most 2678400")?;
        let plan = (10..=86_400).contains(&self.plan_seconds);
        unless(plan, "proposals.plan_seconds", "must be from 10 to 86400")
    }
}

/// 31 days, in seconds.
const MONTH: u64 = 31 * 86_400;

fn duration(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}
