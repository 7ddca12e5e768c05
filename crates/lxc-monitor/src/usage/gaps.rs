//! Collects what is absent from a record, and why.

use std::collections::BTreeMap;

use crate::sample::{Missing, Reading};

/// Field name → why it is absent.
#[derive(Debug, Default)]
pub(super) struct Gaps(BTreeMap<String, String>);

impl Gaps {
    /// Takes the value of a reading, or notes for each field that depends on it why it is absent.
    pub(super) fn take<T>(&mut self, fields: &[&str], reading: Reading<T>) -> Option<T> {
        match reading {
            Ok(value) => Some(value),
            Err(missing) => {
                self.note(fields, &missing);
                None
            }
        }
    }

    /// Notes why fields are absent.
    pub(super) fn note(&mut self, fields: &[&str], reason: &Missing) {
        for field in fields {
            self.0.insert((*field).to_owned(), reason.to_string());
        }
    }

    /// The finished list.
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}
