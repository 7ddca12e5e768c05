//! The OpenAPI document, made from the table of routes and from the types that the handlers take and give.
//!
//! A handler's signature tells its parameters and its answer ([`Endpoint`]), the schemas come from the same serde
//! attributes that read and write the bodies, and a row of the table adds what a signature cannot tell: path, role,
//! a sentence, and how it can fail ([`faults`]). So document and server cannot say different things of a type.

mod document;
mod endpoint;
pub mod faults;

pub use document::{Described, document};
pub use endpoint::{Content, Endpoint, Input, Output, Parameter, Schemas, Shape};
