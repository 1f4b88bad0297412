//! A sealed, versioned secret store with Vault's KV v2 API, policies, and injection into pods.
//!
//! Floors, each reaching only downwards:
//!
//! - base, pure: [`seal`] (AES-256-SIV), [`keys`] (slot → root → data keys), [`kv`] (all rules of KV v2), [`policy`],
//!   [`audit`] (records in a chain), [`sealed`] (secrets as files in Git), [`api`] (kinds), [`inject`] (what brings secrets
//!   into a pod template), [`sync`] (what a Kubernetes Secret has to hold), [`versions`] (what a rollout asks of a store,
//!   wherever that is), [`backup`] (a whole store in a file);
//! - feature `store`: the [`store`], ciphertext below and values above; backends are in [`backend`]; [`transfer`] (secrets from
//!   elsewhere, pure);
//! - feature `server`: the KV v2 HTTP API; feature `controller`: what keeps policies, pods and synced Secrets in step
//!   with the cluster;
//! - feature `client`: what talks to the API server, and to a secret server in another process.
//!
//! A value is open only between [`store`] and its caller. No error, log line or `Debug` form of this crate holds one.

pub mod api;
pub mod audit;
pub mod backup;
pub mod error;
pub mod head;
mod hex;
pub mod inject;
pub mod keys;
pub mod kv;
pub mod policy;
pub mod seal;
pub mod sealed;
pub mod sync;
pub mod versions;

#[cfg(feature = "store")]
pub mod backend;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "controller")]
pub mod controller;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "store")]
pub mod store;
#[cfg(any(feature = "testing", all(test, feature = "store")))]
pub mod testing;
#[cfg(feature = "store")]
pub mod transfer;

pub use error::Error;
