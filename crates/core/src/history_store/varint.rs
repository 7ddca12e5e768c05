//! Numbers with seven bits per byte, least significant first; a set top bit means that more bytes follow (LEB128).

use super::Damaged;

pub(super) fn push(out: &mut Vec<u8>, mut value: u64) {
    while 0x7f < value {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Takes one number from the front.
pub(super) fn take(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

/// As [`take`], for numbers that fit 32 bits.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Result<u32, Damaged> {
    u32::try_from(take(bytes)?).map_err(|_| Damaged)
}

/// Takes `length` bytes from the front.
pub(super) fn take_bytes<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], Damaged> {
    let length = usize::try_from(length).map_err(|_| Damaged)?;
    let (front, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
    *bytes = rest;
    Ok(front)
}

/// Maps small numbers of either sign to small numbers: 0, -1, 1, -2 … → 0, 1, 2, 3 ….
pub(super) fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

/// Inverts [`zigzag`].
pub(super) fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_taken() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            assert_eq!(take(&mut bytes.as_slice()), Ok(value));
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), Err(Damaged), "{value}");
        }
        for value in [0, 1, -1, 70_000, -70_000, i32::MAX, i32::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
