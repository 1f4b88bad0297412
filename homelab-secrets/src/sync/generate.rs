//! Values that are made, not written: what is due, and what it is. Pure; randomness is an argument.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homelab_core::meta::Account;
use jiff::Timestamp;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Problem, Values};
use crate::Error;
use crate::api::v1alpha1::{GeneratedAccounts, GeneratedPassword, GeneratedSecret, GeneratedValue};
use crate::kv::duration;

/// Letters and digits: fit for URLs, shells and files without any quoting.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Length of a password that names none: 190 bits.
const LENGTH: u16 = 32;
/// DER of a private key before its 32 bytes (RFC 8410, 7, `OneAsymmetricKey` of version 1).
const PRIVATE: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// DER of a public key before its 32 bytes (RFC 8410, 4).
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Random bytes fit for keys.
pub type Random<'a> = &'a (dyn Fn(&mut [u8]) -> Result<(), Error> + Sync);

/// The newest version of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Which.
    pub version: u64,
    /// When it was written.
    pub created: Timestamp,
    /// Who wrote it; none if it is deleted or destroyed.
    pub writer: Option<String>,
}

/// What has to be done about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing; `again`: look again at that time.
    Nothing {
        /// When.
        again: Option<Timestamp>,
    },
    /// Write version `cas` + 1; 0: the first.
    Write {
        /// The version that it follows.
        cas: u64,
    },
}

/// How a version that we made is signed: nobody else's name has this form. `asked` is the request that it answers.
pub fn writer(account: &Account, sync: &str, asked: Option<&str>) -> String {
    let asked = asked.map(|asked| format!(" asked {asked}")).unwrap_or_default();
    format!("secretsync {}/{sync}{asked}", account.namespace)
}

/// The request that a version of ours answers; none if it is not ours.
fn answered<'a>(signed: &'a str, account: &Account, sync: &str) -> Option<Option<&'a str>> {
    match signed.strip_prefix(&writer(account, sync, None))? {
        "" => Some(None),
        rest => rest.strip_prefix(" asked ").map(Some),
    }
}

/// What is due. A value that somebody else wrote is never followed by one of ours, whatever was asked for.
pub fn due(
    wish: &GeneratedSecret,
    stand: Option<&Stand>,
    (account, sync): (&Account, &str),
    asked: Option<&str>,
    now: Timestamp,
) -> Result<Due, Problem> {
    let Some(stand) = stand else { return Ok(Due::Write { cas: 0 }) };
    let Some(signed) = &stand.writer else {
        return Err(Problem::stalled(
            "GeneratedDeleted",
            format!(
                "{}@{} was deleted, and a value is made only where there never was one: take it back with `homelab kv \
                 undelete`, or remove the path and its history",
                wish.path, stand.version
            ),
        ));
    };
    let Some(answered) = answered(signed, account, sync) else { return Ok(Due::Nothing { again: None }) };
    let write = Due::Write { cas: stand.version };
    if asked.is_some() && asked != answered {
        return Ok(write);
    }
    let every = wish.rotate_every.as_deref().and_then(duration::parse);
    let again = every.map(|every| stand.created.checked_add(every).unwrap_or(Timestamp::MAX));
    Ok(if again.is_some_and(|at| at <= now) { write } else { Due::Nothing { again } })
}

/// Whether what there was is needed to make what comes next.
pub fn takes_turns(wish: &GeneratedSecret) -> bool {
    wish.values.iter().any(|value| value.accounts.is_some())
}

/// Makes the values of one path; `before` are those of the version that they follow.
pub fn make(wish: &GeneratedSecret, before: &Values, random: Random<'_>) -> Result<Map<String, Value>, Problem> {
    let mut made = Map::new();
    for value in &wish.values {
        for (key, text) in one(wish, value, before, random)? {
            if made.insert(key.clone(), Value::String(text)).is_some() {
                let message = format!("spec.generate makes key {key:?} of {} twice: rename one of them", wish.path);
                return Err(Problem::stalled("InvalidGenerator", message));
            }
        }
    }
    Ok(made)
}

fn one(
    wish: &GeneratedSecret,
    value: &GeneratedValue,
    before: &Values,
    random: Random<'_>,
) -> Result<Vec<(String, String)>, Problem> {
    let failed = |error: Error| Problem::passing("NoRandomness", error.to_string());
    let key = value.key.clone();
    if let Some(text) = &value.text {
        return Ok(vec![(key, text.clone())]);
    }
    let made = |settings: &GeneratedPassword| {
        let alphabet = alphabet(settings).map_err(|why| {
            Problem::stalled("InvalidGenerator", format!("the password {:?} of {}: {why}", value.key, wish.path))
        })?;
        password(settings.length.unwrap_or(LENGTH), &alphabet, random).map_err(failed)
    };
    if let Some(settings) = &value.password {
        return Ok(vec![(key, made(settings)?)]);
    }
    if let Some(accounts) = &value.accounts {
        return in_turn(&value.key, accounts, before, || made(&accounts.password));
    }
    if value.uuid.is_some() {
        return Ok(vec![(key, uuid(random).map_err(failed)?)]);
    }
    if let Some(pair) = &value.key_pair {
        let (private, public) = key_pair(random).map_err(failed)?;
        let name = pair.public_key.clone().unwrap_or_else(|| format!("{key}.pub"));
        return Ok(vec![(key, private), (name, public)]);
    }
    let message = format!("{key:?} of {} says not what is made: text, password, uuid, keyPair or accounts", wish.path);
    Err(Problem::stalled("InvalidGenerator", message))
}

/// The account that was not in use is, with a new password; the other one keeps its own, and whoever still uses it goes on.
fn in_turn(
    key: &str,
    accounts: &GeneratedAccounts,
    before: &Values,
    mut password: impl FnMut() -> Result<String, Problem>,
) -> Result<Vec<(String, String)>, Problem> {
    let held = |key: &str| before.get(key).map(|text| text.plain.to_string());
    let b_is_next = held(key).is_some_and(|in_use| in_use == accounts.a);
    let (next, other) = if b_is_next { (&accounts.b, &accounts.a) } else { (&accounts.a, &accounts.b) };
    let new = password()?;
    let kept = match held(other) {
        Some(kept) => kept,
        None => password()?,
    };
    let password_key = accounts.password_key.clone().unwrap_or_else(|| "password".into());
    Ok(vec![(key.into(), next.clone()), (password_key, new.clone()), (next.clone(), new), (other.clone(), kept)])
}

/// Its characters, each once: one that stands twice would come twice as often.
fn alphabet(settings: &GeneratedPassword) -> Result<Vec<u8>, String> {
    let text = settings.alphabet.as_deref().unwrap_or(ALPHABET);
    let distinct: BTreeSet<u8> = text.bytes().collect();
    if distinct.len() < 2 || distinct.len() != text.len() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("its alphabet needs at least two visible ASCII characters, each once".into());
    }
    Ok(distinct.into_iter().collect())
}

/// Each character as likely as any other: bytes that would favour the first ones are thrown away.
fn password(length: u16, alphabet: &[u8], random: Random<'_>) -> Result<String, Error> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(usize::from(length));
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < usize::from(length) {
        random(&mut *bytes)?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let left = usize::from(length) - text.len();
        text.extend(fair.take(left).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

/// RFC 9562, 5.4 (version 4).
fn uuid(random: Random<'_>) -> Result<String, Error> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// An Ed25519 key and its public half, PEM.
fn key_pair(random: Random<'_>) -> Result<(String, String), Error> {
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut *seed)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
        .map_err(|_| Error::Bug("an Ed25519 seed of 32 bytes was refused".into()))?;
    let private = Zeroizing::new([PRIVATE.as_slice(), seed.as_slice()].concat());
    Ok((pem("PRIVATE KEY", &private), pem("PUBLIC KEY", &[&PUBLIC, pair.public_key().as_ref()].concat())))
}

/// RFC 7468. Everything here is shorter than a line of 64.
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests;
