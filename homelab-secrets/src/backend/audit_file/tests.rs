#![expect(
    clippy::disallowed_methods,
    reason = "reads the files of the log, and starts this test program as its own child"
)]

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::place::Sheet;
use super::*;
use crate::audit::{Event, Problem, Report};
use crate::backend::System;

fn key() -> Arc<AuditKey> {
    Arc::new(AuditKey::new(&[9; 32]).unwrap())
}

fn small(folder: &Path) -> FileConfig {
    FileConfig { folder: folder.into(), file_size: 4096, total_size: 16 * 1024, reserve: 16 * 1024 }
}

fn open(folder: &Path) -> FileAudit {
    FileAudit::open(&small(folder), key(), Arc::new(System), None).unwrap()
}

fn entry(object: &str) -> Entry {
    Entry::new(&Event::Action { who: "root", op: "test", object }).unwrap()
}

async fn add(audit: &FileAudit, from: u64, count: u64) {
    for n in from..from + count {
        audit.append(entry(&format!("object {n}")), Durability::Written).await.unwrap();
    }
}

fn text(folder: &Path) -> String {
    let files = Folder::look(folder).list().unwrap();
    files.iter().map(|(name, _)| fs::read_to_string(folder.join(name)).unwrap()).collect()
}

fn clean(folder: &Path) -> Report {
    let report = check(folder, &key()).unwrap();
    assert!(report.is_clean(), "{report:?}\n{}", text(folder));
    report
}

#[tokio::test]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    let make = |key| {
        let path = folder.path().join(count.fetch_add(1, Ordering::SeqCst).to_string());
        let config = FileConfig::new(&path);
        (path, FileAudit::open(&config, key, Arc::new(System), None).unwrap())
    };
    struct Kept(PathBuf, FileAudit);
    #[async_trait]
    impl AuditSink for Kept {
        async fn append(&self, entry: Entry, durability: Durability) -> Result<u64, AuditBlocked> {
            self.1.append(entry, durability).await
        }
        fn trouble(&self) -> watch::Receiver<Trouble> {
            self.1.trouble()
        }
    }
    let make = |key| {
        let (path, audit) = make(key);
        Arc::new(Kept(path, audit))
    };
    crate::testing::audit_contract(make, |kept: &Kept| text(&kept.0).into_bytes()).await;
}

#[tokio::test]
async fn a_log_goes_on_after_a_stop_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&path);
    add(&audit, 0, 3).await;
    let again = FileAudit::open(&small(&path), key(), Arc::new(System), None).unwrap_err().to_string();
    insta::assert_snapshot!(again.replace(path.to_str().unwrap(), "DIR"), @"the audit directory DIR is in use by another process: stop that one first");
    audit.keep_keys(b"{}").unwrap();
    drop(audit);
    drop(open(&path));
    let report = clean(&path);
    // File, started, three, stopped; started, stopped.
    assert_eq!((report.records, report.files, report.anchored), (8, 1, Some(8)));
    assert_eq!(stored_keys(&path).unwrap(), b"{}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn files_are_rotated_and_the_total_is_capped() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    add(&audit, 0, 400).await;
    let (stats, files) = (audit.stats(), Folder::look(folder.path()).list().unwrap());
    assert_eq!(stats.bytes, files.iter().map(|(_, len)| len).sum::<u64>());
    assert_eq!((stats.room, stats.failures, stats.blocked), (16 * 1024 - stats.bytes, 0, false));
    assert!(stats.records > 400, "{stats:?}");
    drop(audit);
    let files = Folder::look(folder.path()).list().unwrap();
    let total: u64 = files.iter().map(|(_, len)| len).sum();
    assert!(files.len() > 2 && total <= 16 * 1024, "{files:?}");
    let report = clean(folder.path());
    assert!(report.first > Some(100) && report.last > Some(400), "{report:?}");
    // What the log did not drop itself is missed.
    fs::remove_file(folder.path().join(&files[0].0)).unwrap();
    assert!(!check(folder.path(), &key()).unwrap().is_intact());
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    add(&audit, 0, 2).await;
    drop(audit);
    let (name, _) = Folder::look(folder.path()).list().unwrap().pop().unwrap();
    OpenOptions::new()
        .append(true)
        .open(folder.path().join(&name))
        .unwrap()
        .write_all(br#"{"v":"homelab.aud"#)
        .unwrap();
    let torn = check(folder.path(), &key()).unwrap();
    assert!(torn.is_intact() && torn.torn.is_some_and(|torn| torn.bytes == 17));
    drop(open(folder.path()));
    assert_eq!(clean(folder.path()).recovered, 1);
    assert!(text(folder.path()).contains(r#""type":"recovered","bytes":17"#));
    // A file that was only begun holds nothing.
    fs::write(folder.path().join(place::name_of(99)), r#"{"v""#).unwrap();
    drop(open(folder.path()));
    assert_eq!(clean(folder.path()).recovered, 2);
}

#[tokio::test]
async fn a_cut_end_is_noticed_by_the_check_and_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    add(&audit, 0, 5).await;
    drop(audit);
    let last = clean(folder.path()).last.unwrap();
    let (name, _) = Folder::look(folder.path()).list().unwrap().pop().unwrap();
    let whole = text(folder.path());
    let kept: String = whole.split_inclusive('\n').take(5).collect();
    fs::write(folder.path().join(&name), kept).unwrap();
    let found = check(folder.path(), &key()).unwrap().findings;
    assert_eq!(found.last().map(|f| f.problem.clone()), Some(Problem::CutTail { anchored: last }));
    drop(open(folder.path()));
    assert!(text(folder.path()).contains(&format!(r#""type":"missing","found":5,"anchored":{last}"#)));
    let found = check(folder.path(), &key()).unwrap().findings;
    assert!(found.iter().any(|f| f.problem == Problem::Gap { from: 6, to: last }), "it stays to be seen: {found:?}");
}

#[tokio::test]
async fn a_log_that_was_put_away_is_missed_by_who_kept_an_anchor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let audit = open(&path);
    add(&audit, 0, 5).await;
    audit.append(entry("last"), Durability::Synced).await.unwrap();
    let anchor = audit.synced(&System);
    drop(audit);
    fs::remove_dir_all(&path).unwrap();
    drop(FileAudit::open(&small(&path), key(), Arc::new(System), Some(anchor)).unwrap());
    let report = check(&path, &key()).unwrap();
    assert_eq!(report.first, Some(anchor.at.seq + 1), "no number is used twice");
    assert!(report.findings.iter().any(|f| f.problem == Problem::MissingStart { to: anchor.at.seq }), "{report:?}");
    assert!(text(&path).contains(r#""type":"missing""#));
}

#[tokio::test]
async fn another_key_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let found = check(folder.path(), &AuditKey::new(&[1; 32]).unwrap()).unwrap().findings;
    let kinds: Vec<_> = found.iter().map(|f| f.problem.clone()).collect();
    assert_eq!(kinds, [Problem::ForgedAnchor, Problem::WrongKey { made_with: key().name().into() }]);
}

/// What can go wrong with a disk. Outlives the log on it, as a real one does.
#[derive(Default)]
struct Faults {
    /// Bytes that are used, and that there are; 0: no end of them.
    used: AtomicU64,
    space: AtomicU64,
    sync_fails: AtomicBool,
    hangs: Mutex<bool>,
    wake: Condvar,
    /// Steps so far, and the one that kills the process; 0: none.
    step: AtomicU64,
    kill_at: u64,
}

impl Faults {
    fn step(&self) {
        let mut hangs = self.hangs.lock().unwrap();
        while *hangs {
            hangs = self.wake.wait(hangs).unwrap();
        }
        drop(hangs);
        if self.step.fetch_add(1, Ordering::SeqCst) + 1 == self.kill_at {
            let me = std::process::id().to_string();
            Command::new("/bin/kill").args(["-9", &me]).status().unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.wake.notify_all();
    }
}

struct Faulty(Folder, Arc<Faults>);
struct FaultySheet(Arc<dyn Sheet>, Arc<Faults>);

impl Place for Faulty {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.0.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn Sheet>> {
        self.1.step();
        let sheet = self.0.open(name)?;
        self.1.step();
        Ok(Arc::new(FaultySheet(sheet, self.1.clone())))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.step();
        let len = fs::metadata(self.0.path().join(name))?.len();
        self.0.remove(name)?;
        self.1.used.fetch_sub(len, Ordering::SeqCst);
        self.1.step();
        Ok(())
    }
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.0.read(name)
    }
    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        self.1.step();
        self.0.replace(name, text)?;
        self.1.step();
        Ok(())
    }
}

impl Sheet for FaultySheet {
    fn tail(&self, most: usize) -> io::Result<(u64, Vec<u8>)> {
        self.0.tail(most)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.1.step();
        let (space, used) = (self.1.space.load(Ordering::SeqCst), self.1.used.load(Ordering::SeqCst));
        let left = if space == 0 { usize::MAX } else { usize::try_from(space.saturating_sub(used)).unwrap() };
        let fits = bytes.len().min(left);
        self.0.append(&bytes[..fits / 2])?;
        self.1.step();
        self.0.append(&bytes[fits / 2..fits])?;
        self.1.used.fetch_add(fits as u64, Ordering::SeqCst);
        self.1.step();
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
    fn cut(&self, len: u64) -> io::Result<()> {
        self.1.step();
        let (before, _) = self.0.tail(0)?;
        self.0.cut(len)?;
        self.1.used.fetch_sub(before.saturating_sub(len), Ordering::SeqCst);
        self.1.step();
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.1.step();
        if self.1.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is worn out"));
        }
        self.0.sync()?;
        self.1.step();
        Ok(())
    }
}

fn faulty(folder: &Path, faults: &Arc<Faults>) -> FileAudit {
    let place = Faulty(Folder::take(folder).unwrap(), faults.clone());
    let config = FileConfig { total_size: 1 << 20, ..small(folder) };
    FileAudit::with(Arc::new(place), &config, key(), Arc::new(System), None).unwrap()
}

#[tokio::test]
async fn a_full_disk_stops_the_log_with_a_last_word_and_it_goes_on_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let audit = faulty(folder.path(), &faults);
    let mut trouble = audit.trouble();
    add(&audit, 0, 2).await;
    while Folder::look(folder.path()).read(RESERVE).unwrap().is_none_or(|zeros| zeros.len() != 16 * 1024) {
        tokio::task::yield_now().await;
    }
    faults.space.store(faults.used.load(Ordering::SeqCst) + 1000, Ordering::SeqCst);
    let mut taken = 2;
    while trouble.borrow().is_none() {
        add(&audit, taken, 1).await;
        taken += 1;
    }
    let why = trouble.borrow().clone().unwrap().replace(folder.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(why, @"no space is left for DIR: free some, or give the volume more; it goes on by itself");
    // What is under way still has room.
    add(&audit, taken, 5).await;
    taken += 5;
    let refused = loop {
        match audit.append(entry(&format!("object {taken}")), Durability::Written).await {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(refused.to_string().contains("no space is left"), "{refused}");
    assert!(audit.stats().blocked && audit.stats().failures == 1, "{:?}", audit.stats());
    assert!(check(folder.path(), &key()).unwrap().is_clean(), "nothing torn stays behind");

    faults.space.store(0, Ordering::SeqCst);
    trouble.wait_for(Option::is_none).await.unwrap();
    audit.append(entry("after"), Durability::Synced).await.unwrap();
    drop(audit);
    clean(folder.path());
    let text = text(folder.path());
    assert!(text.contains(r#""type":"full""#) && text.contains(r#""type":"resumed""#) && text.contains("after"));
    for n in 0..taken {
        assert!(text.contains(&format!(r#""object":"object {n}""#)), "{n} was acknowledged");
    }
    assert!(!text.contains(&format!(r#""object":"object {taken}""#)), "what was refused is not there");
}

#[tokio::test]
async fn a_log_is_opened_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults { space: AtomicU64::new(1), ..Faults::default() });
    let audit = faulty(folder.path(), &faults);
    let mut trouble = audit.trouble();
    trouble.wait_for(Option::is_some).await.unwrap();
    assert!(audit.append(entry("early"), Durability::Written).await.is_err());
    faults.space.store(0, Ordering::SeqCst);
    trouble.wait_for(Option::is_none).await.unwrap();
    add(&audit, 0, 1).await;
    drop(audit);
    clean(folder.path());
}

#[tokio::test]
async fn a_disk_that_does_not_keep_what_is_written_is_not_relied_on() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let audit = faulty(folder.path(), &faults);
    let mut trouble = audit.trouble();
    audit.append(entry("before"), Durability::Synced).await.unwrap();
    faults.sync_fails.store(true, Ordering::SeqCst);
    let refused = audit.append(entry("lost"), Durability::Synced).await.unwrap_err();
    assert!(refused.to_string().contains("worn out"), "{refused}");
    trouble.wait_for(Option::is_some).await.unwrap();
    faults.sync_fails.store(false, Ordering::SeqCst);
    trouble.wait_for(Option::is_none).await.unwrap();
    audit.append(entry("after"), Durability::Synced).await.unwrap();
    drop(audit);
    assert!(clean(folder.path()).files >= 2, "it goes on in a new file");
    assert!(text(folder.path()).contains(r#""type":"resumed","unsureFrom":"#));
}

#[tokio::test]
async fn a_disk_that_hangs_is_given_up_on() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut audit = faulty(folder.path(), &faults);
    audit.patience = Duration::from_millis(300);
    let mut trouble = audit.trouble();
    audit.append(entry("before"), Durability::Synced).await.unwrap();
    faults.hang(true);
    for durability in [Durability::Written, Durability::Synced] {
        let refused = audit.append(entry("slow"), durability).await.unwrap_err();
        assert!(refused.to_string().contains("has not taken a record in 300ms"), "{refused}");
    }
    assert!(trouble.borrow().is_some());
    faults.hang(false);
    trouble.wait_for(Option::is_none).await.unwrap();
    audit.patience = STALLED;
    audit.append(entry("after"), Durability::Synced).await.unwrap();
    drop(audit);
    clean(folder.path());
}

const CHILD_FOLDER: &str = "HOMELAB_TEST_AUDIT_FOLDER";
const CHILD_KILL_AT: &str = "HOMELAB_TEST_AUDIT_KILL_AT";

/// Not a test of its own: the writer that [`no_acknowledged_record_is_lost_by_kill_9`] starts.
#[tokio::test]
async fn child_writes_until_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let kill_at = std::env::var(CHILD_KILL_AT).unwrap().parse().unwrap();
    let faults = Arc::new(Faults { kill_at, ..Faults::default() });
    let place = Faulty(Folder::take(Path::new(&folder)).unwrap(), faults);
    let audit = FileAudit::with(Arc::new(place), &small(Path::new(&folder)), key(), Arc::new(System), None).unwrap();
    for n in 0..12 {
        let object = format!("{kill_at}/{n} {}", "x".repeat(600));
        let durability = if n % 4 == 0 { Durability::Synced } else { Durability::Written };
        let seq = audit.append(entry(&object), durability).await.unwrap();
        println!("acknowledged {seq} {kill_at}/{n} ");
    }
    drop(audit);
    println!("ended in good order");
}

#[test]
fn no_acknowledged_record_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ended, mut rounds) = (false, 0);
    while !ended {
        rounds += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "backend::audit_file::tests::child_writes_until_killed"])
            .env(CHILD_FOLDER, folder.path())
            .env(CHILD_KILL_AT, rounds.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
        child.wait().unwrap();
        ended = lines.iter().any(|line| line.contains("ended in good order"));
        let report = check(folder.path(), &key()).unwrap();
        assert!(report.is_intact(), "step {rounds}: {report:?}\n{}", text(folder.path()));
        let text = text(folder.path());
        for line in lines.iter().filter_map(|line| line.split_once("acknowledged ").map(|(_, rest)| rest)) {
            let (seq, object) = line.split_once(' ').unwrap();
            let record = text.lines().find(|record| record.contains(&format!(r#""seq":{seq},"#)));
            assert!(record.is_some_and(|record| record.contains(object)), "step {rounds}: {line} is not there");
        }
    }
    assert!(rounds > 40, "the child has died at {rounds} steps only");
    drop(open(folder.path()));
    clean(folder.path());
}
