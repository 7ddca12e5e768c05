//! The table of what was compared with what, and its verdicts.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// What became of one row.
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

/// Collects rows; nothing fails before the last one is in, so that one run shows all that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    rows: Vec<Row>,
}

impl Findings {
    /// A measured value and the bounds the truth sets it; an absent value differs.
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

    /// A cumulative counter, between what the kernel said before and after.
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

    /// A gauge in MiB, near what the kernel said in bytes before and after.
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

    /// A sentence that is true or not; `found` says what was seen.
    pub(crate) fn holds(&mut self, name: &'static str, truth: &str, holds: bool, found: impl Into<String>) {
        self.push(name, found.into(), truth.to_owned(), holds);
    }

    /// A row that this machine cannot show, and why.
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

    /// Names of the rows with a verdict other than `ok`, and of those that are missing or not known.
    ///
    /// `expected` are all rows; `may_be_skipped` those that this kind of machine cannot show.
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
