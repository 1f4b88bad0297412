//! `homelab secrets policy test`: who may do what, and why.

use anyhow::{Context as _, Result, bail};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::args::{Global, PathForm, PolicyCommand, PolicyTest};
use crate::cli::kv::Client;
use crate::cli::output::{self, Table};

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;
const PATH: &str = "sys/homelab/policy/test";

/// What the server says.
#[derive(Debug, Deserialize)]
struct Said {
    who: String,
    path: String,
    policies: Vec<String>,
    #[serde(default)]
    missing_policies: Vec<String>,
    results: Vec<One>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
struct One {
    capability: String,
    allowed: bool,
    needs: String,
    api_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    why: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Secret {
    path: String,
    capability: String,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    who: &'a str,
    path: &'a str,
    policies: &'a [String],
    results: &'a [One],
}

pub(super) async fn run(global: &Global, command: PolicyCommand) -> Result<()> {
    let PolicyCommand::Test(args) = command;
    let question = question(&args)?;
    let client = Client::connect(global, &args.server).await?;
    let answer = client.call(Method::POST, PATH, Some(&question), "test the policies").await?;
    let said = Said::deserialize(&answer["data"]).context("test the policies: the answer can not be read")?;
    said.missing_policies.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    match args.output.format {
        Some(format) => {
            let Said { who, path, policies, results, .. } = &said;
            output::data(&Shown { format: FORMAT, who, path, policies, results }, format)?;
        }
        None => {
            output::note(&who(&said));
            table(&said).print("nothing was asked for")?;
        }
    }
    let refused: Vec<_> = said.results.iter().filter(|one| !one.allowed).map(|one| one.capability.as_str()).collect();
    if !args.capabilities.is_empty() && !refused.is_empty() {
        bail!("{} may not {} {}", said.who, refused.join(", "), said.path);
    }
    Ok(())
}

/// The body of the request.
fn question(args: &PolicyTest) -> Result<Value> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.into(), value);
    let (kind, name) = args.who.split_once(':').unwrap_or(("", &args.who));
    let field = match kind {
        "" if name == "me" => None,
        "" if name.contains('/') => Some("service_account"),
        "serviceaccount" => Some("service_account"),
        "user" | "approle" | "accessor" | "token" => Some(kind),
        _ => bail!(
            "`{}` names nobody: write NAMESPACE/NAME of a ServiceAccount, user:NAME, approle:ROLE, accessor:ACCESSOR, \
             token:NAME or me",
            args.who
        ),
    };
    if let Some(field) = field {
        set(field, name.into());
    }
    set("path", args.path.as_str().into());
    for (name, values) in [("capabilities", &args.capabilities), ("groups", &args.groups), ("policies", &args.policies)]
    {
        if !values.is_empty() {
            set(name, values.clone().into());
        }
    }
    match (&args.role, kind) {
        (Some(role), _) => set("role", role.as_str().into()),
        // What logs in by an AppRole has the policies of that role.
        (None, "approle") if args.policies.is_empty() => set("role", format!("approle/{name}").into()),
        _ => None,
    };
    if let Some(form) = args.form {
        set("form", if form == PathForm::Api { "api" } else { "logical" }.into());
    }
    Ok(Value::Object(body))
}

fn who(said: &Said) -> String {
    match said.policies.as_slice() {
        [] => said.who.clone(),
        some => format!("{}, whose token names the policies {}", said.who, some.join(", ")),
    }
}

fn table(said: &Said) -> Table {
    let mut table = Table::new(["CAPABILITY", "ALLOWED", "API PATH", "SECRET", "WHY"]);
    for one in &said.results {
        let secret = one.secret.as_ref().map_or_else(|| "-".into(), |s| format!("{} {}", s.capability, s.path));
        let api = format!("{} {}", one.needs, one.api_path);
        let allowed = output::state(if one.allowed { "yes" } else { "no" }, Some(one.allowed));
        table.row([one.capability.clone(), allowed, api, secret, one.why.clone()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::args::{Args, Command, Secrets};

    fn asked(flags: &[&str]) -> Result<Value> {
        let args = Args::try_parse_from(["homelab", "secrets", "policy", "test"].iter().chain(flags)).expect("flags");
        let Command::Secrets(Secrets::Policy(PolicyCommand::Test(test))) = args.command else {
            unreachable!("it is a test of policies")
        };
        question(&test)
    }

    #[test]
    fn questions_name_who_and_what() {
        let asked = |flags: &[&str]| asked(flags).expect("a question");
        assert_eq!(asked(&["me", "kv/a"]), json!({ "path": "kv/a" }));
        assert_eq!(
            asked(&["web/api", "kv/web/db", "read", "update"]),
            json!({ "service_account": "web/api", "path": "kv/web/db", "capabilities": ["read", "update"] })
        );
        assert_eq!(
            asked(&["user:anna", "kv/a", "--group", "g", "--group", "h", "--form", "api"]),
            json!({ "user": "anna", "groups": ["g", "h"], "path": "kv/a", "form": "api" })
        );
        assert_eq!(asked(&["approle:ci", "kv/a"]), json!({ "approle": "ci", "role": "approle/ci", "path": "kv/a" }));
        assert_eq!(
            asked(&["token:t", "kv/a", "--policy", "own", "--role", "jwt/me"]),
            json!({ "token": "t", "policies": ["own"], "role": "jwt/me", "path": "kv/a" })
        );
    }

    #[test]
    fn nobody_is_named_by_a_bare_word() {
        let error = asked(&["anna", "kv/a"]).expect_err("nobody").to_string();
        assert!(error.starts_with("`anna` names nobody: write NAMESPACE/NAME"), "{error}");
    }

    #[test]
    fn answers_are_a_table() {
        let said: Said = serde_json::from_value(json!({
            "who": "serviceaccount web/api", "path": "kv/web/db", "policies": ["default"],
            "results": [
                { "capability": "read", "allowed": true, "needs": "read", "api_path": "kv/data/web/db",
                  "secret": { "path": "kv/web/db", "capability": "read" },
                  "why": "allowed by SecretPolicy.homelab.dev web/app rule 0" },
                { "capability": "sudo", "allowed": false, "needs": "update", "api_path": "kv/destroy/web/db",
                  "secret": { "path": "kv/web/db", "capability": "sudo" }, "why": "no policy names it" },
                { "capability": "list", "allowed": false, "needs": "list", "api_path": "sys/mounts/", "why": "no rule" },
            ],
        }))
        .expect("an answer");
        assert_eq!(who(&said), "serviceaccount web/api, whose token names the policies default");
        insta::assert_snapshot!(table(&said).text(), @r"
        CAPABILITY  ALLOWED  API PATH                  SECRET          WHY
        read        yes      read kv/data/web/db       read kv/web/db  allowed by SecretPolicy.homelab.dev web/app rule 0
        sudo        no       update kv/destroy/web/db  sudo kv/web/db  no policy names it
        list        no       list sys/mounts/          -               no rule
        ");
    }
}
