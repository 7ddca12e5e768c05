//! The lines of the log, each with the hash of the one before it.
//!
//! A line ends in `"hash"`, the SHA-256 of all that stands before it on the line, `"previous"` included, and in nothing
//! else: what stood behind the hash would not be held by it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::backups::numbered;

/// What the chain begins with.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// What stands before the hash of a line.
const HASH_FIELD: &str = ",\"hash\":\"";
/// What stands behind it.
pub(super) const LINE_END: &str = "\"}";
/// The end of a file in which its last line is looked for. No line is longer: the longest are changes of a
/// configuration, 50 of them at most, each with three texts of 200 characters.
const TAIL_BYTES: u64 = 1 << 20;

/// The event of a change that is begun.
const BEGUN: &str = "begun";

/// What the chain needs of a line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Link {
    /// Its number.
    pub(super) seq: u64,
    /// The hash of the line before it.
    pub(super) previous: String,
    /// Its own.
    pub(super) hash: String,
    /// The oldest record that was kept when the file of this line was begun, where it says so.
    #[serde(default)]
    pub(super) oldest: Option<u64>,
}

/// A JSON object as a line with its hash, and the hash.
pub(super) fn complete(object: &str) -> (String, String) {
    let hashed = object.strip_suffix('}').unwrap_or(object);
    let hash = hash(hashed);
    (format!("{hashed}{HASH_FIELD}{hash}{LINE_END}\n"), hash)
}

/// The link that a line is; `None` for a line that is none, or that does not end in its own hash.
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

/// The changes in the newest records of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestChanges {
    /// The greatest number; 0 where there is none to be read.
    pub newest: u64,
    /// All of them, with the last end of each that has one there.
    pub named: BTreeMap<u64, Option<ToldEnd>>,
    /// When the first of these records was written: later ones are among them.
    pub since: Option<Timestamp>,
}

/// How a change ended, as its record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldEnd {
    /// The kind of error; nothing where it was done.
    pub code: Option<String>,
    /// Why, where it was not done.
    pub message: String,
    /// What it gave.
    pub result: Value,
    /// Whether that is only what it was answered with.
    pub is_open: bool,
    /// Whether there was an end before it: what it was answered with.
    pub is_second: bool,
}

impl ToldEnd {
    /// Whether the change has ended so, if what is known elsewhere of one that `was_answered` is that it had not ended by then.
    pub fn is_last(&self, was_answered: bool) -> bool {
        // Earlier versions did not say of an answer that it is one.
        !self.is_open && (self.is_second || !was_answered)
    }
}

/// A record as it is read here.
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

/// Looks at the newest records of a log: those at the end of its file, and of the file before it where that is all there is
/// in this one, because a change may have begun before a rotation. Nothing where neither can be read.
pub fn newest_changes(file: &Path) -> NewestChanges {
    let newest_of = |number| {
        let mut file = File::open(numbered(file, number))?;
        let size = file.metadata()?.len();
        Ok::<_, io::Error>((tail(&mut file, size)?, TAIL_BYTES < size))
    };
    let (text, is_cut) = newest_of(0).unwrap_or_default();
    // Between records with a gap something might seem to lack that stands in the gap.
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
