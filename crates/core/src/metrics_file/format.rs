//! The format of the file: `[`, then one record per line, separated by commas, then `]`.
//!
//! ```text
//! [
//! {"104":{…},"summary":{…}},
//! {"104":{…},"summary":{…}}
//! ]
//! ```
//!
//! Compact JSON contains no line break, so each line is a record, and the file can be read from its end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A file without records.
pub(super) const EMPTY: &[u8] = b"[\n]\n";
/// Upper bound for the length of a record; there is room for ten thousand containers.
pub(super) const MAX_RECORD_BYTES: u64 = 16 << 20;
/// What follows the last record; an append begins by overwriting it.
pub(super) const FOOTER: &[u8] = b"\n]\n";

/// What separates two records.
pub(super) const SEPARATOR: &[u8] = b",\n";
/// What precedes the first record.
pub(super) const FIRST_SEPARATOR: &[u8] = b"\n";

/// The records among the lines of `bytes`, each with its offset; without brackets, separators and empty lines.
pub(super) fn records(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut offset = 0;
    bytes.split(|byte| *byte == b'\n').filter_map(move |line| {
        let at = offset;
        offset += line.len() + 1;
        let record = line.strip_suffix(b",").unwrap_or(line);
        (!matches!(record, b"" | b"[" | b"]")).then_some((at, record))
    })
}

/// Whether a file with this beginning is in our layout, with one record per line.
pub(super) fn is_line_layout(beginning: &[u8]) -> bool {
    beginning.starts_with(b"[\n{") || beginning.starts_with(EMPTY)
}

/// Whether `record` is a valid JSON object for every reader.
///
/// The UTF-8 check is separate, because skipping a value does not check the strings in it.
pub(super) fn is_record(record: &[u8]) -> bool {
    record.starts_with(b"{")
        && std::str::from_utf8(record).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Whether the whole file is a complete array in our layout; keeps only one line in memory.
///
/// # Errors
/// If it cannot be read.
pub(super) fn is_intact(mut reader: impl BufRead) -> io::Result<bool> {
    let mut line = Vec::new();
    if next_line(&mut reader, &mut line)? == 0 || line != b"[\n" {
        return Ok(false);
    }
    // All lines except the last end with the comma that separates them.
    let (mut is_first, mut is_separated) = (true, false);
    while next_line(&mut reader, &mut line)? != 0 {
        if line == b"]\n" {
            let is_complete = is_first || !is_separated;
            return Ok(is_complete && reader.fill_buf()?.is_empty());
        }
        let Some(record) = line.strip_suffix(b"\n") else { return Ok(false) };
        if !(is_first || is_separated) {
            return Ok(false);
        }
        let stripped = record.strip_suffix(b",");
        (is_first, is_separated) = (false, stripped.is_some());
        if !is_record(stripped.unwrap_or(record)) {
            return Ok(false);
        }
    }
    Ok(false)
}

/// Calls `each` with every record of a file in our layout and its offset, keeping only one in memory.
///
/// # Errors
/// If the file cannot be read, or `each` returns an error.
pub(super) fn for_each_record(
    reader: impl BufRead,
    each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for_each_record_of_lines(reader, |_| true, each)
}

/// As [`for_each_record`], but ignores a last line without a line break: in a file that is being written meanwhile,
/// that is an incomplete record.
///
/// # Errors
/// If the file cannot be read, or `each` returns an error.
pub(super) fn for_each_whole_record(
    reader: impl BufRead,
    each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    // A piece of a line that is longer than any record has no line break, either, but must be reported.
    let is_whole = |line: &[u8]| line.ends_with(b"\n") || line.len() as u64 == MAX_RECORD_BYTES;
    for_each_record_of_lines(reader, is_whole, each)
}

fn for_each_record_of_lines(
    mut reader: impl BufRead,
    counts: impl Fn(&[u8]) -> bool,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut line, mut offset) = (Vec::new(), 0);
    loop {
        let length = next_line(&mut reader, &mut line)?;
        if length == 0 || !counts(&line) {
            return Ok(());
        }
        if let Some((_, record)) = records(&line).next() {
            each(offset, record)?;
        }
        offset += length;
    }
}

/// Reads one line, including its line break, into `line`; returns 0 at the end. A line longer than any record comes
/// in pieces.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    Read::take(reader, MAX_RECORD_BYTES).read_until(b'\n', line).map(|length| length as u64)
}

/// Whether a line can only be the beginning of an element of the array: one of ours, or one indented by four blanks
/// as the Python original writes it. No JSON string spans a line break.
pub fn begins_element(line: &[u8]) -> bool {
    line.starts_with(b"{\"") || matches!(line, b"    {\n" | b"    {\r\n")
}

/// The offset of the first line from `begin` on that can only be the beginning of an element; `None` at the beginning
/// of the file, and if there is no such line.
pub(super) fn first_element_from(mut file: &File, begin: u64) -> io::Result<Option<u64>> {
    if begin == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(begin))?;
    let (mut reader, mut line, mut offset) = (BufReader::new(file), Vec::new(), begin);
    // The first line may be only the rest of one.
    let mut is_rest = true;
    loop {
        let length = next_line(&mut reader, &mut line)?;
        if length == 0 {
            return Ok(None);
        }
        if !is_rest && begins_element(&line) {
            return Ok(Some(offset));
        }
        is_rest = !line.ends_with(b"\n");
        offset += length;
    }
}

/// Writes an array in our layout, record by record.
#[derive(Debug)]
pub(super) struct ArrayWriter<W> {
    output: W,
    n_records: u64,
}

impl<W: Write> ArrayWriter<W> {
    /// Begins the array.
    ///
    /// # Errors
    /// Those of `output`.
    pub(super) fn begin(mut output: W) -> io::Result<Self> {
        output.write_all(b"[")?;
        Ok(Self { output, n_records: 0 })
    }

    /// Adds a record, which must be compact JSON.
    ///
    /// # Errors
    /// Those of the output.
    pub(super) fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.output.write_all(if self.n_records == 0 { b"\n" } else { b",\n" })?;
        self.n_records += 1;
        self.output.write_all(record)
    }

    /// Whether it has no record yet.
    pub(super) fn is_empty(&self) -> bool {
        self.n_records == 0
    }

    /// Ends the array and returns the number of its records.
    ///
    /// # Errors
    /// Those of the output.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.output.write_all(FOOTER)?;
        self.output.flush()?;
        Ok(self.n_records)
    }
}

/// Why a walk over the elements of an array ended early.
#[derive(Debug)]
pub(super) enum ElementError {
    /// The text is not a JSON array from there on.
    Json(serde_json::Error),
    /// The callback failed for an element.
    Each(io::Error),
}

/// Calls `each` with every element of a JSON array in any layout, keeping only one in memory.
///
/// The Python original writes the array indented over many lines; its files may be gigabytes.
///
/// # Errors
/// [`ElementError`]; the elements before it were handed over.
pub(super) fn for_each_element(
    reader: impl Read,
    each: impl FnMut(&RawValue) -> io::Result<()>,
) -> Result<(), ElementError> {
    struct Elements<'a, F> {
        each: F,
        failure: &'a mut Option<io::Error>,
    }

    impl<'de, F: FnMut(&RawValue) -> io::Result<()>> Visitor<'de> for Elements<'_, F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a JSON array of snapshots")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
            while let Some(element) = elements.next_element::<Box<RawValue>>()? {
                if let Err(error) = (self.each)(&element) {
                    *self.failure = Some(error);
                    return Err(serde::de::Error::custom("stopped"));
                }
            }
            Ok(())
        }
    }

    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let walked =
        serde::Deserializer::deserialize_seq(&mut deserializer, Elements { each, failure: &mut failure });
    match (walked, failure) {
        (_, Some(error)) => Err(ElementError::Each(error)),
        (Err(error), None) => Err(ElementError::Json(error)),
        (Ok(()), None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&str]) -> Vec<u8> {
        let mut bytes = b"[".to_vec();
        for (place, record) in records.iter().enumerate() {
            bytes.extend_from_slice(if place == 0 { FIRST_SEPARATOR } else { SEPARATOR });
            bytes.extend_from_slice(record.as_bytes());
        }
        bytes.extend_from_slice(FOOTER);
        bytes
    }

    #[test]
    fn what_is_pushed_is_a_json_array_and_is_found_again() {
        assert_eq!(file(&[]), EMPTY);
        let bytes = file(&[r#"{"a":1}"#, r#"{"b":2}"#]);
        assert_eq!(serde_json::from_slice::<Vec<serde_json::Value>>(&bytes).unwrap().len(), 2);
        let found: Vec<_> = records(&bytes).collect();
        assert_eq!(found, [(2, br#"{"a":1}"#.as_slice()), (11, br#"{"b":2}"#.as_slice())]);
        assert!(is_intact(bytes.as_slice()).unwrap() && is_line_layout(&bytes));
        let mut streamed = Vec::new();
        for_each_record(bytes.as_slice(), |offset, record| {
            streamed.push((usize::try_from(offset).unwrap(), record.to_vec()));
            Ok(())
        })
        .unwrap();
        assert!(streamed.iter().map(|(offset, record)| (*offset, record.as_slice())).eq(found));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let bytes = file(&[r#"{"a":1}"#, r#"{"b":2}"#]);
        for length in 0..bytes.len() {
            assert!(!is_intact(&bytes[..length]).unwrap(), "{length}");
        }
    }

    #[test]
    fn only_a_complete_array_of_ours_is_intact() {
        let check = |text: &str| is_intact(text.as_bytes()).unwrap();
        assert!(check("[\n]\n") && check("[\n{}\n]\n") && check("[\n{},\n{}\n]\n"));
        for broken in [
            "[\n{},\n]\n",
            "[\n{}\n{}\n]\n",
            "[\n{}\n]\n\n",
            "[\n,\n]\n",
            "[\n{}\n]\n]\n",
            "[{}\n]\n",
            "[\n{},\n{\n]\n",
            "[\n1\n]\n",
        ] {
            assert!(!check(broken), "{broken:?}");
        }
        assert!(!is_intact(&b"[\n{\"a\":\"\xff\"}\n]\n"[..]).unwrap(), "Python reads UTF-8 only");
    }

    #[test]
    fn the_layout_of_the_original_is_another() {
        assert!(!is_line_layout(b"[\n    {\n"));
        let mut seen = Vec::new();
        for_each_element(&b"[\n    {\"a\": 1},\n    {\"b\": 2}\n]"[..], |element| {
            seen.push(element.get().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [r#"{"a": 1}"#, r#"{"b": 2}"#]);
    }
}
