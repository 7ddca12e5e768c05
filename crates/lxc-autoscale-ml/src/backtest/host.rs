//! What a host shows of a container under a limit.
//!
//! CPU use is cut at the limit and what was not served waits, at most half an hour of what was provisioned;
//! memory use is cut at the limit, and that it wanted more shows as an event. So the decisions see only what a
//! node would show, never the recorded demand that a limit would have hidden.

use jiff::Timestamp;

use super::recording::Step;
use crate::observation::Observation;
use crate::replay::Size;

/// Work that waits longer than this is given up by whoever asked for it, in seconds.
const PATIENCE_SECONDS: f64 = 1800.0;
/// Less wanted work than this, in core-seconds, is none.
const NO_WORK: f64 = 1e-6;

/// One container's share of a host.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Most work that waits, in core-seconds.
    most_waiting: f64,
    waiting: f64,
}

impl Host {
    /// A container that was built with so many cores.
    pub fn new(provisioned_cores: f64) -> Self {
        Self { most_waiting: provisioned_cores * PATIENCE_SECONDS, waiting: 0.0 }
    }

    /// What a step looks like under the limits `size`.
    pub fn serve(&mut self, step: &Step, size: Size, at: Timestamp) -> Observation {
        if step.after_gap {
            self.waiting = 0.0;
        }
        let cpu = step.sample.cpu_cores.map(|cores| self.serve_cpu(cores, step.seconds, size.cores));
        let memory = step.sample.memory_mib;
        Observation {
            cpu_cores_used: cpu.map(|(used, _)| used),
            cpu_throttled_share: cpu.map(|(_, share)| share),
            cores_limit: Some(size.cores),
            memory_used_mib: memory.map(|wanted| wanted.min(size.memory_mib)),
            memory_limit_mib: Some(size.memory_mib),
            oom: memory.map(|wanted| size.memory_mib < wanted),
            ..Observation::unknown(at)
        }
    }

    /// Cores used, and the share of the wanted work that was not served.
    fn serve_cpu(&mut self, cores: f64, seconds: f64, limit: f64) -> (f64, f64) {
        let wanted = cores * seconds + self.waiting;
        let served = wanted.min(limit * seconds);
        self.waiting = (wanted - served).min(self.most_waiting);
        let share = if wanted <= NO_WORK { 0.0 } else { 1.0 - served / wanted };
        (served / seconds, share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::recording::Sample;
    use super::*;

    /// Cores used, throttled share and whether memory ran out, of each step of five minutes.
    #[track_caller]
    fn check(steps: &[(f64, f64, bool)], limit: Size, want: &[(f64, f64, bool)]) {
        let mut host = Host::new(2.0);
        for ((cpu, memory, after_gap), (used, share, oom)) in steps.iter().zip(want) {
            let sample =
                Sample { at: 0, cpu_cores: Some(*cpu), memory_mib: Some(*memory), is_disturbed: false };
            let step = Step { sample, seconds: 300.0, after_gap: *after_gap };
            let seen = host.serve(&step, limit, Timestamp::UNIX_EPOCH);
            let close = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() < 1e-9;
            assert!(close(seen.cpu_cores_used, *used) && close(seen.cpu_throttled_share, *share), "{seen:?}");
            assert_eq!(seen.oom, Some(*oom));
            assert!(seen.memory_used_mib.unwrap() <= limit.memory_mib);
        }
    }

    #[test]
    fn what_is_not_served_waits_and_what_waits_is_wanted() {
        let limit = Size { cores: 1.0, memory_mib: 512.0 };
        let steps = [(1.5, 100.0, true), (0.25, 600.0, false), (0.0, 100.0, false), (0.0, 100.0, false)];
        check(
            &steps,
            limit,
            &[(1.0, 1.0 / 3.0, false), (0.75, 0.0, true), (0.0, 0.0, false), (0.0, 0.0, false)],
        );
    }

    #[test]
    fn nobody_waits_longer_than_half_an_hour_and_nothing_waits_over_a_gap() {
        let limit = Size { cores: 0.5, memory_mib: 512.0 };
        let mut steps = vec![(100.0, 1.0, false); 3];
        steps.push((0.0, 1.0, false));
        // 3600 core-seconds wait; 150 of them are served.
        check(
            &steps[2..],
            limit,
            &[(0.5, 1.0 - 150.0 / 30_000.0, false), (0.5, 1.0 - 150.0 / 3600.0, false)],
        );
        steps.push((0.2, 1.0, true));
        check(
            &steps[2..],
            limit,
            &[(0.5, 0.995, false), (0.5, 1.0 - 150.0 / 3600.0, false), (0.2, 0.0, false)],
        );
    }
}
