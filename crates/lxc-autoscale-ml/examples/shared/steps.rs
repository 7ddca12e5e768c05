//! Recordings as training data.

use lxc_autoscale_ml::backtest::recording::Recording;
use lxc_autoscale_ml::forecast::training;
use lxc_autoscale_ml::recommend::series::step_of;

/// A recording in steps of five minutes.
pub(crate) fn series(recording: &Recording) -> training::Recording {
    let mut series = training::Recording::default();
    let Some((first, _)) = recording.span() else { return series };
    for sample in &recording.samples {
        let place = usize::try_from(step_of(sample.at) - step_of(first)).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough to learn from")]
        let narrow = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
        for (kept, value) in [(&mut series.cpu, sample.cpu_cores), (&mut series.memory, sample.memory_mib)] {
            kept.resize((place + 1).max(kept.len()), f32::NAN);
            kept[place] = narrow(value);
        }
    }
    series
}
