//! What the pod wants, as homelab-secrets' `inject` wrote it (format 1).

use serde::Deserialize;

use crate::failure::Failure;

/// Newest format that is read.
const FORMAT: u32 = 1;

/// All secrets of the pod.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Mode of files.
    pub(crate) mode: u32,
    pub(crate) secrets: Vec<Secret>,
}

/// One secret.
#[derive(Debug, Deserialize)]
pub(crate) struct Secret {
    /// `MOUNT/PATH`.
    pub(crate) path: String,
    pub(crate) version: u64,
    pub(crate) keys: Vec<String>,
    #[serde(rename = "as")]
    pub(crate) target: Target,
    /// Folder or file in the volume.
    pub(crate) to: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Target {
    /// The folder as the containers see it; here it is only a word in messages.
    Files(String),
    /// Prefix of variables.
    Env(String),
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
struct Text {
    mode: String,
    secrets: Vec<Secret>,
}

impl Wish {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::fixed(format!("HOMELAB_SECRETS {what}: the pod was not changed by homelab"));
        let Format { format } = serde_json::from_str(text).map_err(|_| wrong("has no format"))?;
        if format != FORMAT {
            return Err(Failure::fixed(format!(
                "HOMELAB_SECRETS has format {format}, this agent reads {FORMAT}: use the agent image of the homelab that \
                 made the pod"
            )));
        }
        let Text { mode, secrets } = serde_json::from_str(text).map_err(|_| wrong("can not be read"))?;
        let mode = u32::from_str_radix(&mode, 8).ok().filter(|mode| mode & !0o444 == 0 && mode & 0o400 != 0);
        let mode = mode.ok_or_else(|| wrong("has a mode other than 0400, 0440, 0444"))?;
        if let Some(odd) = secrets.iter().find(|secret| !is_place(&secret.to) || !is_path(&secret.path)) {
            return Err(wrong(&format!("has the odd place {:?} or path {:?}", odd.to, odd.path)));
        }
        Ok(Self { mode, secrets })
    }
}

fn is_place(to: &str) -> bool {
    to.starts_with(|c: char| c.is_ascii_alphanumeric()) && to.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

fn is_path(path: &str) -> bool {
    path.contains('/') && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(change: impl Fn(String) -> String) -> Result<Wish, String> {
        let text = r#"{"format":1,"mode":"0440","secrets":[{"path":"kv/web/db","version":3,"keys":["a"],"as":{"files":"/run/db"},"to":"0"},
            {"path":"kv/web/api","version":1,"keys":["KEY"],"as":{"env":"API_"},"to":"1.env"}]}"#;
        Wish::parse(&change(text.into())).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_format_is_read() {
        let wish = parse(|text| text).unwrap();
        assert_eq!((wish.mode, wish.secrets.len()), (0o440, 2));
        assert!(matches!(&wish.secrets[1].target, Target::Env(prefix) if prefix == "API_"));
    }

    #[test]
    fn odd_wishes_are_refused() {
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("0440", "0777"),
            ("0440", "0000"),
            ("\"to\":\"0\"", "\"to\":\"../0\""),
            ("\"to\":\"0\"", "\"to\":\".0\""),
            ("kv/web/db", "kv/../db"),
            ("kv/web/db", "kv"),
            ("\"version\":3,", ""),
            ("{", "["),
        ] {
            assert!(parse(|text| text.replacen(from, to, 1)).is_err(), "{from} → {to}");
        }
    }
}
