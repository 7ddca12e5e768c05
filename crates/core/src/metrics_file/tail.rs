//! Finds a known record from the end of a file, in bounded memory.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// How much is read at once.
const CHUNK_BYTES: u64 = 64 << 10;

/// Identifies a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    length: u64,
    hash: u64,
}

impl Mark {
    /// The mark of a record with these bytes.
    pub(super) fn of(record: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        record.hash(&mut hasher);
        Self { length: record.len() as u64, hash: hasher.finish() }
    }
}

/// Where the last record that matches `mark` ends among the first `size` bytes; `None` if there is none.
///
/// Reads backwards, so that the cost is that of the records after it; keeps one chunk and one record in memory.
pub(super) fn end_of_last(file: &File, size: u64, mark: Mark) -> io::Result<Option<u64>> {
    let mut chunk = Vec::new();
    let mut record = Vec::new();
    // The line to be checked begins somewhere before `line_end`.
    let (mut chunk_end, mut line_end) = (size, size);
    while 0 < chunk_end {
        let chunk_start = chunk_end.saturating_sub(CHUNK_BYTES);
        read_range(file, chunk_start, chunk_end, &mut chunk)?;
        for (index, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let line_start = chunk_start + index as u64 + 1;
            if is_at(file, line_start, line_end, mark, &mut record)? {
                return Ok(Some(line_start + mark.length));
            }
            line_end = line_start - 1;
        }
        chunk_end = chunk_start;
    }
    Ok(None)
}

/// Whether the line is that record, alone or followed by the comma that separates it from the next one.
fn is_at(file: &File, start: u64, end: u64, mark: Mark, record: &mut Vec<u8>) -> io::Result<bool> {
    let length = end - start;
    if length != mark.length && length != mark.length + 1 {
        return Ok(false);
    }
    read_range(file, start, start + mark.length, record)?;
    Ok(Mark::of(record) == mark)
}

/// Reads the bytes from `start` to `end`.
pub(super) fn read_range(file: &File, start: u64, end: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(usize::try_from(end - start).map_err(io::Error::other)?, 0);
    file.read_exact_at(bytes, start)
}

/// The last `length` bytes of `file`, of which there are `size`.
pub(super) fn last_bytes(file: &File, size: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_range(file, size - length, size, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[track_caller]
    fn check(text: &str, record: &str, want: Option<usize>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let end = end_of_last(&file, text.len() as u64, Mark::of(record.as_bytes())).unwrap();
        assert_eq!(end, want.map(|end| end as u64));
    }

    #[test]
    fn a_record_is_found_wherever_it_stands() {
        let text = "[\n{\"a\":1},\n{\"b\":2},\n{\"a\":1},\n{\"c\":3}\n]\n";
        check(text, r#"{"c":3}"#, Some(text.len() - 3));
        check(text, r#"{"b":2}"#, text.find(",\n{\"a\":1},\n{\"c\""));
        check(text, r#"{"a":1}"#, text.find(",\n{\"c\""));
        check(text, r#"{"d":4}"#, None);
        check("", r#"{"a":1}"#, None);
    }

    #[test]
    fn records_across_chunks_are_found() {
        for filler in [0, 1, 2, 65_520, 65_530, 65_534, 65_535, 65_536, 65_537, 200_000] {
            let known = format!("{{\"x\":\"{}\"}}", "k".repeat(300));
            let text = format!("[\n{known},\n{{\"y\":\"{}\"}}\n]\n", "z".repeat(filler));
            check(&text, &known, Some(2 + known.len()));
        }
    }
}
