//! What a daemon serves to Prometheus, as text.
//!
//! [`text`] writes the samples of a [`family`] in either format and [`accept`] chooses the format; [`meter`] counts what
//! happens between two scrapes, for daemons whose numbers are not measured elsewhere. `endpoint`, behind the feature
//! `exporter`, is where it is served by daemons that serve nothing else.

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
