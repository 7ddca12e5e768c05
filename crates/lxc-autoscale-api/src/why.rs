//! Why a container has the size it has: `lxc-autoscale-ml why` tells, from its ledger and the newest measurements.
//!
//! It makes the decision anew, from all that the monitor has measured lately, which takes a processor for a while: one such
//! question at a time.

use std::ffi::OsString;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::api::EXIT_NOTHING_KNOWN;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::ManagedFilesConfig;
use crate::program::{self, ProgramError};

/// How long the answer takes at most, and how long one waits for the question before it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why nobody tells.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// Nothing is known of the container, or was decided by then.
    #[error("{said}")]
    NothingKnown {
        /// In the program's words.
        said: String,
    },
    /// Others ask, too.
    #[error("others ask why, too, and one question is answered at a time; try again later")]
    Busy,
    /// The program does not say.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Those who may ask at a time, all but one of them waiting: each holds a connection meanwhile.
const MOST_ASKING: usize = 4;

/// The turns of those who ask.
#[derive(Debug)]
pub struct Turns {
    asking: Semaphore,
    answered: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { asking: Semaphore::new(MOST_ASKING), answered: Semaphore::new(1) }
    }
}

impl Turns {
    /// What `lxc-autoscale-ml why` says of a container: now, or of what was decided at a time.
    ///
    /// # Errors
    /// [`WhyError`].
    pub async fn why(
        &self,
        files: &ManagedFilesConfig,
        vmid: Vmid,
        at: Option<Timestamp>,
    ) -> Result<Value, WhyError> {
        let Ok(_place) = self.asking.try_acquire() else { return Err(WhyError::Busy) };
        let Ok(Ok(_turn)) = timeout(PATIENCE, self.answered.acquire()).await else {
            return Err(WhyError::Busy);
        };
        let mut words: Vec<OsString> = vec!["why".into(), vmid.to_string().into(), "--json".into()];
        words.extend(["--config".into(), files.ml_file.clone().into_os_string()]);
        if let Some(at) = at {
            words.push(format!("--at={at}").into());
        }
        let said = program::ask(&files.ml_program, &words, "", PATIENCE).await?;
        if said.status.code() == Some(EXIT_NOTHING_KNOWN.into()) {
            return Err(WhyError::NothingKnown { said: said.complaint() });
        }
        Ok(said.report()?)
    }
}
