//! End-to-end tests: each with a namespace and a daemon of its own, on the cluster that `KUBECONFIG` names.
//!
//! Run by `cargo xtask test`. `alone` holds those that break what others share.

mod badinput;
mod gitops;
mod installed;
mod rollout;
mod secrets;
mod split;
mod synced;
