//! `pct set`, with the checks before anything changes.

use std::collections::BTreeMap;

use super::Call;
use super::change::Change;
use crate::pve::error::PctError;
use crate::pve::machine::check_lock;
use crate::pve::schema::{guest_option, split_list};

/// Changes options of a container.
pub(super) fn set(call: &mut Call<'_, '_>) -> Result<u8, PctError> {
    let id = call.id()?;
    let mut values = call.words.values.clone();
    values.remove("vmid");
    let digest = values.remove("digest").filter(|digest| !digest.is_empty());
    let delete = list_of_options(&values.remove("delete").unwrap_or_default(), "delete")?;
    let revert = list_of_options(&values.remove("revert").unwrap_or_default(), "revert")?;
    if values.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(PctError::died_without_file("no options specified"));
    }
    refuse_both(&values, &delete, "delete")?;
    refuse_both(&values, &revert, "revert")?;

    let _lock = call.machine.lock(id, call.terminal)?;
    let loaded = call.machine.load(id, call.terminal)?;
    check_lock(&loaded.config)?;
    check_digest(digest.as_deref(), &loaded.digest)?;
    let mut config = loaded.config;
    let mut change = Change::new(call.machine, id, &mut config);
    change.revert(&revert);
    change.queue_deletions(&delete, call.terminal)?;
    change.queue_values(values, call.terminal)?;
    change.drop_equal();
    let applied = if call.machine.is_running(id)? {
        change.apply_live(call.terminal.out)
    } else {
        change.apply_stopped(call.terminal.out)
    };
    // Before 8.3, Proxmox stores the change first and then says what failed: that stays pending, and comes into force
    // at the next start.
    let stores_first = call.machine.settings.is_before((8, 3));
    if !(stores_first && matches!(applied, Err(PctError::Parameters { .. }))) {
        applied?;
        call.machine.store.save(id, &config)?;
        return Ok(0);
    }
    call.machine.store.save(id, &config)?;
    applied.map(|()| 0)
}

/// Refuses the change if the file is not the one that the caller has seen.
///
/// # Errors
/// Proxmox's text.
pub(super) fn check_digest(given: Option<&str>, found: &str) -> Result<(), PctError> {
    match given {
        Some(given) if given != found => {
            Err(PctError::died("detected modified configuration - file changed by other user? Try again."))
        }
        _ => Ok(()),
    }
}

fn list_of_options(text: &str, parameter: &str) -> Result<Vec<String>, PctError> {
    let names: Vec<String> = split_list(text).map(str::to_owned).collect();
    match names.iter().find(|name| guest_option(name).is_none()) {
        Some(unknown) => Err(PctError::parameter(parameter, format!("unknown option '{unknown}'"))),
        None => Ok(names),
    }
}

fn refuse_both(values: &BTreeMap<String, String>, names: &[String], parameter: &str) -> Result<(), PctError> {
    match names.iter().find(|name| values.contains_key(*name)) {
        Some(name) => {
            let text = format!("you can't use '-{name}' and -{parameter} {name}' at the same time");
            Err(PctError::parameter(parameter, text))
        }
        None => Ok(()),
    }
}
