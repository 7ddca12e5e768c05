//! `lxc-autoscale-api key`: creates, lists and revokes keys.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde_json::Value;

use crate::audit::{self, Attempt, AuditError, AuditLog, Event};
use crate::auth::caller::{Identity, Role};
use crate::auth::keys::{KeyFile, KeysError, NewKey, scope};

/// What to do with keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum KeyCommand {
    /// Create a key and show its secret, once.
    Create(CreateArgs),
    /// List the keys, without their secrets, which are not stored.
    List {
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key; its holder is refused from the next request on.
    Revoke {
        /// The name of the key.
        name: String,
    },
}

/// The parameters of the new key.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CreateArgs {
    /// The name of the key: letters, digits, `-`, `_` and `.`
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// viewer: read; operator: also resize and take snapshots; admin: also roll back, clone and remove.
    #[arg(long, value_enum)]
    pub role: Role,
    /// The only containers that the key may be used for, such as 104,105; all if not given.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub containers: Vec<Vmid>,
    /// Days until the key expires; never if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub expires_days: Option<u16>,
}

/// Longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 64;

fn parse_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid = (1..=MAX_NAME_CHARS).contains(&text.len()) && text.bytes().all(is_plain);
    if valid {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, `-`, `_` or `.`".to_owned())
    }
}

/// Why a key command failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// No key was created, because the audit log cannot be written.
    #[error("no key was created, because that could not be written to the audit log")]
    NotAudited(#[source] AuditError),
    /// The key was created or revoked, but that cannot be written to the audit log.
    #[error("{done}, but that could not be written to the audit log")]
    DoneUnaudited {
        /// What was done.
        done: String,
        /// Why it could not be written.
        source: AuditError,
    },
    /// The keys cannot be read or changed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The keys cannot be written as JSON.
    #[error("cannot write the output")]
    Json(#[from] serde_json::Error),
}

/// Records who creates and revokes keys.
struct Trail<'a> {
    audit: Option<&'a AuditLog>,
    subject: Attempt,
    now: Timestamp,
}

impl Trail<'_> {
    fn write(&self, event: &Event) -> Result<(), AuditError> {
        self.audit.map_or(Ok(()), |audit| audit.write(&self.subject, event, self.now).map(drop))
    }

    /// Records the outcome.
    fn ended<T>(&self, result: &Result<T, KeysError>) -> Result<(), AuditError> {
        self.write(&match result {
            Ok(_) => Event::Done { result: Value::Null, duration_ms: 0 },
            Err(error) => {
                let message = audit::bounded(&ErrorChain(error).to_string());
                Event::NotDone { code: error.code().into(), message, is_open: false, duration_ms: 0 }
            }
        })
    }
}

/// Runs the command at `now`. Keys that are created or revoked are recorded in the audit log, if there is one.
///
/// # Errors
/// [`KeyCommandError`] if the file of keys cannot be read or written, or if the audit log cannot be written. If the
/// start cannot be recorded, no key is created; a key is revoked even then.
pub fn run(
    command: KeyCommand,
    file: &KeyFile,
    audit: Option<&AuditLog>,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeyCommandError> {
    let caller = Identity::User(rustix::process::getuid().as_raw()).to_string();
    let trail = |action| Trail { audit, subject: Attempt { caller, address: None, action }, now };
    match command {
        KeyCommand::Create(CreateArgs { name, role, containers, expires_days }) => {
            let containers: BTreeSet<Vmid> = containers.into_iter().collect();
            let containers = (!containers.is_empty()).then_some(containers);
            let expires = expires_days.map(|days| now + SignedDuration::from_hours(24 * i64::from(days)));
            let new = NewKey { name, role, containers, expires };
            let (done, trail) = (format!("the key `{}` was created", new.name), trail(new.to_string()));
            trail.write(&Event::Begun).map_err(KeyCommandError::NotAudited)?;
            let made = file.create(new, now);
            let ended = trail.ended(&made);
            writeln!(out, "{}", made?)?;
            ended.map_err(|source| KeyCommandError::DoneUnaudited { done, source })?;
        }
        KeyCommand::List { json: true } => {
            let keys = file.keys()?;
            let shown: Vec<_> = keys
                .iter()
                .map(|key| {
                    serde_json::json!({
                        "name": key.name, "role": key.role, "containers": key.containers, "created": key.created,
                        "expires": key.expires, "expired": key.is_expired(now),
                    })
                })
                .collect();
            serde_json::to_writer_pretty(&mut *out, &shown)?;
            writeln!(out)?;
        }
        KeyCommand::List { json: false } => {
            let keys = file.keys()?;
            if keys.is_empty() {
                writeln!(out, "There are no keys; `lxc-autoscale-api key create` creates one.")?;
            }
            for key in keys.iter() {
                let scope = scope(key.containers.as_ref());
                let end = match key.expires {
                    Some(expires) if key.is_expired(now) => format!("EXPIRED {expires:.0}"),
                    Some(expires) => format!("until {expires:.0}"),
                    None => "no end".to_owned(),
                };
                writeln!(out, "{:<24} {:<8} {:<24} {end}", key.name, key.role.name(), scope)?;
            }
        }
        KeyCommand::Revoke { name } => {
            let (done, trail) =
                (format!("the key `{name}` was revoked"), trail(format!("revoke the key `{name}`")));
            // Even if the log cannot be written, a key that is to be revoked must stop working.
            let begun = trail.write(&Event::Begun);
            let revoked = file.revoke(&name);
            let ended = trail.ended(&revoked);
            revoked?;
            begun.and(ended).map_err(|source| KeyCommandError::DoneUnaudited { done, source })?;
        }
    }
    Ok(())
}
