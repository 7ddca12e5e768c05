//! Who may use the server: root on this machine, the users named in the configuration, and holders of keys.
//!
//! For a connection from this machine, the kernel knows the user at the other end ([`peer`]); root and the users
//! named in the configuration need no key. Everyone else needs one ([`keys`]), and may do what its role and scope
//! allow ([`caller`]). A web browser on the node would be such a local user, too; so the `Host` header must name this
//! server, which prevents DNS rebinding, and an `Origin` must be the server's own, which prevents requests forged by
//! a web page.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use jiff::Timestamp;
use lxc_autoscale_core::{ErrorChain, users};

use self::caller::{Caller, Identity, Role};
use self::limits::Allowance;
use self::purpose::Purpose;
use crate::audit::refusals::{Refusals, Refused};
use crate::config::ServerConfig;
use crate::error::{ApiError, ErrorCode, ErrorMessage};
use crate::state::AppState;

pub mod caller;
pub mod keys;
pub mod limits;
pub mod peer;
pub mod purpose;
pub(crate) mod queue_timeout;
pub mod socket_diag;

/// How a browser describes the origin of a request.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The connection that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// The address of the client.
    pub client: IpAddr,
    /// The address at which the client reached the server.
    pub address: IpAddr,
    /// Whether it uses TLS.
    pub is_tls: bool,
}

impl Door {
    /// The connection between these two ends. If an IPv6 socket also accepts IPv4 connections (`[::]`), their
    /// addresses are IPv4-mapped; here they become the IPv4 addresses that the client uses.
    pub fn new(client: SocketAddr, server: SocketAddr, is_tls: bool) -> Self {
        Self { client: client.ip().to_canonical(), address: server.ip().to_canonical(), is_tls }
    }
}

/// Where a request comes from, as it is recorded: who reads the log of a firewall finds the connection again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Over TCP, from this address and port.
    Network(SocketAddr),
    /// Over the unix socket, from a process of this user.
    Socket(Option<u32>),
}

impl Origin {
    /// A client at this address; see [`Door::new`].
    pub fn tcp(client: SocketAddr) -> Self {
        Self::Network(SocketAddr::new(client.ip().to_canonical(), client.port()))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => write!(f, "{address}"),
            Self::Socket(Some(uid)) => write!(f, "unix:{}", Identity::User(*uid)),
            Self::Socket(None) => f.write_str("unix"),
        }
    }
}

/// The user at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user's id; `None` if it could not be determined.
    pub uid: Option<u32>,
}

impl Peer {
    /// The user, if it is root or named in the configuration.
    pub fn trusted(self, config: &ServerConfig) -> Option<Caller> {
        let uid = self.uid?;
        if uid == 0 || config.trusted_uids.contains(&uid) {
            return Some(Caller::user(uid));
        }
        // Looked up each time, because users may be created or removed while the server runs. It is a small file that the
        // kernel has in memory, so it is read in place.
        let name = users::name_of(uid).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the users of this machine, so no operator is recognised");
            None
        })?;
        config.operators.contains(&name).then(|| Caller::operator(uid))
    }
}

fn untrusted() -> ApiError {
    ApiError::forbidden(
        "only root on this machine is answered without a key, and users listed in `server.trusted_uids` and \
         `server.operators` of the configuration; see `lxc-autoscale-api key create`",
    )
}

/// What a request presents to show who sent it.
enum Presented {
    /// A key.
    Key(String),
    /// An `Authorization` header that holds no key.
    NoKey,
    /// No such header, so the user at the other end of the connection counts.
    Peer(Option<Peer>),
}

impl Presented {
    fn by(request: &Request) -> Self {
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            return Self::Peer(request.extensions().get::<Peer>().copied());
        };
        match header.to_str().ok().and_then(|value| value.split_once(' ')) {
            // RFC 9110: the name of the scheme is case-insensitive.
            Some((scheme, secret)) if scheme.eq_ignore_ascii_case("Bearer") => {
                Self::Key(secret.trim().to_owned())
            }
            _ => Self::NoKey,
        }
    }
}

/// The caller: the holder of the presented key, or else the user at the other end of the connection.
async fn identify(state: &AppState, presented: Presented) -> Result<Caller, ApiError> {
    let refused = || {
        let message = "the key is unknown, revoked or expired; it is sent as `Authorization: Bearer KEY`";
        ApiError::new(StatusCode::UNAUTHORIZED, "invalid_key", message)
    };
    let secret = match presented {
        Presented::Key(secret) => secret,
        Presented::NoKey => return Err(refused()),
        Presented::Peer(peer) => {
            return peer.and_then(|peer| peer.trusted(&state.config().server)).ok_or_else(untrusted);
        }
    };
    match state.keys().apart(move |keys| keys.holder(&secret, Timestamp::now())).await {
        Ok(holder) => holder.ok_or_else(refused),
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "cannot check keys");
            Err(ApiError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "keys cannot be checked at the moment",
            ))
        }
    }
}

/// Lets only callers through whose role suffices; runs after [`guard`].
pub async fn require(
    State(needed): State<Role>,
    caller: Option<Extension<Caller>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = caller.ok_or_else(untrusted).and_then(|Extension(caller)| caller.may(needed));
    match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Checks every request before anything else handles it, including unknown paths and wrong methods.
pub async fn guard(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let origin = request.extensions().get::<Origin>().copied();
    let caller = identify(&state, Presented::by(&request)).await;
    let caller = caller.map(|caller| Caller { origin, ..caller });
    let (allowance, checked) = check(&state, &request, caller);
    let tried = Tried::of(&request, checked.as_ref().ok());
    let mut response = match checked {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => {
            let uid = request.extensions().get::<Peer>().and_then(|peer| peer.uid);
            // Anyone can get this far, so no more of their input is logged than fits on a line.
            let path: String = request.uri().path().chars().take(100).collect();
            let address = origin.map(tracing::field::display);
            tracing::warn!(uid, address, code = refused.code, path, "request refused");
            refused.into_response()
        }
    };
    if let (Some(tried), Some(refusal)) = (tried, refusal(&response)) {
        tried.record(&state, refusal).await;
    }
    let headers = response.headers_mut();
    if let Some(allowance) = allowance {
        allowance.write(headers);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A request for a change: who sent it, and what for.
struct Tried {
    who: Refused,
    action: String,
    address: Option<String>,
}

impl Tried {
    /// `None` for a request that only reads, or that no route handles.
    fn of(request: &Request, caller: Option<&Caller>) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>().filter(|_| !request.method().is_safe())?;
        let who = match caller {
            Some(caller) => Refused::Known(caller.identity.to_string()),
            None => Refused::Stranger(stranger(request)),
        };
        let address = request.extensions().get::<Origin>().map(Origin::to_string);
        Some(Self { who, action: format!("{} {}", request.method(), route.as_str()), address })
    }

    /// Records that it was refused.
    async fn record(self, state: &AppState, (code, message): (&'static str, Arc<str>)) {
        if let Some(audit) = state.changes().audit_log() {
            let (asked, refused) = ((self.action.as_str(), self.address), (code, &*message));
            state.refusals().record(audit, state.instruments(), self.who, asked, refused).await;
        }
    }
}

/// Code and message of a refusal that is about the caller.
fn refusal(response: &Response) -> Option<(&'static str, Arc<str>)> {
    let ErrorCode(code) = *response.extensions().get::<ErrorCode>()?;
    let ErrorMessage(message) = response.extensions().get::<ErrorMessage>()?.clone();
    Refusals::concern(code).then_some((code, message))
}

/// What is known of a caller who was not let in.
fn stranger(request: &Request) -> String {
    let extensions = request.extensions();
    match (extensions.get::<Peer>().and_then(|peer| peer.uid), extensions.get::<Door>()) {
        (Some(uid), _) => Identity::User(uid).to_string(),
        (None, Some(door)) => format!("address:{}", door.client),
        (None, None) => "unknown".to_owned(),
    }
}

/// The caller, or why the request is refused; and what is left of a key's requests.
fn check(
    state: &AppState,
    request: &Request,
    caller: Result<Caller, ApiError>,
) -> (Option<Allowance>, Result<Caller, ApiError>) {
    let client = request.extensions().get::<Door>().map(|door| door.client);
    let caller = match caller {
        Ok(caller) => caller,
        Err(refused) => return (None, Err(state.rate_limits().refuse(client, refused))),
    };
    let (allowance, admitted) = state.rate_limits().admit(&caller);
    let admitted = admitted.and_then(|()| check_target(state, request));
    if request.method().is_safe() {
        return (allowance, admitted.map(|()| caller));
    }
    let headers = request.headers();
    let wishes = admitted.and_then(|()| Ok((Purpose::of(headers)?, queue_timeout::of(headers)?)));
    (allowance, wishes.map(|(purpose, queue_timeout)| Caller { purpose, queue_timeout, ..caller }))
}

/// Checks that a request is addressed to this server, and does not come from a page of another one.
fn check_target(state: &AppState, request: &Request) -> Result<(), ApiError> {
    let config = state.config();
    let host = addressed_host(request.uri(), request.headers());
    let door = request.extensions().get::<Door>();
    let is_ours = host.is_some_and(|host| {
        is_our_name(host, state.node_name(), &config.server.allowed_hosts)
            || door.is_some_and(|door| named_address(host) == Some(door.address))
    });
    if !is_ours {
        let message = "the `Host` header does not name this server; see `server.allowed_hosts`";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message));
    }
    let scheme = if door.is_some_and(|door| door.is_tls) { "https" } else { "http" };
    if !is_own_origin(request.headers(), scheme, host.unwrap_or_default()) {
        let message = "requests from web pages of other origins are refused";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message));
    }
    Ok(())
}

/// The host and port that a request is addressed to; `None` if it names none, or contradictory ones.
fn addressed_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut values = headers.get_all(HOST).iter();
    let header = values.next()?.to_str().ok()?;
    let contradicted = uri.authority().is_some_and(|authority| authority.as_str() != header);
    (values.next().is_none() && !contradicted).then_some(header)
}

fn is_our_name(host: &str, node_name: Option<&str>, allowed: &[String]) -> bool {
    let name = without_port(host).trim_end_matches('.');
    let equals = |ours: &str| name.eq_ignore_ascii_case(ours);
    named_address(host).is_some_and(|address| address.is_loopback())
        || equals("localhost")
        || node_name.is_some_and(equals)
        || allowed.iter().any(|ours| equals(ours))
}

/// The host as an address, if it is not a name. A malicious page can control a name, but not an address.
fn named_address(host: &str) -> Option<IpAddr> {
    let address: IpAddr = without_port(host).trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    Some(address.to_canonical())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In `[::1]`, the last colon is part of the address.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a request does not come from a web page, or comes from a page of this server.
fn is_own_origin(headers: &HeaderMap, scheme: &str, host: &str) -> bool {
    let same_site = headers.get(SEC_FETCH_SITE).is_none_or(|site| site == "same-origin" || site == "none");
    let own = format!("{scheme}://{host}");
    let own_origin = headers
        .get_all(ORIGIN)
        .iter()
        .all(|origin| origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(&own)));
    same_site && own_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered() {
        let check = |host| is_our_name(host, Some("proxmox"), &["pve.example.com".to_owned()]);
        for ours in [
            "proxmox:5000",
            "Proxmox",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.0.0.1",
            "[::1]:5000",
            "[::1]",
            "pve.example.com:80",
            "proxmox.:5000",
        ] {
            assert!(check(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "proxmox.evil.example:5000",
            "192.168.1.10:5000",
            "[fe80::1]:5000",
            "localhost:x",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        let check = |name: HeaderName, value: &'static str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            is_own_origin(&headers, "http", "proxmox:5000")
        };
        assert!(is_own_origin(&HeaderMap::new(), "http", "proxmox:5000"));
        assert!(check(ORIGIN, "http://proxmox:5000"));
        assert!(check(SEC_FETCH_SITE, "same-origin"));
        for foreign in
            ["null", "http://evil.example", "https://proxmox:5000", "http://proxmox:5001", "http://proxmox"]
        {
            assert!(!check(ORIGIN, foreign), "{foreign}");
        }
        for foreign in ["cross-site", "same-site"] {
            assert!(!check(SEC_FETCH_SITE, foreign), "{foreign}");
        }
    }

    #[test]
    fn root_and_named_users_are_trusted() {
        // On every Debian, `daemon` is user 1 and `bin` user 2.
        let operators = vec!["daemon".to_owned(), "nosuchuser".to_owned()];
        let config = ServerConfig { trusted_uids: vec![990], operators, ..ServerConfig::default() };
        let check = |uid| Peer { uid }.trusted(&config).map(|caller| caller.role);
        for (uid, role) in [
            (Some(0), Some(Role::Admin)),
            (Some(990), Some(Role::Admin)),
            (Some(1), Some(Role::Operator)),
            (Some(2), None),
            (Some(991), None),
            (None, None),
        ] {
            assert_eq!(check(uid), role, "{uid:?}");
        }
    }
}
