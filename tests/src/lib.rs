//! Harness, forge, load client, demo, bench and the end-to-end tests.
//!
//! - [`cluster`]: the cluster that `KUBECONFIG` names: objects, `kubectl`, `helm`, a namespace of one's own;
//! - [`daemon`]: `homelab daemon` on this host, to start, kill and start again; the `homelab` command line;
//! - [`forge`] and [`repo`]: a real Git server over HTTP (git's own `http-backend`) and working copies that push to it;
//! - [`load`]: requests without a pause, over kept and over new connections, and what became of each;
//! - [`case`]: a namespace with a daemon, a Git server and a repository of its own;
//! - [`wait`]: waiting with a deadline that says what was waited for;
//! - [`demo`]: the main job, end to end; [`bench`]: the numbers.
#![expect(clippy::disallowed_methods, reason = "the harness is a shell: clock, environment, files, programs")]

pub mod bench;
pub mod case;
pub mod cluster;
pub mod daemon;
pub mod demo;
pub mod forge;
pub mod load;
pub mod repo;
pub mod wait;

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Makes ring the process's crypto provider; every program and test that does TLS calls it first.
pub fn crypto() {
    // A second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
