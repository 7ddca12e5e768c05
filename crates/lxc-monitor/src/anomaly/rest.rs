//! The detectors of a container between two steps, stored compactly.
//!
//! A step comes at most once a minute, and the learnt state is needed at no other time. Most of its bytes are zero:
//! scores that never occurred, hours without spread, and the difference between similar hours. A zero takes one bit of
//! a mask, any other byte that bit and itself, so that nothing is rounded: unpacking restores exactly what was packed.

use std::convert::Infallible;

use super::codec::Numbers;
use super::detector::Detector;
use super::metric::METRICS;

/// Bytes per mask.
const GROUP: usize = 8;

/// Packed detectors, one after the other, each of which can be unpacked alone; no bytes stand for an empty detector.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rest {
    /// The end of each.
    ends: [u16; METRICS],
    bytes: Box<[u8]>,
}

/// The numbers of a detector as bytes, before packing.
#[derive(Debug, Default)]
struct Whole {
    bytes: Vec<u8>,
    /// Number of bytes unpacked.
    taken: usize,
}

/// Packs numbers.
struct Packer<'a>(&'a mut Whole);

/// Unpacks numbers.
struct Unpacker<'a>(&'a mut Whole);

impl Rest {
    /// Packs detectors.
    pub(super) fn of(detectors: &[Detector; METRICS]) -> Self {
        let mut rest = Self::default();
        rest.change(|_| true, |place, detector| *detector = detectors[place]);
        rest
    }

    /// Unpacks each detector.
    pub(super) fn each(&self) -> impl Iterator<Item = Detector> {
        let mut whole = Whole::default();
        (0..METRICS).map(move |place| self.wake(place, &mut whole))
    }

    /// Unpacks the detectors at some indices, lets them be changed, and packs them again.
    pub(super) fn change(
        &mut self,
        is_woken: impl Fn(usize) -> bool,
        mut change: impl FnMut(usize, &mut Detector),
    ) {
        let mut whole = Whole::default();
        let mut changed = (Vec::with_capacity(self.bytes.len() + GROUP), [0_u16; METRICS]);
        for place in 0..METRICS {
            if is_woken(place) {
                let mut detector = self.wake(place, &mut whole);
                change(place, &mut detector);
                whole.bytes.clear();
                let Ok(()) = detector.each_number(&mut Packer(&mut whole));
                leave_zeros_out(&whole.bytes, &mut changed.0);
            } else {
                changed.0.extend_from_slice(self.at(place));
            }
            // Together they take at most 2.6 KB.
            changed.1[place] = u16::try_from(changed.0.len()).unwrap_or(u16::MAX);
        }
        *self = Self { ends: changed.1, bytes: changed.0.into() };
    }

    fn at(&self, place: usize) -> &[u8] {
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(usize::from(begin)..usize::from(self.ends[place])).unwrap_or_default()
    }

    fn wake(&self, place: usize, whole: &mut Whole) -> Detector {
        whole.bytes.clear();
        whole.taken = 0;
        put_zeros_in(self.at(place), &mut whole.bytes);
        let mut detector = Detector::default();
        let Ok(()) = detector.each_number(&mut Unpacker(whole));
        detector
    }

    /// Their size in bytes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a mask for every eight bytes, and those of them that are not zero; trailing zeros are omitted.
fn leave_zeros_out(whole: &[u8], packed: &mut Vec<u8>) {
    let end = whole.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for group in whole[..end].chunks(GROUP) {
        let at = packed.len();
        packed.push(0);
        if group == [0; GROUP] {
            continue;
        }
        let mut mask = 0;
        for (place, byte) in group.iter().enumerate() {
            if *byte != 0 {
                mask |= 1 << place;
                packed.push(*byte);
            }
        }
        packed[at] = mask;
    }
}

/// The inverse, up to a group beyond the last byte that is not zero.
fn put_zeros_in(packed: &[u8], whole: &mut Vec<u8>) {
    let mut packed = packed.iter().copied();
    while let Some(mask) = packed.next() {
        let mut group = [0; GROUP];
        if mask != 0 {
            for (place, byte) in group.iter_mut().enumerate() {
                if mask >> place & 1 == 1 {
                    *byte = packed.next().unwrap_or_default();
                }
            }
        }
        whole.extend_from_slice(&group);
    }
}

impl Numbers for Packer<'_> {
    type Error = Infallible;

    fn bytes<const N: usize>(&mut self, now: [u8; N]) -> Result<[u8; N], Infallible> {
        self.0.bytes.extend_from_slice(&now);
        Ok(now)
    }

    fn alike(&mut self, numbers: &mut [i16]) -> Result<(), Infallible> {
        let mut before = 0_i16;
        for number in numbers {
            let difference = number.wrapping_sub(before);
            before = *number;
            // The sign is in the lowest bit, so that small differences of both signs take one byte.
            self.bytes(((difference << 1) ^ (difference >> 15)).to_le_bytes())?;
        }
        Ok(())
    }

    fn alike_u8(&mut self, numbers: &mut [u8]) -> Result<(), Infallible> {
        let mut before = 0_u8;
        for number in numbers {
            self.bytes([number.wrapping_sub(before)])?;
            before = *number;
        }
        Ok(())
    }
}

impl Numbers for Unpacker<'_> {
    type Error = Infallible;

    fn bytes<const N: usize>(&mut self, _: [u8; N]) -> Result<[u8; N], Infallible> {
        let rest = self.0.bytes.get(self.0.taken..).unwrap_or_default();
        self.0.taken += N;
        // Beyond the end there are only zeros.
        let there = rest.len().min(N);
        let mut bytes = [0; N];
        bytes[..there].copy_from_slice(&rest[..there]);
        Ok(bytes)
    }

    fn alike(&mut self, numbers: &mut [i16]) -> Result<(), Infallible> {
        let mut before = 0_i16;
        for number in numbers {
            let stored = u16::from_le_bytes(self.bytes([0; 2])?);
            let difference = (stored >> 1).cast_signed() ^ -(stored & 1).cast_signed();
            before = before.wrapping_add(difference);
            *number = before;
        }
        Ok(())
    }

    fn alike_u8(&mut self, numbers: &mut [u8]) -> Result<(), Infallible> {
        let mut before = 0_u8;
        for number in numbers {
            let [difference] = self.bytes([0])?;
            before = before.wrapping_add(difference);
            *number = before;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::{Form, Reader, Stored};
    use super::*;

    /// Bytes of a detector on disk.
    const STORED: usize = 285;

    proptest! {
        /// Unpacking restores what was packed, whatever the numbers and however many are zero.
        #[test]
        fn nothing_is_lost_at_rest(
            bytes in proptest::collection::vec(prop_oneof![3 => Just(0), 1 => any::<u8>()], STORED * METRICS)
        ) {
            let mut reader = Reader(&bytes);
            let mut detectors = [Detector::default(); METRICS];
            for detector in &mut detectors {
                let read = detector.each_number(&mut Stored { reader: &mut reader, form: Form::WithWeek });
                // A detector only holds finite numbers.
                prop_assume!(read.is_ok());
            }
            prop_assert!(reader.0.is_empty());
            let mut rest = Rest::of(&detectors);
            prop_assert!(rest.each().eq(detectors));
            prop_assert!(rest.len() <= (STORED + STORED.div_ceil(GROUP)) * METRICS, "{}", rest.len());
            rest.change(|place| place == 3, |_, detector| *detector = Detector::default());
            detectors[3] = Detector::default();
            prop_assert!(rest.each().eq(detectors));
        }
    }

    #[test]
    fn those_that_know_nothing_take_nothing() {
        let unknown = [Detector::default(); METRICS];
        for rest in [Rest::default(), Rest::of(&unknown)] {
            assert!(rest.each().eq(unknown));
            assert_eq!((rest.len(), &rest), (0, &Rest::default()));
        }
    }
}
