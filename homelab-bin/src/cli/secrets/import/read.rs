//! Files of secrets, and who made them. No error quotes what is in a file.
#![expect(clippy::disallowed_methods, reason = "reads the files that somebody names")]

use std::io::Read as _;
use std::path::{Component, Path};

use anyhow::{Context as _, Result, bail, ensure};
use homelab_secrets::transfer::{Entry, Name, bao, export, kubernetes};
use serde_json::Value;
use zeroize::Zeroizing;

use super::sops;
use crate::args::Source;
use crate::cli::output;

/// The namespace of Secrets that name none.
const NAMESPACE: &str = "default";

/// The secrets of a file, or of stdin (`-`).
pub(super) async fn entries(file: &Path, from: Option<Source>, namespace: Option<&str>) -> Result<Vec<Entry>> {
    let text = text(file)?;
    let namespace = namespace.unwrap_or(NAMESPACE);
    let from = match from {
        Some(from) => from,
        None => recognised(&text)?,
    };
    match from {
        Source::Homelab => homelab(&text),
        Source::Bao => Ok(bao::read(json(&text)?, &name_of(file)?)?),
        Source::Kubernetes => secrets(documents(&text)?, namespace),
        Source::Sops => {
            let opened = sops::opened(file, &text).await?;
            if kubernetes::is_like(&opened) {
                return secrets(vec![opened], namespace);
            }
            let Value::Object(values) = opened else { bail!("what sops opened has no keys with values") };
            Ok(vec![Entry::newest(Name::File(name_of(file)?), values)])
        }
        Source::ExternalSecrets => bail!("external-secrets are read from the cluster: name no files"),
    }
}

fn text(file: &Path) -> Result<Zeroizing<String>> {
    let read = if file == Path::new("-") {
        let mut text = Zeroizing::new(String::new());
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file).map(Zeroizing::new)
    };
    let text = read.context("it can not be read as text")?;
    ensure!(!text.trim().is_empty(), "it is empty");
    Ok(text)
}

fn homelab(text: &str) -> Result<Vec<Entry>> {
    let export = export::read(text)?;
    if !export.unreadable.is_empty() {
        let left_out = export.unreadable.join(", ");
        output::note(&format!("not in this export, since whoever made it could not read it: {left_out}"));
    }
    Ok(export.entries)
}

fn secrets(documents: Vec<Value>, namespace: &str) -> Result<Vec<Entry>> {
    let found = kubernetes::read(documents, namespace)?;
    found.skipped.iter().for_each(|skipped| output::note(&format!("passed by {skipped}")));
    Ok(found.entries)
}

/// Who made it, by what stands in it.
fn recognised(text: &str) -> Result<Source> {
    if export::is_like(text) {
        return Ok(Source::Homelab);
    }
    if sops::is_env(text) {
        return Ok(Source::Sops);
    }
    let documents = documents(text)?;
    let any = |like: fn(&Value) -> bool| documents.iter().any(like);
    match () {
        () if any(sops::is_like) => Ok(Source::Sops),
        () if any(kubernetes::is_like) => Ok(Source::Kubernetes),
        () if any(bao::is_like) => Ok(Source::Bao),
        () if any(|document| document["kind"] == "ExternalSecret") => {
            bail!("it is an ExternalSecret, which has no values: --from external-secrets reads them from the cluster")
        }
        () => bail!("it looks like nothing that is known: say what it is with --from"),
    }
}

fn documents(text: &str) -> Result<Vec<Value>> {
    json(text).or_else(|_| yaml(text))
}

/// JSON documents, one after the other.
fn json(text: &str) -> Result<Vec<Value>> {
    let documents = serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<Value>, _>>();
    let documents = documents.map_err(|error| {
        anyhow::anyhow!("it is no JSON: it breaks at line {} column {}", error.line(), error.column())
    })?;
    Ok(documents)
}

fn yaml(text: &str) -> Result<Vec<Value>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let documents = serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| {
        let place = error.location().map(|at| format!(": it breaks at line {} column {}", at.line(), at.column()));
        anyhow::anyhow!("it is no YAML{}", place.unwrap_or_default())
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// What a secret without a path is called after its file: `web/db` for `web/db.enc.yaml`.
fn name_of(file: &Path) -> Result<String> {
    let plain = file.components().filter(|part| *part != Component::CurDir).map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let parts: Option<Vec<_>> = plain.collect();
    // Only a --to that ends with a slash asks for this name, and an odd one is refused there.
    let Some(parts) = parts else { return Ok(file.display().to_string()) };
    let name = parts.join("/");
    let endings = [".json", ".yaml", ".yml", ".env", ".sops", ".enc", ".dec"];
    let mut bare = name.as_str();
    while let Some(rest) = endings.iter().find_map(|ending| bare.strip_suffix(ending)) {
        bare = rest;
    }
    Ok(bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_recognised_by_what_stands_in_them() {
        let from = |text: &str| recognised(text).map_err(|error| error.to_string());
        for (text, source) in [
            ("{\"format\":\"homelab-export/1\",\"made\":\"\"}\n", Source::Homelab),
            ("{\"data\": {\"data\": {\"k\": \"v\"}, \"metadata\": {}}}", Source::Bao),
            (
                "{\"kv/a\": {\"data\": {\"data\": {}, \"metadata\": {}}}}\n{\"kv/b\": {\"request_id\": \"1\", \"data\": {}}}",
                Source::Bao,
            ),
            ("a: ENC[x]\nsops:\n  mac: ENC[y]\n", Source::Sops),
            ("a=ENC[x]\nsops_mac=ENC[y]\n", Source::Sops),
            ("kind: Secret\napiVersion: v1\n---\nkind: ConfigMap\napiVersion: v1\n", Source::Kubernetes),
            ("{\"kind\": \"List\", \"apiVersion\": \"v1\"}", Source::Kubernetes),
        ] {
            assert_eq!(from(text), Ok(source), "{text}");
        }
        for (text, words) in [
            ("kind: ExternalSecret\n", "--from external-secrets"),
            ("planted: x\n", "--from"),
            ("a: [planted", "it is no YAML: it breaks at line 1"),
        ] {
            let error = from(text).expect_err(text);
            assert!(error.contains(words) && !error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn mistakes_do_not_repeat_the_text() {
        for error in
            [json("{\"a\": planted").map(drop), yaml("a: [planted").map(drop), yaml("a: 1\na: planted").map(drop)]
        {
            let error = format!("{:#}", error.expect_err("no document"));
            assert!(error.contains("it breaks at line") && !error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn a_file_gives_its_name_without_endings() {
        for (file, name) in
            [("./web/db.enc.yaml", "web/db"), ("db.sops.json", "db"), ("a.b/c.env", "a.b/c"), ("-", "-")]
        {
            assert_eq!(name_of(Path::new(file)).expect("a name"), name);
        }
        assert_eq!(
            name_of(Path::new("/x/../db.yaml")).expect("a name"),
            "/x/../db.yaml",
            "refused as a path of a secret"
        );
    }
}
