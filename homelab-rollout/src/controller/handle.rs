//! One App, with the accounts that act for it.

use homelab_core::meta::{Account, ObjectRef, annotation, label};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use crate::api::v1alpha1::App;
use crate::deployer::SlotRef;
use crate::error::Error;
use crate::plan::backend::Backend;
use crate::plan::spec::{Port, Strategy};
use crate::plan::{Slot, Spec};
use crate::ports::{Holder, TrafficRoute};

/// One App, with the accounts that act for it.
pub(crate) struct Handle {
    pub(crate) app: App,
    pub(crate) spec: Spec,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Everything is written as this account.
    pub(crate) writer: Account,
    /// Secrets are read as this account.
    pub(crate) reader: Account,
}

impl Handle {
    pub(crate) fn new(app: App) -> Result<Self, Error> {
        let spec = Spec::try_from(&app.spec)?;
        let namespace = app.namespace().unwrap_or_default();
        let reader =
            Account::new(namespace.clone(), app.spec.service_account.clone().unwrap_or_else(|| "default".into()));
        let stamped = app.annotations().get(annotation::ACCOUNT);
        let writer = match stamped.map(|text| (text, Account::parse(text))) {
            Some((_, Some(account))) => account,
            Some((text, None)) => {
                return Err(Error::Invalid(format!(
                    "annotation {} {text:?} is not NAMESPACE/NAME",
                    annotation::ACCOUNT
                )));
            }
            None => reader.clone(),
        };
        Ok(Self { name: app.name_any(), uid: app.uid().unwrap_or_default(), app, spec, namespace, writer, reader })
    }

    pub(crate) fn reference(&self) -> ObjectRef {
        ObjectRef::namespaced(homelab_core::meta::GROUP, "App", &self.namespace, &self.name)
    }

    pub(crate) fn owner(&self) -> OwnerReference {
        self.app.controller_owner_ref(&()).unwrap_or_default()
    }

    pub(crate) fn holder(&self, revision: &str) -> Holder {
        Holder { app: self.reference(), revision: revision.to_owned() }
    }

    pub(crate) fn slots(&self) -> &'static [Slot] {
        match self.spec.strategy {
            Strategy::Rolling => &[Slot::App],
            Strategy::BlueGreen(_) => &[Slot::Blue, Slot::Green],
        }
    }

    pub(crate) fn slot(&self, slot: Slot) -> SlotRef {
        SlotRef {
            app: self.reference(),
            app_uid: self.uid.clone(),
            release: slot.release(&self.name),
            colour: slot.colour(),
            account: self.writer.clone(),
        }
    }

    /// The route's port, if the spec has its number.
    pub(crate) fn fixed_port(&self) -> Option<u16> {
        match self.spec.route.as_ref()?.port {
            Port::Number(number) => Some(number),
            Port::Name(_) => None,
        }
    }

    /// The route of a blue-green App. It has no owner reference: the finalizer takes it away, and `deletion: orphan`
    /// must outlive the garbage collector.
    pub(crate) fn route(&self, known: Option<&Backend>) -> Option<TrafficRoute> {
        let route = self.spec.route.as_ref().filter(|_| self.spec.strategy != Strategy::Rolling)?;
        let port = match (&route.port, known) {
            (Port::Number(number), _) => *number,
            (Port::Name(_), Some(backend)) => backend.port,
            (Port::Name(_), None) => 80,
        };
        let parent = |(namespace, name, section): &(Option<String>, String, Option<String>)| {
            (namespace.clone().unwrap_or_else(|| self.namespace.clone()), name.clone(), section.clone())
        };
        Some(TrafficRoute {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port,
            mesh: route.mesh.into(),
            parents: route.parents.iter().map(parent).collect(),
            hosts: route.hosts.clone(),
            labels: [(label::APP.into(), self.name.clone()), (label::MANAGED_BY.into(), label::MANAGED_BY_US.into())]
                .into(),
            owner: None,
        })
    }
}
