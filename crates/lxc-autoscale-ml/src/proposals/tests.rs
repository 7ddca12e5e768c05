use proptest::prelude::*;

use super::*;
use crate::config::ProposalsConfig;
use crate::decide::{Action, Amount, Mode, Policy, Reason, Resource};
use crate::recommend::Fact;

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 3600 * hours).unwrap()
}

fn change(from: f64, to: f64) -> Decision {
    let target = Amount::Mib(to);
    let (action, reason) = if from < to {
        (Action::Grow, Reason::NeedsMore { basis: Fact::RecentPeak, target })
    } else {
        (Action::Shrink, Reason::CanGiveBack { basis: Fact::RecentPeak, target })
    };
    Decision {
        resource: Resource::Memory,
        action,
        from: Some(from),
        to: Some(to),
        apply: false,
        reason,
        confidence_percent: 80.0,
    }
}

fn keep(reason: Reason) -> Decision {
    Decision { action: Action::Keep, to: None, reason, ..change(1024.0, 768.0) }
}

fn record(state: State) -> Record {
    Record {
        number: 1,
        id: Vmid::try_from(104).unwrap(),
        name: None,
        decision: change(1024.0, 768.0),
        state,
        made_at: at(0),
        expires_at: at(24),
        answer: Some(Answer { at: at(1), who: "root (uid 0)".to_owned(), reason: None }),
        note: None,
        closed_at: None,
        entry: None,
    }
}

fn step(waiting: Option<State>, rejected: bool, decision: &Decision, mode: Mode, hours: i64) -> Step {
    let (waiting, rejection) = (waiting.map(record), record(State::Rejected));
    next(&Case {
        waiting: waiting.as_ref(),
        rejected: rejected.then_some(&rejection),
        name: None,
        decision,
        mode,
        now: at(hours),
        config: &ProposalsConfig::default(),
    })
}

#[test]
fn a_change_is_proposed_once_and_the_newest_stands() {
    let cases = [
        ("a change in this mode", None, change(1024.0, 768.0), "Open"),
        ("nothing to change", None, keep(Reason::AllocationUnknown), "Leave"),
        ("the same again", Some(State::Open), change(1024.0, 768.0), "Leave"),
        ("a little further", Some(State::Open), change(1024.0, 720.0), "Leave"),
        ("much further", Some(State::Open), change(1024.0, 512.0), "Replace"),
        ("less far", Some(State::Open), change(1024.0, 784.0), "Replace"),
        ("the other way", Some(State::Open), change(1024.0, 1280.0), "Replace"),
        ("from another size", Some(State::Open), change(2048.0, 768.0), "Replace"),
        ("accepted and much further", Some(State::Accepted), change(1024.0, 512.0), "Leave"),
        ("accepted and less far", Some(State::Accepted), change(1024.0, 784.0), "Replace"),
        ("held for a moment", Some(State::Open), keep(Reason::JustCutOff), "Leave"),
        ("accepted and held", Some(State::Accepted), keep(Reason::JustCutOff), "Hold"),
        ("not wanted", Some(State::Accepted), keep(Reason::Stopped), "Close(Withdrawn"),
    ];
    for (name, waiting, decision, want) in cases {
        let got = format!("{:?}", step(waiting, false, &decision, Mode::Approve, 1));
        assert!(got.starts_with(want), "{name}: {got}");
    }
}

#[test]
fn what_nobody_answers_expires_and_a_change_of_mode_ends_it() {
    let shrink = change(1024.0, 768.0);
    let expired = Step::Close(State::Expired, "nobody answered".to_owned());
    assert_eq!(step(Some(State::Open), false, &shrink, Mode::Approve, 24), expired);
    for mode in [Mode::Off, Mode::Recommend, Mode::Auto] {
        let got = format!("{:?}", step(Some(State::Open), false, &shrink, mode, 1));
        assert!(got.starts_with("Close(Withdrawn"), "{got}");
        assert_eq!(step(None, false, &shrink, mode, 1), Step::Leave, "{mode:?}");
    }
}

#[test]
fn a_rejection_holds_until_circumstances_change() {
    let target = Amount::Mib(1280.0);
    let ran_out = Decision { reason: Reason::RanOutOfMemory { target }, ..change(1024.0, 1280.0) };
    let cases = [
        ("the same", change(1024.0, 768.0), 2, Step::Leave),
        ("about the same", change(1024.0, 720.0), 2, Step::Leave),
        ("a fifth less", change(1024.0, 512.0), 2, Step::Open),
        ("another size", change(960.0, 768.0), 2, Step::Open),
        ("the other way", change(1024.0, 1280.0), 2, Step::Open),
        ("out of memory", ran_out, 2, Step::Open),
        ("after three days", change(1024.0, 768.0), 1 + 72, Step::Open),
    ];
    for (name, decision, hours, want) in cases {
        assert_eq!(step(None, true, &decision, Mode::Approve, hours), want, "{name}");
    }
}

/// The id belongs to another container now, or the container was renamed.
#[test]
fn what_was_asked_of_one_container_goes_for_no_other() {
    let shrink = change(1024.0, 768.0);
    let (id, named) = (Vmid::try_from(104).unwrap(), |name: &str| Some(name.to_owned()));
    for (then, now, same) in [
        (named("db"), Some("web"), false),
        (named("db"), Some("db"), true),
        (None, Some("web"), true),
        (named("db"), None, true),
    ] {
        let (waiting, rejected) = [State::Accepted, State::Rejected]
            .map(|state| Record { name: then.clone(), ..record(state) })
            .into();
        let config = ProposalsConfig::default();
        let case = Case {
            waiting: Some(&waiting),
            rejected: None,
            name: now,
            decision: &shrink,
            mode: Mode::Approve,
            now: at(2),
            config: &config,
        };
        let want = if same {
            "Leave"
        } else {
            "Close(Withdrawn, \"it was called `db` then and is called `web` now\")"
        };
        assert_eq!(format!("{:?}", next(&case)), want, "{then:?} {now:?}");
        let want = if same { Step::Leave } else { Step::Open };
        assert_eq!(
            next(&Case { waiting: None, rejected: Some(&rejected), ..case }),
            want,
            "{then:?} {now:?}"
        );
        let mut approvals = Approvals::default();
        approvals.accept(id, then.clone(), shrink.clone());
        let mut policy = Policy::default();
        policy.memory.mode = Mode::Approve;
        let mut decision = shrink.clone();
        approvals.give_one((id, now), &policy, &mut decision);
        assert_eq!(decision.apply, same, "{then:?} {now:?}");
    }
}

#[test]
fn what_is_answered_without_asking_ends_the_question() {
    let target = Amount::Mib(1280.0);
    let urgent =
        Decision { apply: true, reason: Reason::RanOutOfMemory { target }, ..change(1024.0, 1280.0) };
    let got = step(Some(State::Open), false, &urgent, Mode::Approve, 1);
    assert!(matches!(&got, Step::Close(State::Withdrawn, why) if why.contains("ran out")), "{got:?}");
}

#[test]
fn every_state_is_read_as_it_was_written() {
    for state in State::ALL {
        assert_eq!(State::from_word(state.word()), Some(state));
    }
}

proptest! {
    /// Whatever was accepted: exactly that is carried out, and nothing that the guards would not allow now.
    #[test]
    fn an_approval_goes_no_further_than_the_decision_of_the_moment(
        from in 128.0f64..4096.0, then in 0.3f64..3.0, now in 0.3f64..3.0, resized in any::<bool>(),
    ) {
        let accepted = change(from, (from * then).round());
        let has = if resized { from + 64.0 } else { from };
        let before = change(has, (from * now).round());
        let mut decision = before.clone();
        let id = Vmid::try_from(104).unwrap();
        let mut approvals = Approvals::default();
        approvals.accept(id, None, accepted.clone());
        let mut policy = Policy::default();
        // An approval is void once the mode has changed.
        approvals.give_one((id, None), &policy, &mut decision);
        prop_assert_eq!(&decision, &before);
        policy.memory.mode = Mode::Approve;
        approvals.give_one((id, None), &policy, &mut decision);
        if decision.apply {
            prop_assert_eq!(decision.to, accepted.to);
            prop_assert_eq!(decision.action, accepted.action);
            let (to, allowed, has) = (decision.to.unwrap(), before.to.unwrap(), before.from.unwrap());
            prop_assert!(has.min(allowed) <= to && to <= has.max(allowed));
            prop_assert!(!resized);
        } else {
            prop_assert_eq!(decision, before);
        }
    }
}
