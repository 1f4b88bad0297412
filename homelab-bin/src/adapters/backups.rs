//! Places for backups, by what people write.
#![expect(
    clippy::disallowed_methods,
    reason = "credentials are in the environment, where the tools of each place look"
)]

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use homelab_secrets::backend::backups::directory::Directory;
use homelab_secrets::backend::backups::git::GitRepository;
use homelab_secrets::backend::backups::s3::{S3, S3Place};
use homelab_secrets::backup::{BackupName, BackupTarget};

/// A variable of the environment, if it says something.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The place that `text` names: `s3://…`, `git+https://…`, else a directory.
pub(crate) fn place(text: &str, scratch: &Path) -> Result<Box<dyn BackupTarget>> {
    place_by(text, scratch, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// Whether `text` is more than the name of a file or directory.
pub(crate) fn is_remote(text: &str) -> bool {
    ["s3://", "git+http://", "git+https://"].iter().any(|scheme| text.starts_with(scheme))
}

fn place_by(text: &str, scratch: &Path, variable: Variable<'_>) -> Result<Box<dyn BackupTarget>> {
    if let Some(rest) = text.strip_prefix("s3://") {
        return Ok(Box::new(bucket(rest, variable).with_context(|| format!("backups in {text}"))?));
    }
    if let Some(url) = text.strip_prefix("git+").filter(|_| is_remote(text)) {
        return Ok(Box::new(repository(url, scratch, variable)?));
    }
    ensure!(!text.contains("://"), "backups in {text}: the places are a directory, s3://… and git+https://…");
    ensure!(Path::new(text).is_absolute(), "backups in {text}: a directory is named from the root, as in /backups");
    Ok(Box::new(Directory::new(text)))
}

fn bucket(rest: &str, variable: Variable<'_>) -> Result<S3> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    ensure!(!bucket.is_empty(), "write s3://BUCKET/PREFIX");
    let need = |name: &str| variable(name).with_context(|| format!("set {name}"));
    let (key, secret) = (need("AWS_ACCESS_KEY_ID")?, need("AWS_SECRET_ACCESS_KEY")?);
    let region = variable("AWS_REGION").unwrap_or_else(|| "us-east-1".into());
    let endpoint = variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"));
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let place = S3Place { endpoint, region, bucket: bucket.into(), prefix: prefix.into() };
    Ok(S3::new(&place, &key, &secret)?)
}

fn repository(url: &str, scratch: &Path, variable: Variable<'_>) -> Result<GitRepository> {
    let (url, branch) = url.split_once('#').unwrap_or((url, "main"));
    let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.contains('@') {
        bail!(
            "backups in git: credentials do not belong into the URL; HOMELAB_BACKUP_GIT_TOKEN and HOMELAB_BACKUP_GIT_USER take them"
        );
    }
    let path = variable("PATH").unwrap_or_default();
    let repository = GitRepository::new(url, branch, scratch, &path);
    Ok(match variable("HOMELAB_BACKUP_GIT_TOKEN") {
        // Forges take any user with a token.
        Some(token) => {
            let user = variable("HOMELAB_BACKUP_GIT_USER").unwrap_or_else(|| "git".into());
            repository.with_password(&user, &token)
        }
        None => repository,
    })
}

/// The backup that `text` names, or the newest in the place that it names.
pub(crate) async fn fetch(text: &str, scratch: &Path) -> Result<(String, Vec<u8>)> {
    let (place_text, name) = match text.rsplit_once('/') {
        Some((folder, name)) if BackupName::parse(name).is_some() => (folder, Some(name.to_owned())),
        _ => (text, None),
    };
    let place = place(place_text, scratch)?;
    let name = match name {
        Some(name) => name,
        None => newest(&place.list().await?).with_context(|| format!("choose the newest backup in {place}"))?,
    };
    let backup = place.get(&name).await?;
    Ok((format!("{name} in {place}"), backup))
}

/// One store's newest; whose it is has to be clear.
fn newest(names: &[String]) -> Result<String> {
    let found: Vec<_> = names.iter().filter_map(|name| BackupName::parse(name)).collect();
    let newest = found.iter().max_by_key(|name| (name.made, name.sequence)).context("there is none")?;
    if let Some(other) = found.iter().find(|name| name.store != newest.store) {
        bail!(
            "there are backups of several stores ({} and {}): name the one, with its file",
            newest.store,
            other.store
        );
    }
    Ok(newest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, set: &[&str]) -> Result<String, String> {
        let variable = |name: &str| set.contains(&name).then(|| format!("planted-{name}"));
        let variable = |name: &str| match name {
            "AWS_ENDPOINT_URL" => variable(name).map(|_| "http://nas:9000".to_owned()),
            _ => variable(name),
        };
        let place = place_by(text, Path::new("/tmp"), &variable);
        place.map(|place| place.to_string()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn places_are_what_people_write() {
        crate::install_crypto();
        let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        let home = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"];
        assert_eq!(named("/backups", &[]), Ok("/backups".into()));
        assert_eq!(named("s3://lab/homelab", &keys), Ok("s3://lab/homelab/ at s3.us-east-1.amazonaws.com".into()));
        assert_eq!(named("s3://lab", &home), Ok("s3://lab/ at nas".into()));
        let git = named("git+https://git.example/me/backups.git#store", &["HOMELAB_BACKUP_GIT_TOKEN"]);
        assert_eq!(git, Ok("https://git.example/me/backups.git (store)".into()));
        for (wrong, why) in [
            ("s3://lab/homelab", "set AWS_ACCESS_KEY_ID"),
            ("ftp://nas/backups", "the places are"),
            ("backups", "from the root"),
            ("git+https://me:planted@git.example/b.git", "HOMELAB_BACKUP_GIT_TOKEN"),
        ] {
            let error = named(wrong, &[]).expect_err("refused");
            assert!(error.contains(why) && !error.contains("planted"), "{error}");
        }
    }

    #[test]
    fn the_newest_is_chosen_where_it_is_clear_whose_it_is() {
        let names = ["homelab-aa-20261123T120000Z-9.backup", "homelab-aa-20261124T120000Z-7.backup", "notes.txt"]
            .map(String::from);
        assert_eq!(newest(&names).expect("one"), "homelab-aa-20261124T120000Z-7.backup");
        let two = [names.as_slice(), &["homelab-bb-20261120T120000Z-1.backup".into()]].concat();
        assert!(newest(&two).expect_err("whose?").to_string().contains("several stores"));
        assert!(newest(&["notes.txt".into()]).is_err());
    }
}
