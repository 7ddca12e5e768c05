//! The configuration file of a running daemon: its content, the configuration in force, and its errors.
//!
//! A change of the file, by hand or through the API, takes effect in the next cycle. A file that cannot be used only
//! changes the log and the status line. The text in force is recorded verbatim in the state directory, so that nobody
//! has to guess it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lxc_autoscale_core::config::{self, ConfigError, IN_FORCE_FILE};
use lxc_autoscale_core::{ErrorChain, durable};

use crate::config::Config;
use crate::trouble::Trouble;

/// A file written less than this long ago may be incomplete, and half a configuration can be valid with other limits.
const REST: Duration = Duration::from_secs(2);

/// Mode of the record of the configuration in force.
const MODE: u32 = 0o640;

/// The file, and its text in force.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    in_force: String,
    refused: Option<Refused>,
    record: PathBuf,
    record_trouble: Trouble,
}

/// The present content of the file, which is not used.
#[derive(Debug)]
struct Refused {
    /// Absent if it cannot be read.
    text: Option<String>,
    why: String,
}

impl ConfigFile {
    /// Reads the file at the start, when there is no earlier configuration to fall back on.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read, or is wrong.
    pub fn read(path: &Path) -> Result<(Self, Config), ConfigError> {
        let in_force = config::read(path)?;
        let config: Config = config::check(path, &in_force)?;
        let file = Self {
            path: path.to_owned(),
            in_force,
            refused: None,
            record: config.state.directory.join(IN_FORCE_FILE),
            record_trouble: Trouble::none("the record of the configuration in force"),
        };
        Ok((file, config))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error in the present file, if any.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_ref().map(|refused| refused.why.as_str())
    }

    /// The text of the file if it differs from the one in force and the last refused one, and was not modified recently
    /// at `now`.
    pub fn news(&mut self, now: SystemTime) -> Option<String> {
        let text = match config::read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                self.refuse(None, ErrorChain(&error).to_string());
                return None;
            }
        };
        if text == self.in_force {
            if self.refused.take().is_some() {
                tracing::info!("`{}` matches the configuration in force again", self.path.display());
            }
            return None;
        }
        let is_known = self.refused.as_ref().is_some_and(|refused| refused.text.as_ref() == Some(&text));
        (!is_known && self.is_at_rest(now)).then_some(text)
    }

    /// A modification time in the future says nothing, so it is not waited for.
    fn is_at_rest(&self, now: SystemTime) -> bool {
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| now.duration_since(modified).map_or(true, |age| REST <= age))
    }

    /// Notes that the text cannot be used, and logs it once.
    pub fn refuse(&mut self, text: Option<String>, why: String) {
        if self.refused() != Some(&why) {
            tracing::error!("the running configuration stays: {why}");
        }
        self.refused = Some(Refused { text, why });
    }

    /// Records the configuration in force from the start.
    pub fn begin(&mut self) {
        self.write();
    }

    /// Notes that the daemon now uses this text, from which `config` was made.
    pub fn take(&mut self, text: String, config: &Config) {
        let record = config.state.directory.join(IN_FORCE_FILE);
        if record != self.record {
            self.forget();
            self.record = record;
        }
        self.in_force = text;
        self.refused = None;
        self.write();
    }

    /// Confirms in the record that this is still in force at `now`.
    pub fn confirm(&mut self, now: SystemTime) {
        let confirmed =
            File::options().write(true).open(&self.record).and_then(|file| file.set_modified(now));
        if confirmed.is_err() || self.record_trouble.current().is_some() {
            self.write();
        }
    }

    /// Removes the record: nothing is in force any more.
    pub fn forget(&self) {
        if let Err(error) = std::fs::remove_file(&self.record)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("`{}` cannot be removed: {error}", self.record.display());
        }
    }

    fn write(&mut self) {
        let write = |file: &mut File| file.write_all(self.in_force.as_bytes());
        match durable::replace(&self.record, MODE, write, || Ok(())) {
            Ok(_) => self.record_trouble.is_over(),
            Err(error) => {
                self.record_trouble.is(format!("`{}` cannot be written: {error}", self.record.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Fixture {
        directory: tempfile::TempDir,
        file: ConfigFile,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("ml.toml");
            fs::write(&path, text(directory.path(), 60)).unwrap();
            let (mut file, _) = ConfigFile::read(&path).unwrap();
            file.begin();
            Self { directory, file }
        }

        fn write(&self, text: &str) {
            fs::write(self.file.path(), text).unwrap();
        }

        fn record(&self) -> PathBuf {
            self.directory.path().join(IN_FORCE_FILE)
        }

        /// The news some seconds from now.
        fn news(&mut self, seconds: u64) -> Option<String> {
            self.file.news(SystemTime::now() + Duration::from_secs(seconds))
        }
    }

    fn text(directory: &Path, interval: u32) -> String {
        format!("interval_seconds = {interval}\n[state]\ndirectory = \"{}\"\n", directory.display())
    }

    #[test]
    fn a_change_is_news_once_it_rests() {
        let mut fixture = Fixture::new();
        let changed = text(fixture.directory.path(), 30);
        assert_eq!(fixture.news(9), None);
        fixture.write(&changed);
        assert_eq!(fixture.news(0), None, "somebody may still be writing");
        assert_eq!(fixture.news(9).as_deref(), Some(changed.as_str()));
        fixture.file.take(changed.clone(), &config::parse(&changed).unwrap());
        assert_eq!(fixture.news(9), None);
        assert_eq!(fs::read_to_string(fixture.record()).unwrap(), changed);
    }

    #[test]
    fn what_is_refused_is_tried_once_and_forgotten_when_it_is_repaired() {
        let mut fixture = Fixture::new();
        fixture.write("interval_second = 30\n");
        let wrong = fixture.news(9).unwrap();
        fixture.file.refuse(Some(wrong), "unknown key".to_owned());
        assert_eq!((fixture.news(9), fixture.file.refused()), (None, Some("unknown key")));
        fs::remove_file(fixture.file.path()).unwrap();
        assert_eq!(fixture.news(9), None);
        assert!(fixture.file.refused().is_some_and(|why| why.contains("cannot read the configuration")));
        fixture.write(&text(fixture.directory.path(), 60));
        assert_eq!((fixture.news(9), fixture.file.refused()), (None, None));
    }

    #[test]
    fn the_record_tells_what_is_in_force_and_since_when_it_was_not_heard_of() {
        let mut fixture = Fixture::new();
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        fixture.file.confirm(at);
        assert_eq!(fs::metadata(fixture.record()).unwrap().modified().unwrap(), at);
        // Somebody removed it; it is written again.
        fs::remove_file(fixture.record()).unwrap();
        fixture.file.confirm(at);
        assert_eq!(fs::read_to_string(fixture.record()).unwrap(), text(fixture.directory.path(), 60));
        fixture.file.forget();
        assert!(!fixture.record().exists());
    }
}
