//! The history of every container and of the node: roll-ups of one minute, five minutes and an hour in SQLite.
//!
//! The monitor writes it, everybody else reads it with [`HistoryReader`]. What is here is what both must agree
//! on; opening it for writing, compaction and retention are the monitor's.
//!
//! ## What is stored
//!
//! * `recent` holds **frames**: the samples themselves, in order of time, for the hours that are not yet over.
//! * `chunks` holds **roll-ups**: one blob per series, tier and window of time, columns packed bit by bit. They
//!   are made from the samples when a window of four hours is complete; what is not is rolled up when it is read.
//! * `series` gives a name to each number; container 104 is series 104, the node is series 0.
//!
//! A value is kept as a [`code`] of 16 bits: exact up to 2,047 times the metric's resolution, within 0.05 % above.
//! A bucket without samples does not exist, and a metric without samples in a bucket is absent from it.

pub mod bucket;
pub mod chunk;
pub mod code;
mod column;
mod crc;
pub mod frame;
pub mod metric;
pub mod reader;
pub mod schema;
mod varint;

pub use bucket::{Bucket, Stats, Tier};
pub use metric::{Kind, Metric};
pub use reader::{HistoryError, HistoryReader, Point, Points, SeriesInfo};

use crate::Vmid;

/// The number of a series: the container's id, or 0 for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(u32);

impl Series {
    /// The node.
    pub const NODE: Self = Self(0);

    /// Takes a stored number.
    pub const fn from_raw(number: u32) -> Self {
        Self(number)
    }

    /// Returns the stored number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The rows of `recent` that hold this series: 32 neighbours share one.
    pub const fn shard(self) -> u32 {
        self.0 >> 5
    }
}

impl From<Vmid> for Series {
    fn from(vmid: Vmid) -> Self {
        Self(vmid.get())
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NODE { f.pad("node") } else { self.0.fmt(f) }
    }
}

/// A stored blob that does not say what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored block is damaged")]
pub struct Damaged;
