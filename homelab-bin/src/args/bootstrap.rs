//! `homelab bootstrap`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::duration;

/// `homelab bootstrap`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Bootstrap {
    /// Backup of the store that is to come back: a file, or one in s3://BUCKET/PREFIX or git+https://HOST/REPOSITORY.git#BRANCH,
    /// the newest if none is named (credentials as for `homelab daemon --backup-to`)
    #[arg(long, value_name = "FILE", requires = "recovery")]
    pub backup: Option<String>,
    /// File with what opens that backup: a recovery key, a passphrase, the text of a key file, age identities
    #[arg(long, value_name = "FILE", requires = "backup")]
    pub recovery: Option<PathBuf>,
    /// File to write a new recovery key into, instead of showing it
    #[arg(long, value_name = "FILE", conflicts_with = "recovery")]
    pub recovery_out: Option<PathBuf>,
    /// How long everything may take
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "15m")]
    pub timeout: Duration,
    /// What the cluster is to hold.
    #[command(flatten)]
    pub repository: Repository,
    /// How homelab is installed.
    #[command(flatten)]
    pub chart: Chart,
}

/// The repository that the cluster is to hold.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Repository")]
pub struct Repository {
    /// The repository that the cluster is to hold: the GitSync `home`
    #[arg(long = "repo", value_name = "URL")]
    pub url: Option<String>,
    /// Branch (default: the one that the repository's HEAD names)
    #[arg(long, value_name = "NAME", requires = "url")]
    pub branch: Option<String>,
    /// Folder inside the repository
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub path: String,
    /// File with a token or password for the repository
    #[arg(long, value_name = "FILE", requires = "url")]
    pub repo_token: Option<PathBuf>,
    /// User that the password belongs to (default: none; it is a token)
    #[arg(long, value_name = "USER", requires = "repo_token")]
    pub repo_user: Option<String>,
}

/// How homelab is installed.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Chart")]
pub struct Chart {
    /// A value of the chart, as helm takes it; can be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A file with values of the chart; can be given again
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub values: Vec<PathBuf>,
    /// Folder with the chart (default: the one of this program)
    #[arg(long = "chart", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// Program `helm`
    #[arg(long, default_value = "helm", value_name = "FILE", env = "HOMELAB_HELM")]
    pub helm: PathBuf,
}
