//! The sizes that somebody gave a container, and what they mean for its maximums.
//!
//! A built-in maximum is a guess about containers in general. Whoever made a container larger knew better: if the guess
//! bounded it, what a shrink took could never be given back. So a maximum that nobody set is at least what somebody gave
//! the container; growth beyond that stays bounded by the built-in one. Nor does it contradict a minimum that somebody
//! set: it is at least that, too.

use std::collections::BTreeMap;

use super::in_force::{InForce, Kept, Source};
use crate::config::ScalingConfig;
use crate::decide::{CpuControl, Policy, Resource};

/// The sizes that somebody gave a container: those it had at first, or those set by hand since. `None` where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Given {
    /// CPU, in cores; all of the node's where it has no limit.
    pub cores: Option<f64>,
    /// Memory, in MiB.
    pub memory_mib: Option<f64>,
}

/// The key of the maximum of a resource.
pub(super) fn maximum_key(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "scaling.cpu.max_cores",
        Resource::Memory => "scaling.memory.max_mib",
    }
}

/// Raises each maximum that nobody set to the minimum, and returns those that were raised. `sources` are those of the
/// keys that are not from a general table.
pub(crate) fn raise_to_minimum(
    scaling: &mut ScalingConfig,
    sources: &BTreeMap<&'static str, Source>,
) -> Vec<Resource> {
    let default = Policy::default();
    let is_set = |resource: Resource, is_default: bool| match sources.get(maximum_key(resource)) {
        Some(Source::Given | Source::Minimum) => false,
        Some(_) => true,
        None => !is_default,
    };
    let (cpu, memory) = (&mut scaling.cpu, &mut scaling.memory);
    let mut raised = Vec::new();
    let cpu_is_default = cpu.max_cores.total_cmp(&default.cpu.max_cores).is_eq();
    if cpu.max_cores < cpu.min_cores && !is_set(Resource::Cpu, cpu_is_default) {
        cpu.max_cores = cpu.min_cores;
        raised.push(Resource::Cpu);
    }
    let memory_is_default = memory.max_mib == default.memory.max_mib;
    if memory.max_mib < memory.min_mib && !is_set(Resource::Memory, memory_is_default) {
        memory.max_mib = memory.min_mib;
        raised.push(Resource::Memory);
    }
    raised
}

impl InForce {
    /// The rules for a container that was given these sizes: they raise the maximums that nobody set.
    #[must_use]
    pub fn with_given(mut self, given: Given) -> Self {
        if let Some(cores) = given.cores.filter(|_| self.is_built_in(Resource::Cpu)) {
            let cores = match self.policy.cpu.control {
                CpuControl::Cores => cores.ceil(),
                CpuControl::Cpulimit => cores,
            };
            if self.policy.cpu.max_cores < cores && cores.is_finite() {
                (self.policy.cpu.max_cores, self.scaling.cpu.max_cores) = (cores, cores);
                self.sources.insert(maximum_key(Resource::Cpu), Source::Given);
            }
        }
        if let Some(mib) = given.memory_mib.filter(|_| self.is_built_in(Resource::Memory)) {
            // Sizes are multiples of the granularity, and all of what it was given must be within reach.
            let step = self.policy.memory.granularity_mib.max(1) as f64;
            let mib = whole((mib / step).ceil() * step);
            if self.policy.memory.max_mib < mib {
                (self.policy.memory.max_mib, self.scaling.memory.max_mib) = (mib, mib);
                self.sources.insert(maximum_key(Resource::Memory), Source::Given);
            }
        }
        self
    }

    /// The maximum of a resource, in cores or MiB, and where it comes from.
    pub fn maximum(&self, resource: Resource) -> (f64, Source) {
        (
            self.policy.maximum(resource),
            source(&self.policy, resource, self.sources.get(maximum_key(resource))),
        )
    }

    /// Whether nobody set the maximum.
    fn is_built_in(&self, resource: Resource) -> bool {
        matches!(self.maximum(resource).1, Source::Default | Source::Minimum)
    }
}

impl Kept {
    /// The maximum of a resource, in cores or MiB, and where it comes from.
    pub fn maximum(&self, resource: Resource) -> (f64, Source) {
        (
            self.policy.maximum(resource),
            source(&self.policy, resource, self.sources.get(maximum_key(resource))),
        )
    }
}

/// The source of a maximum, if `above` is the one that is not a general table. The general tables that ship name the
/// number of the program's own default, so that number counts as the default there.
fn source(policy: &Policy, resource: Resource, above: Option<&Source>) -> Source {
    let is_default = policy.maximum(resource).total_cmp(&Policy::default().maximum(resource)).is_eq();
    above.cloned().unwrap_or(if is_default { Source::Default } else { Source::General })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size; saturates")]
fn whole(mib: f64) -> u64 {
    mib as u64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lxc_autoscale_core::config::{self, Validate};
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, SHIPPED};
    use crate::policy::{Identity, PolicyBook};

    fn in_force(text: &str, given: (Option<f64>, Option<f64>)) -> InForce {
        let config: Config =
            config::parse(text).unwrap_or_else(|(line, problem)| panic!("{line}: {problem}"));
        let book = PolicyBook::new(&config, &jiff::tz::TimeZone::UTC).unwrap();
        let identity = Identity { name: Some("web".to_owned()), ..Identity::of(104.try_into().unwrap()) };
        let identity = Identity { tags: vec!["autoscale-preset-torrent".to_owned()], ..identity };
        let now: Timestamp = "2026-07-06T12:00:00Z".parse().unwrap();
        book.in_force(&identity, now).with_given(Given { cores: given.0, memory_mib: given.1 })
    }

    /// The maximums, and where they come from.
    #[track_caller]
    fn check(text: &str, given: (Option<f64>, Option<f64>), want: [(f64, &str); 2]) {
        let in_force = in_force(text, given);
        for (resource, (most, from)) in [Resource::Cpu, Resource::Memory].into_iter().zip(want) {
            let (found, source) = in_force.maximum(resource);
            assert_eq!((found, source.to_string().as_str()), (most, from), "{resource:?}: {text}");
            // `policy show` says the same.
            let rows = in_force.effective();
            let row = rows.iter().find(|row| row.key == maximum_key(resource)).unwrap();
            assert_eq!((row.value.as_f64(), row.source.to_string().as_str()), (Some(most), from));
        }
    }

    const GIVEN: &str = "size that somebody gave it";

    #[test]
    fn a_maximum_that_nobody_set_is_at_least_what_somebody_gave() {
        let large = (Some(16.0), Some(32_768.0));
        // The file that ships is the same as none.
        for text in ["", SHIPPED] {
            check(text, (None, None), [(8.0, "default"), (16_384.0, "default")]);
            check(text, (Some(2.0), Some(512.0)), [(8.0, "default"), (16_384.0, "default")]);
            check(text, (Some(8.0), Some(16_384.0)), [(8.0, "default"), (16_384.0, "default")]);
            check(text, large, [(16.0, GIVEN), (32_768.0, GIVEN)]);
            check(text, (Some(16.0), Some(512.0)), [(16.0, GIVEN), (16_384.0, "default")]);
        }
        // All of what it was given is within reach, also where sizes are multiples of something.
        check("", (Some(12.5), Some(20_001.0)), [(13.0, GIVEN), (20_016.0, GIVEN)]);
        let hundredths = "[scaling.cpu]\ncontrol = \"cpulimit\"";
        check(hundredths, (Some(12.5), None), [(12.5, GIVEN), (16_384.0, "default")]);
    }

    #[test]
    fn a_maximum_that_somebody_set_holds() {
        let large = (Some(16.0), Some(32_768.0));
        let general = "[scaling.cpu]\nmax_cores = 4\n[scaling.memory]\nmax_mib = 20480";
        check(general, large, [(4.0, "general table"), (20_480.0, "general table")]);
        // A policy may set the same number as the built-in one.
        let policy =
            "[policy.web]\nnames = [\"web\"]\nscaling.cpu.max_cores = 8\nscaling.memory.max_mib = 16384";
        check(policy, large, [(8.0, "policy web"), (16_384.0, "policy web")]);
        let schedule = "[policy.web]\nnames = [\"web\"]\n[[policy.web.schedule]]\nstart = \"08:00\"\n\
                        duration_minutes = 600\ntime_zone = \"UTC\"\nscaling.memory.max_mib = 16384";
        check(schedule, large, [(16.0, GIVEN), (16_384.0, "policy web, schedule 1")]);
        let tag = "[presets]\nby_tag = true";
        let torrent = "preset torrent (tag autoscale-preset-torrent)";
        check(tag, large, [(16.0, GIVEN), (4096.0, torrent)]);
    }

    #[test]
    fn a_maximum_that_nobody_set_is_at_least_the_minimum() {
        let raised = "raised to the minimum";
        let policy =
            "[policy.web]\nnames = [\"web\"]\nscaling.memory.min_mib = 20000\nscaling.cpu.min_cores = 12";
        check(policy, (None, None), [(12.0, raised), (20_000.0, raised)]);
        check(policy, (Some(16.0), Some(32_768.0)), [(16.0, GIVEN), (32_768.0, GIVEN)]);
        check(policy, (Some(2.0), Some(512.0)), [(12.0, raised), (20_000.0, raised)]);
        let general = "[scaling.cpu]\nmin_cores = 12\n[scaling.memory]\nmin_mib = 20000";
        check(general, (None, None), [(12.0, raised), (20_000.0, raised)]);
        // In the general tables, the number of the default is the default.
        let shipped = "[scaling.memory]\nmin_mib = 20000\nmax_mib = 16384";
        check(shipped, (None, None), [(8.0, "default"), (20_000.0, raised)]);
        let schedule = "[policy.web]\nnames = [\"web\"]\n[[policy.web.schedule]]\nstart = \"00:00\"\n\
                        duration_minutes = 1440\nscaling.cpu.min_cores = 12";
        check(schedule, (None, None), [(12.0, raised), (16_384.0, "default")]);
        // One that somebody set is a contradiction.
        for set in [
            "[policy.web]\nnames = [\"web\"]\nscaling.memory.min_mib = 20000\nscaling.memory.max_mib = 16384",
            "[scaling.memory]\nmax_mib = 8192\n[policy.web]\nnames = [\"web\"]\nscaling.memory.min_mib = 10000",
            "[scaling.memory]\nmax_mib = 8192\nmin_mib = 10000",
        ] {
            let (_, problem) = config::parse::<Config>(set).unwrap_err();
            let rule = "must not be less than `scaling.memory.min_mib`";
            assert!(format!("{problem:?}").contains(rule), "{problem:?}");
        }
    }

    #[test]
    fn what_the_ledger_keeps_of_the_rules_is_what_was_decided_by() {
        let kept = in_force("", (None, Some(32_768.0))).kept();
        assert_eq!(kept.policy.memory.max_mib, 32_768);
        assert_eq!(kept.sources.get("scaling.memory.max_mib"), Some(&Source::Given));
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        assert_ne!(kept.key().unwrap(), in_force("", (None, None)).kept().key().unwrap());
    }

    proptest! {
        /// Whatever it was given, the rules stay valid, all of that is within reach, and no maximum gets smaller.
        #[test]
        fn what_was_given_is_within_reach(
            cores in 0.01f64..10_000.0, mib in 16.0f64..1e7, granularity in 1u64..2000, in_hundredths: bool,
        ) {
            let control = if in_hundredths { "cpulimit" } else { "cores" };
            let text = format!(
                "[scaling.cpu]\ncontrol = \"{control}\"\n[scaling.memory]\ngranularity_mib = {granularity}"
            );
            let in_force = in_force(&text, (Some(cores), Some(mib)));
            prop_assert_eq!(in_force.policy.validate(), Ok(()));
            let (most_cores, most_mib) = (in_force.policy.cpu.max_cores, in_force.policy.memory.max_mib);
            prop_assert!(cores <= most_cores && 8.0 <= most_cores && most_cores < cores.max(8.0) + 1.0);
            prop_assert!(mib <= most_mib as f64 && 16_384 <= most_mib);
            prop_assert!((most_mib as f64) < mib.max(16_384.0) + granularity as f64 + 1.0);
            prop_assert_eq!(&in_force.scaling.memory, &in_force.policy.memory);
        }
    }

    /// A candidate starts from the raised maximum, and may set its own.
    #[test]
    fn candidates_start_from_the_maximum_in_force() {
        let text = "[shadow.lean]\nscaling.memory.margin_percent = 5\n[shadow.small]\nscaling.memory.max_mib = 16384";
        let config: Config = config::parse(text).unwrap();
        let book = PolicyBook::new(&config, &jiff::tz::TimeZone::UTC).unwrap();
        let live = in_force(text, (None, Some(32_768.0)));
        let most: Vec<f64> = book
            .candidates()
            .iter()
            .map(|candidate| book.with_candidate(&live, candidate).maximum(Resource::Memory).0)
            .collect();
        assert_eq!(most, [32_768.0, 16_384.0]);
    }
}
