use std::os::unix::fs::PermissionsExt;

use super::super::State;
use super::*;

fn config(directory: &Path) -> MonitorConfig {
    let mut config = MonitorConfig::default();
    config.alerts.state_file = directory.join("state/alerts.json");
    config.anomaly.state_file = directory.join("state/anomaly.state");
    config.notifications.directory = directory.join("state/notifications");
    config.history.file = directory.join("state/metrics.sqlite");
    config.logging.file = directory.join("monitor.log");
    config
}

/// What each line says, for a monitor of that user.
fn lines(config: &MonitorConfig, user: Option<&ServiceUser>) -> Vec<(State, String)> {
    of(config, user).into_iter().map(|probe| (probe.state, probe.detail)).collect()
}

#[test]
fn places_that_are_to_be_made_can_be_written_and_none_is_made() {
    let scratch = tempfile::tempdir().unwrap();
    let found = lines(&config(scratch.path()), None);
    let want = "the alerts' state, the notifications, what is usual, the history, the log can be written";
    assert_eq!(found, [(State::Ok, want.to_owned())]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn what_stands_in_the_way_is_said_with_what_comes_of_it() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    fs::create_dir_all(&config.alerts.state_file).unwrap();
    fs::write(&config.notifications.directory, "").unwrap();
    fs::create_dir(&config.logging.file).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(CWD, &config.history.file, fifo, 0o600.into(), 0).unwrap();
    let found = lines(&config, None);
    let starts = [
        ("the alerts' state, `", "alerts may fire again after a restart"),
        ("the notifications, `", "nobody is told of alerts"),
        ("the history, `", "there is no history"),
        ("the log, `", "the log is in the journal only"),
    ];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for ((state, detail), (start, end)) in found.iter().zip(starts) {
        assert_eq!(*state, State::Bad);
        assert!(detail.starts_with(start) && detail.ends_with(end), "{detail}");
        assert!(detail.contains("cannot be written: "), "{detail}");
    }
}

/// Root may write anywhere, and `check` is mostly run by root.
#[test]
fn it_is_the_units_user_who_must_be_able_to() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can look as somebody else");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = config(scratch.path());
    fs::create_dir(scratch.path().join("state")).unwrap();
    let nobody = ServiceUser { uid: 65534, gid: 65534, groups: Vec::new() };
    let found = lines(&config, Some(&nobody));
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(
        found.iter().all(|(state, detail)| *state == State::Bad && detail.contains("ermission denied")),
        "{found:?}"
    );
    fs::remove_dir(scratch.path().join("state")).unwrap();
    let found = lines(&config, Some(&nobody));
    assert!(found[0].1.contains("there is no `") && found[0].0 == State::Note, "{found:?}");
}
