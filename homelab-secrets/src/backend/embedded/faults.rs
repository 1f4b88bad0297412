//! Faults: the program killed between any two calls of the system, and the power cut with part of the writes on disk.

#![expect(clippy::disallowed_methods, reason = "the kill test starts this test program as its own child")]

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;
use crate::backend::Host as _;
use crate::keys::{SlotKey, Unlock};
use crate::store::{Put, SecretPath, SecretStore};
use crate::testing::FixedHost;

/// Ends the program in the step with this number: before it, or with half of a write done.
#[derive(Debug)]
struct Deadly {
    file: FileBackend,
    step: Arc<AtomicU64>,
    deadly: u64,
    torn: bool,
}

impl Deadly {
    fn step(&self) -> bool {
        self.step.fetch_add(1, Ordering::SeqCst) + 1 == self.deadly
    }
}

impl StorageBackend for Deadly {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.step() {
            std::process::abort();
        }
        self.file.set_len(len)
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        if self.step() {
            std::process::abort();
        }
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        if self.step() {
            if self.torn {
                self.file.write(offset, &data[..data.len() / 2])?;
            }
            std::process::abort();
        }
        self.file.write(offset, data)
    }
    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }
    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(from, to)
    }
    fn try_lock_shared_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_shared_range(from, to)
    }
    fn query_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.query_lock_range(from, to)
    }
    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(from, to)
    }
}

const FOLDER: &str = "HOMELAB_TEST_FAULT_FOLDER";
const STEP: &str = "HOMELAB_TEST_FAULT_STEP";
const WRITES: u64 = 3;

fn unlock() -> Unlock {
    Unlock::KeyFile(SlotKey::generate(&|buffer| FixedHost::default().random(buffer)).unwrap())
}

/// Not a test of its own: what [`no_step_of_a_write_loses_an_acknowledged_one`] starts, and what dies in it.
#[test]
fn child_dies_in_a_step() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let deadly: i64 = std::env::var(STEP).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (path, step) = (Path::new(&folder).join("store.redb"), Arc::new(AtomicU64::new(0)));
        let counted = step.clone();
        let open = move || {
            file::open(&path, &|file| Deadly {
                file,
                step: counted.clone(),
                deadly: deadly.unsigned_abs(),
                torn: deadly < 0,
            })
        };
        let backend = Embedded::with("FILE".into(), Box::new(open)).unwrap();
        let store = SecretStore::open_or_init(Arc::new(backend), unlock(), Arc::new(FixedHost::default())).await;
        let store = store.unwrap();
        for n in 1..=WRITES {
            let data = serde_json::from_str(&format!(r#"{{"n":{n},"pad":"{}"}}"#, "x".repeat(n as usize * 3000)));
            let (version, _) =
                store.put(&SecretPath::parse("kv/a").unwrap(), data.unwrap(), Put::default()).await.unwrap();
            println!("acknowledged {version}");
        }
        println!("steps {}", step.load(Ordering::SeqCst));
    });
}

/// Runs the child; gives the last acknowledged version, and how many steps there were if it lived.
fn child(folder: &Path, step: i64) -> (u64, Option<u64>) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "backend::embedded::faults::child_dies_in_a_step"])
        .envs([(FOLDER, folder.as_os_str()), (STEP, step.to_string().as_ref())])
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |word: &str| text.lines().rev().find_map(|line| line.rsplit_once(word)?.1.trim().parse().ok());
    (number("acknowledged ").unwrap_or(0), number("steps "))
}

#[tokio::test]
async fn no_step_of_a_write_loses_an_acknowledged_one() {
    let folder = tempfile::tempdir().unwrap();
    let (all, steps) = child(folder.path(), i64::MAX);
    let steps = steps.expect("the child lives when no step is deadly") as i64;
    assert_eq!(all, WRITES);
    assert!(steps > 20, "{steps} steps");
    let mut died = 0;
    // Each step, and a torn one now and then: what was written in part is most of the time written anew.
    for step in (1..=steps).chain((1..=steps).step_by(4).map(|step| -step)) {
        let folder = tempfile::tempdir().unwrap();
        let (acknowledged, lived) = child(folder.path(), step);
        died += u64::from(lived.is_none());
        let backend = Embedded::open(&folder.path().join("store.redb")).unwrap();
        let store = SecretStore::open_or_init(Arc::new(backend), unlock(), Arc::new(FixedHost::default())).await;
        let store = store.unwrap_or_else(|e| panic!("step {step}: {e}"));
        let at = SecretPath::parse("kv/a").unwrap();
        let current = store.history(&at).await.unwrap().map_or(0, |state| state.current);
        assert!((acknowledged..=acknowledged + 1).contains(&current), "step {step}: {acknowledged}, found {current}");
        for version in 1..=current {
            let secret = store.get(&at, Some(version)).await.unwrap_or_else(|e| panic!("step {step}: {e}"));
            assert_eq!(secret.data.expose()["n"], version, "step {step}");
        }
        store.put(&at, serde_json::from_str("{}").unwrap(), Put::default()).await.unwrap();
    }
    assert!(died as i64 >= steps, "the steps are where the child dies: {died} of {steps}");
}

/// A disk that remembers each call, so that it can be looked at as a power cut leaves it.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Vec<Call>>>, Arc<Mutex<Vec<u8>>>);

#[derive(Clone, Debug)]
enum Call {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

fn place(image: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write(offset, data) => {
            let (from, to) = (*offset as usize, *offset as usize + data.len());
            if image.len() < to {
                image.resize(to, 0);
            }
            image[from..to].copy_from_slice(data);
        }
        Call::SetLen(len) => image.resize(*len as usize, 0),
        Call::Sync => {}
    }
}

impl Disk {
    fn call(&self, call: Call) {
        place(&mut self.1.lock().unwrap(), &call);
        self.0.lock().unwrap().push(call);
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// As it can be found when the power goes after `calls` calls: what was synced is there; of later writes each is
    /// there, is not, or is cut in the middle, in no order.
    fn cut(&self, calls: usize, draw: &mut impl FnMut() -> u64) -> Vec<u8> {
        let log = self.0.lock().unwrap();
        let synced = log[..calls].iter().rposition(|call| matches!(call, Call::Sync)).map_or(0, |at| at + 1);
        let mut image = Vec::new();
        log[..synced].iter().for_each(|call| place(&mut image, call));
        for call in &log[synced..calls] {
            match (call, draw() % 4) {
                (_, 0) => {}
                (Call::Write(offset, data), 1) => {
                    // Sectors are whole: 512 bytes.
                    let cut = (draw() as usize % (data.len() + 1)) / 512 * 512;
                    place(&mut image, &Call::Write(*offset, data[..cut].to_vec()));
                }
                (call, _) => place(&mut image, call),
            }
        }
        image
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.1.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (image, from) = (self.1.lock().unwrap(), offset as usize);
        out.copy_from_slice(image.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.call(Call::SetLen(len));
        Ok(())
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.call(Call::Sync);
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.call(Call::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// What commit `n` writes: a small record of its own, one that grows, and one that each commit replaces.
fn commit(n: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(format!("own/{n:04}"), n.to_be_bytes().to_vec());
    batch.put(format!("large/{}", n % 3), n.to_be_bytes().repeat(n as usize * 97 + 1));
    batch.put("last", n.to_be_bytes().to_vec());
    batch
}

async fn check(image: Vec<u8>, acknowledged: u64, about: &str) {
    let disk = Disk(Arc::default(), Arc::new(Mutex::new(image)));
    let open = Box::new(move || file::database(disk.clone()));
    let found = Embedded::with("DISK".into(), open).unwrap_or_else(|e| panic!("{about}: {e}"));
    let head = found.head().await.unwrap().0;
    assert!((acknowledged..=acknowledged + 1).contains(&head), "{about}: {acknowledged} acknowledged, {head} there");
    let mut expected = BTreeMap::new();
    for (key, record) in (1..=head).flat_map(|n| commit(n).writes) {
        expected.insert(key, record.unwrap());
    }
    let all: BTreeMap<_, _> = found.scan("", "", usize::MAX).await.unwrap().into_iter().collect();
    assert!(all == expected, "{about}: a commit is not whole");
    found.commit(Head(head), commit(head + 1)).await.unwrap_or_else(|e| panic!("{about}: {e}"));
}

#[tokio::test]
async fn a_power_cut_leaves_whole_commits_and_every_acknowledged_one() {
    let disk = Disk::default();
    let on_disk = disk.clone();
    let store = Embedded::with("DISK".into(), Box::new(move || file::database(on_disk.clone()))).unwrap();
    let laid_out = disk.calls();
    // Calls after which each commit was acknowledged.
    let mut acknowledged = Vec::new();
    for n in 1..=12 {
        store.commit(Head(n - 1), commit(n)).await.unwrap();
        acknowledged.push(disk.calls());
    }
    let mut drawn = 0_u64;
    let mut draw = || {
        drawn = drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)) >> 3
    };
    for calls in laid_out..=disk.calls() {
        let sure = acknowledged.iter().filter(|at| **at <= calls).count() as u64;
        for round in 0..3 {
            check(disk.cut(calls, &mut draw), sure, &format!("cut after {calls} calls, round {round}")).await;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("store.redb");
    std::fs::File::create(&path).unwrap().write_all(&b"something else ".repeat(1000)).unwrap();
    let error = Embedded::open(&path).unwrap_err().to_string();
    assert!(error.contains("store.redb"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 15_000);
}
