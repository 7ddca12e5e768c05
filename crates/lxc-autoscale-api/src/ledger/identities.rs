//! Whether an id still has the container that the ledger and the boosts know.

use lxc_autoscale_core::{ErrorChain, Vmid};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::LedgerMismatch;
use super::{forget, unreadable, vmid};
use crate::actions::ActionError;
use crate::backend::{BackendError, ContainerHost, ContainerIdentity, Likeness, Stored};
use crate::jobs::copies;
use crate::jobs::table::json;
use crate::state::AppState;
use crate::store::{Store, StoreError};

/// What a container that may be another one counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsure {
    /// The known one: a request has named it, and means the container that has the id now.
    IsKnown,
    /// Neither the known one nor another: nothing is forgotten, and nothing learnt.
    StaysSo,
}

/// Compares the container that has an id with the one that is known, and remembers it. Everything that is known of
/// another one is forgotten. It is the same if nothing is known, as in rows of an earlier version.
pub(crate) fn notice(
    connection: &Connection,
    vmid: Vmid,
    found: &ContainerIdentity,
    unsure: Unsure,
) -> rusqlite::Result<Likeness> {
    let known = known(connection, vmid)?;
    let likeness = known.as_ref().map_or(Likeness::Same, |known| known.likeness(found));
    let renewed = match (&known, likeness) {
        (_, Likeness::Unsure) if unsure == Unsure::StaysSo => return Ok(likeness),
        (_, Likeness::Other) => {
            tracing::warn!(
                %vmid, ?known, ?found,
                "the id belongs to another container now; its ledger and its boosts are forgotten"
            );
            forget(connection, vmid)?;
            copies::forget(connection, vmid)?;
            found.clone()
        }
        (Some(known), _) => known.renewed(found),
        (None, _) => found.clone(),
    };
    if likeness == Likeness::Other || known.as_ref() != Some(&renewed) {
        write(connection, vmid, &renewed)?;
    }
    Ok(likeness)
}

fn known(connection: &Connection, vmid: Vmid) -> rusqlite::Result<Option<ContainerIdentity>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT identity FROM identities WHERE vmid = ?1")?
        .query_row([vmid.get()], |row| row.get(0))
        .optional()?;
    let known = text.as_deref().map(serde_json::from_str).transpose();
    known.map_err(|error| unreadable(Type::Text, error))
}

fn write(connection: &Connection, vmid: Vmid, identity: &ContainerIdentity) -> rusqlite::Result<()> {
    let sql = "INSERT INTO identities (vmid, identity) VALUES (?1, ?2)
               ON CONFLICT (vmid) DO UPDATE SET identity = excluded.identity";
    connection.execute(sql, params![vmid.get(), json(identity)?]).map(drop)
}

/// Remembers what a container looks like after a rollback of ours: it is the same as before, though a snapshot may bring
/// back a network, a name or a volume from before it was known.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn stays_known(
    store: &Store,
    vmid: Vmid,
    before: Option<&ContainerIdentity>,
    after: &Stored,
) -> Result<(), StoreError> {
    // A configuration that is locked is not rolled back yet.
    let (Some(before), Ok(after)) = (before.cloned(), after.known_identity(vmid).cloned()) else {
        return Ok(());
    };
    let noted = store.with(move |connection| {
        let transaction = connection.transaction()?;
        notice(&transaction, vmid, &before, Unsure::IsKnown)?;
        if let Some(known) = known(&transaction, vmid)? {
            write(&transaction, vmid, &known.renewed(&after))?;
        }
        transaction.commit()
    });
    noted.await
}

/// Compares the container that was just read from the node with the one that is known; only for whoever has it to
/// themselves, because what is known of another one is forgotten.
///
/// # Errors
/// [`ActionError`] if its configuration does not tell, or the store does not.
pub(crate) async fn likeness(store: &Store, vmid: Vmid, stored: &Stored) -> Result<Likeness, ActionError> {
    let found = stored.known_identity(vmid)?.clone();
    let noticed = store.with(move |connection| {
        let transaction = connection.transaction()?;
        let likeness = notice(&transaction, vmid, &found, Unsure::StaysSo)?;
        transaction.commit()?;
        Ok(likeness)
    });
    Ok(noticed.await?)
}

/// Refuses what is to be done to a container that is known, if another one has its id now.
///
/// # Errors
/// [`LedgerMismatch`] if so; other errors if that cannot be determined.
pub(crate) async fn refuse_other(
    host: &dyn ContainerHost,
    store: &Store,
    vmid: Vmid,
) -> Result<(), ActionError> {
    let stored = host.stored(vmid).await?;
    match likeness(store, vmid, &stored).await? {
        Likeness::Same => Ok(()),
        Likeness::Unsure => Err(LedgerMismatch::UnsureContainer { vmid }.into()),
        Likeness::Other => Err(LedgerMismatch::OtherContainer { vmid }.into()),
    }
}

/// Looks at the containers that the rows of an earlier version are about, so that from now on another one with such an id
/// is noticed.
pub(crate) async fn learn(state: AppState) {
    let unknown = match state.store().with(|connection| without_identity(connection)).await {
        Ok(unknown) => unknown,
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "cannot look up which containers the ledger is about");
            return;
        }
    };
    let host = state.host();
    for vmid in unknown {
        let learnt = match host.stored(vmid).await {
            Ok(stored) => begin_with(state.store(), vmid, &stored).await,
            // The next container with that id is as good as any.
            Err(BackendError::NoSuchContainer { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = learnt {
            tracing::warn!(%vmid, error = %ErrorChain(&error), "cannot look at a container that the ledger knows");
        }
    }
}

/// Remembers the container that has an id, unless one is known: a change may have looked at it meanwhile.
async fn begin_with(store: &Store, vmid: Vmid, stored: &Stored) -> Result<(), ActionError> {
    let found = stored.known_identity(vmid)?.clone();
    let begun = store.with(move |connection| {
        let transaction = connection.transaction()?;
        if known(&transaction, vmid)?.is_none() {
            write(&transaction, vmid, &found)?;
        }
        transaction.commit()
    });
    Ok(begun.await?)
}

fn without_identity(connection: &Connection) -> rusqlite::Result<Vec<Vmid>> {
    let mut statement = connection.prepare(
        "SELECT vmid FROM originals UNION SELECT vmid FROM boosts EXCEPT SELECT vmid FROM identities",
    )?;
    statement.query_map([], |row| vmid(row.get(0)?))?.collect()
}
