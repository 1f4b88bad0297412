//! Keeps the index of a process in step with what others write.

use std::sync::Weak;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::Inner;

/// How often the head is looked at when the watch says nothing: a connection can be dead without anybody noticing.
const LOOK: Duration = Duration::from_secs(5);
/// How often leftovers are looked for.
const COLLECT: Duration = Duration::from_secs(3600);

/// How long to wait before a watch is begun anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until the backend is gone.
pub(super) async fn follow(inner: Weak<Inner>) {
    let (mut collected, mut well): (Option<Instant>, bool) = (None, true);
    while let Some(objects) = inner.upgrade().map(|inner| inner.objects.clone()) {
        let watch = objects.watch().await.ok();
        let begun = watch.is_some();
        let mut events = watch.map_or_else(|| stream::pending().left_stream(), StreamExt::right_stream);
        loop {
            let Some(inner) = inner.upgrade() else { return };
            let was_well = well;
            well = look(&inner, was_well).await;
            if well && collected.is_none_or(|at| at.elapsed() >= COLLECT) {
                collected = Some(Instant::now());
                collect(&inner).await;
            }
            drop(inner);
            let said = tokio::time::timeout(LOOK, events.next()).await;
            // What did not begin, has ended, or may have died in an outage is begun anew.
            if !begun || matches!(said, Ok(None)) || !well || !was_well {
                break;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether the head could be looked at.
async fn look(inner: &Inner, was_well: bool) -> bool {
    match inner.newest().await {
        Ok(_) => {
            if !was_well {
                tracing::info!("the store in the cluster can be reached again");
            }
            true
        }
        Err(error) => {
            if was_well {
                tracing::warn!(%error, "the store in the cluster can not be looked at; trying again");
            }
            false
        }
    }
}

async fn collect(inner: &Inner) {
    match inner.collect().await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "took away what writes left that were cut off"),
        Err(error) => tracing::warn!(%error, "what writes left that were cut off stays for now"),
    }
}
