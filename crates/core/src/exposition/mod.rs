//! What a daemon serves to Prometheus, as text.
//!
//! [`text`] writes the samples of a family in either format and [`accept`] chooses the format; [`meter`] counts what
//! happens between two scrapes, for daemons whose numbers are not measured elsewhere.

pub mod accept;
pub mod meter;
pub mod text;

pub use accept::negotiate;
pub use meter::{Counts, Durations, Histogram};
pub use text::{Description, Format, Kind, Samples, Subject};
