//! The command line: what can be typed. What it does is in [`crate::cli`] and [`crate::daemon`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use homelab_secrets::server::Block;

mod app;
mod backups;
mod bootstrap;
mod kv;
mod parts;
mod seal;
mod secrets;
mod server;

pub use app::{App, ExplainFormat, Request};
pub use backups::BackupFlags;
pub use bootstrap::{Bootstrap, Chart, Repository};
pub use kv::{Data, Kv, Server};
pub use parts::{Part, Parts};
pub use seal::{Edit, Seal};
pub use secrets::{
    AuditCommand, AuditFlags, AuditLog, AuditSync, Backup, Export, Import, PathForm, PathFrom, PolicyCommand,
    PolicyTest, Rekey, Restore, Rotate, Secrets, SlotKind, Slots, Source,
};
pub use server::SecretServer;

/// Secrets, GitOps, blue-green rollouts and traffic for a home Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(name = "homelab", version, disable_help_subcommand = true)]
pub struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command, named as kubectl's.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Cluster")]
pub struct Global {
    /// Namespace of the objects (default: the one of the kubeconfig's context)
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Kubeconfig file (default: $KUBECONFIG, ~/.kube/config, or the pod's own account)
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// User in whose name the API server is asked (needs the right to impersonate)
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Group of that user; can be given again
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "as_user")]
    pub as_groups: Vec<String>,
    /// Give up on one request after this time ("30s", "2m", or seconds; 0: never)
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, default_value = "0")]
    pub request_timeout: Duration,
    /// Namespace in which the daemon runs
    #[arg(long, global = true, value_name = "NAMESPACE", env = "HOMELAB_DAEMON_NAMESPACE")]
    pub daemon_namespace: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything: in the cluster, or on any machine against a kubeconfig
    Daemon(Box<Daemon>),
    /// Install homelab in a cluster, with a recovery key and the repository that it is to hold; or bring a home back from its
    /// backup
    ///
    /// Can be run again: what is there already stays, and it goes on where it was cut off.
    Bootstrap(Box<Bootstrap>),
    /// Run the secret manager alone, without Kubernetes
    Server(Box<SecretServer>),
    /// Read and write secrets
    #[command(subcommand)]
    Kv(Kv),
    /// Care for the store itself
    #[command(subcommand)]
    Secrets(Secrets),
    /// Seal plain files for Git, and print, check and merge sealed ones
    Seal(Box<Seal>),
    /// Edit a sealed file
    Edit(Edit),
    /// See and steer Apps
    #[command(subcommand)]
    App(App),
    /// Ask a GitSync to fetch and apply now
    Sync(Sync),
    /// Everything at a glance: the daemon, GitSyncs, Apps
    Status(Status),
    /// Look whether everything is there and would come back after a power cut. Fails if something needs you
    Doctor {
        /// `-o`.
        #[command(flatten)]
        output: Output,
        /// Where the secret server is.
        #[command(flatten)]
        server: Server,
    },
    /// Take away the webhook and the policy that the daemon wrote, so that pods start without it
    ///
    /// Everything else stays: workloads, their routes, our kinds and the store. `helm uninstall` runs it first.
    Uninstall,
    /// Print our CustomResourceDefinitions
    PrintCrds(PrintCrds),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Helm's post-renderer: objects on stdin, stamped objects on stdout (run by Helm, not by people)
    #[command(hide = true)]
    Stamp,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub struct Output {
    /// Print data for programs instead of a table
    #[arg(short = 'o', long = "output", value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// `-A` and `-w` beside `-o`.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub struct Listing {
    /// All namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Print again whenever something changes
    #[arg(short, long)]
    pub watch: bool,
    /// `-o`.
    #[command(flatten)]
    pub output: Output,
}

/// Where the secret store lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreBackend {
    /// In one file of the data directory: one daemon at a time
    Embedded,
    /// In the cluster, sealed, as Secrets of the daemon's namespace: no volume
    Kubernetes,
}

/// `homelab daemon`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Daemon {
    /// Watch only these namespaces, comma separated (default: all)
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACE,…")]
    pub namespaces: Vec<String>,
    /// Directory of the store, its key file and the caches
    #[arg(long, default_value = "/var/lib/homelab", value_name = "DIR", env = "HOMELAB_DATA_DIR")]
    pub data_dir: PathBuf,
    /// File with age identities that open the store, by a slot of `homelab secrets rekey age`
    #[arg(long, value_name = "FILE", env = "HOMELAB_AGE_IDENTITY")]
    pub age_identity: Option<PathBuf>,
    /// Where the secret store lies
    #[arg(long, value_enum, default_value = "embedded", value_name = "BACKEND", env = "HOMELAB_STORE")]
    pub store: StoreBackend,
    /// Image of the init container that brings secrets into pods
    #[arg(long, default_value = "homelab.dev/homelab-agent:dev", value_name = "IMAGE", env = "HOMELAB_AGENT_IMAGE")]
    pub agent_image: String,
    /// When nodes pull that image
    #[arg(long, default_value = "IfNotPresent", value_name = "POLICY", env = "HOMELAB_AGENT_PULL_POLICY")]
    pub agent_pull_policy: String,
    /// URL under which pods reach the secret server (default: its Service, https://homelab.NAMESPACE.svc:8200)
    #[arg(long, value_name = "URL")]
    pub advertise_secrets_url: Option<String>,
    /// URL under which the API server reaches the admission webhook (default: by the Service `homelab`)
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Name of the daemon's Service
    #[arg(long, default_value = "homelab", value_name = "NAME")]
    pub service: String,
    /// Address of the secret server (TLS)
    #[arg(long, default_value = "0.0.0.0:8200", value_name = "ADDR")]
    pub listen_secrets: SocketAddr,
    /// Proxies in front of the secret server whose X-Forwarded-For is believed: addresses or blocks, as in 10.42.0.0/16
    #[arg(long, value_delimiter = ',', value_name = "BLOCKS", value_parser = Block::parse)]
    pub trusted_proxies: Vec<Block>,
    /// Address of the admission webhook (TLS)
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDR")]
    pub listen_admission: SocketAddr,
    /// Address of the Git webhooks
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDR")]
    pub listen_hooks: SocketAddr,
    /// Address of metrics and health
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDR")]
    pub listen_metrics: SocketAddr,
    /// How long a Lease lasts without being renewed
    #[arg(long, default_value = "15s", value_name = "TIME", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long a changed plain Service takes to reach every node
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = duration)]
    pub propagation: Duration,
    /// Program `helm`
    #[arg(long, default_value = "helm", value_name = "FILE", env = "HOMELAB_HELM")]
    pub helm: PathBuf,
    /// A store that is older than the copy of its head stays sealed, instead of serving reads until somebody accepts it
    #[arg(long, env = "HOMELAB_STRICT_ROLLBACK", conflicts_with = "no_rollback_check")]
    pub strict_rollback: bool,
    /// Where there is no store, wait until `homelab bootstrap --backup` has put one back, instead of making one
    #[arg(long)]
    pub wait_for_restore: bool,
    /// Keep no copy of the store's head: for data directories that are gone with their pod
    #[arg(long)]
    pub no_rollback_check: bool,
    /// Allow file:// repositories below this directory (needs the program git)
    #[arg(long, value_name = "DIR")]
    pub local_git: Option<PathBuf>,
    /// Address of the debug listener, for `homelab app explain -o case`: whoever reaches it sees specs and values of Apps,
    /// so only a loopback address is taken
    #[arg(long, value_name = "ADDR")]
    pub listen_debug: Option<SocketAddr>,
    /// Write logs as JSON lines
    #[arg(long)]
    pub log_json: bool,
    /// About its parts.
    #[command(flatten)]
    pub parts: Parts,
    /// About the audit log.
    #[command(flatten)]
    pub audit: AuditFlags,
    /// About backups of the store.
    #[command(flatten)]
    pub backup: BackupFlags,
}

/// `homelab sync`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Sync {
    /// Name of the GitSync
    pub name: String,
    /// Do not wait until it has applied
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2m")]
    pub timeout: Duration,
}

/// `homelab status`.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct Status {
    /// `-A`, `-w`, `-o`.
    #[command(flatten)]
    pub listing: Listing,
}

/// `homelab print-crds`.
#[derive(Clone, Debug, ClapArgs)]
pub struct PrintCrds {
    /// Write a JSON schema for each kind into this directory instead
    #[arg(long, value_name = "DIR")]
    pub schemas: Option<PathBuf>,
}

/// Reads "90s", "2m", "1h", "250ms" or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no time; write 30s, 2m or 1h"))?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3600))),
        _ => Err(format!("`{text}` is no time; write 30s, 2m or 1h")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("soon").is_err());
        assert!(duration("2x").is_err());
    }

    #[test]
    fn an_explanation_as_a_case() {
        let args = Args::try_parse_from(["homelab", "app", "explain", "web", "-o", "case"]).expect("flags");
        assert!(matches!(args.command, Command::App(App::Explain { format: Some(ExplainFormat::Case), .. })));
    }

    #[test]
    fn kubectl_flags_are_understood_anywhere() {
        let args = Args::try_parse_from([
            "homelab",
            "app",
            "list",
            "-A",
            "-w",
            "-o",
            "json",
            "--context",
            "home",
            "--as",
            "jane",
            "-n",
            "web",
        ]);
        let args = args.expect("flags as kubectl's");
        assert_eq!(args.global.namespace.as_deref(), Some("web"));
        assert_eq!(args.global.as_user.as_deref(), Some("jane"));
        assert!(matches!(args.command, Command::App(App::List { listing }) if listing.all_namespaces && listing.watch));
    }
}
