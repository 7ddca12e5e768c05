//! A column of small numbers, packed by bits.
//!
//! There are three forms, of which the encoder takes the shortest: only zeros (no bytes at all); Rice codes of all
//! numbers (a quotient in unary ones, then `k` bits); or pairs of "this many zeros, then this number" for columns
//! that are mostly zero. Differences between neighbouring measurements are roughly geometrically distributed, for
//! which Rice codes are within a fraction of a bit of the optimum (Golomb, Run-length encodings, 1966).

use super::{Damaged, varint};

/// If the quotient would be longer, the number itself is stored instead.
const LONGEST_QUOTIENT: u32 = 20;
const ALL_ZERO: u8 = 0xff;
const SPARSE: u8 = 0x80;

/// Appends the column; its length must be known to the reader.
pub(super) fn push(out: &mut Vec<u8>, values: &[u32]) {
    let n_nonzero = values.iter().filter(|value| **value != 0).count();
    if n_nonzero == 0 {
        out.push(ALL_ZERO);
        return;
    }
    let dense_k = best_k(values.iter().copied());
    let dense_bits: u64 = values.iter().map(|value| cost(*value, dense_k)).sum();
    let value_k = best_k(values.iter().filter(|value| **value != 0).map(|value| value - 1));
    let pairs = gaps(values);
    let gap_k = best_k(pairs.iter().map(|(gap, _)| *gap));
    let sparse_bits: u64 =
        pairs.iter().map(|(gap, value)| cost(*gap, gap_k) + cost(value - 1, value_k)).sum();
    let mut bits = BitWriter { out, pending: 0, filled: 0 };
    // The sparse form additionally needs a byte and the number of its pairs.
    if sparse_bits + 24 < dense_bits {
        bits.out.push(SPARSE | value_k);
        bits.out.push(gap_k);
        varint::push(bits.out, n_nonzero as u64);
        for (gap, value) in pairs {
            bits.rice(gap, gap_k);
            bits.rice(value - 1, value_k);
        }
    } else {
        bits.out.push(dense_k);
        for value in values {
            bits.rice(*value, dense_k);
        }
    }
    bits.finish();
}

/// Unpacks a column of `length` numbers from `bytes` into `values`; returns the rest of `bytes`.
pub(super) fn take<'a>(bytes: &'a [u8], length: usize, values: &mut Vec<u32>) -> Result<&'a [u8], Damaged> {
    values.clear();
    let (head, rest) = bytes.split_first().ok_or(Damaged)?;
    match *head {
        ALL_ZERO => {
            values.resize(length, 0);
            Ok(rest)
        }
        head if head & SPARSE != 0 => {
            let (gap_k, mut rest) = rest.split_first().map(|(gap_k, rest)| (*gap_k, rest)).ok_or(Damaged)?;
            let n_nonzero = varint::take(&mut rest)?;
            let mut bits = BitReader { bytes: rest, pending: 0, filled: 0 };
            for _ in 0..n_nonzero {
                let gap = usize::try_from(bits.rice(gap_k)?).map_err(|_| Damaged)?;
                let value = bits.rice(head & !SPARSE)?.checked_add(1).ok_or(Damaged)?;
                if length <= values.len() + gap {
                    return Err(Damaged);
                }
                values.resize(values.len() + gap, 0);
                values.push(value);
            }
            values.resize(length, 0);
            Ok(bits.bytes)
        }
        k => {
            let mut bits = BitReader { bytes: rest, pending: 0, filled: 0 };
            for _ in 0..length {
                values.push(bits.rice(k)?);
            }
            Ok(bits.bytes)
        }
    }
}

/// Each number that is not zero, with the number of zeros before it.
fn gaps(values: &[u32]) -> Vec<(u32, u32)> {
    let mut gap = 0;
    let mut pairs = Vec::new();
    for value in values {
        if *value == 0 {
            gap += 1;
        } else {
            pairs.push((std::mem::take(&mut gap), *value));
        }
    }
    pairs
}

/// The parameter with the fewest bits; the best one is near the logarithm of the mean.
#[expect(clippy::needless_pass_by_value, reason = "an iterator that is cheap to copy reads better by value")]
fn best_k(values: impl Iterator<Item = u32> + Clone) -> u8 {
    let total = |k: u8| values.clone().map(|value| cost(value, k)).sum::<u64>();
    let (sum, n) = values.clone().fold((0_u64, 0_u64), |(sum, n), value| (sum + u64::from(value), n + 1));
    let mean = sum / n.max(1);
    let around = u8::try_from(u64::BITS - mean.leading_zeros()).unwrap_or(31);
    let candidates = around.saturating_sub(2)..=around.min(30);
    candidates.min_by_key(|k| total(*k)).unwrap_or(0)
}

fn cost(value: u32, k: u8) -> u64 {
    let quotient = value >> k;
    if LONGEST_QUOTIENT <= quotient {
        u64::from(LONGEST_QUOTIENT) + 32
    } else {
        u64::from(quotient) + 1 + u64::from(k)
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    filled: u32,
}

impl BitWriter<'_> {
    fn push(&mut self, bits: u64, length: u32) {
        self.pending |= bits << self.filled;
        self.filled += length;
        while 8 <= self.filled {
            self.out.push((self.pending & 0xff) as u8);
            self.pending >>= 8;
            self.filled -= 8;
        }
    }

    fn rice(&mut self, value: u32, k: u8) {
        let quotient = value >> k;
        if LONGEST_QUOTIENT <= quotient {
            self.push((1 << LONGEST_QUOTIENT) - 1, LONGEST_QUOTIENT);
            self.push(u64::from(value), 32);
        } else {
            // The ones, and the zero that ends them.
            self.push((1 << quotient) - 1, quotient + 1);
            self.push(u64::from(value) & ((1 << k) - 1), u32::from(k));
        }
    }

    fn finish(self) {
        if 0 < self.filled {
            self.out.push((self.pending & 0xff) as u8);
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    pending: u64,
    filled: u32,
}

impl BitReader<'_> {
    /// Makes sure that `length` bits (at most 32) are available.
    fn fill(&mut self, length: u32) -> Result<(), Damaged> {
        while self.filled < length {
            let (first, rest) = self.bytes.split_first().ok_or(Damaged)?;
            self.bytes = rest;
            self.pending |= u64::from(*first) << self.filled;
            self.filled += 8;
        }
        Ok(())
    }

    fn take(&mut self, length: u32) -> Result<u32, Damaged> {
        self.fill(length)?;
        let bits = self.pending & ((1 << length) - 1);
        self.pending >>= length;
        self.filled -= length;
        u32::try_from(bits).map_err(|_| Damaged)
    }

    fn rice(&mut self, k: u8) -> Result<u32, Damaged> {
        if 31 < k {
            return Err(Damaged);
        }
        let mut quotient = 0;
        loop {
            if self.filled == 0 {
                self.fill(1)?;
            }
            let ones = self.pending.trailing_ones().min(self.filled).min(LONGEST_QUOTIENT - quotient);
            self.pending >>= ones;
            self.filled -= ones;
            quotient += ones;
            if quotient == LONGEST_QUOTIENT {
                return self.take(32);
            }
            if 0 < self.filled {
                self.take(1)?;
                return Ok(quotient << k | self.take(u32::from(k))?);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(values: &[u32]) -> usize {
        let mut bytes = vec![7];
        push(&mut bytes, values);
        let size = bytes.len() - 1;
        bytes.extend_from_slice(b"rest");
        let mut back = Vec::new();
        assert_eq!(take(&bytes[1..], values.len(), &mut back), Ok(b"rest".as_slice()));
        assert_eq!(back, values);
        size
    }

    #[test]
    fn quiet_columns_cost_next_to_nothing() {
        assert_eq!(check(&[0; 288]), 1);
        let mut one_event = [0; 288];
        one_event[200] = 3;
        assert!(check(&one_event) <= 6);
        assert!(check(&[5; 288]) <= 288 * 5 / 8 + 2);
        check(&[]);
        check(&[u32::MAX, 0, 1]);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(values in prop::collection::vec(prop_oneof![Just(0), 0..5_u32, 0..5000_u32, any::<u32>()], 0..300)) {
            check(&values);
        }

        #[test]
        fn rubbish_is_refused_or_read_but_never_more_than_asked_for(bytes in prop::collection::vec(any::<u8>(), 0..60), length in 0..300_usize) {
            let mut values = Vec::new();
            let _ = take(&bytes, length, &mut values);
            prop_assert!(values.len() <= length);
        }
    }
}
