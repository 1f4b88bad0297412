//! What the machine does beside, and how fast its disk is.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::super::median;

/// How often the disk is asked.
const SYNCS: usize = 50;

/// The load averages, in words.
pub(super) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<_> = text.split(' ').take(3).collect();
    format!("load {}", averages.join(" "))
}

/// The load of the last minute.
pub(super) fn last_minute() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|average| average.parse().ok()).unwrap_or(f64::NAN)
}

/// Milliseconds that the disk takes to keep 4 KiB more of a file (`fdatasync`); the median.
pub(super) fn sync_time(folder: &Path) -> Result<f64> {
    let path = folder.join("disk");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    std::fs::remove_file(path)?;
    Ok(median(&mut took))
}
