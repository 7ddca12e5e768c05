//! Tables of comma-separated values: plain or compressed with gzip, and their columns.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;
/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The text of a file, plain or compressed with gzip.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let is_compressed = file.fill_buf()?.starts_with(&GZIP_MAGIC);
    Ok(if is_compressed {
        let plain = flate2::bufread::MultiGzDecoder::new(file);
        Box::new(BufReader::with_capacity(BUFFER_BYTES, plain))
    } else {
        Box::new(file)
    })
}

/// The first of these columns that the table lacks. A use whose column is misspelt would otherwise count as unknown.
pub(crate) fn missing(headers: &csv::StringRecord, wanted: &[&'static str]) -> Option<&'static str> {
    wanted.iter().find(|column| !headers.iter().any(|header| header == **column)).copied()
}
