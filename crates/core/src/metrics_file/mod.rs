//! The exchange file `/var/log/lxc_metrics.json`: written by the monitor, read by everybody.
//!
//! A JSON array with one [`Snapshot`](crate::snapshot::Snapshot) a line, oldest first. It is valid JSON at
//! every moment, appending costs the same whatever it holds, and its size and age are bounded.
//!
//! ## How
//!
//! Two copies lie side by side: the published one and a hidden spare. An append writes the records that the
//! spare lacks over its closing bracket, makes them durable, and exchanges the two names in one step
//! (`renameat2(2)` with `RENAME_EXCHANGE`). The published inode is never written while it is published, so
//! a reader that opened it sees a complete array whatever happens, and a crash at any byte leaves the
//! published copy intact. Where the file system cannot exchange names, the spare is renamed over the
//! published file and a new spare is copied at the next append.

mod format;
mod reader;
mod writer;

pub use reader::{MetricsReader, NewSnapshots, ReadError, UnreadableRecord};
pub use writer::{Bounds, MetricsWriter, Recovery, WriteError};
