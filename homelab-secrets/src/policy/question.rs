//! "Who may do what, and why": the answer behind `homelab secrets policy test`.

use std::fmt;

use super::kv_paths::{KvPath, api_path};
use super::sys_paths::{git_secret, is_care, is_entry, needs_sudo, on_care};
use super::{Access, Capability, Holder, Policy, Ruling};

/// In which of the two ways a path is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathForm {
    /// As an API path if it looks like one (`kv/data/web/db`, `sys/mounts`), else as a secret.
    #[default]
    Guess,
    /// `kv/web/db`, a secret.
    Logical,
    /// `kv/data/web/db`, as Vault's HTTP API has it.
    Api,
}

/// The answer, with the path in both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Who asked, as text.
    pub who: String,
    /// What the request needs on the API path.
    pub needs: Capability,
    /// API path.
    pub api: String,
    /// The secret and what is done with it; none if it is about none.
    pub secret: Option<(String, Capability)>,
    /// Yes or no, and why.
    pub ruling: Ruling,
}

impl fmt::Display for Explanation {
    /// `serviceaccount web/web may read kv/data/web/db (the secret kv/web/db): allowed by …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, needs, api, secret, ruling } = self;
        let may = if ruling.is_allowed() { "may" } else { "may not" };
        write!(f, "{who} {may} {needs} {api}")?;
        if let Some((path, deed)) = secret.as_ref().filter(|(path, _)| path != api) {
            let deed = if deed == needs { String::new() } else { format!("{deed} on ") };
            write!(f, " ({deed}the secret {path})")?;
        }
        write!(f, ": {ruling}")
    }
}

/// Whether `holder` may do `capability` at `path`, and why. A listing's path is a folder, with or without its slash.
pub fn explain(
    policy: &dyn Policy,
    holder: Holder<'_>,
    path: &str,
    form: PathForm,
    capability: Capability,
) -> Explanation {
    let path = path.strip_prefix("/v1/").unwrap_or(path).trim_start_matches('/');
    let is_api = match form {
        PathForm::Api => true,
        PathForm::Logical => false,
        PathForm::Guess => KvPath::parse(path).is_some() || path.starts_with("sys/") || path.starts_with("auth/"),
    };
    let (api, needs, secret) = if is_api {
        let api = match capability {
            Capability::List => format!("{}/", path.trim_end_matches('/')),
            _ => path.to_owned(),
        };
        let secret = behind(&api, capability);
        (api, capability, secret)
    } else {
        let (api, needs) = api_path(path, capability);
        (api, needs, Some((path.to_owned(), capability)))
    };
    let about = secret.as_ref().map(|(path, capability)| (path.as_str(), *capability));
    let ruling = policy.admit(holder, &Access { api: &api, needs, sudo: needs_sudo(&api, needs), secret: about });
    Explanation { who: holder.identity.to_string(), needs, api, secret, ruling }
}

/// What policies of secrets are asked for when an API path is.
fn behind(api: &str, needs: Capability) -> Option<(String, Capability)> {
    if is_care(api) || is_entry(api) {
        return Some((api.to_owned(), on_care(needs)));
    }
    let kv = || KvPath::parse(api).and_then(|kv| Some((kv.secret(), kv.verb.on_secret(needs)?)));
    git_secret(api, needs).or_else(kv)
}
