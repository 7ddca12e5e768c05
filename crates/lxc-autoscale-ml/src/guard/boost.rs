//! The API's boosts: which are active, and which changes of sizes they made. Pure.
//!
//! While a boost is active, nothing is shrunk below its size; growth continues as usual. Its beginning and its end are
//! not lasting changes by anybody, so scaling continues as soon as it has ended. An undo expresses a person's will,
//! like any other size set through the API.

use jiff::Timestamp;
use lxc_autoscale_core::api::{BoostInfo, LedgerEntry, SizeOf};
use serde::{Deserialize, Serialize};

use crate::decide::{Allocation, Resource};

/// A boost of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boost {
    /// The boosted size, in cores or MiB.
    pub size: f64,
    /// When it ends.
    pub ends: Timestamp,
}

impl Boost {
    /// The time left, in seconds; `None` when it is over.
    pub fn left(&self, now: Timestamp) -> Option<u64> {
        u64::try_from(self.ends.duration_since(now).as_secs()).ok().filter(|left| 0 < *left)
    }
}

impl From<&BoostInfo> for Boost {
    fn from(info: &BoostInfo) -> Self {
        Self { size: info.size, ends: info.ends }
    }
}

/// A change of one size that the API made or noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ApiChange {
    /// When it ended.
    pub at: Timestamp,
    /// The size before, in cores or MiB; `None` if the configuration had none.
    pub before: Option<f64>,
    /// The size after.
    pub after: Option<f64>,
    /// Whether it was the beginning or the end of a boost.
    pub by_boost: bool,
    /// Whether it carried out a decision of ours.
    pub by_us: bool,
}

/// The resource that a size belongs to; `None` for one that is not scaled here.
pub fn resource(size: SizeOf) -> Option<Resource> {
    match size {
        SizeOf::Cores | SizeOf::Cpulimit => Some(Resource::Cpu),
        SizeOf::Memory => Some(Resource::Memory),
        SizeOf::Rootfs => None,
    }
}

/// The changes of one resource on a page of the API's ledger, oldest first, as sizes that a container with this
/// allocation shows.
pub fn changes(page: &[LedgerEntry], of: Resource, allocation: Option<Allocation>) -> Vec<ApiChange> {
    let has = allocation.unwrap_or_default();
    let shown = |size: SizeOf, value: Option<f64>| match size {
        SizeOf::Cores => Allocation { cores: value, ..has }.cores_by_configuration(),
        SizeOf::Cpulimit => Allocation { cpulimit: value, ..has }.cores_by_configuration(),
        SizeOf::Memory | SizeOf::Rootfs => value,
    };
    let of = page.iter().rev().filter(|entry| resource(entry.resource) == Some(of));
    of.map(|entry| ApiChange {
        at: entry.at,
        before: shown(entry.resource, entry.before),
        after: shown(entry.resource, entry.after),
        by_boost: entry.is_by_boost(),
        by_us: entry.decision().is_some(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::Vmid;

    use super::*;

    #[test]
    fn a_page_is_read_as_the_records_show_the_sizes() {
        let at = |seconds| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let entry = |number: u64, resource, before, after, why: &str| LedgerEntry {
            number,
            at: at(60 * number.cast_signed()),
            vm_id: Vmid::try_from(104).unwrap(),
            resource,
            before,
            after,
            caller: "uid:0".to_owned(),
            why: why.to_owned(),
            change: number,
            undoable: true,
        };
        // Newest first, as the API returns it.
        let page = [
            entry(5, SizeOf::Rootfs, Some(8192.0), Some(9216.0), "request"),
            entry(4, SizeOf::Memory, Some(2048.0), Some(512.0), "undo: boost"),
            entry(3, SizeOf::Cores, Some(8.0), Some(2.0), LedgerEntry::END_OF_BOOST),
            entry(2, SizeOf::Cores, Some(2.0), Some(8.0), "boost: it moves house tonight"),
            entry(1, SizeOf::Cpulimit, None, Some(4.0), "request"),
        ];
        let has = Allocation { cores: Some(2.0), cpulimit: Some(4.0), memory_mib: 512.0 };
        let shown = |of| -> Vec<_> {
            changes(&page, of, Some(has)).iter().map(|it| (it.before, it.after, it.by_boost)).collect()
        };
        assert_eq!(
            shown(Resource::Cpu),
            [
                (Some(2.0), Some(2.0), false),
                // The limit holds it at four of its eight cores.
                (Some(2.0), Some(4.0), true),
                (Some(4.0), Some(2.0), true),
            ]
        );
        assert_eq!(shown(Resource::Memory), [(Some(2048.0), Some(512.0), false)]);
        for (why, is_ours) in [
            ("request: decision 4711", true),
            ("request: plan applied, decision 12", true),
            ("request", false),
            ("request: decision of the board", false),
            ("undo: decision 4711", false),
            ("boost: decision 4711", false),
        ] {
            let page = [entry(1, SizeOf::Memory, Some(512.0), Some(768.0), why)];
            let read = changes(&page, Resource::Memory, Some(has));
            assert_eq!(read.iter().map(|it| it.by_us).collect::<Vec<_>>(), [is_ours], "{why}");
        }
        let boost = Boost { size: 8.0, ends: at(60) };
        assert_eq!((boost.left(at(0)), boost.left(at(60)), boost.left(at(61))), (Some(60), None, None));
    }
}
