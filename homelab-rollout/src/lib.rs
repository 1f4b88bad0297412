//! How a new version takes over: revisions, strategies, gates, engines.
//!
//! An App's *revision* is the digest of its chart, its values and the content of its secrets. The pure [`plan`] brings
//! the wanted revision into the idle slot, waits, asks the gates, moves the traffic and keeps the way back open; what
//! it needs of others stands in [`deployer`] and [`ports`]. Without features nothing here talks to anybody; `client`
//! adds the engines, `controller` the loop.

pub mod api;
pub mod archive;
pub mod deployer;
pub mod error;
pub mod gate;
pub mod plan;
pub mod ports;
pub mod preflight;
pub mod request;
pub mod revision;
pub mod stamp;
pub mod status;

#[cfg(feature = "client")]
pub mod backend;
#[cfg(feature = "controller")]
pub mod controller;
#[cfg(feature = "controller")]
pub mod execute;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
