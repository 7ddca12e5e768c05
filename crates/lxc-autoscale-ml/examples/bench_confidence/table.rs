//! The reliability table.

use std::fmt::Write;

use lxc_autoscale_ml::confidence::Move;
use serde::Serialize;

use crate::outcome::Said;

/// Confidences are binned by tenths.
const DECILES: usize = 10;
/// From this confidence on a decision counts as certain.
const SURE_PERCENT: f64 = 90.0;
const HOUR: u64 = 3600;
/// How long a resource has been measured, up to this many seconds, in words.
const AGES: [(&str, u64); 4] = [
    ("up to 6 hours", 6 * HOUR),
    ("6 to 24 hours", 24 * HOUR),
    ("1 to 3 days", 72 * HOUR),
    ("more than 3 days", u64::MAX),
];

/// One set of traces.
#[derive(Serialize)]
pub(crate) struct Set {
    title: String,
    cpu: Judged,
    memory: Judged,
}

impl Set {
    pub(crate) fn new(title: &str, [cpu, memory]: [Judged; 2]) -> Self {
        Self { title: title.to_owned(), cpu, memory }
    }
}

/// How often decisions about one resource stayed right: all of them, then growths and shrinks.
#[derive(Default, Serialize)]
pub(crate) struct Judged {
    by_confidence: [[Count; 3]; DECILES],
    sure: [Count; 3],
    by_age: [[Count; 3]; AGES.len()],
}

#[derive(Clone, Copy, Default, Serialize)]
struct Count {
    all: u64,
    right: u64,
    stated_percent: f64,
}

impl Count {
    fn note(&mut self, right: bool, stated_percent: f64) {
        self.all += 1;
        self.right += u64::from(right);
        self.stated_percent += stated_percent;
    }

    /// The number, the mean stated confidence, and the share that stayed right.
    fn cells(&self) -> String {
        if self.all == 0 {
            return "0 | – | –".to_owned();
        }
        let mean = |sum: f64| sum / self.all as f64;
        let (stated, right) = (mean(self.stated_percent), mean(100.0 * self.right as f64));
        format!("{} | {stated:.1} % | {right:.1} %", self.all)
    }
}

impl Judged {
    /// From decisions, each with its confidence.
    pub(crate) fn new<'a>(said: impl Iterator<Item = (&'a Said, f64)>) -> Self {
        let mut judged = Self::default();
        for (one, stated) in said.filter(|(one, _)| one.is_decision) {
            let Some(right) = one.right else { continue };
            let made = match one.made {
                Move::Keep => None,
                Move::Grow => Some(1),
                Move::Shrink => Some(2),
            };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
            let decile = ((stated / DECILES as f64) as usize).min(DECILES - 1);
            let age = AGES.iter().position(|(_, most)| one.known_seconds <= *most).unwrap_or(AGES.len() - 1);
            let mut rows = vec![&mut judged.by_confidence[decile], &mut judged.by_age[age]];
            if SURE_PERCENT <= stated {
                rows.push(&mut judged.sure);
            }
            for row in rows {
                row[0].note(right, stated);
                if let Some(made) = made {
                    row[made].note(right, stated);
                }
            }
        }
        judged
    }
}

/// The set as tables for both resources.
pub(crate) fn markdown(set: &Set) -> String {
    let mut out = format!("### {}\n", set.title);
    for (resource, judged) in [("CPU", &set.cpu), ("Memory", &set.memory)] {
        let _ = writeln!(
            out,
            "\n{resource}:\n\n| confidence | all decisions | stated | stayed right | growths | stated | stayed right | shrinks | stated | stayed right |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        );
        for (decile, counts) in judged.by_confidence.iter().enumerate() {
            line(&mut out, &format!("{} to {} %", 10 * decile, 10 * (decile + 1)), counts);
        }
        line(&mut out, "**at least 90 %**", &judged.sure);
        for ((age, _), counts) in AGES.iter().zip(&judged.by_age) {
            line(&mut out, &format!("known for {age}"), counts);
        }
    }
    out
}

fn line(out: &mut String, name: &str, counts: &[Count; 3]) {
    let cells = counts.each_ref().map(Count::cells).join(" | ");
    let _ = writeln!(out, "| {name} | {cells} |");
}
