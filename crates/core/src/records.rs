//! The records of many containers.

use std::ops::Index;

use crate::Vmid;
use crate::snapshot::ContainerRecord;

/// Records by container, in the order of their ids: what a map does, in one piece of memory.
///
/// A record is larger than a KiB. A thousand of them in pieces of their own leave as many holes behind among what stays for
/// longer, while one piece of that size goes back to the system as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerRecords(Vec<(Vmid, ContainerRecord)>);

impl ContainerRecords {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The record of a container.
    pub fn get(&self, vmid: &Vmid) -> Option<&ContainerRecord> {
        self.0.get(self.place(*vmid).ok()?).map(|(_, record)| record)
    }

    /// The record of a container, to be changed.
    pub fn get_mut(&mut self, vmid: &Vmid) -> Option<&mut ContainerRecord> {
        let place = self.place(*vmid).ok()?;
        self.0.get_mut(place).map(|(_, record)| record)
    }

    /// Whether there is a record of a container.
    pub fn contains_key(&self, vmid: &Vmid) -> bool {
        self.place(*vmid).is_ok()
    }

    /// Adds a record; returns the one in whose place it comes.
    pub fn insert(&mut self, vmid: Vmid, record: ContainerRecord) -> Option<ContainerRecord> {
        match self.place(vmid) {
            Ok(place) => self.0.get_mut(place).map(|(_, before)| std::mem::replace(before, record)),
            Err(place) => {
                self.0.insert(place, (vmid, record));
                None
            }
        }
    }

    /// Takes a record away.
    pub fn remove(&mut self, vmid: &Vmid) -> Option<ContainerRecord> {
        let place = self.place(*vmid).ok()?;
        Some(self.0.remove(place).1)
    }

    /// Takes all records away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps some.
    pub fn retain(&mut self, mut stays: impl FnMut(&Vmid, &mut ContainerRecord) -> bool) {
        self.0.retain_mut(|(vmid, record)| stays(vmid, record));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its container.
    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    /// Each with its container, to be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        self.into_iter()
    }

    /// Each with its container, from behind one on.
    pub fn after(&self, vmid: Option<Vmid>) -> Iter<'_> {
        let first = vmid.map_or(0, |vmid| self.place(vmid).map_or_else(|place| place, |place| place + 1));
        self.0.get(first..).unwrap_or_default().iter().map(|(vmid, record)| (vmid, record))
    }

    /// The containers.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Vmid> + ExactSizeIterator {
        self.0.iter().map(|(vmid, _)| vmid)
    }

    /// The records.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &ContainerRecord> + ExactSizeIterator {
        self.0.iter().map(|(_, record)| record)
    }

    /// The records, to be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut ContainerRecord> {
        self.0.iter_mut().map(|(_, record)| record)
    }

    /// The records by themselves.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = ContainerRecord> {
        self.0.into_iter().map(|(_, record)| record)
    }

    /// Where the record of a container stands, or would stand.
    fn place(&self, vmid: Vmid) -> Result<usize, usize> {
        // They often come in their order.
        if self.0.last().is_none_or(|(last, _)| *last < vmid) {
            return Err(self.0.len());
        }
        self.0.binary_search_by_key(&vmid, |(vmid, _)| *vmid)
    }
}

impl From<Vec<(Vmid, ContainerRecord)>> for ContainerRecords {
    /// Of several records of one container the last counts.
    fn from(mut records: Vec<(Vmid, ContainerRecord)>) -> Self {
        if !records.is_sorted_by(|(one, _), (other, _)| one < other) {
            records.reverse();
            records.sort_by_key(|(vmid, _)| *vmid);
            records.dedup_by_key(|(vmid, _)| *vmid);
        }
        Self(records)
    }
}

impl FromIterator<(Vmid, ContainerRecord)> for ContainerRecords {
    fn from_iter<I: IntoIterator<Item = (Vmid, ContainerRecord)>>(records: I) -> Self {
        records.into_iter().collect::<Vec<_>>().into()
    }
}

impl<const N: usize> From<[(Vmid, ContainerRecord); N]> for ContainerRecords {
    fn from(records: [(Vmid, ContainerRecord); N]) -> Self {
        Vec::from(records).into()
    }
}

impl Extend<(Vmid, ContainerRecord)> for ContainerRecords {
    fn extend<I: IntoIterator<Item = (Vmid, ContainerRecord)>>(&mut self, records: I) {
        for (vmid, record) in records {
            self.insert(vmid, record);
        }
    }
}

impl Index<&Vmid> for ContainerRecords {
    type Output = ContainerRecord;

    /// The record of a container that has one; panics as a map does where it has none.
    fn index(&self, vmid: &Vmid) -> &ContainerRecord {
        let place = self.place(*vmid).unwrap_or(usize::MAX);
        &self.0[place].1
    }
}

/// Records by reference, each with its container.
pub type Iter<'a> = std::iter::Map<
    std::slice::Iter<'a, (Vmid, ContainerRecord)>,
    fn(&'a (Vmid, ContainerRecord)) -> (&'a Vmid, &'a ContainerRecord),
>;

/// Records to be changed, each with its container.
pub type IterMut<'a> = std::iter::Map<
    std::slice::IterMut<'a, (Vmid, ContainerRecord)>,
    fn(&'a mut (Vmid, ContainerRecord)) -> (&'a Vmid, &'a mut ContainerRecord),
>;

impl<'a> IntoIterator for &'a ContainerRecords {
    type Item = (&'a Vmid, &'a ContainerRecord);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.0.iter().map(|(vmid, record)| (vmid, record))
    }
}

impl<'a> IntoIterator for &'a mut ContainerRecords {
    type Item = (&'a Vmid, &'a mut ContainerRecord);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> IterMut<'a> {
        self.0.iter_mut().map(|(vmid, record)| (&*vmid, record))
    }
}

impl IntoIterator for ContainerRecords {
    type Item = (Vmid, ContainerRecord);
    type IntoIter = std::vec::IntoIter<(Vmid, ContainerRecord)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;
    use crate::RecordTime;

    fn vmid(number: u32) -> Vmid {
        Vmid::try_from(100 + number).unwrap()
    }

    fn record(count: u64) -> ContainerRecord {
        let time: RecordTime = "2026-11-26T12:00:00+00:00".parse().unwrap();
        ContainerRecord { process_count: Some(count), ..ContainerRecord::empty(time) }
    }

    proptest! {
        /// Whatever comes and goes, in whichever order, it holds what a map holds, in its order.
        #[test]
        fn it_is_a_map(
            first in proptest::collection::vec((0_u32..20, 0_u64..1000), 0..30),
            then in proptest::collection::vec((0_u32..20, proptest::option::of(0_u64..1000)), 0..30),
        ) {
            let pairs = || first.iter().map(|(number, count)| (vmid(*number), record(*count)));
            let mut map: BTreeMap<_, _> = pairs().collect();
            let mut records: ContainerRecords = pairs().collect();
            for (number, count) in then {
                let vmid = vmid(number);
                prop_assert_eq!(records.get(&vmid), map.get(&vmid));
                prop_assert_eq!(records.contains_key(&vmid), map.contains_key(&vmid));
                if let Some(count) = count {
                    prop_assert_eq!(records.insert(vmid, record(count)), map.insert(vmid, record(count)));
                } else {
                    prop_assert_eq!(records.remove(&vmid), map.remove(&vmid));
                }
                prop_assert_eq!(records.len(), map.len());
            }
            prop_assert!(records.iter().eq(&map));
            for after in (0..20).map(vmid) {
                prop_assert!(records.after(Some(after)).eq(map.range((Bound::Excluded(after), Bound::Unbounded))));
            }
            prop_assert!(records.after(None).eq(&map));
            prop_assert!(records.keys().eq(map.keys()) && records.values().eq(map.values()));
            prop_assert!(records.into_iter().eq(map));
        }
    }
}
