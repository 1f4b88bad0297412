//! How a new version takes over: revisions, strategies, gates, engines.

pub mod deployer;
pub mod error;
pub mod ports;
pub mod revision;
