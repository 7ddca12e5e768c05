//! Configurations as a resource: they are shown and validated, and that of the ml daemon can be changed.
//!
//! Each daemon reports its own effective configuration and what is wrong with it ([`crate::program`]). Changes keep
//! comments and order ([`edit`]) and replace the file in one step ([`file`](mod@file)). The ml daemon checks its file
//! before each cycle, so it need not be notified.
//!
//! Only the keys that say how containers are scaled can be changed, but not those that name files to be read or
//! written, or peers to connect to ([`PROTECTED`]). Otherwise the holder of a key could make a daemon that runs as
//! root write anywhere. The other two files are only shown, because they say who may use this server and what it must
//! never do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::api::{
    ConfigCandidate, ConfigChange, ConfigChanged, ConfigInForce, ConfigInfo, ConfigOwner, ConfigPatch,
    ConfigProblem, ConfigReport, ConfigSetting, ConfigText, ConfigVerdict,
};
use lxc_autoscale_core::config::{self, IN_FORCE_FILE};
use serde_json::Value;

use crate::actions::ActionError;
use crate::audit;
use crate::auth::caller::Caller;
use crate::changes::Change;
use crate::config::{Config, ManagedFilesConfig, SHIPPED};
use crate::program::{self, ProgramError};
use crate::state::AppState;

pub mod edit;
pub mod file;

use edit::EditError;
use file::ReadFile;

/// Keys, and prefixes of keys, of the ml daemon that can only be changed on the node.
pub const PROTECTED: [&str; 8] = [
    "api.",
    "logging.",
    "metrics.file",
    "metrics.history",
    "metrics.owner",
    "notifications.",
    "recommend.demand_model",
    "state.",
];

/// Far more than a program needs to read a few KB, even on a busy node.
const PATIENCE: Duration = Duration::from_secs(20);
/// The setting with the directory of the ml daemon's state.
const STATE_DIRECTORY: &str = "state.directory";
/// How many changed values of one request are reported; lines of the audit log are limited in length.
const MAX_TOLD: usize = 50;
/// Longest reported value, in characters of JSON.
const MAX_VALUE_CHARS: usize = 200;

/// Why a configuration cannot be shown, or is not changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// Its file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon's program does not report on it.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The requested edits cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The client has seen another version of the file.
    #[error("`{}` was changed meanwhile: its digest is now `{digest}`", path.display())]
    ChangedMeanwhile {
        /// The file.
        path: PathBuf,
        /// Its current digest.
        digest: String,
    },
    /// The resulting configuration would be invalid.
    #[error("{}:{}: {}", path.display(), problem.line, problem.message)]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What would be wrong.
        problem: ConfigProblem,
    },
    /// The file would be too large.
    #[error("the file would be larger than {} KiB", file::MAX_BYTES >> 10)]
    TooLarge,
    /// The key cannot be changed through the API.
    #[error(
        "`{key}` says which files a daemon uses or what it connects to; it can be changed on the node only"
    )]
    Protected {
        /// The key.
        key: String,
    },
    /// The caller's key is limited to some containers, and the configuration concerns all of them.
    #[error(
        "a key that is limited to some containers can neither see nor change settings for all containers"
    )]
    Scoped,
    /// The user that this server runs as may not write the file.
    #[error(
        "`{}` can be changed on the node only: this server runs as user {user}, which may not write there (with Proxmox's \
         REST API it has no right to)",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// The user's id.
        user: u32,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A defect in this program.
    #[error("reading or writing the configuration ended unexpectedly")]
    Ended,
}

/// The state that all requests about configurations share.
#[derive(Debug)]
pub struct Configuration {
    own_file: PathBuf,
    /// Allows one change at a time, so that each one is applied to the result of the previous one.
    changing: Arc<tokio::sync::Mutex<()>>,
}

/// The requested content of the file.
#[derive(Clone, Debug)]
enum Wanted {
    Changes(ConfigPatch),
    Text(String),
}

/// The `If-Match` header of a client: the tags of the file that it has seen.
pub type SeenBefore = Option<String>;

impl Configuration {
    /// Configurations of a server that was started with `own_file`.
    pub fn new(own_file: PathBuf) -> Self {
        Self { own_file, changing: Arc::default() }
    }

    fn path<'a>(&'a self, files: &'a ManagedFilesConfig, owner: ConfigOwner) -> &'a Path {
        files.of(owner).map_or(&self.own_file, |(path, _)| path)
    }
}

/// Shows a configuration.
///
/// # Errors
/// [`ConfigurationError`] if it cannot be read, or its program cannot parse it.
pub async fn show(state: &AppState, owner: ConfigOwner) -> Result<ConfigInfo, ConfigurationError> {
    let config = state.config();
    let path = state.configuration().path(&config.configuration, owner);
    let read = read(path).await?;
    let ConfigReport { problem, settings } = report(&config, owner, &read.text).await?;
    let in_force = match owner {
        ConfigOwner::Ml => in_force(&config, &read, &settings).await?,
        ConfigOwner::Monitor | ConfigOwner::Api => None,
    };
    Ok(ConfigInfo {
        file: owner,
        path: path.display().to_string(),
        digest: read.digest,
        problem,
        in_force,
        settings,
        text: read.text,
    })
}

/// Reports the effect of a candidate, and changes nothing.
///
/// # Errors
/// [`ConfigurationError`] for a request that is invalid in itself; what is wrong with the resulting configuration is
/// in the verdict.
pub async fn validate(
    state: &AppState,
    candidate: ConfigCandidate,
) -> Result<ConfigVerdict, ConfigurationError> {
    let ConfigCandidate { text, set, remove } = candidate;
    if text.is_none() {
        edit::check(&set, &remove)?;
    }
    let config = state.config();
    let before = read(&config.configuration.ml_file).await?;
    let wanted = text.map_or_else(|| Wanted::Changes(ConfigPatch { set, remove }), Wanted::Text);
    match weigh(&config, &before, &wanted).await {
        Ok((_, changes)) => Ok(ConfigVerdict { valid: true, problem: None, changes }),
        Err(ConfigurationError::Invalid { problem, .. }) => {
            Ok(ConfigVerdict { valid: false, problem: Some(problem), changes: Vec::new() })
        }
        Err(error) => Err(error),
    }
}

/// Changes individual keys of the ml daemon's configuration.
///
/// # Errors
/// [`ActionError`]; then the file is unchanged.
pub async fn change(
    state: &AppState,
    caller: Caller,
    patch: ConfigPatch,
    seen: SeenBefore,
) -> Result<ConfigChanged, ActionError> {
    edit::check(&patch.set, &patch.remove).map_err(ConfigurationError::from)?;
    let mut keys: Vec<String> = patch.set.keys().map(|key| audit::bounded(key)).collect();
    keys.extend(patch.remove.iter().map(|key| format!("{} (removed)", audit::bounded(key))));
    let more = if 10 < keys.len() { format!(" and {} more", keys.len() - 10) } else { String::new() };
    keys.truncate(10);
    let summary = format!("change the configuration of lxc-autoscale-ml: {}{more}", keys.join(", "));
    carry_out(state, caller, summary, Wanted::Changes(patch), seen).await
}

/// Replaces the ml daemon's configuration.
///
/// # Errors
/// [`ActionError`]; then the file is unchanged.
pub async fn put(
    state: &AppState,
    caller: Caller,
    ConfigText { text }: ConfigText,
    seen: SeenBefore,
) -> Result<ConfigChanged, ActionError> {
    let summary = "replace the configuration of lxc-autoscale-ml".to_owned();
    carry_out(state, caller, summary, Wanted::Text(text), seen).await
}

/// Checks that a caller may see and change configurations, which concern all containers.
///
/// # Errors
/// [`ConfigurationError::Scoped`].
pub fn is_for(caller: &Caller) -> Result<(), ActionError> {
    if caller.containers.is_some() { Err(ConfigurationError::Scoped.into()) } else { Ok(()) }
}

async fn carry_out(
    state: &AppState,
    caller: Caller,
    summary: String,
    wanted: Wanted,
    seen: SeenBefore,
) -> Result<ConfigChanged, ActionError> {
    is_for(&caller)?;
    let (config, changing) = (state.config(), Arc::clone(&state.configuration().changing));
    let change = Change { summary, vmids: Vec::new(), caller };
    let work = async move {
        let _only = changing.lock().await;
        Ok(replace(&config, wanted, seen).await?)
    };
    state.changes().run(change, work).await
}

async fn replace(
    config: &Config,
    wanted: Wanted,
    seen: SeenBefore,
) -> Result<ConfigChanged, ConfigurationError> {
    let path = &config.configuration.ml_file;
    let before = read(path).await?;
    if seen.is_some_and(|seen| !names(&seen, &before.digest)) {
        return Err(changed_meanwhile(path, &before.digest));
    }
    if !before.is_replaceable() {
        let user = rustix::process::geteuid().as_raw();
        return Err(ConfigurationError::ReadOnly { path: path.clone(), user });
    }
    let (text, mut changes) = weigh(config, &before, &wanted).await?;
    let more_changes = changes.len().saturating_sub(MAX_TOLD);
    changes.truncate(MAX_TOLD);
    let changes = changes.into_iter().map(cut).collect();
    let (digest, digest_before) = (file::digest(&text), before.digest.clone());
    let is_new = digest != digest_before;
    if is_new {
        let (path, backups) = (path.clone(), config.configuration.backup_count);
        blocking(move || {
            before.replace(&text, backups).map_err(|source| {
                if source.get_ref().is_some_and(file::is_changed) {
                    return changed_meanwhile(&path, "another");
                }
                ConfigurationError::Write { path, source }
            })
        })
        .await?;
    }
    Ok(ConfigChanged { changed: is_new, digest, digest_before, changes, more_changes })
}

/// The resulting text, and what it changes; the daemon's program has the last word.
async fn weigh(
    config: &Config,
    before: &ReadFile,
    wanted: &Wanted,
) -> Result<(String, Vec<ConfigChange>), ConfigurationError> {
    let text = match wanted {
        Wanted::Changes(ConfigPatch { set, remove }) => edit::apply(&before.text, set, remove)?,
        Wanted::Text(text) => text.clone(),
    };
    if u64::try_from(text.len()).map_or(true, |bytes| file::MAX_BYTES < bytes) {
        return Err(ConfigurationError::TooLarge);
    }
    let old = report(config, ConfigOwner::Ml, &before.text).await?;
    if old.settings.is_empty() {
        // Without it, nobody can tell which protected keys would change.
        edit::parsed(&before.text)?;
    }
    let new = report(config, ConfigOwner::Ml, &text).await?;
    if let Some(problem) = new.problem {
        return Err(ConfigurationError::Invalid { path: config.configuration.ml_file.clone(), problem });
    }
    let changes = edit::differences(&old.settings, &new.settings);
    match changes.iter().find(|change| is_protected(&change.key)) {
        Some(change) => Err(ConfigurationError::Protected { key: change.key.clone() }),
        None => Ok((text, changes)),
    }
}

/// The settings that the ml daemon reports it is running with.
async fn in_force(
    config: &Config,
    file: &ReadFile,
    settings: &[ConfigSetting],
) -> Result<Option<ConfigInForce>, ConfigurationError> {
    let directory = settings.iter().find(|setting| setting.key == STATE_DIRECTORY);
    let Some(directory) = directory.and_then(|setting| setting.value.as_str()) else { return Ok(None) };
    let Ok(record) = read(&Path::new(directory).join(IN_FORCE_FILE)).await else { return Ok(None) };
    let Ok(confirmed_at) = Timestamp::try_from(record.modified) else { return Ok(None) };
    let is_file = record.text == file.text;
    let differences = if is_file {
        Vec::new()
    } else {
        let works_by = report(config, ConfigOwner::Ml, &record.text).await?;
        edit::differences(&works_by.settings, settings)
    };
    Ok(Some(ConfigInForce { confirmed_at, is_file, differences }))
}

async fn report(config: &Config, owner: ConfigOwner, text: &str) -> Result<ConfigReport, ConfigurationError> {
    match config.configuration.of(owner) {
        Some((_, program)) => {
            let said = program::ask(program, &["config", "--stdin", "--json"], text, PATIENCE).await?;
            Ok(said.report()?)
        }
        None => Ok(config::report::<Config>(SHIPPED, text)),
    }
}

async fn read(path: &Path) -> Result<ReadFile, ConfigurationError> {
    let path = path.to_owned();
    blocking(move || file::read(&path).map_err(|source| ConfigurationError::Read { path, source })).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConfigurationError> + Send + 'static,
) -> Result<T, ConfigurationError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ConfigurationError::Ended))
}

fn changed_meanwhile(path: &Path, digest: &str) -> ConfigurationError {
    ConfigurationError::ChangedMeanwhile { path: path.to_owned(), digest: digest.to_owned() }
}

/// Whether an `If-Match` header contains this digest (RFC 9110, 13.1.1); weak tags never match.
fn names(header: &str, digest: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(digest))
}

fn is_protected(key: &str) -> bool {
    PROTECTED.iter().any(|protected| match protected.strip_suffix('.') {
        Some(table) => key == table || key.starts_with(protected),
        None => key == *protected || key.strip_prefix(protected).is_some_and(|rest| rest.starts_with('.')),
    })
}

/// Shortens the values of a change to what fits a line of the audit log.
fn cut(change: ConfigChange) -> ConfigChange {
    let cut = |value: Value| {
        let text = value.to_string();
        if text.len() <= MAX_VALUE_CHARS {
            return value;
        }
        let beginning: String = text.chars().take(MAX_VALUE_CHARS).collect();
        Value::from(format!("{beginning}…"))
    };
    let key = change.key.chars().take(MAX_VALUE_CHARS).collect();
    ConfigChange { key, before: change.before.map(cut), after: change.after.map(cut) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_matched_whole_and_strongly() {
        for header in ["\"abc\"", "\"x\", \"abc\"", "*", " \"abc\" "] {
            assert!(names(header, "abc"), "{header}");
        }
        for header in ["", "abc", "W/\"abc\"", "\"ab\"", "\"abcd\"", "\"x\",\"y\""] {
            assert!(!names(header, "abc"), "{header}");
        }
    }

    #[test]
    fn what_concerns_files_and_peers_is_protected() {
        for key in [
            "api.url",
            "api",
            "state.directory",
            "logging.file",
            "logging.level",
            "metrics.file",
            "metrics.history",
            "metrics.owner",
            "notifications.directory",
            "recommend.demand_model",
        ] {
            assert!(is_protected(key), "{key}");
        }
        for key in [
            "interval_seconds",
            "metrics.max_age_seconds",
            "recommend.price_resize",
            "scaling.mode",
            "policy.api.ids",
        ] {
            assert!(!is_protected(key), "{key}");
        }
    }
}
