//! Requests as they are recorded, and which of them have to be on the disk before they are answered.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::policy::Identity;

/// Longest path in a record.
const MAX_PATH: usize = 1024;
/// How tokens of ours and of Vault's begin; a JWT begins with `{"` in base64.
const TOKENS: [&str; 5] = ["hls.", "hvs.", "hvb.", "hvr.", "eyJ"];

/// Paths whose questions are too long for a URL.
const ASKED: [&str; 2] = ["sys/homelab/versions/gone", "sys/homelab/versions/watch"];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// GET
    Read,
    /// LIST, and GET with `list=true`
    List,
    /// POST and PUT
    Update,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// POST to a path of a login
    Login,
    /// Any other method
    Other,
}

impl Operation {
    /// Of a method and a path below `/v1/`.
    pub fn of(method: &str, path: &str, lists: bool) -> Self {
        match method {
            "GET" | "HEAD" if lists => Self::List,
            "LIST" => Self::List,
            "GET" | "HEAD" => Self::Read,
            "POST" | "PUT" if is_login(path) => Self::Login,
            "POST" if ASKED.contains(&path) => Self::Read,
            "POST" | "PUT" => Self::Update,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// Whether it only looks.
    pub fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::List)
    }

    /// Whether it is recorded before it is begun, too.
    pub fn changes(self) -> bool {
        matches!(self, Self::Update | Self::Patch | Self::Delete)
    }
}

fn is_login(path: &str) -> bool {
    path.strip_prefix("auth/").is_some_and(|rest| rest.split('/').skip(1).any(|part| part == "login"))
}

/// One request. No field holds a value of a secret or a token.
#[derive(Clone, Debug, Serialize)]
pub struct Access<'a> {
    /// Number of the record that was made when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Who asked; absent where nobody was proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Cow<'a, str>>,
    /// UID of the pod whose token it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<&'a str>,
    /// Digest of the token's accessor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessor: Option<Cow<'a, str>>,
    /// Address of the other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<Cow<'a, str>>,
    /// What was asked for.
    pub op: Operation,
    /// On which path, below `/v1/`.
    pub path: Cow<'a, str>,
    /// The parts of the query that are known and hold no text.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub query: Cow<'a, str>,
    /// Digests of the body's values.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub body: Cow<'a, Value>,
    /// The version that was read or written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What sort of failure it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}

/// When a record has to be where, for its answer to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// In the file; on the disk within a second.
    Written,
    /// On the disk.
    Synced,
}

/// Which answers wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything but what machines read.
    #[default]
    People,
    /// All.
    Always,
}

/// How far the record of an answer has to be before the answer leaves. What gives nobody anything and changes nothing
/// does not wait for the disk: else whoever has no token could keep it busy.
pub fn durability(mode: Mode, who: Option<&Identity>, op: Operation, status: u16) -> Durability {
    let refused = (400..500).contains(&status);
    let waits = match who {
        _ if mode == Mode::Always => true,
        Some(Identity::ServiceAccount { .. } | Identity::AppRole { .. }) => !op.only_reads() && !refused,
        Some(_) => true,
        None => op == Operation::Login || !refused,
    };
    if waits { Durability::Synced } else { Durability::Written }
}

/// A word for a failed status.
pub fn error_class(status: u16) -> Option<&'static str> {
    Some(match status {
        0..400 => return None,
        401 | 403 => "denied",
        404 => "notFound",
        409 | 412 => "conflict",
        429 => "limited",
        400..500 => "invalid",
        _ => "failed",
    })
}

/// A path as it is recorded: shortened where it is longer than any that is served, and without what looks like a token
/// that somebody put into it.
pub fn shown_path(path: &str) -> Cow<'_, str> {
    let is_token = |part: &str| {
        let part = part.replace("%2e", ".").replace("%2E", ".");
        part.len() >= 20 && TOKENS.iter().any(|start| part.starts_with(start))
    };
    if path.len() <= MAX_PATH && !path.split('/').any(is_token) {
        return Cow::Borrowed(path);
    }
    let parts: Vec<&str> = path.split('/').map(|part| if is_token(part) { "…" } else { part }).collect();
    let mut shown = parts.join("/");
    if shown.len() > MAX_PATH {
        let end = (0..=MAX_PATH).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
        shown.truncate(end);
        // Writing into memory can not fail.
        let _ = write!(shown, "… ({} bytes)", path.len());
    }
    Cow::Owned(shown)
}

/// What of a query is recorded: the settings that are known, with numbers, `true` and `false`.
pub fn shown_query(query: &str) -> String {
    let known = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        matches!(name, "version" | "list" | "force" | "depth")
            && (matches!(value, "true" | "false")
                || (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()))
    };
    query.split('&').filter(known).take(8).collect::<Vec<_>>().join("&")
}
