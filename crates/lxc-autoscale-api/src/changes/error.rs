//! Why a change was not begun, or was cut off, whatever it was to do.

use crate::audit::AuditError;
use crate::auth::caller::Identity;
use crate::gate::Occupied;
use crate::store::StoreError;

/// Why a change was not begun, or was cut off.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another change of the container takes too long.
    #[error(transparent)]
    Occupied(#[from] Occupied),
    /// The scope of the caller does not include all of the containers.
    #[error("the scope of {caller} does not include all containers of this change")]
    OutOfScope {
        /// The caller.
        caller: Identity,
    },
    /// The caller may no longer ask for the change: it waited, and meanwhile a key was revoked or has expired, or rights
    /// were taken.
    #[error("while this waited, the rights of {caller} have ended; nothing was done")]
    RightsEnded {
        /// The caller.
        caller: Identity,
    },
    /// What the caller may do by now cannot be determined. The cause is in the log only, because it names a file.
    #[error("keys cannot be checked at the moment; nothing was done")]
    RightsUnknown,
    /// Too many changes are waiting already.
    #[error("too many changes are waiting; try again later")]
    TooManyChanges,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The client left before the change began, so it was not begun.
    #[error("the client left before the change began; nothing was done")]
    Abandoned,
    /// The change was not begun, because its start could not be written to the audit log.
    #[error("nothing was done, because it could not be written to the audit log")]
    NotAudited(#[from] AuditError),
    /// The change was not begun, because its start could not be written to the store.
    #[error("nothing was done, because it could not be recorded first")]
    NotRecorded(#[from] StoreError),
    /// Somebody cancelled the change.
    #[error("it was cancelled")]
    Cancelled,
    /// The server ended in the middle of the change, a call of the change took too long, or a defect ended it.
    #[error("it was interrupted; {found}")]
    Interrupted {
        /// What was found on the node afterwards.
        found: String,
    },
    /// A defect in this program.
    #[error("the change ended unexpectedly; its outcome is not known")]
    Crashed,
}
