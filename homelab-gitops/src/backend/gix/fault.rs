//! From gix' errors to ours.

use std::error::Error as StdError;

use crate::Error;
use crate::error::Fault;

/// An error and its causes in one line.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !words.iter().any(|known| known.contains(&text)) {
            words.push(text);
        }
        next = error.source();
    }
    words.join(": ")
}

/// Every error of a gix error, outermost first, as text.
fn layers(error: &gix::Error) -> Vec<String> {
    error.iter_errors().map(chain).collect()
}

/// Says what kind of trouble the server gave.
pub(super) fn remote(url: &str, error: &gix::Error) -> Error {
    let layers = layers(error);
    let text = layers.join(" ").to_lowercase();
    let fault = fault(&text, error);
    // The innermost words are the most telling; the outer ones speak of gix' own steps.
    let detail = layers.iter().rev().find(|layer| !layer.trim().is_empty()).cloned().unwrap_or_default();
    let detail = match fault {
        Fault::Unauthenticated => "the server asked for other credentials, or for any".to_owned(),
        Fault::Certificate if url.starts_with("http://") => {
            "it redirects to https: write https:// in spec.url".to_owned()
        }
        _ => short(&detail),
    };
    Error::Source { url: url.into(), fault, detail }
}

fn fault(text: &str, error: &gix::Error) -> Fault {
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["http status 401", "no credentials were returned", "were not accepted by the remote"]) {
        Fault::Unauthenticated
    } else if has(&["http status 403"]) {
        Fault::Forbidden
    } else if has(&[
        "http status 404",
        "http status 410",
        "does not appear to be a git repository",
        "is a valid git directory",
    ]) {
        Fault::NoRepository
    } else if has(&["http status 5", "http status 429"]) {
        Fault::Server
    } else if has(&["certificate", "unknownissuer", "invalid peer"]) {
        Fault::Certificate
    } else if has(&["dns error", "failed to lookup address", "name or service not known", "nodename nor servname"]) {
        Fault::Dns
    } else if has(&[
        "connection refused",
        "error trying to connect",
        "tcp connect",
        "timed out",
        "connection reset",
        "connection closed",
        "broken pipe",
        "error sending request",
    ]) || error.is_retryable()
    {
        Fault::Unreachable
    } else {
        Fault::Protocol
    }
}

fn short(text: &str) -> String {
    const LIMIT: usize = 300;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
