use super::*;

async fn clone(url: &str) -> Result<TempDir> {
    let folder = TempDir::new()?;
    git(folder.path(), ["clone", "--quiet", url, "copy"]).await?;
    Ok(folder)
}

#[tokio::test]
async fn what_was_pushed_can_be_cloned_over_http() {
    let forge = Forge::start([127, 0, 0, 1].into()).await.unwrap();
    let repo = forge.create("home").await.unwrap();
    repo.write("apps/a.yaml", "a: 1\n").unwrap();
    let first = repo.push("first").await.unwrap();
    repo.replace("apps/a.yaml", "a: 1", "a: 2").unwrap();
    repo.push("second").await.unwrap();
    let read =
        async || std::fs::read_to_string(clone(&repo.url).await.unwrap().path().join("copy/apps/a.yaml")).unwrap();
    assert_eq!((first.len(), read().await.as_str()), (40, "a: 2\n"));
    repo.revert().await.unwrap();
    assert_eq!(read().await, "a: 1\n");
}

#[tokio::test]
async fn credentials_and_trouble_on_demand() {
    let forge = Forge::start([127, 0, 0, 1].into()).await.unwrap();
    forge.require("me", "secret");
    let repo = forge.create("home").await.unwrap();
    repo.write("a.yaml", "a: 1\n").unwrap();
    repo.push("first").await.unwrap();
    assert!(clone(&repo.url).await.is_err());
    let with = repo.url.replacen("://", "://me:secret@", 1);
    clone(&with).await.unwrap();
    forge.set_down(true);
    let error = format!("{:#}", clone(&with).await.unwrap_err());
    assert!(error.contains("503"), "{error}");
}
