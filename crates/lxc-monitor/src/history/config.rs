//! `[history]`.

use std::path::PathBuf;

use lxc_autoscale_core::config::BrokenRule;
use lxc_autoscale_core::history_store::Tier;
use serde::Deserialize;

/// The history of roll-ups.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Whether it is written.
    pub enabled: bool,
    /// The database file.
    pub file: PathBuf,
    /// Size at which the oldest data of the finest tier is dropped, in MiB.
    pub max_size_mib: u64,
    /// Days with measurements for which roll-ups of one minute are kept.
    pub keep_1m_days: u64,
    /// The same for five minutes.
    pub keep_5m_days: u64,
    /// The same for an hour.
    pub keep_1h_days: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            file: "/var/lib/lxc_autoscale_ml/monitor/metrics.sqlite".into(),
            max_size_mib: 512,
            keep_1m_days: 7,
            keep_5m_days: 30,
            keep_1h_days: 730,
        }
    }
}

impl HistoryConfig {
    /// Checks rules beyond the types.
    ///
    /// # Errors
    /// [`BrokenRule`], with the key.
    pub fn validate(&self) -> Result<(), BrokenRule> {
        BrokenRule::unless(self.file.is_absolute(), "history.file", "must be an absolute path")?;
        let size_holds = (8..=65_536).contains(&self.max_size_mib);
        BrokenRule::unless(size_holds, "history.max_size_mib", "must be from 8 to 65536")?;
        let days = [
            ("history.keep_1m_days", self.keep_1m_days),
            ("history.keep_5m_days", self.keep_5m_days),
            ("history.keep_1h_days", self.keep_1h_days),
        ];
        for (key, days) in days {
            BrokenRule::unless((1..=3650).contains(&days), key, "must be from 1 to 3650")?;
        }
        let ordered = self.keep_1m_days <= self.keep_5m_days && self.keep_5m_days <= self.keep_1h_days;
        BrokenRule::unless(ordered, "history.keep_5m_days", "must be from keep_1m_days to keep_1h_days")
    }

    /// Number of chunks kept of a tier.
    pub(super) fn chunks_kept(&self, tier: Tier) -> i64 {
        let days = match tier {
            Tier::Minute => self.keep_1m_days,
            Tier::FiveMinutes => self.keep_5m_days,
            Tier::Hour => self.keep_1h_days,
        };
        // Plus the one being filled, and the one in which the first day begins.
        let days_ms = i64::try_from(days).unwrap_or(i64::MAX / 86_400_000) * 86_400_000;
        (days_ms + tier.chunk_ms() - 1) / tier.chunk_ms() + 2
    }

    /// The maximum size of the file, in bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max_size_mib << 20
    }
}
