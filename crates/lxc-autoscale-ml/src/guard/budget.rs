//! The node's memory, and who gets what is left of it. Pure.
//!
//! Limits may add up to more than the node has, and on most nodes do; what must fit is what the containers are
//! **expected to use**. A container counts with its forecast peak (the largest evidence of its recommendation), at
//! least with its working set and at most with its limit. What is neither available nor used by a container is used by
//! the node itself and its virtual machines. The reserve is subtracted.
//!
//! Growth is granted one container after the other: by priority, then by need (ran out of memory, a shrink to undo,
//! needs more), then the smaller request, then the smaller id. Whoever comes too late gets what is left, and its
//! decision says how much that is and who came before.
//!
//! The CPU is not shared out this way: when it is short, the kernel divides time, no process dies of it, and no growth
//! goes beyond the CPUs of the node.

use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

/// How urgently a container needs to grow, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// It ran out of memory.
    RanOut,
    /// A harmful shrink is to be undone.
    Undo,
    /// It should have more.
    More,
    /// It is not to grow.
    Nothing,
}

/// One container's claim on the node's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The container.
    pub id: Vmid,
    /// Its priority; higher is served earlier.
    pub priority: i32,
    /// How urgently it needs to grow.
    pub need: Need,
    /// Its working set, in MiB; `None` when unknown.
    pub used_mib: Option<f64>,
    /// The most it is expected to use, in MiB; `None` when unknown, and then `size_mib` counts.
    pub expected_mib: Option<f64>,
    /// Its memory limit; `None` when unknown.
    pub size_mib: Option<f64>,
    /// The limit it should get.
    pub wanted_mib: f64,
}

/// The memory a container can get.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryBudget {
    /// The largest possible limit, in MiB.
    pub most_mib: f64,
    /// What all containers are expected to use, in MiB.
    pub committed_mib: f64,
    /// The memory available to containers, in MiB.
    pub budget_mib: f64,
    /// The last container that was granted memory before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Vmid>,
}

/// The node's memory while it is shared out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    total_mib: f64,
    others_mib: f64,
    committed_mib: f64,
    ahead: Option<Vmid>,
}

impl Claim {
    /// The expected usage with a limit of `size_mib`.
    fn committed(&self, size_mib: Option<f64>) -> f64 {
        let used = self.used_mib.unwrap_or(0.0);
        let expected = self.expected_mib.or(size_mib).unwrap_or(0.0).max(used);
        // Present usage counts, whatever the limit.
        size_mib.map_or(expected, |size| expected.min(size)).max(used)
    }
}

/// The claims to grow, in the order in which they are served.
pub fn order(claims: &[Claim]) -> Vec<usize> {
    let mut order: Vec<usize> =
        (0..claims.len()).filter(|index| claims[*index].need != Need::Nothing).collect();
    let added = |claim: &Claim| claim.wanted_mib - claim.size_mib.unwrap_or(0.0);
    order.sort_by(|one, other| {
        let (one, other) = (&claims[*one], &claims[*other]);
        let by_priority = other.priority.cmp(&one.priority).then(one.need.cmp(&other.need));
        by_priority.then(added(one).total_cmp(&added(other))).then(one.id.cmp(&other.id))
    });
    order
}

impl Shares {
    /// The node before anything is granted; `None` when its memory is unknown.
    pub fn new(total_mib: Option<f64>, available_mib: Option<f64>, claims: &[Claim]) -> Option<Self> {
        let (total_mib, available_mib) = (total_mib?, available_mib?);
        let used: f64 = claims.iter().filter_map(|claim| claim.used_mib).sum();
        let others_mib = (total_mib - available_mib - used).max(0.0);
        let committed_mib = claims.iter().map(|claim| claim.committed(claim.size_mib)).sum();
        Some(Self { total_mib, others_mib, committed_mib, ahead: None })
    }

    /// What all containers are expected to use, in MiB.
    pub fn committed_mib(&self) -> f64 {
        self.committed_mib
    }

    /// The memory available to containers, in MiB, with this part of the node in reserve.
    pub fn budget_mib(&self, reserve_percent: f64) -> f64 {
        self.total_mib * (1.0 - reserve_percent / 100.0) - self.others_mib
    }

    /// The memory the container can get; `None` when it can get what it wants.
    pub fn offer(&self, claim: &Claim, reserve_percent: f64) -> Option<MemoryBudget> {
        let budget_mib = self.budget_mib(reserve_percent);
        let spare = (budget_mib - self.committed_mib).max(0.0);
        let now = claim.committed(claim.size_mib);
        if claim.committed(Some(claim.wanted_mib)) <= now + spare {
            return None;
        }
        let (committed_mib, ahead) = (self.committed_mib, self.ahead);
        Some(MemoryBudget { most_mib: now + spare, committed_mib, budget_mib, ahead })
    }

    /// Notes that the container was granted a limit of `size_mib`.
    pub fn grant(&mut self, claim: &Claim, size_mib: f64) {
        let added = claim.committed(Some(size_mib)) - claim.committed(claim.size_mib);
        self.committed_mib += added.max(0.0);
        self.ahead = Some(claim.id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(id: u32, used: f64, expected: f64, size: f64, wanted: f64) -> Claim {
        Claim {
            id: Vmid::try_from(id).unwrap(),
            priority: 0,
            need: if size < wanted { Need::More } else { Need::Nothing },
            used_mib: Some(used),
            expected_mib: Some(expected),
            size_mib: Some(size),
            wanted_mib: wanted,
        }
    }

    /// Serves all claims; returns the sizes granted, by id.
    fn serve(total: f64, available: f64, claims: &[Claim]) -> (Vec<(u32, f64)>, Shares) {
        let mut shares = Shares::new(Some(total), Some(available), claims).unwrap();
        let mut granted = Vec::new();
        for index in order(claims) {
            let claim = &claims[index];
            let most = shares.offer(claim, 10.0).map_or(claim.wanted_mib, |budget| budget.most_mib);
            let size = most.min(claim.wanted_mib);
            if claim.size_mib.unwrap() < size {
                shares.grant(claim, size);
                granted.push((claim.id.get(), size));
            }
        }
        (granted, shares)
    }

    #[test]
    fn limits_may_exceed_the_node_and_expected_use_may_not() {
        // 10 000 MiB, 1000 in reserve, 2000 used by others: 7000 for containers.
        let claims = [claim(100, 1000.0, 2000.0, 8000.0, 8000.0), claim(101, 1000.0, 3000.0, 3000.0, 9000.0)];
        let (granted, shares) = serve(10_000.0, 6000.0, &claims);
        // It is expected to use 3000, so a limit of 9000 takes nothing from anybody.
        assert_eq!(granted, [(101, 9000.0)]);
        assert!(
            (shares.committed_mib() - 5000.0).abs() < 1e-9 && (shares.budget_mib(10.0) - 7000.0).abs() < 1e-9
        );
        let claims = [claim(100, 1000.0, 5000.0, 8000.0, 8000.0), claim(101, 1000.0, 4000.0, 1500.0, 4000.0)];
        let (granted, _) = serve(10_000.0, 6000.0, &claims);
        assert_eq!(granted, [(101, 2000.0)]);
    }

    #[test]
    fn the_first_in_order_gets_it_and_the_loser_is_told_who() {
        let more = |id| claim(id, 1000.0, 3000.0, 2000.0, 3000.0);
        let starved = Claim { need: Need::RanOut, ..more(103) };
        let undo = Claim { need: Need::Undo, ..more(102) };
        let important = Claim { priority: 5, ..more(104) };
        let small = Claim { wanted_mib: 2500.0, expected_mib: Some(2500.0), ..more(105) };
        let claims = [more(101), undo, starved, important, small];
        let ids: Vec<u32> = order(&claims).into_iter().map(|index| claims[index].id.get()).collect();
        assert_eq!(ids, [104, 103, 102, 105, 101]);
        // Room for one of two.
        let claims = [more(101), important];
        let mut shares = Shares::new(Some(8000.0), Some(5800.0), &claims).unwrap();
        assert_eq!(shares.offer(&claims[1], 35.0), None);
        shares.grant(&claims[1], 3000.0);
        let budget = shares.offer(&claims[0], 35.0).unwrap();
        assert_eq!((budget.most_mib, budget.ahead.map(Vmid::get)), (2000.0, Some(104)));
        assert!((budget.budget_mib - 5000.0).abs() < 1e-9 && (budget.committed_mib - 5000.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_unknown_is_counted_with_its_limit_and_an_unknown_node_has_no_budget() {
        let unknown = Claim { expected_mib: None, used_mib: None, ..claim(100, 0.0, 0.0, 4000.0, 4000.0) };
        let shares = Shares::new(Some(8000.0), Some(8000.0), &[unknown]).unwrap();
        assert!((shares.committed_mib() - 4000.0).abs() < 1e-9);
        assert_eq!(Shares::new(None, Some(8000.0), &[unknown]), None);
    }

    prop_compose! {
        fn claims()(rows in proptest::collection::vec(
            (0.0f64..8000.0, 0.0f64..8000.0, 16.0f64..8000.0, 0.0f64..8000.0, -2i32..3, 0u8..3), 0..12,
        )) -> Vec<Claim> {
            (100..).zip(rows).map(|(id, (used, expected, size, more, priority, need))| Claim {
                priority,
                need: [Need::RanOut, Need::Undo, Need::More][usize::from(need)],
                ..claim(id, used.min(size), expected, size, size + more)
            }).collect()
        }
    }

    proptest! {
        /// A grant never takes the node beyond its budget, nor a container below its present size.
        #[test]
        fn the_budget_is_kept(claims in claims(), total in 1000.0f64..64_000.0, free in 0.0f64..1.0) {
            let before = Shares::new(Some(total), Some(total * free), &claims).unwrap();
            let (granted, after) = serve(total, total * free, &claims);
            let most = before.budget_mib(10.0).max(before.committed_mib());
            prop_assert!(after.committed_mib() <= most * (1.0 + 1e-9) + 1e-6, "{granted:?}");
            // Recomputed from the present sizes, it is the same.
            let now: f64 = claims.iter().map(|claim| {
                let size = granted.iter().find(|(id, _)| *id == claim.id.get()).map(|(_, size)| *size);
                claim.committed(size.or(claim.size_mib))
            }).sum();
            prop_assert!((now - after.committed_mib()).abs() < 1e-6);
        }
    }
}
