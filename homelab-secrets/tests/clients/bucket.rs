//! Backups in a bucket of SeaweedFS: a real server of S3's protocol, which checks signatures.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use homelab_secrets::backend::backups::s3::{S3, S3Place};
use homelab_secrets::backup::BackupTarget as _;
use homelab_secrets::testing::backup_target_contract;

use super::program;

/// It is killed when dropped.
struct Weed {
    child: Child,
    endpoint: String,
    master: String,
    folder: tempfile::TempDir,
}

impl Drop for Weed {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Each port has a second one, 10000 above it.
fn port() -> u16 {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(program("HOMELAB_TEST_WEED"));
    command.env_clear().env("HOME", folder).current_dir(folder);
    command
}

impl Weed {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = r#"{"identities":[{"name":"me","credentials":[{"accessKey":"key","secretKey":"planted"}],"actions":["Admin","Read","Write","List"]}]}"#;
        std::fs::write(folder.path().join("s3.json"), identity).unwrap();
        let [s3, master, volume, filer] = [port(), port(), port(), port()];
        let mut server = command(folder.path());
        server.args(["server", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.config=s3.json", "-filer"]);
        server.args(["-master.volumeSizeLimitMB=64", "-volume.max=20"]);
        for (name, port) in [("s3", s3), ("master", master), ("volume", volume), ("filer", filer)] {
            server.arg(format!("-{name}.port={port}"));
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { child, endpoint: format!("http://127.0.0.1:{s3}"), master: format!("127.0.0.1:{master}"), folder }
    }

    fn place(&self, key: &str, secret: &str, bucket: &str) -> S3 {
        let (endpoint, bucket) = (self.endpoint.clone(), bucket.to_owned());
        S3::new(&S3Place { endpoint, region: "home".into(), bucket, prefix: "lab/store".into() }, key, secret).unwrap()
    }

    async fn make_bucket(&self, name: &str) {
        let mut shell = command(self.folder.path());
        shell.args(["shell", &format!("-master={}", self.master)]).stdin(Stdio::piped());
        let mut shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(shell.stdin.take().unwrap(), "s3.bucket.create -name {name}").unwrap();
        shell.wait().unwrap();
    }

    /// Waits until it answers to who may.
    async fn ready(&self) -> S3 {
        let place = self.place("key", "planted", "backups");
        let mut last = String::new();
        for _ in 0..60 {
            self.make_bucket("backups").await;
            match place.list().await {
                Ok(_) => return place,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("SeaweedFS does not answer: {last}\n{log}");
    }
}

#[tokio::test]
async fn a_bucket_keeps_the_contract_and_strangers_out() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let weed = Weed::start();
    let place = weed.ready().await;
    backup_target_contract(&place).await;

    let stranger = weed.place("key", "wrong-secret", "backups").list().await.expect_err("refused").to_string();
    assert!(stranger.contains("403") && stranger.contains("SignatureDoesNotMatch"), "{stranger}");
    let nowhere = weed.place("key", "planted", "nowhere").list().await.expect_err("no bucket").to_string();
    assert!(nowhere.contains("NoSuchBucket"), "{nowhere}");
    for text in [stranger, nowhere] {
        assert!(!text.contains("planted") && !text.contains("wrong-secret") && !text.contains("X-Amz"), "{text}");
    }
}
