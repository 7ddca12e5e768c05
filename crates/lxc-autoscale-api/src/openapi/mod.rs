//! The OpenAPI document, generated from the table of routes and from the input and output types of the handlers.
//!
//! The signature of a handler gives its parameters and its response ([`Endpoint`]). The schemas come from the same
//! serde attributes that read and write the bodies. A row of the table adds what a signature cannot express: path,
//! role, a sentence, and the possible errors ([`faults`]). So the document and the server cannot disagree about a
//! type.

mod document;
mod endpoint;
pub mod faults;

pub use document::{Described, document};
pub use endpoint::{Content, Endpoint, Input, Output, Parameter, Schemas, Shape};
