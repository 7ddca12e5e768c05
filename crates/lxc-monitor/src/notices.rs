//! Logs each trouble once when it begins and once when it ends, however many cycles it lasts.

use std::collections::BTreeMap;

/// The present troubles, by subject.
#[derive(Debug, Default)]
pub struct Notices {
    troubles: BTreeMap<String, String>,
}

/// The change of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// As before.
    None,
    /// A new trouble.
    Begun,
    /// The trouble is over.
    Ended,
}

impl Notices {
    /// Sets the state of a subject; returns the change.
    pub fn update(&mut self, subject: &str, trouble: Option<String>) -> Change {
        match trouble {
            Some(trouble) if self.troubles.get(subject) == Some(&trouble) => Change::None,
            Some(trouble) => {
                self.troubles.insert(subject.to_owned(), trouble);
                Change::Begun
            }
            None if self.troubles.remove(subject).is_some() => Change::Ended,
            None => Change::None,
        }
    }

    /// Whether there is no trouble, so that a subject without trouble is no change.
    pub fn is_quiet(&self) -> bool {
        self.troubles.is_empty()
    }

    /// Sets the state of a subject and logs a change.
    pub fn warn(&mut self, subject: &str, trouble: Option<String>) {
        match self.update(subject, trouble.clone()) {
            Change::Begun => tracing::warn!("{subject}: {}", trouble.unwrap_or_default()),
            Change::Ended => tracing::info!("{subject}: resolved"),
            Change::None => {}
        }
    }

    /// Forgets every subject for which `keep` does not hold.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.troubles.retain(|subject, _| keep(subject));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_when_it_begins_changes_and_ends() {
        let mut notices = Notices::default();
        let mut check = |trouble: Option<&str>, want| {
            assert_eq!(notices.update("container 104", trouble.map(str::to_owned)), want, "{trouble:?}");
        };
        check(None, Change::None);
        check(Some("no answer"), Change::Begun);
        check(Some("no answer"), Change::None);
        check(Some("still no answer"), Change::Begun);
        check(None, Change::Ended);
        check(None, Change::None);
    }
}
