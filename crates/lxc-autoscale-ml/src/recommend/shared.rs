//! What the models of all containers share: the constants and the model trained on other containers.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::config::RecommendConfig;
use super::recommendation::FIRST_DAY_SECONDS;
use crate::forecast::{DemandModel, ModelError};

/// What the models of all containers share.
#[derive(Clone, Debug)]
pub struct Shared {
    config: RecommendConfig,
    demand: Option<Arc<DemandModel>>,
    first_choice_seconds: f64,
    prepares_daily: bool,
    prepares_weekly: bool,
    zone: TimeZone,
}

/// Why the configured model or time zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The demand model cannot be read.
    #[error("cannot read the demand model `{}` (`recommend.demand_model`)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such time zone.
    #[error("cannot use the time zone (`forecast.time_zone`)")]
    TimeZone(#[from] jiff::Error),
    /// The demand model is unusable.
    #[error("cannot use the demand model `{}` (`recommend.demand_model`)", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModelError,
    },
}

impl Shared {
    /// With the configured demand model, or the one that comes with the program.
    ///
    /// # Errors
    /// [`SharedError`] when the configured one cannot be used.
    pub fn load(config: &RecommendConfig) -> Result<Self, SharedError> {
        if config.demand_model.as_os_str().is_empty() {
            return Ok(Self::with_shipped(config));
        }
        let path = config.demand_model.clone();
        let bytes =
            std::fs::read(&path).map_err(|source| SharedError::Read { path: path.clone(), source })?;
        let demand = DemandModel::from_bytes(&bytes).map_err(|source| SharedError::Model { path, source })?;
        Ok(Self::with_demand(config, Some(Arc::new(demand))))
    }

    /// With the demand model that comes with the program.
    pub fn with_shipped(config: &RecommendConfig) -> Self {
        Self::with_demand(config, DemandModel::shipped())
    }

    /// With this demand model; without one, sizes are based on peaks alone.
    pub fn with_demand(config: &RecommendConfig, demand: Option<Arc<DemandModel>>) -> Self {
        let (first_choice_seconds, zone) = (FIRST_DAY_SECONDS as f64, TimeZone::UTC);
        let (prepares_daily, prepares_weekly) = (true, true);
        Self { config: config.clone(), demand, first_choice_seconds, prepares_daily, prepares_weekly, zone }
    }

    /// The same with the time zone that people and timers follow; the default is UTC.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// The same demand model with other constants.
    #[must_use]
    pub fn with_config(&self, config: &RecommendConfig) -> Self {
        Self { config: config.clone(), ..self.clone() }
    }

    /// The same, but every container follows its first expert for ever. For benchmarks: it shows the gain from choosing
    /// by cost.
    #[must_use]
    pub fn without_choice(&self) -> Self {
        Self { first_choice_seconds: f64::INFINITY, ..self.clone() }
    }

    /// The same, but experts are chosen by cost from the start. For benchmarks: it shows the gain from waiting for a
    /// day.
    #[must_use]
    pub fn choosing_at_once(&self) -> Self {
        Self { first_choice_seconds: 0.0, ..self.clone() }
    }

    /// The same, but what comes each day is left to the experts. For benchmarks: it shows the gain from preparing for it.
    #[must_use]
    pub fn without_daily_rises(&self) -> Self {
        Self { prepares_daily: false, ..self.clone() }
    }

    /// The same, but nothing is prepared for what comes each week. For benchmarks, too.
    #[must_use]
    pub fn without_weekly_peaks(&self) -> Self {
        Self { prepares_weekly: false, ..self.clone() }
    }

    /// The constants.
    pub fn config(&self) -> &RecommendConfig {
        &self.config
    }

    /// The demand model.
    pub(super) fn demand(&self) -> Option<&DemandModel> {
        self.demand.as_deref()
    }

    /// The time zone of weekly habits.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether sizes are prepared for what rises each day.
    pub(super) fn prepares_daily(&self) -> bool {
        self.prepares_daily && 0 < self.config.season_days
    }

    /// Whether sizes are prepared for what peaks each week.
    pub(super) fn prepares_weekly(&self) -> bool {
        self.prepares_weekly
    }

    /// How long a resource must be measured before another expert may be chosen.
    pub(super) fn first_choice_seconds(&self) -> f64 {
        self.first_choice_seconds
    }
}
