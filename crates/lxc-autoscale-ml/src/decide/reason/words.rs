//! The reasons in words: why a decision is what it is, and what would have to be different for another one.

use std::fmt;

use super::{Amount, Reason, SettingName};
use crate::decide::CpuControl;
use crate::figures::rounded;
use crate::guard::disturbance::Disturbance;

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(cores) => {
                let text = rounded(*cores, 2);
                let text = text.trim_end_matches('0').trim_end_matches('.');
                write!(f, "{text} {}", if text == "1" { "core" } else { "cores" })
            }
            Self::Mib(mib) => write!(f, "{} MiB", rounded(*mib, 0)),
        }
    }
}

impl fmt::Display for SettingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "cores",
            Self::Cpulimit => "cpulimit",
            Self::Cpuset => "lxc.cgroup2.cpuset.cpus",
        })
    }
}

impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "a table: one sentence for each reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ModeOff => f.write_str("the policy's mode is off"),
            Self::Ignored => f.write_str("`containers.ignore` names it"),
            Self::PolicyUnclear { why } => f.write_str(why),
            Self::Stopped => f.write_str("the container does not run"),
            Self::Template => f.write_str("the container is a template"),
            Self::Locked { lock } => write!(f, "Proxmox holds the lock `{lock}` on it"),
            Self::TaggedOff { tag } => write!(f, "it carries the tag `{tag}`"),
            Self::Pinned { cpus } => {
                write!(f, "it is pinned to the CPUs {cpus}, and Proxmox ignores `cores`")
            }
            Self::AllocationUnknown => f.write_str("what it has could not be read"),
            Self::NoObservation => f.write_str("it has not been observed"),
            Self::Stale { age_seconds, .. } if *age_seconds < 0 => {
                write!(f, "its latest observation lies {} s in the future", age_seconds.unsigned_abs())
            }
            Self::Stale { age_seconds, max_seconds } => {
                write!(f, "its latest observation is {age_seconds} s old, more than {max_seconds} s")
            }
            Self::UseUnknown => f.write_str("its latest observation does not tell how much it uses"),
            Self::NoRecommendation => f.write_str("nothing has been learnt about it yet"),
            Self::NeedsMore { basis, target } => write!(f, "it should have {target} ({basis})"),
            Self::BelowMinimum { minimum } => write!(f, "it has less than the minimum of {minimum}"),
            Self::RanOutOfMemory { target } => write!(f, "it ran out of memory and should have {target}"),
            Self::CanGiveBack { basis, target } => write!(f, "{target} are enough for it ({basis})"),
            Self::Fits { target } => write!(f, "it has about what it should have, {target}"),
            Self::AtMaximum { maximum } => write!(f, "it needs more and has the maximum of {maximum}"),
            Self::AtMinimum { minimum } => write!(f, "it could give back and has the minimum of {minimum}"),
            Self::OtherSettingBinds { setting, value } => {
                write!(f, "it needs more and `{setting}` would hold it at {value} anyway")
            }
            Self::NodeCpus { cpus } => write!(f, "it needs more and the node has only {cpus} CPUs"),
            Self::NodeMemory { available, reserve } => {
                write!(
                    f,
                    "it needs more and the node has {available} available, {reserve} of them in reserve"
                )
            }
            Self::NodeUnknown => f.write_str("it needs more and what the node has could not be read"),
            Self::CoolDownUp { remaining_seconds } => {
                write!(
                    f,
                    "it needs more and was changed lately; {remaining_seconds} s of the cool-down remain"
                )
            }
            Self::CoolDownDown { remaining_seconds } => {
                write!(
                    f,
                    "it could give back and was changed lately; {remaining_seconds} s of the cool-down remain"
                )
            }
            Self::ShortHistory { seconds, needed_seconds } => write!(
                f,
                "it could give back and is known for {:.1} h of the {:.1} h a shrink needs",
                *seconds as f64 / 3600.0,
                *needed_seconds as f64 / 3600.0
            ),
            Self::LowConfidence { percent, needed_percent } => {
                write!(
                    f,
                    "it could give back, but the chance that this stays right for an hour is {percent:.0} %, not \
                     {needed_percent:.0} %"
                )
            }
            Self::NotMeasuredSince => {
                f.write_str("it could give back and has not been measured since its last change")
            }
            Self::Anomalous { score } => {
                write!(f, "it could give back and behaves unusually (score {score:.2})")
            }
            Self::JustCutOff => f.write_str("it could give back and ran into its limit a moment ago"),
            Self::PressureUnknown => {
                f.write_str("it could give back and nothing tells whether it is short of memory")
            }
            Self::UnderPressure { percent, max_percent } => write!(
                f,
                "it could give back and its tasks wait for memory {percent:.1} % of the time, more than {max_percent} %"
            ),
            Self::InUse { floor } => {
                write!(f, "it could give back and uses {floor} just now, margin included")
            }
            Self::UsedBefore { known_seconds, seen } => write!(
                f,
                "it could give back, is known for {} only, and used or lacked {seen} at most",
                Span(*known_seconds)
            ),
            Self::NotWorthIt { saving, least } => {
                write!(f, "it could give back {saving}, and less than {least} is not worth a change")
            }
            Self::EnoughAllDay { size, foreseen } => {
                write!(f, "{size} were enough all of the last day, headroom included")?;
                foreseen.map_or(Ok(()), |foreseen| write!(f, ", and a forecast of {foreseen} fits"))
            }
            Self::Restless { size, minutes } => write!(
                f,
                "it could give back and is restless: on the last day {size} were enough for {minutes:.0} min on average"
            ),
            Self::Random { size } => {
                write!(
                    f,
                    "it could give back, and its use comes at random: {size} were enough for the last day, but for levels that lasted"
                )
            }
            Self::Disturbed { disturbance } => disturbance.fmt(f),
            Self::SetByHand { from, size: size @ Amount::Cores(_), setting, remaining_seconds } => write!(
                f,
                "somebody set its {}, so that it may use {size} instead of {from}, which is respected for another {}",
                setting.map_or("cores or its CPU limit", CpuControl::setting),
                Span(*remaining_seconds)
            ),
            Self::SetByHand { from, size, remaining_seconds, .. } => write!(
                f,
                "somebody set it from {from} to {size}, which is respected for another {}",
                Span(*remaining_seconds)
            ),
            Self::Boosted { size, remaining_seconds } => write!(
                f,
                "it could give back and is boosted to {size} for another {}",
                Span(*remaining_seconds)
            ),
            Self::Undone { symptom } => write!(f, "the last shrink did harm: {symptom}"),
            Self::Watched { samples, needed_samples, remaining_seconds } => write!(
                f,
                "it could give back and was made smaller lately; {samples} of {needed_samples} measurements \
                 since show no harm, and it is watched for at least another {remaining_seconds} s"
            ),
            Self::BackingOff { symptom, count, remaining_seconds } => write!(
                f,
                "it could give back and its last {} harm ({symptom}); the next is made in {} at the earliest",
                if *count == 1 { "shrink did".to_owned() } else { format!("{count} shrinks did") },
                Span(*remaining_seconds)
            ),
            Self::Unpaid { count, remaining_seconds } => write!(
                f,
                "it could give back and {} taken back before that had paid; the next is made in {} at the earliest",
                if *count == 1 { "its last shrink was" } else { "its shrinks of late were" },
                Span(*remaining_seconds)
            ),
            Self::TooSmallBefore { size, symptom } => {
                write!(f, "it could give back and {size} proved too little: {symptom}")
            }
            Self::Leaking { mib_per_hour, most, full_seconds } => write!(
                f,
                "it leaks {mib_per_hour:.1} MiB per hour, will be full in {}, and is not given more than {most}",
                Span(full_seconds.unsigned_abs())
            ),
            Self::RunsOutAgain { times, most } => write!(
                f,
                "it ran out of memory {times} times, each less than a day and a half after the one before, and is not \
                 given more than {most}"
            ),
            Self::NotSeenYet { known_seconds, seen, most } => write!(
                f,
                "it is known for {} only, and what is merely forecast gives no memory on the first day: \
                 it used or lacked {seen} at most, for which it is given up to {most}",
                Span(*known_seconds)
            ),
            Self::NodeBudget { most, committed, budget, ahead } => {
                write!(
                    f,
                    "it needs more and the node can give it {most} at most: {committed} of the {budget} for \
                     containers are expected to be used"
                )?;
                ahead.map_or(Ok(()), |ahead| write!(f, "; {ahead} came first"))
            }
        }
    }
}

/// A time, as people say it: 45 s, 12 min, 5.5 h, 3.0 d.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 as f64;
        match self.0 {
            0..120 => write!(f, "{} s", self.0),
            120..7200 => write!(f, "{:.0} min", seconds / 60.0),
            7200..172_800 => write!(f, "{:.1} h", seconds / 3600.0),
            _ => write!(f, "{:.1} d", seconds / 86_400.0),
        }
    }
}

impl Reason {
    /// What would have to be different for another decision.
    pub fn otherwise(&self) -> String {
        match self {
            Self::PolicyUnclear { .. } => "see `policy show`, and the log of the monitor".to_owned(),
            Self::ModeOff => "set `mode` to `recommend`, `approve` or `auto`".to_owned(),
            Self::Ignored => "remove its id from `containers.ignore`".to_owned(),
            Self::Stopped => "start it".to_owned(),
            Self::Template => "templates never run and are never resized".to_owned(),
            Self::Locked { .. } => "it is decided again when Proxmox releases the lock".to_owned(),
            Self::TaggedOff { tag } => format!("remove the tag `{tag}`"),
            Self::Pinned { .. } => "set `control` to `cpulimit`, or unpin it".to_owned(),
            Self::AllocationUnknown => "the monitor must be able to read its configuration".to_owned(),
            Self::NoObservation | Self::Stale { .. } | Self::UseUnknown => {
                "the monitor must measure it; see its log and the record's `missing`".to_owned()
            }
            Self::NoRecommendation => "one measured cycle".to_owned(),
            Self::NeedsMore { target, .. } | Self::RanOutOfMemory { target } => {
                format!("it would be left alone if it had {target}")
            }
            // How much more depends on steps, rounding and what a change must save: `explain` computes it.
            Self::CanGiveBack { .. } => "it would keep what it has if it needed enough more".to_owned(),
            Self::Fits { .. } => "it changes when its demand does".to_owned(),
            Self::NotMeasuredSince => "the next measurement".to_owned(),
            Self::AtMaximum { .. } => "raise the policy's maximum".to_owned(),
            Self::AtMinimum { .. } | Self::BelowMinimum { .. } => "lower the policy's minimum".to_owned(),
            Self::OtherSettingBinds { setting, .. } => format!("raise or remove its `{setting}`"),
            Self::NodeCpus { .. } => "nothing: the node has no more".to_owned(),
            Self::NodeMemory { .. } => "free memory on the node, or lower the reserve".to_owned(),
            Self::NodeUnknown => "the monitor must be able to read the node".to_owned(),
            Self::CoolDownUp { remaining_seconds } | Self::CoolDownDown { remaining_seconds } => {
                format!("it is decided again in {remaining_seconds} s")
            }
            Self::ShortHistory { seconds, needed_seconds } => {
                format!("{:.1} h more of history", needed_seconds.saturating_sub(*seconds) as f64 / 3600.0)
            }
            Self::LowConfidence { needed_percent, .. } => {
                format!("a chance of at least {needed_percent:.0} % that a shrink stays right for an hour")
            }
            Self::Anomalous { .. } => "it gives back when it behaves as usual again".to_owned(),
            Self::JustCutOff => "a step within its limit".to_owned(),
            Self::PressureUnknown => {
                "a kernel with pressure stall information, or counted OOM events".to_owned()
            }
            Self::UnderPressure { max_percent, .. } => format!("a pressure of at most {max_percent} %"),
            Self::InUse { floor } => format!("it gives back when it uses less than {floor}"),
            Self::NotWorthIt { least, .. } => format!("a saving of at least {least}"),
            Self::EnoughAllDay { .. } => "more use, throttling, or a forecast above what it has".to_owned(),
            Self::Restless { .. } | Self::Random { .. } => "a calmer day, or a level that lasts".to_owned(),
            Self::Disturbed { disturbance: Disturbance::Lock { .. } } => {
                "the next measurement after Proxmox has released the lock".to_owned()
            }
            Self::Disturbed { disturbance: Disturbance::Start { uptime_seconds, boot_seconds } } => {
                format!("it is decided again in {:.0} s", *boot_seconds as f64 - uptime_seconds)
            }
            Self::SetByHand { size, remaining_seconds, .. } => {
                let sooner = if matches!(size, Amount::Mib(_)) { ", or when it runs out of memory" } else { "" };
                format!("it is decided again in {}{sooner}", Span(*remaining_seconds))
            }
            Self::Boosted { remaining_seconds, .. } => format!(
                "it is decided again in {}, or when the boost is ended (`DELETE /boost`)",
                Span(*remaining_seconds)
            ),
            Self::Undone { .. } => "signs of shortage no worse than before the shrink".to_owned(),
            Self::Watched { .. } => "the remaining measurements without harm".to_owned(),
            Self::BackingOff { remaining_seconds, .. } | Self::Unpaid { remaining_seconds, .. } => {
                format!("it is decided again in {}", Span(*remaining_seconds))
            }
            Self::TooSmallBefore { .. } => {
                "it is tried again when `scaling.guard.remember_seconds` are over".to_owned()
            }
            Self::Leaking { .. } => {
                "restart what leaks, or the container; or set its memory by hand".to_owned()
            }
            Self::RunsOutAgain { .. } => {
                "a day and a half without running out of memory, or a larger `scaling.guard.oom_growth_factor`"
                    .to_owned()
            }
            Self::NotSeenYet { .. } => "a day of measurements, or more use than was seen so far".to_owned(),
            Self::UsedBefore { .. } => "a day of measurements".to_owned(),
            Self::NodeBudget { .. } => {
                "free memory on the node, lower the reserve, or give it a higher `priority`".to_owned()
            }
        }
    }
}
