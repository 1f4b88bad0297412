//! homelab-rollout's `Artifacts` by homelab-gitops' trees.

use std::sync::Arc;

use async_trait::async_trait;
use homelab_gitops::backend::trees::Trees;
use homelab_rollout::ports::{Artifact, ArtifactSource, Artifacts, PortError};

use super::counted;
use crate::daemon::metrics::Metrics;

/// Folders of repositories that GitSyncs have fetched.
pub struct TreeArtifacts {
    trees: Trees,
    metrics: Arc<Metrics>,
}

impl TreeArtifacts {
    /// Over these trees.
    pub fn new(trees: Trees, metrics: Arc<Metrics>) -> Self {
        Self { trees, metrics }
    }
}

#[async_trait]
impl Artifacts for TreeArtifacts {
    async fn fetch(&self, source: &ArtifactSource) -> Result<Artifact, PortError> {
        let ArtifactSource::GitTree { namespace, gitsync, tree } = source;
        let call = self.trees.materialize(namespace, gitsync, tree);
        let directory = counted(&self.metrics, "artifacts_fetch", call).await;
        let directory = directory.map_err(|error| PortError { class: error.class(), message: error.to_string() })?;
        // A tree id is the digest of the folder's content.
        Ok(Artifact { directory, digest: tree.clone() })
    }
}
