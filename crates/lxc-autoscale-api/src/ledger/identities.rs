//! Whether an id still has the container that the ledger and the boosts know.

use lxc_autoscale_core::{ErrorChain, Vmid};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::{forget, unreadable, vmid};
use crate::actions::ActionError;
use crate::backend::{BackendError, ContainerHost, ContainerIdentity, Stored};
use crate::jobs::copies;
use crate::jobs::table::json;
use crate::state::AppState;
use crate::store::{Store, StoreError};

/// Compares the container that has an id with the one that is known, and remembers it. Everything that is known of
/// another one is forgotten. Returns whether it may be the same, which it also is if nothing is known, as in rows of an
/// earlier version.
pub(crate) fn notice(
    connection: &Connection,
    vmid: Vmid,
    found: &ContainerIdentity,
) -> rusqlite::Result<bool> {
    let known = known(connection, vmid)?;
    let is_another = known.as_ref().is_some_and(|known| !known.may_be(found));
    if is_another {
        tracing::warn!(
            %vmid, ?known, ?found,
            "the id belongs to another container now; its ledger and its boosts are forgotten"
        );
        forget(connection, vmid)?;
        copies::forget(connection, vmid)?;
    }
    let renewed = match &known {
        Some(known) if !is_another => known.renewed(found),
        _ => found.clone(),
    };
    if is_another || known.as_ref() != Some(&renewed) {
        write(connection, vmid, &renewed)?;
    }
    Ok(!is_another)
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

/// Remembers what a known container looks like after a rollback of ours: it is the same as before, though a snapshot may
/// bring back a network from before it was known.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn stays_known(
    store: &Store,
    vmid: Vmid,
    before: &Stored,
    after: &Stored,
) -> Result<(), StoreError> {
    let (before, after) = (before.identity.clone(), after.identity.clone());
    let noted = store.with(move |connection| {
        let transaction = connection.transaction()?;
        if let Some(known) = known(&transaction, vmid)?.filter(|known| known.may_be(&before)) {
            write(&transaction, vmid, &known.renewed(&before).renewed(&after))?;
        }
        transaction.commit()
    });
    noted.await
}

/// As [`notice`], for what was just read from the node.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn is_known(store: &Store, vmid: Vmid, stored: &Stored) -> Result<bool, StoreError> {
    let found = stored.identity.clone();
    let noticed = store.with(move |connection| {
        let transaction = connection.transaction()?;
        let is_known = notice(&transaction, vmid, &found)?;
        transaction.commit()?;
        Ok(is_known)
    });
    noticed.await
}

/// Refuses what is to be done to a container that is known, if another one has its id now.
///
/// # Errors
/// [`ActionError::OtherContainer`] if so, or that cannot be determined.
pub(crate) async fn refuse_other(
    host: &dyn ContainerHost,
    store: &Store,
    vmid: Vmid,
) -> Result<(), ActionError> {
    let stored = host.stored(vmid).await?;
    if is_known(store, vmid, &stored).await? { Ok(()) } else { Err(ActionError::OtherContainer { vmid }) }
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
            Ok(stored) => is_known(state.store(), vmid, &stored).await.map(drop).map_err(ActionError::from),
            // The next container with that id is as good as any.
            Err(BackendError::NoSuchContainer { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = learnt {
            tracing::warn!(%vmid, error = %ErrorChain(&error), "cannot look at a container that the ledger knows");
        }
    }
}

fn without_identity(connection: &Connection) -> rusqlite::Result<Vec<Vmid>> {
    let mut statement = connection.prepare(
        "SELECT vmid FROM originals UNION SELECT vmid FROM boosts EXCEPT SELECT vmid FROM identities",
    )?;
    statement.query_map([], |row| vmid(row.get(0)?))?.collect()
}
