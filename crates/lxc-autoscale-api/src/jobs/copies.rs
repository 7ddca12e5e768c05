//! The containers that this server made as copies. The tag of a container alone proves nothing: anyone who may change
//! its options can set it.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::{Connection, OptionalExtension, params};

/// Records that a change has made a copy.
pub(crate) fn note(connection: &Connection, vmid: Vmid, change: i64, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO copies (vmid, change, at_us) VALUES (?1, ?2, ?3)";
    connection.execute(sql, params![vmid.get(), change, now.as_microsecond()]).map(drop)
}

/// Forgets an id whose container is gone or has been replaced by another.
pub(crate) fn forget(connection: &Connection, vmid: Vmid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM copies WHERE vmid = ?1", [vmid.get()]).map(drop)
}

/// Whether the container with this id is a copy that this server made.
pub(crate) fn is_ours(connection: &Connection, vmid: Vmid) -> rusqlite::Result<bool> {
    let found = connection.query_row("SELECT 1 FROM copies WHERE vmid = ?1", [vmid.get()], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
