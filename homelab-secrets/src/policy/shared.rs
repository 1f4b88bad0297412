//! The set in force, shared between who keeps it current and who asks it.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Access, Capability, Decision, Holder, Identity, Policy, PolicySet, Ruling};

/// The policies in force; clones share them. Before the first [`replace`](Self::replace) everything is denied as passing.
#[derive(Clone, Debug)]
pub struct SharedPolicies(Arc<RwLock<Arc<PolicySet>>>);

impl Default for SharedPolicies {
    fn default() -> Self {
        Self::new(PolicySet::loading())
    }
}

impl SharedPolicies {
    /// Starts with `set`.
    pub fn new(set: PolicySet) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(set))))
    }

    /// The set in force now.
    pub fn current(&self) -> Arc<PolicySet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `set` in force.
    pub fn replace(&self, set: PolicySet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

impl Policy for SharedPolicies {
    fn decide(&self, who: &Identity, path: &str, capability: Capability) -> Decision {
        self.current().decide(who, path, capability)
    }

    fn admit(&self, holder: Holder<'_>, access: &Access<'_>) -> Ruling {
        self.current().admit(holder, access)
    }

    fn is_loading(&self) -> bool {
        self.current().is_loading()
    }
}
