//! How scheduled backups are doing, for whoever asks.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// One place and how it is doing. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scheduled {
    /// The place.
    pub to: String,
    /// When it was last seen to hold the newest backup that was due.
    pub last: Option<Timestamp>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// It is on the disk of the store.
    pub same_disk: bool,
}

/// All of them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Scheduled>>>);

impl Board {
    /// Notes how one place is doing.
    pub fn note(&self, now: Scheduled) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.iter_mut().find(|place| place.to == now.to) {
            Some(place) => *place = now,
            None => all.push(now),
        }
    }

    /// How all are doing.
    pub fn all(&self) -> Vec<Scheduled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
