//! `homelab edit`: a sealed file in the person's editor. The open text never lies in the checkout.

use std::path::Path;

use anyhow::{Result, bail};
use homelab_secrets::sealed::SUFFIX;
use homelab_secrets::store::SecretData;
use zeroize::Zeroizing;

use super::editor::Draft;
use super::output;
use super::seal::{Remote, Target, as_yaml, from_yaml, parse, read, write};
use crate::args::{Edit, Global};

/// Begins the lines that we put in front of the text.
const MARK: &str = "#: ";

pub(crate) async fn run(global: &Global, args: Edit) -> Result<()> {
    let file = args.file.as_path();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.ends_with(SUFFIX) {
        bail!("{} is not named as a sealed file, NAME{SUFFIX}", file.display());
    }
    let text = current(file)?;
    let previous = text.as_ref().map(|text| parse(file, text)).transpose()?;
    let target = Target::find(file, args.path.as_deref(), args.repository.as_deref(), previous.as_ref()).await?;
    let remote = Remote::connect(global, &args.server).await?;
    let before = match &previous {
        Some(file) => remote.open(file).await?,
        None => SecretData::default(),
    };
    let head = format!("{MARK}git/{}/{}, as YAML; comments are not kept\n", target.repository, target.path);
    let draft = Draft::new("secret.yaml", &format!("{head}{}", *as_yaml(before.expose())?))?;
    let sealed = async {
        let after = edited(&draft, &head).await?;
        if after == before {
            return Ok(None);
        }
        if current(file)? != text {
            bail!("{} was changed by somebody else in the meantime", file.display());
        }
        let sealed = remote.seal(&target, after.expose(), previous.as_ref()).await?;
        write(file, &sealed.to_string())?;
        Ok(Some(sealed.logical_path()))
    };
    match sealed.await {
        Ok(Some(path)) => output::note(&format!("sealed {} as {path}", file.display())),
        Ok(None) => output::note(&format!("{} is unchanged", file.display())),
        Err(error) if draft.is_touched() => {
            bail!("{error:#}; what you wrote is kept in {}: remove it when you are done", draft.keep().display())
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// What the person wrote. What can not be read comes up again with the reason, until they leave it as it came.
async fn edited(draft: &Draft, head: &str) -> Result<SecretData> {
    let mut shown = None;
    loop {
        let text = draft.edit().await?;
        match from_yaml(&text) {
            Ok(plain) => return Ok(SecretData::new(plain.values)),
            Err(error) if shown.as_ref() == Some(&text) => return Err(error),
            Err(error) => {
                let own = text.lines().filter(|line| !line.starts_with(MARK));
                let own = Zeroizing::new(own.fold(String::new(), |all, line| all + line + "\n"));
                let again = Zeroizing::new(format!("{head}{MARK}{error:#}\n{}", *own));
                draft.write(&again)?;
                shown = Some(again);
            }
        }
    }
}

fn current(file: &Path) -> Result<Option<Zeroizing<String>>> {
    if file.exists() { read(file).map(Some) } else { Ok(None) }
}
