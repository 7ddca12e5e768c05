//! Collects what is absent from a record, and why.

use lxc_autoscale_core::missing::MissingFields;

use crate::sample::{Missing, Reading};

/// Field name and reason, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Gaps(Vec<(&'static str, Missing)>);

impl Gaps {
    /// Takes the value of a reading, or notes the reason for each field that depends on it.
    pub(super) fn take<T>(&mut self, fields: &[&'static str], reading: Reading<T>) -> Option<T> {
        match reading {
            Ok(value) => Some(value),
            Err(missing) => {
                self.note(fields, &missing);
                None
            }
        }
    }

    /// Notes the reason for absent fields.
    pub(super) fn note(&mut self, fields: &[&'static str], reason: &Missing) {
        self.0.extend(fields.iter().map(|field| (*field, reason.clone())));
    }

    /// The finished list; the last note about a field counts.
    pub(super) fn into_fields(self) -> MissingFields {
        self.0.into_iter().collect()
    }
}
