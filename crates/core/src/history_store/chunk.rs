//! Roll-ups of one series over one chunk of time, stored by column.
//!
//! ```text
//! version, buckets, place of each bucket in the chunk (differences), samples of each (differences),
//! then per metric: number, length, and the columns
//!     how many samples it lacks, mean (differences), mean - min, max - mean, max - p95
//! checksum
//! ```
//!
//! A single metric can be read without unpacking the others.

use std::collections::BTreeMap;

use super::bucket::{Bucket, Stats};
use super::metric::Metric;
use super::varint::{push, take, take_bytes, unzigzag, zigzag};
use super::{Damaged, column, crc};

const VERSION: u64 = 1;
/// More buckets than any chunk has, so that a wrong number cannot use up all memory.
const MOST_BUCKETS: u64 = 4096;

/// The buckets of a chunk by their position in it.
pub type Chunk = BTreeMap<u32, Bucket>;

/// Packs the buckets.
pub fn encode(chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    push(&mut out, VERSION);
    push(&mut out, chunk.len() as u64);
    let places = chunk.keys().scan(0, |next, place| {
        let gap = place - *next;
        *next = place + 1;
        Some(gap)
    });
    column::push(&mut out, &places.collect::<Vec<_>>());
    column::push(&mut out, &differences(chunk.values().map(|bucket| bucket.samples.cast_signed())));
    let mask = chunk
        .values()
        .flat_map(|bucket| &bucket.metrics)
        .fold(0_u64, |mask, (metric, _)| mask | 1 << metric.id());
    let (mut body, mut values) = (Vec::new(), Vec::new());
    // The position reached in each bucket's list of metrics, which is sorted by number.
    let mut next = vec![0; chunk.len()];
    for metric in Metric::ALL.iter().filter(|metric| mask >> metric.id() & 1 == 1) {
        let mut lacking = Vec::with_capacity(chunk.len());
        let mut stats = Vec::with_capacity(chunk.len());
        for (bucket, next) in chunk.values().zip(&mut next) {
            match bucket.metrics.get(*next) {
                Some((found, found_stats)) if found == metric => {
                    *next += 1;
                    lacking.push(bucket.samples.saturating_sub(found_stats.count));
                    stats.push(*found_stats);
                }
                _ => lacking.push(bucket.samples),
            }
        }
        body.clear();
        column::push(&mut body, &lacking);
        column::push(&mut body, &differences(stats.iter().map(|stats| i32::from(stats.mean))));
        for spread in [Stats::below, Stats::above, Stats::tail] {
            values.clear();
            values.extend(stats.iter().map(spread));
            column::push(&mut body, &values);
        }
        push(&mut out, u64::from(metric.id()));
        push(&mut out, body.len() as u64);
        out.extend_from_slice(&body);
    }
    crc::seal(&mut out);
    out
}

/// Unpacks the metrics for which `wanted` is true.
///
/// # Errors
/// [`Damaged`].
pub fn decode(blob: &[u8], wanted: impl Fn(Metric) -> bool) -> Result<Chunk, Damaged> {
    let mut bytes = crc::unseal(blob)?;
    if take(&mut bytes)? != VERSION {
        return Err(Damaged);
    }
    let n_buckets = take(&mut bytes)?;
    if MOST_BUCKETS < n_buckets {
        return Err(Damaged);
    }
    let n_buckets = usize::try_from(n_buckets).map_err(|_| Damaged)?;
    let (mut values, mut buckets) = (Vec::new(), Vec::with_capacity(n_buckets));
    bytes = column::take(bytes, n_buckets, &mut values)?;
    let mut next = 0_u32;
    for gap in &values {
        let place = next.checked_add(*gap).ok_or(Damaged)?;
        next = place.checked_add(1).ok_or(Damaged)?;
        buckets.push((place, Bucket::default()));
    }
    bytes = column::take(bytes, n_buckets, &mut values)?;
    let mut samples = 0_i32;
    for ((_, bucket), difference) in buckets.iter_mut().zip(&values) {
        samples = samples.wrapping_add(unzigzag(*difference));
        bucket.samples = samples.cast_unsigned();
    }
    let mut next_id = 0;
    while !bytes.is_empty() {
        let id = u8::try_from(take(&mut bytes)?).map_err(|_| Damaged)?;
        // Each once and in order, because packing and merging rely on that.
        if id < next_id {
            return Err(Damaged);
        }
        next_id = id.checked_add(1).ok_or(Damaged)?;
        let length = take(&mut bytes)?;
        let body = take_bytes(&mut bytes, length)?;
        // A metric of a later version is skipped.
        let Some(metric) = Metric::from_id(id).filter(|metric| wanted(*metric)) else { continue };
        take_metric(body, metric, &mut buckets)?;
    }
    Ok(buckets.into_iter().collect())
}

fn take_metric(body: &[u8], metric: Metric, buckets: &mut [(u32, Bucket)]) -> Result<(), Damaged> {
    let (mut lacking, mut mean, mut below) = (Vec::new(), Vec::new(), Vec::new());
    let (mut above, mut tail) = (Vec::new(), Vec::new());
    let body = column::take(body, buckets.len(), &mut lacking)?;
    let present =
        buckets.iter().zip(&lacking).filter(|((_, bucket), lacking)| **lacking < bucket.samples).count();
    let body = column::take(body, present, &mut mean)?;
    let body = column::take(body, present, &mut below)?;
    let body = column::take(body, present, &mut above)?;
    column::take(body, present, &mut tail)?;
    let mut spreads = mean.iter().zip(&below).zip(&above).zip(&tail);
    let mut level = 0_i32;
    for ((_, bucket), lacking) in buckets.iter_mut().zip(&lacking) {
        let Some(count) = bucket.samples.checked_sub(*lacking).filter(|count| 0 < *count) else { continue };
        let (((mean, below), above), tail) = spreads.next().ok_or(Damaged)?;
        level = level.wrapping_add(unzigzag(*mean));
        bucket.metrics.push((metric, Stats::from_spreads(count, level, *below, *above, *tail)?));
    }
    Ok(())
}

impl Stats {
    fn below(&self) -> u32 {
        u32::from(self.mean.saturating_sub(self.min))
    }

    fn above(&self) -> u32 {
        u32::from(self.max.saturating_sub(self.mean))
    }

    fn tail(&self) -> u32 {
        u32::from(self.max.saturating_sub(self.p95))
    }

    fn from_spreads(count: u32, mean: i32, below: u32, above: u32, tail: u32) -> Result<Self, Damaged> {
        let mean = u16::try_from(mean).map_err(|_| Damaged)?;
        let code = |wide: Option<u32>| wide.and_then(|wide| u16::try_from(wide).ok()).ok_or(Damaged);
        let max = code(u32::from(mean).checked_add(above))?;
        Ok(Self {
            count,
            min: code(u32::from(mean).checked_sub(below))?,
            mean,
            max,
            p95: code(u32::from(max).checked_sub(tail))?,
        })
    }
}

/// Each number minus the one before it.
fn differences(values: impl Iterator<Item = i32>) -> Vec<u32> {
    let mut previous = 0;
    values
        .map(|value| {
            let difference = value.wrapping_sub(previous);
            previous = value;
            zigzag(difference)
        })
        .collect()
}

/// Inserts new buckets into a chunk.
///
/// Of two buckets at the same position, the one made from more samples is kept. So inserting the same samples again,
/// in any order, changes nothing.
pub fn merge(chunk: &mut Chunk, new: impl IntoIterator<Item = (u32, Bucket)>) -> Merged {
    let mut merged = Merged::default();
    for (place, bucket) in new {
        match chunk.get(&place) {
            None => {
                merged.added += 1;
                chunk.insert(place, bucket);
            }
            Some(old) if old.samples < bucket.samples => {
                merged.replaced += 1;
                chunk.insert(place, bucket);
            }
            Some(_) => {}
        }
    }
    merged
}

/// The result of a [`merge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Buckets that did not exist before.
    pub added: u64,
    /// Buckets that replaced one made from fewer samples.
    pub replaced: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_stats(samples: u32) -> impl Strategy<Value = Stats> {
        (1..=samples, [0..u16::MAX, 0..u16::MAX, 0..u16::MAX, 0..u16::MAX]).prop_map(|(count, mut codes)| {
            codes.sort_unstable();
            Stats { count, min: codes[0], mean: codes[1], max: codes[3], p95: codes[2] }
        })
    }

    fn any_bucket() -> impl Strategy<Value = Bucket> {
        (1..100_u32).prop_flat_map(|samples| {
            prop::collection::btree_map(0..super::super::metric::COUNT, any_stats(samples), 0..6).prop_map(
                move |metrics| Bucket {
                    samples,
                    metrics: metrics.into_iter().map(|(id, stats)| (Metric::ALL[id], stats)).collect(),
                },
            )
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(chunk in prop::collection::btree_map(0..300_u32, any_bucket(), 0..40)) {
            let blob = encode(&chunk);
            let back = decode(&blob, |_| true);
            prop_assert_eq!(back.as_ref(), Ok(&chunk));
            let only_memory = decode(&blob, |metric| metric == Metric::Memory).unwrap();
            prop_assert!(only_memory.values().flat_map(|bucket| &bucket.metrics).all(|(metric, _)| *metric == Metric::Memory));
        }

        #[test]
        fn rubbish_with_a_right_checksum_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            bytes.insert(0, 1);
            crc::seal(&mut bytes);
            let _ = decode(&bytes, |_| true);
        }
    }

    #[test]
    fn the_fuller_bucket_stands() {
        let bucket = |samples| Bucket { samples, metrics: vec![] };
        let mut chunk = Chunk::from([(3, bucket(5))]);
        let merged = merge(&mut chunk, [(3, bucket(4)), (4, bucket(1))]);
        assert_eq!(merged, Merged { added: 1, replaced: 0 });
        assert_eq!(merge(&mut chunk, [(3, bucket(6))]), Merged { added: 0, replaced: 1 });
        assert_eq!(chunk, Chunk::from([(3, bucket(6)), (4, bucket(1))]));
        assert_eq!(merge(&mut chunk.clone(), chunk), Merged::default());
    }
}
