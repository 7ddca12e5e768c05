//! Which rules are in force for a container, and the source of each.
//!
//! Rules come in layers, and the higher one wins key by key: the general tables of the configuration, the preset that a
//! tag or a name asks for, the policies that select the container in the order of [`book::Rank`] (each with its preset
//! below and its schedules above it), and `[containers] ignore`. [`PolicyBook::in_force`] is a pure function of the
//! configuration, the container's identity and the time. What somebody gave a container raises the maximums that nobody
//! set ([`given`]).

pub mod book;
pub mod given;
pub mod in_force;
pub mod learning;
pub mod overrides;
pub mod presets;
pub mod schedule;
pub mod selector;
pub mod table;

pub use book::{Policies, PolicyBook, PolicyError};
pub use given::Given;
pub use in_force::{InForce, Source};
pub use learning::{Learning, LearningRules};
pub use overrides::Overrides;
pub use selector::{Identity, Pool};
pub use table::{PolicyConfig, PresetsConfig, ShadowConfig};
