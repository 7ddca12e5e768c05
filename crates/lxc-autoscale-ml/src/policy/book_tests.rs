//! The effect of policies on a container, as tables.

use lxc_autoscale_core::config;

use super::super::selector::Pool;
use super::*;
use crate::decide::Mode;

const NOON: &str = "2026-07-06T12:00:00Z";

fn book(text: &str) -> PolicyBook {
    let config: Config = config::parse(text).unwrap_or_else(|(line, problem)| panic!("{line}: {problem}"));
    PolicyBook::new(&config, &TimeZone::UTC).unwrap()
}

fn container(id: u32, name: &str, tags: &[&str], pool: Pool) -> Identity {
    Identity {
        id: id.try_into().unwrap(),
        name: Some(name.to_owned()),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        pool,
    }
}

fn in_force(text: &str, identity: &Identity) -> InForce {
    book(text).in_force(identity, NOON.parse().unwrap())
}

/// Each key and its source.
#[track_caller]
fn check(text: &str, identity: &Identity, want: &[(&str, &str, &str)]) {
    let effective = in_force(text, identity).effective();
    for (key, value, source) in want {
        let found = effective.iter().find(|row| row.key == *key).unwrap();
        assert_eq!(
            (found.value.to_string().as_str(), found.source.to_string().as_str()),
            (*value, *source),
            "{key}"
        );
    }
}

#[test]
fn the_higher_layer_wins_key_by_key() {
    let text = r#"
        [scaling]
        min_history_seconds = 3600
        [policy.everything]
        names = ["*"]
        precedence = -10
        scaling.memory.margin_percent = 20
        scaling.memory.min_mib = 200
        scaling.memory.min_shrink_mib = 10
        [policy.databases]
        tags = ["Db"]
        scaling.memory.margin_percent = 30
        scaling.memory.min_mib = 300
        [policy.pool]
        pools = ["services"]
        scaling.memory.margin_percent = 25
        [policy.main]
        ids = [104]
        precedence = -100
        scaling.memory.min_mib = 400
    "#;
    check(
        text,
        &container(104, "db", &["DB"], Pool::In("services".to_owned())),
        &[
            ("scaling.memory.min_mib", "400", "policy main"),
            ("scaling.memory.margin_percent", "30.0", "policy databases"),
            ("scaling.memory.min_shrink_mib", "10", "policy everything"),
            ("scaling.min_history_seconds", "3600", "general table"),
            ("scaling.memory.max_mib", "16384", "default"),
        ],
    );
    check(
        text,
        &container(105, "web", &[], Pool::In("services".to_owned())),
        &[
            ("scaling.memory.min_mib", "200", "policy everything"),
            ("scaling.memory.margin_percent", "25.0", "policy pool"),
        ],
    );
}

#[test]
fn precedence_wins_over_narrowness_and_the_later_name_decides_among_equals() {
    let text = r#"
        [policy.a]
        pools = ["p"]
        precedence = 1
        scaling.priority = 1
        [policy.b]
        tags = ["t"]
        scaling.priority = 2
        [policy.c]
        tags = ["t"]
        scaling.priority = 3
    "#;
    check(
        text,
        &container(100, "x", &["t"], Pool::In("p".to_owned())),
        &[("scaling.priority", "1", "policy a")],
    );
    check(text, &container(100, "x", &["t"], Pool::None), &[("scaling.priority", "3", "policy c")]);
}

#[test]
fn a_preset_lies_below_its_policy() {
    let text = r#"
        [policy.db]
        tags = ["db"]
        preset = "postgresql"
        scaling.memory.margin_percent = 50
    "#;
    check(
        text,
        &container(100, "x", &["db"], Pool::None),
        &[
            ("scaling.memory.margin_percent", "50.0", "policy db"),
            ("scaling.memory.max_step_down_percent", "12.0", "preset postgresql (policy db)"),
        ],
    );
}

#[test]
fn a_tag_or_a_name_means_a_preset_only_where_the_configuration_says_so() {
    let tagged = container(100, "pgsql-1", &["autoscale-preset-postgresql"], Pool::None);
    let key = "scaling.memory.max_step_down_percent";
    check("", &tagged, &[(key, "25.0", "default")]);
    check(
        "[presets]\nby_tag = true",
        &tagged,
        &[(key, "12.0", "preset postgresql (tag autoscale-preset-postgresql)")],
    );
    check("[presets]\nby_name = true", &tagged, &[(key, "12.0", "preset postgresql (name pgsql-1)")]);
    let other = container(100, "sql", &["autoscale-preset-nonsense"], Pool::None);
    check("[presets]\nby_tag = true\nby_name = true", &other, &[(key, "25.0", "default")]);
}

#[test]
fn a_tag_that_names_no_preset_is_told_of() {
    let idle = |text: &str, tag| book(text).idle_tags(&container(100, "sql", &["web", tag], Pool::None));
    let by_tag = "[presets]\nby_tag = true";
    assert_eq!(
        idle(by_tag, "autoscale-preset-postgres"),
        [
            "the tag `autoscale-preset-postgres` names a preset that there is not and does nothing; did you mean \
             `postgresql`?"
        ]
    );
    assert!(idle(by_tag, "autoscale-preset-postgresql").is_empty());
    assert!(idle("", "autoscale-preset-postgres").is_empty(), "tags mean nothing here");
}

#[test]
fn schedules_lie_above_their_policy_and_below_a_stronger_one() {
    let text = r#"
        [policy.office]
        tags = ["office"]
        scaling.cpu.min_cores = 1
        scaling.memory.min_mib = 256
        [[policy.office.schedule]]
        days = ["mon", "tue"]
        start = "11:00"
        duration_minutes = 120
        scaling.cpu.min_cores = 4
        scaling.memory.min_mib = 1024
        [[policy.office.schedule]]
        start = "11:30"
        duration_minutes = 60
        precedence = -1
        scaling.cpu.min_cores = 2
        scaling.priority = 7
        [[policy.office.schedule]]
        start = "12:04"
        duration_minutes = 60
        scaling.cpu.min_cores = 6
        scaling.priority = 9
        [policy.own]
        ids = [100]
        scaling.memory.min_mib = 512
    "#;
    check(
        text,
        &container(100, "x", &["office"], Pool::None),
        &[
            ("scaling.cpu.min_cores", "6.0", "policy office, schedule 3 (about to begin)"),
            ("scaling.priority", "7", "policy office, schedule 2"),
            ("scaling.memory.min_mib", "512", "policy own"),
        ],
    );
}

/// The fewest cores that nobody set are what the setting in force allows, wherever that was named.
#[test]
fn the_fewest_cores_follow_the_control_unless_somebody_set_them() {
    let web = container(100, "web", &[], Pool::None);
    let least = |value, source| [("scaling.cpu.min_cores", value, source)];
    let cpulimit = "[policy.web]\nnames = [\"web\"]\nscaling.cpu.control = \"cpulimit\"\n";
    check("", &web, &least("1.0", "default"));
    check(cpulimit, &web, &least("0.1", "default"));
    check(&format!("{cpulimit}scaling.cpu.min_cores = 1"), &web, &least("1.0", "policy web"));
    check(&format!("[scaling.cpu]\nmin_cores = 1\n{cpulimit}"), &web, &least("1.0", "general table"));
    check(&format!("{cpulimit}scaling.cpu.min_cores = 0"), &web, &least("0.1", "policy web"));
    let preset = "[policy.web]\nnames = [\"web\"]\npreset = \"voice\"\nscaling.cpu.control = \"cpulimit\"";
    check(preset, &web, &least("2.0", "preset voice (policy web)"));
    let ahead = "[[policy.web.schedule]]\nstart = \"12:04\"\nduration_minutes = 60\nscaling.cpu.min_cores = ";
    let soon = "policy web, schedule 1 (about to begin)";
    check(&format!("{cpulimit}{ahead}0.5"), &web, &least("0.5", soon));
    check(&format!("{cpulimit}{ahead}0.05"), &web, &least("0.1", "default"));

    let book = book("[shadow.fine]\nscaling.cpu.control = \"cpulimit\"");
    let live = book.in_force(&web, NOON.parse().unwrap());
    let fine = book.with_candidate(&live, &book.candidates()[0]);
    assert_eq!((live.policy.cpu.min_cores, fine.policy.cpu.min_cores), (1.0, 0.1));
}

/// A restart in the middle of a schedule changes nothing: the rules follow from the time alone.
#[test]
fn what_is_in_force_does_not_depend_on_what_was_asked_before() {
    let text = "[policy.night]\nnames = [\"*\"]\n[[policy.night.schedule]]\nstart = \"22:00\"\n\
                duration_minutes = 480\ntime_zone = \"Europe/Berlin\"\nscaling.mode = \"off\"";
    let identity = container(100, "x", &[], Pool::None);
    let old = book(text);
    let mut now: Timestamp = "2026-10-24T00:00:00Z".parse().unwrap();
    for _ in 0..3 * 24 * 12 {
        let in_force = old.in_force(&identity, now);
        assert_eq!(in_force, book(text).in_force(&identity, now), "{now}");
        now += SignedDuration::from_mins(5 * 37);
    }
}

#[test]
fn an_ignored_container_is_off_whatever_its_policies_say() {
    let text = "[containers]\nignore = [104]\n[policy.own]\nids = [104]\nscaling.mode = \"auto\"";
    let in_force = in_force(text, &Identity::of(104.try_into().unwrap()));
    assert_eq!((in_force.policy.cpu.mode, in_force.policy.memory.mode), (Mode::Off, Mode::Off));
    check(text, &Identity::of(104.try_into().unwrap()), &[("scaling.mode", "\"off\"", "containers.ignore")]);
}

#[test]
fn who_cannot_be_judged_is_left_alone() {
    let text = "[policy.p]\npools = [\"p\"]\nscaling.mode = \"off\"";
    let unclear = |pool| in_force(text, &container(100, "x", &[], pool)).policy.unclear;
    assert!(unclear(Pool::Unknown).unwrap().contains("its pool could not be read"));
    assert_eq!(unclear(Pool::None), None);
    let text = "[policy.small]\ntags = [\"a\"]\nscaling.memory.max_mib = 512\n\
                [policy.big]\ntags = [\"b\"]\nscaling.memory.min_mib = 1024";
    let unclear = |tags| in_force(text, &container(100, "x", tags, Pool::None)).policy.unclear;
    assert!(unclear(&["a", "b"]).unwrap().contains("contradict each other: `scaling.memory.max_mib`"));
    assert_eq!((unclear(&["a"]), unclear(&["b"])), (None, None));
}

#[track_caller]
fn check_refused(text: &str, line: usize, want: &str) {
    let (found, problem) = config::parse::<Config>(text).unwrap_err();
    assert!(problem.to_string().starts_with(want), "{problem}");
    assert_eq!(found, line, "{problem}");
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_key() {
    check_refused(
        "[policy.db]\ntags = [\"db\"]\nscaling.memory.min_mb = 1",
        3,
        "unknown key `policy.db.scaling.memory.min_mb`; did you mean `policy.db.scaling.memory.min_mib`?",
    );
    check_refused(
        "[policy.db]\ntag = [\"db\"]",
        2,
        "unknown key `policy.db.tag`; did you mean `policy.db.tags`?",
    );
    check_refused("[policy.db]\nscaling.priority = 1", 1, "`policy.db` must select containers");
    check_refused("[policy.db]\nscaling.priority = 1\ntags = []", 3, "`policy.db.tags` must not be empty");
    check_refused(
        "[policy.db]\nnames = [\"\"]\nscaling.priority = 1",
        2,
        "`policy.db.names` must not be empty",
    );
    check_refused("[policy.db]\ntags = [\"db\"]", 1, "`policy.db` must set something");
    check_refused("[policy.\"d b\"]\ntags = [\"db\"]", 1, "`policy.d b` must be a name of letters");
    check_refused(
        "[policy.db]\nids = [99]\nscaling.priority = 1",
        2,
        "`policy.db.ids`: `99` is not a container id",
    );
    check_refused(
        "[policy.db]\nids = [\"200-100\"]",
        2,
        "`policy.db.ids`: the range `200-100` ends before it begins",
    );
    check_refused(
        "[policy.db]\ntags = [\"db\"]\nscaling.memory.min_mib = 20000\nscaling.memory.max_mib = 16384",
        4,
        "`policy.db.scaling.memory.max_mib` must not be less than `scaling.memory.min_mib`",
    );
    check_refused(
        "[policy.db]\ntags = [\"db\"]\npreset = \"postgres\"",
        3,
        "`policy.db.preset` is \"postgres\", and there is no such preset; did you mean \"postgresql\"? `policy presets`",
    );
    check_refused("[presets]\ntag_prefix = \"\"", 2, "`presets.tag_prefix` must not be empty");
    let schedule =
        "[policy.db]\ntags = [\"db\"]\n[[policy.db.schedule]]\nstart = \"08:00\"\nduration_minutes = 60\n";
    check_refused(
        &format!(
            "{schedule}scaling.priority = 1\n[[policy.db.schedule]]\nstart = \"08:00\"\nduration_minutes = 0\nscaling.priority = 1"
        ),
        9,
        "`policy.db.schedule.2.duration_minutes` must be 1 to 10080",
    );
    check_refused(
        &format!("{schedule}time_zone = \"Europe/Berln\"\nscaling.priority = 1"),
        6,
        "`policy.db.schedule.1.time_zone` must be a time zone",
    );
    check_refused(
        &format!("{schedule}scaling.prio = 1"),
        6,
        "unknown key `policy.db.schedule.1.scaling.prio`",
    );
    check_refused(
        &schedule.replace("08:00", "8"),
        4,
        "`policy.db.schedule.1.start`: `8` is not a time of day",
    );
    check_refused(schedule, 3, "`policy.db.schedule.1.scaling` must set a key");
}
