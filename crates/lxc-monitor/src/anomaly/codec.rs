//! Numbers as little-endian bytes, for the state on disk.

use std::convert::Infallible;

/// The bytes are invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub &'static str);

/// The readable formats of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// The first one, without the levels of the week.
    First,
    /// The second one, without the names of the containers.
    WithWeek,
    /// The third one, without what is in doubt.
    WithName,
    /// The present one.
    WithDoubt,
}

/// Visits the numbers of a detector one after the other: there is one list of them for the state on disk and for that
/// in memory (see [`super::rest`]).
pub(super) trait Numbers {
    /// Why it stops.
    type Error;

    /// Takes the present bytes, and returns the new ones.
    fn bytes<const N: usize>(&mut self, now: [u8; N]) -> Result<[u8; N], Self::Error>;

    /// Whether the levels of the week are included.
    fn have_week(&self) -> bool {
        true
    }

    fn u8(&mut self, number: &mut u8) -> Result<(), Self::Error> {
        [*number] = self.bytes([*number])?;
        Ok(())
    }

    fn u16(&mut self, number: &mut u16) -> Result<(), Self::Error> {
        *number = u16::from_le_bytes(self.bytes(number.to_le_bytes())?);
        Ok(())
    }

    fn f32(&mut self, number: &mut f32) -> Result<(), Self::Error> {
        *number = f32::from_le_bytes(self.bytes(number.to_le_bytes())?);
        Ok(())
    }

    /// Numbers that are mostly similar to the one before.
    fn alike(&mut self, numbers: &mut [i16]) -> Result<(), Self::Error> {
        for number in numbers {
            *number = i16::from_le_bytes(self.bytes(number.to_le_bytes())?);
        }
        Ok(())
    }

    /// The same with one byte each.
    fn alike_u8(&mut self, numbers: &mut [u8]) -> Result<(), Self::Error> {
        numbers.iter_mut().try_for_each(|number| self.u8(number))
    }
}

/// Reads the numbers from the state on disk.
#[derive(Debug)]
pub(super) struct Stored<'a, 'b> {
    pub(super) reader: &'a mut Reader<'b>,
    pub(super) form: Form,
}

impl Numbers for Writer {
    type Error = Infallible;

    fn bytes<const N: usize>(&mut self, now: [u8; N]) -> Result<[u8; N], Infallible> {
        self.0.extend_from_slice(&now);
        Ok(now)
    }
}

impl Numbers for Stored<'_, '_> {
    type Error = Damaged;

    fn bytes<const N: usize>(&mut self, _: [u8; N]) -> Result<[u8; N], Damaged> {
        self.reader.array()
    }

    fn have_week(&self) -> bool {
        Form::WithWeek <= self.form
    }

    /// A finite number; our states hold no others.
    fn f32(&mut self, number: &mut f32) -> Result<(), Damaged> {
        *number = self.reader.f32()?;
        Ok(())
    }
}

/// Appends numbers to a buffer.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

/// Takes numbers from a buffer.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }
    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }
    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
    pub(super) fn f32(&mut self, value: f32) {
        self.bytes(&value.to_le_bytes());
    }
    pub(super) fn f64(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }
    /// An optional value.
    pub(super) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }
    pub(super) fn u8(&mut self) -> Result<u8, Damaged> {
        Ok(u8::from_le_bytes(self.array()?))
    }
    pub(super) fn u16(&mut self) -> Result<u16, Damaged> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub(super) fn u32(&mut self) -> Result<u32, Damaged> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// A finite number; our states hold no others.
    pub(super) fn f32(&mut self) -> Result<f32, Damaged> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(Damaged("a number is not finite")) }
    }
    /// A finite number.
    pub(super) fn f64(&mut self) -> Result<f64, Damaged> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(Damaged("a number is not finite")) }
    }
    /// An optional value.
    pub(super) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Damaged("the flag of a value is invalid")),
        }
    }
}

/// FNV-1a in 64 bits (Fowler, Noll, Vo): detects damage, does not authenticate.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
