//! `/v1/sys/homelab/git`: sealing and opening the files of a Git repository, for people and machines that hold no key.
//!
//! What may be done is decided at `git/REPOSITORY/PATH`: open: read · seal and reseal: update · the repository itself, at
//! `git/REPOSITORY`, GET: list · POST (new): create · rotate: sudo. The path of the secret is in the URL, so that audit
//! and limits see it, and has to be the file's own.

use std::str::FromStr as _;

use axum::http::StatusCode;
use homelab_core::class::Class;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ServerState;
use super::answer::{Answer, Refused};
use super::request::{Asked, Caller, Op, number};
use crate::Error;
use crate::policy::{Access, Capability};
use crate::sealed::{self, Fields, GIT_MOUNT, RepositoryKeys, RepositoryName, RepositoryRing, SealedFile};
use crate::store::SecretData;

/// An answer that is wiped once it is sent.
#[derive(Serialize)]
struct Opened {
    data: SecretData,
}

/// What is below `sys/homelab/git/`.
pub(super) async fn serve(state: &ServerState, caller: &Caller, asked: &mut Asked, rest: &str) -> Answer {
    let mut parts = rest.splitn(3, '/');
    let name = RepositoryName::parse(parts.next().unwrap_or_default())?;
    match (parts.next(), parts.next()) {
        (None, _) => repository(state, caller, asked, &name).await,
        (Some("rotate"), None) => rotate(state, caller, asked, &name).await,
        (Some(verb), Some(path)) => file(state, caller, asked, (&name, verb, path)).await,
        (Some(_), None) => Err(Refused::no_path()),
    }
}

/// GET: id and epochs; POST: makes the repository if there is none.
async fn repository(state: &ServerState, caller: &Caller, asked: &Asked, name: &RepositoryName) -> Answer {
    let logical = format!("{GIT_MOUNT}/{name}");
    match asked.op {
        Op::Read => {
            state.allow_git(caller, asked, &logical, Capability::List)?;
            state.answer(described(name, &state.0.store.repository(name).await.map_err(told)?)?)
        }
        Op::Write => {
            state.allow_git(caller, asked, &logical, Capability::Create)?;
            let (keys, new) = state.0.store.create_repository(name).await?;
            let mut answer = described(name, &keys)?;
            answer["new"] = new.into();
            state.answer(answer)
        }
        _ => Err(Refused::unsupported()),
    }
}

/// A new epoch, from which on all is sealed.
async fn rotate(state: &ServerState, caller: &Caller, asked: &mut Asked, name: &RepositoryName) -> Answer {
    expect_write(asked)?;
    state.allow_git(caller, asked, &format!("{GIT_MOUNT}/{name}"), Capability::Sudo)?;
    let from = asked.fields().await?.0.get("from").and_then(number);
    let from = from.ok_or_else(|| Refused::invalid("`from` is the number of the epoch that there is"))?;
    let keys = state.0.store.rotate_repository(name, from).await.map_err(told)?;
    tracing::info!(who = %caller.session.identity, repository = %name, "a new epoch for sealed files");
    state.answer(described(name, &keys)?)
}

/// `seal/PATH`, `open/PATH`, `reseal/PATH`.
async fn file(
    state: &ServerState,
    caller: &Caller,
    asked: &mut Asked,
    (name, verb, path): (&RepositoryName, &str, &str),
) -> Answer {
    expect_write(asked)?;
    let capability = match verb {
        "open" => Capability::Read,
        "seal" | "reseal" => Capability::Update,
        _ => return Err(Refused::no_path()),
    };
    sealed::check_path(name, path)?;
    state.allow_git(caller, asked, &sealed::logical_path(name, path), capability)?;
    let ring = state.0.store.repository(name).await.map_err(told)?.open()?;
    let body = asked.fields().await?.0;
    match verb {
        "open" => state.answer(Opened { data: SecretData::new(open(&ring, path, &body)?.to_json()?) }),
        "seal" => state.answer(json!({ "file": seal(&ring, path, body)?.to_string() })),
        _ => state.answer(json!({ "file": reseal(&ring, path, &body)?.to_string() })),
    }
}

impl ServerState {
    /// Sealed files have a path for the policies of secrets, as KV has.
    fn allow_git(&self, caller: &Caller, asked: &Asked, path: &str, needs: Capability) -> Result<(), Refused> {
        let secret = Some((path, needs));
        let sudo = needs == Capability::Sudo;
        self.allow(caller, &Access { api: &asked.api(), needs: asked.op.needs(), sudo, secret })
    }
}

fn open(ring: &RepositoryRing, path: &str, body: &Map<String, Value>) -> Result<Fields, Error> {
    sealed::open_file(ring, &read(text(body, "file")?, path)?)
}

fn seal(ring: &RepositoryRing, path: &str, mut body: Map<String, Value>) -> Result<SealedFile, Error> {
    let data = match body.remove("data") {
        Some(Value::Object(data)) => SecretData::new(data),
        _ => return Err(Error::Invalid("`data` is the object to seal".into())),
    };
    let previous = body.get("previous").filter(|previous| !previous.is_null());
    let previous = previous.map(|_| read(text(&body, "previous")?, path)).transpose()?;
    sealed::seal_file(ring, path, &Fields::from_json(data.expose())?, previous.as_ref())
}

fn reseal(ring: &RepositoryRing, path: &str, body: &Map<String, Value>) -> Result<SealedFile, Error> {
    sealed::reseal(ring, &read(text(body, "file")?, path)?, ring.active_epoch())
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Error> {
    let text = body.get(name).and_then(Value::as_str);
    text.ok_or_else(|| Error::Invalid(format!("`{name}` is the text of a sealed file")))
}

/// The file has to be the secret that the caller was let at.
fn read(text: &str, path: &str) -> Result<SealedFile, Error> {
    let file = SealedFile::from_str(text)?;
    if file.path() != path {
        let found = file.path();
        return Err(Error::Invalid(format!("the sealed file is the secret {found}, not {path} as asked for")));
    }
    Ok(file)
}

fn described(name: &RepositoryName, keys: &RepositoryKeys) -> Result<Value, Error> {
    let ring = keys.open()?;
    Ok(json!({
        "repository": name.as_str(), "id": ring.id().to_string(), "epoch": ring.active_epoch(), "epochs": keys.epochs(),
    }))
}

fn expect_write(asked: &Asked) -> Result<(), Refused> {
    if asked.op == Op::Write { Ok(()) } else { Err(Refused::unsupported()) }
}

/// A repository that is not there is said, unlike a secret: its name is in every file.
fn told(error: Error) -> Refused {
    match error.class() {
        Class::NotFound => Refused::new(StatusCode::NOT_FOUND, error.to_string()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
