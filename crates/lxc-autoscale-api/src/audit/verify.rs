//! Verifies the chain.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::chain::{BEGINNING, LINE_END, Link, first_link, last_link, link, tail};
use super::numbered;

/// A place where the chain is broken, or may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A line that is no record, after which the chain continues: a crash interrupted it.
    #[error("{}:{line}: an incomplete line, left by a crash; the chain continues after it", file.display())]
    CutOff {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// A line was altered.
    #[error("{}:{line}: this line was altered: its hash does not match its content", file.display())]
    Altered {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// A line does not continue the one before it.
    #[error("{}:{line}: record {seq} does not follow record {after}: lines were removed, inserted or moved before it", file.display())]
    Broken {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The number of its record.
        seq: u64,
        /// The number of the record before it.
        after: u64,
    },
    /// The oldest records are gone, but not by rotation.
    #[error("{}: the oldest record is {first}, but it should be {oldest}: lines or older files were removed", file.display())]
    Beginning {
        /// The oldest file.
        file: PathBuf,
        /// The number of the oldest record.
        first: u64,
        /// The number that it should have.
        oldest: u64,
    },
}

impl Finding {
    /// Whether this can only be the result of tampering.
    pub fn is_tampering(&self) -> bool {
        !matches!(self, Self::CutOff { .. })
    }
}

/// Why nothing can be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The configuration names no file.
    #[error("no audit log is kept: `audit.file` is empty in the configuration")]
    NotKept,
    /// Neither the file nor an older one exists.
    #[error("there is no audit log `{}`; is `audit.file` of the configuration the one that the server writes?", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read the audit log `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Number of records whose hash matches their content.
    pub records: u64,
    /// Number of the first record; greater than 1 if rotation has removed older files.
    pub first: Option<u64>,
    /// Number of the last.
    pub last: Option<u64>,
    /// Hash of the last.
    pub last_hash: Option<String>,
    /// The greatest number of a change in them.
    pub newest_change: Option<u64>,
    /// Where the chain does not hold.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Whether the chain is free of tampering; traces of a crash are allowed.
    pub fn holds(&self) -> bool {
        !self.findings.iter().any(Finding::is_tampering)
    }
}

/// Follows the chain from the oldest file to the newest.
///
/// # Errors
/// [`VerifyError`] if there is no file, or one cannot be read.
pub fn verify(file: &Path, backup_count: u32) -> Result<Verdict, VerifyError> {
    if file.as_os_str().is_empty() {
        return Err(VerifyError::NotKept);
    }
    let mut verdict = Verdict::default();
    let mut before: Option<Link> = None;
    // A log that was never rotated begins with its first record.
    let (mut oldest, mut oldest_file) = (1, None);
    let files = (0..=last_kept(file, backup_count)).rev().map(|number| numbered(file, number));
    for path in files {
        let opened = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(|source| VerifyError::Read { path: path.clone(), source })?,
        };
        for (index, line) in BufReader::new(opened).split(b'\n').enumerate() {
            let line = line.map_err(|source| VerifyError::Read { path: path.clone(), source })?;
            take(&mut verdict, &mut before, &path, index + 1, &String::from_utf8_lossy(&line));
            if let Some(kept) = before.as_ref().and_then(|link| link.oldest) {
                oldest = kept;
            }
        }
        oldest_file.get_or_insert(path);
    }
    let Some(oldest_file) = oldest_file else { return Err(VerifyError::NoFile { path: file.to_owned() }) };
    if let Some(first) = verdict.first
        && oldest < first
    {
        verdict.findings.insert(0, Finding::Beginning { file: oldest_file, first, oldest });
    }
    verdict.last = before.as_ref().map(|link| link.seq);
    verdict.last_hash = before.map(|link| link.hash);
    Ok(verdict)
}

/// The number of the oldest file. If more files were kept before, those beyond `backup_count` stay until the next
/// rotation and are still part of the chain, as far as the newer ones continue them.
fn last_kept(file: &Path, backup_count: u32) -> u32 {
    let is_continued = |number: u32| {
        let open = |number| File::open(numbered(file, number)).ok();
        let older = open(number).and_then(|mut older| {
            let size = older.metadata().ok()?.len();
            last_link(&tail(&mut older, size).ok()?)
        });
        let newer = open(number - 1).and_then(first_link);
        older.zip(newer).is_some_and(|(older, newer)| newer.previous == older.hash)
    };
    (backup_count..u32::MAX).find(|kept| !is_continued(kept + 1)).unwrap_or(backup_count)
}

fn take(verdict: &mut Verdict, before: &mut Option<Link>, path: &Path, line: usize, text: &str) {
    let file = path.to_owned();
    if text.is_empty() {
        return;
    }
    let Some(next) = link(text) else {
        // A complete record has its end, an incomplete line has not.
        let finding = if text.ends_with(LINE_END) {
            Finding::Altered { file, line }
        } else {
            Finding::CutOff { file, line }
        };
        verdict.findings.push(finding);
        return;
    };
    let (expected, after) = match before.as_ref() {
        Some(last) => (last.hash.as_str(), last.seq),
        // Whatever came before the oldest file that is kept.
        None if next.seq == 1 => (BEGINNING, 0),
        None => (next.previous.as_str(), next.seq - 1),
    };
    if next.previous != expected || next.seq != after + 1 {
        verdict.findings.push(Finding::Broken { file, line, seq: next.seq, after });
    }
    verdict.records += 1;
    verdict.first.get_or_insert(next.seq);
    verdict.newest_change = verdict.newest_change.max(next.change);
    *before = Some(next);
}
