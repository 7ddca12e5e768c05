//! The network traffic of a container as counters that grow by what it sent and received, and by nothing else.
//!
//! As with [block I/O](super::io), the increases of each interface are added. One that is new adds nothing yet: it may
//! have been the node's before.

use lxc_autoscale_core::snapshot::{ContainerRecord, InterfaceTraffic, NetworkUsage};
use lxc_autoscale_core::table::Table;

use super::increase;
use crate::sample::{Reading, Traffic};

/// The counters of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TrafficCounter {
    interfaces: Table<InterfaceTraffic>,
    /// `None` where it is not known what was counted before the monitor started.
    total: Option<NetworkUsage>,
}

impl TrafficCounter {
    /// At the first look at a run.
    pub(super) fn begin(now: &Traffic) -> Self {
        Self { interfaces: now.interfaces.clone(), total: Some(now.total) }
    }

    /// From the newest record of the monitor before.
    pub(super) fn of_record(record: &ContainerRecord) -> Self {
        Self { interfaces: record.network_interfaces.clone(), total: record.network_usage }
    }

    /// Where it is not known what was counted before.
    pub(super) fn lost() -> Self {
        Self { interfaces: Table::default(), total: None }
    }

    /// At a later look; what has been counted up to then, and whether it is all.
    pub(super) fn after(&self, now: &Traffic) -> (Self, Reading<()>) {
        let Some(mut total) = self.total else {
            return (
                Self::begin(now),
                Err("what was counted before the monitor started is not known".into()),
            );
        };
        let (mut is_whole, mut n_known) = (Ok(()), 0);
        for (name, interface) in now.interfaces.entries() {
            let Some(last) = self.interfaces.get(name) else { continue };
            n_known += 1;
            match (increase(last.rx_bytes, interface.rx_bytes), increase(last.tx_bytes, interface.tx_bytes)) {
                (Ok(received), Ok(sent)) => {
                    total.rx_bytes = total.rx_bytes.saturating_add(received);
                    total.tx_bytes = total.tx_bytes.saturating_add(sent);
                }
                (Err(missing), _) | (_, Err(missing)) => is_whole = Err(missing),
            }
        }
        if n_known == 0 && !self.interfaces.is_empty() && !now.interfaces.is_empty() {
            // As when its own end of a link is read because the node's cannot be.
            is_whole = Err("its interfaces are others than in the last sample".into());
        }
        (Self { interfaces: now.interfaces.clone(), total: Some(total) }, is_whole)
    }

    /// Each interface at the last look.
    pub(super) fn interfaces(&self) -> &Table<InterfaceTraffic> {
        &self.interfaces
    }

    /// What the container sent and received so far.
    pub(super) fn total(&self) -> NetworkUsage {
        self.total.unwrap_or(NetworkUsage { rx_bytes: 0, tx_bytes: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes received up to each look; `None` where not all of them are known.
    #[track_caller]
    fn check(looks: &[&[(&str, u64)]], want: &[Option<u64>]) {
        let mut counter: Option<TrafficCounter> = None;
        let mut found = Vec::new();
        for look in looks {
            let rx_bytes = look.iter().map(|(_, rx_bytes)| rx_bytes).sum();
            let total = NetworkUsage { rx_bytes, tx_bytes: 0 };
            let interfaces = look
                .iter()
                .map(|(name, rx_bytes)| {
                    (*name, InterfaceTraffic { rx_bytes: *rx_bytes, ..InterfaceTraffic::default() })
                })
                .collect();
            let now = Traffic { total, interfaces };
            let (next, is_whole) = match &counter {
                Some(counter) => counter.after(&now),
                None => (TrafficCounter::begin(&now), Ok(())),
            };
            found.push(is_whole.ok().map(|()| next.total().rx_bytes));
            counter = Some(next);
        }
        assert_eq!(found, want, "{looks:?}");
    }

    #[test]
    fn an_interface_that_comes_or_goes_is_no_traffic() {
        check(
            &[
                &[("a", 100)],
                &[("a", 110), ("b", 1 << 40)],
                &[("a", 120), ("b", (1 << 40) + 5)],
                &[("a", 130)],
                &[],
            ],
            &[Some(100), Some(110), Some(125), Some(135), Some(135)],
        );
        check(&[&[], &[("a", 7)], &[("a", 9)]], &[Some(0), Some(0), Some(2)]);
    }

    #[test]
    fn other_interfaces_and_a_counter_that_went_back_leave_the_time_unknown() {
        check(
            &[&[("veth104i0", 100)], &[("eth0", 101)], &[("veth104i0", 102)], &[("veth104i0", 105)]],
            &[Some(100), None, None, Some(103)],
        );
        check(
            &[&[("a", 100), ("b", 50)], &[("a", 110), ("b", 1)], &[("a", 120), ("b", 3)]],
            &[Some(150), None, Some(172)],
        );
    }
}
