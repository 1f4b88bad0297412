//! One scheduled backup: taken, put back into memory, kept, and read again.

use std::time::Duration;

use super::super::{PAGE, SecretStore, record};
use super::{Checked, restore};
use crate::Error;
use crate::backend::Backend;
use crate::backend::memory::Memory;
use crate::backup::{BackupName, BackupTarget, Decoder, Due, backups_of, due, expired};
use crate::seal::{Form, Place};

/// How often it is begun again when somebody writes in between.
const ATTEMPTS: usize = 5;

/// What became of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was made, proved and kept, and this many old ones were taken away.
    New(BackupName, usize),
    /// The newest one holds all there is.
    Unchanged,
    /// It is not time yet.
    In(Duration),
}

impl SecretStore {
    /// Puts a backup of this store back into memory, and opens every record of it with the keys of this store.
    pub async fn prove(&self, backup: &[u8]) -> Result<Checked, Error> {
        let memory = Memory::default();
        let (_, mut decoder) = Decoder::begin(backup)?;
        restore(&memory, &mut decoder).await?;
        self.check_records(&memory).await
    }

    /// Opens every record in `backend` with the keys of this store. Class of [`Error::Unsealed`]: one does not.
    pub(super) async fn check_records(&self, backend: &dyn Backend) -> Result<Checked, Error> {
        let open = self.opened()?;
        let (mut checked, mut after) = (Checked::default(), String::new());
        loop {
            let page = backend.scan("", &after, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(checked) };
            after.clone_from(last);
            for (key, sealed) in &page {
                let Some((form, mount, path)) = record::place_of(key) else { continue };
                record::open::<serde::de::IgnoredAny>(&open.keys, form, Place { mount: &mount, path }, sealed)?;
                checked.records += 1;
                checked.versions += u64::from(matches!(form, Form::Version));
            }
        }
    }

    /// Sees that `target` holds a backup that is no older than `every` and all that the store holds, and keeps the newest
    /// `keep`. Old ones go only after the new one was read again.
    pub async fn keep_backup(
        &self,
        target: &dyn BackupTarget,
        (every, keep): (Duration, usize),
        program: &str,
    ) -> Result<Kept, Error> {
        let head = self.opened()?.head.clone();
        let there = backups_of(&target.list().await?, &head.store);
        match due(there.last(), head.sequence, every, self.0.host.now()) {
            Due::Unchanged => return Ok(Kept::Unchanged),
            Due::In(time) => return Ok(Kept::In(time)),
            Due::Now => {}
        }
        let (name, backup) = self.whole_backup(program).await?;
        self.prove(&backup).await?;
        target.put(&name.to_string(), backup.clone()).await?;
        if target.get(&name.to_string()).await? != backup {
            target.delete(&name.to_string()).await?;
            return Err(Error::Backend(format!("{target} did not give back what was put there: {name} was deleted")));
        }
        let there = backups_of(&target.list().await?, &head.store);
        let old = expired(&there, keep);
        for name in old {
            target.delete(&name.to_string()).await?;
        }
        Ok(Kept::New(name, old.len()))
    }

    async fn whole_backup(&self, program: &str) -> Result<(BackupName, Vec<u8>), Error> {
        for attempt in 1.. {
            match self.one_backup(program).await {
                Err(Error::Conflict(_)) if attempt < ATTEMPTS => {}
                done => return done,
            }
        }
        Err(Error::Bug("attempts never end".into()))
    }

    async fn one_backup(&self, program: &str) -> Result<(BackupName, Vec<u8>), Error> {
        let (mut backup, mut bytes) = (self.backup(program).await?, Vec::new());
        while let Some(piece) = backup.next_piece().await? {
            bytes.extend(piece);
        }
        let (header, _) = Decoder::begin(&bytes[..])?;
        Ok((BackupName::of(&header), bytes))
    }
}
