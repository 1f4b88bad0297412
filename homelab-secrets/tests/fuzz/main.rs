//! What comes from outside, changed at random: sealed records, sealed files, the text of policies, and the paths of the
//! HTTP API. Nothing may panic, open that was not sealed, or give what its sender may not have.
//!
//! These are fuzz targets without cargo-fuzz, which needs a nightly compiler: proptest changes the seeds beside this file
//! byte by byte and word by word, makes a failure small and keeps it (`proptest-regressions`). Each run does 2,000 cases
//! of each; `PROPTEST_CASES=5000000 cargo test --release -p homelab-secrets --all-features --test fuzz` goes on for hours.

mod change;
mod paths;
mod policies;
mod records;
mod sealed_files;
