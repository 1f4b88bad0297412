//! Makes a cluster hold what a Git repository holds: source, render, plan, apply, prune, health, drift.
//!
//! ```text
//! GitSource ──files──▶ render ──objects──▶ plan ──actions──▶ execute ──▶ API server (as the GitSync's account)
//!  (gix, memory)       (pure)     ▲        (pure)                            │
//!                                 └── live objects, inventory (ApplySet) ◀──┘
//! ```
//!
//! A [`GitSync`](api::v1alpha1::GitSync) names a repository, a ref and a folder. The controller polls the ref with one cheap
//! request, reads the folder of a new commit, dry-runs all of it, applies it in stages, takes away what is no longer in Git,
//! waits until everything is healthy, and repairs what somebody changes or deletes by hand, within moments, because it
//! watches every kind that it applied.
//!
//! # Words
//! *Revision*: a commit. *Member*: an object that carries this GitSync's `applyset.kubernetes.io/part-of`. *Inventory*: all
//! members. *In force*: the newest revision whose render and dry-run passed; drift is repaired towards it, even while a
//! newer commit is broken or Git is down.
//!
//! # Features
//! Without features everything is pure. `git`: the gix backend. `client`, `controller`: apply, prune and the controller.
//! `server`: webhooks. `testing`: the contract suite of [`GitSource`](source::GitSource).
//!
//! # Threats
//! Every write and every read of a Secret is made as the account that the GitSync names; annotations that only the daemon
//! may give (`homelab.dev/source`, `homelab.dev/account`) are overwritten or removed, whatever Git says. Symbolic links,
//! submodules and `..` are never followed. Repositories on the daemon's own disk are refused unless it was told of a folder.

pub mod api;
#[cfg(any(feature = "git", feature = "testing", test))]
pub mod backend;
pub mod desired;
pub mod error;
pub mod inventory;
pub mod order;
pub mod plan;
pub mod render;
pub mod sealed;
pub mod source;
pub mod spec;
pub mod status;

#[cfg(feature = "controller")]
pub mod controller;
#[cfg(feature = "client")]
pub mod execute;
#[cfg(feature = "server")]
pub mod server;
#[cfg(any(feature = "testing", test))]
pub mod testing;

pub use error::Error;
