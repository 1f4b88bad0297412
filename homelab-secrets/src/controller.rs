//! Keeps policies in step with the cluster.
