//! Gives each record its place in the chain and writes what has come together in one go.
#![expect(clippy::disallowed_methods, reason = "measures when it last looked for space")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::Host;
use super::super::audit::AuditBlocked;
use super::place::{Place, Sheet, is_full, name_of, number_of};
use super::recover::End;
use super::syncer::Shared;
use super::{FileConfig, RESERVE};
use crate::Error;
use crate::audit::{AuditKey, Durability, Entry, Event, Position};

/// Records that are written in one go.
const BATCH: usize = 512;
/// How often it is looked whether trouble is over.
const RETRY: Duration = Duration::from_secs(1);
/// So much more than the reserve has to be free before a full disk counts as one with space.
const SLACK: u64 = 256 << 10;

pub(super) type Reply = oneshot::Sender<Result<u64, AuditBlocked>>;

/// What the writer is asked for.
pub(super) enum Job {
    Append(Append),
    /// The disk did not keep what was written.
    SyncFailed(String),
    /// The disk answers again.
    Unstalled,
    Stop,
}

/// One record, and who waits for it.
pub(super) struct Append {
    pub(super) entry: Entry,
    pub(super) durability: Durability,
    pub(super) reply: Reply,
}

pub(super) struct Writer {
    place: Arc<dyn Place>,
    config: FileConfig,
    key: Arc<AuditKey>,
    host: Arc<dyn Host>,
    shared: Arc<Shared>,
    end: Position,
    /// The file and its good length.
    sheet: Option<(Arc<dyn Sheet>, u64)>,
    /// Behind the good length something may lie, of a write that failed.
    torn: bool,
    /// Records of its own, to be written before any other.
    own: Vec<Entry>,
    buffer: Vec<u8>,
    blocked: Option<Arc<str>>,
    last_try: Instant,
    /// The first record that the disk may not have kept.
    unsure_from: Option<u64>,
}

impl Writer {
    pub(super) fn new(
        place: Arc<dyn Place>,
        config: FileConfig,
        key: Arc<AuditKey>,
        host: Arc<dyn Host>,
        shared: Arc<Shared>,
        end: End,
    ) -> Result<Self, Error> {
        let mut own = vec![Entry::new(&Event::Started { version: env!("CARGO_PKG_VERSION") })?];
        if end.torn > 0 {
            own.push(Entry::new(&Event::Recovered { bytes: end.torn })?);
        }
        if let Some((found, anchored)) = end.missing {
            own.push(Entry::new(&Event::Missing { found, anchored })?);
        }
        let size = place.list().map(|files| files.iter().map(|(_, len)| len).sum()).unwrap_or_default();
        shared.bytes.store(size, Ordering::Relaxed);
        Ok(Self {
            place,
            config,
            key,
            host,
            shared,
            end: end.at,
            sheet: end.sheet,
            torn: false,
            own,
            buffer: Vec::new(),
            blocked: None,
            last_try: Instant::now(),
            unsure_from: None,
        })
    }

    /// The writer's thread.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        self.batch(Vec::new());
        if let Err(error) = self.set_aside() {
            self.fail(&error);
        }
        loop {
            let first = match jobs.recv_timeout(RETRY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Job::Stop),
            };
            if self.blocked.is_some() && self.last_try.elapsed() >= RETRY {
                self.resume();
            }
            let mut batch = Vec::new();
            let mut stop = false;
            for job in first.into_iter().chain(std::iter::from_fn(|| jobs.try_recv().ok())) {
                match job {
                    Job::Append(append) => batch.push(append),
                    Job::SyncFailed(why) => self.sync_failed(&why),
                    Job::Unstalled => self.report(),
                    Job::Stop => stop = true,
                }
                if stop || batch.len() == BATCH {
                    break;
                }
            }
            if stop {
                self.own.extend(Entry::new(&Event::Stopped {}));
                self.batch(batch);
                return self.shared.stop();
            }
            if !batch.is_empty() {
                self.batch(batch);
            }
        }
    }

    /// Writes records, and answers those that do not wait for the disk.
    fn batch(&mut self, batch: Vec<Append>) {
        if self.sheet.as_ref().is_some_and(|(_, len)| *len >= self.config.file_size) {
            self.rotate();
        }
        let mut written = self.write(&batch);
        if let Err(error) = &written {
            let full = is_full(error);
            self.fail(error);
            if full && self.release() {
                self.own.extend(Entry::new(&Event::Full {}));
                written = self.write(&batch);
            }
        }
        if self.shared.stalled.swap(false, Ordering::SeqCst) {
            self.report();
        }
        let first = match written {
            Ok(first) => first,
            Err(error) => {
                let why = self.blocked.clone().unwrap_or_else(|| error.to_string().into());
                return batch.into_iter().for_each(|append| {
                    // Whoever has gone away needs no answer; so below.
                    let _ = append.reply.send(Err(AuditBlocked(why.clone())));
                });
            }
        };
        let mut waiters = Vec::new();
        for (seq, append) in (first..).zip(batch) {
            match append.durability {
                Durability::Written => drop(append.reply.send(Ok(seq))),
                Durability::Synced => waiters.push((seq, append.reply)),
            }
        }
        if let Some((sheet, _)) = &self.sheet {
            self.shared.wrote(sheet, self.end, waiters);
        }
    }

    /// Writes its own records and these, all or none. Gives the number of the first of these.
    fn write(&mut self, batch: &[Append]) -> io::Result<u64> {
        if self.sheet.is_none() {
            self.begin_file()?;
        }
        let Some((sheet, len)) = &mut self.sheet else { return Err(io::ErrorKind::NotFound.into()) };
        let (mut end, now) = (self.end, self.host.now());
        self.buffer.clear();
        for entry in self.own.iter().chain(batch.iter().map(|append| &append.entry)) {
            end.append(&self.key, now, entry, &mut self.buffer);
        }
        if self.torn {
            sheet.cut(*len)?;
        }
        if let Err(error) = sheet.append(&self.buffer) {
            // If it can not be cut off now, it is before the next write.
            self.torn = sheet.cut(*len).is_err();
            return Err(error);
        }
        self.torn = false;
        *len += self.buffer.len() as u64;
        self.shared.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        let first = self.end.seq + self.own.len() as u64 + 1;
        self.end = end;
        self.own.clear();
        Ok(first)
    }

    /// Begins the next file with the end of the one before, and makes both stay.
    fn begin_file(&mut self) -> io::Result<()> {
        let entry = Entry::new(&Event::file(self.end, &self.key)).map_err(io::Error::other)?;
        let name = name_of(self.end.seq + 1);
        let sheet = self.place.open(&name)?;
        let (mut end, mut line) = (self.end, Vec::new());
        end.append(&self.key, self.host.now(), &entry, &mut line);
        // A file of this name holds nothing: half a line from an attempt that failed.
        let begun = sheet.cut(0).and_then(|()| sheet.append(&line)).and_then(|()| sheet.sync());
        if let Err(error) = begun {
            let _ = self.place.remove(&name);
            return Err(error);
        }
        self.end = end;
        self.shared.has_synced(&sheet, end);
        self.shared.bytes.fetch_add(line.len() as u64, Ordering::Relaxed);
        self.sheet = Some((sheet, line.len() as u64));
        Ok(())
    }

    /// Goes on in a new file, and deletes the oldest ones. Where that fails, the old file grows on for a while.
    fn rotate(&mut self) {
        let Some((sheet, len)) = self.sheet.take() else { return };
        if let Err(error) = sheet.sync() {
            self.sheet = Some((sheet, len));
            return self.sync_failed(&error.to_string());
        }
        self.shared.has_synced(&sheet, self.end);
        if let Err(error) = self.begin_file() {
            tracing::warn!("the next file of the audit log was not begun, so the last one grows on: {error}");
            self.sheet = Some((sheet, len));
            return;
        }
        if let Err(error) = self.drop_oldest() {
            tracing::warn!("the oldest files of the audit log were not deleted: {error}");
        }
    }

    /// Deletes files until there is room for a whole new one, and says so before.
    fn drop_oldest(&mut self) -> io::Result<()> {
        let files = self.place.list()?;
        let mut total = files.iter().map(|(_, len)| len).sum::<u64>() + self.config.file_size;
        let (mut gone, mut through) = (Vec::new(), 0);
        for pair in files.windows(2) {
            if total <= self.config.total_size {
                break;
            }
            total -= pair[0].1;
            gone.push((&pair[0].0, pair[0].1));
            through = number_of(&pair[1].0).unwrap_or_default().saturating_sub(1);
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.own.push(Entry::new(&Event::Dropped { through }).map_err(io::Error::other)?);
        self.write(&[])?;
        if let Some((sheet, _)) = &self.sheet {
            sheet.sync()?;
            self.shared.has_synced(sheet, self.end);
        }
        for (name, len) in gone {
            self.place.remove(name)?;
            self.shared.bytes.fetch_sub(len, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Fills the reserve, if that much and some more is free.
    fn set_aside(&self) -> io::Result<()> {
        let reserve = self.place.open(RESERVE)?;
        let (len, _) = reserve.tail(0)?;
        let mut filled = Ok(());
        if len != self.config.reserve {
            let zeros = vec![0; 64 << 10];
            let mut missing = self.config.reserve + SLACK;
            filled = reserve.cut(0);
            while missing > 0 && filled.is_ok() {
                let some = zeros.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
                filled = reserve.append(&zeros[..some]);
                missing -= some as u64;
            }
            filled = filled.and_then(|()| reserve.cut(self.config.reserve)).and_then(|()| reserve.sync());
            if filled.is_err() {
                // What was got of it is others' again.
                let _ = reserve.cut(0);
            }
        }
        filled
    }

    /// Gives up the reserve; whether there was one.
    fn release(&self) -> bool {
        let Ok(reserve) = self.place.open(RESERVE) else { return false };
        reserve.tail(0).is_ok_and(|(len, _)| len > 0) && reserve.cut(0).is_ok()
    }

    fn fail(&mut self, error: &io::Error) {
        let folder = self.config.folder.display();
        let why = if is_full(error) {
            format!("no space is left for {folder}: free some, or give the volume more; it goes on by itself")
        } else {
            format!("{folder} can not be written to: {error}; it is tried again every second")
        };
        self.block(why.into());
    }

    fn sync_failed(&mut self, why: &str) {
        let from = self.shared.synced().seq + 1;
        self.unsure_from = Some(self.unsure_from.map_or(from, |known| known.min(from)));
        let folder = self.config.folder.display();
        self.block(
            format!("the disk of {folder} does not keep what is written: {why}; it is tried again every second").into(),
        );
    }

    fn block(&mut self, why: Arc<str>) {
        if self.blocked.as_ref() != Some(&why) {
            tracing::error!("the audit log takes no records, so the secret server answers nothing: {why}");
        }
        self.blocked = Some(why);
        self.last_try = Instant::now();
        self.report();
    }

    fn report(&self) {
        self.shared.report(self.blocked.clone());
    }

    /// Looks whether the trouble is over.
    fn resume(&mut self) {
        self.last_try = Instant::now();
        if let Err(error) = self.try_resume() {
            return self.fail(&error);
        }
        self.blocked = None;
        self.unsure_from = None;
        self.report();
        tracing::info!("the audit log takes records again");
    }

    fn try_resume(&mut self) -> io::Result<()> {
        self.set_aside()?;
        if self.unsure_from.is_some() {
            // The disk has let go of what it did not keep: a new file is all that can be relied on.
            if let Some((sheet, len)) = self.sheet.take().filter(|_| self.torn) {
                sheet.cut(len)?;
            }
            self.torn = false;
        }
        self.own.push(Entry::new(&Event::Resumed { unsure_from: self.unsure_from }).map_err(io::Error::other)?);
        let written = self.write(&[]);
        if written.is_err() {
            self.own.pop();
        }
        written?;
        let Some((sheet, _)) = &self.sheet else { return Ok(()) };
        if let Err(error) = sheet.sync() {
            self.unsure_from.get_or_insert_with(|| self.shared.synced().seq + 1);
            return Err(error);
        }
        self.shared.has_synced(sheet, self.end);
        Ok(())
    }
}
