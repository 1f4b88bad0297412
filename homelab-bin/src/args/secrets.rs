//! `homelab secrets …`, and the daemon's flags about its audit log.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Output, Server};

mod keys;
mod policy;
mod transfer;

pub use keys::{Rekey, Rotate, SlotKind, Slots};
pub use policy::{PathForm, PolicyCommand, PolicyTest};
pub use transfer::{Export, Import, PathFrom, Source};

/// `homelab secrets …`: care for the store itself.
#[derive(Debug, Subcommand)]
pub enum Secrets {
    /// Open a sealed store with the text of a key file, a passphrase, a recovery key or age identities, from stdin or asked for
    Unseal {
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Forget the keys: nothing can be read or written until the store is opened again
    Seal {
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// The record of who read and wrote what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who may do what, and why
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Seal with a new key from now on: the store, its root key, or the sealed files of a Git checkout
    Rotate(Rotate),
    /// Make a new way to open the store, beside the others or in the place of one
    Rekey(Rekey),
    /// The ways to open the store
    #[command(subcommand)]
    Slots(Slots),
    /// How the store is: open or sealed, its keys, a rotation that goes on, whether it was put back
    Status {
        /// Print again whenever something changes
        #[arg(short, long)]
        watch: bool,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Where the store, its key, the copy of its head and the audit log are, and how safe that is; with a path: which pods and
    /// Secrets have which version of that secret
    Where {
        /// A secret, as in kv/web/db
        path: Option<String>,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// The whole store in one file, as it is sealed: what opens the store opens its backup
    Backup(Backup),
    /// Put a backup into a data directory that has no store
    Restore(Restore),
    /// Secrets with metadata and all versions in one file, in the clear; also from Vault and OpenBao
    Export(Export),
    /// Secrets from an export, Vault, OpenBao, SOPS, Kubernetes and External Secrets
    Import(Box<Import>),
    /// Go on with a store that was put back to an earlier state
    AcceptRollback {
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
}

/// `homelab secrets backup`.
#[derive(Debug, ClapArgs)]
pub struct Backup {
    /// File to make
    pub to: PathBuf,
    /// Prove that what is in this file (a key file's text, a recovery key, a passphrase, age identities) opens all of it
    #[arg(long, value_name = "FILE")]
    pub verify_recovery: Option<PathBuf>,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// `homelab secrets restore`.
#[derive(Debug, ClapArgs)]
pub struct Restore {
    /// The backup
    pub from: PathBuf,
    /// Data directory of the server that is to serve it
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
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

/// Which answers wait until their record is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AuditSync {
    /// What people read, logins, and everything that changes; what machines read is there within a second
    #[default]
    People,
    /// All
    Always,
}

/// The daemon's flags about its audit log.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Audit log")]
pub struct AuditFlags {
    /// Which answers wait until their record is on the disk
    #[arg(long, value_enum, default_value = "people", value_name = "WHICH")]
    pub audit_sync: AuditSync,
    /// Directory of the audit log (default: audit in the data directory)
    #[arg(long, value_name = "DIR")]
    pub audit_dir: Option<PathBuf>,
    /// MiB after which the next file is begun
    #[arg(long, default_value_t = 16, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub audit_file_size: u64,
    /// MiB of all files together; the oldest are deleted to keep to it
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(2..=1_048_576))]
    pub audit_total_size: u64,
    /// Keep no record of who reads and writes secrets
    #[arg(long)]
    pub no_audit: bool,
}
