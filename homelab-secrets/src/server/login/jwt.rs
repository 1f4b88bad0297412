//! `auth/jwt`: with a token that an issuer (OIDC provider, CI system) has signed.
//!
//! Keys are given (`jwks`, `jwt_validation_pubkeys`), or fetched (`jwks_url`, `oidc_discovery_url`) and remembered for a
//! while.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::issuer::IssuerKeys;
use super::kubernetes::glob;
use super::{Passed, TokenParams, Who, stored};
use crate::Error;
use crate::policy::Identity;
use crate::server::ServerState;
use crate::server::answer::{Answer, Refused, done, object};
use crate::server::fields::Fields;
use crate::server::jwt::{self, Claims, Key};
use crate::server::request::{Asked, Op};

/// Kind of the documents that roles are.
pub(super) const ROLE: &str = "jwt-role";
/// Kind and name of the document with the settings.
const CONFIG: (&str, &str) = ("jwt", "config");

/// Where keys come from, as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    pems: Vec<String>,
    jwks: Option<Value>,
    jwks_url: String,
    discovery_url: String,
    ca_pem: String,
    bound_issuer: String,
    default_role: String,
}

/// A role as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    user_claim: String,
    groups_claim: String,
    audiences: Vec<String>,
    subject: String,
    claims: BTreeMap<String, Vec<String>>,
    globs: bool,
    mappings: BTreeMap<String, String>,
    token: TokenParams,
}

pub(super) async fn config(state: &ServerState, asked: &mut Asked) -> Answer {
    match asked.op {
        Op::Read => {
            let config = state.document::<Config>(CONFIG.0, CONFIG.1).await?.ok_or_else(Refused::not_found)?;
            state.answer(json!({
                "jwt_validation_pubkeys": config.pems, "jwks": config.jwks, "jwks_url": config.jwks_url,
                "jwks_ca_pem": config.ca_pem, "oidc_discovery_url": config.discovery_url,
                "oidc_discovery_ca_pem": config.ca_pem, "bound_issuer": config.bound_issuer,
                "default_role": config.default_role, "jwt_supported_algs": [],
            }))
        }
        Op::Write => {
            let config = settings(&asked.fields().await?)?;
            // A wrong address is said now, not at the first login.
            if !config.jwks_url.is_empty() || !config.discovery_url.is_empty() {
                let fetched = fetch(state, &config)
                    .await
                    .map_err(|error| Refused::invalid(format!("error checking the address of the keys: {error}")))?;
                state.0.jwt_keys.set(config.source(), state.0.host.now().as_second(), fetched).await;
            }
            state.put_document(CONFIG.0, CONFIG.1, &config).await?;
            done()
        }
        _ => Err(Refused::unsupported()),
    }
}

fn settings(fields: &Fields) -> Result<Config, Refused> {
    fields.refuse(&["oidc_client_id", "oidc_client_secret", "provider_config", "jwks_pairs", "jwt_supported_algs"])?;
    let text = |name: &str| Ok::<_, Refused>(fields.text(name)?.unwrap_or_default());
    let pems = match fields.value("jwt_validation_pubkeys") {
        Some(Value::Array(_)) => fields.texts("jwt_validation_pubkeys")?.unwrap_or_default(),
        _ => fields.text("jwt_validation_pubkeys")?.into_iter().collect(),
    };
    let jwks = match fields.value("jwks") {
        Some(Value::String(text)) => Some(serde_json::from_str(text).map_err(|_| Refused::invalid("jwks is no JSON"))?),
        other => other.cloned(),
    };
    let (jwks_url, discovery_url) = (text("jwks_url")?, text("oidc_discovery_url")?);
    let given = [!pems.is_empty(), jwks.is_some(), !jwks_url.is_empty(), !discovery_url.is_empty()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Refused::invalid(
            "exactly one of 'jwt_validation_pubkeys', 'jwks', 'jwks_url' or 'oidc_discovery_url' must be set",
        ));
    }
    let ca_pem = [text("jwks_ca_pem")?, text("oidc_discovery_ca_pem")?].concat();
    let (bound_issuer, default_role) = (text("bound_issuer")?, text("default_role")?);
    let config = Config { pems, jwks, jwks_url, discovery_url, ca_pem, bound_issuer, default_role };
    given_keys(&config)?;
    Ok(config)
}

/// Keys that stand in the settings themselves.
fn given_keys(config: &Config) -> Result<Vec<Key>, Refused> {
    let none = "data does not contain any valid public keys: RSA, EC (P-256, P-384) or Ed25519";
    let wrong = |what: &str| Refused::invalid(format!("error parsing {what}: {none}"));
    if let Some(jwks) = &config.jwks {
        return Key::set(jwks.to_string().as_bytes()).ok_or_else(|| wrong("jwks"));
    }
    config.pems.iter().map(|pem| Key::pem(pem).ok_or_else(|| wrong("public key"))).collect()
}

async fn fetch(state: &ServerState, config: &Config) -> Result<IssuerKeys, Error> {
    let fetcher = state.0.options.fetch.as_ref().ok_or_else(|| {
        Error::Invalid("this server fetches nothing: give the keys themselves (jwks or jwt_validation_pubkeys)".into())
    })?;
    let ca = Some(config.ca_pem.as_str()).filter(|ca| !ca.is_empty());
    let (url, issuer) = if config.jwks_url.is_empty() {
        #[derive(Deserialize)]
        struct Discovered {
            issuer: String,
            jwks_uri: String,
        }
        let base = config.discovery_url.trim_end_matches('/');
        let found = fetcher.get(&format!("{base}/.well-known/openid-configuration"), ca).await?;
        let found: Discovered = serde_json::from_slice(&found)
            .map_err(|_| Error::Invalid(format!("{base} has no OIDC discovery document")))?;
        if found.issuer.trim_end_matches('/') != base {
            let said = found.issuer;
            return Err(Error::Invalid(format!(
                "{base} says that its issuer is {said:?}: use that as oidc_discovery_url"
            )));
        }
        (found.jwks_uri, Some(found.issuer))
    } else {
        (config.jwks_url.clone(), None)
    };
    let keys = fetcher.get(&url, ca).await?;
    let keys = Key::set(&keys).ok_or_else(|| Error::Invalid(format!("{url} has no public key that can be used")))?;
    Ok(IssuerKeys { issuer, keys })
}

impl Config {
    /// What fetched keys belong to.
    fn source(&self) -> String {
        format!("{} {}", self.jwks_url, self.discovery_url)
    }
}

/// The keys to check `token` with, and the issuer that they speak for.
async fn keys(state: &ServerState, config: &Config, token: &str) -> Result<IssuerKeys, Refused> {
    if config.jwks_url.is_empty() && config.discovery_url.is_empty() {
        return Ok(IssuerKeys { issuer: None, keys: given_keys(config)? });
    }
    let now = state.0.host.now().as_second();
    state.0.jwt_keys.of_token(config.source(), (token, now), fetch(state, config)).await
}

pub(super) async fn role(state: &ServerState, asked: &mut Asked, name: &str) -> Answer {
    stored(state, asked, (ROLE, name), describe, change).await
}

fn describe(role: &Role) -> Map<String, Value> {
    let mut data = role.token.describe();
    data.extend(object(json!({
        "role_type": "jwt", "user_claim": role.user_claim, "groups_claim": role.groups_claim,
        "bound_audiences": role.audiences, "bound_subject": role.subject, "bound_claims": role.claims,
        "bound_claims_type": if role.globs { "glob" } else { "string" }, "claim_mappings": role.mappings,
    })));
    data
}

fn change(role: Role, fields: &Fields) -> Result<(Role, Vec<String>), Refused> {
    fields.refuse(&[
        "allowed_redirect_uris",
        "oidc_scopes",
        "token_policies_template_claims",
        "user_claim_json_pointer",
    ])?;
    if fields.text("role_type")?.is_some_and(|kind| kind != "jwt") {
        return Err(Refused::invalid("role_type has to be jwt: this server does not redirect browsers"));
    }
    let bound = match fields.value("bound_claims") {
        None => role.claims,
        Some(Value::Object(map)) => map.iter().map(|(name, value)| (name.clone(), jwt::texts(value))).collect(),
        Some(_) => return Err(Refused::invalid("bound_claims is an object of texts or lists of texts")),
    };
    let changed = Role {
        user_claim: fields.text("user_claim")?.unwrap_or(role.user_claim),
        groups_claim: fields.text("groups_claim")?.unwrap_or(role.groups_claim),
        audiences: fields.texts("bound_audiences")?.unwrap_or(role.audiences),
        subject: fields.text("bound_subject")?.unwrap_or(role.subject),
        claims: bound,
        globs: fields.text("bound_claims_type")?.map_or(role.globs, |kind| kind == "glob"),
        mappings: fields.words("claim_mappings")?.unwrap_or(role.mappings),
        token: role.token.change(fields)?,
    };
    if changed.user_claim.is_empty() {
        return Err(Refused::invalid("a user claim must be defined on the role"));
    }
    if changed.audiences.is_empty() && changed.subject.is_empty() && changed.claims.is_empty() {
        return Err(Refused::invalid("must have at least one bound constraint when creating/updating a role"));
    }
    Ok((changed, Vec::new()))
}

pub(super) async fn login(state: &ServerState, fields: &Fields) -> Result<Passed, Refused> {
    let config = state.document::<Config>(CONFIG.0, CONFIG.1).await?;
    let config = config.ok_or_else(|| Refused::invalid("could not load configuration: write auth/jwt/config first"))?;
    let name = fields.text("role")?.filter(|name| !name.is_empty()).unwrap_or_else(|| config.default_role.clone());
    if name.is_empty() {
        return Err(Refused::invalid("missing role"));
    }
    super::check_role_name(&name)?;
    let role = state.document::<Role>(ROLE, &name).await?;
    let role = role.ok_or_else(|| Refused::invalid(format!("role {name:?} could not be found")))?;
    let token = Zeroizing::new(fields.need("jwt")?);
    let IssuerKeys { keys, issuer } = keys(state, &config, &token).await?;
    let wrong = |why: &str| Refused::invalid(format!("error validating token: {why}"));
    let claims = jwt::verify(&token, &keys, state.0.host.now()).map_err(wrong)?;
    let issuer = Some(config.bound_issuer.clone()).filter(|bound| !bound.is_empty()).or(issuer);
    admits(&role, &claims, issuer.as_deref()).map_err(|why| wrong(&why))?;
    let (user, groups) = person(&role, &claims).map_err(|why| wrong(&why))?;
    let mut meta = BTreeMap::from([("role".to_owned(), name)]);
    for (claim, word) in &role.mappings {
        let said = jwt::claim(&claims, claim).map(jwt::texts).and_then(|texts| texts.into_iter().next());
        meta.extend(said.map(|said| (word.clone(), said)));
    }
    let who = Who {
        display_name: format!("jwt-{user}"),
        identity: Identity::User { name: user, groups },
        path: "auth/jwt/login",
        meta,
        ends: None,
        proof: None,
    };
    Ok(Passed { new: role.token.token(who, state.0.host.now()), warnings: Vec::new() })
}

fn admits(role: &Role, claims: &Claims, issuer: Option<&str>) -> Result<(), String> {
    let said = |name: &str| jwt::claim(claims, name).map(jwt::texts).unwrap_or_default();
    if issuer.is_some_and(|issuer| said("iss") != [issuer]) {
        return Err("it is of another issuer".into());
    }
    let audiences = said("aud");
    if role.audiences.is_empty() && !audiences.is_empty() {
        return Err("audience claim found in JWT but no audiences bound to the role".into());
    }
    if !role.audiences.is_empty() && !role.audiences.iter().any(|ours| audiences.contains(ours)) {
        return Err("it is made for another audience".into());
    }
    if !role.subject.is_empty() && said("sub") != [role.subject.as_str()] {
        return Err("it is of another subject".into());
    }
    for (name, wanted) in &role.claims {
        let fits = |said: &String| wanted.iter().any(|want| if role.globs { glob(want, said) } else { want == said });
        if !said(name).iter().any(fits) {
            return Err(format!("claim {name:?} does not match what the role asks for"));
        }
    }
    Ok(())
}

/// Name and groups. What only Kubernetes may say of somebody, an issuer can not say.
fn person(role: &Role, claims: &Claims) -> Result<(String, Vec<String>), String> {
    let texts = |name: &str| jwt::claim(claims, name).map(jwt::texts).unwrap_or_default();
    let Some(user) = texts(&role.user_claim).into_iter().next().filter(|user| !user.is_empty()) else {
        return Err(format!("claim {:?} not found in token", role.user_claim));
    };
    let mut groups = if role.groups_claim.is_empty() { Vec::new() } else { texts(&role.groups_claim) };
    groups.retain(|group| !group.is_empty() && !group.starts_with("system:"));
    if user.starts_with("system:") || user.len() > 256 || user.chars().any(char::is_control) {
        return Err(format!("claim {:?} is no name of a person", role.user_claim));
    }
    Ok((user, groups))
}
