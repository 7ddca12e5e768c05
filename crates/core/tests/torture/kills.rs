//! Writers killed at random moments.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::time::Duration;

use lxc_autoscale_core::metrics_file::trust::Believed;
use lxc_autoscale_core::metrics_file::{MetricsReader, MetricsWriter, WriteError};

use crate::python::PythonReader;
use crate::writer_process::{WriterProcess, WriterUser};
use crate::{ROOMY, is_root, new_numbers, numbers_in};

/// Number of writers to kill, unless `LXC_TORTURE_KILLS` is set.
const DEFAULT_KILLS: u64 = 40;

/// Pseudorandom numbers (SplitMix64), the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

struct Fixture {
    /// Removed at the end.
    _directory: tempfile::TempDir,
    /// The name that readers use.
    path: PathBuf,
    /// The directory of the copies.
    copies: PathBuf,
    writer: Option<WriterUser>,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lxc_metrics.json");
    let copies = directory.path().to_owned();
    Fixture { _directory: directory, path, copies, writer: None }
}

/// As installed by `install.sh`: the name is a link made by root, into a directory of the user that the writer runs
/// as, who may write nowhere else. On every Debian, user 1 is `daemon`.
fn installed_fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let (path, copies) = (directory.path().join("lxc_metrics.json"), directory.path().join("own"));
    fs::create_dir(&copies).unwrap();
    chown(&copies, Some(1), Some(1)).unwrap();
    symlink("own/lxc_metrics.json", &path).unwrap();
    // That user may not be able to reach a program in the checkout.
    let program = directory.path().join("writer");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    Fixture { _directory: directory, path, copies, writer: Some(WriterUser { uid: 1, program }) }
}

/// Kills writers one after the other, and checks the content of the file after each.
fn kill_writers(file: &Fixture, kills: u64, pause_ms: u64, max_bytes: u64) -> u64 {
    let seed = setting("LXC_TORTURE_SEED", 20_261_123);
    let mut random = Random(seed ^ pause_ms);
    let mut reader = MetricsReader::new(&file.path).believing(Believed::own().and_monitor("daemon"));
    let (mut next, mut handed_out, mut acknowledged, mut n_damaged) = (0, 0, 0, 0);
    for kill in 0..kills {
        let writer = WriterProcess::start(&file.path, file.writer.as_ref(), next, pause_ms, max_bytes);
        // This does not wait for anything: the random moment is the point. Some are killed while they start.
        std::thread::sleep(Duration::from_micros(random.below(200_000 + 10_000 * pause_ms)));
        let said = writer.kill();
        let context = format!("kill {kill}, seed {seed}");
        assert!(!said.panicked, "{context}: the writer failed by itself");
        n_damaged += u64::from(said.opened.is_some_and(|opened| opened.starts_with("Rewritten")));
        if !file.path.exists() {
            continue;
        }
        let numbers = numbers_in(&file.path);
        if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
            assert!(numbers.iter().copied().eq(*first..=*last), "{context}: {numbers:?}");
            next = last + 1;
        }
        if let Some(last) = said.acknowledged {
            assert!(last < next, "{context}: {last} was acknowledged and is not in {numbers:?}");
            // One more may have been published but no longer acknowledged.
            assert!(next <= last + 2, "{context}: {last} was acknowledged, {numbers:?}");
            acknowledged = last + 1;
        }
        for number in new_numbers(&mut reader) {
            assert_eq!(number, handed_out, "{context}: our reader skips or repeats");
            handed_out += 1;
        }
        assert_eq!(handed_out, next, "{context}: our reader has not seen all");
    }
    assert_eq!(n_damaged, 0, "no kill may leave a damaged file");
    let leftovers = fs::read_dir(&file.copies).unwrap().count();
    assert!(leftovers <= 11, "{leftovers} files are left: the copies, the lock and one temporary at most");
    acknowledged
}

/// Appends like the daemon, with a reader that polls all the time.
#[test]
fn killed_writers_lose_nothing_and_readers_see_whole_files() {
    let file = fixture();
    let kills = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let python = PythonReader::start(&file.path, true);
    // Small enough to be trimmed every few kills.
    let acknowledged = kill_writers(&file, kills, 20, 48 << 10);
    let reads = python.finish();
    println!(
        "{kills} kills, {acknowledged} snapshots acknowledged, {reads} reads by Python, none lost or broken"
    );
    assert!(kills <= acknowledged && kills <= reads);
}

/// Without a pause between appends, so that most kills hit one.
#[test]
fn writers_killed_within_appends_lose_nothing() {
    let file = fixture();
    let kills = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let acknowledged = kill_writers(&file, kills, 0, 64 << 20);
    println!("{kills} kills, {acknowledged} snapshots acknowledged, none lost");
    assert!(kills <= acknowledged);
}

/// As the unit runs it: as a user other than root, and behind a link.
#[test]
fn killed_writers_of_a_user_of_their_own_lose_nothing() {
    if !is_root() {
        return;
    }
    let file = installed_fixture();
    let kills = setting("LXC_TORTURE_KILLS", DEFAULT_KILLS);
    let python = PythonReader::start(&file.path, true);
    let acknowledged = kill_writers(&file, kills, 20, 48 << 10);
    let reads = python.finish();
    println!(
        "{kills} kills behind a link, {acknowledged} snapshots acknowledged, {reads} reads by Python, none lost or broken"
    );
    assert!(kills <= acknowledged && kills <= reads);
    assert!(file.path.is_symlink(), "the link is nobody's to replace");
}

#[test]
fn a_second_writer_is_refused_and_the_first_goes_on() {
    let file = fixture();
    let (mut first, _) = MetricsWriter::open(&file.path, ROOMY).unwrap();
    for number in 0..20 {
        let second = MetricsWriter::open(&file.path, ROOMY);
        assert!(matches!(second, Err(WriteError::InUse { .. })));
        first.append(&crate::snapshot(number)).unwrap();
    }
    assert!(numbers_in(&file.path).into_iter().eq(0..20));

    // Removing the lock lets another writer in only until the next append.
    fs::remove_file(file.path.with_file_name(".lxc_metrics.json.lock")).unwrap();
    first.append(&crate::snapshot(20)).unwrap();
    assert!(matches!(MetricsWriter::open(&file.path, ROOMY), Err(WriteError::InUse { .. })));
}
