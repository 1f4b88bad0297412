//! Where audit records go.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::Host;
use crate::Error;
use crate::audit::{AuditKey, Durability, Entry, Event, Position};

/// Why no record is taken, for people; `None` while all is well.
pub type Trouble = Option<Arc<str>>;

/// A record was not taken. What it is about must not be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log takes no records, and nothing is answered without one: {0}")]
pub struct AuditBlocked(pub Arc<str>);

impl From<AuditBlocked> for Error {
    fn from(error: AuditBlocked) -> Self {
        Self::Backend(error.to_string())
    }
}

/// A log that can only grow. All keep `testing::audit_contract`.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Adds a record and says its number. When it returns, the record is as far as `durability` asks: another process
    /// that reads the log sees it, and if it is to be synced a power cut does not take it. If the caller goes away, the
    /// record may be written or not.
    async fn append(&self, entry: Entry, durability: Durability) -> Result<u64, AuditBlocked>;

    /// Whether records are taken. While there is trouble, nothing new should be begun; it goes away by itself once its
    /// cause is gone.
    fn trouble(&self) -> watch::Receiver<Trouble>;
}

/// Records in memory: for tests and for `--dev`.
pub struct MemoryAudit {
    key: Arc<AuditKey>,
    host: Arc<dyn Host>,
    log: Mutex<(Position, Vec<u8>)>,
    trouble: watch::Sender<Trouble>,
}

impl std::fmt::Debug for MemoryAudit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryAudit(…)")
    }
}

impl MemoryAudit {
    /// An empty log.
    pub fn new(key: Arc<AuditKey>, host: Arc<dyn Host>) -> Result<Self, Error> {
        let first = Entry::new(&Event::first_file(&key))?;
        let (mut end, mut text) = (Position::default(), Vec::new());
        end.append(&key, host.now(), &first, &mut text);
        Ok(Self { key, host, log: Mutex::new((end, text)), trouble: watch::channel(None).0 })
    }

    /// All lines so far.
    pub fn text(&self) -> Vec<u8> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes no records from now on, or does again.
    pub fn set_trouble(&self, trouble: Option<&str>) {
        self.trouble.send_replace(trouble.map(Into::into));
    }
}

#[async_trait]
impl AuditSink for MemoryAudit {
    async fn append(&self, entry: Entry, _: Durability) -> Result<u64, AuditBlocked> {
        if let Some(why) = self.trouble.borrow().clone() {
            return Err(AuditBlocked(why));
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, text) = &mut *log;
        end.append(&self.key, self.host.now(), &entry, text);
        Ok(end.seq)
    }

    fn trouble(&self) -> watch::Receiver<Trouble> {
        self.trouble.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FixedHost;

    #[tokio::test]
    async fn keeps_the_contract() {
        let make = |key| Arc::new(MemoryAudit::new(key, Arc::new(FixedHost::default())).unwrap());
        crate::testing::audit_contract(make, |audit| audit.text()).await;
    }
}
