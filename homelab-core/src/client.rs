//! Clients: our own, and those that act as a ServiceAccount; what an API error asks for and means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::Status;
use kube::{Client, Config};

use crate::class::Class;
use crate::meta::Account;

mod kinds;

pub use kinds::{Kind, Kinds, KindsError};

/// A client that acts as `account` (impersonation).
///
/// It names no groups: the API server then gives the account its own, and we need no right to impersonate groups.
pub fn impersonate(config: &Config, account: &Account) -> kube::Result<Client> {
    let mut config = config.clone();
    config.auth_info.impersonate = Some(account.username());
    Client::try_from(config)
}

/// Our own client, and one for each account that something is read or written as.
#[derive(Clone)]
pub struct Clients {
    own: Client,
    /// None: every account gets our own client (tests against a mock).
    config: Option<Arc<Config>>,
    accounts: Arc<Mutex<HashMap<Account, Client>>>,
}

impl Clients {
    /// Clients by `config`.
    pub fn new(config: Config) -> kube::Result<Self> {
        let own = Client::try_from(config.clone())?;
        Ok(Self { own, config: Some(Arc::new(config)), accounts: Arc::default() })
    }

    /// `client` for every account, for tests against a mock.
    #[cfg(any(test, feature = "testing"))]
    pub fn same(client: Client) -> Self {
        Self { own: client, config: None, accounts: Arc::default() }
    }

    /// Our own rights: reading, our own kinds, Lease, routes.
    pub fn own(&self) -> Client {
        self.own.clone()
    }

    /// The rights of `account`.
    pub fn of(&self, account: &Account) -> kube::Result<Client> {
        let Some(config) = &self.config else { return Ok(self.own()) };
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = accounts.get(account) {
            return Ok(client.clone());
        }
        let client = impersonate(config, account)?;
        accounts.insert(account.clone(), client.clone());
        Ok(client)
    }
}

/// What an API error asks of its caller.
pub fn classify(error: &kube::Error) -> Class {
    use kube::Error as E;
    match error {
        E::Api(status) => classify_status(status),
        E::Discovery(_) => Class::NotFound,
        E::BuildRequest(_) | E::InferConfig(_) | E::HttpError(_) => Class::Invalid,
        E::SerdeError(_) => Class::Bug,
        _ => Class::Retry,
    }
}

fn classify_status(status: &Status) -> Class {
    let terminating = || causes(status).any(|(reason, _, _)| reason == "NamespaceTerminating");
    match status.code {
        404 => Class::NotFound,
        409 => Class::Conflict,
        403 if terminating() => Class::Retry,
        401 | 403 => Class::Denied,
        400 | 405 | 406 | 413 | 415 | 422 => Class::Invalid,
        // How server-side apply answers to an unknown field or a wrong type.
        500 if status.message.contains("failed to create typed patch object") => Class::Invalid,
        _ => Class::Retry,
    }
}

/// `(reason, field, message)` of each cause.
pub(crate) fn causes(status: &Status) -> impl Iterator<Item = (&str, &str, &str)> {
    status.details.iter().flat_map(|d| &d.causes).map(|c| (c.reason.as_str(), c.field.as_str(), c.message.as_str()))
}

/// An API error in one line for people: what the server said, or why it could not be asked.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => explain_status(status),
        kube::Error::Service(source) => format!("the API server can not be reached: {}", chain(source.as_ref())),
        kube::Error::HyperError(source) => format!("the connection to the API server broke: {}", chain(source)),
        other => chain(other),
    }
}

fn explain_status(status: &Status) -> String {
    let message = one_line(&status.message);
    match (message.is_empty(), status.reason.as_str()) {
        (false, _) => message,
        (true, "") => format!("the API server answered {}", status.code),
        (true, reason) => format!("the API server answered {} {reason}", status.code),
    }
}

/// An error and its sources, each only once, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = one_line(&error.to_string());
    let mut next = error.source();
    while let Some(source) = next {
        let more = one_line(&source.to_string());
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
