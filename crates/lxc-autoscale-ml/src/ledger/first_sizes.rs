//! The first known size of each resource of each container, which is never trimmed: the baseline of `report`. A
//! container is identified by id and name, so one that reuses an id has a first size of its own.

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use rusqlite::params;

use super::{Ledger, LedgerError, read_timestamp, read_vmid, resource_name};
use crate::decide::{Decision, Resource};

/// Most that are stored: two for each container that ever existed.
const MOST: i64 = 100_000;

/// The first size of a container's resource that a decision found.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstSize {
    /// The container.
    pub id: Vmid,
    /// Its name; `None` if unknown.
    pub name: Option<String>,
    /// The resource.
    pub resource: Resource,
    /// When it was found.
    pub at: Timestamp,
    /// In cores or MiB.
    pub size: f64,
}

impl Ledger {
    /// Stores the sizes found by these decisions if they are the first ones.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn keep_first_sizes<'a>(
        &mut self,
        at: Timestamp,
        found: impl IntoIterator<Item = (Vmid, Option<&'a str>, &'a Decision)>,
    ) -> Result<(), LedgerError> {
        let is_news = |(id, name, decision): &(Vmid, Option<&str>, &Decision)| {
            let known = self.named.get(&(*id, decision.resource)).map(String::as_str);
            decision.from.is_some() && known != Some(name.unwrap_or_default())
        };
        let news: Vec<_> = found.into_iter().filter(is_news).collect();
        if news.is_empty() {
            return Ok(());
        }
        self.in_transaction(|ledger| {
            let sql = "INSERT OR IGNORE INTO first_sizes (vmid, resource, name, at_us, size)
                VALUES (?1, ?2, ?3, ?4, ?5)";
            for (id, name, decision) in &news {
                let resource = resource_name(decision.resource);
                let name = name.unwrap_or_default();
                let row = params![id.get(), resource, name, at.as_microsecond(), decision.from];
                ledger.connection.execute(sql, row).map_err(|source| ledger.failed(source))?;
            }
            Ok(())
        })?;
        for (id, name, decision) in news {
            self.named.insert((id, decision.resource), name.unwrap_or_default().to_owned());
        }
        Ok(())
    }

    /// All first sizes, oldest first for each container and resource.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn first_sizes(&self) -> Result<Vec<FirstSize>, LedgerError> {
        // A ledger opened for reading may be older.
        let sql = if self.has_table("first_sizes")? {
            "SELECT vmid, resource, name, at_us, size FROM first_sizes ORDER BY vmid, resource, at_us"
        } else {
            "SELECT vmid, resource, '', at_us, json_extract(decision, '$.from') FROM decisions WHERE number IN
                (SELECT min(number) FROM decisions WHERE json_extract(decision, '$.from') IS NOT NULL
                 GROUP BY vmid, resource)"
        };
        let read = || -> rusqlite::Result<Vec<FirstSize>> {
            let mut statement = self.connection.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let (resource, name): (String, String) = (row.get(1)?, row.get(2)?);
                Ok(FirstSize {
                    id: read_vmid(row, 0)?,
                    name: Some(name).filter(|name| !name.is_empty()),
                    resource: if resource == "cpu" { Resource::Cpu } else { Resource::Memory },
                    at: read_timestamp(3, row.get(3)?)?,
                    size: row.get(4)?,
                })
            })?;
            rows.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    pub(super) fn trim_first_sizes(&mut self) -> rusqlite::Result<()> {
        let sql = "DELETE FROM first_sizes WHERE (vmid, resource, name) NOT IN
            (SELECT vmid, resource, name FROM first_sizes ORDER BY at_us DESC LIMIT ?1)";
        self.connection.execute(sql, [MOST])?;
        Ok(())
    }
}
