//! Finds the cluster node that a container is on.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use hyper::Method;
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::de::DeserializeOwned;

use super::RestHost;
use super::answers::Guest;
use super::client::{About, Ask};
use crate::backend::BackendError;

impl RestHost {
    /// The path of a container's resource.
    pub(super) fn of(&self, vmid: Vmid, rest: &str) -> String {
        format!("/nodes/{}/lxc/{vmid}{rest}", self.home(vmid))
    }

    /// The node of a container, as far as known.
    pub(super) fn home(&self, vmid: Vmid) -> String {
        self.away().get(&vmid).unwrap_or(&self.node).clone()
    }

    pub(super) fn away(&self) -> MutexGuard<'_, HashMap<Vmid, String>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a container that was not found is on another node; if so, later requests go to that node.
    async fn is_elsewhere(&self, vmid: Vmid) -> bool {
        let ask = Ask {
            method: Method::GET,
            path: "/cluster/resources".to_owned(),
            parameters: vec![("type", "vm".to_owned())],
            about: About::Node,
            limit: self.config.query_timeout(),
        };
        let guests: Vec<Guest> = match self.client.ask(&ask).await {
            Ok(guests) => guests,
            Err(error) => {
                tracing::warn!(%vmid, error = %ErrorChain(&error), "cannot ask which node the container is on");
                return false;
            }
        };
        let found = guests.into_iter().find(|guest| guest.is_container(vmid)).map(|guest| guest.node);
        let looked_at = self.home(vmid);
        let mut away = self.away();
        match found {
            Some(node) if node != looked_at => {
                tracing::info!(%vmid, node, "the container is on this node now");
                if node == self.node {
                    away.remove(&vmid)
                } else {
                    away.insert(vmid, node)
                };
                true
            }
            _ => {
                away.remove(&vmid);
                false
            }
        }
    }

    /// Reads something of a container, wherever in the cluster it is.
    pub(super) async fn look_at<T: DeserializeOwned>(
        &self,
        vmid: Vmid,
        rest: &str,
        parameters: Vec<(&'static str, String)>,
    ) -> Result<T, BackendError> {
        let limit = self.config.query_timeout();
        let ask = || Ask {
            method: Method::GET,
            path: self.of(vmid, rest),
            parameters: parameters.clone(),
            about: About::Container(vmid),
            limit,
        };
        match self.client.ask(&ask()).await {
            Err(BackendError::NoSuchContainer { .. }) if self.is_elsewhere(vmid).await => {
                self.client.ask(&ask()).await
            }
            answer => answer,
        }
    }
}
