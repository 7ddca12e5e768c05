//! Snapshots that are in no copy of the exchange file yet, because it could not be written.

use super::format;
use crate::snapshot::Snapshot;

/// How many bytes of snapshots are kept in memory while the file cannot be written; the oldest are dropped first.
const MAX_BYTES: usize = 4 << 20;

/// Their records, each preceded by a separator, oldest first.
#[derive(Debug, Default)]
pub struct Backlog {
    records: Vec<Vec<u8>>,
}

impl Backlog {
    #[cfg(test)]
    pub(super) fn of(records: &[Vec<u8>]) -> Self {
        Self { records: records.to_vec() }
    }

    /// Adds the newest snapshot.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn push(&mut self, snapshot: &Snapshot) -> Result<(), serde_json::Error> {
        let mut record = format::SEPARATOR.to_vec();
        serde_json::to_writer(&mut record, snapshot)?;
        self.records.push(record);
        self.trim();
        Ok(())
    }

    /// Adds what came before.
    pub(super) fn prepend(&mut self, mut earlier: Self) {
        earlier.records.append(&mut self.records);
        *self = earlier;
        self.trim();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The records.
    pub(super) fn records(&self) -> &[Vec<u8>] {
        &self.records
    }

    /// Takes the records out.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.records)
    }

    fn trim(&mut self) {
        let mut total: usize = self.records.iter().map(Vec::len).sum();
        let mut dropped = 0;
        while MAX_BYTES < total && dropped + 1 < self.records.len() {
            total -= self.records[dropped].len();
            dropped += 1;
        }
        self.records.drain(..dropped);
    }
}
