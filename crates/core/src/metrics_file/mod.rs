//! The exchange file `/var/log/lxc_metrics.json`, which the monitor writes and everyone else reads.
//!
//! It is a JSON array with one [`Snapshot`](crate::snapshot::Snapshot) per line, oldest first. It is valid JSON at
//! any time, the cost of appending does not depend on its size, and its size and age are limited.
//!
//! ## How
//!
//! There are several copies: the published one and a hidden spare. An append brings the spare up to date, writes the
//! new record over its closing bracket, makes that durable, and exchanges the two names in one step (`renameat2(2)`
//! with `RENAME_EXCHANGE`). The published copy is never written to. Neither is a copy that was published until a
//! moment ago and may still be read: it rests first, so if records come faster than that, more than one spare is
//! needed. So a reader always sees a complete array, and a crash at any byte leaves the published copy intact. If the
//! file system cannot exchange names, the spare is renamed over the published file, and the next append makes a new
//! one.
//!
//! Changes by others are detected by inode, size and time, and repaired from the remaining copy.

mod backlog;
mod disk;
mod format;
mod kept_record;
mod lock;
mod original;
mod reader;
mod recover;
mod since;
mod spares;
mod tail;
mod text;
pub mod trust;
mod writer;

pub use backlog::Backlog;
pub use format::begins_element;
pub use kept_record::{KeptRecord, ReadBackError};
pub use reader::{MetricsReader, NewSnapshots, Position, ReadError, UnreadableRecord, parse_record};
pub use recover::Recovery;
pub use since::each_since;
pub use writer::{Bounds, DEFAULT_MODE, MetricsWriter, WriteError};
