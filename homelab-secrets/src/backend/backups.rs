//! Places for backups.

pub mod directory;
#[cfg(feature = "backups")]
pub mod git;
#[cfg(feature = "backups")]
pub mod s3;
