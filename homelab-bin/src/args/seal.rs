//! `homelab seal`, `homelab edit`: sealed files in Git.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use super::Server;

/// `homelab seal`.
#[derive(Clone, Debug, ClapArgs)]
#[command(group(ArgGroup::new("what").args(["in_place", "out", "open", "textconv", "check", "install", "merge"])))]
pub struct Seal {
    /// Plain file (YAML, JSON, .env, a Kubernetes Secret, or `-` for stdin); writes NAME.sealed.yaml beside it
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Seal the file itself; its name has to end in .sealed.yaml
    #[arg(long)]
    pub in_place: bool,
    /// Write this file instead
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What the secret is called in its repository (default: the file's place in it); on a sealed file: its new name
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Name of the repository (default: the one of the sealed file, of `--install`, or of another file here)
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    /// Print what is in a sealed file
    #[arg(long)]
    pub open: bool,
    /// As --open, but prints the sealed text when it can not be opened (run by `git diff`)
    #[arg(long, hide = true)]
    pub textconv: bool,
    /// Refuse plain secrets in these files, or in all that Git tracks here
    #[arg(long)]
    pub check: bool,
    /// With --check: what is staged for the next commit
    #[arg(long, requires = "check", conflicts_with = "files")]
    pub staged: bool,
    /// Set this checkout up: diffs, merges, the check in front of a commit, and the repository's key on the server
    #[arg(long, conflicts_with = "files")]
    pub install: bool,
    /// Merge BASE OURS THEIRS into OURS (run by `git merge`)
    #[arg(long, hide = true)]
    pub merge: bool,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}

/// `homelab edit`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Edit {
    /// Sealed file; one that is not there is made
    pub file: PathBuf,
    /// What a new secret is called in its repository (default: the file's place in it)
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Repository of a new file (default: as `homelab seal`)
    #[arg(long, value_name = "NAME")]
    pub repository: Option<String>,
    /// Where the secret server is.
    #[command(flatten)]
    pub server: Server,
}
