//! Requests over kept connections, each sent as soon as the one before it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::wire::{Target, Wire, request};

/// Load is on for this long before anything is counted.
const WARM: Duration = Duration::from_millis(500);
/// Steps that meet all secrets in no order that a cache would like; both are prime.
const STEPS: (usize, usize) = (7919, 104_729);

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Answers a second.
    pub(super) per_second: f64,
    /// Milliseconds that 99 of 100 answers took at most.
    pub(super) p99: f64,
}

/// The path of a secret.
pub(super) fn path(n: usize) -> String {
    format!("kv/data/app-{}/secret-{n}", n % 100)
}

/// A request that reads secret `n`.
pub(super) fn read(token: &str, n: usize) -> Vec<u8> {
    request("GET", &path(n), token, "")
}

/// A request that writes a new version of secret `n`.
pub(super) fn write(token: &str, n: usize) -> Vec<u8> {
    let url = format!("postgres://db.example/{n}");
    let body = format!(r#"{{"data":{{"username":"user-{n}","password":"{n:0>32}","url":"{url}"}}}}"#);
    request("POST", &path(n), token, &body)
}

/// Sends `requests` over `connections` for some time, on a thread of its own.
pub(super) async fn run(target: &Target, connections: usize, requests: Vec<Vec<u8>>, time: Duration) -> Result<Rate> {
    let (target, requests) = (target.clone(), Arc::new(requests));
    on_a_thread(move || async move {
        let from = Instant::now() + WARM;
        let until = from + time;
        let workers: Vec<_> = (0..connections)
            .map(|worker| tokio::spawn(repeat(target.clone(), worker, Arc::clone(&requests), from, until)))
            .collect();
        let mut took = Vec::new();
        for worker in workers {
            took.extend(worker.await??);
        }
        ensure!(!took.is_empty(), "nothing was answered in {time:?}");
        took.sort_unstable();
        let p99 = f64::from(took[(took.len() - 1) * 99 / 100]) / 1000.0;
        Ok(Rate { per_second: took.len() as f64 / time.as_secs_f64(), p99 })
    })
    .await
}

/// Microseconds of each answer between `from` and `until`.
async fn repeat(
    target: Target,
    worker: usize,
    requests: Arc<Vec<Vec<u8>>>,
    from: Instant,
    until: Instant,
) -> Result<Vec<u32>> {
    let mut wire = Wire::open(&target).await.context("connect")?;
    let (mut took, mut at) = (Vec::new(), worker * STEPS.0);
    loop {
        let began = Instant::now();
        if began >= until {
            return Ok(took);
        }
        let status = wire.exchange(&requests[at % requests.len()]).await?;
        ensure!(status == 200, "a request was answered {status}: {}", String::from_utf8_lossy(wire.body()));
        if began >= from {
            took.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        at += STEPS.1;
    }
}

/// Writes the secrets `from..to` once each.
pub(super) async fn fill(target: &Target, connections: usize, token: &str, (from, to): (usize, usize)) -> Result<()> {
    let (target, token, next) = (target.clone(), Arc::new(token.to_owned()), Arc::new(AtomicUsize::new(from)));
    on_a_thread(move || async move {
        let writer = |target: Target, token: Arc<String>, next: Arc<AtomicUsize>| async move {
            let mut wire = Wire::open(&target).await.context("connect")?;
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= to {
                    return Ok::<_, anyhow::Error>(());
                }
                let status = wire.exchange(&write(&token, n)).await?;
                ensure!(status == 200, "a write was answered {status}: {}", String::from_utf8_lossy(wire.body()));
            }
        };
        let workers: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(writer(target.clone(), Arc::clone(&token), Arc::clone(&next))))
            .collect();
        for worker in workers {
            worker.await??;
        }
        Ok(())
    })
    .await
}

/// One thread with a runtime of its own: what the load takes of the cores is one of them at most.
async fn on_a_thread<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>>,
{
    let thread = tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    });
    thread.await.context("the load ended early")?
}
