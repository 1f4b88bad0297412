//! The secret server beside OpenBao: `cargo xtask bench secrets [--quick]`.
//!
//! Both keep an audit log in a file and open their store by a key file; OpenBao stores with raft. The same load, over the
//! same number of kept connections, by the token of an AppRole, reads and writes the same secrets. Rounds alternate
//! between the servers, so what else the machine does meets all of them; medians are told.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::output::say;

mod load;
mod machine;
mod server;
mod table;
mod wire;

use server::{Certificate, Peer, Place, Running};
use table::{Row, Table};

/// Connections of the load.
const CONNECTIONS: usize = 16;
/// Connections that fill a store: writes of many make fewer syncs.
const FILLERS: usize = 64;
/// A process that has just started is not idle yet.
const CALM: Duration = Duration::from_secs(1);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    rounds: usize,
    time: Duration,
    few: usize,
    many: usize,
}

const FULL: Extent = Extent { rounds: 5, time: Duration::from_secs(3), few: 1000, many: 100_000 };
const QUICK: Extent = Extent { rounds: 1, time: Duration::from_secs(1), few: 1000, many: 3000 };

struct Bench {
    extent: Extent,
    ours: Place,
    bao: Place,
    table: Table,
    _folder: tempfile::TempDir,
}

/// Measures, prints a table and writes `target/bench/secrets.json`.
pub async fn run(quick: bool) -> Result<()> {
    crate::crypto();
    let extent = if quick { QUICK } else { FULL };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::workspace().join("target"), PathBuf::from);
    std::fs::create_dir_all(&target)?;
    // Beside what is built: the system's folder for passing files may be in memory, where a sync costs nothing.
    let folder = tempfile::Builder::new().prefix("bench-secrets").tempdir_in(&target)?;
    let certificate = Certificate::make(folder.path())?;
    let ours = Place::new(true, crate::daemon::binary()?, folder.path().join("ours"), certificate.clone())?;
    let bao = Place::new(false, openbao()?, folder.path().join("openbao"), certificate)?;
    let mut bench = Bench { extent, ours, bao, table: Table::new(extent.few, extent.many), _folder: folder };
    let measured = bench.measure().await;
    // What was measured before a failure is told, too.
    bench.table.print();
    bench.table.write(&target.join("bench"))?;
    measured
}

fn openbao() -> Result<PathBuf> {
    let named = std::env::var_os("HOMELAB_TEST_BAO").filter(|v| !v.is_empty()).map(PathBuf::from);
    named.context("HOMELAB_TEST_BAO does not name the program `bao`: run `cargo xtask bench secrets`")
}

impl Bench {
    async fn measure(&mut self) -> Result<()> {
        self.ours.prepare().await.context("prepare our server")?;
        self.bao.prepare().await.context("prepare OpenBao")?;
        for peer in [Peer::Ours, Peer::OpenBao] {
            let (mut running, _) = self.start(peer, false).await?;
            // The start of an empty store, and what it takes when it is asked for nothing.
            tokio::time::sleep(CALM).await;
            self.table.add(Row::Idle, false, peer, running.memory()?);
            self.fill(peer, &running, (0, self.extent.few)).await?;
            running.end()?;
        }
        for round in 1..=self.extent.rounds {
            say(format!("round {round} of {}: {}", self.extent.rounds, machine::load()));
            self.table.disk(machine::sync_time(self._folder.path())?);
            for tls in [false, true] {
                for peer in [Peer::Ours, Peer::Always, Peer::OpenBao] {
                    self.round(peer, tls).await.with_context(|| format!("measure {peer:?}"))?;
                }
            }
        }
        for peer in [Peer::Ours, Peer::OpenBao] {
            self.grow(peer).await.with_context(|| format!("fill {peer:?}"))?;
        }
        for _ in 0..self.extent.rounds {
            for peer in [Peer::Ours, Peer::OpenBao] {
                let (mut running, took) = self.start(peer, false).await?;
                self.table.add(Row::StartKilled, false, peer, took);
                running.kill()?;
            }
        }
        Ok(())
    }

    fn place(&self, peer: Peer) -> &Place {
        if peer == Peer::OpenBao { &self.bao } else { &self.ours }
    }

    async fn start(&self, peer: Peer, tls: bool) -> Result<(Running, f64)> {
        self.place(peer).start(tls, peer == Peer::Always).await
    }

    async fn round(&mut self, peer: Peer, tls: bool) -> Result<()> {
        let Extent { few, time, .. } = self.extent;
        let (mut running, took) = self.start(peer, tls).await?;
        self.table.add(Row::Start, tls, peer, took);
        let (target, token) = self.place(peer).log_in(&running).await?;
        let reads = (0..few).map(|n| load::read(&token, n)).collect();
        let rate = load::run(&target, CONNECTIONS, reads, time).await?;
        self.table.add(Row::Reads, tls, peer, rate.per_second);
        self.table.add(Row::ReadP99, tls, peer, rate.p99);
        let writes = (0..few).map(|n| load::write(&token, n)).collect();
        let rate = load::run(&target, CONNECTIONS, writes, time).await?;
        self.table.add(Row::Writes, tls, peer, rate.per_second);
        running.end()
    }

    async fn fill(&self, peer: Peer, running: &Running, range: (usize, usize)) -> Result<()> {
        let (target, token) = self.place(peer).log_in(running).await?;
        load::fill(&target, FILLERS, &token, range).await
    }

    /// From few secrets to many, in one process; then it is killed.
    async fn grow(&mut self, peer: Peer) -> Result<()> {
        let Extent { few, many, .. } = self.extent;
        say(format!("filling {peer:?} with {many} secrets: {}", machine::load()));
        let (mut running, _) = self.start(peer, false).await?;
        let (target, token) = self.place(peer).log_in(&running).await?;
        let reads = (0..few).map(|n| load::read(&token, n)).collect();
        load::run(&target, CONNECTIONS, reads, CALM).await?;
        let (memory, stored) = (running.memory()?, self.place(peer).stored()?);
        self.fill(peer, &running, (few, many)).await?;
        tokio::time::sleep(CALM).await;
        let grown = running.memory()?;
        self.table.add(Row::MemoryFew, false, peer, memory);
        self.table.add(Row::MemoryMany, false, peer, grown);
        self.table.add(Row::Growth, false, peer, grown - memory);
        self.table.add(Row::Stored, false, peer, self.place(peer).stored()? - stored);
        running.kill()
    }
}
