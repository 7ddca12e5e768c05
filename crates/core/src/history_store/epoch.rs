//! The time in which a number belongs to one container.

use super::{Period, Tier};

/// When a number belongs to one container, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its first sample; [`i64::MIN`] if no other container is known to have had the number before.
    pub begins_ms: i64,
    /// The first sample of the next one; [`i64::MAX`] for the present container.
    pub ends_ms: i64,
}

impl Epoch {
    /// Of a number that only one container ever had.
    pub const ALL: Self = Self { begins_ms: i64::MIN, ends_ms: i64::MAX };

    /// Whether a sample is of this container.
    pub fn contains(self, at_ms: i64) -> bool {
        (self.begins_ms..self.ends_ms).contains(&at_ms)
    }

    /// The part of a period whose buckets are of this container. The bucket in which it begins is its own, the one in
    /// which the next one begins is not.
    pub fn buckets_of(self, period: Period) -> Period {
        let Period { tier, mut from_ms, mut to_ms } = period;
        if self.begins_ms != i64::MIN {
            from_ms = from_ms.max(tier.bucket_start(self.begins_ms));
        }
        if self.ends_ms != i64::MAX {
            to_ms = to_ms.min(tier.bucket_start(self.ends_ms));
        }
        Period { tier, from_ms, to_ms }
    }

    /// Whether a sample shares the bucket in which another container begins, to which that bucket belongs.
    pub fn is_cut_off(begins_ms: i64, tier: Tier, at_ms: i64) -> bool {
        at_ms < begins_ms && tier.bucket_start(begins_ms) <= at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_belongs_to_the_container_that_begins_in_it() {
        let (minute, begins_ms) = (60_000, 10 * 60_000 + 20_000);
        let (former, present) =
            (Epoch { ends_ms: begins_ms, ..Epoch::ALL }, Epoch { begins_ms, ..Epoch::ALL });
        let all = Tier::Minute.between(0, i64::MAX);
        assert_eq!(former.buckets_of(all), Tier::Minute.between(0, 10 * minute));
        assert_eq!(present.buckets_of(all), Tier::Minute.between(10 * minute, i64::MAX));
        assert_eq!(Epoch::ALL.buckets_of(all), all);
        assert!(former.contains(begins_ms - 1) && !former.contains(begins_ms));
        assert!(present.contains(begins_ms) && !present.contains(begins_ms - 1));
        let cut = |at_ms| Epoch::is_cut_off(begins_ms, Tier::Minute, at_ms);
        assert_eq!(
            [10 * minute - 1, 10 * minute, begins_ms - 1, begins_ms].map(cut),
            [false, true, true, false]
        );
    }
}
