//! Makes the secrets that a SecretSync asks for, in the store, as its account.

use homelab_core::events::EventType;
use homelab_core::meta::{Account, annotation};
use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::Shared;
use crate::api::v1alpha1::{GeneratedSecret, SecretSync};
use crate::backend::{Host as _, System};
use crate::store::SecretData;
use crate::sync::generate::{Due, due, make, takes_turns, writer};
use crate::sync::{Problem, Source, Values};

/// Longest request that is noted beside a version.
const LONGEST_REQUEST: usize = 64;

/// Makes what is due. Each path for itself: the first problem is told, and keeps no other from being made. Gives the time of
/// the next rotation.
pub(super) async fn generate(
    shared: &Shared,
    sync: &SecretSync,
    account: &Account,
) -> (Option<Timestamp>, Option<Problem>) {
    let (mut next, mut problem) = (None::<Timestamp>, None);
    for wish in &sync.spec.generate {
        match one(shared, sync, account, wish).await {
            Ok(again) => next = next.into_iter().chain(again).min(),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    (next, problem)
}

async fn one(
    shared: &Shared,
    sync: &SecretSync,
    account: &Account,
    wish: &GeneratedSecret,
) -> Result<Option<Timestamp>, Problem> {
    let secrets = &shared.context.secrets;
    let stand = secrets.stand(account, &wish.path).await.map_err(|error| Problem::of_store(&error))?;
    let asked = asked(sync)?;
    let name = sync.name_any();
    let cas = match due(wish, stand.as_ref(), (account, &name), asked, System.now())? {
        Due::Nothing { again } => return Ok(again),
        Due::Write { cas } => cas,
    };
    let before = match takes_turns(wish) && cas > 0 {
        true => {
            let source = Source { path: wish.path.clone(), version: Some(cas) };
            secrets.read(account, &source).await.map_err(|error| Problem::of_store(&error))?.values
        }
        false => Values::default(),
    };
    let values = SecretData::new(make(wish, &before, &|bytes| System.random(bytes))?);
    let written = secrets.write(account, &wish.path, values, cas, writer(account, &name, asked)).await;
    let version = written.map_err(|error| Problem::of_store(&error))?;
    let note = format!("made {}@{version}", wish.path);
    tracing::info!(secretsync = name, namespace = account.namespace, "{note}");
    shared.context.events.emit(&sync.object_ref(&()), EventType::Normal, "Generated", "Generate", &note).await;
    let stand = secrets.stand(account, &wish.path).await.map_err(|error| Problem::of_store(&error))?;
    match due(wish, stand.as_ref(), (account, &name), asked, System.now())? {
        Due::Nothing { again } => Ok(again),
        Due::Write { .. } => Ok(Some(System.now())),
    }
}

/// The request for a rotation, if there is one.
fn asked(sync: &SecretSync) -> Result<Option<&str>, Problem> {
    let asked = sync.annotations().get(annotation::ROTATE).map(String::as_str).filter(|asked| !asked.is_empty());
    let fits = |text: &str| text.len() <= LONGEST_REQUEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    match asked {
        Some(asked) if !fits(asked) => Err(Problem::stalled(
            "InvalidRequest",
            format!(
                "annotation {} has to be a word of at most {LONGEST_REQUEST} ASCII characters, as in 2026-01-31",
                annotation::ROTATE
            ),
        )),
        asked => Ok(asked),
    }
}
