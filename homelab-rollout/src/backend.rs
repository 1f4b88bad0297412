//! Engines that bring revisions into the cluster.

pub mod helm;
