//! The API's boosts: which are active, and which changes of sizes they made. Pure.
//!
//! While a boost is active, nothing is shrunk below its size; growth continues as usual. Its beginning and its end are
//! not lasting changes by anybody, so scaling continues as soon as it has ended. An undo expresses a person's will,
//! like any other size set through the API.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::api::{BoostInfo, LedgerEntry, SizeOf};
use serde::{Deserialize, Serialize};

use crate::decide::{Allocation, Resource};

/// How long a boost counts as on whose time is over and that the API still lists: no longer than until the API is asked
/// again.
const A_MOMENT: SignedDuration = SignedDuration::from_secs(1);

/// A boost of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boost {
    /// The boosted size, in cores or MiB.
    pub size: f64,
    /// When it ends.
    pub ends: Timestamp,
}

impl Boost {
    /// The time left, in seconds, of which the last is not over before it is; `None` when it is over.
    pub fn left(&self, now: Timestamp) -> Option<u64> {
        let left = self.ends.duration_since(now);
        let begun = i64::from(0 < left.subsec_nanos());
        u64::try_from(left.as_secs() + begun).ok().filter(|left| 0 < *left)
    }

    /// A boost that the API lists at `now`; `None` if its end waits only for the container to need less.
    ///
    /// Until the API has given the size back the boost is on, whatever the clock says: a size set now would be lost, or
    /// would be taken for somebody's wish. An end that waits may do so for long, and scaling goes on meanwhile.
    pub fn listed(info: &BoostInfo, now: Timestamp) -> Option<Self> {
        let ends = info.ends.max(now + A_MOMENT);
        info.waiting.is_none().then_some(Self { size: info.size, ends })
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

    /// The API gives the size back, so what it lists is on.
    #[test]
    fn a_listed_boost_is_on_to_its_last_moment_and_until_it_is_given_back() {
        let ends = Timestamp::from_second(1_800_000_060).unwrap();
        let info = |waiting: Option<&str>| BoostInfo {
            id: 1,
            vm_id: Vmid::try_from(104).unwrap(),
            resource: SizeOf::Memory,
            size: 4096.0,
            base: Some(2048.0),
            began: ends - SignedDuration::from_mins(1),
            ends,
            caller: "uid:0".to_owned(),
            waiting: waiting.map(str::to_owned),
        };
        for (left_ms, seconds) in [(59_001, 60), (59_000, 59), (1000, 1), (170, 1), (0, 1), (-2500, 1)] {
            let now = ends - SignedDuration::from_millis(left_ms);
            let left = Boost::listed(&info(None), now).and_then(|boost| boost.left(now));
            assert_eq!(left, Some(seconds), "{left_ms} ms left");
            assert_eq!(Boost::listed(&info(Some("it needs more")), now), None);
        }
        // Once the API is not asked any more, the time decides.
        let known = Boost::listed(&info(None), ends).unwrap();
        assert_eq!(known.left(ends + A_MOMENT), None);
    }
}
