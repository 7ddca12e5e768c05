//! Frames of raw samples: a frame has the cycles of some seconds, for up to 32 neighbouring series.
//!
//! ```text
//! version, cycles, offset of each cycle in ms (differences),
//! series, then per series: number (difference), length, and per cycle:
//!     changed-presence mask, changed-value mask, differences of the values that changed
//! checksum
//! ```
//!
//! Every number is a varint; a value that did not change since the previous cycle takes no space.

use super::bucket::{Codes, Sample};
use super::metric::Metric;
use super::varint::{push, take, take_bytes, take_u32, unzigzag, zigzag};
use super::{Damaged, Series, crc};

const VERSION: u64 = 1;

/// The samples of some series at common times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The times, in milliseconds since the epoch, in the order measured.
    pub at_ms: Vec<i64>,
    /// Each series with its sample at each time; `None` if it was not measured.
    pub series: Vec<(Series, Vec<Option<Codes>>)>,
}

/// Packs a frame; `series` must be in ascending order. The first time is stored next to the blob.
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 64 * frame.series.len());
    push(&mut out, VERSION);
    push(&mut out, frame.at_ms.len() as u64);
    for pair in frame.at_ms.windows(2) {
        push_signed(&mut out, pair[1] - pair[0]);
    }
    push(&mut out, frame.series.len() as u64);
    let (mut previous, mut body) = (0, Vec::new());
    for (series, samples) in &frame.series {
        body.clear();
        let mut before = Codes::NONE;
        for sample in samples {
            let now = sample.unwrap_or(Codes::NONE);
            push_codes(&mut body, &before, &now);
            before = now;
        }
        push(&mut out, u64::from(series.get() - previous));
        push(&mut out, body.len() as u64);
        out.extend_from_slice(&body);
        previous = series.get();
    }
    crc::seal(&mut out);
    out
}

/// Calls `each` with every sample of the series for which `wanted` is true.
///
/// # Errors
/// [`Damaged`]; no sample is delivered unless the checksum is correct.
pub fn decode(
    blob: &[u8],
    first_ms: i64,
    wanted: impl Fn(Series) -> bool,
    mut each: impl FnMut(Series, Sample),
) -> Result<(), Damaged> {
    let mut bytes = crc::unseal(blob)?;
    if take(&mut bytes)? != VERSION {
        return Err(Damaged);
    }
    let n_cycles = take(&mut bytes)?;
    let mut moments = Vec::new();
    for index in 0..n_cycles {
        let at = match moments.last() {
            None => first_ms,
            Some(last) if 0 < index => take_signed(&mut bytes)?.checked_add(*last).ok_or(Damaged)?,
            Some(_) => return Err(Damaged),
        };
        moments.push(at);
    }
    let n_series = take(&mut bytes)?;
    let mut number = 0_u32;
    for _ in 0..n_series {
        number = number.checked_add(take_u32(&mut bytes)?).ok_or(Damaged)?;
        let length = take(&mut bytes)?;
        let mut body = take_bytes(&mut bytes, length)?;
        let series = Series::from_raw(number);
        if !wanted(series) {
            continue;
        }
        let mut codes = Codes::NONE;
        for at_ms in &moments {
            codes = take_codes(&mut body, &codes)?;
            if codes.mask() != 0 {
                each(series, Sample { at_ms: *at_ms, codes });
            }
        }
    }
    Ok(())
}

fn push_codes(out: &mut Vec<u8>, before: &Codes, now: &Codes) {
    let mut changed = 0;
    let mut differences = [0_u32; super::metric::COUNT];
    for metric in Metric::ALL {
        let Some(code) = now.get(*metric) else { continue };
        let difference = i32::from(code) - i32::from(before.get(*metric).unwrap_or(0));
        if difference != 0 {
            changed |= 1_u64 << metric.id();
            differences[usize::from(metric.id())] = zigzag(difference);
        }
    }
    push(out, before.mask() ^ now.mask());
    push(out, changed);
    for difference in differences.into_iter().filter(|difference| *difference != 0) {
        push(out, u64::from(difference));
    }
}

fn take_codes(bytes: &mut &[u8], before: &Codes) -> Result<Codes, Damaged> {
    let present = before.mask() ^ take(bytes)?;
    let changed = take(bytes)?;
    if changed & !present != 0 || 64 - present.leading_zeros() as usize > super::metric::COUNT {
        return Err(Damaged);
    }
    let mut codes = Codes::NONE;
    for metric in Metric::ALL.iter().filter(|metric| present >> metric.id() & 1 == 1) {
        let mut code = i32::from(before.get(*metric).unwrap_or(0));
        if changed >> metric.id() & 1 == 1 {
            code = code.checked_add(unzigzag(take_u32(bytes)?)).ok_or(Damaged)?;
        }
        codes.set_code(*metric, u16::try_from(code).map_err(|_| Damaged)?);
    }
    Ok(codes)
}

fn push_signed(out: &mut Vec<u8>, value: i64) {
    push(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn take_signed(bytes: &mut &[u8]) -> Result<i64, Damaged> {
    let value = take(bytes)?;
    Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_codes() -> impl Strategy<Value = Option<Codes>> {
        prop::option::of(prop::collection::btree_map(0..super::super::metric::COUNT, any::<u16>(), 1..20))
            .prop_map(|known| {
                known.map(|known| {
                    let mut codes = Codes::NONE;
                    for (id, code) in known {
                        codes.set_code(Metric::ALL[id], code);
                    }
                    codes
                })
            })
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            at_ms in prop::collection::vec(0..2_000_000_000_000_i64, 1..6),
            ids in prop::collection::btree_set(0..u32::MAX, 0..5),
            pool in prop::collection::vec(any_codes(), 30),
        ) {
            let n = at_ms.len();
            let series: Vec<_> = ids.into_iter().enumerate().map(|(index, id)| {
                (Series::from_raw(id), (0..n).map(|cycle| pool[(index * n + cycle) % 30]).collect::<Vec<_>>())
            }).collect();
            let frame = Frame { at_ms, series };
            let blob = encode(&frame);
            let mut found = Vec::new();
            decode(&blob, frame.at_ms[0], |_| true, |series, sample| found.push((series, sample))).unwrap();
            let want: Vec<_> = frame.series.iter().flat_map(|(series, samples)| {
                frame.at_ms.iter().zip(samples).filter_map(|(at, codes)| Some((*series, Sample { at_ms: *at, codes: (*codes)? })))
            }).collect();
            prop_assert_eq!(found, want);
        }

        #[test]
        fn rubbish_with_a_right_checksum_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            crc::seal(&mut bytes);
            let _ = decode(&bytes, 0, |_| true, |_, _| {});
        }
    }
}
