//! Why a call failed, and how Proxmox says so.

use std::collections::BTreeMap;
use std::io;

use lxc_autoscale_core::ErrorChain;

use crate::engine::EngineError;
use crate::node::NodeError;

/// Exit status of a Perl program that dies with no error number left over.
const DIED: u8 = 255;

/// Why a call failed. Texts are Proxmox's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum PctError {
    /// The words make no sense to the argument grammar.
    #[error("{warnings}400 {message}")]
    Usage {
        /// What the option parser said first, each line ended.
        warnings: String,
        /// What is wrong.
        message: &'static str,
    },
    /// Parameters have impossible values, or could not be applied to a running container.
    #[error("400 Parameter verification failed.")]
    Parameters {
        /// What is wrong with each; a text may end in a newline, and then an empty line follows it.
        errors: BTreeMap<String, String>,
        /// The error number left over, 255 for none.
        exit: u8,
    },
    /// A stored configuration breaks the schema.
    #[error("400 Result verification failed")]
    Result {
        /// What is wrong with each.
        errors: BTreeMap<String, String>,
    },
    /// The call was refused with one text.
    #[error("{text}")]
    Died {
        /// The text.
        text: String,
        /// The error number left over, 255 for none.
        exit: u8,
    },
    /// The machine did not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tree could not be read or changed.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

impl PctError {
    /// A refusal with one text.
    pub fn died(text: impl Into<String>) -> Self {
        Self::Died { text: text.into(), exit: DIED }
    }

    /// A refusal after a file was not found, which leaves `ENOENT` over.
    pub fn died_without_file(text: impl Into<String>) -> Self {
        Self::Died { text: text.into(), exit: 2 }
    }

    /// One impossible parameter.
    pub fn parameter(name: &str, text: impl Into<String>) -> Self {
        Self::Parameters { errors: BTreeMap::from([(name.to_owned(), text.into())]), exit: DIED }
    }

    /// What goes to standard error, with the short usage line where Proxmox adds it.
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

    /// The text in one string with its causes, which Proxmox has none of.
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
