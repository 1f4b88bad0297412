//! `homelab kv …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Output;

/// How `homelab kv` reaches the store.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Secret server")]
pub struct Server {
    /// Address (default: $HOMELAB_ADDR, $BAO_ADDR, $VAULT_ADDR, or a port-forward to the daemon)
    #[arg(long, value_name = "URL")]
    pub address: Option<String>,
    /// PEM file of the CA (default: $HOMELAB_CACERT, $BAO_CACERT, $VAULT_CACERT, or the ConfigMap `homelab-ca`)
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// ServiceAccount to log in as when there is no token in $HOMELAB_TOKEN, $BAO_TOKEN, $VAULT_TOKEN
    /// (default: homelab-admin in the daemon's namespace)
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub account: Option<String>,
}

/// Data of a secret on the command line.
#[derive(Clone, Debug, ClapArgs)]
pub struct Data {
    /// KEY=VALUE, KEY=@FILE (`\@` for a value that begins with @), or `-` for one JSON object on stdin
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub pairs: Vec<String>,
    /// Write only if the current version is this one (0: only if there is none)
    #[arg(long, value_name = "VERSION")]
    pub cas: Option<u64>,
}

/// `homelab kv …`. PATH is MOUNT/PATH, as in kv/web/db.
#[derive(Debug, Subcommand)]
pub enum Kv {
    /// Print a secret
    Get {
        /// MOUNT/PATH
        path: String,
        /// Version (default: the newest)
        #[arg(long)]
        version: Option<u64>,
        /// Print only the value of this key, with no newline added when stdout is no terminal
        #[arg(long)]
        field: Option<String>,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Write a new version
    Put {
        /// MOUNT/PATH
        path: String,
        /// The data.
        #[command(flatten)]
        data: Data,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Write a new version that keeps the keys not named
    Patch {
        /// MOUNT/PATH
        path: String,
        /// The data.
        #[command(flatten)]
        data: Data,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Change a secret in $VISUAL or $EDITOR, as YAML; one that is not there is made
    Edit {
        /// MOUNT/PATH
        path: String,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// List the names under a path
    List {
        /// MOUNT or MOUNT/PATH
        path: String,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Delete versions; they can be undeleted
    Delete {
        /// MOUNT/PATH
        path: String,
        /// Versions, comma separated (default: the newest)
        #[arg(long, value_delimiter = ',')]
        versions: Vec<u64>,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Bring deleted versions back
    Undelete {
        /// MOUNT/PATH
        path: String,
        /// Versions, comma separated
        #[arg(long, value_delimiter = ',', required = true)]
        versions: Vec<u64>,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Destroy versions for good
    Destroy {
        /// MOUNT/PATH
        path: String,
        /// Versions, comma separated
        #[arg(long, value_delimiter = ',', required = true)]
        versions: Vec<u64>,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// The versions of a secret, without values
    History {
        /// MOUNT/PATH
        path: String,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Write an earlier version's values again, as a new version
    Rollback {
        /// MOUNT/PATH
        path: String,
        /// The version to return to (default: the one before the newest)
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// What changed between two versions: names of keys, and values only with --values
    Diff {
        /// MOUNT/PATH
        path: String,
        /// The earlier version (default: the one before the newest)
        #[arg(long, value_name = "VERSION")]
        from: Option<u64>,
        /// The later version (default: the newest)
        #[arg(long, value_name = "VERSION")]
        to: Option<u64>,
        /// Show values
        #[arg(long)]
        values: bool,
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
}
