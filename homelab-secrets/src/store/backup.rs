//! Taking a backup of a store in use, and making a store from one.

use super::{PAGE, SecretStore};
use crate::Error;
use crate::backend::{Backend, Batch, Head};
use crate::backup::{Decoder, Encoder, Header};

mod scheduled;

pub use scheduled::Kept;

/// A backup that is being made. What has been given out is whole only with its end.
#[derive(Debug)]
pub struct Backup {
    store: SecretStore,
    encoder: Encoder,
    /// Where the store stood when it began.
    at: Head,
    state: Stage,
}

#[derive(Debug)]
enum Stage {
    Begin(Header),
    After(String),
    Ended,
}

/// What a look at every record has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Records that open.
    pub records: u64,
    /// Those of them that are versions of secrets.
    pub versions: u64,
}

impl SecretStore {
    /// Begins a backup. The store has to be open, so that what is taken is known to be whole and the newest.
    pub async fn backup(&self, program: &str) -> Result<Backup, Error> {
        let at = self.0.backend.head().await?;
        let head = self.opened()?.head.clone();
        let made = self.0.host.now();
        let header = Header { store: head.store, sequence: head.sequence, made, program: program.into() };
        Ok(Backup { store: self.clone(), encoder: Encoder::default(), at, state: Stage::Begin(header) })
    }

    /// Opens every record. Class of [`Error::Unsealed`]: one does not.
    pub async fn check(&self) -> Result<Checked, Error> {
        self.check_records(&*self.0.backend).await
    }
}

impl Backup {
    /// The next piece; none after the end. Class `Conflict`: somebody wrote meanwhile, so what was taken is of two states:
    /// begin again.
    pub async fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match &mut self.state {
            Stage::Ended => Ok(None),
            Stage::Begin(header) => {
                let piece = self.encoder.begin(header)?;
                self.state = Stage::After(String::new());
                Ok(Some(piece))
            }
            Stage::After(after) => {
                let page = self.store.0.backend.scan("", after, PAGE).await?;
                let Some((last, _)) = page.last() else { return self.end().await.map(Some) };
                after.clone_from(last);
                let mut piece = Vec::new();
                for (key, sealed) in &page {
                    piece.append(&mut self.encoder.record(key, sealed)?);
                }
                Ok(Some(piece))
            }
        }
    }

    async fn end(&mut self) -> Result<Vec<u8>, Error> {
        if self.store.0.backend.head().await? != self.at {
            return Err(Error::Conflict("the store was written to while its backup was made: make it again".into()));
        }
        self.state = Stage::Ended;
        Ok(std::mem::take(&mut self.encoder).end())
    }
}

/// Puts a backup into an empty backend, all of it or nothing; gives the number of records. Class `Invalid`: the backup is
/// not whole, or the backend not empty.
pub async fn restore<R: std::io::Read>(backend: &dyn Backend, backup: &mut Decoder<R>) -> Result<u64, Error> {
    if backend.head().await? != Head(0) {
        return Err(Error::Invalid("there is a store already: a backup is put back where there is none".into()));
    }
    let mut batch = Batch::default();
    while let Some((key, record)) = backup.next_record()? {
        batch.put(key, record);
    }
    if batch.writes.is_empty() {
        return Err(Error::Invalid("the backup holds no records: it is of no store".into()));
    }
    backend.commit(Head(0), batch).await?;
    Ok(backup.records())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::tests::{data, fixture, open, path};
    use super::super::{Put, SecretData, SecretStore};
    use super::*;
    use crate::backend::backups::directory::Directory;
    use crate::backend::memory::Memory;
    use crate::backend::{Host as _, System};
    use crate::backup::BackupTarget as _;
    use crate::keys::{SlotKey, Unlock};

    fn numbered(n: u32) -> SecretData {
        data(&format!(r#"{{"n":{n}}}"#))
    }

    async fn taken(store: &SecretStore) -> Vec<u8> {
        let (mut backup, mut file) = (store.backup("0.1.0").await.unwrap(), Vec::new());
        while let Some(piece) = backup.next_piece().await.unwrap() {
            file.extend(piece);
        }
        file
    }

    #[tokio::test]
    async fn a_store_comes_back_from_its_backup_with_all_versions_and_keys() {
        let f = fixture().await;
        for n in 0..3 {
            f.store.put(&path("kv/web/db"), numbered(n), Put::default()).await.unwrap();
        }
        for n in 0..600 {
            f.store.put(&path(&format!("kv/many/{n}")), numbered(n), Put::default()).await.unwrap();
        }
        let file = taken(&f.store).await;
        let (header, mut decoder) = Decoder::begin(&file[..]).unwrap();
        assert_eq!(header.program, "0.1.0");
        let backend = Arc::new(Memory::default());
        assert!(restore(&*backend, &mut decoder).await.unwrap() > 1200);
        let again = open(&backend, &f.host, &f.key).await.unwrap();
        assert_eq!(again.get(&path("kv/web/db"), Some(2)).await.unwrap().data.expose()["n"], 1);
        assert_eq!(again.check().await.unwrap().versions, 603);
        again.put(&path("kv/web/db"), numbered(9), Put::default()).await.unwrap();

        let (_, mut decoder) = Decoder::begin(&file[..]).unwrap();
        let error = restore(&*backend, &mut decoder).await.unwrap_err();
        assert!(error.to_string().contains("there is a store already"), "{error}");
    }

    #[tokio::test]
    async fn a_write_in_between_and_a_record_that_does_not_open_are_noticed() {
        let f = fixture().await;
        f.store.put(&path("kv/web/db"), numbered(1), Put::default()).await.unwrap();
        let mut backup = f.store.backup("0.1.0").await.unwrap();
        backup.next_piece().await.unwrap();
        f.store.put(&path("kv/web/db"), numbered(2), Put::default()).await.unwrap();
        let error = loop {
            match backup.next_piece().await {
                Ok(Some(_)) => {}
                other => break other.unwrap_err(),
            }
        };
        assert!(matches!(error, Error::Conflict(_)), "{error}");

        let (key, mut sealed) = f.backend.scan("v/", "", 1).await.unwrap().remove(0);
        *sealed.last_mut().unwrap() ^= 1;
        let mut batch = Batch::default();
        batch.put(key, sealed);
        f.backend.commit(f.backend.head().await.unwrap(), batch).await.unwrap();
        assert!(matches!(f.store.check().await, Err(Error::Unsealed { .. })));
    }
    #[tokio::test]
    async fn scheduled_backups_are_proved_kept_and_taken_away_in_their_time() {
        let f = fixture().await;
        let folder = tempfile::tempdir().unwrap();
        let place = Directory::new(folder.path());
        place.put("notes.txt", b"mine".to_vec()).await.unwrap();
        let hour = Duration::from_secs(3600);
        let keep = async || f.store.keep_backup(&place, (hour, 2), "0.1.0").await.unwrap();
        assert!(matches!(keep().await, Kept::New(_, 0)));
        assert_eq!(keep().await, Kept::Unchanged);
        f.store.put(&path("kv/web/db"), numbered(1), Put::default()).await.unwrap();
        assert!(matches!(keep().await, Kept::In(left) if left <= hour));
        for n in 0..3 {
            f.host.advance(4000);
            f.store.put(&path("kv/web/db"), numbered(n), Put::default()).await.unwrap();
            assert!(matches!(keep().await, Kept::New(..)), "{n}");
        }
        let names = place.list().await.unwrap();
        assert!(names.len() == 3 && names.contains(&"notes.txt".to_owned()), "{names:?}");
        let newest = names.iter().filter(|name| *name != "notes.txt").max().unwrap();
        let bytes = place.get(newest).await.unwrap();
        assert_eq!(f.store.prove(&bytes).await.unwrap().versions, 4);
        f.store.prove(&bytes[..bytes.len() - 1]).await.unwrap_err();

        // Another store's keys do not open it.
        let key = SlotKey::generate(&|buffer| System.random(buffer)).unwrap();
        let other =
            SecretStore::open_or_init(Arc::new(Memory::default()), Unlock::KeyFile(key), Arc::new(System)).await;
        let error = other.unwrap().prove(&bytes).await.unwrap_err();
        assert!(matches!(error, Error::Unsealed { .. } | Error::Invalid(_)), "{error}");
        // And where nothing can be kept, nothing is taken away.
        let gone = Directory::new(folder.path().join("gone"));
        assert!(f.store.keep_backup(&gone, (hour, 2), "0.1.0").await.is_err());
    }
}
