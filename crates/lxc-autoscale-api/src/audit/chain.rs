//! The lines of the log, each with the hash of the line before it.
//!
//! A line ends with `"hash"`, the SHA-256 of everything before it on the line, including `"previous"`. Nothing may
//! follow the hash, because it would not cover that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::backups::numbered;

/// The hash that the first line of the chain refers to.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What precedes the hash of a line.
const HASH_FIELD: &str = ",\"hash\":\"";
/// What follows it.
pub(super) const LINE_END: &str = "\"}";
/// The part at the end of a file in which its last line is looked for. No line is longer: the longest are
/// configuration changes, at most 50 of them, each with three texts of 200 characters.
const TAIL_BYTES: u64 = 1 << 20;

/// The event of a change that has begun.
const BEGUN: &str = "begun";

/// The parts of a line that make up the chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    /// The number of the record.
    pub(super) seq: u64,
    /// The hash of the line before it.
    pub(super) previous: String,
    /// Its own hash.
    pub(super) hash: String,
    /// If given, the oldest record that was kept when the file of this line was created.
    #[serde(default)]
    pub(super) oldest: Option<u64>,
    /// The change that it is about, if it is about one.
    #[serde(default)]
    pub(super) change: Option<u64>,
}

/// Completes a JSON object to a line with its hash; also returns the hash.
pub(super) fn complete(object: &str) -> (String, String) {
    let hashed = object.strip_suffix('}').unwrap_or(object);
    let hash = hash(hashed);
    (format!("{hashed}{HASH_FIELD}{hash}{LINE_END}\n"), hash)
}

/// Parses the link of a line; `None` if it is malformed or does not end with its own hash.
pub(super) fn link(line: &str) -> Option<Link> {
    let (hashed, end) = line.rsplit_once(HASH_FIELD)?;
    if end.strip_suffix(LINE_END)? != hash(hashed) {
        return None;
    }
    serde_json::from_str(line).ok()
}

/// The last link in a text.
pub(super) fn last_link(text: &str) -> Option<Link> {
    text.lines().rev().find_map(link)
}

/// The first link in a file.
pub(super) fn first_link(file: File) -> Option<Link> {
    BufReader::new(file).lines().map_while(Result::ok).find_map(|line| link(&line))
}

/// The end of a file.
pub(super) fn tail(file: &mut File, size: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The changes named in the newest records of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestChanges {
    /// The greatest number of a change; 0 if none can be read.
    pub newest: u64,
    /// All of these changes, with the last end that is recorded for each, if any.
    pub named: BTreeMap<u64, Option<ToldEnd>>,
    /// When the first of these records was written; all later records are included.
    pub since: Option<Timestamp>,
}

/// How a change ended according to its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldEnd {
    /// The error code; `None` if it was done.
    pub code: Option<String>,
    /// Why it was not done.
    pub message: String,
    /// The result.
    pub result: Value,
    /// Whether this is only what it was answered with.
    pub is_open: bool,
    /// Whether an earlier record has an end, which is what it was answered with.
    pub is_second: bool,
}

impl ToldEnd {
    /// Whether this is the final end of the change. `was_answered` says that it was answered while it was, as far as
    /// known elsewhere, still open.
    pub fn is_last(&self, was_answered: bool) -> bool {
        // Earlier versions did not mark such an answer as one.
        !self.is_open && (self.is_second || !was_answered)
    }
}

/// The fields of a record that are read here.
#[derive(Deserialize)]
struct Record {
    time: Timestamp,
    change: Option<u64>,
    event: String,
    code: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    result: Value,
    #[serde(default, rename = "open")]
    is_open: bool,
}

/// Reads the newest records of a log: the end of its file and, if that is the whole file, the end of the one before
/// it, because a change may have begun before a rotation. Empty if neither can be read.
pub fn newest_changes(file: &Path) -> NewestChanges {
    let newest_of = |number| {
        let mut file = File::open(numbered(file, number))?;
        let size = file.metadata()?.len();
        Ok::<_, io::Error>((tail(&mut file, size)?, TAIL_BYTES < size))
    };
    let (text, is_cut) = newest_of(0).unwrap_or_default();
    // With a gap between the records, something in the gap would seem to be missing.
    let before = if is_cut { String::new() } else { newest_of(1).unwrap_or_default().0 };
    let mut found = NewestChanges::default();
    let records = before.lines().chain(text.lines()).filter_map(|line| serde_json::from_str(line).ok());
    for Record { time, change, event, code, message, result, is_open } in records {
        found.since.get_or_insert(time);
        let Some(change) = change else { continue };
        found.newest = found.newest.max(change);
        let known = found.named.entry(change).or_default();
        if event != BEGUN {
            let is_second = known.is_some();
            *known = Some(ToldEnd { code, message, result, is_open, is_second });
        }
    }
    found
}

fn hash(text: &str) -> String {
    crate::auth::keys::hex(&Sha256::digest(text.as_bytes()))
}
