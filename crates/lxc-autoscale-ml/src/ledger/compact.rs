//! The inputs of a decision in compact form: JSON, deflated with a dictionary.
//!
//! Rows are read one at a time, so each is compressed on its own; but a row of a kilobyte is mostly field names, which
//! would be new to the compressor in every row. So both sides start with the same text, as with zlib's preset
//! dictionary: the compressor is fed the dictionary and its output is discarded; the decompressor is given it as a
//! stored block (RFC 1951, 3.2.4). The first byte of a row is the number of the dictionary.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Texts similar to the rows, by their numbers less one. They never change: rows need the dictionary they were
/// compressed with. New rows use the last one.
const DICTIONARIES: [&[u8]; 2] =
    [include_bytes!("inputs_1.dictionary"), include_bytes!("inputs_2.dictionary")];
/// The present dictionary, with its number.
const IN_USE: (u8, &[u8]) = (2, DICTIONARIES[1]);
/// Nothing that is compressed here is longer.
const MOST_BYTES: usize = 1 << 20;

/// Why a row cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It was written by a newer program.
    #[error("it is packed with dictionary {0}, which this program does not know")]
    Dictionary(u8),
    /// It is damaged.
    #[error("it is damaged")]
    Damaged,
}

/// Compresses a text.
pub(super) fn pack(text: &str) -> Result<Vec<u8>, flate2::CompressError> {
    pack_with(IN_USE, text)
}

fn pack_with((number, dictionary): (u8, &[u8]), text: &str) -> Result<Vec<u8>, flate2::CompressError> {
    let mut compress = Compress::new(Compression::default(), false);
    let mut thrown_away = Vec::with_capacity(2 * dictionary.len());
    compress.compress_vec(dictionary, &mut thrown_away, FlushCompress::Sync)?;
    let mut packed = Vec::with_capacity(64 + text.len());
    packed.push(number);
    compress.compress_vec(text.as_bytes(), &mut packed, FlushCompress::Finish)?;
    Ok(packed)
}

/// Decompresses the output of [`pack`].
pub(super) fn unpack(packed: &[u8]) -> Result<String, Unreadable> {
    let (number, packed) = packed.split_first().ok_or(Unreadable::Damaged)?;
    let dictionary = usize::from(*number).checked_sub(1).and_then(|place| DICTIONARIES.get(place));
    let dictionary = dictionary.ok_or(Unreadable::Dictionary(*number))?;
    let damaged = |_| Unreadable::Damaged;
    let mut decompress = Decompress::new(false);
    let mut text = Vec::with_capacity(dictionary.len() + 16 * packed.len() + 64);
    decompress.decompress_vec(&stored(dictionary), &mut text, FlushDecompress::Sync).map_err(damaged)?;
    let mut taken = 0;
    loop {
        let before = decompress.total_in();
        let status = decompress
            .decompress_vec(packed.get(taken..).unwrap_or_default(), &mut text, FlushDecompress::Finish)
            .map_err(damaged)?;
        taken += usize::try_from(decompress.total_in() - before).unwrap_or(0);
        if status == flate2::Status::StreamEnd {
            break;
        }
        if text.len() < text.capacity() || MOST_BYTES < text.len() {
            return Err(Unreadable::Damaged);
        }
        text.reserve(text.len());
    }
    String::from_utf8(text.split_off(dictionary.len())).map_err(|_| Unreadable::Damaged)
}

/// A stored block of at most 65,535 bytes that is not the last one.
fn stored(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let mut block = vec![0];
    block.extend(length.to_le_bytes());
    block.extend((!length).to_le_bytes());
    block.extend(text);
    block
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(text in "\\PC{0,3000}") {
            prop_assert_eq!(unpack(&pack(&text).unwrap()).unwrap(), text);
        }

        #[test]
        fn damage_is_noticed_or_harmless(text in "[a-z\":,{}0-9]{1,200}", at in 0usize..200, bit in 0u8..8) {
            let mut packed = pack(&text).unwrap();
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
            let _ = unpack(&packed);
        }
    }

    /// A row of the previous version.
    #[test]
    fn what_was_packed_with_an_older_dictionary_is_read() {
        let text = r#"{"allocation":{"cores":2.0,"cpulimit":null,"memory_mib":1024.0}}"#;
        let packed = pack_with((1, DICTIONARIES[0]), text).unwrap();
        assert_eq!((packed[0], unpack(&packed).unwrap().as_str()), (1, text));
        assert_eq!(pack(text).unwrap()[0], 2);
    }

    #[test]
    fn a_text_like_the_dictionary_takes_little_room() {
        let text = std::str::from_utf8(IN_USE.1).unwrap();
        let packed = pack(text).unwrap();
        assert!(packed.len() < text.len() / 20, "{} of {}", packed.len(), text.len());
        assert!(matches!(unpack(&[3, 3]), Err(Unreadable::Dictionary(3))));
        assert!(matches!(unpack(&[0, 3]), Err(Unreadable::Dictionary(0))));
        assert!(matches!(unpack(&packed[..packed.len() - 2]), Err(Unreadable::Damaged)));
    }
}
