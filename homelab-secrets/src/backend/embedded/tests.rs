#![expect(clippy::disallowed_methods, reason = "the kill test starts this test program as its own child")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;

fn one(key: &str, record: &[u8]) -> Batch {
    let mut batch = Batch::default();
    batch.put(key, record.to_vec());
    batch
}

#[tokio::test]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    crate::testing::contract(|| {
        count.set(count.get() + 1);
        Arc::new(Embedded::open(&folder.path().join(format!("{}.redb", count.get()))).unwrap())
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let store = Embedded::open(&path).unwrap();
    store.commit(Head(0), one("a", b"1")).await.unwrap();
    insta::assert_snapshot!(
        Embedded::open(&path).unwrap_err().to_string().replace(path.to_str().unwrap(), "FILE"),
        @"FILE is open in another process: stop that one first"
    );
    drop(store);
    let again = Embedded::open(&path).unwrap();
    assert_eq!((again.head().await.unwrap(), again.get("a").await.unwrap()), (Head(1), Some(b"1".to_vec())));
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A disk that can be full. Outlives the databases on it, as a real one does.
#[derive(Clone, Debug)]
struct Disk {
    data: Arc<InMemoryBackend>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> Result<(), std::io::Error> {
        if self.full.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.data.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.data.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check()?;
        self.data.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.data.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.check()?;
        self.data.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing() {
    let disk = Disk { data: Arc::default(), full: Arc::default() };
    let on_disk = disk.clone();
    let open: Opener = Box::new(move || Database::builder().create_with_backend(on_disk.clone()));
    let store = Embedded::with("FILE".into(), open).unwrap();
    store.commit(Head(0), one("a", b"1")).await.unwrap();

    disk.full.store(true, Ordering::SeqCst);
    let error = store.commit(Head(1), one("b", &[7; 100_000])).await.unwrap_err();
    insta::assert_snapshot!(error, @"no space is left for FILE: free some, or give the volume more; nothing was written or lost");

    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(store.head().await.unwrap(), Head(1), "opened anew by itself");
    assert_eq!((store.get("a").await.unwrap(), store.get("b").await.unwrap()), (Some(b"1".to_vec()), None));
    store.commit(Head(1), one("b", b"2")).await.unwrap();
}

#[tokio::test]
async fn a_disk_that_can_only_be_read_is_said() {
    let open: Opener = Box::new(|| Err(std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem).into()));
    let error = Embedded::with("FILE".into(), open).unwrap_err();
    insta::assert_snapshot!(error, @"FILE is on a disk that can only be read: mount it for writing");
}

const CHILD_FILE: &str = "HOMELAB_TEST_EMBEDDED_FILE";

/// The part of the child that [`acknowledged_commits_survive_kill_9`] starts and kills.
async fn write_until_killed(path: &Path) {
    let store = Embedded::open(path).unwrap();
    let mut head = store.head().await.unwrap();
    loop {
        let number = head.next().0;
        head = store.commit(head, one(&format!("n/{number:08}"), &number.to_be_bytes().repeat(100))).await.unwrap();
        println!("acknowledged {number}");
    }
}

#[tokio::test]
async fn acknowledged_commits_survive_kill_9() {
    if let Some(path) = std::env::var_os(CHILD_FILE) {
        return write_until_killed(Path::new(&path)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let mut acknowledged = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "backend::embedded::tests::acknowledged_commits_survive_kill_9"])
            .env(CHILD_FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = 0;
        for line in lines {
            let Some(number) = line.rsplit_once("acknowledged ").and_then(|(_, n)| n.parse::<u64>().ok()) else {
                continue;
            };
            acknowledged = number;
            seen += 1;
            // SIGKILL while it goes on writing; what it still said before is read to the end of the pipe.
            if seen == 5 + round * 3 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen > 5, "round {round}: the child wrote nothing");
        let store = Embedded::open(&path).unwrap();
        let head = store.head().await.unwrap().0;
        assert!(head >= acknowledged, "round {round}: {acknowledged} acknowledged, {head} there");
        let found = store.scan("n/", "", usize::MAX).await.unwrap();
        assert_eq!(found.len() as u64, head, "every commit is whole");
        for (number, (key, record)) in (1_u64..).zip(found) {
            assert_eq!((key, record), (format!("n/{number:08}"), number.to_be_bytes().repeat(100)));
        }
    }
}
