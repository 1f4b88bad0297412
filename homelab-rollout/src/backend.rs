//! Engines that bring revisions into the cluster, and probes that ask them.

pub mod chart;
pub mod helm;
pub mod probe;
