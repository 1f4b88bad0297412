//! All policies by name, and what they say together.

use std::sync::{PoisonError, RwLock};

use super::path::rank;
use super::{AclPolicy, Arc, BTreeMap, Identity, Rights};

/// All policies that tokens can name. The default one holds none.
#[derive(Clone, Debug, Default)]
pub struct AclSet(BTreeMap<String, Arc<AclPolicy>>);

/// What decides about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The path of the deciding rules, for who asked.
    pub path: String,
    /// Names of the policies that have it.
    pub policies: Vec<String>,
    /// What they give together.
    pub rights: Rights,
}

impl AclSet {
    /// Adds a policy, or puts it in place of the one of that name.
    pub fn insert(&mut self, policy: AclPolicy) {
        self.0.insert(policy.name.clone(), Arc::new(policy));
    }

    /// Takes a policy away.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The policy of this name.
    pub fn get(&self, name: &str) -> Option<&AclPolicy> {
        self.0.get(name).map(Arc::as_ref)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What these policies say to `who` about an API path; `None`: nothing. A listing's path ends with a slash; where
    /// nothing has it so, it is looked for without.
    pub fn matched<'a>(
        &self,
        who: &Identity,
        policies: impl IntoIterator<Item = &'a str> + Clone,
        path: &str,
        listing: bool,
    ) -> Option<Matched> {
        let found = self.best(who, policies.clone(), path, listing);
        let bare = || path.strip_suffix('/').filter(|_| listing);
        found.or_else(|| self.best(who, policies, bare()?, listing))
    }

    fn best<'a>(
        &self,
        who: &Identity,
        policies: impl IntoIterator<Item = &'a str>,
        path: &str,
        listing: bool,
    ) -> Option<Matched> {
        let policies: Vec<_> = policies.into_iter().filter_map(|name| self.0.get(name)).collect();
        let rules = policies.iter().flat_map(|policy| policy.rules.iter().map(|rule| (policy.name.as_str(), rule)));
        let rules = rules.filter_map(|(name, rule)| {
            let text = rule.path.of(who)?;
            Some((rank(&text, path, listing)?, text, name, &rule.rights))
        });
        let rules: Vec<_> = rules.collect();
        let (_, best, ..) = rules.iter().max_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)))?;
        let mut matched = Matched { path: best.to_string(), policies: Vec::new(), rights: Rights::default() };
        for (_, _, name, rights) in rules.iter().filter(|(_, text, ..)| text == best) {
            matched.rights.add(rights);
            if !matched.policies.iter().any(|known| known == name) {
                matched.policies.push((*name).into());
            }
        }
        Some(matched)
    }
}

/// The policies in force; clones share them.
#[derive(Clone, Debug, Default)]
pub struct SharedAcl(Arc<RwLock<Arc<AclSet>>>);

impl SharedAcl {
    /// The policies in force now.
    pub fn current(&self) -> Arc<AclSet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes them; one change after the other.
    pub fn update(&self, change: impl FnOnce(&mut AclSet)) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
    }

    /// Puts others in force.
    pub fn replace(&self, set: AclSet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}
