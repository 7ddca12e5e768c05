//! Errors of a call, in the wording of Proxmox.

use std::collections::BTreeMap;
use std::io;

use lxc_autoscale_core::ErrorChain;

use crate::engine::EngineError;
use crate::node::NodeError;

/// Exit status of a Perl program that dies without an error number.
const DIED: u8 = 255;

/// Why a call failed. The texts are Proxmox's wherever it has one.
#[derive(Debug, thiserror::Error)]
pub enum PctError {
    /// The arguments do not match the grammar.
    #[error("{warnings}400 {message}")]
    Usage {
        /// What the option parser printed first; each line is terminated.
        warnings: String,
        /// What is wrong.
        message: &'static str,
    },
    /// Parameters have invalid values, or could not be applied to a running container.
    #[error("400 Parameter verification failed.")]
    Parameters {
        /// The error of each; a text may end with a line break, in which case an empty line follows.
        errors: BTreeMap<String, String>,
        /// The error number, or 255 for none.
        exit: u8,
    },
    /// A stored configuration violates the schema.
    #[error("400 Result verification failed")]
    Result {
        /// The error of each option.
        errors: BTreeMap<String, String>,
    },
    /// The call was refused with a single text.
    #[error("{text}")]
    Died {
        /// The text.
        text: String,
        /// The error number, or 255 for none.
        exit: u8,
    },
    /// The machine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tree could not be read or changed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl PctError {
    /// A refusal with a single text.
    pub fn died(text: impl Into<String>) -> Self {
        Self::Died { text: text.into(), exit: DIED }
    }

    /// A refusal after a file was not found, which sets `ENOENT`.
    pub fn died_without_file(text: impl Into<String>) -> Self {
        Self::Died { text: text.into(), exit: 2 }
    }

    /// One invalid parameter.
    pub fn parameter(name: &str, text: impl Into<String>) -> Self {
        Self::Parameters { errors: BTreeMap::from([(name.to_owned(), text.into())]), exit: DIED }
    }

    /// The output on standard error, with the short usage line if Proxmox adds it.
    pub fn report(&self, usage: &str) -> String {
        match self {
            Self::Usage { .. } => format!("{self}\n{usage}\n"),
            Self::Parameters { errors, .. } | Self::Result { errors } => {
                let lines: Vec<String> =
                    errors.iter().map(|(name, text)| format!("{name}: {text}\n")).collect();
                format!("{self}\n{}{usage}\n", lines.concat())
            }
            _ => format!("{}\n", self.text()),
        }
    }

    /// The text in one line with its causes, which Proxmox does not print.
    pub fn text(&self) -> String {
        match self {
            Self::Parameters { errors, .. } | Self::Result { errors } => {
                let lines = errors.iter().map(|(name, text)| format!("\n{name}: {}", text.trim_end()));
                format!("{self}{}", lines.collect::<Vec<_>>().concat())
            }
            _ => ErrorChain(self).to_string(),
        }
    }

    /// The exit status.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Parameters { exit, .. } | Self::Died { exit, .. } => *exit,
            Self::Engine(error) => error.errno().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(DIED),
            Self::Usage { .. } | Self::Result { .. } | Self::Node(_) | Self::Output(_) => DIED,
        }
    }
}
