//! `homelab secrets policy …`.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use crate::args::{Output, Server};

/// `homelab secrets policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say who may do what at a path, and why. Fails if something that was asked for by name is not allowed
    Test(PolicyTest),
}

/// `homelab secrets policy test`.
#[derive(Debug, ClapArgs)]
pub struct PolicyTest {
    /// NAMESPACE/NAME of a ServiceAccount, user:NAME, approle:ROLE, accessor:ACCESSOR of a token, token:NAME with
    /// --policy, or `me`
    pub who: String,
    /// Path of a secret (kv/web/db) or of the API (kv/data/web/db, sys/rotate)
    pub path: String,
    /// create, read, update, patch, delete, list, sudo (default: all)
    #[arg(value_name = "CAPABILITY", value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// Group of the user; can be given again
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Policy that the token names; can be given again
    #[arg(long = "policy", value_name = "NAME")]
    pub policies: Vec<String>,
    /// Role that the login is by: its policies count, too
    #[arg(long, value_name = "KIND/ROLE")]
    pub role: Option<String>,
    /// What sort of path it is (default: by its looks)
    #[arg(long, value_enum, value_name = "FORM")]
    pub form: Option<PathForm>,
    /// `-o`.
    #[command(flatten)]
    pub output: Output,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// In which of the two ways a path is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PathForm {
    /// kv/web/db
    Logical,
    /// kv/data/web/db
    Api,
}
