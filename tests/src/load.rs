//! Requests without a pause, over kept and over new connections, and what became of each.
//!
//! A kept connection that closes before any byte of an answer came may have been closed while the request was on its way;
//! such a request (a GET) is sent once more over a new connection, as Go's client and browsers do. It is counted apart.
//! Everything else that is not an answer with status 200 is a failure.
//!
//! A kept connection is given up after [`Intensity::renew`]: a plain Service moves new connections only, and one that is
//! never closed stays with the pod that it was made to for as long as that pod lives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Uri;

use crate::wait;

mod connection;
mod report;

pub use report::{Answer, Failure, Report, Sight};

use connection::{Connection, Trouble};

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Intensity {
    /// Workers that keep their connection.
    pub kept: usize,
    /// Workers that make a new connection for each request.
    pub fresh: usize,
    /// Between two requests of one worker.
    pub pause: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Age at which a kept connection is given up.
    pub renew: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        let renew = Duration::from_secs(5);
        Self { kept: 4, fresh: 4, pause: Duration::from_millis(20), timeout: Duration::from_secs(10), renew }
    }
}

/// A running load; it ends when it is dropped.
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    authority: String,
    path: String,
    intensity: Intensity,
    start: Instant,
    stop: AtomicBool,
    report: Mutex<Report>,
}

impl Load {
    /// Starts asking `url` (plain http).
    pub fn start(url: &str, intensity: Intensity) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
        let host = uri.host().with_context(|| format!("{url} has no host"))?;
        let shared = Arc::new(Shared {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            path: uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
            intensity,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            report: Mutex::default(),
        });
        let kinds = [(true, intensity.kept), (false, intensity.fresh)];
        let workers = kinds
            .into_iter()
            .flat_map(|(keep, count)| std::iter::repeat_n(keep, count))
            .map(|keep| tokio::spawn(work(Arc::clone(&shared), keep)))
            .collect();
        Ok(Self { shared, workers })
    }

    /// What happened until now.
    pub fn report(&self) -> Report {
        self.shared.report().clone()
    }

    /// Time since the start; failures and sights are given in it.
    pub fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Waits until an answer that came after `since` satisfies `wanted`; says when it came.
    pub async fn wait_for(
        &self,
        what: &str,
        since: Duration,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Duration> {
        wait::often(&format!("an answer {what}"), limit, Duration::from_millis(20), async || {
            let report = self.shared.report();
            let newest = report.answers.iter().filter(|(answer, _)| wanted(answer));
            let first = newest.filter_map(|(_, sight)| sight.first_since(since)).min();
            first.ok_or_else(|| report.latest())
        })
        .await
    }

    /// Waits until, for `time`, every answer satisfied `wanted`.
    pub async fn wait_until_only(
        &self,
        what: &str,
        time: Duration,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<()> {
        wait::until(&format!("only answers {what}"), limit, async || {
            let now = self.elapsed();
            let report = self.shared.report();
            let recent = |sight: &Sight| sight.last + time > now;
            let other = report.answers.iter().find(|(answer, sight)| recent(sight) && !wanted(answer));
            let some = report.answers.iter().any(|(answer, sight)| recent(sight) && wanted(answer));
            match other {
                Some((answer, _)) => Err(format!("{answer} still answers")),
                None if !some => Err("no answers at all".into()),
                None => Ok(()),
            }
        })
        .await
    }

    /// Ends it, after the requests that are on their way.
    pub async fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in std::mem::take(&mut self.workers) {
            // A worker that panicked has left its requests out of the report; there is nothing else to do here.
            let _ = worker.await;
        }
        self.report()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.abort();
        }
    }
}

impl Shared {
    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

async fn work(shared: Arc<Shared>, keep: bool) {
    let mut kept: Option<Connection> = None;
    while !shared.stopping() {
        let used = kept.take();
        let (outcome, connection, retried) = ask(&shared, used).await;
        let at = shared.start.elapsed();
        shared.report().note(keep, retried, outcome, at);
        if keep {
            kept = connection;
        }
        tokio::time::sleep(shared.intensity.pause).await;
    }
}

/// One request: over `kept` if there is one and it is still open, else over a new connection.
async fn ask(shared: &Shared, kept: Option<Connection>) -> (Result<Answer, String>, Option<Connection>, bool) {
    let mut retried = false;
    if let Some(mut connection) = kept
        && connection.age() < shared.intensity.renew
        && connection.is_open().await
    {
        match once(shared, &mut connection).await {
            Err(Trouble::ClosedBeforeAnswer(_)) => retried = true,
            Err(trouble) => return (Err(trouble.to_string()), None, false),
            Ok(answer) => return (Ok(answer), Some(connection), false),
        }
    }
    let open = tokio::time::timeout(shared.intensity.timeout, Connection::open(&shared.authority)).await;
    let mut connection = match open {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return (Err(format!("no connection: {error}")), None, retried),
        Err(_) => return (Err(format!("no connection within {:?}", shared.intensity.timeout)), None, retried),
    };
    match once(shared, &mut connection).await {
        Ok(answer) => (Ok(answer), Some(connection), retried),
        Err(trouble) => (Err(trouble.to_string()), None, retried),
    }
}

async fn once(shared: &Shared, connection: &mut Connection) -> Result<Answer, Trouble> {
    let asked = connection.get(&shared.authority, &shared.path);
    let body = match tokio::time::timeout(shared.intensity.timeout, asked).await {
        Ok(result) => result?,
        Err(_) => return Err(Trouble::Other(format!("no answer within {:?}", shared.intensity.timeout))),
    };
    Answer::read(&body).map_err(Trouble::Other)
}

/// What `answers` holds, by answer.
type Answers = BTreeMap<Answer, Sight>;

#[cfg(test)]
mod tests;
