//! Recordings from a table of comma-separated values, plain or compressed with gzip.
//!
//! Columns, in any order and among others: `timestamp` (s), `container_id`, `provisioned_cores`,
//! `provisioned_memory_mb`, `cpu_cores_used`, `memory_mb_used` (MiB). Lines may be in any order. An empty usage is
//! unknown; a time without a line is a gap.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::error::{BacktestError, TraceError};
use super::recording::{Recording, Sample};
use crate::columns;
use crate::decide::Obstacles;
use crate::policy::Pool;
use crate::replay::{Size, boundless_node};

/// More cores or MiB than this are an error.
const MOST: f64 = 1e9;

/// The columns that are read; there may be others.
pub(super) const COLUMNS: [&str; 6] = [
    "timestamp",
    "container_id",
    "provisioned_cores",
    "provisioned_memory_mb",
    "cpu_cores_used",
    "memory_mb_used",
];

#[derive(Deserialize)]
struct Line {
    timestamp: i64,
    container_id: u64,
    provisioned_cores: f64,
    provisioned_memory_mb: f64,
    cpu_cores_used: Option<f64>,
    memory_mb_used: Option<f64>,
}

/// Reads the recordings of a file, by id.
///
/// # Errors
/// [`BacktestError::Open`] and [`BacktestError::Traces`], with the line that cannot be used.
pub fn read(path: &Path) -> Result<Vec<Recording>, BacktestError> {
    let open = |source| BacktestError::Open { path: path.to_owned(), source };
    parse(columns::open(path).map_err(open)?)
        .map_err(|source| BacktestError::Traces { path: path.to_owned(), source })
}

/// Reads the recordings of a table, by id.
///
/// # Errors
/// [`TraceError`], with the line that cannot be used.
pub fn parse(input: impl Read) -> Result<Vec<Recording>, TraceError> {
    let mut recordings: BTreeMap<u64, Recording> = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(input);
    let headers = reader.headers().map_err(TraceError::Csv)?.clone();
    if headers.is_empty() {
        return Err(TraceError::Empty);
    }
    if let Some(column) = columns::missing(&headers, &COLUMNS) {
        return Err(TraceError::Column { column });
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(TraceError::Csv)? {
        let line: Line = record.deserialize(Some(&headers)).map_err(TraceError::Csv)?;
        let number = record.position().map_or(0, csv::Position::line);
        line.check(number)?;
        let recording = recordings.entry(line.container_id).or_insert_with(|| line.begin());
        recording.samples.push(line.sample());
    }
    for recording in recordings.values_mut() {
        recording.samples.sort_by_key(|sample| sample.at);
        let twice = recording.samples.windows(2).find(|pair| pair[0].at == pair[1].at);
        if let Some(pair) = twice {
            return Err(TraceError::Twice { id: recording.id, timestamp: pair[0].at });
        }
    }
    if recordings.is_empty() { Err(TraceError::Empty) } else { Ok(recordings.into_values().collect()) }
}

impl Line {
    fn check(&self, line: u64) -> Result<(), TraceError> {
        let provisioned = [
            ("provisioned_cores", self.provisioned_cores),
            ("provisioned_memory_mb", self.provisioned_memory_mb),
        ];
        let used = [("cpu_cores_used", self.cpu_cores_used), ("memory_mb_used", self.memory_mb_used)];
        let used = used.into_iter().filter_map(|(column, value)| Some((column, value?)));
        let bad = provisioned
            .into_iter()
            .find(|(_, value)| !(0.0 < *value && *value <= MOST))
            .or_else(|| used.into_iter().find(|(_, value)| !(0.0..=MOST).contains(value)));
        bad.map_or(Ok(()), |(column, value)| Err(TraceError::Amount { line, column, value }))?;
        // The range of jiff; years outside of it are an error anyway.
        let is_time = jiff::Timestamp::from_second(self.timestamp).is_ok();
        if is_time { Ok(()) } else { Err(TraceError::Time { line, timestamp: self.timestamp }) }
    }

    fn begin(&self) -> Recording {
        Recording {
            id: self.container_id,
            pool: Pool::Unknown,
            name: None,
            provisioned: Size { cores: self.provisioned_cores, memory_mib: self.provisioned_memory_mb },
            cpu_class: None,
            obstacles: Obstacles::default(),
            node: boundless_node(),
            samples: Vec::new(),
        }
    }

    fn sample(&self) -> Sample {
        let (cpu_cores, memory_mib) = (self.cpu_cores_used, self.memory_mb_used);
        Sample { at: self.timestamp, cpu_cores, memory_mib, is_disturbed: false }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    const HEAD: &str =
        "timestamp,container_id,provisioned_cores,provisioned_memory_mb,cpu_cores_used,memory_mb_used,x\n";

    #[test]
    fn lines_of_any_order_become_recordings_by_id() {
        let text = HEAD.to_owned() + "600,8,2,512,0.5,100,y\n600,7,1,256,,50,y\n300,8,2,512,0.25,90,y\n";
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read.iter().map(|recording| recording.id).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(
            read[0].samples,
            [Sample { at: 600, cpu_cores: None, memory_mib: Some(50.0), is_disturbed: false }]
        );
        assert_eq!(read[1].span(), Some((300, 600)));
        assert_eq!(read[1].provisioned, Size { cores: 2.0, memory_mib: 512.0 });
    }

    #[test]
    fn a_compressed_file_is_read_like_a_plain_one() {
        let text = HEAD.to_owned() + "300,8,2,512,0.25,90,y\n";
        let directory = tempfile::tempdir().unwrap();
        let (plain, packed) = (directory.path().join("a.csv"), directory.path().join("a.csv.gz"));
        std::fs::write(&plain, &text).unwrap();
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        assert_eq!(read(&plain).unwrap(), read(&packed).unwrap());
    }

    #[track_caller]
    fn check_refused(lines: &str, want: &str) {
        let error = parse((HEAD.to_owned() + lines).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), want);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        check_refused("", "it has no data");
        check_refused("300,8,0,512,1,1,y\n", "line 2: `provisioned_cores` is 0, which is not a valid amount");
        check_refused(
            "300,8,1,512,1,1,y\n600,8,1,512,-1,1,y\n",
            "line 3: `cpu_cores_used` is -1, which is not a valid amount",
        );
        check_refused(
            "300,8,1,512,1,nan,y\n",
            "line 2: `memory_mb_used` is NaN, which is not a valid amount",
        );
        check_refused("300,8,1,512,1,1,y\n300,8,1,512,1,1,y\n", "container 8 has two lines for the time 300");
        let far = i64::MAX;
        check_refused(&format!("{far},8,1,512,1,1,y\n"), &format!("line 2: the time {far} is out of range"));
        check_refused(
            "300,eight,1,512,1,1,y\n",
            "it is not CSV with the columns timestamp, container_id, provisioned_cores, provisioned_memory_mb, cpu_cores_used, memory_mb_used",
        );
        assert_eq!(parse("".as_bytes()).unwrap_err().to_string(), "it has no data");
        // A column that is misspelt, with and without lines below it.
        for lines in ["", "300,8,1,512,1,1,y\n"] {
            let text = HEAD.replace("memory_mb_used", "memory_used") + lines;
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("the column `memory_mb_used` is missing"), "{error}");
        }
    }
}
