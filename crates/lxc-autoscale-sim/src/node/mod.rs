//! The node as a directory tree: its paths, its settings, and how one is made.

mod layout;

pub use layout::{CgroupVersion, NodeLayout};
