//! Who sends a request, and what they are allowed to do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use serde::{Deserialize, Serialize};

use super::keys::{Key, KeyFile, KeysError};
use super::purpose::Purpose;
use super::{Origin, Peer};
use crate::config::ServerConfig;
use crate::error::ApiError;
use crate::state::AppState;

/// What a caller is allowed to do; each role includes the ones before it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Also resize, and take snapshots.
    Operator,
    /// Also roll back, clone and remove.
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user of this machine.
    User(u32),
    /// The holder of a key.
    Key {
        /// Its name.
        name: String,
        /// When it was made: a key that was revoked and made again under its old name is another one.
        made: Timestamp,
    },
    /// This server itself, for example when it ends a boost.
    Server,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::Key { name, .. } => write!(f, "key:{name}"),
            Self::Server => f.write_str("server"),
        }
    }
}

/// The sender of an accepted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub identity: Identity,
    /// Their role.
    pub role: Role,
    /// The containers in their scope; `None` means all.
    pub containers: Option<BTreeSet<Vmid>>,
    /// What they say the request is for; it is not verified.
    pub purpose: Option<Purpose>,
    /// How long their change may wait for others of its container, if that is less than the server allows.
    pub queue_timeout: Option<Duration>,
    /// From where they ask; `None` for this server itself.
    pub origin: Option<Origin>,
}

impl Caller {
    /// Root, or a user trusted by the configuration: may do everything.
    pub fn user(uid: u32) -> Self {
        Self {
            identity: Identity::User(uid),
            role: Role::Admin,
            containers: None,
            purpose: None,
            queue_timeout: None,
            origin: None,
        }
    }

    /// A user that the configuration makes an operator.
    pub fn operator(uid: u32) -> Self {
        Self { role: Role::Operator, ..Self::user(uid) }
    }

    /// This server itself, for changes it makes on its own.
    pub fn server() -> Self {
        Self { identity: Identity::Server, ..Self::user(0) }
    }

    /// Whether they would still be let in, with the same rights: meanwhile a key may have been revoked or expired, or
    /// a user may no longer be trusted. False if that cannot be determined.
    pub async fn is_still_known(&self, config: &ServerConfig, keys: &Arc<KeyFile>, now: Timestamp) -> bool {
        self.as_of(config, keys, now).await.is_ok_and(|caller| caller.as_ref() == Some(self))
    }

    /// The same caller with the rights they have at `now`; `None` if they would no longer be let in.
    ///
    /// # Errors
    /// [`KeysError`] if that cannot be determined.
    pub async fn as_of(
        &self,
        config: &ServerConfig,
        keys: &Arc<KeyFile>,
        now: Timestamp,
    ) -> Result<Option<Self>, KeysError> {
        Ok(match &self.identity {
            Identity::User(uid) => {
                let trusted = Peer { uid: Some(*uid) }.trusted(config);
                trusted.map(|Self { identity, role, containers, .. }| Self {
                    identity,
                    role,
                    containers,
                    ..self.clone()
                })
            }
            Identity::Key { name, made } => {
                let keys = keys.apart(KeyFile::keys).await?;
                let is_same = |key: &Key| key.name == *name && key.created == *made;
                let key = keys.iter().find(|key| is_same(key) && !key.is_expired(now));
                key.map(|key| {
                    let containers = key.containers.clone();
                    Self { role: key.role, containers, ..self.clone() }
                })
            }
            Identity::Server => Some(self.clone()),
        })
    }

    /// Checks that the role suffices.
    ///
    /// # Errors
    /// 403 if it does not.
    pub fn may(&self, needed: Role) -> Result<(), ApiError> {
        if needed <= self.role {
            return Ok(());
        }
        let message = format!("this needs the role {needed}, and {} has {}", self.identity, self.role);
        Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_role", message))
    }

    /// Checks that all of the containers are in scope.
    ///
    /// # Errors
    /// 403 if one is not.
    pub fn may_touch(&self, vmids: &[Vmid]) -> Result<(), ApiError> {
        let allowed = |vmid: &&Vmid| self.containers.as_ref().is_none_or(|scope| scope.contains(vmid));
        match vmids.iter().find(|vmid| !allowed(vmid)) {
            None => Ok(()),
            Some(vmid) => {
                let message = format!("container {vmid} is outside the scope of {}", self.identity);
                Err(ApiError::new(StatusCode::FORBIDDEN, "out_of_scope", message))
            }
        }
    }
}

/// The caller of a request that passed the guard.
impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(super::untrusted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_the_lesser_ones_may() {
        let roles = [Role::Viewer, Role::Operator, Role::Admin];
        for (index, role) in roles.into_iter().enumerate() {
            let identity = Identity::Key { name: "x".to_owned(), made: Timestamp::UNIX_EPOCH };
            let caller = Caller { identity, role, ..Caller::user(0) };
            for (needed_index, needed) in roles.into_iter().enumerate() {
                assert_eq!(caller.may(needed).is_ok(), needed_index <= index, "{role} {needed}");
            }
        }
    }

    #[test]
    fn a_scope_is_all_that_may_be_touched() {
        let id = |id: u32| Vmid::try_from(id).unwrap();
        let scoped = Caller { containers: Some(BTreeSet::from([id(104)])), ..Caller::user(0) };
        assert!(scoped.may_touch(&[id(104)]).is_ok());
        assert!(scoped.may_touch(&[id(104), id(105)]).is_err());
        assert!(Caller::user(0).may_touch(&[id(105)]).is_ok());
    }
}
