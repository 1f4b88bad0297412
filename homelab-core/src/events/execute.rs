//! Writing one Event.
#![expect(clippy::disallowed_methods, reason = "an event carries the time at which it is sent")]

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};

use super::{EventType, Events, cut};

impl Events {
    pub(super) async fn send(
        &self,
        object: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        note: &str,
    ) -> kube::Result<()> {
        let now = Timestamp::now();
        // Events about cluster-scoped objects live in `default`, as kubectl expects.
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".into());
        let name = format!("{}.{:x}", cut(object.name.as_deref().unwrap_or("unnamed"), 200), now.as_nanosecond());
        let event = Event {
            action: Some(action.into()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() },
            note: Some(note.into()),
            reason: Some(reason.into()),
            regarding: Some(object.clone()),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if type_ == EventType::Warning { "Warning" } else { "Normal" }.into()),
            ..Event::default()
        };
        Api::<Event>::namespaced(self.client.clone(), &namespace).create(&PostParams::default(), &event).await.map(drop)
    }
}
