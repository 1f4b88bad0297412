//! `homelab edit`: a sealed file in the person's editor. The open text never lies in the checkout.

use std::path::Path;

use anyhow::{Result, bail};
use homelab_secrets::sealed::SUFFIX;
use homelab_secrets::store::SecretData;
use zeroize::Zeroizing;

use super::editor::{Draft, edited, head};
use super::output;
use super::seal::{Remote, Target, as_yaml, parse, read, write};
use crate::args::{Edit, Global};

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
    let head = head(&format!("git/{}/{}", target.repository, target.path));
    let draft = Draft::new("secret.yaml", &format!("{head}{}", *as_yaml(before.expose())?))?;
    let sealed = async {
        let after = SecretData::new(edited(&draft, &head).await?.values);
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
        Err(error) => return Err(draft.kept(error)),
    }
    Ok(())
}

fn current(file: &Path) -> Result<Option<Zeroizing<String>>> {
    if file.exists() { read(file).map(Some) } else { Ok(None) }
}
