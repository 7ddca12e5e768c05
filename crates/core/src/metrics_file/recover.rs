//! Makes sure that a complete file is published, keeping every whole record of a damaged one.
//!
//! From a file in another layout, the newest records are kept, up to the size limit of the file: a file of the Python
//! original may have grown for years and must be read before the first measurement. The old file is put aside,
//! complete.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::disk::{open_regular, put_foreign_aside, replace_file};
use super::format::{self, ArrayWriter, ElementError};
use crate::regular_file;

/// What was found when the file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// There was no file; it was created.
    Created,
    /// Something else was there, which was put aside.
    Replaced {
        /// Where it is now.
        put_aside: PathBuf,
    },
    /// The file was complete.
    Intact,
    /// It was in another layout or damaged: its complete records were kept, and the old file was put aside.
    Rewritten {
        /// Records kept.
        kept_records: u64,
        /// What was wrong with the rest; `None` for a complete file in another layout.
        damage: Option<String>,
        /// Bytes of older records that are only in the old file.
        left_bytes: u64,
        /// The path of the old file.
        put_aside: PathBuf,
    },
}

/// Makes sure that a complete file with this mode is published; from a file in another layout, at most the newest
/// `max_bytes` are kept.
pub(super) fn recover(path: &Path, mode: u32, max_bytes: u64) -> io::Result<Recovery> {
    let mut file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace_file(path, mode, false, |file| file.write_all(format::EMPTY))?;
            return Ok(Recovery::Created);
        }
        Err(error) if regular_file::is_foreign(&error) => {
            let put_aside = put_foreign_aside(path)?;
            replace_file(path, mode, false, |file| file.write_all(format::EMPTY))?;
            return Ok(Recovery::Replaced { put_aside });
        }
        Err(error) => return Err(error),
    };
    let mut beginning = [0; 4];
    let is_lines = file.read_exact(&mut beginning).is_ok() && format::is_line_layout(&beginning);
    file.rewind()?;
    if !is_lines {
        return salvage_array(path, mode, file, max_bytes);
    }
    if format::is_intact(BufReader::new(&file))? {
        // Best effort: a file of another user is replaced by one of ours at the first append anyway.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(mode));
        return Ok(Recovery::Intact);
    }
    file.rewind()?;
    salvage_lines(path, mode, &file)
}

/// Parses only the time at which a record was taken.
pub(super) fn time_of(record: &[u8]) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Record {
        summary: Summary,
    }
    #[derive(serde::Deserialize)]
    struct Summary {
        collection_start_time: crate::RecordTime,
    }
    let record: Record = serde_json::from_slice(record).ok()?;
    Some(record.summary.collection_start_time.instant())
}

/// The time of the oldest record of a file in our layout.
pub(super) fn oldest_in(file: &File) -> io::Result<Option<Timestamp>> {
    let mut file = file;
    file.rewind()?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    // The bracket, then the oldest record.
    for _ in 0..2 {
        line.clear();
        io::BufRead::read_until(&mut reader.by_ref().take(format::MAX_RECORD_BYTES), b'\n', &mut line)?;
    }
    Ok(format::records(&line).next().and_then(|(_, record)| time_of(record)))
}

/// Keeps the lines that are complete records, and complete records within damaged lines.
fn salvage_lines(path: &Path, mode: u32, file: &File) -> io::Result<Recovery> {
    let (mut broken_records, mut broken_bytes) = (0_u64, 0);
    let (kept_records, aside) = replace_file(path, mode, true, |output| {
        let mut kept = ArrayWriter::begin(BufWriter::new(output))?;
        format::for_each_record(BufReader::new(file), |_, record| {
            if format::is_record(record) {
                return kept.push(record);
            }
            broken_records += 1;
            broken_bytes += record.len();
            for_each_embedded_record(record, |embedded| kept.push(embedded))
        })?;
        kept.finish()
    })?;
    let damage = format!("{broken_records} broken lines ({broken_bytes} bytes)");
    let put_aside = aside.ok_or_else(|| io::Error::other("the old file was not put aside"))?;
    Ok(Recovery::Rewritten { kept_records, damage: Some(damage), left_bytes: 0, put_aside })
}

/// Finds complete records in a damaged line: if only a separator was damaged, two records share a line.
fn for_each_embedded_record(line: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut rest = line;
    while let Some(start) = rest.iter().position(|byte| *byte == b'{') {
        rest = &rest[start..];
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde::de::IgnoredAny>();
        let length = match values.next() {
            Some(Ok(_)) => values.byte_offset(),
            _ => 1,
        };
        let (value, after) = rest.split_at(length);
        // A part of a damaged record may be an object, too, but is not a snapshot.
        if format::is_record(value) && time_of(value).is_some() {
            each(value)?;
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    Ok(())
}

/// Keeps the elements of an array in another layout, up to where it is damaged; of a large file, those in its last
/// `max_bytes`.
fn salvage_array(path: &Path, mode: u32, mut file: File, max_bytes: u64) -> io::Result<Recovery> {
    let (mut n_unusable, mut broken) = (0_u64, None);
    let size = file.metadata()?.len();
    let begin = format::first_element_from(&file, size.saturating_sub(max_bytes))?.unwrap_or(0);
    let (kept_records, aside) = replace_file(path, mode, true, |output| {
        let mut kept = ArrayWriter::begin(BufWriter::new(output))?;
        file.seek(io::SeekFrom::Start(begin))?;
        // The bracket that precedes the omitted elements.
        let bracket: &[u8] = if begin == 0 { b"" } else { b"[" };
        let result = format::for_each_element(bracket.chain(BufReader::new(&file)), |element| {
            // Elements may be indented; in our layout, each record is one line.
            match serde_json::from_str::<serde_json::Value>(element.get()) {
                Ok(compact) if compact.is_object() => kept.push(&serde_json::to_vec(&compact)?),
                _ => {
                    n_unusable += 1;
                    Ok(())
                }
            }
        });
        match result {
            Ok(()) => {}
            Err(ElementError::Each(error)) => return Err(error),
            Err(ElementError::Json(error)) if error.is_io() => return Err(error.into()),
            Err(ElementError::Json(error)) => {
                broken = Some(error.to_string());
                // A file in our own layout with damaged first bytes has all its records further down.
                if kept.is_empty() {
                    file.rewind()?;
                    format::for_each_record(BufReader::new(&file), |_, line| {
                        for_each_embedded_record(line, |record| kept.push(record))
                    })?;
                }
            }
        }
        kept.finish()
    })?;
    let unusable = (0 < n_unusable).then(|| format!("{n_unusable} elements that are no records"));
    let put_aside = aside.ok_or_else(|| io::Error::other("the old file was not put aside"))?;
    Ok(Recovery::Rewritten { kept_records, damage: broken.or(unusable), left_bytes: begin, put_aside })
}
