//! `sys/policies/acl…`, and `sys/policy…` as older clients call it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ServerState;
use super::answer::{Answer, Refused, done, object};
use super::request::{Asked, Caller, Op};
use crate::Error;
use crate::policy::AclSet;
use crate::policy::acl::{AclPolicy, DEFAULT, DEFAULT_TEXT, ROOT};
use crate::store::SecretStore;

/// Kind of the documents.
const KIND: &str = "policy";
const MAX_NAME: usize = 128;

/// A policy as it lies in the store.
#[derive(Serialize, Deserialize)]
struct Record {
    text: String,
    version: u64,
    modified: Timestamp,
}

/// All policies of the store. One that can not be read any more is left out, and so gives nothing.
pub(super) async fn load(store: &SecretStore) -> Result<AclSet, Error> {
    let mut set = AclSet::default();
    let parsed = |name: &str, text: &str| AclPolicy::parse(name, text);
    if let Ok(policy) = parsed(DEFAULT, DEFAULT_TEXT) {
        set.insert(policy);
    }
    for (name, record) in store.documents::<Record>(KIND).await? {
        match parsed(&name, &record.text) {
            Ok(policy) => set.insert(policy),
            Err(error) => {
                tracing::error!(policy = name, %error, "a policy of the store can not be read and gives nothing");
                set.remove(&name);
            }
        }
    }
    Ok(set)
}

/// LIST, and GET by the old path.
pub(super) fn all(state: &ServerState, caller: &Caller, asked: &Asked, old: bool) -> Answer {
    state.allow_system(caller, asked, false)?;
    let mut names: Vec<String> = state.0.policy.acl.current().names().map(str::to_owned).collect();
    names.push(ROOT.into());
    match (asked.op, old) {
        (Op::List, false) => state.answer(json!({ "keys": names })),
        (Op::List | Op::Read, true) => state.answer_sys(object(json!({ "keys": names, "policies": names }))),
        (Op::Read, false) => state.answer(json!({ "keys": names, "policies": names })),
        _ => Err(Refused::unsupported()),
    }
}

pub(super) async fn one(state: &ServerState, caller: &Caller, asked: &mut Asked, (name, old): (&str, bool)) -> Answer {
    state.allow_system(caller, asked, false)?;
    let name = name.to_lowercase();
    match asked.op {
        Op::Read => read(state, &name, old).await,
        Op::Write => write(state, asked, &name).await,
        Op::Delete => remove(state, &name).await,
        _ => Err(Refused::unsupported()),
    }
}

async fn read(state: &ServerState, name: &str, old: bool) -> Answer {
    let record = state.document::<Record>(KIND, name).await?;
    let (text, version, modified) = match (record, name) {
        (Some(record), _) => (record.text, record.version, Some(record.modified)),
        (None, ROOT) => (String::new(), 0, None),
        (None, DEFAULT) => (DEFAULT_TEXT.into(), 0, None),
        (None, _) => return Err(Refused::not_found()),
    };
    let mut data = object(json!({ "name": name, "version": version, "cas_required": false }));
    if let Some(modified) = modified {
        data.insert("modified".into(), modified.to_string().into());
    }
    data.insert(if old { "rules" } else { "policy" }.into(), text.into());
    if old { state.answer_sys(data) } else { state.answer(data) }
}

async fn write(state: &ServerState, asked: &mut Asked, name: &str) -> Answer {
    let fields = asked.fields().await?;
    if name == ROOT {
        return Err(Refused::invalid("cannot update \"root\" policy"));
    }
    check_name(name)?;
    let text = fields.text("policy")?.or(fields.text("rules")?).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Refused::invalid("'policy' parameter not supplied or empty"))?;
    let policy = AclPolicy::parse(name, &text).map_err(|error| Refused::invalid(error.to_string()))?;
    let modified = state.0.host.now();
    let change = |old: Option<Record>| {
        let version = old.map_or(0, |old| old.version) + 1;
        Ok(Some(Record { text: text.clone(), version, modified }))
    };
    state.0.store.update_document(KIND, name, change).await?;
    state.change_acl(|set| set.insert(policy.clone()));
    done()
}

async fn remove(state: &ServerState, name: &str) -> Answer {
    match name {
        ROOT => return Err(Refused::invalid("cannot delete \"root\" policy")),
        DEFAULT => return Err(Refused::invalid("cannot delete default policy")),
        _ => {}
    }
    state.0.store.delete_document(KIND, name).await?;
    state.change_acl(|set| set.remove(name));
    done()
}

fn check_name(name: &str) -> Result<(), Refused> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | ' ');
    if name.len() <= MAX_NAME && name.chars().all(fits) {
        return Ok(());
    }
    Err(Refused::invalid("a policy is named by 1 to 128 of a-z, 0-9, `-`, `_`, `.`, `/` and `:`"))
}

impl ServerState {
    /// Puts changed policies in force. Writers of one process take turns, so that none is lost.
    fn change_acl(&self, change: impl Fn(&mut AclSet)) {
        self.0.policy.acl.update(change);
    }

    /// Warnings for policies that are not there: a token may name them before they are written.
    pub(super) fn missing_policies(&self, names: &[String]) -> Vec<String> {
        let known = self.0.policy.acl.current();
        let missing = names.iter().filter(|name| name.as_str() != ROOT && known.get(name).is_none());
        missing.map(|name| format!("Policy {name:?} does not exist")).collect()
    }
}

/// Names of policies as they are compared: lowercase, sorted, once each.
pub(super) fn tidy(names: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(|name| name.trim().to_lowercase()).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}
