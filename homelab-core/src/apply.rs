//! Server-side apply and delete of any object, with conflicts named.

use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy, ValidationDirective,
};
use kube::core::Status;
use kube::discovery::ApiResource;
use kube::{Client, Resource};
use serde_json::Value;

use crate::class::Class;
use crate::client::{causes, classify, explain};
use crate::meta::ObjectRef;

/// How to apply. The default writes, forces nothing and expects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Only ask what would happen; admission and validation take part.
    pub dry_run: bool,
    /// Take fields over from their other owner. Only when a plan chose so.
    pub force: bool,
    /// Write only if the object is still of this version.
    pub resource_version: Option<String>,
}

/// How to delete. The default deletes in the background, whatever the object's version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Only ask what would happen.
    pub dry_run: bool,
    /// Delete only the object of this uid.
    pub uid: Option<String>,
    /// Delete only if the object is still of this version.
    pub resource_version: Option<String>,
    /// Keep its dependants.
    pub orphan: bool,
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The object lacks something that every object has.
    #[error("an object without {missing} can not be written{}", .object.as_ref().map(|o| format!(": {o}")).unwrap_or_default())]
    Malformed {
        /// Which field.
        missing: &'static str,
        /// The object, as far as it is known.
        object: Option<ObjectRef>,
    },
    /// Somebody else owns fields of it.
    #[error("{object} has fields of other owners: {}; take them out, or let their owner give them up", owners(.fields))]
    Conflict {
        /// Which object.
        object: ObjectRef,
        /// `(manager, field)` of each.
        fields: Vec<(String, String)>,
    },
    /// It is not the object, or the version of it, that was planned for.
    #[error("{object} was changed meanwhile: {message}")]
    Stale {
        /// Which object.
        object: ObjectRef,
        /// What the server said.
        message: String,
    },
    /// The server refused or could not be asked.
    #[error("can not {verb} {object}: {}", explain(.error))]
    Api {
        /// `apply` or `delete`.
        verb: &'static str,
        /// Which object.
        object: ObjectRef,
        /// Why. It is told in full already, so it is no `source` that would repeat it.
        error: Box<kube::Error>,
    },
}

impl ApplyError {
    /// What it asks of its caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Malformed { .. } => Class::Invalid,
            Self::Conflict { .. } | Self::Stale { .. } => Class::Conflict,
            Self::Api { error, .. } => classify(error),
        }
    }
}

fn owners(fields: &[(String, String)]) -> String {
    let each: Vec<_> = fields.iter().map(|(manager, field)| format!("{field} ({manager})")).collect();
    each.join(", ")
}

/// Applies `object` as `manager` and returns what the server made of it. Unknown fields are an error.
pub async fn apply(
    client: &Client,
    resource: &ApiResource,
    namespaced: bool,
    object: &Value,
    manager: &str,
    options: ApplyOptions,
) -> Result<DynamicObject, ApplyError> {
    let target =
        ObjectRef::of(object).ok_or(ApplyError::Malformed { missing: "kind and metadata.name", object: None })?;
    let api = api_for(client, resource, namespaced, &target)?;
    let params = PatchParams {
        dry_run: options.dry_run,
        force: options.force,
        field_manager: Some(manager.into()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let result = match options.resource_version {
        None => api.patch(&target.name, &params, &Patch::Apply(object)).await,
        Some(version) => {
            let mut object = object.clone();
            object["metadata"]["resourceVersion"] = version.into();
            api.patch(&target.name, &params, &Patch::Apply(&object)).await
        }
    };
    result.map_err(|error| refused("apply", target, error))
}

/// Deletes `target`; false if it was not there.
pub async fn delete(
    client: &Client,
    resource: &ApiResource,
    namespaced: bool,
    target: &ObjectRef,
    options: DeleteOptions,
) -> Result<bool, ApplyError> {
    let api = api_for(client, resource, namespaced, target)?;
    let params = DeleteParams {
        dry_run: options.dry_run,
        propagation_policy: Some(if options.orphan {
            PropagationPolicy::Orphan
        } else {
            PropagationPolicy::Background
        }),
        preconditions: (options.uid.is_some() || options.resource_version.is_some())
            .then_some(Preconditions { uid: options.uid, resource_version: options.resource_version }),
        ..DeleteParams::default()
    };
    match api.delete(&target.name, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(error) => Err(refused("delete", target.clone(), error)),
    }
}

/// The API of `target`'s resource, in its namespace if the kind has one.
pub fn api_for(
    client: &Client,
    resource: &ApiResource,
    namespaced: bool,
    target: &ObjectRef,
) -> Result<Api<DynamicObject>, ApplyError> {
    if !namespaced {
        return Ok(Api::all_with(client.clone(), resource));
    }
    let missing = || ApplyError::Malformed { missing: "metadata.namespace", object: Some(target.clone()) };
    let namespace = target.namespace.as_deref().ok_or_else(missing)?;
    Ok(Api::namespaced_with(client.clone(), namespace, resource))
}

/// The reference to an object that the API server returned.
pub fn reference(resource: &ApiResource, object: &DynamicObject) -> ObjectRef {
    let meta = object.meta();
    ObjectRef {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

fn refused(verb: &'static str, object: ObjectRef, error: kube::Error) -> ApplyError {
    if let kube::Error::Api(status) = &error
        && status.code == 409
    {
        let fields = conflicts(status);
        if !fields.is_empty() {
            return ApplyError::Conflict { object, fields };
        }
        return ApplyError::Stale { object, message: explain(&error) };
    }
    ApplyError::Api { verb, object, error: Box::new(error) }
}

/// `(manager, field)` from causes like `conflict with "helm" using apps/v1` (or `… with subresource "scale" …`).
fn conflicts(status: &Status) -> Vec<(String, String)> {
    causes(status)
        .filter(|(reason, _, _)| *reason == "FieldManagerConflict")
        .map(|(_, field, message)| {
            let manager = message.split('"').nth(1).unwrap_or("unknown");
            (manager.to_owned(), field.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests;
