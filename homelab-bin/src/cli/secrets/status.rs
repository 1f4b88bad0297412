//! `homelab secrets status`, `where` and `slots list`: how the store is.

use anyhow::{Context as _, Result, bail};
use homelab_secrets::keys::ForAge;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{Global, Output, Server};
use crate::cli::kv::Client;
use crate::cli::output::{self, Table};
use crate::cli::watch::watch;

/// Version of what `-o json` prints.
const FORMAT: u32 = 1;
const KEYS: &str = "sys/homelab/keys";

/// What the server says of its store.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Keys {
    pub(super) sealed: bool,
    pub(super) opens_alone: bool,
    pub(super) slots: Vec<Slot>,
    pub(super) epoch: u64,
    /// Epochs whose keys are kept.
    pub(super) epochs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch_made: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resealing: Option<Resealing>,
    rollback: Rollback,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase"))]
pub(super) struct Slot {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) opens_alone: bool,
    /// When its key was last seen to open a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proved: Option<String>,
    /// Its key, sealed for age identities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) age: Option<ForAge>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Resealing {
    pub(super) epoch: u64,
    pub(super) total: u64,
    pub(super) done: u64,
    pub(super) stuck: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rollback {
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<u64>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    backend: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<String>,
    safety: String,
}

impl Keys {
    pub(super) async fn of(client: &Client) -> Result<Self> {
        let action = "look at the store";
        let mut answer = client.call(Method::GET, KEYS, None, action).await?;
        serde_json::from_value(answer["data"].take()).with_context(|| format!("{action}: the answer can not be read"))
    }
}

/// What `status` prints for a program.
#[derive(Serialize)]
struct Shown<'a> {
    format: u32,
    sealed: bool,
    #[serde(flatten)]
    keys: Option<&'a Keys>,
}

pub(super) async fn status(global: &Global, server: &Server, again: bool, out: Output) -> Result<()> {
    watch(again, async || {
        let keys = look(global, server).await?;
        match out.format {
            Some(format) => {
                let sealed = keys.as_ref().is_none_or(|keys| keys.sealed);
                let shown = serde_json::to_value(Shown { format: FORMAT, sealed, keys: keys.as_ref() });
                output::rendered(&shown.context("write JSON")?, format)
            }
            None => Ok(keys.as_ref().map_or_else(sealed_text, text)),
        }
    })
    .await
}

/// None: it is sealed, so nobody can log in.
async fn look(global: &Global, server: &Server) -> Result<Option<Keys>> {
    let answer = Client::find(global, server).await?;
    let seal = answer.call(Method::GET, "sys/seal-status", None, "look at the seal").await?;
    if seal["initialized"] == Value::Bool(false) {
        bail!("the store has no keys yet: the program that serves it makes them at its first start");
    }
    if seal["sealed"] == Value::Bool(true) {
        return Ok(None);
    }
    drop(answer);
    Keys::of(&Client::connect(global, server).await?).await.map(Some)
}

fn sealed_text() -> String {
    "sealed: nothing can be read or written until `homelab secrets unseal`\n".to_owned()
}

fn text(keys: &Keys) -> String {
    let made = keys.epoch_made.as_deref().map_or_else(String::new, |at| format!(", begun {at}"));
    let mut lines = vec![format!("open; epoch {}{made}", keys.epoch)];
    lines.extend(keys.resealing.as_ref().map(Resealing::text));
    lines.push(keys.rollback.text());
    lines.extend(keys.place.as_ref().map(|place| place.safety.clone()));
    if !keys.opens_alone {
        lines.push("no slot opens by itself: after the server's next start the store is sealed".into());
    }
    format!("{}\n{}", lines.join("\n"), slots(keys).text())
}

impl Resealing {
    pub(super) fn text(&self) -> String {
        let Self { epoch, total, done, stuck, stopped } = self;
        let mut text = format!("{done} of {total} old records are sealed anew for epoch {epoch}");
        if *stuck > 0 {
            text.push_str(&format!("; {stuck} do not open, so the old keys stay: restore these records from a backup"));
        }
        if let Some(why) = stopped {
            text.push_str(&format!("; stopped, goes on after the next start: {why}"));
        }
        text
    }
}

impl Rollback {
    fn text(&self) -> String {
        let number = |number: Option<u64>| number.map_or_else(|| "?".into(), |n| n.to_string());
        match self.state.as_str() {
            "fresh" => "as new as the copy of its head".into(),
            "unwatched" => "nobody keeps a copy of its head: a store that is put back is not noticed".into(),
            "unknown" => {
                let why = self.why.as_deref().unwrap_or("not known why");
                format!("the copy of its head can not be read, so nothing is written: {why}")
            }
            "rolled_back" => format!(
                "PUT BACK to an earlier state: it stands at {}, the copy of its head at {}. Reads go on, nothing is \
                 written. See where it comes from, then say `homelab secrets accept-rollback`",
                number(self.store),
                number(self.copy)
            ),
            "other_store" => {
                "ANOTHER STORE than the copy of its head is of. Reads go on, nothing is written. See where it \
                              comes from, then say `homelab secrets accept-rollback`"
                    .into()
            }
            other => format!("its head: {other}"),
        }
    }
}

fn slots(keys: &Keys) -> Table {
    let mut table = Table::new(["SLOT", "KIND", "OPENS", "OPENED A BACKUP"]);
    for slot in &keys.slots {
        let opens = if slot.opens_alone { "by itself" } else { "by a person" };
        table.row([slot.id.as_str(), slot.kind.as_str(), opens, slot.proved.as_deref().unwrap_or("never seen")]);
    }
    table
}

pub(super) async fn list_slots(global: &Global, server: &Server, out: Output) -> Result<()> {
    let keys = Keys::of(&Client::connect(global, server).await?).await?;
    match out.format {
        Some(format) => output::data(&serde_json::json!({ "format": FORMAT, "slots": keys.slots }), format),
        None => slots(&keys).print("the store has no slots"),
    }
}

pub(super) async fn places(global: &Global, server: &Server, out: Output) -> Result<()> {
    let keys = Keys::of(&Client::connect(global, server).await?).await?;
    let place = keys.place.context("the server does not say where its store is")?;
    if let Some(format) = out.format {
        let shown = serde_json::json!({ "format": FORMAT, "place": place });
        return output::data(&shown, format);
    }
    place.table().print("nothing is known")?;
    output::note(&place.safety);
    Ok(())
}

impl Place {
    fn table(&self) -> Table {
        let mut table = Table::new(["WHAT", "WHERE"]);
        let none = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        table.row(["store".to_owned(), format!("{} ({})", self.at, self.backend)]);
        table.row(["key".to_owned(), none(&self.key, "none: a person opens it")]);
        table
            .row(["copy of its head".to_owned(), none(&self.witness, "none: a store that is put back is not noticed")]);
        table.row(["audit log".to_owned(), none(&self.audit, "none")]);
        table
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(change: impl FnOnce(&mut Value)) -> Keys {
        let mut value = json!({
            "initialized": true, "sealed": false, "opens_alone": true, "epoch": 2, "epochs": 1,
            "epoch_made": "2026-11-23T12:00:00Z", "resealing": null, "rollback": { "state": "fresh" },
            "slots": [
                { "id": "00112233445566778899aabbccddeeff", "kind": "key file", "opens_alone": true },
                { "id": "ffeeddccbbaa99887766554433221100", "kind": "passphrase", "opens_alone": false },
            ],
            "place": { "backend": "embedded", "at": "/d/store.redb", "key": "/k/store.key", "witness": null,
                "audit": "/d/audit", "safety": "the key is kept apart from the store: who has only the store reads nothing" },
        });
        change(&mut value);
        serde_json::from_value(value).expect("what the server says")
    }

    #[test]
    fn a_store_is_told_to_people() {
        insta::assert_snapshot!(text(&keys(|_| ())));
        let moving = keys(|value| {
            value["resealing"] = json!({ "epoch": 2, "total": 9, "done": 4, "stuck": 1, "stopped": "a full disk" });
            value["rollback"] = json!({ "state": "rolled_back", "store": 7, "copy": 9 });
            value["opens_alone"] = false.into();
            value["place"] = Value::Null;
            value["slots"] = json!([]);
        });
        insta::assert_snapshot!("being_rotated_and_put_back", text(&moving));
    }

    #[test]
    fn places_are_a_table() {
        insta::assert_snapshot!(keys(|_| ()).place.expect("a place").table().text());
    }

    #[test]
    fn programs_get_camel_case() {
        let shown = serde_json::to_value(Shown { format: FORMAT, sealed: false, keys: Some(&keys(|_| ())) });
        let shown = shown.expect("JSON");
        assert_eq!(
            (&shown["epochMade"], &shown["slots"][0]["opensAlone"]),
            (&json!("2026-11-23T12:00:00Z"), &json!(true))
        );
        let sealed = serde_json::to_value(Shown { format: FORMAT, sealed: true, keys: None }).expect("JSON");
        assert_eq!(sealed, json!({ "format": 1, "sealed": true }));
    }
}
