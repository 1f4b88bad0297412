//! `auth/kubernetes`: with a token of a ServiceAccount, made for the audience of the role.
//!
//! Without a role of its own name the token has to be made for [`TOKEN_AUDIENCE`], and what the account may do is what
//! `SecretPolicy` and `ClusterSecretPolicy` say: so pods and `homelab kv` log in. With a role it gets the role's policies
//! beside that. A token that is bound to a pod names that pod's UID, and nothing that is given for it outlasts it.
//!
//! The API server is asked about each token. With `local_check` it is not: its public keys say whether it has signed the
//! token. That needs no API server at each login, and does not see that a pod or an account is gone.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use homelab_core::class::Class;
use homelab_core::meta::{Account, TOKEN_AUDIENCE};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::issuer::IssuerKeys;
use super::{Passed, TokenParams, Who, stored};
use crate::Error;
use crate::policy::Identity;
use crate::server::answer::{Answer, Refused, object};
use crate::server::fields::Fields;
use crate::server::jwt::{self, Key};
use crate::server::proof::Proof;
use crate::server::request::Asked;
use crate::server::{Login, ServerState};
use crate::versions::DAEMON_ROLE;

/// Kind of the documents.
pub(super) const ROLE: &str = "kubernetes-role";
/// Roles of our own programs, which need none to be written.
const OWN: &str = "homelab-";

/// Kind and name of the document with the settings.
const CONFIG: (&str, &str) = ("kubernetes", "config");
/// Where each API server names its issuer and serves its keys (OIDC discovery).
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// How tokens are checked, as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    local: bool,
    jwks: Option<Value>,
    pems: Vec<String>,
    issuer: String,
}

/// A role as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    audience: String,
    names: Vec<String>,
    namespaces: Vec<String>,
    require_pod: bool,
    token: TokenParams,
}

/// `auth/kubernetes/config`: how tokens are checked.
pub(super) async fn config(state: &ServerState, asked: &mut Asked) -> Answer {
    let can_fetch = state.0.options.api_server.is_some();
    stored(state, asked, CONFIG, describe_config, |config, fields| change_config(config, fields, can_fetch)).await
}

fn describe_config(config: &Config) -> Map<String, Value> {
    object(json!({
        "local_check": config.local, "jwks": config.jwks, "pem_keys": config.pems, "issuer": config.issuer,
        "kubernetes_host": "", "disable_local_ca_jwt": false, "disable_iss_validation": false,
    }))
}

/// What Vault needs to reach an API server is read and left: this server asks the one that it runs beside.
fn change_config(config: Config, fields: &Fields, can_fetch: bool) -> Result<(Config, Vec<String>), Refused> {
    let jwks = match fields.value("jwks") {
        Some(Value::String(text)) => Some(serde_json::from_str(text).map_err(|_| Refused::invalid("jwks is no JSON"))?),
        Some(other) => Some(other.clone()),
        None => config.jwks,
    };
    let changed = Config {
        local: fields.flag("local_check")?.unwrap_or(config.local),
        jwks,
        pems: fields.texts("pem_keys")?.unwrap_or(config.pems),
        issuer: fields.text("issuer")?.unwrap_or(config.issuer),
    };
    let given = !changed.given_keys()?.is_empty();
    if changed.local && given && changed.issuer.is_empty() {
        return Err(Refused::invalid("keys that are given need the issuer that they speak for: give issuer, too"));
    }
    if changed.local && !given && !can_fetch {
        return Err(Refused::invalid(
            "local_check needs the API server's public keys and issuer: give jwks (`kubectl get --raw \
             /openid/v1/jwks`) or pem_keys, and issuer",
        ));
    }
    let warning = "a local check does not see that a pod or an account is gone: its token works until it ends";
    Ok((changed.clone(), changed.local.then(|| warning.to_owned()).into_iter().collect()))
}

impl Config {
    fn given_keys(&self) -> Result<Vec<Key>, Refused> {
        let wrong = || Refused::invalid("jwks or pem_keys hold no public key that can be used");
        if let Some(jwks) = self.jwks.as_ref().filter(|jwks| !jwks.is_null()) {
            return Key::set(jwks.to_string().as_bytes()).ok_or_else(wrong);
        }
        self.pems.iter().map(|pem| Key::pem(pem).ok_or_else(wrong)).collect()
    }

    /// The keys to check `token` with, and the issuer that it has to be of.
    async fn keys(&self, state: &ServerState, token: &str) -> Result<(Vec<Key>, String), Refused> {
        let given = self.given_keys()?;
        if !given.is_empty() {
            return Ok((given, self.issuer.clone()));
        }
        let now = state.0.host.now().as_second();
        let found = state.0.cluster_keys.of_token(self.issuer.clone(), (token, now), self.fetch(state)).await?;
        Ok((found.keys, found.issuer.unwrap_or_default()))
    }

    /// From the API server: keys, and the issuer if it is not set.
    async fn fetch(&self, state: &ServerState) -> Result<IssuerKeys, Error> {
        let api_server = state.0.options.api_server.as_ref().ok_or_else(|| {
            Error::Invalid("this server has no API server to ask for its public keys: give jwks and issuer".into())
        })?;
        let issuer = if self.issuer.is_empty() {
            #[derive(Deserialize)]
            struct Discovered {
                issuer: String,
            }
            let found = api_server.get(DISCOVERY, None).await?;
            let found = serde_json::from_slice::<Discovered>(&found).ok().filter(|found| !found.issuer.is_empty());
            found.ok_or_else(|| Error::Invalid(format!("{DISCOVERY} names no issuer: set issuer")))?.issuer
        } else {
            self.issuer.clone()
        };
        // Not where the document says they are: that is for others, and may be an address outside of the cluster.
        let keys = Key::set(&api_server.get(KEYS, None).await?)
            .ok_or_else(|| Error::Invalid(format!("{KEYS} has no public key that can be used")))?;
        Ok(IssuerKeys { issuer: Some(issuer), keys })
    }

    /// Checks a token without asking anybody about it.
    async fn check(&self, state: &ServerState, token: &str, audience: &str) -> Result<Login, Refused> {
        let (keys, issuer) = self.keys(state, token).await?;
        judge(token, (&keys, &issuer, audience), state.0.host.now())
            .map_err(|why| Refused::denied(Some(format!("the token is not accepted: {why}"))))
    }
}

/// Says whose token it is, by the keys that sign for `issuer`.
fn judge(token: &str, (keys, issuer, audience): (&[Key], &str, &str), now: jiff::Timestamp) -> Result<Login, String> {
    let claims = jwt::verify(token, keys, now)?;
    let said = |name: &str| jwt::claim(&claims, name).map(jwt::texts).unwrap_or_default();
    if issuer.is_empty() || said("iss") != [issuer] {
        return Err(format!("it is of another issuer than {issuer}"));
    }
    if !said("aud").iter().any(|theirs| theirs == audience) {
        return Err(format!("it is not made for the audience {audience}"));
    }
    let user = said("sub").into_iter().next().unwrap_or_default();
    let pod = said("/kubernetes.io/pod/uid").into_iter().next();
    match Identity::reviewed(&user, Vec::new(), pod) {
        identity @ Identity::ServiceAccount { .. } => Ok(Login { identity, ends: jwt::ends(&claims) }),
        _ => Err("it is not one of a ServiceAccount".into()),
    }
}

pub(super) async fn role(state: &ServerState, asked: &mut Asked, name: &str) -> Answer {
    if name == DAEMON_ROLE {
        return Err(Refused::invalid(format!("the role {name} is the server's own: it can not be read or written")));
    }
    let agent = name.starts_with(OWN);
    stored(state, asked, (ROLE, name), describe, |role, fields| change(role, fields, agent)).await
}

fn describe(role: &Role) -> Map<String, Value> {
    let mut data = role.token.describe();
    data.extend(object(json!({
        "audience": role.audience, "bound_service_account_names": role.names,
        "bound_service_account_namespaces": role.namespaces, "require_pod": role.require_pod,
        "alias_name_source": "serviceaccount_uid",
    })));
    data
}

/// `agent`: a role for our own agent, whose tokens belong to pods unless it says otherwise.
fn change(role: Role, fields: &Fields, agent: bool) -> Result<(Role, Vec<String>), Refused> {
    fields.refuse(&["bound_service_account_namespace_selector"])?;
    let fresh = role == Role::default();
    let changed = Role {
        audience: fields.text("audience")?.unwrap_or(role.audience),
        names: fields.texts("bound_service_account_names")?.unwrap_or(role.names),
        namespaces: fields.texts("bound_service_account_namespaces")?.unwrap_or(role.namespaces),
        require_pod: fields.flag("require_pod")?.unwrap_or(if fresh { agent } else { role.require_pod }),
        token: role.token.change(fields)?,
    };
    for (field, patterns) in
        [("bound_service_account_names", &changed.names), ("bound_service_account_namespaces", &changed.namespaces)]
    {
        if patterns.is_empty() {
            return Err(Refused::invalid(format!("{field:?} can not be empty: use [\"*\"] for all")));
        }
    }
    if changed.audience.is_empty() {
        return Err(Refused::invalid(format!(
            "audience is required: use {TOKEN_AUDIENCE:?} and a projected token with it, or name the audience of the tokens that are sent"
        )));
    }
    let warnings = audience_warning(&changed.audience).into_iter().collect();
    Ok((changed, warnings))
}

/// Tokens that are made for the API server open every door that believes them.
fn audience_warning(audience: &str) -> Option<String> {
    let own =
        audience.starts_with("https://kubernetes") || matches!(audience, "api" | "k3s" | "kubernetes" | "unknown");
    own.then(|| {
        format!(
            "the audience {audience:?} is the API server's own: whoever gets such a token can be that account in the \
             cluster, too; a projected token for {TOKEN_AUDIENCE:?} is good here alone"
        )
    })
}

pub(super) async fn login(state: &ServerState, fields: &Fields) -> Result<Passed, Refused> {
    let jwt = Zeroizing::new(fields.need("jwt")?);
    let name = fields.text("role")?.unwrap_or_default();
    let role = match super::check_role_name(&name) {
        Ok(()) if name == DAEMON_ROLE => Some(daemon_role(state)?),
        Ok(()) => state.document::<Role>(ROLE, &name).await?,
        Err(_) => None,
    };
    if role.is_none() && !name.is_empty() && !name.starts_with(OWN) {
        return Err(Refused::invalid(format!("invalid role name {name:?}")));
    }
    let audience = role.as_ref().map_or(TOKEN_AUDIENCE, |role| &role.audience);
    // Whether its pod is still there only the API server can say.
    let config = match name == DAEMON_ROLE {
        true => Config::default(),
        false => state.document::<Config>(CONFIG.0, CONFIG.1).await?.unwrap_or_default(),
    };
    let (login, local) = prove(state, &config, (&jwt, audience)).await?;
    let Identity::ServiceAccount { account, pod_uid } = &login.identity else {
        return Err(Refused::denied(Some("the token is not one of a ServiceAccount".into())));
    };
    if let Some(role) = &role {
        admits(role, &name, account, pod_uid.as_deref())?;
    }
    let mut meta = BTreeMap::from([
        ("service_account_namespace".to_owned(), account.namespace.clone()),
        ("service_account_name".to_owned(), account.name.clone()),
    ]);
    meta.extend(pod_uid.clone().map(|uid| ("pod_uid".to_owned(), uid)));
    meta.extend(role.as_ref().map(|_| ("role".to_owned(), name.clone())));
    let display_name = format!("kubernetes-{}-{}", account.namespace, account.name);
    let (identity, ends) = (login.identity.clone(), login.ends);
    // A local check would say the same until the token ends.
    let asks = pod_uid.is_some() && !local;
    let proof = asks.then(|| Proof::new(jwt.clone(), audience, state.0.host.now().as_second()));
    let who = Who { identity, display_name, path: "auth/kubernetes/login", meta, ends, proof };
    let params = role.as_ref().map(|role| role.token.clone()).unwrap_or_default();
    let warnings = role.as_ref().and_then(|role| audience_warning(&role.audience)).into_iter().collect();
    Ok(Passed { new: params.token(who, state.0.host.now()), warnings })
}

/// The role of the daemon that runs elsewhere: bound to its ServiceAccount, and to a pod of it.
fn daemon_role(state: &ServerState) -> Result<Role, Refused> {
    let missing = || Refused::invalid(format!("role {DAEMON_ROLE:?}: this server was told of no daemon elsewhere"));
    let Account { namespace, name } = state.0.options.daemon.clone().ok_or_else(missing)?;
    Ok(Role {
        audience: TOKEN_AUDIENCE.into(),
        names: vec![name],
        namespaces: vec![namespace],
        require_pod: true,
        token: TokenParams { no_default_policy: true, ..TokenParams::default() },
    })
}

/// By the API server, or, where somebody chose so, by its public keys; says which.
async fn prove(state: &ServerState, config: &Config, (jwt, audience): (&str, &str)) -> Result<(Login, bool), Refused> {
    if config.local {
        return Ok((config.check(state, jwt, audience).await?, true));
    }
    let Some(authenticator) = &state.0.kubernetes else {
        return Err(Refused::invalid(
            "this server has no Kubernetes to ask: use a token, or auth/kubernetes/config with local_check",
        ));
    };
    let busy = |_| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    let turn = state.0.logins.acquire().await.map_err(busy)?;
    let login = authenticator.authenticate(jwt, audience).await;
    drop(turn);
    Ok((login.map_err(refused)?, false))
}

fn admits(role: &Role, name: &str, account: &Account, pod_uid: Option<&str>) -> Result<(), Refused> {
    let deny = |why: &str| Err(Refused::denied(Some(format!("role {name:?}: {why}"))));
    let fits = |patterns: &[String], text: &str| patterns.iter().any(|pattern| glob(pattern, text));
    if !fits(&role.namespaces, &account.namespace) {
        return deny("namespace not authorized");
    }
    if !fits(&role.names, &account.name) {
        return deny("service account name not authorized");
    }
    if role.require_pod && pod_uid.is_none() {
        return deny("the token is not bound to a pod, which this role requires (require_pod)");
    }
    Ok(())
}

fn refused(error: Error) -> Refused {
    tracing::info!(%error, "a login with a ServiceAccount token was refused");
    match error.class() {
        Class::Retry => Refused::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        _ => error.into(),
    }
}

/// `*` stands for any text, anywhere.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Fields {
        Fields(object(value))
    }

    #[test]
    fn globs_stand_for_any_text() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("*", "web", true),
            ("web", "web", true),
            ("web", "webs", false),
            ("web-*", "web-1", true),
            ("web-*", "web", false),
            ("*-web", "a-web", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), expect, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_role_says_for_whom_it_is() {
        let full = json!({
            "audience": "homelab", "bound_service_account_names": "web,api-*", "bound_service_account_namespaces": ["web"],
            "token_policies": "B,a", "ttl": "20m",
        });
        let (role, warnings) = change(Role::default(), &fields(full.clone()), false).unwrap();
        assert!(
            warnings.is_empty() && !role.require_pod && role.token.policies == ["a", "b"] && role.token.ttl == 1200
        );
        let may = |namespace: &str, name: &str, pod| admits(&role, "r", &Account::new(namespace, name), pod).is_ok();
        assert!(
            may("web", "web", None) && may("web", "api-2", None) && !may("web", "db", None) && !may("db", "web", None)
        );
        let (agent, _) = change(Role::default(), &fields(full.clone()), true).unwrap();
        let account = Account::new("web", "web");
        assert!(admits(&agent, "r", &account, None).is_err() && admits(&agent, "r", &account, Some("uid")).is_ok());

        let without = |field: &str| {
            let mut map = object(full.clone());
            map.remove(field);
            change(Role::default(), &Fields(map), false).is_err()
        };
        assert!(
            without("audience")
                && without("bound_service_account_names")
                && without("bound_service_account_namespaces")
        );
        let own = fields(json!({"audience": "https://kubernetes.default.svc.cluster.local"}));
        let (changed, warnings) = change(role.clone(), &own, false).unwrap();
        assert!(warnings[0].contains("API server's own") && changed.names == role.names);
        for wrong in [
            json!({"token_policies": ["root"]}),
            json!({"ttl": "2h", "max_ttl": "1h"}),
            json!({"token_bound_cidrs": ["::/0"]}),
            json!({"token_type": "batch"}),
        ] {
            assert!(change(role.clone(), &fields(wrong), false).is_err());
        }
    }
}
