//! The power goes and comes back: every pod that asks for secrets has them again without anybody doing anything.
//!
//! Run by `cargo xtask test --suite power-cut`, which has a cluster of its own for it. There is no Git server, no injected
//! secret and no name from outside that anything could wait for.

mod home;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use home::Home;

/// From the daemon's readiness to that of all opted-in pods.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn all_opted_in_pods_come_back_after_a_power_cut() -> Result<()> {
    let home = Home::install().await?;
    let before = home.pods_ready(Duration::from_secs(150)).await?;

    home.cut().await?;
    home.daemon_ready().await?;
    let start = Instant::now();
    home.pods_ready(LIMIT).await?;
    said("as it was", start);

    // Nobody is there to let the pods in again.
    home.scale_daemon(0).await?;
    home.delete_pods().await?;
    home.refused().await?;
    home.cut().await?;
    home.scale_daemon(1).await?;
    home.daemon_ready().await?;
    let start = Instant::now();
    let after = home.pods_ready(LIMIT).await?;
    said("with all pods deleted while the daemon was down", start);
    ensure!(before.iter().all(|uid| !after.contains(uid)), "they are other pods");
    home.have_their_secret().await
}

/// For whoever reads the run: the test's own output is shown only when it fails.
fn said(what: &str, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let _ = writeln!(std::io::stderr(), "power cut, {what}: all pods Ready {seconds:.1} s after the daemon");
}
