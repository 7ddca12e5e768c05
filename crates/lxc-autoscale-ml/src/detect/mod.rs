//! Anomaly detectors.

pub mod choice;
mod clusters;
pub mod isolation_forest;
mod mixture;
mod robust;

pub use choice::{Detector, DetectorParams, Learnt};
pub use isolation_forest::{IsolationForest, IsolationForestError, IsolationForestParams};

/// The `share` quantile of at least one sorted value, with linear interpolation.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= place < len")]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}
