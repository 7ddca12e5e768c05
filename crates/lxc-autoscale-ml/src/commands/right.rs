//! How likely it is that a change, and the size it is made for, stay right for an hour ([`crate::confidence`]), in words.
//!
//! The two differ. The recommended size only has to be enough for the hour. A change leads to another size, because it
//! goes in steps and whole cores, and must not be taken back within the hour, either. So each number is shown with what
//! it is about.

use super::table::amount;
use crate::decide::{Action, Decision};

/// The heading of a column with the number of the decision.
pub(super) const HEADING: &str = "STAYS RIGHT";

/// `stays right for an hour: this change 55 %, the recommended size 99 %`, as far as that is known.
pub(super) fn both(decision: &Decision, recommended_percent: Option<f64>) -> Option<String> {
    let of_decision = percent(decision.confidence_percent).map(|percent| match decision.action {
        Action::Grow | Action::Shrink => format!("this change {percent}"),
        Action::Keep => format!("keeping {} {percent}", amount(decision.resource, decision.from)),
    });
    let of_size = recommended_percent.and_then(percent);
    let of_size = of_size.map(|percent| format!("the recommended size {percent}"));
    let parts: Vec<String> = of_decision.into_iter().chain(of_size).collect();
    (!parts.is_empty()).then(|| format!("stays right for an hour: {}", parts.join(", ")))
}

/// `stays right for an hour: 99 %`, for what stands beside it.
pub(super) fn alone(confidence_percent: f64) -> Option<String> {
    percent(confidence_percent).map(|percent| format!("stays right for an hour: {percent}"))
}

/// `55 %`; `-` where it is unknown.
pub(super) fn cell(decision: &Decision) -> String {
    percent(decision.confidence_percent).unwrap_or_else(|| "-".to_owned())
}

/// `55 %`; nothing where it is unknown, which is 0. What is not certain is not rounded to it.
fn percent(confidence_percent: f64) -> Option<String> {
    match confidence_percent {
        percent if percent <= 0.0 => None,
        percent if percent < 0.5 => Some("<1 %".to_owned()),
        percent if 99.5 <= percent => Some(">99 %".to_owned()),
        percent => Some(format!("{percent:.0} %")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Reason, Resource};

    #[test]
    fn each_number_says_what_it_is_about() {
        let shrink = Decision {
            resource: Resource::Cpu,
            action: Action::Shrink,
            from: Some(4.0),
            to: Some(1.0),
            apply: true,
            reason: Reason::JustCutOff,
            confidence_percent: 55.0,
        };
        let keep = Decision { action: Action::Keep, to: None, ..shrink.clone() };
        let unknown = Decision { confidence_percent: 0.0, ..keep.clone() };
        let cases = [
            (&shrink, Some(99.1), Some("this change 55 %, the recommended size 99 %")),
            (&shrink, None, Some("this change 55 %")),
            (&keep, Some(99.1), Some("keeping 4 cores 55 %, the recommended size 99 %")),
            (&unknown, Some(99.1), Some("the recommended size 99 %")),
            (&unknown, Some(0.0), None),
        ];
        for (decision, recommended_percent, want) in cases {
            let want = want.map(|parts| format!("stays right for an hour: {parts}"));
            assert_eq!(both(decision, recommended_percent), want);
        }
        assert_eq!([&shrink, &unknown].map(cell), ["55 %", "-"]);
        assert_eq!([0.2, 0.6, 99.4, 99.6].map(percent).map(Option::unwrap), ["<1 %", "1 %", "99 %", ">99 %"]);
    }
}
