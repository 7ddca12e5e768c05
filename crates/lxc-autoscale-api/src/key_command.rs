//! `lxc-autoscale-api key`: makes, lists and revokes keys.

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
    /// Make a key and show its secret, once.
    Create(CreateArgs),
    /// List the keys; their secrets are not kept.
    List {
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a key; whoever holds it is refused from the next request on.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// What the key is to be.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CreateArgs {
    /// Its name: letters, digits, `-`, `_` and `.`
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// viewer: look; operator: resize and take snapshots, too; admin: roll back, clone and remove, too.
    #[arg(long, value_enum)]
    pub role: Role,
    /// The only containers it is for, such as 104,105; all if not given.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub containers: Vec<Vmid>,
    /// Days until it is refused; never if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub expires_days: Option<u16>,
}

/// Longest name of a key.
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
    /// It cannot be written down, so no key was made.
    #[error("no key was made, because that could not be written to the audit log")]
    NotAudited(#[source] AuditError),
    /// It is done, and cannot be written down.
    #[error("{done}, and that is not in the audit log")]
    DoneUnaudited {
        /// What is done.
        done: String,
        /// Why it is not there.
        source: AuditError,
    },
    /// The keys cannot be read or changed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// The keys cannot be written as JSON.
    #[error("cannot write the output")]
    Json(#[from] serde_json::Error),
}

/// Writes down who makes and revokes keys.
struct Trail<'a> {
    audit: Option<&'a AuditLog>,
    subject: Attempt,
    now: Timestamp,
}

impl Trail<'_> {
    fn write(&self, event: &Event) -> Result<(), AuditError> {
        self.audit.map_or(Ok(()), |audit| audit.write(&self.subject, event, self.now).map(drop))
    }

    /// Writes down what came of it.
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

/// Runs the command at `now`. What is made or revoked stands in the audit log, if there is one.
///
/// # Errors
/// [`KeyCommandError`] when the file of keys cannot be read or written, or the audit log cannot be written: then no key is
/// made. One is revoked all the same.
pub fn run(
    command: KeyCommand,
    file: &KeyFile,
    audit: Option<&AuditLog>,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeyCommandError> {
    let caller = Identity::User(rustix::process::getuid().as_raw()).to_string();
    let trail = |action| Trail { audit, subject: Attempt { caller, action }, now };
    match command {
        KeyCommand::Create(CreateArgs { name, role, containers, expires_days }) => {
            let containers: BTreeSet<Vmid> = containers.into_iter().collect();
            let containers = (!containers.is_empty()).then_some(containers);
            let expires = expires_days.map(|days| now + SignedDuration::from_hours(24 * i64::from(days)));
            let new = NewKey { name, role, containers, expires };
            let (done, trail) = (format!("the key `{}` is made", new.name), trail(new.to_string()));
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
                writeln!(out, "There are no keys; `lxc-autoscale-api key create` makes one.")?;
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
                (format!("the key `{name}` is revoked"), trail(format!("revoke the key `{name}`")));
            // Whatever becomes of the log, a key that is to be dead must be.
            let begun = trail.write(&Event::Begun);
            let revoked = file.revoke(&name);
            let ended = trail.ended(&revoked);
            revoked?;
            begun.and(ended).map_err(|source| KeyCommandError::DoneUnaudited { done, source })?;
        }
    }
    Ok(())
}
