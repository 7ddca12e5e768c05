//! Queries to the API about changes that are not ours.

use lxc_autoscale_core::api::{BoostInfo, LedgerEntry};
use lxc_autoscale_core::{ErrorChain, Vmid};

use super::Executor;
use crate::act::CallError;

impl Executor {
    /// All active boosts; `None` if the API does not answer.
    pub async fn boosts(&mut self) -> Option<Vec<BoostInfo>> {
        let told = self.client.boosts().await;
        self.told(told)
    }

    /// What the API changed about a container's sizes, newest first; `None` if the API does not answer.
    pub async fn api_ledger(&mut self, id: Vmid) -> Option<Vec<LedgerEntry>> {
        let told = self.client.ledger(id).await;
        self.told(told).map(|page| page.entries)
    }

    fn told<T>(&mut self, told: Result<T, CallError>) -> Option<T> {
        match told {
            Ok(told) => {
                self.boosts_trouble.is_over();
                Some(told)
            }
            Err(error) => {
                self.instruments.call_failed(&error);
                let error = ErrorChain(&error);
                self.boosts_trouble.is(format!(
                    "what somebody else changes counts as set by hand, boosts included: {error}"
                ));
                None
            }
        }
    }
}
