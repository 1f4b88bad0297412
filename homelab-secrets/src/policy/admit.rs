//! Whether the holder of a token may make a request: policies by API path and policies by secret, together.
//!
//! Deny is where it starts. A yes of either sort is enough, and an explicit `deny` (only policies by API path have it)
//! wins over every yes.

use std::fmt;
use std::sync::Arc;

use super::acl::{ROOT, Rights};
use super::{Capability, Decision, Identity, Policy, SharedAcl};

/// Who holds a token, and which policies it names.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Who it is.
    pub identity: &'a Identity,
    /// Names of policies by API path.
    pub policies: &'a [String],
}

impl Holder<'_> {
    /// Whether everything is allowed.
    pub fn is_root(&self) -> bool {
        *self.identity == Identity::Root || self.policies.iter().any(|name| name == ROOT)
    }
}

/// What is asked for, in both ways to name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access<'a> {
    /// API path below `/v1/`: `kv/data/web/db`, `sys/mounts`. A listing ends with a slash.
    pub api: &'a str,
    /// What is needed there.
    pub needs: Capability,
    /// Whether it needs `sudo` too: it reaches beyond what one policy is about.
    pub sudo: bool,
    /// The secret that it is about (`kv/web/db`), and what is done with it.
    pub secret: Option<(&'a str, Capability)>,
}

/// A decision that can be combined with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Yes, by what is named.
    Allow(String),
    /// No, whatever others say.
    Refuse(String),
    /// Nothing says yes; why.
    Silent(String),
}

impl Ruling {
    /// Whether it is a yes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow(by) => write!(f, "allowed by {by}"),
            Self::Refuse(why) | Self::Silent(why) => f.write_str(why),
        }
    }
}

impl From<Ruling> for Decision {
    fn from(ruling: Ruling) -> Self {
        match ruling {
            Ruling::Allow(_) => Self::Allow,
            Ruling::Refuse(why) | Ruling::Silent(why) => Self::Deny { why },
        }
    }
}

/// Policies by API path and others, as one.
#[derive(Clone)]
pub struct Combined {
    /// By API path.
    pub acl: SharedAcl,
    /// By secret: those of the cluster's objects.
    pub objects: Arc<dyn Policy>,
}

impl fmt::Debug for Combined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combined").field("acl", &self.acl).finish_non_exhaustive()
    }
}

impl Policy for SharedAcl {
    /// An identity without a token names no policy.
    fn decide(&self, who: &Identity, _: &str, _: Capability) -> Decision {
        match who {
            Identity::Root => Decision::Allow,
            _ => Decision::Deny { why: "it has no token that names a policy".into() },
        }
    }

    fn admit(&self, holder: Holder<'_>, access: &Access<'_>) -> Ruling {
        if holder.is_root() {
            return Ruling::Allow("the root policy".into());
        }
        let listing = access.needs == Capability::List;
        let names = holder.policies.iter().map(String::as_str);
        let Some(found) = self.current().matched(holder.identity, names, access.api, listing) else {
            return Ruling::Silent(match holder.policies {
                [] => "the token names no policy".into(),
                some => format!("no rule of the policies {} has {:?}", some.join(", "), access.api),
            });
        };
        let by = format!("path {:?} of policy {}", found.path, found.policies.join(", "));
        if found.rights.deny {
            return Ruling::Refuse(format!("{by} denies it"));
        }
        let missing = [Some(access.needs), access.sudo.then_some(Capability::Sudo)];
        match missing.into_iter().flatten().find(|capability| !found.rights.allow(*capability)) {
            Some(missing) => Ruling::Silent(format!("{by} decides there and does not give {missing}")),
            None => Ruling::Allow(by),
        }
    }
}

impl Policy for Combined {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        self.objects.decide(who, path, capability)
    }

    fn admit(&self, holder: Holder<'_>, access: &Access<'_>) -> Ruling {
        let by_path = self.acl.admit(holder, access);
        let Ruling::Silent(why) = by_path else { return by_path };
        if access.secret.is_none() {
            return Ruling::Silent(why);
        }
        match self.objects.admit(holder, access) {
            Ruling::Silent(other) => Ruling::Silent(format!("{other}; {why}")),
            decided => decided,
        }
    }

    fn is_loading(&self) -> bool {
        self.objects.is_loading()
    }
}

/// What [`Policy::admit`] does where nothing is known but secrets.
pub(super) fn by_secret(decide: impl Fn(&str, Capability) -> Decision, access: &Access<'_>) -> Ruling {
    let Some((path, capability)) = access.secret else {
        return Ruling::Silent("the policies of secrets do not speak of this path".into());
    };
    match decide(path, capability) {
        Decision::Allow => Ruling::Allow(format!("the policies of {path}")),
        Decision::Deny { why } => Ruling::Silent(why),
    }
}

/// What a holder may do at an API path, truthfully: what `sys/capabilities` answers. `secrets` gives for each capability
/// at this path what it means for a secret.
pub fn capabilities(
    policy: &dyn Policy,
    holder: Holder<'_>,
    api: &str,
    secret: impl Fn(Capability) -> Option<(String, Capability)>,
) -> Vec<String> {
    if holder.is_root() {
        return vec!["root".into()];
    }
    let mut rights = Rights::default();
    for needs in Capability::ALL {
        let about = secret(needs);
        let about = about.as_ref().map(|(path, capability)| (path.as_str(), *capability));
        let folder = format!("{}/", api.trim_end_matches('/'));
        let asked = if needs == Capability::List { &folder } else { api };
        let access = Access { api: asked, needs, sudo: false, secret: about };
        if policy.admit(holder, &access).is_allowed() {
            rights.capabilities.insert(needs);
        }
    }
    rights.names()
}
