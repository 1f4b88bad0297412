//! `homelab secrets rotate`, `rekey`, `slots`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueEnum};

use crate::args::{Output, Server};

/// `homelab secrets rotate`.
#[derive(Debug, ClapArgs)]
#[command(group(ArgGroup::new("what").args(["git", "root"])))]
pub struct Rotate {
    /// The sealed files of the Git checkout in this folder (default: here), each with all its values
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub git: Option<PathBuf>,
    /// The root key, which wraps the others. Every slot is made anew, so what opens each is needed: key files by
    /// --key-file, passphrases and recovery keys one a line from stdin, or asked for
    #[arg(long)]
    pub root: bool,
    /// With --root: a key file; can be given again
    #[arg(long = "key-file", value_name = "FILE", requires = "root")]
    pub key_files: Vec<PathBuf>,
    /// With --root: a file with age identities; can be given again
    #[arg(long = "age-identity", value_name = "FILE", requires = "root")]
    pub identities: Vec<PathBuf>,
    /// Do not wait until old records are sealed with the new key
    #[arg(long, conflicts_with_all = ["git", "root"])]
    pub no_wait: bool,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// How a slot's key is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SlotKind {
    /// A new key in a file
    KeyFile,
    /// A passphrase, from stdin or asked for
    Passphrase,
    /// A new key in a Kubernetes Secret
    KubernetesSecret,
    /// A new recovery key, printed once: write it down
    Recovery,
    /// A new key, kept in the store and sealed for age identities
    Age,
}

/// `homelab secrets rekey`.
#[derive(Debug, ClapArgs)]
pub struct Rekey {
    /// What opens the store by the new slot
    #[arg(value_enum)]
    pub kind: SlotKind,
    /// Slot whose place it takes (default: none; it is one more)
    #[arg(long, value_name = "SLOT")]
    pub replace: Option<String>,
    /// key-file: file to make
    #[arg(long, value_name = "FILE", required_if_eq("kind", "key-file"))]
    pub out: Option<PathBuf>,
    /// kubernetes-secret: Secret to make (default: homelab-key in the daemon's namespace)
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub secret: Option<String>,
    /// age: who opens it, by public key; can be given again
    #[arg(long = "recipient", value_name = "age1…")]
    pub recipients: Vec<String>,
    /// age: the same by identity file, as age-keygen writes it, which stays here; can be given again
    #[arg(long = "identity", value_name = "FILE")]
    pub identities: Vec<PathBuf>,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// `homelab secrets slots …`.
#[derive(Debug, Subcommand)]
pub enum Slots {
    /// The ways to open the store
    List {
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Take a slot away: what opened it opens the store no more. The last one stays
    Remove {
        /// The slot
        slot: String,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
}
