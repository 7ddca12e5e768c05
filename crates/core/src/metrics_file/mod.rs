//! The exchange file `/var/log/lxc_metrics.json`: written by the monitor, read by everybody.
//!
//! A JSON array with one [`Snapshot`](crate::snapshot::Snapshot) a line, oldest first. It is valid JSON at
//! every moment, appending costs the same whatever it holds, and its size and age are bounded.
//!
//! ## How
//!
//! Copies lie side by side: the published one and a hidden spare. An append brings the spare up to date, writes
//! the new record over its closing bracket, makes that durable, and exchanges the two names in one step
//! (`renameat2(2)` with `RENAME_EXCHANGE`). The published copy is never written to, and neither is one that was
//! published a moment ago and may still be read: it rests first, which takes more than one spare where records
//! come faster than that. So a reader sees a complete array, and a crash at any byte leaves
//! the published copy intact. Where the file system cannot exchange names, the spare is renamed over the
//! published file and a new spare is copied at the next append.
//!
//! What others do to the files is noticed by inode, size and time, and mended from the copy that is left.

mod disk;
mod format;
mod kept_record;
mod lock;
mod reader;
mod recover;
mod since;
mod spares;
mod tail;
pub mod trust;
mod writer;

pub use format::begins_element;
pub use kept_record::{KeptRecord, ReadBackError};
pub use reader::{MetricsReader, NewSnapshots, Position, ReadError, UnreadableRecord};
pub use recover::Recovery;
pub use since::each_since;
pub use writer::{Bounds, DEFAULT_MODE, MetricsWriter, WriteError};
