//! Words of Kubernetes and of the operating system that two or more homelab libraries need.
//!
//! Nothing here knows of secrets, Git, revisions or weights. Without features everything is pure; `client` adds the
//! modules that talk to the API server ([`apply`], [`watch`], [`lease`], [`events`], [`client`]) or start programs
//! ([`process`]).

pub mod class;
pub mod condition;
pub mod graph;
pub mod health;
pub mod meta;

#[cfg(feature = "client")]
pub mod apply;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod events;
#[cfg(feature = "client")]
pub mod lease;
#[cfg(feature = "client")]
pub mod process;
#[cfg(feature = "client")]
pub mod watch;
