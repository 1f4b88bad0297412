//! `homelab secrets …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Output;

/// `homelab secrets …`: care for the store itself.
#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// The record of who read and wrote what
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// Where an audit log and its key are.
#[derive(Clone, Debug, ClapArgs)]
pub struct AuditLog {
    /// Directory of the audit log
    #[arg(long, default_value = "/var/lib/homelab/audit", value_name = "DIR", env = "HOMELAB_AUDIT_DIR")]
    pub dir: PathBuf,
    /// Key file of the store (default: store.key beside the directory)
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// `homelab secrets audit …`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Look for edits, gaps and a cut end; the store may be in use. Fails if there are any
    Verify {
        /// Where the log is.
        #[command(flatten)]
        log: AuditLog,
        /// `-o`.
        #[command(flatten)]
        output: Output,
    },
    /// Print the digest by which a value stands in the log: the value comes on stdin, without a line feed of its own
    Hash {
        /// Where the log is.
        #[command(flatten)]
        log: AuditLog,
    },
}
