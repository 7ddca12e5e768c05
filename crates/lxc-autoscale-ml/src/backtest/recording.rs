//! What was recorded of a container, whatever file it comes from.

use crate::decide::{NodeSituation, Obstacles};
use crate::history::LONGEST_STEP;
use crate::policy::Pool;
use crate::replay::{CpuClass, Size};

/// How long the first sample of all speaks for, in seconds: a step of the model's series.
const FIRST_STEP_SECONDS: f64 = 300.0;

/// What one container used, and what it was built with.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its id, as the file names it.
    pub id: u64,
    /// Its name, where the file knows one.
    pub name: Option<String>,
    /// The pool it was in at the end.
    pub pool: Pool,
    /// What it had when the recording began.
    pub provisioned: Size,
    /// How CPU is given out to it, where its policy decides that; otherwise as the replay does.
    pub cpu_class: Option<CpuClass>,
    /// What forbade changes at the end of the recording.
    pub obstacles: Obstacles,
    /// The node it stood on; what is not known of it grants no growth.
    pub node: NodeSituation,
    /// What it used, in the order of time.
    pub samples: Vec<Sample>,
}

/// What a container used between the sample before and this one. `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// End of the step, in seconds since the Unix epoch.
    pub at: i64,
    /// Mean CPU use, in cores.
    pub cpu_cores: Option<f64>,
    /// Working set, in MiB.
    pub memory_mib: Option<f64>,
    /// Whether the step says nothing about the container: a backup, its start.
    pub is_disturbed: bool,
}

/// A sample with the length of its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The sample.
    pub sample: Sample,
    /// Time it speaks for, in seconds.
    pub seconds: f64,
    /// Whether nothing is known about the time right before this step.
    pub after_gap: bool,
}

impl Recording {
    /// The samples with their lengths; one after a gap speaks for as long as the one before the gap did.
    ///
    /// Only what came before decides the length, so that a recording that is cut gives the same steps.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let mut last: Option<i64> = None;
        let mut usual = FIRST_STEP_SECONDS;
        self.samples.iter().map(move |sample| {
            let elapsed = last.map(|last| (sample.at - last) as f64);
            last = Some(sample.at);
            let within = elapsed.filter(|seconds| *seconds <= LONGEST_STEP.as_secs_f64());
            usual = within.unwrap_or(usual);
            Step { sample: *sample, seconds: usual, after_gap: within.is_none() }
        })
    }

    /// First and last time, in seconds since the Unix epoch; `None` of an empty recording.
    pub fn span(&self) -> Option<(i64, i64)> {
        Some((self.samples.first()?.at, self.samples.last()?.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_step_and_only_the_past_tells_its_length() {
        let sample = |at| Sample { at, cpu_cores: Some(1.0), memory_mib: None, is_disturbed: false };
        let recording = Recording {
            id: 1,
            name: None,
            pool: Pool::Unknown,
            provisioned: Size { cores: 1.0, memory_mib: 512.0 },
            cpu_class: None,
            obstacles: Obstacles::default(),
            node: NodeSituation::default(),
            samples: [0, 60, 120, 7200, 7260].map(sample).to_vec(),
        };
        let steps: Vec<_> =
            recording.steps().map(|step| (step.seconds.to_string(), step.after_gap)).collect();
        let want = [("300", true), ("60", false), ("60", false), ("60", true), ("60", false)];
        assert_eq!(steps, want.map(|(seconds, gap)| (seconds.to_owned(), gap)));
        assert_eq!(recording.span(), Some((0, 7260)));
    }
}
