//! One request to one server, within bounds: whatever it answers, and however slowly.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::SLOWEST;

/// Headers of an answer, in bytes.
const MAX_HEADERS: usize = 32 << 10;
const MAX_CONNECT: Duration = Duration::from_secs(10);
const PIECE: usize = 64 << 10;

/// Why a server gave no file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has none.
    NotFound,
    /// It has one, and it is larger than allowed.
    TooLarge,
    /// The time for all files is over.
    OutOfTime,
    /// It could not be asked, or did not answer: it need not be asked again.
    Dead(String),
    /// It answered, but not with a file.
    Other(String),
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) size: u64,
    pub(super) patience: Duration,
    pub(super) deadline: Instant,
}

/// A client that knows whom this machine trusts (read when a server first is one of https), and follows nobody elsewhere.
pub(super) fn agent(servers: &[String]) -> Agent {
    let tls = servers.iter().any(|server| server.starts_with("https:")).then(trust);
    let config = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_response_header_size(MAX_HEADERS)
        .accept_encoding("identity")
        .user_agent(concat!("profrec/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.unwrap_or_default());
    config.build().new_agent()
}

fn trust() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

/// Asks for one file and writes it; gives its length.
pub(super) fn get(agent: &Agent, url: &str, bounds: Bounds, into: &mut impl Write) -> Result<u64, Refusal> {
    let left = bounds.deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Refusal::OutOfTime);
    }
    let request = agent.get(url).config();
    let request = request
        .timeout_global(Some(left))
        .timeout_resolve(Some(left.min(MAX_CONNECT)))
        .timeout_connect(Some(left.min(MAX_CONNECT)))
        .timeout_recv_response(Some(left.min(bounds.patience)))
        .timeout_per_read(Some(left.min(bounds.patience)));
    let answer = request.build().call().map_err(|error| why_not(&error))?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Err(Refusal::NotFound),
        status @ 300..400 => {
            return Err(Refusal::Other(format!("sends us elsewhere ({status}), which is not followed")));
        }
        status => return Err(Refusal::Other(format!("answered with status {status}"))),
    }
    if answer.body().content_length().is_some_and(|length| length > bounds.size) {
        return Err(Refusal::TooLarge);
    }
    copy(answer.into_body().into_reader(), bounds, into)
}

/// Copies a body that may be without end, or hardly move.
fn copy(mut body: impl Read, bounds: Bounds, into: &mut impl Write) -> Result<u64, Refusal> {
    let mut piece = vec![0; PIECE];
    let (mut length, mut since, mut length_then) = (0, Instant::now(), 0);
    loop {
        let read = match body.read(&mut piece) {
            Ok(0) => return Ok(length),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) if Instant::now() >= bounds.deadline => return Err(Refusal::OutOfTime),
            Err(error) => return Err(Refusal::Dead(format!("broke off: {error}"))),
        };
        length += read as u64;
        if length > bounds.size {
            return Err(Refusal::TooLarge);
        }
        into.write_all(&piece[..read]).map_err(|error| Refusal::Other(format!("cannot be kept: {error}")))?;
        let now = Instant::now();
        if now >= bounds.deadline {
            return Err(Refusal::OutOfTime);
        }
        if now - since >= bounds.patience {
            if length - length_then < SLOWEST {
                let seconds = bounds.patience.as_secs();
                return Err(Refusal::Dead(format!("hangs: less than 100 KiB in {seconds} s (DEBUGINFOD_TIMEOUT)")));
            }
            (since, length_then) = (now, length);
        }
    }
}

fn why_not(error: &ureq::Error) -> Refusal {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => Refusal::OutOfTime,
        ureq::Error::Timeout(_) => Refusal::Dead("does not answer in time (DEBUGINFOD_TIMEOUT)".to_owned()),
        error => Refusal::Dead(format!("cannot be asked: {error}")),
    }
}
