//! The history of every container and of the node: roll-ups over one minute, five minutes and one hour, in SQLite.
//!
//! The monitor writes it, and everyone else reads it with [`HistoryReader`]. This module has what both must agree on;
//! opening it for writing, compaction and retention belong to the monitor.
//!
//! ## What is stored
//!
//! * `recent` has **frames**: the raw samples in order of time, for the hours that are not complete yet.
//! * `chunks` has **roll-ups**: one blob per series, tier and period of time, with columns packed by bits. They are
//!   made from the samples when a window of four hours is complete; an incomplete one is rolled up when it is read.
//! * `series` gives a name to each number; container 104 is series 104, and the node is series 0.
//! * `epochs` has the moments at which a number went from one container to another. What is from before the last one
//!   is of another container, and is read only for that one.
//!
//! A value is stored as a [`code`] of 16 bits: exact up to 2,047 times the metric's resolution, and within 0.05 %
//! above that. A bucket without samples does not exist, and a metric without samples is absent from its bucket.

pub mod bucket;
pub mod chunk;
pub mod code;
mod column;
mod crc;
mod epoch;
pub mod frame;
pub mod metric;
pub mod reader;
pub mod schema;
mod varint;

pub use bucket::{Bucket, Period, Stats, Tier};
pub use epoch::Epoch;
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

    /// The key of the rows of `recent` that contain this series: 32 neighbours share one.
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

/// A stored blob with damaged content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored block is damaged")]
pub struct Damaged;
