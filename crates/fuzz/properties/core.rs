// What must hold for any bytes that reach the parsers of the core crate. The fuzz targets look for bytes for which
// it does not; `crates/core/tests/corpus.rs` replays what they found so far.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::container_config::{ContainerConfig, parse_size};
use lxc_autoscale_core::history_store::bucket::roll_up;
use lxc_autoscale_core::history_store::{Metric, Tier, chunk, frame};
use lxc_autoscale_core::metrics_file::{Bounds, MetricsReader, MetricsWriter, ReadError, parse_record};
use lxc_autoscale_core::procfs;
use lxc_autoscale_core::snapshot::Snapshot;

const BOUNDS: Bounds = Bounds { max_bytes: 64 << 20, max_age: Duration::from_hours(1_000_000) };

/// The reader hands out the snapshots that the file holds, no other, and each once.
pub(crate) fn metrics_reader(bytes: &[u8]) {
    let file = Placed::new(bytes);
    let mut reader = MetricsReader::new(&file.path);
    let mut snapshots = Vec::new();
    let result = reader.each_new(|record| snapshots.extend(record));
    assert!(!matches!(result, Err(ReadError::Read { .. } | ReadError::Distrusted { .. })), "{result:?}");
    let is_ours = bytes.starts_with(b"[\n{");
    if is_ours {
        let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b",").unwrap_or(line));
        assert_eq!(snapshots, lines.filter_map(known_snapshot).collect::<Vec<_>>());
    } else if let Ok(elements) = serde_json::from_slice::<Vec<&serde_json::value::RawValue>>(bytes) {
        let elements = elements.iter().filter_map(|element| known_snapshot(element.get().as_bytes()));
        assert_eq!(snapshots, elements.collect::<Vec<_>>());
    } else {
        // What stood before the place where the array breaks.
        let ids = snapshots.iter().flat_map(|snapshot| snapshot.containers.keys());
        assert!(ids.into_iter().all(|id| contains(bytes, id.to_string().as_bytes())), "not in the file");
    }
    if result.is_ok() && is_ours {
        let again = reader.read_new().unwrap();
        assert!(again.snapshots.is_empty() && again.unreadable.is_empty(), "handed out twice");
    }
    let newest = MetricsReader::read_newest(&file.path);
    if let (Ok(Some(newest)), Some(last), true) = (newest, snapshots.last(), is_ours) {
        assert_eq!(newest, *last);
    }
}

/// Opening a file of any content repairs it, keeps every whole record, and the next append is readable.
pub(crate) fn metrics_recovery(bytes: &[u8]) {
    let file = Placed::new(bytes);
    let mut known = MetricsReader::new(&file.path);
    let before = known.read_new();
    let (mut writer, _) = MetricsWriter::open(&file.path, BOUNDS).unwrap();
    let repaired = std::fs::read(&file.path).unwrap();
    let elements: Vec<serde_json::Value> = parse_deep(&repaired);
    for line in whole_lines(bytes) {
        assert!(contains(&repaired, line), "lost: {}", String::from_utf8_lossy(line));
    }
    if let Ok(before) = before {
        assert!(before.snapshots.len() <= elements.len());
    }
    let newest = snapshot();
    writer.append(&newest).unwrap();
    let published = std::fs::read(&file.path).unwrap();
    assert_eq!(parse_deep(&published).len(), elements.len() + 1);
    assert_eq!(MetricsReader::read_newest(&file.path).unwrap(), Some(newest));
    drop(writer);
    let (_, recovery) = MetricsWriter::open(&file.path, BOUNDS).unwrap();
    assert_eq!(recovery, lxc_autoscale_core::metrics_file::Recovery::Intact);
}

/// What is shown of a time is read as the same time.
pub(crate) fn record_time(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(time) = text.parse::<RecordTime>() else { return };
    let shown = time.to_string();
    let again: RecordTime = shown.parse().unwrap();
    assert_eq!(again.instant(), time.instant(), "{text} became {shown}");
    assert_eq!(again.to_string(), shown);
    assert!(time.as_seconds().is_finite());
}

/// A snapshot that was read is written as one that reads the same; numbers but for their sixteenth digit, which
/// the fast way of reading them may miss.
pub(crate) fn snapshot_json(bytes: &[u8]) {
    let Ok(first) = serde_json::from_slice::<Snapshot>(bytes) else { return };
    let written = serde_json::to_vec(&first).unwrap();
    let second: Snapshot = serde_json::from_slice(&written).unwrap();
    let (first, second) = (serde_json::to_value(&first).unwrap(), serde_json::to_value(&second).unwrap());
    assert!(is_alike(&first, &second), "{first} became {second}");
}

fn is_alike(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        (Number(a), Number(b)) if a != b => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= 1e-14 * a.abs())
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_alike(a, b)),
        (Object(a), Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_alike(a, b)))
        }
        (one, other) => one == other,
    }
}

/// A configuration never stops the reading; each line is understood or named.
pub(crate) fn container_config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (config, unreadable) = ContainerConfig::parse(&text);
    assert!(unreadable.len() <= text.lines().count());
    assert_eq!(ContainerConfig::parse(&text).0, config, "the same text gives the same configuration");
    let _ = parse_size(&text);
}

/// Numbers of the kernel are finite whatever the file holds.
pub(crate) fn procfs(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let text = &*text;
    match which % 6 {
        0 => {
            let sockets = procfs::command_sockets(text, "/var/lib/lxc");
            assert!(sockets.len() <= text.lines().count());
        }
        1 => {
            if let Ok(time) = procfs::cpu_time(text) {
                assert!(0 < time.cpus && time.busy_ticks <= time.total_ticks);
            }
        }
        2 => drop(procfs::meminfo(text)),
        3 => {
            if let Ok(load) = procfs::load_averages(text) {
                assert!(load.iter().all(|load| load.is_finite() && 0.0 <= *load), "{load:?}");
            }
        }
        4 => {
            if let Ok(uptime) = procfs::uptime_seconds(text) {
                assert!(uptime.is_finite() && 0.0 <= uptime, "{uptime}");
            }
        }
        _ => {
            if let Ok(pressure) = procfs::pressure(text) {
                let lines = [Some(pressure.some), pressure.full];
                for line in lines.into_iter().flatten() {
                    let shares = [line.avg10, line.avg60, line.avg300];
                    assert!(shares.iter().all(|share| share.is_finite() && 0.0 <= *share), "{line:?}");
                }
            }
        }
    }
}

/// A stored block of the history is refused, or holds what makes sense and is packed into one that reads the same.
pub(crate) fn history_blob(bytes: &[u8]) {
    let Some((which, content)) = bytes.split_first() else { return };
    if which % 2 == 0 { check_chunk(&sealed(content)) } else { check_frame(&sealed(content)) }
}

fn check_chunk(blob: &[u8]) {
    let Ok(chunk) = chunk::decode(blob, |_| true) else { return };
    for (metric, stats) in chunk.values().flat_map(|bucket| &bucket.metrics) {
        assert!(0 < stats.count, "{metric:?}");
        assert!(stats.min <= stats.mean && stats.mean <= stats.max && stats.p95 <= stats.max, "{stats:?}");
    }
    assert_eq!(chunk::decode(&chunk::encode(&chunk), |_| true).as_ref(), Ok(&chunk));
    // One metric alone is the same as among the others.
    let is_cpu = |metric| metric == Metric::Cpu;
    let mut only = chunk.clone();
    for bucket in only.values_mut() {
        bucket.metrics.retain(|(metric, _)| is_cpu(*metric));
    }
    assert_eq!(chunk::decode(blob, is_cpu), Ok(only));
}

fn check_frame(blob: &[u8]) {
    let mut samples = Vec::new();
    let decoded = frame::decode(blob, 1_700_000_000_000, |_| true, |_, sample| samples.push(sample));
    if decoded.is_err() {
        return;
    }
    for tier in Tier::ALL {
        for (start_ms, bucket) in roll_up(&mut samples.clone(), tier, Metric::ALL) {
            assert_eq!(start_ms, tier.bucket_start(start_ms));
            assert!(0 < bucket.samples && !bucket.metrics.is_empty());
        }
    }
}

/// The content with the checksum that a whole block ends in: CRC-32 as in zlib.
fn sealed(content: &[u8]) -> Vec<u8> {
    let byte = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    };
    let checksum = !content.iter().fold(u32::MAX, byte);
    [content, &checksum.to_le_bytes()].concat()
}

/// A file in a directory of its own.
struct Placed {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Placed {
    fn new(bytes: &[u8]) -> Self {
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = directory.path().join("m.json");
        std::fs::write(&path, bytes).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&path, mode).unwrap();
        Self { _directory: directory, path }
    }
}

/// A snapshot that every reader understands.
fn known_snapshot(record: &[u8]) -> Option<Snapshot> {
    parse_record(record).ok()
}

/// Lines that are whole snapshots by themselves, in a file that has our layout.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_ours = bytes.starts_with(b"[\n{");
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b",").unwrap_or(line))
        .filter(move |line| is_ours && std::str::from_utf8(line).is_ok())
        .filter(|line| serde_json::from_slice::<Snapshot>(line).is_ok())
}

/// The elements of an array; how deep they nest does not matter.
fn parse_deep(bytes: &[u8]) -> Vec<serde_json::Value> {
    let raw: Vec<&serde_json::value::RawValue> = serde_json::from_slice(bytes).unwrap();
    raw.iter().map(|element| serde_json::from_str(element.get()).unwrap_or_default()).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len().max(1)).any(|window| window == needle)
}

fn snapshot() -> Snapshot {
    serde_json::from_str(
        r#"{"summary":{"collection_start_time":"2026-11-23T17:20:00+00:00","collection_end_time":"2026-11-23T17:20:00+00:00","total_containers":0,"total_duration_seconds":0.5,"schema_version":1}}"#,
    )
    .unwrap()
}
