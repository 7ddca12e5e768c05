//! How well a detector distinguishes events from the rest.

use std::collections::BTreeMap;

use crate::contest::Said;
use crate::labelled::{DAY, Event, KINDS, Labelled, WARM_UP};

/// Flags at most this far apart are one alarm.
const ONE_ALARM: usize = 6;
/// The extremes of an hour still show an event after its end.
const AFTERMATH: usize = 12;
/// Shares of the past that count as unusual.
pub(crate) const SHARES: [f64; 5] = [0.05, 0.02, 0.01, 0.005, 0.002];

/// One detector on one series, with events and without.
#[derive(Clone, Default)]
pub(crate) struct OfSeries {
    roc_auc: Option<f64>,
    pr_auc: Option<f64>,
    at: Vec<AtShare>,
}

/// For one threshold.
#[derive(Clone, Default)]
struct AtShare {
    /// By kind: events found, events.
    events: [(u32, u32); KINDS.len()],
    /// Alarms outside of events, and the days of that.
    false_alarms: (u32, f64),
    /// The same in the series without events.
    clean_alarms: (u32, f64),
    /// Samples of its first day that were flagged, and that were judged.
    young: (u32, u32),
}

/// One detector on a set of series.
#[derive(serde::Serialize)]
pub(crate) struct OfSet {
    /// Mean over the series of the area under the ROC curve of the samples.
    pub(crate) roc_auc: f64,
    /// The same under the precision-recall curve.
    pub(crate) pr_auc: f64,
    pub(crate) thresholds: Vec<OfThreshold>,
}

/// One detector at one threshold on a set of series.
#[derive(serde::Serialize)]
pub(crate) struct OfThreshold {
    pub(crate) share: f64,
    /// Share of the events with at least one flagged sample.
    pub(crate) recall: f64,
    pub(crate) recall_by_kind: BTreeMap<&'static str, f64>,
    /// Alarms per day outside of injected events.
    pub(crate) false_alarms: f64,
    /// The same in the series without events.
    pub(crate) clean_alarms: f64,
    /// Share of the samples that were flagged in the first day, where there are no events.
    pub(crate) young_flagged: f64,
}

/// The figures of one detector on a series with events, on the same without, and on the first day of that.
pub(crate) fn of_series(
    with: &Labelled,
    said: &[Option<Said>],
    clean: &[Option<Said>],
    young: &[Option<Said>],
) -> OfSeries {
    let labels = labels(&with.events, said.len());
    let scored: Vec<(f64, bool)> = said
        .iter()
        .zip(&labels)
        .filter(|(_, label)| **label != Label::Aftermath)
        .filter_map(|(said, label)| Some(((*said)?.decision, *label == Label::Event)))
        .collect();
    let at = SHARES.map(|share| {
        let mut events = [(0, 0); KINDS.len()];
        for event in &with.events {
            let of_kind = KINDS.iter().position(|kind| *kind == event.kind).map(|kind| &mut events[kind]);
            let within = &said[event.first - WARM_UP..event.end - WARM_UP];
            if let Some((found, all)) = of_kind {
                *found += u32::from(within.iter().any(|said| is_flagged(said.as_ref(), share)));
                *all += 1;
            }
        }
        let quiet =
            said.iter().zip(&labels).map(|(said, label)| (*label == Label::Quiet).then_some(*said).flatten());
        let clean = clean.iter().copied();
        let count = |said: usize| u32::try_from(said).unwrap_or(u32::MAX);
        let judged = young.iter().flatten();
        let flagged = judged.clone().filter(|said| is_flagged(Some(said), share));
        AtShare {
            events,
            false_alarms: alarms(quiet, share),
            clean_alarms: alarms(clean, share),
            young: (count(flagged.count()), count(judged.count())),
        }
    });
    let (roc_auc, pr_auc) = areas(scored).unzip();
    OfSeries { roc_auc, pr_auc, at: at.to_vec() }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Quiet,
    Event,
    Aftermath,
}

fn labels(events: &[Event], samples: usize) -> Vec<Label> {
    let mut labels = vec![Label::Quiet; samples];
    for event in events {
        let (first, end) = (event.first - WARM_UP, event.end - WARM_UP);
        labels[first..end].fill(Label::Event);
        let over = (end + AFTERMATH).min(samples);
        labels[end..over].fill(Label::Aftermath);
    }
    labels
}

fn is_flagged(said: Option<&Said>, share: f64) -> bool {
    said.is_some_and(|said| 100.0 * (1.0 - share) < said.percentile)
}

/// Alarms among these samples, and their days; `None` counts for neither.
fn alarms(said: impl Iterator<Item = Option<Said>>, share: f64) -> (u32, f64) {
    let (mut alarms, mut samples, mut quiet_for) = (0, 0_usize, usize::MAX);
    for said in said {
        samples += usize::from(said.is_some());
        if is_flagged(said.as_ref(), share) {
            alarms += u32::from(ONE_ALARM < quiet_for);
            quiet_for = 0;
        } else {
            quiet_for = quiet_for.saturating_add(1);
        }
    }
    (alarms, samples as f64 / DAY as f64)
}

/// Areas under the curves of (false positive rate, recall) and of (recall, precision); lower is more unusual.
fn areas(mut scored: Vec<(f64, bool)>) -> Option<(f64, f64)> {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scored.iter().filter(|(_, event)| *event).count() as f64;
    let negatives = scored.len() as f64 - positives;
    if positives == 0.0 || negatives == 0.0 {
        return None;
    }
    let (mut found, mut wrong, mut roc, mut precision) = (0.0, 0.0, 0.0, 0.0);
    // Equal scores are flagged together.
    for alike in scored.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let events = alike.iter().filter(|(_, event)| *event).count() as f64;
        let others = alike.len() as f64 - events;
        roc += others * (found + events / 2.0);
        (found, wrong) = (found + events, wrong + others);
        precision += events * found / (found + wrong);
    }
    Some((roc / (positives * negatives), precision / positives))
}

/// Of all series together.
pub(crate) fn of_set(series: &[OfSeries]) -> OfSet {
    let mean = |of: fn(&OfSeries) -> Option<f64>| {
        let values: Vec<f64> = series.iter().filter_map(of).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let thresholds = SHARES.iter().enumerate().map(|(index, share)| {
        let at = || series.iter().map(|series| &series.at[index]);
        let kinds = KINDS.iter().enumerate().map(|(kind, name)| {
            let found =
                at().map(|at| at.events[kind]).fold((0, 0), |(found, all), (f, a)| (found + f, all + a));
            (name.name(), found)
        });
        let kinds: BTreeMap<&'static str, (u32, u32)> = kinds.collect();
        let recall = |(found, all): (u32, u32)| f64::from(found) / f64::from(all);
        let all = kinds.values().fold((0, 0), |(found, all), (f, a)| (found + f, all + a));
        let rate = |of: fn(&AtShare) -> (u32, f64)| {
            let (alarms, days) = at().map(of).fold((0, 0.0), |(alarms, days), (a, d)| (alarms + a, days + d));
            f64::from(alarms) / days
        };
        OfThreshold {
            share: *share,
            recall: recall(all),
            recall_by_kind: kinds.iter().map(|(name, found)| (*name, recall(*found))).collect(),
            false_alarms: rate(|at| at.false_alarms),
            clean_alarms: rate(|at| at.clean_alarms),
            young_flagged: recall(
                at().map(|at| at.young).fold((0, 0), |(flagged, all), (f, a)| (flagged + f, all + a)),
            ),
        }
    });
    OfSet {
        roc_auc: mean(|series| series.roc_auc),
        pr_auc: mean(|series| series.pr_auc),
        thresholds: thresholds.collect(),
    }
}
