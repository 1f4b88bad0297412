//! `sys/homelab/policy/test`: who may do what at a path, and why, by the policies in force.
//!
//! Asks for somebody else, so it takes `sudo`. The body names who, at most one of
//!
//! - `service_account`: `NAMESPACE/NAME`; - `user`, with `groups`; - `approle`: a role's name; - `accessor`: of a token;
//! - `token`: what somebody would call a token with `policies`; none: whoever asks,
//!
//! `policies` that the token names (`role`: as `KIND/ROLE` of a login gives them), `path`, its `form` (`logical`, `api`, or
//! found out), and `capabilities` (all if there are none).

use homelab_core::meta::Account;
use serde::Serialize;
use serde_json::json;

use super::ServerState;
use super::answer::{Answer, Refused};
use super::fields::Fields;
use super::policies::tidy;
use super::request::{Asked, Caller, Op};
use super::route::AuthKind;
use crate::policy::acl::DEFAULT;
use crate::policy::{Capability, Explanation, Holder, Identity, PathForm, explain, unclean};

/// Who is asked about.
struct Whose {
    identity: Identity,
    policies: Vec<String>,
}

#[derive(Serialize)]
struct Found {
    capability: Capability,
    allowed: bool,
    /// What the request needs on the API path.
    needs: Capability,
    api_path: String,
    /// The same as policies of secrets see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    why: String,
}

#[derive(Serialize)]
struct Secret {
    path: String,
    capability: Capability,
}

impl Found {
    fn of(capability: Capability, explained: Explanation) -> Self {
        let Explanation { needs, api, secret, ruling, .. } = explained;
        let secret = secret.map(|(path, capability)| Secret { path, capability });
        Self { capability, allowed: ruling.is_allowed(), needs, api_path: api, secret, why: ruling.to_string() }
    }
}

pub(super) async fn test(state: &ServerState, caller: &Caller, asked: &mut Asked) -> Answer {
    state.allow_care(caller, asked)?;
    if asked.op != Op::Write {
        return Err(Refused::unsupported());
    }
    let fields = asked.fields().await?;
    let whose = whose(state, caller, &fields).await?;
    let (path, form) = (path(&fields)?, form(&fields)?);
    let holder = Holder { identity: &whose.identity, policies: &whose.policies };
    let results: Vec<_> = capabilities(&fields)?
        .into_iter()
        .map(|capability| Found::of(capability, explain(&state.0.policy, holder, &path, form, capability)))
        .collect();
    state.answer(json!({
        "who": whose.identity.to_string(), "path": path, "policies": whose.policies, "results": results,
        "missing_policies": state.missing_policies(&whose.policies),
    }))
}

async fn whose(state: &ServerState, caller: &Caller, fields: &Fields) -> Result<Whose, Refused> {
    let named = ["service_account", "user", "approle", "accessor", "token"];
    let mut given = Vec::new();
    for name in named {
        given.extend(fields.text(name)?.filter(|text| !text.is_empty()).map(|text| (name, text)));
    }
    let mut policies = fields.texts("policies")?.unwrap_or_default();
    policies.extend(of_role(state, fields).await?);
    let groups = fields.texts("groups")?.unwrap_or_default();
    if !groups.is_empty() && given.first().is_none_or(|(name, _)| *name != "user") {
        return Err(Refused::invalid("groups are those of a user: name the user, too"));
    }
    let identity = match given.as_slice() {
        [] | [("accessor", _)] => {
            if !policies.is_empty() {
                return Err(Refused::invalid(
                    "a token that there is has its own policies: leave policies and role out",
                ));
            }
            return known(state, caller, given.first().map(|(_, accessor)| accessor.as_str()));
        }
        [(name, text)] => identity(name, text, groups)?,
        _ => return Err(Refused::invalid(format!("name one of {}", named.join(", ")))),
    };
    if fields.flag("no_default_policy")? != Some(true) {
        policies.push(DEFAULT.into());
    }
    Ok(Whose { identity, policies: tidy(policies) })
}

/// The holder of a token that there is.
fn known(state: &ServerState, caller: &Caller, accessor: Option<&str>) -> Result<Whose, Refused> {
    let session = match accessor {
        None => caller.session.clone(),
        Some(accessor) => {
            let found = state.0.tokens.by_accessor(accessor, state.0.host.now());
            found.ok_or_else(|| Refused::invalid("invalid accessor"))?.1
        }
    };
    Ok(Whose { identity: session.identity.clone(), policies: session.policies.clone() })
}

fn identity(name: &str, text: &str, groups: Vec<String>) -> Result<Identity, Refused> {
    let text = text.to_owned();
    Ok(match name {
        "service_account" => {
            let wrong = || Refused::invalid("service_account is NAMESPACE/NAME, as in web/default");
            Identity::account(Account::parse(&text).ok_or_else(wrong)?)
        }
        "user" => Identity::reviewed(&text, groups, None),
        "approle" => Identity::AppRole { role: text },
        _ => Identity::Token { name: text },
    })
}

/// The policies that a login by this role gives.
async fn of_role(state: &ServerState, fields: &Fields) -> Result<Vec<String>, Refused> {
    let Some(role) = fields.text("role")?.filter(|role| !role.is_empty()) else { return Ok(Vec::new()) };
    let found = match role.split_once('/').and_then(|(kind, name)| Some((AuthKind::parse(kind)?, name))) {
        Some((kind, name)) => super::login::policies_of(state, kind, name).await?,
        None => return Err(Refused::invalid("role is KIND/ROLE, as in approle/backup or kubernetes/web")),
    };
    found.ok_or_else(|| Refused::invalid(format!("there is no role {role}")))
}

fn path(fields: &Fields) -> Result<String, Refused> {
    let text = fields.need("path")?;
    let path = text.strip_prefix("/v1/").unwrap_or(&text).trim_start_matches('/');
    match unclean(path.strip_suffix('/').unwrap_or(path), |c| c == ' ' || c == '+') {
        Some(reason) => Err(Refused::invalid(format!("path can not be asked for: {reason}"))),
        None => Ok(path.to_owned()),
    }
}

fn form(fields: &Fields) -> Result<PathForm, Refused> {
    match fields.text("form")?.as_deref() {
        None | Some("") => Ok(PathForm::Guess),
        Some("logical") => Ok(PathForm::Logical),
        Some("api") => Ok(PathForm::Api),
        Some(_) => Err(Refused::invalid("form is logical or api; without it the path says which it is")),
    }
}

fn capabilities(fields: &Fields) -> Result<Vec<Capability>, Refused> {
    let names = fields.texts("capabilities")?.filter(|names| !names.is_empty());
    let Some(names) = names else { return Ok(Capability::ALL.to_vec()) };
    let parse = |name: &String| {
        let found = Capability::ALL.into_iter().find(|capability| capability.to_string() == *name);
        found.ok_or_else(|| {
            let all = Capability::ALL.map(|capability| capability.to_string()).join(", ");
            Refused::invalid(format!("{name:?} is no capability: there are {all}"))
        })
    };
    names.iter().map(parse).collect()
}
