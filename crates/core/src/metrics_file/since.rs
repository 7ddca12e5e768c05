//! Reads the file from a given time on, for programs that store what they read and so know how far they have come.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::format;
use super::reader::{ReadError, open_trusted};
use super::recover::time_of;
use super::trust::Believed;

/// How much of the end is searched first; doubled until it contains the given time.
const FIRST_TAIL_BYTES: u64 = 256 << 10;
/// If the clock was set back by more than this, the records of that period are lost.
const BEFORE_MS: i64 = 2 * 60 * 60 * 1000;

/// Calls `each` with the record taken at `after_ms` (milliseconds since the Unix epoch), if it is in the file, and with
/// all that follow it. If it is not, calls `each` with all newer ones; if `after_ms` is `None`, with all. Keeps one
/// record in memory at a time. Whether a record is a snapshot, of ours ([`parse_record`](super::parse_record)) or of
/// the Python original, is left to the caller.
///
/// # Errors
/// If the file cannot be read or is not trusted, or `each` returns an error.
pub fn each_since<E: From<ReadError>>(
    path: &Path,
    believed: &Believed,
    after_ms: Option<i64>,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| E::from(ReadError::Read { path: path.to_owned(), source });
    let file = open_trusted(path, believed)?;
    let size = file.metadata().map_err(failed)?.len();
    let (begin, is_there) = match after_ms {
        Some(after_ms) => find(&file, size, after_ms).map_err(failed)?,
        None => (0, true),
    };
    let is_newer = |record: &[u8]| {
        is_there || time_of(record).is_some_and(|taken| after_ms < Some(taken.as_millisecond()))
    };
    let mut failure = None;
    let walked = records_between(&file, begin, size, |_, record| {
        if !is_newer(record) {
            return Ok(());
        }
        each(record).map_err(|error| {
            failure = Some(error);
            io::Error::other("stopped")
        })
    });
    match failure {
        Some(error) => Err(error),
        None => walked.map_err(failed),
    }
}

/// The offset to read from, and whether the record of that time is there.
fn find(file: &File, size: u64, after_ms: i64) -> io::Result<(u64, bool)> {
    let mut tail = FIRST_TAIL_BYTES.min(size);
    loop {
        let begin = size - tail;
        let (mut first_ms, mut found) = (None, None);
        records_between(file, begin, size, |offset, record| {
            // The first line of a tail is the rest of a record.
            let Some(taken) = time_of(record) else { return Ok(()) };
            first_ms.get_or_insert(taken.as_millisecond());
            if taken.as_millisecond() == after_ms {
                found = Some(begin + offset);
            }
            Ok(())
        })?;
        if let Some(offset) = found {
            return Ok((offset, true));
        }
        if begin == 0 || first_ms.is_some_and(|first_ms| first_ms < after_ms - BEFORE_MS) {
            return Ok((begin, false));
        }
        tail = (tail * 2).min(size);
    }
}

/// Calls `each` with the records in a part of a file, each with its offset within that part.
fn records_between(
    mut file: &File,
    begin: u64,
    end: u64,
    each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(begin))?;
    format::for_each_whole_record(BufReader::new(file.take(end - begin)), each)
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

    fn seconds(path: &Path, after: Option<i64>) -> Result<Vec<i64>, ReadError> {
        let mut found = Vec::new();
        each_since::<ReadError>(path, &Believed::own(), after.map(|after| after * 1000), |record| {
            found.push(time_of(record).unwrap().as_second());
            Ok(())
        })?;
        Ok(found)
    }

    #[track_caller]
    fn check(taken: &[i64], after: Option<i64>, want: &[i64]) {
        assert_eq!(seconds(file(taken).path(), after).unwrap(), want);
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

    #[test]
    fn what_each_says_ends_it() {
        let file = file(&[10, 20, 30]);
        let mut seen = 0;
        let stopped = each_since(file.path(), &Believed::own(), None, |_| {
            seen += 1;
            let source = io::Error::other("enough");
            Err(ReadError::Read { path: file.path().to_owned(), source })
        });
        assert_eq!((seen, stopped.is_err()), (1, true));
    }

    #[test]
    fn a_fifo_in_its_place_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lxc_metrics.json");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(seconds(&path, Some(5)), Err(ReadError::Read { .. })));
    }
}
