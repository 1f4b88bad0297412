//! The wish: which share of a route's traffic each backend gets.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Where traffic enters: the apex Service of an app, and the Gateways that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Namespace of all its objects.
    pub namespace: String,
    /// Name of the route object and of the apex Service; value of the pods' label `homelab.dev/app`.
    pub name: String,
    /// Port of the apex Service.
    pub port: u16,
    /// Gateways that a Gateway API route is attached to.
    pub parents: Vec<Parent>,
    /// Host names of a Gateway API route.
    pub hosts: Vec<String>,
    /// Labels for the route object and the apex Service.
    pub labels: BTreeMap<String, String>,
    /// Owner reference (one JSON object) for what the router makes.
    pub owner: Option<serde_json::Value>,
}

/// A Gateway, or one listener of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Namespace of the Gateway.
    pub namespace: String,
    /// Name of the Gateway.
    pub name: String,
    /// Listener.
    pub section: Option<String>,
}

/// One backend: the Service of a colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Name in splits and observations, as in `blue`; value of the pods' label `homelab.dev/colour`.
    pub name: String,
    /// Service that selects its pods.
    pub service: String,
    /// Port of that Service.
    pub port: u16,
    /// Pods' port behind it (number or name).
    pub target_port: serde_json::Value,
    /// Labels that select its pods.
    pub selector: BTreeMap<String, String>,
    /// Percent of the traffic.
    pub weight: u8,
}

/// A request that reaches one backend whatever the weights say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Request header; its value is the backend's name.
    pub header: String,
    /// Backend that is previewed.
    pub backend: String,
}

/// The whole wish for a [`Route`]. There is none that breaks the rules of [`Split::new`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Split {
    backends: Vec<Backend>,
    previews: Vec<Preview>,
    active: String,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    backends: Vec<Backend>,
    previews: Vec<Preview>,
    active: String,
}

impl TryFrom<Raw> for Split {
    type Error = Error;

    fn try_from(raw: Raw) -> Result<Self, Error> {
        Self::new(raw.backends, raw.previews, raw.active)
    }
}

impl From<Split> for Raw {
    fn from(split: Split) -> Self {
        Self { backends: split.backends, previews: split.previews, active: split.active }
    }
}

impl Split {
    /// A wish whose weights sum to 100, whose backends have different names, and whose `active` (`BACKEND@REVISION`)
    /// and previews name some of them. A backend with weight 0 stays in the route so that its endpoints stay warm in
    /// the proxies.
    pub fn new(backends: Vec<Backend>, previews: Vec<Preview>, active: impl Into<String>) -> Result<Self, Error> {
        let split = Self { backends, previews, active: active.into() };
        let sum: u32 = split.backends.iter().map(|b| u32::from(b.weight)).sum();
        if sum != 100 {
            return Err(Error::Invalid(format!("weights sum to {sum}, not 100")));
        }
        let names: BTreeSet<_> = split.backends.iter().map(|b| b.name.as_str()).collect();
        if names.len() != split.backends.len() {
            return Err(Error::Invalid("two backends have the same name".into()));
        }
        let mut named = split.previews.iter().map(|p| p.backend.as_str()).chain([split.active_name()]);
        if let Some(name) = named.find(|name| !names.contains(name)) {
            return Err(Error::Invalid(format!("no backend is named {name:?}")));
        }
        drop(named);
        Ok(split)
    }

    /// All backends.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Preview rules.
    pub fn previews(&self) -> &[Preview] {
        &self.previews
    }

    /// Value for the annotation `homelab.dev/active`, written together with the weights.
    pub fn active(&self) -> &str {
        &self.active
    }

    /// The backend that an abort returns to.
    pub fn active_backend(&self) -> Option<&Backend> {
        self.backends.iter().find(|b| b.name == self.active_name())
    }

    /// The backend with all of the traffic, if one has it.
    pub fn whole(&self) -> Option<&Backend> {
        self.backends.iter().find(|b| b.weight == 100)
    }

    /// Percent by backend.
    pub fn weights(&self) -> BTreeMap<String, u8> {
        self.backends.iter().map(|b| (b.name.clone(), b.weight)).collect()
    }

    fn active_name(&self) -> &str {
        self.active.split('@').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::backend;

    #[test]
    fn a_split_that_breaks_a_rule_can_not_be_made() {
        let make = |weights: [u8; 2], preview: &str, active: &str| {
            let previews = vec![Preview { header: "x-preview".into(), backend: preview.into() }];
            Split::new(vec![backend("blue", weights[0]), backend("green", weights[1])], previews, active)
                .map_or_else(|e| e.to_string(), |_| "fine".into())
        };
        assert_eq!(make([90, 10], "green", "blue@1"), "fine");
        assert_eq!(make([90, 11], "green", "blue@1"), "weights sum to 101, not 100");
        assert_eq!(make([90, 10], "red", "blue@1"), r#"no backend is named "red""#);
        assert_eq!(make([90, 10], "green", "@1"), r#"no backend is named """#);
        let twins = Split::new(vec![backend("blue", 0), backend("blue", 100)], vec![], "blue@1");
        assert_eq!(twins.unwrap_err().to_string(), "two backends have the same name");
    }

    proptest! {
        #[test]
        fn what_is_read_back_keeps_the_rules(a in 0_u8..=200, b in 0_u8..=200) {
            let split = serde_json::json!({
                "backends": [backend("blue", a), backend("green", b)], "previews": [], "active": "blue@1"
            });
            let read: Result<Split, _> = serde_json::from_value(split.clone());
            prop_assert_eq!(read.is_ok(), u32::from(a) + u32::from(b) == 100);
            if let Ok(read) = read {
                prop_assert_eq!(serde_json::to_value(read).unwrap(), split);
            }
        }
    }
}
