//! Requests: what is asked, by whom, and whether it may be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Query;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer::Refused;
use super::audit::Witness;
use super::fields::Fields;
use super::tokens::{Hash, Session};
use super::{MAX_BODY, ServerState};
use crate::audit::shown_path;
use crate::policy::kv_paths::KvPath;
use crate::policy::sys_paths::{is_entry, on_care};
use crate::policy::{Access, Capability, Policy as _, Ruling};

/// What is to be done, whatever method it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    List,
    Write,
    Patch,
    Delete,
}

impl Op {
    /// `GET ?list=true` is LIST, PUT is POST.
    fn of(method: &Method, query: &BTreeMap<String, String>) -> Option<Self> {
        Some(match method.as_str() {
            "GET" | "HEAD" if query.get("list").is_some_and(|list| list == "true") => Self::List,
            "GET" | "HEAD" => Self::Read,
            "LIST" => Self::List,
            "POST" | "PUT" => Self::Write,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// What it needs where nothing is made that was not there.
    pub(super) fn needs(self) -> Capability {
        match self {
            Self::Read => Capability::Read,
            Self::List => Capability::List,
            Self::Write => Capability::Update,
            Self::Patch => Capability::Patch,
            Self::Delete => Capability::Delete,
        }
    }
}

/// One request, its body not yet read.
pub(super) struct Asked {
    pub(super) op: Op,
    /// Clean path below `/v1/`, without a slash at its end.
    pub(super) path: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    /// Who sent it, as far as trusted proxies say.
    pub(super) remote: Option<IpAddr>,
    /// Who records it, if anybody does.
    pub(super) witness: Option<Witness>,
    /// Behind a lock that is never waited for: a body alone can not be shared between threads.
    body: Mutex<Body>,
}

impl Asked {
    pub(super) fn new(
        method: &Method,
        (path, query): (String, Option<&str>),
        headers: HeaderMap,
        body: Body,
    ) -> Result<Self, Refused> {
        let query = match query {
            None | Some("") => BTreeMap::new(),
            Some(text) => {
                let wrong = || Refused::invalid("the query can not be read");
                let uri = format!("/?{text}").parse().map_err(|_| wrong())?;
                Query::try_from_uri(&uri).map_err(|_| wrong())?.0
            }
        };
        let op = Op::of(method, &query).ok_or_else(Refused::unsupported)?;
        Ok(Self { op, path, query, headers, remote: None, witness: None, body: Mutex::new(body) })
    }

    /// The path as policies see it: a listing's ends with a slash.
    pub(super) fn api(&self) -> String {
        if self.op == Op::List { format!("{}/", self.path) } else { self.path.clone() }
    }

    pub(super) fn version(&self) -> Result<Option<u64>, Refused> {
        let text = self.query.get("version").filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| Refused::invalid("version is not a number"))).transpose()
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refused> {
        let text = self.query.get(name).filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| Refused::invalid(format!("{name} is not a number")))).transpose()
    }

    /// `X-Vault-Token`, or `Authorization: Bearer`.
    pub(super) fn token(&self) -> Option<Zeroizing<String>> {
        let text = match self.headers.get("x-vault-token") {
            Some(value) => value.to_str().ok()?,
            None => self.headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?,
        };
        (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
    }

    /// A PATCH has to say that it is a merge patch.
    pub(super) fn expect_merge_patch(&self) -> Result<(), Refused> {
        let sent = self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if sent.split(';').next().map(str::trim) == Some("application/merge-patch+json") {
            return Ok(());
        }
        let error = "PATCH requires Content-Type of application/merge-patch+json";
        Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
    }

    async fn bytes(&mut self) -> Result<Bytes, Refused> {
        let body = std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
            let error = "the request's body could not be read, or is larger than 1 MiB";
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, error)
        })?;
        if let Some(witness) = &self.witness {
            witness.read(&body).await?;
        }
        Ok(body)
    }

    /// The body as an object; one without anything in it has no fields. serde's words may quote it, so they are dropped.
    pub(super) async fn fields(&mut self) -> Result<Fields, Refused> {
        let body = self.bytes().await?;
        // `bao write -f` sends `null`.
        if matches!(body.trim_ascii(), b"" | b"null") {
            return Ok(Fields::default());
        }
        serde_json::from_slice(&body).map(Fields).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            let error = format!("failed to parse JSON input, or it is no object (line {line}, column {column})");
            Refused::invalid(error)
        })
    }
}

/// Somebody with a valid token.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) token: Zeroizing<String>,
    /// What the token is found by; none for the root token of the configuration.
    pub(super) hash: Option<Hash>,
    pub(super) session: Arc<Session>,
}

impl ServerState {
    /// Whether the caller may, at this API path.
    pub(super) fn ruling(&self, caller: &Caller, access: &Access<'_>) -> Ruling {
        self.0.policy.admit(caller.session.holder(), access)
    }

    /// Nothing is done for a caller without this.
    pub(super) fn allow(&self, caller: &Caller, access: &Access<'_>) -> Result<(), Refused> {
        match self.ruling(caller, access) {
            Ruling::Allow(_) => Ok(()),
            Ruling::Refuse(why) | Ruling::Silent(why) => {
                let who = &caller.session.identity;
                tracing::info!(%who, path = %shown_path(access.api), needs = %access.needs, why, "denied");
                Err(Refused::denied(Some(why)))
            }
        }
    }

    /// The same for a path that is about no secret. Who comes in, and what they may, a ClusterSecretPolicy can give, too.
    pub(super) fn allow_system(&self, caller: &Caller, asked: &Asked, sudo: bool) -> Result<(), Refused> {
        self.allow_entry(caller, asked, (asked.op.needs(), sudo))
    }

    /// The same where the need is not the method's.
    pub(super) fn allow_entry(
        &self,
        caller: &Caller,
        asked: &Asked,
        (needs, sudo): (Capability, bool),
    ) -> Result<(), Refused> {
        let api = asked.api();
        let secret = is_entry(&asked.path).then(|| (asked.path.as_str(), on_care(needs)));
        self.allow(caller, &Access { api: &api, needs, sudo, secret })
    }

    /// The same for the care of the store. A ClusterSecretPolicy can give it, too: to look is `read`, all else `sudo`.
    pub(super) fn allow_care(&self, caller: &Caller, asked: &Asked) -> Result<(), Refused> {
        let needs = asked.op.needs();
        let deed = on_care(needs);
        let access =
            Access { api: &asked.path, needs, sudo: deed == Capability::Sudo, secret: Some((&asked.path, deed)) };
        self.allow(caller, &access)
    }

    /// The same for a path with a secret behind it.
    pub(super) fn allow_kv(&self, caller: &Caller, asked: &Asked, needs: Capability) -> Result<(), Refused> {
        let api = asked.api();
        let secret = KvPath::parse(&api).and_then(|kv| Some((kv.secret(), kv.verb.on_secret(needs)?)));
        let secret = secret.as_ref().map(|(path, capability)| (path.as_str(), *capability));
        self.allow(caller, &Access { api: &api, needs, sudo: false, secret })
    }

    /// Whether the caller has `sudo` at this path.
    pub(super) fn is_sudo(&self, caller: &Caller, api: &str) -> bool {
        let access = Access { api, needs: Capability::Sudo, sudo: true, secret: None };
        self.ruling(caller, &access).is_allowed()
    }
}

/// A number, also as text: Vault takes both.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
