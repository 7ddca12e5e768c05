//! Log lines in the product's own format, to stdout and to a file of limited size.
//!
//! ```text
//! 2024-08-20 13:07:56,393 [INFO] Data loaded successfully from /var/log/lxc_metrics.json.
//! ```
//!
//! A line consists of the local time with milliseconds after a comma, the level in brackets, the message, and any
//! fields as `key=value`. `format = "json"` writes one JSON object per line instead.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Deserializer};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::ErrorChain;
use crate::config::BrokenRule;

/// The `[logging]` table, which is the same in all three daemons except for the log file.
///
/// It has no `Deserialize` of its own, because a table that sets only the level must keep the log file of its daemon:
/// see [`LoggingConfig::deserialize_over`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The least severe level that is logged.
    pub level: Level,
    /// `text` or `json`.
    pub format: Format,
    /// Log file in addition to stdout; an empty path means none.
    pub file: PathBuf,
    /// Size at which the file is rotated, in MiB.
    pub max_size_mib: u64,
    /// How many rotated files are kept.
    pub backup_count: usize,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Something is wrong, but the daemon copes.
    Warn,
    /// What the daemon does.
    Info,
    /// How it does it.
    Debug,
    /// Everything.
    Trace,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For humans.
    Text,
    /// For programs.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file cannot be written.
    #[error("cannot write the log file `{}`; set `logging.file` to a path that can be written, or to \"\"", path.display())]
    OpenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Logging is already set up.
    #[error("logging is already set up")]
    AlreadySetUp(#[from] TryInitError),
}

impl LoggingConfig {
    /// The default of a daemon that logs to `file`.
    pub fn for_file(file: impl Into<PathBuf>) -> Self {
        Self {
            level: Level::Info,
            format: Format::Text,
            file: file.into(),
            max_size_mib: 10,
            backup_count: 5,
        }
    }

    /// Deserialises a table; a key that is left out keeps its value in `default`.
    ///
    /// # Errors
    /// Those of the deserialiser: unknown keys, wrong types.
    pub fn deserialize_over<'de, D: Deserializer<'de>>(
        deserializer: D,
        default: Self,
    ) -> Result<Self, D::Error> {
        let written = WrittenLogging::deserialize(deserializer)?;
        Ok(Self {
            level: written.level.unwrap_or(default.level),
            format: written.format.unwrap_or(default.format),
            file: written.file.unwrap_or(default.file),
            max_size_mib: written.max_size_mib.unwrap_or(default.max_size_mib),
            backup_count: written.backup_count.unwrap_or(default.backup_count),
        })
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<(), BrokenRule> {
        let in_range = (1..=10_240).contains(&self.max_size_mib);
        BrokenRule::unless(in_range, "logging.max_size_mib", "must be from 1 to 10240")?;
        BrokenRule::unless(self.backup_count <= 100, "logging.backup_count", "must be at most 100")
    }
}

/// The `[logging]` table as written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLogging {
    level: Option<Level>,
    format: Option<Format>,
    file: Option<PathBuf>,
    max_size_mib: Option<u64>,
    backup_count: Option<usize>,
}

/// The log file of a running daemon: whether its lines reach it.
#[derive(Clone, Debug, Default)]
pub struct LogFile {
    /// Absent if no file is configured.
    state: Option<Arc<LogFileState>>,
}

#[derive(Debug)]
struct LogFileState {
    path: PathBuf,
    /// Read before each change, so that a line that is written costs no lock.
    is_failing: AtomicBool,
    why: Mutex<String>,
}

impl LogFile {
    /// Whether the last line could be written; `None` if no file is configured.
    pub fn is_writable(&self) -> Option<bool> {
        Some(!self.state.as_ref()?.is_failing.load(Ordering::Relaxed))
    }

    /// Why it cannot be written, as a sentence; `None` if it can.
    pub fn trouble(&self) -> Option<String> {
        let state = self.state.as_ref().filter(|state| state.is_failing.load(Ordering::Relaxed))?;
        let why = state.why.lock().unwrap_or_else(PoisonError::into_inner);
        Some(format!("the log file `{}` cannot be written: {why}", state.path.display()))
    }
}

impl LogFileState {
    fn new(path: &Path) -> Arc<Self> {
        let (path, why) = (path.to_owned(), Mutex::default());
        Arc::new(Self { path, is_failing: AtomicBool::new(false), why })
    }

    fn note(&self, result: Result<(), &io::Error>) {
        match result {
            Ok(()) => {
                if self.is_failing.load(Ordering::Relaxed) {
                    self.is_failing.store(false, Ordering::Relaxed);
                }
            }
            Err(error) => {
                *self.why.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
                self.is_failing.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Sets up logging for the whole process; returns the log file, for those who ask how the daemon is.
///
/// `RUST_LOG`, if set, overrides the level (for instance `RUST_LOG=lxc_monitor=trace`).
///
/// A log file that cannot be written is said there and does without: the lines are in the journal as well, and a daemon
/// that does not start because of its log would do less than one that does.
///
/// # Errors
/// [`TelemetryError::AlreadySetUp`].
pub fn init(config: &LoggingConfig) -> Result<LogFile, TelemetryError> {
    let (file, trouble) = match RotatingFile::wanted(config) {
        Ok(file) => (file, None),
        Err(error) => (None, Some(error)),
    };
    let state = match (&file, &trouble) {
        (Some(file), _) => Some(Arc::clone(&file.state)),
        (None, Some(TelemetryError::OpenFile { path, source })) => {
            let state = LogFileState::new(path);
            state.note(Err(source));
            Some(state)
        }
        (None, _) => None,
    };
    let layers = match config.format {
        Format::Text => text_layer(io::stdout).and_then(file.map(text_layer)).boxed(),
        Format::Json => json_layer(io::stdout).and_then(file.map(json_layer)).boxed(),
    };
    let rust_log = std::env::var("RUST_LOG").ok();
    tracing_subscriber::registry()
        .with(layers.with_filter(filter(config.level, rust_log.as_deref())))
        .try_init()?;
    if let Some(trouble) = trouble {
        tracing::error!("{}; until the next start, the log is on standard output only", ErrorChain(&trouble));
    }
    Ok(LogFile { state })
}

/// The filter that `rust_log` asks for; the level, if it is empty or cannot be parsed.
fn filter(level: Level, rust_log: Option<&str>) -> Targets {
    // An empty directive would enable everything.
    let directives = rust_log.unwrap_or_default().split(',').map(str::trim).filter(|one| !one.is_empty());
    let asked: Vec<_> = directives.collect();
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let fallback = Targets::new().with_default(level);
    if asked.is_empty() { fallback } else { asked.join(",").parse().unwrap_or(fallback) }
}

fn text_layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_ansi(false).event_format(TextFormat).with_writer(writer)
}

fn json_layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer)
}

/// Formats one event as `2024-08-20 13:07:56,393 [INFO] message key=value`.
struct TextFormat;

impl<S, N> FormatEvent<S, N> for TextFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = Timestamp::now().to_zoned_datetime(crate::local_zone());
        let level = match *event.metadata().level() {
            tracing::Level::WARN => "WARNING",
            ref other => other.as_str(),
        };
        let millisecond = now.millisecond();
        write!(writer, "{},{millisecond:03} [{level}] ", now.strftime("%Y-%m-%d %H:%M:%S"))?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// A log file that starts again when it reaches its size limit, and keeps a limited number of old files.
struct RotatingFile {
    file: Mutex<FileRotate<AppendCount>>,
    state: Arc<LogFileState>,
}

impl RotatingFile {
    /// The file that is configured, if any.
    fn wanted(config: &LoggingConfig) -> Result<Option<Self>, TelemetryError> {
        if config.file.as_os_str().is_empty() { Ok(None) } else { Self::open(config).map(Some) }
    }

    fn open(config: &LoggingConfig) -> Result<Self, TelemetryError> {
        let failed = |source| TelemetryError::OpenFile { path: config.file.clone(), source };
        check_writable(&config.file).map_err(failed)?;
        // Old files are kept at the target of a symbolic link, because the daemon may not be able to write next to
        // the link.
        let path = config.file.canonicalize().map_err(failed)?;
        let limit = usize::try_from(config.max_size_mib << 20).unwrap_or(usize::MAX);
        let rotate = FileRotate::new(
            path,
            AppendCount::new(config.backup_count),
            ContentLimit::BytesSurpassed(limit),
            Compression::None,
            None,
        );
        Ok(Self { file: Mutex::new(rotate), state: LogFileState::new(&config.file) })
    }
}

/// `FileRotate` panics if it cannot write, so this is checked first.
fn check_writable(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    // A FIFO would wait for a reader.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().append(true).create(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    // A terminal or `/dev/null` will do.
    if kind.is_file() || kind.is_char_device() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

impl<'a> MakeWriter<'a> for RotatingFile {
    type Writer = RotatingFileGuard<'a>;

    fn make_writer(&'a self) -> RotatingFileGuard<'a> {
        // After a panic while a line was written, the file is still usable.
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        RotatingFileGuard { file, state: &self.state }
    }
}

struct RotatingFileGuard<'a> {
    file: std::sync::MutexGuard<'a, FileRotate<AppendCount>>,
    state: &'a LogFileState,
}

impl io::Write for RotatingFileGuard<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer);
        self.state.note(written.as_ref().map(|_| ()));
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_lines(config: &LoggingConfig, lines: usize) -> String {
        let file = RotatingFile::open(config).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(text_layer(file).with_filter(filter(config.level, None)));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..lines {
                tracing::warn!(container = 104, "line {n}");
                tracing::debug!("not at this level");
            }
        });
        std::fs::read_to_string(&config.file).unwrap()
    }

    #[test]
    fn a_line_looks_as_the_first_description_shows_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = LoggingConfig::for_file(directory.path().join("sub/daemon.log"));
        let text = log_lines(&config, 1);
        let (time, rest) = text.split_at(23);
        assert_eq!(rest, " [WARNING] line 0 container=104\n");
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00:00,000");
    }

    #[test]
    fn rust_log_overrides_the_level_where_it_can_be_understood() {
        let of_monitor = |level| Targets::new().with_target("lxc_monitor", level);
        let everything = |level| Targets::new().with_default(level);
        let rows = [
            (None, everything(LevelFilter::WARN)),
            (Some(""), everything(LevelFilter::WARN)),
            (Some("debug"), everything(LevelFilter::DEBUG)),
            (Some("lxc_monitor=trace"), of_monitor(LevelFilter::TRACE)),
            (Some("info, lxc_monitor=off,"), of_monitor(LevelFilter::OFF).with_default(LevelFilter::INFO)),
            (Some("lxc_monitor=loud"), everything(LevelFilter::WARN)),
        ];
        for (rust_log, want) in rows {
            assert_eq!(filter(Level::Warn, rust_log), want, "{rust_log:?}");
        }
    }

    #[test]
    fn the_file_is_rotated_and_the_old_ones_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = LoggingConfig::for_file(directory.path().join("daemon.log"));
        config.max_size_mib = 1;
        config.backup_count = 2;
        log_lines(&config, 100_000);
        let mut names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["daemon.log", "daemon.log.1", "daemon.log.2"]);
        let size = std::fs::metadata(directory.path().join("daemon.log.1")).unwrap().len();
        assert!((1 << 20..(1 << 20) + 4096).contains(&size), "{size}");
    }

    #[test]
    fn old_files_stay_where_a_link_leads() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("daemon.log");
        std::fs::create_dir(directory.path().join("own")).unwrap();
        std::os::unix::fs::symlink("own/daemon.log", &link).unwrap();
        let mut config = LoggingConfig::for_file(&link);
        config.max_size_mib = 1;
        log_lines(&config, 30_000);
        assert!(link.is_symlink() && directory.path().join("own/daemon.log.1").is_file());
        assert!(!directory.path().join("daemon.log.1").exists());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_error() {
        let config = LoggingConfig::for_file("/proc/version/daemon.log");
        assert!(matches!(RotatingFile::open(&config), Err(TelemetryError::OpenFile { .. })));
    }

    #[test]
    fn a_fifo_is_an_error_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.log");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, 0o600.into(), 0).unwrap();
        let opened = || RotatingFile::open(&LoggingConfig::for_file(&path));
        assert!(matches!(opened(), Err(TelemetryError::OpenFile { .. })));
        // Nor one that is read.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let _reader = File::options().read(true).custom_flags(flags).open(&path).unwrap();
        assert!(matches!(opened(), Err(TelemetryError::OpenFile { .. })));
    }
}
