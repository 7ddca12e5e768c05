use lxc_autoscale_core::Vmid;

use super::*;
use crate::decide::{Allocation, Amount, Mode, NodeSituation, Obstacles, Reason};
use crate::observation::Observation;
use crate::recommend::Fact;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn vmid(id: u32) -> Vmid {
    Vmid::try_from(id).unwrap()
}

fn inputs() -> Inputs {
    Inputs {
        policy: None,
        allocation: Some(Allocation { cores: Some(2.0), cpulimit: None, memory_mib: 512.0 }),
        obstacles: Obstacles::default(),
        observation: Some(Observation { cpu_cores_used: Some(1.9), ..Observation::unknown(at(0)) }),
        recommendation: None,
        opinions: None,
        changes: LastChanges::default(),
        anomaly: None,
        unusual: None,
        node: NodeSituation::default(),
        guard: crate::guard::Guard::default(),
    }
}

fn decision(resource: Resource, action: Action, to: Option<f64>) -> Decision {
    let reason = match to {
        Some(target) => Reason::NeedsMore { basis: Fact::RecentPeak, target: Amount::of(resource, target) },
        None => Reason::Fits { target: Amount::of(resource, 2.0) },
    };
    let apply = to.is_some();
    Decision { resource, action, from: Some(2.0), to, apply, reason, confidence_percent: 87.41 }
}

fn grow(resource: Resource) -> Decision {
    decision(resource, Action::Grow, Some(4.0))
}

fn keep() -> Decision {
    decision(Resource::Cpu, Action::Keep, None)
}

fn failed() -> Outcome {
    Outcome::Failed { error: "the API is down".to_owned() }
}

struct Fixture {
    directory: tempfile::TempDir,
    ledger: Ledger,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, aside) = Ledger::open(&directory.path().join("state/decisions.sqlite")).unwrap();
        assert_eq!(aside, None);
        Self { directory, ledger }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state/decisions.sqlite")
    }

    /// The ledger as a restarted daemon finds it.
    fn reopen(self) -> Self {
        let Self { directory, ledger } = self;
        drop(ledger);
        let (ledger, aside) = Ledger::open(&directory.path().join("state/decisions.sqlite")).unwrap();
        assert_eq!(aside, None);
        Self { directory, ledger }
    }

    fn carry_out(&mut self, seconds: i64, decision: &Decision, outcome: &Outcome) {
        let number = self.ledger.begin(at(seconds), vmid(104), decision, &inputs()).unwrap();
        self.ledger.settle(number, outcome).unwrap();
    }

    fn note(&mut self, seconds: i64, decision: &Decision) {
        self.note_in(Mode::Auto, seconds, decision);
    }

    fn note_in(&mut self, mode: Mode, seconds: i64, decision: &Decision) {
        let quiet = Quiet { id: vmid(104), decision, inputs: &inputs(), mode };
        self.ledger.note(at(seconds), [quiet]).unwrap();
    }

    fn entries(&self) -> Vec<Entry> {
        self.ledger.of_container(vmid(104), 100).unwrap()
    }
}

#[test]
fn what_is_written_is_read_back_after_a_restart() {
    let mut fixture = Fixture::new();
    let done = Outcome::Done { before: Some(2.0), after: Some(4.0) };
    fixture.carry_out(0, &grow(Resource::Cpu), &done);
    let fixture = fixture.reopen();
    let entries = fixture.entries();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.at, entry.id, entry.times), (at(0), vmid(104), 1));
    assert_eq!((&entry.decision, &entry.inputs, &entry.outcome), (&grow(Resource::Cpu), &inputs(), &done));
    assert_eq!(entry.reason, "it should have 4 cores (recent peak)");
}

#[test]
fn cool_downs_survive_a_restart() {
    let mut fixture = Fixture::new();
    let done = Outcome::Done { before: Some(2.0), after: Some(4.0) };
    fixture.carry_out(0, &grow(Resource::Cpu), &done);
    fixture.carry_out(60, &grow(Resource::Cpu), &done);
    fixture.carry_out(90, &decision(Resource::Memory, Action::Shrink, Some(1.0)), &done);
    fixture.carry_out(120, &grow(Resource::Memory), &failed());
    let changes = fixture.reopen().ledger.last_changes().unwrap();
    let want = LastChanges { cpu_up: Some(at(60)), memory_down: Some(at(90)), ..LastChanges::default() };
    assert_eq!(changes, BTreeMap::from([(vmid(104), want)]));
}

#[test]
fn a_change_that_was_under_way_counts_as_made_and_is_not_claimed_to_be_done() {
    let mut fixture = Fixture::new();
    fixture.ledger.begin(at(0), vmid(104), &grow(Resource::Cpu), &inputs()).unwrap();
    let mut fixture = fixture.reopen();
    assert_eq!(fixture.ledger.settle_interrupted().unwrap(), 1);
    assert!(matches!(fixture.entries()[0].outcome, Outcome::Unknown { .. }));
    assert_eq!(fixture.ledger.last_changes().unwrap()[&vmid(104)].cpu_up, Some(at(0)));
    assert_eq!(fixture.ledger.settle_interrupted().unwrap(), 0);
}

#[test]
fn what_is_said_again_and_again_is_one_entry_with_a_count() {
    let (kept, other) = (keep(), Decision { reason: Reason::ModeOff, ..keep() });
    let mut fixture = Fixture::new();
    for minute in 0..=120 {
        fixture.note(60 * minute, &keep());
    }
    let said = |fixture: &Fixture| -> Vec<(u64, Timestamp, Timestamp)> {
        fixture.entries().iter().map(|entry| (entry.times, entry.at, entry.last_at)).collect()
    };
    // Counted once an hour; a small change of the confidence does not matter.
    assert_eq!(said(&fixture), [(121, at(0), at(7200))]);
    fixture.note(7260, &Decision { confidence_percent: 88.0, ..keep() });
    fixture.note(7320, &other);
    // The decision changes: pending counts are written, and the newest entry comes first.
    assert_eq!(said(&fixture), [(1, at(7320), at(7320)), (122, at(0), at(7260))]);
    // Alternating makes no more entries.
    for minute in [7380, 7440, 7500, 7560] {
        fixture.note(minute, if minute % 120 == 60 { &kept } else { &other });
    }
    assert_eq!(said(&fixture), [(3, at(7320), at(7560)), (124, at(0), at(7500))]);
    fixture.note(7620, &Decision { from: Some(3.0), ..keep() });
    assert_eq!(said(&fixture).len(), 3);
    // After a day it is written anew, with present numbers.
    fixture.note(86_400, &Decision { from: Some(3.0), ..keep() });
    fixture.note(86_400 + 7620, &Decision { from: Some(3.0), ..keep() });
    assert_eq!(said(&fixture)[0], (1, at(94_020), at(94_020)));
}

#[test]
fn a_restart_goes_on_with_what_was_said() {
    let mut fixture = Fixture::new();
    fixture.note(0, &keep());
    fixture.note(60, &keep());
    fixture.ledger.write_stretches(at(60)).unwrap();
    let mut fixture = fixture.reopen();
    fixture.note(120, &keep());
    fixture.ledger.write_stretches(at(120)).unwrap();
    assert_eq!(fixture.entries().iter().map(|entry| entry.times).collect::<Vec<_>>(), [3]);
    // Not counted with an entry from before a change.
    fixture.carry_out(180, &grow(Resource::Cpu), &Outcome::Done { before: Some(2.0), after: Some(4.0) });
    let mut fixture = fixture.reopen();
    fixture.note(240, &keep());
    assert_eq!(fixture.entries().len(), 3);
}

#[test]
fn what_was_decided_at_a_time_is_found() {
    let mut fixture = Fixture::new();
    let (kept, other) = (keep(), Decision { reason: Reason::ModeOff, ..keep() });
    for minute in 0..10 {
        fixture.note(60 * minute, if minute < 5 { &kept } else { &other });
    }
    fixture.note(30, &Decision { resource: Resource::Memory, ..keep() });
    fixture.carry_out(900, &grow(Resource::Cpu), &failed());
    fixture.ledger.write_stretches(at(900)).unwrap();
    let then = |seconds: i64| -> Vec<(Resource, Action, Timestamp)> {
        let entries = fixture.ledger.of_container_at(vmid(104), at(seconds)).unwrap();
        entries.iter().map(|it| (it.decision.resource, it.decision.action, it.at)).collect()
    };
    let memory = (Resource::Memory, Action::Keep, at(30));
    assert_eq!(then(0), [(Resource::Cpu, Action::Keep, at(0))]);
    assert_eq!(then(100), [(Resource::Cpu, Action::Keep, at(0)), memory]);
    assert_eq!(then(400), [(Resource::Cpu, Action::Keep, at(300)), memory]);
    // Between two decisions the earlier one holds.
    assert_eq!(then(700), [(Resource::Cpu, Action::Keep, at(300)), memory]);
    assert_eq!(then(9000), [(Resource::Cpu, Action::Grow, at(900)), memory]);
    assert_eq!(then(-1), []);
}

/// The baseline of `report` outlives the decisions that found it.
#[test]
fn the_first_size_of_a_container_stays_and_is_not_that_of_another_with_its_id() {
    let mut fixture = Fixture::new();
    let found = |fixture: &mut Fixture, seconds: i64, name: Option<&str>, size: f64| {
        let decision = Decision { from: Some(size), ..keep() };
        fixture.ledger.keep_first_sizes(at(seconds), [(vmid(104), name, &decision)]).unwrap();
        fixture.note(seconds, &decision);
    };
    found(&mut fixture, 0, Some("db"), 8.0);
    found(&mut fixture, 60, Some("db"), 4.0);
    let mut fixture = fixture.reopen();
    found(&mut fixture, 120, Some("db"), 2.0);
    let unknown = Decision { from: None, ..keep() };
    fixture.ledger.keep_first_sizes(at(130), [(vmid(104), Some("new"), &unknown)]).unwrap();
    found(&mut fixture, 86_400, Some("web"), 6.0);
    found(&mut fixture, 86_460, None, 5.0);
    fixture.ledger.trim(at(90 * 86_400), 1000).unwrap();
    assert_eq!(fixture.entries(), []);
    let first: Vec<_> = fixture.reopen().ledger.first_sizes().unwrap();
    let first: Vec<_> = first.iter().map(|it| (it.name.as_deref(), it.at, it.size)).collect();
    assert_eq!(first, [(Some("db"), at(0), 8.0), (Some("web"), at(86_400), 6.0), (None, at(86_460), 5.0)]);
}

#[test]
fn what_lies_ahead_of_a_clock_that_was_set_back_counts_as_made_then_for_ever() {
    let mut fixture = Fixture::new();
    let done = Outcome::Done { before: Some(2.0), after: Some(4.0) };
    fixture.carry_out(-9000, &decision(Resource::Memory, Action::Shrink, Some(1.0)), &done);
    fixture.carry_out(86_400, &grow(Resource::Cpu), &done);
    fixture.ledger.note_set_back(at(0)).unwrap();
    let changes = |fixture: &Fixture| fixture.ledger.last_changes().unwrap()[&vmid(104)];
    let want = LastChanges { cpu_up: Some(at(0)), memory_down: Some(at(-9000)), ..LastChanges::default() };
    assert_eq!(changes(&fixture), want);
    let mut fixture = fixture.reopen();
    assert_eq!(changes(&fixture), want);
    // Later entries count as dated, and the clock may be set back again.
    fixture.carry_out(600, &grow(Resource::Cpu), &done);
    assert_eq!(changes(&fixture).cpu_up, Some(at(600)));
    fixture.ledger.note_set_back(at(-100)).unwrap();
    assert_eq!(changes(&fixture).cpu_up, Some(at(-100)));
    assert_eq!(fixture.entries()[0].at, at(86_400), "an entry says what the clock said");
    fixture.ledger.trim(at(90 * 86_400), 1000).unwrap();
    let left: i64 =
        fixture.ledger.connection.query_row("SELECT count(*) FROM set_backs", [], |row| row.get(0)).unwrap();
    assert!(left <= 2, "{left}");
}

#[test]
fn what_somebody_applies_is_not_settled_for_the_daemon_and_taken_in_once() {
    let mut fixture = Fixture::new();
    let author = ("root (uid 0)", "plan 3f2a9c81d04b");
    let own = fixture.ledger.begin(at(0), vmid(104), &grow(Resource::Cpu), &inputs()).unwrap();
    let shrink = decision(Resource::Memory, Action::Shrink, Some(1.0));
    let foreign = fixture.ledger.begin_for(at(0), vmid(104), &shrink, &inputs(), author).unwrap();
    let is_applied = |fixture: &Fixture, resource| fixture.ledger.is_applied_to(vmid(104), resource).unwrap();
    assert_eq!((is_applied(&fixture, Resource::Cpu), is_applied(&fixture, Resource::Memory)), (false, true));
    let interrupted: Vec<Decision> =
        fixture.ledger.interrupted().unwrap().into_iter().map(|it| it.decision).collect();
    assert_eq!(interrupted, [grow(Resource::Cpu)]);
    assert_eq!(fixture.ledger.settle_interrupted().unwrap(), 1);
    assert_eq!(fixture.ledger.settle_abandoned(at(900), at(900)).unwrap(), 1, "but after its time");
    let done = fixture.ledger.applied().unwrap();
    assert_eq!(done.iter().map(|it| (it.entry, it.after)).collect::<Vec<_>>(), [(foreign, None)]);
    fixture.ledger.note_taken_in(&[foreign]).unwrap();
    let mut fixture = fixture.reopen();
    assert_eq!((fixture.ledger.applied().unwrap(), is_applied(&fixture, Resource::Memory)), (vec![], false));
    // A refused change has changed nothing.
    let refused = fixture.ledger.begin_for(at(960), vmid(104), &shrink, &inputs(), author).unwrap();
    fixture.ledger.settle_beside(refused, &failed(), at(961)).unwrap();
    assert_eq!(fixture.ledger.applied().unwrap(), vec![]);
    assert!(own < foreign);
}

#[test]
fn what_waits_to_be_accepted_is_proposed() {
    let mut fixture = Fixture::new();
    let wanted = Decision { apply: false, ..grow(Resource::Cpu) };
    for (seconds, mode, want) in [(0, Mode::Recommend, "recommended only"), (60, Mode::Approve, "proposed")] {
        fixture.note_in(mode, seconds, &Decision { to: Some(4.0 + seconds as f64), ..wanted.clone() });
        assert_eq!(fixture.entries()[0].outcome.word(), want);
    }
}

#[test]
fn an_older_ledger_is_read_and_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decisions.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(store::FIRST_SCHEMA).unwrap();
    let sql = "INSERT INTO decisions (at_us, last_at_us, vmid, resource, action, outcome_kind, decision, inputs, outcome)
        VALUES (?1, ?1, 104, 'cpu', 'keep', 'nothing', ?2, ?3, '{\"kind\":\"nothing\"}')";
    let kept = Inputs { policy: Some("abc".to_owned()), ..inputs() };
    let texts = (serde_json::to_string(&keep()).unwrap(), serde_json::to_string(&kept).unwrap());
    old.execute(sql, params![at(0).as_microsecond(), texts.0, texts.1]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    let inputs_of = |ledger: &Ledger| ledger.of_container(vmid(104), 9).unwrap()[0].inputs.clone();
    assert_eq!(inputs_of(&Ledger::open_read_only(&path).unwrap().unwrap()), kept);
    assert!(matches!(Ledger::open_beside(&path), Err(LedgerError::Older { .. })));
    let (mut ledger, aside) = Ledger::open(&path).unwrap();
    assert_eq!((inputs_of(&ledger), aside), (kept, None));
    let first = ledger.first_sizes().unwrap();
    assert_eq!(first.iter().map(|it| (&it.name, it.at, it.size)).collect::<Vec<_>>(), [(&None, at(0), 2.0)]);
    ledger.begin(at(60), vmid(104), &grow(Resource::Cpu), &inputs()).unwrap();
    ledger.trim(at(-1), 1000).unwrap();
    assert_eq!(ledger.of_container(vmid(104), 9).unwrap().len(), 2);
}

#[test]
fn what_is_kept_after_a_change_is_news() {
    let mut fixture = Fixture::new();
    fixture.note(0, &keep());
    fixture.carry_out(60, &grow(Resource::Cpu), &failed());
    fixture.note(120, &keep());
    assert_eq!(fixture.entries().len(), 3);
}

#[test]
fn the_same_failure_again_and_again_is_one_entry() {
    let mut fixture = Fixture::new();
    for minute in 0..5 {
        fixture.carry_out(60 * minute, &grow(Resource::Cpu), &failed());
        fixture.carry_out(60 * minute, &grow(Resource::Memory), &failed());
    }
    let entries = fixture.entries();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.times, entry.at, entry.last_at)).collect();
    assert_eq!(shown, [(5, at(0), at(240)); 2]);
    // Another target or another error is another entry.
    fixture.carry_out(300, &decision(Resource::Cpu, Action::Grow, Some(5.0)), &failed());
    fixture.carry_out(300, &grow(Resource::Memory), &Outcome::Failed { error: "locked".to_owned() });
    assert_eq!(fixture.entries().len(), 4);
}

#[test]
fn what_is_old_is_removed_and_what_changed_something_stays_longest() {
    let mut fixture = Fixture::new();
    let done = Outcome::Done { before: Some(2.0), after: Some(4.0) };
    fixture.carry_out(0, &grow(Resource::Cpu), &done);
    fixture.carry_out(100, &grow(Resource::Memory), &done);
    for hour in 1..=5 {
        // A different size each time, so that each is an entry.
        fixture.note(3600 * hour, &Decision { from: Some(hour as f64), ..keep() });
    }
    assert_eq!(fixture.ledger.trim(at(50), 1000).unwrap(), 1);
    assert_eq!(fixture.ledger.trim(at(50), 3).unwrap(), 3);
    let left: Vec<_> = fixture.entries().iter().map(|entry| entry.at).collect();
    assert_eq!(left, [at(3600 * 5), at(3600 * 4), at(100)]);
}

#[test]
fn a_broken_database_is_put_aside_and_a_new_one_begun() {
    let mut fixture = Fixture::new();
    fixture.carry_out(0, &grow(Resource::Cpu), &failed());
    let path = fixture.path();
    let Fixture { directory: _directory, ledger } = fixture;
    drop(ledger);
    for garbage in [b"this is no database".repeat(100), b"SQLite format 3\0".repeat(300)] {
        std::fs::write(&path, &garbage).unwrap();
        let (mut ledger, aside) = Ledger::open(&path).unwrap();
        assert_eq!(std::fs::read(aside.unwrap()).unwrap(), garbage, "what was there is kept as it was");
        assert!(ledger.newest().unwrap().is_empty());
        ledger.begin(at(0), vmid(104), &grow(Resource::Cpu), &inputs()).unwrap();
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let fixture = Fixture::new();
    fixture.ledger.connection.pragma_update(None, "user_version", 99).unwrap();
    let error = Ledger::open(&fixture.path()).unwrap_err();
    assert!(matches!(error, LedgerError::State(StateDatabaseError::Version { found: 99, .. })), "{error:?}");
    assert!(Ledger::open_read_only(&fixture.path()).is_err());
}

#[test]
fn a_reader_sees_what_the_daemon_writes_and_never_creates_anything() {
    let mut fixture = Fixture::new();
    fixture.carry_out(0, &grow(Resource::Cpu), &failed());
    fixture.note(60, &keep());
    fixture.carry_out(120, &grow(Resource::Memory), &failed());
    let reader = Ledger::open_read_only(&fixture.path()).unwrap().unwrap();
    let newest: Vec<_> = reader.newest().unwrap().into_iter().map(|entry| entry.decision.action).collect();
    assert_eq!(newest, [Action::Keep, Action::Grow]);
    let missing = fixture.directory.path().join("nowhere/decisions.sqlite");
    assert!(Ledger::open_read_only(&missing).unwrap().is_none());
    assert!(!missing.parent().unwrap().exists());
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Ledger::open(&file.join("state/decisions.sqlite")).unwrap_err();
    assert!(error.to_string().contains("cannot write to the state directory"), "{error}");
}

#[test]
fn a_second_daemon_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let first = StateLock::take(directory.path()).unwrap();
    assert!(matches!(StateLock::take(directory.path()), Err(LedgerError::InUse { .. })));
    drop(first);
    assert!(StateLock::take(directory.path()).is_ok());
}

/// The API's audit log names each decision by its number, and people look it up here.
#[test]
fn a_number_never_names_two_decisions() {
    let mut fixture = Fixture::new();
    let mut newest = 0;
    let mut begin = |fixture: &mut Fixture, seconds: i64| {
        let decision = grow(Resource::Memory);
        let number = fixture.ledger.begin(at(seconds), vmid(104), &decision, &inputs()).unwrap();
        assert!(newest < number, "{number} after {newest}");
        newest = number;
        number
    };
    // A failure that is repeated is counted with the first, and leaves no row.
    for seconds in 0..4 {
        let number = begin(&mut fixture, seconds);
        fixture.ledger.settle(number, &failed()).unwrap();
    }
    assert_eq!(fixture.entries().len(), 1);
    let mut fixture = fixture.reopen();
    let number = begin(&mut fixture, 5);
    fixture.ledger.settle(number, &failed()).unwrap();
    // Nor does an old one that is removed.
    assert_eq!(fixture.ledger.trim(at(9000), 1000).unwrap(), 1);
    begin(&mut fixture, 9001);
    fixture.note(9002, &keep());
    assert_eq!(fixture.entries()[0].number, newest_of(&fixture));
    assert_eq!(fixture.entries().len(), 2);
    // Nor one that an earlier version of this program removed, which knows nothing of this.
    let older = Connection::open(fixture.path()).unwrap();
    older.execute("DELETE FROM decisions", []).unwrap();
    drop(older);
    let mut fixture = fixture.reopen();
    begin(&mut fixture, 9003);
}

fn newest_of(fixture: &Fixture) -> i64 {
    fixture.ledger.newest_number().unwrap()
}

/// A failed upgrade brings the earlier version back.
#[test]
fn an_earlier_version_can_write_what_this_one_has_begun() {
    let mut fixture = Fixture::new();
    for seconds in 0..2 {
        fixture.carry_out(seconds, &grow(Resource::Memory), &failed());
    }
    let Fixture { directory, ledger } = fixture;
    drop(ledger);
    let path = directory.path().join("state/decisions.sqlite");
    let schema = [store::FIRST_SCHEMA, store::PACKED, store::OUTLIVING];
    let (older, aside) = lxc_autoscale_core::state_database::open(&path, &schema).unwrap();
    assert_eq!(aside, None);
    // It gives no number.
    let sql = "INSERT INTO decisions (at_us, last_at_us, vmid, resource, action, outcome_kind, decision, inputs, outcome)
        SELECT at_us, last_at_us, vmid, resource, action, outcome_kind, decision, inputs, outcome FROM decisions";
    older.execute(sql, []).unwrap();
    assert_eq!(older.last_insert_rowid(), 2);
    older.execute("DELETE FROM decisions WHERE number = 2", []).unwrap();
    drop(older);
    let (mut ledger, _) = Ledger::open(&path).unwrap();
    assert_eq!(ledger.begin(at(9), vmid(104), &grow(Resource::Memory), &inputs()).unwrap(), 3);
}

#[test]
fn a_growth_that_is_not_known_to_be_made_is_told_apart() {
    let done = Outcome::Done { before: Some(2.0), after: Some(4.0) };
    let unknown = Outcome::Unknown { error: "no answer".to_owned() };
    let to = |mib| decision(Resource::Memory, Action::Grow, Some(mib));
    let mut fixture = Fixture::new();
    fixture.carry_out(0, &to(4.0), &done);
    let unsure = |fixture: &Fixture| {
        let changes = fixture.ledger.last_changes().unwrap()[&vmid(104)];
        (changes.memory_up, changes.memory_up_unsure)
    };
    assert_eq!(unsure(&fixture), (Some(at(0)), None));
    fixture.carry_out(60, &to(8.0), &unknown);
    let want = Unsure { to: Mebibytes::new(8), sure: Some(at(0)) };
    assert_eq!(unsure(&fixture), (Some(at(60)), Some(want)));
    // Pending means as much to a daemon that finds it.
    fixture.ledger.begin(at(120), vmid(104), &to(9.0), &inputs()).unwrap();
    let want = Unsure { to: Mebibytes::new(9), sure: Some(at(0)) };
    assert_eq!(unsure(&fixture.reopen()), (Some(at(120)), Some(want)));
    let mut fixture = Fixture::new();
    fixture.carry_out(0, &to(4.0), &unknown);
    assert_eq!(unsure(&fixture).1, Some(Unsure { to: Mebibytes::new(4), sure: None }));
    fixture.carry_out(60, &to(4.0), &done);
    assert_eq!(unsure(&fixture), (Some(at(60)), None));
}

/// A proposal that was carried out refers to its entry.
#[test]
fn an_entry_that_has_an_author_is_not_counted_with_an_older_one() {
    let mut fixture = Fixture::new();
    let already = Outcome::Already { size: Some(3.0) };
    fixture.carry_out(0, &grow(Resource::Memory), &already);
    let number = fixture.ledger.begin(at(60), vmid(104), &grow(Resource::Memory), &inputs()).unwrap();
    fixture.ledger.note_author(number, "root (uid 0)", "proposal 1").unwrap();
    fixture.ledger.settle(number, &already).unwrap();
    assert_eq!(fixture.entries().iter().map(|entry| entry.number).collect::<Vec<_>>(), [number, number - 1]);
    assert!(fixture.ledger.author(number).unwrap().is_some());
}
