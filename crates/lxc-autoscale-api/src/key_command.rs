//! `lxc-autoscale-api key`: makes, lists and revokes keys.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;

use crate::auth::caller::Role;
use crate::auth::keys::{KeyFile, KeysError, NewKey};

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

/// Runs the command at `now`.
///
/// # Errors
/// [`KeyCommandError`] when the file of keys cannot be read or written.
pub fn run(
    command: KeyCommand,
    file: &KeyFile,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), KeyCommandError> {
    match command {
        KeyCommand::Create(CreateArgs { name, role, containers, expires_days }) => {
            let containers: BTreeSet<Vmid> = containers.into_iter().collect();
            let containers = (!containers.is_empty()).then_some(containers);
            let expires = expires_days.map(|days| now + SignedDuration::from_hours(24 * i64::from(days)));
            let secret = file.create(NewKey { name, role, containers, expires }, now)?;
            writeln!(out, "{secret}")?;
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
            for key in file.keys()?.iter() {
                let scope = key.containers.as_ref().map_or_else(
                    || "all containers".to_owned(),
                    |ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                );
                let end = match key.expires {
                    Some(expires) if key.is_expired(now) => format!("EXPIRED {expires:.0}"),
                    Some(expires) => format!("until {expires:.0}"),
                    None => "no end".to_owned(),
                };
                writeln!(out, "{:<24} {:<8} {:<24} {end}", key.name, key.role.name(), scope)?;
            }
        }
        KeyCommand::Revoke { name } => file.revoke(&name)?,
    }
    Ok(())
}
