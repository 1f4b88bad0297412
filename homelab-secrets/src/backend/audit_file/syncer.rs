//! Brings what was written to the disk, once for all that wait.
#![expect(clippy::disallowed_methods, reason = "measures how long a record has waited for the disk")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::super::Host;
use super::super::audit::{AuditBlocked, Trouble};
use super::place::{Place, Sheet};
use super::writer::{Job, Reply};
use super::{ANCHOR, AuditStats};
use crate::audit::{Anchor, AuditKey, Position};

/// A record that nobody waits for is synced after this time, so that it is on the disk within a second.
const LAZY: Duration = Duration::from_millis(500);
/// The anchor is written no more often than this.
const ANCHOR_EVERY: Duration = Duration::from_secs(10);

/// What writer, syncer and callers share.
pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    trouble: watch::Sender<Trouble>,
    /// A caller gave up waiting.
    pub(super) stalled: AtomicBool,
    /// How often trouble began.
    failures: AtomicU64,
    /// Bytes of all files.
    pub(super) bytes: AtomicU64,
}

struct State {
    /// The file that is written to.
    sheet: Option<Arc<dyn Sheet>>,
    written: Position,
    synced: Position,
    anchored: u64,
    waiters: Vec<(u64, Reply)>,
    /// Since when something is written that is not synced.
    dirty: Option<Instant>,
    /// Since when not all that is written is on the disk.
    unsynced: Option<Instant>,
    /// When all that was written was on the disk.
    last_sync: Instant,
    stop: bool,
}

impl State {
    fn synced(&mut self, at: Position, now: Instant) {
        self.synced = at;
        self.last_sync = now;
        self.unsynced = (self.written.seq > at.seq).then_some(now);
    }
}

/// What the syncer does next.
struct Turn {
    sheet: Option<Arc<dyn Sheet>>,
    written: Position,
    waiters: Vec<(u64, Reply)>,
    stop: bool,
}

impl Shared {
    pub(super) fn new(at: Position, anchor: Option<Anchor>) -> Self {
        let anchored = anchor.map_or(0, |anchor| anchor.at.seq);
        let state = State {
            sheet: None,
            written: at,
            synced: at,
            anchored,
            waiters: Vec::new(),
            dirty: None,
            unsynced: None,
            last_sync: Instant::now(),
            stop: false,
        };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            trouble: watch::channel(None).0,
            stalled: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn synced(&self) -> Position {
        self.lock().synced
    }

    pub(super) fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
    }

    /// All but the room that is left.
    pub(super) fn stats(&self) -> AuditStats {
        let state = self.lock();
        AuditStats {
            records: state.written.seq,
            failures: self.failures.load(Ordering::Relaxed),
            blocked: self.trouble.borrow().is_some(),
            unsynced: state.unsynced.map(|since| since.elapsed()).unwrap_or_default(),
            last_sync: state.last_sync.elapsed(),
            bytes: self.bytes.load(Ordering::Relaxed),
            room: 0,
        }
    }

    /// Says what the trouble is, or that there is none.
    pub(super) fn report(&self, trouble: Trouble) {
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            if known.is_none() && trouble.is_some() {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            *known = trouble;
            changed
        });
    }

    /// Records up to `written` are in `sheet`; these callers wait for the disk.
    pub(super) fn wrote(&self, sheet: &Arc<dyn Sheet>, written: Position, waiters: Vec<(u64, Reply)>) {
        let mut state = self.lock();
        state.sheet = Some(sheet.clone());
        state.written = written;
        let wakes = !waiters.is_empty() || state.dirty.is_none();
        state.waiters.extend(waiters);
        state.dirty.get_or_insert_with(Instant::now);
        if state.written.seq > state.synced.seq {
            state.unsynced.get_or_insert_with(Instant::now);
        }
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// The writer has synced up to here itself.
    pub(super) fn has_synced(&self, sheet: &Arc<dyn Sheet>, at: Position) {
        let mut state = self.lock();
        (state.sheet, state.written) = (Some(sheet.clone()), at);
        state.synced(at, Instant::now());
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_one();
    }

    /// Waits until there is something to do.
    fn turn(&self, last_anchor: Instant) -> Turn {
        let mut state = self.lock();
        loop {
            let lazy = state.dirty.map(|since| LAZY.saturating_sub(since.elapsed()));
            let behind = state.synced.seq > state.anchored;
            let anchor = behind.then(|| ANCHOR_EVERY.saturating_sub(last_anchor.elapsed()));
            let rest = [lazy, anchor].into_iter().flatten().min();
            if !state.waiters.is_empty() || state.stop || rest.is_some_and(|rest| rest.is_zero()) {
                break;
            }
            state = match rest {
                Some(rest) => self.wake.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0,
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let waiters = std::mem::take(&mut state.waiters);
        state.dirty = None;
        Turn { sheet: state.sheet.clone(), written: state.written, waiters, stop: state.stop }
    }

    fn done(&self, turn: &Turn) {
        let mut state = self.lock();
        if turn.written.seq > state.synced.seq {
            state.synced(turn.written, Instant::now());
        }
    }
}

/// The syncer's thread.
pub(super) fn run(shared: &Shared, writer: &Sender<Job>, place: &dyn Place, key: &AuditKey, host: &dyn Host) {
    // The first anchor is written at once.
    let mut last_anchor = Instant::now().checked_sub(ANCHOR_EVERY).unwrap_or_else(Instant::now);
    let mut warned = false;
    loop {
        let turn = shared.turn(last_anchor);
        let synced = turn.sheet.as_ref().map_or(Ok(()), |sheet| sheet.sync());
        match &synced {
            Ok(()) => shared.done(&turn),
            Err(error) => {
                // It ends by itself with the writer.
                let _ = writer.send(Job::SyncFailed(error.to_string()));
            }
        }
        if synced.is_ok() && shared.stalled.swap(false, Ordering::SeqCst) {
            let _ = writer.send(Job::Unstalled);
        }
        let stop = turn.stop;
        for (seq, reply) in turn.waiters {
            let blocked = |e: &std::io::Error| AuditBlocked(format!("the disk does not keep records: {e}").into());
            // Whoever has gone away needs no answer.
            let _ = reply.send(synced.as_ref().map(|()| seq).map_err(blocked));
        }
        if stop || last_anchor.elapsed() >= ANCHOR_EVERY {
            let noted = note(shared, place, key, host);
            if let (Err(error), false) = (&noted, warned) {
                tracing::warn!(
                    "the anchor of the audit log was not written, so a cut end would not be noticed: {error}"
                );
            }
            warned = noted.is_err();
            last_anchor = Instant::now();
        }
        if stop {
            return;
        }
    }
}

/// Writes the anchor, if the disk has more than it says.
fn note(shared: &Shared, place: &dyn Place, key: &AuditKey, host: &dyn Host) -> Result<(), String> {
    let (at, anchored) = {
        let state = shared.lock();
        (state.synced, state.anchored)
    };
    if at.seq <= anchored {
        return Ok(());
    }
    let text = Anchor { at, time: host.now() }.to_text(key).map_err(|e| e.to_string())?;
    place.replace(ANCHOR, text.as_bytes()).map_err(|e| e.to_string())?;
    shared.lock().anchored = at.seq;
    Ok(())
}
