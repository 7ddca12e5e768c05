//! The forecasters.

use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::prelude::{Fit, Predict};
use augurs::{Forecast, ets::trend::AutoETSTrendModel};
use jiff::tz::TimeZone;
use lxc_autoscale_ml::forecast::outlook::{LEVELS, Method, Outlook, PAST_STEPS, Past, follow, look_ahead};
use lxc_autoscale_ml::recommend::series::KEPT_STEPS;

const DAY: usize = 288;

/// A forecaster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// This product: the best of its methods by its own trials.
    Ours,
    /// The last value, its bands by the same trials.
    LastValue,
    /// The same time yesterday, its bands by the same trials.
    SeasonalNaive,
    /// augurs' automatic ETS without season, on the last day, with its own bands.
    Ets,
    /// augurs' MSTL with a season of a day and ETS for the rest, on the last eight days, with its own bands: of more
    /// days they hold less.
    Mstl,
}

impl Contestant {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ours, Self::LastValue, Self::SeasonalNaive, Self::Ets, Self::Mstl];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "**lxc-autoscale-ml**",
            Self::LastValue => "last value",
            Self::SeasonalNaive => "seasonal naive (a day)",
            Self::Ets => "AutoETS (augurs)",
            Self::Mstl => "MSTL + AutoETS (augurs)",
        }
    }

    /// A value for each level of each coming step; steps without a forecast are missing.
    pub(crate) fn forecast(self, first_step: i64, values: &[f32], ahead: usize) -> Option<Vec<[f64; 5]>> {
        let skipped = values.len().saturating_sub(PAST_STEPS);
        let past = Past {
            first_step: first_step + i64::try_from(skipped).unwrap_or_default(),
            values: &values[skipped..],
        };
        let zone = &TimeZone::UTC;
        let rows = |outlook: Option<Outlook>| {
            let outlook = outlook?;
            Some(outlook.steps.iter().map(|ahead| ahead.band.map(|one| one.value)).collect())
        };
        match self {
            Self::Ours => rows(look_ahead(past, zone, ahead)),
            Self::LastValue => rows(follow(past, zone, ahead, &[Method::Last])),
            Self::SeasonalNaive => rows(follow(past, zone, ahead, &[Method::Yesterday])),
            Self::Ets => {
                let day = filled(&past.values[past.values.len().saturating_sub(DAY)..]);
                let fitted = AutoETS::non_seasonal().fit(&day).ok()?;
                banded(|level| fitted.predict(ahead, level).ok())
            }
            Self::Mstl => {
                let kept = usize::try_from(KEPT_STEPS).unwrap_or_default();
                let values = filled(&past.values[past.values.len().saturating_sub(kept)..]);
                let trend = AutoETSTrendModel::from(AutoETS::non_seasonal());
                let fitted = MSTLModel::new(vec![DAY], trend).fit(&values).ok()?;
                banded(|level| fitted.predict(ahead, level).ok())
            }
        }
    }
}

/// Gaps filled with the last known value: these models do not support gaps.
fn filled(values: &[f32]) -> Vec<f64> {
    let mut last = values.iter().copied().find(|value| !value.is_nan()).unwrap_or(0.0);
    let fill = |value: &f32| {
        last = if value.is_nan() { last } else { *value };
        f64::from(last)
    };
    values.iter().map(fill).collect()
}

/// The five levels from the median and the bands of 80 % and 95 %.
fn banded(predict: impl Fn(f64) -> Option<Forecast>) -> Option<Vec<[f64; 5]>> {
    let (wide, narrow) = (predict(0.95)?, predict(0.8)?);
    let (outer, inner) = (wide.intervals?, narrow.intervals?);
    let row = |step: usize| {
        let values =
            [outer.lower[step], inner.lower[step], wide.point[step], inner.upper[step], outer.upper[step]];
        values.map(|value| value.max(0.0))
    };
    const { assert!(LEVELS.len() == 5) };
    let rows: Vec<[f64; 5]> = (0..wide.point.len()).map(row).collect();
    rows.iter().flatten().all(|value| value.is_finite()).then_some(rows)
}
