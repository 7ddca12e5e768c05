//! A few values by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A few values by name, in the order of the names. It is a map in JSON but a slice in memory, because a map would
/// reserve space for eleven entries in every record. A table that stays the same from cycle to cycle is shared by the
/// records. `K` is the type of the names.
#[derive(Clone, PartialEq, Eq)]
pub struct Table<V, K = Box<str>>(Arc<[(K, V)]>);

impl<V, K: AsRef<str>> Table<V, K> {
    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.0.binary_search_by(|(other, _)| other.as_ref().cmp(name)).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    /// Whether there is a value with this name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Each name with its value.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(name, _)| name)
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<V: Clone, K: Ord + Clone> Table<V, K> {
    /// The table with more values; a value with the same name is replaced.
    #[must_use]
    pub fn with<N: Into<K>>(self, more: impl IntoIterator<Item = (N, V)>) -> Self {
        let more = more.into_iter().map(|(name, value)| (name.into(), value));
        self.0.iter().cloned().chain(more).collect()
    }

    /// Adds a value; one with the same name is replaced.
    pub fn insert(&mut self, name: impl Into<K>, value: V) {
        *self = std::mem::take(self).with([(name, value)]);
    }
}

impl<V, K> Default for Table<V, K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V, K: Ord, N: Into<K>> FromIterator<(N, V)> for Table<V, K> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let mut values: Vec<(K, V)> = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if !values.is_sorted_by(|(one, _), (other, _)| one < other) {
            // The last value of a name counts; the sort is stable.
            values.reverse();
            values.sort_by(|(one, _), (other, _)| one.cmp(other));
            values.dedup_by(|(later, _), (first, _)| later == first);
        }
        Self(values.into())
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Table<V> {
    fn from(values: [(String, V); N]) -> Self {
        values.into_iter().collect()
    }
}

impl<V: fmt::Debug, K: AsRef<str>> fmt::Debug for Table<V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries()).finish()
    }
}

impl<V: Serialize, K: AsRef<str>> Serialize for Table<V, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

impl<'de, V: Deserialize<'de>, K: Deserialize<'de> + Ord> Deserialize<'de> for Table<V, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<K, V>::deserialize(deserializer).map(|values| values.into_iter().collect())
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
