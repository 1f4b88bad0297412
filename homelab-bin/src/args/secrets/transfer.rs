//! `homelab secrets export` and `import`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::args::{Output, Server};

/// `homelab secrets export`.
#[derive(Debug, ClapArgs)]
pub struct Export {
    /// File to make, readable by you only; `-`: stdout, for a program that encrypts it
    #[arg(value_name = "FILE|-")]
    pub to: PathBuf,
    /// Mount, or folder in one, as in kv or kv/web; can be given again (default: all mounts of KV version 2 but `git`)
    #[arg(long = "mount", value_name = "MOUNT[/FOLDER]")]
    pub mounts: Vec<String>,
    /// Leave out what may not be read, and name it in the file
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// Who made what is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// `homelab secrets export`
    Homelab,
    /// `bao kv get -format=json`, or `vault`
    #[value(alias = "vault")]
    Bao,
    /// Files of SOPS, opened by the `sops` of this machine
    Sops,
    /// Secrets in YAML or JSON, as `kubectl get secrets -o yaml` prints them
    Kubernetes,
    /// Secrets of the cluster that External Secrets fills
    ExternalSecrets,
}

/// Where the paths of secrets of External Secrets come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PathFrom {
    /// NAMESPACE/NAME of the Secret
    #[default]
    Secret,
    /// Its ExternalSecret's remoteRef.key
    RemoteRef,
}

/// `homelab secrets import`.
#[derive(Debug, ClapArgs)]
pub struct Import {
    /// Files; `-`: stdin
    #[arg(value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// Who made the files (default: what they look like)
    #[arg(long, value_enum, value_name = "SOURCE")]
    pub from: Option<Source>,
    /// Mount or folder to write to. For a file that does not say what its secret is called: its path, or, with a slash at
    /// the end, the folder in which it is called as its file
    #[arg(long, value_name = "MOUNT[/PATH]")]
    pub to: Option<String>,
    /// With external-secrets: what secrets are called after
    #[arg(long, value_enum, default_value = "secret", value_name = "WHAT")]
    pub path_from: PathFrom,
    /// With external-secrets: of all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Write a new version where there are other values
    #[arg(long)]
    pub overwrite: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// `-o`.
    #[command(flatten)]
    pub output: Output,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}
