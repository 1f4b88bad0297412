#![expect(clippy::disallowed_methods, reason = "tests run git and a small server")]

use std::process::Command;

use super::*;
use crate::source::{Credentials, Login};
use crate::testing::TestForge;

mod http;

/// A bare repository on disk, filled by the real git.
struct Forge {
    dir: tempfile::TempDir,
    source: Arc<GixSource>,
    base: String,
    folders: u32,
}

impl Forge {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "home.git"]);
        git(&dir.path().join("home.git"), &["config", "http.receivepack", "true"]);
        let source = Arc::new(GixSource::new(dir.path().join("data")).with_local(dir.path()));
        let base = format!("file://{}", dir.path().display());
        Self { dir, source, base, folders: 0 }
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let config = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").current_dir(dir).args(config).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl TestForge for Forge {
    fn source(&self) -> Arc<dyn GitSource> {
        self.source.clone()
    }

    fn url(&self) -> String {
        format!("{}/home.git", self.base)
    }

    fn wrong_url(&self) -> String {
        std::fs::create_dir_all(self.dir.path().join("wrong.git")).unwrap();
        format!("{}/wrong.git", self.base)
    }

    fn push(&mut self, branch: &str, files: &[(&str, &str)]) -> CommitId {
        let work = self.dir.path().join("work");
        if !work.exists() {
            git(self.dir.path(), &["clone", "--quiet", "home.git", "work"]);
        }
        git(&work, &["checkout", "--quiet", "-B", branch]);
        git(&work, &["rm", "-r", "--quiet", "--ignore-unmatch", "."]);
        for (path, text) in files {
            let file = work.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        git(&work, &["add", "-A"]);
        git(&work, &["commit", "--quiet", "--allow-empty", "-m", "change"]);
        git(&work, &["push", "--quiet", "--force", "origin", branch]);
        CommitId::parse(&git(&work, &["rev-parse", "HEAD"])).unwrap()
    }

    fn folder(&mut self) -> PathBuf {
        self.folders += 1;
        let folder = self.dir.path().join(format!("folder-{}", self.folders));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}

fn remote(url: &str) -> Remote {
    let owner = Owner { namespace: "home".into(), name: "a".into() };
    Remote { owner, url: url.into(), credentials: Credentials::default() }
}

async fn fault(forge: &Forge, remote: &Remote) -> (Fault, String) {
    match forge.source.resolve(remote, &GitRef::Head).await.unwrap_err() {
        error @ Error::Source { fault, .. } => (fault, error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_keep_the_contract() {
    crate::testing::contract(&mut Forge::new()).await;
}

#[tokio::test]
async fn smart_http_keeps_the_contract() {
    let mut forge = Forge::new();
    let server = http::Server::start(forge.dir.path(), None);
    forge.base = server.url();
    crate::testing::contract(&mut forge).await;
}

#[tokio::test]
async fn credentials_are_sent_and_refusals_named() {
    let mut forge = Forge::new();
    forge.push("main", &[("a.yaml", "a: 1")]);
    let server = http::Server::start(forge.dir.path(), Some(("me", "hunter2")));
    let mut remote = remote(&format!("{}/home.git", server.url()));
    let (kind, text) = fault(&forge, &remote).await;
    assert_eq!(kind, Fault::Unauthenticated);
    assert!(text.contains("secretRef"), "{text}");
    remote.credentials.login = Some(Login { username: "me".into(), password: "wrong".into() });
    let (kind, text) = fault(&forge, &remote).await;
    assert_eq!(kind, Fault::Unauthenticated);
    assert!(!text.contains("wrong"), "{text}");
    remote.credentials.login = Some(Login { username: "me".into(), password: "hunter2".into() });
    forge.source.fetch(&remote, &GitRef::Head).await.unwrap();
    let before = server.requests();
    forge.source.resolve(&remote, &GitRef::Head).await.unwrap();
    assert!(server.requests() - before <= 2, "a poll is two small requests");
}

#[tokio::test]
async fn every_trouble_has_its_own_words() {
    let forge = Forge::new();
    let server = http::Server::start(forge.dir.path(), None);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tls = server.url().replace("http://", "https://");
    let cases = [
        (format!("http://{closed}/home.git"), Fault::Unreachable),
        ("http://no-such-host.invalid/home.git".into(), Fault::Dns),
        (format!("{}/nowhere.git", server.url()), Fault::NoRepository),
        (format!("{}/status/500/x.git", server.url()), Fault::Server),
        (format!("{}/status/403/x.git", server.url()), Fault::Forbidden),
        (format!("{}/page/x.git", server.url()), Fault::Protocol),
        ("ssh://git@host/x.git".into(), Fault::Refused),
        ("http://user:hunter2@host/x.git".into(), Fault::Refused),
        ("file:///etc".into(), Fault::Refused),
    ];
    let mut said = Vec::new();
    for (url, expected) in cases {
        let (kind, text) = fault(&forge, &remote(&url)).await;
        said.push(format!("{kind:?}: {text}"));
        assert_eq!(kind, expected, "{text}");
    }
    let (kind, text) = fault(&forge, &remote(&format!("{tls}/home.git"))).await;
    assert!(matches!(kind, Fault::Unreachable | Fault::Protocol | Fault::Certificate), "{text}");
    for line in said {
        println!("{line}");
    }
}

#[tokio::test]
async fn links_and_submodules_are_not_followed() {
    let mut forge = Forge::new();
    forge.push("main", &[("a.yaml", "a: 1"), ("chart/Chart.yaml", "name: x")]);
    let work = forge.dir.path().join("work");
    std::os::unix::fs::symlink("/etc/passwd", work.join("chart/secret.yaml")).unwrap();
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "--quiet", "-m", "link"]);
    git(&work, &["push", "--quiet", "origin", "main"]);
    let remote = remote(&forge.url());
    let commit = forge.source.fetch(&remote, &GitRef::Head).await.unwrap();
    let files = forge.source.files(&remote.owner, &commit, &RepoPath::root()).await.unwrap();
    let link = files.iter().find(|file| file.path.as_str() == "chart/secret.yaml").unwrap();
    assert_eq!(link.content, crate::source::Content::Symlink);
    let folders = BTreeSet::from([RepoPath::parse("chart").unwrap()]);
    let tree = forge.source.trees(&remote.owner, &commit, &folders).await.unwrap().remove(0).unwrap();
    let into = forge.folder();
    let refused = forge.source.materialize(&remote.owner, &tree, &into).await.unwrap_err();
    assert!(refused.to_string().contains("symbolic link"), "{refused}");
}

#[tokio::test]
async fn tags_clones_and_other_urls() {
    let mut forge = Forge::new();
    let one = forge.push("main", &[("a.yaml", "a: 1")]);
    let work = forge.dir.path().join("work");
    git(&work, &["tag", "-a", "v1", "-m", "one"]);
    git(&work, &["push", "--quiet", "origin", "v1"]);
    let remote = remote(&forge.url());
    assert_eq!(
        forge.source.resolve(&remote, &GitRef::Tag("v1".into())).await.unwrap(),
        one,
        "an annotated tag is peeled"
    );
    assert_eq!(forge.source.fetch(&remote, &GitRef::Tag("v1".into())).await.unwrap(), one);
    for n in 0..MAX_PACKS + 3 {
        forge.push("main", &[("a.yaml", &format!("a: {n}"))]);
        forge.source.fetch(&remote, &GitRef::Head).await.unwrap();
    }
    let clone = forge.source.clone_of(&remote.owner);
    assert!(packs(&clone) <= MAX_PACKS + 1, "{}", packs(&clone));
    forge.source.retain(&BTreeSet::from([remote.owner.clone()])).await;
    assert!(clone.exists());
    forge.source.retain(&BTreeSet::new()).await;
    assert!(!clone.exists());
}
