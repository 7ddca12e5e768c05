//! How many more containers fit on the node, what runs out first, and when. Pure.
//!
//! Memory follows the rules by which growth is granted ([`crate::guard::budget`]): the expected usage of all containers
//! must fit into the node's memory, less its reserve and less the usage of the node itself and its virtual machines. A
//! newcomer is granted its share repeatedly until it is refused. The CPU has no reserve, as for growth: the peaks are
//! added up as if they coincided, which is cautious.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use serde::Serialize;

use crate::decide::Resource;
use crate::guard::budget::{Claim, Need, Shares};
use crate::guard::leak::trend;

/// Most that are counted.
const MOST: u32 = 9_999;
/// Days with a peak needed for a trend: a week, so that each weekday occurs once.
pub const LEAST_DAYS: usize = 7;
/// Least Kendall's τ of a rise; as for leaks, less steady ones are noise.
const LEAST_TAU: f64 = 0.5;
/// Nothing further away than this is predicted.
const FARTHEST_DAYS: f64 = 3650.0;

/// The container to be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Newcomer {
    /// CPU at its peak, in cores.
    pub cores: f64,
    /// Memory at its peak, in MiB.
    pub memory_mib: f64,
}

/// The node and its containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Room {
    /// CPUs online.
    pub cpus: Option<u32>,
    /// Memory, in MiB.
    pub memory_total_mib: Option<f64>,
    /// Available memory, in MiB.
    pub memory_available_mib: Option<f64>,
    /// Memory held in reserve, in percent.
    pub reserve_percent: f64,
    /// The containers' claims on memory.
    pub claims: Vec<Claim>,
    /// The containers' peaks of CPU, in cores.
    pub peak_cores: Vec<f64>,
}

/// A resource of the node, in cores or MiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Supply {
    /// What the node has.
    pub total: f64,
    /// The reserve.
    pub reserve: f64,
    /// Usage by the node itself and its virtual machines.
    pub others: f64,
    /// Expected usage by the containers.
    pub expected: f64,
    /// The rest.
    pub free: f64,
    /// The number of newcomers that fit into it.
    pub fits: u32,
}

/// How many newcomers fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// By CPU; absent if the node's CPUs are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Supply>,
    /// By memory; absent if the node's memory is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Supply>,
    /// By both; absent if neither is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// What runs out first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Resource>,
}

/// The trend of a resource over the days.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outlook", rename_all = "snake_case")]
pub enum Outlook {
    /// There is too little data.
    Unknown {
        /// Days with a peak.
        days: usize,
        /// Days needed.
        needed_days: usize,
    },
    /// The peaks do not rise.
    Steady {
        /// Days with a peak.
        days: usize,
    },
    /// The peaks rise.
    Rising {
        /// Days with a peak.
        days: usize,
        /// Rise per day, in cores or MiB.
        per_day: f64,
        /// When nothing is left at this rate; absent if that is years away.
        #[serde(skip_serializing_if = "Option::is_none")]
        full_at: Option<Timestamp>,
    },
}

/// How many newcomers fit.
pub fn fit(room: &Room, newcomer: &Newcomer) -> Fit {
    let (cpu, memory) = (cpu(room, newcomer), memory(room, newcomer));
    let [by_cpu, by_memory] = [&cpu, &memory].map(|supply| supply.as_ref().map(|supply| supply.fits));
    let first = match (by_cpu, by_memory) {
        (Some(cpu), Some(memory)) if cpu < memory => Some(Resource::Cpu),
        (_, Some(_)) => Some(Resource::Memory),
        (Some(_), None) => Some(Resource::Cpu),
        (None, None) => None,
    };
    let count = [by_cpu, by_memory].into_iter().flatten().min();
    Fit { cpu, memory, count, first }
}

fn cpu(room: &Room, newcomer: &Newcomer) -> Option<Supply> {
    let total = f64::from(room.cpus?);
    let expected: f64 = room.peak_cores.iter().sum();
    let free = (total - expected).max(0.0);
    let fits = (free / newcomer.cores.max(f64::MIN_POSITIVE)).floor().min(f64::from(MOST));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, from 0 to MOST")]
    let fits = fits as u32;
    Some(Supply { total, reserve: 0.0, others: 0.0, expected, free, fits })
}

fn memory(room: &Room, newcomer: &Newcomer) -> Option<Supply> {
    let total = room.memory_total_mib?;
    let mut shares = Shares::new(Some(total), room.memory_available_mib, &room.claims)?;
    let (budget, expected) = (shares.budget_mib(room.reserve_percent), shares.committed_mib());
    let mut fits = 0;
    for id in 1..=MOST {
        let claim = Claim {
            // Not one of the node's containers: only its size counts.
            id: Vmid::try_from(100 + id).ok()?,
            priority: 0,
            need: Need::More,
            used_mib: Some(0.0),
            expected_mib: Some(newcomer.memory_mib),
            size_mib: Some(0.0),
            wanted_mib: newcomer.memory_mib,
        };
        if shares.offer(&claim, room.reserve_percent).is_some() {
            break;
        }
        shares.grant(&claim, claim.wanted_mib);
        fits = id;
    }
    let reserve = total * room.reserve_percent / 100.0;
    let free = (budget - expected).max(0.0);
    Some(Supply { total, reserve, others: total - reserve - budget, expected, free, fits })
}

/// When the rising daily peaks, now at what is `expected`, will have used up what is `free`.
///
/// `peaks` are (day, amount); the trend is the median slope of all pairs (Sen, JASA 63, 1968).
pub fn outlook(peaks: &[(i64, f64)], free: f64, now: Timestamp) -> Outlook {
    let days = peaks.len();
    if days < LEAST_DAYS {
        return Outlook::Unknown { days, needed_days: LEAST_DAYS };
    }
    match trend(peaks) {
        Some((tau, per_day)) if LEAST_TAU <= tau && 0.0 < per_day => {
            let left = free / per_day;
            #[expect(clippy::cast_possible_truncation, reason = "at most ten years")]
            let seconds = (left.min(FARTHEST_DAYS) * 86_400.0) as i64;
            let full_at = now.checked_add(SignedDuration::from_secs(seconds)).ok();
            Outlook::Rising { days, per_day, full_at: full_at.filter(|_| left < FARTHEST_DAYS) }
        }
        _ => Outlook::Steady { days },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: u32, expected: f64) -> Claim {
        Claim {
            id: Vmid::try_from(id).unwrap(),
            priority: 0,
            need: Need::Nothing,
            used_mib: Some(expected / 2.0),
            expected_mib: Some(expected),
            size_mib: Some(2.0 * expected),
            wanted_mib: 2.0 * expected,
        }
    }

    /// 16 CPUs and 10,000 MiB, with a tenth in reserve and 1,000 used by the node itself.
    fn room() -> Room {
        Room {
            cpus: Some(16),
            memory_total_mib: Some(10_000.0),
            memory_available_mib: Some(7000.0),
            reserve_percent: 10.0,
            claims: vec![claim(100, 1000.0), claim(101, 3000.0)],
            peak_cores: vec![4.0, 8.0],
        }
    }

    #[test]
    fn what_runs_out_first_decides() {
        let got = fit(&room(), &Newcomer { cores: 0.5, memory_mib: 1000.0 });
        let memory = got.memory.unwrap();
        // 9000 − 1000 of the node − 4000 expected.
        assert_eq!((memory.others, memory.expected, memory.free, memory.fits), (1000.0, 4000.0, 4000.0, 4));
        assert_eq!((got.cpu.unwrap().fits, got.count, got.first), (8, Some(4), Some(Resource::Memory)));
        let got = fit(&room(), &Newcomer { cores: 3.0, memory_mib: 100.0 });
        assert_eq!((got.count, got.first), (Some(1), Some(Resource::Cpu)));
        let got = fit(&room(), &Newcomer { cores: 0.5, memory_mib: 4001.0 });
        assert_eq!(got.count, Some(0));
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let unknown = Room { memory_available_mib: None, ..room() };
        let got = fit(&unknown, &Newcomer { cores: 3.0, memory_mib: 100.0 });
        assert_eq!((got.memory, got.count, got.first), (None, Some(1), Some(Resource::Cpu)));
        let unknown = Room { cpus: None, ..unknown };
        assert_eq!(fit(&unknown, &Newcomer { cores: 3.0, memory_mib: 100.0 }).count, None);
    }

    #[test]
    fn a_rise_ends_where_nothing_is_left() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let peaks = |days: i64, of: fn(i64) -> f64| (0..days).map(|day| (day, of(day))).collect::<Vec<_>>();
        let in_days = |days: i64| now + SignedDuration::from_hours(24 * days);
        let rising = outlook(&peaks(10, |day| 100.0 + 10.0 * day as f64), 200.0, now);
        assert_eq!(rising, Outlook::Rising { days: 10, per_day: 10.0, full_at: Some(in_days(20)) });
        let slow = outlook(&peaks(10, |day| 100.0 + 0.001 * day as f64), 200.0, now);
        assert!(matches!(slow, Outlook::Rising { full_at: None, .. }), "{slow:?}");
        let week = outlook(&peaks(14, |day| if day % 7 < 5 { 500.0 } else { 100.0 }), 200.0, now);
        assert_eq!(week, Outlook::Steady { days: 14 });
        assert_eq!(outlook(&peaks(14, |day| -day as f64), 200.0, now), Outlook::Steady { days: 14 });
        let short = outlook(&peaks(6, |day| day as f64), 200.0, now);
        assert_eq!(short, Outlook::Unknown { days: 6, needed_days: 7 });
    }
}
