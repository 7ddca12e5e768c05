//! A few values by name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A few values by name, in the order of the names: a map in JSON, and a slice in memory, where a map would keep room
/// for eleven of them in every record.
#[derive(Clone, PartialEq, Eq)]
pub struct Table<V>(Box<[(Box<str>, V)]>);

impl<V> Table<V> {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Name and value of each.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(name, _)| name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With some more; one of a name that is there takes its place.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = (String, V)>) -> Self {
        let more = more.into_iter().map(|(name, value)| (name.into_boxed_str(), value));
        self.0.into_vec().into_iter().chain(more).collect()
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V, K: Into<Box<str>>> FromIterator<(K, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(values: I) -> Self {
        let mut values: Vec<(Box<str>, V)> =
            values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        // The last of a name counts; the sort keeps their order.
        values.reverse();
        values.sort_by(|(one, _), (other, _)| one.cmp(other));
        values.dedup_by(|(later, _), (first, _)| later == first);
        Self(values.into_boxed_slice())
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Table<V> {
    fn from(values: [(String, V); N]) -> Self {
        values.into_iter().collect()
    }
}

impl<V: fmt::Debug> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl<V: Serialize> Serialize for Table<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Table<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<Box<str>, V>::deserialize(deserializer).map(|values| values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map_to_whoever_reads_it() {
        let table: Table<u8> = [("b", 2), ("a", 0), ("c", 3), ("a", 1)].into_iter().collect();
        let want = BTreeMap::from([("a", 1), ("b", 2), ("c", 3)]);
        assert!(table.entries().eq(want.iter().map(|(name, value)| (*name, value))));
        assert_eq!((table.get("b"), table.get("d"), table.len()), (Some(&2), None, 3));
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(json, serde_json::to_string(&want).unwrap());
        assert_eq!(serde_json::from_str::<Table<u8>>(&json).unwrap(), table);
        assert_eq!(serde_json::from_str::<Table<u8>>(r#"{"z":1,"a":2}"#).unwrap().get("a"), Some(&2));
        let more = table.with([("c".to_owned(), 4), ("d".to_owned(), 5)]);
        assert_eq!(format!("{more:?}"), r#"{"a": 1, "b": 2, "c": 4, "d": 5}"#);
        assert!(Table::<u8>::default().is_empty());
    }
}
