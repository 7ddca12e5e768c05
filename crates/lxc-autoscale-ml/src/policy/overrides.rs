//! The keys that a policy may set: all of `[scaling]`, and those of `[recommend]` and `[model]` that may differ by
//! container.
//!
//! They have the names of the general tables, so `scaling.memory.min_mib` means the same everywhere.

use serde::Deserialize;
use serde_json::Value;

use crate::config::{ModelConfig, ScalingConfig};
use crate::decide::{CpuControl, CpuPolicy, MemoryPolicy, Mode};
use crate::detect::Detector;
use crate::guard::GuardPolicy;
use crate::recommend::RecommendConfig;

/// A value as it is shown and stored.
trait Shown {
    fn shown(&self) -> Value;
}

macro_rules! shown {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn shown(&self) -> Value {
                Value::from(self.clone())
            }
        }
    )*};
}
shown!(u32, u64, i32, f64, String, bool);

impl Shown for Mode {
    fn shown(&self) -> Value {
        Value::from(self.word())
    }
}

impl Shown for Detector {
    fn shown(&self) -> Value {
        // A plain value, which cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Shown for CpuControl {
    fn shown(&self) -> Value {
        Value::from(self.word())
    }
}

macro_rules! overrides {
    (
        $(#[$attribute:meta])* $name:ident of $target:ty, $table:literal:
        { $($field:ident: $type:ty),* $(,)? } { $($inner:ident: $inner_type:ty),* $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                /// As the key of that name in the general table.
                pub $field: Option<$type>,
            )*
            $(
                /// As the table of that name in the general table.
                pub $inner: $inner_type,
            )*
        }

        impl $name {
            fn apply(&self, target: &mut $target, set: &mut dyn FnMut(&'static str)) {
                $(
                    if let Some(value) = &self.$field {
                        target.$field = value.clone();
                        set(concat!($table, ".", stringify!($field)));
                    }
                )*
                $(self.$inner.apply(&mut target.$inner, set);)*
            }

            fn values(target: &$target, out: &mut Vec<(&'static str, Value)>) {
                $(out.push((concat!($table, ".", stringify!($field)), Shown::shown(&target.$field)));)*
                $(<$inner_type>::values(&target.$inner, out);)*
            }
        }
    };
}

overrides! {
    /// Keys of `[scaling]`.
    ScalingOverrides of ScalingConfig, "scaling": {
        mode: Mode,
        min_history_seconds: u64,
        min_confidence_percent: f64,
        off_tag: String,
        node_memory_reserve_percent: f64,
        priority: i32,
        approve_exempt_oom: bool,
    } { cpu: CpuOverrides, memory: MemoryOverrides, guard: GuardOverrides }
}

overrides! {
    /// Keys of `[scaling.cpu]`.
    CpuOverrides of CpuPolicy, "scaling.cpu": {
        mode: Mode,
        control: CpuControl,
        min_cores: f64,
        max_cores: f64,
        max_step_up_percent: f64,
        max_step_down_percent: f64,
        hysteresis_percent: f64,
        cooldown_up_seconds: u64,
        cooldown_down_seconds: u64,
    } {}
}

overrides! {
    /// Keys of `[scaling.memory]`.
    MemoryOverrides of MemoryPolicy, "scaling.memory": {
        mode: Mode,
        min_mib: u64,
        max_mib: u64,
        granularity_mib: u64,
        max_step_up_percent: f64,
        max_step_down_percent: f64,
        margin_percent: f64,
        max_pressure_percent: f64,
        hysteresis_percent: f64,
        min_shrink_mib: u64,
        cooldown_up_seconds: u64,
        cooldown_down_seconds: u64,
    } {}
}

overrides! {
    /// Keys of `[scaling.guard]`.
    GuardOverrides of GuardPolicy, "scaling.guard": {
        watch_samples: u32,
        watch_seconds: u64,
        max_pressure_rise_percent: f64,
        max_read_back_rise_mib_per_second: f64,
        max_throttled_rise_percent: f64,
        max_cpu_pressure_rise_percent: f64,
        max_backoff_seconds: u64,
        max_cpu_backoff_seconds: u64,
        max_unpaid_seconds: u64,
        remember_seconds: u64,
        respect_manual_seconds: u64,
        boot_seconds: u64,
        leak_growth_percent: f64,
        oom_growth_factor: f64,
    } {}
}

overrides! {
    /// Keys of `[recommend]` that may differ by container. The demand model is shared by all, and the half-life is part
    /// of the learnt state.
    RecommendOverrides of RecommendConfig, "recommend": {
        price_core_hour: f64,
        price_unserved_core_hour: f64,
        price_gib_hour: f64,
        price_memory_shortage: f64,
        price_resize: f64,
        cpu_headroom_percent: f64,
        cpu_window_minutes: u32,
        memory_headroom_percent: f64,
        memory_window_minutes: u32,
        season_days: u32,
        oom_growth_percent: f64,
        oom_growth_mib: f64,
        memory_pressure_percent: f64,
    } {}
}

overrides! {
    /// Keys of `[model]` that may differ by container.
    ModelOverrides of ModelConfig, "model": {
        detector: Detector,
        contamination: f64,
    } {}
}

/// The keys that a policy, a preset or a shadow sets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// Keys of `[scaling]`.
    pub scaling: ScalingOverrides,
    /// Keys of `[recommend]`.
    pub recommend: RecommendOverrides,
    /// Keys of `[model]`.
    pub model: ModelOverrides,
}

impl Overrides {
    /// Sets the keys that are present here, and reports which those were.
    pub fn apply(
        &self,
        scaling: &mut ScalingConfig,
        recommend: &mut RecommendConfig,
        model: &mut ModelConfig,
        set: &mut dyn FnMut(&'static str),
    ) {
        self.scaling.apply(scaling, set);
        self.recommend.apply(recommend, set);
        self.model.apply(model, set);
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every key that can be set, with its value.
    pub fn values(
        scaling: &ScalingConfig,
        recommend: &RecommendConfig,
        model: &ModelConfig,
    ) -> Vec<(&'static str, Value)> {
        let mut out = Vec::new();
        ScalingOverrides::values(scaling, &mut out);
        RecommendOverrides::values(recommend, &mut out);
        ModelOverrides::values(model, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of `[scaling]` that is missing here would still parse in the general table.
    #[test]
    fn every_key_of_the_general_tables_may_be_set() {
        let scaling = format!("{:#?}", ScalingConfig::default());
        let recommend = format!("{:#?}", RecommendConfig::default());
        let known = Overrides::values(
            &ScalingConfig::default(),
            &RecommendConfig::default(),
            &ModelConfig::default(),
        );
        for (text, left_out) in
            [(scaling, &[][..]), (recommend, &["demand_model", "cpu_half_life_hours"][..])]
        {
            let fields = text
                .lines()
                .filter(|line| line.ends_with(','))
                .filter_map(|line| line.trim().split_once(": ").map(|(field, _)| field.to_owned()));
            for field in fields.filter(|field| !left_out.contains(&field.as_str())) {
                let count = known.iter().filter(|(key, _)| key.ends_with(&format!(".{field}"))).count();
                assert!(0 < count, "`{field}` cannot be set by a policy");
            }
        }
        assert_eq!(known.len(), 7 + 9 + 12 + 14 + 13 + 2);
    }
}
