//! Shows the inputs of a decision, for people.

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::decisions::local_time;
use super::super::right;
use super::super::table::{Table, amount, resource};
use crate::decide::{Amount, Resource};
use crate::figures::counted;
use crate::forecast::training::{CPU_AHEAD_STEPS, MEMORY_AHEAD_STEPS};
use crate::guard::{Guard, ResourceGuard};
use crate::ledger::Inputs;
use crate::observation::Observation;
use crate::policy::Source;
use crate::recommend::series::STEP_SECONDS;
use crate::recommend::{
    Estimate, Fact, Opinion, Opinions, Recommendation, WEEKS, WeeklyPeak, cpu_experts, memory_experts,
};

/// Width of a label, in columns.
const LABEL: usize = 22;

/// Shows the inputs known at `at`, about one resource or both.
pub(super) fn show_inputs(
    inputs: &Inputs,
    about: Option<Resource>,
    at: Timestamp,
    out: &mut impl Write,
) -> io::Result<()> {
    let shown = |kind: Resource| about.is_none_or(|about| about == kind);
    if let Some(observation) = &inputs.observation {
        show_observation(observation, out)?;
    }
    if let Some(recommendation) = &inputs.recommendation {
        show_recommendation(recommendation, &shown, out)?;
    }
    if let Some(opinions) = &inputs.opinions {
        show_opinions(opinions, &shown, out)?;
    }
    let unusual = match inputs.anomaly {
        Some(score) if score.is_anomaly() => {
            let because = inputs.unusual.as_ref().map(|unusual| unusual.because.join(", "));
            let because = because.filter(|because| !because.is_empty());
            let because = because.map(|because| format!(": {because}")).unwrap_or_default();
            format!("yes (score {:.3}, decision {:.3}){because}", score.score, score.decision)
        }
        Some(score) => format!("no (score {:.3}, decision {:.3})", score.score, score.decision),
        None => "not known yet".to_owned(),
    };
    line("behaves unusually", &unusual, out)?;
    show_changes(inputs, &shown, at, out)?;
    show_guard(&inputs.guard, &shown, out)?;
    let node = inputs.node;
    let cpus = node.cpus.map_or_else(|| "?".to_owned(), |cpus| cpus.to_string());
    let available = amount(Resource::Memory, node.memory_available_mib);
    let total = amount(Resource::Memory, node.memory_total_mib);
    line("node", &format!("{cpus} CPUs, {available} of {total} of memory available"), out)?;
    match inputs.guard.budget {
        Some(budget) => {
            let [committed, total, most] =
                [budget.committed_mib, budget.budget_mib, budget.most_mib].map(Amount::Mib);
            let ahead = budget.ahead.map(|id| format!("; {id} came first")).unwrap_or_default();
            line(
                "node budget",
                &format!("{committed} of {total} expected to be used, {most} at most for it{ahead}"),
                out,
            )
        }
        None => line("node budget", "enough for what it should have", out),
    }
}

/// The most that the policy in force allows, and where that comes from.
pub(super) fn show_maximum(
    kind: Resource,
    most: f64,
    source: &Source,
    out: &mut impl Write,
) -> io::Result<()> {
    line(&format!("{} maximum", resource(kind)), &format!("{} ({source})", Amount::of(kind, most)), out)
}

fn line(label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  {label:<LABEL$}{text}")
}

fn show_observation(seen: &Observation, out: &mut impl Write) -> io::Result<()> {
    let percent = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |value| format!("{value:.1} %"));
    let yes_no = |value: Option<bool>| match value {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    line("measured at", &local_time(seen.at), out)?;
    let used = amount(Resource::Cpu, seen.cpu_cores_used);
    let limit = amount(Resource::Cpu, seen.cores_limit);
    let throttled = percent(seen.cpu_throttled_share.map(|share| share * 100.0));
    line("CPU use", &format!("{used} of {limit}, held back {throttled}"), out)?;
    let used = amount(Resource::Memory, seen.memory_used_mib);
    let limit = amount(Resource::Memory, seen.memory_limit_mib);
    line("working set", &format!("{used} of {limit}"), out)?;
    line("ran out of memory", yes_no(seen.oom), out)?;
    line("memory pressure", &percent(seen.memory_pressure_percent), out)
}

fn show_recommendation(
    recommendation: &Recommendation,
    shown: &dyn Fn(Resource) -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let hours = recommendation.history_seconds as f64 / 3600.0;
    line("known for", &format!("{hours:.1} h"), out)?;
    let class = match recommendation.class {
        Some(class) => format!("{class}: {}", class.meaning()),
        None => "not known yet".to_owned(),
    };
    line("kind of load", &class, out)?;
    for (kind, estimate) in [(Resource::Cpu, &recommendation.cpu), (Resource::Memory, &recommendation.memory)]
    {
        if let Some(estimate) = estimate.as_ref().filter(|_| shown(kind)) {
            show_estimate(kind, estimate, out)?;
        }
    }
    Ok(())
}

fn show_estimate(kind: Resource, estimate: &Estimate, out: &mut impl Write) -> io::Result<()> {
    let of = |value| Amount::of(kind, value);
    let Estimate { target, floor, confidence_percent, basis, .. } = estimate;
    let right = right::alone(*confidence_percent).map(|right| format!("; {right}")).unwrap_or_default();
    let text = format!("{}, not less than {} ({basis}){right}", of(*target), of(*floor));
    line(&format!("{} it should have", resource(kind)), &text, out)?;
    // Windows of several lengths give the same peak while all that is known fits into the shortest.
    let mut told = BTreeSet::new();
    for evidence in &estimate.evidence {
        let weekly = estimate.weekly.filter(|_| evidence.fact == Fact::WeeklyPeak);
        let text = match weekly {
            Some(weekly) => weekly_text(&weekly, of(weekly.value), &TimeZone::system()),
            None => format!("{}: {}", evidence.fact, of(evidence.value)),
        };
        if told.insert(text.clone()) {
            writeln!(out, "      {text}")?;
        }
    }
    Ok(())
}

/// `on Sundays at 03:00 it needed 3.2 cores in 3 of the last 4 weeks`, in local time of `zone`; weeks without
/// measurements are left out.
fn weekly_text(weekly: &WeeklyPeak, needed: Amount, zone: &TimeZone) -> String {
    let WeeklyPeak { at, weeks, of, .. } = weekly;
    let hour = at.to_zoned_datetime(zone.clone()).strftime("%As at %H:%M").to_string();
    let known = if i64::from(*of) == WEEKS {
        format!("the last {of} weeks")
    } else {
        format!("{of} weeks that are known")
    };
    format!("on {hour} it needed {needed} in {weeks} of {known}")
}

fn show_opinions(
    opinions: &Opinions,
    shown: &dyn Fn(Resource) -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let both = [
        (Resource::Cpu, &opinions.cpu, cpu_experts()),
        (Resource::Memory, &opinions.memory, memory_experts()),
    ];
    for (kind, opinion, names) in both {
        if let Some(opinion) = opinion.as_ref().filter(|_| shown(kind)) {
            show_forecast(kind, opinion, out)?;
            show_opinion(kind, opinion, &names, out)?;
        }
    }
    Ok(())
}

/// The forecast quantiles of the coming peak.
fn show_forecast(kind: Resource, opinion: &Opinion, out: &mut impl Write) -> io::Result<()> {
    if opinion.forecast.is_empty() {
        return Ok(());
    }
    let ahead = match kind {
        Resource::Cpu => CPU_AHEAD_STEPS,
        Resource::Memory => MEMORY_AHEAD_STEPS,
    };
    let minutes = i64::from(ahead) * STEP_SECONDS / 60;
    let mut below: Vec<(String, f64)> = Vec::new();
    for (level, value) in &opinion.forecast {
        let (amount, percent) = (Amount::of(kind, *value).to_string(), (level * 1e4).round() / 1e2);
        match below.last_mut() {
            // Of levels that look the same, the highest says it all.
            Some((same, highest)) if *same == amount => *highest = percent,
            _ => below.push((amount, percent)),
        }
    }
    let below = below.iter().map(|(amount, percent)| format!("{amount} ({percent} %)"));
    let below = below.collect::<Vec<_>>().join(", ");
    line(
        &format!("{} forecast", resource(kind)),
        &format!("peak of the next {minutes} min below {below}"),
        out,
    )
}

/// The experts, cheapest first; the one that is followed is marked with a star.
fn show_opinion(kind: Resource, opinion: &Opinion, names: &[String], out: &mut impl Write) -> io::Result<()> {
    let heading = format!("  {} EXPERT", resource(kind).to_uppercase());
    let mut table = Table::headed(&[heading.as_str(), "HOLDS", "HAS COST"]);
    let cost = |place: &usize| opinion.cost.get(*place).copied().unwrap_or(f64::INFINITY);
    let mut order: Vec<usize> = (0..opinion.held.len()).collect();
    order.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
    for place in order {
        let star = if place == opinion.followed { '*' } else { ' ' };
        let name = names.get(place).map_or("unknown to this version", String::as_str);
        let regret = match opinion.regret_percent(place) {
            Some(regret) if regret < 0.05 => "least".to_owned(),
            Some(regret) => format!("{regret:.1} % more"),
            None => "nothing yet".to_owned(),
        };
        let held = amount(kind, opinion.held.get(place).copied().flatten());
        table.row(vec![format!("  {star} {name}"), held, regret]);
    }
    table.write(out)
}

fn show_changes(
    inputs: &Inputs,
    shown: &dyn Fn(Resource) -> bool,
    at: Timestamp,
    out: &mut impl Write,
) -> io::Result<()> {
    let changes = inputs.changes;
    for (kind, last) in [
        (Resource::Cpu, changes.cpu_up.max(changes.cpu_down)),
        (Resource::Memory, changes.memory_up.max(changes.memory_down)),
    ] {
        if let Some(last) = last.filter(|_| shown(kind)) {
            let minutes = at.duration_since(last).as_secs() / 60;
            let text = format!("{}, {minutes} min before", local_time(last));
            line(&format!("{} changed last", resource(kind)), &text, out)?;
        }
    }
    Ok(())
}

fn show_guard(guard: &Guard, shown: &dyn Fn(Resource) -> bool, out: &mut impl Write) -> io::Result<()> {
    if let Some(disturbance) = &guard.disturbance {
        line("disturbed", &disturbance.to_string(), out)?;
    }
    for (kind, resource_guard) in [(Resource::Cpu, &guard.cpu), (Resource::Memory, &guard.memory)] {
        if shown(kind) {
            show_resource(kind, resource_guard, out)?;
        }
    }
    if let Some(leak) = guard.leak.filter(|_| shown(Resource::Memory)) {
        let text = format!("{:.1} MiB per hour, full at {}", leak.mib_per_hour, local_time(leak.full_at));
        line("leaks", &text, out)?;
    }
    if let Some(run) = guard.oom_run.filter(|_| shown(Resource::Memory)) {
        line("out of memory in a row", &counted(run.times, "time", "times"), out)?;
    }
    Ok(())
}

fn show_resource(kind: Resource, resource_guard: &ResourceGuard, out: &mut impl Write) -> io::Result<()> {
    let of = |value: f64| Amount::of(kind, value);
    let name = resource(kind);
    if let Some(watch) = resource_guard.shrinks.watch {
        let text = format!(
            "{} → {} at {}, {} measurements without harm",
            of(watch.from),
            of(watch.to),
            local_time(watch.changed_at),
            watch.samples
        );
        line(&format!("{name} shrink watched"), &text, out)?;
    }
    if let Some(failure) = resource_guard.shrinks.failure {
        let text = format!(
            "{} was too little ({}); not below {} until {}",
            of(failure.size),
            failure.symptom,
            of(failure.least),
            local_time(failure.forget_at)
        );
        line(&format!("{name} shrink failed"), &text, out)?;
    }
    if let Some(manual) = resource_guard.manual {
        let text = format!("{} → {} at {}", of(manual.from), of(manual.size), local_time(manual.at));
        line(&format!("{name} set by hand"), &text, out)?;
    }
    if let Some(boost) = resource_guard.boost {
        let text = format!("to {} until {}", of(boost.size), local_time(boost.ends));
        line(&format!("{name} boosted"), &text, out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommend::Evidence;

    #[test]
    fn what_two_windows_agree_on_is_told_once() {
        let of = |fact, value| Evidence { fact, value };
        let estimate = Estimate {
            target: 423.0,
            floor: 325.0,
            confidence_percent: 90.0,
            known_seconds: 3600,
            basis: Fact::RecentPeak,
            evidence: vec![
                of(Fact::RecentPeak, 325.0),
                of(Fact::LastDaysPeak, 325.1),
                of(Fact::LastDaysPeak, 324.9),
                of(Fact::LastDaysPeak, 300.0),
            ],
            weekly: None,
            restlessness: None,
            random_day: None,
            chances: crate::confidence::Chances::default(),
        };
        let mut shown = Vec::new();
        show_estimate(Resource::Memory, &estimate, &mut shown).unwrap();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown.matches("peak of the last days: 325 MiB").count(), 1, "{shown}");
        assert_eq!(shown.lines().count(), 4, "{shown}");
    }

    #[test]
    fn a_weekly_peak_is_told_by_the_clock_on_the_wall() {
        let at: Timestamp = "2027-01-17T02:00:00Z".parse().unwrap();
        let weekly = WeeklyPeak { at, value: 3.2, weeks: 3, of: 4 };
        let rome = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let text = weekly_text(&weekly, Amount::Cores(weekly.value), &rome);
        assert_eq!(text, "on Sundays at 03:00 it needed 3.2 cores in 3 of the last 4 weeks");
        let weekly = WeeklyPeak { weeks: 2, of: 2, ..weekly };
        let text = weekly_text(&weekly, Amount::Cores(weekly.value), &rome);
        assert_eq!(text, "on Sundays at 03:00 it needed 3.2 cores in 2 of 2 weeks that are known");
    }
}
