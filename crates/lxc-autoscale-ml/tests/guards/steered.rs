//! The pipeline and the node it controls, without files and sockets in between.

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_ml::config::Config;
use lxc_autoscale_ml::decide::{Reason, Resource};
use lxc_autoscale_ml::pipeline::{Changes, Pipeline, Proposal};
use lxc_autoscale_ml::proposals::Approvals;

use crate::host::{Guest, Host};

/// The pipeline and the node it controls, without files and sockets in between.
pub(crate) struct Loop {
    pub(crate) host: Host,
    pub(crate) pipeline: Pipeline,
    pub(crate) changes: Changes,
    step: SignedDuration,
}

/// One change that was made.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "shown where a test fails")]
pub(crate) struct Made {
    pub(crate) id: u32,
    pub(crate) at: Timestamp,
    pub(crate) resource: Resource,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) reason: Reason,
}

impl Loop {
    pub(crate) fn new(
        config: &Config,
        step: SignedDuration,
        guests: impl IntoIterator<Item = (u32, Guest)>,
    ) -> Self {
        let pipeline = Pipeline::new(config).unwrap();
        Self { host: Host::new(guests), pipeline, changes: Changes::new(), step }
    }

    /// Lets a step pass, decides, and carries the decisions out.
    pub(crate) fn step(&mut self) -> (Vec<Proposal>, Vec<Made>) {
        let snapshot = self.host.step(self.step);
        self.pipeline.take(snapshot);
        let now = self.host.now;
        self.pipeline.judge(now);
        let proposals = self.pipeline.propose(&self.changes, &Approvals::default(), now);
        let mut made = Vec::new();
        for proposal in &proposals {
            let id = proposal.id.get();
            for decision in [&proposal.decisions.cpu, &proposal.decisions.memory] {
                let (Some(from), Some(to), true) = (decision.from, decision.to, decision.apply) else {
                    continue;
                };
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
                match decision.resource {
                    Resource::Cpu => self.host.set(id, Some(to as u32), None),
                    Resource::Memory => self.host.set(id, None, Some(to as u64)),
                }
                self.changes.entry(proposal.id).or_default().note(decision, now);
                self.pipeline.note_change(proposal.id, decision, (now, now), Some(to));
                let (resource, reason) = (decision.resource, decision.reason.clone());
                made.push(Made { id, at: now, resource, from, to, reason });
            }
        }
        (proposals, made)
    }
}

/// A cheap source of noise: the same number for the same seed and time, between 0 and 1.
pub(crate) fn hash(seed: u64, index: u64) -> f64 {
    let mut bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03);
    bits ^= bits >> 31;
    bits = bits.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^= bits >> 29;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}
