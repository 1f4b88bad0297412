//! What the policies answer, with the reason.

use std::fmt;
use std::sync::Arc;

use homelab_core::meta::{Account, ObjectRef};

use super::kv_paths::api_path;
use super::sys_paths::{AUTH, SYS, needs_sudo};
use super::{Capability, Decision, Identity, RuleRef};
use crate::sealed::GIT_MOUNT;

/// Yes or no, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The root token may do everything.
    Root,
    /// Allowed by this rule.
    Allow(Arc<RuleRef>),
    /// Not allowed.
    Deny(Box<Denial>),
}

impl From<Verdict> for Decision {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Root | Verdict::Allow(_) => Self::Allow,
            Verdict::Deny(denial) => Self::Deny { why: denial.reason() },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("allowed: the root token may do everything"),
            Self::Allow(rule) => write!(f, "allowed by {rule}"),
            Self::Deny(denial) => denial.fmt(f),
        }
    }
}

/// Why somebody may not, and what to add so that they may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    /// Who asked.
    pub identity: Identity,
    /// For what path.
    pub path: String,
    /// To do what.
    pub capability: Capability,
    /// Why not.
    pub why: Why,
}

/// Why a request is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The policies are not loaded yet: try again.
    NotLoaded,
    /// The path is not a clean one; no rule can ever match it.
    Unclean(&'static str),
    /// No rule says yes.
    NoRule {
        /// Policies that name the asker, none of whose rules fits.
        looked_at: Vec<ObjectRef>,
        /// Policies of the asker's namespace that are invalid and therefore left out.
        left_out: Vec<ObjectRef>,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, path, capability, .. } = self;
        write!(f, "{identity} may not {capability} {path:?}: {}", self.reason())
    }
}

impl Denial {
    /// Whether the same request can be allowed a moment later without anybody's change.
    pub fn is_passing(&self) -> bool {
        self.why == Why::NotLoaded
    }

    /// Why, and what to do, without who asked for what.
    pub fn reason(&self) -> String {
        match &self.why {
            Why::NotLoaded => "the policies are not loaded yet; try again in a moment".into(),
            Why::Unclean(reason) => format!("{reason}; write it as MOUNT/NAMESPACE/NAME, as in kv/web/db"),
            Why::NoRule { looked_at, left_out } => {
                let found = match looked_at.as_slice() {
                    [] => "no policy names it".into(),
                    some => format!("no rule for that in {}", names(some)),
                };
                let invalid = match left_out.as_slice() {
                    [] => String::new(),
                    some => format!(" ({} is invalid and left out: see its status)", names(some)),
                };
                format!("{found}{invalid}; {}", self.advice())
            }
        }
    }

    /// The rule that would let this request through.
    fn advice(&self) -> String {
        let Self { identity, path, capability, .. } = self;
        let path =
            if *capability == Capability::List { format!("{}/*", path.trim_end_matches('/')) } else { path.clone() };
        let rights = format!("paths: [{path:?}], capabilities: [{capability}]");
        let subject = match identity {
            Identity::ServiceAccount { account, .. }
                if path.split('/').nth(1) == Some(&account.namespace)
                    && path.split('/').next().is_none_or(|mount| ![SYS, AUTH, GIT_MOUNT].contains(&mount)) =>
            {
                let Account { namespace, name } = account;
                return format!(
                    "add to a SecretPolicy in namespace {namespace}: {{serviceAccounts: [{name}], {rights}}}"
                );
            }
            Identity::ServiceAccount { account, .. } => format!("serviceAccount: {account}"),
            Identity::User { name, .. } => format!("user: {name:?}"),
            Identity::AppRole { .. } | Identity::Token { .. } | Identity::Root => {
                let (api, needs) = api_path(&self.path, *capability);
                let sudo = if needs_sudo(&api, needs) { ", \"sudo\"" } else { "" };
                return format!(
                    "add to a policy that its token names: path {api:?} {{ capabilities = [\"{needs}\"{sudo}] }}"
                );
            }
        };
        format!("add to a ClusterSecretPolicy: {{subjects: [{{{subject}}}], {rights}}}")
    }
}

fn names(objects: &[ObjectRef]) -> String {
    let names: Vec<_> = objects
        .iter()
        .map(|object| match &object.namespace {
            Some(namespace) => format!("{} {namespace}/{}", object.kind, object.name),
            None => format!("{} {}", object.kind, object.name),
        })
        .collect();
    names.join(", ")
}
