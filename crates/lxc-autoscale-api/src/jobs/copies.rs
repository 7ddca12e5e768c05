//! Which containers are copies that this server made. The mark on a container alone proves nothing: a tag is set by
//! whoever may change its options.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::{Connection, OptionalExtension, params};

/// Notes that a change has made a copy.
pub(crate) fn note(connection: &Connection, vmid: Vmid, change: i64, now: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO copies (vmid, change, at_us) VALUES (?1, ?2, ?3)";
    connection.execute(sql, params![vmid.get(), change, now.as_microsecond()]).map(drop)
}

/// Forgets an id whose container is gone, or another one.
pub(crate) fn forget(connection: &Connection, vmid: Vmid) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM copies WHERE vmid = ?1", [vmid.get()]).map(drop)
}

/// Whether the container of that id is a copy that this server made.
pub(crate) fn is_ours(connection: &Connection, vmid: Vmid) -> rusqlite::Result<bool> {
    let found = connection.query_row("SELECT 1 FROM copies WHERE vmid = ?1", [vmid.get()], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
