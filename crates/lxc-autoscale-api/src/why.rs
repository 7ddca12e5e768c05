//! Why a container has its size: runs `lxc-autoscale-ml why`, which answers from its ledger and the newest
//! measurements.
//!
//! That program repeats the decision from everything that the monitor has measured lately, which keeps a CPU busy for
//! a while. So only one question is answered at a time.

use std::ffi::OsString;
use std::time::Duration;

use jiff::Timestamp;
use lxc_autoscale_core::api::{EXIT_NOTHING_KNOWN, KindOfLoad};
use lxc_autoscale_core::{ErrorChain, Vmid};
use serde::Deserialize;
use serde_json::Value;

use crate::config::ManagedFilesConfig;
use crate::looks::Looks;
use crate::program::{self, ProgramError};

/// How long an answer may take, and how long a question may wait for the previous one.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// Nothing is known of the container, or nothing had been decided by then.
    #[error("{said}")]
    NothingKnown {
        /// The message of the program.
        said: String,
    },
    /// Others are asking already.
    #[error("others are asking why, too, and only one question is answered at a time; try again later")]
    Busy,
    /// The program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// How many may ask at a time, all but one of them waiting: each occupies a connection meanwhile.
const MOST_ASKING: usize = 4;

/// The queue of those who ask.
#[derive(Debug)]
pub struct Turns(Looks);

impl Default for Turns {
    fn default() -> Self {
        Self(Looks::new(1, MOST_ASKING, PATIENCE))
    }
}

impl Turns {
    /// The answer of `lxc-autoscale-ml why` for a container, now or about a decision at a given time.
    ///
    /// # Errors
    /// [`WhyError`].
    pub async fn why(
        &self,
        files: &ManagedFilesConfig,
        vmid: Vmid,
        at: Option<Timestamp>,
    ) -> Result<Value, WhyError> {
        let _turn = self.0.turn().await.map_err(|_| WhyError::Busy)?;
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

/// The kind of load that an explanation names: it is in the explanation itself, or in the first of the past decisions
/// that were made with it.
pub fn kind_of_load(vmid: Vmid, explanation: &Value) -> Option<KindOfLoad> {
    let named = |told: &'_ Value| told.get("kind_of_load").cloned();
    let told = match explanation {
        Value::Array(decisions) => decisions.iter().find_map(named),
        present => named(present),
    }?;
    // A program of another version may say it otherwise; its explanation is as good as before.
    match KindOfLoad::deserialize(told) {
        Ok(kind) => Some(kind),
        Err(error) => {
            tracing::warn!(%vmid, error = %ErrorChain(&error), "the ml daemon's program names no readable kind of load");
            None
        }
    }
}
