//! `homelab server`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use homelab_secrets::server::Block;

use super::AuditFlags;

/// `homelab server`: the secret manager alone.
#[derive(Clone, Debug, ClapArgs)]
pub struct SecretServer {
    /// Try it out: everything in memory and gone at the end, plain HTTP, for this machine only
    #[arg(long)]
    pub dev: bool,
    /// Root token of a server for a try (default: a new one, which is printed)
    #[arg(long, value_name = "TOKEN", requires = "dev")]
    pub root_token: Option<String>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8200", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Directory of the store and its key file (default: $XDG_DATA_HOME/homelab, ~/.local/share/homelab)
    #[arg(long, value_name = "DIR", env = "HOMELAB_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// File with age identities that open the store, by a slot of `homelab secrets rekey age`
    #[arg(long, value_name = "FILE", env = "HOMELAB_AGE_IDENTITY")]
    pub age_identity: Option<PathBuf>,
    /// PEM file of the server's certificate and what leads to its CA; read again when it changes (default: one of its own)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// More names and addresses for the certificate of its own, comma separated
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub names: Vec<String>,
    /// Plain HTTP, on a loopback address only
    #[arg(long, conflicts_with_all = ["tls_cert", "names"])]
    pub no_tls: bool,
    /// Address of metrics and health (plain HTTP; default: none)
    #[arg(long, value_name = "ADDR")]
    pub listen_metrics: Option<SocketAddr>,
    /// Proxies whose X-Forwarded-For is believed: addresses or blocks as 10.0.0.0/8, comma separated
    #[arg(long, value_delimiter = ',', value_name = "BLOCK,…", value_parser = block)]
    pub trusted_proxies: Vec<Block>,
    /// Requests a second of one token (default: no limit)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// About the audit log.
    #[command(flatten)]
    pub audit: AuditFlags,
    /// Write logs as JSON lines
    #[arg(long)]
    pub log_json: bool,
}

fn block(text: &str) -> Result<Block, String> {
    Block::parse(text).map_err(|error| error.to_string())
}
