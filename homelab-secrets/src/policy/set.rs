//! All policies of the cluster (or of the given namespaces), ready to decide.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use homelab_core::meta::{Account, GROUP, ObjectRef};
use kube::ResourceExt;

use super::pattern::{Pattern, unclean};
use super::verdict::{Denial, Verdict, Why};
use super::{Access, Capability, Decision, Holder, Identity, Policy, RuleRef, Ruling, account_of, admit};
use crate::api::v1alpha1::{ClusterSecretPolicy, SecretPolicy, Subject};

/// All valid rules, found by who they are for. The default one holds none and denies everything.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    grants: Vec<Grant>,
    by_account: HashMap<Account, Vec<usize>>,
    by_user: HashMap<String, Vec<usize>>,
    by_group: HashMap<String, Vec<usize>>,
    problems: Vec<Problem>,
    loading: bool,
}

/// Why a policy object is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The policy object.
    pub policy: ObjectRef,
    /// What is wrong in it, one line each.
    pub reasons: Vec<String>,
}

#[derive(Clone, Debug)]
struct Grant {
    rule: Arc<RuleRef>,
    patterns: Vec<Pattern>,
    capabilities: BTreeSet<Capability>,
}

/// Who a rule is for.
#[derive(Default)]
struct Subjects {
    accounts: Vec<Account>,
    users: Vec<String>,
    groups: Vec<String>,
}

/// A rule before it is known to be valid.
struct Draft<'a> {
    who: Subjects,
    paths: &'a [String],
    capabilities: &'a [Capability],
}

impl PolicySet {
    /// Nothing is known yet: denies everything as something that passes.
    pub fn loading() -> Self {
        Self { loading: true, ..Self::default() }
    }

    /// Whether what it denies may be allowed in a moment.
    pub fn is_loading(&self) -> bool {
        self.loading
    }

    /// Takes the rules of all valid objects; an object with one wrong rule is left out whole and reported.
    pub fn build<'a>(
        namespaced: impl IntoIterator<Item = &'a SecretPolicy>,
        cluster: impl IntoIterator<Item = &'a ClusterSecretPolicy>,
    ) -> Self {
        let mut set = Self::default();
        for policy in namespaced {
            let namespace = policy.namespace().unwrap_or_default();
            let object = ObjectRef::namespaced(GROUP, "SecretPolicy", &namespace, &policy.name_any());
            let drafts = policy.spec.rules.iter().map(|rule| {
                let account = |name: &String| Account::new(namespace.as_str(), name.as_str());
                let accounts = rule.service_accounts.iter().map(account).collect();
                let who = Subjects { accounts, ..Subjects::default() };
                Ok(Draft { who, paths: &rule.paths, capabilities: &rule.capabilities })
            });
            set.add(&object, drafts, |text| Pattern::parse_within(text, &namespace).map_err(|e| e.to_string()));
        }
        for policy in cluster {
            let object = ObjectRef::cluster(GROUP, "ClusterSecretPolicy", &policy.name_any());
            let drafts = policy.spec.rules.iter().map(|rule| {
                let who = subjects(&rule.subjects)?;
                Ok(Draft { who, paths: &rule.paths, capabilities: &rule.capabilities })
            });
            set.add(&object, drafts, |text| Pattern::parse(text).map_err(|e| e.to_string()));
        }
        set.problems.sort_by(|a, b| a.policy.cmp(&b.policy));
        set
    }

    /// The objects that are left out, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many rules are in force.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether no rule is in force.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether `who` may do `capability` at `path`, with the reason.
    pub fn judge(&self, who: &Identity, path: &str, capability: Capability) -> Verdict {
        let deny = |why| Verdict::Deny(Box::new(Denial { identity: who.clone(), path: path.into(), capability, why }));
        if *who == Identity::Root {
            return Verdict::Root;
        }
        if self.loading {
            return deny(Why::NotLoaded);
        }
        let folder = capability == Capability::List;
        let bare = if folder { path.strip_suffix('/').unwrap_or(path) } else { path };
        if let Some(reason) = unclean(bare, |_| false) {
            return deny(Why::Unclean(reason));
        }
        if !folder && !bare.contains('/') {
            return deny(Why::Unclean("it names a mount only"));
        }
        let asked = if folder { format!("{bare}/") } else { bare.to_owned() };
        let fits = |grant: &&Grant| {
            grant.capabilities.contains(&capability) && grant.patterns.iter().any(|pattern| pattern.matches(&asked))
        };
        match self.grants_for(who).find(fits) {
            Some(grant) => Verdict::Allow(grant.rule.clone()),
            None => deny(self.why_not(who)),
        }
    }

    /// The verdict in words, for people.
    pub fn explain(&self, who: &Identity, path: &str, capability: Capability) -> String {
        match self.judge(who, path, capability) {
            Verdict::Deny(denial) => denial.to_string(),
            yes => format!("{who} may {capability} {path:?}: {yes}"),
        }
    }

    fn add<'a>(
        &mut self,
        object: &ObjectRef,
        drafts: impl Iterator<Item = Result<Draft<'a>, String>>,
        pattern: impl Fn(&str) -> Result<Pattern, String>,
    ) {
        let mut reasons = Vec::new();
        let mut valid = Vec::new();
        for (index, draft) in drafts.enumerate() {
            match draft.and_then(|draft| checked(object, index, draft, &pattern)) {
                Ok(grant) => valid.push(grant),
                Err(reason) => reasons.push(format!("rule {index}: {reason}")),
            }
        }
        if valid.is_empty() && reasons.is_empty() {
            reasons.push("it has no rules, so it lets nobody in".into());
        }
        if !reasons.is_empty() {
            self.problems.push(Problem { policy: object.clone(), reasons });
            return;
        }
        for (grant, Subjects { accounts, users, groups }) in valid {
            let at = self.grants.len();
            self.grants.push(grant);
            accounts.into_iter().for_each(|account| self.by_account.entry(account).or_default().push(at));
            users.into_iter().for_each(|user| self.by_user.entry(user).or_default().push(at));
            groups.into_iter().for_each(|group| self.by_group.entry(group).or_default().push(at));
        }
    }

    fn grants_for<'a>(&'a self, who: &Identity) -> impl Iterator<Item = &'a Grant> {
        let mut found: Vec<&[usize]> = Vec::new();
        let mut group = |name: &str| found.extend(self.by_group.get(name).map(Vec::as_slice));
        match who {
            Identity::ServiceAccount { account, .. } => {
                if !self.by_group.is_empty() {
                    account.groups().iter().for_each(|name| group(name));
                }
                found.extend(self.by_account.get(account).map(Vec::as_slice));
            }
            Identity::User { name, groups } => {
                groups.iter().for_each(|name| group(name));
                found.extend(self.by_user.get(name).map(Vec::as_slice));
            }
            // Their rights are those of the policies that their tokens name.
            Identity::AppRole { .. } | Identity::Token { .. } | Identity::Root => {}
        }
        found.into_iter().flatten().filter_map(|at| self.grants.get(*at))
    }

    fn why_not(&self, who: &Identity) -> Why {
        let looked_at: BTreeSet<_> = self.grants_for(who).map(|grant| grant.rule.policy.clone()).collect();
        let own = match who {
            Identity::ServiceAccount { account, .. } => Some(&account.namespace),
            _ => None,
        };
        let left_out = self.problems.iter().map(|problem| &problem.policy);
        let left_out = left_out.filter(|policy| policy.namespace.is_none() || policy.namespace.as_ref() == own);
        Why::NoRule { looked_at: looked_at.into_iter().collect(), left_out: left_out.cloned().collect() }
    }
}

impl Policy for PolicySet {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        self.judge(who, path, capability).into()
    }

    fn admit(&self, holder: Holder<'_>, access: &Access<'_>) -> Ruling {
        let Some((path, capability)) = access.secret else {
            return admit::by_secret(|_, _| Decision::Allow, access);
        };
        match self.judge(holder.identity, path, capability) {
            Verdict::Root => Ruling::Allow("the root token".into()),
            Verdict::Allow(rule) => Ruling::Allow(rule.to_string()),
            Verdict::Deny(denial) => Ruling::Silent(denial.reason()),
        }
    }
}

type Checked = (Grant, Subjects);

fn checked(
    object: &ObjectRef,
    index: usize,
    draft: Draft<'_>,
    pattern: impl Fn(&str) -> Result<Pattern, String>,
) -> Result<Checked, String> {
    let Draft { who, paths, capabilities } = draft;
    if who.accounts.is_empty() && who.users.is_empty() && who.groups.is_empty() {
        return Err("it names no account, so it lets nobody in".into());
    }
    if paths.is_empty() || capabilities.is_empty() {
        return Err("it has no paths or no capabilities, so it lets nobody in".into());
    }
    let patterns = paths.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?;
    let rule = Arc::new(RuleRef { policy: object.clone(), index });
    Ok((Grant { rule, patterns, capabilities: capabilities.iter().copied().collect() }, who))
}

/// Reads subjects, each of which names exactly one.
fn subjects(subjects: &[Subject]) -> Result<Subjects, String> {
    let mut who = Subjects::default();
    for subject in subjects {
        match (&subject.service_account, &subject.user, &subject.group) {
            (Some(account), None, None) => who.accounts.push(
                Account::parse(account)
                    .ok_or_else(|| format!("serviceAccount {account:?} is not NAMESPACE/NAME, as in web/default"))?,
            ),
            (None, Some(user), None) if !user.is_empty() => match account_of(user) {
                Some(account) => who.accounts.push(account),
                None => who.users.push(user.clone()),
            },
            (None, None, Some(group)) if !group.is_empty() => who.groups.push(group.clone()),
            _ => return Err("each subject names exactly one of serviceAccount, user, group".into()),
        }
    }
    Ok(who)
}
