//! The recording of a container, whatever file it comes from.

use crate::decide::{NodeSituation, Obstacles};
use crate::history::LONGEST_STEP;
use crate::policy::Pool;
use crate::replay::{CpuClass, Size};

/// Length of the very first step, in seconds: a step of the model's series.
const FIRST_STEP_SECONDS: f64 = 300.0;

/// The usage of one container, and its provisioned size.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its id in the file.
    pub id: u64,
    /// Its name, if the file has one.
    pub name: Option<String>,
    /// The pool it was in at the end.
    pub pool: Pool,
    /// Its size at the beginning of the recording.
    pub provisioned: Size,
    /// How CPU is allocated to it, if its policy says so; otherwise the replay's setting applies.
    pub cpu_class: Option<CpuClass>,
    /// Obstacles to changes at the end of the recording.
    pub obstacles: Obstacles,
    /// Its node; unknown values allow no growth.
    pub node: NodeSituation,
    /// Its usage, in the order of time.
    pub samples: Vec<Sample>,
}

/// A container's usage between the previous sample and this one. `None` is unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// End of the step, in seconds since the Unix epoch.
    pub at: i64,
    /// Mean CPU use, in cores.
    pub cpu_cores: Option<f64>,
    /// Working set, in MiB.
    pub memory_mib: Option<f64>,
    /// Whether the step is disturbed, by a backup or its start.
    pub is_disturbed: bool,
}

/// A sample with the length of its step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The sample.
    pub sample: Sample,
    /// Length of the step, in seconds.
    pub seconds: f64,
    /// Whether nothing is known about the time right before this step.
    pub after_gap: bool,
}

impl Recording {
    /// The samples with the lengths of their steps; after a gap it is that of the step before the gap.
    ///
    /// The length depends only on earlier samples, so that a truncated recording gives the same steps.
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

    /// First and last time, in seconds since the Unix epoch; `None` if it is empty.
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
