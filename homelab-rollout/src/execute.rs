//! One resumable action at a time.
#![expect(
    clippy::disallowed_methods,
    reason = "gates are answered at a time; the failpoint is an environment variable"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use homelab_core::class::Class;
use homelab_core::client::{classify, explain};
use homelab_core::meta::{finalizer, manager};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::api::v1alpha1::App;
use crate::backend::probe::HttpGate;
use crate::controller::Context;
use crate::controller::handle::Handle;
use crate::deployer::Deployment;
use crate::error::Error;
use crate::gate::http::HttpCheck;
use crate::gate::{self, Gate as _, GateTarget};
use crate::plan::observed::{GateFacts, Verdict};
use crate::plan::spec::Check;
use crate::plan::{Action, Slot, backend};
use crate::ports::{PortError, ResolvedSecret};
use crate::revision::RevisionRecord;
use crate::revision::secret::{self, Marks};

/// Ends the process after a number of writes, so that tests can crash between any two: `HOMELAB_FAILPOINT=exit-after-write:N`.
#[derive(Clone, Debug, Default)]
pub struct Failpoint(Option<Arc<AtomicI64>>);

impl Failpoint {
    /// Reads the environment; without the variable it does nothing.
    pub fn from_environment() -> Self {
        let text = std::env::var("HOMELAB_FAILPOINT").unwrap_or_default();
        let writes = text.strip_prefix("exit-after-write:").and_then(|number| number.parse().ok());
        Self(writes.map(|writes: i64| Arc::new(AtomicI64::new(writes))))
    }

    fn wrote(&self) {
        if let Some(left) = &self.0
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            std::process::exit(86);
        }
    }
}

/// Writes for one App.
pub(crate) struct Executor<'a> {
    pub(crate) context: &'a Context,
    pub(crate) handle: &'a Handle,
    /// Content of the wanted revision, if it is not kept yet.
    pub(crate) candidate: Option<&'a RevisionRecord>,
    /// The newest of secrets that every colour follows, whatever revision it holds.
    pub(crate) newest: &'a [ResolvedSecret],
    pub(crate) failpoint: &'a Failpoint,
}

impl Executor<'_> {
    /// Does one action; called again after a crash it finishes it. A gate gives its answer.
    pub(crate) async fn execute(&self, action: &Action) -> Result<Option<GateFacts>, Error> {
        let handle = self.handle;
        match action {
            Action::CheckGate { gate, slot, revision, failures } => {
                return self.ask(gate, *slot, revision, *failures).await.map(Some);
            }
            Action::AddFinalizer => self.finalizers(true).await?,
            Action::RemoveFinalizer => self.finalizers(false).await?,
            Action::Keep { revision } => self.keep(revision).await?,
            Action::Forget { revision } => self.forget(revision).await?,
            Action::Mark { revision, marks, .. } => self.mark(revision, marks).await?,
            Action::Deploy { slot, revision, mode, .. } => {
                let revision = self.following(self.record(revision).await?)?;
                let deployment = Deployment { revision, mode: mode.clone() };
                self.context.deployer.deploy(&handle.slot(*slot), &deployment).await?;
            }
            Action::Repair { slot, .. } => self.context.deployer.repair(&handle.slot(*slot)).await?,
            Action::Remove { slot, .. } => self.context.deployer.remove(&handle.slot(*slot)).await?,
            Action::Shift { split, version, force, .. } => {
                let port = split.backends.iter().find(|backend| backend.weight > 0).map(|backend| backend.port);
                let route = handle.route(None).map(|route| crate::ports::TrafficRoute {
                    port: handle.fixed_port().or(port).unwrap_or(route.port),
                    ..route
                });
                let route = route.ok_or_else(|| Error::Invalid(format!("App {} has no route", handle.name)))?;
                self.context
                    .traffic
                    .apply(&route, split, version.as_deref(), *force)
                    .await
                    .map_err(|error| port_failed("write the route", error))?;
            }
            Action::ReleaseRoute => {
                if let Some(route) = handle.route(None) {
                    self.context
                        .traffic
                        .release(&route)
                        .await
                        .map_err(|error| port_failed("take the route away", error))?;
                }
            }
        }
        self.failpoint.wrote();
        Ok(None)
    }

    fn secrets(&self) -> Result<Api<Secret>, Error> {
        let client = self
            .context
            .clients
            .of(&self.handle.writer)
            .map_err(|error| api(format!("act as {}", self.handle.writer), &error))?;
        Ok(Api::namespaced(client, &self.handle.namespace))
    }

    async fn record(&self, revision: &str) -> Result<RevisionRecord, Error> {
        let name = secret::name(&self.handle.name, revision);
        let secrets: Api<Secret> = Api::namespaced(self.context.clients.own(), &self.handle.namespace);
        let found = secrets.get(&name).await.map_err(|error| api(format!("read Secret {name}"), &error))?;
        Ok(secret::from_secret(&found)?.0)
    }

    /// A kept revision with the newest versions of secrets that change in place. While one of them can not be known nothing
    /// is deployed: the version that the revision was made with may be dead.
    fn following(&self, mut record: RevisionRecord) -> Result<RevisionRecord, Error> {
        let follows = |path: &str| self.handle.spec.cut.contains(path);
        for secret in record.secrets.iter_mut().filter(|secret| follows(&secret.path)) {
            let newest = self.newest.iter().find(|newest| newest.path == secret.path);
            let newest = newest.ok_or_else(|| Error::Api {
                action: format!(
                    "find the newest version of {}, which every colour follows (onChange: cut)",
                    secret.path
                ),
                message: format!(
                    "it can not be read as {}: see `homelab kv history {}`",
                    self.handle.reader, secret.path
                ),
                class: Class::Retry,
            })?;
            secret.version = newest.version;
            secret.keys.clone_from(&newest.keys);
        }
        Ok(record)
    }

    async fn keep(&self, revision: &str) -> Result<(), Error> {
        let handle = self.handle;
        let record = self.candidate.filter(|record| record.id == revision);
        let record = record.ok_or_else(|| Error::Conflict {
            object: format!("revision {revision}"),
            message: "is not what is wanted any more".into(),
        })?;
        let object = secret::to_secret(record, &handle.name, &handle.namespace, handle.owner())?;
        let name = object.name_any();
        match self
            .secrets()?
            .create(&PostParams { field_manager: Some(manager::ROLLOUT.into()), ..PostParams::default() }, &object)
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.replace_foreign(&name).await?,
            Err(error) => return Err(api(format!("create Secret {} as {}", name, handle.writer), &error)),
        }
        pin(self.context, handle, record).await
    }

    /// A Secret of that name from an App that was deleted and made again goes; what is ours already is fine.
    async fn replace_foreign(&self, name: &str) -> Result<(), Error> {
        let found =
            self.secrets()?.get_metadata(name).await.map_err(|error| api(format!("read Secret {name}"), &error))?;
        if found.owner_references().iter().any(|owner| owner.uid == self.handle.uid) {
            return Ok(());
        }
        Err(Error::Conflict {
            object: format!("Secret {}/{name}", self.handle.namespace),
            message: "exists and belongs to somebody else: delete it".into(),
        })
    }

    async fn forget(&self, revision: &str) -> Result<(), Error> {
        self.context
            .secrets
            .pin(&self.handle.holder(revision), &[])
            .await
            .map_err(|error| port_failed("unpin secrets", error))?;
        let name = secret::name(&self.handle.name, revision);
        match self.secrets()?.delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(api(format!("delete Secret {name} as {}", self.handle.writer), &error)),
        }
    }

    async fn mark(&self, revision: &str, marks: &Marks) -> Result<(), Error> {
        let name = secret::name(&self.handle.name, revision);
        let patch = json!({"metadata": {"annotations": marks.to_annotations()}});
        let params = PatchParams { field_manager: Some(manager::ROLLOUT.into()), ..PatchParams::default() };
        let written = self.secrets()?.patch_metadata(&name, &params, &Patch::Merge(&patch)).await;
        written.map(drop).map_err(|error| api(format!("annotate Secret {name} as {}", self.handle.writer), &error))
    }

    /// Merge patch from the version that was seen: lists are replaced whole.
    async fn finalizers(&self, ours: bool) -> Result<(), Error> {
        let app = &self.handle.app;
        let others = app.finalizers().iter().filter(|name| *name != finalizer::APP).cloned();
        let wanted: Vec<String> = others.chain(ours.then(|| finalizer::APP.to_owned())).collect();
        let patch = json!({"metadata": {"finalizers": wanted, "resourceVersion": app.resource_version()}});
        let apps: Api<App> = Api::namespaced(self.context.clients.own(), &self.handle.namespace);
        match apps.patch_metadata(&self.handle.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() && !ours => Ok(()),
            // The status was written just before: the next round has the newer version.
            Err(error) => Err(api(format!("write the finalizer of App {}", self.handle.name), &error)),
        }
    }

    async fn ask(&self, gate: &str, slot: Slot, revision: &str, failures: u32) -> Result<GateFacts, Error> {
        let handle = self.handle;
        let state = self.context.deployer.observe(&handle.slot(slot)).await?;
        let wanted = handle.spec.gates.iter().find(|known| known.name == gate);
        let Some(Check::Http(check)) = wanted.map(|gate| &gate.check) else {
            return Err(Error::Invalid(format!("App {} has no HTTP gate {gate}", handle.name)));
        };
        let backend = backend::of(&handle.name, slot, &state, handle.spec.route.as_ref()).map_err(Error::Invalid)?;
        let target = GateTarget { namespace: handle.namespace.clone(), service: backend.service, port: backend.port };
        // One try: how many there are, and the pause between them, is the plan's.
        let gate_once = HttpGate::new(self.context.clients.own(), HttpCheck { attempts: 1, ..check.clone() });
        let (verdict, detail) = match gate_once.ask(&target).await {
            gate::Verdict::Success(detail) => (Verdict::Passed, detail),
            gate::Verdict::Failure(detail) => (Verdict::Failed, detail),
            gate::Verdict::Inconclusive(detail) => (Verdict::Unclear, detail),
        };
        let failures = if verdict == Verdict::Failed { failures + 1 } else { failures };
        Ok(GateFacts {
            gate: gate.to_owned(),
            revision: revision.to_owned(),
            at: Timestamp::now(),
            failures,
            verdict,
            detail,
        })
    }
}

/// Keeps the secret versions of a revision from being pruned.
pub(crate) async fn pin(context: &Context, handle: &Handle, record: &RevisionRecord) -> Result<(), Error> {
    let versions: Vec<_> = record.secrets.iter().map(|secret| (secret.path.clone(), secret.version)).collect();
    if versions.is_empty() {
        return Ok(());
    }
    context.secrets.pin(&handle.holder(&record.id), &versions).await.map_err(|error| port_failed("pin secrets", error))
}

fn api(action: String, error: &kube::Error) -> Error {
    Error::Api { action, message: explain(error), class: classify(error) }
}

fn port_failed(action: &str, error: PortError) -> Error {
    Error::Api { action: action.into(), message: error.message, class: error.class }
}
