//! What matters of a pod, and of an Event about an owner whose pods were refused. Pure.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodSpec};

use crate::inject::{AGENT, OPTED_IN, VOLUME, WEBHOOK, policy_name};

/// One pod, this one and none that has its name later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodId {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What matters of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodView {
    pub(super) id: PodId,
    /// Asks for secrets by its label.
    pub(super) opted_in: bool,
    /// Has our init container and volume.
    pub(super) injected: bool,
    /// Has an owner that makes another one when it goes.
    pub(super) owned: bool,
    pub(super) created: Timestamp,
    /// Ends or has ended.
    pub(super) over: bool,
    /// How the agent failed, if it did and has not done its work since.
    pub(super) failed: Option<AgentFailure>,
}

impl PodView {
    /// It lives, and has not what it asked for.
    pub(super) fn slipped(&self) -> bool {
        self.opted_in && !self.injected && !self.over
    }
}

/// How the agent of a pod failed last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentFailure {
    pub(super) code: i32,
    pub(super) at: Timestamp,
    /// What it said.
    pub(super) words: String,
    /// The kubelet lets it wait before the next try.
    pub(super) waits: bool,
}

/// Who makes pods and was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The API server refused pods of `owner` because of our webhook or the policy behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) owner: Owner,
    /// Which refusal: changes with each one, whatever the clocks say.
    pub(super) mark: (Option<Timestamp>, i32),
}

/// What matters of this pod.
pub(super) fn pod(pod: &Pod) -> PodView {
    let meta = &pod.metadata;
    let labels = meta.labels.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    PodView {
        id: PodId {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        },
        opted_in: labels.and_then(|labels| labels.get(OPTED_IN.0)).is_some_and(|value| value == OPTED_IN.1),
        injected: pod.spec.as_ref().is_some_and(is_injected),
        // A static pod belongs to its node, which does not make it anew.
        owned: owner.is_some_and(|owner| owner.kind != "Node"),
        created: meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |at| at.0),
        over: meta.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed"),
        failed: agent(pod).and_then(failure_of),
    }
}

/// What the policy behind the webhook asks for.
fn is_injected(spec: &PodSpec) -> bool {
    let has_wish = |env: &k8s_openapi::api::core::v1::EnvVar| env.name == "HOMELAB_SECRETS";
    let agent = spec.init_containers.iter().flatten().find(|container| container.name == AGENT);
    let in_memory = |volume: &k8s_openapi::api::core::v1::Volume| {
        volume.empty_dir.as_ref().is_some_and(|dir| dir.medium.as_deref() == Some("Memory"))
    };
    agent.is_some_and(|agent| agent.env.iter().flatten().any(has_wish))
        && spec.volumes.iter().flatten().any(|volume| volume.name == VOLUME && in_memory(volume))
}

fn agent(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == AGENT)
}

fn failure_of(agent: &ContainerStatus) -> Option<AgentFailure> {
    let state = agent.state.as_ref();
    let ended_now = state.and_then(|state| state.terminated.as_ref());
    let ended = match ended_now {
        Some(ended) if ended.exit_code == 0 => return None,
        Some(ended) => ended,
        None => agent.last_state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?,
    };
    Some(AgentFailure {
        code: ended.exit_code,
        at: ended.finished_at.as_ref().map_or(Timestamp::MIN, |at| at.0),
        words: ended.message.clone().unwrap_or_default().trim().to_owned(),
        waits: state.is_some_and(|state| state.waiting.is_some()),
    })
}

/// The refusal that `event` tells of, if it is one of ours.
pub(super) fn failure(event: &Event, webhook: &str) -> Option<Failure> {
    let message = event.message.as_deref()?;
    let ours = message.contains(WEBHOOK) || message.contains(&format!("'{}'", policy_name(webhook)));
    let about = &event.involved_object;
    let kind = about.kind.clone().filter(|kind| kind != "Pod")?;
    if !ours {
        return None;
    }
    let series = event.series.as_ref();
    let at = series.and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let at = at.or_else(|| event.last_timestamp.as_ref().map(|at| at.0));
    let at = at.or_else(|| event.event_time.as_ref().map(|at| at.0));
    let count = series.and_then(|series| series.count).or(event.count).unwrap_or(1);
    Some(Failure {
        owner: Owner {
            api_version: about.api_version.clone()?,
            kind,
            namespace: about.namespace.clone()?,
            name: about.name.clone()?,
            uid: about.uid.clone()?,
        },
        mark: (at, count),
    })
}
