//! The objects in the cluster: Secrets of one namespace with our labels.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use homelab_core::client::explain;
use homelab_core::meta::{STORE_SECRET_TYPE, label, manager};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, PostParams, Preconditions, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};

use super::super::BackendError;
use super::index::{Fresh, Object, sum};

/// Largest content of an object, in bytes: the API server takes Secrets with 1 MiB of data, and the checksum needs some.
pub(super) const LARGEST: usize = 1024 * 1024 - 1024;
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before each further try of a write that nobody answered, in milliseconds.
const TRIES: [u64; 5] = [100, 300, 1000, 2000, 4000];
/// How long the API server keeps a watch open, in seconds.
const WATCH: u32 = 290;
const PAGE: u32 = 500;
const CONTENT: &str = "content";
const SUM: &str = "sum";

/// What of an object is told by its metadata.
pub(super) struct Listed {
    pub(super) name: String,
    uid: Option<String>,
    /// The commit that it was made for; the head has none.
    pub(super) commit: Option<u64>,
}

/// How a write of the head went.
pub(super) enum Written {
    /// It is there; the version of the object.
    Done(String),
    /// The head is another one than it was written on; an earlier try of this write may have made it so.
    Moved,
    /// It was not written, and will not be.
    Refused(BackendError),
    /// Nobody says whether it was written.
    Unknown(BackendError),
}

/// The Secrets of one store.
#[derive(Clone)]
pub(super) struct Objects {
    secrets: Api<Secret>,
    namespace: String,
    /// Name of the head; all other names start with it.
    store: String,
}

/// Why a request was not answered as it should be.
enum Failure {
    Silence,
    Said(Box<kube::Error>),
}

impl Failure {
    /// Whether the API server has said no, so that nothing has happened and nothing will.
    fn is_final(&self) -> bool {
        match self {
            Self::Said(error) => match &**error {
                kube::Error::Api(status) => {
                    (400..500).contains(&status.code) && !matches!(status.code, 408 | 429) || self.is_full()
                }
                kube::Error::BuildRequest(_) => true,
                _ => false,
            },
            Self::Silence => false,
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Said(error) => match &**error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Silence => None,
        }
    }

    /// A ResourceQuota, or etcd itself.
    fn is_full(&self) -> bool {
        let Self::Said(error) = self else { return false };
        let text = explain(error);
        text.contains("exceeded quota") || text.contains("database space exceeded")
    }

    fn of(self, place: String, then: &str) -> BackendError {
        if self.is_full() {
            return BackendError::Full { place };
        }
        let cause = match self {
            Self::Silence => format!("the API server gave no answer in {} s", TIMEOUT.as_secs()),
            Self::Said(error) => explain(&error),
        };
        BackendError::Failed { place, cause: format!("{cause}{then}") }
    }
}

async fn ask<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| Failure::Said(Box::new(error))),
        Err(_) => Err(Failure::Silence),
    }
}

/// Asks until there is a final answer; says whether an earlier try may have happened.
async fn insist<T, F: Future<Output = kube::Result<T>>>(call: impl Fn() -> F) -> (Result<T, Failure>, bool) {
    let mut tries = TRIES.iter();
    let mut unsure = false;
    loop {
        match ask(call()).await {
            Err(failure) if !failure.is_final() => {
                unsure = true;
                let Some(wait) = tries.next() else { return (Err(failure), unsure) };
                tokio::time::sleep(Duration::from_millis(*wait)).await;
            }
            answered => return (answered, unsure),
        }
    }
}

impl Objects {
    pub(super) fn new(client: Client, namespace: &str, store: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.into(), store: store.into() }
    }

    /// The object in words. The head for an empty `name`.
    pub(super) fn place(&self, name: &str) -> String {
        format!("Secret {}/{}", self.namespace, self.full(name))
    }

    fn full(&self, name: &str) -> String {
        if name.is_empty() { self.store.clone() } else { format!("{}-{name}", self.store) }
    }

    fn secret(&self, name: &str, content: Vec<u8>, commit: Option<u64>) -> Secret {
        let mut labels = BTreeMap::from([
            (label::MANAGED_BY.to_owned(), label::MANAGED_BY_US.to_owned()),
            (label::STORE.to_owned(), self.store.clone()),
        ]);
        labels.extend(commit.map(|commit| (label::STORE_COMMIT.to_owned(), commit.to_string())));
        let checksum = ByteString(sum(&content).into_bytes());
        let data = BTreeMap::from([(CONTENT.to_owned(), ByteString(content)), (SUM.to_owned(), checksum)]);
        Secret {
            metadata: ObjectMeta {
                name: Some(self.full(name)),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            type_: Some(STORE_SECRET_TYPE.into()),
            immutable: commit.map(|_| true),
            data: Some(data),
            ..Secret::default()
        }
    }

    fn content(&self, name: &str, secret: Secret) -> Result<Vec<u8>, BackendError> {
        let mut data = secret.data.unwrap_or_default();
        let (content, checksum) = (data.remove(CONTENT), data.remove(SUM));
        let fits = |content: &ByteString| checksum.is_some_and(|ByteString(kept)| kept == sum(&content.0).into_bytes());
        match content {
            Some(content) if fits(&content) => Ok(content.0),
            _ => Err(self.edited(name)),
        }
    }

    fn edited(&self, name: &str) -> BackendError {
        let cause = "it was changed by hand: its content does not fit its checksum; put it back from a backup".into();
        BackendError::Failed { place: self.place(name), cause }
    }

    /// Version of the head object; `None`: there is none.
    pub(super) async fn head_version(&self) -> Result<Option<String>, BackendError> {
        let found = ask(self.secrets.get_metadata_opt(&self.store)).await;
        let found = found.map_err(|failure| failure.of(self.place(""), ""))?;
        Ok(found.and_then(|head| head.metadata.resource_version))
    }

    /// Content and version of the head.
    pub(super) async fn head(&self) -> Result<Option<(Vec<u8>, Option<String>)>, BackendError> {
        let found = ask(self.secrets.get_opt(&self.store)).await.map_err(|failure| failure.of(self.place(""), ""))?;
        let Some(secret) = found else { return Ok(None) };
        let version = secret.metadata.resource_version.clone();
        Ok(Some((self.content("", secret)?, version)))
    }

    /// Writes the head in the place of `version` (none: there must be none).
    pub(super) async fn write_head(&self, content: Vec<u8>, version: Option<String>) -> Written {
        let mut secret = self.secret("", content, None);
        secret.metadata.resource_version.clone_from(&version);
        let params = PostParams { field_manager: Some(manager::SECRETS.into()), ..PostParams::default() };
        let (secret, params) = (&secret, &params);
        let (answer, _) = match version {
            Some(_) => insist(|| self.secrets.replace(&self.store, params, secret)).await,
            None => insist(|| self.secrets.create(params, secret)).await,
        };
        match answer {
            Ok(written) => Written::Done(written.resource_version().unwrap_or_default()),
            Err(failure) if failure.code() == Some(409) => Written::Moved,
            // Not so for one that is made: then the namespace is missing.
            Err(failure) if failure.code() == Some(404) && version.is_some() => Written::Moved,
            Err(failure) if failure.is_final() => Written::Refused(failure.of(self.place(""), "; nothing was written")),
            Err(failure) => {
                Written::Unknown(failure.of(self.place(""), "; it is not known whether it was written: look again"))
            }
        }
    }

    /// Makes an object.
    pub(super) async fn create(&self, fresh: &Fresh, commit: u64) -> Result<(), BackendError> {
        let secret = &self.secret(&fresh.object.name, fresh.content.clone(), Some(commit));
        let params = &PostParams { field_manager: Some(manager::SECRETS.into()), ..PostParams::default() };
        match insist(|| self.secrets.create(params, secret)).await {
            (Ok(_), _) => Ok(()),
            // The name is random: it is ours.
            (Err(failure), true) if failure.code() == Some(409) => Ok(()),
            (Err(failure), _) => Err(failure.of(self.place(&fresh.object.name), "; nothing was written")),
        }
    }

    /// Content of an object that never changes; `None`: it is not there.
    pub(super) async fn get(&self, object: &Object) -> Result<Option<Vec<u8>>, BackendError> {
        let found = ask(self.secrets.get_opt(&self.full(&object.name))).await;
        let found = found.map_err(|failure| failure.of(self.place(&object.name), ""))?;
        let Some(secret) = found else { return Ok(None) };
        let content = self.content(&object.name, secret)?;
        if sum(&content) == object.sum { Ok(Some(content)) } else { Err(self.edited(&object.name)) }
    }

    /// Takes an object away. One that is not there is fine.
    pub(super) async fn delete(&self, name: &str) -> Result<(), BackendError> {
        self.remove(&self.full(name), &DeleteParams::default()).await
    }

    /// Takes this very object away, not one that was made anew under its name.
    pub(super) async fn delete_listed(&self, listed: &Listed) -> Result<(), BackendError> {
        let preconditions = Some(Preconditions { uid: listed.uid.clone(), resource_version: None });
        self.remove(&self.full(&listed.name), &DeleteParams { preconditions, ..DeleteParams::default() }).await
    }

    async fn remove(&self, full: &str, params: &DeleteParams) -> Result<(), BackendError> {
        match ask(self.secrets.delete(full, params)).await {
            Ok(_) => Ok(()),
            Err(failure) if matches!(failure.code(), Some(404 | 409)) => Ok(()),
            Err(failure) => Err(failure.of(format!("Secret {}/{full}", self.namespace), "")),
        }
    }

    /// All objects of the store, by their metadata. The head has an empty name.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, BackendError> {
        let mut params = ListParams::default().labels(&format!("{}={}", label::STORE, self.store)).limit(PAGE);
        let mut found = Vec::new();
        loop {
            let page = ask(self.secrets.list_metadata(&params)).await;
            let place = || format!("Secrets {}/{}-…", self.namespace, self.store);
            let page = page.map_err(|failure| failure.of(place(), ""))?;
            found.extend(page.items.into_iter().filter_map(|object| self.listed(object)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(found),
            }
        }
    }

    fn listed(&self, object: PartialObjectMeta<Secret>) -> Option<Listed> {
        let commit = object.labels().get(label::STORE_COMMIT).and_then(|commit| commit.parse().ok());
        let rest = object.name_any().strip_prefix(&self.store)?.to_owned();
        let name = if rest.is_empty() { rest } else { rest.strip_prefix('-')?.to_owned() };
        Some(Listed { name, uid: object.metadata.uid, commit })
    }

    /// Says something each time that the head may have changed, until the API server ends it.
    pub(super) async fn watch(&self) -> Result<impl Stream<Item = ()> + Unpin + Send + use<>, BackendError> {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.store)).timeout(WATCH);
        let events = ask(self.secrets.watch_metadata(&params, "0")).await;
        let events = events.map_err(|failure| failure.of(self.place(""), ""))?;
        let goes_on = |event: &kube::Result<_>| std::future::ready(!matches!(event, Ok(WatchEvent::Error(_)) | Err(_)));
        Ok(events.take_while(goes_on).map(|_| ()).boxed())
    }
}
