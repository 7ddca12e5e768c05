//! Reads the metrics file from a moment on: what the history lacks after a crash or a full disk is there.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::snapshot::Snapshot;
use serde::Deserialize;

/// How much of the end is looked at first; doubled until the moment is in it.
const FIRST_TAIL_BYTES: u64 = 256 << 10;
/// No record is longer.
const MAX_RECORD_BYTES: u64 = 16 << 20;
/// A clock that was set back by more than this costs what was measured meanwhile.
const BEFORE_MS: i64 = 2 * 60 * 60 * 1000;

/// The moment of a record and nothing else of it.
#[derive(Deserialize)]
struct Head {
    summary: HeadSummary,
}

#[derive(Deserialize)]
struct HeadSummary {
    collection_start_time: RecordTime,
}

/// Calls `each` with the snapshot taken at `after_ms`, if it is there, and all that follow it in the file; with all
/// that are newer if it is not, and with every one when it is `None`. Holds one record at a time.
///
/// # Errors
/// When the file cannot be read, or that of `each`.
pub fn snapshots<E: From<io::Error>>(
    path: &Path,
    after_ms: Option<i64>,
    mut each: impl FnMut(&Snapshot) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file").into());
    }
    let (offset, is_there) = match after_ms {
        Some(after_ms) => find(&mut file, after_ms)?,
        None => (0, true),
    };
    let newer = |snapshot: &Snapshot| {
        is_there || after_ms < Some(snapshot.summary.collection_start_time.instant().as_millisecond())
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut lines = Lines::new(file);
    while let Some(line) = lines.next()? {
        // What is unreadable is reported by those who own the file.
        let Ok(snapshot) = serde_json::from_slice::<Snapshot>(line) else { continue };
        if newer(&snapshot) {
            each(&snapshot)?;
        }
    }
    Ok(())
}

/// Where to read from, and whether the record of that moment stands there.
fn find(file: &mut File, after_ms: i64) -> io::Result<(u64, bool)> {
    let size = file.metadata()?.len();
    let mut tail = FIRST_TAIL_BYTES.min(size);
    loop {
        let begin = size - tail;
        file.seek(SeekFrom::Start(begin))?;
        let mut lines = Lines::new(&mut *file);
        let (mut first_ms, mut found) = (None, None);
        while let Some(line) = lines.next()? {
            let length = line.len() as u64;
            // The first line of a tail is the rest of one.
            let Ok(head) = serde_json::from_slice::<Head>(line) else { continue };
            let at_ms = head.summary.collection_start_time.instant().as_millisecond();
            first_ms.get_or_insert(at_ms);
            if at_ms == after_ms {
                found = Some(begin + lines.offset - length);
            }
        }
        if let Some(offset) = found {
            return Ok((offset, true));
        }
        if begin == 0 || first_ms.is_some_and(|first_ms| first_ms < after_ms - BEFORE_MS) {
            return Ok((begin, false));
        }
        tail = (tail * 2).min(size);
    }
}

/// The records among the lines of a file, one held at a time.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// Bytes up to the end of the current record, without the separator behind it.
    offset: u64,
    next_offset: u64,
}

impl<R: Read> Lines<R> {
    fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            line: Vec::new(),
            offset: 0,
            next_offset: 0,
        }
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            let length = (&mut self.reader).take(MAX_RECORD_BYTES).read_until(b'\n', &mut self.line)?;
            if length == 0 {
                return Ok(None);
            }
            let start = self.next_offset;
            self.next_offset += length as u64;
            let text = self.line.trim_ascii_end();
            let text = text.strip_suffix(b",").unwrap_or(text);
            if 2 < text.len() {
                let length = text.len();
                self.offset = start + length as u64;
                return Ok(Some(&self.line[..length]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn file(seconds: &[i64]) -> tempfile::NamedTempFile {
        let mut text = "[".to_owned();
        for (index, second) in seconds.iter().enumerate() {
            let time = jiff::Timestamp::from_second(*second).unwrap();
            let separator = if index == 0 { "" } else { "," };
            let padding = " ".repeat(5000);
            write!(
                text,
                "{separator}\n{{\"summary\":{{\"collection_start_time\":\"{time}\",\"collection_end_time\":\"{time}\",{padding}\
                 \"total_containers\":0,\"total_duration_seconds\":0.1}}}}"
            )
            .unwrap();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text + "\n]\n").unwrap();
        file
    }

    #[track_caller]
    fn check(seconds: &[i64], after: Option<i64>, want: &[i64]) {
        let file = file(seconds);
        let mut found = Vec::new();
        snapshots::<io::Error>(file.path(), after.map(|after| after * 1000), |snapshot| {
            found.push(snapshot.summary.collection_start_time.instant().as_second());
            Ok(())
        })
        .unwrap();
        assert_eq!(found, want);
    }

    #[test]
    fn what_follows_a_moment_in_the_file_is_found_whatever_the_clock_did() {
        check(&[10, 20, 30], None, &[10, 20, 30]);
        check(&[10, 20, 30], Some(20), &[20, 30]);
        check(&[10, 20, 30], Some(15), &[20, 30]);
        check(&[10, 20, 30], Some(30), &[30]);
        // The clock was set back after 900.
        check(&[10, 900, 20, 30], Some(900), &[900, 20, 30]);
        check(&[], Some(5), &[]);
        let long: Vec<i64> = (0..400).map(|n| n * 60).collect();
        check(&long, Some(60), &long[1..]);
        check(&long, Some(399 * 60), &long[399..]);
    }
}
