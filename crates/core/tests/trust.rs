//! What a file must be like before its records are trusted.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "all of this is test code")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_core::ErrorChain;
use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader, MetricsWriter, ReadError, WriteError};
use lxc_autoscale_core::snapshot::Snapshot;

const BOUNDS: Bounds = Bounds { max_bytes: 1 << 20, max_age: Duration::from_hours(24) };

/// A user that is neither root nor the one who runs the tests.
const STRANGER: u32 = 54_321;

struct Place {
    directory: tempfile::TempDir,
    path: PathBuf,
}

/// A file with one snapshot, in a directory of its own.
fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lxc_metrics.json");
    MetricsWriter::open(&path, BOUNDS).unwrap().0.append(&snapshot("")).unwrap();
    Place { directory, path }
}

fn snapshot(more: &str) -> Snapshot {
    let time = "2026-11-23T17:20:00+00:00";
    serde_json::from_str(&format!(
        r#"{{"summary":{{"collection_start_time":"{time}","collection_end_time":"{time}","total_containers":0,"total_duration_seconds":0.5{more}}}}}"#
    ))
    .unwrap()
}

/// The file is refused for this reason, whichever way it is read; `None` if it must be read.
#[track_caller]
fn check(path: &Path, reason: Option<&str>) {
    check_by(path, &Believed::default(), reason);
}

#[track_caller]
fn check_by(path: &Path, believed: &Believed, reason: Option<&str>) {
    let all =
        MetricsReader::new(path).believing(believed.clone()).read_new().map(|found| found.snapshots.len());
    let newest = MetricsReader::read_newest_by(path, believed).map(|newest| usize::from(newest.is_some()));
    for read in [all, newest] {
        match (read, reason) {
            (Ok(1), None) => {}
            (Err(error @ ReadError::Distrusted { .. }), Some(reason)) => {
                let text = ErrorChain(&error).to_string();
                assert!(text.contains(reason) && text.contains("steers nothing"), "{text}");
            }
            (read, _) => panic!("{read:?} instead of {reason:?}"),
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Gives it to another user; `false` if only root could do that.
fn give_away(path: &Path) -> bool {
    let given = chown(path, Some(STRANGER), None).is_ok();
    if !given {
        println!("skipped: only root can give files away");
    }
    given
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    let place = place();
    check(&place.path, None);
    for mode in [0o600, 0o640, 0o644] {
        set_mode(&place.path, mode);
        check(&place.path, None);
    }
    for mode in [0o646, 0o602, 0o666] {
        set_mode(&place.path, mode);
        check(&place.path, Some("others may write to it"));
    }
}

#[test]
fn a_group_may_write_only_where_it_is_the_owners_own() {
    let place = place();
    set_mode(&place.path, 0o660);
    if chown(&place.path, None, Some(STRANGER)).is_ok() {
        check(&place.path, Some("others may write to it (mode 0660)"));
    }
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let place = place();
    if give_away(&place.path) {
        check(&place.path, Some("it belongs to user 54321"));
    }
}

#[test]
fn the_user_that_the_monitor_runs_as_is_believed_by_name_and_no_other() {
    let place = place();
    // On every Debian, user 1 is `daemon` and user 2 is `bin`.
    if chown(&place.path, Some(1), None).is_err() {
        println!("skipped: only root can give files away");
        return;
    }
    let believed = |name: &str| Believed::own().and_monitor(name);
    check_by(&place.path, &believed("daemon"), None);
    check_by(&place.path, &Believed::own(), Some("it belongs to user 1, and must belong to root"));
    check_by(&place.path, &believed("bin"), Some("or to the monitor's user `bin` (2)"));
    check_by(&place.path, &believed("no-such-user"), Some("`no-such-user` (there is none of that name)"));
    // Trusted only as an owner: others must not be able to write to it, and links made by others are not followed.
    set_mode(&place.path, 0o646);
    check_by(&place.path, &believed("daemon"), Some("others may write to it"));
    set_mode(&place.path, 0o640);
    // The writer is one user, regardless of whom readers trust.
    let error = MetricsWriter::open(&place.path, BOUNDS).unwrap_err();
    assert!(matches!(error, WriteError::Unsafe { .. }), "{error}");
}

#[test]
fn one_link_is_followed_and_no_more() {
    let place = place();
    let elsewhere = tempfile::tempdir().unwrap();
    let (outer, inner) = (elsewhere.path().join("outer.json"), elsewhere.path().join("inner.json"));
    symlink("inner.json", &outer).unwrap();
    symlink(&place.path, &inner).unwrap();
    check(&inner, None);
    check(&outer, Some("a symbolic link that leads to another one"));
    let error = MetricsWriter::open(&outer, BOUNDS).unwrap_err();
    assert!(matches!(error, WriteError::Unsafe { .. }), "{error}");
}

#[test]
fn a_directory_in_which_all_may_replace_files_is_refused() {
    let place = place();
    set_mode(place.directory.path(), 0o777);
    check(&place.path, Some("everybody may replace files in its directory"));
    let error = MetricsWriter::open(&place.path, BOUNDS).unwrap_err();
    assert!(matches!(error, WriteError::Unsafe { .. }), "{error}");
    // Like /tmp.
    set_mode(place.directory.path(), 0o1777);
    check(&place.path, None);
    assert!(MetricsWriter::open(&place.path, BOUNDS).is_ok());
}

#[test]
fn a_link_counts_by_who_made_it_and_where_it_leads() {
    let place = place();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.json");
    symlink(&place.path, &link).unwrap();
    check(&link, None);
    set_mode(place.directory.path(), 0o777);
    check(&link, Some("everybody may replace files in its directory"));
    set_mode(place.directory.path(), 0o700);
    if rustix::fs::chownat(
        rustix::fs::CWD,
        &link,
        Some(rustix::fs::Uid::from_raw(STRANGER)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .is_ok()
    {
        check(&link, Some("a symbolic link made by user 54321"));
        let error = MetricsWriter::open(&link, BOUNDS).unwrap_err();
        assert!(matches!(error, WriteError::Unsafe { .. }), "{error}");
    }
}

#[test]
fn a_record_of_a_later_program_is_refused_with_its_version() {
    let place = place();
    let (mut writer, _) = MetricsWriter::open(&place.path, BOUNDS).unwrap();
    writer.append(&snapshot(r#","schema_version":99"#)).unwrap();
    let found = MetricsReader::new(&place.path).read_new().unwrap();
    assert_eq!((found.snapshots.len(), found.unreadable.len()), (1, 1));
    let reason = ErrorChain(&found.unreadable[0]).to_string();
    assert!(reason.contains("its schema version is 99") && reason.contains("update it"), "{reason}");
}

#[test]
fn the_writer_follows_no_planted_link_and_empties_nothing() {
    for name in [".lxc_metrics.json.lock", ".lxc_metrics.json.new", ".lxc_metrics.json.spare"] {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, directory.path().join(name)).unwrap();
        let path = directory.path().join("lxc_metrics.json");
        if let Ok((mut writer, _)) = MetricsWriter::open(&path, BOUNDS) {
            writer.append(&snapshot("")).unwrap();
            check(&path, None);
        } else {
            assert_eq!(name, ".lxc_metrics.json.lock", "only the lock cannot be made anew");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

#[test]
fn a_file_that_others_keep_open_or_linked_is_not_written_to_again() {
    let place = place();
    let backup = place.directory.path().join("backup.json");
    fs::hard_link(&place.path, &backup).unwrap();
    let before = fs::read(&backup).unwrap();
    let (mut writer, _) = MetricsWriter::open(&place.path, BOUNDS).unwrap();
    for _ in 0..20 {
        writer.append(&snapshot("")).unwrap();
    }
    assert_eq!(fs::read(&backup).unwrap(), before, "somebody's backup by a hard link");
}

#[test]
fn every_copy_has_the_mode_that_was_asked_for() {
    let place = place();
    let mode = || fs::metadata(&place.path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o640);
    set_mode(&place.path, 0o600);
    let (mut writer, _) = MetricsWriter::open(&place.path, BOUNDS).unwrap();
    for wanted in [0o640, 0o644, 0o600] {
        writer.set_mode(wanted);
        for _ in 0..12 {
            assert_eq!(mode(), wanted);
            writer.append(&snapshot("")).unwrap();
        }
    }
}

/// The name refers to one copy at a time. Changing its mode affects only that copy, which must not be published
/// again.
#[test]
fn a_copy_whose_access_somebody_changed_is_not_published_again() {
    for spoil in [
        (|path: &Path| set_mode(path, 0o666)) as fn(&Path),
        |path| set_mode(path, 0o600),
        |path| chown(path, None, Some(STRANGER)).unwrap(),
    ] {
        let place = place();
        let (mut writer, _) = MetricsWriter::open(&place.path, BOUNDS).unwrap();
        let access = || {
            let metadata = fs::metadata(&place.path).unwrap();
            (metadata.mode() & 0o7777, metadata.gid())
        };
        let wanted = access();
        for _ in 0..12 {
            writer.append(&snapshot("")).unwrap();
        }
        spoil(&place.path);
        assert_ne!(access(), wanted);
        for _ in 0..12 {
            writer.append(&snapshot("")).unwrap();
            assert_eq!(access(), wanted);
        }
    }
}
