//! What is: everything that a plan is made from, besides the spec and the time.

use std::collections::BTreeMap;

use homelab_core::class::Class;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::v1alpha1::RequestStatus;
use crate::deployer::{Colour, SlotState};
use crate::ports::{TrafficCapabilities, TrafficConfirmation, TrafficState};
use crate::request::Request;
use crate::revision::secret::Marks;

/// Which release of an App.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The only one of a rolling App.
    App,
    /// `NAME-blue`.
    Blue,
    /// `NAME-green`.
    Green,
}

impl From<Colour> for Slot {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Blue => Self::Blue,
            Colour::Green => Self::Green,
        }
    }
}

impl Slot {
    /// None for a rolling App.
    pub fn colour(self) -> Option<Colour> {
        match self {
            Self::App => None,
            Self::Blue => Some(Colour::Blue),
            Self::Green => Some(Colour::Green),
        }
    }

    /// Name of the release.
    pub fn release(self, app: &str) -> String {
        self.colour().map_or_else(|| app.to_owned(), |colour| format!("{app}-{colour}"))
    }
}

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// The App itself.
    pub app: AppFacts,
    /// What Git and the secrets ask for.
    pub wanted: Wanted,
    /// Newest versions of secrets that every colour follows, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub newest: BTreeMap<String, u64>,
    /// Kept revisions.
    #[serde(default)]
    pub revisions: Vec<Kept>,
    /// Releases.
    #[serde(default)]
    pub slots: BTreeMap<Slot, SlotFacts>,
    /// The route of a blue-green App.
    #[serde(default)]
    pub route: RouteFacts,
    /// Last answers of gates. Losing them only asks again.
    #[serde(default)]
    pub gates: Vec<GateFacts>,
    /// Apps that come first.
    #[serde(default)]
    pub dependencies: Vec<DependencyFacts>,
    /// What somebody asks for.
    #[serde(default)]
    pub request: Option<RequestFacts>,
    /// The last request that the status has an answer to; only keeps a refusal from being repeated.
    #[serde(default)]
    pub answered: Option<RequestStatus>,
    /// The last action, if it failed. Losing it only tries again.
    #[serde(default)]
    pub trouble: Option<Trouble>,
}

/// The App itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppFacts {
    /// Its name.
    pub name: String,
    /// Generation of its spec.
    pub generation: i64,
    /// Our finalizer is on it.
    pub finalizer: bool,
    /// Somebody deleted it.
    pub deleting: bool,
    /// Its namespace is going, and everything in it.
    pub namespace_ending: bool,
}

/// What Git and the secrets ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wanted {
    /// This revision.
    Revision {
        /// Its id.
        id: String,
    },
    /// It can not be known.
    Blocked {
        /// One word: ChartMissing, SecretDenied, PreflightFailed …
        reason: String,
        /// Object, cause, and what to do.
        message: String,
        /// Waiting may help.
        passing: bool,
    },
}

impl Default for Wanted {
    fn default() -> Self {
        Self::Blocked { reason: "Starting".into(), message: "not looked at yet".into(), passing: true }
    }
}

impl Wanted {
    /// The id, if it can be known.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Revision { id } => Some(id),
            Self::Blocked { .. } => None,
        }
    }
}

/// A kept revision, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// When it was first seen.
    pub created: Timestamp,
    /// Name and version of the chart.
    #[serde(default)]
    pub chart: String,
    /// `path@version` of each secret.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Where it came from.
    #[serde(default)]
    pub source: String,
    /// Why it exists.
    #[serde(default)]
    pub reason: String,
    /// What became of it.
    #[serde(default)]
    pub marks: Marks,
    /// Why nothing can return to it, if so: a version of a secret that it was made with is gone for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
}

/// One release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlotFacts {
    /// What it holds.
    pub state: SlotState,
    /// Ready endpoints of the Service that the route leads to.
    pub endpoints: u32,
}

/// The route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteFacts {
    /// What the cluster holds.
    pub state: TrafficState,
    /// What the router can do.
    #[serde(default)]
    pub capabilities: Option<TrafficCapabilities>,
    /// How far what it holds has come.
    #[serde(default)]
    pub confirmation: Option<TrafficConfirmation>,
}

/// The last answer of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateFacts {
    /// Its name.
    pub gate: String,
    /// Revision that was asked about.
    pub revision: String,
    /// When.
    pub at: Timestamp,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// What came back.
    pub verdict: Verdict,
    /// What was asked and what came back, for people.
    pub detail: String,
}

/// What a gate answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Yes.
    Passed,
    /// No.
    Failed,
    /// It could not be asked.
    Unclear,
}

/// An App that comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DependencyFacts {
    /// Its name.
    pub name: String,
    /// Why it is not ready; none: it is.
    #[serde(default)]
    pub waiting: Option<String>,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RequestFacts {
    /// A request.
    Asked(Request),
    /// A text that is none.
    Malformed {
        /// The text.
        text: String,
        /// What is wrong with it.
        error: String,
    },
}

/// An action that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    /// The release that was to be changed.
    #[serde(default)]
    pub slot: Option<Slot>,
    /// The revision that was to be brought there, or kept.
    #[serde(default)]
    pub revision: Option<String>,
    /// What it asks of us.
    pub kind: TroubleKind,
    /// Object, cause, and what to do.
    pub message: String,
}

/// What a failed action asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TroubleKind {
    /// Try again.
    Passing,
    /// Somebody has to change rights or objects in the cluster; we go on trying.
    Blocked,
    /// The revision itself can not work.
    Invalid,
}

impl From<Class> for TroubleKind {
    fn from(class: Class) -> Self {
        match class {
            Class::Retry | Class::Bug => Self::Passing,
            Class::Conflict | Class::Denied | Class::NotFound => Self::Blocked,
            Class::Invalid => Self::Invalid,
        }
    }
}
