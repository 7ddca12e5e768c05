//! `detect`: trains on one table of numbers and scores another.
//!
//! Both are CSV, with or without a header line. For each row of the second, it prints one line `score,decision`:
//! scikit-learn's `score_samples` and `decision_function`, so that the two can be compared.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use linfa::ParamGuard;
use ndarray::Array2;

use crate::detect::{IsolationForestError, IsolationForestParams};

/// Why a table could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A file cannot be opened.
    #[error("cannot read `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not a table of numbers.
    #[error("`{}` is not a table of numbers", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// The forest reported an error.
    #[error("cannot learn `{}` or score by it", path.display())]
    Forest {
        /// The file used for training or scoring.
        path: PathBuf,
        /// Why.
        source: IsolationForestError,
    },
    /// The scores cannot be written.
    #[error("cannot write the scores")]
    Write(#[source] std::io::Error),
}

/// What is wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A line that cannot be read.
    #[error("line {line} cannot be read")]
    Read {
        /// Line number, from 1.
        line: u64,
        /// Why.
        source: std::io::Error,
    },
    /// Not CSV.
    #[error("line {line} cannot be read as CSV")]
    Csv {
        /// Line number, from 1.
        line: u64,
        /// Why.
        source: csv::Error,
    },
    /// A row of another length.
    #[error("line {line} has {fields} fields, the lines before it have {expected}")]
    Ragged {
        /// Line number, from 1.
        line: u64,
        /// Its fields.
        fields: usize,
        /// Fields of the first line.
        expected: usize,
    },
    /// A field that is not a finite number.
    #[error("line {line}, field {field}: `{text}` is not a finite number")]
    NotANumber {
        /// Line number, from 1.
        line: u64,
        /// Field number, from 1.
        field: usize,
        /// The field, cut at 40 characters.
        text: String,
    },
    /// No row of numbers.
    #[error("it holds no row of numbers")]
    Empty,
}

/// Trains on `train` and writes one `score,decision` line for each row of `score`.
///
/// # Errors
/// [`DetectError`] when a file is not a table of numbers, when the two tables do not match, or when the parameters are
/// out of range.
pub fn run(
    train: &Path,
    score: &Path,
    params: IsolationForestParams,
    output: &mut impl Write,
) -> Result<(), DetectError> {
    let forest_error = |path: &Path| {
        let path = path.to_owned();
        move |source| DetectError::Forest { path, source }
    };
    let training_rows = load(train)?;
    let rows = load(score)?;
    let params = params.check().map_err(forest_error(train))?;
    let forest = params.grow(training_rows.view()).map_err(forest_error(train))?;
    let scores = forest.score_samples(&rows).map_err(forest_error(score))?;
    for score in scores {
        writeln!(output, "{score},{}", score - forest.offset()).map_err(DetectError::Write)?;
    }
    output.flush().map_err(DetectError::Write)
}

fn load(path: &Path) -> Result<Array2<f64>, DetectError> {
    let file =
        std::fs::File::open(path).map_err(|source| DetectError::Open { path: path.to_owned(), source })?;
    parse(BufReader::new(file)).map_err(|source| DetectError::Table { path: path.to_owned(), source })
}

/// Reads a table of finite numbers; a first line without a single number in it is a header.
fn parse(input: impl BufRead) -> Result<Array2<f64>, TableError> {
    let mut values = Vec::new();
    let (mut columns, mut rows) = (None, 0);
    for (number, text) in (1..).zip(input.lines()) {
        let text = text.map_err(|source| TableError::Read { line: number, source })?;
        // Spreadsheets begin their files with a byte order mark.
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let record = split(text).map_err(|source| TableError::Csv { line: number, source })?;
        let is_first = columns.is_none();
        let expected = *columns.get_or_insert(record.len());
        if record.len() != expected {
            return Err(TableError::Ragged { line: number, fields: record.len(), expected });
        }
        // `nan` parses as a number, so such a line is an error and not a header.
        if is_first && record.iter().all(|field| field.parse::<f64>().is_err()) {
            continue;
        }
        for (field, text) in (1..).zip(record.iter()) {
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            let text = || text.chars().take(40).collect();
            values.push(value.ok_or_else(|| TableError::NotANumber { line: number, field, text: text() })?);
        }
        rows += 1;
    }
    let columns = columns.filter(|_| 0 < rows).ok_or(TableError::Empty)?;
    // Every row has `columns` values, so the shape always fits.
    Array2::from_shape_vec((rows, columns), values).map_err(|_| TableError::Empty)
}

/// The fields of one line. One line at a time, so that the number of a bad one is certain.
fn split(line: &str) -> Result<csv::StringRecord, csv::Error> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.has_headers(false).trim(csv::Trim::All).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record)?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<(usize, usize), &str>) {
        let got = parse(text.as_bytes()).map(|table| table.dim()).map_err(|error| error.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{text:?}");
    }

    #[test]
    fn tables_with_and_without_a_header_are_read() {
        check("1,2\n3,4\n", Ok((2, 2)));
        check("cpu, memory\r\n1, 2.5e3\r\n", Ok((1, 2)));
        check("cpu\n\n1\n\n-2", Ok((2, 1)));
        check("\u{feff}\"cpu, of all\",\"memory\"\n\"1\",2\n", Ok((1, 2)));
    }

    #[test]
    fn one_line_a_row_comes_out() {
        let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/isolation_forest_rows.csv");
        let mut output = Vec::new();
        run(&rows, &rows, IsolationForestParams::default(), &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        let lines: Vec<Vec<f64>> = output
            .lines()
            .map(|line| line.split(',').map(|number| number.parse().unwrap()).collect())
            .collect();
        assert_eq!(lines.len(), 400);
        assert!(lines.iter().all(|line| line.len() == 2 && (-1.0..0.0).contains(&line[0])));
        assert_eq!(lines.iter().filter(|line| line[1] < 0.0).count(), 20);
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let rows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/isolation_forest_rows.csv");
        let directory = tempfile::tempdir().unwrap();
        let narrow = directory.path().join("narrow.csv");
        std::fs::write(&narrow, "1,2\n").unwrap();
        let error = run(&rows, &narrow, IsolationForestParams::default(), &mut Vec::new()).unwrap_err();
        let error = lxc_autoscale_core::ErrorChain(&error).to_string();
        assert!(error.contains("narrow.csv") && error.ends_with("the rows to score have 2"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check("", Err("it holds no row of numbers"));
        check("cpu,memory\n", Err("it holds no row of numbers"));
        check("1,2\n3\n", Err("line 2 has 1 fields, the lines before it have 2"));
        check("a,b\n1,2,3\n", Err("line 2 has 3 fields, the lines before it have 2"));
        check("1,2\n3,four\n", Err("line 2, field 2: `four` is not a finite number"));
        check("1,2\n\n3,NaN\n", Err("line 3, field 2: `NaN` is not a finite number"));
        check("1,inf\n", Err("line 1, field 2: `inf` is not a finite number"));
        check("nan,nan\n1,2\n", Err("line 1, field 1: `nan` is not a finite number"));
        check("1,\n", Err("line 1, field 2: `` is not a finite number"));
    }
}
