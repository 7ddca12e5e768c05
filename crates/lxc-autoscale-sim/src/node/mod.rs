//! The node as a directory tree: its paths, its settings, its creation, and its running containers.

mod create;
mod error;
mod files;
mod layout;
pub(crate) mod running;
mod settings;
mod wrappers;

pub use create::{add_container, create_node};
pub use error::NodeError;
pub use files::{read_text, remove_tree, write_atomically, write_new};
pub use layout::{CgroupVersion, NodeLayout};
pub use running::{NodeLock, RunningTable, running};
pub use settings::{Answers, EngineKind, NodeSettings, Storage, StorageKind};
pub use wrappers::{write_wrappers, write_wrappers_for};
