//! A Git server: git's own `http-backend` behind a small CGI bridge, with credentials, trouble and webhooks on demand.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use hmac::{Hmac, KeyInit, Mac};
use homelab_core::process::Program;
use sha2::Sha256;
use tempfile::TempDir;

use crate::repo::Repo;

mod cgi;

/// How the server behaves now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mood {
    /// `user:password` that every request needs.
    credentials: Option<(String, String)>,
    /// Answers 503 to everything.
    down: bool,
}

pub(crate) struct Shared {
    root: PathBuf,
    mood: Mutex<Mood>,
}

impl Shared {
    fn mood(&self) -> Mood {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A Git server that ends when it is dropped.
pub struct Forge {
    folder: TempDir,
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Forge {
    /// Serves on a free port of `ip`.
    pub async fn start(ip: IpAddr) -> Result<Self> {
        let folder = TempDir::new()?;
        let shared = Arc::new(Shared { root: folder.path().to_path_buf(), mood: Mutex::default() });
        let listener =
            tokio::net::TcpListener::bind((ip, 0)).await.with_context(|| format!("can not listen on {ip}"))?;
        let address = listener.local_addr()?;
        let router =
            Router::new().fallback(cgi::serve).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { folder, address, shared, task })
    }

    /// The address of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }

    /// From now on every request needs these.
    pub fn require(&self, user: &str, password: &str) {
        self.change(|mood| mood.credentials = Some((user.into(), password.into())));
    }

    /// From now on every request is answered 503, or no longer.
    pub fn set_down(&self, down: bool) {
        self.change(|mood| mood.down = down);
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A new, empty repository, and a working copy that pushes to it over HTTP.
    pub async fn create(&self, name: &str) -> Result<Repo> {
        let bare = self.folder.path().join(format!("{name}.git"));
        git(self.folder.path(), ["init", "--quiet", "--bare", "--initial-branch=main", &bare.to_string_lossy()])
            .await?;
        git(&bare, ["config", "http.receivepack", "true"]).await?;
        Repo::new(self.url(name), self.shared.mood().credentials).await
    }
}

/// Sends a webhook as Forgejo does, signed with `secret`; returns the status of the answer.
pub async fn hook(url: &str, secret: &str) -> Result<u16> {
    let body = r#"{"ref": "refs/heads/main"}"#;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("a key of this length")?;
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let request =
        reqwest::Client::new().post(url).header("x-forgejo-event", "push").header("x-forgejo-signature", signature);
    Ok(request.header("content-type", "application/json").body(body).send().await?.status().as_u16())
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs git in `folder`, without anybody's own configuration, and returns what it printed.
pub(crate) async fn git<S: AsRef<str>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Result<String> {
    let args: Vec<String> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
    let said = format!("git {}", args.first().map(String::as_str).unwrap_or_default());
    let output = plain_git(folder).args(args).run_ok().await.context(said)?;
    Ok(output.text())
}

/// git in `folder` without anybody's own configuration.
pub(crate) fn plain_git(folder: &Path) -> Program {
    let person = [("NAME", "Demo"), ("EMAIL", "demo@home.example")];
    let mut program = Program::new("git")
        .cwd(folder)
        .timeout(Duration::from_secs(60))
        .output_limit(256 << 20)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    for (key, value) in person {
        program = program.env(format!("GIT_AUTHOR_{key}"), value).env(format!("GIT_COMMITTER_{key}"), value);
    }
    program
}

type Served = State<Arc<Shared>>;

#[cfg(test)]
mod tests;
