//! Waiting with a deadline that says what was waited for.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until `probe` gives a value; its error is the state that is told if the time runs out.
pub async fn until<T>(what: &str, limit: Duration, probe: impl AsyncFnMut() -> Result<T, String>) -> Result<T> {
    often(what, limit, PAUSE, probe).await
}

/// The same, looking every `pause`.
pub async fn often<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let state = match probe().await {
            Ok(value) => return Ok(value),
            Err(state) => state,
        };
        if start.elapsed() >= limit {
            bail!("waited {} s for {what}; the last state: {state}", limit.as_secs());
        }
        tokio::time::sleep(pause).await;
    }
}

/// Sees that `probe` stays true for `time`; its error says what changed.
pub async fn stays(what: &str, time: Duration, mut probe: impl AsyncFnMut() -> Result<(), String>) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Err(state) = probe().await {
            bail!("after {:.1} s it was no longer so that {what}: {state}", start.elapsed().as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
