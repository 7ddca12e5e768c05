//! The rules of a policy, and their defaults.

use lxc_autoscale_core::config::{BrokenRule, Validate};
use serde::{Deserialize, Serialize};

use super::Resource;
use crate::guard::GuardPolicy;

/// How far decisions about a resource may go; a smaller value is more cautious.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No decisions.
    Off,
    /// Decisions are shown and never carried out.
    Recommend,
    /// Decisions are proposed, and carried out once somebody has accepted them.
    Approve,
    /// Decisions are carried out.
    #[default]
    Auto,
}

impl Mode {
    /// The word for it in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Recommend => "recommend",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// Which setting is changed to give a container more or less CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuControl {
    /// `cores`: whole cores, visible inside the container.
    #[default]
    Cores,
    /// `cpulimit`: a quota, fractional and immediate.
    Cpulimit,
}

impl CpuControl {
    /// The name of the container setting.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Cpulimit => "CPU limit",
        }
    }

    /// The word for it in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Cpulimit => "cpulimit",
        }
    }

    /// The fewest cores where nobody set any: one, or with a quota a tenth of it, which an idle container never misses.
    pub fn fewest_cores(self) -> f64 {
        match self {
            Self::Cores => 1.0,
            Self::Cpulimit => 0.1,
        }
    }
}

/// When and how far a container may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// CPU.
    pub cpu: CpuPolicy,
    /// Memory.
    pub memory: MemoryPolicy,
    /// No shrink before this much history, in seconds: the first hours of a container (installation, first index, empty
    /// caches) are not typical.
    pub min_history_seconds: u64,
    /// No shrink with a lower probability than this of staying right over the next hour, in percent.
    pub min_confidence_percent: f64,
    /// An observation older than this, in seconds, is not used for decisions.
    pub max_age_seconds: u64,
    /// A container with this tag is left alone.
    pub off_tag: String,
    /// Memory of the node that growth may never use, in percent of its total.
    pub node_memory_reserve_percent: f64,
    /// Who comes first when the node cannot satisfy every container; higher comes earlier.
    pub priority: i32,
    /// In mode `approve`: whether a container that ran out of memory gets more without approval.
    pub approve_exempt_oom: bool,
    /// The rules of the guards.
    pub guard: GuardPolicy,
    /// Whether `containers.ignore` names the container, which is why its modes are off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignored: bool,
    /// Why the rules are unknown; the container is then left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclear: Option<String>,
}

/// When and how far the CPU of a container may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CpuPolicy {
    /// How far decisions may go.
    pub mode: Mode,
    /// Which setting is changed.
    pub control: CpuControl,
    /// Fewest cores; whole for `control = "cores"`. In a configuration, [`FEWEST_BY_CONTROL`] where nobody set any.
    #[serde(default = "fewest_by_control")]
    pub min_cores: f64,
    /// Most cores.
    pub max_cores: f64,
    /// Most that one growth adds, in percent of the present size (one core is always allowed).
    pub max_step_up_percent: f64,
    /// Most that one shrink takes, in percent of the present size (one core is always allowed with `cores`).
    pub max_step_down_percent: f64,
    /// A smaller shrink is not worth a change, in percent of the present size.
    pub hysteresis_percent: f64,
    /// Shortest time from any change to a growth, in seconds.
    pub cooldown_up_seconds: u64,
    /// Shortest time from any change to a shrink, in seconds.
    pub cooldown_down_seconds: u64,
}

/// When and how far the memory of a container may be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryPolicy {
    /// How far decisions may go.
    pub mode: Mode,
    /// Least memory, in MiB.
    pub min_mib: u64,
    /// Most memory, in MiB.
    pub max_mib: u64,
    /// Sizes are multiples of this, in MiB.
    pub granularity_mib: u64,
    /// Most that one growth adds, in percent of the present size.
    pub max_step_up_percent: f64,
    /// Most that one shrink takes, in percent of the present size.
    pub max_step_down_percent: f64,
    /// No shrink below the working set plus this margin, in percent.
    pub margin_percent: f64,
    /// No shrink while tasks waited for memory for more than this share of the time, in percent.
    pub max_pressure_percent: f64,
    /// A smaller shrink is not worth a change, in percent of the present size.
    pub hysteresis_percent: f64,
    /// A smaller shrink is not worth a change, in MiB.
    pub min_shrink_mib: u64,
    /// Shortest time from any change to a growth, in seconds; running out of memory does not wait.
    pub cooldown_up_seconds: u64,
    /// Shortest time from any change to a shrink, in seconds.
    pub cooldown_down_seconds: u64,
}

/// In a configuration: the fewest cores are those of the setting that is changed ([`CpuControl::fewest_cores`]).
pub const FEWEST_BY_CONTROL: f64 = 0.0;

fn fewest_by_control() -> f64 {
    FEWEST_BY_CONTROL
}

impl CpuPolicy {
    /// The fewest cores, where a configuration may leave that to the setting that is changed.
    pub fn fewest_cores(&self) -> f64 {
        if self.min_cores.total_cmp(&FEWEST_BY_CONTROL).is_eq() {
            self.control.fewest_cores()
        } else {
            self.min_cores
        }
    }
}

impl Policy {
    /// The most of a resource, in cores or MiB.
    pub fn maximum(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Cpu => self.cpu.max_cores,
            Resource::Memory => self.memory.max_mib as f64,
        }
    }

    /// How far decisions about a resource may go.
    pub fn mode(&self, resource: Resource) -> Mode {
        match resource {
            Resource::Cpu => self.cpu.mode,
            Resource::Memory => self.memory.mode,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            cpu: CpuPolicy::default(),
            memory: MemoryPolicy::default(),
            min_history_seconds: 6 * 3600,
            min_confidence_percent: 0.0,
            max_age_seconds: 900,
            off_tag: "autoscale-off".to_owned(),
            node_memory_reserve_percent: 10.0,
            priority: 0,
            approve_exempt_oom: true,
            guard: GuardPolicy::default(),
            ignored: false,
            unclear: None,
        }
    }
}

impl Default for CpuPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            control: CpuControl::Cores,
            min_cores: CpuControl::Cores.fewest_cores(),
            max_cores: 8.0,
            max_step_up_percent: 1500.0,
            max_step_down_percent: 75.0,
            hysteresis_percent: 10.0,
            cooldown_up_seconds: 60,
            cooldown_down_seconds: 600,
        }
    }
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            min_mib: 128,
            max_mib: 16384,
            granularity_mib: 16,
            max_step_up_percent: 100.0,
            max_step_down_percent: 25.0,
            margin_percent: 15.0,
            max_pressure_percent: 1.0,
            hysteresis_percent: 10.0,
            min_shrink_mib: 64,
            cooldown_up_seconds: 60,
            cooldown_down_seconds: 1800,
        }
    }
}

impl Validate for Policy {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let (cpu, memory) = (&self.cpu, &self.memory);
        let percent = |value: f64| (0.0..=100.0).contains(&value);
        let share = |value: f64| 0.0 < value && value < 100.0;
        let growth = |value: f64| 0.0 < value && value.is_finite();
        let whole = |value: f64| value.fract() == 0.0;
        unless(percent(self.min_confidence_percent), "scaling.min_confidence_percent", "must be 0 to 100")?;
        unless(0 < self.max_age_seconds, "scaling.max_age_seconds", "must be at least 1")?;
        unless(!self.off_tag.is_empty(), "scaling.off_tag", "must not be empty")?;
        let reserve = self.node_memory_reserve_percent;
        unless(percent(reserve), "scaling.node_memory_reserve_percent", "must be 0 to 100")?;
        self.guard.validate()?;
        let floor_ok = 0.0 < cpu.min_cores && cpu.min_cores.is_finite();
        unless(floor_ok, "scaling.cpu.min_cores", "must be more than 0, or 0 for what `control` allows")?;
        let ordered = cpu.min_cores <= cpu.max_cores && cpu.max_cores.is_finite();
        unless(ordered, "scaling.cpu.max_cores", "must not be less than `scaling.cpu.min_cores`")?;
        if cpu.control == CpuControl::Cores {
            let rule = "must be whole with `control = \"cores\"`";
            unless(whole(cpu.min_cores), "scaling.cpu.min_cores", rule)?;
            unless(whole(cpu.max_cores), "scaling.cpu.max_cores", rule)?;
        }
        let more = "must be more than 0";
        let part = "must be more than 0 and less than 100";
        unless(growth(cpu.max_step_up_percent), "scaling.cpu.max_step_up_percent", more)?;
        unless(share(cpu.max_step_down_percent), "scaling.cpu.max_step_down_percent", part)?;
        let below_step =
            "must be at least 0 and less than `max_step_down_percent`, else no step is worth taking";
        let fits = (0.0..cpu.max_step_down_percent).contains(&cpu.hysteresis_percent);
        unless(fits, "scaling.cpu.hysteresis_percent", below_step)?;
        unless(0 < memory.granularity_mib, "scaling.memory.granularity_mib", "must be at least 1")?;
        // 16 MiB is the least `pct set --memory` accepts.
        unless(16 <= memory.min_mib, "scaling.memory.min_mib", "must be at least 16")?;
        let ordered = memory.min_mib <= memory.max_mib;
        unless(ordered, "scaling.memory.max_mib", "must not be less than `scaling.memory.min_mib`")?;
        unless(growth(memory.max_step_up_percent), "scaling.memory.max_step_up_percent", more)?;
        unless(share(memory.max_step_down_percent), "scaling.memory.max_step_down_percent", part)?;
        let margin = memory.margin_percent;
        unless(0.0 <= margin && margin.is_finite(), "scaling.memory.margin_percent", "must not be negative")?;
        let pressure = memory.max_pressure_percent;
        unless(percent(pressure), "scaling.memory.max_pressure_percent", "must be 0 to 100")?;
        let fits = (0.0..memory.max_step_down_percent).contains(&memory.hysteresis_percent);
        unless(fits, "scaling.memory.hysteresis_percent", below_step)
    }
}
