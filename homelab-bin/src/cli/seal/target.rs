//! What a sealed file is called: its repository and its path there.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use homelab_secrets::sealed::{RepositoryName, SUFFIX, SealedFile, check_path};

use super::git::{self, Checkout};

/// A secret of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Target {
    pub(in crate::cli) repository: String,
    pub(in crate::cli) path: String,
}

impl Target {
    /// By what is asked for, else by the file that is there already, else by the checkout.
    pub(in crate::cli) async fn find(
        file: &Path,
        path: Option<&str>,
        repository: Option<&str>,
        previous: Option<&SealedFile>,
    ) -> Result<Self> {
        let (mut path, mut repository) = (path.map(ToOwned::to_owned), repository.map(ToOwned::to_owned));
        if let Some(previous) = previous {
            let named = |what: &str, asked: &mut Option<String>, is: &str| match asked {
                Some(asked) if asked != is => bail!("{} has the {what} {is}, not {asked}", file.display()),
                _ => {
                    *asked = Some(is.to_owned());
                    Ok(())
                }
            };
            named("path", &mut path, previous.path())?;
            named("repository", &mut repository, previous.repository().as_str())?;
        }
        let path = match path {
            Some(path) => path,
            None => place(file).await.context("give the secret a path with --path, as in web/db")?,
        };
        let repository = match repository {
            Some(repository) => repository,
            None => known(file).await?,
        };
        check_path(&RepositoryName::parse(&repository)?, &path)?;
        Ok(Self { repository, path })
    }
}

/// Its place in the checkout, without the end of its name.
async fn place(file: &Path) -> Result<String> {
    let name = file.file_name().and_then(|name| name.to_str()).context("its name is no text")?;
    let folder = nearest(file);
    let checkout = Checkout::find(folder).await?;
    let top = checkout.top.canonicalize()?;
    let full = folder
        .canonicalize()?
        .join(file.parent().and_then(|p| p.strip_prefix(folder).ok()).unwrap_or_else(|| Path::new("")));
    let inside = full.strip_prefix(&top).context("it is outside of the checkout")?;
    let inside = inside.to_str().context("its folder's name is no text")?;
    let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
    Ok(if inside.is_empty() { stem.to_owned() } else { format!("{inside}/{stem}") })
}

/// The repository of the checkout that the file is in.
async fn known(file: &Path) -> Result<String> {
    let found = match Checkout::find(nearest(file)).await {
        Ok(checkout) => git::repository(&checkout).await?,
        Err(_) => None,
    };
    found.context("name the repository with --repository, or once for this checkout with `homelab seal --install --repository NAME`")
}

/// The nearest folder above a file that is there.
fn nearest(file: &Path) -> &Path {
    let above = file.ancestors().skip(1).find(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
    above.unwrap_or_else(|| Path::new("."))
}
