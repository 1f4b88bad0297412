//! Names of things: object references, accounts, and every label, annotation, finalizer and field manager of ours.

use std::fmt;

use serde::{Deserialize, Serialize};

/// API group of our kinds.
pub const GROUP: &str = "homelab.dev";
/// Version of our kinds.
pub const VERSION: &str = "v1alpha1";
/// Audience that a ServiceAccount token must carry to log in to the secret server.
pub const TOKEN_AUDIENCE: &str = "homelab";

/// Labels.
pub mod label {
    /// On everything that an App made, and on its pods: the App's name.
    pub const APP: &str = "homelab.dev/app";
    /// On pods of a blue-green App: `blue` or `green`.
    pub const COLOUR: &str = "homelab.dev/colour";
    /// On pods, revision Secrets and Helm release Secrets: the revision id.
    pub const REVISION: &str = "homelab.dev/revision";
    /// On Helm release Secrets: `serving` or `idle`.
    pub const MODE: &str = "homelab.dev/mode";
    /// On the Secrets of a secret store that lies in the cluster: the store's name.
    pub const STORE: &str = "homelab.dev/store";
    /// On those of them that never change: number of the commit that they were made for.
    pub const STORE_COMMIT: &str = "homelab.dev/store-commit";
    /// On a Secret that is kept equal to the secret store: name of the SecretSync of its namespace that does so.
    pub const SECRET_SYNC: &str = "homelab.dev/secretsync";
    /// Opt-in of a pod outside Apps for injection: `"true"`.
    pub const INJECT: &str = "homelab.dev/inject";
    /// `app.kubernetes.io/managed-by`, value [`MANAGED_BY_US`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// Value of [`MANAGED_BY`] on objects that the daemon itself makes.
    pub const MANAGED_BY_US: &str = "homelab";
}

/// Annotations.
pub mod annotation {
    /// On the route or apex Service: `COLOUR@REVISION` that serves. Written with the weights.
    pub const ACTIVE: &str = "homelab.dev/active";
    /// On the route or apex Service: RFC 3339 time of the last change of weights, written with them.
    pub const SHIFTED_AT: &str = "homelab.dev/shifted-at";
    /// On an App: a person's or program's wish, `id=…;verb=…;revision=…;by=…;reason=…`.
    pub const REQUEST: &str = "homelab.dev/request";
    /// On an App that a GitSync applied: `NAMESPACE/GITSYNC@TREE`, TREE = Git tree id of the folder that the App names.
    pub const SOURCE: &str = "homelab.dev/source";
    /// On what a GitSync applied: `NAMESPACE/NAME` of the ServiceAccount that it was applied as, and that it runs as.
    pub const ACCOUNT: &str = "homelab.dev/account";
    /// On pod templates: exact `path@version` of each secret, comma separated.
    pub const SECRETS: &str = "homelab.dev/secrets";
    /// On opted-in pods: how often a sidecar looks for newer versions of the secrets that are files, as in `30s`.
    pub const REFRESH: &str = "homelab.dev/refresh";
    /// On what makes pods: RFC 3339 time at which it was made to try again after a refusal.
    pub const NUDGED_AT: &str = "homelab.dev/nudged-at";
    /// On anything that a GitSync applied: `never` keeps it, `confirm` asks first.
    pub const PRUNE: &str = "homelab.dev/prune";
    /// On a pruned-with-`confirm` object: its uid, written by a person who agrees.
    pub const PRUNE_CONFIRMED: &str = "homelab.dev/prune-confirmed";
    /// On a revision Secret: why this revision failed. A failed revision is not retried by itself.
    pub const FAILED: &str = "homelab.dev/failed";
    /// On a revision Secret: RFC 3339 time at which it last became active.
    pub const ACTIVATED_AT: &str = "homelab.dev/activated-at";
    /// On a revision Secret: it is not rolled out until Git or a secret moves on, or a person asks; the value names the
    /// revision that serves instead (empty: the active one).
    pub const HELD: &str = "homelab.dev/held";
    /// On a revision Secret: who went back from this revision, where to and why.
    pub const ROLLED_BACK: &str = "homelab.dev/rolled-back";
    /// On a revision Secret: who answered its approval gates.
    pub const APPROVED: &str = "homelab.dev/approved";
    /// On a revision Secret: who asked for the rest of its rollout at once.
    pub const PROMOTED: &str = "homelab.dev/promoted";
    /// On a revision Secret: who paused its rollout.
    pub const PAUSED: &str = "homelab.dev/paused";
    /// On a revision Secret: the field manager whose edit of the route is taken back, because a person asked for it.
    pub const TAKE_BACK: &str = "homelab.dev/take-back";
    /// On a revision Secret: RFC 3339 time of the last request to try it again; earlier verdicts do not count.
    pub const RETRIED_AT: &str = "homelab.dev/retried-at";
    /// On a revision Secret: id of the last request that was answered, in the same write as its effect.
    pub const HANDLED: &str = "homelab.dev/handled";
    /// On a SecretSync: any new value asks for new versions of what it generates.
    pub const ROTATE: &str = "homelab.dev/rotate";
    /// On a GitSync: any new value asks for a fetch now (written by `homelab sync` and the webhook).
    pub const SYNC_REQUESTED_AT: &str = "homelab.dev/sync-requested-at";
}

/// Field managers: one a library, so that a 409 names who wrote what.
pub mod manager {
    /// homelab-gitops.
    pub const GITOPS: &str = "homelab-gitops";
    /// homelab-rollout.
    pub const ROLLOUT: &str = "homelab-rollout";
    /// homelab-mesh.
    pub const MESH: &str = "homelab-mesh";
    /// homelab-secrets.
    pub const SECRETS: &str = "homelab-secrets";
    /// Commands written for a person (requests).
    pub const CLI: &str = "homelab-cli";
    /// The daemon itself (Lease, certificates, webhook configuration).
    pub const DAEMON: &str = "homelab-daemon";
}

/// Finalizers.
pub mod finalizer {
    /// On an App: its releases, routes and revisions are taken away before it is.
    pub const APP: &str = "homelab.dev/app";
    /// On a GitSync: what it applied is pruned before it is.
    pub const GITSYNC: &str = "homelab.dev/gitsync";
}

/// Type of the Secret that holds one kept revision of an App.
pub const REVISION_SECRET_TYPE: &str = "homelab.dev/revision";

/// Type of the Secrets that hold a secret store.
pub const STORE_SECRET_TYPE: &str = "homelab.dev/store";

/// One object of the cluster by group, kind, namespace and name (the version is not part of its identity).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, as in `Deployment`.
    pub kind: String,
    /// Namespace; none for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// A reference to a namespaced object.
    pub fn namespaced(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// A reference to a cluster-scoped object.
    pub fn cluster(group: &str, kind: &str, name: &str) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: None, name: name.into() }
    }

    /// Whether it is an App: what has rollouts, with deadlines of their own.
    pub fn is_app(&self) -> bool {
        self.group == GROUP && self.kind == "App"
    }

    /// Reads `apiVersion`, `kind`, `metadata.namespace` and `metadata.name` of an object; none if kind or name is missing.
    pub fn of(object: &serde_json::Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(|v| v.as_str());
        let api_version = text("/apiVersion").unwrap_or_default();
        Some(Self {
            group: api_version.split_once('/').map_or("", |(group, _)| group).into(),
            kind: text("/kind")?.into(),
            namespace: text("/metadata/namespace").filter(|n| !n.is_empty()).map(Into::into),
            name: text("/metadata/name").filter(|n| !n.is_empty())?.into(),
        })
    }
}

impl fmt::Display for ObjectRef {
    /// `Kind.group namespace/name`, as in `Deployment.apps web/api` or `Namespace web`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " {namespace}/{}", self.name),
            None => write!(f, " {}", self.name),
        }
    }
}

/// A ServiceAccount in whose name something is read or written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Account {
    /// The account `NAMESPACE/NAME`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Reads `NAMESPACE/NAME`; none if one of the two is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains('/')).then(|| Self::new(namespace, name))
    }

    /// The user name that Kubernetes gives it.
    pub fn username(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The groups that Kubernetes gives it.
    pub fn groups(&self) -> [String; 3] {
        [
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{}", self.namespace),
            "system:authenticated".into(),
        ]
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
