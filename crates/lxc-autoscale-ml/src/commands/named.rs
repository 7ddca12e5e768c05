//! A container as people name it.

use std::fmt;
use std::str::FromStr;

use lxc_autoscale_core::Vmid;

use super::CommandError;
use super::identities::identities;
use crate::config::Config;
use crate::ledger::Ledger;

/// The id of a container, or its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// Its id.
    Id(Vmid),
    /// Its name.
    Name(String),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.chars().all(|it| it.is_ascii_digit()) {
            return text.parse().map(Self::Id).map_err(|error| format!("{error}"));
        }
        let is_name = text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-' || it == '.');
        if is_name {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a container id or name"))
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The id of a container. A name is looked up in the metrics file and, for one that is gone, in the ledger.
///
/// # Errors
/// [`CommandError`] when no container or more than one has the name, or neither can be read.
pub fn find(config: &Config, named: &Named) -> Result<Vmid, CommandError> {
    let name = match named {
        Named::Id(id) => return Ok(*id),
        Named::Name(name) => name,
    };
    let is_it = |known: &Option<String>| known.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name));
    let measured = identities(config, None);
    let known = measured.as_ref().map_or(&[][..], Vec::as_slice);
    let mut ids: Vec<Vmid> = known.iter().filter(|it| is_it(&it.name)).map(|it| it.id).collect();
    if ids.is_empty()
        && let Some(ledger) = Ledger::open_read_only(&config.state.ledger())?
    {
        ids = ledger.first_sizes()?.iter().filter(|it| is_it(&it.name)).map(|it| it.id).collect();
    }
    ids.sort_unstable();
    ids.dedup();
    match (ids.as_slice(), measured) {
        ([id], _) => Ok(*id),
        ([], Err(error)) => Err(error.into()),
        ([], Ok(_)) => {
            Err(CommandError::UnknownName { name: name.clone(), file: config.metrics.file.clone() })
        }
        (ids, _) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            Err(CommandError::AmbiguousName { name: name.clone(), ids: ids.join(", ") })
        }
    }
}
