//! `lxc-autoscale-api undo`: sends the request to the running server of this machine.

use std::io::{self, Write};
use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use lxc_autoscale_core::api::{Envelope, UndoRequest, Undone};
use tokio::net::TcpStream;

use crate::cli::UndoArgs;
use crate::config::ServerConfig;
use crate::ledger;

/// Why nothing was undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoCommandError {
    /// The server cannot be reached.
    #[error("cannot reach the server at {address}; is `lxc-autoscale-api run` running?")]
    Connect {
        /// The address of the server.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the server gave no answer")]
    Http(#[from] hyper::Error),
    /// The request cannot be written, or the answer cannot be parsed.
    #[error("the server's answer cannot be understood")]
    Json(#[from] serde_json::Error),
    /// The request cannot be built.
    #[error("the request cannot be built")]
    Request(#[from] hyper::http::Error),
    /// The server refused.
    #[error("the server refused: {message}")]
    Refused {
        /// Its message.
        message: String,
    },
    /// The outcome cannot be printed.
    #[error("the outcome cannot be printed")]
    Show(#[source] io::Error),
}

/// Sends the request and prints a line for each size; returns whether everything was undone.
///
/// # Errors
/// [`UndoCommandError`] if nothing was undone.
pub async fn run(
    args: UndoArgs,
    server: &ServerConfig,
    out: &mut impl Write,
) -> Result<bool, UndoCommandError> {
    let address = address(server);
    let body = serde_json::to_vec(&UndoRequest { vm_id: args.vmid, all: args.all, to: args.to })?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|source| UndoCommandError::Connect { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped.
    tokio::spawn(connection);
    let request = Request::post("/undo").header(HOST, address.to_string());
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::<Bytes>::from(body))?;
    let answer = sender.send_request(request).await?.into_body().collect().await?.to_bytes();
    let answer: Envelope<Vec<Undone>> = serde_json::from_slice(&answer)?;
    let Some(undone) = answer.data else {
        return Err(UndoCommandError::Refused { message: answer.message });
    };
    show(&undone, out).map_err(UndoCommandError::Show)?;
    Ok(undone.iter().all(|undone| undone.code.is_none()))
}

/// The address of the server; with port 0, it is in the server's address file.
fn address(server: &ServerConfig) -> SocketAddr {
    let told = std::fs::read_to_string(&server.address_file).ok();
    told.and_then(|text| text.trim().parse().ok()).unwrap_or(server.listen)
}

fn show(undone: &[Undone], out: &mut impl Write) -> io::Result<()> {
    if undone.is_empty() {
        return writeln!(out, "nothing was changed since");
    }
    for Undone { vm_id, resource, to, changed, reason, .. } in undone {
        let to = to.map_or("as configured without one".to_owned(), |to| to.to_string());
        let outcome = match (reason, changed) {
            (Some(reason), _) => format!("not undone: {reason}"),
            (None, true) => "taken back".to_owned(),
            (None, false) => "unchanged: it already has that".to_owned(),
        };
        writeln!(out, "{vm_id} {} {to}: {outcome}", ledger::word(*resource))?;
    }
    Ok(())
}
