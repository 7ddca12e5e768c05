//! The table of comparisons and their results.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// The result of one row.
#[derive(Debug)]
enum Verdict {
    Agrees,
    Differs,
    Skipped,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    measured: String,
    truth: String,
    verdict: Verdict,
}

/// Collects rows. The test fails only after the last one, so that one run shows everything that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    rows: Vec<Row>,
}

impl Findings {
    /// Compares a measured value with bounds around the truth; an absent value is a difference.
    pub(crate) fn within(
        &mut self,
        name: &'static str,
        measured: impl Into<Option<f64>>,
        truth: RangeInclusive<f64>,
    ) {
        let measured = measured.into();
        let agrees = measured.is_some_and(|value| truth.contains(&value));
        let measured = measured.map_or_else(|| "absent".to_owned(), |value| format!("{value:.3}"));
        let truth = format!("{:.3} … {:.3}", truth.start(), truth.end());
        self.push(name, measured, truth, agrees);
    }

    /// Compares a cumulative counter with the kernel's values before and after.
    pub(crate) fn counter(
        &mut self,
        name: &'static str,
        measured: impl Into<Option<u64>>,
        kernel: (Option<u64>, Option<u64>),
    ) {
        let (Some(before), Some(after)) = kernel else {
            self.push(name, format!("{:?}", measured.into()), "the kernel's file says nothing".into(), false);
            return;
        };
        self.within(name, measured.into().map(|value| value as f64), before as f64..=after as f64);
    }

    /// Compares a gauge in MiB with the kernel's values in bytes before and after.
    pub(crate) fn gauge_mib(
        &mut self,
        name: &'static str,
        measured: impl Into<Option<f64>>,
        kernel: (Option<u64>, Option<u64>),
        slack_mib: f64,
    ) {
        let (Some(before), Some(after)) = kernel else {
            self.push(name, format!("{:?}", measured.into()), "the kernel's file says nothing".into(), false);
            return;
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (low, high) = (mib(before.min(after)), mib(before.max(after)));
        self.within(name, measured, low - slack_mib..=high + slack_mib);
    }

    /// A statement that is true or not; `found` says what was seen.
    pub(crate) fn holds(&mut self, name: &'static str, truth: &str, holds: bool, found: impl Into<String>) {
        self.push(name, found.into(), truth.to_owned(), holds);
    }

    /// Rows that this machine cannot show, and why.
    pub(crate) fn skip(&mut self, names: &[&'static str], why: &str) {
        for name in names {
            let (measured, truth) = ("-".to_owned(), why.to_owned());
            self.rows.push(Row { name, measured, truth, verdict: Verdict::Skipped });
        }
    }

    fn push(&mut self, name: &'static str, measured: String, truth: String, agrees: bool) {
        let verdict = if agrees { Verdict::Agrees } else { Verdict::Differs };
        self.rows.push(Row { name, measured, truth, verdict });
    }

    /// The table, for people.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let verdict = match row.verdict {
                Verdict::Agrees => "ok     ",
                Verdict::Differs => "DIFFERS",
                Verdict::Skipped => "skipped",
            };
            let _ = writeln!(text, "{verdict}  {:<34} {:<26} {}", row.name, row.measured, row.truth);
        }
        text
    }

    /// The names of the rows with a result other than `ok`, and of those that are missing or unknown.
    ///
    /// `expected` has all rows, and `may_be_skipped` those that this kind of machine cannot show.
    pub(crate) fn complaints(&self, expected: &[&str], may_be_skipped: &[&str]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut complaints = Vec::new();
        for row in &self.rows {
            if !seen.insert(row.name) || !expected.contains(&row.name) {
                complaints.push(format!("{}: not a row, or twice", row.name));
            }
            match row.verdict {
                Verdict::Agrees => {}
                Verdict::Skipped if may_be_skipped.contains(&row.name) => {}
                Verdict::Skipped => {
                    complaints.push(format!("{}: skipped, but must be checked here", row.name));
                }
                Verdict::Differs => {
                    complaints.push(format!("{}: measured {}, truth {}", row.name, row.measured, row.truth));
                }
            }
        }
        let absent = expected.iter().filter(|name| !seen.contains(*name));
        complaints.extend(absent.map(|name| format!("{name}: was never looked at")));
        complaints
    }
}
