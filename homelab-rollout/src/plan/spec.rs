//! The spec of an App as decisions need it: parsed once, then without doubtful cases.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::api::v1alpha1::{
    AppSpec, BlueGreenSpec, Deletion, GateSpec, HttpGateSpec, Mesh, OnChange, RouteSpec, SecretUse,
};
use crate::error::Error;
use crate::gate::http::HttpCheck;
use crate::ports::SecretTarget;

const KEEP_WARM: Duration = Duration::from_secs(600);

/// What an App asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Relative folder of the chart.
    pub chart: String,
    /// Values of the chart.
    pub values: Value,
    /// Secrets and where they go.
    pub secrets: Vec<(String, SecretTarget)>,
    /// Paths of those whose earlier values are dead as soon as there is a new one.
    pub cut: BTreeSet<String>,
    /// Where traffic enters.
    pub route: Option<Route>,
    /// How a new revision takes over.
    pub strategy: Strategy,
    /// Checks, in order.
    pub gates: Vec<Gate>,
    /// Names of Apps that come first.
    pub depends_on: Vec<String>,
    /// Keep releases and route when the App goes.
    pub orphan: bool,
    /// Change nothing.
    pub suspend: bool,
}

/// Where traffic enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The chart's Service, as in a release with the App's own name.
    pub service: Option<String>,
    /// Port of that Service.
    pub port: Port,
    /// `auto`, `service` or `gateway`.
    pub mesh: &'static str,
    /// Gateways as (namespace, name, listener); no namespace: the App's.
    pub parents: Vec<(Option<String>, String, Option<String>)>,
    /// Host names.
    pub hosts: Vec<String>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

impl Port {
    /// As a Service has it: a number or a name.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Number(number) => Value::from(*number),
            Self::Name(name) => Value::from(name.as_str()),
        }
    }
}

/// How a new revision takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One release, upgraded in place.
    Rolling,
    /// Two releases, and traffic between them.
    BlueGreen(BlueGreen),
}

/// Two releases, and traffic between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlueGreen {
    /// Rising percentages, the last is 100.
    pub steps: Vec<u8>,
    /// How long the earlier revision keeps running.
    pub keep_warm: Duration,
    /// Header for the colour that does not serve.
    pub preview: Option<String>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// At which percentage; none: before the switch.
    pub after: Option<u8>,
    /// What is asked.
    pub check: Check,
}

/// What a gate asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A request to the new revision.
    Http(HttpCheck),
    /// A person.
    Approval,
}

impl TryFrom<&AppSpec> for Spec {
    type Error = Error;

    fn try_from(spec: &AppSpec) -> Result<Self, Error> {
        let blue_green = spec.strategy.as_ref().and_then(|strategy| strategy.blue_green.as_ref());
        let strategy = match blue_green {
            None => Strategy::Rolling,
            Some(blue_green) => Strategy::BlueGreen(parse_blue_green(blue_green)?),
        };
        let route = spec.routes.first().map(parse_route).transpose()?;
        if blue_green.is_some() && route.is_none() {
            return invalid("strategy blueGreen needs an entry in routes");
        }
        Ok(Self {
            chart: parse_chart(&spec.helm.chart)?,
            values: spec.helm.values.clone().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            secrets: parse_secrets(&spec.secrets)?,
            cut: parse_cut(&spec.secrets)?,
            route,
            strategy,
            gates: spec.gates.iter().map(parse_gate).collect::<Result<_, _>>()?,
            depends_on: spec.depends_on.iter().map(|dependency| dependency.name.clone()).collect(),
            orphan: spec.deletion == Some(Deletion::Orphan),
            suspend: spec.suspend,
        })
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::Invalid(message.into()))
}

fn parse_chart(chart: &str) -> Result<String, Error> {
    if chart.starts_with('/') || chart.contains("://") {
        return invalid(format!("helm.chart {chart:?} is not a relative folder, as in ./charts/web"));
    }
    Ok(chart.to_owned())
}

fn parse_secrets(secrets: &[SecretUse]) -> Result<Vec<(String, SecretTarget)>, Error> {
    let mut places = BTreeSet::new();
    secrets
        .iter()
        .map(|secret| {
            let target = match (&secret.target.files, &secret.target.env) {
                (Some(folder), None) => SecretTarget::Files(folder.trim_end_matches('/').to_owned()),
                (None, Some(prefix)) => SecretTarget::Env(prefix.clone()),
                _ => return invalid(format!("secret {} needs exactly one of files and env", secret.path)),
            };
            if let SecretTarget::Files(folder) = &target
                && !places.insert(folder.clone())
            {
                return invalid(format!("two secrets go to the folder {folder}: give each its own"));
            }
            Ok((secret.path.clone(), target))
        })
        .collect()
}

fn parse_cut(secrets: &[SecretUse]) -> Result<BTreeSet<String>, Error> {
    let cuts = |secret: &SecretUse| secret.on_change == Some(OnChange::Cut);
    let cut: BTreeSet<_> = secrets.iter().filter(|secret| cuts(secret)).map(|secret| secret.path.clone()).collect();
    match secrets.iter().find(|secret| !cuts(secret) && cut.contains(&secret.path)) {
        Some(secret) => invalid(format!("secret {} is used twice: onChange has to be the same", secret.path)),
        None => Ok(cut),
    }
}

fn parse_blue_green(spec: &BlueGreenSpec) -> Result<BlueGreen, Error> {
    let steps =
        spec.steps.iter().map(|step| percent("strategy.blueGreen.steps", *step)).collect::<Result<Vec<_>, _>>()?;
    let steps = if steps.is_empty() { vec![100] } else { steps };
    if !steps.is_sorted() || steps.last() != Some(&100) {
        return invalid("strategy.blueGreen.steps must rise, and end with 100");
    }
    Ok(BlueGreen {
        steps,
        keep_warm: spec
            .keep_warm
            .as_deref()
            .map_or(Ok(KEEP_WARM), |text| duration("strategy.blueGreen.keepWarm", text))?,
        preview: spec.preview.as_ref().map(|preview| preview.header.clone()),
    })
}

fn parse_route(route: &RouteSpec) -> Result<Route, Error> {
    let port = match &route.port {
        IntOrString::Int(number) => match u16::try_from(*number) {
            Ok(number) if number > 0 => Port::Number(number),
            _ => return invalid(format!("port {number} of the route is not from 1 to 65535")),
        },
        IntOrString::String(name) => name.parse().map_or_else(|_| Port::Name(name.clone()), Port::Number),
    };
    let parents = route.parents.iter().map(|parent| {
        let (namespace, name) = match parent.gateway.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, parent.gateway.as_str()),
        };
        (namespace, name.to_owned(), parent.section.clone())
    });
    Ok(Route {
        service: route.service.clone(),
        port,
        mesh: match route.mesh {
            None | Some(Mesh::Auto) => "auto",
            Some(Mesh::Service) => "service",
            Some(Mesh::Gateway) => "gateway",
        },
        parents: parents.collect(),
        hosts: route.hosts.clone(),
    })
}

fn parse_gate(gate: &GateSpec) -> Result<Gate, Error> {
    let check = match (&gate.http, &gate.approval) {
        (Some(http), None) => Check::Http(parse_http(&gate.name, http)?),
        (None, Some(_)) => Check::Approval,
        _ => return invalid(format!("gate {} needs exactly one of http and approval", gate.name)),
    };
    let after = gate.after.map(|after| percent(&format!("after of gate {}", gate.name), after)).transpose()?;
    Ok(Gate { name: gate.name.clone(), after, check })
}

fn parse_http(gate: &str, http: &HttpGateSpec) -> Result<HttpCheck, Error> {
    let status = http.status.map(|status| u16::try_from(status).ok().filter(|status| (100..600).contains(status)));
    if status == Some(None) {
        return invalid(format!("gate {gate} asks for a status that HTTP does not have"));
    }
    let usual = HttpCheck::default();
    Ok(HttpCheck {
        path: http.path.clone(),
        status: status.flatten(),
        body: http.body.clone(),
        timeout: http
            .timeout
            .as_deref()
            .map_or(Ok(usual.timeout), |text| duration(&format!("timeout of gate {gate}"), text))?,
        attempts: http.attempts.and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(usual.attempts).max(1),
    })
}

fn percent(what: &str, number: i32) -> Result<u8, Error> {
    match u8::try_from(number) {
        Ok(percent) if (1..=100).contains(&percent) => Ok(percent),
        _ => invalid(format!("{what}: {number} is not a percentage from 1 to 100")),
    }
}

fn duration(what: &str, text: &str) -> Result<Duration, Error> {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| Error::Invalid(format!("{what}: {text:?} is not a duration, as in 1h30m")))
}
