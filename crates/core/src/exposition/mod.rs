//! The text that a daemon serves to Prometheus.
//!
//! [`text`] writes the samples of a [`family`] in either format, and [`accept`] chooses the format. [`meter`] counts
//! events between two scrapes, for daemons whose numbers are not measured elsewhere. `endpoint`, behind the feature
//! `exporter`, is the listener of daemons that serve nothing else.

pub mod accept;
#[cfg(feature = "exporter")]
pub mod endpoint;
pub mod family;
pub mod meter;
pub mod text;

pub use accept::negotiate;
pub use family::{Family, write_all};
pub use meter::{Counts, Durations, Histogram};
pub use text::{Description, Format, Kind, Samples, Subject};
