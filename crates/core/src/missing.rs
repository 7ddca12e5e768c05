//! What is absent from a record, and why.
//!
//! The names of fields and most reasons are constants, and a reason that was found stays the same from cycle to
//! cycle, so a record with missing values needs no copies of either.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::table::Table;

/// The reason why each absent field is absent, by field name.
pub type MissingFields = Table<Missing, Cow<'static, str>>;

/// Why a value is absent, as a sentence for the operator. One reason often applies to several values and persists
/// from cycle to cycle, so cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Missing(Reason);

#[derive(Clone, Debug)]
enum Reason {
    Known(&'static str),
    Found(Arc<str>),
}

impl Missing {
    /// A reason with this text.
    pub fn because(reason: impl Into<Self>) -> Self {
        reason.into()
    }

    /// The text of the reason.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Reason::Known(reason) => reason,
            Reason::Found(reason) => reason,
        }
    }
}

impl PartialEq for Missing {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&'static str> for Missing {
    fn from(reason: &'static str) -> Self {
        Self(Reason::Known(reason))
    }
}

impl From<String> for Missing {
    fn from(reason: String) -> Self {
        Self(Reason::Found(reason.into()))
    }
}

impl Serialize for Missing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Missing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl MissingFields {
    /// Why a field is absent; `None` if it is not.
    pub fn reason(&self, field: &str) -> Option<&str> {
        self.get(field).map(Missing::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_of_texts_to_whoever_reads_it() {
        let mut missing: MissingFields = [("pool", Missing::from("not read"))].into_iter().collect();
        missing.insert("limits.cores", Missing::from("gone".to_owned()));
        let json = r#"{"limits.cores":"gone","pool":"not read"}"#;
        assert_eq!(serde_json::to_string(&missing).unwrap(), json);
        assert_eq!(serde_json::from_str::<MissingFields>(json).unwrap(), missing);
        assert_eq!((missing.reason("pool"), missing.reason("memory")), (Some("not read"), None));
    }
}
