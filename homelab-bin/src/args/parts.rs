//! Which parts of the daemon one process runs, and how it reaches what another one runs.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use homelab_core::meta::Account;

/// A part of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The secret store, its server, policies, and the webhook that brings secrets into pods
    Secrets,
    /// GitSyncs, and the listener for Git webhooks
    Gitops,
    /// Apps: needs gitops beside it, whose repositories hold their charts
    Rollout,
}

/// The daemon's flags about its parts.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Parts")]
pub struct Parts {
    /// The parts to run in this process, comma separated
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", default_values_t = [Part::Secrets, Part::Gitops, Part::Rollout])]
    pub enable: Vec<Part>,
    /// URL of the secret server, where it is another process (default: --advertise-secrets-url)
    #[arg(long, value_name = "URL")]
    pub secrets_addr: Option<String>,
    /// File with a token of this daemon's ServiceAccount for the audience `homelab`, bound to its pod, to log in there
    #[arg(long, value_name = "FILE", default_value = "/var/run/secrets/homelab.dev/token")]
    pub secrets_token: PathBuf,
    /// ServiceAccount of the daemon that rolls secrets out, where that is another process: it alone is told which versions
    /// there are
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    pub daemon_account: Option<Account>,
}

impl Parts {
    /// Whether this part runs here.
    pub fn has(&self, part: Part) -> bool {
        self.enable.contains(&part)
    }

    /// What single flags can not know of each other; says what is wrong.
    pub fn check(&self) -> Result<(), &'static str> {
        let [secrets, gitops, rollout] = [Part::Secrets, Part::Gitops, Part::Rollout].map(|part| self.has(part));
        match () {
            () if rollout && !gitops => {
                Err("--enable rollout needs gitops, too: the charts of Apps are in its repositories")
            }
            () if secrets && self.secrets_addr.is_some() => {
                Err("--secrets-addr is for a daemon without the part secrets: leave it out of --enable")
            }
            () if !secrets && self.daemon_account.is_some() => {
                Err("--daemon-account is for the part secrets, which --enable leaves out")
            }
            () => Ok(()),
        }
    }
}

fn account(text: &str) -> Result<Account, String> {
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let found = Account::parse(text).filter(|account| plain(&account.namespace) && plain(&account.name));
    found.ok_or_else(|| format!("`{text}` is no ServiceAccount; write NAMESPACE/NAME"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Args, Command};

    fn checked(flags: &[&str]) -> Result<Vec<Part>, String> {
        let args = Args::try_parse_from(["homelab", "daemon"].iter().chain(flags)).map_err(|e| e.to_string())?;
        let Command::Daemon(daemon) = args.command else { unreachable!("it is the daemon") };
        daemon.parts.check().map_err(str::to_owned).map(|()| daemon.parts.enable)
    }

    #[test]
    fn parts_that_can_not_run_apart_are_refused() {
        use Part::{Gitops, Rollout, Secrets};
        assert_eq!(checked(&[]), Ok(vec![Secrets, Gitops, Rollout]));
        assert_eq!(checked(&["--enable", "secrets", "--daemon-account=homelab/homelab"]), Ok(vec![Secrets]));
        assert_eq!(checked(&["--enable=gitops,rollout", "--secrets-addr=https://h:1"]), Ok(vec![Gitops, Rollout]));
        assert_eq!(checked(&["--enable=gitops"]), Ok(vec![Gitops]));
        for (flags, word) in [
            (&["--enable=rollout"][..], "gitops"),
            (&["--enable=secrets,rollout"], "gitops"),
            (&["--secrets-addr=https://h:1"], "--secrets-addr"),
            (&["--enable=gitops", "--daemon-account=a/b"], "--daemon-account"),
            (&["--enable="], "--enable"),
            (&["--enable=phone"], "phone"),
            (&["--daemon-account=homelab"], "NAMESPACE/NAME"),
            (&["--daemon-account=*/homelab"], "NAMESPACE/NAME"),
        ] {
            let error = checked(flags).expect_err("refused");
            assert!(error.contains(word), "{flags:?}: {error}");
        }
    }
}
