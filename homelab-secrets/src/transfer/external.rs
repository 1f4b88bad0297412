//! Kubernetes Secrets that External Secrets fills: the values from the Secret, the names from the ExternalSecret.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Entry, Name};
use crate::Error;

/// Where the name of a secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFrom {
    /// `NAMESPACE/NAME` of the Secret.
    Secret,
    /// `remoteRef.key`: as it was called where External Secrets read it.
    RemoteRef,
}

/// An ExternalSecret, as far as it says where values are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalSecret {
    namespace: String,
    name: String,
    target: String,
    is_templated: bool,
    /// Key of the Secret → key there, and property.
    single: Vec<(String, String, Option<String>)>,
    /// Keys there whose properties are all taken.
    whole: Vec<String>,
    /// Something that has no one key there: find, a generator, a rewrite.
    others: Option<&'static str>,
}

impl ExternalSecret {
    /// Reads an object. Class `Invalid`: it has no name.
    pub fn read(object: &Value) -> Result<Self, Error> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let metadata = &object["metadata"];
        let (Some(namespace), Some(name)) = (text(&metadata["namespace"]), text(&metadata["name"])) else {
            return Err(Error::Invalid("an ExternalSecret has no namespace or no name".into()));
        };
        let spec = &object["spec"];
        let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
        let single = list("data").into_iter().filter_map(|item| {
            let from = &item["remoteRef"];
            Some((text(&item["secretKey"])?, text(&from["key"])?, text(&from["property"])))
        });
        let (mut whole, mut others) = (Vec::new(), None);
        for item in list("dataFrom") {
            match (text(&item["extract"]["key"]), &item["rewrite"]) {
                (Some(key), Value::Null) if item["extract"]["property"].is_null() => whole.push(key),
                (Some(_), _) => others = Some("a rewrite or a property in dataFrom"),
                (None, _) => others = Some("find or a generator in dataFrom"),
            }
        }
        let target = text(&spec["target"]["name"]).unwrap_or_else(|| name.clone());
        let is_templated =
            spec["target"]["template"]["data"].is_object() || spec["target"]["template"]["templateFrom"].is_array();
        Ok(Self { namespace, name, target, is_templated, single: single.collect(), whole, others })
    }

    /// Namespace and name of the Secret that it fills.
    pub fn target(&self) -> (&str, &str) {
        (&self.namespace, &self.target)
    }

    /// The secrets that its Secret's values are.
    pub fn entries(&self, values: Map<String, Value>, from: PathFrom) -> Result<Vec<Entry>, Error> {
        match from {
            PathFrom::Secret => {
                Ok(vec![Entry::newest(Name::Inner(format!("{}/{}", self.namespace, self.target)), values)])
            }
            PathFrom::RemoteRef => self.by_remote_ref(values).map_err(|why| {
                Error::Invalid(format!(
                    "ExternalSecret {}/{}: {why}; take it by the name of its Secret (--path-from secret)",
                    self.namespace, self.name
                ))
            }),
        }
    }

    fn by_remote_ref(&self, mut values: Map<String, Value>) -> Result<Vec<Entry>, String> {
        if self.is_templated {
            return Err("its values are made by a template, so they are not those of remoteRef".into());
        }
        if let Some(other) = self.others {
            return Err(format!("it has {other}, so not every value has one remoteRef.key"));
        }
        let mut secrets: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for (key, remote, property) in &self.single {
            let value = values.remove(key).ok_or_else(|| format!("its Secret has no key {key}; is it Ready?"))?;
            let secret = secrets.entry(remote).or_default();
            match property {
                Some(property) => drop(secret.insert(property.clone(), value)),
                None => secret.extend(object(&value).ok_or_else(|| {
                    format!("its key {key} is the whole of {remote} and no JSON object, so there are no names of keys")
                })?),
            }
        }
        match (self.whole.as_slice(), values.is_empty()) {
            ([], _) => {}
            ([remote], _) => secrets.entry(remote).or_default().extend(values),
            (_, _) => return Err("it takes the whole of several secrets, and nothing says which key is whose".into()),
        }
        let named = |(remote, values): (&str, _)| Entry::newest(Name::Inner(remote.trim_matches('/').into()), values);
        Ok(secrets.into_iter().map(named).collect())
    }
}

fn object(value: &Value) -> Option<Map<String, Value>> {
    serde_json::from_str(value.as_str()?).ok()
}

/// Puts together what several ExternalSecrets know of one secret. Class `Invalid`: they disagree about a value.
pub fn merged(entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
    let mut secrets: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut differing = BTreeSet::new();
    for entry in entries {
        let (Name::Inner(name), Some(value)) = (&entry.name, entry.value()) else { continue };
        let secret = secrets.entry(name.clone()).or_default();
        for (key, value) in value.expose() {
            if secret.insert(key.clone(), value.clone()).is_some_and(|other| other != *value) {
                differing.insert(format!("{name} key {key}"));
            }
        }
    }
    if !differing.is_empty() {
        let differing = differing.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::Invalid(format!(
            "Secrets have different values for {differing}: wait until External Secrets has refreshed all of them"
        )));
    }
    Ok(secrets.into_iter().map(|(name, values)| Entry::newest(Name::Inner(name), values)).collect())
}
