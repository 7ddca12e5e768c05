//! A row of the table of routes.

use std::fmt;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use lxc_autoscale_core::api::RouteInfo;

use crate::auth::caller::Role;
use crate::openapi::faults::{Faults, PARAMETERS};
use crate::openapi::{Described, Endpoint, Schemas, Shape};
use crate::state::AppState;

/// One route, for the router, `GET /routes` and the OpenAPI document.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) role: Role,
    pub(super) handler: MethodRouter<AppState>,
    description: &'static str,
    shape: fn(&mut Schemas) -> Shape,
    faults: Vec<Faults>,
}

impl Route {
    fn new<H, M, A>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        role: Role,
        description: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<M, AppState> + Endpoint<A>,
        M: 'static,
    {
        let (handler, shape) = (on(filter, handler), H::shape);
        Self { method, path, role, handler, description, shape, faults: Vec::new() }
    }

    /// Adds errors that it can answer with.
    pub(super) fn fails(mut self, faults: &[Faults]) -> Self {
        self.faults.extend_from_slice(faults);
        self
    }

    /// Whether it is a page for people or a part of one, whose query does not matter: browsers add things to it.
    fn is_page(&self) -> bool {
        self.path == "/docs" || self.path.starts_with("/docs/")
    }

    /// Whether any parameter in the query is unknown to it.
    pub(super) fn takes_no_query(&self) -> bool {
        let shape = (self.shape)(&mut Schemas::default());
        !self.is_page() && shape.parameters.iter().all(|parameter| parameter.place != "query")
    }

    /// Its entry in `GET /routes`.
    pub(super) fn info(&self) -> RouteInfo {
        RouteInfo {
            method: self.method.to_string(),
            path: self.path.to_owned(),
            role: self.role.name().to_owned(),
            description: self.description.to_owned(),
        }
    }

    /// Its part of the OpenAPI document.
    pub(super) fn describe(&self, schemas: &mut Schemas) -> Described {
        let mut faults = self.faults.clone();
        if !self.is_page() {
            faults.push(PARAMETERS);
        }
        Described {
            method: self.method.clone(),
            path: self.path,
            description: self.description,
            role: self.role,
            shape: (self.shape)(schemas),
            faults,
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.method, self.path, self.role)
    }
}

macro_rules! constructor {
    ($(#[$doc:meta])* $name:ident, $method:ident) => {
        $(#[$doc])*
        pub(super) fn $name<H, M, A>(path: &'static str, role: Role, description: &'static str, handler: H) -> Route
        where
            H: Handler<M, AppState> + Endpoint<A>,
            M: 'static,
        {
            Route::new((Method::$method, MethodFilter::$method), path, role, description, handler)
        }
    };
}

constructor!(
    /// Reads something.
    get, GET);
constructor!(
    /// Performs an action.
    post, POST);
constructor!(
    /// Replaces something.
    put, PUT);
constructor!(
    /// Changes parts of something.
    patch, PATCH);
constructor!(
    /// Removes something.
    delete, DELETE);
