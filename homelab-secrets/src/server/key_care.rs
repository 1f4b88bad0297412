//! Care of the store's keys, while it is in use:
//!
//! - `sys/rotate`, `sys/rotate/keyring` (POST): a new epoch, as Vault's; `sys/key-status` (GET);
//! - `sys/homelab/keys` (GET): how things stand, with the progress of sealing old records anew;
//! - `sys/homelab/keys/slots` (POST `kind`, `key`, `replaces`; for `age` also `recipients`, and the key's text as an age
//!   file in base64, `sealed`): a way to open the store; `…/slots/ID` (DELETE); `…/slots/ID/proved` (POST): its key opened a
//!   backup;
//! - `sys/homelab/keys/rotate-root` (POST `keys`, what opens each slot): a new root key;
//! - `sys/homelab/accept-rollback` (POST): go on with a store that was put back.
//!
//! Vault's `sys/rekey` and `sys/rotate/root` deal in shares of an unseal key, which there are none of here. Keys come in
//! bodies, made by who sends them; no answer holds one.

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::ServerState;
use super::answer::{Answer, Refused, done, object};
use super::request::{Asked, Caller, Op};
use crate::Error;
use crate::head::Standing;
use crate::keys::{ForAge, KeyId, RecoveryKey, SlotKey, Unlock};
use crate::store::{Progress, SealStatus, SlotInfo, Witnessed};

/// Slots at most are 8; a request with more keys is none.
const MAX_KEYS: usize = 16;

/// `sys/rotate`
pub(super) async fn rotate(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    allow(state, caller, asked, Op::Write)?;
    let epoch = state.0.store.rotate().await?;
    tracing::warn!(who = %caller.session.identity, epoch, "the store has a new epoch");
    done()
}

/// `sys/key-status`, as Vault's clients read it. Which records a key has sealed is not counted.
pub(super) async fn key_status(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    allow(state, caller, asked, Op::Read)?;
    let status = state.0.store.status().await?;
    // Go's zero time is what clients take for "not known".
    let made = status.epoch_made.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
    state.answer_sys(object(json!({ "term": status.epoch, "install_time": made })))
}

/// What is below `sys/homelab/keys`.
pub(super) async fn serve(state: &ServerState, caller: &Caller, asked: &mut Asked, rest: &str) -> Answer {
    match rest.split_once('/').unwrap_or((rest, "")) {
        ("", "") => {
            allow(state, caller, asked, Op::Read)?;
            state.answer(described(state, &state.0.store.status().await?))
        }
        ("slots", "") => {
            allow(state, caller, asked, Op::Write)?;
            add_slot(state, caller, asked).await
        }
        ("slots", rest) if let Some(id) = rest.strip_suffix("/proved") => {
            allow(state, caller, asked, Op::Write)?;
            prove_slot(state, caller, id).await
        }
        ("slots", id) if !id.contains('/') => {
            allow(state, caller, asked, Op::Delete)?;
            remove_slot(state, caller, id).await
        }
        ("rotate-root", "") => {
            allow(state, caller, asked, Op::Write)?;
            rotate_root(state, caller, asked).await
        }
        _ => {
            state.allow_care(caller, asked)?;
            Err(Refused::no_path())
        }
    }
}

/// `sys/homelab/accept-rollback`
pub(super) async fn accept_rollback(state: &ServerState, caller: &Caller, asked: &Asked) -> Answer {
    allow(state, caller, asked, Op::Write)?;
    let who = caller.session.identity.to_string();
    state.0.store.accept_rollback(&who).await?;
    tracing::warn!(who, "a store that was put back to an earlier state is accepted");
    done()
}

/// Rights first: who may not gets no word about methods.
fn allow(state: &ServerState, caller: &Caller, asked: &Asked, op: Op) -> Result<(), Refused> {
    state.allow_care(caller, asked)?;
    if asked.op == op { Ok(()) } else { Err(Refused::unsupported()) }
}

async fn add_slot(state: &ServerState, caller: &Caller, asked: &mut Asked) -> Answer {
    let fields = asked.fields().await?;
    let kind = fields.need("kind")?;
    let key = Zeroizing::new(fields.need("key")?);
    let replaces = fields.text("replaces")?.filter(|id| !id.is_empty()).map(|id| slot_id(&id)).transpose()?;
    let unlock = match kind.as_str() {
        "age" => {
            let recipients = fields.texts("recipients")?.unwrap_or_default();
            Unlock::Age(SlotKey::from_file(&key)?, ForAge { recipients, sealed: fields.need("sealed")? })
        }
        kind => of_kind(kind, key)?,
    };
    let store = &state.0.store;
    let id = match replaces {
        Some(old) => told(store.replace_slot(old, unlock).await)?,
        None => told(store.add_slot(unlock).await)?,
    };
    tracing::warn!(who = %caller.session.identity, slot = %id, kind, replaces = ?replaces, "the store has a new slot");
    changed(state, json!({ "id": id })).await
}

async fn remove_slot(state: &ServerState, caller: &Caller, id: &str) -> Answer {
    let id = slot_id(id)?;
    told(state.0.store.remove_slot(id).await)?;
    tracing::warn!(who = %caller.session.identity, slot = %id, "a slot of the store was removed");
    changed(state, json!({ "id": id })).await
}

async fn prove_slot(state: &ServerState, caller: &Caller, id: &str) -> Answer {
    let id = slot_id(id)?;
    told(state.0.store.prove_slot(id).await)?;
    tracing::info!(who = %caller.session.identity, slot = %id, "a slot of the store was seen to open a backup");
    changed(state, json!({ "id": id })).await
}

async fn rotate_root(state: &ServerState, caller: &Caller, asked: &mut Asked) -> Answer {
    let keys = asked.fields().await?.texts_as_sent("keys")?;
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(Refused::invalid(
            "keys is a list of what opens each slot: key files' texts, passphrases, recovery keys",
        ));
    }
    let slots = state.0.store.status().await?.slots;
    let unlocks = keys.into_iter().map(|key| any_kind(key, &slots)).collect();
    state.0.store.rotate_root(unlocks).await?;
    tracing::warn!(who = %caller.session.identity, "the store has a new root key");
    changed(state, json!({})).await
}

/// The answer to a change of slots: what there is now, and what that means for the next start.
async fn changed(state: &ServerState, mut data: Value) -> Answer {
    let status = state.0.store.status().await?;
    data["slots"] = slots(&status.slots);
    if !status.opens_alone() {
        let warning = "no slot is left that a program opens by itself: after its next start the store is sealed";
        data["warnings"] = json!([warning]);
    }
    state.answer(data)
}

fn slot_id(text: &str) -> Result<KeyId, Refused> {
    KeyId::parse(text)
        .ok_or_else(|| Refused::invalid("a slot is named by 32 hex digits: `homelab secrets status` lists them"))
}

/// A slot that is not there is said, unlike a secret.
fn told<T>(result: Result<T, Error>) -> Result<T, Refused> {
    result.map_err(|error| match error {
        Error::NotFound(why) => Refused::invalid(why),
        other => other.into(),
    })
}

fn of_kind(kind: &str, key: Zeroizing<String>) -> Result<Unlock, Error> {
    Ok(match kind {
        "key-file" => Unlock::KeyFile(SlotKey::from_file(&key)?),
        "kubernetes-secret" => Unlock::KubernetesSecret(SlotKey::from_file(&key)?),
        "recovery" => Unlock::Recovery(RecoveryKey::from_text(&key)?),
        "passphrase" => Unlock::Passphrase(key),
        _ => {
            return Err(Error::Invalid("kind is one of key-file, kubernetes-secret, passphrase, recovery, age".into()));
        }
    })
}

/// What a key's text opens, among these slots: the new slot is of the same kind.
fn any_kind(text: Zeroizing<String>, slots: &[SlotInfo]) -> Unlock {
    match SlotKey::from_file(&text) {
        Ok(key) => match slots.iter().find(|slot| slot.id == key.id()) {
            Some(slot) if slot.in_etcd => Unlock::KubernetesSecret(key),
            Some(SlotInfo { age: Some(sealed), .. }) => Unlock::Age(key, sealed.clone()),
            _ => Unlock::KeyFile(key),
        },
        Err(_) => RecoveryKey::from_text(&text).map_or_else(|_| Unlock::Passphrase(text), Unlock::Recovery),
    }
}

fn described(state: &ServerState, status: &SealStatus) -> Value {
    json!({
        "initialized": status.initialized, "sealed": status.sealed, "opens_alone": status.opens_alone(),
        "slots": slots(&status.slots), "epoch": status.epoch, "epochs": status.epochs,
        "epoch_made": status.epoch_made.map(|at| at.to_string()),
        "resealing": status.resealing.as_ref().map(progress), "rollback": rollback(&status.witnessed),
        "place": state.0.options.place.as_ref().map(|place| place.described(&status.slots)),
        "backups": state.0.options.backups.all(),
    })
}

fn slots(slots: &[SlotInfo]) -> Value {
    let slot = |slot: &SlotInfo| {
        let mut found = json!({ "id": slot.id, "kind": slot.kind, "opens_alone": slot.opens_alone });
        if let Some(sealed) = &slot.age {
            found["age"] = json!(sealed);
        }
        if let Some(at) = slot.proved {
            found["proved"] = json!(at.to_string());
        }
        found
    };
    slots.iter().map(slot).collect()
}

fn progress(progress: &Progress) -> Value {
    let Progress { epoch, total, done, stuck, stopped } = progress;
    json!({ "epoch": epoch, "total": total, "done": done, "stuck": stuck, "stopped": stopped })
}

fn rollback(witnessed: &Witnessed) -> Value {
    match witnessed {
        Witnessed::Unwatched => json!({ "state": "unwatched" }),
        Witnessed::Unknown(why) => json!({ "state": "unknown", "why": why }),
        Witnessed::Compared(Standing::Fresh) => json!({ "state": "fresh" }),
        Witnessed::Compared(Standing::RolledBack { store, copy }) => {
            json!({ "state": "rolled_back", "store": store, "copy": copy })
        }
        Witnessed::Compared(Standing::OtherStore { copy }) => json!({ "state": "other_store", "copy": copy }),
    }
}
